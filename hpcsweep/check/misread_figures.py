"""Figures that look like a result and are not one."""

from dataclasses import dataclass

LOG_WINDOW_S = 10.0
"""vLLM writes `Avg prompt throughput` as the tokens of the last 10 s, divided by 10 s (v1/metrics/loggers.py)."""


@dataclass(frozen=True)
class MisreadLogWindow:
    """A stated throughput that is the prompt of one request over the engine's log window, in tokens/s."""

    stated_tps: float
    prompt_tokens: float
    window_s: float


def log_window(stated_tps: float, prompt_tokens: float, *, tolerance: float = 0.001) -> MisreadLogWindow | None:
    """Whether a stated prompt throughput is just one prompt divided by the log window; None: it is not.

    Such a figure grows with the length of the prompt and says nothing of how fast prompts are read.
    """
    expected = prompt_tokens / LOG_WINDOW_S
    if expected <= 0 or abs(stated_tps - expected) > tolerance * expected:
        return None
    return MisreadLogWindow(stated_tps, prompt_tokens, LOG_WINDOW_S)
