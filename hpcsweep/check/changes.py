"""Claims of a change in percent: from two numbers beside it, else from two measured figures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

from hpcsweep.check.findings import Finding, Verdict
from hpcsweep.check.known import NOISE_PERCENT, NOISE_REASON, Known
from hpcsweep.imports.blocks import Place
from hpcsweep.imports.numbers import NUMBER, Number, measured, percent_change, shown

WORDS = (
    r"slower|faster|higher|lower|better|worse|longer|shorter|more|less|improvement|improved|speed-?up|gain|increase|"
    r"decrease|reduction|regression"
)
_PERCENT = re.compile(rf"(?P<sign>[+\-])?(?P<value>\d+(?:\.\d+)?)\s*%(?P<word>\W{{0,3}}(?:{WORDS})\b)?", re.IGNORECASE)
_UNIT = r"(?:\s*(?:tok(?:en)?s?/s|tps))?"
_PLAIN = re.compile(
    rf"(?<![\w.,+\-])(?P<value>{NUMBER})(?:{_UNIT}\s*[x\u00d7*]\s*(?P<times>\d{{1,2}})\b)?(?![\w.]*%|\w)", re.IGNORECASE
)
_NAMED = re.compile(rf"(?P<name>[A-Za-z][\w /]*(?:\([\w/]+\))?)\s*:\s*(?P<value>{NUMBER})")
_SPEED = re.compile(
    r"\btps\b|throughput|tok(?:en)?s?/s|req/s|latency|\bt[pt][of]t\b|\bitl\b|faster|slower", re.IGNORECASE
)
_ELSEWHERE = re.compile(
    r"memory|\bv?ram\b|accuracy|quality|cache|utili[sz]ation|cost|price|power|energy|\bloss\b|\bsize\b|parameters|"
    r"hit rate|acceptance|perplexity|weights",
    re.IGNORECASE,
)
"""What the figures of a benchmark say nothing about, unless the same line names a speed."""

_NEAR = 8
"""Numbers before a claim, on its line, that it may be about."""

_NEAR_LINES = 6
"""Lines above a claim, in which its other number may stand: the cells of one row, one below the other."""

_SAME_TABLE_LINES = 60
"""The baseline of a table may stand in its first row."""

Change = tuple[Number, Known, Known, str]


def changes_of(known: Sequence[Known], gpus: Mapping[Place, int]) -> list[Change]:
    """Every change from one measured figure to another of the same kind and the same requests.

    A throughput also as that of so many replicas as take as many GPUs as the other; the last item says so.
    """
    alike: dict[tuple[object, ...], list[Known]] = {}
    for one in known:
        alike.setdefault((one.what, one.work), []).append(one)
    found: list[Change] = []
    for group in alike.values():
        for new, old in permutations(group, 2):
            if old.value.value:
                found.append((percent_change(new.value, old.value), new, old, ""))
                mine, theirs = gpus.get(new.place), gpus.get(old.place)
                if mine and theirs and mine != theirs and new.what.endswith("throughput"):
                    scaled = new.value * Number(theirs / mine)
                    words = f" x {theirs / mine:g}, if replicas scale without loss,"
                    found.append((percent_change(scaled, old.value), new, old, words))
    return found


def percents(lines: Sequence[str], place: Place, about: str, changes: Sequence[Change]) -> Iterator[Finding]:
    """The changes that the line at a place states.

    They are held against two numbers before it on its line; else against its own number and one of the same name in
    the lines above, as the cells of a row stand in the text of a page; else against two measured figures of one kind.
    """
    line = lines[place.line - 1]
    for match in _PERCENT.finditer(line):
        if not match["sign"] and not match["word"]:
            continue
        stated = measured(match["value"])
        if stated is None:
            continue
        minus = match["sign"] == "-"
        either = not match["sign"]
        claim = match[0].strip()
        here = plain_numbers(line[: match.start()])
        pair = _pair_here(here, stated, minus=minus, either=either)
        further = [] if pair else _pairs_above(lines, place.line, match.start(), _SAME_TABLE_LINES)
        pair = pair or next((p for p in further if _fits(percent_change(*p), stated, minus, either)), None)
        if pair is not None:
            new, old = pair
            why = f"{shown(new.value)} against {shown(old.value)}"
            yield _judged(place, about, claim, stated, percent_change(new, old), why)
            continue
        fitting = [one for one in changes if _fits(one[0], stated, minus, either)]
        target = -stated.value if minus else stated.value
        if fitting:
            change, later, earlier, scaled = fitting[0]
            why = f"{later.what}: {later} {shown(later.value.value)}{scaled} against {earlier} "
            why += shown(earlier.value.value)
            yield _judged(place, about, claim, stated, change, why)
        elif len(above := _pairs_above(lines, place.line, match.start(), _NEAR_LINES)) == 1:
            # of several nobody says which one is meant
            change = percent_change(*above[0])
            why = f"{shown(above[0][0].value)} against {shown(above[0][1].value)} = {change.value:+.2f}%"
            yield Finding(place, about, claim, Verdict.WRONG, why, "percent", target, change.value, "%")
        elif (changes or here) and (_SPEED.search(line) or not _ELSEWHERE.search(line)):
            nearest = min(changes, key=lambda one: abs(one[0].value - target), default=None)
            why = "no two of the measured figures give it"
            if nearest is not None:
                why += f"; the nearest is {nearest[0].value:+.1f}%: {nearest[1]}{nearest[3]} against {nearest[2]}"
            yield Finding(place, about, claim, Verdict.DOES_NOT_FOLLOW, why, "percent", target, None, "%")
        else:
            yield Finding(place, about, claim, Verdict.NOT_CHECKED, "there is no number to compare it with", "percent")


def _pairs_above(lines: Sequence[str], number: int, end: int, near: int) -> list[tuple[Number, Number]]:
    """(new, old): the last named number before the claim, and those of the same name in the lines above it."""
    own = list(_NAMED.finditer(lines[number - 1], 0, end))
    if not own:
        return []
    name = own[-1]["name"].split("  ")[-1].strip().lower()
    new = plain_numbers(lines[number - 1][own[-1].start("value") : end])
    if not new:
        return []
    found = []
    for line in reversed(lines[max(0, number - 1 - near) : number - 1]):
        for match in _NAMED.finditer(line):
            old = plain_numbers(line[match.start("value") :])
            if match["name"].strip().lower().endswith(name) and old and old[0].value:
                found.append((new[0], old[0]))
    return found


def _judged(place: Place, about: str, claim: str, stated: Number, change: Number, why: str) -> Finding:
    noise = abs(change.value) < NOISE_PERCENT
    return Finding(
        place=place,
        about=about,
        claim=claim,
        verdict=Verdict.NOISE if noise else Verdict.CONFIRMED,
        reason=f"{why} = {change.value:+.2f}%" + (f"; {NOISE_REASON}" if noise else ""),
        kind="percent",
        stated=stated.value if change.value >= 0 else -stated.value,
        recomputed=change.value,
        unit="%",
    )


def _fits(change: Number, stated: Number, minus: bool, either: bool) -> bool:
    signs = (1, -1) if either else (-1,) if minus else (1,)
    return any(change.agrees(Number(sign * stated.value, stated.tolerance)) for sign in signs)


def plain_numbers(text: str) -> list[Number]:
    """The plain numbers of a text, in order; `7081.34x2` is a product."""
    found = []
    for match in _PLAIN.finditer(text):
        number = measured(match["value"])
        if number is not None:
            found.append(number * Number(float(match["times"])) if match["times"] else number)
    return found


def _pair_here(numbers: Sequence[Number], stated: Number, *, minus: bool, either: bool) -> tuple[Number, Number] | None:
    """The nearest (new, old) before the claim that gives it. None: no two numbers do."""
    latest = list(reversed(numbers))[:_NEAR]
    for new, old in permutations(latest, 2):
        if old.value and new.value and _fits(percent_change(new, old), stated, minus, either):
            return new, old
    return None
