"""The bound model against published parameter counts and against examples computed by hand."""

import io
import json
from dataclasses import replace

import pytest
from study_rows import h200_study

from hpcsweep.analysis.summary import analyse
from hpcsweep.plan.architecture import Architecture, read_architecture
from hpcsweep.plan.bound.deploy import BoundModel, bound_model
from hpcsweep.plan.bound.formulas import (
    Deployment,
    Limiter,
    decode_step,
    decode_tps,
    kv_capacity_tokens,
    largest_batch,
    load_s,
    prefill_s,
    weights_per_gpu_bytes,
)
from hpcsweep.plan.bound.gpu_specs import gpu_spec
from hpcsweep.plan.known_models import known_model
from hpcsweep.report.formats.registry import get_format

# The keys of the models' config.json that count; published sizes from the model cards.
LLAMA_8B = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 14336, "vocab_size": 128256, "hidden_act": "silu", "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_70B = {
    **LLAMA_8B,
    "hidden_size": 8192,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "intermediate_size": 28672,
}
MIXTRAL = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 14336, "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2,
    "hidden_act": "silu",
}  # fmt: skip
QWEN3_30B = {
    "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
    "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
    "decoder_sparse_step": 1, "mlp_only_layers": [], "vocab_size": 151936, "hidden_act": "silu",
}  # fmt: skip
QWEN3_235B = {
    **QWEN3_30B, "hidden_size": 4096, "num_hidden_layers": 94, "num_attention_heads": 64, "intermediate_size": 12288,
    "moe_intermediate_size": 1536,
}  # fmt: skip
DEEPSEEK_V3 = {
    "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1,
    "num_experts_per_tok": 8, "first_k_dense_replace": 3, "moe_layer_freq": 1, "vocab_size": 129280,
    "hidden_act": "silu",
}  # fmt: skip
GLM_46 = {
    "hidden_size": 5120, "num_hidden_layers": 92, "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 12288, "moe_intermediate_size": 1536, "n_routed_experts": 160, "n_shared_experts": 1,
    "num_experts_per_tok": 8, "first_k_dense_replace": 3, "vocab_size": 151552, "hidden_act": "silu",
}  # fmt: skip
GLM_45_AIR = {
    **GLM_46, "hidden_size": 4096, "num_hidden_layers": 46, "intermediate_size": 10944, "moe_intermediate_size": 1408,
    "n_routed_experts": 128, "first_k_dense_replace": 1,
}  # fmt: skip
GLM_45V = {"model_type": "glm4v_moe", "text_config": GLM_45_AIR, "vision_config": {"hidden_size": 1536}}

PUBLISHED = [  # (config, parameters, active parameters), billions, by the model cards
    pytest.param(LLAMA_8B, 8.03, 7.5, id="Llama-3.1-8B"),
    pytest.param(LLAMA_70B, 70.6, 69.5, id="Llama-3.3-70B"),
    pytest.param(MIXTRAL, 46.7, 12.9, id="Mixtral-8x7B"),
    pytest.param(QWEN3_30B, 30.5, 3.3, id="Qwen3-30B-A3B"),
    pytest.param(QWEN3_235B, 235.0, 22.0, id="Qwen3-235B-A22B"),
    pytest.param(DEEPSEEK_V3, 671.0, 37.0, id="DeepSeek-V3"),
    pytest.param(GLM_46, 355.0, 32.0, id="GLM-4.6"),
    pytest.param(GLM_45_AIR, 106.0, 12.0, id="GLM-4.5-Air"),
    pytest.param(GLM_45V, 106.0, 12.0, id="GLM-4.5V, text part"),
]


def architecture(config) -> Architecture:
    read = read_architecture(config)
    assert read is not None
    return read


@pytest.mark.parametrize(("config", "total", "active"), PUBLISHED)
def test_parameters_are_those_of_the_model_card(config, total, active):
    model = architecture(config)
    assert model.parameters / 1e9 == pytest.approx(total, rel=0.01)
    # Cards round, and some count the input embedding.
    assert model.active_parameters * 0.93 <= active * 1e9 <= (model.active_parameters + model.embedding) * 1.01


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"hidden_act": "gelu"}, id="an MLP without a gate"),
        pytest.param({"vocab_size": None}, id="a key is missing"),
        pytest.param({"layer_types": ["full_attention", "linear_attention"]}, id="layers of different kinds"),
        pytest.param({"num_experts_per_tok": None}, id="experts per token not stated"),
    ],
)
def test_an_unknown_architecture_has_no_bound(change):
    assert read_architecture({**GLM_46, **change}) is None
    assert read_architecture({}) is None


def test_experts_read_of_one_token_and_of_many():
    model = architecture(GLM_46)
    assert model.experts_read(1) == pytest.approx(8)
    assert model.experts_read(2) == pytest.approx(8 + 8 * (1 - 8 / 160))
    assert model.experts_read(10_000) == pytest.approx(160)
    assert architecture(LLAMA_8B).experts_read(5) == 0


GPUS = [
    ("NVIDIA A100-SXM4-80GB", None, 2.039e12), ("NVIDIA A100-SXM4-40GB", None, 1.555e12), ("a100", 42.4e9, 1.555e12),
    ("NVIDIA A100 80GB PCIe", None, 1.935e12), ("NVIDIA H100 80GB HBM3", None, 3.35e12),
    ("NVIDIA H100 PCIe", None, 2.0e12), ("nvidia_h200", None, 4.8e12), ("NVIDIA B200", None, 8e12),
    ("AMD Instinct MI250X", None, 1.638e12), ("AMD Instinct MI300X", None, 5.3e12),
]  # fmt: skip


@pytest.mark.parametrize(("name", "memory", "bandwidth"), GPUS)
def test_data_sheets_by_name(name, memory, bandwidth):
    spec = gpu_spec(name, memory)
    assert spec is not None and spec.bandwidth == bandwidth and spec.source


@pytest.mark.parametrize("name", ["a100", "gh200", "TITAN V", "tesla"])
def test_a_gpu_that_the_name_does_not_settle_has_no_data_sheet(name):
    assert gpu_spec(name) is None


def test_glm_46_on_eight_h200_at_batch_one():
    """By hand: 32.8e9 active parameters x 2 B = 65.6 GB over 8 x 4.8 TB/s = 1.71 ms, about 585 tokens/s."""
    model, gpu = architecture(GLM_46), gpu_spec("h200")
    assert gpu is not None
    on = Deployment(model, gpu, tensor_parallel=8)
    step = decode_step(on, 1, 0)
    assert model.active_parameters * 2 / (8 * 4.8e12) == pytest.approx(step.least_s)
    assert 1 / step.least_s == pytest.approx(585, rel=0.02)
    assert step.limiter is Limiter.WEIGHTS
    # 64k tokens of context: 92 layers x 2 x 8 heads x 128 x 2 B / 8 GPUs a token = 47 kB, 3.1 GB, 0.64 ms more
    longer = decode_step(on, 1, 65536)
    assert longer.kv_s == pytest.approx(65536 * 92 * 2 * 8 * 128 * 2 / 8 / 4.8e12)
    assert longer.kv_s == pytest.approx(0.643e-3, rel=0.01)


def test_llama_on_one_h100():
    """By hand: (8.03 - 0.525)e9 x 2 B / 3.35 TB/s = 4.48 ms; at batch 512 and no context arithmetic takes 7.8 ms."""
    model, gpu = architecture(LLAMA_8B), gpu_spec("h100")
    assert gpu is not None
    alone = decode_step(Deployment(model, gpu), 1, 0)
    assert alone.least_s == pytest.approx(4.48e-3, rel=0.01)
    many = decode_step(Deployment(model, gpu), 512, 0)
    assert (many.limiter, many.least_s) == (Limiter.ARITHMETIC, pytest.approx(7.77e-3, rel=0.01))
    assert decode_tps(Deployment(model, gpu), 512, 0) == pytest.approx(512 / many.least_s)
    assert decode_step(Deployment(model, gpu), 64, 8192).limiter is Limiter.KV_CACHE


def test_latent_attention_is_not_split_over_gpus():
    model, gpu = architecture(DEEPSEEK_V3), gpu_spec("h200")
    assert gpu is not None and (model.kv_values, model.kv_heads) == (576, None)
    one, eight = (decode_step(Deployment(model, gpu, tensor_parallel=tp), 8, 4096) for tp in (1, 8))
    assert one.kv_s == eight.kv_s
    assert one.weights_s == pytest.approx(8 * eight.weights_s)


def test_more_gpus_than_kv_heads_keep_one_head_each():
    model, gpu = architecture(QWEN3_30B), gpu_spec("h100")
    assert gpu is not None
    four, eight = (decode_step(Deployment(model, gpu, tensor_parallel=tp), 1, 1000).kv_s for tp in (4, 8))
    assert four == eight


def test_replicas_have_all_experts_unless_these_are_spread():
    model, gpu = architecture(GLM_45_AIR), gpu_spec("h200")
    assert gpu is not None
    apart = Deployment(model, gpu, data_parallel=8)
    spread = Deployment(model, gpu, data_parallel=8, expert_parallel=True)
    assert weights_per_gpu_bytes(apart) == pytest.approx(model.parameters * 2)
    experts = model.moe_layers * model.experts * model.expert
    assert weights_per_gpu_bytes(spread) == pytest.approx((model.parameters - experts * 7 / 8) * 2)
    assert decode_step(spread, 8, 0).weights_s < decode_step(apart, 8, 0).weights_s


def test_pipeline_stages_do_not_shorten_a_token_but_work_in_parallel():
    model, gpu = architecture(LLAMA_70B), gpu_spec("h100")
    assert gpu is not None
    flat, staged = Deployment(model, gpu), Deployment(model, gpu, pipeline_parallel=4)
    assert decode_step(flat, 1, 0).least_s == decode_step(staged, 1, 0).least_s
    assert decode_tps(staged, 1, 0) == pytest.approx(decode_tps(flat, 1, 0))
    assert decode_tps(staged, 4, 0) == pytest.approx(4 * decode_tps(flat, 1, 0))


def test_kv_capacity_and_largest_batch():
    """By hand: 8 x 141 GB x 0.9 less 705.6 GB leaves 309.6 GB; a token takes 376,832 B on all eight."""
    model, gpu = architecture(GLM_46), gpu_spec("h200")
    assert gpu is not None
    on = Deployment(model, gpu, tensor_parallel=8)
    assert weights_per_gpu_bytes(on) * 8 == pytest.approx(705.6e9, rel=0.001)
    assert kv_capacity_tokens(on, 0.9) == pytest.approx(309.6e9 / 376_832, rel=0.01)
    assert largest_batch(on, 0.9, 65536) == 12
    assert kv_capacity_tokens(Deployment(model, gpu, tensor_parallel=4), 0.9) == 0


def test_fp8_arithmetic_only_where_the_gpu_has_it():
    model = architecture(LLAMA_8B)
    h100, a100 = gpu_spec("h100"), gpu_spec("a100", 85e9)
    assert h100 is not None and a100 is not None
    assert Deployment(model, h100, fp8_arithmetic=True).flops == h100.flops_fp8 == 1978.9e12
    assert Deployment(model, a100, fp8_arithmetic=True).flops == a100.flops


def test_prefill_and_load():
    """By hand: 8,192 tokens x 2 x 6.98e9 + attention 32 x 4 x 4096 x 8192/2 a token, at 989.4 TFLOP/s: 0.133 s."""
    model, gpu = architecture(LLAMA_8B), gpu_spec("h100")
    assert gpu is not None
    on = Deployment(model, gpu)
    by_hand = (8192 * (2 * (model.active_parameters - model.head) + 32 * 4 * 4096 * 4096) + 2 * model.head) / 989.4e12
    assert prefill_s(on, 8192) == pytest.approx(by_hand) == pytest.approx(0.133, rel=0.01)
    assert prefill_s(on, 1) == pytest.approx(decode_step(on, 1, 0).weights_s, rel=0.01)
    assert load_s(on, 2e9) == pytest.approx(8.03, rel=0.01)


def _study_with_models(**server):
    """The H200 study with the server's configuration and the model's shape, as sweep.json has them."""
    facts = known_model("zai-org/GLM-4.6")
    assert facts is not None
    model = BoundModel.from_json(json.loads(json.dumps(bound_model(facts).as_json())))
    rows = h200_study()
    config = {"engine": "vllm", "model": "zai-org/GLM-4.6", **server}
    return replace(
        rows,
        runs=tuple(replace(run, server=config) for run in rows.runs),
        models={"zai-org/GLM-4.6": model},
    )


@pytest.mark.parametrize(
    "server",
    [{"settings": {"tensor_parallel_size": 8}}, {"flags": {"--tensor-parallel-size": 8}}],
    ids=["sizes as neutral settings", "sizes as flags of the engine"],
)
def test_a_result_has_the_share_of_its_bound(server):
    """8.7 tok/s of about 550: the H200 study runs at 1.6 % of what the memory of its GPUs allows."""
    findings = analyse(_study_with_models(**server))
    result = next(r for r in findings.results if r.workload == "8k" and r.mean("tps", "warm"))
    tps = result.mean("tps", "warm").value
    assert result.bound.limiter is Limiter.WEIGHTS and result.bound.gpu == "H200 SXM"
    assert result.bound.sequences == 1 and result.bound.context_tokens == pytest.approx(6101 + 256, abs=1)
    assert result.bound.share("tps", tps) == pytest.approx(0.016, abs=0.001)
    assert result.bound.share("tpot_s", 2 * result.bound.tpot_s) == 0.5
    assert result.bound.share("goodput", 1.0) is None
    stream = io.StringIO()
    get_format("terminal").write(findings, stream)
    assert "(1.7 % of the bound of 530 tok/s by reading weights)" in " ".join(stream.getvalue().split())
    stream = io.StringIO()
    get_format("markdown").write(findings, stream)
    assert "Share of the hardware bound" in stream.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        {"models": {}},
        {"gpu": "TITAN V"},
        {"server": {}},
        {"server": {"engine": "not-installed", "model": "zai-org/GLM-4.6"}},
        {"server": {"engine": "vllm", "model": "zai-org/GLM-4.6", "settings": {"quantization": "own-4bit"}}},
    ],
    ids=["model unknown", "GPU unknown", "no configuration", "engine unknown", "width of the weights unknown"],
)
def test_what_is_unknown_has_no_bound(change):
    rows = _study_with_models()
    runs = tuple(
        replace(
            run,
            server=change.get("server", run.server),
            attempts=tuple(replace(a, gpu_name=change.get("gpu", a.gpu_name)) for a in run.attempts),
        )
        for run in rows.runs
    )
    findings = analyse(replace(rows, runs=runs, models=change.get("models", rows.models)))
    assert all(result.bound is None for result in findings.results)
    stream = io.StringIO()
    get_format("markdown").write(findings, stream)
    assert "hardware bound" not in stream.getvalue()


@pytest.mark.parametrize("damaged", [None, {}, {"architecture": {}}, {"architecture": 1, "bytes_per_parameter": 2}])
def test_a_stored_model_of_another_version_is_unknown(damaged):
    assert BoundModel.from_json(damaged) is None
