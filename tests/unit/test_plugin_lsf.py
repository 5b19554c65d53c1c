"""The example of a scheduler plugin, tests/plugins/lsf: it renders, submits to a fake LSF, is tracked and cancelled."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_render import one_job

from hpcsweep.errors import SchedulerError, SpecError
from hpcsweep.hosts.local import LocalHost
from hpcsweep.node.identity import job_id
from hpcsweep.registry import Registry
from hpcsweep.render.environment import make_environment
from hpcsweep.render.job import render_job
from hpcsweep.schedulers import registry
from hpcsweep.schedulers.base import JobState
from hpcsweep.schedulers.registry import array_task_id, log_index, scheduler_templates, with_scheduler_options
from hpcsweep.spec.cluster import Cluster
from hpcsweep.submit.factory import make_backend
from hpcsweep.sweep.layout import Home

PLUGIN = Path(__file__).parent.parent / "plugins" / "lsf"

FAKE = """#!/bin/bash
cd "${0%/*}"
case "${0##*/}" in
bsub)
    cat > script
    grep -q '^#BSUB -q closed' script && { echo 'closed: Queue is closed' >&2; exit 255; }
    echo 'Job <71> is submitted to queue <gpu>.' ;;
bjobs) printf '71|1|RUN|node3\\n71|2|PEND|-\\n' ;;
bkill) echo "$@" >> killed ;;
esac
"""


@pytest.fixture
def lsf(tmp_path, monkeypatch):
    """The plugin, installed, and a fake LSF on PATH: the folder that it records calls in."""
    info = tmp_path / "site" / "hpcsweep_lsf-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hpcsweep-lsf\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hpcsweep.schedulers]\nlsf = hpcsweep_lsf:LsfScheduler\n")
    for folder in (info.parent, PLUGIN):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "hpcsweep_lsf", raising=False)
    before = registry.SCHEDULERS
    monkeypatch.setattr(registry, "SCHEDULERS", Registry(before.group, before.what, before.builtin, SpecError))
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bsub", "bjobs", "bkill"):
        (tools / name).write_text(FAKE)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return tools


def rendered(folder, **profile):
    cluster = with_scheduler_options(Cluster(scheduler="lsf", **profile), "profile")
    job = one_job(sweep_dir=str(folder), runs=2)
    environment = make_environment(scheduler_templates=scheduler_templates("lsf"))
    template = registry.get_scheduler("lsf").template
    script = render_job(environment, template, job, cluster, python="/usr/bin/env", parallel=1).script
    return job, cluster, script


def test_its_template_is_found_and_gets_its_options(lsf, tmp_path):
    _, _, script = rendered(tmp_path, scheduler_options={"application": "llm"}, queue="gpu")
    directives = [line for line in script.splitlines() if line.startswith("#BSUB")]
    assert "#BSUB -J e-0001-0[1-2]%1" in directives and "#BSUB -app llm" in directives
    assert "#BSUB -q gpu" in directives
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(("index", "expected"), [("0", "0"), ("1", "0"), ("2", "1")])
def test_the_array_index_begins_at_zero(lsf, tmp_path, index, expected):
    _, _, script = rendered(tmp_path)
    (line,) = (line for line in script.splitlines() if line.startswith("export HPCSWEEP_ARRAY_INDEX"))
    command = f"export LSB_JOBINDEX={index}; {line}; echo $HPCSWEEP_ARRAY_INDEX"
    assert subprocess.run(["bash", "-c", command], capture_output=True, text=True).stdout == f"{expected}\n"


def test_jobs_are_submitted_tracked_and_cancelled(lsf, tmp_path):
    job, cluster, script = rendered(tmp_path)
    job_dir = tmp_path / "jobs" / "0"
    job_dir.mkdir(parents=True)
    (job_dir / "job.sh").write_text(script)
    backend = make_backend(cluster, Home(tmp_path))
    assert backend.submit(job, str(job_dir), script) == "71"
    assert (lsf / "script").read_text() == script
    snapshot = backend.queue_snapshot({"71": job.name})
    states = {key: status.state for key, status in snapshot.statuses.items()}
    assert states == {("71", 0): JobState.RUNNING, ("71", 1): JobState.PENDING}
    assert snapshot.statuses["71", 0].node == "node3" and snapshot.complete
    backend.cancel("71", [1])
    assert (lsf / "killed").read_text() == "71[2]\n"
    assert backend.find(job.name, str(job_dir)) is None
    assert array_task_id("lsf", "71", 0) == "71[1]" and log_index("2.out") == 1
    assert job_id({"LSB_JOBID": "71"}) == "71"


def test_a_rejected_submission_is_an_error(lsf, tmp_path):
    job, cluster, script = rendered(tmp_path, queue="closed")
    (tmp_path / "job.sh").write_text(script)
    with pytest.raises(SchedulerError) as caught:
        make_backend(cluster, Home(tmp_path)).submit(job, str(tmp_path), script)
    assert caught.value.code == "submit_rejected" and "Queue is closed" in caught.value.message


def test_an_unreadable_list_is_an_incomplete_snapshot(lsf, tmp_path):
    (lsf / "bjobs").write_text("#!/bin/sh\necho 'Cannot connect to LSF' >&2; exit 255\n")
    snapshot = make_backend(Cluster(scheduler="lsf"), Home(tmp_path)).queue_snapshot({"71": "n"})
    assert not snapshot.complete and snapshot.error == "bjobs: Cannot connect to LSF"
    assert isinstance(make_backend(Cluster(scheduler="lsf"), Home(tmp_path)).host, LocalHost)


def test_an_unknown_option_names_the_known_ones():
    with pytest.raises(SpecError):
        with_scheduler_options(Cluster(scheduler="lsf", scheduler_options={"app": "x"}), "profile")
