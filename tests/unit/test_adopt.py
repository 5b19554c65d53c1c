"""Job scripts as sites and studies write them, as experiment and template."""

import subprocess
from pathlib import Path

import pytest

from hpcsweep.adopt.conditions import ShellCondition, read_condition
from hpcsweep.adopt.document import adopt
from hpcsweep.adopt.script import read_script
from hpcsweep.adopt.servers import replacement, server_starts
from hpcsweep.adopt.variables import ShellVariables
from hpcsweep.errors import SpecError
from hpcsweep.spec.load import parse_experiment
from hpcsweep.sweep.inputs import read_own_script

SCRIPTS = Path(__file__).parents[1] / "transcripts" / "job-scripts"


def adopted(name):
    (path,) = SCRIPTS.glob(f"{name}.*")
    found = adopt(path.read_text(), path.stem)
    return found, parse_experiment(found.experiment, name, name)


def test_the_study():
    found, experiment = adopted("h200-study")
    assert (experiment.name, experiment.model.name, experiment.engine.name) == ("glm46_exp", "zai-org/GLM-4.6", "vllm")
    assert experiment.axes == {"eager": ["yes", "no"], "ep": ["on", "off"], "len": [32768]}
    assert experiment.baseline == {"eager": "yes", "ep": "on", "len": 32768}
    assert experiment.engine_args == {
        "--tensor-parallel-size": 8,
        "--dtype": "bfloat16",
        "--kv-cache-dtype": "fp8",
        "--gpu-memory-utilization": 0.95,
        "--max-num-seqs": 8,
        "--enable-chunked-prefill": True,
        "--trust-remote-code": True,
    }
    assert experiment.env == {"VLLM_WORKER_MULTIPROC_METHOD": "spawn", "NCCL_DEBUG": "WARN"}
    assert (experiment.resources.gpus, experiment.resources.gpu_type, experiment.resources.cpus) == (8, "h200", 64)
    assert experiment.resources.walltime == 14400
    assert "module load cuda/12.4" in found.template and "#PBS -P glm46" in found.template
    assert "hf_abc" not in found.experiment + found.template
    assert any("line 25: HF_TOKEN" in sentence for sentence in found.unclear)
    assert any(sentence.startswith("line 49: not adopted, up to line ") for sentence in found.unclear)


def test_a_site_with_modules_and_conda():
    found, experiment = adopted("polaris-conda")
    assert experiment.engine_args == {"--max_model_len": 16384, "--gpu-memory-utilization": 0.92}
    assert experiment.axes == {"tp": [4]}
    load = experiment.workloads[0]
    assert (load.num_requests, load.arrival.max_concurrency) == (200, 16)
    assert load.dataset.model_extra["input_len"] == 2048
    assert "conda activate /eagle/myproject/envs/vllm" in found.template
    assert "#PBS -l filesystems=home:eagle" in found.template
    assert "CUDA_VISIBLE_DEVICES=" not in found.template


def test_job_wide_resources_and_a_value_that_nobody_knows():
    found, experiment = adopted("jobwide")
    assert (experiment.engine.name, experiment.model.path) == ("sglang", "/scratch/ab12/models/Qwen3-235B")
    assert experiment.resources.gpus == 4
    assert "#PBS -l storage=gdata/ab12+scratch/ab12" in found.template
    assert any("line 14: --context-length $LEN: the value is only known" in sentence for sentence in found.unclear)
    assert "--context-length" not in experiment.engine_args


def test_a_container_whose_entry_point_is_the_server():
    found, experiment = adopted("perlmutter-podman")
    assert experiment.model.name == "Qwen/Qwen3-32B"
    assert experiment.engine_args == {"--max-num-seqs": 256}
    assert "#SBATCH --constraint=gpu&hbm80g" in found.template
    assert "KEY" not in experiment.engine_args
    assert "-e VLLM_API_KEY" in found.template


def test_short_flags_names_and_switches():
    found, experiment = adopted("jeanzay-srun")
    assert experiment.model.served_name == "mistral" and experiment.model.revision == "main"
    assert experiment.engine_args["--enable-prefix-caching"] is False
    assert experiment.engine_args["--compilation-config"] == '{"cudagraph_mode": "PIECEWISE"}'
    assert experiment.axes == {"tp": [4]}
    assert (experiment.resources.gpu_type, experiment.resources.cpus) == ("h100", 96)
    assert experiment.env == {"VLLM_USE_V1": "1"}
    assert any("line 10: --array=1-3" in sentence for sentence in found.unclear)


def test_a_shell_in_a_container_and_defaults():
    found, experiment = adopted("csc-singularity")
    assert experiment.axes == {"chunked_prefill": ["on", "off"], "max_num_seqs": [64]}
    assert experiment.model.path == "$MODEL_DIR/llama"
    assert any("the value of $EXTRA is only known" in sentence for sentence in found.unclear)
    assert any(sentence.startswith("line 12: ") for sentence in found.unclear)


def test_tensorrt_llm():
    found, experiment = adopted("trtllm")
    assert (experiment.engine.name, experiment.model.name) == ("trtllm", "nvidia/DeepSeek-R1-FP4")
    assert experiment.engine_args == {"--max_batch_size": 256, "--max_num_tokens": 8192, "--backend": "pytorch"}
    assert any("--extra_llm_api_options: write the keys" in sentence for sentence in found.unclear)
    assert experiment.resources.walltime == 5400


def test_the_wrapper_passes_every_argument_on(tmp_path):
    found, _ = adopted("csc-singularity")
    body = found.template.partition("{% raw %}\n")[2].partition("{% endraw %}")[0]
    fake = tmp_path / "singularity"
    fake.write_text('#!/bin/bash\nprintf "<%s>" "$@"\n')
    fake.chmod(0o755)
    script = f'set -u\nset +u\n{body}set -u\n"$HPCSWEEP_VLLM" serve "a b" --x \'{{"c": 1}}\'\n'
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == ('<exec><--rocm><-B></scratch></appl/containers/vllm.sif><vllm><serve><a b><--x><{"c": 1}>')


def test_a_script_without_a_server_is_refused():
    with pytest.raises(SpecError) as caught:
        adopt("#!/bin/bash\n#PBS -q gpu\necho 'vllm serve x'\npkill -f 'vllm serve'\n# vllm serve y\n", "x")
    assert caught.value.code == "no_server_in_script"


STARTS = [
    ("vllm serve m --x 1", "vllm", ("m", "--x", "1")),
    ("nohup vllm serve m > log 2>&1 &", "vllm", ("m",)),
    ("CUDA_VISIBLE_DEVICES=0 exec /opt/bin/vllm serve m", "vllm", ("m",)),
    ("python3.11 -m vllm.entrypoints.openai.api_server --model m", "vllm", ("--model", "m")),
    ("srun -n1 python -m sglang.launch_server --model-path m", "sglang", ("--model-path", "m")),
    ("sglang serve m", "sglang", ("m",)),
    ("timeout 3h trtllm-serve m --tp_size 2", "trtllm", ("m", "--tp_size", "2")),
    ("apptainer exec --nv v.sif vllm serve m", "vllm", ("m",)),
    ("ssh node1 bash -lc 'source x; vllm serve m --y'", "vllm", ("m", "--y")),
    ("docker run --gpus all vllm/vllm-openai:v0.11.0 --model m", "vllm", ("--model", "m")),
    ("uv run vllm serve m", "vllm", ("m",)),
]


@pytest.mark.parametrize(("text", "engine", "args"), STARTS)
def test_what_starts_a_server(text, engine, args):
    (start,) = server_starts(f"#!/bin/bash\n{text}\n")
    assert (start.engine, start.args, start.line.first) == (engine, args, 2)


@pytest.mark.parametrize(
    "text", ["vllm bench serve --model m", "vllm --version", "echo vllm serve", "pip install vllm", "pkill -f vllm"]
)
def test_what_starts_none(text):
    assert server_starts(f"#!/bin/bash\n{text}\n") == []


def test_the_refusal_of_an_own_script_names_the_lines(tmp_path):
    path = tmp_path / "mine.sh"
    path.write_text("#!/bin/bash\n#SBATCH -t 5\nmodule load x\nvllm serve m \\\n  --x 1 &\nsleep 60\npython bench.py\n")
    with pytest.raises(SpecError) as caught:
        read_own_script(path, 1)
    assert "lines 4-5 start the server" in caught.value.hint
    assert "replace them with `exec hpcsweep-node`, and remove lines 6-7" in caught.value.hint
    assert f"hpcsweep adopt {path}" in caught.value.hint
    assert "line 2 starts the server" in replacement(
        server_starts("#!/bin/sh\nvllm serve m\n"), "#!/bin/sh\nvllm serve m\n"
    )
    path.write_text("#!/bin/bash\nCMD='vllm serve m'\n$CMD --x 1\n")
    with pytest.raises(SpecError) as caught:
        read_own_script(path, 1)
    assert "line 3 starts the server" in caught.value.hint
    path.write_text("#!/usr/bin/env python3\nimport os; os.execvp('hpcsweep-node', ['hpcsweep-node'])\n")
    assert read_own_script(path, 1)
    path.write_text("#!/bin/bash\n# hpcsweep-node would go here\ndate\n")
    with pytest.raises(SpecError, match="does not run hpcsweep-node"):
        read_own_script(path, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[ "$E" = yes ]', ShellCondition("E", "yes", True)),
        ('[[ "${E:-no}" == "yes" ]]', ShellCondition("E", "yes", True, "no")),
        ("[ $E != yes ]", ShellCondition("E", "yes", False)),
        ('test "$E" -eq 1', ShellCondition("E", "1", True)),
        ('[[ -n "$E" ]]', ShellCondition("E", "1", True)),
        ('[ -z "${E:-}" ]', ShellCondition("E", "1", False, "")),
        ('[ "$A" = "$B" ]', None),
        ("[ -f x ]", None),
    ],
)
def test_conditions(text, expected):
    assert read_condition(text) == expected


ARGS = [
    ('A="--x 1"\nA="$A --y 2"\nvllm serve m $A', {"--x": 1, "--y": 2}),
    ('A="--x 1"\nA+=" --y 2"\nvllm serve m $A', {"--x": 1, "--y": 2}),
    ('A=(--x 1)\nA+=(--y "a b")\nvllm serve m "${A[@]}"', {"--x": 1, "--y": "a b"}),
    ('X=3\nvllm serve m --x ${X} --y="${X}k"', {"--x": 3, "--y": "3k"}),
    ("B=\nvllm serve m $B --x 1", {"--x": 1}),
    ("vllm serve m --x ${Y:-7}", {"--x": 7}),
    ("vllm serve m --x a b --y", {"--x": ["a", "b"], "--y": True}),
    ("vllm serve m --x 0.90 --y 1e-5", {"--x": "0.90", "--y": "1e-5"}),
    ("X=$(nproc)\nvllm serve m --x $X --y 1", {"--y": 1}),
    ("vllm serve --enforce-eager m", {"--enforce-eager": True}),
    ('CMD="vllm serve m --x 1"\n$CMD --y 2', {"--x": 1, "--y": 2}),
    ('CMD=(vllm serve m --x 1)\n"${CMD[@]}" &', {"--x": 1}),
    ('CMD="vllm serve m"\nCMD="$CMD --x 1"\neval $CMD', {"--x": 1}),
    ("start() {\n  local X=2\n  vllm serve m --x $X\n}\nstart", {"--x": 2}),
    ('if [ -z "$X" ]; then X=5; fi\nvllm serve m --x $X', {"--x": 5}),
]


@pytest.mark.parametrize(("text", "flags"), ARGS)
def test_arguments_through_variables(text, flags):
    found = read_script(f"#!/bin/bash\n{text}\n")
    assert found.model == "m"
    assert {flag.name: flag.value for flag in found.flags} == flags


UNKNOWN = [
    'if [ "$A" = yes ] && [ "$B" = yes ]; then ARGS+=" --x"; fi',
    '[ "$A" = "$B" ] && ARGS+=" --x"',
    'for X in 1 2; do\n  ARGS+=" --x"\ndone',
    'if grep -q x y; then\n  ARGS+=" --x"\nfi',
]


@pytest.mark.parametrize("text", UNKNOWN)
def test_what_only_the_job_knows_is_not_guessed(text):
    found = read_script(f"#!/bin/bash\nARGS=--y\n{text}\nvllm serve m $ARGS\n")
    assert [flag.name for flag in found.flags] == ["--y"] and found.toggles == []
    assert any("depends on values that only the job has" in sentence for _, sentence in found.unclear)


def test_an_environment_under_a_condition_is_reported():
    text = '#!/bin/bash\nif [ "$FAST" = 1 ]; then\n  export VLLM_X=1\nfi\nvllm serve m\n'
    assert (3, "VLLM_X is set under a condition and is not adopted") in read_script(text).unclear


TOGGLES = [
    'E=""\nif [ "$EAGER" = yes ]; then E=--enforce-eager; fi\nvllm serve m $E',
    'if [ "${EAGER:-no}" = yes ]; then\n  E="--enforce-eager"\nelse\n  E=""\nfi\nvllm serve m $E',
    'A=(--x 1)\n[[ $EAGER == yes ]] && A+=(--enforce-eager)\nvllm serve m "${A[@]}"',
    'A="--x 1"\nif [ "$EAGER" != no ]; then A="$A --enforce-eager"; fi\nvllm serve m $A',
]


@pytest.mark.parametrize("text", TOGGLES)
def test_a_flag_under_a_condition_is_an_axis(text):
    found = adopt(f"#!/bin/bash\n{text}\n", "x")
    experiment = parse_experiment(found.experiment, "x", "x")
    assert experiment.axes == {"eager": ["yes", "no"]}
    assert experiment.baseline == {"eager": "yes" if "!= no" in text else "no"}
    assert "--enforce-eager" not in experiment.engine_args


def test_what_a_variable_is():
    variables = ShellVariables()
    for word in ("A=1", "B=$A-2", "C=${D:-x}", "E=$(date)"):
        variables.assign(word)
    assert [variables.text(f"${name}") for name in "ABCE"] == ["1", "1-2", "x", None]
    assert variables.text("$UNKNOWN/x") is None
    assert variables.text("'$A'") == "$A"
