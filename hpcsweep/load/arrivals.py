"""Due times of requests: seconds after the start of a workload, on the attempt's clock. Pure."""

import random
from itertools import accumulate

from hpcsweep.spec.workload import Arrival


def due_times(arrival: Arrival, count: int) -> list[float]:
    """Return `count` ascending times in seconds; all are 0 without a rate.

    As in `vllm bench serve` (serve.py, get_request), gaps follow a gamma distribution with shape `burstiness` (1:
    Poisson) and mean 1/rate. They are stretched so that the last request is due at count/rate: every seed offers
    exactly the requested rate. `constant`: all gaps are 1/rate.
    """
    if arrival.request_rate is None:
        return [0.0] * count
    mean_s = 1.0 / arrival.request_rate
    if arrival.process == "constant":
        return [index * mean_s for index in range(count)]
    draw = random.Random(arrival.seed)
    gaps_s = [draw.gammavariate(arrival.burstiness, mean_s / arrival.burstiness) for _ in range(count)]
    due_s = list(accumulate(gaps_s))
    stretch = count * mean_s / due_s[-1] if due_s and due_s[-1] > 0 else 1.0
    return [due * stretch for due in due_s]
