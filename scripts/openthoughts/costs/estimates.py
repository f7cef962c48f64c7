"""What a plan will cost before anything is booked: requests, tokens, dollars, GPU-hours and disk, stage by stage.

Read off the same plan as the rules. Every number is an estimate from the catalog (rows, prices, speeds, lengths) and
the constants below, each with its source; what the catalog does not know counts as nothing and is named in ``unknown``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from openthoughts.plan.config import Settings
from openthoughts.plan.expectations import (
    engine_gpus,
    expected_rows,
    served_entry,
    sources_without_rows,
    trained_tokens,
)
from openthoughts.plan.register import KINDS, Inference, inference
from openthoughts.plan.settings.recipe import resolved_recipe
from openthoughts.plan.stages import RecipePlan, Stage

BYTES_PER_TOKEN = 3.4
"""Text of an answer: OpenThoughts3 has 50 kB a row of 14,800 tokens."""

COMPRESSED = 0.47
"""Share that zstd leaves: OpenThoughts3's 59.8 GB are 28.2 GB as Parquet."""

COPIES_OF_AN_ANSWER = 5
"""Store, shard, merged, filtered and dataset."""

GPU_FLOPS = 989e12
"""Dense bfloat16 operations a second of an H100 (the maker's figure)."""

UTILISATION = 0.35
"""Share of it that a training reaches."""


@dataclass
class Estimate:
    """What some stages take."""

    jobs: int = 0
    requests: int = 0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    usd: float = 0.0
    usd_batch: float = 0.0
    gpu_hours: float = 0.0
    disk_gb: float = 0.0
    usd_low: float = 0.0
    usd_high: float = 0.0
    gpu_hours_low: float = 0.0
    gpu_hours_high: float = 0.0
    asking_gpu_hours: float = 0.0  # those of engines: the part that a budget counts
    unknown: set[str] = field(default_factory=set)

    def __iadd__(self, other: Estimate) -> Estimate:
        for each in fields(self):
            if each.name == "unknown":
                self.unknown |= other.unknown
            else:
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self


def estimate(stages: Iterable[Stage]) -> dict[str, Estimate]:
    """Kind of stage -> what all stages of the kind take, in the order the data flows; each stage counts once."""
    totals: dict[str, Estimate] = {}
    for stage in dict.fromkeys(stages):
        totals.setdefault(stage.kind, Estimate())
        totals[stage.kind] += estimate_stage(stage)
    return totals


def total(estimates: Iterable[Estimate]) -> Estimate:
    """The sum of estimates."""
    result = Estimate()
    for each in estimates:
        result += each
    return result


def estimate_stage(stage: Stage) -> Estimate:
    """What one stage takes, with its range."""
    result = _estimated(stage)
    low, high = KINDS[stage.kind].spread
    result.usd_low, result.usd_high = low * result.usd, high * result.usd
    result.gpu_hours_low, result.gpu_hours_high = low * result.gpu_hours, high * result.gpu_hours
    result.asking_gpu_hours = 0.0 if KINDS[stage.kind].trained_by else result.gpu_hours
    return result


def plots_of(recipe: RecipePlan) -> list[str]:
    """The plots that a recipe has data for."""
    plots = ["funnel", "lengths", "decontamination", "resources"]
    plots += ["difficulty"] if any(stage.kind == "labels" for stage in recipe.stages()) else []
    plots += ["training"] if recipe.student else []
    return plots + (["scores"] if recipe.evaluations else [])


def sensitive(recipe: RecipePlan, settings: Settings) -> list[Stage]:
    """The cleaned sources of a recipe with a sensitivity table (``decontaminate.sensitivity``)."""
    blocks = resolved_recipe(settings).domains
    return list(
        dict.fromkeys(
            selected.input("questions")
            for domain, planned in recipe.domains.items()
            if blocks[domain].decontaminate.sensitivity
            for selected in planned["mixed"].inputs["questions"]
        )
    )


def by_name(recipes: Iterable[RecipePlan], configured: Mapping[str, Settings], experiments: int = 0) -> Estimate:
    """The jobs that are of a recipe or an experiment by its name, and no stage's: manifests, pages and plots.

    ``configured``: the recipes of the configuration, by name.
    """
    jobs, measured = experiments, set()
    for recipe in recipes:
        jobs += 2 + len(plots_of(recipe))
        measured |= set(sensitive(recipe, configured[recipe.name]))
    return Estimate(jobs=jobs + len(measured))


def budget_warnings(whole: Estimate, budget: Mapping[str, float | None]) -> list[str]:
    """What is expected to cost more than the configuration's ``budget`` allows."""
    told = []
    usd, hours = budget.get("usd"), budget.get("gpu_hours")
    if usd is not None and whole.usd > usd:
        told.append(f"about ${whole.usd:,.0f} are expected, the budget is ${usd:,.0f}: asking stops there.")
    if hours is not None and whole.asking_gpu_hours > hours:
        told.append(
            f"about {whole.asking_gpu_hours:,.0f} GPU-hours of asking are expected, the budget is {hours:,.0f}: "
            "asking stops there."
        )
    return told


def _estimated(stage: Stage) -> Estimate:
    kind = KINDS[stage.kind]
    asks = inference(stage)
    result = _asked(stage, asks) if asks else Estimate()
    result.jobs = stage.execution["shards"] + 1 if kind.asks and "shards" in stage.execution else kind.jobs
    result.disk_gb += kind.gigabytes(stage)
    return _trained(stage, result) if kind.trained_by else result


def request_hours(stages: Iterable[Stage]) -> dict[str, float]:
    """Hosted model -> hours that its requests take at the account's limits (requests and tokens per minute)."""
    hours: dict[str, float] = {}
    for stage in dict.fromkeys(stages):
        each = estimate_stage(stage)
        if "model" not in stage.inputs or not each.requests:
            continue
        model = stage.input("model")
        serving = model.execution.get("serving", {}) if model.execution.get("kind") == "api" else {}
        limits = [
            each.requests / serving["requests_per_minute"] if serving.get("requests_per_minute") else 0.0,
            (each.input_tokens + each.output_tokens) / serving["tokens_per_minute"]
            if serving.get("tokens_per_minute")
            else 0.0,
        ]
        if max(limits):
            hours[model.settings["name"]] = hours.get(model.settings["name"], 0.0) + max(limits) / 60
    return hours


def held_gpus(stage: Stage) -> int:
    """GPUs that one job of a stage holds."""
    if KINDS[stage.kind].trained_by:
        return int(stage.execution["nodes"] * stage.execution["gpus"])
    return engine_gpus(served_entry(stage.input("model"))) if inference(stage) else 0


def _asked(stage: Stage, asks: Inference) -> Estimate:
    """Requests and tokens, dollars of a hosted model or GPU-hours of a local one, and the disk of the answers."""
    model = stage.input("model")
    entry = served_entry(model)
    result = Estimate(requests=_requests(stage, asks))
    unknown = [table for table, _ in asks.requests(stage) if expected_rows(table) is None]
    result.unknown |= {f"rows of {name}" for table in unknown for name in sources_without_rows(table)}
    tokens_in, tokens_out = asks.tokens(stage)
    if tokens_out is None:
        result.unknown.add(f"answer length of {model.settings.get('name', model.id)}")
    result.input_tokens = result.requests * tokens_in
    result.output_tokens = result.requests * (tokens_out or 0.0)
    result.disk_gb = result.output_tokens * BYTES_PER_TOKEN * COMPRESSED * COPIES_OF_AN_ANSWER / 1e9
    if entry["kind"] == "api":
        price = entry.get("price")
        if price is None:
            result.unknown.add(f"price of {model.settings['name']}")
        else:
            result.usd = (result.input_tokens * price["input"] + result.output_tokens * price["output"]) / 1e6
            result.usd_batch = result.usd * price.get("batch", 1.0)
    elif speed := entry.get("serving", {}).get("tokens_per_second"):
        result.gpu_hours = result.output_tokens / speed * engine_gpus(entry) / 3600
    else:
        result.unknown.add(f"speed of {model.settings.get('name', model.id)}")
    return result


def _requests(stage: Stage, asks: Inference) -> int:
    """Requests of a stage; a table whose rows the catalog does not say counts as nothing."""
    most = stage.settings.get("most") or math.inf
    return sum(int(min(expected_rows(table) or 0, most)) * samples for table, samples in asks.requests(stage))


def _trained(stage: Stage, result: Estimate) -> Estimate:
    """GPU-hours by 6 operations per parameter and token (Kaplan et al., arXiv 2001.08361, without attention)."""
    model = stage.input("model")
    parameters = model.execution.get("parameters")
    if parameters is None:
        result.unknown.add(f"parameters of {model.settings['name']}")
    else:
        result.gpu_hours = 6 * parameters * trained_tokens(stage) / (GPU_FLOPS * UTILISATION) / 3600
    return result


def rows_of_table(estimates: Mapping[str, Estimate]) -> Iterator[dict[str, Any]]:
    """The estimates as rows, with a last row for all."""
    for kind, each in (*estimates.items(), ("total", total(estimates.values()))):
        yield {
            "stage": kind,
            "jobs": each.jobs,
            "requests": each.requests,
            "input_tokens": math.ceil(each.input_tokens),
            "output_tokens": math.ceil(each.output_tokens),
            "usd_live": round(each.usd, 2),
            "usd_batch": round(each.usd_batch, 2),
            "gpu_hours": round(each.gpu_hours, 1),
            "disk_gb": round(each.disk_gb, 1),
            "usd_low": round(each.usd_low, 2),
            "usd_high": round(each.usd_high, 2),
            "gpu_hours_low": round(each.gpu_hours_low, 1),
            "gpu_hours_high": round(each.gpu_hours_high, 1),
        }


def estimates_of_kinds(stages: Iterable[Stage], accelerator: str) -> list[dict[str, Any]]:
    """The rows of the kinds of stages that ask or compute, and of all, for what was spent to be told beside them.

    Each has also ``gpus``, the GPUs that a job of each of its stages holds, and ``shards``, both by the stage's id.
    """
    unique = list(stages)
    rows = []
    for row in rows_of_table(estimate(unique)):
        if not (row["requests"] or row["gpu_hours"]):
            continue
        of_kind = [stage for stage in unique if stage.kind == row["stage"]]
        gpus = {stage.id: held_gpus(stage) for stage in of_kind} if accelerator == "cuda" else {}
        shards = {stage.id: stage.execution["shards"] for stage in of_kind if "shards" in stage.execution}
        rows.append({**row, "gpus": gpus, "shards": shards})
    return rows
