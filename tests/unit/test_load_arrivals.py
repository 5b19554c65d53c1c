import os
from itertools import pairwise
from statistics import mean, pstdev

import pytest

from hpcsweep.load.arrivals import due_times
from hpcsweep.load.client.figures import Quantiles, client_warnings, merged
from hpcsweep.load.client.lines import LineWriter
from hpcsweep.load.schedule import Schedule, ScheduledRequest, ScheduleFile, write_schedule
from hpcsweep.spec.workload import Arrival


def gaps(arrival: Arrival, count: int) -> list[float]:
    return [after - before for before, after in pairwise(due_times(arrival, count))]


def test_without_a_rate_all_are_due_at_once():
    assert due_times(Arrival(max_concurrency=4), 3) == [0.0, 0.0, 0.0]


def test_a_constant_rate():
    assert due_times(Arrival(request_rate=4, process="constant"), 4) == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("burstiness", "spread"),
    [pytest.param(1.0, 1.0, id="Poisson"), pytest.param(0.25, 2.0, id="bursts"), pytest.param(100.0, 0.1, id="even")],
)
def test_the_rate_is_offered_exactly_and_the_gaps_are_gamma(burstiness, spread):
    arrival = Arrival(request_rate=10, burstiness=burstiness, seed=3)
    due_s = due_times(arrival, 20_000)
    assert due_s[-1] == pytest.approx(2000.0)  # count / rate
    assert due_s == sorted(due_s)
    found = gaps(arrival, 20_000)
    assert pstdev(found) / mean(found) == pytest.approx(spread, rel=0.05)  # 1 / sqrt(burstiness)


def test_the_seed_decides():
    first, again, other = (due_times(Arrival(request_rate=1, seed=s), 50) for s in (1, 1, 2))
    assert first == again != other


def test_quantiles_in_bounded_memory():
    quantiles = Quantiles(limit=64)
    for value in range(100_000):
        quantiles.add(float(value))
    assert quantiles.at(0.5) == pytest.approx(50_000, rel=0.1)
    assert quantiles.at(0.99) == pytest.approx(99_000, rel=0.05)
    assert Quantiles().at(0.99) == 0.0


def test_figures_of_several_processes():
    parts = [
        {"processes": 1.0, "cpu_s": 2.0, "rss_bytes": 10.0, "lateness_p99_s": 0.1},
        {"processes": 1.0, "cpu_s": 3.0, "rss_bytes": 20.0, "lateness_p99_s": 0.3, "read_lag_p99_s": 0.2},
    ]
    assert merged(parts) == {
        "processes": 2.0,
        "cpu_s": 5.0,
        "rss_bytes": 30.0,
        "lateness_p99_s": 0.3,
        "read_lag_p99_s": 0.2,
    }
    assert merged([]) == {}


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        pytest.param({"cpu_share_max": 0.95}, "95% of a core", id="no CPU left"),
        pytest.param({"lateness_p99_s": 0.02, "median_ttft_s": 0.1}, "sent late by 20.0 ms", id="sent late"),
        pytest.param({"loop_lag_p99_s": 0.02, "median_itl_s": 0.01}, "read late by 20.0 ms", id="read late"),
        pytest.param({"loop_lag_p99_s": 0.02, "median_itl_s": 0.01, "kernel_stamps": 1.0}, None, id="kernel stamps"),
        pytest.param({"lateness_p99_s": 0.0009, "median_ttft_s": 0.001}, None, id="below a millisecond"),
        pytest.param({"lateness_p99_s": 0.02, "median_ttft_s": 1.0}, None, id="small against what is measured"),
        pytest.param({}, None, id="nothing measured"),
    ],
)
def test_when_the_client_was_the_bottleneck(figures, told):
    found = client_warnings(figures)
    if told is None:
        assert found == []
    else:
        assert len(found) == 1 and found[0].startswith("client_limited: ") and told in found[0]


@pytest.mark.parametrize(
    ("late_s", "e2e_s", "limited"),
    [
        pytest.param(0.142, 60.0, False, id="1.4 real milliseconds before a request of a minute"),
        pytest.param(7.0, 60.0, True, id="a slot stood empty for a tenth of a request"),
        pytest.param(0.09, 0.5, False, id="below a real millisecond"),
    ],
)
def test_in_a_closed_loop_lateness_is_held_against_the_request(late_s, e2e_s, limited):
    figures = {"lateness_p99_s": late_s, "median_ttft_s": 0.3, "median_e2e_s": e2e_s}
    assert bool(client_warnings(figures, 100.0, closed_loop=True)) is limited


def test_a_closed_loop_has_a_limit_and_no_times():
    def schedule(max_concurrency, *due_s):
        items = [ScheduledRequest(str(n), n, at, None, None, 0, 0) for n, at in enumerate(due_s)]
        return Schedule("w", 1, "h", 80, "/", max_concurrency, True, 1.0, 0.0, 1.0, 1.0, 1, items)

    assert schedule(1, 0.0, 0.0).closed_loop
    assert not schedule(1, 0.0, 0.5).closed_loop
    assert not schedule(None, 0.0, 0.0).closed_loop


def test_a_schedule_comes_back_with_its_bodies():
    bodies = [b'{"a":1}', "é😀".encode(), b""]
    places = [0, len(bodies[0]), len(bodies[0]) + len(bodies[1])]
    items = [
        ScheduledRequest(str(n), n, n * 0.5, None, None, place, len(body))
        for n, (place, body) in enumerate(zip(places, bodies, strict=True))
    ]
    schedule = Schedule("w", 1, "127.0.0.1", 80, "/v1", None, True, 1.0, 0.0, 1.0, 1.0, 1, items, ["note"])
    file = ScheduleFile(write_schedule(schedule, bodies))
    assert file.schedule == schedule
    assert [file.body(item) for item in file.schedule.items] == bodies


def test_a_slow_reader_does_not_hold_up_the_writer():
    read_fd, write_fd = os.pipe()
    writer = LineWriter(write_fd)
    for number in range(5_000):
        writer.add({"number": number, "text": "x" * 100})
    writer.flush()  # the pipe is full: this returns all the same
    received = b""
    while received.count(b"\n") < 5_000:
        received += os.read(read_fd, 1 << 20)
        writer.flush()
    assert received.splitlines()[-1].startswith(b'{"number":4999,')
    os.close(read_fd)
    os.close(write_fd)
