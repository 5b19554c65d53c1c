"""Processes that never meet."""

import os
import signal
import sys
import time

from torch import HOW


def is_available() -> bool:
    return True


class TCPStore:
    """Where the processes meet."""

    def __init__(self, *_: object, **__: object) -> None:
        if HOW == "broken":
            print("NCCL WARN socketProgress: Connection refused", file=sys.stderr)
            raise RuntimeError("unhandled system error")
        if HOW == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
