"""Convert a vLLM recipe to an experiment: its variants, strategies and optional features become axes. Pure."""

import re
from collections.abc import Iterable
from typing import Any

from hpcsweep.adopt.document import random_load
from hpcsweep.adopt.flags import read_flags
from hpcsweep.adopt.plain_yaml import yaml_lines
from hpcsweep.errors import SpecError
from hpcsweep.plan.bound.gpu_specs import gpu_spec
from hpcsweep.spec.load import parse_model
from hpcsweep.spec.recipe import Extras, Recipe, Variant
from hpcsweep.spec.server import FlagValue

_GPUS_PER_NODE = 8
_PREFERRED = ("h200", "h100", "b200", "mi300x", "mi325x")
"""GPUs whose memory is known, of nodes with 8 GPUs, in the order of preference."""

_GENERATIONS = {"h200": "hopper", "h100": "hopper", "gh200": "hopper", "b200": "blackwell", "a100": "ampere"}
_STRATEGIES: dict[str, tuple[str, str, bool]] = {
    "single_node_tp": ("tp", "tp", False),
    "single_node_tep": ("tp-ep", "tp", True),
    "single_node_dep": ("dp-ep", "dp", True),
}
"""Strategy -> (level of the axis `parallel`, the axis that has all GPUs, expert parallelism)."""

_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def recipe_experiment(text: str, where: str, gpu: str | None = None) -> tuple[str, str]:
    """Return (name, text) of the experiment of a recipe.

    `where`: the recipe's file. `gpu`: GPU type, such as h200; None: one that the recipe lists as verified.

    Raises SpecError for a file that is not a recipe, or a recipe of something that `vllm serve` does not serve.
    """
    recipe = parse_model(Recipe, text, where)
    if recipe.meta.tasks and not {"text", "multimodal"} & set(recipe.meta.tasks):
        raise SpecError(
            f"{where}: a recipe for {', '.join(recipe.meta.tasks)}; hpcsweep measures text generation",
            code="recipe_not_served",
        )
    return _Conversion(recipe, where, gpu).document()


class _Conversion:
    """One conversion. `remarks`: sentences about what a user has to check."""

    def __init__(self, recipe: Recipe, where: str, gpu: str | None) -> None:
        self._recipe, self._where = recipe, where
        known = [name for name in _PREFERRED if recipe.meta.hardware.get(name) == "verified"]
        self._gpu = gpu or (known[0] if known else _PREFERRED[0])
        spec = gpu_spec(self._gpu)
        if spec is None:
            raise SpecError(
                f"the memory of GPU type {self._gpu!r} is not known",
                code="gpu_type_unknown",
                hint=f"known: {', '.join(_PREFERRED)}, 'a100 40G', 'a100 80G'",
            )
        self._gpu_gb = spec.memory_bytes / 1e9
        self._remarks = [f"sized for {_GPUS_PER_NODE} x {self._gpu} of {self._gpu_gb:g} GB (--gpu)"]
        if gpu is not None and recipe.meta.hardware and recipe.meta.hardware.get(gpu) != "verified":
            self._remarks.append(f"the recipe does not list {gpu} as verified hardware")

    def document(self) -> tuple[str, str]:
        """Return name and text of the experiment."""
        recipe, model = self._recipe, self._recipe.model
        name = _NAME.sub("-", model.name.rpartition("/")[2]).strip("-._").lower()[:80] or "recipe"
        general = self._extras(recipe.hardware_overrides)
        default_on = [
            feature for key, feature in recipe.features.items() if key not in recipe.opt_in_features and feature.args
        ]
        arguments = [*model.base_args, *(word for feature in default_on for word in feature.args), *general.extra_args]
        fitting, refused = self._variants()
        document: dict[str, Any] = {"name": name, "title": recipe.meta.title or model.name}
        document["model"] = model.name
        version = model.min_vllm_version
        document["engine"] = {"name": "vllm", **({"version": f">={version}"} if version else {})}
        document["engine_args"] = {flag.removeprefix("--"): value for flag, value in self._flags(arguments).items()}
        env = {**model.base_env, **general.extra_env}
        document |= {"env": env} if env else {}
        document["axes"] = self._axes(fitting)
        document["workloads"] = {"load": random_load()}
        text = "\n".join(yaml_lines({key: value for key, value in document.items() if value != {}}))
        text += self._not_run(refused)
        return name, "\n".join([*self._head(name), "", text]) + "\n"

    def _head(self, name: str) -> list[str]:
        if self._recipe.model.nightly_required:
            self._remarks.append("the recipe needs a nightly build of vLLM")
        return [
            f"# Made by `hpcsweep init --recipe` from {self._where}, a recipe of vllm-project/recipes.",
            f"# Edit it, then: hpcsweep submit {name}.yaml --dry-run",
            "#",
            "# Please check:",
            "#   `workloads` is a placeholder (docs/load.md)",
            *(f"#   {remark}" for remark in dict.fromkeys(self._remarks)),
        ]

    def _variants(self) -> tuple[dict[str, Variant], dict[str, Variant]]:
        """Return the variants that fit a node, and the others."""
        known = self._recipe.variants or {"default": Variant()}
        limit_gb = self._gpu_gb * _GPUS_PER_NODE
        fitting = {key: v for key, v in known.items() if v.vram_minimum_gb is None or v.vram_minimum_gb <= limit_gb}
        if not fitting:
            self._remarks.append(f"no variant fits one node of {limit_gb:g} GB; its smallest is in the experiment")
            smallest = min(known, key=lambda key: known[key].vram_minimum_gb or 0)
            fitting = {smallest: known[smallest]}
        return fitting, {key: variant for key, variant in known.items() if key not in fitting}

    def _axes(self, variants: dict[str, Variant]) -> dict[str, Any]:
        recipe = self._recipe
        axes: dict[str, Any] = {}
        if len(variants) > 1 or any(v.checkpoint or v.extra_args or v.extra_env for v in variants.values()):
            axes["variant"] = {"levels": {key: self._bundle(variant) for key, variant in variants.items()}}
        gpus = self._gpus(variants.values())
        levels = {}
        for strategy, (label, axis, expert) in _STRATEGIES.items():
            if strategy not in (recipe.compatible_strategies or ["single_node_tp"]):
                continue
            extras = recipe.strategy_overrides.get(strategy, Extras())
            limit = extras.largest_tp(self._gpu) if axis == "tp" else None
            size = min(limit, gpus) if limit else gpus
            if strategy != "single_node_tp" and size < 2:
                continue
            level: dict[str, Any] = {"set": {axis: size, **({"ep": "on"} if expert else {})}}
            flags = self._flags(extras.extra_args)
            level |= {"engine_args": flags} if flags else {}
            level |= {"env": dict(extras.extra_env)} if extras.extra_env else {}
            levels[f"{label}{size}" if axis == "tp" and not expert else f"{axis}{size}-ep"] = level
        axes["parallel"] = {"levels": levels or {f"tp{gpus}": {"set": {"tp": gpus}}}}
        for key in recipe.opt_in_features:
            feature = recipe.features.get(key)
            if feature is not None:
                axes |= self._optional(key, {name: mode.args for name, mode in feature.modes.items()}, feature.args)
        several = [name for name in recipe.compatible_strategies if name not in _STRATEGIES]
        if several:
            self._remarks.append(f"not adopted, because they need several nodes: {', '.join(several)}")
        return axes

    def _optional(self, key: str, modes: dict[str, list[str]], args: list[str]) -> dict[str, Any]:
        levels: dict[str, Any] = {"off": {}}
        for name, words in (modes or {"on": args}).items():
            levels[name] = {"engine_args": self._flags(words)}
        return {_NAME.sub("-", key): {"levels": levels}} if modes or args else {}

    def _bundle(self, variant: Variant) -> dict[str, Any]:
        flags = self._flags(variant.extra_args)
        return {
            "set": {"model": variant.checkpoint or self._recipe.model.name},
            **({"engine_args": flags} if flags else {}),
            **({"env": dict(variant.extra_env)} if variant.extra_env else {}),
        }

    def _gpus(self, variants: Iterable[Variant]) -> int:
        """Return the smallest power of two of GPUs that fits every variant, at most those of a node."""
        needed_gb = max((variant.vram_minimum_gb or 0 for variant in variants), default=0)
        gpus = 1
        while gpus < _GPUS_PER_NODE and gpus * self._gpu_gb < needed_gb:
            gpus *= 2
        return gpus

    def _extras(self, overrides: dict[str, Extras]) -> Extras:
        """Return what the recipe adds on the chosen GPU: of its generation, else of its maker."""
        maker = "amd" if self._gpu.startswith("mi") else "nvidia"
        generation = next((name for gpu, name in _GENERATIONS.items() if self._gpu.startswith(gpu)), maker)
        return overrides.get(generation) or overrides.get(maker) or Extras()

    def _flags(self, words: list[str]) -> dict[str, FlagValue]:
        _, flags, unclear = read_flags("vllm", [(word, word, None) for word in words], 0)
        self._remarks += [sentence for _, sentence in unclear]
        return {flag.name: flag.value for flag in flags}

    def _not_run(self, refused: dict[str, Variant]) -> str:
        if not refused:
            return ""
        limit_gb = self._gpu_gb * _GPUS_PER_NODE
        lines = ["", "not_run:"]
        for key, variant in refused.items():
            reason = f"needs {variant.vram_minimum_gb:g} GB by the recipe; a node of {self._gpu} has {limit_gb:g} GB"
            entry = yaml_lines({"title": f"variant {key}", "reason": reason})
            lines += [f"{'  - ' if number == 0 else '    '}{line}" for number, line in enumerate(entry)]
        return "\n".join(lines)
