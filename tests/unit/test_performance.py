"""How fast a model is served and trained: what its card says of its size, and public figures of its speed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.performance.benchmark import WITHIN, every_figure, ratio, results

from openthoughts.models.architecture import Architecture
from openthoughts.models.performance import Gpu, Served, smallest_tensor_parallel
from openthoughts.plan.catalog import read_catalog

ROOT = Path(__file__).resolve().parents[2]
CATALOG = read_catalog([ROOT / "catalog"])
DEEPSEEK = {
    "architectures": ["DeepseekV3ForCausalLM"], "num_hidden_layers": 61, "hidden_size": 7168,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1,
    "num_experts_per_tok": 8, "first_k_dense_replace": 3, "num_attention_heads": 128, "num_key_value_heads": 128,
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "vocab_size": 129280, "tie_word_embeddings": False, "rope_scaling": None,
}  # fmt: skip


def test_parameters_are_counted_as_the_cards_say() -> None:
    for name, entry in CATALOG.models.items():
        if "architecture" in entry:
            counted = Architecture.from_config(entry["architecture"]).parameters()
            assert counted == pytest.approx(entry["parameters"], rel=0.02), name
    deepseek = Architecture.from_config(DEEPSEEK)
    assert deepseek.parameters() == pytest.approx(671e9, rel=0.01)
    assert deepseek.parameters(active=True) == pytest.approx(37e9, rel=0.03)
    assert 2 * deepseek.kv_elements(1) == pytest.approx(70_272), "bytes per token, as MLA is published"


def test_only_layers_that_see_everything_keep_everything() -> None:
    full = Architecture.from_config(CATALOG.models["qwq-32b"]["architecture"])
    assert 2 * full.kv_elements(1000) == 1000 * 262_144
    kinds = ["sliding_attention", "full_attention"] * 32
    mixed = full.changed(layer_types=tuple(kinds), sliding_window=128)
    assert mixed.kv_elements(1000) == pytest.approx(full.kv_elements(1000) / 2 * 1.128)
    assert full.changed(layer_types=("linear_attention",) * 64).kv_elements(1000) == 0


def test_weights_take_as_few_gpus_as_hold_them() -> None:
    architecture = Architecture.from_config(CATALOG.models["qwq-32b"]["architecture"])
    fewest = {
        (gpu, quantization): smallest_tensor_parallel(Served(architecture, gpu_of(gpu), quantization=quantization))
        for gpu in ("rtx-4090", "a100-80", "h200")
        for quantization in (None, "fp8")
    }
    assert fewest == {
        ("rtx-4090", None): 8, ("rtx-4090", "fp8"): 4, ("a100-80", None): 2, ("a100-80", "fp8"): 1,
        ("h200", None): 1, ("h200", "fp8"): 1,
    }  # fmt: skip


def test_more_memory_and_fewer_bits_are_faster() -> None:
    architecture = Architecture.from_config(CATALOG.models["qwq-32b"]["architecture"])

    def speed(gpu: str, **how: str) -> float:
        return Served(architecture, gpu_of(gpu), 4, **how).tokens_per_second(150, 14_800, 256)

    assert speed("a100-80") < speed("h100") < speed("h200")
    assert speed("h100") < speed("h100", quantization="fp8") < speed("h100", quantization="fp8", kv_cache_dtype="fp8")


def test_three_of_four_public_figures_are_within_the_factor() -> None:
    serving, training = every_figure()
    for figures in (serving, training):
        near = [1 / WITHIN <= ratio(row) <= WITHIN for row in figures]
        assert len(figures) >= 12
        assert sum(near) / len(near) >= 0.75


def test_the_committed_table_is_what_the_model_gives() -> None:
    assert (ROOT / "benchmarks/performance/RESULTS.md").read_text(encoding="utf-8") == results()


def gpu_of(name: str) -> Gpu:
    return Gpu.model_validate(json.loads(json.dumps(CATALOG.gpus[name])))
