"""Preparations without processes: the file, the plan, the submission, and what their states mean for the runs."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from hpcsweep.errors import PlanError, SpecError
from hpcsweep.node.identity import Identity
from hpcsweep.node.prepare.creation import Creation, described, expanded
from hpcsweep.node.record.preparations import failed_preparation, failed_warm_up, read_preparation
from hpcsweep.node.records import write_record
from hpcsweep.plan.grid import Selection, expand
from hpcsweep.plan.jobs import Packing, gpu_hours, pack_jobs, repack
from hpcsweep.plan.preparations import key_warnings, needed, plan_preparations, profile_of, unneeded
from hpcsweep.plan.runs import plan_runs
from hpcsweep.render.environment import make_environment
from hpcsweep.render.job import render_job
from hpcsweep.schedulers.base import JobState
from hpcsweep.schedulers.registry import get_scheduler
from hpcsweep.spec.base import Misplaced
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.job import JobSpec
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.spec.records import ExitRecord
from hpcsweep.spec.secret_values import secrets_of
from hpcsweep.spec.workload import DatasetFacts
from hpcsweep.submit.preparations import PreparationUse, preparations_again
from hpcsweep.sweep.layout import SweepFolder
from hpcsweep.track.evidence import RunVerdict, VerdictCode
from hpcsweep.track.preparations import PreparationStatus, latest_of_each, with_preparations

WEIGHTS = {"name": "weights", "commands": ["hf download x"], "creates": "/models/x"}
IMAGE = {"name": "image", "commands": "apptainer pull a.sif docker://a", "needed_by": {"eager": "no"}}
WARM = {"name": "cache", "warm_compile_cache": True, "needed_by": {"eager": "no", "len": ["1k", "2048"]}}
SLURM = Cluster(scheduler="slurm", partition="gpu", constraint="h200", exclusive=True, cpus=96, walltime=4 * 3600)


def study(*steps, **changes) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "study",
            "model": "a/b",
            "axes": {"eager": ["yes", "no"], "len": ["1k", "2k", "4k"], "tp": [4]},
            "workloads": {"w": {"dataset": {"kind": "samples"}, "max_tokens": 8}},
            "budgets": {"startup": "20m"},
            "prepare": list(steps),
            **changes,
        }
    )


def planned(experiment: Experiment, cluster: Cluster = SLURM) -> list[JobSpec]:
    """All jobs of a sweep, the preparations first."""
    packing = Packing("study-0001", "/h/sweeps/study-0001", "/h/cache")
    facts = {"w": DatasetFacts(requests=1, prompt_tokens_max=10)}
    runs = plan_runs(experiment, expand(experiment, Selection()), facts, lambda server: [])
    steps = plan_preparations(experiment, runs, cluster, packing)
    numbers = {step.preparation.name: step.job for step in steps}

    def needs_of(run):
        return {name: numbers[name] for name in needed(experiment, run)}

    return [*steps, *pack_jobs(experiment, runs, cluster, packing, needs_of, len(steps))]


WRONG = [
    pytest.param([{"name": "a"}], "preparation_kind", id="nothing to do"),
    pytest.param([{**WEIGHTS, "warm_compile_cache": True}], "preparation_kind", id="both kinds"),
    pytest.param([{**WARM, "creates": "/x"}], "preparation_kind", id="a warm-up creates no path"),
    pytest.param([WEIGHTS, WEIGHTS], "duplicate_name", id="name twice"),
    pytest.param([{**WEIGHTS, "after": ["image"]}, IMAGE], "unknown_preparation", id="after a later one"),
    pytest.param([{**WEIGHTS, "needed_by": {"colour": "red"}}], "unknown_axis", id="axis"),
    pytest.param([{**WEIGHTS, "needed_by": {"len": "x"}}], "bad_level", id="level"),
    pytest.param([{**WEIGHTS, "creates": "models/x"}], None, id="relative path"),
    pytest.param([{**WEIGHTS, "commands": ["a", " "]}], None, id="empty line"),
    pytest.param([{**WEIGHTS, "partition": "cpu -x"}], None, id="directive"),
    pytest.param([{**WEIGHTS, "resources": {"nodes": 2}}], None, id="unknown resource"),
]


@pytest.mark.parametrize(("steps", "code"), WRONG)
def test_a_wrong_step_is_refused(steps, code):
    with pytest.raises(ValidationError) as caught:
        study(*steps)
    cause = caught.value.errors()[0].get("ctx", {}).get("error")
    found = cause.code if isinstance(cause, Misplaced) else None
    assert found == code or (code == "bad_level" and found is not None)


def test_a_warm_up_without_a_cache_is_refused():
    with pytest.raises(ValidationError, match="no effect with `compile_cache: off`"):
        study(WARM, compile_cache="off")


def test_a_secret_in_a_command_is_found():
    document = {"prepare": [{"name": "w", "commands": ["HF_TOKEN=abc123def hf download x"]}]}
    assert [name for _, name in secrets_of(document)] == ["HF_TOKEN"]


def test_runs_are_grouped_by_what_they_need():
    jobs = planned(study(WEIGHTS, IMAGE, WARM))
    assert [job.preparation and job.preparation.name for job in jobs] == ["weights", "image", "cache", None, None, None]
    assert [job.needs for job in jobs] == [
        {}, {}, {"weights": 0, "image": 1}, {"weights": 0}, {"weights": 0, "image": 1, "cache": 2},
        {"weights": 0, "image": 1},
    ]  # fmt: skip
    assert sum(len(task.runs) for job in jobs for task in job.array_tasks) == 6
    weights, _, cache = jobs[:3]
    assert (weights.resources.gpus, weights.resources.cpus, weights.resources.walltime_s) == (0, None, 3600)
    assert (cache.resources.gpus, cache.resources.cpus) == (4, 96)
    assert cache.resources.walltime_s == 2 * 20 * 60 + 120, "the startup budget of both variants"
    assert [run.workloads for run in cache.preparation.warm_runs] == [[], []]
    assert gpu_hours(jobs[:1]) == 0


def test_a_step_after_another_brings_it_along():
    convert = {"name": "convert", "commands": "convert", "after": ["weights"], "needed_by": {"eager": "no"}}
    jobs = planned(study({**WEIGHTS, "needed_by": {"len": "1k"}}, convert))
    assert jobs[1].needs == {"weights": 0}
    assert {tuple(job.needs) for job in jobs[2:]} == {("weights",), ("weights", "convert"), ()}


def test_what_no_run_needs_is_not_submitted():
    experiment = study({**WEIGHTS, "needed_by": {"len": "64k"}})
    assert [job.preparation for job in planned(experiment)] == [None]
    assert unneeded(experiment, []) == ["weights"]


def test_the_walltime_of_the_profile_is_that_of_its_partition():
    long = {**WEIGHTS, "resources": {"walltime": "9h"}}
    with pytest.raises(PlanError, match="preparation weights requests 9h00m; this cluster allows 4h00m"):
        planned(study(long))
    assert planned(study({**long, "partition": "cpu"}))[0].resources.walltime_s == 9 * 3600


def test_a_warm_up_of_several_nodes_is_refused():
    with pytest.raises(PlanError) as caught:
        planned(study(WARM, resources={"nodes": 2}))
    assert caught.value.code == "warm_up_of_several_nodes"


def test_script_of_a_preparation():
    odd = {**WEIGHTS, "commands": ["echo $(hostname)", "if true; then\n  true\nfi"], "env": {"A": "it's $HOME"}}
    job, *_, runs = planned(study({**odd, "partition": "cpu", "resources": {"memory": "8G", "cpus": 2}}))
    profile = profile_of(SLURM, job)
    files = render_job(make_environment(), "slurm.sh.j2", job, profile, python="/py").scripts
    script, commands = files["job.sh"], files["prepare.sh"]
    assert "#SBATCH --partition=cpu\n" in script and "#SBATCH --time=01:00:00\n" in script
    assert "--constraint" not in script and "--exclusive" not in script and "--gres" not in script
    assert "#SBATCH --mem=8192M\n" in script and "#SBATCH --cpus-per-task=2\n" in script
    assert "preparation weights. Written by" in script
    assert "export A='it'\"'\"'s $HOME'\n" in commands
    assert "echo $(hostname)\nif true; then\n  true\nfi\n" in commands
    assert profile_of(SLURM, runs) is SLURM
    text = render_job(make_environment(), "slurm.sh.j2", runs, SLURM, python="/py").script
    assert "# Starts after the preparation weights (jobs/0) completed.\n" in text


def test_a_key_of_the_other_scheduler_has_no_effect():
    experiment = study({**WEIGHTS, "queue": "cpuq"})
    assert list(key_warnings(experiment, "slurm", "partition")) == [
        "preparation weights: `queue` has no effect on slurm; use `partition`"
    ]
    assert not list(key_warnings(experiment, "pbs", "queue")) and not list(key_warnings(experiment, "local", "queue"))


def test_dependencies_of_the_schedulers():
    slurm, pbs = get_scheduler("slurm"), get_scheduler("pbs")
    assert slurm.after_argv(("sbatch", "job.sh"), ["7", "8"]) == (
        "sbatch", "--dependency=afterok:7:8", "--kill-on-invalid-dep=yes", "job.sh",
    )  # fmt: skip
    assert pbs.after_argv(("qsub", "job.sh"), ["7.s", "8.s"]) == ("qsub", "-W", "depend=afterok:7.s:8.s", "job.sh")


def write_jobs(folder: Path, jobs: list[JobSpec], submitted: int) -> SweepFolder:
    sweep = SweepFolder(folder / "study-0001")
    for job in jobs:
        sweep.job_dir(job.job).mkdir(parents=True)
        (sweep.job_dir(job.job) / "job.json").write_text(job.model_dump_json())
        if job.job < submitted:
            (sweep.job_dir(job.job) / "submission.json").touch()
    return sweep


USES = [
    pytest.param({"weights": "done", "image": "done"}, [], {}, id="completed"),
    pytest.param({"weights": "wait", "image": "done"}, [], {"weights": 0}, id="still running"),
    pytest.param({"weights": "done", "image": "again"}, ["image"], {"image": 6}, id="failed"),
    pytest.param({"weights": "done"}, ["image"], {"image": 6}, id="never submitted"),
]


@pytest.mark.parametrize(("uses", "again", "numbers"), USES)
def test_what_a_retry_prepares(tmp_path, uses, again, numbers):
    jobs = planned(study(WEIGHTS, IMAGE, WARM))
    sweep = write_jobs(tmp_path, jobs, len(jobs))
    found = preparations_again(sweep, [jobs[5]], {k: PreparationUse(v) for k, v in uses.items()}, SLURM)
    assert [job.preparation.name for job in found.jobs] == again
    assert found.numbers == numbers and found.next_job == 6 + len(again)
    chosen = [(jobs[5].model_copy(update={"needs": found.open_of(jobs[5])}), jobs[5].array_tasks[0].runs[0])]
    (job,) = repack(
        chosen, {}, lambda job, run: job.resources, first_job=found.next_job, max_array_size=None, cluster=SLURM,
        preparations=found.numbers,
    )  # fmt: skip
    assert job.needs == numbers


def test_a_failed_step_is_repeated_before_the_one_after_it(tmp_path):
    jobs = planned(study(WEIGHTS, IMAGE, WARM))
    sweep = write_jobs(tmp_path, jobs, len(jobs))
    found = preparations_again(sweep, [jobs[4]], {"image": PreparationUse.DONE}, SLURM)
    assert [(job.job, job.name, job.needs) for job in found.jobs] == [
        (6, "study-0001-6", {}), (7, "study-0001-7", {"weights": 6}),
    ]  # fmt: skip


def test_an_unknown_preparation_is_not_repeated(tmp_path):
    jobs = planned(study(WEIGHTS))
    with pytest.raises(SpecError) as caught:
        preparations_again(write_jobs(tmp_path, jobs, 2), jobs[1:], {"weights": PreparationUse.UNKNOWN}, SLURM)
    assert caught.value.code == "preparation_unknown"


def step(name: str, state: str, outcome: str | None = None, reason: str = "", number: int = 0) -> PreparationStatus:
    kind = OutcomeKind(outcome) if outcome else None
    verdict = RunVerdict(RunState(state), kind, reason, code=VerdictCode.END_RECORD)
    return PreparationStatus(name, number, "7", None, verdict, None, None, 60.0, 0, ())


def verdict(state: str, code: str = "pending", outcome: str | None = None) -> RunVerdict:
    return RunVerdict(RunState(state), OutcomeKind(outcome) if outcome else None, "raw", code=VerdictCode(code))


DONE, FAILED = step("w", "finished", "completed"), step("i", "finished", "failed", "exit code 3: no")
EXPLAINED = [  # verdict by its own job, job's last state, preparations, state, reason
    pytest.param(verdict("queued"), "pending", [DONE], "queued", "raw", id="prepared"),
    pytest.param(verdict("held"), "held", [step("w", "running")], "queued",
                 "waiting for preparation w, which is running", id="PBS holds it until then"),
    pytest.param(verdict("queued"), "pending", [DONE, step("i", "unknown", reason="no answer")], "queued",
                 "waiting for preparation i, which is unknown: no answer", id="unknown"),
    pytest.param(verdict("queued"), "pending", [DONE, FAILED], "queued",
                 "preparation i failed: exit code 3: no; its job is being deleted", id="not deleted yet"),
    pytest.param(verdict("held", "unschedulable"), "unschedulable", [FAILED], "finished",
                 "preparation i failed: exit code 3: no", id="DependencyNeverSatisfied"),
    pytest.param(verdict("finished", "scheduler_explains", "cancelled"), "failed", [FAILED], "finished",
                 "preparation i failed: exit code 3: no", id="Slurm cancelled it"),
    pytest.param(verdict("finished", "job_disappeared", "not_run"), "gone", [step("i", "finished", "lost", "killed")],
                 "finished", "preparation i was lost: killed", id="PBS deleted it"),
    pytest.param(verdict("finished", "not_run_record", "not_run"), "completed", [FAILED], "finished", "raw",
                 id="its agent recorded it"),
    pytest.param(verdict("planned", "planned"), None, [FAILED], "planned", "raw", id="never submitted"),
    pytest.param(verdict("unknown", "job_not_found"), "unknown", [FAILED], "unknown", "raw", id="scheduler silent"),
]  # fmt: skip


@pytest.mark.parametrize(("own", "job", "needed", "state", "reason"), EXPLAINED)
def test_what_a_preparation_means_for_a_run(own, job, needed, state, reason):
    found = with_preparations(own, needed, JobState(job) if job else None)
    assert (found.state.value, found.reason) == (state, reason)
    if state == "finished" and reason != "raw":
        assert found.outcome is OutcomeKind.NOT_RUN and found.code is VerdictCode.PREPARATION_FAILED


@pytest.mark.parametrize(("own", "job"), [("held", "held"), ("queued", "pending")])
def test_a_run_that_waits_for_its_preparation(own, job):
    planned_step = step("w", "queued", reason="Resources")
    found = with_preparations(verdict(own), [DONE, planned_step], JobState(job))
    assert (found.state, found.code) == (RunState.QUEUED, VerdictCode.WAITING_FOR_PREPARATION)
    assert (found.outcome, found.reason) == (None, "waiting for preparation w, which is queued")
    hinted = replace(planned_step, verdict=replace(planned_step.verdict, state=RunState.HELD, hint="release it"))
    found = with_preparations(verdict(own), [hinted], JobState(job))
    assert (found.reason, found.hint) == ("waiting for preparation w, which is held: Resources", "release it")


@pytest.mark.parametrize(
    ("own", "needed"), [("queued", [DONE]), ("queued", [FAILED]), ("running", [step("w", "running")])]
)
def test_a_run_that_does_not_wait_keeps_its_code(own, needed):
    assert with_preparations(verdict(own), needed, JobState("pending")).code is VerdictCode.PENDING


def test_the_latest_submitted_job_of_a_preparation_counts():
    steps = [step("a", "finished", "failed"), step("b", "running", number=1), step("a", "queued", number=2),
             step("a", "planned", number=5)]  # fmt: skip
    assert [(each.name, each.number) for each in latest_of_each(steps)] == [("a", 2), ("b", 1)]


def end(folder: Path, attempt: int, outcome: str, reason: str = "") -> None:
    path = folder / f"attempt-{attempt}"
    path.mkdir(parents=True)
    write_record(path / "exit.json", ExitRecord(attempt=attempt, outcome=OutcomeKind(outcome), reason=reason))


def test_the_record_of_a_preparation(tmp_path):
    (_job, runs) = planned(study(WEIGHTS))
    runs = runs.model_copy(update={"sweep_dir": str(tmp_path)})
    folder = tmp_path / "jobs" / "0"
    assert failed_preparation(runs) == "preparation weights has not completed: it has not started"
    (folder / "attempt-1").mkdir(parents=True)
    assert failed_preparation(runs) == "preparation weights has not completed: its agent left no end record"
    end(folder, 2, "walltime", "not done within its walltime of 1h")
    assert failed_preparation(runs) == "preparation weights failed: not done within its walltime of 1h"
    end(folder, 3, "completed")
    (folder / "attempt-4").mkdir()
    assert failed_preparation(runs) is None, "one attempt that completed is enough"
    assert read_preparation(folder).number == 3
    first, second = runs.array_tasks[0].runs[0], runs.array_tasks[1].runs[0]
    end(folder / "attempt-3" / first.variant_id, 1, "out_of_memory", "GPU full")
    end(folder / "attempt-3" / second.variant_id, 1, "completed")
    assert failed_warm_up(runs, first) == "preparation weights: the server of this variant did not start: GPU full"
    assert failed_warm_up(runs, second) is None


def test_paths_on_the_node(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("$SCRATCH/${NAME}x", {"SCRATCH": "/s", "NAME": "m"}) == Path("/s/mx")
    assert expanded("~/a/../b/", {}) == Path("/home/me/b")
    for path in ("$UNSET/x", "${A}/x"):
        with pytest.raises(ValueError, match="not an absolute path on this node"):
            expanded(path, {"A": "relative"})


def test_what_counts_as_created(tmp_path):
    assert described(tmp_path / "no") is None
    (tmp_path / "folder").mkdir()
    assert described(tmp_path / "folder") is None, "people make the folder before they fill it"
    (tmp_path / "folder" / "a").touch()
    assert "1 item, changed" in described(tmp_path / "folder")
    assert described(tmp_path / "folder" / "a") is None
    (tmp_path / "file").write_text("abc")
    assert "3 B" in described(tmp_path / "file")


def test_a_creation_is_complete_only_when_it_was_finished(tmp_path):
    (job, _) = planned(study({**WEIGHTS, "creates": str(tmp_path / "m" / "x")}))
    creation = Creation(job, job.preparation, Identity(None, "h", "b", 1, 1, 0), {})
    assert creation.found() is None and not creation.unfinished()
    creation.begin()
    (tmp_path / "m" / "x").write_text("half")
    assert creation.found() is None and creation.unfinished()
    creation.finish()
    assert "m/x exists: 4 B" in creation.found()
