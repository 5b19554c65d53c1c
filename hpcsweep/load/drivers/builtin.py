"""`builtin`: the load client of hpcsweep. The process becomes the sender."""

import os
import signal
import sys
from typing import ClassVar

from hpcsweep.load.config import LoadConfig
from hpcsweep.load.prepare import prepare
from hpcsweep.load.schedule import write_schedule


class BuiltinClient:
    """Replaces this process by the sender, which then has none of the memory that preparing the requests took."""

    name: ClassVar[str] = "builtin"

    def run(self, config: LoadConfig) -> int:
        """Send the workload. Does not return. Raises DatasetError."""
        schedule, bodies = prepare(config)
        fd = write_schedule(schedule, bodies)
        # a SIGTERM during exec stays pending until the sender has installed its handler
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "hpcsweep.load.client.sender", str(fd)])
