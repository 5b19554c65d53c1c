"""The form of a request to PBS: sites differ in how they want GPUs, CPUs and memory to be requested."""

from string import Formatter
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from hpcsweep.errors import SpecError
from hpcsweep.spec.base import Model, nearest
from hpcsweep.spec.job import Resources

NO_SELECT = "none"
"""Value of `pbs.select` for sites whose requests are job-wide: `-l ngpus=4 -l ncpus=48`, without chunks."""

_PATTERN = r"^[A-Za-z0-9{][A-Za-z0-9_.,:@%+=/{}-]*$"
_UNITS = (("tb", 1 << 40), ("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10))


def _placeholders(text: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(text) if name is not None]


def _known_placeholders(text: str) -> str:
    try:
        names = _placeholders(text)
    except ValueError as exc:
        raise ValueError(f"{text!r}: {exc}") from exc
    known = _values(Resources())
    for name in names:
        if name not in known:
            raise ValueError(f"{text!r}: unknown placeholder {{{name}}}; {nearest(name, known)}")
    return text


RequestTemplate = Annotated[
    str, StringConstraints(pattern=_PATTERN, max_length=400), AfterValidator(_known_placeholders)
]
"""Text of a request with the placeholders of `fill`, without blank, quote, `#`, `$`, backslash or newline."""


class PbsRequest(Model):
    """How a job is requested from PBS, where a site's form differs from `select=NODES:ncpus=N:ngpus=N:mem=N`."""

    select: RequestTemplate | None = Field(
        None,
        description="the value of -l select=, such as '{nodes}:system=polaris' or '{total_gpus}'; `none`: no select, "
        "because requests are job-wide",
    )
    resources: list[RequestTemplate] = Field(
        [], description="further -l resources of the job: 'filesystems=home:eagle', 'ngpus={total_gpus}'"
    )
    keep: str = Field("od", pattern=r"^[deon]{1,3}$", description="-k: od writes the log live; some sites want doe")


def fill(text: str, resources: Resources) -> str:
    """Return a request with its placeholders replaced by the request of one job.

    `{nodes}`; per node `{gpus}`, `{cpus}`, `{memory}`; of the job `{total_gpus}`, `{total_cpus}`, `{total_memory}`; and
    `{gpu_type}`. Raises SpecError for a value that neither the experiment nor the profile sets.
    """
    values = _values(resources)
    for name in _placeholders(text):
        if values[name] is None:
            key = name.removeprefix("total_")
            per_gpu = f" or {key}_per_gpu" if key in ("cpus", "memory") else ""
            raise SpecError(
                f"pbs: {text!r} needs a value for {{{name}}}, and neither the experiment nor the profile sets it",
                code="request_value_missing",
                hint=f"set {key}{per_gpu} in the cluster profile, or resources.{key} in the experiment",
            )
    return text.format_map(values)


def pbs_size(size_bytes: int) -> str:
    """Return a size in the largest unit of PBS that expresses it as an integer; PBS counts in powers of 1024."""
    name, unit = next(((name, unit) for name, unit in _UNITS if size_bytes % unit == 0), _UNITS[-1])
    return f"{-(-size_bytes // unit)}{name}"


def _values(resources: Resources) -> dict[str, object]:
    nodes, cpus, memory = resources.nodes, resources.cpus, resources.memory_bytes
    return {
        "nodes": nodes,
        "gpus": resources.gpus,
        "cpus": cpus,
        "memory": pbs_size(memory) if memory else None,
        "total_gpus": resources.gpus * nodes,
        "total_cpus": cpus * nodes if cpus else None,
        "total_memory": pbs_size(memory * nodes) if memory else None,
        "gpu_type": resources.gpu_type,
    }
