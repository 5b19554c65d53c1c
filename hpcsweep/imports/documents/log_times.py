"""Read the time of each line of a log, in seconds since the first time in it. Pure."""

import re
from datetime import datetime, timedelta

_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?"
_STAMPS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?P<year>\d{{4}})[-/](?P<month>\d\d)[-/](?P<day>\d\d)[T ]{_CLOCK}",  # ISO; SGLang; Python's logging
        rf"\[(?P<month>\d\d)/(?P<day>\d\d)/(?P<year>\d{{4}})-{_CLOCK}\]",  # TensorRT-LLM
        rf"\b[A-Z]+ (?P<month>\d\d)-(?P<day>\d\d) {_CLOCK}",  # vLLM: no year
        rf"\b[IWEF](?P<month>\d\d)(?P<day>\d\d) {_CLOCK}",  # glog, of torch: no year
    )
)
_PREFIX_CELLS = 200
"""Characters of a line that are searched for its time; the message may contain other times."""
_ANY_YEAR = 2000  # a leap year, for 29 February
_HALF_A_YEAR = timedelta(days=182)


class LogTimes:
    """Track the time of each line: its first time stamp, or that of the line before."""

    def __init__(self) -> None:
        self._first: datetime | None = None
        self._pattern: re.Pattern[str] | None = None
        self.now_s: float | None = None

    def read(self, line: str) -> float | None:
        """Return the seconds from the first time stamp of the log to this line; None: no line had a time stamp yet."""
        head = line[:_PREFIX_CELLS]
        stamp = self._stamp(head)
        if stamp is None:
            return self.now_s
        if self._first is None:
            self._first = stamp
        since = stamp - self._first
        if since < -_HALF_A_YEAR:  # time stamps without a year, across New Year
            since += timedelta(days=366)
        self.now_s = max(since.total_seconds(), self.now_s or 0.0)
        return self.now_s

    def _stamp(self, head: str) -> datetime | None:
        """Return the time in a line. Only the form of the log's first time stamp counts, so that zones do not mix."""
        patterns = _STAMPS if self._pattern is None else (self._pattern,)
        matches = [match for pattern in patterns if (match := pattern.search(head)) is not None]
        match = min(matches, key=lambda match_: match_.start(), default=None)
        if match is None:
            return None
        parts = match.groupdict()
        try:
            stamp = datetime(
                int(parts.get("year") or _ANY_YEAR), int(parts["month"]), int(parts["day"]), int(parts["hour"]),
                int(parts["minute"]), int(parts["second"]), int((parts["fraction"] or "0").ljust(6, "0")[:6]),
            )  # fmt: skip
        except ValueError:
            return None
        self._pattern = match.re
        return stamp
