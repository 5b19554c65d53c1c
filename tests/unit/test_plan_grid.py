"""Axes, grids and runs: which points there are, in which order, and under which names."""

import pytest

from hpcsweep.errors import PlanError, SpecError
from hpcsweep.plan.grid import Selection, expand
from hpcsweep.plan.jobs import Packing, gpu_hours, pack_jobs, repack
from hpcsweep.plan.runs import build_server, plan_runs, run_label
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.left_out import LeftOut, LeftOutKind
from hpcsweep.spec.renamed import DeprecationNote
from hpcsweep.spec.workload import DatasetFacts
from hpcsweep.sweep.layout import current_jobs

STUDY = {
    "name": "study",
    "model": "zai-org/GLM-4.6",
    "engine_args": {"dtype": "bfloat16", "max-num-seqs": 8},
    "axes": {"ep": ["on", "off"], "eager": ["yes", "no"], "len": ["8k", "32k", "64k"]},
    "baseline": {"ep": "on", "eager": "yes", "len": "32k"},
    "workloads": {
        "8k": {"dataset": {"kind": "samples"}, "max_tokens": 512},
        "64k": {"dataset": {"kind": "samples"}, "max_tokens": 512},
    },
    "resources": {"gpus": 8, "gpu_type": "h200", "walltime": "4h"},
}
FACTS = {
    "8k": DatasetFacts(requests=3, prompt_tokens_max=6102),
    "64k": DatasetFacts(requests=2, prompt_tokens_max=47490),
}


def study(**changes):
    return Experiment.model_validate({**STUDY, **changes})


def points(experiment, **selection):
    return [
        ",".join(f"{axis}={level.label}" for axis, level in point.items())
        for point in expand(experiment, Selection(**selection)).points
    ]


def runs_of(experiment, check=lambda server: [], **selection):
    return plan_runs(experiment, expand(experiment, Selection(**selection)), FACTS, check)


def test_the_whole_grid_last_axis_fastest():
    found = points(study())
    assert len(found) == 12
    assert found[:2] == ["ep=on,eager=yes,len=8k", "ep=on,eager=yes,len=32k"]
    assert found[-1] == "ep=off,eager=no,len=64k"


CASES = [  # (selection, points)
    pytest.param({"grid": ("ep",)}, ["ep=on,eager=yes,len=32k", "ep=off,eager=yes,len=32k"], id="others at baseline"),
    pytest.param({"grid": ("len",), "levels": {"len": ("8k", "16384")}}, 2, id="levels replace"),
    pytest.param({"levels": {"len": ("8k", "8192")}}, 4, id="one level in two spellings"),
    pytest.param({"fix": {"eager": "yes"}}, 6, id="fix"),
    pytest.param({"fix": {"eager": "true", "ep": "0"}}, 3, id="switches have many spellings"),
    pytest.param({"one_at_a_time": True}, 5, id="one at a time: the baseline and 1 + 1 + 2"),
    pytest.param({"grid": ("tp",), "levels": {"tp": ("4", "8")}}, 2, id="a built-in axis that is not in the file"),
    pytest.param({"grid": ("ep", "ep")}, 2, id="an axis that is named twice is one axis"),
    pytest.param({"grid": ("len", "ep")}, 6, id="order of the axes is that of --grid"),
]


@pytest.mark.parametrize(("selection", "expected"), CASES)
def test_selection(selection, expected):
    found = points(study(), **selection)
    assert (found if isinstance(expected, list) else len(found)) == expected


def test_old_names_of_axes_are_read_and_noted():
    old = Selection(grid=("seqs", "ep"), levels={"seqs": ("64", "128")}, fix={"batched_tokens": "8k"})
    new = Selection(
        grid=("max_num_seqs", "ep"), levels={"max_num_seqs": ("64", "128")}, fix={"max_num_batched_tokens": "8k"}
    )
    assert expand(study(), old) == expand(study(), new)
    assert new.deprecation_notes == ()
    assert old.deprecation_notes == (
        DeprecationNote("seqs", "max_num_seqs"),
        DeprecationNote("batched_tokens", "max_num_batched_tokens"),
    )


def test_one_at_a_time_differs_from_the_baseline_in_one_axis():
    grid = expand(study(), Selection(one_at_a_time=True))
    for point in grid.points[1:]:
        assert sum(point[axis].label != grid.baseline[axis].label for axis in point) == 1


def test_replaced_levels_take_the_baseline_along():
    grid = expand(study(), Selection(grid=("len",), levels={"len": ("16k", "128k")}))
    assert grid.baseline["len"].label == "16k"


BAD = [
    pytest.param({"grid": ("eagr",)}, "--grid: unknown axis 'eagr'", "'eager'", id="axis"),
    pytest.param({"grid": ("tp",)}, "has no levels for axis 'tp'", "--levels tp=", id="no levels"),
    pytest.param({"levels": {"len": ("8q",)}}, "axis len .*'8q'", "", id="level"),
    pytest.param({"levels": {"eager": ("maybe",)}}, "axis eager .*got 'maybe'", "", id="switch"),
    pytest.param({"fix": {"ep": "on"}, "grid": ("ep",)}, "--set ep=on", "", id="fixed and varied"),
    pytest.param({"levels": {"tp": ("0",)}}, "axis tp", "", id="count"),
]


@pytest.mark.parametrize(("selection", "message", "hint"), BAD)
def test_a_wrong_selection_names_what_is_known(selection, message, hint):
    with pytest.raises(SpecError, match=message) as caught:
        points(study(), **selection)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        pytest.param(
            {"levels": {"max_num_seqs": range(1, 1001)}},
            "12,000 runs exceed the limit of 10,000: .*max_num_seqs 1000",
            id="levels",
        ),
        pytest.param({"repeats": 10**9}, "12,000,000,000 runs .*1,000,000,000 repeats", id="repeats"),
    ],
)
def test_a_grid_that_nobody_can_mean_is_refused_before_it_is_made(selection, said):
    with pytest.raises(PlanError, match=said):
        points(study(), **selection)


def test_rules():
    assert len(points(study(exclude=[{"ep": "off", "eager": "no"}]))) == 9
    assert len(points(study(only=[{"len": ["8k", "64k"]}]))) == 8
    grid = expand(study(exclude=[{"len": 8192}]), Selection())
    assert len(grid.excluded) == 4 and "len=8k" in grid.excluded[0][1]
    with pytest.raises(PlanError, match="all 12 points of the grid are excluded"):
        points(study(exclude=[{"ep": ["on", "off"]}]))


def test_own_axes():
    experiment = study(
        axes={
            "backend": {"flag": "--all2all-backend", "levels": ["naive", "deepep"]},
            "nccl": {"env": "NCCL_P2P_DISABLE", "levels": [0, 1]},
            "shape": {"levels": {"small": {"set": {"tp": 4, "ep": "off"}}, "big": {"flags": {"--x": True}}}},
        },
        baseline={},
    )
    grid = expand(experiment, Selection())
    assert len(grid.points) == 8
    server = build_server(experiment, grid.points[0])
    assert server.flags["--all2all-backend"] == "naive" and server.env == {"NCCL_P2P_DISABLE": "0"}
    assert server.settings.tensor_parallel_size == 4 and server.settings.expert_parallel is False
    with pytest.raises(SpecError, match="axis shape: unknown level 'medium'"):
        expand(experiment, Selection(levels={"shape": ("medium",)}))


def test_workloads_that_do_not_fit_are_left_out_with_the_sum():
    by_label = {run.label: run for run in runs_of(study())}
    short = by_label["ep-on_eager-yes_len-32k"].workloads
    assert [w.left_out is None for w in short] == [True, False]
    assert short[1].left_out.kind is LeftOutKind.DOES_NOT_FIT
    assert short[1].left_out.detail == "47490 prompt + 512 completion tokens = 48002 > max-model-len 32768"
    assert all(w.left_out is None for w in by_label["ep-on_eager-yes_len-64k"].workloads)


@pytest.mark.parametrize(
    ("text", "kind", "detail"),
    [
        ("does not fit", LeftOutKind.DOES_NOT_FIT, ""),
        ("does not fit: 48002 > 32768", LeftOutKind.DOES_NOT_FIT, "48002 > 32768"),
        ("does not fitted", LeftOutKind.OTHER, "does not fitted"),
        ("a reason: with a colon", LeftOutKind.OTHER, "a reason: with a colon"),
    ],
)
def test_reasons_are_read_from_their_one_line_form(text, kind, detail):
    reason = LeftOut.parse(text)
    assert (reason.kind, reason.detail) == (kind, detail)
    assert LeftOut.parse(str(reason)) == reason
    assert LeftOut.model_validate_json(reason.model_dump_json()) == reason


def test_a_length_in_the_engines_own_flag_counts_too():
    experiment = study(axes={"ep": ["on"]}, baseline={}, engine_args={"max-model-len": 8192})
    assert [w.left_out is None for w in runs_of(experiment)[0].workloads] == [True, False]


def test_names_of_the_environment():
    run = runs_of(study(), grid=("len",), levels={"len": ("8k",)})[0]
    assert run.exports == {
        "HPCSWEEP_AXIS_EP": "on",
        "HPCSWEEP_AXIS_EAGER": "yes",
        "HPCSWEEP_AXIS_LEN": "8k",
        "ENFORCE_EAGER": "yes",
        "ENABLE_EP": "yes",
        "MAX_MODEL_LEN": "8192",
        "EXP_NAME": "ep-on_eager-yes_len-8k",
        "HPCSWEEP_RUN": "ep-on_eager-yes_len-8k",
        "HPCSWEEP_REPEAT": "1",
    }


def test_variant_id_is_that_of_the_settings():
    first = {run.label: run.variant_id for run in runs_of(study())}
    second = {run.label: run.variant_id for run in runs_of(study(axes=dict(reversed(STUDY["axes"].items()))))}
    assert len(set(first.values())) == 12
    assert set(first.values()) == set(second.values())


@pytest.mark.parametrize(
    "value", ["../../etc", "a/b", "x y", "$(id)", "o'clock", "new\nline", "", ".", "é", "a" * 300], ids=repr
)
def test_labels_are_safe_folder_names(value):
    label = run_label({"model": value})
    assert "/" not in label and "\n" not in label and label not in (".", "..") and len(label.encode()) <= 120
    assert label != run_label({"model": value + "x"})


def test_repeats_and_refusals():
    runs = runs_of(study(repeats=2), check=lambda server: ["no"] if server.settings.expert_parallel is False else [])
    assert len(runs) == 24
    assert runs[12].label == runs[0].label + "_rep-2" and runs[12].variant_id == runs[0].variant_id
    assert sum(run.refused is not None for run in runs) == 12


def packed(runs, cluster=None, **packing):
    cluster = cluster or Cluster(scheduler="slurm")
    return pack_jobs(study(), runs, cluster, Packing("study-0001", "/h/sweeps/study-0001", "/h/cache", **packing))


def test_one_array_for_all_runs_of_a_shape():
    (job,) = packed(runs_of(study()))
    assert [element.index for element in job.array_tasks] == list(range(12))
    assert job.resources.gpus == 8 and job.resources.gpu_type == "h200"
    assert gpu_hours([job]) == 12 * 8 * 4
    assert job.array_tasks[3].runs[0].run_dir.endswith("/runs/ep-on_eager-no_len-8k")


def test_chunks_and_packs():
    runs = runs_of(study())
    assert [len(job.array_tasks) for job in packed(runs, max_array_size=5)] == [5, 5, 2]
    (job,) = packed(runs, pack=5)
    assert [len(e.runs) for e in job.array_tasks] == [5, 5, 2]
    assert job.resources.walltime_s == 5 * 4 * 3600


def test_what_a_cluster_cannot_give_is_said_before():
    with pytest.raises(PlanError, match="needs 8 GPUs per node; nodes of this cluster have 4"):
        packed(runs_of(study()), Cluster(scheduler="slurm", gpus_per_node=4))
    with pytest.raises(PlanError, match="a run requests 4h00m; this cluster allows 1h00m"):
        packed(runs_of(study()), Cluster(scheduler="slurm", walltime="1h"))
    with pytest.raises(PlanError, match="2 runs of 4h00m need 8h00m; this cluster allows 6h00m"):
        packed(runs_of(study()), Cluster(scheduler="slurm", walltime="6h"), pack=2)


def test_a_retry_is_a_job_of_its_own_with_indexes_from_zero():
    (job,) = packed(runs_of(study()))
    again = [(job, job.array_tasks[i].runs[0]) for i in (2, 7)]
    (second,) = repack(
        again,
        {again[0][1].label: 1},
        lambda job, run: job.resources,
        first_job=1,
        max_array_size=None,
        cluster=Cluster(),
    )
    assert second.job == 1 and second.name == "study-0001-1"
    assert [(e.index, e.runs[0].attempt_offset) for e in second.array_tasks] == [(0, 1), (1, 0)]


def test_a_run_belongs_to_the_latest_job_that_was_handed_over():
    """A job that was refused says nothing of its runs, unless nothing else does."""
    (first,) = packed(runs_of(study()))
    labels = [element.runs[0].label for element in first.array_tasks]
    again = first.model_copy(update={"job": 1, "array_tasks": first.array_tasks[:2]})
    for handed, job in (((True, True), 1), ((True, False), 0), ((False, False), 1), ((False, True), 1)):
        found = current_jobs(zip((first, again), handed, strict=True))
        assert found.keys() == set(labels)
        assert {found[label][0].job for label in labels[:2]} == {job}
        assert {found[label][0].job for label in labels[2:]} == {0}
        assert found[labels[1]][1:] == (1, first.array_tasks[1].runs[0])
