"""Other tools' clients that are no drivers of hpcsweep: how each is called, and what it reports."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PROMPT = "one two three four"
WORDS = ["<unk>", *PROMPT.split()]

_CALL_RUST = """
import importlib.util, pathlib, sys
root = pathlib.Path(importlib.util.find_spec("sglang").submodule_search_locations[0])
(path,) = (root / "srt" / "rust_extensions").glob("_bench*.so")
spec = importlib.util.spec_from_file_location("_bench", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.run_argv(["sglang-bench", *sys.argv[1:]])
"""
"""As sglang/benchmark/rust_client.py calls it (0.5.23), without the import of `sglang`, which wants torch."""


@dataclass(frozen=True)
class Load:
    """What is asked for. `folder` is the peer's own to write in."""

    url: str
    model: Path
    concurrency: int
    requests: int
    tokens: int
    folder: Path


@dataclass(frozen=True)
class Peer:
    """A tool. `command(executable, load)`; `reported(folder)`: times to first token and gaps, in seconds.

    `probes`: it sends a request of its own before the load.
    """

    command: Callable[[str, Load], list[str]]
    reported: Callable[[Path], tuple[list[float], list[float]]]
    probes: bool = False


def _aiperf(executable: str, load: Load) -> list[str]:
    data = load.folder / "prompts.jsonl"
    data.write_text(json.dumps({"text": PROMPT, "output_length": load.tokens}) + "\n", encoding="utf-8")
    target = ["--model", "tiny", "--url", load.url, "--endpoint-type", "completions", "--streaming"]
    prompts = ["--tokenizer", str(load.model), "--input-file", str(data), "--custom-dataset-type", "single_turn"]
    amount = ["--concurrency", str(load.concurrency), "--request-count", str(load.requests)]
    tokens = ["--use-server-token-count", "--use-legacy-max-tokens", "--extra-inputs", "ignore_eos:true"]
    out = ["--output-artifact-dir", str(load.folder), "--export-level", "records", "--ui", "none"]
    return [executable, "profile", *target, *prompts, *amount, *tokens, *out, "--wait-for-model-timeout", "0"]


def _of_aiperf(folder: Path) -> tuple[list[float], list[float]]:
    lines = (folder / "profile_export.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = [record["metrics"] for record in map(json.loads, lines) if not record.get("error")]
    first = [one["time_to_first_token"]["value"] / 1e3 for one in metrics]
    return first, [gap / 1e3 for one in metrics for gap in one["inter_chunk_latency"]["value"]]


def _sglang_rust(executable: str, load: Load) -> list[str]:
    data = load.folder / "sharegpt.json"
    turns = [{"from": name, "value": PROMPT} for name in ("human", "gpt")]
    data.write_text(json.dumps([{"conversations": turns}] * load.requests), encoding="utf-8")
    target = ["--backend", "vllm", "--base-url", load.url, "--model", "tiny", "--tokenizer", str(load.model)]
    prompts = ["--dataset-name", "sharegpt", "--dataset-path", str(data), "--sharegpt-output-len", str(load.tokens)]
    amount = ["--num-prompts", str(load.requests), "--max-concurrency", str(load.concurrency)]
    out = ["--warmup-requests", "0", "--output-file", str(load.folder / "result.jsonl"), "--output-details"]
    return [executable, "-c", _CALL_RUST, *target, *prompts, *amount, *out]


def _of_sglang(folder: Path) -> tuple[list[float], list[float]]:
    result = json.loads((folder / "result.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    good: Sequence[int] = [place for place, error in enumerate(result["errors"]) if not error]
    return [result["ttfts"][place] for place in good], [gap for place in good for gap in result["itls"][place]]


PEERS = {
    "AIPerf": ("HPCSWEEP_AIPERF", Peer(_aiperf, _of_aiperf, probes=True)),
    "SGLang Rust": ("HPCSWEEP_SGLANG_PYTHON", Peer(_sglang_rust, _of_sglang)),
}
"""Name -> (the variable that names its executable, how it is used)."""


def tokenizer_folder(folder: Path) -> Path:
    """Return a model folder with what other clients need of one: a tokenizer with four words."""
    model = folder / "model"
    model.mkdir()
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    (model / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "model_max_length": 100000}
    (model / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (model / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": len(WORDS)}), encoding="utf-8")
    return model


def start(name: str, load: Load, out: IO[str]) -> "subprocess.Popen[str]":
    """Start a peer in its own folder, which is made new; what it prints goes to `out`."""
    shutil.rmtree(load.folder, ignore_errors=True)
    load.folder.mkdir()
    variable, peer = PEERS[name]
    command = peer.command(os.environ[variable], load)
    return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True, cwd=load.folder)
