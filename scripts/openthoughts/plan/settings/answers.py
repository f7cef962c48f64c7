"""Settings of the stages that ask the teacher, measure its answers and choose among them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from openthoughts.answers.filters import FILTERS
from openthoughts.base.options import Options, execution_only
from openthoughts.inference.sampling import Sampling
from openthoughts.plan.settings.fields import OneOf
from openthoughts.plan.settings.questions import Examples, Fasttext


class Answers(Options):
    """Ask the teacher."""

    teacher: str | None = Field(None, description="Model of the catalog that answers (needed).")
    samples: int = Field(16, ge=1, description="Answers per question.")
    prompt: str | None = Field(None, description="Prompt of the catalog; null asks the bare question, as published.")
    sampling: Sampling = Field(Sampling(), description="Sampling settings of the answers.")
    seed: int = Field(42, description="Seed from which each request's own is derived.")
    shards: Annotated[int, Field(ge=1)] | None = execution_only(
        None, description="Jobs that share the questions of a domain; null counts them from `answers_per_shard`."
    )
    answers_per_shard: int = execution_only(5210, ge=1, description="Answers per job if `shards` is null.")


class Filter(Options):
    """Choose among the answers."""

    by: Annotated[str, OneOf(lambda: FILTERS)] = Field("none", description="The filter.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the filter.")
    candidates: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Answers made before the filter chooses: this number, divided by answers.samples, of questions is "
        "drawn (instead of `draw`); null leaves that to `draw`.",
    )
    keep: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Answers kept in the domain, by the filter's ranking, or drawn if it has none; null keeps "
        "all that pass.",
    )
    model: str | None = Field(None, description="Model of the catalog that verifies (llm_verification).")
    prompt: str = Field(
        "verify_answer", description="Prompt of the catalog that asks for the verdict (llm_verification)."
    )
    sampling: Sampling = Field(Sampling(), description="Sampling settings of the verdicts.")
    seed: int = Field(42, description="Seed of the requests (llm_verification).")
    answers_per_shard: int = execution_only(
        20_000, ge=1, description="Answers per job of llm_verification or fasttext."
    )
    examples: Examples | None = Field(None, description="Good and bad examples (fasttext).")
    fasttext: Fasttext = Field(Fasttext(), description="How a fastText classifier is trained.")

    def chosen_options(self) -> dict[str, Any]:
        """The options of the filter, with ``keep`` where the block says it."""
        return self.options if self.keep is None else {**self.options, "keep": self.keep}


class Measure(Options):
    """What is computed from all answers to a question, whatever the filter (docs/filters.md)."""

    last_number: bool = Field(True, description="Whether the last number counts as the final answer if none is stated.")
    programs: bool = Field(True, description="Whether answers to questions with tests are run on them, in the sandbox.")
