"""The whole of a configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from openthoughts.base.options import Options, execution_only
from openthoughts.plan.settings.experiment import Experiment
from openthoughts.plan.settings.fields import Folder, Name, Names
from openthoughts.plan.settings.recipe import Recipe


class Budget(Options):
    """What may be spent; asking stops before a cap is passed."""

    usd: Annotated[float, Field(gt=0)] | None = execution_only(
        None,
        description="Most US dollars that all answers of hosted models in the store may cost; null sets no cap.",
    )
    gpu_hours: Annotated[float, Field(gt=0)] | None = execution_only(
        None,
        description="Most GPU-hours that the engines of all shards may use, from an engine's start to "
        "its end, "
        "over the life of the store; null sets no cap. Trainings are not counted.",
    )


class Size(Options):
    """What a size changes, in the form of a configuration."""

    model_config = ConfigDict(extra="allow")

    questions: float = Field(1.0, gt=0, description="Share of the questions that are kept, drawn and answered.")
    sources: float = Field(1.0, gt=0, le=1, description="Share of the sources' questions that are looked at.")


class Configuration(Options):
    """What to run. The catalog says what exists, resources and profiles say how it is run."""

    targets: tuple[str, ...] = execution_only(min_length=1, description="Recipes and experiments to build.")
    include: str | tuple[str, ...] = execution_only(
        (),
        description="Configuration files that this one extends (its own values win), such as shared base recipes.",
    )
    size: str = execution_only(
        "paper",
        description="Which of `sizes` is laid over the configuration, such as small or demo; paper is the "
        "configuration "
        "as it stands.",
    )
    sizes: dict[Name, Size] = execution_only(
        default_factory=dict,
        description="Sizes by name, each with what it changes, in the form of a configuration. `questions` in it is a "
        "factor for every whole `keep`, `draw` and `candidates` of recipes and experiments; at least "
        "4 remain. `sources` is one for `thin.share` of every recipe.",
    )
    set: dict[str, Any] = execution_only(
        default_factory=dict,
        description="Settings by their dotted paths, laid over everything else, such as "
        "`recipes.openthoughts3.answers.samples: 4`; meant for the command line.",
    )
    results: Folder = execution_only("results", description="Folder of the results (no blanks).")
    store: Folder = execution_only(
        "store",
        description="Folder of the completion store. Deleting it costs money, never correctness (no blanks).",
    )
    catalog: tuple[str, ...] = execution_only(
        ("catalog",), description="Catalog folders, above the workflow's own; a later one overrides an earlier one."
    )
    accelerator: Literal["cpu", "cuda"] = execution_only(
        "cuda", description="Which pair of engine environments runs (vllm and llamafactory, or their -cpu twins)."
    )
    gpu: Name | None = execution_only(
        None,
        description="GPU of engines and trainings, an entry of the catalog (gpus.yaml), such as h100: makes GPU-hours, "
        "which are unknown without it. A profile names it as `gpu_card` in its default-resources.",
    )
    max_failed: float = execution_only(
        0.01,
        ge=0,
        le=1,
        description="Share of a shard's questions that may fail permanently before the shard fails.",
    )
    shard_hours: Annotated[float, Field(gt=0)] | None = execution_only(
        None,
        description="Longest time of one shard of answers at the planned speed of the teacher, for clusters with short "
        "jobs; null uses `answers_per_shard`.",
    )
    licences: Names | None = execution_only(
        None,
        description="Licences that the questions of a recipe may be under, as the catalog spells them (`unknown` where "
        "it states none); null allows all.",
    )
    budget: Budget = execution_only(Budget(), description="What may be spent; asking stops before a cap is passed.")
    recipes: dict[Name, Recipe] = Field(description="Recipes by name.")
    experiments: dict[Name, Experiment] = Field(
        default_factory=dict, description="Experiments by name, each a recipe with one thing varied."
    )
