"""What doctor reports of the containers of a profile, with commands of our own as runtimes."""

import json

import pytest
from click.testing import CliRunner

from hpcsweep.cli.main import main
from hpcsweep.hosts.local import LocalHost
from hpcsweep.spec.cluster import Cluster
from hpcsweep.submit.container_check import check_containers

VERSIONED = '[ "$1" = --version ] && echo "apptainer version 1.4.5"'


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return a function that puts a command of this name on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def add(name, text):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
        return str(folder / name)

    return add


def checked(container, **profile):
    (check,) = check_containers(Cluster.model_validate({"container": container, **profile}), LocalHost())
    return check


def test_the_runtime_and_a_readable_image(command, tmp_path):
    path = command("apptainer", VERSIONED)
    image = tmp_path / "vllm.sif"
    image.write_text("")
    check = checked({"runtime": "apptainer", "image": "$SITE_IMAGES/vllm.sif"}, env={"SITE_IMAGES": str(tmp_path)})
    assert (check.executable, check.version) == (path, "apptainer version 1.4.5")
    assert (check.image, check.problems) == (f"{image}: readable", ())


@pytest.mark.parametrize(
    ("container", "image", "problem"),
    [
        ({"image": "/no/such.sif"}, "/no/such.sif", "image /no/such.sif does not exist"),
        ({"image": "docker://vllm/vllm-openai:v0.32.0"}, "a name, not checked without a pull", ""),
        ({"image": "$UNSET_IN_THIS_TEST/x.sif"}, "not checked, because a variable in it is set in the job", ""),
        ({}, "none: the experiment has to set it", ""),
        ({"image": "/", "options": ["--pid"]}, "/: readable", "option --pid cannot be used"),
    ],
)
def test_what_is_known_of_an_image(container, image, problem, command):
    command("apptainer", VERSIONED)
    check = checked({"runtime": "apptainer"} | container)
    assert check.image.endswith(image)
    assert problem in " ".join(check.problems) and bool(problem) is bool(check.problems)


def test_a_runtime_that_is_not_found_may_be_a_module_of_the_nodes(command):
    check = checked({"runtime": "podman-hpc", "image": "vllm:1"})
    assert (check.executable, check.version) == (None, None)
    assert "podman-hpc is not on the PATH" in check.problems[0]


@pytest.mark.parametrize(("exit_code", "words"), [(0, "on this host"), (1, "a job would pull it")])
def test_podman_is_asked_for_the_image(exit_code, words, command):
    command("podman", f'[ "$1" = image ] && {{ echo sha256:1; exit {exit_code}; }}; echo "podman version 5.4.2"')
    check = checked({"runtime": "podman", "image": "vllm:1"})
    assert check.image.endswith(words) and check.problems == () and check.version == "podman version 5.4.2"


@pytest.mark.parametrize(("text", "installed"), [("--container-image=[USER@]", True), ("--ntasks", False)])
def test_pyxis_is_an_option_of_srun(text, installed, command):
    command("srun", f'[ "$1" = --help ] && echo "{text}" || echo "slurm 26.05"')
    check = checked({"runtime": "pyxis", "image": "/"}, scheduler="slurm")
    assert bool(check.problems) is not installed


def test_the_container_of_an_engine_is_merged_with_that_of_the_profile(command):
    command("apptainer", VERSIONED)
    cluster = Cluster.model_validate(
        {
            "container": {"runtime": "apptainer", "image": "/"},
            "engines": {"vllm": {"container": {"image": "/tmp"}}, "sglang": "/opt/sglang"},
        }
    )
    checks = check_containers(cluster, LocalHost())
    assert [(check.engines, check.image) for check in checks] == [((), "/: readable"), (("vllm",), "/tmp: readable")]
    assert check_containers(Cluster(), LocalHost()) == []


def test_doctor_prints_it(command, tmp_path, monkeypatch):
    command("apptainer", VERSIONED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPCSWEEP_CONFIG", str(tmp_path / "hpcsweep.yaml"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "hpcsweep.yaml").write_text(
        "clusters:\n  here:\n    scheduler: local\n    container: {runtime: apptainer, image: /no/such.sif}\n"
    )
    done = CliRunner().invoke(main, ["--home", str(tmp_path / "home"), "doctor"])
    assert done.exit_code == 0, done.output
    assert "container: apptainer: " in done.output and "(apptainer version 1.4.5)" in done.output
    assert "image /no/such.sif does not exist on this host" in done.output


def test_a_dry_run_names_each_container_once(command, tmp_path, monkeypatch):
    command("apptainer", VERSIONED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPCSWEEP_CONFIG", str(tmp_path / "hpcsweep.yaml"))
    (tmp_path / "hpcsweep.yaml").write_text(
        "clusters: {here: {scheduler: slurm, partition: gpu, container: {runtime: apptainer, image: /shared/old.sif}}}"
    )
    (tmp_path / "study.yaml").write_text(
        "{name: study, model: some/model, axes: {ep: [on, off], image: [/shared/old.sif, /shared/new.sif]}, workloads:"
        " {chat: {dataset: {kind: random, input_len: 64, output_len: 8, requests: 2}}}, resources: {gpus: 2}}"
    )
    arguments = ["--home", str(tmp_path / "home"), "submit", "study.yaml", "--cluster", "here", "--dry-run"]
    text = CliRunner().invoke(main, arguments).output
    lines = [line for line in text.splitlines() if line.startswith("container of")]
    assert lines == [
        "container of vllm: apptainer, image /shared/old.sif",
        "container of vllm: apptainer, image /shared/new.sif",
    ], text
    document = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert [container["image"] for container in document["containers"]] == ["/shared/old.sif", "/shared/new.sif"]
