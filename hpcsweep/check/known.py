"""The numbers that a document measured, for the claims that it makes of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hpcsweep.analysis.results import ASSUMED_RUN_SPREAD
from hpcsweep.analysis.statistics import LEVEL, t_quantile
from hpcsweep.check.recompute_samples import warm_mean
from hpcsweep.imports.blocks import Imported, Place
from hpcsweep.imports.numbers import Number
from hpcsweep.imports.serve_settings import settings_of

NOISE_PERCENT = 100 * math.sqrt(2) * ASSUMED_RUN_SPREAD * t_quantile(0.5 + LEVEL / 2, math.inf)
"""Single runs that are less apart than this cannot be told apart, by the spread that the analysis assumes for them."""

_FIGURES = ("total_token_throughput", "output_throughput", "request_throughput", "mean_ttft_ms", "mean_tpot_ms")
NOISE_REASON = f"one run each: below {NOISE_PERCENT:.1f}% single runs cannot be told apart"


@dataclass(frozen=True)
class Known:
    """A measured figure of one block, or a stated average of one table."""

    what: str
    value: Number
    label: str
    place: Place
    work: tuple[object, ...] = ()  # equal for figures of the same requests

    def __str__(self) -> str:
        return f"{self.label} (line {self.place.line})"


def gpus_of(found: Imported) -> dict[Place, int]:
    """GPUs of each block whose command is known."""
    return {one.place: settings.gpus for one in found.benchmarks if (settings := settings_of(one)) is not None}


def known_figures(found: Imported) -> list[Known]:
    """The throughputs and mean times of every benchmark, and the stated averages of every table of samples."""
    return [*_of_benchmarks(found), *_of_tables(found)]


def _of_benchmarks(found: Imported) -> Iterator[Known]:
    for name in _FIGURES:
        for one in found.benchmarks:
            if name in one.figures:
                work = (one.value("completed"), one.value("total_input_tokens"))
                yield Known(name, one.figures[name], one.label, one.place, work)


def _of_tables(found: Imported) -> Iterator[Known]:
    for table in found.sample_tables:
        label = f"{table.label}, {table.group}"
        for name in ("tps", "e2e_s"):
            if name in table.averages:
                place = Place(table.place.file, table.average_line)
                yield Known(name, table.averages[name], label, place, (table.group,))
        means = warm_mean(table)
        if means is not None and "tps" not in table.averages:
            yield Known("tps", Number(means.everything, 0.005), label, table.place, (table.group,))
