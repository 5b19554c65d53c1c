"""Run the command that removes what a container leaves when its processes are killed: its record, its mounts."""

import contextlib
import subprocess
from collections.abc import Sequence

CLEANUP_TIMEOUT_S = 30.0


def clean_up(argv: Sequence[str]) -> None:
    """Run the command; empty: there is none. When it fails, it found nothing to remove."""
    if not argv:
        return
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=CLEANUP_TIMEOUT_S,
            check=False,
        )
