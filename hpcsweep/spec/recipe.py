"""A recipe of https://github.com/vllm-project/recipes: `models/ORG/MODEL.yaml`. Other keys are ignored."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hpcsweep.spec.base import Record


def _texts(value: Any) -> Any:
    """Return the words of a list; some recipes write a flag and its value as one item."""
    if not isinstance(value, list):
        return value or []
    pairs = (str(item).split(" ", 1) if str(item).startswith("--") else [str(item)] for item in value)
    return [word for pair in pairs for word in pair]


def _environment(value: Any) -> Any:
    return {str(name): str(text) for name, text in value.items()} if isinstance(value, dict) else value or {}


def _mapping(value: Any) -> Any:
    return {} if value is None else value


Arguments = Annotated[list[str], BeforeValidator(_texts)]
Environment = Annotated[dict[str, str], BeforeValidator(_environment)]


class Extras(Record):
    """Arguments and variables that hardware, a variant or a strategy adds.

    `tp`: the largest tensor parallel size, of all hardware or by GPU.
    """

    extra_args: Arguments = []
    extra_env: Environment = {}
    tp: int | dict[str, int] | None = None

    def largest_tp(self, gpu: str) -> int | None:
        """Return the largest tensor parallel size on this GPU; None: no limit."""
        return self.tp.get(gpu) if isinstance(self.tp, dict) else self.tp


class Mode(Record):
    """One of several forms of a feature."""

    args: Arguments = []


class Feature(Record):
    """Something that a server can be started with."""

    args: Arguments = []
    modes: Annotated[dict[str, Mode], BeforeValidator(_mapping)] = {}


class Variant(Extras):
    """A checkpoint of the model."""

    checkpoint: str | None = Field(None, alias="model_id")
    precision: str = ""
    vram_minimum_gb: float | None = None


class RecipeModel(Record):
    """The model, and what every server of it needs."""

    name: str = Field(alias="model_id")
    min_vllm_version: str | None = None
    context_length: int | None = None
    nightly_required: bool = False
    base_args: Arguments = []
    base_env: Environment = {}


class Meta(Record):
    """What the recipe is about. `hardware`: GPU -> `verified` and similar."""

    title: str = ""
    tasks: list[str] = []
    hardware: Annotated[dict[str, str], BeforeValidator(_mapping)] = {}


class Recipe(Record):
    """A recipe."""

    meta: Meta = Meta()
    model: RecipeModel
    features: Annotated[dict[str, Feature], BeforeValidator(_mapping)] = {}
    opt_in_features: Arguments = []
    variants: Annotated[dict[str, Variant], BeforeValidator(_mapping)] = {}
    compatible_strategies: Arguments = []
    hardware_overrides: Annotated[dict[str, Extras], BeforeValidator(_mapping)] = {}
    strategy_overrides: Annotated[dict[str, Extras], BeforeValidator(_mapping)] = {}
