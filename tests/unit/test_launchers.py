"""Launchers: the argv of each, the choice of one, and the nodes of a job."""

import shlex
from typing import get_args

import pytest

from hpcsweep.errors import SpecError
from hpcsweep.launchers.base import NodeSlot
from hpcsweep.launchers.node_names import expand_node_list, head_first, nodes_in_file
from hpcsweep.launchers.registry import LAUNCHERS, choose_launcher, get_launcher
from hpcsweep.node.setup.environment import without_launcher
from hpcsweep.spec.cluster import Cluster

COMMAND = ("/opt/python", "-m", "hpcsweep.node.rank_agent", "/home/it's a sweep/attempt-1", "--rank", "2")
NODE = NodeSlot("gpu-03", 2)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_command_reaches_the_node_unchanged(name):
    argv = get_launcher(name).argv(COMMAND, NODE)
    if name == "ssh":  # the login shell of the node parses it again
        assert tuple(shlex.split(argv[-1])) == COMMAND
    else:
        assert argv[-len(COMMAND) :] == COMMAND
    if name not in ("local", "pbsdsh"):
        assert any(NODE.name in word for word in argv)


def test_a_profile_can_name_every_launcher():
    assert set(get_args(get_args(Cluster.model_fields["launcher"].annotation)[0])) == set(LAUNCHERS)


def test_srun_makes_an_overlapping_step_with_all_cores():
    argv = get_launcher("srun").argv(COMMAND, NODE)
    assert {"--overlap", "--nodes=1", "--ntasks=1", "--nodelist=gpu-03", "--cpu-bind=none"} <= set(argv)
    env = {"SLURM_NTASKS": "2", "SLURM_EXPORT_ENV": "NONE", "SRUN_CPUS_PER_TASK": "1", "SLURM_JOB_ID": "7", "PATH": "/"}
    assert get_launcher("srun").environment(env) == {"SLURM_JOB_ID": "7", "PATH": "/"}


def test_pbsdsh_names_a_node_by_its_position():
    assert get_launcher("pbsdsh").argv(COMMAND, NODE)[:4] == ("pbsdsh", "-n", "2", "--")


def test_mpiexec_of_pals_does_not_bind_the_engine_to_one_core():
    assert get_launcher("mpiexec").environment({"PALS_CPU_BIND": "core", "A": "b"}) == {
        "PALS_CPU_BIND": "none",
        "A": "b",
    }


def test_variables_of_a_launcher_do_not_reach_the_engine():
    """Those of Hydra 4.0.2 and of PALS: an MPI library of the engine would connect to a launcher that has it not."""
    of_launcher = [
        "PMI_FD",
        "PMI_RANK",
        "HYDI_CONTROL_FD",
        "MPI_LOCALRANKID",
        "MPI_LOCALNRANKS",
        "PALS_RANKID",
        "PMIX_ID",
    ]
    kept = {"PATH": "/bin", "MPICH_GPU_SUPPORT_ENABLED": "1", "OMP_NUM_THREADS": "8"}
    assert without_launcher({**kept, **dict.fromkeys(of_launcher, "1")}) == kept


@pytest.mark.parametrize(
    ("named", "scheduler", "on_path", "chosen"),
    [
        (None, "slurm", {"srun", "ssh"}, "srun"),
        (None, "pbs", {"pbsdsh", "mpiexec"}, "pbsdsh"),
        (None, "pbs", {"mpiexec", "ssh"}, "mpiexec"),
        (None, "lsf", {"ssh"}, "ssh"),
        (None, "local", set(), "local"),
        ("ssh", "slurm", {"srun", "ssh"}, "ssh"),
    ],
)
def test_choice(named, scheduler, on_path, chosen):
    assert choose_launcher(named, scheduler, on_path.__contains__).name == chosen


@pytest.mark.parametrize(("named", "code"), [("rsh", "unknown_launcher"), ("srun", "launcher_not_found")])
def test_no_choice(named, code):
    with pytest.raises(SpecError) as caught:
        choose_launcher(named, "slurm", lambda _: False)
    assert caught.value.code == code and caught.value.hint


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("hopper-[01-03]", ["hopper-01", "hopper-02", "hopper-03"]),
        ("a1,b[2,4-5],c", ["a1", "b2", "b4", "b5", "c"]),
        ("gpu[098-101]", ["gpu098", "gpu099", "gpu100", "gpu101"]),
        ("x[1-2]-ib", ["x1-ib", "x2-ib"]),
        ("one", ["one"]),
    ],
)
def test_node_list(text, names):
    assert expand_node_list(text) == names


@pytest.mark.parametrize("text", ["a[1-", "a[x]", ",a"])
def test_a_node_list_of_another_form_is_refused(text):
    with pytest.raises(SpecError) as caught:
        expand_node_list(text)
    assert caught.value.code == "node_list_unreadable"


def test_node_file():
    """Recorded with OpenPBS 23.06: a line for each chunk."""
    assert nodes_in_file("gpu1\ngpu2\ngpu1\n") == ["gpu1", "gpu2"]


def test_the_head_comes_first():
    assert head_first(["n1", "n2"], "n2.cluster.org") == ["n2", "n1"]
    assert head_first(["n1", "n2"], "elsewhere") == ["n1", "n2"]
