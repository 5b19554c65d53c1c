"""Run the command that removes what a container leaves when its processes are killed: its record, its mounts."""

import subprocess
import time
from collections.abc import Sequence

_TIMEOUT_S = 30.0
_TRIES = 3
"""Podman 5.4 cannot remove a container whose conmon was killed at the first try, but marks it as exited then."""
_PAUSE_S = 0.3


def clean_up(argv: Sequence[str]) -> None:
    """Run the command until it succeeds; empty: there is none. When it always fails, it found nothing to remove."""
    if not argv:
        return
    for _ in range(_TRIES):
        try:
            done = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return
        if done.returncode == 0:
            return
        time.sleep(_PAUSE_S)
