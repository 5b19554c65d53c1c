"""How the keys of a cluster profile become a request to the scheduler."""

import subprocess

import pytest
from rendered_jobs import directives, job_script

from hpcsweep.errors import HpcsweepError, SpecError
from hpcsweep.spec.cluster import Cluster, ConfigFile
from hpcsweep.spec.job import Resources
from hpcsweep.spec.load import parse_model
from hpcsweep.spec.pbs_request import fill, pbs_size

GIB = 1 << 30


def slurm(**profile) -> Cluster:
    return Cluster(scheduler="slurm", **profile)


def pbs(**profile) -> Cluster:
    return Cluster(scheduler="pbs", **profile)


def asked(cluster: Cluster, prefix: str, **resources) -> list[str]:
    return [option for option in directives(job_script(cluster, **resources)) if option.startswith(prefix)]


def refused(cluster: Cluster, **resources) -> HpcsweepError:
    with pytest.raises(HpcsweepError) as caught:
        job_script(cluster, **resources)
    return caught.value


@pytest.mark.parametrize(
    ("profile", "resources", "cpus", "memory"),
    [
        ({"cpus_per_gpu": 24, "memory_per_gpu": "100G"}, {"gpus": 1}, 24, "102400M"),
        ({"cpus_per_gpu": 24, "memory_per_gpu": "100G"}, {"gpus": 4}, 96, "409600M"),
        ({"cpus_per_gpu": 24, "cpus": 64}, {"gpus": 4}, 64, None),
        ({"cpus": 64, "memory": "512G"}, {"gpus": 1}, 64, "524288M"),
        ({"cpus_per_gpu": 24, "memory_per_gpu": "100G"}, {"gpus": 1, "cpus": 3, "memory": "1G"}, 3, "1024M"),
        ({"cpus_per_gpu": 24, "cpus": 8}, {"gpus": 0}, 8, None),
        ({"cpus_per_gpu": 24}, {"gpus": 0}, None, None),
    ],
)
def test_a_job_requests_its_share_of_a_node(profile, resources, cpus, memory):
    cluster = slurm(**profile)
    assert asked(cluster, "--cpus-per-task", **resources) == ([f"--cpus-per-task={cpus}"] if cpus else [])
    assert asked(cluster, "--mem=", **resources) == ([f"--mem={memory}"] if memory else [])


def test_slurm_without_a_type_in_the_option():
    cluster = slurm(gpu_type="h100", gpu_type_in_directive=False, constraint="h100", hint="nomultithread")
    found = directives(job_script(cluster, gpus=4))
    assert "--gres=gpu:4" in found
    assert {"--constraint=h100", "--hint=nomultithread"} <= set(found)


def test_slurm_whole_nodes_without_a_gpu_option():
    cluster = slurm(gpu_type="gh200", gpu_directive="none", exclusive=True)
    found = directives(job_script(cluster, gpus=4))
    assert not [option for option in found if "gpu" in option]
    assert "--exclusive" in found


@pytest.mark.parametrize(
    "cluster",
    [
        slurm(gpu_type="h100", gpu_type_in_directive=False),
        slurm(gpu_type="h100", gpu_directive="none"),
        pbs(gpu_type="h100", gpu_resource="queue"),
        pbs(gpu_type="h100", pbs={"select": "{nodes}:system=here"}, gpu_resource="queue"),
    ],
)
def test_a_gpu_type_of_another_profile_is_refused(cluster):
    assert refused(cluster, gpus=1, gpu_type="a100").code == "gpu_type_not_requested"
    assert job_script(cluster, gpus=1, gpu_type="H100")


@pytest.mark.parametrize(
    "cluster",
    [slurm(gpu_type_in_directive=False), pbs(), pbs(pbs={"select": "{total_gpus}"})],
)
def test_a_gpu_type_that_no_part_of_the_request_names_is_refused(cluster):
    problem = refused(cluster, gpus=1, gpu_type="a100")
    assert problem.code == "gpu_type_not_requested"
    assert "gpu_" in problem.hint
    assert job_script(cluster, gpus=0, gpu_type="a100")


def test_a_queue_that_was_chosen_for_its_gpus_needs_no_type():
    assert asked(pbs(gpu_resource="queue"), "-l select", gpus=1, gpu_type="a100") == ["-l select=1:ngpus=1"]


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ({"select": "{nodes}:system=polaris"}, ["select=1:system=polaris"]),
        ({"select": "{total_gpus}"}, ["select=2"]),
        ({"select": "{nodes}:ngpus={gpus}:gpu_model={gpu_type}"}, ["select=1:ngpus=2:gpu_model=a100"]),
        (
            {"select": "none", "resources": ["ngpus={total_gpus}", "ncpus={total_cpus}", "mem={total_memory}"]},
            ["ngpus=2", "ncpus=24", "mem=256gb"],
        ),
        (
            {"resources": ["filesystems=home:eagle"]},
            ["select=1:ncpus=24:ngpus=2:mem=268435456kb", "filesystems=home:eagle"],
        ),
    ],
)
def test_requests_to_pbs_by_template(profile, expected):
    cluster = pbs(
        pbs=profile, cpus_per_gpu=12, memory_per_gpu="128G", project="ab12", gpu_type="a100", gpu_resource="queue"
    )
    found = directives(job_script(cluster, gpus=2))
    requests = [option.removeprefix("-l ") for option in found if option.startswith("-l ")]
    assert requests == [*expected, "walltime=00:30:00"]
    assert "-P ab12" in found


def test_the_type_joins_a_select_that_does_not_name_it():
    cluster = pbs(pbs={"select": "{nodes}:ngpus={gpus}"}, gpu_type="a100", gpu_resource="gpu_type")
    assert asked(cluster, "-l select", gpus=2) == ["-l select=1:ngpus=2:gpu_type=a100"]
    job_wide = pbs(pbs={"select": "none", "resources": ["ngpus={gpus}"]}, gpu_type="a100", gpu_resource="gpu_type")
    assert asked(job_wide, "-l gpu", gpus=2) == ["-l gpu_type=a100"]


def test_sites_that_enforce_their_output_handling():
    assert "-k doe" in directives(job_script(pbs(pbs={"keep": "doe"})))
    assert "-k od" in directives(job_script(pbs()))


def test_a_job_wide_request_on_two_nodes_has_no_place():
    cluster = pbs(pbs={"select": "none", "resources": ["ngpus={total_gpus}"]})
    assert asked(cluster, "-l", gpus=4, nodes=2) == ["-l ngpus=8", "-l walltime=00:30:00"]


def test_a_missing_value_of_a_request_is_named():
    problem = refused(pbs(pbs={"select": "none", "resources": ["ncpus={total_cpus}"]}), gpus=1)
    assert problem.code == "request_value_missing"
    assert "cpus_per_gpu" in problem.hint


@pytest.mark.parametrize(
    ("size", "text"),
    [(GIB, "1gb"), (1536 << 20, "1536mb"), (3 << 10, "3kb"), (1025, "2kb"), (2 << 40, "2tb")],
)
def test_sizes_of_pbs(size, text):
    assert pbs_size(size) == text


def test_totals_are_of_all_nodes():
    resources = Resources(nodes=2, gpus=4, cpus=48, memory_bytes=512 * GIB)
    assert fill("{nodes} {gpus} {cpus} {memory} {total_gpus} {total_cpus} {total_memory}", resources) == (
        "2 4 48 512gb 8 96 1tb"
    )


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ("scheduler: slurm\n    project: ab12", "other_scheduler"),
        ("scheduler: slurm\n    pbs: {keep: doe}", "other_scheduler"),
        ("scheduler: pbs\n    hint: nomultithread", "other_scheduler"),
        ("scheduler: pbs\n    gpu_type_in_directive: no", "other_scheduler"),
        ("scheduler: pbs\n    pbs: {select: none}\n    constraint: tier=gold", "constraint_without_select"),
        ("scheduler: pbs\n    pbs: {select: '{gpus_per_chunk}'}", "invalid_value"),
        ("scheduler: pbs\n    pbs: {select: '{gpus'}", "invalid_value"),
        ("scheduler: pbs\n    pbs: {select: '{gpus.__class__}'}", "invalid_value"),
        ("scheduler: pbs\n    pbs: {resources: ['a b']}", "invalid_value"),
        ("scheduler: slurm\n    proxy: {url: 'http://me:pw@proxy:3128'}", "secret_in_file"),
        ("scheduler: slurm\n    proxy: {url: proxy}", "invalid_value"),
        ("scheduler: slurm\n    node_scratch: $(id)", "invalid_value"),
        ("scheduler: slurm\n    node_scratch: tmp", "invalid_value"),
    ],
)
def test_a_wrong_key_is_refused_when_the_profile_is_read(keys, code):
    with pytest.raises(SpecError) as caught:
        parse_model(ConfigFile, f"clusters:\n  c:\n    {keys}\n", "hpcsweep.yaml")
    assert caught.value.code == code
    assert "hpcsweep.yaml, line" in caught.value.message


def shell_value(cluster: Cluster, variable: str, before: str = "") -> tuple[str, str]:
    """Return what a job has in `variable` before its agent starts, and the standard error of its script."""
    script = job_script(cluster).replace("if [ ! -r", f'printf %s "${{{variable}-}}"; exit\nif [ ! -r', 1)
    done = subprocess.run(["bash"], input=f"{before}\n{script}", text=True, capture_output=True, check=True)
    return done.stdout, done.stderr


def test_a_proxy_is_in_the_environment_and_never_for_this_machine():
    cluster = slurm(proxy={"url": "http://proxy.site:3128", "no_proxy": ["*.site"]}, env={"ftp_proxy": "none"})
    assert shell_value(cluster, "https_proxy")[0] == "http://proxy.site:3128"
    assert shell_value(cluster, "HTTP_PROXY")[0] == "http://proxy.site:3128"
    assert shell_value(cluster, "NO_PROXY")[0] == "localhost,127.0.0.1,::1,*.site"
    assert shell_value(cluster, "ftp_proxy")[0] == "none"


def test_node_scratch_is_tmpdir(tmp_path):
    by_variable = slurm(node_scratch="$JOBSCRATCH")
    assert shell_value(by_variable, "TMPDIR", f"export JOBSCRATCH='{tmp_path}'") == (str(tmp_path), "")
    assert shell_value(slurm(node_scratch=str(tmp_path)), "TMPDIR") == (str(tmp_path), "")


def test_node_scratch_that_is_not_there_is_reported():
    value, messages = shell_value(slurm(node_scratch="$JOBSCRATCH"), "TMPDIR", "unset JOBSCRATCH; export TMPDIR=/x")
    assert value == "/x"
    assert "node_scratch $JOBSCRATCH is not a writable folder here" in messages
