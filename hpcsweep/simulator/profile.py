"""Read the profile of a simulated engine from YAML, check it, and resolve it for one variant.

Pydantic is not used, because importing it takes longer than the rest of the server's start.
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
    "gpu_memory", "prefix_cache", "chunked_prefill", "model", "engine", "image",
)  # fmt: skip
"""The built-in axes, which a rule may use besides the axes of the variant and flags (`--name`)."""

_WORDS = dict.fromkeys(TRUE_WORDS, True) | dict.fromkeys(FALSE_WORDS, False)

T = TypeVar("T")


@dataclass(frozen=True)
class StartupDurations:
    """Duration of each phase of the startup in simulated seconds. 0: the phase is skipped."""

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
    """The compile phase. `warm_s`: its duration with a warm cache; None: the cache has no effect."""

    dynamo_s: float = 5.0
    warm_s: float | None = None


@dataclass(frozen=True)
class Memory:
    """GPU memory as logged, per GPU. `block_tokens`: tokens per block of the KV cache."""

    weights_gib: float = 10.0
    kv_cache_gib: float = 40.0
    kv_cache_tokens: int = 500_000
    graphs_gib: float = 0.5
    block_tokens: int = 16


@dataclass(frozen=True)
class Speed:
    """Speed of answers, in simulated seconds.

    One engine step generates one token for every running request. It takes 1 / `decode_tps`, plus `per_request_s` for
    each further request, plus the time of its prompt tokens at `prefill_tps`. `answer_tokens`: length of an answer to a
    request without `ignore_eos`; None: the maximum. `image_tokens`: per image. `stream_interval`: tokens per event
    after the first, as in vLLM's flag.
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
    """The behaviour of a server, for one variant. `jitter`: relative half-width of all durations."""

    startup: StartupDurations = StartupDurations()
    compile: Compile = Compile()
    memory: Memory = Memory()
    speed: Speed = Speed()
    faults: tuple[Fault, ...] = ()
    jitter: float = 0.0
    seed: str = ""
    fingerprint: str = ""

    def having(self, kind: type[T]) -> list[T]:
        """Return the faults of one kind, in the order of the profile."""
        return [fault for fault in self.faults if isinstance(fault, kind)]


@dataclass(frozen=True)
class ProfileRule:
    """An overlay for the variants that match `when` in every key."""

    when: Mapping[str, Any]
    overlay: Mapping[str, Any]
    where: str


@dataclass(frozen=True)
class SimulationProfile:
    """A profile file: `base` for all variants, then the rules. Later rules take precedence."""

    path: str
    base: Mapping[str, Any]
    rules: tuple[ProfileRule, ...] = ()
    about: str = ""
    seed: int = 0

    def resolve(self, variant: Mapping[str, str], repeat: int = 1) -> Behaviour:
        """Return the behaviour of a variant (axis or flag -> label). Raises SpecError for a rule on an unknown axis."""
        merged = dict(self.base)
        for rule in self.rules:
            for key in rule.when:
                if key not in variant and key not in MATCHABLE and not key.startswith("--"):
                    raise _unknown(f"{rule.where}.when", key, [*variant, *MATCHABLE])
            if all(key in variant and _matches(variant[key], wanted) for key, wanted in rule.when.items()):
                merged = _overlaid(merged, rule.overlay)
        fingerprint = hashlib.sha256(json.dumps(dict(variant), sort_keys=True).encode()).hexdigest()[:10]
        return _behaviour(merged, self.path, seed=f"{self.seed}/{fingerprint}/{repeat}", fingerprint=fingerprint)


_SECTIONS: dict[str, type] = {"startup": StartupDurations, "compile": Compile, "memory": Memory, "speed": Speed}
_OVERLAY = (*_SECTIONS, "faults", "jitter")


def read_profile(path: str | Path) -> SimulationProfile:
    """Read a profile from a YAML 1.2 file. Raises SpecError with file and key."""
    where = str(path)
    try:
        text = read_regular(path, RECORD_LIMIT_BYTES, follow=True).decode("utf-8")
    except OSError as exc:
        message = f"profile of the simulated engine cannot be read: {where}: {exc.strerror}"
        raise SpecError(message, code="profile_unreadable") from exc
    except UnicodeDecodeError as exc:
        raise SpecError(f"{where} is not YAML", code="profile_not_yaml", detail=str(exc)) from exc
    document, _ = parse_yaml(text, where)
    if not isinstance(document, dict):
        message = f"{where}: expected a mapping, got {type(document).__name__}"
        raise SpecError(message, code="profile_not_a_mapping")
    _check_keys(document, ("about", "seed", "rules", *_OVERLAY), where)
    rules = document.get("rules") or []
    if not isinstance(rules, list):
        raise SpecError(f"{where}: rules: expected a list of mappings with `when`", code="profile_rules")
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
        message = f"{where}: expected a mapping with `when: {{axis: level}}` and the keys to change"
        raise SpecError(message, code="profile_rules")
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
        raise SpecError(f"{where}: faults: expected a list of mappings with `kind`", code="profile_faults")
    jitter = _typed(raw.get("jitter", 0.0), float, f"{where}: jitter")
    if jitter >= 1:
        raise SpecError(f"{where}: jitter: expected a number below 1, got {jitter:g}", code="profile_value")
    speed = parts["speed"]
    for name in ("decode_tps", "prefill_tps", "max_num_seqs", "max_num_batched_tokens", "stream_interval"):
        if getattr(speed, name) <= 0:
            raise SpecError(f"{where}: speed.{name}: expected a number above 0", code="profile_value")
    if parts["memory"].block_tokens < 1:
        raise SpecError(f"{where}: memory.block_tokens: expected at least 1", code="profile_value")
    return Behaviour(
        **parts,
        faults=tuple(_fault(item, f"{where}: faults[{number}]") for number, item in enumerate(faults)),
        jitter=jitter,
        seed=seed,
        fingerprint=fingerprint,
    )


def _fault(raw: Any, where: str) -> Fault:
    if not isinstance(raw, dict) or "kind" not in raw:
        message, hint = f"{where}: expected a mapping with `kind`", f"known: {', '.join(FAULTS)}"
        raise SpecError(message, code="profile_faults", hint=hint)
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
        raise SpecError(f"{where}: expected a mapping, got {raw!r}", code="profile_not_a_mapping")
    types = {item.name: item.type for item in fields(kind)}
    _check_keys(raw, types, where)
    return kind(**{key: _typed(value, types[key], f"{where}.{key}") for key, value in raw.items()})


def _typed(value: Any, kind: Any, where: str) -> Any:
    """Return `value` as the type of a field. In YAML 1.2 on, off, yes and no are strings."""
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
    wanted = {float: "a number of at least 0", int: "an integer of at least 0", bool: "yes or no", str: "text"}
    message = f"{where}: expected {wanted.get(kind, 'a list of integers')}, got {value!r}"
    raise SpecError(message, code="profile_value")


def _matches(label: str, wanted: Any) -> bool:
    """Return whether a level's label matches a value of a rule, or one of a list. `8k` is 8192, `no` is false."""
    if isinstance(wanted, list):
        return any(_matches(label, value) for value in wanted)
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
    hint = f"{meant}known: {', '.join(names)}"
    return SpecError(f"{where}: unknown {what} {word!r}", code="profile_unknown_name", hint=hint)
