"""Exports of a variant: bash accepts them, and the server gets back the very arguments."""

import os
import subprocess
from dataclasses import replace
from io import StringIO

import pytest
from ruamel.yaml import YAML
from study_rows import attempt, h200_study, run, sweep

from hpcsweep.analysis.decision.commands import ServeCommand, serve_command
from hpcsweep.analysis.summary import analyse
from hpcsweep.errors import ReportError, SpecError
from hpcsweep.report.export import KINDS, Service, export_text, find_variant
from hpcsweep.report.formats.registry import FORMATS, get_format
from hpcsweep.report.serving import MeasuredContainer
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import Resources

SERVER = {
    "engine": "vllm",
    "model": "zai-org/GLM-4.6",
    "settings": {"tensor_parallel_size": 8, "max_model_len": 65536},
    "flags": {"--hf-overrides": '{"a": "it\'s $(id) `id`"}', "--note": "two\nlines \\ # tail"},
    "env": {"WITH_BLANK": "a b", "WITH_QUOTE": "it's"},
}
FAKE = '#!/bin/bash\nprintf "%s\\0" "$WITH_BLANK" "$WITH_QUOTE" "$@" > "$OUT"\nls > "$OUT.ls"\n'


def service(cluster=None, command=None, name="best", marked=False, **resources):
    rows = h200_study()
    rows = replace(rows, runs=tuple(replace(r, server=SERVER, simulated=marked) for r in rows.runs))
    findings = analyse(rows)
    variant = find_variant(findings, name)
    own = next(r for r in rows.runs if r.variant_id == variant.variant)
    asked = Resources(**({"gpus": 8, "gpu_type": "h200", "walltime_s": 3600} | resources))
    return Service(findings, variant, command or serve_command(own), asked, cluster or Cluster())


@pytest.fixture
def fake_vllm(tmp_path):
    """A `vllm` on PATH that writes down what it is started with."""
    executable = tmp_path / "bin" / "vllm"
    executable.parent.mkdir()
    executable.write_text(FAKE)
    executable.chmod(0o755)

    def start(text):
        env = {"PATH": f"{executable.parent}:{os.environ['PATH']}", "OUT": str(tmp_path / "out")}
        done = subprocess.run(["bash"], input=text, text=True, capture_output=True, env=env, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "out").read_text().split("\0")[:-1], (tmp_path / "out.ls").read_text()

    return start


CLUSTERS = [
    pytest.param("command", Cluster(), id="command"),
    pytest.param("slurm", Cluster(scheduler="slurm", partition="gpu", account="a1", requeue=True), id="slurm"),
    pytest.param("pbs", Cluster(scheduler="pbs", queue="workq", place="free"), id="pbs"),
    pytest.param("pbs", Cluster(scheduler="slurm", partition="gpu"), id="pbs from a sweep on Slurm"),
    pytest.param("slurm", Cluster(scheduler="pbs", queue="workq"), id="slurm from a sweep on PBS"),
    pytest.param("slurm", Cluster(setup=["export SETUP=1"], env={"EXTRA": "it's"}), id="from a local sweep"),
]


@pytest.mark.parametrize(("kind", "cluster"), CLUSTERS)
def test_the_server_gets_back_the_very_arguments(kind, cluster, fake_vllm):
    exported = service(cluster)
    text = export_text(exported, kind)
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=True).stderr == ""
    values, _ = fake_vllm(text)
    assert values == ["a b", "it's", *exported.command.argv[1:]]


def test_the_directives_ask_for_what_the_measurement_asked_for():
    slurm = export_text(service(Cluster(scheduler="slurm", partition="gpu")), "slurm", walltime_s=86400)
    lines = [line for line in slurm.splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --gres=gpu:h200:8" in lines
    assert "#SBATCH --time=24:00:00" in lines
    assert "#SBATCH --partition=gpu" in lines
    assert not any("signal" in line for line in lines)
    pbs = export_text(service(Cluster(scheduler="pbs", queue="workq"), cpus=16), "pbs")
    assert "#PBS -l select=1:ncpus=16:ngpus=8" in pbs
    assert "#PBS -l walltime=01:00:00" in pbs
    assert "#PBS -q workq" in pbs
    moved = export_text(service(Cluster(scheduler="slurm", partition="gpu")), "pbs")
    assert "partition" not in moved


def test_the_profile_names_the_executable():
    text = export_text(service(Cluster(engines={"vllm": "/opt/my vllm/bin/vllm"})), "command")
    assert "'/opt/my vllm/bin/vllm' serve zai-org/GLM-4.6" in text


def test_a_command_that_was_measured_in_a_container_names_the_image():
    exported = replace(service(Cluster()), container=MeasuredContainer("apptainer /shared/vllm.sif"))
    assert "# measured in a container (apptainer /shared/vllm.sif)" in export_text(exported, "command")
    assert "container" not in export_text(service(Cluster()), "command")


def test_files_are_written_beside_the_server(fake_vllm):
    files = {"a b.yaml": "x: 'it''s'\nEND_OF_FILE\ny: $(id)\n"}
    command = ServeCommand(("vllm", "serve", "m"), {"WITH_BLANK": "", "WITH_QUOTE": ""}, files)
    for kind in ("command", "slurm", "pbs"):
        _, listed = fake_vllm(export_text(service(command=command), kind))
        assert "a b.yaml" in listed
    assert "\nEND_OF_FILE_\n" in export_text(service(command=command), "slurm")


@pytest.mark.parametrize("kind", KINDS)
def test_a_simulated_choice_says_so(kind):
    text = export_text(service(marked=True), kind)
    assert (
        "simulated: true"
        if kind == "yaml"
        else "# SIMULATED: the figures of this variant come from the simulated engine"
    ) in text
    assert "SIMULATED" not in export_text(service(), kind)


def test_yaml_reads_back():
    exported = service()
    document = YAML(typ="safe").load(StringIO(export_text(exported, "yaml")))
    assert tuple(document["argv"]) == exported.command.argv
    assert document["env"] == SERVER["env"]
    assert document["axes"] == {"ep": "on", "eager": "yes", "len": "64k"}
    assert document["figures"]["8k"]["tps"]["condition"] == "warm"
    assert document["figures"]["8k"]["tps"]["n"] == 2


@pytest.mark.parametrize("name", ["E01", "ep-on_eager-yes_len-32k"])
def test_another_variant_by_its_name(name):
    assert service(name=name).variant.is_baseline
    assert "recommended for" not in export_text(service(name=name), "command")


def test_an_unknown_variant_names_the_known_ones():
    with pytest.raises(ReportError, match="has no variant 'E99'") as caught:
        service(name="E99")
    assert "E01" in caught.value.hint


def test_without_a_recommendation_best_is_an_error():
    findings = analyse(sweep([run({"a": "1"}, [])], {"a": ("1",)}, {"a": "1"}))
    with pytest.raises(ReportError) as caught:
        find_variant(findings, "best")
    assert caught.value.code == "no_recommendation"


def test_no_command_and_no_directive_are_errors():
    silent = service(command=serve_command(run({"a": "1"}, [attempt([], simulated=True)])))
    with pytest.raises(ReportError) as caught:
        export_text(silent, "slurm")
    assert caught.value.code == "no_serve_command"
    with pytest.raises(SpecError, match="directive"):
        export_text(
            service(Cluster.model_construct(**Cluster(scheduler="slurm").model_dump() | {"partition": "a b"})), "slurm"
        )


def test_an_mpi_job_over_several_nodes_is_not_exported():
    trtllm = {"engine": "trtllm", "model": "m", "settings": {"tensor_parallel_size": 16}}
    own = run({"a": "1"}, [attempt()], server=trtllm)
    assert serve_command(own).argv[0] == "trtllm-serve"
    assert "one MPI job over several nodes" in serve_command(replace(own, nodes=2)).trouble


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_exported_and_its_name_is(kind):
    own = run({"a": "1"}, [attempt()], server=SERVER | {"env": {"HF_TOKEN": "hf_abc", "LEVEL": "2"}})
    command = serve_command(own)
    text = export_text(service(Cluster(env={"DB_PASSWORD": "xyz", "SHOWN": "1"}), command, name="E02"), kind)
    assert "hf_abc" not in text
    assert "xyz" not in text
    assert "LEVEL" in text
    assert kind == "yaml" or "HF_TOKEN" in text
    assert command.secrets == ("HF_TOKEN",)


def test_no_secret_is_in_a_report():
    rows = h200_study()
    rows = replace(rows, runs=tuple(replace(r, server=SERVER | {"env": {"HF_TOKEN": "hf_abc"}}) for r in rows.runs))
    findings = analyse(rows)
    for name in FORMATS.builtin:
        stream = StringIO()
        get_format(name).write(findings, stream)
        assert "hf_abc" not in stream.getvalue()
    assert any("HF_TOKEN" in sentence for sentence in findings.recommendation.why)
