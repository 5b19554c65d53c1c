"""Values of a cluster profile that its user still has to fill in. Pure."""

import re
from collections.abc import Iterator

from hpcsweep.spec.cluster import Cluster

PLACEHOLDER = "TODO"
"""What `hpcsweep init --site` writes for a value of its user, as a whole value or as a part of one."""

_PLACEHOLDER = re.compile(rf"(?<![A-Za-z0-9]){PLACEHOLDER}(?![A-Za-z0-9])")


def is_unfilled(text: str) -> bool:
    """Return whether a value contains the placeholder."""
    return _PLACEHOLDER.search(text) is not None


def unfilled_keys(cluster: Cluster) -> list[str]:
    """Return the keys with a placeholder, in the order of the model, as `account` or `env.VLLM_CACHE_ROOT`."""
    return list(dict.fromkeys(_keys(cluster.model_dump(mode="json"), ())))


def _keys(value: object, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _keys(below, (*path, str(key)))
    elif isinstance(value, list):
        for below in value:
            yield from _keys(below, path)
    elif isinstance(value, str) and is_unfilled(value):
        yield ".".join(path)
