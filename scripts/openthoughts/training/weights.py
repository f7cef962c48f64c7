"""The trained model: made from the last checkpoint, and checked to be what the training made."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.tables import write_text
from openthoughts.models.model import describe
from openthoughts.training.arguments import Training
from openthoughts.training.checkpoints import MARKER, last_checkpoint
from openthoughts.training.metrics import read_metrics, summary_of

KEPT = frozenset({"train.yaml", "deepspeed.json", "steps.jsonl", "trainer_state.json"})
"""What stays of a run once its model is in ``weights/``."""

NOT_MODEL = ("*.bin", "*.pt", "*.pth", "*.py", "latest", "trainer_state.json", MARKER)
"""Files of a checkpoint's folder that are not the model's."""

log = logging.getLogger(__name__)


def keep_model(training: Training, run: Path, folder: Path) -> None:
    """Make ``weights/`` of the last checkpoint, write the marker, and delete what only a restart needs.

    The last checkpoint holds the trained model in the type that it was trained in, with tokenizer, chat template and
    generation settings.
    """
    last = last_checkpoint(run)
    if last is None:
        raise UserError(f"the training ended without its last checkpoint in {run}: its messages are above.")
    partial, weights = folder / ".weights.partial", folder / "weights"
    for stale in (partial, weights):
        shutil.rmtree(stale, ignore_errors=True)
    partial.mkdir()
    for path in sorted(last.iterdir()):
        if path.is_file() and not any(path.match(pattern) for pattern in NOT_MODEL):
            shutil.copyfile(path, partial / path.name)
    stop_at_end_of_turn(partial)
    use_cache(partial)
    partial.rename(weights)
    shutil.copyfile(last / "trainer_state.json", run / "trainer_state.json")
    described = describe(weights, folder / "model.json", training.name)
    summary = {"digest": described.digest, "run": run.name, **summary_of(read_metrics(run))}
    write_text(json.dumps(summary, indent=2) + "\n", folder / MARKER)
    for path in sorted(folder.glob("run-*/*")):
        if path.name in KEPT:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def stop_at_end_of_turn(weights: Path) -> None:
    """See that generation stops at the tokenizer's end token, which the template may have changed."""
    tokenizer = json.loads((weights / "tokenizer_config.json").read_text(encoding="utf-8"))
    token = tokenizer.get("eos_token")
    token = token.get("content") if isinstance(token, dict) else token
    added = json.loads((weights / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    end = next((entry["id"] for entry in added if entry["content"] == token), None)
    path = weights / "generation_config.json"
    if end is None or not path.is_file():
        return
    settings = json.loads(path.read_text(encoding="utf-8"))
    known = settings.get("eos_token_id")
    ends = known if isinstance(known, list) else [] if known is None else [known]
    if end not in ends:
        settings["eos_token_id"] = [end, *ends]
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def use_cache(weights: Path) -> None:
    """Have generation use its cache, which training switches off in the configuration that it saves."""
    path = weights / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"use_cache": True}, indent=2) + "\n", encoding="utf-8")


def finished(folder: Path) -> dict[str, Any] | None:
    """What ``complete.json`` says of a training that is over and whose weights are what they were, else None."""
    try:
        complete = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        made = describe(folder / "weights", folder / "model.json", "student").digest
    except (OSError, ValueError, UserError):
        return None
    if made != complete.get("digest"):
        log.warning("%s is not what the training made: training again", folder / "weights")
        return None
    return dict(complete)
