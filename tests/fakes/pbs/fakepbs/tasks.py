"""`pbsdsh -n INDEX -- COMMAND`: a task on a node of the job, with the environment that tasks had on the real server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

_KEPT = ("HOME", "ENVIRONMENT", "NCPUS", "OMP_NUM_THREADS")


def pbsdsh(argv: list[str]) -> int:
    """Run the task in a session of its own, as the daemon of its node does; return its exit code."""
    if len(argv) < 4 or argv[0] != "-n" or argv[2] != "--":
        sys.stderr.write("usage: pbsdsh [-c copies][-s][-v][-o] -- program [program args]\n")
        return 1
    node, command = int(argv[1]), argv[3:]
    nodes = Path(os.environ["PBS_NODEFILE"]).read_text().splitlines()
    if node >= len(nodes):
        sys.stderr.write(f"pbsdsh: only {len(nodes)} nodes in the job\n")
        return 1
    env = {name: value for name, value in os.environ.items() if name.startswith("PBS_") or name in _KEPT}
    env |= {"PATH": "/bin:/usr/bin", "PBS_NODENUM": str(node), "PBS_TASKNUM": f"4000000{node}", "TZ": "UTC"}
    task = subprocess.Popen(command, env=env, cwd=env["HOME"], start_new_session=True)

    def end(signum: int, frame: object) -> None:
        sys.stderr.write(f"pbsdsh: killing task 0x4000000{node} signal {signum}\n")
        os.killpg(task.pid, signum)

    signal.signal(signal.SIGTERM, end)
    return task.wait()
