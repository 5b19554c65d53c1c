"""Check public documents, and reduced forms of them, for which the right answer is known."""

import re
from pathlib import Path

import pytest

from hpcsweep.check.findings import BAD, ClaimVerdict
from hpcsweep.check.report import check_report
from hpcsweep.imports.read_document import read_bytes, read_text

CASES = Path(__file__).parents[1] / "transcripts" / "audit"


def findings_of(name):
    return check_report(read_bytes((CASES / name).read_bytes(), name))


def accusations(findings):
    return [one for one in findings if one.verdict in BAD]


INNOCENT = [
    "01-check-gt-in-prose.md",
    "03-check-range-percent.md",
    "05-check-percent-row-above.md",
    "07-check-percent-unrelated-number.md",
    "08-check-one-digit.md",
    "09-check-ratio-several-vs.md",
    "11-check-sglang-dp-attention.md",
    "12-check-guidellm-block.md",
    "14-check-percent-last-digit.md",
]


@pytest.mark.parametrize("name", INNOCENT)
def test_a_document_without_a_mistake_is_not_accused(name):
    assert accusations(findings_of(name)) == []


def test_prose_with_a_greater_sign_claims_nothing():
    assert findings_of("01-check-gt-in-prose.md") == []


def test_counts_are_not_compared():
    assert {one.verdict for one in findings_of("08-check-one-digit.md")} == {ClaimVerdict.NOT_CHECKED}


def test_the_base_of_a_column_is_the_row_without_a_change():
    found = [one for one in findings_of("05-check-percent-row-above.md") if one.kind == "percent"]
    assert [(one.verdict, round(one.recomputed), one.sources) for one in found] == [
        (ClaimVerdict.CONFIRMED, 40, (5,)),
        (ClaimVerdict.CONFIRMED, 55, (5,)),
    ]


def test_the_right_one_of_two_pairs_confirms_a_ratio():
    (found,) = [one for one in findings_of("09-check-ratio-several-vs.md") if one.verdict is ClaimVerdict.CONFIRMED]
    assert found.recomputed == pytest.approx(25.15 / 5.32)


def test_data_parallel_attention_needs_no_gpus_of_its_own():
    (best,) = [one for one in findings_of("11-check-sglang-dp-attention.md") if one.kind == "recommended_not_measured"]
    assert "--context-length 32768" in best.reason
    assert best.verdict is ClaimVerdict.NOTE


def test_a_change_that_misses_by_its_last_digit_is_confirmed():
    (found,) = [one for one in findings_of("14-check-percent-last-digit.md") if one.kind == "percent"]
    assert (found.verdict, round(found.recomputed, 2)) == (ClaimVerdict.CONFIRMED, 171.05)


def test_a_wrong_change_names_the_two_numbers_beside_it():
    (wrong,) = accusations(findings_of("15-check-percent-wrong-own-line.md"))
    assert (wrong.verdict, wrong.location.line) == (ClaimVerdict.WRONG, 45)
    assert "4068.16 against Total TPS: 2771.81" in wrong.reason or "4068.16 against 2771.81" in wrong.reason
    assert wrong.recomputed == pytest.approx(46.77, abs=0.01)


def test_a_total_that_does_not_add_up_is_wrong():
    (wrong,) = accusations(findings_of("17-check-ok-total-wrong.md"))
    assert (wrong.stated, wrong.recomputed) == (7700.0, 7000.0)


# --- siblings: other documents of the same kinds -------------------------------------------------------------------

NOT_CLAIMS = [
    pytest.param("See Settings > Tuning (fast) > Limits (slow).", id="a path of menus"),
    pytest.param("Requests with >100 tokens (long) > 200 tokens (longer).", id="numbers of no speed"),
    pytest.param("We saw 30%-50% slower answers between 100 tok/s and 900 tok/s.", id="a range with two signs"),
    pytest.param("It ran at 60 - 70 % of 4300 tok/s.", id="a range with blanks"),
    pytest.param("Between 10% to 20% faster than 500 tok/s.", id="a range in words"),
    pytest.param("v0.6.0 vs v0.5.5: 34% faster", id="versions"),
    pytest.param("Qwen 8B against Qwen 14B: 60% faster", id="sizes of models"),
    pytest.param("4 GPUs vs 8 GPUs is 45% slower", id="counts"),
    pytest.param("Cache hits rose from 40% to 60% (+20%)", id="percent points"),
    pytest.param("TTFT fell by 20%, and throughput rose from 100.0 tok/s to 151.0 tok/s", id="another metric"),
    pytest.param("About 40% faster: 100.0 tok/s vs 151.0 tok/s", id="about"),
    pytest.param("up to 3x faster (100.0 tok/s vs 151.0 tok/s)", id="up to"),
    pytest.param("Throughput is 2x higher; latency went from 5.0 s to 4.0 s.", id="a ratio of something else"),
    pytest.param("10.0 s vs 20.0 s for A, 10.0 s vs 30.0 s for B: 2.5x faster on average", id="the mean of two ratios"),
    pytest.param("| a | 100 ms | 3.5 GB |\n|--|--|--|\n| b | 50 ms (-50%) | 3.5 GB (+12%) |", id="no base row"),
]


@pytest.mark.parametrize("text", NOT_CLAIMS)
def test_what_names_no_two_numbers_is_not_accused(text):
    assert accusations(check_report(read_text(f"# Notes\n\n{text}\n", "f.md"))) == []


WRONG = [
    pytest.param("Throughput rose from 100.0 tok/s to 150.0 tok/s (+70%).", 50.0, id="from and to"),
    pytest.param("100.0 tok/s \u2192 150.0 tok/s (+70%)", 50.0, id="an arrow"),
    pytest.param("It is 70% faster (150.0 tok/s vs 100.0 tok/s).", 50.0, id="a pair behind it"),
    pytest.param("It takes 3.5x as long: no. 3.5x slower (310s vs 155s)", 2.0, id="a ratio"),
    pytest.param("| Case | Before | After |\n|--|--|--|\n| a | TPS: 100.0 | TPS: 150.0 (+70.0%) |", 50.0, id="cells"),
    pytest.param(
        "| Engine | tok/s |\n|--|--|\n| baseline | 200.0 |\n| A | 240.0 (+20.0%) |\n| B | 300.0 (+70.0%) |",
        50.0,
        id="the base row",
    ),
    pytest.param(
        "| Case | Old | New | Speedup |\n|--|--|--|--|\n| a | 10.0 | 20.0 | 2.00x |\n| b | 10.0 | 30.0 | 4.00x |",
        3.0,
        id="a column of changes",
    ),
]


@pytest.mark.parametrize(("text", "value"), WRONG)
def test_a_wrong_change_is_told_with_its_arithmetic(text, value):
    (wrong,) = accusations(check_report(read_text(f"# Notes\n\n{text}\n", "f.md")))
    assert wrong.verdict is ClaimVerdict.WRONG
    assert abs(wrong.recomputed) == pytest.approx(value)
    assert re.search(r"\d against \S*\d", wrong.reason) or " against " in wrong.reason


def test_a_change_that_another_rule_of_the_table_explains_is_not_wrong():
    """Percent points, and a second base further down, are ways to compute a change too."""
    text = "| Run | Accuracy |\n|--|--|\n| base | 80.0 |\n| a | 82.0 (+2.5%) |\n| b | 84.0 (+4.0%) |"
    assert accusations(check_report(read_text(f"# N\n\n{text}\n", "f.md"))) == []


def block(total, inputs, outputs, requests=100, title=""):
    seconds = (inputs + outputs) * requests / total
    return "\n".join(
        [
            "```",
            *([f"# {title}"] if title else []),
            "============ Serving Benchmark Result ============",
            f"Successful requests: {requests}",
            f"Benchmark duration (s): {seconds:.2f}",
            f"Total input tokens: {inputs * requests}",
            f"Total generated tokens: {outputs * requests}",
            f"Request throughput (req/s): {requests / seconds:.2f}",
            f"Total Token throughput (tok/s): {(inputs + outputs) * requests / seconds:.2f}",
            "==================================================",
            "```",
            "",
        ]
    )


def page(baseline, optimized, *, short="128/4", defined=""):
    """A page of results whose headline has one row; the blocks measured 6000 and 7800 tok/s with prompts of 128."""
    rows = (
        f"| Case | Baseline | Optimized |\n|---|---|---|\n| {short} | Total TPS: {baseline} | Total TPS: {optimized} |"
    )
    parts = ["# Page", "## Conclusion", rows, defined, "## Other Cases", "### Baseline", "Baseline", ""]
    parts += [block(6000.0, 128, 4, title="random 128 input"), block(3000.0, 4000, 200, title="random 4K input")]
    parts += ["### Optimized", "Optimized", ""]
    parts += [block(7800.0, 128, 4, title="random 128 input"), block(4000.0, 4000, 200, title="random 4K input")]
    return "\n".join(parts)


@pytest.mark.parametrize(
    ("short", "defined"),
    [
        pytest.param("128/4", "", id="shape"),
        pytest.param("ISL=128, OSL=4", "", id="ISL and OSL"),
        pytest.param(
            "Short prompt", "- Short prompt: 128 input tokens, 4 output tokens", id="a name defined in the text"
        ),
    ],
)
def test_a_headline_that_no_block_has_is_told_with_the_block_of_its_case(short, defined):
    found = read_text(page("6,000.00", "9,100.00", short=short, defined=defined), "f.md")
    (wrong,) = accusations(check_report(found))
    optimized = [one.location.line for one in found.benchmarks if abs(one.value("total_token_throughput") - 7800) < 5]
    assert wrong.reason.startswith("not in any block of this document; the block for this case has 7")
    assert wrong.sources == tuple(optimized)
    assert (wrong.location.line, wrong.stated) == (5, 9100.0)


def test_a_headline_with_the_value_of_another_case_is_wrong():
    found = read_text(page("6,000.00", "4,000.00"), "f.md")
    exact = {round(one.value("total_token_throughput"), 2) for one in found.benchmarks}
    four = next(value for value in exact if abs(value - 4000) < 5)
    (wrong,) = accusations(check_report(read_text(page("6,000.00", f"{four:.2f}"), "f.md")))
    assert "this value is from another case" in wrong.reason


def test_a_headline_of_an_unknown_case_is_not_accused():
    found = check_report(read_text(page("6,100.00", "9,100.00", short="Chat"), "f.md"))
    assert accusations(found) == []
    assert {one.verdict for one in found if one.kind == "cell"} == {ClaimVerdict.NOT_CHECKED}


def test_a_headline_that_is_rounded_or_scaled_is_not_accused():
    assert accusations(check_report(read_text(page("6,000", "15,600"), "f.md"))) == []


def test_rates_that_no_formula_of_the_block_explains_are_not_judged():
    text = (CASES / "12-check-guidellm-block.md").read_text(encoding="utf-8").replace("guidellm", "our client")
    assert accusations(check_report(read_text(text, "f.md"))) == []


def test_a_time_in_another_unit_than_the_blocks_is_the_same_time():
    text = "# R\n\n" + block(6000.0, 128, 4).replace("```\n", "Mean TTFT (ms): 1500.00\n```\n", 2)
    text += "\n| | A |\n|--|--|\n| Mean TTFT (s) | 1.5 |\n"
    assert accusations(check_report(read_text(text, "f.md"))) == []
