"""Write the events of one attempt, numbered and with time stamps, without loss when the disk is full."""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from hpcsweep.events.log import EVENTS_FILE, EventLog
from hpcsweep.events.records import EVENT
from hpcsweep.load.client.clock import Clock

RESERVE_FILE = ".reserve"
_RESERVE_BYTES = 256 * 1024


class Journal:
    """Writes events.jsonl of one attempt.

    While the disk is full, lines are kept in memory and written with the next ones; `disk_error` is set. Disk space is
    reserved at the start and released at the end, so that the last events and exit.json can be written.
    """

    def __init__(self, folder: Path, run_id: str, attempt: int, clock: Clock) -> None:
        self._clock = clock
        self._run_id, self._attempt = run_id, attempt
        self._seq = 0
        self._waiting: list[str] = []
        self._reserve = folder / RESERVE_FILE
        self.disk_error: OSError | None = None
        self._log = EventLog(folder / EVENTS_FILE)
        with contextlib.suppress(OSError):
            self._reserve.write_bytes(os.urandom(_RESERVE_BYTES))

    def event(self, kind: str, /, *, t_s: float | None = None, sync: bool = True, **fields: Any) -> None:
        """Record an event of this kind now, or at `t_s` of the attempt's clock."""
        event = EVENT.validate_python({"kind": kind, **self._stamp(t_s), **fields})
        self._append([event.model_dump_json()], sync)

    def splice(self, lines: list[str], *, sync: bool = True) -> None:
        """Record JSON objects of the load process, with our own fields inserted before theirs."""
        whole = []
        for line in lines:
            head = json.dumps(self._stamp(None), separators=(",", ":"))
            whole.append(f"{head[:-1]},{line[1:]}")
        self._append(whole, sync)

    def release(self) -> None:
        """Release the reserved disk space, and write the lines that are kept in memory."""
        self._reserve.unlink(missing_ok=True)
        if self._waiting:
            self._append([], True)

    def close(self) -> None:
        """Release the reserved space and close the file."""
        self.release()
        with contextlib.suppress(OSError):
            self._log.close()

    def _stamp(self, t_s: float | None) -> dict[str, Any]:
        seq, self._seq = self._seq, self._seq + 1
        now_s = self._clock.t_s() if t_s is None else t_s
        stamp: dict[str, Any] = {"run_id": self._run_id, "attempt": self._attempt, "seq": seq}
        return {**stamp, "at": round(time.time(), 6), "t_s": round(now_s, 6)}

    def _append(self, lines: list[str], sync: bool) -> None:
        self._waiting += lines
        # After a failure the file may end in an incomplete line, which an empty line terminates.
        batch = [""] * bool(self.disk_error) + self._waiting
        try:
            self._log.append_lines(batch, sync=sync)
        except OSError as exc:
            self.disk_error = exc
            return
        self._waiting = []
        self.disk_error = None
