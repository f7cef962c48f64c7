"""A fastText classifier of texts: trained on good and bad examples, its score is the probability of good.

Parameters as published (arXiv 2506.04178): 256 dimensions, 3 epochs, learning rate 0.1, runs of up to 3 words, words
that occur 3 times. One thread trains, so that the same examples give the same classifier.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import keyed_hash, question_id
from openthoughts.base.streams import batched
from openthoughts.base.tables import atomic_path
from openthoughts.base.workers import usable_processors

GOOD, BAD = "__label__good", "__label__bad"
PARAMETERS = ("dim", "epoch", "lr", "word_ngrams", "min_count", "bucket", "seed")
CHUNK = 128
"""Texts that a process scores at a time."""

_loaded: Any = None
"""The classifier that the processes of ``scorer`` share."""


def plain(text: str) -> str:
    """A text as fastText takes it: one line, in which nothing looks like a label."""
    return " ".join(text.split()).replace("__label__", "__label_")


def train(good: Sequence[str], bad: Sequence[str], parameters: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """Train a classifier and write it to ``output``; returns counts of what it was made of.

    A text that is good and bad is left out. Raises ``UserError`` where nothing can be learnt.
    """
    import fasttext

    both = set(good) & set(bad)
    lines = [(GOOD, plain(text)) for text in good if text not in both]
    lines += [(BAD, plain(text)) for text in bad if text not in both]
    lines.sort(key=lambda line: (keyed_hash(0, question_id(line[1]), 0, "classifier"), line))
    counts = {label: sum(1 for each, _ in lines if each == label) for label in (GOOD, BAD)}
    if not all(counts.values()):
        raise UserError("the good and the bad examples are the same texts: choose other sources.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=output.parent, suffix=".txt") as file:
        file.writelines(f"{label} {text}\n" for label, text in lines)
        file.flush()
        try:
            model = fasttext.train_supervised(
                file.name,
                dim=parameters["dim"],
                epoch=parameters["epoch"],
                lr=parameters["lr"],
                wordNgrams=parameters["word_ngrams"],
                minCount=parameters["min_count"],
                bucket=parameters["bucket"],
                seed=parameters["seed"],
                thread=1,
                verbose=0,
            )
        except ValueError as error:
            raise UserError(f"no classifier can be learnt from {len(lines)} texts ({error}): give more.") from error
    words = len(set(model.words) - {"</s>"})  # fastText's mark of the end of a line
    if not words:
        raise UserError(
            f"no word occurs {parameters['min_count']} times in {len(lines)} texts: give more examples or lower "
            "min_count."
        )
    with atomic_path(output) as temporary:
        model.save_model(str(temporary))
    return {"good": counts[GOOD], "bad": counts[BAD], "both": len(both), "words": words}


@contextmanager
def scorer(classifier: Path, processes: int = 0) -> Iterator[Any]:
    """A function from texts to their scores (null for a text without a word), run in processes that share the model."""
    import fasttext

    global _loaded
    if not classifier.is_file():
        raise UserError(f"{classifier} does not exist: run train_classifier.")
    try:
        _loaded = fasttext.load_model(str(classifier))
    except ValueError as error:
        raise UserError(f"{classifier} is not a complete classifier: delete it and run again.") from error
    count = processes or usable_processors()
    try:
        if count == 1:
            yield lambda texts: (score for chunk in batched(texts, CHUNK) for score in _scores(chunk))
        else:
            context = get_context("fork")
            ours, theirs = context.Pipe(duplex=False)
            with ours, theirs, ProcessPoolExecutor(count, context, _end_with_parent, (ours, theirs)) as pool:
                yield lambda texts: (score for scores in pool.map(_scores, batched(texts, CHUNK)) for score in scores)
    except BrokenProcessPool as error:
        raise UserError("a process that scores texts was killed, most likely for memory: give the job more.") from error
    finally:
        _loaded = None


def _end_with_parent(ours: Connection, theirs: Connection) -> None:
    """Let a scoring process end when the one that started it, which alone holds the pipe's other end, is gone."""
    theirs.close()

    def watch() -> None:
        ours.poll(None)  # nothing is ever sent: there is something to read when the pipe is closed
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _scores(texts: list[str]) -> list[float | None]:
    """The probability of good of each text; null of an empty one."""
    lines = [plain(text) for text in texts]
    labels, probabilities = _loaded.predict(lines, k=2)
    found = (dict(zip(names, values, strict=True)) for names, values in zip(labels, probabilities, strict=True))
    return [min(1.0, float(one[GOOD])) if line else None for line, one in zip(lines, found, strict=True)]
