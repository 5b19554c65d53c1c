"""Experiment files and cluster profiles: words stay words; every error names file, line and the next thing to do."""

import pytest
from pydantic import ValidationError

from hpcsweep.errors import SpecError
from hpcsweep.spec.base import validation_text
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.cluster import Cluster, ConfigFile
from hpcsweep.spec.job import JobSpec
from hpcsweep.spec.load import choose_cluster, parse_experiment, parse_model
from hpcsweep.spec.renamed import DeprecationNote
from hpcsweep.spec.yaml_text import parse_yaml

GOOD = """\
model: zai-org/GLM-4.6
axes:
  ep: [on, off]
  eager: [yes, no]
workloads:
  8k:
    dataset: {kind: samples, path: x.json}
    max_tokens: 512
budgets: {startup: 1h30m}
"""


def read(text):
    return parse_experiment(text, "x.yaml", "x")


def test_on_off_yes_no_stay_words():
    assert read(GOOD).axes == {"ep": ["on", "off"], "eager": ["yes", "no"]}


def test_the_name_is_that_of_the_file_unless_stated():
    assert read(GOOD).name == "x"
    assert read("name: y\n" + GOOD).name == "y"


def test_flags_are_read_with_and_without_dashes():
    experiment = read(GOOD + "engine_args: {dtype: bfloat16, --trust-remote-code: true}\n")
    assert experiment.engine_args == {"--dtype": "bfloat16", "--trust-remote-code": True}


BAD = [  # (text, code, line, what the message names, what the hint names)
    pytest.param(GOOD + "repeat: 3\n", "unknown_key", 10, "'repeat'", "'repeats'", id="unknown key"),
    pytest.param(GOOD.replace("max_tokens", "max_token"), "unknown_key", 8, "", "'max_tokens'", id="in a workload"),
    pytest.param(GOOD.replace("1h30m", "soon"), "invalid_value", 9, "budgets.startup: 'soon'", "", id="value"),
    pytest.param(GOOD.replace("[on, off]", "[on, off"), "yaml_syntax", None, "", "", id="syntax"),
    pytest.param(GOOD + "model: y\n", "yaml_syntax", 10, "duplicate key", "", id="key twice"),
    pytest.param("", "empty_file", None, "", "", id="empty"),
    pytest.param("- 1\n", "not_a_mapping", None, "got a list", "", id="a list"),
    pytest.param(GOOD.replace("eager:", "eagre:"), "unknown_axis", 4, "'eagre'; did you mean 'eager'", "", id="axis"),
    pytest.param(GOOD.replace("[yes, no]", "[]"), "no_levels", 4, "axis eager", "", id="no levels"),
    pytest.param(GOOD.replace("[yes, no]", "[yes, maybe]"), "invalid_level", 4, "got 'maybe'", "", id="level"),
    pytest.param(GOOD + "only:\n- {ep: on}\n- {ep: 3}\n", "invalid_level", 12, "axis ep", "", id="level of a rule"),
    pytest.param(GOOD + "baseline: {eager: 7}\n", "invalid_level", 10, "got 7", "", id="baseline level"),
    pytest.param(
        GOOD.replace("axes:", "axes:\n  kind:\n    levels:\n      a: {set: {epp: on}}"),
        *("unknown_axis", 5, "axis kind, level a: unknown axis 'epp'; did you mean", ""),
        id="bundle",
    ),
    pytest.param(
        GOOD.replace("axes:", "axes:\n  ep: {flag: --x, levels: [1]}").replace("  ep: [on, off]\n", ""),
        *("builtin_axis", 3, "ep is a built-in axis", ""),
        id="custom axis with a built-in name",
    ),
    pytest.param(GOOD + "baseline: {epp: on}\n", "unknown_axis", 10, "'epp'; did you mean 'ep'", "", id="baseline"),
    pytest.param(GOOD.replace("model: zai-org/GLM-4.6\n", ""), "missing_key", None, "'model'", "", id="missing"),
    pytest.param(GOOD + "objective: {workload: 9k}\n", "unknown_workload", 10, "'9k'", "", id="objective"),
    pytest.param(GOOD + "budgets2: \t{\n", "yaml_syntax", None, "", "", id="tab"),
    pytest.param(
        GOOD.replace("startup: 1h30m", "phases: {compil: 1m}"),
        *("invalid_value", 9, "did you mean 'compile'", ""),
        id="phase",
    ),
    pytest.param(
        GOOD + "engine_args: {a: 1}\nserve: {b: 2}\n", "invalid_value", None, "old name", "", id="old and new"
    ),
    pytest.param(GOOD + "serve: {-x: 1}\n", "invalid_value", 10, "engine_args", "", id="in a renamed key"),
]


@pytest.mark.parametrize(("text", "code", "line", "message", "hint"), BAD)
def test_an_error_has_a_code_and_names_the_line(text, code, line, message, hint):
    with pytest.raises(SpecError) as caught:
        read(text)
    assert caught.value.code == code
    assert caught.value.message.startswith(f"x.yaml, line {line}: " if line else "x.yaml")
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert len(str(caught.value).splitlines()) <= 5


# --- renamed keys ---

OLD = """\
model: m
serve: {dtype: bfloat16}
axes:
  seqs: [64, 128]
  shape: {levels: {a: {set: {batched_tokens: 4k}, flags: {--x: true}}}}
baseline: {seqs: 64}
exclude: [{seqs: 128, shape: a}]
only: [{seqs: [64]}]
not_run: [{title: t, set: {seqs: 128}, reason: r}]
workloads: {w: {dataset: {kind: samples, path: x.json}}}
budgets: {margin: 7}
"""
NEW = """\
model: m
engine_args: {dtype: bfloat16}
axes:
  max_num_seqs: [64, 128]
  shape: {levels: {a: {set: {max_num_batched_tokens: 4k}, engine_args: {--x: true}}}}
baseline: {max_num_seqs: 64}
exclude: [{max_num_seqs: 128, shape: a}]
only: [{max_num_seqs: [64]}]
not_run: [{title: t, levels: {max_num_seqs: 128}, reason: r}]
workloads: {w: {dataset: {kind: samples, path: x.json}}}
budgets: {walltime_margin: 7}
"""


def test_old_keys_are_read_as_the_new_ones_and_noted_once():
    old, new = read(OLD), read(NEW)
    assert old.model_dump(mode="json") == new.model_dump(mode="json")
    assert new.deprecation_notes == ()
    assert set(old.deprecation_notes) == {
        DeprecationNote(*pair)
        for pair in (
            *(("serve", "engine_args"), ("flags", "engine_args"), ("margin", "walltime_margin")),
            *(("seqs", "max_num_seqs"), ("batched_tokens", "max_num_batched_tokens"), ("set", "levels")),
        )
    }
    assert len(old.deprecation_notes) == 6
    assert str(DeprecationNote("serve", "engine_args")) == "`serve` is deprecated; use `engine_args`"


def test_old_records_are_read():
    """job.json of an older version, without a validation context."""
    assert Budgets.model_validate({"margin": 9}).walltime_margin == 9
    job = {"sweep": "s", "job": 0, "sweep_dir": "/s", "name": "s-0", "scheduler": "local", "resources": {}}
    read_back = JobSpec.model_validate(job | {"cache_dir": "/c", "elements": [{"index": 3, "runs": []}]})
    assert read_back.array_task(3).runs == []
    assert read_back.elements == read_back.array_tasks  # the old name in templates of users
    assert "elements" not in read_back.model_dump()


@pytest.mark.parametrize(("errors", "text"), [
    ({"startup": "x"}, "startup: 'x' is not a duration: "),
    ({"startup": 0, "stall": 0}, "startup: Input should be greater than 0 (and 1 more)"),
])  # fmt: skip
def test_a_validation_error_as_text(errors, text):
    with pytest.raises(ValidationError) as caught:
        Budgets.model_validate(errors)
    assert validation_text(caught.value).startswith(text)


def test_models_are_frozen():
    with pytest.raises(Exception, match="frozen"):
        read(GOOD).name = "z"


@pytest.mark.parametrize(
    "value", ["gpu q", "a;b", "x\ny", "$(id)", "'x'", '"x"', "a#b", "`id`", "", "-p", "a\\b"], ids=repr
)
def test_values_of_directive_lines_are_held_to_a_pattern(value):
    with pytest.raises(ValueError):
        Cluster(scheduler="slurm", partition=value)


def test_extra_directives_are_one_line_each():
    with pytest.raises(ValueError, match="one line"):
        Cluster(directives=["--x\n#SBATCH --y"])
    with pytest.raises(ValueError, match="one line"):
        Cluster(directives=["--x\n"])


def test_the_profile_is_chosen_by_name_default_or_built_in():
    project = ConfigFile(default="h200", clusters={"h200": Cluster(scheduler="slurm", account="a")})
    user = ConfigFile(clusters={"h200": Cluster(scheduler="pbs"), "old": Cluster(scheduler="pbs")})
    pairs = [("./hpcsweep.yaml", project), ("~/hpcsweep.yaml", user)]
    assert choose_cluster(None, pairs)[0] == "h200"
    assert choose_cluster("h200", pairs)[1].scheduler == "slurm"
    assert choose_cluster("old", pairs)[1].scheduler == "pbs"
    assert choose_cluster(None, [])[1].scheduler == "local"
    with pytest.raises(SpecError, match=r"unknown cluster 'h20' \(./hpcsweep.yaml") as caught:
        choose_cluster("h20", pairs)
    assert "'h200'" in caught.value.hint


def test_a_cluster_key_that_is_wrong_names_its_line():
    with pytest.raises(SpecError, match=r"c.yaml, line 3: unknown key 'clusters.a.partion'") as caught:
        parse_model(ConfigFile, "clusters:\n  a:\n    partion: x\n", "c.yaml")
    assert "partition" in caught.value.hint


def test_lines_of_nested_lists():
    _, lines = parse_yaml("a:\n- b: 1\n- b: 2\n", "x")
    assert lines[("a", 1, "b")] == 3
