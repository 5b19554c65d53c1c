"""One request inside the simulated engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(eq=False)
class Generation:
    """One request inside the engine. Times are simulated seconds since the start of the server.

    `target`: tokens to generate before `on_end` is called. `number`: of the request, from 1; None: a probe.
    `slowness`: factor of the duration of its steps, from the jitter.
    """

    prompt: Sequence[object]
    max_tokens: int
    target: int
    number: int | None
    on_token: Callable[[int], None]
    on_end: Callable[[], None]
    arrival_s: float
    image_tokens: int = 0
    cache_salt: str | None = None
    aborted: bool = False
    cached_tokens: int = 0
    to_compute: int = 0
    slowness: float = 1.0
    given: int = 0
    scheduled_s: float = 0.0
    first_token_s: float = 0.0
    last_token_s: float = 0.0

    @property
    def prompt_tokens(self) -> int:
        """Number of tokens of the prompt, including its images."""
        return len(self.prompt) + self.image_tokens
