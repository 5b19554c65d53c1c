"""What can be known on the node before the engine is started: refused in seconds, not after a model load."""

import difflib
import shutil
from collections.abc import Sequence
from pathlib import Path

from hpcsweep.engines.flags import advice
from hpcsweep.engines.versions import satisfies
from hpcsweep.node.outcome import AttemptVerdict
from hpcsweep.node.process.processes import command_line
from hpcsweep.node.watch.gpus import GpuState
from hpcsweep.spec.gpu_types import is_other_gpu
from hpcsweep.spec.job import JobSpec
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.spec.server import ServerConfig
from hpcsweep.units import format_bytes

CACHE_ROOM_BYTES = 1 << 30
_IDLE_GPU_BYTES = 2 << 30


def version_verdict(engine: str, version: str | None, constraint: str | None) -> AttemptVerdict | None:
    """`unsupported` when the installed version is none that the experiment admits; None: it is."""
    if constraint is None or (version is not None and satisfies(version, constraint)):
        return None
    told = f"{engine} {version} is installed here" if version else f"the installed {engine} does not tell its version"
    reason = f"{told}, the experiment asks for {constraint}"
    hint = f"name another executable in the cluster profile (engines: {{{engine}: PATH}}), or widen engine.version"
    return AttemptVerdict(OutcomeKind.UNSUPPORTED, reason, "preflight: version of the engine", hint)


def unknown_flags(argv: Sequence[str], known: frozenset[str]) -> list[str]:
    """Long flags of a command that the engine's help does not name.

    Underscores and dashes are the same; a dotted key (`--compilation-config.mode`) counts as its first part.
    """
    plain = {_plain(flag) for flag in known}
    flags = [word.partition("=")[0] for word in argv if word.startswith("--") and len(word) > 2]
    return [flag for flag in flags if _plain(flag.partition(".")[0]) not in plain]


def _plain(flag: str) -> str:
    return flag.replace("_", "-")


def flags_verdict(
    engine: str, argv: Sequence[str], known: frozenset[str], version: str | None
) -> AttemptVerdict | None:
    """`bad_arguments` when the installed engine does not know a flag; None: it knows them all."""
    unknown = unknown_flags(argv, known)
    if not unknown:
        return None
    reason = f"the installed {engine}{f' {version}' if version else ''} has no flag {', '.join(unknown)}"
    close = difflib.get_close_matches(unknown[0], sorted(known), n=1)
    hint = advice(engine, unknown[0]) or (f"did you mean {close[0]}?" if close else "its own --help lists its flags")
    return AttemptVerdict(OutcomeKind.BAD_ARGUMENTS, reason, "preflight: the engine's own help", hint)


def model_verdict(config: ServerConfig) -> AttemptVerdict | None:
    """`model_not_found` when the model is a path that cannot be read here; a hub's name is the engine's business."""
    if not config.model.startswith(("/", "./", "../", "~")):
        return None
    path = Path(config.model).expanduser()
    try:
        readable = (path / "config.json").is_file() if path.is_dir() else path.is_file()
        if readable:
            with (path / "config.json" if path.is_dir() else path).open("rb") as file:
                file.read(1)
            return None
        reason = f"{path} is no folder with a config.json" if path.exists() else f"{path} does not exist on this node"
    except OSError as exc:
        reason = f"{path} cannot be read on this node: {exc.strerror}"
    hint = "is it on a file system that the compute nodes mount?"
    return AttemptVerdict(OutcomeKind.MODEL_NOT_FOUND, reason, "preflight: the model's path", hint)


def gpus_verdict(states: Sequence[GpuState], needed: int, *, visible: int | None) -> AttemptVerdict | None:
    """`failed` when fewer GPUs are visible than the server needs. `visible` None: nobody can tell."""
    if visible is None or visible >= needed:
        return None
    reason = f"the server needs {needed} GPUs, {visible} are visible on this node"
    listed = tuple(f"{state.uuid} {state.name}" for state in states)
    hint = "ask the scheduler for more: resources.gpus"
    return AttemptVerdict(OutcomeKind.FAILED, reason, "preflight: GPUs", hint, listed)


def busy_gpus(states: Sequence[GpuState]) -> list[str]:
    """A sentence for each GPU on which somebody holds memory, with the processes named: leftovers of another job."""
    told = []
    for state in states:
        if (state.memory_used_bytes or 0) < _IDLE_GPU_BYTES:
            continue
        owners = [
            f"process {pid} ({command_line(pid)[:80] or 'of another user or container'}): {format_bytes(size)}"
            for pid, size in state.processes.items()
        ]
        told.append(
            f"GPU {state.uuid} ({state.name}) already holds {format_bytes(state.memory_used_bytes or 0)}: "
            + ("; ".join(owners) or "by nobody that the driver names")
        )
    return told


def room_problem(folder: Path) -> str:
    """Why the compile cache may not find room; empty: it does."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        free_bytes = shutil.disk_usage(place).free
    except OSError as exc:
        return f"the file system of {place} does not tell its free space: {exc.strerror}"
    if free_bytes < CACHE_ROOM_BYTES:
        return f"only {format_bytes(free_bytes)} are free for the compile cache in {place}"
    return ""


def other_gpus(job: JobSpec, states: Sequence[GpuState]) -> str:
    """That the driver reports other GPUs than the job asked its scheduler for; empty: it does not, or cannot tell.

    Without a scheduler nothing was asked for: an experiment for one GPU may be tried on another.
    """
    asked = job.resources.gpu_type
    if asked is None or job.scheduler == "local":
        return ""
    others = sorted({state.name for state in states if is_other_gpu(asked, state.name)})
    return f"asked for GPUs of type {asked}, but this job has {', '.join(others)}" if others else ""
