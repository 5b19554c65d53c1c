"""Flags that came and went: what is known of an engine's versions, so that a wrong flag costs no GPU time.

Read from the argument parsers in the published wheels: vLLM 0.11.0, 0.12.0, 0.14.1, 0.16.0, 0.17.1, 0.18.0, 0.20.2,
0.22.1, 0.25.1, 0.28.0, 0.32.0 and SGLang 0.5.3, 0.5.4.post2, 0.5.23. Between two of these nothing is known.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.version import Version

from hpcsweep.engines.argv import canonical
from hpcsweep.engines.versions import admitted, mentioned, parse_version


@dataclass(frozen=True)
class FlagChange:
    """A flag that was taken out: `last_in` had it still, `gone_in` had it no more. `instead`: what to write now."""

    flag: str
    last_in: str
    gone_in: str
    instead: str = ""
    note: str = ""

    def advice(self) -> str:
        """What to do, half a sentence."""
        what = f"write {self.instead}" if self.instead else "leave it out"
        return f"{what} ({self.note})" if self.note else what


@dataclass(frozen=True)
class FlagProblem:
    """What is wrong with a flag. `certain`: in every version that is possible, not only in some."""

    flag: str
    sentence: str
    certain: bool


_EPLB = "--eplb-config '{...}'"
_HF = "--hf-overrides '{...}'"
_STRUCTURED = "--structured-outputs-config '{...}'"

REMOVED: Mapping[str, tuple[FlagChange, ...]] = {
    "vllm": (
        FlagChange("--calculate-kv-scales", "0.25.1", "0.28.0", note="scales come from the checkpoint"),
        FlagChange(
            "--cuda-graph-sizes", "0.12.0", "0.14.1", "--cudagraph-capture-sizes or --max-cudagraph-capture-size"
        ),
        FlagChange("--disable-frontend-multiprocessing", "0.18.0", "0.20.2"),
        FlagChange("--disable-log-requests", "0.16.0", "0.17.1", note="requests are not logged by default"),
        FlagChange("--disable-mm-preprocessor-cache", "0.12.0", "0.14.1", "--mm-processor-cache-gb 0"),
        FlagChange("--enable-lora-bias", "0.11.0", "0.12.0"),
        FlagChange("--enable-multimodal-encoder-data-parallel", "0.12.0", "0.14.1", "--mm-encoder-tp-mode data"),
        FlagChange("--eplb-log-balancedness", "0.11.0", "0.12.0", _EPLB),
        FlagChange("--eplb-step-interval", "0.11.0", "0.12.0", _EPLB),
        FlagChange("--eplb-window-size", "0.11.0", "0.12.0", _EPLB),
        FlagChange("--num-redundant-experts", "0.11.0", "0.12.0", _EPLB),
        FlagChange("--guided-decoding-backend", "0.11.0", "0.12.0", _STRUCTURED),
        FlagChange("--guided-decoding-disable-fallback", "0.11.0", "0.12.0", _STRUCTURED),
        FlagChange("--guided-decoding-disable-any-whitespace", "0.11.0", "0.12.0", _STRUCTURED),
        FlagChange("--guided-decoding-disable-additional-properties", "0.11.0", "0.12.0", _STRUCTURED),
        FlagChange("--logits-processor-pattern", "0.16.0", "0.17.1"),
        FlagChange("--lora-extra-vocab-size", "0.11.0", "0.12.0"),
        FlagChange("--max-long-partial-prefills", "0.25.1", "0.28.0"),
        FlagChange("--max-num-partial-prefills", "0.25.1", "0.28.0"),
        FlagChange("--num-lookahead-slots", "0.11.0", "0.12.0"),
        FlagChange("--override-attention-dtype", "0.25.1", "0.28.0"),
        FlagChange("--override-pooler-config", "0.11.0", "0.12.0", "--pooler-config '{...}'"),
        FlagChange("--rope-scaling", "0.11.0", "0.12.0", _HF),
        FlagChange("--rope-theta", "0.11.0", "0.12.0", _HF),
        FlagChange("--swap-space", "0.17.1", "0.18.0", note="KV cache offloading is --kv-offloading-size, in GiB"),
        FlagChange("--task", "0.12.0", "0.14.1", "--runner and --convert"),
    ),
    "sglang": (
        FlagChange("--cuda-graph-bs", "0.5.4.post2", "0.5.23", "--cuda-graph-config '{...}'"),
        FlagChange("--cuda-graph-max-bs", "0.5.4.post2", "0.5.23", "--cuda-graph-config '{...}'"),
        FlagChange("--enable-ep-moe", "0.5.3", "0.5.4.post2", "--ep-size N"),
        FlagChange("--enable-deepep-moe", "0.5.3", "0.5.4.post2", "--moe-a2a-backend deepep"),
        FlagChange("--enable-flashinfer-cutlass-moe", "0.5.3", "0.5.4.post2", "--moe-runner-backend"),
        FlagChange("--enable-flashinfer-trtllm-moe", "0.5.3", "0.5.4.post2", "--moe-runner-backend"),
        FlagChange("--enable-flashinfer-mxfp4-moe", "0.5.3", "0.5.4.post2", "--moe-runner-backend"),
        FlagChange("--enable-triton-kernel-moe", "0.5.3", "0.5.4.post2", "--moe-runner-backend"),
        FlagChange("--max-micro-batch-size", "0.5.3", "0.5.4.post2", "--pp-max-micro-batch-size"),
        FlagChange("--torchao-config", "0.5.4.post2", "0.5.23", "--quantization"),
    ),
}

ADDED: Mapping[str, Mapping[str, str]] = {
    "vllm": {
        "--all2all-backend": "0.12.0",
        "--cudagraph-capture-sizes": "0.12.0",
        "--kv-offloading-size": "0.12.0",
        "--max-cudagraph-capture-size": "0.12.0",
        "--optimization-level": "0.12.0",
        "--prefill-context-parallel-size": "0.12.0",
        "--attention-backend": "0.14.1",
        "--moe-backend": "0.17.1",
        "--performance-mode": "0.17.1",
        "--shutdown-timeout": "0.18.0",
        "--numa-bind": "0.20.2",
    },
    "sglang": {
        "--attn-dp-size": "0.5.23",
        "--cuda-graph-backend-decode": "0.5.23",
        "--cuda-graph-backend-prefill": "0.5.23",
    },
}
"""Engine -> flag -> the first version that was read with it."""


_RELEASES: Mapping[str, tuple[str, ...]] = {
    "vllm": (
        *("0.11.0", "0.11.1", "0.11.2", "0.12.0", "0.13.0", "0.14.0", "0.14.1", "0.15.0", "0.15.1", "0.16.0"),
        *("0.17.0", "0.17.1", "0.18.0", "0.18.1", "0.19.0", "0.19.1", "0.20.0", "0.20.1", "0.20.2", "0.21.0"),
        *("0.22.0", "0.22.1", "0.23.0", "0.24.0", "0.25.0", "0.25.1", "0.26.0", "0.27.0", "0.27.1", "0.28.0"),
        *("0.29.0", "0.30.0", "0.31.0", "0.32.0", "0.33.0"),
    ),
    "sglang": ("0.5.3", "0.5.4.post2", *(f"0.5.{patch}" for patch in range(5, 24))),
}


def flag_problems(
    engine: str, flags: Iterable[str], *, version: str | None = None, constraint: str | None = None
) -> list[FlagProblem]:
    """What is known against `flags`: for an installed `version`, or for all versions that a constraint admits.

    Without either every release is possible. Raises EngineError when `constraint` is none.
    """
    possible = _possible(engine, version, constraint)
    problems = []
    for flag in flags:
        for sentence, states in _known_of(engine, flag, possible):
            if any(state is not False for state in states):
                problems.append(FlagProblem(flag, sentence, all(states)))
    return problems


def advice(engine: str, flag: str) -> str | None:
    """What to do about a flag that the installed engine does not know; None: nothing is known of it."""
    sentences = [sentence for sentence, _ in _known_of(engine, flag, [])]
    return "; ".join(sentences) or None


def _possible(engine: str, version: str | None, constraint: str | None) -> list[Version]:
    installed = parse_version(version) if version is not None else None
    if installed is not None:
        return [installed]
    known = [*_RELEASES.get(engine, ()), *mentioned(constraint)]
    return [Version(release) for release in admitted(constraint, known)]


def _known_of(engine: str, flag: str, possible: list[Version]) -> list[tuple[str, list[bool | None]]]:
    """Sentences against a flag, and for each possible version whether it holds. None: that version was not read."""
    name, problems = canonical(flag), []
    for change in REMOVED.get(engine, ()):
        if change.flag == name:
            sentence = f"{flag} was taken out of {engine} by {change.gone_in}: {change.advice()}"
            problems.append((sentence, [_gone(change, v) for v in possible]))
    since = ADDED.get(engine, {}).get(name)
    if since is not None:
        problems.append((f"{flag} is not known before {engine} {since}", [v < Version(since) for v in possible]))
    return problems


def _gone(change: FlagChange, version: Version) -> bool | None:
    if version >= Version(change.gone_in):
        return True
    return False if version <= Version(change.last_in) else None
