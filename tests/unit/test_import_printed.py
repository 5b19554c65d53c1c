"""Printed blocks of all versions, however they are wrapped; and the figures recomputed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsweep.check.findings import ClaimVerdict
from hpcsweep.check.recomputed.result_blocks import recompute
from hpcsweep.imports.read_document import read_bytes, read_text

RULE = "=" * 50


def printed(
    duration=148.61, requests=1000, inputs=214465, outputs=199904, *, version="0.11", ttft=51022.80, gap=134.46
):
    """A block as the tool prints it; `version`: 0.11, 0.33 or sglang."""

    def line(name, value):
        return f"{name:<40} {value:<10}"

    new, sglang = version == "0.33", version == "sglang"
    lines = ["============ Serving Benchmark Result ============"]
    if sglang:
        lines += [line("Backend:", "sglang"), line("Traffic request rate:", "inf")]
        lines += [line("Max request concurrency:", "not set")]
    lines += [line("Successful requests:", requests)]
    if new:
        lines += [line("Failed requests:", 0), line("Maximum request concurrency:", 64)]
        lines += [line("Request rate configured (RPS):", "10.00")]
    lines += [line("Benchmark duration (s):", f"{duration:.2f}"), line("Total input tokens:", inputs)]
    lines += [line("Total generated tokens:", outputs)]
    if sglang:
        lines += [line("Total generated tokens (retokenized):", outputs)]
    lines += [line("Request throughput (req/s):", f"{requests / duration:.2f}")]
    if sglang:
        lines += [line("Input token throughput (tok/s):", f"{inputs / duration:.2f}")]
    lines += [line("Output token throughput (tok/s):", f"{outputs / duration:.2f}")]
    total = "Total token throughput (tok/s):" if new or sglang else "Total Token throughput (tok/s):"
    lines += [line(total, f"{(inputs + outputs) / duration:.2f}")]
    lines += ["---------------Time to First Token----------------", line("Mean TTFT (ms):", f"{ttft:.2f}")]
    lines += [line("Median TTFT (ms):", f"{ttft:.2f}"), line("P99 TTFT (ms):", f"{2 * ttft:.2f}")]
    lines += ["---------------Inter-token Latency----------------", line("Mean ITL (ms):", f"{gap:.2f}"), RULE]
    return "\n".join(lines)


def only(text):
    (found,) = read_text(text, "f.md").benchmarks
    return found


WRAPPED = [
    pytest.param(lambda text: text, id="as printed"),
    pytest.param(lambda text: "```\n" + text + "\n```", id="fenced"),
    pytest.param(
        lambda text: '??? info "Benchmark result"\n    ```\n' + text.replace("\n", "\n    "), id="no end of fence"
    ),
    pytest.param(lambda text: "<pre><code>" + text.replace("\n", "<br>\n") + "</code></pre>", id="HTML"),
    pytest.param(lambda text: " ".join(text.split()), id="all on one line"),
    pytest.param(lambda text: text.replace(": ", ":\n"), id="the value on the next line"),
    pytest.param(lambda text: "\n".join("> " + one for one in text.splitlines()), id="quoted"),
    pytest.param(lambda text: text.replace("\n", "\r\n"), id="Windows"),
    pytest.param(lambda text: text.replace(" ", "\u00a0"), id="no-break spaces"),
    pytest.param(lambda text: text.partition("\n")[2].rpartition("\n")[0], id="without title and ruler"),
    pytest.param(lambda text: "\n".join("(pid=7) INFO " + one for one in text.splitlines()), id="in a log"),
]


@pytest.mark.parametrize("version", ["0.11", "0.33", "sglang"])
@pytest.mark.parametrize("wrap", WRAPPED)
def test_a_block_is_read_however_it_is_wrapped(wrap, version):
    found = only(wrap(printed(version=version)))
    figures = {name: found.value(name) for name in ("completed", "duration", "total_input_tokens", "mean_ttft_ms")}
    assert figures == {"completed": 1000, "duration": 148.61, "total_input_tokens": 214465, "mean_ttft_ms": 51022.80}
    assert found.value("total_token_throughput") == 2788.30
    assert found.value("p99_ttft_ms") == 102045.60
    assert found.tool == ("sglang.bench_serving" if version == "sglang" else "vllm bench serve")
    assert {one.verdict for one in recompute(found)} == {ClaimVerdict.CONFIRMED}


@settings(max_examples=60)
@given(
    duration=st.floats(0.5, 50_000),
    requests=st.integers(1, 100_000),
    inputs=st.integers(1, 10**8),
    outputs=st.integers(1, 10**8),
    version=st.sampled_from(["0.11", "0.33", "sglang"]),
)
def test_what_is_printed_is_what_is_read_and_adds_up(duration, requests, inputs, outputs, version):
    found = only(printed(duration, requests, inputs, outputs, version=version, ttft=0.0, gap=0.0))
    assert found.value("completed") == requests
    assert found.value("total_input_tokens") == inputs
    assert found.value("total_output_tokens") == outputs
    assert found.value("duration") == pytest.approx(duration, abs=0.00501)
    assert found.value("output_throughput") == pytest.approx(outputs / duration, abs=0.00501)
    assert [one for one in recompute(found) if one.verdict is not ClaimVerdict.CONFIRMED] == []


WRONG = [
    pytest.param("199904 ", "189904 ", {"output_throughput", "total_token_throughput"}, id="tokens"),
    pytest.param(" 6.73", " 6.83", {"request_throughput"}, id="request throughput"),
    pytest.param("2788.30", "2888.30", {"total_token_throughput"}, id="total"),
    pytest.param("102045.60", "2045.60  ", {"p99_ttft_ms"}, id="P99 below the median"),
    pytest.param("134.46", "734.46", {"duration"}, id="requests longer than the benchmark"),
]


@pytest.mark.parametrize(("old", "new", "names"), WRONG)
def test_what_does_not_add_up_is_told_with_both_values(old, new, names):
    text = printed()
    assert old in text
    wrong = [one for one in recompute(only(text.replace(old, new))) if one.verdict is ClaimVerdict.WRONG]
    assert {one.claim.split(" ")[0] for one in wrong} == names
    for one in wrong:
        assert one.difference != 0
        assert one.location.line == 1
        assert one.verdict_text.startswith("wrong by ")


def test_failed_requests_and_tokens_that_nobody_received():
    text = printed(version="sglang").replace("(retokenized):    199904", "(retokenized):    83362 ")
    text = text.replace("Benchmark duration", "Failed requests:     20\nBenchmark duration")
    kinds = {one.kind for one in recompute(only(text)) if one.verdict is ClaimVerdict.NOTE}
    assert kinds == {"failures", "tokens"}


def test_several_blocks_have_the_labels_that_stand_above_them():
    text = f"""# Study
## 1. Engine
vLLM
??? info "Serving script"
    ```bash
    vllm serve m -tp 8 --max-num-seqs 4
    ```
??? info "Benchmark result"
    ```
{printed()}
    ```
## 2. Batched tokens
```bash
vllm serve m -tp 8
```
```
# --max-num-batched-tokens 4096
{printed(150.0)}

# --max-num-batched-tokens 8192
{printed(149.0)}
```
??? info "Optimized benchmark results"
{printed(120.0)}
{printed(121.0)}
"""
    found = read_text(text, "f.md")
    assert [one.label for one in found.benchmarks] == [
        "1. Engine / vLLM",
        "2. Batched tokens / --max-num-batched-tokens 4096",
        "2. Batched tokens / --max-num-batched-tokens 8192",
        "2. Batched tokens / Optimized",
        f"2. Batched tokens / Optimized (line {found.benchmarks[4].location.line})",
    ]
    assert [one.context.command for one in found.benchmarks[:2]] == [
        "vllm serve m -tp 8 --max-num-seqs 4",
        "vllm serve m -tp 8",
    ]
    for one in found.benchmarks:
        assert "Serving Benchmark Result" in text.split("\n")[one.location.line - 1]


def test_what_is_not_taken_is_told():
    text = "Benchmark duration (s): 3\n\n" + printed().replace(RULE, "Accuracy Rate (%): 93.1\nMean TTFT (ms): 9")
    found = read_text(text, "f.md")
    assert len(found.benchmarks) == 1
    told = {one.location.line: one.what for one in found.skipped}
    assert told[1] == "part of a benchmark block"
    assert any("Accuracy Rate (%): 93.1" in what for what in told.values())


def test_a_failed_result_is_a_block_too():
    text = '# S\nSGLang\n??? info "Benchmark result"\n    ```\n    ValueError("not supported")\n    ```\n'
    (failed,) = read_text(text, "f.md").failures
    assert (failed.label, failed.text) == ("S / SGLang", 'ValueError("not supported")')


@given(st.binary(max_size=400))
def test_any_bytes_can_be_read(data):
    found = read_bytes(data, "f")
    assert found.benchmarks == ()
    assert found.skipped or found.tables or found.commands or found.sample_tables


def _cells(text, start="", between=" | ", end=""):
    """Its items as rows of two cells."""
    pairs = [line.partition(":") for line in text.splitlines() if ": " in line]
    return "\n".join(f"{start}{name}{between}{value.strip()}{end}" for name, _, value in pairs)


FOREIGN = [
    pytest.param(lambda text: text.replace(".", ","), id="decimal commas"),
    pytest.param(lambda text: text.replace("148.61", "148,61").replace("1345.16", "1.345,16"), id="two locales"),
    pytest.param(lambda text: text.replace("214465", "214.465"), id="a point between thousands"),
    pytest.param(lambda text: text.replace("214465", "214\u202f465"), id="a narrow space between thousands"),
    pytest.param(lambda text: text.replace("214465", "214'465"), id="an apostrophe between thousands"),
    pytest.param(lambda text: text.replace(": ", ": \x1b[1;32m").replace("\n", "\x1b[0m\n"), id="terminal colours"),
    pytest.param(lambda text: "".join(line.strip() for line in text.splitlines()), id="line ends lost"),
    pytest.param(lambda text: _cells(text, "<tr><td>", "</td><td>", "</td></tr>"), id="cells of HTML"),
    pytest.param(lambda text: _cells(text, between="\t"), id="cells copied from a page"),
    pytest.param(lambda text: _cells(text, between="\n"), id="a cell a line"),
    pytest.param(lambda text: _cells(text, "**", "**: `", "`"), id="emphasis and code"),
]


@pytest.mark.parametrize("wrap", FOREIGN)
def test_a_figure_is_the_same_however_it_is_written(wrap):
    assert only(wrap(printed())).figures == only(printed()).figures


def test_a_line_with_several_numbers_is_told_and_not_taken():
    text = printed().replace("1000      ", "1 000").replace("148.61", "148.61 120.50")
    found = read_text(text, "f.md")
    assert {"completed", "duration"}.isdisjoint(found.benchmarks[0].figures)
    assert [one.location.line for one in found.skipped] == [2, 3]


def test_utf_16_without_a_mark_is_read_and_said():
    found = read_bytes(printed().encode("utf-16-le"), "f.txt")
    assert len(found.benchmarks) == 1
    assert "UTF-16-LE" in found.skipped[0].why


ROWS = ("Successful requests", "Benchmark duration (s)", "Total generated tokens", "Output token throughput (tok/s)")
TWO = {"vLLM": ("10", "2.00", "1,000", "500.00"), "SGLang": ("10", "1.00", "1000", "990.00")}


@pytest.mark.parametrize("upright", [True, False])
def test_a_table_of_two_results_is_two_results(upright):
    if upright:
        lines = [("Metric", *TWO), *zip(ROWS, *TWO.values(), strict=True)]
    else:
        lines = [("Engine", *ROWS), *((name, *values) for name, values in TWO.items())]
    lines.insert(1, ["---"] * len(lines[0]))
    found = read_text("# Study\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines), "f.md")
    assert [one.label for one in found.benchmarks] == ["Study / vLLM", "Study / SGLang"]
    findings = [one for block in found.benchmarks for one in recompute(block) if one.kind == "figure"]
    odd = [(one.stated, one.recomputed) for one in findings if one.verdict is ClaimVerdict.NOT_CHECKED]
    assert odd == [(990.0, 1000.0)]  # nobody knows which client wrote a table, and how it takes its rates
    assert found.tables == ()


def test_units_and_commas_in_cells_of_samples_and_rows_without_a_time():
    table = "| Sample | Completion | Time (s) |\n|--|--|--|\n| a | 1,512 | 59,86 s |\n| b | 512 | OOM |\n"
    found = read_text(table, "f.md")
    (sample,) = found.sample_tables[0].samples
    assert (sample.completion_tokens, sample.e2e_s.value) == (1512, 59.86)
    assert [(one.location.line, one.what) for one in found.skipped] == [(4, "row of a sample table: b | 512 | OOM")]


OVERVIEW = """===========================================================
= REQUEST DETAILS
===========================================================
Number of requests:             3000
Average Output Length (tokens): 128.0000
===========================================================
= PERFORMANCE OVERVIEW
===========================================================
Request Throughput (req/sec):                     25.9253
Total Output Throughput (tokens/sec):             3318.4372
Per User Output Throughput (tokens/sec/user):     2.0563
Total Latency (ms):                               115716.9214
Average time-to-first-token [TTFT] (ms):          52667.0339
"""


def test_the_overview_of_trtllm_bench():
    block = only(OVERVIEW)
    assert (block.tool, block.value("duration"), block.value("output_throughput")) == (
        *("trtllm-bench", pytest.approx(115.7169214), 3318.4372),
    )
    assert [(one.stated, one.verdict) for one in recompute(block)] == [(25.9253, ClaimVerdict.CONFIRMED)]


def test_means_over_requests_are_no_throughput_of_the_whole():
    """As a fork of the tool prints them below the throughputs."""
    more = (
        "Max Concurrency: 256\nMean output token throughput (tok/s): 22.24\nP99 output token throughput (tok/s): 9.69\n"
    )
    text = printed().replace("---------------Inter", more + "---------------Inter")
    found = read_text(text, "f.md")
    assert found.benchmarks[0].figures == only(printed()).figures
    assert len(found.skipped) == 2
