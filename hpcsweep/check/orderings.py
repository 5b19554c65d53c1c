"""Claims in a report's prose and tables: percentages, ratios, orderings, rates that are none."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from hpcsweep.analysis.claims import LOG_WINDOW_S, log_window
from hpcsweep.check.changes import WORDS, changes_of, percents, plain_numbers
from hpcsweep.check.findings import Finding, Verdict
from hpcsweep.check.known import NOISE_PERCENT, NOISE_REASON, Known, gpus_of, known_figures
from hpcsweep.check.traced import multiple
from hpcsweep.imports.blocks import Imported, Place
from hpcsweep.imports.numbers import NUMBER, Number, measured, percent_change, shown
from hpcsweep.imports.printed import is_part

_RATIO = re.compile(
    rf"(?<![\w.])(?P<value>\d+(?:\.\d+)?)\s*[x\u00d7]\s+(?P<word>{WORDS}|baseline|as \w+)\b", re.IGNORECASE
)
_VERSUS = re.compile(
    rf"(?P<a>{NUMBER})\s*(?P<ua>[a-z/]*)\s*[^\d|]{{0,12}}\b(?:vs\.?|versus|against|compared to)\s*(?P<b>{NUMBER})",
    re.IGNORECASE,
)
_ORDERED = re.compile(r"(?P<name>[A-Za-z][\w .+/-]*?)\s*\(\s*(?P<inside>[^()]*)\)")
_TIME = re.compile(r"\d\s*(?:ms|s|sec|seconds)\b|ttft|tpot|latency", re.IGNORECASE)
_PROMPT_RATE = re.compile(r"\b(?:prompt|prefill)\s+(?:throughput|speed|processing)", re.IGNORECASE)
_RATE = re.compile(rf"(?P<low>{NUMBER})(?:\s*[-\u2013]\s*(?P<high>{NUMBER}))?\s*(?:tokens?|tok)/s", re.IGNORECASE)


def check_text(found: Imported) -> list[Finding]:
    """Findings on every line that claims something; lines of printed blocks claim nothing."""
    known = known_figures(found)
    changes = changes_of(known, gpus_of(found))
    pairs = _versus(found)
    findings: list[Finding] = []
    for number, line in enumerate(found.lines, 1):
        if is_part(line) or not line.strip():
            continue
        place = Place(found.file, number)
        about = found.contexts[number - 1].label or "text"
        findings += percents(found.lines, place, about, changes)
        findings += _ratios(line, place, about, pairs)
        findings += _ordering(line, place, about, known, found)
        findings += _prompt_rates(line, place, about, found)
    return findings


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
        fitting = [pair for pair in here or pairs if _ratio(pair).agrees(stated)]
        chosen = next(iter(fitting or here), None)
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


def _ordering(line: str, place: Place, about: str, known: Sequence[Known], found: Imported) -> Iterator[Finding]:
    """`A (10 tok/s) > B (8 tok/s)`: the numbers fall, were measured, and lie apart by more than noise."""
    if " > " not in f" {line.replace('>', ' > ')} " or line.lstrip().startswith(">"):
        return
    items = [(match["name"].split(":")[-1].strip(), match["inside"]) for match in _ORDERED.finditer(line)]
    if len(items) < 2:
        return
    valued = [
        (name, numbers[0]) for name, inside in items if (numbers := plain_numbers(inside)) and numbers[0].value > 0
    ]
    missing = [name for name, inside in items if not plain_numbers(inside)]
    told = [f"{name} has no number" for name in missing]
    if all(_TIME.search(inside) for _, inside in items if plain_numbers(inside)) and len(valued) > 1:
        valued.reverse()  # of times the smaller is the better one
    falls = all(a[1].value >= b[1].value for a, b in pairwise(valued))
    verdict = Verdict.CONFIRMED if falls else Verdict.WRONG
    for name, value in valued:
        source = next((one for one in known if one.value.agrees(value) or multiple(one, value, found)), None)
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
