"""Settings of the stages that choose questions: decontaminate, select, limit, deduplicate."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from openthoughts.base.options import Options, execution_only, unless_default
from openthoughts.inference.sampling import Sampling
from openthoughts.plan.settings.fields import Names, OneOf, Unique
from openthoughts.questions.labels import METHODS


class Thin(Options):
    """Look at a share of each source's questions, chosen at random before anything is asked about them."""

    share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of a source's different questions; 1 looks at all. A larger share keeps what a smaller one "
        "kept. Of a source that a model writes it is a share of its documents.",
    )
    least: int = Field(
        1000, ge=1, description="Different questions that a source keeps at least, where it has so many."
    )
    seed: int = Field(42, description="Seed of the choice.")


class Decontaminate(Options):
    """Drop questions that are similar to, or share an n-gram with, a benchmark question."""

    benchmarks: Names | None = Field(
        None,
        description="Benchmarks of the catalog to compare with (needed); an empty list drops nothing. Independent "
        "of what is evaluated.",
    )
    similarity: float = Field(
        75.0,
        ge=0,
        le=100,
        description="Drop questions with at least this normalised Indel similarity (0 to 100) to one.",
    )
    ngram: int = Field(13, ge=1, description="Drop questions that share a run of this many tokens with one.")
    tokenizer: str = Field("qwen", description="Tokenizer of the n-grams.")
    min_chars: int = Field(
        0, ge=0, description="Questions shorter than this are not dropped for similarity (0 is the published rule)."
    )
    sensitivity: bool = execution_only(
        False, description="Whether to report what similarity thresholds from 60 to 100 would drop."
    )


class Example(Options):
    """A source whose questions are answered by a model, whose answers are then the texts."""

    source: str = Field(description="Source of the catalog.")
    model: str = Field(description="Model of the catalog that answers its questions.")
    sampling: Sampling = Field(Sampling(), description="Sampling settings of these answers.")


def _is_name(value: Any) -> str:
    return "block" if isinstance(value, dict | Example) else "name"


AnyExample = Annotated[
    Annotated[str, Tag("name")] | Annotated[Example, Tag("block")],
    Discriminator(_is_name),
]
"""A source, or a source with a model that answers its questions."""


class Examples(Options):
    """What good and bad look like, for the filters fasttext and embeddings."""

    positives: Annotated[tuple[AnyExample, ...], Unique()] = Field(
        min_length=1, description="Sources of the catalog whose texts are good examples."
    )
    negatives: Annotated[tuple[AnyExample, ...], Unique()] = Field(
        min_length=1, description="Sources of the catalog whose texts are bad examples."
    )
    most: Annotated[int, Field(ge=1)] | None = Field(
        31600,
        description="Most texts per source, drawn by the seed (the paper's ablations have 31,600 of each); null takes "
        "all.",
    )
    seed: int = Field(42, description="Seed of the draw.")

    def drawing(self) -> dict[str, Any]:
        """How the examples are drawn."""
        return {"most": self.most, "seed": self.seed}


class Fasttext(Options):
    """How the fastText classifier is trained; the defaults are the published ones, and fastText's own where none is."""

    dim: int = Field(256, ge=1, description="Size of the word vectors.")
    epoch: int = Field(3, ge=1, description="Passes over the examples.")
    lr: float = Field(0.1, gt=0, description="Learning rate.")
    word_ngrams: int = Field(3, ge=1, description="Longest run of words that is a feature.")
    min_count: int = Field(3, ge=1, description="Rarer words are left out.")
    bucket: int = Field(
        2_000_000,
        ge=1,
        description="Rows that runs of words share (fastText's own 2,000,000 make a model of 2 GB).",
    )
    seed: int = Field(0, description="Seed of the training.")


class Select(Options):
    """Score the questions of a source and keep the best."""

    by: Annotated[str, OneOf(lambda: ["random", *METHODS])] = Field(description="What the questions are ranked by.")
    keep: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None,
        description="Questions kept in the domain, shared equally between its sources; below 1 the share kept of each "
        "source; null keeps all. Different questions with every row of each, but rows where `deduplicate.level` is "
        "none.",
    )
    at_least: float | None = Field(
        None, description="Keep only questions with at least this label; null sets no threshold."
    )
    unlabelled: Literal["drop", "last", "first", "error"] = Field(
        "drop",
        description="What happens to questions whose label failed: they are dropped (as published), come after or "
        "before all others, or end the run.",
    )
    unit: Literal["tokens", "characters"] = Field(
        "tokens", description="What a response's length is counted in (the published unit is not known to us)."
    )
    examples: Examples | None = Field(None, description="Good and bad examples (fasttext, embeddings).")
    fasttext: Fasttext = Field(Fasttext(), description="How a fastText classifier is trained.")
    model: str | None = Field(
        None, description="Model of the catalog that labels (a sentence model for embeddings; fasttext has none)."
    )
    prompt: str | None = Field(None, description="Prompt of the catalog; null asks the bare question.")
    sampling: Sampling = Field(Sampling(), description="Sampling settings of the labels.")
    seed: int = Field(42, description="Seed of the requests, and of a random selection.")
    attempts: int = Field(1, ge=1, description="Most requests per question until a label can be parsed; each is kept.")
    questions_per_shard: int = execution_only(50_000, ge=1, description="Questions per labelling job.")


class Limit(Options):
    """Drop questions longer than the teacher should read."""

    max_tokens: int = Field(16384, ge=1, description="Most tokens of a question.")
    tokenizer: str = Field("teacher", description="Tokenizer that counts; `teacher` is the teacher's own.")


class Deduplicate(Options):
    """Drop questions that repeat another."""

    level: Literal["none", "exact", "fuzzy"] = Field(
        "exact", description="none, exact (equal texts) or fuzzy (Indel similarity)."
    )
    similarity: float = Field(90.0, ge=0, le=100, description="Least similarity (0 to 100) of a fuzzy duplicate.")
    rule: Literal["kept", "any"] = unless_default(
        "kept",
        description="Which earlier questions count for a fuzzy duplicate: kept ones, or any, those dropped as "
        "duplicates "
        "among them (as published).",
    )
