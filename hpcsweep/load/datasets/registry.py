"""The dataset kinds: built-in ones and plugins of the entry point group `hpcsweep.datasets`."""

import inspect
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hpcsweep.errors import DatasetError, SpecError
from hpcsweep.load.datasets.base import Dataset
from hpcsweep.registry import Registry
from hpcsweep.spec.base import Model, known_keys, nearest, unknown_key, validation_text
from hpcsweep.spec.workload import DatasetFacts, DatasetSpec

DATASETS: Registry[Dataset] = Registry(
    "hpcsweep.datasets",
    "dataset kind",
    {
        "samples": "hpcsweep.load.datasets.samples:SamplesDataset",
        "sharegpt": "hpcsweep.load.datasets.sharegpt:SharegptDataset",
        "random": "hpcsweep.load.datasets.random:RandomDataset",
        "hf": "hpcsweep.load.datasets.hf:HuggingFaceDataset",
        "trace": "hpcsweep.load.datasets.trace:TraceDataset",
        "shape": "hpcsweep.load.datasets.shapes:ShapeDataset",
    },
    SpecError,
)


def read_options(spec: DatasetSpec) -> tuple[Dataset, Any]:
    """Return the dataset that `spec` names and its validated options.

    Raises SpecError for an unknown kind or option, with the nearest known one, and DatasetError for an invalid value.
    """
    dataset = DATASETS.get(spec.kind)
    model: type[Model] = dataset.options_model
    try:
        return dataset, model.model_validate(spec.options)
    except ValidationError as exc:
        key = unknown_key(exc)
        if key is not None:
            raise SpecError(
                f"dataset {spec.kind}: unknown option {key!r}",
                code="unknown_dataset_option",
                hint=nearest(key, known_keys(model)),
            ) from exc
        raise DatasetError(
            f"dataset {spec.kind}: {validation_text(exc)}",
            code="invalid_dataset_option",
            hint=f"known: {', '.join(known_keys(model))}",
        ) from exc


def facts_of(
    dataset: Dataset, options: Any, folder: Path, completion_tokens: int | None, count: int | None
) -> DatasetFacts:
    """Return the facts of a dataset of which `count` requests are sent; None: all.

    The parameter `count` of `Dataset.facts` is optional: without it the facts describe all requests.
    """
    if "count" in inspect.signature(dataset.facts).parameters:
        facts_for_count: Any = dataset.facts
        facts: DatasetFacts = facts_for_count(options, folder, completion_tokens, count=count)
        return facts
    return dataset.facts(options, folder, completion_tokens)
