"""The input of the load process: one JSON object on standard input. The API key is in HPCSWEEP_API_KEY."""

from pydantic import Field

from hpcsweep.containers.launch import ContainerLaunch
from hpcsweep.load.schedule import API_KEY_VARIABLE as API_KEY_VARIABLE
from hpcsweep.spec.base import Record
from hpcsweep.spec.job import PlannedWorkload


class LoadConfig(Record):
    """One workload, sent once to one ready server."""

    planned: PlannedWorkload
    base_url: str = Field(description="http://127.0.0.1:PORT; with a socket_path only its path is used")
    socket_path: str | None = Field(None, description="Unix socket of the server; None: it listens on base_url")
    served_model: str
    engine: str
    completions_path: str = "/v1/completions"
    chat_path: str = "/v1/chat/completions"
    engine_executable: str | None = Field(None, description="for the vllm-bench client; in the container, if any")
    container: ContainerLaunch | None = Field(None, description="of the server; None: it runs on the node itself")
    model: str = Field(description="name or path of the model, for its tokenizer")
    repeat: int = 1
    clock_origin_s: float = Field(description="CLOCK_MONOTONIC at the start of the attempt")
    time_scale: float = 1.0
    request_timeout_s: float = Field(description="attempt seconds: budgets.request")
    token_timeout_s: float = Field(description="attempt seconds: budgets.token")
    first_of_server: bool = Field(False, description="the first workload that is sent to this server")
    cache_salt: str | None = Field(None, description="sent with every request; None: the prefix cache is shared")
    cache_salt_field: str = Field("cache_salt", description="field of a request that contains the salt")
    after_reset: bool = Field(False, description="the prefix cache was reset immediately before")
    work_dir: str = Field(description="folder for files of other clients, in the attempt's folder")
    processes: int | None = Field(None, ge=1, description="sending processes; None: by cores and concurrency")
