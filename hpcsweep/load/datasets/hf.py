"""`hf`: prompts, optionally with images, from a dataset of the Hugging Face hub or a local folder of the same form.

Needs the extra `hf` (packages `datasets` and, for images, `pillow`). `hpcsweep data fetch hf:REPO` downloads a
dataset on the login node. Compute nodes read only data files that were present at submission.
"""

import base64
import io
import random
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from hpcsweep.errors import DatasetError
from hpcsweep.load.datasets.base import SampleRequest, Tokenizer, sha256
from hpcsweep.spec.base import Model, Tokens
from hpcsweep.spec.workload import DatasetFacts

_READERS = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "json", ".json": "json", ".csv": "csv"}
KNOWN_FIELDS = {
    "lmarena-ai/VisionArena-Chat": ("conversation.0.0.content", "images.0"),
    "lmarena-ai/vision-arena-bench-v0.1": ("turns.0.0.content", "images.0"),
    "lmms-lab/LLaVA-OneVision-Data": ("conversations.0.value", "image"),
    "Aeala/ShareGPT_Vicuna_unfiltered": ("conversations.0.value", None),
    "openai/gsm8k": ("question", None),
    "likaixin/InstructCoder": ("input", None),
    "philschmid/mt-bench": ("turns.0", None),
}
"""Repository -> (field of the prompt, field of the image), as `vllm bench serve` reads them."""


class HfOptions(Model):
    """Options of `kind: hf`."""

    path: str = Field(description="name of a repository, or a folder relative to the experiment file")
    split: str = Field("train", description="split, recognised by file names; files without such names have no splits")
    prompt: str | None = Field(None, description="path of the prompt in a row, such as conversation.0.content")
    image: str | None = Field(None, description="path of the image in a row; None: text only")
    output_len: Tokens = Field(128, ge=1, description="tokens of every response")
    shuffle: bool = Field(True, description="shuffle the rows by the seed; false: the order of the files")
    requests: int = Field(1000, ge=1, description="number of requests if the workload has no num_requests")


class HuggingFaceDataset:
    """Rows of a dataset in the form of Hugging Face."""

    name: ClassVar[str] = "hf"
    options_model: ClassVar[type[Model]] = HfOptions
    needs_tokenizer: ClassVar[bool] = False

    def facts(self, options: HfOptions, base_dir: Path, completion_tokens: int | None) -> DatasetFacts:
        """Return the data files with their digests. Prompt tokens are unknown until the rows are read."""
        files = _data_files(_folder(options.path, base_dir), options.split)
        _fields(options)
        return DatasetFacts(
            requests=options.requests,
            completion_tokens_max=completion_tokens or options.output_len,
            files={str(path): sha256(path) for path in files},
        )

    def requests(
        self, options: HfOptions, data_files: Sequence[Path], tokenizer: Tokenizer | None, count: int, seed: int
    ) -> list[SampleRequest]:
        """Return `count` rows in the order of the seed, repeated when there are fewer."""
        rows = _rows(data_files)
        prompt_field, image_field = _fields(options)
        order = list(range(len(rows)))
        if options.shuffle:
            random.Random(seed).shuffle(order)
        if not order:
            raise DatasetError(f"dataset {options.path} has no rows", code="dataset_empty")
        requests = []
        for number in range(count):
            index = order[number % len(order)]
            row, where = rows[index], f"{options.path}, row {index}"
            text = _value_at(row, prompt_field, where)
            if not isinstance(text, str):
                raise DatasetError(
                    f"{where}: expected text at {prompt_field}, got {type(text).__name__}", code="invalid_sample"
                )
            turn = number // len(order)
            name = f"{index}#{turn + 1}" if turn else str(index)
            if image_field is None:
                requests.append(SampleRequest(name, prompt=text, max_tokens=options.output_len))
            else:
                url = _image_url(_value_at(row, image_field, where), where)
                parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
                messages: list[dict[str, Any]] = [{"role": "user", "content": parts}]
                requests.append(SampleRequest(name, messages=messages, max_tokens=options.output_len))
        return requests


def _fields(options: HfOptions) -> tuple[str, str | None]:
    prompt, image = KNOWN_FIELDS.get(options.path, (None, None))
    prompt = options.prompt or prompt
    if prompt is None:
        raise DatasetError(
            f"dataset hf: the field of the prompt in {options.path} is unknown",
            code="prompt_field_unknown",
            hint=f"set `prompt: FIELD`; known without it: {', '.join(KNOWN_FIELDS)}",
        )
    return prompt, options.image or image


def _folder(path: str, base_dir: Path) -> Path:
    """Return the folder of a dataset: `path` itself, or its folder in the cache of the hub. Raises DatasetError."""
    local = (base_dir / path).resolve()
    if local.is_dir():
        return local
    hub = _import("huggingface_hub")
    try:
        return Path(hub.snapshot_download(path, repo_type="dataset", local_files_only=True)).resolve()
    except Exception as exc:  # the package raises many kinds of errors for what is not in its cache
        raise DatasetError(
            f"dataset hf: {path} is neither a folder nor in the cache of this machine",
            code="dataset_not_cached",
            detail=str(exc),
            hint=f"`hpcsweep data fetch hf:{path}` downloads it",
        ) from exc


def _data_files(folder: Path, split: str) -> list[Path]:
    """Return the data files of the split, all of one format, by name. Raises DatasetError."""
    data_files = sorted(path for path in folder.rglob("*") if path.suffix in _READERS and path.is_file())
    named = [path for path in data_files if path.stem == split or path.stem.startswith((f"{split}-", f"{split}_"))]
    files = named or data_files
    for suffix in _READERS:
        of_format = [path for path in files if path.suffix == suffix]
        if of_format:
            return of_format
    raise DatasetError(
        f"folder {folder} has no data files", code="dataset_empty", hint=f"known formats: {', '.join(_READERS)}"
    )


def _rows(files: Sequence[Path]) -> Any:
    """Return the rows of the files, which are read lazily."""
    datasets = _import("datasets")
    try:
        names = [str(path) for path in files]
        return datasets.load_dataset(_READERS[files[0].suffix], data_files=names, split="train")
    except Exception as exc:  # the package raises whatever its readers raise
        raise DatasetError(f"cannot read {files[0]} as a dataset", code="data_unreadable", detail=str(exc)) from exc


def _import(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as exc:
        raise DatasetError(
            f"dataset hf: the package {package} is not installed",
            code="package_missing",
            detail=str(exc),
            hint="run `pip install 'hpcsweep[hf]'`, or write the prompts to a file for `kind: samples`",
        ) from exc


def _value_at(row: Any, path: str, where: str) -> Any:
    value = row
    for key in path.split("."):
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError, ValueError) as exc:
            keys = ", ".join(value) if isinstance(value, dict) else type(value).__name__
            raise DatasetError(
                f"{where}: field {path!r} not found: no {key!r}", code="field_missing", hint=f"available: {keys}"
            ) from exc
    return value


def _image_url(image: Any, where: str) -> str:
    """Return the image as a URL: stored bytes unchanged, URLs unchanged, decoded images as JPEG."""
    data = image.get("bytes") if isinstance(image, dict) else None
    if data is not None:
        return f"data:{_mime(data)};base64,{base64.b64encode(data).decode()}"
    if isinstance(image, str) and image.startswith(("data:", "http://", "https://")):
        return image
    if not hasattr(image, "convert"):
        raise DatasetError(f"{where}: expected an image, got {type(image).__name__}", code="invalid_sample")
    out = io.BytesIO()
    image.convert("RGB").save(out, format="JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def _mime(data: bytes) -> str:
    signatures = ((b"\x89PNG", "png"), (b"GIF8", "gif"), (b"RIFF", "webp"))
    return "image/" + next((name for start, name in signatures if data.startswith(start)), "jpeg")
