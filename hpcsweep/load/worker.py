"""The load process: `python -m hpcsweep.load.worker` with a LoadConfig on standard input.

It writes the JSON lines of `events/load_lines.py` to standard output. SIGTERM ends the load with exit code 0.
"""

import signal
import sys

from pydantic import ValidationError

from hpcsweep.errors import HpcsweepError
from hpcsweep.load.config import LoadConfig
from hpcsweep.load.drivers.registry import CLIENTS


def main() -> int:
    """Return the exit code: 0 done or stopped, 1 an error on standard error, 2 an invalid LoadConfig."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        config = LoadConfig.model_validate_json(sys.stdin.read())
    except ValidationError as exc:
        sys.stderr.write(f"invalid LoadConfig on standard input: {exc}\n")
        return 2
    try:
        return CLIENTS.get(config.planned.workload.client).run(config)
    except HpcsweepError as exc:
        sys.stderr.write(f"Error: {exc}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
