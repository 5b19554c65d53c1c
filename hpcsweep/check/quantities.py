"""Find the measured numbers in a text, with their units, and the metric that a text names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from hpcsweep.imports.documents.numbers import NUMBER, Number, measured

_UNITS = (
    ("tok/s", r"(?:tok(?:en)?s?|t)\s?/\s?(?:s|sec|second)\b|tok(?:en)?s? per second|tps\b"),
    ("req/s", r"req(?:uest)?s?\s?/\s?(?:s|sec|second)\b|requests? per second|rps\b|qps\b"),
    ("ms", r"ms\b|milliseconds?\b"),
    ("us", r"[\u00b5\u03bcu]s\b|microseconds?\b"),
    ("s", r"s(?:ec(?:ond)?s?)?(?:/req(?:uest)?)?(?![\w/])"),
    ("min", r"min(?:ute)?s?\b"),
    ("h", r"h(?:ours?)?\b"),
    ("%", r"%"),
    ("GB", r"gi?b\b"),
    ("MB", r"mi?b\b"),
    ("W", r"w(?:atts?)?\b"),
    (
        "other",
        r"(?!(?:vs|versus|against|to|and|or|compared|over|with|for|on|in|at|from|by|when|while|is|was|than|down|up|as)\b)"
        r"[A-Za-z][A-Za-z/]{0,12}\b",
    ),
)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_QUANTITY = re.compile(
    rf"(?<![\w.,+\-/])(?<!\d[\u2013~])(?P<value>{NUMBER})(?P<kilo>[kKM](?![A-Za-z]))?"
    rf"(?:[ ]?[*`_]{{0,3}}[ ]?(?:{'|'.join(f'(?P<u{i}>{pattern})' for i, (_, pattern) in enumerate(_UNITS))}))?"
    rf"(?:\s?[x\u00d7*]\s?(?P<times>\d{{1,2}})(?![\w.]))?(?![\w])",
    re.IGNORECASE,
)
_KILO = {"k": 1e3, "m": 1e6}
_LABEL = re.compile(r"(?P<label>[A-Za-z][A-Za-z /_-]{0,40}(?:\([A-Za-z/ ]{1,12}\))?)[ ]?[:=][ ]?[*`~\u2248]{0,2}$")
_LABEL_LENGTH = 60
_REMEMBERED = 256
"""Texts whose numbers are cached; the lines below a line ask for its numbers again."""


@dataclass(frozen=True)
class StatedNumber:
    """A number in a text, in its own `unit`, at `start` to `end`. `label`: the text before it, as in `Total TPS: …`.

    `unit`: empty: not written; `other`: another word follows, so the number counts something else.
    """

    number: Number
    unit: str
    start: int
    end: int
    text: str
    label: str = ""

    @property
    def seconds(self) -> float | None:
        """Return the size of the unit in seconds; None: not a unit of time."""
        return _SECONDS.get(self.unit)

    @property
    def name(self) -> str:
        """Return the label for comparisons."""
        return self.label.lower()

    @property
    def digits(self) -> int:
        """Return the number of significant digits, not counting the zeros at the end of a whole number."""
        plain = re.sub(r"[^\d.]", "", self.text.split("x")[0]).lstrip("0.")
        whole, dot, _ = plain.partition(".")
        return len(plain.replace(".", "")) if dot else len(whole.rstrip("0"))


@lru_cache(maxsize=_REMEMBERED)
def quantities(text: str) -> tuple[StatedNumber, ...]:
    """Return the plain numbers of a text in order; `7081.34x2` is a product. Ranges and versions are left out."""
    numbers = []
    for match in _QUANTITY.finditer(text):
        number = measured(match["value"])
        if number is None or _part_of_a_range(text, match.start(), match.end()):
            continue
        unit = next((name for i, (name, _) in enumerate(_UNITS) if match[f"u{i}"]), "")
        end = match.end()
        if unit == "other":
            end = match.start(f"u{len(_UNITS) - 1}")
        if match["kilo"]:
            number = number * Number(_KILO[match["kilo"].lower()])
        if match["times"]:
            number = number * Number(float(match["times"]))
        label = _LABEL.search(text[max(0, match.start() - _LABEL_LENGTH) : match.start()])
        named = " ".join(label["label"].split()) if label else ""
        numbers.append(StatedNumber(number, unit, match.start(), end, text[match.start() : end].strip(" *_`"), named))
    return tuple(numbers)


def _part_of_a_range(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 3) : start], text[end : end + 3]
    return bool(re.search(r"[\d%kK]\s?[-\u2013~]\s?$", before) or re.match(r"\s?[-\u2013~]\s?\d", after))


def comparable(a: StatedNumber, b: StatedNumber) -> bool:
    """Return whether two numbers have the same unit, or one of them leaves out the unit of the other."""
    if "other" in (a.unit, b.unit) or "%" in (a.unit, b.unit):
        return False
    if a.seconds and b.seconds:
        return True
    return a.unit == b.unit or not a.unit or not b.unit


def in_one_unit(a: StatedNumber, b: StatedNumber) -> tuple[Number, Number]:
    """Return both numbers in the same unit."""
    if a.seconds and b.seconds and a.unit != b.unit:
        return a.number * Number(a.seconds), b.number * Number(b.seconds)
    return a.number, b.number


_STATISTICS = (
    ("p99", r"\bp99\b|99th"),
    ("p95", r"\bp95\b|95th"),
    ("p90", r"\bp90\b|90th"),
    ("median", r"\bmedian\b|\bp50\b|50th"),
    ("std", r"\bstd\b"),
    ("mean", r"\bmean\b|\bavg\b|\baverage\b"),
)
_TIMES = (
    ("ttft", r"\bttft\b|time to first token"),
    ("tpot", r"\btpot\b|time per output token"),
    ("itl", r"\bitl\b|inter[- ]token latency"),
    ("e2el", r"\be2el?\b|end[- ]to[- ]end latency|(?<!token )\blatency\b"),
)
_ODD = re.compile(
    r"peak|max\b|maximum|min\b|per[- ](?:gpu|user|req|card|dollar|watt)|/(?:gpu|user|card)|\bper\b.*gpu|decode"
)
_RATES = (
    ("request_throughput", r"req(?:uest)?s?\s?/\s?s|\brps\b|\bqps\b|request throughput"),
    ("total_token_throughput", r"\btotal (?:tps|tok|token|throughput)"),
    ("output_throughput", r"\b(?:output|generation|generated) (?:tps|tok|token|throughput)"),
    ("input_throughput", r"\b(?:input|prompt|prefill) (?:tps|tok|token|throughput)"),
)
_TOKENS = re.compile(r"\btps\b|throughput|tok(?:en)?s?\s?/\s?s|tokens? per second|\bt/s", re.IGNORECASE)
THROUGHPUTS = ("total_token_throughput", "output_throughput", "input_throughput", "request_throughput")
_SPEED = re.compile(
    r"\btps\b|throughput|tok(?:en)?s?\s?/\s?s|\bt/s\b|req\w*/s|\brps\b|\bqps\b|latency|\bttft\b|\btpot\b|\bitl\b|"
    r"tokens? per second",
    re.IGNORECASE,
)


def names_a_speed(text: str) -> bool:
    """Return whether a text names a throughput or a latency."""
    return bool(_SPEED.search(text))


_IN_SECONDS = re.compile(r"[(\[/ ](?:s|sec|secs|seconds?)(?=[)\] /]|$)", re.IGNORECASE)
_IN_MS = re.compile(r"[(\[/ ](?:ms|msec|milliseconds?)(?=[)\] /]|$)", re.IGNORECASE)


def unit_of_times(text: str) -> str:
    """Return the unit of time in a title such as `TTFT (ms)`; empty: none, or several."""
    seconds, ms = _IN_SECONDS.search(text), _IN_MS.search(text)
    return "" if bool(seconds) == bool(ms) else "s" if seconds else "ms"


def metrics_of(text: str) -> Sequence[str]:
    """Return the figures (names of `vllm bench serve`) that a text may name; several if it is ambiguous.

    Empty: not a figure of a benchmark block, such as a peak, a share of one GPU or user, or a decode speed.
    """
    lower = text.lower()
    if _ODD.search(lower):
        return ()
    for name, pattern in _TIMES:
        if re.search(pattern, lower):
            if "throughput" in lower or "tok/s" in lower:
                return ()
            statistic = next((word for word, form in _STATISTICS if re.search(form, lower)), "")
            return (f"{statistic}_{name}_ms",) if statistic else (f"mean_{name}_ms", f"median_{name}_ms")
    for name, pattern in _RATES:
        if re.search(pattern, lower):
            return (name,)
    return THROUGHPUTS[:2] if _TOKENS.search(lower) else ()
