"""What is kept when a server is stuck: where each process was, before anything is killed."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from hpcsweep.node.processes import Process, command_line

_TOOL_TIMEOUT_S = 20.0
_PYTHON_LIMIT = 24


def collect(
    folder: Path, processes: Sequence[Process], last_lines: Sequence[str], cpu_before: Mapping[int, float]
) -> list[str]:
    """Write `diagnostics/` and come back with the names of the files. Whatever cannot be had is said in its file.

    `cpu_before`: pid -> CPU seconds at the look before: shows who works and who waits.
    """
    place = folder / "diagnostics"
    written = []

    def keep(name: str, text: Callable[[], str]) -> None:
        try:
            place.mkdir(exist_ok=True)
            (place / name).write_text(text(), encoding="utf-8", errors="replace")
            written.append(name)
        except OSError as exc:
            written.append(f"{name} could not be written: {exc.strerror}")

    keep("last_lines.txt", lambda: "\n".join(last_lines) + "\n")
    keep("processes.txt", lambda: process_table(processes, cpu_before))
    keep("stacks.txt", lambda: python_stacks(processes))
    keep("sockets.txt", lambda: _output(["ss", "-tanpe"]))
    if shutil.which("nvidia-smi"):
        keep("nvidia-smi.txt", lambda: _output(["nvidia-smi"]))
    return written


def process_table(processes: Sequence[Process], cpu_before: Mapping[int, float]) -> str:
    """One line a process: what it is, what it used, and what it waits for in the kernel."""
    lines = ["pid ppid session cpu_s cpu_s_since_last_look wait_channel command"]
    for process in processes:
        since = process.cpu_s - cpu_before.get(process.pid, 0.0)
        wait = _read(Path(f"/proc/{process.pid}/wchan")) or "-"
        state = next((line for line in _read(Path(f"/proc/{process.pid}/status")).splitlines() if "State" in line), "")
        lines.append(
            f"{process.pid} {process.ppid} {process.session} {process.cpu_s:.2f} {since:.2f} {wait} "
            f"[{state.removeprefix('State:').strip()}] {command_line(process.pid) or process.name}"
        )
    return "\n".join(lines) + "\n"


def python_stacks(processes: Sequence[Process]) -> str:
    """The Python stacks of every process of the tree by py-spy, where it is there and may look."""
    tool = py_spy_argv()
    if tool is None:
        return "py-spy is not installed here: pip install py-spy in the environment of the agent\n"
    parts = []
    for process in processes[:_PYTHON_LIMIT]:
        parts.append(f"# {process}\n" + _output([*tool, "dump", "--pid", str(process.pid), "--nonblocking"]))
    return "\n".join(parts)


def py_spy_argv() -> list[str] | None:
    """How py-spy is started; None: it is not here."""
    beside = Path(sys.executable).with_name("py-spy")
    if beside.exists():
        return [str(beside)]
    found = shutil.which("py-spy")
    if found:
        return [found]
    return [sys.executable, "-m", "py_spy"] if find_spec("py_spy") else None


def _output(argv: list[str]) -> str:
    try:
        answer = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_TOOL_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"{' '.join(argv)}: {exc}\n"
    return answer.stdout + answer.stderr


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
