"""Write the experiment file of a job script, and a template that extends the shipped one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hpcsweep.adopt.directives import ScriptDirectives, read_directives
from hpcsweep.adopt.flags import ServerFlag
from hpcsweep.adopt.plain_yaml import yaml_lines
from hpcsweep.adopt.script import ConditionalFlags, ScriptSummary, read_script
from hpcsweep.engines.registry import get_engine
from hpcsweep.errors import EngineError, SpecError
from hpcsweep.plan.variables import SETTING_VARIABLES
from hpcsweep.spec.axes import BUILTIN_AXES, builtin_level
from hpcsweep.spec.server import FlagValue, ServerConfig
from hpcsweep.units import hms

_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_WORDS = {"ep": ("on", "off"), "eager": ("yes", "no"), "prefix_cache": ("on", "off"), "chunked_prefill": ("on", "off")}
_INPUT_LEN, _OUTPUT_LEN = 1024, 128


@dataclass(frozen=True)
class AdoptedFiles:
    """The files that `hpcsweep adopt` prints. `template`: empty for a script without directives and environment.

    `unclear`: sentences, with their lines, about what the user has to check.
    """

    name: str
    experiment: str
    template_name: str
    template: str
    unclear: tuple[str, ...]


def adopt(text: str, name: str) -> AdoptedFiles:
    """Convert a job script to an experiment and a template. `name`: of the script's file.

    Raises SpecError when the script does not start a supported server.
    """
    directives = read_directives(text)
    script = read_script(text, directives.parameters)
    if script.start is None:
        raise SpecError(
            "the script does not start a supported server",
            code="no_server_in_script",
            hint="supported commands: vllm serve, python -m vllm.entrypoints.openai.api_server, sglang serve, "
            "python -m sglang.launch_server, trtllm-serve",
        )
    unclear = [*directives.unclear, *script.unclear]
    plain = _NAME.sub("-", directives.job_name or name).lstrip("-._").rstrip("-.") or "adopted"
    experiment, more = _experiment(script, directives, plain[:80])
    template = _template(script, directives, unclear)
    sentences = [f"line {line}: {sentence}" if line else sentence for line, sentence in sorted([*unclear, *more])]
    remarks = list(dict.fromkeys(sentences))
    head = [f"# Made by `hpcsweep adopt` from {name}. Edit it, then: hpcsweep submit {plain[:80]}.yaml --dry-run"]
    head += ["#", "# Not adopted, please check:", *(f"#   {remark}" for remark in remarks)] if remarks else []
    return AdoptedFiles(
        plain[:80],
        "\n".join([*head, "", experiment]),
        f"{directives.scheduler}.sh.j2",
        template,
        tuple(remarks),
    )


def _experiment(script: ScriptSummary, directives: ScriptDirectives, name: str) -> tuple[str, list[tuple[int, str]]]:
    assert script.start is not None
    unclear: list[tuple[int, str]] = []
    engine, line = script.start.engine, script.start.line.first
    flags = {flag.name: flag for flag in script.flags if flag.name not in ("served_name", "revision")}
    axes, baseline = _axes(script, engine, flags)
    if script.model is None:
        unclear.append((line, "the model is unknown; set `model`"))
    document: dict[str, Any] = {"name": name, "model": _model(script), "engine": engine}
    if not axes:  # an experiment needs an axis: use tp, with the level of the script
        axes, baseline = {"tp": [_parallel(engine, flags, "tensor_parallel_size")]}, {}
        flags = {key: flag for key, flag in flags.items() if _setting(engine, flag) != "tensor_parallel_size"}
    document["engine_args"] = {flag.name.removeprefix("--"): flag.value for flag in flags.values()}
    if script.env:
        document["env"] = dict(script.env)
    document |= {"axes": axes, "baseline": baseline}
    document["workloads"] = {"load": _workload(script, engine, flags, baseline, unclear)}
    request = directives.request
    gpus = request.gpus_per_node
    if gpus is None and request.gpus is not None:
        gpus = -(-request.gpus // (request.nodes or 1))
    document["resources"] = {
        **({"nodes": request.nodes} if request.nodes and request.nodes > 1 else {}),
        **({"gpus": gpus} if gpus is not None else {}),
        **({"gpu_type": request.gpu_type} if request.gpu_type else {}),
        **({"cpus": directives.cpus} if directives.cpus else {}),
        **({"memory": directives.memory} if directives.memory else {}),
        **({"walltime": hms(request.walltime_s)} if request.walltime_s else {}),
    }
    if not request.walltime_s:
        unclear.append((0, "the script does not set a walltime; the experiment uses 4 hours (resources.walltime)"))
    return "\n".join(yaml_lines(document)) + "\n", unclear


def _axes(script: ScriptSummary, engine: str, flags: dict[str, ServerFlag]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return axes and baseline for the script's conditions and parameters, and remove their flags from `flags`."""
    axes: dict[str, Any] = {}
    baseline: dict[str, Any] = {}
    for toggle in script.toggles:
        known = script.variables.values.get(toggle.condition.name)
        value = script.variables.text(known[0]) if known else toggle.condition.default or ""  # unset is empty
        holds = toggle.condition.true_with(value) is not False
        name, levels, on, off = _toggle_axis(toggle, engine)
        axes[name] = levels
        baseline[name] = on if holds else off
        for flag in (*toggle.flags, *toggle.otherwise):
            flags.pop(flag.name, None)
    for flag in list(flags.values()):
        if flag.variable is None or flag.variable not in script.variables.parameters:
            continue
        setting = _setting(engine, flag)
        axis = next((name for name, builtin in BUILTIN_AXES.items() if builtin.setting == setting), None)
        if axis is not None and axis not in axes and _reads(axis, flag.value):
            axes[axis] = [flag.value]
        elif axis is None:
            axis = _axis_name(flag.variable)
            axes[axis] = {"flag": flag.name, "levels": [flag.value]}
        else:
            continue
        baseline[axis] = flag.value
        del flags[flag.name]
    return axes, baseline


def _toggle_axis(toggle: ConditionalFlags, engine: str) -> tuple[str, Any, str, str]:
    """Return (axis, its levels, the level when the condition is true, the other level)."""
    sides = [side for side in (toggle.flags, toggle.otherwise) if side]
    settings = {_setting(engine, side[0]) if len(side) == 1 else None for side in sides}
    setting = settings.pop() if len(settings) == 1 else None
    axis = next((name for name, builtin in BUILTIN_AXES.items() if builtin.setting == setting and name in _WORDS), None)
    if axis is not None:
        switches_on = bool(_settings(engine, toggle.flags or toggle.otherwise).get(str(setting)))
        yes, no = _WORDS[axis]
        when = switches_on if toggle.flags else not switches_on
        return axis, [yes, no], yes if when else no, no if when else yes
    name = toggle.condition.name
    axis = SETTING_VARIABLES.get(name, _axis_name(name))
    axis = f"{axis}-flags" if axis in BUILTIN_AXES else axis
    on, off = toggle.condition.value, toggle.condition.other_value
    levels = {on: {"engine_args": _flag_map(toggle.flags)}, off: {"engine_args": _flag_map(toggle.otherwise)}}
    return axis, {"levels": levels}, on, off


def _axis_name(variable: str) -> str:
    return variable.lower().replace("_", "-")


def _flag_map(flags: tuple[ServerFlag, ...]) -> dict[str, FlagValue]:
    return {flag.name: flag.value for flag in flags}


def _settings(engine: str, flags: tuple[ServerFlag, ...] | list[ServerFlag]) -> dict[str, Any]:
    try:
        config = ServerConfig(engine=engine, model="m", flags=_flag_map(tuple(flags)))
        return {k: v for k, v in get_engine(engine).settings(config).model_dump().items() if v is not None}
    except (EngineError, ValueError):
        return {}


def _setting(engine: str, flag: ServerFlag) -> str | None:
    """Return the neutral setting that a flag sets; None: none, or several."""
    settings = _settings(engine, (flag,))
    return next(iter(settings)) if len(settings) == 1 else None


def _reads(axis: str, value: FlagValue) -> bool:
    try:
        builtin_level(axis, value)
    except SpecError:
        return False
    return True


def _parallel(engine: str, flags: dict[str, ServerFlag], setting: str) -> int:
    return int(_settings(engine, list(flags.values())).get(setting) or 1)


def _model(script: ScriptSummary) -> Any:
    name = script.model or "MODEL"
    extra = {flag.name: flag.value for flag in script.flags if flag.name in ("served_name", "revision")}
    if name.startswith(("/", ".", "~", "$")):
        return {"name": name.rstrip("/").rpartition("/")[2].lstrip("$.~") or "model", "path": name, **extra}
    return {"name": name, **extra} if extra else name


def _workload(
    script: ScriptSummary,
    engine: str,
    flags: dict[str, ServerFlag],
    baseline: dict[str, Any],
    unclear: list[tuple[int, str]],
) -> dict[str, Any]:
    load = script.load
    longest = _settings(engine, list(flags.values())).get("max_model_len")
    if longest is None and _reads("len", baseline.get("len")):
        longest = builtin_level("len", baseline["len"]).value
    input_len = load.input_len if load and load.input_len else _INPUT_LEN
    output_len = load.output_len if load and load.output_len else _OUTPUT_LEN
    if longest is not None and input_len + output_len > longest:
        input_len, output_len = max(1, longest // 2), max(1, longest // 8)
        unclear.append(
            (
                load.line if load else 0,
                f"the prompt and output lengths were reduced to fit a context of {longest} tokens",
            )
        )
    if load is None:
        unclear.append((0, "the script's own load was not adopted; `workloads` has a placeholder (docs/load.md)"))
    elif load.dataset != "random":
        unclear.append((load.line, f"dataset {load.dataset} was not adopted; `workloads` has random prompts instead"))
    return random_load(input_len, output_len, load.requests if load else None, load.concurrency if load else None)


def random_load(
    input_len: int = _INPUT_LEN, output_len: int = _OUTPUT_LEN, requests: int | None = None, limit: int | None = None
) -> dict[str, Any]:
    """Return a workload of random prompts, to be replaced by the user's own. `limit`: requests at the same time."""
    return {
        "dataset": {"kind": "random", "input_len": input_len, "output_len": output_len},
        "num_requests": requests or 32,
        "arrival": {"max_concurrency": limit or 8},
    }


def _template(script: ScriptSummary, directives: ScriptDirectives, unclear: list[tuple[int, str]]) -> str:
    """Return a template that extends the shipped one with the script's directives and environment."""
    assert script.start is not None
    setup = list(script.setup)
    container = script.start.container
    if container is not None:
        setup += _wrapper(script, container, unclear)
    elif any(name != "trtllm-llmapi-launch" for name in script.start.launchers):
        names = ", ".join(script.start.launchers)
        unclear.append((script.start.line.first, f"{names} was not adopted; the server starts on the first node"))
    if directives.scheduler == "local" and not setup:
        return ""
    lines = ['{% extends "' + directives.scheduler + '.sh.j2" %}']
    if directives.scheduler != "local":
        lines += _resources(directives)
    if setup:
        lines += ["{% block setup %}", "{{ super() -}}", "set +u", "{% raw %}", *setup, "{% endraw %}", "set -u"]
        lines += ["{% endblock %}"]
    return "\n".join(lines) + "\n"


def _resources(directives: ScriptDirectives) -> Iterator[str]:
    """Yield the block `resources` with the script's own directives; hpcsweep sets array and walltime."""
    yield "{% block resources %}"
    first, last = "job.array_tasks[0].index", "job.array_tasks[-1].index"
    if directives.scheduler == "slurm":
        yield "{% if array %}"
        at_once = "{{ '%%%d' | format(parallel) if parallel else '' }}"
        yield f"#SBATCH --array={{{{ {first} }}}}-{{{{ {last} }}}}{at_once}"
        yield "{% endif %}"
        yield "#SBATCH --ntasks-per-node=1"
        yield "#SBATCH --time={{ job.resources.walltime_s | hms }}"
        yield from (f"#SBATCH {line}" for line in directives.lines)
    else:
        yield from (f"#PBS {line}" for line in directives.lines)
        yield "#PBS -l walltime={{ job.resources.walltime_s | hms }}"
    yield "{% endblock %}"


def _wrapper(script: ScriptSummary, container: tuple[str, ...], unclear: list[tuple[int, str]]) -> list[str]:
    """Return shell lines that write a wrapper of the engine in its container, which the agent starts instead."""
    assert script.start is not None
    engine, line = script.start.engine, script.start.line.first
    words = [word for word in container if word not in ("-d", "--detach", "-it", "-ti", "-t", "-i")]
    for word in [w for w in words if re.fullmatch(r"-p|--publish", w)]:
        del words[words.index(word) : words.index(word) + 2]
    if "--rm" not in words and words[0].rpartition("/")[2] in ("docker", "podman", "podman-hpc"):
        unclear.append((line, "the container is not removed automatically; add --rm to the wrapper"))
    if engine == "vllm" and "run" in words and "VLLM_API_KEY" not in " ".join(words):
        words[words.index("run") + 1 : words.index("run") + 1] = [
            "-e",
            "VLLM_API_KEY",
        ]  # the agent authenticates with it
    if words[0].rpartition("/")[2] == "docker":
        unclear.append((line, "a docker daemon starts the server, so hpcsweep may fail to stop it; prefer apptainer"))
    entry = words[-1].rpartition("/")[2].partition(":")[0] == "vllm-openai"
    program = get_engine(engine).executable
    unclear.append((line, f"{words[0]}: check that the wrapper in the template passes on the server's variables"))
    argv = [*words, *([] if entry else [program]), '"\\$@"']
    shift = ['[ "\\$1" = serve ] && shift  # the entry point of the image is `vllm serve`'] if entry else []
    return [
        f'wrapper="${{TMPDIR:-/tmp}}/hpcsweep-{engine}-$$"',
        'cat > "$wrapper" <<WRAPPER',  # variables of the script are expanded when the job starts
        "#!/bin/bash",
        *shift,
        f"exec {' '.join(argv)}",
        "WRAPPER",
        'chmod +x "$wrapper"',
        f'export HPCSWEEP_{engine.upper()}="$wrapper"',
    ]
