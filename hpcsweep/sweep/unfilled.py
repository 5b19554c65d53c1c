"""Refuse a cluster profile whose user has not filled in every value."""

from pathlib import Path

from hpcsweep.errors import SpecError
from hpcsweep.spec.base import line_of
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.unfilled import PLACEHOLDER, unfilled_keys
from hpcsweep.spec.yaml_text import parse_yaml
from hpcsweep.sweep.inputs import read_settings, read_text


def require_filled(name: str, cluster: Cluster) -> None:
    """Raise SpecError that names each value of the profile that is still a placeholder, with file and line."""
    keys = unfilled_keys(cluster)
    if not keys:
        return
    path = next((path for path, config in read_settings() if name in config.clusters), None)
    raise SpecError(
        f"cluster profile {name} is not complete: {', '.join(keys)}",
        code="profile_incomplete",
        detail="\n".join(_places(Path(path), name, keys)) if path is not None else "",
        hint=f"replace {PLACEHOLDER} in {path or 'the profile'}, then run hpcsweep doctor",
    )


def _places(path: Path, name: str, keys: list[str]) -> list[str]:
    """Return `FILE, line N: KEY: what belongs there` for each key, from the comment of its line."""
    text = read_text(path)
    _, lines = parse_yaml(text, str(path))
    places = []
    for key in keys:
        number = line_of(lines, ("clusters", name, *key.split(".")))
        line = text.split("\n")[number - 1] if number else ""
        what = line.partition("#")[2].strip()
        places.append(f"{path}{f', line {number}' if number else ''}: {key}{f': {what}' if what else ''}")
    return places
