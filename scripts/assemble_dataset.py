"""Assemble the domains into one shuffled ShareGPT dataset, with LLaMA-Factory's dataset_info.json, card and counts.

Give --domain once for every domain: its name, its drawn questions, its filtered answers and what was measured of all
its answers. --difficulty names the domains whose questions were selected by a difficulty, which then stands in the
dataset.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.answers.dataset import DomainPart, assemble, counts_summary, dataset_card, dataset_info
from openthoughts.base.cli import UserError, command, json_object
from openthoughts.base.tables import write_text


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--domain", nargs=4, action="append", required=True, metavar=("NAME", "QUESTIONS", "ANSWERS", "MEASURED")
    )
    parser.add_argument("--difficulty", nargs="*", default=[], metavar="DOMAIN", help="domains graded by difficulty")
    parser.add_argument("--recipe", required=True, help="name of the recipe, for the card")
    parser.add_argument("--seed", type=int, required=True, help="seed of the shuffle")
    parser.add_argument("--licences", default="{}", metavar="JSON", help="licence of each source")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--info", type=Path, required=True, help="dataset_info.json of LLaMA-Factory")
    parser.add_argument("--card", type=Path, required=True, help="README.md of the dataset")
    parser.add_argument("--counts", type=Path, required=True, help="counts.json")
    arguments = parser.parse_args(argv)
    names = [name for name, *_ in arguments.domain]
    strangers = sorted(set(arguments.difficulty) - set(names))
    if strangers:
        raise UserError(f"--difficulty names {strangers[0]}, which is not a --domain: use {', '.join(names)}.")
    if len(set(names)) < len(names):
        raise UserError("a --domain is given twice: give each domain once.")
    named = json_object(arguments.licences, "--licences", '{"SOURCE": "LICENCE"}')
    known = {source: str(licence) for source, licence in named.items() if licence is not None}
    parts = [
        DomainPart(name, Path(questions), Path(answers), Path(measured), name in arguments.difficulty)
        for name, questions, answers, measured in arguments.domain
    ]
    counts = assemble(parts, arguments.seed, arguments.output)
    write_text(json.dumps(dataset_info(arguments.output.name), indent=2) + "\n", arguments.info)
    write_text(dataset_card(arguments.recipe, counts, known), arguments.card)
    write_text(json.dumps(counts_summary(counts, known), indent=2) + "\n", arguments.counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
