"""Parse experiments and profiles from YAML text into models, with file and line in every error."""

import re
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hpcsweep.errors import SpecError
from hpcsweep.spec.base import line_of, nearest, spec_error
from hpcsweep.spec.cluster import LOCAL, Cluster, ConfigFile
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.renamed import NOTES, RENAMED_KEYS
from hpcsweep.spec.secret_values import secrets_of
from hpcsweep.spec.yaml_text import Lines, parse_yaml

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

AnyModel = TypeVar("AnyModel", bound=BaseModel)


def parse_model(
    model: type[AnyModel], text: str, where: str, context: dict[str, Any] | None = None, **extra: Any
) -> AnyModel:
    """Return a model parsed from YAML text. Raises SpecError.

    `where`: the file, for errors. `context`: the validation context. `extra`: defaults of top-level keys.
    """
    data, lines = parse_yaml(text, where)
    if data is None:
        raise SpecError(f"{where}: the file is empty", code="empty_file")
    if not isinstance(data, dict):
        raise SpecError(f"{where}: expected a mapping, got a {type(data).__name__}", code="not_a_mapping")
    _add_renamed(lines)
    for path, name in secrets_of(data):
        raise _secret(path, name, where, lines)
    try:
        return model.model_validate({**extra, **data}, context=context)
    except ValidationError as exc:
        _number_workloads(data, lines)
        raise spec_error(exc, model, where, lines) from exc


def parse_experiment(text: str, where: str, name: str) -> Experiment:
    """Return an experiment with its `deprecation_notes`. `name`: its name if the text has none. Raises SpecError."""
    context: dict[str, Any] = {}
    experiment = parse_model(Experiment, text, where, context, name=name)
    experiment._deprecation_notes = tuple(dict.fromkeys(context.get(NOTES, ())))
    return experiment


def choose_cluster(name: str | None, settings: Iterable[tuple[str, ConfigFile]]) -> tuple[str, Cluster]:
    """Return (name, profile) of the cluster `name`, or of the default one. The profile `local` is built in.

    `settings`: (path, content) of every configuration file; the first file with a profile or default wins. Raises
    SpecError with the known profiles and the files that were read.
    """
    pairs = list(settings)
    clusters: dict[str, Cluster] = {"local": LOCAL}
    for _, config in reversed(pairs):
        clusters |= config.clusters
    wanted = name or next((config.default for _, config in pairs if config.default), "local")
    if wanted not in clusters:
        files = ", ".join(path for path, _ in pairs) or "no hpcsweep.yaml found"
        raise SpecError(
            f"unknown cluster {wanted!r} ({files})",
            code="unknown_cluster",
            hint=f"{nearest(wanted, clusters)}; `hpcsweep init` creates a profile",
        )
    return wanted, clusters[wanted]


def _secret(path: tuple[Any, ...], name: str, where: str, lines: Lines) -> SpecError:
    """Return the error for a value that looks like a secret, without the value."""
    line = line_of(lines, path)
    location = f"{where}, line {line}" if line else where
    plain = name.lstrip("-")
    variable = plain if _VARIABLE.fullmatch(plain) else "HF_TOKEN"
    return SpecError(
        f"{location}: {'.'.join(map(str, path))}: looks like a secret, which would be copied into job scripts, the "
        "store and reports",
        code="secret_in_file",
        hint=f"write `env_from: [{variable}]` and set {variable} in the environment of the job, or name a file that "
        "only you can read: `secrets_file: ~/.config/hpcsweep/secrets`",
    )


def _add_renamed(lines: Lines) -> None:
    """Add the lines of renamed keys under their new names, which errors use."""
    for path, line in list(lines.items()):
        lines.setdefault(tuple(RENAMED_KEYS.get(key, key) for key in path), line)


def _number_workloads(data: dict[str, Any], lines: Lines) -> None:
    """Add the lines of workloads under their index: they may be written as a mapping, but errors number them."""
    named = data.get("workloads")
    if isinstance(named, dict):
        for number, name in enumerate(named):
            below = [(path, line) for path, line in lines.items() if path[:2] == ("workloads", name)]
            lines.update({("workloads", number, *path[2:]): line for path, line in below})
