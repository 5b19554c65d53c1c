"""Workloads: a dataset, the arrival of its requests, and their limits."""

from typing import Any, Literal

from pydantic import Field

from hpcsweep.spec.base import Model, Seconds, Tokens


class DatasetSpec(Model):
    """The source of the prompts. `kind` names a dataset class, which validates the options."""

    model_config = Model.model_config | {"extra": "allow"}

    kind: str = Field("samples", description="samples, sharegpt, random, shape, hf, trace, or the name of a plugin")

    @property
    def options(self) -> dict[str, Any]:
        """Return all keys except `kind`, as written."""
        return dict(self.model_extra or {})


class Arrival(Model):
    """When requests are sent: at a rate, with a maximum number in flight, both, or all at once."""

    request_rate: float | None = Field(None, gt=0, description="requests/s; None: as fast as max_concurrency allows")
    process: Literal["poisson", "constant"] = "poisson"
    burstiness: float = Field(
        1.0, gt=0, description="shape of the gamma distribution, as in `vllm bench serve`; 1: Poisson"
    )
    max_concurrency: int | None = Field(None, ge=1, description="maximum number of requests in flight; None: no limit")
    seed: int = 0


class Slo(Model):
    """Limits for goodput: a request is good when it keeps all stated limits."""

    ttft_s: Seconds | None = None
    tpot_s: Seconds | None = None
    e2e_s: Seconds | None = None


class Workload(Model):
    """One workload. `name`: its key in the experiment file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)
    dataset: DatasetSpec
    num_requests: int | None = Field(None, ge=1, description="None: every sample of the dataset once")
    max_tokens: Tokens | None = Field(None, ge=1, description="completion tokens; None: the limit of each sample")
    arrival: Arrival = Arrival(max_concurrency=1)
    warmup: int = Field(0, ge=0, description="requests sent first; recorded, but excluded from all results")
    endpoint: Literal["chat", "completions"] = "chat"
    ignore_eos: bool = True
    temperature: float | None = Field(0.0, ge=0)
    seed: int = 0
    repeats: int = Field(1, ge=1, description="how often the workload is sent to one server")
    client: str = Field("builtin", description="builtin, vllm-bench, guidellm, or the name of a plugin")
    slo: Slo | None = None
    extra_body: dict[str, Any] = Field({}, description="added to the JSON body of every request")


class DatasetFacts(Model):
    """Facts of a dataset, checked on the login node before submission."""

    requests: int = Field(ge=0)
    prompt_tokens_max: int | None = Field(
        None, description="None: unknown until the model's tokenizer has counted them"
    )
    completion_tokens_max: int | None = None
    exact: bool = Field(
        False, description="prompt tokens were counted by the model's tokenizer, not stated in the file"
    )
    files: dict[str, str] = Field({}, description="path -> sha256 of its content")
