"""The server process: simulate the startup, listen, answer, and exit on SIGTERM."""

import asyncio
import os
import signal
import socket
import sys
from dataclasses import dataclass, replace

from hpcsweep.simulator.api import Api, ServedModel
from hpcsweep.simulator.engine import BatchingEngine
from hpcsweep.simulator.faults import Children, IgnoreSigterm
from hpcsweep.simulator.http import HttpConnection
from hpcsweep.simulator.log import ServerLog
from hpcsweep.simulator.metrics import Metrics
from hpcsweep.simulator.nodes import Place, Together, until
from hpcsweep.simulator.pace import Pace
from hpcsweep.simulator.profile import Behaviour
from hpcsweep.simulator.startup import StartupSequence

_BACKLOG = 2048
_STATS_EVERY_S = 10.0  # simulated: vLLM's VLLM_LOG_STATS_INTERVAL


@dataclass(frozen=True)
class ServerOptions:
    """The options of the command line. None: from the profile."""

    model: str
    served_name: str
    host: str
    port: int
    time_scale: float
    max_model_len: int
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    prefix_caching: bool = True
    uds: str | None = None
    placement: Place | None = None


def serve(settings: ServerOptions, behaviour: Behaviour) -> int:
    """Run the server. Return its exit code: 0 after SIGTERM or SIGINT, 1 if the port is in use."""
    speed = behaviour.speed
    behaviour = replace(
        behaviour,
        speed=replace(
            speed,
            max_num_seqs=settings.max_num_seqs or speed.max_num_seqs,
            max_num_batched_tokens=settings.max_num_batched_tokens or speed.max_num_batched_tokens,
            prefix_caching=speed.prefix_caching and settings.prefix_caching,
        ),
    )
    for children in behaviour.having(Children):
        _start_children(children)
    if behaviour.having(IgnoreSigterm):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return asyncio.run(_serve(settings, behaviour))


async def _serve(settings: ServerOptions, behaviour: Behaviour) -> int:
    log = ServerLog()
    pace = Pace(settings.time_scale, behaviour.jitter, behaviour.seed)
    together = Together(settings.placement, log) if settings.placement is not None else None
    step = together.step if together is not None else None
    headless = settings.placement is not None and settings.placement.rank > 0
    startup = StartupSequence(behaviour, pace, log, settings.model, settings.max_model_len, step, headless)
    await startup.launch()
    if together is not None:
        await together.join()
        if headless:
            return await _work(startup, together)
    address = {"uds": settings.uds} if settings.uds else {"host": settings.host, "port": settings.port}
    arguments: dict[str, object] = {"model_tag": settings.model, **address}
    arguments |= {"model": settings.model, "max_model_len": settings.max_model_len}
    log.banner(settings.model, {**arguments, "served_model_name": [settings.served_name]})
    # vLLM binds its port before it loads the model, and listens after that: until then connections are refused.
    ip_family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(socket.AF_UNIX if settings.uds else ip_family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(settings.uds or (settings.host, settings.port))
        except OSError as exc:
            log.raw(f"OSError: [Errno {exc.errno}] {exc.strerror}")
            return 1
        if together is None:
            await startup.play()
        elif not await until(startup.play(), together.failed):
            return 1
        return await _run(settings, behaviour, startup, pace, listener, log, together)


async def _work(startup: StartupSequence, together: Together) -> int:
    """Run the part of a server that has no front end, until SIGTERM. Return its exit code."""
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    if not await until(startup.play(), together.failed):
        return 1
    return 0 if await until(stop.wait(), together.failed) else 1


async def _run(
    settings: ServerOptions,
    behaviour: Behaviour,
    startup: StartupSequence,
    pace: Pace,
    listener: socket.socket,
    log: ServerLog,
    together: Together | None,
) -> int:
    metrics = Metrics(settings.served_name, settings.max_model_len)
    engine = BatchingEngine(behaviour, pace, metrics, together.step if together is not None else None)
    served = ServedModel(settings.served_name, settings.max_model_len, os.environ.get("VLLM_API_KEY"))
    faults = [fault for fault in behaviour.faults if startup.has(fault)]
    api = Api(served, behaviour.speed, faults, engine, metrics, pace, log)

    address = f"unix:{settings.uds}" if settings.uds else f"http://{settings.host}:{settings.port}"
    log.line(f"Starting vLLM server on {address}", "entry.py:140")
    log.raw(f"INFO:     Started server process [{os.getpid()}]")
    log.raw("INFO:     Waiting for application startup.")
    loop = asyncio.get_running_loop()
    # The handlers are set before the readiness line: a supervisor may stop the server as soon as it reads that line.
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    if not behaviour.having(IgnoreSigterm):
        loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: HttpConnection(api.handle, log.access), sock=listener, backlog=_BACKLOG)
    log.raw("INFO:     Application startup complete.")
    tasks = [asyncio.create_task(engine.run()), asyncio.create_task(_report(engine, metrics, pace, log))]
    stopped = asyncio.create_task(stop.wait())
    failed = [asyncio.create_task(together.failed.wait())] if together is not None else []
    await asyncio.wait([*tasks, stopped, *failed], return_when=asyncio.FIRST_COMPLETED)
    if any(task.done() for task in failed):
        log.raw("EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.")
        return 1
    for task in tasks:
        if task.done():
            task.result()  # a bug of the simulator itself: the log gets its traceback
        task.cancel()
    log.raw("INFO:     Shutting down")
    server.close()
    log.raw("INFO:     Application shutdown complete.")
    return 0


async def _report(engine: BatchingEngine, metrics: Metrics, pace: Pace, log: ServerLog) -> None:
    """Write vLLM's line of statistics for every interval with activity."""
    before = (0, 0)
    while True:
        await asyncio.sleep(_STATS_EVERY_S / pace.scale)
        now = (metrics.prompt_tokens, metrics.generation_tokens)
        if now == before:
            continue
        prompt_tps, generation_tps = ((n - b) / _STATS_EVERY_S for n, b in zip(now, before, strict=True))
        before = now
        cache = engine.prefix_cache
        rate = 100 * cache.hit_tokens / cache.queried_tokens if cache.queried_tokens else 0.0
        log.line(
            f"BatchingEngine 000: Avg prompt throughput: {prompt_tps:.1f} tokens/s, "
            f"Avg generation throughput: {generation_tps:.1f} tokens/s, Running: {len(engine.running)} reqs, "
            f"Waiting: {len(engine.waiting)} reqs, GPU KV cache usage: {100 * engine.kv_cache_usage:.1f}%, "
            f"Prefix cache hit rate: {rate:.1f}%",
            "loggers.py:281",
        )


def _start_children(fault: Children) -> None:
    """Start the processes of the fault. They keep the log open, like the workers of a killed vLLM."""
    sys.stdout.flush()
    for _ in range(fault.count):
        if os.fork():
            continue
        if fault.own_session:
            os.setsid()
        if fault.orphan and os.fork():
            os._exit(0)
        if fault.ignore_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
    if fault.orphan:
        for _ in range(fault.count):
            os.wait()
