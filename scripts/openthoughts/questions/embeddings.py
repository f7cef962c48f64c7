"""Embeddings of texts, and labels by them: how much more a question is like good examples than like bad ones.

The label of the paper is the mean dot product with the positive set minus that with the negative set. The mean of the
products with a set is the product with its mean, so the label is one product: with the direction from the mean of the
negatives to that of the positives.

A local sentence model runs as a program in an engine's environment. A hosted one is asked through the completion
store, where an embedding is kept as text (base64 of its float32 numbers).
"""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from openthoughts.base import environments, processes
from openthoughts.base.cli import UserError
from openthoughts.base.hashing import question_id
from openthoughts.base.places import ENGINES
from openthoughts.base.processes import StopReason
from openthoughts.base.tables import COMPLETIONS, LABELS, read_table
from openthoughts.inference.completions import complete_shard
from openthoughts.inference.job import Asking, Prompted
from openthoughts.models.model import Model
from openthoughts.store.gpu_hours import GpuMeter
from openthoughts.store.store import Store
from openthoughts.store.usage import Usage

DECIMALS = 5
"""Of a label: a vector's last digits depend on which texts it was computed beside."""

PROGRAM = ENGINES / "embed_texts.py"


@dataclasses.dataclass(frozen=True)
class Embedded:
    """The embeddings of texts: a row of ``vectors`` each (zeros where it failed), and why it failed, or null.

    ``usage`` is what they took of the model; the tokens of a local one are not counted.
    """

    vectors: Any
    errors: list[str | None]
    usage: Usage

    def divided(self, place: int) -> tuple[Embedded, Embedded]:
        """The embeddings of the texts before a place, and of those from it on."""
        first, rest = (
            Embedded(self.vectors[part], self.errors[part], self.usage)
            for part in (slice(0, place), slice(place, None))
        )
        return first, rest


def embed(texts: Sequence[str], asking: Asking, folder: Path) -> Embedded | None:
    """Embed texts with the model that is asked; ``folder`` is for temporary files.

    Null where only the store may be read and it does not hold them all; it never holds those of a local model.
    """
    if asking.model.local and asking.from_store:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".embed-", dir=folder) as temporary:
        if asking.model.local:
            with metered(asking) as stop_reason:
                vectors = embed_here(texts, asking.model, asking.engine.accelerator, Path(temporary), stop_reason)
            return Embedded(vectors, [None] * len(texts), Usage(len(texts)))
        return embed_hosted(texts, asking, Path(temporary))


@contextmanager
def metered(asking: Asking) -> Iterator[StopReason]:
    """Count the GPUs of what runs with those of all engines of the store; yields what says that it must end.

    Raises ``UserError`` where no GPU-hours are left.
    """
    gpus = asking.engine.gpus
    if not gpus:
        yield lambda: None
        return
    with Store(asking.store) as store:
        meter = GpuMeter(store, asking.model.name, asking.budget_gpu_hours, asking.grace)
        with meter.running(gpus) as stop_reason:
            yield stop_reason


def embed_here(
    texts: Sequence[str], model: Model, accelerator: str, temporary: Path, stop_reason: StopReason = lambda: None
) -> Any:
    """Embed texts with a local model, in an engine's environment; ended, with ``UserError``, by a reason to stop."""
    import numpy

    environment = environments.find("vllm" if accelerator == "cuda" else f"vllm-{accelerator}")
    source, target = temporary / "texts.jsonl", temporary / "vectors.npy"
    source.write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
    command = environment.command("python", str(PROGRAM), str(model.weights), str(source), str(target))
    variables = environment.variables() | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    log = temporary / "log"
    with log.open("wb") as output:
        failed = processes.run(command, variables=variables, output=output, stop_reason=stop_reason)
    if failed:
        sys.stderr.write(log.read_text(encoding="utf-8", errors="replace")[-4000:])
        raise UserError(f"{model.name} embeds nothing, its log is above: check that it is a sentence model.")
    return numpy.load(target)


def texts_wanted(texts: Iterable[str]) -> Callable[[], Iterator[Prompted]]:
    """The embeddings wanted of texts: of each distinct one, in the order of their ids."""
    distinct = sorted({question_id(text): text for text in texts}.items())

    def wanted() -> Iterator[Prompted]:
        for identifier, text in distinct:
            yield Prompted(identifier, 0, 0, [{"role": "user", "content": text}])

    return wanted


def embed_hosted(texts: Sequence[str], asking: Asking, temporary: Path) -> Embedded | None:
    """Embed texts with a hosted model, each distinct text once, through the completion store (see ``embed``)."""
    import numpy

    ids = [question_id(text) for text in texts]
    if not complete_shard(texts_wanted(texts), asking, temporary / "embeddings.parquet"):
        return None
    answers = read_table(temporary / "embeddings.parquet", COMPLETIONS)
    rows = answers.select("question_id", "text", "error").rows()
    found = {identifier: (None if text is None else decoded(text), error) for identifier, text, error in rows}
    size = next((len(vector) for vector, _ in found.values() if vector is not None), 0)
    vectors = numpy.zeros((len(texts), size), dtype=numpy.float32)
    for place, identifier in enumerate(ids):
        vector = found[identifier][0]
        if vector is not None:
            vectors[place] = vector
    usage = Usage(answers.height, int(answers["prompt_tokens"].sum()), answers["error"].count())
    return Embedded(vectors, [found[identifier][1] for identifier in ids], usage)


def decoded(text: str) -> Any:
    """The vector that a text of the store holds."""
    import numpy

    return numpy.frombuffer(base64.b64decode(text), dtype="<f4")


def direction(good: Embedded, bad: Embedded) -> list[float]:
    """The mean of the good vectors less that of the bad ones. Raises ``UserError`` where there are none of one kind."""
    import numpy

    means = []
    for name, embedded in (("good", good), ("bad", bad)):
        came = [place for place, error in enumerate(embedded.errors) if error is None]
        if not came:
            raise UserError(f"none of the {name} examples could be embedded: check the model and the examples.")
        means.append(embedded.vectors[came].astype(numpy.float64).mean(axis=0))
    difference = means[0] - means[1]
    if not difference.any():
        raise UserError("the good and the bad examples are the same texts: choose other sources.")
    return [float(number) for number in difference]


def labels(ids: Sequence[str], embedded: Embedded, towards: Sequence[float]) -> pl.DataFrame:
    """LABELS of questions: the product of each embedding with the direction, null and why where there is none."""
    import numpy

    values: list[float | None] = [None] * len(ids)
    if len(ids) and embedded.vectors.shape[1]:
        if embedded.vectors.shape[1] != len(towards):
            raise UserError("the direction was made with another model: embed the examples again.")
        products = embedded.vectors.astype(numpy.float64) @ numpy.array(towards)
        came = (error is None for error in embedded.errors)
        values = [round(float(one), DECIMALS) if ok else None for one, ok in zip(products, came, strict=True)]
    failed = sum(error is not None for error in embedded.errors)
    if failed:
        logging.warning("%d of %d questions could not be embedded", failed, len(ids))
    rows = zip(ids, values, [None] * len(ids), embedded.errors, strict=True)
    return pl.DataFrame(list(rows), schema=dict(LABELS), orient="row").sort("question_id")
