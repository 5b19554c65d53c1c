"""A real vLLM from launch to the last answer: phases, facts, figures, and the compile cache cold and warm."""

import re
from pathlib import Path

import pytest
from engine_job import LABEL
from ruamel.yaml import YAML
from vllm_job import VllmJob

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800), pytest.mark.xdist_group("engine")]

WITHIN_S = 1700
STALL_S = 6.0
EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_an_eager_server_answers_everything(job):
    run = job.vllm_run(
        settings={"expert_parallel": True}, workloads=[job.workload(requests=4, max_tokens=24, repeats=2)]
    )
    told = job.declared(job.begin(run), 0.0, WITHIN_S)
    assert told.outcome == "completed"
    assert job.phases() == [
        "launch",
        "engine_init",
        "load_weights",
        "kv_cache",
        "warmup",
        "ready",
        "measure",
        "teardown",
    ]
    assert job.of_kind("server_ready", LABEL)[0].unseen_phases == []
    found = job.facts()
    assert found["engine_version"] == "0.32.0" and found["max_model_len_tokens"] == 512
    assert found["kv_cache_bytes"] == 2**30 and found["kv_cache_tokens"] > 100_000
    samples = job.of_kind("sample", LABEL)
    assert [sample.error for sample in samples] == [None] * 8
    assert all(sample.completion_tokens == 24 and sample.tokens_from == "usage" for sample in samples)
    assert [event.cache_reset for event in job.of_kind("workload_started", LABEL)] == [None, True]
    started = job.of_kind("attempt_started", LABEL)[0]
    assert started.versions["vllm"].startswith("0.32.0") and not started.simulated
    key = started.env.get("VLLM_API_KEY", "")
    assert "--api-key" not in started.argv and key in ("", "(not written down)")


def phase_s(job, phase):
    """Seconds that a phase lasted."""
    entered = [(event.phase.value, event.t_s) for event in job.of_kind("phase_entered", LABEL)]
    at = [name for name, _ in entered].index(phase)
    return entered[at + 1][1] - entered[at][1]


def test_a_compile_that_is_silent_for_long_is_no_stall_and_a_warm_cache_makes_it_shorter(tmp_path, engine_cache):
    """As `cpu_smoke` starts it. vLLM on CPUs prints no total of its compilation, but that of what it is a part of."""
    env = dict(YAML(typ="safe").load(EXPERIMENTS / "cpu_smoke.yaml")["env"])
    compile_s, seen = [], []
    for name in ("cold", "warm"):
        job = VllmJob(tmp_path / name, engine_cache)
        run = job.vllm_run(
            settings={"enforce_eager": False}, budgets={"stall": STALL_S}, workloads=[job.workload(requests=1)], env=env
        )
        told = job.declared(job.begin(run), 0.0, WITHIN_S)
        assert told.outcome == "completed", told
        assert job.phases()[:6] == ["launch", "engine_init", "load_weights", "compile", "kv_cache", "warmup"]
        assert job.of_kind("server_ready", LABEL)[0].unseen_phases == []
        printed = re.search(r"init engine .* took ([\d.]+) s", job.server_log())
        assert job.facts()["init_engine_s"] == float(printed[1])
        assert phase_s(job, "compile") + phase_s(job, "kv_cache") == pytest.approx(float(printed[1]), abs=3)
        compile_s.append(phase_s(job, "compile"))
        seen.append(job.facts())
    assert compile_s[0] >= 3 * STALL_S, "a compile that is silent for several stall budgets (24 s on two quiet cores)"
    cold, warm = seen
    assert (cold["compile_cache_at_start"], cold["compile_cache"]) == ("cold", "miss")
    assert (warm["compile_cache_at_start"], warm["compile_cache"]) == ("warm", "hit")
    assert cold["inductor_cache_misses"] >= 1 and "inductor_cache_hits" not in cold
    assert warm["inductor_cache_hits"] >= 1 and "inductor_cache_misses" not in warm
    assert cold["inductor_kernels_added"] == warm["inductor_kernels_at_start"] > 0
    assert (warm["inductor_kernels_added"], warm["inductor_graphs_added"]) == (0, 0)
    assert compile_s[1] < compile_s[0]
