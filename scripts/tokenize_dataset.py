"""Tokenise a dataset for training, on processors, before a GPU is booked.

LLaMA-Factory's own code renders each conversation with the model's template and packs it where the settings say so;
what does not fit is dropped, cut or refused as they say. The result is a folder that ``train_student.py`` hands to
LLaMA-Factory as ``tokenized_path``; the statistics say how many rows, tokens and packed rows there are, how many rows
were cut or dropped and why, and show three of them as the trainer sees them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command, json_object
from openthoughts.base.engine_child import ACCELERATORS
from openthoughts.models.model import Model
from openthoughts.training.scales import Preparation, Scale
from openthoughts.training.tokenize import Tokenization, summary_lines, tokenize, write_statistics

log = logging.getLogger(__name__)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Tokenise a dataset and write its statistics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset.parquet")
    parser.add_argument("--info", type=Path, required=True, help="its dataset_info.json")
    parser.add_argument("--model", type=Path, required=True, help="model.json of the model to be trained")
    parser.add_argument("--template", required=True, help="LLaMA-Factory's name of the model's chat template")
    parser.add_argument("--cutoff", type=int, required=True, help="most tokens of a row")
    parser.add_argument(
        "--settings",
        required=True,
        help="JSON object: packing, neat_packing, over_cutoff, most_lost, empty_thinking; or a whole scale",
    )
    parser.add_argument("--accelerator", choices=ACCELERATORS, default="cpu", help="whose environment to use")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="processes to use")
    parser.add_argument("--output", type=Path, required=True, help="folder of the tokenised data")
    parser.add_argument("--statistics", type=Path, required=True, help="statistics.json")
    options = parser.parse_args(argv)

    preparation = Preparation.from_json(options.settings)
    model = Model.read(options.model)
    wanted = Tokenization(options.dataset, options.info, model, options.template, options.cutoff, preparation)
    statistics = tokenize(wanted, options.accelerator, options.processes, options.output)
    write_statistics(statistics, options.statistics)
    for line in summary_lines(statistics):
        log.info("%s", line)
    settings = json_object(options.settings, "--settings")
    if "global_batch" in settings:
        scale = Scale.from_json(json.dumps({"cutoff": options.cutoff} | settings))
        log.info("%d steps per epoch, %d steps in all", *scale.steps(statistics["packed_rows"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
