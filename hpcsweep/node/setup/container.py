"""The container of an attempt on this node: what it sees, whether its image works, and which engine is in it."""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from hpcsweep.containers.base import GpuKind, NodeCommand, Runtime
from hpcsweep.containers.launch import ContainerLaunch, merged_binds, node_command
from hpcsweep.containers.registry import get_runtime
from hpcsweep.engines.base import Engine
from hpcsweep.errors import ContainerError
from hpcsweep.node.compile_cache import VARIABLES as CACHE_VARIABLES
from hpcsweep.node.identity import pid_namespace
from hpcsweep.node.process.processes import TOKEN_VARIABLE
from hpcsweep.node.setup.engine_identity import image_identity
from hpcsweep.node.setup.engine_install import ASK_METADATA, Installation, answer_of, text_of
from hpcsweep.spec.container import Bind, Container, read_bind, resolve_container
from hpcsweep.spec.job import JobSpec, RunSpec

_PROBE_TIMEOUT_S = 1800.0
"""An image that is named by a URI may be pulled and converted first."""
_IDENTITY_TIMEOUT_S = 60.0
_PLAIN_PATH = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/@%+=~-")
_HUB_FOLDERS = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE", "TRANSFORMERS_CACHE")

_PROBE = r"""
set -f
report() { printf 'hpcsweep-probe %s %s\n' "$1" "$2"; }
executable=$1 model=$2 code=$3
shift 3
report pid_namespace "$(readlink /proc/self/ns/pid)"
if [ -d "$model" ]; then [ -r "$model/config.json" ] && report model readable || report model no_config
elif [ -n "$model" ]; then [ -r "$model" ] && report model readable || report model missing
fi
found=$(command -v -- "$executable") || exit 0
report executable "$found"
case ${found##*/} in
    python*) python=$found ;;
    *) IFS= read -r line <"$found" 2>/dev/null || :
       case $line in '#!'*python*) python=${line#'#!'} ;; *) exit 0 ;; esac ;;
esac
report python "$python"
[ $# -eq 0 ] || report version "$($python -c "$code" "$@" 2>/dev/null)"
"""
"""Reports, in the container: its PID namespace, whether the model is readable; path, Python, version of the engine."""


@dataclass(frozen=True)
class Probed:
    """What the probe found in a container. None: nothing was reported. `model`: readable, no_config or missing."""

    executable: str | None = None
    version: str | None = None
    model: str | None = None
    python: str | None = None


class NodeContainer:
    """The container of one attempt. `token`: marks its processes, also those of the probe."""

    def __init__(self, launch: ContainerLaunch, env: Mapping[str, str], token: str) -> None:
        self.launch, self._env, self._token = launch, {**env, TOKEN_VARIABLE: token}, token

    @property
    def runtime(self) -> Runtime:
        """The adapter of its runtime."""
        return self.launch.adapter()

    def command(
        self, argv: Sequence[str], environment: Mapping[str, str], own: Collection[str], part: str = ""
    ) -> NodeCommand:
        """Return what to execute on this node; see `node_command`. `part`: for another container than the server's."""
        marked = {**environment, TOKEN_VARIABLE: self._token}
        return node_command(self.launch, argv, marked, [*own, TOKEN_VARIABLE], name=f"{self._token}{part}")

    def probe(self, engine: Engine, executable: str, model: str) -> Probed:
        """Start the image once, and return what is in it. `model`: a path; empty: none. Raises ContainerError."""
        argv = ["/bin/sh", "-c", _PROBE, "probe", executable, model, ASK_METADATA, *engine.distributions]
        command = self._prepared(argv)
        answer = answer_of(command.argv, _PROBE_TIMEOUT_S, command.environment)
        title = f"{self.runtime.title or self.launch.runtime} could not run the image {self.launch.image}"
        if answer is None:
            raise ContainerError(
                f"{title}: it could not be started, or did not end within {_PROBE_TIMEOUT_S:.0f} s",
                code="container_not_started",
                hint="pull the image before the sweep, and use its path",
            )
        if answer.returncode != 0:
            last = (answer.stderr.strip() or answer.stdout.strip()).splitlines()[-12:]
            raise ContainerError(
                f"{title}: exit code {answer.returncode}{f': {last[-1].strip()}' if last else ''}",
                code="container_not_started",
                hint="does the image run in a job without hpcsweep? the evidence has the last lines",
                detail="\n".join(last),
            )
        reported = dict(
            line.split(" ", 2)[1:] for line in answer.stdout.splitlines() if line.startswith("hpcsweep-probe ")
        )
        if reported.get("pid_namespace") != pid_namespace():
            raise ContainerError(
                f"{self.runtime.title or self.launch.runtime} runs the container in another PID namespace, where the "
                "agent cannot watch and end its processes",
                code="container_pid_namespace",
                hint="remove the options that separate it; rootless Docker and virtual machines cannot be used",
            )
        return Probed(
            reported.get("executable"), reported.get("version") or None, reported.get("model"), reported.get("python")
        )

    def installation(self, engine: Engine, probed: Probed) -> Installation:
        """Return the installation of the engine in the image."""
        executable = probed.executable or engine.executable
        return Installation(
            engine,
            executable,
            image_identity(
                self.launch.runtime, self.launch.image, self.runtime.image_path(self.launch.image), self._described(),
                self._env,
            ),
            lambda: probed.version,
            lambda argv, timeout_s: self._output([executable, *argv], timeout_s),
        )  # fmt: skip

    def _output(self, argv: Sequence[str], timeout_s: float) -> str | None:
        command = self._prepared(argv)
        return text_of(answer_of(command.argv, timeout_s, command.environment))

    def _described(self) -> str:
        argv = self.runtime.identity_argv(self.launch.image)
        if not argv:
            return ""
        return (text_of(answer_of([self.launch.executable, *argv[1:]], _IDENTITY_TIMEOUT_S, self._env)) or "").strip()

    def _prepared(self, argv: Sequence[str]) -> NodeCommand:
        command = node_command(self.launch, argv, self._env, [TOKEN_VARIABLE], name=f"{self._token}-probe")
        write_files(command.files)
        return command


def write_files(files: Mapping[str, str]) -> None:
    """Write the files of a command, which only their owner can read. Raises OSError."""
    for path, text in files.items():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)


def container_of(run: RunSpec, job: JobSpec) -> Container | None:
    """Return the container of a run's server; None: it runs on the node itself, as every simulated one."""
    if run.simulation is not None:
        return None
    return resolve_container(job.containers.get(run.server.engine), job.container, run.server.image)


def container_launch(
    container: Container, run: RunSpec, job: JobSpec, attempt_dir: Path, private: Path, env: Mapping[str, str]
) -> ContainerLaunch:
    """Return how the container is started on this node, with all that its server needs bound. Raises ContainerError."""
    runtime = get_runtime(container.runtime or "")
    executable = shutil.which(runtime.executable, path=env.get("PATH"))
    if executable is None:
        raise ContainerError(
            f"{runtime.executable} is not on the PATH of the job on {os.uname().nodename}",
            code="container_runtime_missing",
            hint=f"load its module in `engine_setup:` of the cluster profile, or set another runtime than "
            f"{runtime.name}",
        )
    image = _expanded(container.image or "", env, "image")
    path = runtime.image_path(image)
    if path is not None and not Path(path).exists():
        raise ContainerError(
            f"container image {path} does not exist on {os.uname().nodename}",
            code="container_image_missing",
            hint="is it on a file system that the compute nodes mount?",
        )
    if job.private_network and not runtime.keeps_namespaces:
        raise ContainerError(
            f"private_network: the processes of {runtime.title or runtime.name} are not started by the agent, so they "
            "cannot be put into a private network",
            code="private_network_unsupported",
            hint="remove `private_network` from the cluster profile",
        )
    binds = [read_bind(_expanded(bind, env, "binds")) for bind in container.binds]
    for bind in binds:
        if not Path(bind.source).exists():
            raise ContainerError(
                f"bind {bind.source} does not exist on {os.uname().nodename}",
                code="container_bind_missing",
                hint="remove it from `binds:` of the container, or create it",
            )
    own = [_bind(path) for path in _paths_of_the_attempt(job, attempt_dir, private, env)]
    lasting = [*(_bind(path) for path in _paths_of_the_model(run, env)), *binds]
    return ContainerLaunch(
        runtime=runtime.name,
        image=image,
        executable=executable,
        binds=merged_binds([*own, *lasting]),
        lasting_binds=merged_binds(lasting),
        options=container.options,
        gpus=_gpu_kind(container, run),
        workdir=_expanded(container.workdir, env, "workdir") if container.workdir else str(attempt_dir),
        env=container.env,
        scratch=str(private),
        hub=_default_hub(env),
        uid=os.getuid(),
        gid=os.getgid(),
    )


def _paths_of_the_attempt(job: JobSpec, attempt_dir: Path, private: Path, env: Mapping[str, str]) -> Iterator[str]:
    """Yield what the server reads and writes in a sweep: its folder, the compile caches, temporary folders."""
    yield from (job.sweep_dir, str(attempt_dir), str(private), tempfile.gettempdir())
    Path(job.cache_dir).mkdir(parents=True, exist_ok=True)
    yield job.cache_dir
    if env.get("TMPDIR"):
        yield env["TMPDIR"]


def _paths_of_the_model(run: RunSpec, env: Mapping[str, str]) -> Iterator[str]:
    """Yield what the server reads wherever it runs: the model, caches that a user chose, and files in its flags."""
    own = run.server.env
    named = [own.get(name) or env.get(name) for name in (*_HUB_FOLDERS, *CACHE_VARIABLES)]
    values = [value for value in run.server.flags.values() if isinstance(value, str)]
    for candidate in (*named, _default_hub(env), *values, run.server.model):
        if candidate and candidate.startswith("/") and Path(candidate).exists():
            yield candidate
            yield from _linked_from(Path(candidate))


def _default_hub(env: Mapping[str, str]) -> str | None:
    """Return the folder that the Hugging Face libraries use without HF_HOME; None: it does not exist."""
    folder = Path(env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or "~").expanduser() / ".cache") / "huggingface"
    return str(folder) if folder.is_dir() else None


def _linked_from(folder: Path) -> Iterator[str]:
    """Yield the folders to which the links in a model's folder lead, as in the cache of the Hugging Face hub."""
    if not (folder / "config.json").exists():
        return
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    yield from sorted({str(Path(entry.path).resolve().parent) for entry in entries if entry.is_symlink()})


def _bind(path: str) -> Bind:
    if not _PLAIN_PATH.issuperset(path):
        raise ContainerError(
            f"{path!r} cannot be bound into a container: container runtimes separate paths by colons and commas",
            code="container_bind_unsupported",
            hint="use a path of letters, digits and . _ / @ % + = ~ -",
        )
    return Bind(source=path, target=path)


def _expanded(text: str, env: Mapping[str, str], key: str) -> str:
    """Return a value of the profile with the job's variables in it. Raises ContainerError for an unset one."""
    try:
        return Template(text).substitute(env)
    except (KeyError, ValueError) as exc:
        raise ContainerError(
            f"container.{key}: {text}: the variable {exc} is not set in the job",
            code="container_variable_unset",
            hint="set it in `env:`, `setup:` or `engine_setup:` of the cluster profile",
        ) from None


def _gpu_kind(container: Container, run: RunSpec) -> GpuKind:
    """Return the GPUs that the container gets: as the profile sets, else those of the node for a server with GPUs."""
    if container.gpus is not None:
        return GpuKind(container.gpus)
    if run.gpus == 0:
        return GpuKind.NONE
    if any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version")):
        return GpuKind.NVIDIA
    return GpuKind.ROCM if Path("/dev/kfd").exists() else GpuKind.NONE
