"""Collect diagnostics of a server that is stuck, before anything is killed."""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from hpcsweep.node.process.processes import Process, command_line, wait_channel

DIAGNOSTICS = "diagnostics"
"""Folder of an attempt with the diagnostics of a stuck server."""

_TOOL_S = 20.0
_ALL_TOOLS_S = 60.0
_TICK_S = 0.2
_PYTHON_LIMIT = 24


def collect(
    folder: Path,
    processes: Sequence[Process],
    last_lines: Sequence[str],
    cpu_before: Mapping[int, float],
    hurry: Callable[[], bool] = lambda: False,
    summary: str = "",
) -> list[str]:
    """Write `diagnostics/` and return the names of the files. A file states why its content could not be collected.

    `summary`: the cause in one sentence, if known. `cpu_before`: pid -> CPU seconds at the previous check, which show
    the busy processes. `hurry`: the job has to stop now, because the scheduler leaves only seconds; tools that are
    running are killed.
    """
    target = folder / DIAGNOSTICS
    written = []
    tools = _Tools(hurry)

    def keep(name: str, text: Callable[[], str]) -> None:
        try:
            target.mkdir(exist_ok=True)
            (target / name).write_text(text(), encoding="utf-8", errors="replace")
            written.append(name)
        except OSError as exc:
            written.append(f"{name} could not be written: {exc.strerror}")

    if summary:
        keep("summary.txt", lambda: summary + "\n")
    keep("last_lines.txt", lambda: "\n".join(last_lines) + "\n")
    keep("processes.txt", lambda: process_table(processes, cpu_before))
    keep("stacks.txt", lambda: python_stacks(processes, tools))
    keep("sockets.txt", lambda: tools.output(["ss", "-tanpe"]))
    if shutil.which("nvidia-smi"):
        keep("nvidia-smi.txt", lambda: tools.output(["nvidia-smi"]))
    return written


def process_table(processes: Sequence[Process], cpu_before: Mapping[int, float]) -> str:
    """Return one line per process: command, CPU time, and the kernel function that it waits in."""
    lines = ["pid ppid session cpu_s cpu_s_since_last_check wait_channel command"]
    for process in processes:
        since = process.cpu_s - cpu_before.get(process.pid, 0.0)
        wait = wait_channel(process.pid) or "-"
        state = next((line for line in _read(Path(f"/proc/{process.pid}/status")).splitlines() if "State" in line), "")
        lines.append(
            f"{process.pid} {process.ppid} {process.session} {process.cpu_s:.2f} {since:.2f} {wait} "
            f"[{state.removeprefix('State:').strip()}] {command_line(process.pid) or process.name}"
        )
    return "\n".join(lines) + "\n"


def python_stacks(processes: Sequence[Process], tools: "_Tools") -> str:
    """Return the Python stacks of all processes from py-spy, where it is installed and permitted."""
    tool = py_spy_argv()
    if tool is None:
        return "py-spy is not installed: run pip install py-spy in the environment of the agent\n"
    parts = []
    for process in processes[:_PYTHON_LIMIT]:
        parts.append(f"# {process}\n" + tools.output([*tool, "dump", "--pid", str(process.pid), "--nonblocking"]))
    return "\n".join(parts)


def py_spy_argv() -> list[str] | None:
    """Return the command of py-spy; None: it is not installed."""
    in_environment = Path(sys.executable).with_name("py-spy")
    if in_environment.exists():
        return [str(in_environment)]
    on_path = shutil.which("py-spy")
    if on_path:
        return [on_path]
    return [sys.executable, "-m", "py_spy"] if find_spec("py_spy") else None


class _Tools:
    """Runs tools within a common time limit."""

    def __init__(self, hurry: Callable[[], bool]) -> None:
        self._hurry = hurry
        self._until_s = time.monotonic() + _ALL_TOOLS_S

    def output(self, argv: list[str]) -> str:
        """Return the output of a tool, or why there is none."""
        until_s = min(time.monotonic() + _TOOL_S, self._until_s)
        if self._hurry() or time.monotonic() >= until_s:
            return f"{' '.join(argv)}: not run, out of time\n"
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace",
            )  # fmt: skip
        except OSError as exc:
            return f"{' '.join(argv)}: {exc}\n"
        while True:
            try:
                return process.communicate(timeout=_TICK_S)[0]
            except subprocess.TimeoutExpired:
                if self._hurry() or time.monotonic() >= until_s:
                    process.kill()
                    with contextlib.suppress(subprocess.TimeoutExpired):  # nvidia-smi of a lost GPU cannot be killed
                        process.communicate(timeout=_TICK_S)
                    return f"{' '.join(argv)}: timed out\n"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
