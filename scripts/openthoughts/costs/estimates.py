"""What a plan will cost before anything is booked: requests, tokens, dollars, GPU-hours and disk, stage by stage.

Read off the same plan as the rules. Every number is an estimate from the catalog (rows, prices, speeds, lengths) and
the constants below, each with its source. Where something is not known, a number is what is known of it, and
``unknown`` says of which quantity what is missing: it is told as "at least".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from openthoughts.costs.measured import ERRORS, OTHERS, Measured, Speed
from openthoughts.costs.sharing import Together
from openthoughts.models.model import API
from openthoughts.plan.config import Settings
from openthoughts.plan.expectations import (
    expected_questions,
    expected_rows,
    length_of,
    served_entry,
    sources_without_rows,
    trained_tokens,
)
from openthoughts.plan.register import KINDS, Inference, inference
from openthoughts.plan.settings.recipe import resolved_recipe
from openthoughts.plan.speeds import engine_gpus, engine_seconds, missing_of_speed, student_seconds
from openthoughts.plan.stages import RecipePlan, Stage

BYTES_PER_TOKEN = 3.4
"""Text of an answer: OpenThoughts3 has 50 kB a row of 14,800 tokens."""

COMPRESSED = 0.47
"""Share that zstd leaves: OpenThoughts3's 59.8 GB are 28.2 GB as Parquet."""

COPIES_OF_AN_ANSWER = 5
"""Store, shard, merged, filtered and dataset."""

QUANTITIES = ("requests", "input_tokens", "output_tokens", "usd", "gpu_hours", "disk_gb")
"""What may be unknown of a stage."""


BOUGHT = (
    *("input_tokens", "output_tokens", "usd", "usd_batch", "gpu_hours", "usd_low", "usd_high"),
    *("gpu_hours_low", "gpu_hours_high", "asking_gpu_hours"),
)
"""What comes with the requests of a stage."""


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
    scratch_gb: float = 0.0  # disk of the stage that takes the most only while it runs; of several, one runs at a time
    usd_low: float = 0.0
    usd_high: float = 0.0
    gpu_hours_low: float = 0.0
    gpu_hours_high: float = 0.0
    asking_gpu_hours: float = 0.0  # those of engines: the part that a budget counts
    unknown: dict[str, set[str]] = field(default_factory=dict)
    """Quantity -> what is missing to know all of it, each as a phrase."""

    def __iadd__(self, other: Estimate) -> Estimate:
        for each in fields(self):
            if each.name == "scratch_gb":
                self.scratch_gb = max(self.scratch_gb, other.scratch_gb)
            elif each.name == "unknown":
                for quantity, missing in other.unknown.items():
                    self.unknown.setdefault(quantity, set()).update(missing)
            else:
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self

    def bought(self, share: float) -> Estimate:
        """The same with a share of the requests; jobs and disk stay."""
        if share == 1.0:
            return self
        return replace(
            self, **{name: share * getattr(self, name) for name in BOUGHT}, requests=round(share * self.requests)
        )

    def lacks(self, missing: str, *quantities: str) -> None:
        """Note that quantities are only known in part, as something is missing."""
        for quantity in quantities:
            self.unknown.setdefault(quantity, set()).add(missing)


def estimate(stages: Iterable[Stage], measured: Measured | None = None) -> dict[str, Estimate]:
    """Kind of stage -> what all stages of the kind take, in the order the data flows; each request counts once.

    ``measured``: what has run, whose lengths and speeds come before the catalog's.
    """
    totals: dict[str, Estimate] = {}
    together = Together()
    for stage in dict.fromkeys(stages):
        totals.setdefault(stage.kind, Estimate())
        totals[stage.kind] += estimate_stage(stage, measured).bought(together.add(stage))
    return totals


def total(estimates: Iterable[Estimate]) -> Estimate:
    """The sum of estimates."""
    result = Estimate()
    for each in estimates:
        result += each
    return result


def estimate_stage(stage: Stage, measured: Measured | None = None) -> Estimate:
    """What one stage takes, with its range."""
    measured = measured or Measured()
    result = _estimated(stage, measured)
    if "model" in stage.inputs and served_entry(stage.input("model")).get("accelerator") == "cpu":
        result.gpu_hours = result.gpu_hours_high = 0.0
        result.unknown.pop("gpu_hours", None)
    low, high = measured_spread(stage, measured) or KINDS[stage.kind].spread
    result.usd_low, result.usd_high = low * result.usd, high * max(result.usd, result.usd_high)
    result.gpu_hours_low = low * result.gpu_hours
    result.gpu_hours_high = high * max(result.gpu_hours, result.gpu_hours_high)
    result.asking_gpu_hours = 0.0 if KINDS[stage.kind].trained_by else result.gpu_hours
    return result


def measured_spread(stage: Stage, measured: Measured) -> tuple[float, float] | None:
    """How far a stage may lie from what was measured, as factors; null where its costs do not rest on that alone."""
    figure = measured.length(stage)
    if figure is None or not figure.of_its_kind:
        return None
    if served_entry(stage.input("model"))["kind"] != API and measured.speed(stage) is None:
        return None
    spread = min(1.0, OTHERS + ERRORS * figure.error)
    return 1 - spread, 1 + spread


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
        told.append(f"about {dollars(whole.usd)} are expected, the budget is {dollars(usd)}: asking stops there.")
    if hours is not None and whole.asking_gpu_hours > hours:
        told.append(
            f"about {whole.asking_gpu_hours:,.0f} GPU-hours of asking are expected, the budget is {hours:,.0f}: "
            "asking stops there."
        )
    return told


def dollars(usd: float) -> str:
    """An amount in words, with cents where they matter."""
    return f"${usd:,.0f}" if usd >= 100 else f"${usd:,.2f}"


def _estimated(stage: Stage, measured: Measured) -> Estimate:
    kind = KINDS[stage.kind]
    asks = inference(stage)
    result = _asked(stage, asks, measured) if asks else Estimate()
    result.jobs = stage.execution["shards"] + 1 if kind.asks and "shards" in stage.execution else kind.jobs
    result.scratch_gb = kind.scratch_gigabytes(stage)
    result.disk_gb += kind.gigabytes(stage, measured.answer_tokens)
    for missing in kind.unsized(stage, measured.answer_tokens):
        result.lacks(missing, "disk_gb")
    return _trained(stage, result, measured) if kind.trained_by else result


def request_hours(stages: Iterable[Stage], measured: Measured | None = None) -> dict[str, float]:
    """Hosted model -> hours that its requests take at the account's limits (requests and tokens per minute)."""
    hours: dict[str, float] = {}
    together = Together()
    for stage in dict.fromkeys(stages):
        each = estimate_stage(stage, measured).bought(together.add(stage))
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


def _asked(stage: Stage, asks: Inference, measured: Measured) -> Estimate:
    """Requests and tokens, dollars of a hosted model or GPU-hours of a local one, and the disk of the answers.

    The high ends are those of the longest answers where their length is not known.
    """
    model = stage.input("model")
    entry = served_entry(model)
    cost = "usd" if entry["kind"] == API else "gpu_hours"
    result = Estimate(requests=_requests(stage, asks))
    for table, _ in asks.requests(stage):
        for name in sources_without_rows(table, expected_rows(table)):
            result.lacks(f"rows of {name}", "requests", "input_tokens", "output_tokens", cost, "disk_gb")
    figure = measured.length(stage)
    tokens_in, tokens_out = figure[:2] if figure else asks.tokens(stage)
    speed = None if asks.embeds else measured.speed(stage)
    if tokens_out is None:
        result.lacks(length_of(model), "output_tokens", cost, "disk_gb")
    result.input_tokens = result.requests * tokens_in
    result.output_tokens = result.requests * (tokens_out or 0.0)
    result.disk_gb = result.output_tokens * BYTES_PER_TOKEN * COMPRESSED * COPIES_OF_AN_ANSWER / 1e9
    most_out = stage.settings["sampling"]["max_tokens"] if tokens_out is None else tokens_out
    ends = [_cost_of_a_request(entry, tokens_in, out, speed) for out in (tokens_out or 0.0, most_out)]
    if ends[0] is None or ends[1] is None:
        name = model.settings.get("name", model.id)
        result.lacks(f"price of {name}" if cost == "usd" else missing_of_speed(name, entry), cost)
        return result
    setattr(result, cost, result.requests * ends[0])
    setattr(result, f"{cost}_high", result.requests * ends[1])
    result.usd_batch = result.usd * (entry.get("price") or {}).get("batch", 1.0)
    return result


def _cost_of_a_request(
    entry: Mapping[str, Any], tokens_in: float, tokens_out: float, speed: Speed | None
) -> float | None:
    """Dollars of a hosted model, GPU-hours of a local one; None where price or speed is not known."""
    if entry["kind"] != API:
        if entry.get("gpu") is None:
            return None
        seconds = tokens_out / speed.tokens_per_second if speed else engine_seconds(entry, tokens_in, tokens_out)
        return None if seconds is None else seconds * engine_gpus(entry) / 3600
    price = entry.get("price")
    return None if price is None else float(tokens_in * price["input"] + tokens_out * price["output"]) / 1e6


def _requests(stage: Stage, asks: Inference) -> int:
    """Requests of a stage, as far as the catalog says how many rows or different questions there are."""
    most = stage.settings.get("most") or math.inf
    asked = expected_rows if asks.each_row else expected_questions
    return sum(int(min(asked(table) or 0, most)) * samples for table, samples in asks.requests(stage))


def _trained(stage: Stage, result: Estimate, measured: Measured) -> Estimate:
    """GPU-hours of a training (``openthoughts.models.performance.training_seconds``)."""
    model = stage.input("model")
    tokens = trained_tokens(stage, measured.answer_tokens)
    for missing in tokens.missing:
        result.lacks(missing, "gpu_hours")
    seconds = student_seconds(model.execution, stage.settings["settings"]["cutoff"])
    if seconds is None:
        result.lacks(missing_of_speed(model.settings["name"], model.execution), "gpu_hours")
    else:
        result.gpu_hours, result.gpu_hours_high = tokens.expected * seconds / 3600, tokens.most * seconds / 3600
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
            "unknown": {quantity: sorted(missing) for quantity, missing in sorted(each.unknown.items())},
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
