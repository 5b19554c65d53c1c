"""Exported servers are started: in the container of their measurement, and on several nodes."""

import os
import subprocess
from dataclasses import replace

import pytest
from study_rows import h200_study
from test_report_serving import SERVER, service

from hpcsweep.analysis.decision.commands import from_variable, serve_command, shell_word
from hpcsweep.atomic_files import write_json
from hpcsweep.containers.launch import ContainerLaunch
from hpcsweep.containers.registry import RUNTIMES
from hpcsweep.report.export import export_text
from hpcsweep.report.serving import MeasuredContainer, measured_launch
from hpcsweep.spec.cluster import Cluster

SECRET = "hf_0123456789"
RUNTIME = """#!/bin/bash
printf '%s\\0' "$@" > "$OUT.argv"
env > "$OUT.env"
"""


def launch(**changes):
    known = {
        "runtime": "apptainer",
        "image": "/shared/vllm.sif",
        "executable": "/usr/bin/apptainer",
        "gpus": "nvidia",
        "workdir": "/home/me/sweeps/s-0001/runs/E04/attempt-1",
        "scratch": "/tmp/hpcsweep-x",
        "binds": [{"source": "/home/me/sweeps", "target": "/home/me/sweeps"}],
        "lasting_binds": [{"source": "/models", "target": "/models"}],
        "uid": 1000,
        "gid": 1000,
    }
    return ContainerLaunch.model_validate(known | changes)


def program(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}")
    (folder / name).chmod(0o755)


def started(text, folder, **env):
    variables = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "OUT": str(folder / "out"), **env}
    return subprocess.run(
        ["bash"], input=text, text=True, capture_output=True, env=variables, cwd=folder, check=False, timeout=60
    )


@pytest.mark.parametrize("kind", ["command", "slurm", "pbs"])
@pytest.mark.parametrize("runtime", sorted(RUNTIMES.names()))
def test_the_container_is_started_as_it_was_measured(runtime, kind, tmp_path):
    program(tmp_path / "bin", runtime, RUNTIME)
    container = MeasuredContainer("x", launch(runtime=runtime, executable=str(tmp_path / "bin" / runtime)))
    cluster = Cluster(env={"HF_HOME": "/shared/hf"})
    exported = replace(service(cluster, cpus=16), container=container, env_from=("HF_TOKEN",))
    text = export_text(exported, kind)
    assert SECRET not in text
    assert "/home/me/sweeps" not in text
    job = {"SLURMD_NODENAME": "n1", "CUDA_VISIBLE_DEVICES": "2,3", "TMPDIR": str(tmp_path)}
    done = started(text, tmp_path, HF_TOKEN=SECRET, **job)
    assert done.returncode == 0, done.stderr
    argv = (tmp_path / "out.argv").read_text().split("\0")[:-1]
    env = (tmp_path / "out.env").read_text()
    assert "/shared/vllm.sif" in " ".join(argv)
    assert list(exported.command.argv[-6:]) == argv[-6:]
    assert any("/models" in argument for argument in argv)
    assert not any(SECRET in argument for argument in argv)
    assert f"HF_TOKEN={SECRET}" in env
    assert "CUDA_VISIBLE_DEVICES=2,3" in env
    assert "HF_HOME=/shared/hf" in env


def test_a_secret_that_is_not_set_stops_the_script(tmp_path):
    program(tmp_path / "bin", "apptainer", RUNTIME)
    container = MeasuredContainer("x", launch(executable=str(tmp_path / "bin" / "apptainer")))
    text = export_text(replace(service(Cluster()), container=container, env_from=("HF_TOKEN",)), "slurm")
    done = started(text, tmp_path)
    assert done.returncode != 0
    assert "HF_TOKEN" in done.stderr
    assert not (tmp_path / "out.argv").exists()


def test_a_working_folder_of_the_profile_is_kept():
    container = MeasuredContainer("x", launch(workdir="/work/me"))
    assert "--pwd /work/me" in export_text(replace(service(Cluster()), container=container), "command")


def test_a_container_whose_start_was_not_recorded_is_named():
    exported = replace(service(Cluster()), container=MeasuredContainer("apptainer /shared/vllm.sif"))
    text = export_text(exported, "command")
    assert "run this command in its image" in text
    assert "\nWITH_BLANK" in text


def test_the_recorded_container_is_read_from_the_attempt(tmp_path):
    assert measured_launch(str(tmp_path)) is None
    write_json(tmp_path / "run.json", {"label": "a"})
    assert measured_launch(str(tmp_path)) is None
    write_json(tmp_path / "run.json", {"container": launch().model_dump(mode="json")})
    assert measured_launch(str(tmp_path)) == launch()
    write_json(tmp_path / "run.json", {"container": {"runtime": 3}})
    assert measured_launch(str(tmp_path)) is None


def on_two_nodes(scheduler, **changes):
    run = replace(h200_study().runs[0], server=SERVER, nodes=2)
    return replace(service(Cluster(scheduler=scheduler), serve_command(run), nodes=2, gpus=4, gpu_type=None), **changes)


@pytest.fixture
def site(tmp_path):
    """Commands of a cluster with the nodes n0 and n1 and a `vllm` that waits for the other part."""
    bin_dir = tmp_path / "bin"
    program(bin_dir, "scontrol", "printf 'n0\\nn1\\n'")
    program(bin_dir, "getent", "echo '10.0.0.1 STREAM n0'")
    program(
        bin_dir,
        "ip",
        'case "$*" in *route*) echo "$4 dev ib0 src 10.0.0.9 uid 0" ;; *) echo "2: ib0 inet 10.0.0.9/24" ;; esac',
    )
    launched = 'printf "%s " "$@" >> "$OUT.launcher"\nwhile [ "$1" != bash ]; do shift; done\nexec "$@"\n'
    program(bin_dir, "srun", launched)
    program(bin_dir, "pbsdsh", launched)
    program(
        bin_dir,
        "vllm",
        'rank=0; case "$*" in *--headless*) rank=1 ;; esac\n'
        'echo "$VLLM_HOST_IP $NCCL_SOCKET_IFNAME $*" > "$OUT.$rank"\n'
        'for _ in {1..200}; do [ -e "$OUT.0" ] && [ -e "$OUT.1" ] && break; sleep 0.05; done\n'
        "[ $rank = 1 ] && exit 7\nexec sleep 60\n",
    )
    (tmp_path / "nodes").write_text("n0\nn0\nn1\n")
    return tmp_path


@pytest.mark.parametrize(("scheduler", "launcher"), [("slurm", "--nodelist=n1"), ("pbs", "-n 1 -- bash")])
def test_a_script_starts_the_parts_of_all_nodes_and_ends_them_together(scheduler, launcher, site):
    text = export_text(on_two_nodes(scheduler), scheduler)
    job = {"SLURM_JOB_NODELIST": "n[0-1]", "PBS_NODEFILE": str(site / "nodes")}
    done = started(text, site, **job)
    assert done.returncode == 7, done.stderr
    assert "ended with exit code 7" in done.stderr
    head, other = (site / "out.0").read_text(), (site / "out.1").read_text()
    assert head.startswith("10.0.0.9 ib0 serve zai-org/GLM-4.6")
    assert "--node-rank 0 --master-addr 10.0.0.1" in head
    assert "--node-rank 1 --master-addr 10.0.0.1" in other
    assert launcher in (site / "out.launcher").read_text()
    assert not list(site.glob("*.node.sh"))


def test_the_address_of_the_first_node_must_be_reachable(site):
    program(site / "bin", "getent", "echo '127.0.1.1 STREAM n0'")
    done = started(export_text(on_two_nodes("slurm"), "slurm"), site, SLURM_JOB_NODELIST="n[0-1]")
    assert done.returncode == 1
    assert "set HEAD_ADDRESS" in done.stderr


def test_the_commands_of_several_nodes_are_listed_with_what_to_set():
    text = export_text(on_two_nodes("slurm"), "command")
    assert text.count("\n# node ") == 2
    assert '--master-addr "${HEAD_ADDRESS:?}"' in text
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=True, capture_output=True).stderr == ""


def test_each_part_is_wrapped_in_the_container():
    text = export_text(on_two_nodes("slurm", container=MeasuredContainer("x", launch())), "slurm")
    assert text.count("/usr/bin/apptainer exec") == 2
    assert 'APPTAINERENV_VLLM_HOST_IP="${NODE_ADDRESS:?}"' in text


def test_variables_are_the_only_thing_that_a_word_expands():
    assert shell_word("a b") == "'a b'"
    assert shell_word(f"x{from_variable('A')}$(id)") == "x\"${A:?}\"'$(id)'"
