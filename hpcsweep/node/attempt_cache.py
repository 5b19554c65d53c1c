"""The compile cache of one attempt: open it, record how it was used, and keep it or not."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcsweep.engines.base import Engine
from hpcsweep.node.compile_cache import CompileCache, cache_key, cache_use, kept_folders, measure
from hpcsweep.node.identity import Identity
from hpcsweep.node.process.gpus import GpuState
from hpcsweep.node.record.notes import Note
from hpcsweep.node.setup.preparation import PreparedLaunch
from hpcsweep.node.watch.outcome import AttemptVerdict
from hpcsweep.node.watch.supervisor import Supervisor
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.job import JobSpec, RunSpec
from hpcsweep.spec.phases import OutcomeKind, Phase

_HALF_COMPILED = frozenset({OutcomeKind.STALLED, OutcomeKind.STARTUP_TIMEOUT, OutcomeKind.CRASHED})


def open_cache(
    run: RunSpec, job: JobSpec, engine: Engine, prepared: PreparedLaunch, identity: Identity, gpus: Sequence[GpuState]
) -> tuple[CompileCache | None, list[Note]]:
    """Return the open cache of a server, None: its folder cannot be used; and what the user should know about it."""
    gpu = gpus[0].name if gpus else job.resources.gpu_type or "cpu"
    name = f"{'simulated-' if run.simulation else ''}{prepared.cache_version or 'unknown'}"
    key = cache_key(run.server, engine.settings(run.server), name, gpu)
    of_server = {**prepared.environment, **prepared.launch.env}
    kept = kept_folders(of_server, {*job.profile_variables, *prepared.launch.env})
    # A copy on the disk of one node would not be seen by the others.
    mode = "shared" if job.compile_cache == "node_local" and run.nodes > 1 else job.compile_cache
    cache = CompileCache(mode, Path(job.cache_dir), key, identity, kept)
    try:
        cache.open()
    except OSError as exc:
        text = f"no compile cache in {job.cache_dir}: {exc.strerror}; using the engine's default location"
        return None, [Note("cache_unavailable", text)]
    notes = [Note("cache_locked", cache.note)] if cache.note else []
    notes += [Note("cache_folder_kept", _kept_note(cache.kept))] if cache.kept else []
    return cache, notes


def record_cache_use(cache: CompileCache, supervisor: Supervisor) -> None:
    """Record how the compile cache was used, judged by its files: engines report little about lower caches."""
    reader = supervisor.reader
    before, now = cache.at_start, measure(*cache.folders)
    if not (reader.has_entered(Phase.COMPILE) or now.graphs):
        return  # without such a phase functions may be compiled when they are first called, as by SGLang
    for name, first, last in (("kernels", before.kernels, now.kernels), ("graphs", before.graphs, now.graphs)):
        supervisor.fact(f"inductor_{name}_at_start", first, source="cache folder")
        supervisor.fact(f"inductor_{name}_added", max(last - first, 0), source="cache folder")
    logged = reader.facts.get("compile_cache")
    use = cache_use(str(logged.value) if logged is not None else None, before, now)
    if use is not None:
        supervisor.fact("compile_cache", use, source="the log and the cache folder")


def close_cache(cache: CompileCache, supervisor: Supervisor, budgets: Budgets, verdict: AttemptVerdict) -> None:
    """Release the cache. What a stuck or crashed server has written is kept only for a retry that wants it warm."""
    warm_retry = "retry_warm" in (budgets.on_stall, budgets.on_startup_timeout)
    try:
        cache.close(keep=warm_retry or verdict.kind not in _HALF_COMPILED)
    except OSError as exc:
        supervisor.warn(f"the compile cache could not be saved: {exc}", code="cache_not_saved")


def _kept_note(kept: Mapping[str, str]) -> str:
    folders = ", ".join(f"{name}={folder}" for name, folder in kept.items())
    return (
        f"{folders}: set by the cluster profile or the experiment, so this compile cache is used as it is: variants "
        "share it, and `compile_cache` of the experiment does not apply to it"
    )
