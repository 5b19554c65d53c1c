"""From the environment of a job to a variant, a profile, a name; and what a second life of a job finds."""

import json
import time

import pytest

from hpcsweep.errors import SpecError
from hpcsweep.node.identity import Identity
from hpcsweep.node.plain_job import add_plain_job, find_profile, read_plain_job
from hpcsweep.plan.grid import expand
from hpcsweep.plan.variables import run_name, selection_of
from hpcsweep.spec.load import parse_experiment
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.sweep.layout import SweepFolder

EXPERIMENT = """\
model: some/model
axes:
  ep: [on, off]
  eager: [yes, no]
  len: [8k, 32k]
  backend: {flag: --all2all-backend, levels: [naive, deepep]}
baseline: {len: 32k, eager: yes}
workloads: {w: {dataset: {kind: random, input_len: 64, output_len: 16}, num_requests: 2}}
resources: {gpus: 8, walltime: 1h}
"""


def chosen(**env):
    experiment = parse_experiment(EXPERIMENT, "e.yaml", "e")
    (point,) = expand(experiment, selection_of(experiment, env)).points
    return {axis: level.label for axis, level in point.items()}


BASELINE = {"ep": "on", "eager": "yes", "len": "32k", "backend": "naive"}
VARIABLES = [
    ({}, {}),
    ({"ENFORCE_EAGER": "no", "ENABLE_EP": "yes", "MAX_MODEL_LEN": "32768"}, {"eager": "no"}),
    ({"ENABLE_EP": "no", "MAX_MODEL_LEN": "8192"}, {"ep": "off", "len": "8k"}),
    ({"MAX_MODEL_LEN": "65536"}, {"len": "64k"}),
    ({"HPCSWEEP_AXIS_BACKEND": "deepep", "HPCSWEEP_AXIS_EP": "off"}, {"backend": "deepep", "ep": "off"}),
    ({"TENSOR_PARALLEL_SIZE": "4", "KV_CACHE_DTYPE": "fp8"}, {"tp": "4", "kv_dtype": "fp8"}),
    ({"ENFORCE_EAGER": "true", "HPCSWEEP_AXIS_EAGER": "yes"}, {}),
    ({"PATH": "/bin", "PBS_JOBID": "1", "MODEL": "x", "ENGINE": "y", "HPCSWEEP_HOME": "/h"}, {}),
]


@pytest.mark.parametrize(("env", "levels"), VARIABLES)
def test_variables_are_levels(env, levels):
    assert chosen(**env) == {**BASELINE, **levels}


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"ENFORCE_EAGER": "perhaps"}, "ENFORCE_EAGER=perhaps"),
        ({"ENFORCE_EAGER": ""}, "ENFORCE_EAGER="),
        ({"MAX_MODEL_LEN": "0"}, "at least 1 token"),
        ({"HPCSWEEP_AXIS_LENGTH": "8k"}, "has no such axis"),
        ({"MAX_MODEL_LENGTH": "8k"}, "did you mean MAX_MODEL_LEN"),
        ({"ENFORCE_EAGRE": "no"}, "did you mean ENFORCE_EAGER"),
        ({"EXPNAME": "x"}, "did you mean EXP_NAME"),
        ({"ENABLE_EP": "yes", "EXPERT_PARALLEL": "no"}, "contradicts"),
    ],
)
def test_what_no_variable_may_say(env, words):
    with pytest.raises(SpecError) as caught:
        chosen(**env)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["a/b", "../x", ".hidden", "a b", "x" * 121])
def test_a_name_that_is_no_folder(name):
    with pytest.raises(SpecError, match="not a valid name of a run"):
        run_name({"EXP_NAME": name})


JOBS = [
    ({"PBS_JOBID": "12.pbs", "PBS_JOBNAME": "n", "PBS_QUEUE": "q"}, ("pbs", "12.pbs", "n", "q")),
    ({"PBS_JOBID": "12[3].pbs", "PBS_ARRAY_ID": "12[].pbs"}, ("pbs", "12[].pbs", None, None)),
    ({"PBS_JOBID": "12[3].pbs"}, ("pbs", "12[].pbs", None, None)),
    ({"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "n", "SLURM_JOB_PARTITION": "p"}, ("slurm", "7", "n", "p")),
    ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7"}, ("slurm", "7", None, None)),
    ({}, ("local", None, None, None)),
]


@pytest.mark.parametrize(("env", "expected"), JOBS)
def test_what_the_scheduler_says_of_the_job(env, expected):
    job = read_plain_job(env)
    assert (job.scheduler, job.job_id, job.name, job.queue) == expected


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPCSWEEP_CONFIG", str(tmp_path / "hpcsweep.yaml"))
    clusters = {
        "here": {"scheduler": "local"},
        "first": {"scheduler": "pbs", "queue": "a", "simulate": "always"},
        "second": {"scheduler": "pbs", "queue": "b", "simulate": "always", "ssh": {"host": "h", "home": "/x"}},
    }
    (tmp_path / "hpcsweep.yaml").write_text(json.dumps({"clusters": clusters}))
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/e.yaml").write_text(EXPERIMENT)
    return tmp_path


@pytest.mark.parametrize(
    ("env", "name", "profile"),
    [
        ({"PBS_JOBID": "1.s"}, None, "first"),
        ({"PBS_JOBID": "1.s", "PBS_QUEUE": "b"}, None, "second"),
        ({"PBS_JOBID": "1.s", "PBS_QUEUE": "b"}, "first", "first"),
        ({"SLURM_JOB_ID": "1"}, None, "slurm"),
        ({}, None, "local"),
    ],
)
def test_the_profile_of_a_job(project, env, name, profile):
    found, cluster = find_profile(read_plain_job(env), name)
    assert (found, cluster.ssh) == (profile, None)


def test_a_profile_of_another_scheduler_is_refused(project):
    with pytest.raises(SpecError, match="HPCSWEEP_CLUSTER=here") as caught:
        find_profile(read_plain_job({"PBS_JOBID": "1.s"}), "here")
    assert caught.value.code == "profile_of_other_scheduler"


def join(project, **env):
    identity = Identity(env.get("PBS_JOBID"), "host", "boot", 1, 1, 0)
    variables = {"PBS_O_WORKDIR": str(project), **env}
    return add_plain_job("e", None, variables, identity)


def test_the_second_life_of_a_job_finds_its_place(project):
    first = join(project, PBS_JOBID="12.s", EXP_NAME="x")
    assert join(project, PBS_JOBID="12.s", EXP_NAME="x") == first
    assert first[0].parts[-3:] == ("e-job12.s", "jobs", "0")
    assert len(SweepFolder(first[0].parent.parent).read_sweep().runs) == 1


def test_a_new_server_that_counts_its_jobs_anew(project):
    """The job with this id ended days ago: this one is another."""
    job_dir, _ = join(project, PBS_JOBID="12.s", EXP_NAME="x")
    end = {"exit_code": 0, "ended_at": time.time() - 86400}
    (job_dir / "tasks/0.exit.json").write_text(json.dumps(end))
    again, _ = join(project, PBS_JOBID="12.s", EXP_NAME="x")
    assert again.name == "1"
    assert [run.label for run in SweepFolder(again.parent.parent).read_sweep().runs] == ["x", "x_rep-2"]


def test_subjobs_share_a_job_folder(project):
    env = {"PBS_ARRAY_ID": "9[].s", "EXP_NAME": "x"}
    places = [join(project, PBS_JOBID=f"9[{i}].s", PBS_ARRAY_INDEX=str(i), **env) for i in (4, 2)]
    assert [(path.name, index) for path, index in places] == [("0", 4), ("0", 2)]
    sweep = SweepFolder(places[0][0].parent.parent)
    assert [element.index for element in sweep.read_job(0).array_tasks] == [4, 2]
    submission = sweep.read_submission(0)
    assert (submission.job_id, submission.array_tasks, submission.plain) == ("9[].s", 5, "array")
    with pytest.raises(SpecError, match="x_rep-2") as caught:
        join(project, PBS_JOBID="9[2].s", PBS_ARRAY_INDEX="2", ENABLE_EP="no", **env)
    assert caught.value.code == "array_task_used"


def test_a_job_that_executes_several_variants(project):
    """`for eager in yes no; do ENFORCE_EAGER=$eager hpcsweep-node --experiment e; done`."""
    places = [join(project, PBS_JOBID="9.s", ENFORCE_EAGER=eager) for eager in ("yes", "no", "yes")]
    assert [(path.name, index) for path, index in places] == [("0", 0), ("0", 1), ("0", 0)]
    submission = SweepFolder(places[0][0].parent.parent).read_submission(0)
    assert (submission.array_tasks, submission.plain) == (2, "job")


def test_the_baseline_of_a_shared_sweep_is_that_of_the_experiment(project):
    join(project, PBS_JOBID="1.s", HPCSWEEP_SWEEP="all", MAX_MODEL_LEN="8k", ENFORCE_EAGER="no")
    join(project, PBS_JOBID="2.s", HPCSWEEP_SWEEP="all", TENSOR_PARALLEL_SIZE="2")
    document = SweepFolder(project / ".hpcsweep/sweeps/all").read_sweep()
    assert document.baseline == {**BASELINE, "tp": "2"} or document.baseline == BASELINE
    assert document.axes["len"] == ["8k", "32k"] and document.axes["eager"] == ["no", "yes"]


def test_a_folder_that_another_process_is_making_is_left_alone(project, monkeypatch):
    """`hpcsweep submit` has claimed the name, and has not written sweep.json yet."""
    folder = project / ".hpcsweep/sweeps/exp-0001"
    folder.mkdir(parents=True)
    monkeypatch.setattr("hpcsweep.node.record.joining.write_jobs", lambda *args: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(Exception, match="not writable: full"):
        join(project, PBS_JOBID="5.s", HPCSWEEP_SWEEP="exp-0001")
    assert folder.is_dir()


def test_names_that_are_taken(project):
    for number, env in enumerate(({}, {"ENABLE_EP": "no"}, {}, {"ENABLE_EP": "no"})):
        join(project, PBS_JOBID=f"{number}.s", HPCSWEEP_SWEEP="all", EXP_NAME="x", **env)
    labels = [run.label for run in SweepFolder(project / ".hpcsweep/sweeps/all").read_sweep().runs]
    assert labels[0] == "x" and labels[2] == "x_rep-2"
    assert labels[1].startswith("x_") and len(set(labels)) == 4


def test_a_variant_that_cannot_be_served_is_recorded_as_unsupported(project):
    with pytest.raises(Exception, match="this variant cannot be run: no workload fits"):
        join(project, PBS_JOBID="5.s", EXP_NAME="x", MAX_MODEL_LEN="64")
    document = SweepFolder(project / ".hpcsweep/sweeps/e-job5.s").read_sweep()
    (run,) = document.runs
    assert (run.label, run.outcome, run.not_submitted) == ("x", OutcomeKind.UNSUPPORTED, True)
    assert run.state_reason.startswith("job 5.s: ")


def test_a_failure_while_joining_leaves_nothing_half_made(project, monkeypatch):
    monkeypatch.setattr("hpcsweep.node.record.joining.write_jobs", lambda *args: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(Exception, match="not writable: full"):
        join(project, PBS_JOBID="5.s")
    assert list((project / ".hpcsweep/sweeps").iterdir()) == []
