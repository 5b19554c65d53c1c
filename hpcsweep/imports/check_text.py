"""Claims in a report's prose and tables: percentages, ratios, orderings, rates that are none."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations

from hpcsweep.analysis.claims import LOG_WINDOW_S, log_window
from hpcsweep.imports.blocks import Imported, Place
from hpcsweep.imports.findings import Finding, Verdict
from hpcsweep.imports.known import NOISE_PERCENT, NOISE_REASON, Known, known_figures
from hpcsweep.imports.numbers import NUMBER, Number, measured, percent_change, shown
from hpcsweep.imports.printed import is_part

_WORDS = (
    r"slower|faster|higher|lower|better|worse|longer|shorter|more|less|improvement|improved|speed-?up|gain|increase|"
    r"decrease|reduction|regression"
)
_PERCENT = re.compile(rf"(?P<sign>[+\-])?(?P<value>\d+(?:\.\d+)?)\s*%(?P<word>\W{{0,3}}(?:{_WORDS})\b)?", re.IGNORECASE)
_RATIO = re.compile(
    rf"(?<![\w.])(?P<value>\d+(?:\.\d+)?)\s*[x\u00d7]\s+(?P<word>{_WORDS}|baseline|as \w+)\b", re.IGNORECASE
)
_VERSUS = re.compile(
    rf"(?P<a>{NUMBER})\s*(?P<ua>[a-z/]*)\s*[^\d|]{{0,12}}\b(?:vs\.?|versus|against|compared to)\s*(?P<b>{NUMBER})",
    re.IGNORECASE,
)
_PLAIN = re.compile(rf"(?<![\w.,+\-])(?P<value>{NUMBER})(?:\s*[x\u00d7]\s*(?P<times>\d{{1,2}})\b)?(?![\w.]*%|\w)")
_ORDERED = re.compile(r"(?P<name>[A-Za-z][\w .+/-]*?)\s*\(\s*(?P<inside>[^()]*)\)")
_PROMPT_RATE = re.compile(r"\b(?:prompt|prefill)\s+(?:throughput|speed|processing)", re.IGNORECASE)
_RATE = re.compile(rf"(?P<low>{NUMBER})(?:\s*[-\u2013]\s*(?P<high>{NUMBER}))?\s*(?:tokens?|tok)/s", re.IGNORECASE)


_NEAR = 8
"""Numbers before a claim, on its line, that it may be about."""

_Change = tuple[Number, Known, Known]


def check_text(found: Imported) -> list[Finding]:
    """Findings on every line that claims something; lines of printed blocks claim nothing."""
    known = known_figures(found)
    changes = _changes(known)
    pairs = _versus(found)
    findings: list[Finding] = []
    for number, line in enumerate(found.lines, 1):
        if is_part(line) or not line.strip():
            continue
        place = Place(found.file, number)
        about = found.contexts[number - 1].label or "text"
        findings += _percents(line, place, about, changes)
        findings += _ratios(line, place, about, pairs)
        findings += _ordering(line, place, about, known)
        findings += _prompt_rates(line, place, about, found)
    return findings


def _changes(known: Sequence[Known]) -> list[_Change]:
    """Every change from one measured figure to another of the same kind and the same requests."""
    alike: dict[tuple[object, ...], list[Known]] = {}
    for one in known:
        alike.setdefault((one.what, one.work), []).append(one)
    return [
        (percent_change(new.value, old.value), new, old)
        for group in alike.values()
        for new, old in permutations(group, 2)
        if old.value.value
    ]


def _percents(line: str, place: Place, about: str, changes: Sequence[_Change]) -> Iterator[Finding]:
    """A stated change is confirmed by two numbers before it on its line, else by two measured figures of one kind."""
    for match in _PERCENT.finditer(line):
        if not match["sign"] and not match["word"]:
            continue
        stated = measured(match["value"])
        if stated is None:
            continue
        minus = match["sign"] == "-"
        claim = match[0].strip()
        here = _numbers(line[: match.start()])
        pair = _pair_here(here, stated, minus=minus, either=not match["sign"])
        if pair is not None:
            new, old = pair
            yield _percent_finding(
                place, about, claim, stated, new, old, f"{shown(new.value)} against {shown(old.value)}"
            )
            continue
        fitting = [one for one in changes if _fits(one[0], stated, minus, not match["sign"])]
        if fitting:
            _, later, earlier = fitting[0]
            why = f"{later.what}: {later} {shown(later.value.value)} against {earlier} {shown(earlier.value.value)}"
            yield _percent_finding(place, about, claim, stated, later.value, earlier.value, why)
        elif changes or here:
            target = -stated.value if minus else stated.value
            nearest = min(changes, key=lambda one: abs(one[0].value - target), default=None)
            why = "no two of the measured figures give it"
            if nearest is not None:
                why += f"; the nearest is {nearest[0].value:+.1f}%: {nearest[1]} against {nearest[2]}"
            yield Finding(place, about, claim, Verdict.DOES_NOT_FOLLOW, why, "percent", target, None, "%")
        else:
            yield Finding(place, about, claim, Verdict.NOT_CHECKED, "there is no number to compare it with", "percent")


def _percent_finding(
    place: Place, about: str, claim: str, stated: Number, new: Number, old: Number, why: str
) -> Finding:
    change = percent_change(new, old)
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


def _numbers(text: str) -> list[Number]:
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


def _versus(found: Imported) -> list[tuple[int, Number, Number, str]]:
    """(line, a, b, text) of every `310s vs 155s`."""
    pairs = []
    for number, line in enumerate(found.lines, 1):
        for match in _VERSUS.finditer(line):
            a, b = measured(match["a"]), measured(match["b"])
            if a is not None and b is not None and a.value > 0 and b.value > 0:
                pairs.append((number, a, b, match[0]))
    return pairs


def _ratios(line: str, place: Place, about: str, pairs: Sequence[tuple[int, Number, Number, str]]) -> Iterator[Finding]:
    for match in _RATIO.finditer(line):
        stated = measured(match["value"])
        if stated is None:
            continue
        here = [pair for pair in pairs if pair[0] == place.line]
        chosen = next((pair for pair in here or pairs if here or _ratio(pair).agrees(stated)), None)
        claim = match[0].strip()
        if chosen is None:
            yield Finding(place, about, claim, Verdict.NOT_CHECKED, "no two numbers stand beside it", "ratio")
            continue
        ratio = _ratio(chosen)
        fits = ratio.agrees(stated)
        yield Finding(
            place=place,
            about=about,
            claim=claim,
            verdict=Verdict.CONFIRMED if fits else Verdict.WRONG,
            reason=f"{chosen[3].strip()} = {ratio.value:.3g}" + ("" if here else f" (line {chosen[0]})"),
            kind="ratio",
            stated=stated.value,
            recomputed=ratio.value,
            unit="x",
        )


def _ratio(pair: tuple[int, Number, Number, str]) -> Number:
    _, a, b, _ = pair
    return a / b if a.value >= b.value else b / a


def _ordering(line: str, place: Place, about: str, known: Sequence[Known]) -> Iterator[Finding]:
    """`A (10 tok/s) > B (8 tok/s)`: the numbers fall, were measured, and lie apart by more than noise."""
    if " > " not in f" {line.replace('>', ' > ')} " or line.lstrip().startswith(">"):
        return
    items = [(match["name"].split(":")[-1].strip(), match["inside"]) for match in _ORDERED.finditer(line)]
    if len(items) < 2:
        return
    valued = [(name, numbers[0]) for name, inside in items if (numbers := _numbers(inside)) and numbers[0].value > 0]
    missing = [name for name, inside in items if not _numbers(inside)]
    told = [f"{name} has no number" for name in missing]
    falls = all(a[1].value >= b[1].value for a, b in pairwise(valued))
    verdict = Verdict.CONFIRMED if falls else Verdict.WRONG
    for name, value in valued:
        source = next((one for one in known if one.value.agrees(value)), None)
        told.append(
            f"{name} {shown(value.value)}: " + (f"line {source.place.line}" if source else "measured nowhere here")
        )
        if source is None and verdict is Verdict.CONFIRMED:
            verdict = Verdict.DOES_NOT_FOLLOW
    for (name, a), (other, b) in pairwise(valued):
        change = percent_change(a, b).value
        told.append(f"{name} against {other}: {change:+.1f}%")
        if verdict is Verdict.CONFIRMED and change < NOISE_PERCENT:
            verdict = Verdict.NOISE
            told.append(NOISE_REASON)
    if verdict is Verdict.CONFIRMED and len(valued) < 2:
        verdict = Verdict.NOT_CHECKED
        told.append("fewer than two were measured")
    yield Finding(place, about, line.strip()[:160], verdict, "; ".join(told), "ordering")


def _prompt_rates(line: str, place: Place, about: str, found: Imported) -> Iterator[Finding]:
    """A prompt throughput that is one prompt over the engine's log window."""
    if not _PROMPT_RATE.search(line):
        return
    lengths = {s.prompt_tokens for table in found.sample_tables for s in table.samples if s.prompt_tokens}
    for match in _RATE.finditer(line):
        for text in (match["low"], match["high"]):
            stated = measured(text or "")
            if stated is None:
                continue
            window = next((one for length in sorted(lengths) if (one := log_window(stated.value, length))), None)
            if window is None:
                continue
            yield Finding(
                place=place,
                about=about,
                claim=f"prompt throughput {shown(stated.value)} tokens/s",
                verdict=Verdict.DOES_NOT_FOLLOW,
                reason=f"it is one prompt of {shown(window.prompt_tokens)} tokens over the engine's log window of "
                f"{LOG_WINDOW_S:.0f} s, and grows with the prompt by itself: no speed of reading",
                kind="log_window",
                stated=stated.value,
                recomputed=window.prompt_tokens / window.window_s,
                unit="tok/s",
            )
