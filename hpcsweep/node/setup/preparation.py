"""Everything before the server is started: which engine, where, with which command; refused early where it can be."""

import platform
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import hpcsweep
from hpcsweep.engines.access import ALLOW_HINT, Access, access, exposed
from hpcsweep.engines.base import Engine, Launch, LaunchContext
from hpcsweep.engines.registry import get_engine
from hpcsweep.engines.simulated import SimulatedEngine
from hpcsweep.errors import EngineError
from hpcsweep.node.outcome import AttemptVerdict, Ended
from hpcsweep.node.process.server import free_port
from hpcsweep.node.setup import preflight
from hpcsweep.node.setup.engine_install import find_executable, installed_version, known_flags
from hpcsweep.node.setup.private_folder import KEY_FILE_NAME, SOCKET_NAME
from hpcsweep.node.setup.private_network import private_network_problem
from hpcsweep.node.watch.gpus import SILENT_DRIVER, Gpus, visible_names
from hpcsweep.spec.job import JobSpec, RunSpec
from hpcsweep.spec.phases import OutcomeKind

PORT_VARIABLE = "HPCSWEEP_SERVER_PORT"
FLAG_CHECK_VARIABLE = "HPCSWEEP_FLAG_CHECK"


@dataclass(frozen=True)
class PreparedLaunch:
    """What is known before the start.

    `version` None: the engine does not tell it. `socket_path` None: the server listens on `port`.
    """

    engine: Engine
    executable: str
    version: str | None
    port: int
    launch: Launch
    socket_path: str | None = None


def engine_of(run: RunSpec) -> Engine:
    """The adapter of a run: the simulated engine in place of the real one when the run says so. Raises EngineError."""
    real = get_engine(run.server.engine)
    if run.simulation is None:
        return real
    return SimulatedEngine(real, run.simulation.profile, run.simulation.time_scale, run.axes, run.repeat)


def versions(version: str | None, engine: str, gpus: Gpus) -> dict[str, str]:
    """The versions that an attempt stands on."""
    found = {"hpcsweep": hpcsweep.__version__, "python": platform.python_version(), "kernel": platform.release()}
    if version is not None:
        found[engine] = version
    driver = gpus.driver_version()
    return found | ({"driver": driver} if driver else {})


def locate(run: RunSpec, job: JobSpec, engine: Engine, env: Mapping[str, str]) -> tuple[str, str | None]:
    """The executable and its version. Raises Ended when there is none, or none that the experiment admits."""
    name = run.server.engine
    if run.simulation is not None:
        return sys.executable, hpcsweep.__version__
    executable = find_executable(name, job.engines, env)
    if executable is None:
        asked = job.engines.get(name) or env.get(f"HPCSWEEP_{name.upper()}") or f"{name} on PATH"
        hint = f"name it in the cluster profile (engines: {{{name}: PATH}}) or by HPCSWEEP_{name.upper()}"
        reason = f"{name} is not installed on {socket.gethostname()}: {asked} is no executable"
        raise Ended(AttemptVerdict(OutcomeKind.FAILED, reason, "preflight: executable of the engine", hint))
    version = installed_version(engine, executable, Path(job.cache_dir))
    refused = preflight.version_verdict(name, version, run.server.engine_version)
    if refused is not None:
        raise Ended(refused)
    return executable, version


def choose_port(env: Mapping[str, str]) -> int:
    """A free port, or the one that HPCSWEEP_SERVER_PORT asks for. Raises Ended when that one is taken."""
    asked = env.get(PORT_VARIABLE, "")
    if not asked.isdigit():
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(asked)))
        except (OSError, OverflowError) as exc:
            reason = f"port {asked}, asked for by {PORT_VARIABLE}, cannot be had: {exc}"
            hint = f"leave {PORT_VARIABLE} out: a free port is chosen"
            raise Ended(AttemptVerdict(OutcomeKind.PORT_IN_USE, reason, "preflight: port", hint)) from exc
    return int(asked)


def prepare(
    run: RunSpec, job: JobSpec, engine: Engine, folder: Path, private: Path, env: Mapping[str, str], startup_s: float
) -> PreparedLaunch:
    """The command for this run on this node. `private`: see `make_private_folder`. Raises Ended: what is wrong."""
    try:
        cannot = engine.unsupported(run.server)
        if cannot:
            raise Ended(
                AttemptVerdict(OutcomeKind.UNSUPPORTED, "; ".join(cannot), f"the adapter of {run.server.engine}")
            )
        exposure = exposed(engine, run.server)
        if exposure is not None and not job.unprotected_server_allowed:
            raise Ended(
                AttemptVerdict(OutcomeKind.UNSUPPORTED, exposure, "the agent: protection of the server", ALLOW_HINT)
            )
        protected_by = access(engine, run.server)
        if job.private_network:
            _check_private_network(run, protected_by)
        executable, version = locate(run, job, engine, env)
        port = 0 if protected_by is Access.UNIX_SOCKET else choose_port(env)
        where = LaunchContext(
            executable, port, version, attempt_dir=str(folder), startup_budget_s=startup_s,
            socket_path=str(private / SOCKET_NAME) if protected_by is Access.UNIX_SOCKET else None,
            key_file=str(private / KEY_FILE_NAME) if protected_by is Access.API_KEY else None,
        )  # fmt: skip
        return PreparedLaunch(engine, executable, version, port, engine.launch(run.server, where), where.socket_path)
    except EngineError as exc:
        raise Ended(AttemptVerdict(OutcomeKind.UNSUPPORTED, exc.message, "the engine's adapter", exc.hint)) from exc


def _check_private_network(run: RunSpec, protected_by: Access) -> None:
    """Raises Ended when the server cannot have a network of its own, which its profile asks for."""
    hint = "leave `private_network` out of the cluster profile"
    if protected_by is not Access.UNIX_SOCKET:
        reason = f"{run.server.engine} cannot listen on a Unix socket: in a network of its own nobody would reach it"
        raise Ended(AttemptVerdict(OutcomeKind.UNSUPPORTED, reason, "the agent: private_network", hint))
    problem = private_network_problem()
    if problem:
        reason = f"private_network: {socket.gethostname()} does not let its users make one: {problem}"
        raise Ended(AttemptVerdict(OutcomeKind.FAILED, reason, "the agent: private_network", hint))


def check(run: RunSpec, job: JobSpec, prepared: PreparedLaunch, gpus: Gpus, env: Mapping[str, str]) -> list[str]:
    """What is odd about this start, a sentence each. Raises Ended for what would make it fail, found in seconds."""
    told = concerns(job, gpus)
    if run.simulation is not None:
        return told
    states = gpus.states()
    visible = len(states) if gpus.available else (len(visible_names(env)) or None)
    for refused in (preflight.model_verdict(run.server), preflight.gpus_verdict(states, run.gpus, visible=visible)):
        if refused is not None:
            raise Ended(refused)
    name = run.server.engine
    if env.get(FLAG_CHECK_VARIABLE) == "off":
        return [*told, f"the flags were not checked against the help of {name}: {FLAG_CHECK_VARIABLE} is off"]
    known = known_flags(prepared.engine, prepared.executable, prepared.version, Path(job.cache_dir))
    if known is None:
        return [*told, f"the flags were not checked: {prepared.executable} does not print its help"]
    refused = preflight.flags_verdict(name, prepared.launch.argv[1:], known, prepared.version)
    if refused is not None:
        raise Ended(refused)
    return told


def concerns(job: JobSpec, gpus: Gpus) -> list[str]:
    """What is odd about this node without ending the attempt: GPUs in use, little room for the compile cache."""
    told = preflight.busy_gpus(gpus.states())
    if gpus.silent:
        told.append(SILENT_DRIVER)
    room = preflight.room_problem(Path(job.cache_dir)) if job.compile_cache != "off" else ""
    return [*told, *([room] if room else [])]
