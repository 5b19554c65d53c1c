"""Read the shipped site profiles."""

import importlib.resources
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from hpcsweep.errors import SpecError
from hpcsweep.spec.base import Misplaced, Model, nearest
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.load import parse_model
from hpcsweep.spec.unfilled import unfilled_keys

STATUS = "from public documentation, not run by us"

_NO_DIRECTIVES = frozenset({"engines"})
"""Keys that are about the user's own installation: no guide can be their source."""


class Source(Model):
    """A public document. `date`: of the commit of `file`; without `file`, the day on which a copy was read."""

    url: str = Field(pattern=r"^https?://\S+$")
    date: date
    file: str = Field("", description="repository@commit and path")


class Site(Model):
    """A system: its cluster profile, the source of each key, and what a user has to fill in."""

    name: str
    title: str
    hardware: str
    login: str | None = Field(None, description="host name of the login nodes; None: not found")
    sources: dict[str, Source]
    todo: dict[str, str] = Field(description="key of the profile with a placeholder -> what belongs there")
    profile: dict[str, Any]
    taken_from: dict[str, list[str]] = Field(description="key of the profile -> names of its sources")
    notes: list[str] = []

    @cached_property
    def cluster(self) -> Cluster:
        """The profile as a model; values that a user has to fill in are placeholders."""
        return Cluster.model_validate(self.profile)

    @field_validator("taken_from", mode="before")
    @classmethod
    def _names_as_lists(cls, value: Any) -> Any:
        return {key: names if isinstance(names, list) else [names] for key, names in value.items()}

    @model_validator(mode="after")
    def _every_key_has_a_source(self) -> "Site":
        keys = self.profile.keys() - _NO_DIRECTIVES
        for key in sorted(keys ^ self.taken_from.keys()):
            raise Misplaced(f"{key} must be both in profile and in taken_from", "taken_from", code="site_key_source")
        for key, names in self.taken_from.items():
            for name in names:
                if name not in self.sources:
                    raise Misplaced(
                        f"unknown source {name!r}; {nearest(name, self.sources)}", "taken_from", key, code="site_source"
                    )
        if set(unfilled_keys(self.cluster)) != self.todo.keys():
            raise Misplaced("todo must explain each key with a placeholder, and no other", "todo", code="site_todo")
        return self


def site_names() -> list[str]:
    """Return the names of the shipped site profiles."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def site_text(name: str) -> str:
    """Return the file of a site. Raises SpecError with the nearest known name."""
    if name not in site_names():
        raise SpecError(
            f"unknown site {name!r}",
            code="site_unknown",
            hint=f"{nearest(name, site_names())}; `hpcsweep sites` lists all; `hpcsweep init` reads the scheduler of "
            "the machine that it runs on",
        )
    return (_folder() / f"{name}.yaml").read_text(encoding="utf-8")


def read_site(name: str) -> Site:
    """Return a site. Raises SpecError."""
    return parse_model(Site, site_text(name), f"{name}.yaml", name=name)


def _folder() -> Path:
    return Path(str(importlib.resources.files("hpcsweep.sites")))
