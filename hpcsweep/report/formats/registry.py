"""The report formats: the built-in ones, and those of plugins (entry points of the group `hpcsweep.reports`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import IO

from hpcsweep.analysis.findings import Findings
from hpcsweep.errors import ReportError, nearest
from hpcsweep.plugins import plugins
from hpcsweep.report.formats import csv, json_document, markdown, terminal
from hpcsweep.report.formats.html import page as html

GROUP = "hpcsweep.reports"


@dataclass(frozen=True)
class Format:
    """One format. `write` renders findings into a text stream; it formats, and computes no figure of its own.

    `suffixes`: of files that are taken to be in this format. `telemetry`: it shows KV cache and queue over time.
    """

    name: str
    meaning: str
    write: Callable[[Findings, IO[str]], None]
    suffixes: tuple[str, ...] = ()
    telemetry: bool = False


BUILTIN_FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        one.name: one
        for one in (
            Format("terminal", "for reading here", terminal.write),
            Format("markdown", "the shape of a study", markdown.write, (".md", ".markdown")),
            Format("html", "one page with plots that opens offline", html.write, (".html", ".htm"), telemetry=True),
            Format("json", "everything, by a documented schema", json_document.write, (".json",)),
            Format("csv", "one row a sample", csv.write_samples, (".csv",)),
            Format("csv-runs", "one row a run and workload", csv.write_runs),
        )
    }
)


@cache
def formats() -> Mapping[str, Format]:
    """Every format by its name. A plugin that cannot be loaded, or takes a known name, is warned of and left out."""
    own = plugins(GROUP, "report", BUILTIN_FORMATS, lambda one: one, lambda one: one.name)
    return MappingProxyType({**BUILTIN_FORMATS, **own})


def get_format(name: str) -> Format:
    """The format of this name. Raises ReportError, with the nearest known name, when there is none."""
    try:
        return formats()[name]
    except KeyError:
        raise ReportError(f"unknown report format {name!r}", hint=nearest(name, formats())) from None


def format_of_file(path: str) -> Format | None:
    """The format that the ending of a file name stands for; None: none."""
    return next((one for one in formats().values() if path.lower().endswith(one.suffixes or ("\0",))), None)
