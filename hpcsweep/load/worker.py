"""The load process: `python -m hpcsweep.load.worker`, a LoadConfig on standard input, JSON lines on standard output.

The lines are records of `events/records.py` (workload_started, sample, workload_ended, warning) without what the
agent adds: run_id, attempt, seq, at, t_s. SIGTERM ends the load in order, with exit code 0.
"""

import signal
import sys

from pydantic import ValidationError

from hpcsweep.errors import HpcsweepError
from hpcsweep.load.config import LoadConfig
from hpcsweep.load.drivers.registry import driver


def main() -> int:
    """Exit code: 0 done or told to stop, 1 an error that standard error tells, 2 no LoadConfig on standard input."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        config = LoadConfig.model_validate_json(sys.stdin.read())
    except ValidationError as exc:
        sys.stderr.write(f"no LoadConfig on standard input: {exc}\n")
        return 2
    try:
        return driver(config.planned.workload.client)(config)
    except HpcsweepError as exc:
        sys.stderr.write(f"Error: {exc}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
