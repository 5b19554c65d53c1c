"""The sweeps of a store as rows of text, the latest first."""

import time
from collections.abc import Mapping, Sequence

from hpcsweep.dashboard.links import Links
from hpcsweep.dashboard.status_view import Item, LiveView, Row, counts
from hpcsweep.report import wording
from hpcsweep.terminal_text import one_line
from hpcsweep.track.runs import SweepStatus
from hpcsweep.units import counted

Models = Mapping[int, tuple[list[str], list[str]]]


def index_view(
    sweeps: Sequence[SweepStatus], models: Models, answers: Mapping[str, str], notes: Sequence[str], links: Links,
    now: float,
) -> LiveView:  # fmt: skip
    """Return the live view of all sweeps. `answers`: sweep -> the recommended variant in a few words."""
    rows = [_row(sweep, models.get(sweep.sweep_id, ([], [])), answers, links) for sweep in reversed(sweeps)]
    open_ones = sum(row.group in ("running", "waiting") for row in rows)
    under_way = f", {open_ones} under way" if open_ones else ""
    return LiveView(
        fields={
            "summary": f"{counted(len(rows), 'sweep')}{under_way}",
            "clock": f"as of {time.strftime('%H:%M:%S', time.localtime(now))}",
        },
        lists={"notes": [Item(one_line(note)) for note in notes]},
        rows=rows,
    )


def _row(sweep: SweepStatus, models: tuple[list[str], list[str]], answers: Mapping[str, str], links: Links) -> Row:
    groups = counts(sweep)
    group = next((name for name in ("running", "waiting", "completed", "failed") if groups[name]), "other")
    return Row(
        key=sweep.name,
        href=links.to("sweeps", sweep.name),
        group=group,
        cells={
            "name": sweep.name,
            "title": sweep.title,
            "model": ", ".join(models[0]) or wording.NOTHING,
            "engine": ", ".join(models[1]) or wording.NOTHING,
            "cluster": sweep.cluster,
            **{f"n-{name}": str(groups[name]) for name in ("completed", "running", "waiting", "failed")},
            "answer": answers.get(sweep.name, "under way" if groups["running"] or groups["waiting"] else ""),
            "when": wording.moment(sweep.submitted_at),
        },
        simulated=sweep.simulated,
    )
