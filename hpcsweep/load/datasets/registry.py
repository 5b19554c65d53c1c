"""The kinds of datasets: the built-in ones, and those of plugins (entry points `hpcsweep.datasets`)."""

import inspect
import warnings
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hpcsweep.errors import DatasetError, SpecError
from hpcsweep.load.datasets.base import Dataset
from hpcsweep.spec.base import Model, known_keys, nearest
from hpcsweep.spec.workload import DatasetFacts, DatasetSpec

ENTRY_POINT_GROUP = "hpcsweep.datasets"
_BUILT_IN = {
    "samples": "hpcsweep.load.datasets.samples:SamplesDataset",
    "sharegpt": "hpcsweep.load.datasets.sharegpt:SharegptDataset",
    "random": "hpcsweep.load.datasets.random:RandomDataset",
    "hf": "hpcsweep.load.datasets.hf:HuggingFaceDataset",
    "trace": "hpcsweep.load.datasets.trace:TraceDataset",
    "shape": "hpcsweep.load.datasets.shapes:ShapeDataset",
}


def kinds() -> list[str]:
    """Names of all kinds that `kind:` may have, in order; a plugin's kind never hides a built-in one."""
    found = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    return sorted(found | set(_BUILT_IN))


def dataset(kind: str) -> Dataset:
    """The dataset of this kind. SpecError when there is none; a plugin that cannot be imported is warned of."""
    if kind in _BUILT_IN:
        module, _, name = _BUILT_IN[kind].partition(":")
        found: Dataset = getattr(import_module(module), name)()
        return found
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name == kind:
            try:
                plugin: Dataset = point.load()()
            except Exception as exc:
                warnings.warn(f"dataset plugin {point.value} cannot be used: {exc!r}", stacklevel=2)
                raise SpecError(f"dataset kind {kind!r}: its plugin {point.value} fails", detail=repr(exc)) from exc
            return plugin
    raise SpecError(f"unknown dataset kind {kind!r}", hint=nearest(kind, kinds()))


def read_options(spec: DatasetSpec) -> tuple[Dataset, Any]:
    """The dataset that `spec` names, and its options, checked. SpecError with the nearest known option."""
    kind = dataset(spec.kind)
    model: type[Model] = kind.options_model
    try:
        return kind, model.model_validate(spec.options)
    except ValidationError as exc:
        first = exc.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = nearest(key, known_keys(model))
            raise SpecError(f"dataset {spec.kind}: unknown option {key!r}", hint=hint) from exc
        told = first["msg"].removeprefix("Value error, ")
        where = f"dataset {spec.kind}: {key}: {told}" if key else f"dataset {spec.kind}: {told}"
        raise DatasetError(where, hint=f"known: {', '.join(known_keys(model))}") from exc


def facts_of(
    dataset: Dataset, options: Any, folder: Path, completion_tokens: int | None, count: int | None
) -> DatasetFacts:
    """Return the facts of a dataset of which `count` requests are sent; None: all.

    A dataset whose `facts` has no parameter `count` (a plugin may not have it) is judged by all of its requests.
    """
    if "count" in inspect.signature(dataset.facts).parameters:
        counted: Any = dataset.facts
        facts: DatasetFacts = counted(options, folder, completion_tokens, count=count)
        return facts
    return dataset.facts(options, folder, completion_tokens)
