"""Every scheduler of the registry keeps the contract; plugins are found, and broken ones do no harm."""

import sys
import warnings

import pytest

from hpcsweep.errors import SchedulerUnreachable, SpecError
from hpcsweep.render.environment import shipped_templates
from hpcsweep.schedulers.base import CommandResult
from hpcsweep.schedulers.registry import get_scheduler, scheduler_names

BUILTIN = ["pbs", "slurm"]


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


def test_the_built_in_ones_are_there():
    assert set(BUILTIN) <= set(scheduler_names())


@pytest.mark.parametrize("name", BUILTIN)
def test_contract(name):
    scheduler = get_scheduler(name)
    assert scheduler.name == name
    assert scheduler.template in shipped_templates()
    assert scheduler.cancel_argv("12", None)
    job_ids = ["12", "13", "14"]
    assert len(scheduler.queries(job_ids, "u")) == len(scheduler.queries(job_ids[:1], "u"))
    for number, argv in enumerate(scheduler.queries(job_ids, "u")):
        for answer in (
            CommandResult(argv, None, "", ""),
            CommandResult(argv, 1, "", "boom"),
            CommandResult(argv, 0, "no such form\n", ""),
        ):
            listing = scheduler.parse_query(number, answer)
            assert not listing.statuses and not listing.complete
    probes = scheduler.probes()
    facts = scheduler.parse_probes([CommandResult(argv, 1, "", "boom") for argv in probes])
    assert facts.warnings and not facts.partitions
    for answer in (CommandResult(("x",), None, "", "", 60.0),):
        with pytest.raises(SchedulerUnreachable):
            scheduler.parse_submit(answer)
        assert scheduler.cancel_error(answer)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SpecError, match="unknown scheduler 'slrum'") as caught:
        get_scheduler("slrum")
    assert "did you mean 'slurm'" in caught.value.hint and "pbs" in caught.value.hint


def test_a_plugin_is_found(plugin):
    plugin("lsf", "class Theirs:\n    name = 'lsf'\n")
    assert "lsf" in scheduler_names()
    assert get_scheduler("lsf").name == "lsf"


def test_a_broken_plugin_is_a_warning_that_names_it(plugin):
    plugin("broken", "raise RuntimeError('no licence')\n")
    with pytest.warns(UserWarning, match="broken.*plugin_.*no licence"), pytest.raises(SpecError, match="'broken'"):
        get_scheduler("broken")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get_scheduler("slurm").name == "slurm"


def test_a_plugin_cannot_take_a_built_in_name(plugin):
    plugin("slurm", "class Theirs:\n    name = 'theirs'\n")
    assert type(get_scheduler("slurm")).__module__ == "hpcsweep.schedulers.slurm.scheduler"
