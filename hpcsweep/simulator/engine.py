"""Continuous batching in steps, as in vLLM: each step generates one token for every running request."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from hpcsweep.simulator.generation import Generation
from hpcsweep.simulator.metrics import Metrics
from hpcsweep.simulator.pace import Pace
from hpcsweep.simulator.prefix_cache import PrefixCache
from hpcsweep.simulator.profile import Behaviour


class BatchingEngine:
    """Generates the tokens of requests at the speed of the profile."""

    def __init__(
        self, behaviour: Behaviour, pace: Pace, metrics: Metrics, step: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Start with nothing to do. `step`: lets the processes on other nodes take part in each step."""
        self._step = step
        self._speed, self._memory = behaviour.speed, behaviour.memory
        self._pace, self._metrics = pace, metrics
        self.prefix_cache = PrefixCache(self._memory.block_tokens, self._memory.kv_cache_tokens)
        self.waiting: deque[Generation] = deque()
        self.running: list[Generation] = []
        self._wake = asyncio.Event()
        self._cold = True

    def submit(self, generation: Generation) -> None:
        """Queue a request."""
        self.waiting.append(generation)
        self._wake.set()

    def abort(self, generation: Generation) -> None:
        """Drop a request whose client has disconnected. It ends at the next step."""
        generation.aborted = True

    @property
    def kv_cache_usage(self) -> float:
        """Used fraction of the KV cache."""
        used = sum(g.prompt_tokens + g.given for g in self.running)
        return min(1.0, used / max(1, self._memory.kv_cache_tokens))

    async def run(self) -> None:
        """Execute steps forever."""
        while True:
            if not self.running and not self.waiting:
                self._wake.clear()
                await self._wake.wait()
                # The time in which the server itself reads a request is not part of the simulated time.
                self._pace.restart(self.waiting[0].arrival_s)
            step_s = self._admit() + self._schedule()
            await self._pace.sleep(self._pace.varied(step_s))
            if self._step is not None:
                await self._step()
            self._emit()

    def _admit(self) -> float:
        """Admit waiting requests while slots are free. Return the seconds that this adds to the step."""
        extra_s = 0.0
        while self.waiting and len(self.running) < self._speed.max_num_seqs:
            generation = self.waiting.popleft()
            if generation.aborted:
                self._metrics.finished(generation, "abort", self._pace.now_s())
                continue
            if self._speed.prefix_caching:
                generation.cached_tokens = self.prefix_cache.take(generation.prompt, generation.cache_salt)
                self._metrics.cached_tokens += generation.cached_tokens
            generation.to_compute = generation.prompt_tokens - generation.cached_tokens
            generation.scheduled_s = self._pace.now_s()
            generation.slowness = self._pace.varied(1.0)
            self.running.append(generation)
            if self._cold and generation.number is not None:
                self._cold = False
                extra_s += self._speed.first_request_extra_s
        return extra_s

    def _schedule(self) -> float:
        """Distribute the token budget of a step: decodes first, then prompts. Return its duration in seconds."""
        speed = self._speed
        decoding = sum(1 for g in self.running if g.to_compute == 0)
        budget = max(1, speed.max_num_batched_tokens - decoding)
        active, prompt_tokens = decoding, 0
        for generation in self.running:
            if generation.to_compute and budget:
                part = min(generation.to_compute, budget)
                generation.to_compute -= part
                budget -= part
                prompt_tokens += part
                active += 1
                self._metrics.prompt_tokens += part
        step_s = 1 / speed.decode_tps + max(0, active - 1) * speed.per_request_s + prompt_tokens / speed.prefill_tps
        return step_s * sum(g.slowness for g in self.running) / len(self.running) if self.running else 0.0

    def _emit(self) -> None:
        now_s = self._pace.now_s()
        remaining: list[Generation] = []
        for generation in self.running:
            if generation.aborted:
                self._metrics.finished(generation, "abort", now_s)
            elif generation.to_compute or self._give(generation, now_s):
                remaining.append(generation)
        self.running = remaining

    def _give(self, generation: Generation, now_s: float) -> bool:
        """Emit one token. Return whether the request continues."""
        if generation.given < generation.target:
            if generation.given:
                self._metrics.gap(now_s - generation.last_token_s)
            else:
                generation.first_token_s = now_s
            generation.last_token_s = now_s
            generation.given += 1
            self._metrics.generation_tokens += 1
            generation.on_token(generation.given)
        if generation.given < generation.target:
            return True
        self._metrics.finished(generation, "length" if generation.given >= generation.max_tokens else "stop", now_s)
        generation.on_end()
        return False
