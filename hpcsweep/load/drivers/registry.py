"""The load clients that `client:` of a workload may name: built-in ones and plugins of `hpcsweep.clients`."""

from typing import ClassVar, Protocol

from hpcsweep.errors import SpecError
from hpcsweep.load.config import LoadConfig
from hpcsweep.registry import Registry


class LoadClient(Protocol):
    """A load client."""

    name: ClassVar[str]

    def run(self, config: LoadConfig) -> int:
        """Send the workload, write the lines of `events.load_lines` to standard output, and return the exit code.

        Raises HpcsweepError.
        """
        ...


CLIENTS: Registry[LoadClient] = Registry(
    "hpcsweep.clients",
    "load client",
    {
        "builtin": "hpcsweep.load.drivers.builtin:BuiltinClient",
        "vllm-bench": "hpcsweep.load.drivers.vllm_bench:VllmBenchClient",
        "guidellm": "hpcsweep.load.drivers.guidellm:GuideLlmClient",
    },
    SpecError,
)
