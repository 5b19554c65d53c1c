"""Every scheduler of the registry keeps the contract; plugins are found, and broken ones are reported."""

import sys
import warnings

import pytest

from hpcsweep.errors import SchedulerUnreachable, SpecError
from hpcsweep.registry import Registry
from hpcsweep.render.environment import shipped_templates
from hpcsweep.schedulers import registry
from hpcsweep.schedulers.base import CommandResult
from hpcsweep.schedulers.registry import (
    array_task_id,
    get_scheduler,
    log_index,
    scheduler_names,
    scheduler_of,
    scheduler_templates,
    with_scheduler_options,
)
from hpcsweep.spec.cluster import Cluster

BUILTIN = ["pbs", "slurm"]


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """A registry that has not looked for plugins yet."""
    before = registry.SCHEDULERS
    fresh = Registry(before.group, before.what, before.builtin, SpecError)
    monkeypatch.setattr(registry, "SCHEDULERS", fresh)


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Makes a package that registers a scheduler, as pip would install it."""

    def make(name, body):
        package = f"plugin_{len(list(tmp_path.iterdir()))}"
        (tmp_path / f"{package}.py").write_text(body)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[hpcsweep.schedulers]\n{name} = {package}:Theirs\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, package, raising=False)

    return make


def test_the_built_in_ones_are_listed():
    assert set(BUILTIN) <= set(scheduler_names())


@pytest.mark.parametrize("name", BUILTIN)
def test_contract(name):
    scheduler = get_scheduler(name)
    assert scheduler.name == name
    assert scheduler.template in shipped_templates() and not scheduler_templates(name)
    assert scheduler.cancel_argv("12", None)
    job_ids = ["12", "13", "14"]
    queries = scheduler.queries(job_ids, "u")
    assert len(queries) == len(scheduler.queries(job_ids[:1], "u"))
    for query in queries:
        for answer in (
            CommandResult(query.argv, None, "", ""),
            CommandResult(query.argv, 1, "", "boom"),
            CommandResult(query.argv, 0, "no such form\n", ""),
        ):
            snapshot = query.parse(answer)
            assert not snapshot.statuses and not snapshot.complete and snapshot.error
    probes = scheduler.probes()
    facts = scheduler.parse_probes([CommandResult(argv, 1, "", "boom") for argv in probes])
    assert facts.warnings and not facts.partitions
    timed_out = CommandResult(("x",), None, "", "", 60.0)
    with pytest.raises(SchedulerUnreachable):
        scheduler.parse_submit(timed_out)
    assert scheduler.cancel_error(timed_out)
    with pytest.raises(SchedulerUnreachable):
        scheduler.find_query("n", "u", "/x").parse(timed_out)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SpecError) as caught:
        get_scheduler("slrum")
    assert caught.value.code == "unknown_scheduler"
    assert "did you mean 'slurm'" in caught.value.hint and "local" in caught.value.hint


def test_a_plugin_is_found(plugin):
    plugin("lsf", "class Theirs:\n    name = 'lsf'\n")
    assert "lsf" in scheduler_names()
    assert get_scheduler("lsf").name == "lsf"


def test_a_broken_plugin_is_a_warning_that_names_it(plugin):
    plugin("broken", "raise RuntimeError('no licence')\n")
    with pytest.warns(UserWarning, match="broken.*plugin_.*no licence"), pytest.raises(SpecError) as caught:
        get_scheduler("broken")
    assert caught.value.code == "plugin_broken"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get_scheduler("slurm").name == "slurm"


def test_a_plugin_cannot_take_a_built_in_name(plugin):
    plugin("slurm", "class Theirs:\n    name = 'theirs'\n")
    assert type(get_scheduler("slurm")).__module__ == "hpcsweep.schedulers.slurm.scheduler"


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": ""}, None),
        ({"SLURM_JOB_ID": "12"}, "slurm"),
        ({"PBS_JOBID": "12.s"}, "pbs"),
        ({"PBS_JOBID": "12.s", "SLURM_JOB_ID": "12"}, "slurm"),
    ],
)
def test_the_scheduler_of_a_job_is_read_from_its_environment(env, name):
    scheduler = scheduler_of(env)
    assert (scheduler.name if scheduler is not None else None) == name


@pytest.mark.parametrize(
    ("scheduler", "job_id", "task_id"),
    [
        ("slurm", "12", "12_3"),
        ("pbs", "12[].s", "12[3].s"),
        ("local", "12", "12[3]"),
        ("of-a-plugin-that-was-removed", "12", "12[3]"),
    ],
)
def test_ids_of_array_tasks(scheduler, job_id, task_id):
    assert array_task_id(scheduler, job_id, 3) == task_id


@pytest.mark.parametrize(
    ("name", "index"), [("3.log", 3), ("12[3].server.OU", 3), ("12.server.OU", None), ("slurm-12.out", None)]
)
def test_indexes_in_names_of_logs(name, index):
    assert log_index(name) == index


OPTIONS = """
from hpcsweep.spec.base import Model

class Options(Model):
    project: str = "none"

class Theirs:
    name = "lsf"
    options_model = Options
"""


def test_options_of_a_scheduler_are_checked_and_completed(plugin):
    plugin("lsf", OPTIONS)
    assert with_scheduler_options(Cluster(scheduler="lsf"), "x").scheduler_options == {"project": "none"}
    given = Cluster(scheduler="lsf", scheduler_options={"project": "p1"})
    assert with_scheduler_options(given, "x").scheduler_options == {"project": "p1"}
    with pytest.raises(SpecError) as caught:
        with_scheduler_options(Cluster(scheduler="lsf", scheduler_options={"projct": "p"}), "profile 'a'")
    assert "projct" in caught.value.message and "did you mean 'project'" in caught.value.hint


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_built_in_schedulers_have_no_options_of_their_own(name):
    assert with_scheduler_options(Cluster(scheduler=name), "x") == Cluster(scheduler=name)
    with pytest.raises(SpecError) as caught:
        with_scheduler_options(Cluster(scheduler=name, scheduler_options={"a": 1}), "x")
    assert caught.value.code == "scheduler_options_unsupported"
