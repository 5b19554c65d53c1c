"""Claims of reports against their own numbers: the published studies whole, and each kind of claim by itself."""

from pathlib import Path

import pytest

from hpcsweep.check.findings import ClaimVerdict
from hpcsweep.check.report import check_report
from hpcsweep.imports.documents.serve_settings import serve_settings
from hpcsweep.imports.read_document import read_bytes, read_text

STUDIES = Path(__file__).parents[1] / "transcripts" / "imports"


def study(name):
    found = read_bytes((STUDIES / name).read_bytes(), name)
    return found, check_report(found)


@pytest.fixture(scope="module")
def h200():
    return study("glm-4.6-h200-pbs-experiments.md")


@pytest.fixture(scope="module")
def a100():
    return study("glm-4.6-a100-throughput.md")


def of_kind(findings, kind):
    return [one for one in findings if one.kind == kind]


def test_the_h200_study_imports_whole(h200):
    found, _ = h200
    assert [(one.label.partition(":")[0], one.group, len(one.samples)) for one in found.sample_tables] == [
        ("Exp 1A", "8k", 3),
        ("Exp 3A", "8k", 3),
        ("Exp 3C", "8k", 3),
        ("Exp 3C", "64k", 2),
    ]
    assert found.skipped == ()
    assert len(found.tables) == 3


def test_its_averages_and_rows_are_right(h200):
    _, findings = h200
    for kind, number in (("sample", 11), ("average", 8)):
        assert [one.verdict for one in of_kind(findings, kind)] == [ClaimVerdict.CONFIRMED] * number
    assert all(one.verdict is ClaimVerdict.CONFIRMED for one in of_kind(findings, "cell"))


def test_its_difference_is_a_cold_first_request(h200):
    _, findings = h200
    a, c = of_kind(findings, "cold_difference")
    assert (a.location.line, a.about, a.verdict) == (18, "3A against 1A", ClaimVerdict.DOES_NOT_FOLLOW)
    assert a.stated == pytest.approx(-8.7, abs=0.05)
    assert abs(a.recomputed) < 1
    assert abs(c.recomputed) < 1
    assert [one.location.line for one in of_kind(findings, "cold_in_average")] == [108, 119]


def test_its_production_command_loses_six_flags(h200):
    _, findings = h200
    (lost,) = of_kind(findings, "lost_flags")
    assert lost.location.line == 60
    assert "loses 6 flags: --max-num-seqs" in lost.reason


def test_its_ratio_holds_and_its_prompt_throughput_is_a_log_window(h200):
    _, findings = h200
    ratios = [one for one in of_kind(findings, "ratio") if one.verdict is not ClaimVerdict.NOT_CHECKED]
    assert {(one.verdict, one.recomputed) for one in ratios} == {(ClaimVerdict.CONFIRMED, 2.0)}
    assert {31, 97} <= {one.location.line for one in ratios}
    assert [one.stated for one in of_kind(findings, "log_window")] == [610.0, 4749.0]


def test_the_a100_study_imports_whole(a100):
    found, _ = a100
    assert [one.label for one in found.benchmarks] == [
        "1. Choosing the Inference Engine / vLLM",
        "2. Parallelism in vLLM / TP+EP",
        "3. Max Number of Batched Tokens in vLLM / --max-num-batched-tokens 4096",
        "3. Max Number of Batched Tokens in vLLM / --max-num-batched-tokens 8192",
        "3. Max Number of Batched Tokens in vLLM / --max-num-batched-tokens 16384",
    ]
    assert [one.label for one in found.failures] == ["1. Choosing the Inference Engine / SGLang"]
    assert found.skipped == ()


def test_its_gain_is_noise_and_missing_from_its_command(a100):
    _, findings = a100
    (gain,) = of_kind(findings, "percent")
    assert (gain.claim, gain.verdict) == ("+1.3%", ClaimVerdict.NOISE)
    assert gain.recomputed == pytest.approx(1.313, abs=0.001)
    (best,) = of_kind(findings, "best")
    assert best.verdict is ClaimVerdict.NOISE
    assert best.recomputed == pytest.approx(0.2, abs=0.01)
    (lacks,) = of_kind(findings, "recommended_lacks_flag")
    assert "--max-num-batched-tokens 8192, which this command lacks" in lacks.reason
    assert [one.verdict for one in of_kind(findings, "figure")] == [ClaimVerdict.CONFIRMED] * 15


def test_the_guide_imports_whole_and_holds():
    found, findings = study("glm-4.x-vllm-guide.md")
    assert [one.label for one in found.benchmarks] == ["Expected Output"]
    assert {one.verdict for one in findings} == {ClaimVerdict.CONFIRMED}


def block(total, inputs=1000):
    """A small block whose total throughput is `total`: 100 s, so many tokens."""
    outputs = round(total * 100) - inputs
    return "\n".join(
        [
            "```",
            "==== Serving Benchmark Result ====",
            "Successful requests: 10",
            "Benchmark duration (s): 100.00",
            f"Total input tokens: {inputs}",
            f"Total generated tokens: {outputs}",
            f"Total token throughput (tok/s): {total:.2f}",
            "```",
            "",
        ]
    )


def document(*configs, claims=""):
    """A study: (short label, command, total throughput) each, then the claims."""
    parts = ["# Study", "## Results"]
    for short, command, total in configs:
        parts += [short, "```bash", command, "```", block(total)]
    return "\n".join([*parts, "## Claims", claims, ""])


VLLM = ("vLLM", "vllm serve m -tp 4", 1000.0)
SGLANG = ("SGLang", "python3 -m sglang.launch_server --model-path m --tp-size 4", 1500.0)
HALF = ("TP2", "vllm serve m -tp 2", 495.0)

CLAIMS = [
    pytest.param("SGLang gives +50.0%", "percent", ClaimVerdict.CONFIRMED, id="a percentage of blocks"),
    pytest.param("SGLang gives +40%", "percent", ClaimVerdict.NOT_CHECKED, id="no metric and no baseline is named"),
    pytest.param("It is 33% slower", "percent", ClaimVerdict.NOT_CHECKED, id="nobody knows what is slower"),
    pytest.param("8.69 against 7.93: 8.7% slower", "percent", ClaimVerdict.CONFIRMED, id="two numbers on the line"),
    pytest.param("| a | TPS: 100 | TPS: 90.0x2 (+80.0%) |", "percent", ClaimVerdict.CONFIRMED, id="a product"),
    pytest.param("Total TPS: 80.0\nTotal TPS: 120.0 (+50.0%)", "percent", ClaimVerdict.CONFIRMED, id="cells of a page"),
    pytest.param(
        "Total TPS: 80.0\nTotal TPS: 120.0 (+56.9%)", "percent", ClaimVerdict.WRONG, id="cells that do not fit"
    ),
    pytest.param(
        "TPS: 80\n" + "TPS: 81\n" * 9 + "TPS: 120 (+50.0%)",
        "percent",
        ClaimVerdict.CONFIRMED,
        id="the first row is the base",
    ),
    pytest.param(
        "TPS: 80\nTPS: 81\nTPS: 120 (+77.0%)", "percent", ClaimVerdict.NOT_CHECKED, id="nobody knows against which row"
    ),
    pytest.param("It takes 61% less memory", "percent", ClaimVerdict.NOT_CHECKED, id="memory was not measured"),
    pytest.param(
        "3x faster (310s vs 155s), (30s vs 10s)", "ratio", ClaimVerdict.CONFIRMED, id="the second of two pairs"
    ),
    pytest.param(
        "A (20 ms) > B (30 ms) > C (40 ms)", "ordering", ClaimVerdict.NOT_CHECKED, id="times that no block has"
    ),
    pytest.param(
        "| Case | Total TPS |\n|--|--|\n| a | ~1510 |", "cell", ClaimVerdict.NOT_CHECKED, id="about some value"
    ),
    pytest.param("2x faster (310s vs 155s)", "ratio", ClaimVerdict.CONFIRMED, id="ratio"),
    pytest.param("3x faster (310s vs 155s)", "ratio", ClaimVerdict.WRONG, id="another ratio"),
    pytest.param("3x faster", "ratio", ClaimVerdict.NOT_CHECKED, id="a ratio of nothing"),
    pytest.param("SGLang (1500.00 tok/s) > vLLM (1000.00 tok/s)", "ordering", ClaimVerdict.CONFIRMED, id="ordering"),
    pytest.param("vLLM (1000.00 tok/s) > SGLang (1500.00 tok/s)", "ordering", ClaimVerdict.WRONG, id="upside down"),
    pytest.param("A (1501.00 tok/s) > B (1000.00)", "ordering", ClaimVerdict.NOT_CHECKED, id="of unknown blocks"),
    pytest.param("| Case | Total TPS |\n|--|--|\n| a | 1500.00 |", "cell", ClaimVerdict.CONFIRMED, id="cell"),
    pytest.param(
        "| Case | Total TPS |\n|--|--|\n| a | 1501.00 |", "cell", ClaimVerdict.NOT_CHECKED, id="of an unknown case"
    ),
    pytest.param(
        "| Case | Total TPS |\n|--|--|\n| SGLang | 1501.00 |", "cell", ClaimVerdict.DOES_NOT_FOLLOW, id="misprint"
    ),
    pytest.param(
        "SGLang (1510.0 tok/s) > vLLM (1000.0)", "ordering", ClaimVerdict.DOES_NOT_FOLLOW, id="never measured"
    ),
    pytest.param(
        "SGLang gives +40% total throughput over vLLM", "percent", ClaimVerdict.WRONG, id="both blocks are named"
    ),
    pytest.param("| Case | Total TPS |\n|--|--|\n| a | 77.00 |", "cell", ClaimVerdict.NOT_CHECKED, id="no detail"),
    pytest.param(
        "| Case | Total TPS |\n|--|--|\n| a | 990.00 |", "scaled_cell", ClaimVerdict.CONFIRMED, id="two replicas"
    ),
]


@pytest.mark.parametrize(("claims", "kind", "verdict"), CLAIMS)
def test_a_claim(claims, kind, verdict):
    configs = (VLLM, SGLANG, HALF) if kind == "scaled_cell" else (VLLM, SGLANG)
    findings = check_report(read_text(document(*configs, claims=claims), "f.md"))
    (found,) = of_kind(findings, kind)
    assert found.verdict is verdict, found.reason


@pytest.mark.parametrize(
    ("claim", "kind"),
    [
        ("TP2 as two replicas gives -1.0%", "percent"),
        ("vLLM (1000.00 tok/s) > TP2 (495.00 tok/s x 2)", "ordering"),
        ("TP2 (990.00 tok/s) > TP1 (400 tok/s)", "ordering"),
    ],
)
def test_a_claim_about_as_many_gpus(claim, kind):
    """Half the GPUs, twice: measured as 495."""
    findings = check_report(read_text(document(VLLM, HALF, claims=claim), "f.md"))
    (found,) = of_kind(findings, kind)
    assert "495" in found.reason or "TP2 990: line" in found.reason
    assert found.verdict is not ClaimVerdict.WRONG


def test_a_rounded_cell_is_the_detail():
    odd = ("vLLM", "vllm serve m -tp 4", 2788.21)
    claims = "| Case | Total TPS |\n|--|--|\n| a | 2790 |"
    (found,) = of_kind(check_report(read_text(document(odd, claims=claims), "f.md")), "cell")
    assert found.verdict is ClaimVerdict.CONFIRMED


def test_a_command_below_a_recommending_line_is_recommended():
    flat = "Recommended configuration for throughput:\n\nServing Command\nvllm serve m -tp 4\n\n" + document(VLLM)[8:]
    (found,) = of_kind(check_report(read_text(flat, "f.txt")), "recommended_was_measured")
    assert found.location.line == 4


@pytest.mark.parametrize("line", ["usage is 0.3% of memory", "less than 1% accuracy drop", "## 100% done", "GPU: 95%"])
def test_a_percentage_that_is_no_change_is_no_claim(line):
    assert of_kind(check_report(read_text(document(VLLM, SGLANG, claims=line), "f.md")), "percent") == []


def test_the_best_is_judged_on_the_same_number_of_gpus():
    (best,) = of_kind(check_report(read_text(document(VLLM, HALF), "f.md")), "best")
    assert best.verdict is ClaimVerdict.NOISE
    assert "tok/s per GPU: 1.0% apart" in best.reason


RECOMMENDED = [
    pytest.param("vllm serve m --tensor-parallel-size 4 --port 1", "recommended_was_measured", id="other spelling"),
    pytest.param("vllm serve m-FP8 -tp 4", "recommended_not_measured", id="another model"),
]


@pytest.mark.parametrize(("command", "kind"), RECOMMENDED)
def test_a_recommended_command_must_have_been_measured(command, kind):
    text = document(VLLM, claims=f"## Recommended configuration\n```bash\n{command}\n```")
    assert len(of_kind(check_report(read_text(text, "f.md")), kind)) == 1


@pytest.mark.parametrize(
    ("command", "engine", "model", "gpus"),
    [
        pytest.param("vllm serve m -tp 8 -pp 2", "vllm", "m", 16, id="vllm"),
        pytest.param("python -m vllm.entrypoints.openai.api_server --model m --tp=2", "vllm", "m", 2, id="old vllm"),
        pytest.param("python3 -m sglang.launch_server --model-path m --tp-size 4", "sglang", "m", 4, id="sglang"),
        pytest.param("trtllm-serve serve m --tp_size 4 --backend pytorch", "trtllm", "m", 4, id="trtllm"),
        pytest.param("vllm serve m --enforce-eager -tp 8", "vllm", "m", 8, id="a switch before a short flag"),
        pytest.param("FOO=1 vllm serve --trust-remote-code m", "vllm", "m", 1, id="a switch before the model"),
    ],
)
def test_serve_settings(command, engine, model, gpus):
    found = serve_settings(command.split())
    assert (found.engine, found.model, found.gpus) == (engine, model, gpus)
    assert found.differences(found) == []


def test_a_wrong_average_is_told_with_its_line():
    table = "| Sample | Prompt Tokens | Completion | Time (s) | TPS |\n|--|--|--|--|--|\n"
    rows = "| a | 10 | 100 | 10.0 | 10.0 |\n| b | 10 | 100 | 5.0 | 20.0 |\n| **Avg** | - | - | **7.5** | **16.0** |\n"
    findings = check_report(read_text("# S\n\n" + table + rows, "f.md"))
    wrong = {one.claim: one for one in of_kind(findings, "average") if one.verdict is ClaimVerdict.WRONG}
    (one,) = wrong.values()
    assert (one.location.line, one.stated, one.recomputed) == (7, 16.0, 15.0)
    assert one.verdict_text == "wrong by 1 tok/s (+6.7%)"


NOTHING = [
    pytest.param(document(("A", "vllm serve m -tp 0", 0.0), ("B", "vllm serve m -tp 2", 0.0)), id="throughput of 0"),
    pytest.param(document(VLLM, SGLANG, claims="A (0) > B (0) > C (-1)"), id="ordering of nothing"),
    pytest.param("# S\n| a | Input | Output | Time (s) | TPS |\n|--|--|--|--|--|\n| a | 1 | 0 | 0 | 0 |", id="0 s"),
    pytest.param("| TPS |\n|--|\n| |\n||\n|", id="empty cells"),
    pytest.param("+5% 0 0 -5% 1x faster 0 vs 0", id="zeros"),
    pytest.param("vllm serve 'm \\\n", id="an open quote"),
]


@pytest.mark.parametrize("text", NOTHING)
def test_numbers_that_divide_by_nothing_are_no_crash(text):
    check_report(read_text(text, "f.md"))
