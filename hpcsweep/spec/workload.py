"""What is sent to a ready server: a dataset, how requests arrive, and their limits."""

from typing import Any, Literal

from pydantic import Field, model_validator

from hpcsweep.spec.base import Model, Seconds, Tokens


class DatasetSpec(Model):
    """Where prompts come from. `kind` names a file of `load/datasets/`; it checks its own options."""

    model_config = Model.model_config | {"extra": "allow"}

    kind: str = Field("samples", description="samples, sharegpt, random, hf, trace, or one of a plugin")

    @property
    def options(self) -> dict[str, Any]:
        """Everything but `kind`, as written."""
        return dict(self.model_extra or {})


class Arrival(Model):
    """When requests are sent: all at once, at a rate, at most so many at a time, or both."""

    request_rate: float | None = Field(None, gt=0, description="requests/s; None: as fast as concurrency allows")
    process: Literal["poisson", "constant"] = "poisson"
    burstiness: float = Field(1.0, gt=0, description="shape of the gamma distribution; 1: Poisson; as in vLLM's bench")
    max_concurrency: int | None = Field(None, ge=1, description="requests in flight at most; None: no limit")
    seed: int = 0


class Slo(Model):
    """A request counts as good when all that are stated hold (goodput)."""

    ttft_s: Seconds | None = None
    tpot_s: Seconds | None = None
    e2e_s: Seconds | None = None


class Workload(Model):
    """One workload. `name` is its key in the experiment file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)
    dataset: DatasetSpec
    num_requests: int | None = Field(None, ge=1, description="None: every sample of the dataset once")
    max_tokens: Tokens | None = Field(None, ge=1, description="completion tokens; None: as the sample says")
    arrival: Arrival = Arrival(max_concurrency=1)
    warmup: int = Field(0, ge=0, description="requests sent first, recorded and marked, never mixed in")
    endpoint: Literal["chat", "completions"] = "chat"
    ignore_eos: bool = True
    temperature: float | None = Field(0.0, ge=0)
    seed: int = 0
    repeats: int = Field(1, ge=1, description="times the whole workload is sent to one server")
    client: str = Field("builtin", description="builtin, vllm-bench or guidellm")
    slo: Slo | None = None
    extra_body: dict[str, Any] = Field({}, description="added to every request's JSON body")

    @model_validator(mode="after")
    def _not_idle(self) -> "Workload":
        if self.arrival.request_rate is None and self.arrival.max_concurrency is None and self.num_requests == 0:
            raise ValueError("a workload needs at least one request")
        return self


class DatasetFacts(Model):
    """What the login side learnt of a dataset: checked before anything is queued."""

    requests: int = Field(ge=0)
    prompt_tokens_max: int | None = Field(None, description="None: not known before the model's tokenizer is asked")
    completion_tokens_max: int | None = None
    exact: bool = Field(False, description="prompt tokens were counted by the model's tokenizer; else they are stated")
    files: dict[str, str] = Field({}, description="path -> sha256 of its content")
