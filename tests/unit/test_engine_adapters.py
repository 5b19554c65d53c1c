"""The engine adapters: arguments, environment and files, and what an engine cannot express."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from hpcsweep.engines.access import Access, access, exposed
from hpcsweep.engines.base import LaunchContext
from hpcsweep.engines.registry import get_engine
from hpcsweep.engines.sglang import SETTING_FLAGS as SGLANG_FLAGS
from hpcsweep.engines.trtllm import OPTIONS
from hpcsweep.engines.trtllm import SETTING_FLAGS as TRTLLM_FLAGS
from hpcsweep.engines.vllm import SETTING_FLAGS as VLLM_FLAGS
from hpcsweep.spec.server import EngineSettings, ServerConfig

FLAGS = Path(__file__).parent.parent / "transcripts" / "engines" / "flags"
EVERYTHING = EngineSettings(
    tensor_parallel_size=4,
    pipeline_parallel_size=2,
    expert_parallel=True,
    enforce_eager=True,
    max_model_len=32768,
    max_num_batched_tokens=8192,
    max_num_seqs=64,
    kv_cache_dtype="fp8",
    gpu_memory_utilization=0.95,
    prefix_caching=False,
    chunked_prefill=False,
)


def config(engine="vllm", **values):
    return ServerConfig(engine=engine, **{"model": "zai-org/GLM-4.6", **values})


def launch(server, **where):
    return get_engine(server.engine).launch(
        server, LaunchContext(**{"executable": "/x/bin/run", "port": 8123, **where})
    )


def arguments(engine, *, version=None, **values):
    """The arguments after those that every launch of `engine` has."""
    argv = list(launch(config(engine, **values), version=version).argv)
    plain = launch(config(engine), version=version).argv
    return [word for word in argv[1:] if word not in plain[1:]]


def test_vllm_command_in_full():
    server = config(settings=EVERYTHING, revision="abc", served_model_name="glm", flags={"--trust-remote-code": True})
    assert launch(server).argv == (
        *("/x/bin/run", "serve", "zai-org/GLM-4.6", "--host", "127.0.0.1", "--port", "8123"),
        *("--served-model-name", "glm", "--revision", "abc"),
        *("--tensor-parallel-size", "4", "--pipeline-parallel-size", "2", "--enable-expert-parallel"),
        *("--enforce-eager", "--max-model-len", "32768", "--max-num-batched-tokens", "8192", "--max-num-seqs", "64"),
        *("--kv-cache-dtype", "fp8", "--gpu-memory-utilization", "0.95"),
        *("--no-enable-prefix-caching", "--no-enable-chunked-prefill", "--trust-remote-code"),
    )
    assert launch(server, socket_path="/tmp/p/server").argv[:5] == (
        *("/x/bin/run", "serve", "zai-org/GLM-4.6", "--uds", "/tmp/p/server"),
    )


ARGUMENTS = [  # (engine, settings, flags, version, the arguments that they give)
    pytest.param("vllm", {}, {}, None, [], id="nothing asked for: the engine's own defaults"),
    pytest.param("vllm", {"enforce_eager": False, "expert_parallel": False}, {}, None, [], id="vllm: off"),
    pytest.param(
        "vllm", {}, {"--a": True, "--b": False, "--c": None, "--d": 1, "--e": 0.5, "--f": ["x", "y"], "--g": "-1"},
        None, ["--a", "--no-b", "--d", "1", "--e", "0.5", "--f", "x", "y", "--g=-1"], id="vllm: every kind of value",
    ),
    pytest.param(
        "vllm", {"max_model_len": 8192}, {"--max_model_len": 32768, "--dtype": "bfloat16"}, None,
        ["--max-model-len", "8192", "--dtype", "bfloat16"], id="vllm: an axis wins over engine_args",
    ),
    pytest.param(
        "vllm", {"expert_parallel": False}, {"--enable-expert-parallel": True}, None, [], id="vllm: off by its axis"
    ),
    pytest.param(
        "vllm", {"prefix_caching": True}, {"--no-enable-prefix-caching": True}, None, ["--enable-prefix-caching"],
        id="vllm: on by its axis",
    ),
    pytest.param(
        "vllm", {}, {"--hf-overrides": '{"rope_theta": 1}', "--x": "a b$(c)"}, None,
        ["--hf-overrides", '{"rope_theta": 1}', "--x", "a b$(c)"], id="vllm: words stay one argument",
    ),
    pytest.param(
        "sglang", {"tensor_parallel_size": 8, "expert_parallel": True, "enforce_eager": True}, {}, "0.5.3",
        ["--tp-size", "8", "--ep-size", "8", "--disable-cuda-graph"], id="sglang 0.5.3: eager is one flag",
    ),
    pytest.param(
        "sglang", {"enforce_eager": True}, {}, "0.5.23",
        ["--cuda-graph-backend-decode", "disabled", "--cuda-graph-backend-prefill", "disabled"],
        id="sglang 0.5.23: eager is two",
    ),
    pytest.param("sglang", {"enforce_eager": True}, {}, None, ["--disable-cuda-graph"], id="sglang: version not known"),
    pytest.param(
        "sglang", {"chunked_prefill": False, "max_num_batched_tokens": 4096}, {}, None,
        ["--chunked-prefill-size", "-1", "--max-prefill-tokens", "4096"], id="sglang: no chunks",
    ),
    pytest.param(
        "sglang", {"max_num_batched_tokens": 4096}, {"--chunked-prefill-size": 1}, None,
        ["--chunked-prefill-size", "4096", "--max-prefill-tokens", "4096"], id="sglang: size of a chunk",
    ),
    pytest.param(
        "sglang", {"prefix_caching": False, "kv_cache_dtype": "fp8", "max_model_len": 1024}, {"--trust": False}, None,
        ["--context-length", "1024", "--kv-cache-dtype", "fp8_e4m3", "--disable-radix-cache"], id="sglang: its words",
    ),
    pytest.param("sglang", {"prefix_caching": True}, {"--disable-radix-cache": True}, None, [], id="sglang: cache on"),
    pytest.param(
        "trtllm", {}, {"--backend": "pytorch", "--trust-remote-code": True}, None,
        ["--backend", "pytorch", "--trust_remote_code"], id="trtllm: underscores",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "settings", "flags", "version", "expected"), ARGUMENTS)
def test_arguments(engine, settings, flags, version, expected):
    assert arguments(engine, settings=EngineSettings(**settings), flags=flags, version=version) == expected


CONFIGURATIONS = [  # (settings, flags, the configuration file)
    pytest.param({}, {}, None, id="nothing asked for: no file"),
    pytest.param(
        EVERYTHING.model_dump(), {},
        {"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "moe_expert_parallel_size": 4,
         "cuda_graph_config": None,
         "max_seq_len": 32768, "max_num_tokens": 8192, "max_batch_size": 64, "enable_chunked_prefill": False,
         "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.95, "enable_block_reuse": False}},
        id="every setting",
    ),
    pytest.param(
        {"prefix_caching": False}, {"--free_gpu_memory_fraction": 0.8, "--tp_size": 8},
        {"tensor_parallel_size": 8, "kv_cache_config": {"free_gpu_memory_fraction": 0.8, "enable_block_reuse": False}},
        id="an option and an axis of one nested part are merged: the file replaces it whole",
    ),
    pytest.param(
        {"max_num_seqs": 8}, {"--moe-config.backend": "CUTLASS", "--cuda_graph_config": '{"enable_padding": true}',
                              "--max_batch_size": 512},
        {"moe_config": {"backend": "CUTLASS"}, "cuda_graph_config": {"enable_padding": True}, "max_batch_size": 8},
        id="keys of the file as flags",
    ),
    pytest.param(
        {"enforce_eager": True, "expert_parallel": False}, {"--cuda_graph_config": "{}", "--ep_size": 8},
        {"cuda_graph_config": None, "moe_expert_parallel_size": 1}, id="the axes hold",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "flags", "expected"), CONFIGURATIONS)
def test_trtllm_writes_the_merged_configuration(settings, flags, expected):
    started = launch(
        config("trtllm", settings=EngineSettings(**settings), flags=flags), attempt_dir="/runs/a b/attempt-1"
    )
    if expected is None:
        assert started.files == {} and "--extra_llm_api_options" not in started.argv
        return
    assert YAML(typ="safe").load(started.files["trtllm.yaml"]) == expected
    at = started.argv.index("--extra_llm_api_options")
    assert started.argv[at + 1] == "/runs/a b/attempt-1/trtllm.yaml"
    assert not {"--free_gpu_memory_fraction", "--tp_size", "--max_batch_size"} & set(started.argv)


WEEK_S = "604800"
ENVIRONMENTS = [
    pytest.param(None, {}, {"VLLM_LOGGING_LEVEL": "INFO"}, id="phase lines"),
    pytest.param(3600.2, {}, {"VLLM_ENGINE_READY_TIMEOUT_S": WEEK_S}, id="its timeout is above ours"),
    pytest.param(
        7200.2, {}, {"VLLM_ENGINE_READY_TIMEOUT_S": WEEK_S}, id="and the same for a retry: its cache stays warm"
    ),
    pytest.param(604000.5, {}, {"VLLM_ENGINE_READY_TIMEOUT_S": "1208002"}, id="above any budget"),
    pytest.param(60.0, {}, {"VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": WEEK_S}, id="its timeout of one step"),
    pytest.param(60.0, {"VLLM_LOGGING_LEVEL": "DEBUG"}, {"VLLM_LOGGING_LEVEL": "DEBUG"}, id="the user's own wins"),
]


@pytest.mark.parametrize(("budget_s", "own", "expected"), ENVIRONMENTS)
def test_environment_of_vllm(budget_s, own, expected):
    env = launch(config(env=own), startup_budget_s=budget_s).env
    assert {name: env[name] for name in expected} == expected
    assert "VLLM_SERVER_DEV_MODE" not in env  # its endpoints need no key and run code


def test_the_key_of_sglang_is_in_a_file_and_not_in_an_argument():
    """What the file says is an argument to SGLang's own parser (server_args_config_parser.py)."""
    sglang, plain = get_engine("sglang"), config("sglang")
    text = sglang.key_file_text(plain, "s3cret")
    assert YAML(typ="safe").load(text) == {"api-key": "s3cret"}
    argv = launch(plain, key_file="/tmp/p/key.yaml").argv
    assert argv[argv.index("--config") + 1] == "/tmp/p/key.yaml" and "s3cret" not in " ".join(argv)
    for version in ("0.5.3", "0.5.4.post2", "0.5.23"):
        assert {"--config", "--api-key"} <= flags_of(f"sglang-{version}")


@pytest.mark.parametrize(
    ("engine", "flags", "expected"),
    [
        pytest.param("vllm", {}, Access.UNIX_SOCKET, id="vllm: a Unix socket"),
        pytest.param("sglang", {}, Access.API_KEY, id="sglang: a key"),
        pytest.param("sglang", {"--config": "x.yaml"}, Access.OPEN, id="sglang reads one --config file only"),
        pytest.param("trtllm", {}, Access.OPEN, id="trtllm: neither"),
    ],
)
def test_how_other_users_are_kept_out(engine, flags, expected):
    server = config(engine, flags=flags)
    assert access(get_engine(engine), server) is expected
    assert (exposed(get_engine(engine), server) is not None) == (expected is Access.OPEN)


@pytest.mark.parametrize(
    ("flags", "open_to_others"),
    [
        ({"--enable-dp-attention": True, "--dp-size": 2}, True),
        ({"--attn-dp-size": 2}, True),
        ({"--attn-dp-size": 1, "--dp-size": 2}, False),
    ],
)
def test_sglangs_attention_data_parallelism_listens_on_ports_without_a_key(flags, open_to_others):
    server = config("sglang", flags=flags)
    assert access(get_engine("sglang"), server) is Access.API_KEY
    sentence = exposed(get_engine("sglang"), server)
    assert (sentence is not None and "every user of the node" in sentence) == open_to_others


def test_the_socket_of_vllm_is_in_the_parser_of_every_wheel():
    for version in ("0.11.0", "0.12.0", "0.14.1", "0.16.0", "0.18.0", "0.20.2", "0.22.1", "0.25.1", "0.28.0", "0.32.0"):
        assert "--uds" in flags_of(f"vllm-{version}")


@pytest.mark.parametrize(
    ("budget_s", "own", "expected"),
    [
        pytest.param(60.0, {}, [WEEK_S], id="out of the way"),
        pytest.param(604000.5, {}, ["1208002"], id="above any budget"),
        pytest.param(60.0, {"--watchdog-timeout": 900}, ["900"], id="the user's own wins"),
        pytest.param(60.0, {"--watchdog_timeout": 900}, [], id="with underscores too"),
        pytest.param(None, {}, [], id="no budget of ours"),
    ],
)
def test_the_watchdog_of_sglang(budget_s, own, expected):
    argv = launch(config(engine="sglang", flags=own), startup_budget_s=budget_s).argv
    assert [argv[n + 1] for n, word in enumerate(argv) if word == "--watchdog-timeout"] == expected


@pytest.mark.parametrize(
    ("engine", "flags", "expected"),
    [
        pytest.param("vllm", {"--tensor-parallel-size": 8, "--data_parallel_size": "2"}, {"gpus": 16}, id="vllm sizes"),
        pytest.param("vllm", {"--max-num-batched-tokens": "32k"}, {"max_num_batched_tokens": 32000}, id="k is 1000"),
        pytest.param("vllm", {"--max-model-len": "32K"}, {"max_model_len": 32768}, id="K is 1024"),
        pytest.param("vllm", {"--max-model-len": "auto"}, {"max_model_len": None}, id="a word is not understood"),
        pytest.param("vllm", {"--no-enable-prefix-caching": True}, {"prefix_caching": False}, id="no- form"),
        pytest.param("vllm", {"--enable-prefix-caching": False}, {"prefix_caching": False}, id="false"),
        pytest.param("vllm", {"--gpu-memory-utilization": 95}, {"gpu_memory_utilization": None}, id="no fraction"),
        pytest.param("sglang", {"--tp": 8, "--dp": 8, "--enable-dp-attention": True}, {"gpus": 8}, id="DP attention"),
        pytest.param("sglang", {"--tp": 4, "--dp": 2}, {"gpus": 8}, id="replicas"),
        pytest.param("sglang", {"--ep-size": 8}, {"expert_parallel": True}, id="EP is a size"),
        pytest.param("sglang", {"--ep-size": 1}, {"expert_parallel": False}, id="EP of one"),
        pytest.param(
            "sglang", {"--chunked-prefill-size": -1}, {"chunked_prefill": False, "max_num_batched_tokens": None}, id="-"
        ),
        pytest.param("sglang", {"--disable-cuda-graph": True}, {"enforce_eager": True}, id="eager"),
        pytest.param("trtllm", {"--tp_size": 8, "--ep_size": 4}, {"gpus": 8, "expert_parallel": True}, id="trtllm"),
        pytest.param("trtllm", {"--cuda_graph_config": "null"}, {"enforce_eager": True}, id="trtllm eager"),
    ],
)  # fmt: skip
def test_settings_are_read_back_from_flags(engine, flags, expected):
    settings = get_engine(engine).settings(config(engine, flags=flags))
    assert {name: getattr(settings, name) for name in expected} == expected


UNSUPPORTED = [  # (engine, configuration, pieces of the sentences)
    ("vllm", {"flags": {"--port": 1, "--api_key": "x"}}, ["--port cannot be set", "--api_key cannot be set"]),
    (
        "vllm",
        {"settings": EngineSettings(chunked_prefill=False, max_num_batched_tokens=512, max_model_len=1024)},
        ["(512)"],
    ),
    ("vllm", {"settings": EngineSettings(chunked_prefill=False, max_num_batched_tokens=1024, max_model_len=1024)}, []),
    ("sglang", {"flags": {"--model-path": "m"}}, ["--model-path cannot be set"]),
    ("sglang", {"settings": EngineSettings(expert_parallel=True)}, ["no effect on one GPU"]),
    ("sglang", {"settings": EngineSettings(expert_parallel=True), "flags": {"--tp": 8}}, []),
    ("trtllm", {"settings": EngineSettings(data_parallel_size=2)}, ["does not support data parallel replicas"]),
    ("trtllm", {"settings": EngineSettings(quantization="fp8")}, ["from the checkpoint"]),
    ("trtllm", {"flags": {"--extra-llm-api-options": "x.yaml"}}, ["hpcsweep writes this file"]),
    ("trtllm", {"served_model_name": "glm"}, ["serves this model as 'zai-org/GLM-4.6', not as 'glm'"]),
    ("trtllm", {"model": "/models/GLM-4.6/"}, ["serves this model as 'GLM-4.6', not as '/models/GLM-4.6/'"]),
    ("trtllm", {"model": "/models/GLM-4.6", "served_model_name": "GLM-4.6"}, []),
]


@pytest.mark.parametrize(("engine", "values", "pieces"), UNSUPPORTED, ids=lambda value: str(value)[:60])
def test_what_an_engine_cannot_express(engine, values, pieces):
    sentences = get_engine(engine).unsupported(config(engine, **values))
    assert len(sentences) == len(pieces)
    assert all(piece in sentence for piece, sentence in zip(pieces, sentences, strict=True))


@pytest.mark.parametrize(
    ("engine", "text", "version"),
    [
        ("vllm", "Triton is installed, but doesn't include CPU backend. Disabling Triton.\n0.32.0+cpu\n", "0.32.0+cpu"),
        ("vllm", "0.11.0\n", "0.11.0"),
        ("vllm", "0.33.1.dev5+g1a2b3c4\n", "0.33.1.dev5+g1a2b3c4"),
        ("vllm", "Traceback (most recent call last):\n  File 3.11.7\nPackageNotFoundError: vllm\n", None),
        ("sglang", "sglang version: 0.5.23\ngit revision: abc1234\n", "0.5.23"),
        ("sglang", "0.5.4.post2\n", "0.5.4.post2"),
        ("trtllm", "[TensorRT-LLM] TensorRT-LLM version: 1.2.1\n", "1.2.1"),
        ("trtllm", "", None),
    ],
)
def test_version(engine, text, version):
    assert get_engine(engine).parse_version(text) == version


def test_an_interpreter_starts_the_sglang_of_its_environment_and_the_command_starts_itself():
    assert launch(config("sglang"), executable="/x/bin/python3").argv[:3] == (
        "/x/bin/python3",
        "-m",
        "sglang.launch_server",
    )
    assert launch(config("sglang"), executable="/x/bin/sglang").argv[:2] == ("/x/bin/sglang", "serve")


def flags_of(name):
    return {line for line in (FLAGS / f"{name}.txt").read_text().split("\n") if line.startswith("--")}


@pytest.mark.parametrize(
    ("engine", "version"),
    [*(("vllm", v) for v in ("0.11.0", "0.12.0", "0.16.0", "0.18.0", "0.32.0")),
     *(("sglang", v) for v in ("0.5.3", "0.5.4.post2", "0.5.23")), ("trtllm", "main")],
)  # fmt: skip
def test_every_flag_that_we_write_is_in_the_parser_of_the_wheel(engine, version):
    known = flags_of(f"{engine}-{version}")
    settings = EVERYTHING.model_copy(update={"quantization": "fp8", "data_parallel_size": 2, "prefix_caching": True})
    written = set()
    for chosen in (settings, EVERYTHING):
        argv = launch(config(engine, settings=chosen, revision="r"), version=version).argv
        written |= {word for word in argv if word.startswith("--")}
    positive = {word.replace("--no-", "--", 1) for word in written}
    assert positive - known == {"--host", "--port"} - known if engine == "vllm" else positive <= known


def test_the_names_in_the_tables_are_those_of_the_parsers():
    assert flags_of("trtllm-main") >= OPTIONS
    keys = {name for entry in TRTLLM_FLAGS for name in entry.names() if "." not in name}
    assert {name for name in keys if not name.startswith("--no-")} <= flags_of("trtllm-main")
    assert {entry.flag for entry in SGLANG_FLAGS if entry.flag} <= flags_of("sglang-0.5.23")
    assert {entry.flag or entry.on for entry in VLLM_FLAGS} <= flags_of("vllm-0.32.0")
