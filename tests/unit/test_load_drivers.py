import json
from pathlib import Path
from typing import Any

import pytest

from hpcsweep.errors import DatasetError, EngineError, SpecError
from hpcsweep.load.config import LoadConfig
from hpcsweep.load.datasets.base import SampleRequest
from hpcsweep.load.drivers import guidellm, vllm_bench
from hpcsweep.load.drivers.outside import ClientWork
from hpcsweep.load.drivers.registry import CLIENTS, driver
from hpcsweep.load.wire.answer import CAUSES

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
VLLM = json.loads((TRANSCRIPTS / "vllm-bench" / "eager512-c4.json").read_text(encoding="utf-8"))
GUIDELLM = json.loads((TRANSCRIPTS / "guidellm" / "0.8.1-concurrent2.json").read_text(encoding="utf-8"))


def work(tmp_path: Path, requests: list[SampleRequest], *, scale: float = 1.0, **workload: Any) -> ClientWork:
    settings = {"name": "w", "dataset": {"kind": "samples"}, "arrival": {"max_concurrency": 4}} | workload
    config = LoadConfig.model_validate(
        {
            "planned": {"workload": settings, "facts": {"requests": len(requests)}},
            "base_url": "http://127.0.0.1:1",
            "served_model": "tiny",
            "engine": "vllm",
            "model": "/models/it's $HOME",
            "clock_origin_s": 8000.0,
            "time_scale": scale,
            "request_timeout_s": 60,
            "token_timeout_s": 10,
            "work_dir": str(tmp_path),
        }
    )
    return ClientWork(config, requests, [None] * len(requests), tmp_path, [])


def prompts(count: int, tokens: int = 32) -> list[SampleRequest]:
    return [SampleRequest(str(n), prompt=f"p{n}", max_tokens=tokens) for n in range(count)]


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Executables with the names of the tools, on an otherwise empty PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("vllm", "guidellm"):
        (folder / name).write_text("#!/bin/sh\n", encoding="ascii")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def options(argv: list[str]) -> dict[str, str]:
    return {key: value for key, value in zip(argv, [*argv[1:], ""], strict=True) if key.startswith("--")}


# --- vllm bench serve ---


@pytest.mark.parametrize(
    ("workload", "expected"),
    [
        pytest.param({}, {"--max-concurrency": "4", "--backend": "openai-chat", "--temperature": "0.0"}, id="default"),
        pytest.param(
            {"endpoint": "completions", "arrival": {"request_rate": 2.5, "seed": 7, "burstiness": 0.5}},
            {"--backend": "openai", "--endpoint": "/v1/completions", "--request-rate": "2.5", "--burstiness": "0.5"}
            | {"--seed": "7"},
            id="rate",
        ),
        pytest.param({"arrival": {"request_rate": 1, "process": "constant"}}, {"--burstiness": "inf"}, id="constant"),
        pytest.param({"extra_body": {"top_k": 1}}, {"--extra-body": '{"top_k": 1}'}, id="extra body"),
        pytest.param({"warmup": 3}, {"--num-warmups": "3"}, id="warm-up"),
    ],
)
def test_the_command_of_vllm_bench(tmp_path, tools, workload, expected):
    argv = vllm_bench.argv(work(tmp_path, prompts(2), **workload))
    assert argv[:3] == [str(tools / "vllm"), "bench", "serve"]
    found = options(argv)
    assert {key: found[key] for key in expected} == expected
    assert found["--model"] == "/models/it's $HOME"
    rows = [json.loads(line) for line in Path(found["--dataset-path"]).read_text(encoding="utf-8").splitlines()]
    assert rows == [{"prompt": "p0", "output_tokens": 32}, {"prompt": "p1", "output_tokens": 32}]


@pytest.mark.parametrize("module", [vllm_bench, guidellm])
@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (SampleRequest("a", messages=[{"role": "user", "content": "x"}], max_tokens=1), "cannot send messages"),
        (SampleRequest("a", prompt="x", max_tokens=1, due_s=1.0), "cannot send the times of a trace"),
    ],
)
def test_what_another_client_cannot_send_is_told(tmp_path, tools, module, request_, told):
    with pytest.raises(DatasetError, match=told):
        module.argv(work(tmp_path, [request_]))


@pytest.mark.parametrize("module", [vllm_bench, guidellm])
def test_a_tool_that_is_not_there_is_told(tmp_path, monkeypatch, module):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="on this node"):
        module.argv(work(tmp_path, prompts(1)))


def test_a_vllm_result_becomes_samples(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(VLLM), encoding="utf-8")
    outcome = vllm_bench.read(work(tmp_path, prompts(16)))
    samples = list(outcome.samples)
    assert (len(samples), outcome.duration_s, outcome.warnings) == (16, VLLM["duration"], ())
    first = samples[0]
    assert first["sent_s"] == pytest.approx(VLLM["start_times"][0] - 8000.0, abs=1e-6)
    assert first["ttft_s"] == pytest.approx(VLLM["ttfts"][0], abs=1e-6)
    assert first["e2e_s"] == pytest.approx(first["ttft_s"] + sum(first["itl_s"]), abs=1e-4)
    assert (first["prompt_tokens"], first["completion_tokens"]) == (64, 32)


def test_a_vllm_result_is_scaled_to_the_attempts_clock(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(VLLM), encoding="utf-8")
    outcome = vllm_bench.read(work(tmp_path, prompts(16), scale=10.0))
    assert outcome.duration_s == pytest.approx(VLLM["duration"] * 10)
    assert next(iter(outcome.samples))["ttft_s"] == pytest.approx(VLLM["ttfts"][0] * 10, abs=1e-5)


def test_failures_and_what_vllm_lets_pass(tmp_path):
    result = json.loads(json.dumps(VLLM))
    result["errors"][1] = "Traceback ...\nValueError: {'error': 'engine is dead'}\n"
    result["output_lens"][2] = 0
    result["output_lens"][3] = 20
    (tmp_path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    outcome = vllm_bench.read(work(tmp_path, prompts(17)))
    samples = list(outcome.samples)
    assert samples[1]["error_detail"] == "ValueError: {'error': 'engine is dead'}"
    assert [sample.get("error") for sample in samples[:4]] == [None, "client_error", "client_error", None]
    assert outcome.warnings == (
        "vllm-bench says 16 completed, its details say 14",
        "vllm-bench counts 1 answers as successes that are shorter than asked with ignore_eos",
        "vllm-bench sent 16 requests, 17 were asked for",
    )


@pytest.mark.parametrize("module", [vllm_bench, guidellm])
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"duration": 1, "errors": [""]}', '{"benchmarks": [{}, {}]}'])
def test_a_result_that_cannot_be_read_is_told(tmp_path, module, text):
    (tmp_path / "result.json").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"result\.json"):
        module.read(work(tmp_path, prompts(1)))


# --- GuideLLM ---


@pytest.mark.parametrize(
    ("arrival", "profile"),
    [
        ({"max_concurrency": 4}, {"kind": "concurrent", "streams": [4]}),
        ({}, {"kind": "throughput"}),
        ({"request_rate": 2}, {"kind": "poisson", "rate": [2.0]}),
        (
            {"request_rate": 2, "process": "constant", "max_concurrency": 3},
            {"kind": "constant", "rate": [2.0], "max_concurrency": 3},
        ),
    ],
)
def test_the_command_of_guidellm(tmp_path, tools, arrival, profile):
    found = options(guidellm.argv(work(tmp_path, prompts(2), arrival=arrival)))
    assert json.loads(found["--profile"]) == profile
    assert json.loads(found["--backend"])["extras"] == {"body": {"ignore_eos": True, "temperature": 0.0}}
    assert json.loads(found["--constraint"])["count"] == 2


def test_guidellm_has_no_burstiness(tmp_path, tools):
    with pytest.raises(DatasetError, match=r"burstiness 0\.5"):
        guidellm.argv(work(tmp_path, prompts(1), arrival={"request_rate": 1, "burstiness": 0.5}))


def test_a_guidellm_report_becomes_samples(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(GUIDELLM), encoding="utf-8")
    requests = [SampleRequest(str(n), prompt=f"hello {n} two three", max_tokens=8) for n in range(6)]
    outcome = guidellm.read(work(tmp_path, requests))
    samples = list(outcome.samples)
    good = [sample for sample in samples if "error" not in sample]
    (bad,) = (sample for sample in samples if "error" in sample)
    assert "peer closed connection" in bad["error_detail"]
    assert sorted(sample["sample"] for sample in good) == ["0", "1", "2", "4", "5"]
    for sample in good:
        assert 0 < sample["ttft_s"] < sample["e2e_s"] < 1
        assert sample["completion_tokens"] == 8
    assert [s["sent_s"] for s in samples] == sorted(s["sent_s"] for s in samples)
    assert outcome.warnings == ("guidellm does not tell the gaps between chunks",)


# --- the registry ---


def test_every_client_is_there():
    assert all(callable(driver(client)) for client in CLIENTS)
    with pytest.raises(SpecError) as caught:
        driver("vllm_bench")
    assert "'vllm-bench'" in caught.value.hint


def test_the_cause_of_another_client_is_in_the_closed_list():
    assert "client_error" in CAUSES
