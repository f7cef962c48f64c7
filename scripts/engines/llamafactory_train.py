"""One process of a training. Runs in LLaMA-Factory's environment, started by ``torchrun``.

``llamafactory_train.py TRAIN.yaml``: LLaMA-Factory's arguments (``openthoughts/training/training.py``). Beside what
LLaMA-Factory does, it writes one line per step to ``steps.jsonl`` in the output folder, and marks a checkpoint as whole
once every process has written its part.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import yaml

MARKER = "complete.json"
"""In a whole checkpoint: the sizes of its files. Only checkpoints that agree with it are trusted."""

PEAK_FLOPS = {
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "H800": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
}
"""Peak dense bfloat16 operations a second (NVIDIA's data sheets), for the utilisation (MFU) of a training."""


def main() -> None:
    """Train as the arguments in the file named on the command line say."""
    die_with_parent()
    arguments = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    output = Path(arguments["output_dir"])
    with (output / "running").open("a+") as running:
        hold(running)
        train(arguments, output)
    end_at_once()


def end_at_once() -> None:
    """End this process, whose training is over, without the rest of Python's own end.

    Threads of torch's communication that still run then abort the process now and then, and torchrun takes the whole
    training for failed.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def hold(running: IO[str]) -> None:
    """Show that this process runs, for as long as it does, to whoever wants to start the training again."""
    with suppress(OSError):  # file systems without locks; the lease of the workflow's side still holds
        fcntl.flock(running, fcntl.LOCK_SH)


def train(arguments: dict[str, Any], output: Path) -> None:
    """Run LLaMA-Factory's training."""
    if arguments.get("use_cpu"):
        prepare_cpu()
    from llamafactory.train.tuner import run_exp

    run_exp(args=arguments, callbacks=[recorder(output), row_order(arguments["seed"])])


def die_with_parent() -> None:
    """Have the kernel kill this process when torchrun dies: a worker has a process group of its own."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit("torchrun is gone")


def prepare_cpu() -> None:
    """Set DeepSpeed up for processors.

    accelerate leaves DeepSpeed's communication closed on processors, so it is opened here. DeepSpeed would compile an
    operator for reductions in shared memory first (over a minute, and a compiler); gloo reduces as well.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo")


def row_order(seed: int) -> Any:
    """Have the trainer take the rows in an order that is a function of seed and epoch alone; returns its callback.

    The trainer's own order of rows grouped by length is drawn from the state of the global generator: a training that
    is continued after its first epoch would see rows twice and others never, and another number of processes would
    see other batches.
    """
    import pyarrow.compute as pc
    import torch
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_pt_utils import get_length_grouped_indices

    class Order(torch.utils.data.Sampler, TrainerCallback):
        """The order of an epoch's rows: shuffled, or batches of rows of like length."""

        def __init__(self) -> None:
            self.epoch, self.rows, self.batch = 0, 0, 0
            self.lengths: list[int] | None = None

        def __len__(self) -> int:
            return self.rows

        def __iter__(self) -> Iterator[int]:
            generator = torch.Generator().manual_seed((seed << 20) + self.epoch)
            if self.lengths is None:
                yield from torch.randperm(self.rows, generator=generator).tolist()
            else:
                yield from get_length_grouped_indices(self.lengths, self.batch, generator=generator)

        def of(self, trainer: Any, dataset: Any = None) -> Order:
            """In the place of ``Trainer._get_train_sampler``."""
            args, dataset = trainer.args, dataset or trainer.train_dataset
            self.rows, self.batch = len(dataset), args.train_batch_size * args.gradient_accumulation_steps
            self.batch *= args.world_size
            if args.train_sampling_strategy == "group_by_length":
                self.lengths = pc.list_value_length(dataset.data.column("input_ids")).to_pylist()
            return self

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Note the epoch that begins or goes on."""
            self.epoch = int((state.epoch or 0) + 1e-6)

    order = Order()
    Trainer._get_train_sampler = lambda trainer, dataset=None: order.of(trainer, dataset)
    return order


def recorder(output: Path) -> Any:
    """The callback that writes ``steps.jsonl`` and marks whole checkpoints."""
    import torch
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):
        """One line per step: step, epoch, loss, learning_rate, grad_norm, tokens_per_second, mfu (null: no GPU)."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Start the clock."""
            self.time, self.tokens = time.monotonic(), state.num_input_tokens_seen
            # ZeRO-3 leaves a process the shapes of its parameters in ds_shape.
            parameters = sum(getattr(p, "ds_numel", p.numel()) for p in kwargs["model"].parameters())
            name = torch.cuda.get_device_name() if torch.cuda.is_available() and not args.use_cpu else ""
            peak = next((flops for device, flops in PEAK_FLOPS.items() if device in name), None)
            # 6 operations a parameter and token: Kaplan et al. 2020, section 2.1. Recomputation does not count.
            self.tokens_at_peak = peak * args.world_size / (6 * parameters) if peak else None

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
            """Write a step's line."""
            if "loss" not in logs or not state.is_world_process_zero:
                return
            now, tokens = time.monotonic(), state.num_input_tokens_seen
            speed = (tokens - self.tokens) / (now - self.time)
            self.time, self.tokens = now, tokens
            values = {name: logs.get(name) for name in ("epoch", "loss", "learning_rate", "grad_norm")}
            mfu = speed / self.tokens_at_peak if self.tokens_at_peak else None
            line = {"step": state.global_step, **values, "tokens_per_second": speed, "mfu": mfu}
            with (output / "steps.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, default=float) + "\n")
            print(f"step {state.global_step}/{state.max_steps} loss {values['loss']:.4f}", file=sys.stderr, flush=True)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Mark the checkpoint as whole once every process has written its part."""
            torch.distributed.barrier()
            if state.is_world_process_zero:
                mark_whole(output / f"checkpoint-{state.global_step}", state.global_step >= state.max_steps)
            self.time = time.monotonic()

    return Recorder()


def mark_whole(checkpoint: Path, last: bool) -> None:
    """Write the sizes of a checkpoint's files, synced, and whether it ends the training."""
    sizes = {
        path.relative_to(checkpoint).as_posix(): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != MARKER
    }
    temporary = checkpoint / f".{MARKER}"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump({"last": last, "files": sizes}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(checkpoint / MARKER)


if __name__ == "__main__":
    main()
