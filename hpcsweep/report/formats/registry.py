"""Report formats: the built-in ones and those of plugins (entry points of the group `hpcsweep.reports`)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import IO

from hpcsweep.analysis.findings import Findings
from hpcsweep.errors import ReportError
from hpcsweep.registry import Registry

GROUP = "hpcsweep.reports"


@dataclass(frozen=True)
class ReportOptions:
    """Options of `hpcsweep report` that a format may honour.

    `full`: True: every chapter; False: the first screen only; None: the default of the format.
    """

    full: bool | None = None


DEFAULTS = ReportOptions()


class Format(ABC):
    """Base class of a report format: subclass it, set the attributes and implement `write`.

    `meaning`: one line for `--help` and docs. `suffixes`: file names that end so are written in this format.
    `telemetry`: the format needs the readings of KV cache and queue over time. `options`: the fields of
    `ReportOptions` that it honours; the command line rejects the others.
    """

    name: str = ""
    meaning: str = ""
    suffixes: tuple[str, ...] = ()
    telemetry: bool = False
    options: frozenset[str] = frozenset()

    @abstractmethod
    def write(self, findings: Findings, stream: IO[str], options: ReportOptions = DEFAULTS) -> None:
        """Write the report into a text stream. Format the figures of the findings; do not compute new ones."""


FORMATS: Registry[Format] = Registry(
    GROUP,
    "report format",
    {
        "terminal": "hpcsweep.report.formats.terminal:TerminalFormat",
        "markdown": "hpcsweep.report.formats.markdown:MarkdownFormat",
        "html": "hpcsweep.report.formats.html.page:HtmlFormat",
        "json": "hpcsweep.report.formats.json_document:JsonFormat",
        "csv": "hpcsweep.report.formats.csv:SampleCsvFormat",
        "csv-runs": "hpcsweep.report.formats.csv:RunCsvFormat",
    },
    ReportError,
)


def get_format(name: str) -> Format:
    """Return the format of this name. Raises ReportError, with the nearest known name, if there is none."""
    return FORMATS.get(name)


def format_of_file(path: str) -> Format | None:
    """Return the format whose suffix ends this file name; None if there is none."""
    name = path.lower()
    return next((known for known in FORMATS.all().values() if known.suffixes and name.endswith(known.suffixes)), None)
