"""Ask a model about one shard of a source's documents, or of the questions made of them: a writing step.

One request a distinct text; the raw answers are the output, ``read_written`` reads the questions out of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import command
from openthoughts.inference.completions import complete_shard
from openthoughts.inference.job import add_arguments, read_asking
from openthoughts.inference.prompts import Prompt
from openthoughts.inference.request_source import prompted
from openthoughts.questions.writing import shard_texts, step_schema
from openthoughts.sources.entries import WRITTEN_STEPS


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, nargs="+", required=True, help="documents or questions")
    parser.add_argument("--step", choices=WRITTEN_STEPS, required=True)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--prompt", type=Path, required=True, help="Markdown file")
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    add_arguments(parser)
    options = parser.parse_args(argv)
    texts = shard_texts(options.questions, options.shard, options.shards, options.domain)
    wanted = prompted(texts, Prompt.read(options.prompt), 1, options.seed)
    complete_shard(wanted, read_asking(options, step_schema(options.step)), options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
