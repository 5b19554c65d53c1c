"""Profiles of the simulated engine: what is refused, with which words, and which rule wins."""

import re
import textwrap
from dataclasses import fields
from pathlib import Path

import pytest

from hpcsweep.errors import SpecError
from hpcsweep.simulator.faults import FAULTS, Hang, OutOfMemory, RequestFault, Stall
from hpcsweep.simulator.profile import MATCHABLE, Behaviour, Compile, Memory, Speed, StartupDurations, read_profile
from hpcsweep.spec.axes import BUILTIN_AXES

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
DOCS = EXPERIMENTS.parent / "docs" / "simulation.md"


def write(folder, text):
    path = folder / "p.yaml"
    path.write_text(textwrap.dedent(text))
    return path


REFUSED = [
    pytest.param("speeds: {}", "unknown key 'speeds'", "did you mean 'speed'", id="unknown section"),
    pytest.param("speed: {decode_tsp: 3}", "speed: unknown key 'decode_tsp'", "'decode_tps'", id="unknown key"),
    pytest.param("startup: {load: 3}", "startup: unknown key 'load'", "load_weights", id="unknown phase"),
    pytest.param(
        "startup: {compile: -1}", "startup.compile: expected a number of at least 0, got -1", "", id="negative"
    ),
    pytest.param("startup: {compile: .inf}", "startup.compile: .*got inf", "", id="infinite"),
    pytest.param("startup: {compile: soon}", "got 'soon'", "", id="a word for a number"),
    pytest.param("startup: {compile: true}", "got True", "", id="a switch for a number"),
    pytest.param("startup: 3", "startup: .*got 3", "", id="a number for a section"),
    pytest.param("memory: {kv_cache_tokens: 1.5}", "kv_cache_tokens: .*got 1.5", "", id="half a token"),
    pytest.param("memory: {block_tokens: 0}", "memory.block_tokens: ", "", id="blocks of nothing"),
    pytest.param("speed: {decode_tps: 0}", "speed.decode_tps: ", "", id="no speed"),
    pytest.param("speed: {prefix_caching: 3}", "prefix_caching: .*got 3", "", id="a number for a switch"),
    pytest.param("jitter: 1", "jitter: .*got 1", "", id="jitter of everything"),
    pytest.param("faults: {kind: stall}", "faults: expected a list", "", id="faults as one mapping"),
    pytest.param("faults: [stall]", r"faults\[0\]: expected a mapping", "hang", id="fault without kind"),
    pytest.param("faults: [{kind: stal}]", "unknown kind of fault 'stal'", "did you mean 'stall'", id="kind of fault"),
    pytest.param(
        "faults: [{kind: hang}, {kind: stall, phase: lunch}]",
        r"faults\[1\]: unknown phase 'lunch'",
        "did you mean 'launch'",
        id="phase of fault",
    ),
    pytest.param("faults: [{kind: stall, phase: ready}]", "unknown phase 'ready'", "", id="a phase after the start"),
    pytest.param("faults: [{kind: hang, after: 3}]", "unknown key 'after'", "after_tokens", id="option of fault"),
    pytest.param("faults: [{kind: hang, only: 3}]", "only: .*got 3", "", id="not a list"),
    pytest.param("rules: {when: {ep: on}}", "rules: expected a list", "", id="rules as one mapping"),
    pytest.param("rules: [{startup: {}}]", r"rules\[0\]: expected a mapping", "", id="rule without when"),
    pytest.param("rules: [{when: {}}]", r"rules\[0\]: expected a mapping", "", id="empty when"),
    pytest.param(
        "rules: [{when: {ep: on}, seed: 3}]", r"rules\[0\]: unknown key 'seed'", "", id="key that no rule may change"
    ),
    pytest.param(
        "rules: [{when: {ep: on}, speed: {decode_tps: f}}]", r"rules\[0\]: speed.decode_tps", "", id="value in a rule"
    ),
    pytest.param("[1, 2]", "got list", "", id="a list"),
    pytest.param("", "got NoneType", "", id="empty file"),
    pytest.param("a: {b", "line 1: expected", "", id="not YAML"),
    pytest.param("seed: 1\nseed: 2", "line 2: found duplicate key", "", id="a key twice"),
]


@pytest.mark.parametrize(("text", "message", "hint"), REFUSED)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path, text, message, hint):
    with pytest.raises(SpecError, match=message) as caught:
        read_profile(write(tmp_path, text))
    assert "p.yaml" in caught.value.message
    assert hint in caught.value.hint
    if not text.startswith(("a: {b", "seed: 1\n")):  # those are errors of the YAML reader
        assert caught.value.code.startswith("profile_")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"nothing\.yaml: No such file"):
        read_profile(tmp_path / "nothing.yaml")


def test_rules_on_unknown_axes_are_refused_once_the_variant_is_known(tmp_path):
    profile = read_profile(write(tmp_path, "rules: [{when: {eagre: no}, jitter: 0.1}]"))
    with pytest.raises(SpecError, match=r"rules\[0\].when: unknown key 'eagre'") as caught:
        profile.resolve({"ep": "on", "shape": "wide"})
    assert "did you mean 'eager'" in caught.value.hint
    assert "shape" in caught.value.hint


def test_every_built_in_axis_can_stand_in_a_rule():
    assert set(MATCHABLE) == set(BUILTIN_AXES)


MATCHES = [
    pytest.param("{eager: no}", {"eager": "no"}, True, id="a word of YAML 1.2"),
    pytest.param("{eager: false}", {"eager": "no"}, True, id="false is no"),
    pytest.param("{eager: no}", {"eager": "yes"}, False, id="another level"),
    pytest.param("{eager: no}", {"ep": "on"}, False, id="axis that the variant leaves open"),
    pytest.param("{len: 32k}", {"len": "32k"}, True, id="tokens"),
    pytest.param("{len: 32768}", {"len": "32k"}, True, id="tokens as a number"),
    pytest.param("{len: [8k, 32k]}", {"len": "32k"}, True, id="one of a list"),
    pytest.param("{len: [8k, 64k]}", {"len": "32k"}, False, id="none of a list"),
    pytest.param("{tp: 4}", {"tp": "4"}, True, id="a number"),
    pytest.param("{ep: on, tp: 4}", {"ep": "on", "tp": "8"}, False, id="every key must agree"),
    pytest.param("{gpu_memory: 0.9}", {"gpu_memory": "0.9"}, True, id="a fraction"),
    pytest.param("{kv_dtype: fp8}", {"kv_dtype": "fp8"}, True, id="a name"),
    pytest.param("{--swap-space: 4}", {"--swap-space": "4"}, True, id="a flag"),
    pytest.param("{--swap-space: 4}", {}, False, id="a flag that is not given"),
    pytest.param("{shape: wide load}", {"shape": "wide load"}, True, id="an axis of the user's own"),
]


@pytest.mark.parametrize(("when", "variant", "holds"), MATCHES)
def test_when_a_rule_holds(tmp_path, when, variant, holds):
    profile = read_profile(write(tmp_path, f"rules: [{{when: {when}, jitter: 0.5}}]"))
    assert (profile.resolve(variant).jitter == 0.5) is holds


def test_later_rules_win_key_by_key_and_faults_as_a_whole(tmp_path):
    profile = read_profile(
        write(
            tmp_path,
            """
            startup: {load_weights: 100, compile: 7}
            faults: [{kind: stall}, {kind: hang}]
            rules:
              - {when: {ep: on}, startup: {load_weights: 200}, faults: [{kind: out_of_memory, tried_gib: 3}]}
              - {when: {tp: 8}, startup: {load_weights: 300}}
              - {when: {len: 8k}, faults: []}
            """,
        )
    )
    plain = profile.resolve({})
    assert (plain.startup.load_weights, plain.startup.compile) == (100, 7)
    assert plain.faults == (Stall(), Hang())
    both = profile.resolve({"ep": "on", "tp": "8"})
    assert (both.startup.load_weights, both.startup.compile) == (300, 7)
    assert both.faults == (OutOfMemory(tried_gib=3),)
    assert profile.resolve({"ep": "on", "len": "8k"}).faults == ()


def test_jitter_is_the_same_for_the_same_variant_and_repeat(tmp_path):
    profile = read_profile(write(tmp_path, "seed: 3"))
    seed = profile.resolve({"ep": "on", "tp": "4"}, 2).seed
    assert profile.resolve({"tp": "4", "ep": "on"}, 2).seed == seed
    assert profile.resolve({"tp": "4", "ep": "on"}, 3).seed != seed
    assert profile.resolve({"tp": "4", "ep": "off"}, 2).seed != seed


def test_every_fault_can_be_written_with_its_defaults(tmp_path):
    listed = ", ".join(f"{{kind: {kind}}}" for kind in FAULTS)
    behaviour = read_profile(write(tmp_path, f"faults: [{listed}]")).resolve({})
    assert [type(fault) for fault in behaviour.faults] == list(FAULTS.values())


BEFALLS = [
    pytest.param(Hang(), [1, 2, 3], id="all"),
    pytest.param(Hang(every=2), [2, 4, 6], id="every second"),
    pytest.param(Hang(only=(2, 3)), [2, 3], id="named ones"),
]


@pytest.mark.parametrize(("fault", "numbers"), BEFALLS)
def test_which_requests_a_fault_applies_to(fault, numbers):
    assert [number for number in range(1, 7) if fault.applies_to(number)][: len(numbers)] == numbers
    assert not fault.applies_to(None)
    assert Hang(probes=True).applies_to(None)


@pytest.mark.parametrize("path", sorted((EXPERIMENTS / "simulated").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_profiles_can_be_read_and_say_where_their_figures_come_from(path):
    assert len(read_profile(path).about.split()) > 10


def test_the_documentation_lists_every_fault_with_its_options_and_defaults():
    rows = {
        match[1]: match[2]
        for match in re.finditer(r"^\| `(\w+)` \| (.*?) \| .* \|$", DOCS.read_text(), re.MULTILINE)
        if match[1] in FAULTS
    }
    assert rows.keys() == FAULTS.keys()
    common = {item.name for item in fields(RequestFault)}
    for kind, options in rows.items():
        own = [item for item in fields(FAULTS[kind]) if item.name not in common]
        assert re.findall(r"`(\w+)`", options) == [item.name for item in own], kind
        for item in own:
            if item.name != "message":
                word = {True: "yes", False: "no"}.get(item.default, item.default) if item.type is bool else item.default
                shown = f"{word:g}" if isinstance(word, float) else str(word)
                assert re.search(rf"`{item.name}`[^()]*(?:, `\w+`)* \({re.escape(shown)}\)", options), (kind, item.name)


def test_the_profile_in_the_documentation_shows_the_defaults(tmp_path):
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL) if b.startswith("about:"))
    path = tmp_path / "p.yaml"
    path.write_text(block)
    shown, default = read_profile(path), Behaviour()
    found = shown.resolve({})
    assert (found.startup, found.compile, found.memory, found.speed, found.faults) == (
        default.startup,
        default.compile,
        default.memory,
        default.speed,
        default.faults,
    )
    for section, kind in (("startup", StartupDurations), ("compile", Compile), ("memory", Memory), ("speed", Speed)):
        assert set(shown.base[section]) == {item.name for item in fields(kind)}
    assert shown.resolve({"eager": "no", "len": "32k"}).faults == (Stall(),)
