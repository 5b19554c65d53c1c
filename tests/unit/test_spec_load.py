"""Experiment files and cluster profiles: words stay words; every error names file, line and the next thing to do."""

import pytest

from hpcsweep.errors import SpecError
from hpcsweep.spec.cluster import Cluster, ConfigFile
from hpcsweep.spec.load import choose_cluster, parse_experiment, parse_model
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


BAD = [  # (text, what the message says, what the hint says)
    pytest.param(GOOD + "repeat: 3\n", r"x\.yaml, line 10: unknown key 'repeat'", "'repeats'", id="unknown key"),
    pytest.param(GOOD.replace("max_tokens", "max_token"), r"line 8: unknown key", "'max_tokens'", id="in a workload"),
    pytest.param(GOOD.replace("1h30m", "soon"), r"line 9: budgets\.startup: 'soon' is not a duration", "", id="value"),
    pytest.param(GOOD.replace("[on, off]", "[on, off"), r"line \d", "", id="syntax"),
    pytest.param(GOOD + "model: y\n", r"line 10: .*duplicate key", "", id="key twice"),
    pytest.param("", r"x\.yaml: expected keys and values, and the file is empty", "", id="empty"),
    pytest.param("- 1\n", r"expected keys and values, found list", "", id="a list"),
    pytest.param(GOOD.replace("eager:", "eagre:"), r"line 4: .*'eagre' is not built in", "", id="unknown axis"),
    pytest.param(GOOD.replace("[yes, no]", "[]"), r"x\.yaml, line 4: axes\.eager: no levels", "", id="no levels"),
    pytest.param(
        GOOD.replace("[yes, no]", "[yes, maybe]"), r"line 4: axis eager.*'maybe' is no switch", "", id="level"
    ),
    pytest.param(
        GOOD + "only:\n- {ep: on}\n- {ep: 3}\n", r"line 12: axis ep.*3 is no switch", "", id="level of a rule"
    ),
    pytest.param(GOOD + "baseline: {eager: 7}\n", r"line 10: axis eager.*7 is no switch", "", id="baseline level"),
    pytest.param(
        GOOD.replace("axes:", "axes:\n  kind:\n    levels:\n      a: {set: {epp: on}}"),
        r"line 5: axis kind, level a: unknown setting 'epp'; did you mean",
        "",
        id="bundle",
    ),
    pytest.param(
        GOOD + "baseline: {epp: on}\n", r"line 10: baseline: unknown axis 'epp'; did you mean 'ep'", "", id="baseline"
    ),
    pytest.param(GOOD.replace("model: zai-org/GLM-4.6\n", ""), r"model: Field required", "", id="missing"),
    pytest.param(GOOD + "objective: {workload: 9k}\n", r"line 10: objective\.workload '9k'", "", id="objective"),
    pytest.param(GOOD + "budgets2: \t{\n", r"x\.yaml, line \d", "", id="tab"),
    pytest.param(GOOD.replace("startup: 1h30m", "phases: {compil: 1m}"), r"did you mean 'compile'", "", id="phase"),
]


@pytest.mark.parametrize(("text", "message", "hint"), BAD)
def test_what_is_wrong_is_said_with_its_place(text, message, hint):
    with pytest.raises(SpecError, match=message) as caught:
        read(text)
    assert hint in caught.value.hint
    assert len(str(caught.value).splitlines()) <= 5


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
