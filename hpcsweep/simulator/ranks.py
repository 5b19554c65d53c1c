"""Start worker processes of a simulated server: one is stuck, and the others busy-wait for it."""

import subprocess
import sys
from typing import NoReturn

from hpcsweep.simulator.faults import RankStuck

_BUSY = """
def all_reduce():
    while True:
        pass

all_reduce()
"""
_STUCK = {
    "stopped": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "sleeping": "import time\n\ndef load_shard():\n    time.sleep(1e6)\n\nload_shard()",
    "looping": "def step():\n    while True:\n        pass\n\nstep()",
}


def start_ranks(fault: RankStuck) -> None:
    """Start the ranks of the fault, with the titles of vLLM's workers."""
    for rank in range(fault.ranks):
        code = _STUCK[fault.how] if rank == fault.rank else _BUSY
        subprocess.Popen([f"VLLM::Worker_TP{rank}", "-S", "-c", code], executable=sys.executable)


def busy_wait() -> NoReturn:
    """Use one core without doing anything."""
    while True:
        pass
