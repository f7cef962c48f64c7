"""An experiment: a recipe with one thing varied, or models side by side."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from openthoughts.base.options import Options, execution_only
from openthoughts.plan.settings.fields import Name, Names, Unique


class Experiment(Options):
    """A recipe with one thing varied, or models side by side; arms share every stage they can."""

    about: str = execution_only("", description="What the experiment asks, in a sentence.")
    base: str | None = Field(None, description="The recipe that is varied.")
    models: Names = Field(
        (),
        description="Models of the catalog that are measured as they are, each an arm of its own after the recipe's.",
    )
    set: dict[str, Any] = Field(
        default_factory=dict,
        description="Dotted paths into the recipe with the value that every arm has, where it differs from the "
        "recipe's.",
    )
    vary: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Dotted paths into the recipe, each with a list of values; several make a grid.",
    )
    arms: dict[Name, dict[str, Any] | None] = Field(
        default_factory=dict,
        description="Arms by name, each with dotted paths and values that move together.",
    )
    compare_to: str | None = Field(
        None, description="The arm that the others are compared with; null compares with the first."
    )
    draws: int = Field(1, ge=1, description="Independent draws of questions (the error of the data).")
    seeds: Annotated[tuple[int, ...], Unique(), Field(min_length=1)] | None = Field(
        None, description="Training seeds, each a repetition of every arm; null takes the recipe's own."
    )
    benchmarks: Annotated[tuple[str, ...], Unique(), Field(min_length=1)] | None = Field(
        None, description="Benchmarks, where they differ from the recipe's."
    )
    evaluation: dict[str, Any] = Field(
        default_factory=dict,
        description="What differs from the recipe's `evaluation` (samples, sampling, seed); all of it without a base.",
    )
    plot: Literal["bars", "curve", "matrix"] = Field(
        "bars",
        description="The form of the plot. A curve draws the scores over `x`, a matrix the arms against groups of "
        "benchmarks.",
    )
    x: str | None = Field(
        None,
        description="What a curve is drawn over, a varied dotted path with numbers, or rows for the rows of the "
        "dataset.",
    )
    published: str | None = Field(None, description="Figures of the catalog's published.yaml to set beside the arms.")

    @field_validator("base", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if value is None:
            raise PydanticCustomError("string_type", "a base is named or left out")
        return value

    @model_validator(mode="after")
    def _something_to_measure(self) -> Self:
        if self.base is None and not (self.models and self.evaluation):
            raise ValueError("there is nothing to measure: name a `base`, or `models` and their `evaluation`")
        return self
