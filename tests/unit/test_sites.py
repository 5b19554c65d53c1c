"""The shipped site profiles: each key has a source, and their directives are those of the site's documentation."""

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from rendered_jobs import directives, job_script

from hpcsweep.cli.main import main
from hpcsweep.containers.base import GpuKind
from hpcsweep.containers.launch import ContainerLaunch, node_command
from hpcsweep.errors import PlanError, SpecError
from hpcsweep.sites.proposal import site_config
from hpcsweep.sites.site import Site, read_site, site_names, site_text
from hpcsweep.spec.cluster import Cluster, ConfigFile
from hpcsweep.spec.container import read_bind
from hpcsweep.spec.load import parse_model
from hpcsweep.spec.unfilled import unfilled_keys
from hpcsweep.spec.yaml_text import parse_yaml
from hpcsweep.sweep.unfilled import require_filled

EXPECTED, _ = parse_yaml(Path(__file__).with_name("site_directives.yaml").read_text(), "site_directives.yaml")

OF_EVERY_JOB = re.compile(
    r"-(N|j|o) .*|-l walltime=.*"
    r"|--(job-name|comment|output|open-mode|time|export|signal)=.*|--(nodes|ntasks-per-node)=1|--no-requeue"
)
"""Directives that do not depend on the site."""


def filled(site: Site, value: object = "PROJECT") -> Cluster:
    return Cluster.model_validate(json.loads(json.dumps(site.profile, default=str).replace("TODO", str(value))))


def of_site(script: str) -> set[str]:
    return {option for option in directives(script) if not OF_EVERY_JOB.fullmatch(option)}


def test_every_site_is_compared_with_its_documentation_and_documented():
    assert set(EXPECTED) == set(site_names())
    page = (Path(__file__).parents[2] / "docs" / "sites.md").read_text()
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE)[: len(site_names())] == site_names()
    assert len(site_names()) >= 12


@pytest.mark.parametrize("name", site_names())
def test_the_directives_are_those_of_the_documentation(name):
    site, expected = read_site(name), EXPECTED[name]
    cluster = filled(site)
    assert of_site(job_script(cluster, gpus=1)) == set(expected["one_gpu"])
    if expected["whole_node"] is None:
        assert cluster.gpus_per_node == 1
        return
    assert of_site(job_script(cluster, gpus=cluster.gpus_per_node)) == set(expected["whole_node"])


@pytest.mark.parametrize("name", [name for name in site_names() if read_site(name).cluster.gpu_type is not None])
def test_a_gpu_type_that_the_site_does_not_have_reaches_the_scheduler_or_is_refused(name):
    cluster = filled(read_site(name))
    if any("gpu_type" in key for key in (cluster.gpu_resource or "", cluster.pbs.select or "")):
        assert any("gpu_type=b200" in option for option in directives(job_script(cluster, gpus=1, gpu_type="b200")))
        return
    if cluster.scheduler == "slurm" and cluster.gpu_type_in_directive:
        assert any("b200" in option for option in directives(job_script(cluster, gpus=1, gpu_type="b200")))
        return
    with pytest.raises(PlanError) as caught:
        job_script(cluster, gpus=1, gpu_type="b200")
    assert caught.value.code == "gpu_type_not_requested"


def container_argv(cluster: Cluster, gpus: GpuKind) -> tuple[str, ...]:
    """The command of a server in the profile's container."""
    container = cluster.container
    launch = ContainerLaunch(
        runtime=container.runtime, image=container.image or "/images/vllm.sif", executable="/usr/bin/runtime",
        binds=[read_bind(bind) for bind in ["/scratch/sweep", *container.binds]], options=container.options, gpus=gpus,
        workdir="/scratch/sweep", scratch="/tmp/private", uid=1000, gid=1000,
    )  # fmt: skip
    assert not launch.adapter().problems(launch.image, launch.binds, launch.options)
    assert launch.adapter().schedulers is None or cluster.scheduler in launch.adapter().schedulers
    return launch.adapter().executable, *node_command(launch, ["vllm", "serve", "m"], {"PATH": "/bin"}).argv[1:]


@pytest.mark.parametrize("name", site_names())
def test_the_command_of_a_container_is_that_of_the_documentation(name):
    site, words = read_site(name), EXPECTED[name].get("container")
    if words is None:
        assert "container" not in site.profile
        assert any(note.startswith("Without container.") for note in site.notes)
        return
    kinds = {None: GpuKind.NONE, "mi250x": GpuKind.ROCM}
    argv = container_argv(filled(site), kinds.get(site.cluster.gpu_type, GpuKind.NVIDIA))
    assert [word for word in argv if word in words] == words
    assert argv[0] == words[0] and argv[-2:] == ("serve", "m")


@pytest.mark.parametrize("name", site_names())
def test_every_source_is_used(name):
    site = read_site(name)
    used = {source for sources in site.taken_from.values() for source in sources}
    notes = " ".join(site.notes)
    unused = [source for source in site.sources if source not in used and f"({source})" not in notes]
    assert unused == []


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("name", site_names())
def test_the_written_file_is_valid_and_says_what_is_missing(name, remote):
    site = read_site(name)
    text = site_config(site, site_text(name), python=None if remote else "/venv/bin/python", remote=remote)
    profile = parse_model(ConfigFile, text, "hpcsweep.yaml").clusters[name]
    missing = set(unfilled_keys(profile))
    assert missing - {"ssh.home", "ssh.host", "python"} == set(site.todo)
    assert ("python" in missing) is remote and ("ssh.home" in missing) is remote
    assert all(source.url in text for source in site.sources.values())
    assert "not run by us" in text
    for line in text.split("\n"):
        if re.search(r":.*\bTODO\b", line.partition("#")[0]):
            assert len(line.partition("#")[2]) > 10, line


def test_a_key_without_a_source_is_refused():
    text = site_text("polaris").replace("  queue: jobs\n", "")
    with pytest.raises(SpecError) as caught:
        parse_model(Site, text, "polaris.yaml", name="polaris")
    assert caught.value.code == "site_key_source" and "queue" in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [("  queue: jobs\n", "  queue: nowhere\n", "site_source"), ("  account: your", "  accont: your", "site_todo")],
)
def test_mistakes_in_a_site_file_are_refused(old, new, code):
    with pytest.raises(SpecError) as caught:
        parse_model(Site, site_text("polaris").replace(old, new), "polaris.yaml", name="polaris")
    assert caught.value.code == code


def test_what_is_not_filled_in_is_named_with_its_line(tmp_path, monkeypatch):
    site = read_site("gadi-hopper")
    config = tmp_path / "hpcsweep.yaml"
    text = site_config(site, site_text(site.name), python="/venv/bin/python", remote=False)
    config.write_text(text)
    monkeypatch.setenv("HPCSWEEP_CONFIG", str(config))
    with pytest.raises(SpecError) as caught:
        require_filled(site.name, site.cluster)
    problem = caught.value
    assert problem.code == "profile_incomplete"
    assert "project, pbs.resources, container.image" in problem.message
    number = 1 + next(n for n, line in enumerate(text.split("\n")) if line.lstrip().startswith("project:"))
    assert f"{config}, line {number}: project: your NCI project, such as ab12" in problem.detail
    require_filled(site.name, filled(site))


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, words)
    return result.exit_code, result.output


def test_sites_lists_shows_and_prints_json():
    code, text = run("sites")
    assert code == 0 and all(name in text for name in site_names()) and "not run by us" in text
    code, text = run("sites", "polaris")
    assert code == 0 and "select:" in text and "https://docs.alcf.anl.gov/polaris/running-jobs/" in text
    document = json.loads(run("sites", "--json")[1])
    assert [site["name"] for site in document["sites"]] == site_names()
    shown = json.loads(run("sites", "polaris", "--json")[1])
    assert shown["profile"]["queue"] == "preemptable" and shown["taken_from"]["queue"] == ["jobs"]
    code, text = run("sites", "polari")
    assert code != 0 and "did you mean 'polaris'" in text


def test_init_writes_the_profile_and_submit_refuses_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPCSWEEP_CONFIG", str(tmp_path / "hpcsweep.yaml"))
    code, text = run("init", "--site", "roihu")
    assert code == 0 and "fill in account" in text
    shutil.copy(Path(__file__).parents[2] / "experiments" / "gpu_smoke.yaml", tmp_path / "e.yaml")
    code, text = run("--home", str(tmp_path / "home"), "submit", "e.yaml", "--dry-run")
    assert code == 0 and "account is not filled in" in text and "--gres=gpu:gh200:1" in text
    code, text = run("--home", str(tmp_path / "home"), "submit", "e.yaml")
    assert code != 0 and "cluster profile roihu is not complete: account" in text
    assert not (tmp_path / "home" / "sweeps").exists()
    assert run("init", "--site", "roihu")[0] != 0  # the file exists
    assert run("init", "--ssh")[0] != 0
    code, text = run("init", "--site", "roihu", "--ssh", "--print")
    assert code == 0 and "host: roihu-gpu.csc.fi" in text and "home: /TODO/hpcsweep" in text
