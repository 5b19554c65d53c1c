"""Parse the settings of a serve command, so that commands with different spellings can be compared."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcsweep.imports.documents.model import Benchmark, BlockContext
from hpcsweep.imports.documents.outline import meant_argv

_ALIASES = {
    "tp": "tensor-parallel-size", "tp-size": "tensor-parallel-size", "pp": "pipeline-parallel-size",
    "pp-size": "pipeline-parallel-size", "dp": "data-parallel-size", "dp-size": "data-parallel-size",
    "ep": "ep-size", "expert-parallel-size": "ep-size", "moe-expert-parallel-size": "ep-size", "model": "model-path",
    "m": "model-path", "q": "quantization",
}  # fmt: skip
_WITHOUT_EFFECT = {
    "host", "port", "api-key", "served-model-name", "tool-call-parser", "reasoning-parser", "enable-auto-tool-choice",
    "trust-remote-code", "chat-template", "disable-log-requests", "log-level", "uds",
}  # fmt: skip
"""Flags that do not affect the speed of a server."""

_FLAG = re.compile(r"--?[A-Za-z]")
_SWITCH = re.compile(r"enable-|disable-|no-|skip-|enforce-eager$|trust-remote-code$")
"""Flags without a value; a word after such a flag may be the model."""

_PARALLEL = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")


@dataclass(frozen=True)
class ServeSettings:
    """Engine, model, and flags that may affect the speed: long names without dashes; the value of a switch is empty."""

    engine: str
    model: str
    flags: Mapping[str, str]

    @property
    def gpus(self) -> int:
        """Return the GPUs of a server, tensor x pipeline x data parallel size; 0: a size is not a number.

        With SGLang's data parallel attention, the data parallel ranks are inside the tensor parallel group.
        """
        sizes = [self.flags.get(name, "1") for name in _PARALLEL]
        if self.engine == "sglang" and "enable-dp-attention" in self.flags:
            sizes = sizes[:2]
        if not all(size.isdecimal() and int(size) for size in sizes):
            return 0
        return math.prod(map(int, sizes))

    def differences(self, other: "ServeSettings") -> list[str]:
        """Return how `other` differs, as text; empty: the settings are equal."""
        differences = []
        if self.engine != other.engine:
            differences.append(f"{other.engine} instead of {self.engine}")
        if self.model != other.model:
            differences.append(f"{other.model} instead of {self.model}")
        for name in sorted({*self.flags, *other.flags}):
            mine, theirs = self.flags.get(name), other.flags.get(name)
            if mine != theirs:
                differences.append(f"{_written(name, theirs)} instead of {_written(name, mine)}")
        return differences


def _written(name: str, value: str | None) -> str:
    return f"no --{name}" if value is None else f"--{name} {value}".rstrip()


def serve_settings(argv: Sequence[str]) -> ServeSettings | None:
    """Parse the settings of a command; None: it does not start a supported server."""
    words = list(argv)
    joined = " ".join(words)
    if "sglang.launch_server" in joined:
        engine = "sglang"
    elif "trtllm-serve" in joined:
        engine = "trtllm"
    elif "vllm" in joined:
        engine = "vllm"
    else:
        return None
    starts = [
        i for i, word in enumerate(words) if word in ("serve", "trtllm-serve") or ("." in word and "server" in word)
    ]
    rest = words[starts[-1] + 1 :] if starts else words
    model, flags, index = "", {}, 0
    while index < len(rest):
        word = rest[index]
        index += 1
        if not word.startswith("-") or word in ("-", "--"):
            model = model or word
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals and not _SWITCH.match(name) and index < len(rest) and not _FLAG.match(rest[index]):
            value, index = rest[index], index + 1
        flags[_name(name)] = value
    model = flags.pop("model-path", "") or model
    return ServeSettings(engine, model, {name: v for name, v in flags.items() if name not in _WITHOUT_EFFECT})


def _name(flag: str) -> str:
    name = flag.replace("_", "-")
    return _ALIASES.get(name, name)


def argv_of(context: BlockContext) -> tuple[str, ...]:
    """Return the command above a block, overridden by flags in the block's label; empty: none."""
    words = list(meant_argv(context.command)) if context.command else []
    if not words or not context.comment.startswith("-"):
        return tuple(words)
    own = meant_argv(context.comment)
    named = {_name(word.lstrip("-").partition("=")[0]) for word in own if word.startswith("-")}
    words_left: list[str] = []
    dropping = False
    for word in words:
        if word.startswith("-"):
            dropping = _name(word.lstrip("-").partition("=")[0]) in named
        if not dropping:
            words_left.append(word)
    return (*words_left, *own)


def settings_of(benchmark: Benchmark) -> ServeSettings | None:
    """Return the settings of a block: those of the command above it, overridden by flags in its label."""
    argv = argv_of(benchmark.context)
    return serve_settings(argv) if argv else None
