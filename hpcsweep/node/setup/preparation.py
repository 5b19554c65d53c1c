"""Prepare the start of a server: engine, executable, port, command, and checks that find errors early."""

import platform
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import hpcsweep
from hpcsweep.containers.base import NodeCommand
from hpcsweep.containers.launch import node_command
from hpcsweep.engines.access import ALLOW_HINT, Access, access, exposed
from hpcsweep.engines.base import Engine, Launch, LaunchContext, Placement
from hpcsweep.engines.registry import get_engine
from hpcsweep.engines.simulated import SimulatedEngine
from hpcsweep.errors import ContainerError, EngineError
from hpcsweep.node.process.gpus import SILENT_DRIVER, Gpus, visible_names
from hpcsweep.node.process.ports import free_port
from hpcsweep.node.process.private_network import private_network_problem
from hpcsweep.node.record.notes import Note
from hpcsweep.node.setup import preflight
from hpcsweep.node.setup.container import NodeContainer, Probed, container_launch, container_of
from hpcsweep.node.setup.engine_environment import engine_environment
from hpcsweep.node.setup.engine_identity import RunImage, python_of
from hpcsweep.node.setup.engine_install import (
    Installation,
    find_executable,
    installed_version,
    known_flags,
    on_this_node,
)
from hpcsweep.node.setup.mpi_job import NO_CONTAINER, PreparedMpi, prepare_mpi
from hpcsweep.node.setup.private_folder import KEY_FILE_NAME, SOCKET_NAME
from hpcsweep.node.watch.outcome import AttemptVerdict, Ended
from hpcsweep.spec.job import JobSpec, RunSpec
from hpcsweep.spec.phases import OutcomeKind

PORT_VARIABLE = "HPCSWEEP_SERVER_PORT"
FLAG_CHECK_VARIABLE = "HPCSWEEP_FLAG_CHECK"


@dataclass(frozen=True)
class ServerFolders:
    """Where the files of one server, or of its part on one node, are.

    `token`: in the environment of its processes. `private`: see `make_private_folder`.
    """

    folder: Path
    token: str
    private: Path


@dataclass(frozen=True)
class PreparedLaunch:
    """The start of a server.

    `version` None: unknown. `environment`: of the engine, without what the agent adds. `socket_path` None: the server
    listens on `port`. `installation` None: the engine is simulated. `container` None: the server runs on the node
    itself. `mpi`: the job whose ranks are the server; None: it is not an MPI job, or this is not its first node.
    """

    engine: Engine
    executable: str
    version: str | None
    port: int
    launch: Launch
    environment: Mapping[str, str]
    socket_path: str | None = None
    installation: Installation | None = None
    container: NodeContainer | None = None
    probed: Probed | None = None
    mpi: PreparedMpi | None = None

    @property
    def cache_version(self) -> str | None:
        """The version of the engine for the key of its compile cache, with what a wrapper or an image adds to it."""
        identity = self.installation.identity if self.installation is not None else None
        if identity is None or not identity.indirect:
            return self.version
        return f"{self.version or 'unknown'}-{identity.digest[:8]}"

    @property
    def image(self) -> RunImage | None:
        """The image in which the engine runs, to compare it with that of another node; None: no container."""
        identity = self.installation.identity if self.installation is not None else None
        if self.container is None or identity is None:
            return None
        stamp = identity.digest if identity.certain else ""
        return RunImage(self.container.launch.image, identity.image_id, identity.image_bytes, stamp)

    def command(self, environment: Mapping[str, str], own: Collection[str]) -> NodeCommand:
        """Return what to execute on this node. `own`: the variables that were set for the server. Raises Ended."""
        if self.mpi is not None:
            return self.mpi.command(self.launch.whole_argv, environment)
        if self.container is None:
            return node_command(None, self.launch.whole_argv, environment)
        return self.container.command(self.launch.whole_argv, environment, own)

    @property
    def python(self) -> tuple[str, ...]:
        """The Python of the engine's environment, with its arguments; empty: not known, or the engine is simulated."""
        if self.container is not None:
            return tuple((self.probed.python or "").split()) if self.probed is not None else ()
        python = python_of(self.executable) if self.installation is not None else None
        return (python,) if python is not None else ()

    def helper(self, argv: Sequence[str], environment: Mapping[str, str], own: Collection[str]) -> NodeCommand:
        """Return what to execute for a command beside the server, in its environment; see `command`."""
        if self.container is None:
            return node_command(None, argv, environment)
        return self.container.command(argv, environment, own, part="-helper")


def engine_of(run: RunSpec) -> Engine:
    """Return the adapter of a run's engine, or the simulated engine when the run is simulated. Raises EngineError."""
    real = get_engine(run.server.engine)
    if run.simulation is None:
        return real
    return SimulatedEngine(real, run.simulation.profile, run.simulation.time_scale, run.axes, run.repeat)


def versions(version: str | None, engine: str, gpus: Gpus) -> dict[str, str]:
    """Return the versions of the software that an attempt uses."""
    known = {"hpcsweep": hpcsweep.__version__, "python": platform.python_version(), "kernel": platform.release()}
    if version is not None:
        known[engine] = version
    driver = gpus.driver_version()
    return known | ({"driver": driver} if driver else {})


def _install_in(container: NodeContainer, run: RunSpec, job: JobSpec, engine: Engine) -> tuple[Installation, Probed]:
    """Return the engine in a container's image. Raises Ended when the image cannot be run or does not have it."""
    name = run.server.engine
    asked = job.engines.get(name) or engine.executable
    probed = container.probe(engine, asked, run.server.model if run.server.model.startswith("/") else "")
    if probed.executable is None:
        reason = f"{name} is not installed in the image {container.launch.image}: it does not have {asked}"
        hint = f"set its path in the image in the cluster profile (engines: {{{name}: {{executable: PATH}}}})"
        raise Ended(
            AttemptVerdict(
                OutcomeKind.FAILED, "engine_not_installed", reason, "preflight: executable in the image", hint
            )
        )
    return container.installation(engine, probed), probed


def _install(run: RunSpec, job: JobSpec, engine: Engine, env: Mapping[str, str]) -> Installation:
    """Return the engine on this node. Raises Ended when it is missing."""
    name = run.server.engine
    executable = find_executable(name, job.engines, env)
    if executable is None:
        asked = job.engines.get(name) or env.get(f"HPCSWEEP_{name.upper()}") or f"{name} on PATH"
        hint = f"set its path in the cluster profile (engines: {{{name}: PATH}}) or in HPCSWEEP_{name.upper()}"
        reason = f"{name} is not installed on {socket.gethostname()}: {asked} is not an executable"
        raise Ended(
            AttemptVerdict(
                OutcomeKind.FAILED, "engine_not_installed", reason, "preflight: executable of the engine", hint
            )
        )
    return on_this_node(engine, executable, env)


def choose_port(env: Mapping[str, str]) -> int:
    """Return HPCSWEEP_SERVER_PORT, or a free port where it is not set. Raises Ended when the port is in use."""
    asked = env.get(PORT_VARIABLE, "")
    if not asked.isdigit():
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(asked)))
        except (OSError, OverflowError) as exc:
            reason = f"{PORT_VARIABLE}={asked} cannot be used: {exc}"
            hint = f"unset {PORT_VARIABLE} to use a free port"
            raise Ended(
                AttemptVerdict(OutcomeKind.PORT_IN_USE, "port_in_use", reason, "preflight: port", hint)
            ) from exc
    return int(asked)


def prepare(
    run: RunSpec, job: JobSpec, engine: Engine, folders: ServerFolders, env: Mapping[str, str], startup_s: float,
    placement: Placement | None = None,
) -> PreparedLaunch:  # fmt: skip
    """Return the start of this run's server on this node. Raises Ended.

    `placement` None: the server runs on this node only.
    """
    try:
        if missing := engine.unsupported(run.server):
            raise Ended(
                AttemptVerdict(
                    OutcomeKind.UNSUPPORTED,
                    "setting_unsupported",
                    "; ".join(missing),
                    f"the adapter of {run.server.engine}",
                )
            )
        _check_exposure(run, job, engine, None)
        protected_by = access(engine, run.server)
        if job.private_network:
            _check_private_network(run, protected_by)
            if placement is not None:
                raise Ended(_NO_NETWORK)
        own = engine_environment(job.engine_setup, env)
        container: NodeContainer | None = None
        installation: Installation | None = None
        probed: Probed | None = None
        asked = container_of(run, job)
        if asked is not None:
            container = NodeContainer(
                container_launch(asked, run, job, folders.folder, folders.private, own), own, folders.token
            )
            installation, probed = _install_in(container, run, job, engine)
        elif run.simulation is None:
            installation = _install(run, job, engine, own)
        executable = sys.executable if installation is None else installation.executable
        version: str | None = hpcsweep.__version__
        if installation is not None:
            version = installed_version(installation, Path(job.cache_dir))
            refused = preflight.version_verdict(run.server.engine, version, run.server.engine_version)
            if refused is not None:
                raise Ended(refused)
            _check_exposure(run, job, engine, version)
        port = 0 if protected_by is Access.UNIX_SOCKET else choose_port(env)
        where = LaunchContext(
            executable, port, version, attempt_dir=str(folders.folder), startup_budget_s=startup_s,
            socket_path=str(folders.private / SOCKET_NAME) if protected_by is Access.UNIX_SOCKET else None,
            key_file=str(folders.private / KEY_FILE_NAME) if protected_by is Access.API_KEY else None,
            placement=placement,
        )  # fmt: skip
        mpi: PreparedMpi | None = None
        if placement is not None and engine.one_mpi_job:
            if container is not None:
                raise Ended(NO_CONTAINER)
            if placement.head:
                mpi = prepare_mpi(engine.settings(run.server).gpus, placement, folders.folder, own)
        return PreparedLaunch(
            engine, executable, version, port, engine.launch(run.server, where), own, where.socket_path,
            installation, container, probed, mpi,
        )  # fmt: skip
    except ContainerError as exc:
        evidence = tuple(exc.detail.splitlines())
        code = exc.code or "container_error"
        raise Ended(
            AttemptVerdict(OutcomeKind.FAILED, code, exc.message, "preflight: container", exc.hint, evidence)
        ) from exc
    except EngineError as exc:
        raise Ended(
            AttemptVerdict(
                OutcomeKind.UNSUPPORTED, exc.code or "engine_error", exc.message, "the engine's adapter", exc.hint
            )
        ) from exc


def _check_exposure(run: RunSpec, job: JobSpec, engine: Engine, version: str | None) -> None:
    """Check that other users cannot use the server, or may. `version` None: not known yet. Raises Ended."""
    exposure = exposed(engine, run.server, nodes=run.nodes, version=version)
    if exposure is None or job.unprotected_server_allowed:
        return
    decided_by = "the agent: protection of the server"
    raise Ended(AttemptVerdict(OutcomeKind.UNSUPPORTED, "server_unprotected", exposure, decided_by, ALLOW_HINT))


_NO_NETWORK = AttemptVerdict(
    OutcomeKind.UNSUPPORTED,
    "private_network_unsupported",
    "a server on several nodes cannot run in a private network, because its nodes could not reach each other",
    "the agent: private_network",
    "remove `private_network` from the cluster profile",
)


def _check_private_network(run: RunSpec, protected_by: Access) -> None:
    """Check that the server can have a private network, which its profile requests. Raises Ended."""
    hint = "remove `private_network` from the cluster profile"
    if protected_by is not Access.UNIX_SOCKET:
        reason = f"{run.server.engine} cannot listen on a Unix socket, so it is not reachable in a private network"
        raise Ended(
            AttemptVerdict(
                OutcomeKind.UNSUPPORTED, "private_network_unsupported", reason, "the agent: private_network", hint
            )
        )
    problem = private_network_problem()
    if problem:
        reason = f"private_network: users cannot create a network namespace on {socket.gethostname()}: {problem}"
        raise Ended(
            AttemptVerdict(
                OutcomeKind.FAILED, "private_network_unavailable", reason, "the agent: private_network", hint
            )
        )


def check(run: RunSpec, job: JobSpec, prepared: PreparedLaunch, gpus: Gpus, env: Mapping[str, str]) -> list[Note]:
    """Return notes about this start. Raises Ended for errors that would make it fail."""
    notes = concerns(job, gpus)
    if prepared.installation is None:
        return notes
    states = gpus.states()
    visible = len(states) if gpus.available else (len(visible_names(env)) or None)
    model = preflight.model_verdict(run.server, prepared.probed.model if prepared.probed is not None else None)
    for refused in (model, preflight.gpus_verdict(states, run.gpus, visible=visible)):
        if refused is not None:
            raise Ended(refused)
    name = run.server.engine
    if env.get(FLAG_CHECK_VARIABLE) == "off":
        text = f"flags were not checked against the help of {name} because {FLAG_CHECK_VARIABLE} is off"
        return [*notes, Note("flags_not_checked", text)]
    known = known_flags(prepared.installation, prepared.version, Path(job.cache_dir))
    if known is None:
        text = f"flags were not checked because {prepared.executable} does not print its help"
        return [*notes, Note("flags_not_checked", text)]
    refused = preflight.flags_verdict(name, prepared.launch.argv[1:], known, prepared.version)
    if refused is not None:
        raise Ended(refused)
    return notes


def concerns(job: JobSpec, gpus: Gpus) -> list[Note]:
    """Return notes about this node: GPUs in use, a driver without an answer, little space for the compile cache."""
    notes = preflight.busy_gpus(gpus.states())
    if gpus.silent:
        notes.append(Note("driver_silent", SILENT_DRIVER))
    problem = preflight.room_problem(Path(job.cache_dir)) if job.compile_cache != "off" else ""
    return [*notes, *([Note("cache_space", problem)] if problem else [])]
