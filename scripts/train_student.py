"""Train a student: full fine-tuning with LLaMA-Factory and DeepSpeed ZeRO-3, on one node or several.

Checkpoints and the trained model lie in ``training-<fingerprint>/`` beside the output, which only describes them. A
training that was killed goes on from its last whole checkpoint with the losses that it would have had; one that is
over is verified and returned. On several nodes, start this program once on each:
``srun --nodes 2 --ntasks 2 --ntasks-per-node 1 train_student.py --nodes 2 ...``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command, json_object
from openthoughts.base.engine_child import ACCELERATORS
from openthoughts.models.model import Model
from openthoughts.training.arguments import Training
from openthoughts.training.nodes import Nodes
from openthoughts.training.scales import Scale
from openthoughts.training.tokenize import read_statistics
from openthoughts.training.training import train


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Train a student and write its description and metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenized", type=Path, required=True, help="folder written by tokenize_dataset.py")
    parser.add_argument("--statistics", type=Path, required=True, help="its statistics.json")
    parser.add_argument("--model", type=Path, required=True, help="model.json of the model to be trained")
    parser.add_argument("--name", required=True, help="name of the student")
    parser.add_argument("--settings", required=True, help="JSON object: a training scale")
    parser.add_argument("--save-steps", type=int, help="steps between checkpoints (changes no result)")
    parser.add_argument("--seed", type=int, default=42, help="decides the order of the rows")
    parser.add_argument("--accelerator", choices=ACCELERATORS, default="cpu")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of a node (with --accelerator cuda)")
    parser.add_argument("--processes", type=int, default=1, help="training processes of a node (on processors)")
    parser.add_argument("--output", type=Path, required=True, help="model.json of the student")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.parquet: one row per step")
    options = parser.parse_args(argv)

    saving = {} if options.save_steps is None else {"save_steps": options.save_steps}
    training = Training(
        name=options.name,
        tokenized=options.tokenized,
        statistics=read_statistics(options.statistics),
        base=Model.read(options.model),
        scale=Scale.from_json(json.dumps(json_object(options.settings, "--settings") | saving)),
        seed=options.seed,
    )
    processes = max(1, options.gpus if options.accelerator == "cuda" else options.processes)
    where = Nodes(options.accelerator, options.nodes, processes)
    train(training, where, options.output, options.metrics)
    return 0


if __name__ == "__main__":
    sys.exit(main())
