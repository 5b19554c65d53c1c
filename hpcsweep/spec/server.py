"""The configuration of one server, before an engine adapter translates it into flags."""

import hashlib
import json
from typing import Literal

from pydantic import Field

from hpcsweep.spec.base import EnvironmentName, Model, Tokens

FlagValue = bool | int | float | str | list[str] | None
"""The value of an engine flag. True: the flag without a value; False: its `--no-` form; None: the flag is left out."""


class EngineSettings(Model):
    """Settings that every engine has, under names independent of the engine. None: the engine's default."""

    tensor_parallel_size: int | None = Field(None, ge=1)
    pipeline_parallel_size: int | None = Field(None, ge=1)
    data_parallel_size: int | None = Field(None, ge=1)
    expert_parallel: bool | None = None
    enforce_eager: bool | None = None
    max_model_len: Tokens | None = Field(None, ge=1, description="tokens")
    max_num_batched_tokens: Tokens | None = Field(None, ge=1, description="tokens")
    max_num_seqs: int | None = Field(None, ge=1)
    kv_cache_dtype: str | None = None
    quantization: str | None = None
    gpu_memory_utilization: float | None = Field(None, gt=0, le=1, description="fraction of one GPU")
    prefix_caching: bool | None = None
    chunked_prefill: bool | None = None

    @property
    def gpus(self) -> int:
        """Return the number of GPUs: tensor x pipeline x data parallel size."""
        return (self.tensor_parallel_size or 1) * (self.pipeline_parallel_size or 1) * (self.data_parallel_size or 1)


class ServerConfig(Model):
    """One variant: engine, model, settings, and flags and variables that are passed through unchanged."""

    engine: str
    engine_version: str | None = Field(None, description="a constraint such as '>=0.11,<0.12'; None: any version")
    model: str = Field(description="name on the hub, or a path on the nodes")
    revision: str | None = None
    served_model_name: str | None = Field(None, description="None: the same as `model`")
    settings: EngineSettings = EngineSettings()
    flags: dict[str, FlagValue] = Field({}, description="long flags in the engine's own names, with dashes")
    env: dict[EnvironmentName, str] = {}
    image: str | None = Field(None, description="container image of this variant; None: that of the profile")
    across_nodes: Literal["native", "ray"] | None = Field(
        None, description="how the engine spans nodes; None: its own way, or Ray for versions without one"
    )

    @property
    def served_name(self) -> str:
        """Return the model name that clients use in requests."""
        return self.served_model_name or self.model

    @property
    def variant_id(self) -> str:
        """Return 12 hexadecimal digits that identify this configuration, independent of the order of keys."""
        # ids of variants without these are those of 0.1
        unset = {name for name in ("image", "across_nodes") if getattr(self, name) is None}
        text = json.dumps(self.model_dump(mode="json", exclude=unset), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
