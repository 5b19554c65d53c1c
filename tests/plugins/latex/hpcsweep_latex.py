"""A report format plugin: the throughput of each run as a LaTeX table."""

from typing import IO

from hpcsweep.analysis.findings import Findings
from hpcsweep.report.formats.registry import DEFAULTS, Format, ReportOptions

SPECIAL = str.maketrans({character: f"\\{character}" for character in "&%$#_{}"})


class LatexFormat(Format):
    """Write a `tabular`. The findings have every computed figure; a format computes none."""

    name = "latex"
    meaning = "table for a paper"
    suffixes = (".tex",)

    def write(self, findings: Findings, stream: IO[str], options: ReportOptions = DEFAULTS) -> None:
        if findings.sweep.simulated:
            stream.write("% SIMULATED: these values measure nothing real\n")
        stream.write("\\begin{tabular}{llrr}\nrun & workload & n & tok/s \\\\ \\hline\n")
        for cell in findings.cells:
            summary = cell.summary("tps", "all")
            n, tps = (summary.n, f"{summary.mean:.2f}") if summary is not None else (0, "--")
            names = f"{cell.run.translate(SPECIAL)} & {cell.workload.translate(SPECIAL)}"
            stream.write(f"{names} & {n} & {tps} \\\\\n")
        stream.write("\\end{tabular}\n")
