"""The time of a check grows with the length of the text, whatever stands in it."""

import time

import pytest

from hpcsweep.check.report import check_report
from hpcsweep.imports.read_document import read_text

PIECES = [
    pytest.param("=", id="ruler"),
    pytest.param("-", id="dashes"),
    pytest.param(" ", id="blanks"),
    pytest.param("\t", id="tabs"),
    pytest.param("+1% ", id="claims"),
    pytest.param("1.00 tok/s vs ", id="pairs"),
    pytest.param("A (1 tok/s) > ", id="ordering"),
    pytest.param("12 in 13 out ", id="lengths"),
    pytest.param("TPS: 1.5 | ", id="cells"),
    pytest.param("P99 TTFT (ms)      ", id="items"),
]


def seconds(text):
    start = time.process_time()
    check_report(read_text(text, "f.md"))
    return time.process_time() - start


@pytest.mark.parametrize("piece", PIECES)
def test_a_long_line_takes_no_more_than_its_length(piece):
    """8 kB took 4 to 50 s where a pattern went back over the whole line; now well below a second."""
    line = (piece * (8000 // len(piece) + 1))[:8000]
    assert seconds(f"# T\n\n{line}\n\n| a | tok/s |\n|--|--|\n| {line} | {line} |\n") < 3.0


@pytest.mark.parametrize(
    "line", ["|--|--|", "vllm serve m -tp 2 \\", "--flag 1 \\ ", '{"a": 1}', "| a | 1 (+5%) |", "====="]
)
def test_many_lines_take_no_more_than_their_number(line):
    few, many = (min(seconds("# T\n" + f"{line}\n" * number) for _ in range(2)) for number in (500, 2000))
    assert many < 10 * few + 0.3  # four times the lines; sixteen times as long if it were quadratic
