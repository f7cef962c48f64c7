"""Look after a completion store: its statistics, its rows as a table, its files, and the batches that run for it.

- ``stats``: answers, failures, tokens and dollars by model, and what waits in journals.
- ``export``: the store's rows, one a key, as one Parquet table ordered by model, question and sample.
- ``compact``: fold the journals of dead writers, rewrite many small files as few sorted ones, and clear away what
  nobody uses. Safe while others write. Files that are no longer part of the table are removed after ``--keep-hours``.
- ``forget``: answers that are to be asked for again, by model, question, time, error or for being empty: lists them,
  forgets them with ``--yes``, and says how to run again. Nothing else ever removes an answer; what it cost stays spent.
- ``batches``: the batches of hosted models that run or wait to be read; ``--cancel`` asks the API to end them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from openthoughts.asking.again import rules_that_asked
from openthoughts.asking.programs import PROGRAMS
from openthoughts.base.cli import UserError, command
from openthoughts.base.streams import TableWriter
from openthoughts.inference.batch_api import cancel
from openthoughts.inference.batch_files import kept
from openthoughts.inference.forgetting import Choice, find, forget
from openthoughts.plan.register import asking_programs
from openthoughts.store.compaction import compact
from openthoughts.store.rows import ROWS, blocks
from openthoughts.store.store import Store

TIME = "2026-01-31 or 2026-01-31T18:00, of this machine's time zone; 2026-01-31T18:00+00:00 names another one"
"""How a time is written."""

log = logging.getLogger(__name__)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    stats = commands.add_parser("stats", help="what is in the store")
    stats.add_argument("--json", action="store_true", help="for programs")
    export = commands.add_parser("export", help="write everything to one table")
    export.add_argument("--output", type=Path, required=True)
    export.add_argument("--model", help="only this model's (its name, or the folder's name in the store)")
    compaction = commands.add_parser("compact", help="rewrite many small files as few")
    compaction.add_argument("--keep-hours", type=int, default=168, help="hours to keep replaced files for (a week)")
    batches = commands.add_parser("batches", help="batches of hosted models that run for the store")
    batches.add_argument("--cancel", action="store_true", help="end them; the next run reads what they have answered")
    forgetting = commands.add_parser("forget", help="answers to ask for again")
    forgetting.add_argument("--model", help="only this model's (its name, or the folder's name in the store)")
    forgetting.add_argument("--question", nargs="+", default=[], metavar="ID", help="only those to these questions")
    forgetting.add_argument("--since", type=moment, metavar="TIME", help=f"answered then or later: {TIME}")
    forgetting.add_argument("--until", type=moment, metavar="TIME", help="answered before then")
    forgetting.add_argument("--error", metavar="REGEX", help="only failures with such a reason; '' for every failure")
    forgetting.add_argument("--empty", action="store_true", help="only those that the funnel calls empty answers")
    forgetting.add_argument("--yes", action="store_true", help="forget them; without it they are only counted")
    for subparser in (stats, export, compaction, forgetting, batches):
        subparser.add_argument("--store", type=Path, required=True)
    options = parser.parse_args(argv)
    if not (options.store / "store.json").exists():
        raise UserError(
            f"{options.store} is not a completion store: name the folder that `store:` of config.yaml names."
        )
    with Store(options.store) as store:
        if options.command == "stats":
            show(store, options.json)
        elif options.command == "export":
            write(store, options.output, options.model)
        elif options.command == "forget":
            show_forgetting(store, chosen_answers(options), options.yes)
        elif options.command == "batches":
            show_batches(options.store, options.cancel)
        else:
            compact(store, options.keep_hours)
    return 0


def show(store: Store, as_json: bool) -> None:
    """Print the store's statistics."""
    table = store.statistics()
    waiting = store.waiting()
    if as_json:
        print(json.dumps({"models": table.to_dicts(), "waiting_in_journals": waiting, "files": store.files().height}))
        return
    show_table(table)
    print(f"{store.files().height} files, {waiting} answers waiting in journals")


def show_table(table: pl.DataFrame) -> None:
    """Print a table whole."""
    with pl.Config(tbl_rows=-1, tbl_cols=-1, fmt_str_lengths=60, tbl_width_chars=200, tbl_hide_dataframe_shape=True):
        print(table)


def write(store: Store, output: Path, model: str | None) -> None:
    """Write the rows of all models, or of one, to a table, block by block."""
    found = sorted({names[0] for names in store.models() if model is None or model in names})
    if not found:
        raise UserError(f"the store has nothing of {model}: `store.py stats` lists its models.")
    with TableWriter(output, ROWS) as writer:
        for model_id in found:
            keys = store.keys(model_id).sort("question_id", "sample", "key")
            for block in blocks(keys):
                rows = block.select("key").join(
                    store.read(model_id, block), on="key", how="left", maintain_order="left"
                )
                writer.write(rows.with_columns(model_id=pl.lit(model_id), bucket=pl.col("question_id").str.slice(0, 1)))
    log.info("%s: %d answers", output, writer.rows)


def moment(text: str) -> datetime:
    """A time of the command line. Raises ``UserError`` where it is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{text!r} is no time: write {TIME}.") from error


def chosen_answers(options: argparse.Namespace) -> Choice:
    """What the arguments of ``forget`` mean."""
    return Choice(options.model, options.question, options.since, options.until, options.error, options.empty)


def show_forgetting(store: Store, choice: Choice, certain: bool) -> None:
    """Count the answers of a choice by model and reason; forget them where that is certain."""
    store.adopt_orphans()
    found = find(store, choice)
    if found.is_empty():
        print("no answer is meant by that")
        return
    counts = found.group_by("model", "error").agg(answers=pl.len(), usd=pl.col("usd").sum())
    rows = counts.sort("model", "answers", descending=[False, True]).select("model", "answers", "usd", "error")
    show_table(rows)
    if certain:
        rules = [*rules_that_asked(found["request"]), *sorted(asking_programs() - PROGRAMS.keys())]
        print(f"{forget(store, found)} rows forgotten. Results that hold them keep them until they are made again by")
        print(f"  snakemake --forcerun {' '.join(rules)}")
        print("and the options of your run (--configfile, --profile). What the store has is not asked again.")
    else:
        print(f"{found.height} answers; with --yes they are forgotten, and asked for again by whoever wants them")


def show_batches(folder: Path, with_cancel: bool) -> None:
    """Print the batches on disk; ask the API to cancel them where told."""
    for place in sorted(folder.glob("batches/*")):
        for batch in kept(place):
            status = ""
            if with_cancel:
                key = os.environ.get(batch.api_key_variable or "", "")
                if not key:
                    raise UserError(f"cancelling needs the key: set the environment variable {batch.api_key_variable}.")
                status = f", {cancel(batch, key)}"
            print(f"{batch.batch_id or 'not submitted'}: {batch.requests} requests to {batch.model}{status}")


if __name__ == "__main__":
    sys.exit(main())
