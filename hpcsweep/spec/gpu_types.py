"""GPU models in the names that a site, a user or the driver uses. Pure."""

import re

MODELS = (
    *("gb300", "gb200", "gh200", "b300", "b200", "b100", "h200", "h100", "h800", "h20", "a100", "a800", "a6000"),
    *("a40", "a30", "a10g", "a10", "l40s", "l40", "l20", "l4", "v100", "p100", "k80", "t4"),
    *("mi355x", "mi350x", "mi325x", "mi300x", "mi300a", "mi300", "mi250x", "mi250", "mi210", "mi100"),
)
"""Known models. A name without any of them leads to no conclusion."""


def is_model(name: str, model: str) -> bool:
    """Return whether a lower-case name such as `nvidia_a100-sxm4-80gb` is of this model; `gh200` is not an `h200`."""
    return re.search(rf"(?<![a-z0-9]){model}(?![0-9])", name) is not None


def gpu_model(name: str) -> str | None:
    """Return the longest known model in a name (`l40s`, not `l40`); None: the name has no known model."""
    models = [model for model in MODELS if is_model(name.lower().replace("_", "-"), model)]
    return max(models, key=len, default=None)


def is_other_gpu(asked: str, reported: str) -> bool:
    """Return whether `reported`, the driver's name, is certainly not of the requested type `asked`."""
    wanted, actual = gpu_model(asked), gpu_model(reported)
    return wanted is not None and actual is not None and wanted != actual
