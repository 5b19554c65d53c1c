"""Compare a summary table with the tables of samples that it summarises: its cells, and differences that are cold."""

import re
from collections.abc import Iterator, Sequence

from hpcsweep.check.findings import ClaimFinding, ClaimVerdict
from hpcsweep.check.measured_figures import NOISE_PERCENT, NOISE_REASON, KnownFigure, known_averages
from hpcsweep.check.recomputed.sample_tables import WarmMean, warm_mean
from hpcsweep.check.recomputed.tracing import rounded
from hpcsweep.imports.documents.model import ImportedDocument, Location, ParsedTable, SampleTable
from hpcsweep.imports.documents.numbers import NUMBER, Number, measured, shown

_SPEED = re.compile(r"\btps\b|throughput|tok(?:ens)?/s|latency|\btpot\b|\bttft\b", re.IGNORECASE)
_RATE = re.compile(r"\btps\b|tok(?:ens)?/s", re.IGNORECASE)
_VALUE = re.compile(rf"(?<![\w.,+\-])({NUMBER})(?:\s*[x\u00d7]\s*(\d{{1,2}})\b)?(?![\w.]*%|\w)")
_ID = re.compile(r"^[A-Za-z]?\d+[A-Za-z]?$|^[A-Za-z]{1,3}\d*$")


def sample_cells(table: ParsedTable, found: ImportedDocument) -> Iterator[ClaimFinding]:
    """Yield a finding on each speed of a summary whose row names a table of samples, or which one of them states."""
    known = known_averages(found)
    if not known:
        return
    for line, row in table.rows:
        about = f"{table.context.label}, {row[0]}"
        details = _details(row, table, found.sample_tables)
        own = [one for one in known if details and one.label == f"{details[0].label}, {details[0].group}"]
        for column, cell in zip(table.columns, row, strict=False):
            if not _SPEED.search(column) and not _SPEED.search(cell):
                continue
            for match in _VALUE.finditer(cell):
                said = measured(match[1])
                if said is not None and said.value:
                    place = Location(table.place.file, line)
                    yield _cell(place, about, f"{column}: {match[1]}", said, column, own, known)


def _cell(
    place: Location,
    about: str,
    claim: str,
    said: Number,
    column: str,
    own: Sequence[KnownFigure],
    known: Sequence[KnownFigure],
) -> ClaimFinding:
    source = next((one for one in own or known if one.value.agrees(said) or one.value.agrees(rounded(said))), None)
    if source is not None:
        lines = (source.place.line,)
        reason = f"{source.what} of {source}"
        return ClaimFinding(
            place, about, claim, ClaimVerdict.CONFIRMED, reason, "cell", said.value, source.value.value, "", lines
        )
    wanted = "tps" if _RATE.search(column) else "e2e_s" if re.search(r"latency|time", column, re.IGNORECASE) else ""
    mine = [one for one in own if one.what == wanted]
    if len(mine) != 1:
        reason = "no table of samples has it, and none is known to be for this case"
        return ClaimFinding(place, about, claim, ClaimVerdict.NOT_CHECKED, reason, "cell", said.value)
    reason = f"no table of this document has it; the one for this case has {shown(mine[0].value.value)} "
    reason += f"(line {mine[0].place.line})"
    lines = (mine[0].place.line,)
    return ClaimFinding(
        place, about, claim, ClaimVerdict.DOES_NOT_FOLLOW, reason, "cell", said.value, mine[0].value.value, "", lines
    )


def _details(row: Sequence[str], table: ParsedTable, details: Sequence[SampleTable]) -> list[SampleTable]:
    """The tables of samples that a row of a summary stands for: its first cell names them, a cell their workload."""
    if not row or not _ID.match(row[0]):
        return []
    named = [one for one in details if re.search(rf"(?<!\w){re.escape(row[0])}(?!\w)", one.label)]
    groups = {cell.lower() for cell in row[1:]}
    return [one for one in named if one.group.lower() in groups] or (named if len(named) == 1 else [])


def against_baseline(table: ParsedTable, details: Sequence[SampleTable]) -> Iterator[ClaimFinding]:
    """Yield the difference of each row from the baseline's of the same workload, with and without the cold request."""
    rate = next((place for place, column in enumerate(table.columns) if _RATE.search(column)), None)
    if rate is None:
        return
    rows = []
    for line, row in table.rows:
        found = _details(row, table, details)
        means = warm_mean(found[0]) if found else None
        if means is not None and means.warm > 0 and rate < len(row) and measured(row[rate]) is not None:
            rows.append((line, row, found[0].group, means))
    base = next((one for one in rows if "baseline" in " ".join(one[1]).lower()), rows[0] if rows else None)
    if base is None:
        return
    for line, row, group, means in rows:
        if row is not base[1] and group == base[2]:
            yield _difference(Location(table.place.file, line), row, base, rate, means)


def _difference(
    place: Location,
    row: Sequence[str],
    base_entry: tuple[int, Sequence[str], str, WarmMean],
    rate: int,
    means: WarmMean,
) -> ClaimFinding:
    base_line, base_row, _, base = base_entry
    over_all = 100 * (means.everything / base.everything - 1)
    warm = 100 * (means.warm / base.warm - 1)
    cold = (means.slow or base.slow) and abs(over_all) > 2 * abs(warm)
    text = f"{row[rate]} against {base_row[rate]} TPS ({over_all:+.1f}%)"
    told = next((cell for cell in row[rate + 1 :] if re.search(r"slow|fast|similar|better|worse", cell, re.I)), "")
    why = f"warm samples only: {means.warm:.2f} against {base.warm:.2f} ({warm:+.1f}%)"
    if cold:
        verdict, why = ClaimVerdict.DOES_NOT_FOLLOW, f"the difference is a cold first request inside the average; {why}"
    elif abs(over_all) < NOISE_PERCENT:
        verdict, why = ClaimVerdict.NOISE, f"{why}; {NOISE_REASON}"
    else:
        verdict = ClaimVerdict.CONFIRMED
    return ClaimFinding(
        place=place,
        about=f"{row[0]} against {base_row[0]}",
        claim=f"{text}: {told}" if told else text,
        verdict=verdict,
        reason=why,
        kind="cold_difference" if cold else "difference",
        stated=over_all,
        recomputed=warm,
        unit="%",
        sources=(base_line,),
    )
