"""`hf`: prompts, and images with them, from a dataset of the Hugging Face hub, or a local folder in its form.

Needs the extra `hf` (packages `datasets` and, for images, `pillow`). Nothing is fetched here: `hpcsweep data fetch
hf:REPO` does that on the login side, and only data files that were there at submission are read on a node.
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

    path: str = Field(description="name of a repository, or a folder; relative to the experiment file")
    split: str = Field("train", description="taken from the files' names; a folder without such names has no splits")
    prompt: str | None = Field(None, description="path of the prompt in a row, such as conversation.0.content")
    image: str | None = Field(None, description="path of the image in a row; None: text only")
    output_len: Tokens = Field(128, ge=1, description="tokens of every answer")
    shuffle: bool = Field(True, description="in the order of the seed; else in that of the files")
    requests: int = Field(1000, ge=1, description="how many, when the workload does not say num_requests")


class HuggingFaceDataset:
    """Rows of a dataset in the Hugging Face form."""

    kind: ClassVar[str] = "hf"
    options_model: ClassVar[type[Model]] = HfOptions
    needs_tokenizer: ClassVar[bool] = False

    def facts(self, options: HfOptions, base_dir: Path, completion_tokens: int | None) -> DatasetFacts:
        """The data files with their digests; prompt tokens are not known before the rows are read."""
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
        """`count` rows in the order of the seed, begun again when there are fewer."""
        rows = _rows(data_files)
        prompt_field, image_field = _fields(options)
        order = list(range(len(rows)))
        if options.shuffle:
            random.Random(seed).shuffle(order)
        if not order:
            raise DatasetError(f"{options.path}: no rows")
        requests = []
        for number in range(count):
            place = order[number % len(order)]
            row, where = rows[place], f"{options.path}, row {place}"
            text = _at(row, prompt_field, where)
            if not isinstance(text, str):
                raise DatasetError(f"{where}: {prompt_field} is no text, but {type(text).__name__}")
            turn = number // len(order)
            name = f"{place}#{turn + 1}" if turn else str(place)
            if image_field is None:
                requests.append(SampleRequest(name, prompt=text, max_tokens=options.output_len))
            else:
                url = _image_url(_at(row, image_field, where), where)
                parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
                messages: list[dict[str, Any]] = [{"role": "user", "content": parts}]
                requests.append(SampleRequest(name, messages=messages, max_tokens=options.output_len))
        return requests


def _fields(options: HfOptions) -> tuple[str, str | None]:
    prompt, image = KNOWN_FIELDS.get(options.path, (None, None))
    prompt = options.prompt or prompt
    if prompt is None:
        raise DatasetError(
            f"dataset hf: where is the prompt in a row of {options.path}?",
            hint=f"say `prompt: FIELD`; known without it: {', '.join(KNOWN_FIELDS)}",
        )
    return prompt, options.image or image


def _folder(path: str, base_dir: Path) -> Path:
    """The folder of a dataset on this machine: as named, or in the hub's cache."""
    local = (base_dir / path).resolve()
    if local.is_dir():
        return local
    hub = _needed("huggingface_hub")
    try:
        return Path(hub.snapshot_download(path, repo_type="dataset", local_files_only=True)).resolve()
    except Exception as exc:  # the package has many kinds of errors for what is not in its cache
        raise DatasetError(
            f"dataset hf: {path} is neither a folder nor in the cache of this machine",
            detail=str(exc),
            hint=f"`hpcsweep data fetch hf:{path}` gets it",
        ) from exc


def _data_files(folder: Path, split: str) -> list[Path]:
    """Data files of the split, those of the commonest form, by name. Raises DatasetError."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in _READERS and path.is_file())
    named = [path for path in found if path.stem == split or path.stem.startswith((f"{split}-", f"{split}_"))]
    files = named or found
    for suffix in _READERS:
        of_one_form = [path for path in files if path.suffix == suffix]
        if of_one_form:
            return of_one_form
    raise DatasetError(f"{folder}: no data file in it", hint=f"known forms: {', '.join(_READERS)}")


def _rows(files: Sequence[Path]) -> Any:
    """All rows of the files, read when asked for."""
    datasets = _needed("datasets")
    try:
        names = [str(path) for path in files]
        return datasets.load_dataset(_READERS[files[0].suffix], data_files=names, split="train")
    except Exception as exc:  # the package passes on what its readers raise
        raise DatasetError(f"{files[0]}: cannot be read as a dataset", detail=str(exc)) from exc


def _needed(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as exc:
        raise DatasetError(
            f"dataset hf: the package {package} is not installed here",
            detail=str(exc),
            hint="pip install 'hpcsweep[hf]', or write the prompts into a file for `kind: samples`",
        ) from exc


def _at(row: Any, path: str, where: str) -> Any:
    value = row
    for key in path.split("."):
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError, ValueError) as exc:
            keys = ", ".join(value) if isinstance(value, dict) else type(value).__name__
            raise DatasetError(f"{where}: no {key!r} on the way of {path!r}", hint=f"there is: {keys}") from exc
    return value


def _image_url(image: Any, where: str) -> str:
    """The image as a `data:` URL: JPEG, unless the bytes of another form are there as they are."""
    data = image.get("bytes") if isinstance(image, dict) else None
    if data is not None:
        return f"data:{_mime(data)};base64,{base64.b64encode(data).decode()}"
    if isinstance(image, str) and image.startswith(("data:", "http://", "https://")):
        return image
    if not hasattr(image, "convert"):
        raise DatasetError(f"{where}: no image, but {type(image).__name__}")
    out = io.BytesIO()
    image.convert("RGB").save(out, format="JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def _mime(data: bytes) -> str:
    signatures = ((b"\x89PNG", "png"), (b"GIF8", "gif"), (b"RIFF", "webp"))
    return "image/" + next((name for start, name in signatures if data.startswith(start)), "jpeg")
