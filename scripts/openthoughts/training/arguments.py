"""What is trained, and how: a training's settings and LLaMA-Factory's and DeepSpeed's files for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openthoughts.base.hashing import digest
from openthoughts.models.model import Model
from openthoughts.training.checkpoints import KEPT
from openthoughts.training.scales import Scale


@dataclass(frozen=True)
class Training:
    """One training: what comes out is a function of these."""

    name: str
    tokenized: Path
    statistics: Mapping[str, Any]
    base: Model
    scale: Scale
    seed: int

    def fingerprint(self) -> str:
        """Hex digits that name everything that decides the trained model."""
        return digest(
            {
                "settings": self.scale.output_settings(),
                "seed": self.seed,
                "data": self.statistics["digest"],
                "model": self.base.key(),
            },
            16,
        )

    def folder(self, output: Path) -> Path:
        """The folder of this training, beside the ``model.json`` that is to be written."""
        return output.resolve().parent / f"training-{self.fingerprint()}"


def train_arguments(training: Training, accelerator: str, accumulation: int, run: Path) -> dict[str, Any]:
    """LLaMA-Factory's arguments: the published full fine-tuning, with the scale's settings."""
    scale, statistics = training.scale, training.statistics
    length = {"max_steps": scale.max_steps} if scale.max_steps else {"num_train_epochs": scale.epochs}
    if accelerator == "cuda":
        device = {"bf16": True, "flash_attn": "fa2", "enable_liger_kernel": True, "dataloader_num_workers": 4}
    else:
        device = {
            "bf16": training.base.dtype != "float32",  # which processors without AVX-512 compute much more slowly
            "use_cpu": True,
            "flash_attn": "sdpa",
            "disable_gradient_checkpointing": True,
        }
    return {
        "model_name_or_path": str(training.base.weights),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "deepspeed": str(run / "deepspeed.json"),
        **device,
        "dataset": training.name,  # a name is asked for; the data is read from tokenized_path
        "tokenized_path": str(training.tokenized.resolve()),
        "template": statistics["template"],
        "default_system": statistics.get("default_system"),
        "cutoff_len": scale.cutoff,
        "packing": scale.packing,
        "neat_packing": scale.neat_packing,
        "train_sampling_strategy": "group_by_length" if scale.group_by_length else "random",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": scale.learning_rate,
        **length,
        "lr_scheduler_type": scale.scheduler,
        "warmup_ratio": scale.warmup_ratio,
        "optim": "adamw_torch",
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": training.seed,
        "data_seed": training.seed,
        "output_dir": str(run),
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": scale.save_steps,
        "save_total_limit": KEPT,
        "include_num_input_tokens_seen": "all",
        "ddp_timeout": 7200,
        "disable_tqdm": True,
        "report_to": "none",
    }


def deepspeed_settings() -> dict[str, Any]:
    """DeepSpeed ZeRO-3 as LLaMA-Factory's example has it; ``auto`` is filled in from LLaMA-Factory's arguments."""
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": "auto"},
        "zero_optimization": {
            "stage": 3,
            "overlap_comm": False,
            "contiguous_gradients": True,
            "sub_group_size": 1e9,
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            "stage3_max_live_parameters": 1e9,
            "stage3_max_reuse_distance": 1e9,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
    }
