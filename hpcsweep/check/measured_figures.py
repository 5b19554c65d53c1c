"""Collect the figures that a document measured, and when two of them can be told apart."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpcsweep.analysis.measured.results import ASSUMED_RUN_SPREAD
from hpcsweep.analysis.stats.distribution import LEVEL, t_quantile
from hpcsweep.check.recomputed.sample_tables import warm_mean
from hpcsweep.imports.documents.model import Benchmark, ImportedDocument, Location
from hpcsweep.imports.documents.numbers import Number
from hpcsweep.imports.documents.serve_settings import settings_of

NOISE_PERCENT = 100 * math.sqrt(2) * ASSUMED_RUN_SPREAD * t_quantile(0.5 + LEVEL / 2, math.inf)
"""Single runs that differ by less cannot be told apart, by the spread that the analysis assumes for them."""

NOISE_REASON = f"one run each: below {NOISE_PERCENT:.1f}% single runs cannot be told apart"


@dataclass(frozen=True)
class KnownFigure:
    """A measured figure of one block, or a stated average of one table. `work`: equal for the same requests."""

    what: str
    value: Number
    label: str
    place: Location
    work: tuple[object, ...] = ()

    def __str__(self) -> str:
        return f"{self.label} (line {self.place.line})"


def same_work(one: Benchmark) -> tuple[object, ...] | None:
    """Return what identifies the requests of a block: their number and tokens; None: the block does not say."""
    work = (one.value("completed"), one.value("total_input_tokens"))
    return None if None in work else work


def gpus_of(found: ImportedDocument) -> dict[Location, int]:
    """Return the GPUs of each block whose command says how many."""
    settings = ((one.place, settings_of(one)) for one in found.benchmarks)
    return {place: one.gpus for place, one in settings if one is not None and one.gpus}


def known_averages(found: ImportedDocument) -> list[KnownFigure]:
    """Return the averages of every table of samples: as stated, else as computed."""
    return list(_of_tables(found))


def figures_of(blocks: Sequence[Benchmark], names: Sequence[str]) -> list[KnownFigure]:
    """Return the figures of these names that the blocks have."""
    return [
        KnownFigure(name, one.figures[name], one.label, one.place, same_work(one) or (one.place,))
        for name in names
        for one in blocks
        if name in one.figures
    ]


def _of_tables(found: ImportedDocument) -> Iterator[KnownFigure]:
    for table in found.sample_tables:
        label = f"{table.label}, {table.group}"
        for name in ("tps", "e2e_s"):
            if name in table.averages:
                place = Location(table.place.file, table.average_line)
                yield KnownFigure(name, table.averages[name], label, place, (table.group,))
        means = warm_mean(table)
        if means is not None and "tps" not in table.averages:
            yield KnownFigure("tps", Number(means.everything, 0.005), label, table.place, (table.group,))
