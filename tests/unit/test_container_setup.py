"""Containers in the files of a user, at submission, and on a node: what is bound, probed, identified and cached."""

import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from hpcsweep.containers.launch import container_name
from hpcsweep.containers.registry import RUNTIMES, get_runtime
from hpcsweep.engines.versions import same_version
from hpcsweep.engines.vllm import Vllm
from hpcsweep.errors import ContainerError, SpecError
from hpcsweep.node.identity import Identity
from hpcsweep.node.process.cleanup import clean_up
from hpcsweep.node.record.folders import close_dead_attempts, create_attempt, record_server
from hpcsweep.node.setup.container import NodeContainer, container_launch, container_of
from hpcsweep.node.setup.engine_identity import executable_identity, image_identity
from hpcsweep.node.setup.engine_install import installed_version, known_flags, on_this_node
from hpcsweep.node.setup.preflight import model_verdict
from hpcsweep.spec.axes import builtin_level
from hpcsweep.spec.cluster import Cluster, ConfigFile
from hpcsweep.spec.container import Container, resolve_container
from hpcsweep.spec.job import JobSpec, Resources, RunSpec
from hpcsweep.spec.load import parse_model
from hpcsweep.spec.server import ServerConfig
from hpcsweep.sweep.checks import check_container
from hpcsweep.sweep.inputs import find_engine

FAKE_APPTAINER = r"""#!/bin/sh
# Runs the command on this machine, with the variables that the container would have.
echo "$@" >>"$(dirname "$0")/calls"
while [ "$1" != IMAGE ]; do shift; done
shift
exec env -i PATH=FAKE_PATH "$@"
"""


# ---- the files of a user


def test_an_engine_is_a_path_or_a_setup():
    cluster = Cluster.model_validate(
        {"engines": {"vllm": "/opt/vllm", "sglang": {"executable": "sglang", "container": {"image": "/s.sif"}}}}
    )
    assert cluster.executables == {"vllm": "/opt/vllm", "sglang": "sglang"}
    assert cluster.container_of("vllm") is None
    assert Cluster.model_validate(cluster.model_dump(mode="json")) == cluster


def test_containers_override_one_another_and_their_lists_are_added():
    cluster = Cluster.model_validate(
        {
            "env": {"MY_FLAG": "1"},
            "container": {"runtime": "apptainer", "image": "/all.sif", "binds": ["/a"], "options": ["--x", "1"]},
            "engines": {"vllm": {"container": {"image": "/vllm.sif", "options": ["--x", "1"], "env": ["OTHER"]}}},
        }
    )
    whole = resolve_container(cluster.container_of("vllm"), Container(binds=["/b", "/a"]), "/axis.sif")
    assert whole == Container(
        runtime="apptainer", image="/axis.sif", binds=["/a", "/b"], options=["--x", "1", "--x", "1"],
        env=["OTHER", "MY_FLAG"],
    )  # fmt: skip
    assert resolve_container(cluster.container_of("sglang"), None).image == "/all.sif"
    assert resolve_container(cluster.container_of("vllm"), Container.model_validate({"runtime": False})) is None
    assert resolve_container(None, Container(image="/only.sif")) is None


@pytest.mark.parametrize(
    "container",
    [
        {"runtime": "Apptainer --x"},
        {"image": "--no-home"},
        {"image": "two\nlines"},
        {"binds": ["relative/path"]},
        {"binds": ["/a:/b:rx"]},
        {"binds": ["/with blank"]},
        {"binds": ["/a,/b"]},
        {"options": ["x"]},
        {"options": ["--x", "two\nlines"]},
        {"workdir": "relative"},
        {"env": ["A=1"]},
        {"gpus": "all"},
        {"imgae": "/x"},
    ],
    ids=str,
)
def test_what_is_not_a_container_is_refused(container):
    with pytest.raises(ValidationError):
        Container.model_validate(container)


def test_the_image_of_an_axis_is_part_of_the_variant_and_nothing_else_changed():
    plain = ServerConfig(engine="vllm", model="m")
    assert plain.variant_id == "33fccb54f15c", "ids of variants without an image are those of earlier versions"
    level = builtin_level("image", "/images/vllm-0.11.sif")
    assert (level.image, level.label) == ("/images/vllm-0.11.sif",) * 2
    assert plain.model_copy(update={"image": level.image}).variant_id != plain.variant_id
    with pytest.raises(SpecError):
        builtin_level("image", "--rm")


# ---- at submission

PROFILE = {"runtime": "apptainer", "image": "/i.sif"}


@pytest.mark.parametrize(
    ("profile", "experiment", "image", "code"),
    [
        ({"container": PROFILE}, None, None, None),
        ({}, PROFILE, "/axis.sif", None),
        ({}, None, "/axis.sif", "image_without_container"),
        ({"container": PROFILE}, {"runtime": "none"}, "/axis.sif", "image_without_container"),
        ({"container": {"runtime": "apptainer"}}, None, None, "container_without_image"),
        ({"container": {"runtime": "aptainer", "image": "/i"}}, None, None, "unknown_container_runtime"),
        ({"scheduler": "pbs", "container": {"runtime": "pyxis", "image": "/i"}}, None, None,
         "container_runtime_of_other_scheduler"),
        ({"container": {**PROFILE, "options": ["--pid"]}}, None, None, "container_invalid"),
        ({"container": {**PROFILE, "options": ["--env", "HF_TOKEN=x"]}}, None, None, "container_invalid"),
        ({"container": {"runtime": "charliecloud", "image": "/i", "binds": ["/a:/b:ro"]}}, None, None,
         "container_invalid"),
    ],
)  # fmt: skip
def test_containers_are_checked_before_anything_is_submitted(profile, experiment, image, code):
    cluster = Cluster.model_validate({"scheduler": "slurm", **profile})
    asked = SimpleNamespace(container=Container.model_validate(experiment) if experiment else None)
    server = ServerConfig(engine="vllm", model="m", image=image)
    if code is None:
        check_container(server, cluster, asked, simulated=False)
        return
    with pytest.raises((SpecError, ContainerError)) as raised:
        check_container(server, cluster, asked, simulated=False)
    assert raised.value.code == code


def test_an_engine_in_a_container_is_installed_when_its_runtime_is(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    cluster = Cluster.model_validate({"container": PROFILE})
    assert find_engine("vllm", cluster) is None
    (tmp_path / "apptainer").write_text("#!/bin/sh\n")
    (tmp_path / "apptainer").chmod(0o755)
    assert find_engine("vllm", cluster) == find_engine("vllm", Cluster(), container=Container(**PROFILE))


# ---- on a node


@pytest.fixture
def node(tmp_path: Path):
    """A node with an `apptainer` that runs commands on this machine, an image folder with a `vllm`, and a job."""
    (tmp_path / "bin").mkdir()
    image = tmp_path / "image"
    for folder in ("bin", "etc", "usr/local/bin", "usr/lib/python3/dist-packages/vllm-0.11.0.dist-info"):
        (image / folder).mkdir(parents=True)
    fake = FAKE_APPTAINER.replace("IMAGE", str(image)).replace(
        "FAKE_PATH", f"{image}/usr/local/bin:{os.environ['PATH']}"
    )
    (tmp_path / "bin/apptainer").write_text(fake)
    (tmp_path / "bin/apptainer").chmod(0o755)
    write_engine(image, "0.11.0")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    run = RunSpec(
        run_id="s/r", label="r", variant_id="x", axes={}, server=ServerConfig(engine="vllm", model=str(model)),
        workloads=[], budgets={}, run_dir=str(tmp_path / "sweep/runs/r"),
    )  # fmt: skip
    job = JobSpec(
        sweep="s", job=0, sweep_dir=str(tmp_path / "sweep"), name="s", scheduler="local", resources=Resources(),
        array_tasks=[], cache_dir=str(tmp_path / "cache"),
        containers={"vllm": Container(runtime="apptainer", image=str(image))},
    )  # fmt: skip
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path)}
    return SimpleNamespace(image=image, run=run, job=job, env=env, model=model, root=tmp_path)


def write_engine(image: Path, version: str) -> None:
    """Write a `vllm` that is not Python, so that its version is asked by its own command."""
    script = image / "usr/local/bin/vllm"
    script.unlink(missing_ok=True)
    script.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo {version} || echo "  --flag-of-{version.replace(".", "-")}"\n'
    )
    script.chmod(0o755)


def started(node, **container: object) -> NodeContainer:
    whole = container_of(node.run, node.job).model_copy(update=container)
    launch = container_launch(whole, node.run, node.job, node.root / "attempt", node.root / "private", node.env)
    return NodeContainer(launch, node.env, "token")


def test_what_a_server_needs_is_bound(node, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(node.root / "scratch"))
    hub, blobs = node.root / ".cache/huggingface", node.root / "blobs"
    hub.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "weights").write_text("")
    (node.model / "model.safetensors").symlink_to(blobs / "weights")
    flags = {"--chat-template": str(node.root / "bin/apptainer"), "--seed": 1, "--served": "/no/such/file"}
    node.run = node.run.model_copy(update={"server": node.run.server.model_copy(update={"flags": flags})})
    launch = started(node).launch
    sources = {bind.source for bind in launch.binds}
    assert sources >= {f"{node.root}/{name}" for name in ("sweep", "cache", "model", "blobs", ".cache/huggingface")}
    assert f"{node.root}/bin/apptainer" in sources and "/no/such/file" not in sources
    lasting = {bind.source for bind in launch.lasting_binds}
    assert lasting >= {f"{node.root}/{name}" for name in ("model", "blobs", ".cache/huggingface", "bin/apptainer")}
    assert not lasting & {f"{node.root}/{name}" for name in ("sweep", "cache", "scratch", "attempt")}
    assert launch.hub == str(hub) and launch.executable == f"{node.root}/bin/apptainer"
    assert (launch.workdir, launch.scratch) == (str(node.root / "attempt"), str(node.root / "private"))


@pytest.mark.parametrize(
    ("container", "code"),
    [
        ({"image": "/nowhere.sif"}, "container_image_missing"),
        ({"image": "$NO_SUCH_VARIABLE/x.sif"}, "container_variable_unset"),
        ({"runtime": "podman-hpc"}, "container_runtime_missing"),
        ({"binds": ["/nowhere:/data"]}, "container_bind_missing"),
        ({"binds": ["$NO_SUCH_VARIABLE:/data"]}, "container_variable_unset"),
    ],
)
def test_what_this_node_does_not_have_is_an_error(node, container, code):
    with pytest.raises(ContainerError) as raised:
        started(node, **container)
    assert raised.value.code == code and raised.value.hint


def test_a_private_network_needs_a_container_that_the_agent_starts(node):
    shutil.copy(node.root / "bin/apptainer", node.root / "bin/docker")
    node.job = node.job.model_copy(update={"private_network": True})
    assert started(node).launch.runtime == "apptainer"
    with pytest.raises(ContainerError) as raised:
        started(node, runtime="docker", image="name")
    assert raised.value.code == "private_network_unsupported"


def test_a_path_that_a_runtime_would_split_is_refused(node):
    node.job = node.job.model_copy(update={"cache_dir": str(node.root / "with, comma")})
    with pytest.raises(ContainerError) as raised:
        started(node)
    assert raised.value.code == "container_bind_unsupported"


def test_variables_in_the_image_and_binds_are_those_of_the_job(node):
    node.env["IMAGES"], node.env["DATA"] = str(node.root), str(node.root / "blobs")
    (node.root / "blobs").mkdir()
    launch = started(node, image="$IMAGES/image", binds=["$DATA:/data:ro"]).launch
    assert launch.image == str(node.image)
    assert [bind.source for bind in launch.binds if bind.target == "/data"] == [str(node.root / "blobs")]


def test_a_simulated_run_does_not_use_a_container(node):
    node.run = node.run.model_copy(update={"simulation": {"profile": "p"}})
    assert container_of(node.run, node.job) is None


def test_the_engine_is_asked_in_the_image_and_again_when_the_image_has_changed(node):
    cache = node.root / "cache"
    versions, digests, flags = [], [], []
    for version in ("0.11.0", "0.11.0", "0.12.0"):
        if version != "0.11.0":
            write_engine(node.image, version)
        container = started(node)
        probed = container.probe(Vllm(), "vllm", str(node.model))
        assert (probed.executable, probed.model) == (f"{node.image}/usr/local/bin/vllm", "readable")
        installation = container.installation(Vllm(), probed)
        versions.append(installed_version(installation, cache))
        flags.append(known_flags(installation, versions[-1], cache))
        digests.append(installation.identity.digest)
    assert versions == ["0.11.0", "0.11.0", "0.12.0"]
    assert digests[0] == digests[1] != digests[2] and installation.identity.indirect
    assert flags == [{"--flag-of-0-11-0"}] * 2 + [{"--flag-of-0-12-0"}]
    calls = (node.root / "bin/calls").read_text().splitlines()
    assert len([line for line in calls if line.startswith("exec ")]) == 3 + 2 * 2, (
        "each attempt probes; version and help are asked once per image"
    )


def test_the_python_of_the_engine_is_that_of_the_image(node):
    script = node.image / "usr/local/bin/vllm"
    assert started(node).probe(Vllm(), "vllm", "").python is None, "a shell script"
    script.write_text(f"#!{sys.executable} -s\n")
    assert started(node).probe(Vllm(), "vllm", "").python == f"{sys.executable} -s"


def test_a_helper_is_another_container_than_the_server(node):
    shutil.copy(node.root / "bin/apptainer", node.root / "bin/podman")
    container = started(node, runtime="podman")
    server, helper = (container.command(["x"], {}, [], part=part) for part in ("", "-helper"))
    assert server.cleanup != helper.cleanup


def test_a_probe_that_fails_or_leads_to_another_namespace_has_a_reason(node):
    for script, code in (
        ("#!/bin/sh\necho no such image >&2\nexit 255\n", "container_not_started"),
        ("#!/bin/sh\necho 'hpcsweep-probe pid_namespace pid:[1]'\n", "container_pid_namespace"),
    ):
        (node.root / "bin/apptainer").write_text(script)
        with pytest.raises(ContainerError) as raised:
            started(node).probe(Vllm(), "vllm", "")
        assert raised.value.code == code
    assert started(node).launch.runtime == "apptainer"


@pytest.mark.parametrize(("view", "refused"), [("readable", False), ("no_config", True), ("missing", True)])
def test_only_the_containers_view_of_a_model_counts(tmp_path, view, refused):
    config = ServerConfig(engine="vllm", model=str(tmp_path / "in-the-image"))
    assert (model_verdict(config, view) is not None) is refused
    assert model_verdict(config) is not None


# ---- identity


def digest(path: Path, **env: str) -> str:
    return executable_identity(str(path), env).digest


def test_a_changed_image_behind_a_wrapper_is_another_engine(tmp_path):
    image = tmp_path / "images/vllm.sif"
    image.parent.mkdir()
    image.write_text("old")
    wrapper = tmp_path / "vllm"
    wrapper.write_text('#!/bin/bash\nSIF=$BASE/images/vllm.sif\nexec cat "${SIF}" # stands for: apptainer exec\n')
    wrapper.chmod(0o755)
    env = {"BASE": str(tmp_path)}
    first = digest(wrapper, **env)
    assert digest(wrapper, **env) == first and executable_identity(str(wrapper), env).indirect
    assert digest(wrapper, LOADEDMODULES="cuda/12", **env) != first
    times = wrapper.stat()
    image.write_text("newer")
    assert digest(wrapper, **env) != first
    image.write_text("old")
    wrapper.write_text(wrapper.read_text().replace("cat", "cut"))
    os.utime(wrapper, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest(wrapper, **env) != first, "same size and time, another text"


def test_a_log_that_a_wrapper_appends_to_is_not_a_part_of_the_engine(tmp_path):
    log, wrapper = tmp_path / "starts.log", tmp_path / "vllm"
    wrapper.write_text(f"#!/bin/sh\ndate >>{log}\nexec true\n")
    log.write_text("")
    first = digest(wrapper)
    log.write_text("a start\n")
    assert digest(wrapper) == first
    log.write_bytes(b"hsqs an image without a suffix")
    assert digest(wrapper) != first


def test_the_version_behind_a_wrapper_is_asked_again_for_a_changed_image(tmp_path):
    image = tmp_path / "vllm.sif"
    image.write_text("0.11.0\n")
    wrapper = tmp_path / "vllm"
    wrapper.write_text(f"#!/bin/sh\nexec cat {image}\n")
    wrapper.chmod(0o755)
    assert installed_version(on_this_node(Vllm(), str(wrapper), {}), tmp_path / "cache") == "0.11.0"
    image.write_text("0.12.0rc1\n")
    assert installed_version(on_this_node(Vllm(), str(wrapper), {}), tmp_path / "cache") == "0.12.0rc1"


def test_a_console_script_and_a_binary_are_the_engine_itself(tmp_path):
    script = tmp_path / "vllm"
    script.write_text("#!/usr/bin/python3\nimport vllm\n")
    assert not executable_identity(str(script), {}).indirect
    assert not executable_identity(shutil.which("sh"), {}).indirect
    assert executable_identity(str(tmp_path / "none"), {}) is None


def test_an_image_folder_is_identified_by_what_is_installed_in_it(tmp_path):
    packages = tmp_path / "opt/venv/lib/python3.12/site-packages"
    (packages / "vllm-0.11.0.dist-info").mkdir(parents=True)
    (tmp_path / "tmp").mkdir()

    def identity() -> str:
        return image_identity("apptainer", str(tmp_path), str(tmp_path), "", {}).digest

    first = identity()
    (tmp_path / "tmp/scratch").write_text("")
    assert identity() == first
    (packages / "vllm-0.11.0.dist-info").rename(packages / "vllm-0.12.0.dist-info")
    assert identity() != first


@pytest.mark.parametrize(
    ("image", "described", "certain"),
    [("docker://vllm/vllm-openai:latest", "", False), ("docker://v/v@sha256:ab", "", True), ("name", "sha256:1", True)],
)
def test_a_tag_may_lead_to_another_image_tomorrow(image, described, certain):
    assert image_identity("podman", image, None, described, {}).certain is certain


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [("0.11.0", "0.11.0+cu128", True), ("0.11", "0.11.0", True), ("0.11.0", "0.12.0", False), ("x", "x", True)],
)
def test_versions_are_compared_without_their_build(first, second, same):
    assert same_version(first, second) is same


# ---- what a killed container leaves


def fake_podman(folder: Path, monkeypatch: pytest.MonkeyPatch, failures: int) -> Path:
    """Put a `podman` on PATH that fails some times, and return the file to which it writes its arguments."""
    calls = folder / "calls"
    (folder / "podman").write_text(f'#!/bin/sh\necho "$@" >>{calls}\n[ $(wc -l <{calls}) -gt {failures} ]\n')
    (folder / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return calls


@pytest.mark.parametrize(("failures", "calls"), [(0, 1), (1, 2), (9, 3)])
def test_a_container_is_removed_by_name_when_the_first_try_fails_too(tmp_path, monkeypatch, failures, calls):
    record = fake_podman(tmp_path, monkeypatch, failures)
    clean_up(get_runtime("podman").cleanup_argv("hpcsweep-1"))
    assert record.read_text().splitlines() == ["rm --force --ignore --time=0 hpcsweep-1"] * calls
    clean_up(["/no/such/command"])
    clean_up(())


def test_the_next_agent_removes_the_container_of_a_dead_one(tmp_path, monkeypatch):
    record = fake_podman(tmp_path, monkeypatch, 0)
    dead = Identity("7", "here", "boot", 999_999_999, 1, 0)
    attempt = create_attempt(tmp_path / "run", 0, dead)
    record_server(attempt, (999_999_998, 1, 999_999_998), "podman")
    notes = close_dead_attempts(tmp_path / "run", dead)
    assert [note.code for note in notes] == ["closed_as_lost"]
    assert record.read_text().split()[-1] == container_name(attempt.token)


def test_only_the_name_of_the_runtime_is_read_from_a_record(tmp_path, monkeypatch):
    record = fake_podman(tmp_path, monkeypatch, 0)
    dead = Identity("7", "here", "boot", 999_999_999, 1, 0)
    attempt = create_attempt(tmp_path / "run", 0, dead)
    record_server(attempt, (999_999_998, 1, 999_999_998), f"podman; touch {tmp_path}/no")
    assert [note.code for note in close_dead_attempts(tmp_path / "run", dead)] == ["closed_as_lost"]
    assert not record.exists()


# ---- the documentation

PAGE = (Path(__file__).parents[2] / "docs/containers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(clusters:\n.*?)```", PAGE, re.DOTALL))
def test_every_profile_of_the_page_can_be_submitted(text, tmp_path):
    profiles = parse_model(ConfigFile, text, "containers.md").clusters
    for cluster in profiles.values():
        for engine in cluster.engines or ["vllm"]:
            server = ServerConfig(engine=engine, model="m")
            check_container(server, cluster, SimpleNamespace(container=None), simulated=False)


def test_the_page_names_every_runtime_and_key():
    assert all(f"`{name}`" in PAGE for name in [*RUNTIMES.builtin, *Container.model_fields])
