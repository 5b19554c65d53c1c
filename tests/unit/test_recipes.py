"""Recipes of vllm-project/recipes as experiments. The two recipes have the shape of real ones, and other values."""

import pytest
from click.testing import CliRunner

from hpcsweep.adopt.recipe import recipe_experiment
from hpcsweep.cli.main import main
from hpcsweep.errors import SpecError
from hpcsweep.plan.grid import Selection, expand
from hpcsweep.spec.load import parse_experiment
from hpcsweep.sweep.recipes import find_recipe

MOE = """
meta:
  title: Example MoE
  date_added: 2026-01-02
  tasks: [text]
  hardware: {h200: verified, mi300x: verified, h100: unsupported}
model:
  model_id: example/moe-350B
  min_vllm_version: "0.11.0"
  architecture: moe
  context_length: 131072
  base_args: ["--trust-remote-code", "--max-model-len auto"]
  base_env: {VLLM_EXAMPLE: 1}
features:
  reasoning: {description: Parser, args: ["--reasoning-parser", "example"]}
  spec_decoding:
    description: Two ways
    default_mode: mtp
    modes:
      mtp: {label: MTP, args: ["--speculative-config.method", "mtp"]}
      eagle3: {label: EAGLE3, args: ["--speculative-config", '{"method":"eagle3","num_speculative_tokens":5}']}
opt_in_features: [spec_decoding]
variants:
  default: {precision: bf16, vram_minimum_gb: 857, description: Full}
  fp8: {model_id: example/moe-350B-FP8, precision: fp8, vram_minimum_gb: 428, extra_args: ["--kv-cache-dtype", "fp8"]}
  fp32: {precision: fp32, vram_minimum_gb: 1714}
compatible_strategies: [single_node_tp, single_node_tep, single_node_dep, multi_node_tp]
hardware_overrides:
  hopper: {extra_args: ["--max-num-seqs", "64"]}
  amd: {extra_env: {VLLM_ROCM_USE_AITER: "1"}}
strategy_overrides: {}
guide: |
  vllm serve example/moe-350B
"""

DENSE = """
meta: {title: Example 8B, tasks: [text], hardware: {}}
model: {model_id: example/Dense-8B, min_vllm_version: "0.9.1", nightly_required: true, base_args: [], base_env: null}
features: null
opt_in_features: []
variants:
  default: {precision: bf16, vram_minimum_gb: 20}
compatible_strategies: [single_node_tp]
strategy_overrides:
  single_node_tp: {tp: {xeon6: 2}}
"""


def converted(text: str, gpu: str | None = None):
    name, written = recipe_experiment(text, "recipe.yaml", gpu)
    experiment = parse_experiment(written, "written.yaml", name)
    return experiment, expand(experiment, Selection()), written


def test_variants_strategies_and_optional_features_are_axes():
    experiment, grid, written = converted(MOE)
    assert (experiment.name, experiment.model.name) == ("moe-350b", "example/moe-350B")
    assert (experiment.engine.name, experiment.engine.version) == ("vllm", ">=0.11.0")
    levels = {axis: [level.label for level in found] for axis, found in grid.axes.items()}
    assert levels == {
        "variant": ["default", "fp8"],
        "parallel": ["tp8", "tp8-ep", "dp8-ep"],
        "spec_decoding": ["off", "mtp", "eagle3"],
    }
    assert experiment.engine_args == {
        "--trust-remote-code": True,
        "--max-model-len": "auto",
        "--reasoning-parser": "example",
        "--max-num-seqs": 64,
    }
    assert experiment.env == {"VLLM_EXAMPLE": "1"}
    assert "multi_node_tp" in written and "sized for 8 x h200" in written
    (missing,) = experiment.not_run
    assert missing.title == "variant fp32" and "1714 GB" in missing.reason


def test_a_variant_has_its_model_and_flags():
    _, grid, _ = converted(MOE)
    fp8 = grid.axes["variant"][1]
    assert (fp8.model, fp8.flags) == ("example/moe-350B-FP8", {"--kv-cache-dtype": "fp8"})
    eagle = grid.axes["spec_decoding"][2]
    assert eagle.flags == {"--speculative-config": '{"method":"eagle3","num_speculative_tokens":5}'}
    parallel = {level.label: level.settings for level in grid.axes["parallel"]}
    assert parallel["dp8-ep"] == {"data_parallel_size": 8, "expert_parallel": True}
    assert parallel["tp8"] == {"tensor_parallel_size": 8}


def test_the_gpu_decides_about_sizes_and_overrides():
    experiment, grid, written = converted(MOE, "h100")
    assert [entry.title for entry in experiment.not_run] == ["variant default", "variant fp32"]
    assert [level.label for level in grid.axes["parallel"]] == ["tp8", "tp8-ep", "dp8-ep"]
    assert "does not list h100 as verified" in written
    experiment, _, _ = converted(MOE, "mi300x")
    assert experiment.env == {"VLLM_EXAMPLE": "1", "VLLM_ROCM_USE_AITER": "1"}
    assert "--max-num-seqs" not in experiment.engine_args


def test_a_small_model_gets_one_gpu_and_one_axis():
    experiment, grid, written = converted(DENSE)
    assert {axis: [level.label for level in levels] for axis, levels in grid.axes.items()} == {"parallel": ["tp1"]}
    assert experiment.engine_args == {} and experiment.not_run == []
    assert "nightly build" in written


@pytest.mark.parametrize(
    ("text", "gpu", "code"),
    [
        (MOE.replace("tasks: [text]", "tasks: [omni]"), None, "recipe_not_served"),
        ("meta: {}\n", None, "missing_key"),
        ("- a list\n", None, "not_a_mapping"),
        (MOE, "xyz9000", "gpu_type_unknown"),
    ],
)
def test_what_is_not_a_recipe_for_a_server_is_refused(text, gpu, code):
    with pytest.raises(SpecError) as caught:
        converted(text, gpu)
    assert caught.value.code == code


def test_a_recipe_is_found_by_path_or_by_name(tmp_path, monkeypatch):
    file = tmp_path / "models" / "example" / "Dense-8B.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(DENSE)
    monkeypatch.setenv("HPCSWEEP_RECIPES", str(tmp_path))
    assert find_recipe(str(file)) == file
    assert find_recipe("example/dense-8b") == find_recipe("Dense-8B") == file
    for name in ("example/Dense-9B", "nothing.yaml"):
        with pytest.raises(SpecError) as caught:
            find_recipe(name)
        assert caught.value.code == "recipe_not_found"
    monkeypatch.setenv("HPCSWEEP_RECIPES", str(tmp_path / "elsewhere"))
    with pytest.raises(SpecError) as caught:
        find_recipe("Dense-8B")
    assert "HPCSWEEP_RECIPES" in caught.value.hint


def test_init_writes_the_experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(MOE)
    result = CliRunner().invoke(main, ["init", "--recipe", "r.yaml"])
    assert result.exit_code == 0 and "moe-350b.yaml" in result.output
    assert parse_experiment((tmp_path / "moe-350b.yaml").read_text(), "x", "x").name == "moe-350b"
    assert "file exists" in CliRunner().invoke(main, ["init", "--recipe", "r.yaml"]).output
    assert CliRunner().invoke(main, ["init", "--recipe", "r.yaml", "--site", "polaris"]).exit_code == 2
    assert CliRunner().invoke(main, ["init", "--gpu", "h200"]).exit_code == 2
