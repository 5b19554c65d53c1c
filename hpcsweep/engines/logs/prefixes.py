"""Split the prefixes off a log line: the process, the level and the location in the source. Pure.

A line may carry several prefixes: a container's or a scheduler's, Ray's, the engine's process and rank, a time, a
level. They are removed one by one, so that the rest is what the program itself wrote.
"""

import re
from dataclasses import dataclass

LONGEST = 16_000
"""Characters of a line that are read: vLLM prints its whole configuration in one line."""

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""Terminal colour codes; vLLM 0.11 and Ray write them to files as well."""

_MOST_PREFIXES = 10
_LEVELS = {
    "D": "debug", "DEBUG": "debug", "TRACE": "debug", "V": "debug", "VERBOSE": "debug",
    "I": "info", "INFO": "info",
    "W": "warning", "WARN": "warning", "WARNING": "warning",
    "E": "error", "ERROR": "error", "SEVERE": "error",
    "F": "critical", "FATAL": "critical", "CRITICAL": "critical",
}  # fmt: skip
_LEVEL = r"DEBUG|TRACE|VERBOSE|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL|SEVERE"
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d+)?"
_DATE = r"(?:\d{4}[-/]\d\d[-/]\d\d|\d\d-\d\d)"

_PREFIX = re.compile(
    "|".join(
        (
            # (APIServer pid=1), (EngineCore_DP0 pid=2), (VllmWorker rank=0 pid=3), Ray: (app, pid=4), (X pid=5, ip=...)
            r"\((?P<process>(?:[^()\n]{0,120}[ ,])?pid=\d+(?:, ?[^()\n]{0,60})?)\) ?",
            # torch: [rank0]: and [rank0]:[E1202 ...; torchrun: [default0]:
            r"\[?(?P<rank>(?:default_?)?rank_?\d+|default\d+)\]?: ?",
            # SGLang: [2025-12-23 14:17:55 DP0 TP0]; also [2025-12-23 14:17:55] [TP0]
            rf"(?P<stamp>\[{_DATE}[ T]{_CLOCK})(?P<ranks>(?: [A-Z_]+\d+)*)\] ?",
            r"\[(?P<ranks2>(?:(?:DP|TP|PP|EP)\d+ ?)+)\] ?",
            # TensorRT-LLM: [12/01/2025-10:00:00] [TRT-LLM] [RANK 0] [E], [TensorRT-LLM][ERROR]
            rf"(?P<stamp2>\[\d\d/\d\d/\d{{4}}-{_CLOCK})\] ?",
            r"\[(?:TRT-LLM|TensorRT-LLM|TRT|DISTRO)\] ?",
            r"\[RANK (?P<rank2>\d+)\] ?",
            rf"\[(?P<level1>{_LEVEL}|[EWIDVF])\] ?(?:- )?",
            # vLLM: ERROR 12-01 10:01:00 [core.py:843], and without brackets
            rf"(?P<level2>{_LEVEL}) +{_DATE} {_CLOCK} +\[?(?P<source2>[\w./<>-]+:\d+)\]:? ?",
            rf"(?P<level3>{_LEVEL}) +{_DATE} {_CLOCK} +(?P<source3>[\w./<>-]+:\d+)(?: ?(?:--|-|\|))? ?",
            # glog, as torch's C++ parts write it: [E1202 10:11:32.715298746 ProcessGroupNCCL.cpp:685]
            rf"\[?(?P<level4>[IWEF])\d{{3,4}} {_CLOCK} +(?:\d+ +)?(?P<source4>[\w./-]+:\d+)\] ?",
            # a time alone, of Python's logging, loguru, a container or hpcsweep
            rf"\[?{_DATE}[ T]{_CLOCK}(?:Z|[+-]\d\d:?\d\d)?\]?(?: (?:std(?:out|err) [FP] )?(?:[|–-] )?|\t|$)",
            rf"(?P<level10>{_LEVEL}) +{_DATE} {_CLOCK} (?:[^\s-]\S* ){{0,3}}-- ?",
            rf"\[?{_CLOCK}\]? (?=(?:{_LEVEL})\b)",
            # Python's logging and Ray: `a.b - ERROR - `, `ERROR    | a.b:c:12 - `, `ERROR:root:`, `ERROR x.py:1 -- `
            rf"[\w.]+ - (?P<level5>{_LEVEL}) - ",
            rf"(?P<level6>{_LEVEL}) +\| (?:std(?:out|err) +\| )?(?:(?P<source6>[\w.<>:-]+:\d+) - )?",
            rf"(?P<level11>{_LEVEL}) +- (?:(?P<source11>[\w./-]+:\d+) - )?",
            rf"(?P<level7>{_LEVEL}):[\w.]+:",
            rf"(?P<level8>{_LEVEL}): +",
            rf"(?P<level9>{_LEVEL})[ \t]+(?P<source9>[\w./-]+:\d+)\]? (?:-- |- )?",
            rf"(?P<level12>{_LEVEL}) +(?=(?:\w+[.:]+){{0,12}}\w+: )",
            # mpirun --tag-output, srun --label, docker compose, journald
            r"\[\d+,(?P<rank3>\d+)\](?:<std(?:out|err)>)?: ?",
            r"\[(?P<source12>[\w./-]+\.py:\d+)\] ?",
            # a traceback in a frame, of rich
            r"[│┃] ?",
            r"(?P<task>\d{1,4}): (?=[\[(A-Z ])",
            r"(?P<container>[a-z][\w.-]*(?:[-_]\d+ +| {2,}))\| ?",
            rf"[A-Z][a-z]{{2}} [ \d]\d {_CLOCK} (?:[\w.-]+ )?(?P<unit>[\w./@-]+(?:\[\d+\])?): ?",
        )
    )
)
_TAG = re.compile(r"\[[A-Za-z][\w.:-]*\] ?(?:>+ )?")
"""A name in brackets after other prefixes: a thread, a logger."""
_RAY_REPEATED = re.compile(r"\s*\[repeated \d+x across (?:all )?(?:cluster|nodes|workers)\][^\n]{0,200}$")


@dataclass(frozen=True)
class LogLine:
    """One line without its prefixes.

    `process`: names and ranks in the prefixes; empty: none. `level`: debug, info, warning, error or critical; None: not
    given. `source`: file and line of the program that logged it. `record`: the line begins a log record, rather than
    continuing its text.
    """

    process: str
    level: str | None
    source: str
    text: str
    record: bool


def split(raw: str) -> LogLine:
    """Remove the prefixes of `raw`, a line without colour codes, of which the first `LONGEST` characters are read."""
    text = raw[:LONGEST]
    at, level, source, record = 0, None, "", False
    names: list[str] = []
    for _ in range(_MOST_PREFIXES):
        match = _PREFIX.match(text, at) or (_TAG.match(text, at) if at else None)
        if match is None or match.end() == at:
            break
        at = match.end()
        for group, value in match.groupdict().items():
            if not value or not value.strip():
                continue
            if group.startswith("level"):
                level = _LEVELS[value]
            elif group.startswith("source"):
                source = value
            elif group.startswith("stamp"):
                record = True
            else:
                names.append(value.strip())
    rest = text[at:]
    if at and rest[-1:] in "│┃":
        rest = rest.rstrip("│┃ ")
    if "[repeated" in rest:
        rest = _RAY_REPEATED.sub("", rest)
    return LogLine(" | ".join(names), level, source, rest, record or level is not None or bool(source))


_TAGGED_RANK = re.compile(r"\[RANK (\d+)\]")


def rank_of_line(raw: str) -> int | None:
    """Return the rank that TensorRT-LLM writes into each line of its own logger; None: it has none."""
    match = _TAGGED_RANK.search(raw[:200])
    return int(match[1]) if match is not None else None


def is_front_end(process: str) -> bool:
    """Return whether a process name is that of a front end, which also logs the errors of single requests."""
    return "APIServer" in process or "api_server" in process
