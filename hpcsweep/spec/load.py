"""Read experiments and profiles from YAML into models, with file and line in every error."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hpcsweep.errors import SpecError
from hpcsweep.foreign_files import read_regular
from hpcsweep.spec.base import nearest, spec_error
from hpcsweep.spec.cluster import LOCAL, Cluster, ConfigFile
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.renamed import NOTES, RENAMED_KEYS
from hpcsweep.spec.secret_values import secrets_of
from hpcsweep.spec.yaml_text import Lines, parse_yaml

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

AnyModel = TypeVar("AnyModel", bound=BaseModel)

_TEXT_LIMIT_BYTES = 16 << 20


def parse_model(
    model: type[AnyModel], text: str, where: str, context: dict[str, Any] | None = None, **extra: Any
) -> AnyModel:
    """A model read from YAML text. `extra` fills in top-level keys that the text leaves out. Raises SpecError."""
    data, lines = parse_yaml(text, where)
    if data is None:
        raise SpecError(f"{where}: expected keys and values, and the file is empty")
    if not isinstance(data, dict):
        raise SpecError(f"{where}: expected keys and values, found {type(data).__name__}")
    _add_renamed(lines)
    for path, name in secrets_of(data):
        raise _secret(path, name, where, lines)
    try:
        return model.model_validate({**extra, **data}, context=context)
    except ValidationError as exc:
        _number_workloads(data, lines)
        raise spec_error(exc, model, where, lines) from exc


def parse_experiment(text: str, where: str, name: str) -> Experiment:
    """An experiment; `name` (of its file) holds when the text does not say one."""
    context: dict[str, Any] = {}
    experiment = parse_model(Experiment, text, where, context, name=name)
    experiment._deprecation_notes = tuple(dict.fromkeys(context.get(NOTES, ())))
    return experiment


def choose_cluster(name: str | None, settings: Iterable[tuple[str, ConfigFile]]) -> tuple[str, Cluster]:
    """The profile `name`, or the default one, from (place, settings) pairs, the first pair wins. `local` is built in.

    Raises SpecError that lists the known ones and the places that were read.
    """
    pairs = list(settings)
    clusters: dict[str, Cluster] = {"local": LOCAL}
    for _, found in reversed(pairs):
        clusters |= found.clusters
    wanted = name or next((s.default for _, s in pairs if s.default), "local")
    if wanted not in clusters:
        places = ", ".join(place for place, _ in pairs) or "no hpcsweep.yaml was found"
        raise SpecError(
            f"unknown cluster {wanted!r} ({places})",
            hint=f"{nearest(wanted, clusters)}; `hpcsweep init` writes a profile",
        )
    return wanted, clusters[wanted]


def read_text(path: Path) -> str:
    """The text of a file that the user named. Raises SpecError."""
    try:
        return read_regular(path, _TEXT_LIMIT_BYTES, follow=True).decode("utf-8")
    except (OSError, ValueError) as exc:
        raise SpecError(f"{path}: cannot be read: {exc}") from exc


def _secret(path: tuple[Any, ...], name: str, where: str, lines: Lines) -> SpecError:
    """The error for a value that looks like a secret. The value itself is not told."""
    line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
    place = f"{where}, line {line}" if line else where
    plain = name.lstrip("-")
    variable = plain if _VARIABLE.fullmatch(plain) else "HF_TOKEN"
    return SpecError(
        f"{place}: {'.'.join(map(str, path))}: this looks like a secret; it would be copied into job scripts, the "
        "store and reports",
        hint=f"write `env_from: [{variable}]` and set {variable} in the environment of the job, or name a file that "
        "only you can read: `secrets_file: ~/.config/hpcsweep/secrets`",
    )


def _add_renamed(lines: Lines) -> None:
    """Add the lines of renamed keys under their new names, which errors use."""
    for path, line in list(lines.items()):
        new = tuple(RENAMED_KEYS.get(key, key) for key in path)
        lines.setdefault(new, line)


def _number_workloads(data: dict[str, Any], lines: Lines) -> None:
    """Workloads may be written as a mapping but are a list in the model, whose errors number them."""
    named = data.get("workloads")
    if isinstance(named, dict):
        for number, name in enumerate(named):
            found = {path: line for path, line in lines.items() if path[:2] == ("workloads", name)}
            lines.update({("workloads", number, *path[2:]): line for path, line in found.items()})
