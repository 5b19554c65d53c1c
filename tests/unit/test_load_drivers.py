import json
from pathlib import Path
from typing import Any

import pytest
from plugin_install import install_plugin

from hpcsweep.containers.launch import ContainerLaunch
from hpcsweep.errors import DatasetError, EngineError, SpecError
from hpcsweep.load.config import LoadConfig
from hpcsweep.load.datasets.base import SampleRequest
from hpcsweep.load.drivers.guidellm import GuideLlmClient
from hpcsweep.load.drivers.outside import ClientWork
from hpcsweep.load.drivers.registry import CLIENTS
from hpcsweep.load.drivers.vllm_bench import VllmBenchClient
from hpcsweep.load.wire.answer import CAUSES
from hpcsweep.registry import Registry
from hpcsweep.spec.phases import ErrorCause

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
    argv = VllmBenchClient().command(work(tmp_path, prompts(2), **workload))
    assert argv[:3] == [str(tools / "vllm"), "bench", "serve"]
    found = options(argv)
    assert {key: found[key] for key in expected} == expected
    assert found["--model"] == "/models/it's $HOME"
    rows = [json.loads(line) for line in Path(found["--dataset-path"]).read_text(encoding="utf-8").splitlines()]
    assert rows == [{"prompt": "p0", "output_tokens": 32}, {"prompt": "p1", "output_tokens": 32}]


@pytest.mark.parametrize("client", [VllmBenchClient(), GuideLlmClient()], ids=lambda client: client.name)
@pytest.mark.parametrize(
    ("request_", "cause"),
    [
        (SampleRequest("a", messages=[{"role": "user", "content": "x"}], max_tokens=1), "cannot send messages"),
        (SampleRequest("a", prompt="x", max_tokens=1, due_s=1.0), "cannot send requests at the times of a trace"),
    ],
)
def test_what_another_client_cannot_send_is_an_error(tmp_path, tools, client, request_, cause):
    with pytest.raises(DatasetError, match=cause) as caught:
        client.command(work(tmp_path, [request_]))
    assert caught.value.code == "client_unsupported"


@pytest.mark.parametrize("client", [VllmBenchClient(), GuideLlmClient()], ids=lambda client: client.name)
def test_a_tool_that_is_not_installed_is_an_error(tmp_path, monkeypatch, client):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError) as caught:
        client.command(work(tmp_path, prompts(1)))
    assert caught.value.code == "client_not_installed"


@pytest.mark.parametrize(("engine", "inside"), [("vllm", True), ("sglang", False)])
def test_vllm_bench_runs_in_the_container_of_the_server(engine, inside, tmp_path, monkeypatch, capfd):
    (tmp_path / "bin").mkdir()
    for name in ("apptainer", "vllm"):
        (tmp_path / "bin" / name).write_text(f'#!/bin/bash\nprintf "%s\\n" {name} "$@"\n/usr/bin/env\nexit 3\n')
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HPCSWEEP_API_KEY", "sk-123")
    monkeypatch.setattr("signal.signal", lambda number, handler: None)  # the handler of a process of its own
    launch = ContainerLaunch(
        runtime="apptainer",
        image="/shared/vllm.sif",
        executable=str(tmp_path / "bin" / "apptainer"),
        workdir=str(tmp_path),
        scratch=str(tmp_path),
        uid=1,
        gid=1,
    )
    config = work(tmp_path, prompts(2)).config
    config = config.model_copy(
        update={"container": launch, "engine": engine, "engine_executable": "/opt/vllm/bin/vllm"}
    )
    client = VllmBenchClient()
    assert client._run(ClientWork(config, prompts(2), [None] * 2, tmp_path, [])) == 1
    assert "client_error" in capfd.readouterr().out
    lines = (tmp_path / "client.log").read_text(encoding="utf-8").splitlines()
    assert lines[0] == ("apptainer" if inside else "vllm")
    assert ("/opt/vllm/bin/vllm" in lines) is inside
    assert "sk-123" not in lines
    assert ("APPTAINERENV_OPENAI_API_KEY=sk-123" in lines) is inside
    assert ("APPTAINERENV_HF_HUB_OFFLINE=1" in lines) is inside


def test_a_vllm_result_becomes_samples(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(VLLM), encoding="utf-8")
    outcome = VllmBenchClient().read(work(tmp_path, prompts(16)))
    samples = list(outcome.samples)
    assert (len(samples), outcome.duration_s, outcome.warnings) == (16, VLLM["duration"], ())
    first = samples[0]
    assert first["sent_s"] == pytest.approx(VLLM["start_times"][0] - 8000.0, abs=1e-6)
    assert first["ttft_s"] == pytest.approx(VLLM["ttfts"][0], abs=1e-6)
    assert first["e2e_s"] == pytest.approx(first["ttft_s"] + sum(first["itl_s"]), abs=1e-4)
    assert (first["prompt_tokens"], first["completion_tokens"]) == (64, 32)


def test_a_vllm_result_is_scaled_to_the_attempts_clock(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(VLLM), encoding="utf-8")
    outcome = VllmBenchClient().read(work(tmp_path, prompts(16), scale=10.0))
    assert outcome.duration_s == pytest.approx(VLLM["duration"] * 10)
    assert next(iter(outcome.samples))["ttft_s"] == pytest.approx(VLLM["ttfts"][0] * 10, abs=1e-5)


def test_failures_and_what_vllm_lets_pass(tmp_path):
    result = json.loads(json.dumps(VLLM))
    result["errors"][1] = "Traceback ...\nValueError: {'error': 'engine is dead'}\n"
    result["output_lens"][2] = 0
    result["output_lens"][3] = 20
    (tmp_path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    outcome = VllmBenchClient().read(work(tmp_path, prompts(17)))
    samples = list(outcome.samples)
    assert samples[1]["error_detail"] == "ValueError: {'error': 'engine is dead'}"
    assert [sample.get("error") for sample in samples[:4]] == [None, "client_error", "client_error", None]
    assert outcome.warnings == (
        "vllm-bench reports 16 completed requests, but its details have 14",
        "vllm-bench counts 1 responses as successes although they have fewer tokens than ignore_eos requires",
        "vllm-bench sent 16 of 17 requests",
    )


@pytest.mark.parametrize("client", [VllmBenchClient(), GuideLlmClient()], ids=lambda client: client.name)
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"duration": 1, "errors": [""]}', '{"benchmarks": [{}, {}]}'])
def test_a_result_that_cannot_be_read_is_an_error(tmp_path, client, text):
    (tmp_path / "result.json").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"result\.json"):
        client.read(work(tmp_path, prompts(1)))


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
    found = options(GuideLlmClient().command(work(tmp_path, prompts(2), arrival=arrival)))
    assert json.loads(found["--profile"]) == profile
    assert json.loads(found["--backend"])["extras"] == {"body": {"ignore_eos": True, "temperature": 0.0}}
    assert json.loads(found["--constraint"])["count"] == 2


def test_guidellm_has_no_burstiness(tmp_path, tools):
    with pytest.raises(DatasetError, match=r"burstiness 0\.5"):
        GuideLlmClient().command(work(tmp_path, prompts(1), arrival={"request_rate": 1, "burstiness": 0.5}))


def test_a_guidellm_report_becomes_samples(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(GUIDELLM), encoding="utf-8")
    requests = [SampleRequest(str(n), prompt=f"hello {n} two three", max_tokens=8) for n in range(6)]
    outcome = GuideLlmClient().read(work(tmp_path, requests))
    samples = list(outcome.samples)
    good = [sample for sample in samples if "error" not in sample]
    (bad,) = (sample for sample in samples if "error" in sample)
    assert "peer closed connection" in bad["error_detail"]
    assert sorted(sample["sample"] for sample in good) == ["0", "1", "2", "4", "5"]
    for sample in good:
        assert 0 < sample["ttft_s"] < sample["e2e_s"] < 1
        assert sample["completion_tokens"] == 8
    assert [s["sent_s"] for s in samples] == sorted(s["sent_s"] for s in samples)
    assert outcome.warnings == ("guidellm does not report the gaps between chunks",)


# --- the registry ---


def test_every_built_in_client_keeps_the_contract():
    for name in CLIENTS.builtin:
        client = CLIENTS.get(name)
        assert client.name == name and callable(client.run)
    with pytest.raises(SpecError) as caught:
        CLIENTS.get("vllm_bench")
    assert caught.value.code == "unknown_load_client"
    assert "'vllm-bench'" in caught.value.hint


PLUGIN = """
import sys
class Mine:
    name = "mine"
    def run(self, config):
        sys.stdout.write(config.planned.workload.name)
        return 7
"""


def test_a_plugin_adds_a_client(tmp_path, monkeypatch, capsys):
    install_plugin(tmp_path, monkeypatch, "hpcsweep.clients", PLUGIN)
    clients = Registry(CLIENTS.group, CLIENTS.what, CLIENTS.builtin, SpecError)
    assert clients.get("mine").run(work(tmp_path, []).config) == 7
    assert capsys.readouterr().out == "w"


def test_causes_and_enum_agree():
    assert list(CAUSES) == list(ErrorCause)
