"""A recipe and its domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from openthoughts.base.options import Options, execution_only
from openthoughts.plan.config import merged
from openthoughts.plan.settings.answers import Answers, Filter, Measure
from openthoughts.plan.settings.fields import Name, Names
from openthoughts.plan.settings.questions import Decontaminate, Deduplicate, Limit, Select, Thin
from openthoughts.plan.settings.student import Evaluation, Publish, Training

SHARED = ("thin", "decontaminate", "limit", "answers", "filter", "measure")
"""Blocks of a recipe that a domain may set for itself."""


class Domain(Options):
    """The questions of one domain, and what differs for it from the recipe."""

    sources: Names = Field(min_length=1, description="Question sources of the catalog, best first.")
    top: Annotated[int, Field(ge=1)] | None = Field(
        None, description="How many sources are mixed, from the first; null mixes all."
    )
    thin: Thin = Field(Thin(), description="What share of each source is looked at.")
    select: Select = Field(description="How the questions of a source are ranked and how many are kept.")
    mix_seed: int = Field(42, description="Seed of the mixed order.")
    limit: Limit = Field(Limit(), description="How long a question may be.")
    deduplicate: Deduplicate = Field(Deduplicate(), description="Which repeated questions are dropped.")
    draw: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Questions drawn from what is left, rows where `deduplicate.level` is none; null takes all.",
    )
    fill: bool = Field(
        False,
        description="Whether questions are repeated where there are fewer than `draw` (the paper's source ablations).",
    )
    short: Literal["fails", "allowed"] = execution_only(
        "fails",
        description="What happens where there are fewer questions than `keep` or `draw` ask for: the dry run tells it "
        "where the catalog does, and a short draw ends the run and says which stage took how many; or all are taken.",
    )
    draw_seed: int = Field(42, description="Seed of the draw.")
    decontaminate: Decontaminate = Field(
        Decontaminate(), description="What is dropped for its similarity to benchmarks."
    )
    answers: Answers = Field(Answers(), description="How the teacher is asked.")
    filter: Filter = Field(default_factory=Filter, description="Which answers are kept.")
    measure: Measure = Field(Measure(), description="What is computed from all answers to a question.")

    def mixed_sources(self) -> tuple[str, ...]:
        """The sources that are mixed."""
        return self.sources[: self.top]

    def counted(self) -> Literal["rows", "questions"]:
        """What `keep` counts: different questions where repeated ones are dropped after it, else rows."""
        return "rows" if self.deduplicate.level == "none" else "questions"

    def shares(self) -> list[float | None]:
        """What each mixed source keeps: its part of a number (parts differ by at most one), or a fraction."""
        keep, parts = self.select.keep, len(self.mixed_sources())
        if keep is None or keep < 1:
            return [keep] * parts
        total = int(keep)
        return [total // parts + (place < total % parts) for place in range(parts)]

    def drawn_count(self) -> int | None:
        """Questions drawn: as many as give the filter's ``candidates``, else ``draw``."""
        candidates = self.filter.candidates
        return self.draw if candidates is None else candidates // self.answers.samples


class Recipe(Options):
    """From sources to a scored student. What a domain sets itself overrides what stands here."""

    thin: Thin = Field(Thin(), description="What share of each source is looked at, in every domain.")
    decontaminate: Decontaminate = Field(
        description="What is dropped for its similarity to benchmarks, in every domain."
    )
    limit: Limit = Field(Limit(), description="How long a question may be, in every domain.")
    answers: Answers = Field(description="How the teacher is asked, in every domain.")
    filter: Filter = Field(default_factory=Filter, description="Which answers are kept, in every domain.")
    measure: Measure = Field(Measure(), description="What is computed from all answers to a question, in every domain.")
    domains: dict[Name, Domain] = Field(min_length=1, description="Domains by name.")
    shuffle_seed: int = Field(42, description="Seed of the row order of the dataset.")
    training: Training | None = Field(None, description="How the student is trained; without it none is trained.")
    evaluation: Evaluation | None = Field(None, description="How the student is measured; without it none is measured.")
    publish: Publish = execution_only(Publish(), description="Where the results are published.")

    def resolved(self) -> Recipe:
        """The recipe with what it says for every domain laid under what each domain sets itself."""
        return resolved_recipe(self.written())


def resolved_recipe(recipe: Mapping[str, Any]) -> Recipe:
    """The recipe of settings as they are written: a domain's over the recipe's over the defaults.

    Raises ``pydantic.ValidationError`` where the settings are not valid.
    """
    shared = {key: recipe[key] for key in SHARED if key in recipe}
    domains = {name: merged(shared, domain) for name, domain in recipe["domains"].items()}
    return Recipe.model_validate({**recipe, "domains": domains})
