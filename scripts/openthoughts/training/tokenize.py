"""Tokenising a dataset for training: the workflow's side, which asks LLaMA-Factory in its own environment.

The tokenised data is a folder that LLaMA-Factory loads by ``tokenized_path``; it appears whole or not at all.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.engine_child import engine_name, engine_variables, run_engine
from openthoughts.base.environments import find
from openthoughts.base.hashing import digest
from openthoughts.base.places import ENGINES
from openthoughts.base.tables import DATASET, scan_table, write_text
from openthoughts.models.model import Model
from openthoughts.training.scales import Preparation

CHILD = ENGINES / "llamafactory_tokenize.py"

BATCH_ROWS = 1000
"""Rows that LLaMA-Factory packs among themselves."""

CHUNK_ROWS = 10 * BATCH_ROWS
"""Rows of one task of a process. A whole number of batches, so that the result does not depend on the chunks."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokenization:
    """What is tokenised, and how."""

    dataset: Path
    info: Path
    model: Model
    template: str
    cutoff: int
    preparation: Preparation


def tokenize(wanted: Tokenization, accelerator: str, processes: int, output: Path) -> dict[str, Any]:
    """Tokenise into the folder ``output``, replacing what is there, and return the statistics.

    Statistics: ``rows`` (of the dataset), ``tokens`` (after the cut, without padding), ``trained_tokens`` (of the
    answers), ``cut_rows`` and ``cut_share`` (shortened to the cutoff), ``dropped`` (rows by reason: ``question``,
    ``answer``, ``special``), ``special_rows`` (with the text of a special token), ``packed_rows`` (what an epoch goes
    through), ``template``, ``default_system``, ``cutoff``, ``packing``, ``neat_packing``, the rules of rows, ``model``
    (identity), ``digest`` of the tokenised data, and ``sample``: rows as the trainer sees them.
    """
    rows = check_dataset(wanted.dataset)
    entry = dataset_entry(wanted.info, wanted.dataset)
    environment = find(engine_name("llamafactory", accelerator))
    output = output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    for stale in output.parent.glob(f".{output.name}.*.partial"):
        shutil.rmtree(stale, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".partial", dir=output.parent))
    try:
        request = {
            "dataset": str(wanted.dataset.resolve()),
            "info": entry,
            "arguments": tokenize_arguments(wanted, work),
            "rules": wanted.preparation.rules(),
            "rows": rows,
            "chunk_rows": CHUNK_ROWS,
            "processes": processes,
            "work": str(work),
            "output": str(work / "tokens"),
            "answer": str(work / "answer.json"),
        }
        (work / "request.json").write_text(json.dumps(request), encoding="utf-8")
        log.info("tokenising %d rows with template %s, at most %d tokens each", rows, wanted.template, wanted.cutoff)
        variables = engine_variables(environment, "cpu", threads=1)
        run_engine([*environment.python, str(CHILD), str(work / "request.json")], variables, "tokenising")
        counts = json.loads((work / "answer.json").read_text(encoding="utf-8"))
        replace_folder(work / "tokens", output)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return statistics(wanted, counts)


def statistics(wanted: Tokenization, counts: dict[str, Any]) -> dict[str, Any]:
    """The statistics file's content; ``digest`` covers the data and everything that it was made with."""
    made_with = {
        "template": wanted.template,
        "default_system": counts["default_system"],
        "cutoff": wanted.cutoff,
        "packing": wanted.preparation.packing,
        "neat_packing": wanted.preparation.neat_packing,
        "model": wanted.model.identity,
    }
    names = ("rows", "tokens", "trained_tokens", "cut_rows", "special_rows", "packed_rows", "dropped")
    measured = {name: counts[name] for name in names}
    share = {"cut_share": round(counts["cut_rows"] / counts["rows"], 6)}
    name = {"digest": digest([made_with, counts["digest"]], 64)}
    rules = wanted.preparation.rules()  # what they did is in the data, whose digest that is
    return {**measured, **share, **made_with, **rules, **name, "sample": counts["sample"]}


REASONS = {
    "question": "their question leaves no room for an answer",
    "answer": "their answer would lose more than the scale's most_lost",
    "special": "they hold the text of a special token that the tokenizer cannot take as text",
}
"""Why rows are dropped, by their name in the statistics."""


def summary_lines(statistics: dict[str, Any]) -> list[str]:
    """The statistics of tokenised data as sentences."""
    lines = [
        f"{statistics['rows']:,} rows of the dataset, {statistics['tokens']:,} tokens of those that are kept "
        f"({statistics['trained_tokens']:,} trained on), "
        f"{100 * statistics['cut_share']:.1f} % cut at {statistics['cutoff']:,} tokens, "
        f"{statistics['packed_rows']:,} rows of training data"
    ]
    for reason, count in sorted(statistics.get("dropped", {}).items()):
        lines.append(f"rows dropped because {REASONS[reason]}: {count:,}")
    kept_as_text = statistics.get("special_rows", 0) - statistics.get("dropped", {}).get("special", 0)
    if kept_as_text:
        lines.append(f"rows with the text of a special token, which stays text: {kept_as_text:,}")
    return lines


def tokenize_arguments(wanted: Tokenization, work: Path) -> dict[str, Any]:
    """LLaMA-Factory's arguments for tokenising; dataset and default system prompt are added where they are known."""
    return {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "model_name_or_path": str(wanted.model.weights),
        "template": wanted.template,
        "cutoff_len": wanted.cutoff,
        "packing": wanted.preparation.packing,
        "neat_packing": wanted.preparation.neat_packing,
        "preprocessing_batch_size": BATCH_ROWS,
        "output_dir": str(work / "none"),
        "use_cpu": True,
        "report_to": "none",
    }


def check_dataset(path: Path) -> int:
    """The number of rows of a dataset. Raises ``UserError`` where it is missing, not whole or empty."""
    import polars as pl

    columns = {"conversations": DATASET["conversations"]}
    rows = int(scan_table(path, columns).select(pl.len()).collect().item())
    if not rows:
        raise UserError(f"{path} has no rows: there is nothing to train on.")
    return rows


def dataset_entry(info: Path, dataset: Path) -> dict[str, Any]:
    """The entry of ``dataset_info.json`` that describes the dataset's file.

    Raises ``UserError`` where the file is missing, no JSON, or has no such entry.
    """
    try:
        entries = json.loads(info.read_text(encoding="utf-8"))
        found = [entry for entry in entries.values() if Path(entry.get("file_name", "")).name == dataset.name]
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{info} cannot be read as a dataset_info.json: run assemble_dataset again.") from error
    if len(found) != 1:
        raise UserError(f"{info} does not describe {dataset.name}: run assemble_dataset again.")
    return dict(found[0])


def replace_folder(new: Path, target: Path) -> None:
    """Put a finished folder in the place of ``target``; a reader sees the old one, none, or the new one whole."""
    old = target.with_name(f".{target.name}.old.partial")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.replace(old)
    new.replace(target)
    shutil.rmtree(old, ignore_errors=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_statistics(path: Path) -> dict[str, Any]:
    """Read the statistics of tokenised data. Raises ``UserError`` where they are missing or not whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or not whole: run tokenize_dataset again.") from error
    missing = [key for key in ("packed_rows", "template", "cutoff", "digest") if key not in content]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}: run tokenize_dataset again.")
    return dict(content)


def write_statistics(content: dict[str, Any], path: Path) -> None:
    """Write the statistics of tokenised data."""
    write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", path)
