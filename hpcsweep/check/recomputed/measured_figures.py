"""Collect the figures that a document measured, and define the smallest difference between single runs that counts."""

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
"""Single runs that differ by less cannot be distinguished, given the spread that the analysis assumes for them."""

NOISE_REASON = f"single runs that differ by less than {NOISE_PERCENT:.1f}% cannot be distinguished"


@dataclass(frozen=True)
class KnownFigure:
    """A measured figure of a block, or a stated average of a table. `work`: equal for the same requests."""

    what: str
    value: Number
    label: str
    location: Location
    work: tuple[object, ...] = ()

    def __str__(self) -> str:
        return f"{self.label} (line {self.location.line})"


def same_work(block: Benchmark) -> tuple[object, ...] | None:
    """Return the number and tokens of a block's requests, which identify them; None: not stated."""
    work = (block.value("completed"), block.value("total_input_tokens"))
    return None if None in work else work


def gpus_of(document: ImportedDocument) -> dict[Location, int]:
    """Return the GPUs of each block whose command states them."""
    settings = ((block.location, settings_of(block)) for block in document.benchmarks)
    return {location: serve.gpus for location, serve in settings if serve is not None and serve.gpus}


def known_averages(document: ImportedDocument) -> list[KnownFigure]:
    """Return the averages of every sample table: as stated, or else as computed."""
    return list(_of_tables(document))


def figures_of(blocks: Sequence[Benchmark], names: Sequence[str]) -> list[KnownFigure]:
    """Return the figures of these names that the blocks have."""
    return [
        KnownFigure(name, block.figures[name], block.label, block.location, same_work(block) or (block.location,))
        for name in names
        for block in blocks
        if name in block.figures
    ]


def _of_tables(document: ImportedDocument) -> Iterator[KnownFigure]:
    for table in document.sample_tables:
        label = f"{table.label}, {table.group}"
        for name in ("tps", "e2e_s"):
            if name in table.averages:
                location = Location(table.location.file, table.average_line)
                yield KnownFigure(name, table.averages[name], label, location, (table.group,))
        means = warm_mean(table)
        if means is not None and "tps" not in table.averages:
            yield KnownFigure("tps", Number(means.everything, 0.005), label, table.location, (table.group,))
