"""When requests are due: seconds after the start of a workload, on the attempt's clock. Pure."""

import random
from itertools import accumulate

from hpcsweep.spec.workload import Arrival


def due_times(arrival: Arrival, count: int) -> list[float]:
    """`count` times in seconds, ascending; all 0 without a rate.

    As in `vllm bench serve` (serve.py, get_request), gaps follow a gamma distribution of shape `burstiness` and mean
    1/rate (1: Poisson), and the whole is stretched so that the last request is due at count/rate: the rate that was
    asked for is offered exactly, whatever the seed. `constant`: gaps of 1/rate.
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
