"""Lay an experiment's table, plot and paragraph in a folder of its name, as links, beside a list of its arms."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import UserError, command
from openthoughts.base.tables import write_text
from openthoughts.report.manifest import link

FILES = ("scores.tsv", "scores.parquet", "plot.svg", "summary.md")


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--folder", type=Path, required=True, help="folder of its comparison")
    parser.add_argument("--output", type=Path, required=True, help="manifest.json")
    options = parser.parse_args(argv)
    arms = options.folder / "arms.json"
    if not arms.is_file():
        raise UserError(f"{arms} does not exist: run list_arms.")
    described = json.loads(arms.read_text(encoding="utf-8"))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        link(options.output.parent / name, options.folder / name)
    manifest = {
        "experiment": options.experiment,
        "about": described["about"],
        "comparison": options.folder.name,
        "arms": {
            arm: {
                "students": described["students"].get(arm, []),
                "evaluations": [Path(scores).parent.name for scores, _ in runs],
            }
            for arm, runs in described["arms"].items()
        },
    }
    write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
