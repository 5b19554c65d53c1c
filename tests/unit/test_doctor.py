"""What doctor finds wrong, and what init proposes: from facts, without a machine."""

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpcsweep.cli.main import main
from hpcsweep.errors import HostError
from hpcsweep.hosts.mounts import file_system_of, is_shared
from hpcsweep.schedulers.base import ClusterFacts, CommandResult, Partition
from hpcsweep.schedulers.profile_check import profile_problems
from hpcsweep.spec.cluster import Cluster, ConfigFile
from hpcsweep.spec.load import choose_cluster, parse_model
from hpcsweep.submit import machine as machine_module
from hpcsweep.submit.machine import EngineCheck, HomeCheck, Machine, check_home
from hpcsweep.submit.proposal import propose, yaml_text

H200 = Partition("h200", True, True, 4, 86400.0, 64, 512 << 30, {"h200": 8})
MIXED = Partition("mixed", False, True, 6, None, 64, 512 << 30, {"h200": 8, "a100": 4})
CPU = Partition("cpu", False, False, 100, 3600.0, 128, 256 << 30)
FACTS = ClusterFacts("24.05", (H200, MIXED, CPU), 1001, True)

PROBLEMS = [
    pytest.param({"partition": "h200"}, "", id="fine"),
    pytest.param({}, "", id="the default partition"),
    pytest.param({"partition": "h200,mixed", "gpu_type": "a100"}, "", id="one of two partitions is enough"),
    pytest.param({"partition": "h20"}, "partition 'h20' does not exist (did you mean 'h200'", id="misspelt partition"),
    pytest.param({"partition": "cpu"}, "does not accept jobs", id="partition down"),
    pytest.param({"walltime": "2d"}, "walltime 48h00m exceeds the 24h00m of partition 'h200'", id="too long"),
    pytest.param({"partition": "mixed", "walltime": "30d"}, "", id="no limit"),
    pytest.param({"gpu_type": "h100"}, "no GPUs of type 'h100'", id="GPU type"),
    pytest.param({"gpus_per_node": 16}, "a node of partition 'h200' has 8", id="too many GPUs"),
    pytest.param({"partition": "mixed", "gpu_type": "a100", "gpus_per_node": 8}, "has 4", id="too many of this type"),
    pytest.param({"cpus": 65}, "cpus 65: a node of partition 'h200' has 64", id="too many CPUs"),
    pytest.param({"memory": "513G"}, "memory 513.0 GiB", id="too much memory"),
    pytest.param({"max_array_size": 5000}, "limit of 1001", id="array size"),
]


@pytest.mark.parametrize(("profile", "words"), PROBLEMS)
def test_profiles_against_facts(profile, words):
    problems = "; ".join(profile_problems(Cluster(scheduler="slurm", **profile), FACTS))
    assert words in problems
    assert bool(problems) == bool(words)


def test_a_cluster_without_a_default_partition_needs_one():
    facts = ClusterFacts(partitions=(MIXED,))
    assert "has no default" in profile_problems(Cluster(scheduler="slurm"), facts)[0]


def test_a_pbs_profile_is_held_against_its_queue():
    cluster = Cluster(scheduler="pbs", queue="h20", partition="h200")
    assert profile_problems(cluster, FACTS)[0].startswith("queue 'h20' does not exist")


def test_nothing_is_said_where_the_cluster_says_nothing():
    assert profile_problems(Cluster(scheduler="slurm", partition="x", walltime="9d"), ClusterFacts()) == []


MOUNTS = """\
overlay / overlay rw 0 0
/dev/sda1 /home ext4 rw 0 0
fs1:/scratch /scratch/with\\040blank nfs4 rw 0 0
lustre@tcp:/l /lustre lustre rw 0 0
sshfs /home/me/far fuse.sshfs rw 0 0
beegfs_nodev /bee fuse.beegfs rw 0 0
fs1:/tab /mnt/a\\011b nfs4 rw 0 0
short
"""


@pytest.mark.parametrize(
    ("path", "kind", "shared"),
    [
        ("/home/u/x", "ext4", False),
        ("/homely", "overlay", False),
        ("/scratch/with blank/u", "nfs4", True),
        ("/lustre", "lustre", True),
        ("/home/me/far/away", "fuse.sshfs", False),
        ("/bee/u", "fuse.beegfs", True),
        ("/mnt/a\tb/u", "nfs4", True),
    ],
)
def test_file_systems(path, kind, shared):
    assert file_system_of(Path(path), MOUNTS) == kind
    assert is_shared(kind) is shared


def test_no_mounts_known():
    assert file_system_of(Path("/home"), "") == "unknown"


def test_home_that_is_not_there_yet(tmp_path):
    check = check_home(tmp_path / "a" / "b")
    assert check.trouble == "" and check.free_bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_home_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    assert "Not a directory" in check_home(tmp_path / "file" / "home").trouble


def make_machine(schedulers, engines=()):
    home = HomeCheck("/h", "", "nfs", True, 1)
    return Machine("login1", "Linux", "/usr/bin/python3", "0.1", (), schedulers, home, tuple(engines), {})


def proposed(machine):
    text = propose(machine)
    return text, parse_model(ConfigFile, text, "hpcsweep.yaml")


def test_a_profile_for_each_kind_of_gpu_node():
    text, settings = proposed(make_machine({"slurm": FACTS}))
    assert settings.default == "slurm-h200"
    assert list(settings.clusters) == ["slurm-h200", "slurm-mixed-h200", "slurm-mixed-a100"]
    a100 = settings.clusters["slurm-mixed-a100"]
    assert (a100.partition, a100.gpu_type, a100.gpus_per_node, a100.walltime) == ("mixed", "a100", 4, None)
    assert settings.clusters["slurm-h200"].walltime == 86400
    assert "4 nodes of 64 CPUs and 512.0 GiB" in text
    for cluster in settings.clusters.values():
        assert profile_problems(cluster, FACTS) == []


def test_a_pbs_site_gets_queues():
    _, settings = proposed(
        make_machine({"pbs": ClusterFacts("22.05", (Partition("workq", True, True, 2, gpus={"": 4}),))})
    )
    profile = settings.clusters["pbs-workq"]
    assert (profile.scheduler, profile.queue, profile.partition, profile.gpu_type) == ("pbs", "workq", None, None)
    assert profile.gpus_per_node == 4


def test_a_cluster_without_gpus_gets_its_default_partition():
    _, settings = proposed(
        make_machine({"slurm": ClusterFacts(partitions=(CPU, dataclasses.replace(CPU, name="d", default=True)))})
    )
    assert list(settings.clusters) == ["slurm-d"]
    assert settings.clusters["slurm-d"].gpus_per_node is None


def test_no_scheduler_gives_a_file_that_works():
    text, settings = proposed(make_machine({}))
    assert settings.clusters == {} and "ssh:" in text
    assert choose_cluster(None, [("hpcsweep.yaml", settings)])[0] == "local"


def test_engines_that_are_here_are_named():
    engines = [EngineCheck("vllm", "/opt/a b/bin/vllm", None), EngineCheck("sglang", None, None)]
    _, settings = proposed(make_machine({"slurm": FACTS}, engines))
    assert settings.clusters["slurm-h200"].executables == {"vllm": "/opt/a b/bin/vllm"}


@pytest.mark.parametrize(
    "text", ["plain", "two words", "it's", "24:00:00", "on", "NULL", "12", "a: b", "#x", "é", "a\nb", ""]
)
def test_yaml_text_is_read_back(text):
    settings = parse_model(ConfigFile, f"clusters:\n  x:\n    env: {{A: {yaml_text(text)}}}\n", "x")
    assert settings.clusters["x"].env == {"A": text}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, on a machine without a scheduler."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HPCSWEEP_CONFIG", raising=False)
    monkeypatch.delenv("HPCSWEEP_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def hpcsweep(*args):
    return CliRunner().invoke(main, args)


def test_doctor_without_a_scheduler(here):
    done = hpcsweep("doctor")
    assert done.exit_code == 0
    assert "none on this machine" in done.output and "`hpcsweep init` writes hpcsweep.yaml" in done.output
    assert list(here.iterdir()) == []


def test_doctor_as_json(here):
    (here / "hpcsweep.yaml").write_text("clusters: {far: {scheduler: slurm}, own: {scheduler: local}}\n")
    document = json.loads(hpcsweep("doctor", "--json").output)
    assert document["schedulers"] == {}
    assert document["profiles"] == {"far": ["scheduler 'slurm' is not installed on this machine"], "own": []}


class Far:
    """A login node over SSH, as far as doctor asks it."""

    def __init__(self, answers):
        self.answers = answers

    def run(self, argv, *, timeout_s, stdin=None):
        code, stdout, stderr = self.answers.get(argv[0], (0, "", ""))
        if code == 255:
            raise HostError(f"login: no SSH connection: {stderr}")
        return CommandResult(tuple(argv), code, stdout, stderr)


SINFO = (0, "gpu*|up|1:00:00|2|64|256000|gpu:h200:8\n", "")
FAR = [
    pytest.param({"sinfo": SINFO}, [], id="all is well"),
    pytest.param({"scontrol": (255, "", "timed out")}, ["login: no SSH connection: timed out"], id="no connection"),
    pytest.param(
        {"sinfo": SINFO, "/far/python": (1, "", "Traceback\nModuleNotFoundError: No module named 'hpcsweep'\n")},
        ["/far/python on the remote host cannot import hpcsweep: ModuleNotFoundError: No module named 'hpcsweep'"],
        id="not installed there",
    ),
]


@pytest.mark.parametrize(("answers", "problems"), FAR)
def test_doctor_asks_the_other_side_of_ssh(here, monkeypatch, answers, problems):
    profile = "{scheduler: slurm, python: /far/python, partition: gpu, ssh: {host: login, home: /far}}"
    (here / "hpcsweep.yaml").write_text(f"clusters: {{far: {profile}}}\n")
    monkeypatch.setattr(machine_module, "make_host", lambda cluster: Far(answers))
    assert json.loads(hpcsweep("doctor", "--json").output)["profiles"] == {"far": problems}


def test_doctor_of_a_scheduler_that_does_not_answer(here, monkeypatch):
    for name in ("scontrol", "sinfo"):
        (here / name).write_text("#!/bin/sh\necho first >&2\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
        (here / name).chmod(0o755)
    done = hpcsweep("doctor")
    assert done.exit_code == 0
    assert "slurm (version unknown): accounting unknown" in done.output
    assert "warning: sinfo: Unable to contact slurm controller" in done.output


def test_init_writes_once(here):
    done = hpcsweep("init")
    assert (done.exit_code, "hpcsweep.yaml: no cluster profile" in done.output) == (0, True)
    before = (here / "hpcsweep.yaml").read_text()
    again = hpcsweep("init")
    assert again.exit_code == 1 and "--force" in again.output
    assert (here / "hpcsweep.yaml").read_text() == before
    (here / "hpcsweep.yaml").write_text("damaged: [")
    assert hpcsweep("init", "--force").exit_code == 0
    assert (here / "hpcsweep.yaml").read_text() == before


def test_init_print_writes_nothing(here):
    done = hpcsweep("init", "--print")
    assert "clusters:" in done.output and list(here.iterdir()) == []


def test_init_where_it_cannot_write(here):
    (here / "file").write_text("")
    done = hpcsweep("init", "file/hpcsweep.yaml")
    assert done.exit_code == 1 and "cannot write" in done.output


def test_init_from_a_scheduler(here, monkeypatch):
    monkeypatch.setattr(machine_module, "ask_scheduler", lambda name: FACTS if name == "slurm" else None)
    assert "slurm-h200, slurm-mixed-h200" in hpcsweep("init").output
    assert "profile    slurm-h200: no problems" in hpcsweep("doctor").output
