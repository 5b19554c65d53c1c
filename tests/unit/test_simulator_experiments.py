"""The shipped experiments: each can be read and expanded, its data is there, and its profile knows its variants."""

import json
import random
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from hpcsweep.engines.registry import get_engine
from hpcsweep.engines.simulated import SimulatedEngine
from hpcsweep.errors import SpecError
from hpcsweep.load.datasets.registry import read_options
from hpcsweep.plan.grid import Selection, expand
from hpcsweep.plan.runs import plan_runs
from hpcsweep.simulator.faults import Crash, OutOfMemory, Stall
from hpcsweep.simulator.profile import read_profile
from hpcsweep.spec.load import parse_experiment
from hpcsweep.sweep.checks import check_simulation
from hpcsweep.sweep.inputs import read_experiment

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
FILES = sorted(EXPERIMENTS.glob("*.yaml"))


def read(path):
    return parse_experiment(path.read_text(), str(path), path.stem)


def runs_of(path, selection=None):
    experiment = read(path)
    facts = {}
    for workload in experiment.workloads:
        dataset, options = read_options(workload.dataset)
        facts[workload.name] = dataset.facts(options, path.parent, workload.max_tokens)
    return plan_runs(experiment, expand(experiment, selection or Selection()), facts, lambda server: ())


def behaviours(path):
    """Label of a run -> what the simulated engine does in it."""
    experiment = read(path)
    profile = read_profile(path.parent / experiment.simulated.profile)
    found = {}
    for run in runs_of(path):
        engine = SimulatedEngine(get_engine(run.server.engine), "p.yaml", 1.0, run.axes, run.repeat)
        found[run.label] = profile.resolve(engine.variant(run.server), run.repeat)
    return found


def test_the_studies_are_there():
    assert [path.stem for path in FILES] == [
        "cpu_smoke",
        "exp_runner",
        "glm45_air_h100_throughput",
        "glm45_serving_guide",
        "glm45v_vision",
        "glm46_a100_throughput",
        "glm46_bf16_two_nodes",
        "gpu_smoke",
        "sglang_smoke",
        "stuck_ranks",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_has_runs_data_and_a_profile_that_fits(path):
    experiment = read(path)
    assert experiment.name == path.stem
    assert experiment.title
    runs = runs_of(path)
    assert len(runs) >= 3
    assert {axis for run in runs for axis in run.axes} == set(experiment.axes)
    assert behaviours(path).keys() == {run.label for run in runs}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_rule_of_a_profile_holds_for_some_run_of_its_experiment(path):
    experiment = read(path)
    profile = read_profile(path.parent / experiment.simulated.profile)
    variants = []
    for run in runs_of(path):
        variants.append(SimulatedEngine(get_engine(run.server.engine), "p.yaml", 1.0, run.axes).variant(run.server))
    for rule in profile.rules:
        only_this = type(profile)(profile.path, {}, (type(rule)(rule.when, {"jitter": 0.77}, rule.where),))
        assert any(only_this.resolve(variant).jitter == 0.77 for variant in variants), rule.when


def test_exp_runner_is_the_study():
    experiment = read(EXPERIMENTS / "exp_runner.yaml")
    runs = {run.label: run for run in runs_of(EXPERIMENTS / "exp_runner.yaml")}
    assert len(runs) == 12
    assert {axis: str(level) for axis, level in experiment.baseline.items()} == {
        "ep": "on",
        "eager": "yes",
        "len": "32k",
    }
    for label, run in runs.items():
        sent = [planned.workload.name for planned in run.workloads if planned.left_out is None]
        assert sent == (["8k", "64k"] if label.endswith("len-64k") else ["8k"]), label
        assert run.server.flags["--tensor-parallel-size"] == 8
    assert runs["ep-off_eager-no_len-64k"].exports["ENFORCE_EAGER"] == "no"
    assert "--swap-space" not in experiment.engine_args


def test_exp_runner_plays_what_the_study_saw():
    found = behaviours(EXPERIMENTS / "exp_runner.yaml")
    for label, behaviour in found.items():
        assert behaviour.startup.load_weights == (155 if "ep-on" in label else 310), label
        assert [type(fault) for fault in behaviour.faults] == ([Stall] if "eager-no" in label else []), label
        assert (behaviour.memory.weights_gib, behaviour.speed.first_request_extra_s) == (82.6, 20)
        assert behaviour.speed.decode_tps == pytest.approx(8.7, rel=0.02)


FAULTS = [
    pytest.param("glm46_a100_throughput", "sglang", [Crash], id="fp8 on A100"),
    pytest.param("glm46_a100_throughput", "engine-vllm", [], id="the winner"),
    pytest.param("glm45_air_h100_throughput", "GLM-4.5-Air_parallel-tp2", [OutOfMemory], id="BF16 on two GPUs"),
    pytest.param("glm45_air_h100_throughput", "GLM-4.5-Air-FP8_parallel-tp2", [], id="FP8 on two GPUs"),
]


@pytest.mark.parametrize(("name", "part", "faults"), FAULTS)
def test_failures_of_the_other_studies(name, part, faults):
    found = {label: b for label, b in behaviours(EXPERIMENTS / f"{name}.yaml").items() if part in label}
    assert found
    for label, behaviour in found.items():
        assert [type(fault) for fault in behaviour.faults] == faults, label


# --- sample files


@pytest.mark.parametrize(
    ("name", "tokens"), [("glm46_8k.json", [6101, 6101, 6102]), ("glm46_64k.json", [47490, 47490])]
)
def test_prompts_have_as_many_words_as_they_say(name, tokens):
    entries = json.loads((EXPERIMENTS / "samples" / name).read_text())
    assert [entry["prompt_tokens"] for entry in entries] == tokens
    assert [len(entry["prompt"].split()) for entry in entries] == tokens
    assert {entry["max_tokens"] for entry in entries} == {512}
    assert len({entry["prompt"] for entry in entries}) == len(entries)


def test_the_sample_files_are_what_the_script_makes(tmp_path):
    script = ROOT / "scripts" / "make-samples"
    subprocess.run([sys.executable, str(script), "--to", str(tmp_path)], check=True, capture_output=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in (EXPERIMENTS / "samples").iterdir()}
    assert made == kept


def test_the_texts_have_no_article_before_a_vowel_and_end_as_sentences():
    text = runpy.run_path(str(ROOT / "scripts" / "make-samples"))["text_of"](random.Random(1), 5000)
    assert " a " not in text
    assert all(paragraph.endswith(".") for paragraph in text.split("\n\n"))


def test_the_path_of_the_tiny_model_comes_from_the_environment(monkeypatch):
    path = EXPERIMENTS / "cpu_smoke.yaml"
    monkeypatch.setenv("HPCSWEEP_TINY_MODEL", "/models/it's tiny")
    assert read_experiment(path).model.path == "/models/it's tiny"
    monkeypatch.delenv("HPCSWEEP_TINY_MODEL")
    assert read_experiment(path).model.path == "$HPCSWEEP_TINY_MODEL"


def test_a_rule_on_an_axis_that_no_run_has_is_found_before_anything_is_submitted(tmp_path):
    runs = runs_of(EXPERIMENTS / "glm45v_vision.yaml")
    profile = tmp_path / "p.yaml"
    profile.write_text("rules: [{when: {encoder: data}, jitter: 0.1}]")
    check_simulation(profile, runs)
    profile.write_text("rules: [{when: {encodr: data}, jitter: 0.1}]")
    with pytest.raises(SpecError, match="unknown key 'encodr'") as caught:
        check_simulation(profile, runs)
    assert "did you mean 'encoder'" in caught.value.hint
