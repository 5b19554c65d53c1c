"""The recommended variant of each sweep in a few words, computed once per state of the sweep in the background."""

import queue
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence

from hpcsweep.analysis.findings import Findings
from hpcsweep.report import wording
from hpcsweep.track.runs import SweepStatus

FAILED = "cannot be analysed"
MAX_RUNS = 300
"""The answer of a larger sweep takes seconds, which other pages would wait for; its report has it."""
TOO_LARGE = "see its report"


def fingerprint(sweep: SweepStatus) -> Hashable:
    """Return a value that changes when the store has something new about a sweep."""
    return tuple(
        (run.run, run.attempt, run.verdict.state, run.verdict.outcome, run.progress.last_t_s, run.progress.samples_done)
        for run in sweep.runs
    )


def answer_in_short(findings: Findings) -> str:
    """Return the recommended variant with its levels and its score; an empty text if there is none."""
    advice = findings.recommendation
    if advice.chosen is None:
        return "no recommendation"
    variant = findings.variant(advice.chosen)
    varied = [axis for axis, levels in findings.sweep.axes.items() if len(levels) > 1]
    levels = " ".join(f"{axis}={variant.axes[axis]}" for axis in varied if axis in variant.axes)
    score = next(candidate.score for candidate in advice.candidates if candidate.variant == advice.chosen)
    figure = "" if score.value is None else f": {wording.number(score.value)} {wording.unit(score.unit)}"
    return f"{wording.short_name(findings, variant)} {levels}".strip() + figure


class Answers:
    """The answers that are known; `known` asks for those that are missing. `compute`: of the sweep of a name."""

    def __init__(self, compute: Callable[[str], str]) -> None:
        self._compute = compute
        self._known: dict[str, tuple[Hashable, str]] = {}
        self._asked: dict[str, Hashable] = {}
        self._queue: queue.SimpleQueue[tuple[str, Hashable]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="answers", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def known(self, sweeps: Sequence[SweepStatus]) -> Mapping[str, str]:
        """Return sweep -> answer, of the sweeps whose runs have all ended and whose answer is computed."""
        texts = {}
        for sweep in reversed(sweeps):  # the latest first: it is at the top of the page
            if not all(run.verdict.state.final for run in sweep.runs):
                continue
            if len(sweep.runs) > MAX_RUNS:
                texts[sweep.name] = TOO_LARGE
                continue
            state = fingerprint(sweep)
            current = self._known.get(sweep.name)
            if current is not None and current[0] == state:
                texts[sweep.name] = current[1]
            elif self._asked.get(sweep.name) != state:
                self._asked[sweep.name] = state
                self._queue.put((sweep.name, state))
        return texts

    def _loop(self) -> None:
        while True:
            name, state = self._queue.get()
            self._known[name] = (state, self._compute(name))
