"""What the login side refuses before anything is queued: GPUs, flags, context, memory, fp8."""

import pytest

from hpcsweep.engines.registry import get_engine
from hpcsweep.errors import EngineError
from hpcsweep.plan.feasibility import check, gpu_memory_bytes, refusals
from hpcsweep.plan.known_models import known_model
from hpcsweep.plan.model_size import read_facts
from hpcsweep.spec.job import Resources
from hpcsweep.spec.server import EngineSettings, ServerConfig

GLM = "zai-org/GLM-4.6"
GLM_CONFIG = {
    "model_type": "glm4_moe", "torch_dtype": "bfloat16", "hidden_size": 5120, "num_hidden_layers": 92,
    "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12288,
    "moe_intermediate_size": 1536, "n_routed_experts": 160, "num_experts_per_tok": 8,
    "n_shared_experts": 1, "first_k_dense_replace": 3,
    "vocab_size": 151552, "max_position_embeddings": 202752, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_CONFIG = {
    "torch_dtype": "bfloat16", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip
TINY_CONFIG = {
    **GLM_CONFIG, "hidden_size": 128, "intermediate_size": 256, "moe_intermediate_size": 128, "num_hidden_layers": 3,
    "first_k_dense_replace": 1, "n_routed_experts": 8, "num_experts_per_tok": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 64, "vocab_size": 373, "max_position_embeddings": 4096,
}  # fmt: skip


def problems(model=GLM, *, engine="vllm", facts=None, settings=None, gpus=8, gpu="a100", nodes=1, **values):
    server = ServerConfig(
        engine=engine,
        model=model,
        settings=EngineSettings(**{"tensor_parallel_size": gpus, **(settings or {})}),
        **values,
    )
    resources = Resources(gpus=gpus, gpu_type=gpu, nodes=nodes)
    return check(server, resources, get_engine(engine), facts or known_model(model))


def test_the_study_on_a100_is_refused_with_its_arithmetic():
    (problem,) = problems(settings={"max_model_len": 32768})
    assert problem.severity == "error"
    assert problem.message == "weights do not fit: 354.8e9 × 2 B = 709.6 GB > 8 × 80 GB"
    assert refusals([problem]) == [f"{problem.message} (use more GPUs, or quantized weights)"]


CASES = [  # (what is requested, severity, code); None: no problem
    pytest.param({"gpu": "h200", "settings": {"max_model_len": 65536}}, None, "", id="the study on H200"),
    pytest.param({"gpu": "h200", "settings": {"max_model_len": 300000}}, "error", "context_too_long", id="too long"),
    pytest.param(
        {"gpu": "h200", "settings": {"max_model_len": 300000}, "env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}},
        "warning", "context_too_long", id="too long, and the user knows",
    ),
    pytest.param({"model": f"{GLM}-FP8"}, "warning", "fp8_in_16_bits", id="fp8 on A100: vLLM"),
    pytest.param(
        {"model": f"{GLM}-FP8", "engine": "sglang"}, "error", "fp8_not_supported", id="fp8 on A100: SGLang"
    ),
    pytest.param({"model": f"{GLM}-FP8", "engine": "trtllm"}, "error", "fp8_not_supported", id="fp8 on A100: TRT-LLM"),
    pytest.param({"model": f"{GLM}-FP8", "gpu": "h100"}, None, "", id="fp8 on H100"),
    pytest.param({"model": "me/unknown-FP8", "engine": "sglang"}, "error", "fp8_not_supported", id="fp8 by name"),
    pytest.param({"settings": {"quantization": "fp8"}}, "warning", "fp8_in_16_bits", id="quantized on loading: fits"),
    pytest.param(
        {"gpu": "h200", "gpus": 4, "settings": {"tensor_parallel_size": 8}}, "error",
        "too_few_gpus", id="too few GPUs",
    ),
    pytest.param(
        {"model": "me/m", "gpu": "h200", "settings": {"tensor_parallel_size": 4, "data_parallel_size": 4}},
        "error", "too_few_gpus", id="tp x dp",
    ),
    pytest.param(
        {"model": "me/small", "settings": {"tensor_parallel_size": 2}}, "warning", "idle_gpus", id="idle GPUs"
    ),
    pytest.param(
        {"model": "me/small", "nodes": 2, "settings": {"tensor_parallel_size": 16}}, None, "", id="over nodes"
    ),
    pytest.param(
        {"model": "me/small", "engine": "sglang", "nodes": 2,
         "settings": {"tensor_parallel_size": 8, "data_parallel_size": 2}}, "error",
        "unsupported_across_nodes", id="what an engine cannot spread over nodes",
    ),
    pytest.param({"model": "me/small", "gpus": 0, "settings": {"tensor_parallel_size": 1}}, None, "", id="a CPU"),
    pytest.param(
        {"gpu": "h200", "flags": {"--swap-space": 32}, "engine_version": ">=0.18"}, "error", "flag_of_other_version",
        id="a flag that is gone",
    ),
    pytest.param(
        {"gpu": "h200", "flags": {"--swap-space": 32}}, "warning", "flag_of_other_version", id="a flag that may be gone"
    ),
    pytest.param(
        {"gpu": "h200", "flags": {"--swap-space": 32}, "engine_version": "<0.18"}, None, "", id="a flag that is there"
    ),
    pytest.param(
        {"gpu": "h200", "flags": {"--trust-remote-code": True}}, "warning", "unpinned_remote_code", id="remote code"
    ),
    pytest.param(
        {"gpu": "h200", "flags": {"--trust_remote_code": True}, "revision": "main"}, "warning",
        "unpinned_remote_code", id="remote code of a branch",
    ),
    pytest.param(
        {"gpu": "h200", "flags": {"--trust-remote-code": True}, "revision": "0123456789abcdef" * 2 + "01234567"},
        None, "", id="remote code of a commit",
    ),
    pytest.param({"gpu": "h200", "flags": {"--trust-remote-code": False}}, None, "", id="no remote code"),
    pytest.param({"gpu": "h200", "flags": {"--port": 1}}, "error", "unsupported_by_engine", id="not expressible"),
    pytest.param(
        {"model": "meta-llama/Llama-3.3-70B-Instruct", "gpus": 2, "gpu": "h100", "settings": {"max_model_len": 131072}},
        "error", "kv_cache_does_not_fit", id="KV cache of one request",
    ),
    pytest.param(
        {"model": "meta-llama/Llama-3.3-70B-Instruct", "gpus": 2, "gpu": "h100", "settings": {"max_model_len": 32768}},
        None, "", id="KV cache of a shorter one",
    ),
    pytest.param(
        {"model": "meta-llama/Llama-3.3-70B-Instruct", "gpus": 2, "gpu": "h100",
         "settings": {"max_model_len": 65536, "kv_cache_dtype": "fp8"}}, None, "", id="KV cache in fp8: half the size",
    ),
    pytest.param(
        {"model": "meta-llama/Llama-3.3-70B-Instruct", "gpus": 2, "gpu": "h100",
         "settings": {"gpu_memory_utilization": 0.8}},
        "error", "weights_do_not_fit", id="weights beyond the share of memory",
    ),
    pytest.param(
        {"model": "meta-llama/Llama-3.3-70B-Instruct", "gpus": 2, "gpu": "h100",
         "settings": {"max_model_len": 131072, "kv_cache_dtype": "nvfp4"}}, None, "", id="KV cache in four bits",
    ),
    pytest.param(
        {"model": "meta-llama/Llama-3.3-70B-Instruct", "gpus": 2, "gpu": "h100", "settings": {"max_model_len": 131072},
         "flags": {"--decode-context-parallel-size": 2}}, None, "", id="KV cache shared over the context",
    ),
    pytest.param({"settings": {"quantization": "bitsandbytes"}}, None, "", id="quantized on loading, to four bits"),
    pytest.param({"flags": {"--cpu-offload-gb": 20}}, None, "", id="part of the weights lies in main memory"),
    pytest.param({"model": "me/unknown", "gpu": "h100"}, None, "", id="nothing is known of the model"),
    pytest.param({"gpu": "tpu-v9"}, None, "", id="nothing is known of the GPU"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "severity", "code"), CASES)
def test_check(asked, severity, code):
    found = problems(**asked)
    if severity is None:
        assert found == []
    else:
        assert [(problem.severity, problem.code) for problem in found] == [(severity, code)]


def test_messages_show_the_arithmetic():
    llama = {"model": "meta-llama/Llama-3.3-70B-Instruct", "gpus": 2, "gpu": "h100"}
    (kv_cache,) = problems(**llama, settings={"max_model_len": 131072})
    assert "131072 tokens × 160.0 KiB = 21.5 GB per GPU > 6.7 GB left by the weights" in kv_cache.message
    (weights,) = problems(**llama, settings={"gpu_memory_utilization": 0.8})
    assert "= 70.6 GB per GPU > 0.8 × 85.9 GB" in weights.message
    (gpus,) = problems(gpu="h200", gpus=4, settings={"tensor_parallel_size": 8})
    assert gpus.message == "tensor 8 × pipeline 1 × data 1 = 8 GPUs, but 4 are requested"


def test_settings_in_serve_count_like_axes():
    server = ServerConfig(engine="vllm", model=GLM, flags={"--tensor-parallel-size": 8, "--max-model-len": 32768})
    found = check(server, Resources(gpus=8, gpu_type="h200"), get_engine("vllm"), known_model(GLM))
    assert found == []


def test_data_parallel_ranks_share_the_experts_only_with_expert_parallelism():
    sizes = {"tensor_parallel_size": 1, "data_parallel_size": 8, "max_model_len": 8192}
    assert "weights_do_not_fit" in {p.code for p in problems(gpu="h200", settings=sizes)}
    assert problems(gpu="h200", settings={**sizes, "expert_parallel": True}) == []


def test_a_bad_version_constraint_is_an_error():
    with pytest.raises(EngineError, match="invalid engine version constraint"):
        problems(flags={"--task": "x"}, engine_version="newest")


@pytest.mark.parametrize(
    ("gpu", "stated", "gib"),
    [
        ("h200", None, 141), ("A100", None, 80), ("a100-40g", None, 40), ("a100_80GB", None, 80),
        ("nvidia_h100", None, 80), ("a100_1g.10gb", None, 10),
        ("a100", 40 * 2**30, 40), ("l40s", None, 48), ("l4", None, 24), ("gh200", None, 96), ("mi300x", None, None),
        (None, None, None),
    ],
)  # fmt: skip
def test_gpu_memory(gpu, stated, gib):
    resources = Resources(gpus=1, gpu_type=gpu, gpu_memory_bytes=stated)
    assert gpu_memory_bytes(resources) == (None if gib is None else gib * 2**30)


SIZES = [  # (config.json, parameters, bytes of KV cache per token on one GPU of eight, in 16 bits)
    pytest.param(
        GLM_CONFIG, pytest.approx(352.8e9, rel=1e-3), 92 * 2 * 1 * 128 * 2, id="GLM-4.6, without its MTP layer"
    ),
    pytest.param(LLAMA_CONFIG, pytest.approx(8.03e9, rel=1e-3), 32 * 2 * 1 * 128 * 2, id="Llama 3.1 8B"),
    # Two heads cannot be split over eight GPUs: each keeps a whole one. 1,378,304 were counted in the model itself.
    pytest.param(TINY_CONFIG, pytest.approx(1_378_304, rel=4e-3), 3 * 2 * 1 * 64 * 2, id="the tiny model of the tests"),
]


@pytest.mark.parametrize(("config", "parameters", "kv_bytes"), SIZES)
def test_sizes_from_config_json(config, parameters, kv_bytes):
    facts = read_facts("m", config)
    assert facts.parameters == parameters
    assert facts.kv_bytes_per_token(8, 1, 2.0) == kv_bytes
    assert facts.kv_bytes_per_token(8, 2, 2.0) == kv_bytes / 2


def test_the_index_is_exact_and_wins():
    facts = read_facts("m", GLM_CONFIG, {"metadata": {"total_size": 713_000_000_000}, "weight_map": {}})
    assert facts.total_weight_bytes == 713e9
    (problem,) = problems(facts=facts)
    assert problem.message == "weights do not fit: 713.0 GB of weights (safetensors index) > 8 × 80 GB"


@pytest.mark.parametrize(
    ("quantization", "method", "width"),
    [
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "fp8", 1.0),
        ({"quant_method": "awq", "bits": 4}, "awq", 0.5),
        ({"quant_method": "gptq", "bits": 8}, "gptq", 1.0),
        ({"quant_method": "compressed-tensors",
          "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}}}, "fp8", 1.0),
        ({"quant_method": "compressed-tensors",
          "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}}, "compressed-tensors", 0.5),
        ({"quant_method": "brand-new"}, "brand-new", 2.0),
        (None, None, 2.0),
    ],
)  # fmt: skip
def test_quantized_checkpoints(quantization, method, width):
    facts = read_facts("m", {**LLAMA_CONFIG, "quantization_config": quantization})
    assert (facts.quantization, facts.bytes_per_parameter) == (method, width)


def test_latent_attention_keeps_one_vector_a_token_on_every_gpu():
    facts = read_facts("m", {"num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64})
    assert facts.kv_bytes_per_token(8, 1, 2.0) == 61 * 576 * 2
    assert facts.parameters is None and facts.total_weight_bytes is None


@pytest.mark.parametrize(
    "config",
    [{}, {"hidden_size": "large"}, {"text_config": None}, {"quantization_config": "fp8"}, {"num_hidden_layers": None}],
    ids=str,
)
def test_a_config_that_says_little_gives_little_and_no_error(config):
    facts = read_facts("m", config)
    assert facts.total_weight_bytes is None and facts.kv_bytes_per_token(1, 1, 2.0) is None
    assert problems(model="m", facts=facts, gpu="h100") == []


def test_sliding_windows_keep_less_so_their_kv_cache_is_only_a_warning():
    facts = read_facts("m", {**LLAMA_CONFIG, "sliding_window": 4096, "max_position_embeddings": 10_000_000})
    found = problems(model="m", facts=facts, gpu="l4", gpus=1, settings={"max_model_len": 9_000_000})
    assert [problem.severity for problem in found] == ["warning"]


def test_names_of_known_models_are_read_in_any_case():
    assert known_model("ZAI-org/glm-4.6").parameters == 354.8e9
    assert known_model("zai-org/GLM-4.6-FP8").total_weight_bytes == 354.8e9
    assert known_model("me/mine") is None
