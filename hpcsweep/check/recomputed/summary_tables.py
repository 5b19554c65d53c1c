"""Compare a summary table with its sample tables: the cells, and differences caused by cold requests."""

import re
from collections.abc import Iterator, Sequence

from hpcsweep.check.findings import ClaimFinding, ClaimKind, ClaimVerdict
from hpcsweep.check.recomputed.measured_figures import NOISE_PERCENT, NOISE_REASON, KnownFigure, known_averages
from hpcsweep.check.recomputed.sample_tables import WarmMean, warm_mean
from hpcsweep.check.recomputed.tracing import rounded
from hpcsweep.imports.documents.model import ImportedDocument, Location, ParsedTable, SampleTable
from hpcsweep.imports.documents.numbers import NUMBER, Number, measured, shown

_SPEED = re.compile(r"\btps\b|throughput|tok(?:ens)?/s|latency|\btpot\b|\bttft\b", re.IGNORECASE)
_RATE = re.compile(r"\btps\b|tok(?:ens)?/s", re.IGNORECASE)
_VALUE = re.compile(rf"(?<![\w.,+\-])({NUMBER})(?:\s*[x\u00d7]\s*(\d{{1,2}})\b)?(?![\w.]*%|\w)")
_ID = re.compile(r"^[A-Za-z]?\d+[A-Za-z]?$|^[A-Za-z]{1,3}\d*$")


def sample_cells(table: ParsedTable, document: ImportedDocument) -> Iterator[ClaimFinding]:
    """Yield a finding on each speed in a summary whose row names a sample table, or that a sample table states."""
    known = known_averages(document)
    if not known:
        return
    for line, row in table.rows:
        about = f"{table.context.label}, {row[0]}"
        details = _details(row, table, document.sample_tables)
        own = [figure for figure in known if details and figure.label == f"{details[0].label}, {details[0].group}"]
        for column, cell in zip(table.columns, row, strict=False):
            if not _SPEED.search(column) and not _SPEED.search(cell):
                continue
            for match in _VALUE.finditer(cell):
                stated = measured(match[1])
                if stated is not None and stated.value:
                    location = Location(table.location.file, line)
                    yield _cell(location, about, f"{column}: {match[1]}", stated, column, own, known)


def _cell(
    location: Location,
    about: str,
    claim: str,
    stated: Number,
    column: str,
    own: Sequence[KnownFigure],
    known: Sequence[KnownFigure],
) -> ClaimFinding:
    source = next(
        (figure for figure in own or known if figure.value.agrees(stated) or figure.value.agrees(rounded(stated))), None
    )
    if source is not None:
        lines = (source.location.line,)
        reason = f"{source.what} of {source}"
        return ClaimFinding(
            location,
            about,
            claim,
            ClaimVerdict.CONFIRMED,
            reason,
            ClaimKind.CELL,
            stated.value,
            source.value.value,
            "",
            lines,
        )
    wanted = "tps" if _RATE.search(column) else "e2e_s" if re.search(r"latency|time", column, re.IGNORECASE) else ""
    mine = [figure for figure in own if figure.what == wanted]
    if len(mine) != 1:
        reason = "not in any sample table, and no table is known to be for this case"
        return ClaimFinding(location, about, claim, ClaimVerdict.NOT_CHECKED, reason, ClaimKind.CELL, stated.value)
    reason = f"not in any table of this document; the table for this case has {shown(mine[0].value.value)} "
    reason += f"(line {mine[0].location.line})"
    lines = (mine[0].location.line,)
    return ClaimFinding(
        location,
        about,
        claim,
        ClaimVerdict.DOES_NOT_FOLLOW,
        reason,
        ClaimKind.CELL,
        stated.value,
        mine[0].value.value,
        "",
        lines,
    )


def _details(row: Sequence[str], table: ParsedTable, details: Sequence[SampleTable]) -> list[SampleTable]:
    """Return the sample tables that a summary row names: its first cell names them, another cell their workload."""
    if not row or not _ID.match(row[0]):
        return []
    named = [
        sample_table for sample_table in details if re.search(rf"(?<!\w){re.escape(row[0])}(?!\w)", sample_table.label)
    ]
    groups = {cell.lower() for cell in row[1:]}
    return [sample_table for sample_table in named if sample_table.group.lower() in groups] or (
        named if len(named) == 1 else []
    )


def against_baseline(table: ParsedTable, details: Sequence[SampleTable]) -> Iterator[ClaimFinding]:
    """Yield each row's difference from the baseline of the same workload, with and without the cold request."""
    rate = next((index for index, column in enumerate(table.columns) if _RATE.search(column)), None)
    if rate is None:
        return
    rows = []
    for line, row in table.rows:
        summarised = _details(row, table, details)
        means = warm_mean(summarised[0]) if summarised else None
        if means is not None and means.warm > 0 and rate < len(row) and measured(row[rate]) is not None:
            rows.append((line, row, summarised[0].group, means))
    base = next((entry for entry in rows if "baseline" in " ".join(entry[1]).lower()), rows[0] if rows else None)
    if base is None:
        return
    for line, row, group, means in rows:
        if row is not base[1] and group == base[2]:
            yield _difference(Location(table.location.file, line), row, base, rate, means)


def _difference(
    location: Location,
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
    remark = next((cell for cell in row[rate + 1 :] if re.search(r"slow|fast|similar|better|worse", cell, re.I)), "")
    why = f"warm samples: {means.warm:.2f} against {base.warm:.2f} ({warm:+.1f}%)"
    if cold:
        verdict, why = (
            ClaimVerdict.DOES_NOT_FOLLOW,
            f"the difference comes from a cold first request in the average; {why}",
        )
    elif abs(over_all) < NOISE_PERCENT:
        verdict, why = ClaimVerdict.NOISE, f"{why}; {NOISE_REASON}"
    else:
        verdict = ClaimVerdict.CONFIRMED
    return ClaimFinding(
        location=location,
        about=f"{row[0]} against {base_row[0]}",
        claim=f"{text}: {remark}" if remark else text,
        verdict=verdict,
        reason=why,
        kind=ClaimKind.COLD_DIFFERENCE if cold else ClaimKind.DIFFERENCE,
        stated=over_all,
        recomputed=warm,
        unit="%",
        sources=(base_line,),
    )
