"""The container runtimes: commands, environments, binds. The contract tests run over every built-in one."""

import pytest
from plugin_install import install_plugin

from hpcsweep.containers.base import ContainerRequest, GpuKind
from hpcsweep.containers.environment import container_environment
from hpcsweep.containers.launch import ContainerLaunch, container_name, merged_binds, node_command
from hpcsweep.containers.registry import RUNTIMES, get_runtime
from hpcsweep.errors import ContainerError
from hpcsweep.registry import Registry
from hpcsweep.spec.container import Bind, read_bind

HOSTILE = ["two words", "it's", 'a"b', "$(id)", "`id`", "back\\slash", "", "*", "ключ"]
HOST = {
    "PATH": "/usr/bin",
    "PYTHONPATH": "/node/only",
    "SLURM_CPUS_ON_NODE": "16",
    "SLURMD_NODENAME": "gpu01",
    "USER": "me",
}
BINDS = (Bind(source="/scratch/me", target="/scratch/me"), Bind(source="/models", target="/data", read_only=True))
EVERY_RUNTIME = pytest.mark.parametrize("name", list(RUNTIMES.builtin))


def request(name: str, **more: object) -> ContainerRequest:
    image = {"docker": "vllm/vllm-openai:v0.11.0", "podman": "vllm/vllm-openai"}.get(name, "/images/vllm.sif")
    binds = BINDS if get_runtime(name).read_only_binds else BINDS[:1]
    values = {"environment": {"VLLM_PORT": "1"}, "binds": binds, "workdir": "/scratch/me/run", "uid": 7, "gid": 8}
    return ContainerRequest(
        **{"argv": ("vllm", "serve", "m"), "host": HOST, "image": image, "name": "n", **values, **more}
    )


@EVERY_RUNTIME
class TestEveryRuntime:
    def test_a_secret_is_passed_by_the_environment_only(self, name):
        command = get_runtime(name).command(request(name, environment={"HF_TOKEN": "s3cret-value"}))
        assert not [word for word in command.argv if "s3cret-value" in word]
        assert "s3cret-value" in command.environment.values()
        assert "s3cret-value" not in "".join(command.files.values())

    def test_the_command_comes_last_and_each_word_stays_one_word(self, name):
        argv = ("vllm", "serve", *HOSTILE)
        command = get_runtime(name).command(request(name, argv=argv))
        assert command.argv[-len(HOSTILE) - 1 :] == argv[1:]
        assert "vllm" in {word.removeprefix("--entrypoint=") for word in command.argv}

    def test_values_of_variables_are_not_changed(self, name):
        environment = {f"NAME_{index}": value for index, value in enumerate(HOSTILE)}
        command = get_runtime(name).command(request(name, environment=environment))
        for variable, value in environment.items():
            passed = [key for key in command.environment if key == variable or key.endswith(f"ENV_{variable}")]
            assert passed and {command.environment[key] for key in passed} == {value}

    def test_image_folders_and_working_directory_are_in_the_command(self, name):
        text = " ".join(get_runtime(name).command(request(name)).argv)
        for word in ("/scratch/me:/scratch/me", "/scratch/me/run", request(name).image):
            assert word in text or name == "enroot", word

    def test_options_come_before_the_image(self, name):
        words = list(get_runtime(name).command(request(name, options=("--own", "a b"))).argv)
        assert words[words.index("--own") + 1] == "a b"
        assert name == "pyxis" or words.index("--own") < words.index(request(name).image)

    def test_gpus_change_the_command_or_its_environment(self, name):
        commands = [get_runtime(name).command(request(name, gpus=kind)) for kind in (GpuKind.NONE, GpuKind.NVIDIA)]
        assert commands[0] != commands[1] or name == "charliecloud"  # it has no option that all its versions know

    def test_the_name_is_that_of_the_registry_and_refusals_have_reasons(self, name):
        runtime = get_runtime(name)
        assert runtime.name == name and runtime.executable
        assert all(option.startswith("-") and reason for option, reason in runtime.refused_options.items())
        assert runtime.problems("/image", (), ["--env", "HF_TOKEN=abc"]), "a secret in an option"
        assert not runtime.problems("/image", (), ["--env", "HF_HOME=/x"])
        for option in runtime.refused_options:
            assert runtime.problems("/image", (), [option])


GOLDEN = {
    "apptainer": "apptainer exec --cleanenv --pwd /scratch/me/run --bind /scratch/me:/scratch/me"
    " --bind /models:/data:ro --nv /images/vllm.sif vllm serve m",
    "pyxis": "srun --overlap --nodes=1 --ntasks=1 --cpu-bind=none --kill-on-bad-exit=1 --cpus-per-task=16"
    " --nodelist=gpu01 --container-image=/images/vllm.sif --container-workdir=/scratch/me/run"
    " --container-mounts=/scratch/me:/scratch/me,/models:/data:ro --no-container-mount-home --no-container-entrypoint"
    " --container-writable --container-env=NVIDIA_DRIVER_CAPABILITIES,NVIDIA_VISIBLE_DEVICES,VLLM_PORT vllm serve m",
    "enroot": "enroot start --rw --rc /tmp/enroot-command.sh --mount /scratch/me:/scratch/me:none:x-create=auto,rbind"
    " --mount /models:/data:none:x-create=auto,rbind,ro --env NVIDIA_DRIVER_CAPABILITIES --env NVIDIA_VISIBLE_DEVICES"
    " --env VLLM_PORT /images/vllm.sif vllm serve m",
    "podman": "podman run --rm --name=n --network=host --ipc=host --pid=host --user=0:0 --log-driver=none"
    " --security-opt=label=disable --workdir=/scratch/me/run --volume=/scratch/me:/scratch/me --volume=/models:/data:ro"
    " --env VLLM_PORT --device=nvidia.com/gpu=all --entrypoint=vllm vllm/vllm-openai serve m",
    "docker": "docker run --rm --name=n --network=host --ipc=host --pid=host --userns=host --user=7:8 --log-driver=none"
    " --workdir=/scratch/me/run --volume=/scratch/me:/scratch/me --volume=/models:/data:ro --env VLLM_PORT --gpus=all"
    " --entrypoint=vllm vllm/vllm-openai:v0.11.0 serve m",
    "charliecloud": "ch-run --write-fake --cd=/scratch/me/run --bind=/scratch/me:/scratch/me /images/vllm.sif --"
    " vllm serve m",
}


@pytest.mark.parametrize(("name", "line"), GOLDEN.items(), ids=list(GOLDEN))
def test_the_whole_command(name, line):
    assert " ".join(get_runtime(name).command(request(name, gpus=GpuKind.NVIDIA)).argv) == line


def test_the_command_of_enroot_replaces_the_entrypoint_of_the_image():
    command = get_runtime("enroot").command(request("enroot", workdir="/a b"))
    assert command.files == {"/tmp/enroot-command.sh": "cd -- '/a b' || exit 1\nexec \"$@\"\n"}


def test_srun_gets_only_the_variables_that_it_needs_beside_those_of_the_container():
    command = get_runtime("pyxis").command(request("pyxis", environment={"A": "1"}))
    assert command.environment == {
        "A": "1", "PATH": "/usr/bin", "USER": "me", "SLURM_CPUS_ON_NODE": "16", "SLURMD_NODENAME": "gpu01",
        "NVIDIA_VISIBLE_DEVICES": "void",
    }  # fmt: skip


@EVERY_RUNTIME
def test_variables_that_the_runtime_reads_itself_reach_the_container_only(name):
    host, inside = {**HOST, "HOME": "/home/me"}, {"HOME": "/private", "LD_LIBRARY_PATH": "/image/lib"}
    command = get_runtime(name).command(request(name, host=host, environment=inside))
    assert command.environment.get("HOME") == "/home/me" and "LD_LIBRARY_PATH" not in command.environment
    values = [*command.environment.values(), *(word.rpartition("=")[2] for word in command.argv)]
    assert "/image/lib" in values and ("/private" in values or get_runtime(name).mounts_home)


def test_apptainer_does_not_evaluate_values():
    environment = get_runtime("singularity").command(request("singularity", environment={"A": "$(id)"})).environment
    assert environment["SINGULARITYENV_A"] == environment["APPTAINERENV_A"] == "$(id)"
    assert environment["SINGULARITY_NO_EVAL"] == environment["APPTAINER_NO_EVAL"] == "1"


@pytest.mark.parametrize(
    ("name", "passed"),
    [
        ("CUDA_VISIBLE_DEVICES", True),
        ("NCCL_SOCKET_IFNAME", True),
        ("HF_HOME", True),
        ("https_proxy", True),
        ("VLLM_CACHE_ROOT", True),
        ("CUDA_CACHE_PATH", True),
        ("TMPDIR", True),
        ("SLURM_JOB_ID", True),
        ("CUDA_HOME", False),
        ("NCCL_HOME", False),
        ("PYTHONPATH", False),
        ("LD_LIBRARY_PATH", False),
        ("PATH", False),
        ("VIRTUAL_ENV", False),
        ("HPCSWEEP_STORE", False),
        ("AWS_SECRET_ACCESS_KEY", False),
    ],
)
def test_variables_of_the_job_in_a_container(name, passed):
    assert (name in container_environment({name: "x"}, (), ())) is passed
    assert container_environment({name: "x"}, [name], ())[name] == "x"
    assert container_environment({name: "x"}, (), [name])[name] == "x"


def test_packages_of_the_users_home_stay_out():
    assert container_environment({}, (), ()) == {"PYTHONNOUSERSITE": "1"}
    assert container_environment({"PYTHONNOUSERSITE": ""}, ["PYTHONNOUSERSITE"], ())["PYTHONNOUSERSITE"] == ""


def launch(runtime: str, **more: object) -> ContainerLaunch:
    return ContainerLaunch(
        **{
            "runtime": runtime, "image": "/i", "executable": f"/opt/{runtime}", "workdir": "/w", "scratch": "/tmp/own",
            "uid": 7, "gid": 8, **more,
        }
    )  # fmt: skip


def test_without_a_container_the_command_stays_as_it_is():
    assert node_command(None, ["a", "b"], {"X": "1"}).argv == ("a", "b")


def test_the_path_of_the_runtime_is_used_and_home_is_private():
    command = node_command(launch("docker", hub="/home/me/.cache/huggingface"), ["vllm"], {"FOO": "1", "A": "2"}, ["A"])
    assert command.argv[0] == "/opt/docker" and "FOO" not in command.argv and "A" in command.argv
    assert "HOME=/tmp/own" in command.argv and command.environment["HF_HOME"] == "/home/me/.cache/huggingface"
    assert command.cleanup == ("docker", "rm", "--force", container_name(""))
    kept = node_command(launch("apptainer", hub="/h"), ["vllm"], {"HF_HOME": "/x", "HOME": "/home/me"})
    assert kept.environment["APPTAINERENV_HF_HOME"] == "/x" and kept.environment["HOME"] == "/home/me"
    assert kept.cleanup == ()


def test_a_launch_survives_json_for_an_agent_on_another_node():
    whole = launch("podman", binds=[Bind(source="/a", target="/b")], gpus=GpuKind.ROCM)
    assert ContainerLaunch.model_validate_json(whole.model_dump_json()) == whole


def test_the_name_of_a_container_does_not_reveal_the_token():
    assert "abcdef" not in container_name("abcdef") and container_name("a") != container_name("b")


@pytest.mark.parametrize(
    ("written", "source", "target", "read_only"),
    [
        ("/a", "/a", "/a", False),
        ("/a:/b", "/a", "/b", False),
        ("/a:/b:ro", "/a", "/b", True),
        ("/a:ro", "/a", "/a", True),
    ],
)
def test_binds_as_written(written, source, target, read_only):
    assert read_bind(written) == Bind(source=source, target=target, read_only=read_only)


def test_binds_that_others_cover_are_left_out():
    binds = [read_bind(text) for text in ("/a/b/c", "/a", "/a/x:/y", "/abc", "/y/z:ro", "/a/w:ro")]
    assert [(bind.source, bind.target) for bind in merged_binds(binds)] == [
        ("/a", "/a"), ("/a/x", "/y"), ("/abc", "/abc"), ("/y/z", "/y/z")
    ]  # fmt: skip
    users = merged_binds([read_bind("/models"), read_bind("/other:/models")])
    assert [bind.source for bind in users] == ["/other"], "the user's bind comes last"


def test_an_unknown_runtime_names_the_nearest_one():
    with pytest.raises(ContainerError) as raised:
        get_runtime("aptainer")
    assert raised.value.code == "unknown_container_runtime" and "apptainer" in raised.value.hint


def test_a_plugin_adds_a_runtime(tmp_path, monkeypatch):
    code = (
        "from hpcsweep.containers.base import NodeCommand, Runtime\n"
        "class Mine(Runtime):\n"
        "    name = 'mine'\n"
        "    executable = 'sarus'\n"
        "    def command(self, request):\n"
        "        return NodeCommand(('sarus', 'run', request.image, *request.argv), request.environment)\n"
    )
    install_plugin(tmp_path, monkeypatch, RUNTIMES.group, code)
    registry = Registry(RUNTIMES.group, RUNTIMES.what, RUNTIMES.builtin, ContainerError)
    assert registry.get("mine").command(request("apptainer", binds=())).argv[:2] == ("sarus", "run")
