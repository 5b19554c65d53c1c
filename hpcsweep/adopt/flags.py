"""Convert the arguments of a server to flags of `engine_args`, without those that hpcsweep sets itself."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hpcsweep.engines.argv import canonical
from hpcsweep.spec.server import FlagValue

_SHORT = {
    "vllm": {"-tp": "--tensor-parallel-size", "-pp": "--pipeline-parallel-size", "-dp": "--data-parallel-size",
             "-q": "--quantization", "-O": "--optimization-level"},
    "sglang": {},
    "trtllm": {},
}  # fmt: skip
"""Short flags -> the long flags of an experiment file."""

_DROPPED = frozenset(
    canonical(flag)
    for flag in ("--host", "--port", "--api-key", "--log-file", "--uds", "--root-path", "--disable-log-requests")
)
_MODEL = frozenset(canonical(flag) for flag in ("--model", "--model-path", "--model-tag"))
_OF_MODEL = {"--served-model-name": "served_name", "--revision": "revision"}
_FILES = frozenset(canonical(flag) for flag in ("--config", "--extra-llm-api-options"))
_SEVERAL_NODES = frozenset(
    canonical(flag)
    for flag in ("--nnodes", "--node-rank", "--master-addr", "--master-port", "--dist-init-addr", "--headless")
)
_FLAG = re.compile(r"--?[A-Za-z]")
_SWITCH = re.compile(r"--(?:enable-|disable-|no-|skip-|enforce-eager$|trust-remote-code$|async-scheduling$)")
"""Flags without a value; a word after such a flag may be the model."""

ExpandedWord = tuple[str, str | None, str | None]
"""(as written, its text or None, the variable that it consists of or None)."""


@dataclass(frozen=True)
class ServerFlag:
    """A flag of a server, by its long name. `variable`: the variable of the script that gives the value; None: none."""

    name: str
    value: FlagValue
    variable: str | None = None


def read_flags(
    engine: str, words: Iterable[ExpandedWord], line: int
) -> tuple[str | None, list[ServerFlag], list[tuple[int, str]]]:
    """Return (model, flags, (line, sentence) of what could not be resolved) of a server's arguments.

    `served_name` and `revision` are returned as flags of these names; they belong under `model`.
    """
    model: str | None = None
    flags: list[ServerFlag] = []
    unclear: list[tuple[int, str]] = []
    rest = list(words)
    while rest:
        raw, text, variable = rest.pop(0)
        if text is None and not raw.lstrip('"').startswith("-"):
            if model is None and not flags:
                model = raw.strip('"')
            else:
                unclear.append((line, f"the value of {raw} is only known when the job runs"))
            continue
        written = text if text is not None else raw
        if not _FLAG.match(written):
            if model is None:
                model = written
            elif written:
                unclear.append((line, f"{written!r} does not belong to a flag"))
            continue
        name, value = _SHORT[engine].get(written.partition("=")[0], written.partition("=")[0]), []
        if "=" in written:
            value = [(raw.partition("=")[2], written.partition("=")[2] if text is not None else None, variable)]
            value = [(value[0][0], value[0][1], _variable(value[0][0]))]
        elif re.fullmatch(r"-O\d", written):
            name, value = _SHORT[engine].get("-O", written), [(written[2:], written[2:], None)]
        takes_value = "=" not in written and not _SWITCH.match(name)
        while takes_value and rest and not _is_flag(rest[0]) and (not value or rest[0][1] is not None):
            value.append(rest.pop(0))  # an unresolved word after a value may be anything
        if not name.startswith("--"):
            unclear.append((line, f"{written}: write its long form under `engine_args`"))
            continue
        known = canonical(name)
        if known in _DROPPED:
            continue
        if known in _MODEL:
            model = value[0][1] if value and value[0][1] is not None else (value[0][0].strip('"') if value else None)
        elif known in _FILES:
            unclear.append((line, f"{name}: write the keys of this file as flags under `engine_args`"))
        elif known in _SEVERAL_NODES:
            unclear.append((line, f"{name}: flags of a server on several nodes are not adopted"))
        elif any(item[1] is None for item in value):
            unclear.append((line, f"{name} {value[0][0]}: the value is only known when the job runs"))
        else:
            key = _OF_MODEL.get(known, name)
            flags.append(_flag(key, value))
    return model, flags, unclear


def _flag(name: str, value: list[ExpandedWord]) -> ServerFlag:
    texts = [str(item[1]) for item in value]
    if not texts:
        negative = name.startswith("--no-")
        return ServerFlag("--" + name.removeprefix("--no-") if negative else name, not negative)
    if len(texts) == 1:
        return ServerFlag(name, plain_value(texts[0]), value[0][2])
    return ServerFlag(name, texts)


def plain_value(text: str) -> FlagValue:
    """Return the number that the text prints, if printing it again gives the same text; otherwise the text."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if repr(number) == text:
            return number
    return text


def _variable(raw: str) -> str | None:
    match = re.fullmatch(r'"?\$\{?([A-Za-z_][A-Za-z0-9_]*)(?::?[-=][^{}]*)?\}?"?', raw)
    return match[1] if match else None


def _is_flag(word: ExpandedWord) -> bool:
    raw, text, _ = word
    return bool(_FLAG.match(text if text is not None else raw.lstrip('"')))
