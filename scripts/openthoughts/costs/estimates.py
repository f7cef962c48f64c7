"""What a plan will cost before anything is booked: requests, tokens, dollars, GPU-hours and disk, stage by stage.

Read off the same plan as the rules. Every number is an estimate from the catalog (rows, prices, speeds, lengths) and
the constants below, each with its source; what the catalog does not know counts as nothing and is named in ``unknown``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from openthoughts.plan.recipes import Settings, resolved_domain
from openthoughts.plan.stages import EXAMPLES, RecipePlan, Stage, expected_rows

LABEL_TOKENS: Mapping[str, tuple[int, int]] = {
    "difficulty": (1500, 100),
    "ask_llm": (1500, 100),
    "response_length": (150, 700),
}
"""Tokens (in, out) of one label: a rubric with the question and a short verdict; the bare question and its answer."""

VERDICT_TOKENS = (1500, 300)
"""Tokens (in, out) of one verdict on an answer: a rubric with question and answer, and the reasons with the verdict."""

WRITING_TOKENS = (2500, 300)
"""Tokens (in, out) of one step from a document to a question: a page with a prompt, and a question with the reason."""

JUDGING_TOKENS = (1500, 150)
"""Tokens (in, out) of one verdict: a rubric with the question and the answer; the verdict and why."""

QUESTION_TOKENS = 150
"""Tokens of a question as it is asked."""

EVALUATION_TOKENS = 10_000
"""Tokens of an answer to a benchmark question by a reasoning model, where the catalog has no length for it."""

BYTES_PER_TOKEN = 3.4
"""Text of an answer: OpenThoughts3 has 50 kB a row of 14,800 tokens."""

COMPRESSED = 0.47
"""Share that zstd leaves: OpenThoughts3's 59.8 GB are 28.2 GB as Parquet."""

COPIES_OF_AN_ANSWER = 5
"""Store, shard, merged, filtered and dataset."""

TOKENIZED_BYTES = 16
"""Bytes a token of packed training data takes (measured; 9 where rows are not packed)."""

CHECKPOINT_BYTES = 16
"""Bytes a parameter takes in a checkpoint of mixed-precision AdamW."""

GPU_FLOPS = 989e12
"""Dense bfloat16 operations a second of an H100 (the maker's figure)."""

UTILISATION = 0.35
"""Share of it that a training reaches."""


SPREAD: Mapping[str, tuple[float, float]] = {
    "labels": (0.9, 2.2),
    "answers": (0.95, 2.25),
    "evaluation": (0.95, 2.25),
    "student": (0.8, 1.4),
}
"""Kind -> how far dollars and GPU-hours may lie below and above the estimate, as factors.

Labels: 1,500 to 3,700 tokens in and 50 to 100 out a question. Answers: 2,080 to 900 tokens a second and GPU (a 32B
model on H100s) where the catalog says 2,000. Training: 25 to 45 % utilisation. Others have the spread of labels.
"""


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
    low, high = SPREAD.get(stage.kind, SPREAD["labels"])
    result.usd_low, result.usd_high = low * result.usd, high * result.usd
    result.gpu_hours_low, result.gpu_hours_high = low * result.gpu_hours, high * result.gpu_hours
    result.asking_gpu_hours = result.gpu_hours if stage.kind != "student" else 0.0
    return result


def plots_of(recipe: RecipePlan) -> list[str]:
    """The plots that a recipe has data for."""
    plots = ["funnel", "lengths", "decontamination", "resources"]
    plots += ["difficulty"] if any(stage.kind == "labels" for stage in recipe.stages()) else []
    plots += ["training"] if recipe.student else []
    return plots + (["scores"] if recipe.evaluations else [])


def sensitive(recipe: RecipePlan, settings: Settings) -> list[Stage]:
    """The cleaned sources of a recipe of which other thresholds are told (``decontaminate.sensitivity``)."""
    return list(
        dict.fromkeys(
            selected.input("questions")
            for domain, planned in recipe.domains.items()
            if resolved_domain(settings, domain)["decontaminate"]["sensitivity"]
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
    if stage.kind == "written":
        return _written(stage)
    if stage.kind == "labels":
        return _labels(stage)
    if stage.kind == "direction":
        return _direction(stage)
    if stage.kind == "answers":
        return _answers(stage)
    if stage.kind == "assessed":
        return _assessed(stage)
    if stage.kind == "classifier":
        return Estimate(
            jobs=1, disk_gb=4 * stage.settings["parameters"]["bucket"] * stage.settings["parameters"]["dim"] / 1e9
        )
    if stage.kind == "evaluation":
        return _evaluation(stage)
    if stage.kind == "judged":
        requests = (expected_rows(stage.input("questions")) or 0) * stage.execution["samples"]
        return _asked(stage, requests, *JUDGING_TOKENS, jobs=1)
    if stage.kind == "tokenized":
        tokens = dataset_tokens(stage.input("dataset"), stage.settings["cutoff"])
        return Estimate(jobs=1, disk_gb=tokens * TOKENIZED_BYTES / 1e9)
    if stage.kind == "student":
        return _training(stage)
    if stage.kind == "model":
        parameters = stage.execution.get("parameters", 0.0)
        return Estimate(jobs=1, disk_gb=2 * parameters / 1e9)
    if stage.kind == "experiment":
        return Estimate(jobs=2)
    return Estimate(jobs=1)


def answer_tokens(stage: Stage) -> float | None:
    """Expected tokens of one of a stage's answers: the catalog's, bounded by what may be sampled."""
    model = stage.input("model")
    expected = _serving(model).get("tokens_per_answer")
    longest = stage.settings["sampling"]["max_tokens"]
    return None if expected is None else min(expected, longest)


def dataset_tokens(dataset: Stage, cutoff: int) -> float:
    """Expected tokens of a dataset, each row cut at ``cutoff``."""
    tokens = 0.0
    for filtered in dataset.inputs["answers"]:
        answers = filtered.input("answers")
        rows = expected_rows(answers.input("questions")) or 0
        length = QUESTION_TOKENS + (answer_tokens(answers) or 0.0)
        kept = min(rows * answers.settings["samples"], filtered.settings["options"].get("keep") or math.inf)
        tokens += kept * min(cutoff, length)
    return tokens


def request_hours(stages: Iterable[Stage]) -> dict[str, float]:
    """Hosted model -> hours that its requests take at the account's limits (requests and tokens a minute)."""
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
    if stage.kind == "student":
        return int(stage.execution["nodes"] * stage.execution["gpus"])
    if "model" not in stage.inputs or stage.kind in {"limited", "tokenized"}:
        return 0
    model = stage.input("model")
    entry = model.input("model").execution if model.kind == "student" else model.execution
    serving = _serving(model)
    return 0 if entry["kind"] == "api" else serving.get("tensor_parallel", 1) * serving.get("data_parallel", 1)


def _serving(model: Stage) -> Mapping[str, Any]:
    entry = model.input("model").execution if model.kind == "student" else model.execution
    serving: Mapping[str, Any] = entry.get("serving", {})
    return serving


def _asked(stage: Stage, requests: int, tokens_in: float, tokens_out: float, jobs: int = 0) -> Estimate:
    """Dollars of a hosted model, GPU-hours of a local one, and the disk of the answers."""
    model = stage.input("model")
    entry = model.input("model").execution if model.kind == "student" else model.execution
    result = Estimate(
        jobs=jobs, requests=requests, input_tokens=requests * tokens_in, output_tokens=requests * tokens_out
    )
    result.disk_gb = result.output_tokens * BYTES_PER_TOKEN * COMPRESSED * COPIES_OF_AN_ANSWER / 1e9
    if entry["kind"] == "api":
        price = entry.get("price")
        if price is None:
            result.unknown.add(f"price of {model.settings['name']}")
        else:
            result.usd = (result.input_tokens * price["input"] + result.output_tokens * price["output"]) / 1e6
            result.usd_batch = result.usd * price.get("batch", 1.0)
        return result
    serving = _serving(model)
    if "tokens_per_second" in serving:
        gpus = serving.get("tensor_parallel", 1) * serving.get("data_parallel", 1)
        result.gpu_hours = result.output_tokens / serving["tokens_per_second"] * gpus / 3600
    else:
        result.unknown.add(f"speed of {model.settings.get('name', model.id)}")
    return result


def _written(stage: Stage) -> Estimate:
    rows = expected_rows(stage)
    tokens_in, tokens_out = WRITING_TOKENS
    result = _asked(stage, rows or 0, tokens_in, min(tokens_out, stage.settings["sampling"]["max_tokens"]))
    result.jobs = stage.execution["shards"] + 1
    if rows is None:
        result.unknown.add(f"documents of {stage.settings['name']}")
    return result


def _labels(stage: Stage) -> Estimate:
    rows = expected_rows(stage.input("questions").input("questions"))
    method = stage.settings["method"]
    if "model" not in stage.inputs:
        return Estimate(jobs=stage.execution["shards"] + 1)
    if method == "embeddings":
        result = _asked(stage, rows or 0, QUESTION_TOKENS, 0)
    else:
        tokens_in, tokens_out = LABEL_TOKENS[method]
        result = _asked(stage, rows or 0, tokens_in, min(tokens_out, stage.settings["sampling"]["max_tokens"]))
    result.jobs = stage.execution["shards"] + 1
    if rows is None:
        result.unknown.add(f"rows of {stage.input('questions').input('questions').settings['name']}")
    return result


def _answers(stage: Stage) -> Estimate:
    rows = expected_rows(stage.input("questions"))
    tokens = answer_tokens(stage)
    result = _asked(stage, (rows or 0) * stage.settings["samples"], QUESTION_TOKENS, tokens or 0.0)
    result.jobs = stage.execution["shards"] + 1
    if rows is None:
        result.unknown.add(f"questions of {stage.id}")
    if tokens is None:
        result.unknown.add(f"answer length of {stage.input('model').settings['name']}")
    return result


def _direction(stage: Stage) -> Estimate:
    most = stage.settings["most"]
    rows = [expected_rows(each) if each.kind != "answers" else most for role in EXAMPLES for each in stage.inputs[role]]
    known = [min(each, most or each) for each in rows if each is not None]
    result = _asked(stage, sum(known), QUESTION_TOKENS, 0)
    result.jobs = 1
    if len(known) < len(rows):
        result.unknown.add(f"examples of {stage.id}")
    return result


def _assessed(stage: Stage) -> Estimate:
    if "model" not in stage.inputs:
        return Estimate(jobs=stage.execution["shards"] + 1)
    answers = stage.input("answers")
    rows = expected_rows(answers.input("questions"))
    tokens_in, tokens_out = VERDICT_TOKENS
    bounded = min(tokens_out, stage.settings["sampling"]["max_tokens"])
    result = _asked(stage, (rows or 0) * answers.settings["samples"], tokens_in, bounded)
    result.jobs = stage.execution["shards"] + 1
    if rows is None:
        result.unknown.add(f"answers of {stage.id}")
    return result


def _evaluation(stage: Stage) -> Estimate:
    tokens = answer_tokens(stage) or min(EVALUATION_TOKENS, stage.settings["sampling"]["max_tokens"])
    result = Estimate()
    for task, questions in zip(stage.settings["tasks"], stage.inputs["benchmarks"], strict=True):
        rows = expected_rows(questions)
        result += _asked(stage, (rows or 0) * task["samples"], QUESTION_TOKENS, tokens)
        if rows is None:
            result.unknown.add(f"rows of {task['benchmark']}")
    result.jobs = 2
    return result


def _training(stage: Stage) -> Estimate:
    """GPU-hours by 6 operations a parameter and token (Kaplan et al., arXiv 2001.08361, without attention)."""
    scale = stage.settings["settings"]
    model = stage.input("model")
    result = Estimate(jobs=1)
    parameters = model.execution.get("parameters")
    if parameters is None:
        result.unknown.add(f"parameters of {model.settings['name']}")
        return result
    dataset = stage.input("tokenized").input("dataset")
    tokens = dataset_tokens(dataset, scale["cutoff"])
    if scale.get("epochs") is not None:
        tokens *= scale["epochs"]
    elif scale.get("max_steps") is not None:
        tokens = min(tokens, scale["max_steps"] * scale["global_batch"] * scale["cutoff"])
    result.gpu_hours = 6 * parameters * tokens / (GPU_FLOPS * UTILISATION) / 3600
    result.disk_gb = (2 + CHECKPOINT_BYTES) * parameters / 1e9
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
