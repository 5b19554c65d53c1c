"""Determine the role of a process in a server from its title, command, environment and log lines. Pure.

Sources: vLLM 0.11 to 0.32 (`VLLM::EngineCore_DP0`, `VLLM::Worker_PP0_TP1_EP1`, log prefix `(Worker_TP1 pid=7)`), Ray
(`ray::RayWorkerWrapper.execute_method`), SGLang 0.5 (`sglang::scheduler_TP0`, `sglang::scheduler` where it is the only
rank, `sglang::detokenizer`), TensorRT-LLM under MPI (`mpi4py.futures.server`, the rank in the environment), PyTorch's
compile workers and the compilers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class ProcessKind(str, Enum):
    """Kind of a process of a server."""

    FRONT_END = "front end"
    ENGINE_CORE = "engine core"
    RANK = "rank"
    COMPILER = "compile worker"
    OTHER = "process"


@dataclass(frozen=True)
class ProcessRole:
    """Role of a process. `name`: given by the engine, such as `PP0_TP1_EP1` or `EngineCore_DP0`; empty: none."""

    kind: ProcessKind
    name: str = ""

    def __str__(self) -> str:
        if self.kind in (ProcessKind.ENGINE_CORE, ProcessKind.FRONT_END) and self.name:
            return self.name
        return f"{self.kind.value} {self.name}".rstrip()


_RANK_NAME = r"(?:(?:DP|PP|PCP|DCP|TP|EP|ATTN|MOE)\d+_?)+"
_PATTERNS: tuple[tuple[re.Pattern[str], ProcessKind], ...] = (
    (re.compile(r"^(?:\S*/)?(?:srun|mpiexec(?:\.\w+)?|mpirun|orterun|prterun)\s|\bhpcsweep-mpi\s|trtllm-llmapi-launch\s"),
     ProcessKind.OTHER),  # they have the command of the server among their arguments
    (re.compile(rf"^(?:VLLM::)?(?:Ray)?Worker(?:Proc|Wrapper)?_(?P<name>{_RANK_NAME})\b"), ProcessKind.RANK),
    (re.compile(r"^(?:VLLM::)?Worker(?P<name>)\b"), ProcessKind.RANK),
    (re.compile(r"^(?:VLLM::)?(?P<name>EngineCore(?:_(?:DP)?\d+)?)\b"), ProcessKind.ENGINE_CORE),
    (re.compile(r"^(?:VLLM::)?(?P<name>APIServer(?:_\d+)?)\b"), ProcessKind.FRONT_END),
    (re.compile(r"^(?:VLLM::)?(?P<name>DPCoordinator)\b"), ProcessKind.FRONT_END),
    (re.compile(rf"^sglang::scheduler_(?P<name>{_RANK_NAME})"), ProcessKind.RANK),
    (re.compile(r"^sglang::(?P<name>scheduler)\b"), ProcessKind.ENGINE_CORE),
    (re.compile(r"^sglang::(?P<name>detokenizer|data_parallel_controller|tokenizer_worker\S*|router)"),
     ProcessKind.FRONT_END),
    (re.compile(r"^ray::(?P<name>)RayWorkerWrapper|^ray::(?:\w+\.)?\w*[Ww]orker"), ProcessKind.RANK),
    (re.compile(r"compile_worker|\bcompile_fx|/(?:cc1plus|cc1|cicc|ptxas|nvcc|hipcc|clang(?:\+\+)?|lld?|as|ld)\b"),
     ProcessKind.COMPILER),
    (re.compile(r"^(?:\S*/)?(?:(?:[\w-]+-)?(?:g\+\+|gcc|cc|c\+\+)(?:-\d+)?|cc1plus|cicc|ptxas|ninja|collect2|ld|as)(?=\s|$)"),
     ProcessKind.COMPILER),
    (re.compile(r"mpi4py\.futures|tensorrt_llm\S*mpi|mgmn_(?:worker|leader)_node"), ProcessKind.RANK),
    (re.compile(r"(?:^|/|\s)(?:vllm|sglang|trtllm-serve)\s+serve\b|api_server|hpcsweep\.simulator|sglang\.launch_server|trtllm-serve\b"),
     ProcessKind.FRONT_END),
)  # fmt: skip

_MPI_RANK = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")
"""Variables that contain the rank of a process under MPI and Slurm, the most reliable first."""

_LOG_PREFIX = re.compile(r"\((?P<title>[A-Za-z]\w*)\s+(?:pid|ip=\S+ pid)=(?P<pid>\d+)\)")


def role_of(command: str, logged: str = "", environment: Mapping[str, str] | None = None) -> ProcessRole:
    """Return the role of a process.

    `command`: its command line, or its title where it has set one. `logged`: the name in the prefix of its log lines,
    which is used where the command is not specific, as before the title is set. `environment`: of the process, for the
    MPI rank.
    """
    for text in (command, logged):
        for pattern, kind in _PATTERNS:
            match = pattern.search(text) if text else None
            if match is None:
                continue
            name = (match.groupdict().get("name") or "").rstrip("_")
            if kind is ProcessKind.RANK and not name:
                name = _mpi_rank(environment)
            return ProcessRole(kind, name)
    return ProcessRole(ProcessKind.OTHER)


def logged_name(line: str) -> tuple[int, str] | None:
    """Return pid and name in the prefix of a log line, `(Worker_TP1 pid=7) INFO ...`; None: no such prefix."""
    match = _LOG_PREFIX.search(line[:200])
    return (int(match["pid"]), match["title"]) if match is not None else None


def _mpi_rank(environment: Mapping[str, str] | None) -> str:
    for name in _MPI_RANK:
        value = (environment or {}).get(name, "")
        if value.isdigit():
            return value
    return ""
