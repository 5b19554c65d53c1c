"""The container of an engine: in a cluster profile, per engine, and in an experiment, which override one another."""

import re
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from hpcsweep.spec.base import EnvironmentName, Model, Record

NO_CONTAINER = "none"
"""The runtime of an engine that does not run in a container although its profile has one for all engines."""

_PATH = r"(?:/|\$)[A-Za-z0-9._/@%+=~${}-]*"
_BIND = re.compile(rf"{_PATH}(?::{_PATH})?(?::r[ow])?")
_WORDS = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?")


class Container(Model):
    """A container, or the part of one that overrides another. Paths and the image may contain `$NAME`."""

    runtime: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9-]*$",
        description="apptainer, singularity, pyxis, enroot, podman, podman-hpc, docker, charliecloud, or the name of a "
        "plugin; `none`: no container",
    )
    image: str | None = Field(None, min_length=1, description="a file or folder on the nodes, or a name of the runtime")
    binds: list[str] = Field([], description="SOURCE[:TARGET[:ro]], absolute paths")
    options: list[str] = Field([], description="arguments of the runtime, one per item; never a secret")
    workdir: str | None = Field(None, pattern=rf"^{_PATH}$", description="None: the folder of the attempt")
    env: list[EnvironmentName] = Field([], description="variables of the job that the container gets too")
    gpus: Literal["nvidia", "rocm", "none"] | None = Field(None, description="None: those that the node has")

    @field_validator("runtime", mode="before")
    @classmethod
    def _none_as_a_word(cls, value: Any) -> Any:
        """Accept `runtime: off` and `runtime: no`, which YAML reads as a switch."""
        return NO_CONTAINER if value is False else value

    @field_validator("image")
    @classmethod
    def _image_name(cls, value: str | None) -> str | None:
        if value is not None and (not _WORDS.fullmatch(value) or value.startswith("-")):
            raise ValueError(f"{value!r} is not the path or the name of an image")
        return value

    @field_validator("binds")
    @classmethod
    def _bind_paths(cls, value: list[str]) -> list[str]:
        for bind in value:
            if not _BIND.fullmatch(bind):
                raise ValueError(
                    f"{bind!r} is not SOURCE, SOURCE:TARGET or SOURCE:TARGET:ro with absolute paths, without blanks "
                    "and commas"
                )
        return value

    @field_validator("options")
    @classmethod
    def _option_words(cls, value: list[str]) -> list[str]:
        for option in value:
            if not _WORDS.fullmatch(option):
                raise ValueError(f"{option!r} is not one argument without line breaks")
        if value and not value[0].startswith("-"):
            raise ValueError(f"the first option must start with a dash, got {value[0]!r}")
        return value

    def overridden_by(self, other: "Container | None") -> "Container":
        """Return this container with the keys that `other` sets. Its lists are added to these."""
        if other is None:
            return self
        changed = {
            key: value for key in ("runtime", "image", "workdir", "gpus") if (value := getattr(other, key)) is not None
        }
        changed |= {
            name: list(dict.fromkeys([*getattr(self, name), *getattr(other, name)])) for name in ("binds", "env")
        }
        return self.model_copy(update=changed | {"options": [*self.options, *other.options]})


class EngineSetup(Model):
    """One engine in a cluster profile: a path, or this model."""

    executable: str | None = Field(None, description="path on the nodes; with a container: inside the image")
    container: Container | None = Field(None, description="overrides the container of the profile")

    @model_serializer(mode="wrap")
    def _path_alone(self, handler: SerializerFunctionWrapHandler) -> Any:
        """Write a path as it is written in a profile."""
        return self.executable if self.executable is not None and self.container is None else handler(self)


class Bind(Record):
    """A folder or file of the node that is visible in the container."""

    source: str
    target: str
    read_only: bool = False


def resolve_container(
    profile: Container | None, experiment: Container | None, image: str | None = None
) -> Container | None:
    """Return the container of a variant. `image`: its level of the axis `image`. None: it runs without a container."""
    whole = (profile or Container()).overridden_by(experiment)
    if image is not None:
        whole = whole.model_copy(update={"image": image})
    return None if whole.runtime in (None, NO_CONTAINER) else whole


def read_bind(text: str) -> Bind:
    """Return a bind that was written as SOURCE[:TARGET[:ro|rw]]."""
    source, *rest = text.split(":")
    read_only = rest[-1:] == ["ro"]
    rest = [part for part in rest if part not in ("ro", "rw")]
    return Bind(source=source, target=rest[0] if rest else source, read_only=read_only)
