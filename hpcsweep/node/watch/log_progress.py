"""Find the log lines that show progress, as opposed to lines that are repeated while a server waits. Pure."""

import re

_STAMPS = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?|\b\d\d-\d\d \d\d:\d\d:\d\d\b|\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"
)
_SIGNED = re.compile(r"^(?:\([A-Za-z]\w*\s+(?:ip=\S+ )?pid=\d+\)\s*)+|^\[[^]]*\b(?:TP|DP|PP)\d+[^]]*\]\s*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_DONE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:%|/\s*\d)")
FRESH_TIMES = 3
"""Number of times that a line counts. Eight ranks write the same line once each, at about the same time."""
_REMEMBERED = 5000


class LogProgress:
    """Reports for each line whether it shows progress.

    A line that differs from an earlier one in its numbers alone (`still waiting, 120 s`) is a heartbeat from the
    fourth time on, unless a count of something done in it (`12 %`, `3/61`) has grown.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._done: dict[str, float] = {}

    def informative(self, line: str) -> bool:
        """Return whether the next line of the log shows progress."""
        text = _STAMPS.sub("", _SIGNED.sub("", line)).strip()
        shape = _NUMBER.sub("#", text)
        if len(self._seen) > _REMEMBERED:  # bounds the memory for a log in which all lines differ
            self._seen.clear()
            self._done.clear()
        times = self._seen[shape] = self._seen.get(shape, 0) + 1
        done = max((float(match[1]) for match in _DONE.finditer(text)), default=None)
        grew = done is not None and done > self._done.get(shape, -1.0)
        if done is not None:
            self._done[shape] = max(done, self._done.get(shape, done))
        return grew or times <= FRESH_TIMES
