"""`builtin`: our own client. The process becomes the sender."""

import os
import signal
import sys

from hpcsweep.load.client.schedule import write_schedule
from hpcsweep.load.config import LoadConfig
from hpcsweep.load.prepare import prepare


def run(config: LoadConfig) -> int:
    """Send the workload. Does not return: the sender holds nothing of what was needed to make the requests."""
    schedule, bodies = prepare(config)
    fd = write_schedule(schedule, bodies)
    # a SIGTERM that comes while this process is between two programs waits for the sender's handler
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "hpcsweep.load.client.sender", str(fd)])
