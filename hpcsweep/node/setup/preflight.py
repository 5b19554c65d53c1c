"""Checks on the node before the engine is started: errors are found in seconds, not after a model load."""

import difflib
import shutil
from collections.abc import Sequence
from pathlib import Path

from hpcsweep.engines.flags import advice
from hpcsweep.engines.versions import satisfies
from hpcsweep.node.process.gpus import GpuState
from hpcsweep.node.process.processes import command_line
from hpcsweep.node.record.notes import Note
from hpcsweep.node.watch.outcome import AttemptVerdict
from hpcsweep.spec.gpu_types import is_other_gpu
from hpcsweep.spec.job import JobSpec
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.spec.server import ServerConfig
from hpcsweep.units import format_bytes

CACHE_ROOM_BYTES = 1 << 30
_IDLE_GPU_BYTES = 2 << 30


def version_verdict(engine: str, version: str | None, constraint: str | None) -> AttemptVerdict | None:
    """Return `unsupported` when the installed version does not satisfy `constraint`; None: it does."""
    if constraint is None or (version is not None and satisfies(version, constraint)):
        return None
    installed = f"{engine} {version} is installed" if version else f"the version of the installed {engine} is unknown"
    reason = f"{installed}, but the experiment requires {constraint}"
    hint = f"set another executable in the cluster profile (engines: {{{engine}: PATH}}), or widen engine.version"
    return AttemptVerdict(OutcomeKind.UNSUPPORTED, "engine_version", reason, "preflight: version of the engine", hint)


def unknown_flags(argv: Sequence[str], known: frozenset[str]) -> list[str]:
    """Return the long flags of a command that the engine's help does not list.

    Underscores and dashes are equal; a dotted key (`--compilation-config.mode`) counts as its first part.
    """
    plain = {_plain(flag) for flag in known}
    flags = [word.partition("=")[0] for word in argv if word.startswith("--") and len(word) > 2]
    return [flag for flag in flags if _plain(flag.partition(".")[0]) not in plain]


def _plain(flag: str) -> str:
    return flag.replace("_", "-")


def flags_verdict(
    engine: str, argv: Sequence[str], known: frozenset[str], version: str | None
) -> AttemptVerdict | None:
    """Return `bad_arguments` when the installed engine does not have a flag; None: it has all of them."""
    unknown = unknown_flags(argv, known)
    if not unknown:
        return None
    reason = f"the installed {engine}{f' {version}' if version else ''} does not have {', '.join(unknown)}"
    close = difflib.get_close_matches(unknown[0], sorted(known), n=1)
    hint = advice(engine, unknown[0]) or (
        f"did you mean {close[0]}?" if close else "run it with --help for a list of its flags"
    )
    return AttemptVerdict(OutcomeKind.BAD_ARGUMENTS, "unknown_flag", reason, "preflight: the engine's own help", hint)


def model_verdict(config: ServerConfig, in_container: str | None = None) -> AttemptVerdict | None:
    """Return `model_not_found` when the model is a path that cannot be read here; a hub's name is not checked.

    `in_container`: what the probe of a container found (`Probed.model`), where only the container's view counts.
    """
    if in_container is not None:
        return _model_verdict_in_container(config.model, in_container)
    if not config.model.startswith(("/", "./", "../", "~")):
        return None
    path = Path(config.model).expanduser()
    try:
        readable = (path / "config.json").is_file() if path.is_dir() else path.is_file()
        if readable:
            with (path / "config.json" if path.is_dir() else path).open("rb") as file:
                file.read(1)
            return None
        reason = f"{path} does not contain a config.json" if path.exists() else f"{path} does not exist on this node"
    except OSError as exc:
        reason = f"{path} cannot be read on this node: {exc.strerror}"
    hint = "is it on a file system that the compute nodes mount?"
    return AttemptVerdict(OutcomeKind.MODEL_NOT_FOUND, "model_path", reason, "preflight: the model's path", hint)


def _model_verdict_in_container(model: str, view: str) -> AttemptVerdict | None:
    if view == "readable":
        return None
    reason = f"{model} does not contain a config.json" if view == "no_config" else f"{model} is not in the container"
    if Path(model).exists() and view == "missing":
        reason += ", although it exists on this node"
    hint = "is it on a file system that the compute nodes mount? `binds:` of the container makes other folders visible"
    return AttemptVerdict(OutcomeKind.MODEL_NOT_FOUND, "model_path", reason, "preflight: the model's path", hint)


def gpus_verdict(states: Sequence[GpuState], needed: int, *, visible: int | None) -> AttemptVerdict | None:
    """Return `failed` when fewer GPUs are visible than the server needs. `visible` None: the number is unknown."""
    if visible is None or visible >= needed:
        return None
    reason = f"the server needs {needed} GPUs, but only {visible} are visible on this node"
    listed = tuple(f"{state.uuid} {state.name}" for state in states)
    hint = "request more GPUs from the scheduler: resources.gpus"
    return AttemptVerdict(OutcomeKind.FAILED, "too_few_gpus", reason, "preflight: GPUs", hint, listed)


def busy_gpus(states: Sequence[GpuState]) -> list[Note]:
    """Return a note for each GPU whose memory is in use, with its processes: they may be left over from another job."""
    notes = []
    for state in states:
        if (state.memory_used_bytes or 0) < _IDLE_GPU_BYTES:
            continue
        owners = [
            f"process {pid} ({command_line(pid)[:80] or 'of another user or container'}): {format_bytes(size)}"
            for pid, size in state.processes.items()
        ]
        size = format_bytes(state.memory_used_bytes or 0)
        processes = "; ".join(owners) or "the driver does not list a process"
        notes.append(Note("gpu_in_use", f"{size} of GPU {state.uuid} ({state.name}) are already in use: {processes}"))
    return notes


def room_problem(folder: Path) -> str:
    """Return why the compile cache may run out of space; empty: there is enough."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        free_bytes = shutil.disk_usage(existing).free
    except OSError as exc:
        return f"the free space of {existing} cannot be determined: {exc.strerror}"
    if free_bytes < CACHE_ROOM_BYTES:
        return f"only {format_bytes(free_bytes)} are free for the compile cache in {existing}"
    return ""


def other_gpus(job: JobSpec, states: Sequence[GpuState]) -> str:
    """Return a sentence when the GPUs are not of the type that the job requested; empty: they are, or it is unknown.

    Without a scheduler no type was requested: an experiment for one GPU may be tried on another.
    """
    asked = job.resources.gpu_type
    if asked is None or job.scheduler == "local":
        return ""
    others = sorted({state.name for state in states if is_other_gpu(asked, state.name)})
    return f"the job requested GPUs of type {asked}, but has {', '.join(others)}" if others else ""
