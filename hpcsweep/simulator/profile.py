"""The profile of a simulated engine: read from YAML, checked, and resolved for one variant.

Pydantic is left out on purpose: importing it takes longer than the rest of the server's start.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from hpcsweep.errors import SpecError
from hpcsweep.foreign_files import RECORD_LIMIT_BYTES, read_regular
from hpcsweep.simulator.faults import FAULTS, RANK_SHAPES, Fault, RankStuck
from hpcsweep.spec.axis_names import FALSE_WORDS, TRUE_WORDS
from hpcsweep.spec.phases import STARTUP_PHASES
from hpcsweep.spec.yaml_text import parse_yaml
from hpcsweep.units import parse_tokens

MATCHABLE = (
    "ep", "eager", "len", "tp", "pp", "dp", "max_num_batched_tokens", "max_num_seqs", "kv_dtype", "quantization",
    "gpu_memory", "prefix_cache", "chunked_prefill", "model", "engine",
)  # fmt: skip
"""What a rule may ask for besides the axes of the variant and flags (`--name`): the built-in axes."""

_WORDS = dict.fromkeys(TRUE_WORDS, True) | dict.fromkeys(FALSE_WORDS, False)

T = TypeVar("T")


@dataclass(frozen=True)
class StartupDurations:
    """How long each phase of the start takes, simulated seconds. 0: the phase does not take place."""

    launch: float = 2.0
    engine_init: float = 5.0
    load_weights: float = 30.0
    compile: float = 0.0
    profile: float = 3.0
    kv_cache: float = 0.5
    capture_graphs: float = 0.0
    warmup: float = 1.0


@dataclass(frozen=True)
class Compile:
    """What happens inside the compile phase. `warm_s`: its length with a filled cache; None: the cache never helps."""

    dynamo_s: float = 5.0
    warm_s: float | None = None


@dataclass(frozen=True)
class Memory:
    """What the log says of GPU memory; figures of one GPU. `block_tokens`: tokens of one block of the KV cache."""

    weights_gib: float = 10.0
    kv_cache_gib: float = 40.0
    kv_cache_tokens: int = 500_000
    graphs_gib: float = 0.5
    block_tokens: int = 16


@dataclass(frozen=True)
class Speed:
    """How fast answers come, in simulated seconds.

    One engine step gives one token to every running request. It takes 1 / `decode_tps`, `per_request_s` more for each
    further request, and the time of the prompt tokens it takes in at `prefill_tps`. `answer_tokens`: length of an
    answer whose request does not say `ignore_eos`; None: as long as allowed. `image_tokens`: of one image.
    `stream_interval`: tokens of one event after the first, as vLLM's flag of this name.
    """

    decode_tps: float = 50.0
    per_request_s: float = 0.0
    prefill_tps: float = 10_000.0
    first_request_extra_s: float = 0.0
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    prefix_caching: bool = True
    answer_tokens: int | None = None
    image_tokens: int = 1000
    stream_interval: int = 1


@dataclass(frozen=True)
class Behaviour:
    """All that a server needs to know, for one variant. `jitter`: relative half-width of every duration."""

    startup: StartupDurations = StartupDurations()
    compile: Compile = Compile()
    memory: Memory = Memory()
    speed: Speed = Speed()
    faults: tuple[Fault, ...] = ()
    jitter: float = 0.0
    seed: str = ""
    fingerprint: str = ""

    def having(self, kind: type[T]) -> list[T]:
        """The faults of one kind, in the order of the profile."""
        return [fault for fault in self.faults if isinstance(fault, kind)]


@dataclass(frozen=True)
class ProfileRule:
    """An overlay for the variants that agree with `when` on every key."""

    when: Mapping[str, Any]
    overlay: Mapping[str, Any]
    where: str


@dataclass(frozen=True)
class SimulationProfile:
    """A profile as it stands in its file: `base` for all variants, then the rules; later rules win."""

    path: str
    base: Mapping[str, Any]
    rules: tuple[ProfileRule, ...] = ()
    about: str = ""
    seed: int = 0

    def resolve(self, variant: Mapping[str, str], repeat: int = 1) -> Behaviour:
        """The behaviour for a variant: axis or flag -> label of its level. SpecError for a rule on an unknown axis."""
        merged = dict(self.base)
        for rule in self.rules:
            for key in rule.when:
                if key not in variant and key not in MATCHABLE and not key.startswith("--"):
                    raise _unknown(f"{rule.where}.when", key, [*variant, *MATCHABLE])
            if all(key in variant and _agrees(variant[key], wanted) for key, wanted in rule.when.items()):
                merged = _overlaid(merged, rule.overlay)
        fingerprint = hashlib.sha256(json.dumps(dict(variant), sort_keys=True).encode()).hexdigest()[:10]
        return _behaviour(merged, self.path, seed=f"{self.seed}/{fingerprint}/{repeat}", fingerprint=fingerprint)


_SECTIONS: dict[str, type] = {"startup": StartupDurations, "compile": Compile, "memory": Memory, "speed": Speed}
_OVERLAY = (*_SECTIONS, "faults", "jitter")


def read_profile(path: str | Path) -> SimulationProfile:
    """The profile in a YAML 1.2 file. SpecError names file and key of whatever is wrong."""
    where = str(path)
    try:
        text = read_regular(path, RECORD_LIMIT_BYTES, follow=True).decode("utf-8")
    except OSError as exc:
        raise SpecError(f"the profile of the simulated engine cannot be read: {where}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SpecError(f"{where} is not YAML", detail=str(exc)) from exc
    document, _ = parse_yaml(text, where)
    if not isinstance(document, dict):
        raise SpecError(f"{where}: a profile is a mapping, not {type(document).__name__}")
    _check_keys(document, ("about", "seed", "rules", *_OVERLAY), where)
    rules = document.get("rules") or []
    if not isinstance(rules, list):
        raise SpecError(f"{where}: rules: a list of mappings, each with `when`")
    base = {key: document[key] for key in _OVERLAY if key in document}
    profile = SimulationProfile(
        where,
        base,
        tuple(_rule(rule, f"{where}: rules[{number}]") for number, rule in enumerate(rules)),
        about=str(document.get("about", "")),
        seed=_typed(document.get("seed", 0), int, f"{where}: seed"),
    )
    _behaviour(base, where)
    return profile


def _rule(raw: Any, where: str) -> ProfileRule:
    if not isinstance(raw, dict) or not isinstance(raw.get("when"), dict) or not raw["when"]:
        raise SpecError(f"{where}: a rule is a mapping with `when: {{axis: level}}` and what changes then")
    overlay = {key: value for key, value in raw.items() if key != "when"}
    _check_keys(overlay, _OVERLAY, where)
    _behaviour(overlay, where)
    return ProfileRule({str(key): value for key, value in raw["when"].items()}, overlay, where)


def _overlaid(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overlay.items():
        merged[key] = {**(base.get(key) or {}), **(value or {})} if key in _SECTIONS else value
    return merged


def _behaviour(raw: Mapping[str, Any], where: str, seed: str = "", fingerprint: str = "") -> Behaviour:
    parts = {name: _section(kind, raw.get(name), f"{where}: {name}") for name, kind in _SECTIONS.items()}
    faults = raw.get("faults") or []
    if not isinstance(faults, list):
        raise SpecError(f"{where}: faults: a list of mappings, each with `kind`")
    jitter = _typed(raw.get("jitter", 0.0), float, f"{where}: jitter")
    if jitter >= 1:
        raise SpecError(f"{where}: jitter: {jitter:g} is not below 1")
    speed = parts["speed"]
    for name in ("decode_tps", "prefill_tps", "max_num_seqs", "max_num_batched_tokens", "stream_interval"):
        if getattr(speed, name) <= 0:
            raise SpecError(f"{where}: speed.{name}: must be above 0")
    if parts["memory"].block_tokens < 1:
        raise SpecError(f"{where}: memory.block_tokens: at least 1")
    return Behaviour(
        **parts,
        faults=tuple(_fault(item, f"{where}: faults[{number}]") for number, item in enumerate(faults)),
        jitter=jitter,
        seed=seed,
        fingerprint=fingerprint,
    )


def _fault(raw: Any, where: str) -> Fault:
    if not isinstance(raw, dict) or "kind" not in raw:
        raise SpecError(f"{where}: a fault is a mapping with `kind`", hint=f"known: {', '.join(FAULTS)}")
    kind = FAULTS.get(str(raw["kind"]))
    if kind is None:
        raise _unknown(where, str(raw["kind"]), FAULTS, "kind of fault")
    options = {key: value for key, value in raw.items() if key != "kind"}
    fault: Fault = _section(kind, options, where)
    phase = getattr(fault, "phase", None)
    if phase is not None and phase not in STARTUP_PHASES:
        raise _unknown(where, phase, STARTUP_PHASES, "phase")
    if isinstance(fault, RankStuck) and fault.how not in RANK_SHAPES:
        raise _unknown(where, fault.how, RANK_SHAPES, "value of how")
    return fault


def _section(kind: type, raw: Any, where: str) -> Any:
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise SpecError(f"{where}: a mapping, not {raw!r}")
    types = {item.name: item.type for item in fields(kind)}
    _check_keys(raw, types, where)
    return kind(**{key: _typed(value, types[key], f"{where}.{key}") for key, value in raw.items()})


def _typed(value: Any, kind: Any, where: str) -> Any:
    """`value` as the type of a field. YAML 1.2 leaves on, off, yes and no as words."""
    if kind in (float | None, int | None):
        if value is None:
            return None
        kind = float if kind == float | None else int
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float and number and math.isfinite(value) and value >= 0:
        return float(value)
    if kind is int and isinstance(value, int) and number and (value >= 0 or where.endswith("exit_code")):
        return value
    if kind is bool and str(value).lower() in _WORDS:
        return _WORDS[str(value).lower()]
    if kind is str and isinstance(value, str):
        return value
    if kind == tuple[int, ...] and isinstance(value, list):
        return tuple(_typed(item, int, where) for item in value)
    wanted = {float: "a number of at least 0", int: "a whole number of at least 0", bool: "yes or no", str: "text"}
    raise SpecError(f"{where}: {value!r} is not {wanted.get(kind, 'a list of whole numbers')}")


def _agrees(label: str, wanted: Any) -> bool:
    """Whether the label of a level is what a rule asks for: a value, or one of a list. `8k` is 8192, `no` is false."""
    if isinstance(wanted, list):
        return any(_agrees(label, one) for one in wanted)
    return bool(_plain(label) == _plain(wanted))


def _plain(value: Any) -> Any:
    word = str(value).lower()
    if word in _WORDS:
        return _WORDS[word]
    try:
        return parse_tokens(word)
    except ValueError:
        return str(value)


def _check_keys(raw: Mapping[Any, Any], known: Iterable[str], where: str) -> None:
    for key in raw:
        if key not in known:
            raise _unknown(where, str(key), known)


def _unknown(where: str, word: str, known: Iterable[str], what: str = "key") -> SpecError:
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(word, names, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return SpecError(f"{where}: unknown {what} {word!r}", hint=f"{meant}known: {', '.join(names)}")
