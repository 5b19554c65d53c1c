"""One all-reduce over all nodes: a script for the Python of an engine's environment, which does not have hpcsweep.

The agent of each node copies it to its attempt folder and runs it once. It starts one process for each GPU, which meet
at a port of the first node, add a large message with torch.distributed (NCCL or RCCL where torch has GPUs, else Gloo),
check the sum and measure the bandwidth. It prints lines of `hpcsweep-all-reduce ` and a JSON object:

    {"process": 0, "stage": "connect"}      what a process is about to do: import, connect, reduce, measure, done
    {"process": 0, "error": "..."}          why it failed
    {"process": 0, "result": {...}}         printed by the first process of all

Exit codes: 0 the sum is right; 1 it failed; 3 torch cannot be imported; 4 the sum is wrong.
"""

from __future__ import annotations  # the engine's Python may be older than ours

import argparse
import json
import os
import signal
import sys
import time
import traceback
from datetime import timedelta
from typing import Any

LINE_START = "hpcsweep-all-reduce "
STAGES = ("import", "connect", "reduce", "measure", "done")
FAILED, UNAVAILABLE, WRONG_SUM = 1, 3, 4
_NCCL_BYTES, _GLOO_BYTES = 256 << 20, 4 << 20
_ELEMENT_BYTES = 4
_MEASURE_S = 1.0
_MOST_ITERATIONS = 20


def main(argv: list[str] | None = None) -> int:
    """Run all processes of this node. Return the exit code of the first that fails, and kill the others then."""
    parser = argparse.ArgumentParser(description="Add numbers over all nodes with torch.distributed.")
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--node", type=int, required=True, help="number of this node, from 0")
    parser.add_argument("--processes", type=int, required=True, help="processes on each node")
    parser.add_argument("--address", required=True, help="of the first node")
    parser.add_argument("--port", type=int, required=True, help="free port of the first node")
    parser.add_argument("--within", type=float, required=True, help="seconds for each step")
    options = parser.parse_args(argv)
    pids = []
    for local in range(options.processes):
        pid = os.fork()
        if pid == 0:
            os._exit(_process(options, local))
        pids.append(pid)
    while pids:
        pid, status = os.wait()
        pids.remove(pid)
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else FAILED
        if os.WIFSIGNALED(status):
            _print(process=-1, error=f"a process was ended by signal {os.WTERMSIG(status)}")
        if code:
            for other in pids:
                os.kill(other, signal.SIGKILL)
            return code
    return 0


def _print(**fields: Any) -> None:
    os.write(1, (LINE_START + json.dumps(fields) + "\n").encode())  # one write, so that lines do not mix


def _process(options: argparse.Namespace, local: int) -> int:
    try:
        return _all_reduce(options, local)
    except BaseException as exc:  # noqa: BLE001 - the process must end here, not as a copy of its parent
        _print(process=local, error=f"{type(exc).__name__}: {exc}")
        traceback.print_exc()
        sys.stderr.flush()
        return FAILED


def _all_reduce(options: argparse.Namespace, local: int) -> int:
    _print(process=local, stage="import")
    try:
        import torch
        import torch.distributed as dist
    except (ImportError, OSError) as exc:  # OSError: a library that torch loads is missing
        _print(process=local, error=str(exc))
        return UNAVAILABLE
    if not dist.is_available():
        _print(process=local, error="torch was built without torch.distributed")
        return UNAVAILABLE
    rank, ranks = options.node * options.processes + local, options.nodes * options.processes
    backend = "nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    timeout = timedelta(seconds=options.within)
    _print(process=local, stage="connect")
    # wait_for_workers: the keys below are waited for instead, which compares the back ends too
    store = dist.TCPStore(options.address, options.port, ranks, rank == 0, timeout, wait_for_workers=False)
    store.set(f"backend{rank}", backend)
    backends = [store.get(f"backend{other}").decode() for other in range(ranks)]
    if len(set(backends)) > 1:
        without = sorted({other // options.processes for other in range(ranks) if backends[other] == "gloo"})
        raise RuntimeError(f"torch has no GPU on node number {', '.join(map(str, without))}")
    device = _device(torch, backend, options.processes, local)
    dist.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=timeout)
    _print(process=local, stage="reduce")
    size = _NCCL_BYTES if backend == "nccl" else _GLOO_BYTES
    message = torch.full((size // _ELEMENT_BYTES,), float(rank + 1), dtype=torch.float32, device=device)
    dist.all_reduce(message)
    wrong = int((message != ranks * (ranks + 1) / 2).sum().item())
    if wrong:
        _print(process=local, error=f"{wrong} of {message.numel()} sums are wrong")
        return WRONG_SUM
    _print(process=local, stage="measure")
    seconds, iterations = _measured(torch, dist, message.zero_())
    if rank == 0:
        _print(process=local, result=_result(torch, backend, ranks, size, seconds, iterations))
    store.set(f"done{rank}", "")
    if rank == 0:  # its store must outlast the other processes' last request
        store.wait([f"done{other}" for other in range(ranks)])
    dist.destroy_process_group()
    _print(process=local, stage="done")
    return 0


def _device(torch: Any, backend: str, processes: int, local: int) -> Any:
    if backend == "gloo":
        return torch.device("cpu")
    visible = torch.cuda.device_count()
    if visible < processes:
        raise RuntimeError(f"torch sees {visible} GPUs, {processes} are needed")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _measured(torch: Any, dist: Any, message: Any) -> tuple[float, int]:
    """Return seconds per all-reduce, of the slowest process, and the number of repetitions: the same everywhere."""

    def repeated(times: int) -> float:
        dist.barrier()
        begun_s = time.perf_counter()
        for _ in range(times):
            dist.all_reduce(message)
        if message.is_cuda:
            torch.cuda.synchronize()
        slowest = torch.tensor([time.perf_counter() - begun_s], dtype=torch.float64, device=message.device)
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
        return float(slowest.item()) / times

    iterations = max(1, min(_MOST_ITERATIONS, int(_MEASURE_S / repeated(1))))
    return repeated(iterations), iterations


def _result(torch: Any, backend: str, ranks: int, size: int, seconds: float, iterations: int) -> dict[str, Any]:
    """Return the figures. The bus bandwidth is defined as in nccl-tests: algorithm bandwidth x 2(n-1)/n."""
    nccl = backend == "nccl"
    return {
        "ranks": ranks,
        "backend": backend,
        "backend_version": ".".join(map(str, torch.cuda.nccl.version())) if nccl else "",
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if nccl else "cpu",
        "interface": os.environ.get("NCCL_SOCKET_IFNAME" if nccl else "GLOO_SOCKET_IFNAME", ""),
        "bytes": size,
        "iterations": iterations,
        "seconds": seconds,
        "algbw_bytes_per_s": size / seconds,
        "busbw_bytes_per_s": size / seconds * 2 * (ranks - 1) / ranks,
    }


if __name__ == "__main__":
    sys.exit(main())
