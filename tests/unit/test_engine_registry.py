"""The registry of engines, with real plugins in a folder on the path; and what every engine must keep to."""

import re
import sys
from pathlib import PurePosixPath

import pytest

from hpcsweep.engines import registry
from hpcsweep.engines.base import LaunchContext
from hpcsweep.engines.registry import GROUP
from hpcsweep.errors import EngineError
from hpcsweep.node.setup.engine_install import find_executable
from hpcsweep.registry import Registry
from hpcsweep.spec.axes import BUILTIN_AXES
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.phases import STARTUP_PHASES
from hpcsweep.spec.server import EngineSettings, ServerConfig
from hpcsweep.sweep.inputs import find_engine

PLUGIN = """
from hpcsweep.engines.vllm import Vllm
class Mine(Vllm):
    name = {name!r}
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a package with one entry point, as pip would lay it out, for one test."""

    def install(name, code, reference=None):
        (tmp_path / f"plugin_{name}.py").write_text(code)
        info = tmp_path / f"plugin_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {reference or f'plugin_{name}:Mine'}\n")

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "ENGINES", Registry(GROUP, "engine", registry.ENGINES.builtin, EngineError))
    yield install
    for module in [module for module in sys.modules if module.startswith("plugin_")]:
        del sys.modules[module]


def test_a_plugin_is_an_engine_like_any_other(plugin):
    plugin("fast", PLUGIN.format(name="fast"))
    assert registry.get_engine("fast").name == "fast"
    assert list(registry.engines()) == ["fast", "sglang", "trtllm", "vllm"]


@pytest.mark.parametrize(
    ("code", "reference", "said"),
    [
        pytest.param("import no_such_module_at_all", None, "no_such_module_at_all", id="does not import"),
        pytest.param("x = 1", None, "Mine", id="has no such class"),
        pytest.param(
            "class Mine:\n    def __init__(self): raise SystemError('boom')", None, "boom", id="does not start"
        ),
        pytest.param("class Mine:\n    pass", None, "name", id="has no name"),
        pytest.param(
            PLUGIN.format(name="vllm"), None, "its name is 'vllm'", id="has another name than its entry point"
        ),
    ],
)
def test_a_broken_plugin_is_a_warning_that_names_it_and_the_rest_works(plugin, code, reference, said):
    plugin("broken", code, reference)
    with pytest.warns(UserWarning, match=r"engine plugin broken \(plugin_broken:Mine\) is ignored") as warned:
        assert list(registry.engines()) == ["sglang", "trtllm", "vllm"]
    assert said in str(warned[0].message)


def test_a_plugin_cannot_replace_a_built_in_engine(plugin):
    plugin("vllm", PLUGIN.format(name="vllm"))
    with pytest.warns(UserWarning, match="the name 'vllm' is taken"):
        assert type(registry.engines()["vllm"]).__name__ == "Vllm"


def test_an_unknown_engine_is_an_error_with_the_nearest_name():
    with pytest.raises(EngineError) as caught:
        registry.get_engine("vlm")
    assert caught.value.code == "unknown_engine"
    assert "did you mean 'vllm'" in caught.value.hint


HOSTILE = ["/models/a b/it's", "$(id)", "名前", "--model", 'a"b\\', "new\nline"]


@pytest.mark.parametrize(
    "engine", [registry.ENGINES.get(name) for name in registry.ENGINES.builtin], ids=lambda engine: engine.name
)
class TestEveryEngine:
    def test_the_command_carries_the_model_as_one_word_and_no_secret(self, engine):
        for model in HOSTILE:
            started = engine.launch(ServerConfig(engine=engine.name, model=model), LaunchContext("/bin/run", 8123))
            assert model in started.argv and started.argv[0] == "/bin/run"
            assert "8123" in started.argv and "127.0.0.1" in started.argv
            assert "--api-key" not in started.argv

    def test_every_setting_of_every_axis_is_said_or_refused(self, engine):
        values = {bool: True, int: 2, float: 0.5, str: "fp8"}
        plain = engine.launch(ServerConfig(engine=engine.name, model="m"), LaunchContext("run", 1))
        for axis in BUILTIN_AXES.values():
            if axis.setting in ("model", "engine", "image"):
                continue
            kind = next(
                kind for kind in values if kind.__name__ in str(EngineSettings.model_fields[axis.setting].annotation)
            )
            said = False
            for value in (values[kind], False) if kind is bool else (values[kind],):
                settings = EngineSettings(**{"tensor_parallel_size": 2, axis.setting: value})
                config = ServerConfig(engine=engine.name, model="m", settings=settings)
                base = ServerConfig(engine=engine.name, model="m", settings=EngineSettings(tensor_parallel_size=2))
                without = (
                    plain if axis.setting == "tensor_parallel_size" else engine.launch(base, LaunchContext("run", 1))
                )
                said |= engine.launch(config, LaunchContext("run", 1)) != without or bool(engine.unsupported(config))
            assert said, axis.name

    def test_the_same_configuration_gives_the_same_command(self, engine):
        config = ServerConfig(engine=engine.name, model="m", flags={"--b": 1, "--a": True})
        assert engine.launch(config, LaunchContext("run", 1)) == engine.launch(config, LaunchContext("run", 1))

    def test_files_stay_inside_the_attempt(self, engine):
        config = ServerConfig(engine=engine.name, model="m", settings=EngineSettings(max_model_len=8))
        for name in engine.launch(config, LaunchContext("run", 1)).files:
            assert PurePosixPath(name).name == name

    def test_the_environment_of_the_user_is_passed_on_and_wins(self, engine):
        config = ServerConfig(engine=engine.name, model="m", env={"MY": "own", "NO_COLOR": "0"})
        env = engine.launch(config, LaunchContext("run", 1)).env
        assert env["MY"] == "own" and env["NO_COLOR"] == "0"

    def test_patterns_have_the_groups_that_they_use_and_say_where_they_were_seen(self, engine):
        for pattern in engine.fact_patterns:
            has_value = pattern.value is not None or pattern.unknown or pattern.regex.groups >= pattern.group
            assert pattern.seen_in and has_value
        for pattern in engine.phase_patterns:
            assert pattern.seen_in and pattern.phase.value in STARTUP_PHASES

    def test_no_pattern_takes_long_on_a_long_line(self, engine):
        line = "Loading weights took " + "1" * 8000 + " " * 8000
        patterns = [*engine.phase_patterns, *engine.fact_patterns, *engine.failure_patterns]
        for regex in [*(pattern.regex for pattern in patterns), *engine.noise]:
            assert isinstance(regex, re.Pattern)
            regex.search(line)  # a pattern that backtracks without end runs into the test's timeout

    def test_an_unreadable_version_is_none(self, engine):
        assert engine.parse_version("") is None and engine.parse_version("command not found\n") is None


def test_constants_are_on_the_adapter():
    sglang, trtllm, vllm = (registry.get_engine(name) for name in ("sglang", "trtllm", "vllm"))
    assert [engine.executable for engine in (sglang, trtllm, vllm)] == ["sglang", "trtllm-serve", "vllm"]
    assert sglang.version_argv("/bin/sglang") == ("version",) and sglang.version_argv("/bin/python3")[0] == "-c"
    assert sglang.help_argv("/bin/python3") == ("-m", "sglang.launch_server", "--help")
    assert {engine.memory.default_utilization for engine in (sglang, trtllm, vllm)} == {0.9}
    assert vllm.fp8.fallback and sglang.fp8.refusal and not trtllm.fp8.fallback


def test_login_and_compute_nodes_look_for_the_same_executable(tmp_path, monkeypatch):
    (tmp_path / "python3").write_text("#!/bin/sh\n")
    (tmp_path / "sglang").write_text("#!/bin/sh\n")
    (tmp_path / "python3").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_engine("sglang", Cluster(), {}) is None
    assert find_executable("sglang", {}, {"PATH": str(tmp_path)}) is None, "a Python alone is not an SGLang"
    (tmp_path / "sglang").chmod(0o755)
    assert find_engine("sglang", Cluster(), {}) == str(tmp_path / "sglang")
    assert find_executable("sglang", {}, {"PATH": str(tmp_path)}) == str(tmp_path / "sglang")
