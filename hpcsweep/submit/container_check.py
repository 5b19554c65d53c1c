"""Check the containers of a cluster profile for `hpcsweep doctor`: runtime and image. Nothing is pulled or started."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Template

from hpcsweep.containers.base import Runtime
from hpcsweep.containers.registry import get_runtime
from hpcsweep.errors import ContainerError
from hpcsweep.hosts.base import Host
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.container import Container, read_bind

_TIMEOUT_S = 8.0
_ON_NODES = "`setup` or `engine_setup` of the profile may load it on the nodes"
_TEST = 'test -e "$1" || exit 3; test -r "$1" || exit 4'


@dataclass(frozen=True)
class ContainerCheck:
    """A container of a profile. `engines`: that use it; empty: all. `executable`, `version` None: not found, unknown.

    `image`: what was found, in a few words. `problems`: sentences; empty: none.
    """

    engines: tuple[str, ...]
    runtime: str
    executable: str | None
    version: str | None
    image: str
    problems: tuple[str, ...]


def check_containers(cluster: Cluster, host: Host) -> list[ContainerCheck]:
    """Return the checks of a profile's containers on a host. Raises HostError when it cannot be reached."""
    used: dict[str, tuple[Container, list[str]]] = {}
    if cluster.container is not None and cluster.container.runtime is not None:
        used[cluster.container.model_dump_json()] = (cluster.container, [])
    for engine, setup in cluster.engines.items():
        container = cluster.container_of(engine) if setup.container is not None else None
        if container is not None and container.runtime is not None:
            used.setdefault(container.model_dump_json(), (container, []))[1].append(engine)
    return [_check(container, tuple(engines), cluster, host) for container, engines in used.values()]


def _check(container: Container, engines: tuple[str, ...], cluster: Cluster, host: Host) -> ContainerCheck:
    name = str(container.runtime)
    try:
        runtime = get_runtime(name)
    except ContainerError as exc:
        return ContainerCheck(engines, name, None, None, "not checked", (exc.message,))
    problems = runtime.problems(container.image or "", [read_bind(bind) for bind in container.binds], container.options)
    if runtime.schedulers is not None and cluster.scheduler not in runtime.schedulers:
        problems.append(f"{name} works only under {', '.join(sorted(runtime.schedulers))}")
    executable = _output(host, ["sh", "-c", 'command -v -- "$1"', "sh", runtime.executable])
    version = None
    if executable is None:
        problems.append(f"{runtime.executable} is not on the PATH of this host; {_ON_NODES}")
    else:
        version = _output(host, [executable, *runtime.version_arguments])
        problems += _missing_option(runtime, executable, host)
    known = cluster.job_environment if cluster.ssh is not None else {**os.environ, **cluster.job_environment}
    image, trouble = _image(runtime, executable, container.image, known, host)
    return ContainerCheck(engines, name, executable, version, image, (*problems, *trouble))


def _missing_option(runtime: Runtime, executable: str, host: Host) -> Iterator[str]:
    """Yield a problem when the help of the command does not have the option that a plugin adds to it."""
    option = runtime.plugin_option
    if option and option not in host.run([executable, "--help"], timeout_s=_TIMEOUT_S).stdout:
        yield f"{runtime.executable} has no option {option}: {runtime.name} is not installed on this host"


def _image(
    runtime: Runtime, executable: str | None, image: str | None, variables: Mapping[str, str], host: Host
) -> tuple[str, list[str]]:
    """Return what is known of the image, and problems. `variables`: for those in its name."""
    if image is None:
        return "none: the experiment has to set it", []
    try:
        expanded = Template(image).substitute(variables)
    except (KeyError, ValueError):
        return f"{image}: not checked, because a variable in it is set in the job", []
    path = runtime.image_path(expanded)
    if path is not None:
        code = host.run(["sh", "-c", _TEST, "sh", path], timeout_s=_TIMEOUT_S).exit_code
        reasons = {3: "does not exist", 4: "is not readable", None: f"was not found in {_TIMEOUT_S:.0f} s"}
        if code == 0:
            return f"{path}: readable", []
        reason = reasons.get(code, f"could not be checked (exit code {code})")
        return path, [f"image {path} {reason} on this host; is it on a file system that the nodes share?"]
    argv = runtime.identity_argv(expanded)
    if not argv or executable is None:
        return f"{expanded}: a name, not checked without a pull", []
    known = _output(host, [executable, *argv[1:]])
    return f"{expanded}: {'on this host' if known else 'not on this host; a job would pull it'}", []


def _output(host: Host, argv: Sequence[str]) -> str | None:
    """Return the first line that a command printed; None: it failed, or printed nothing."""
    result = host.run(argv, timeout_s=_TIMEOUT_S)
    lines = result.stdout.strip().splitlines()
    return lines[0].strip() if result.exit_code == 0 and lines else None
