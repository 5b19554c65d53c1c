"""Servers in real containers, Apptainer's and Charliecloud's, of an ordinary user.

The engine is a `vllm` with vLLM's command line and the simulated engine behind it, which is only in the image.
"""

import json
from pathlib import Path

import pytest
from box_sweeps import IMAGE, SECRET, BoxSweep

pytestmark = pytest.mark.containers


@pytest.mark.parametrize("runtime", ["apptainer", "singularity", "charliecloud"])
def test_a_run_completes_with_the_engine_of_the_image(sweep: BoxSweep, runtime: str):
    sweep.write(runtime)
    sweep.completed()
    started = sweep.events("attempt_started")[0]
    assert started["versions"]["vllm"] == "0.32.0", "read from the metadata inside the image"
    assert [fact["value"] for fact in sweep.events("fact") if fact["name"] == "container"] == [f"{runtime} {IMAGE}"]
    assert not [event["code"] for event in sweep.events("warning") if event["code"].startswith(("flags", "version"))]
    command = (sweep.attempt_dir() / "command.txt").read_text()
    assert IMAGE in command and "/usr/local/bin/vllm serve" in command
    for path in sweep.outside.rglob("*"):
        assert not path.is_file() or SECRET not in path.read_text(errors="replace"), path


@pytest.mark.parametrize("runtime", ["apptainer", "charliecloud"])
def test_nothing_is_left_when_the_agent_is_killed(sweep: BoxSweep, runtime: str):
    sweep.write(runtime, env=sweep.slow())
    assert sweep.submit().returncode == 0
    sweep.wait_for(lambda: sweep.events("workload_started"))
    running = sweep.processes()
    assert sweep.engine_environment()["STUDY_TOKEN"] == SECRET
    key = sweep.engine_environment()["VLLM_API_KEY"]
    assert not [argv for argv in running.values() if any(SECRET in word or key in word for word in argv)]
    sweep.kill(sweep.agent_pid())
    assert sweep.wait_for(lambda: sweep.record("exit.json"))["outcome"] == "lost"


def test_a_cancelled_run_leaves_nothing(sweep: BoxSweep):
    sweep.write("apptainer", env=sweep.slow())
    assert sweep.submit().returncode == 0
    sweep.wait_for(lambda: sweep.events("workload_started"))
    assert sweep.command("hpcsweep", "cancel", "--yes").returncode == 0
    assert sweep.wait_for(lambda: sweep.record("exit.json"))["outcome"] == "cancelled"


@pytest.mark.parametrize("wrapped", [False, True], ids=["container", "wrapper script"])
def test_a_changed_image_under_the_same_path_is_noticed(sweep: BoxSweep, wrapped: bool):
    image = sweep.own_image()
    if wrapped:
        wrapper = sweep.outside / "vllm"
        wrapper.write_text(
            f'#!/bin/sh\nIMAGES={image.parent}\nexec apptainer exec --bind /tmp "$IMAGES/image" vllm "$@"\n'
        )
        wrapper.chmod(0o755)
        sweep.write("apptainer", profile={"container": None, "engines": {"vllm": f"{sweep.inside}/vllm"}})
    else:
        sweep.write("apptainer", profile={"container": {"runtime": "apptainer", "image": str(image)}})
    packages = next(sweep.outside.glob("image/opt/hpcsweep/lib/python3.*/site-packages"))
    versions = [sweep.completed().events("attempt_started")[0]["versions"]["vllm"]]
    upgrade(packages, "0.32.0", "0.33.0")
    versions.append(sweep.completed().events("attempt_started")[0]["versions"]["vllm"])
    assert versions == ["0.32.0", "0.33.0"]
    assert not [event for event in sweep.events("warning") if event["code"] == "version_differs"]
    caches = {path.name for path in (sweep.outside / "home/cache").iterdir() if path.name.startswith("vllm-")}
    assert {name[:11] for name in caches} == {"vllm-0.32.0", "vllm-0.33.0"} and len(caches) == 2, caches


def upgrade(packages: Path, old: str, new: str) -> None:
    """Replace the engine in an image as pip does: another folder of metadata."""
    before = packages / f"vllm-{old}.dist-info"
    after = packages / f"vllm-{new}.dist-info"
    after.mkdir()
    (after / "METADATA").write_text((before / "METADATA").read_text().replace(f"Version: {old}", f"Version: {new}"))
    (before / "METADATA").unlink()
    before.rmdir()


def test_the_version_in_the_log_counts(sweep: BoxSweep):
    sweep.write("apptainer", env={"VLLM_TEST_BANNER_VERSION": "0.31.0"})
    sweep.completed()
    assert [event["code"] for event in sweep.events("warning")].count("version_differs") == 1
    shown = sweep.command("hpcsweep", "show", "len-1k")
    command = next(line for line in shown.stdout.splitlines() if line.startswith("Command ("))
    assert "vllm 0.31.0" in command and "0.32.0" not in command


def test_a_folder_that_is_not_an_image_has_a_reason(sweep: BoxSweep):
    sweep.write("apptainer", profile={"container": {"runtime": "apptainer", "image": "/etc"}})
    assert sweep.submit("--wait").returncode == 3
    ended = sweep.record("exit.json")
    assert ended["code"] == "container_not_started" and ended["evidence"], ended


def test_the_model_must_be_visible_in_the_container(sweep: BoxSweep):
    sweep.write("apptainer", model={"name": "tiny", "path": "/usr/share/no-such-model"})
    assert sweep.submit("--wait").returncode == 3
    ended = sweep.record("exit.json")
    assert (ended["outcome"], ended["code"]) == ("model_not_found", "model_path"), ended


def test_two_images_of_one_axis_are_two_variants(sweep: BoxSweep):
    other = f"{sweep.inside}/other-image"
    (sweep.outside / "other-image").symlink_to(IMAGE)
    sweep.write("apptainer", axes={"image": [IMAGE, other]})
    sweep.completed()
    labels = sorted(path.name for path in (sweep.sweep_dir / "runs").iterdir())
    entries = json.loads((sweep.sweep_dir / "sweep.json").read_text())["runs"]
    assert len(labels) == 2 and len({entry["variant_id"] for entry in entries}) == 2
    facts = [fact for label in labels for fact in sweep.events("fact", label) if fact["name"] == "container"]
    assert {fact["value"] for fact in facts} == {f"apptainer {IMAGE}", f"apptainer {other}"}


def test_a_run_under_slurm(sweep: BoxSweep):
    profile = {"scheduler": "slurm", "partition": "h200", "cpus": 1, "memory": "500M"}
    sweep.write("apptainer", profile=profile, env_from=[])  # a job of Slurm does not get the secrets of its submitter
    sweep.completed()
    started = sweep.events("attempt_started")[0]
    assert started["job_id"] and started["versions"]["vllm"] == "0.32.0"
