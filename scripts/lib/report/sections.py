"""The sections of a recipe's page, each from what the stages left behind; one without data is left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from lib.figures import decontaminated, model_scores, usage, usage_files
from lib.funnel import by_stage
from lib.language import language
from lib.manifest import Recipe, Stage
from lib.plots import error_bars
from lib.report import pairs
from lib.report.figures import (
    answer_lengths,
    before_and_after,
    counted_bars,
    curve,
    shares,
    shares_by_length,
)
from lib.report.page import Browser, Figure, Fold, Section, Table
from lib.report.sankey import LEVELS, sankey
from lib.sensitivity import ANY, BUCKETS, SENSITIVITY
from lib.spending import Spent, spent
from lib.tables import COMPLETIONS, DATASET, LABELLED, LABELS, MEASURES, read_table, scan_table
from lib.tokens import count_tokens, load_tokenizer

PUBLISHED = Path(__file__).resolve().parents[3] / "report" / "published_scores.yaml"

SAMPLE = 4000
"""Questions of a stage and domain whose tokens are counted: those of smallest id, an even sample of hashes."""

LANGUAGE_SAMPLE = 300
PAIRS = 80
ROWS = 300
MOST_CHARACTERS = 12_000
"""Characters of a reasoning that the page holds."""

NAMES = {**LEVELS, "written": "written", "mixed": "mixed", "answers": "answered", "filtered": "filtered",
         "dataset": "dataset"}  # fmt: skip
"""Kinds of stages in the page's words."""


@dataclass(frozen=True)
class Sources:
    """What a page is made from; an experiment is its name, its scores and its summary."""

    recipe: Recipe
    usage: Path
    experiments: Sequence[tuple[str, Path, Path]] = ()
    planned: Sequence[Mapping[str, Any]] = ()


def sections(sources: Sources) -> list[Section]:
    """Every section that there is data for, in the order of the flow."""
    made = [
        funnel_section(sources.recipe),
        questions_section(sources.recipe),
        decontamination_section(sources.recipe),
        duplicates_section(sources.recipe),
        answers_section(sources.recipe),
        training_section(sources.recipe),
        scores_section(sources.recipe),
        experiments_section(sources.experiments),
        spending_section(sources),
        resources_section(sources.usage),
        lock_section(sources.recipe),
        rows_section(sources.recipe),
    ]
    return [section for section in made if section]


def facts(recipe: Recipe) -> list[tuple[str, str]]:
    """What stands at the head of the page."""
    (dataset,) = recipe.of_kind("dataset")
    told = [("rows", f"{dataset.rows or 0:,}")]
    if recipe.counts:
        told.append(("tokens of answers", f"{recipe.counts['tokens']:,}"))
        told.append(("domains", ", ".join(recipe.counts["domains"])))
    teachers = [model for answers in recipe.of_kind("answers") for model in recipe.inputs(answers, "model")]
    told.append(("teacher", ", ".join(dict.fromkeys(_name(model) for model in teachers))))
    for student in recipe.of_kind("student"):
        told.append(("student", ", ".join(_name(base) for base in recipe.inputs(student, "model"))))
    return told


def _name(stage: Stage) -> str:
    return str(stage.settings.get("name", stage.identity))


def funnel_section(recipe: Recipe) -> Section:
    """How many questions each stage leaves."""
    section = Section("funnel", "From sources to questions")
    section.text = [
        "What each stage keeps (left) and drops (right), drawn to scale. At every stage what is kept and what is "
        "dropped add up to what it was given; the manifest is not written otherwise.",
    ]
    section.figures.append(Figure("Questions", str(sankey(recipe.funnel)), inline=True))
    for domain in recipe.domains():
        rows = [
            (NAMES[row["stage"]], row["rows"], row["questions"], _reasons(row["dropped"]))
            for row in by_stage(recipe.funnel, domain)
        ]
        rows += [
            (NAMES[row["stage"]], row["rows"], row["questions"], _reasons(row["dropped"]))
            for row in recipe.funnel
            if row["domain"] == domain and row["source"] is None
        ]
        section.tables.append(Table(("stage", "rows", "different questions", "dropped"), rows, domain))
    return section


def _reasons(dropped: Mapping[str, int]) -> str:
    return "; ".join(f"{count:,} {reason}" for reason, count in dropped.items())


def questions_section(recipe: Recipe) -> Section | None:
    """Labels and lengths, before and after."""
    section = Section("questions", "Labels and lengths of the questions")
    section.text = [
        "Labels of all questions of a source (light) and of those selected (dark). Lengths in tokens after each stage, "
        f"of a sample of {SAMPLE:,} questions (those of smallest id) where there are more.",
    ]
    for selected in recipe.of_kind("selected"):
        for labels in recipe.inputs(selected, "labels"):
            before = read_table(labels.path, LABELS)["value"].drop_nulls()
            kept = read_table(selected.path, LABELLED).unique("question_id")["label"].drop_nulls()
            method = str(labels.settings["method"]).replace("_", " ")
            source = labels.identity.rpartition("-")[0]
            if len(before):
                section.figures.append(Figure.of(f"{source}: {method}", before_and_after(before, kept, method)))
    for domain, stages in recipe.domains().items():
        section.figures.append(Figure.of(f"{domain}: length", _lengths(recipe, stages)))
    return section if section.figures else None


def _lengths(recipe: Recipe, stages: Sequence[Stage]) -> Any:
    (limited,) = [stage for stage in stages if stage.kind == "limited"]
    name = limited.settings["tokenizer"] or str(recipe.inputs(limited, "model")[0].path)
    tokenizer = load_tokenizer(name)
    lengths = []
    for kind, label in LEVELS.items():
        texts = [text for stage in stages if stage.kind == kind for text in sampled(stage, "question")["question"]]
        if texts:
            counted = count_tokens(tokenizer, [text or "" for text in texts])
            lengths.append((label, pl.Series("tokens", counted, dtype=pl.Int64)))
    return shares_by_length(lengths, "tokens of a question")


def sampled(stage: Stage, *columns: str, most: int = SAMPLE) -> pl.DataFrame:
    """``question_id`` and some columns of the rows of smallest id, about ``most`` of them; ids are hashes."""
    table = pl.scan_parquet(stage.path, glob=False)
    share = most / max(1, stage.rows or 0)
    if share < 1:
        table = table.filter(pl.col("question_id") < f"{int(share * 16**8):08x}")
    return table.select("question_id", *columns).collect()


def decontamination_section(recipe: Recipe) -> Section | None:
    """What decontamination removed, by benchmark, method and length, with pairs."""
    cleaned = [stage for stage in recipe.of_kind("clean") if stage.inputs.get("benchmarks")]
    if not cleaned:
        return None
    section = Section("decontamination", "Decontamination")
    dropped = [(_source(stage), stage.folder / "dropped.parquet") for stage in cleaned]
    counts = decontaminated(dropped)
    rules = {json.dumps(dict(stage.settings), sort_keys=True): stage.settings for stage in cleaned}
    section.text = [
        f"A question is dropped at {rule['similarity']:g} % similarity to a benchmark question, or where it shares "
        f"{rule['ngram']} tokens in a row with one."
        for rule in rules.values()
    ]
    if counts.is_empty():
        section.text.append("Nothing was dropped.")
    else:
        bars = counts.group_by("benchmark", "method").agg(pl.col("count").sum()).sort("benchmark", "method")
        section.figures.append(
            Figure.of("Dropped questions by benchmark and method", counted_bars(bars, "benchmark", "rows", "method"))
        )
        section.figures.append(Figure.of("Dropped questions by length", _dropped_lengths(recipe, cleaned)))
        section.tables.append(Table(counts.columns, counts.rows(), "Rows dropped (a row counts for each match)"))
    section.figures += _sensitivity(cleaned)
    found = pairs.leaks(recipe, PAIRS)
    if found:
        note = f"{len(found)} of the dropped questions beside what they match; what they have in common is marked."
        section.browser = Browser("leaks", "pair", found, note)
    return section


def _source(stage: Stage) -> str:
    """A source's name, which is the label of its stages."""
    return stage.identity.rpartition("-")[0]


def _dropped_lengths(recipe: Recipe, cleaned: Sequence[Stage]) -> Any:
    """Bars of the dropped questions by their length in characters."""
    counts = Counter({name: 0 for name, _ in BUCKETS})
    for stage in cleaned:
        dropped = (
            scan_table(stage.folder / "dropped.parquet", {"question_id": pl.String}).select("question_id").unique()
        )
        for given in recipe.inputs(stage, "questions"):
            texts = pl.scan_parquet(given.path, glob=False).select("question_id", "question")
            lengths = texts.join(dropped, on="question_id", how="semi").unique("question_id")
            for length in lengths.select(pl.col("question").str.len_chars()).collect().to_series().drop_nulls():
                counts[[name for name, least in BUCKETS if length >= least][-1]] += 1
    table = pl.DataFrame({"characters": list(counts), "count": list(counts.values())})
    return counted_bars(table, "characters", "different questions")


def _sensitivity(cleaned: Sequence[Stage]) -> list[Figure]:
    """What other thresholds would drop, where it was measured."""
    figures = []
    for stage in cleaned:
        path = stage.folder / "sensitivity.parquet"
        if not path.is_file():
            continue
        table = read_table(path, SENSITIVITY).filter((pl.col("benchmark") == ANY) & (pl.col("length") == "any"))
        names = {"similarity": "similarity", "dropped": "similarity or n-gram"}
        points = table.select("threshold", *names).rename(names).unpivot(index="threshold", value_name="questions")
        drawn = curve(points, "threshold", "questions", "similarity threshold (%)", "variable")
        figures.append(Figure.of(f"{_source(stage)}: questions that other thresholds would drop", drawn))
    return figures


def duplicates_section(recipe: Recipe) -> Section | None:
    """What deduplication removed."""
    stages = [stage for stage in recipe.of_kind("deduplicated") if stage.settings["level"] != "none"]
    if not stages:
        return None
    section = Section("duplicates", "Duplicates")
    rows = []
    for stage in stages:
        dropped = scan_table(stage.folder / "dropped.parquet", {"kept_question_id": pl.String}).collect()
        for reason, count, kept in (
            dropped.group_by("reason")
            .agg(pl.len(), pl.col("kept_question_id").n_unique().alias("kept"))
            .sort("reason")
            .iter_rows()
        ):
            rows.append((stage.domain, stage.settings["level"], reason, count, kept))
    section.text = ["" if rows else "No question was dropped as a duplicate."]
    if rows:
        columns = ("domain", "level", "reason", "rows dropped", "questions that stand for them")
        section.tables.append(Table(columns, rows))
    found = pairs.duplicates(recipe, PAIRS)
    if found:
        section.browser = Browser("duplicates", "pair", found, "Similar questions beside those that were kept.")
    return section


def answers_section(recipe: Recipe) -> Section:
    """Lengths, truncation, agreement and languages of the answers."""
    section = Section("answers", "Answers")
    rows = []
    for answers in recipe.of_kind("answers"):
        columns = {"finish_reason": pl.String, "completion_tokens": pl.Int64, "error": pl.String}
        table = scan_table(answers.path, {**COMPLETIONS}).select(*columns).collect()
        given = table.filter(pl.col("error").is_null())
        cut = given["finish_reason"] == "length"
        tokens = given["completion_tokens"].drop_nulls()
        quantiles = [None if tokens.is_empty() else tokens.quantile(share) for share in (0.05, 0.5, 0.95)]
        model = ", ".join(_name(model) for model in recipe.inputs(answers, "model"))
        share = 100 * cut.sum() / max(1, given.height)
        rows.append((answers.domain, model, table.height, table.height - given.height, share, *quantiles))
        if len(tokens):
            lengths = pl.DataFrame({"tokens": given["completion_tokens"], "cut": cut}).drop_nulls()
            section.figures.append(Figure.of(f"{answers.domain}: length", answer_lengths(lengths)))
        agreed = agreement(recipe, answers)
        if len(agreed):
            drawn = shares(agreed, "share of the answers that agree")
            section.figures.append(Figure.of(f"{answers.domain}: agreement", drawn))
        spoken = languages(answers)
        if not spoken.is_empty():
            section.figures.append(
                Figure.of(f"{answers.domain}: languages", counted_bars(spoken, "language", "answers"))
            )
    section.text = [
        "Lengths in tokens, reasoning included. Agreement is the share of the answers to a question whose final answer "
        f"is the most frequent one; languages are told from the prose of {LANGUAGE_SAMPLE} answers, code and formulas "
        "apart."
    ]
    headings = ("domain", "model", "answers", "failed", "cut (%)", "5 % shorter than", "median", "5 % longer than")
    section.tables.append(Table(headings, rows))
    return section


def agreement(recipe: Recipe, answers: Stage) -> pl.Series:
    """Share of the answers to a question that agree with the majority, of every question where several did."""
    shares_ = [pl.Series("agreement", [], dtype=pl.Float64)]
    for measured in recipe.of_kind("measured"):
        if answers in recipe.inputs(measured, "answers"):
            table = scan_table(measured.path, MEASURES).select("question_id", "agreement").drop_nulls()
            shares_.append(table.unique("question_id").collect()["agreement"])
    return pl.concat(shares_)


def languages(answers: Stage) -> pl.DataFrame:
    """``language`` and ``count`` of some answers, the most frequent first."""
    texts = sampled(answers, "text", most=LANGUAGE_SAMPLE)["text"].drop_nulls()
    found = Counter(language(text) or "too little prose" for text in texts)
    table = found.most_common(8)
    return pl.DataFrame(table, schema={"language": pl.String, "count": pl.Int64}, orient="row")


def training_section(recipe: Recipe) -> Section | None:
    """Loss and learning rate of the student."""
    students = recipe.of_kind("student")
    if not students:
        return None
    section = Section("training", "Training")
    for student in students:
        schema = {"step": pl.Int64, "loss": pl.Float64, "learning_rate": pl.Float64}
        metrics = read_table(student.folder / "metrics.parquet", schema)
        for measure in ("loss", "learning_rate"):
            drawn = curve(metrics.select("step", measure), "step", measure, "optimiser step")
            section.figures.append(Figure.of(measure.replace("_", " "), drawn))
        for tokenized in recipe.inputs(student, "tokenized"):
            told = json.loads(tokenized.path.read_text(encoding="utf-8"))
            names = ("rows", "tokens", "trained_tokens", "packed_rows", "cutoff", "cut_share")
            section.tables.append(Table(("training data", ""), [(name, told[name]) for name in names if name in told]))
        section.folds.append(Fold("Settings", json.dumps(dict(student.settings), indent=2)))
    return section


def scores_section(recipe: Recipe) -> Section | None:
    """Scores with errors, and the paper's."""
    evaluations = recipe.of_kind("evaluation")
    if not evaluations:
        return None
    section = Section("scores", "Scores")
    section.text = [
        "From 0 to 100: the mean over questions of the mean over samples; the whiskers are one standard error over "
        "questions. The paper's are those printed for its 7B student, without errors; another student, other questions "
        "of a benchmark or other sampling settings do not compare with them.",
    ]
    named = [(_evaluated(recipe, stage), stage.path) for stage in evaluations]
    scores = model_scores(sorted(named, reverse=True))
    table = pl.concat([scores, published(scores)], how="diagonal_relaxed")
    for benchmark in table["benchmark"].unique(maintain_order=True):
        one = table.filter(pl.col("benchmark") == benchmark)
        section.figures.append(Figure.of(benchmark, error_bars(one, "model", "benchmark", 150)))
    section.tables.append(Table(table.columns, table.rows()))
    return section


def _evaluated(recipe: Recipe, stage: Stage) -> str:
    (model,) = recipe.inputs(stage, "model")
    return "student" if model.kind == "student" else "base"


def published(scores: pl.DataFrame) -> pl.DataFrame:
    """The paper's scores on the same benchmarks, in the columns of ``scores``."""
    told = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    rows = [
        {"model": model, "benchmark": benchmark, "score": score}
        for model, by_benchmark in told.items()
        for benchmark, score in by_benchmark.items()
        if benchmark in scores["benchmark"].to_list()
    ]
    schema = {name: scores.schema[name] for name in ("model", "benchmark", "score")}
    return pl.DataFrame(rows, schema=schema)


def experiments_section(experiments: Sequence[tuple[str, Path, Path]]) -> Section | None:
    """The arms of the experiments that vary this recipe."""
    if not experiments:
        return None
    section = Section("experiments", "Experiments")
    columns = {"arm": pl.String, "benchmark": pl.String, "score": pl.Float64, "standard_error": pl.Float64}
    for name, scores, summary in experiments:
        table = read_table(scores, columns)
        section.text += [f"{name}: {line}" for line in _plain(summary.read_text(encoding="utf-8"))]
        for benchmark in table["benchmark"].unique(maintain_order=True).head(6):
            one = table.filter(pl.col("benchmark") == benchmark)
            section.figures.append(Figure.of(f"{name}: {benchmark}", error_bars(one, "arm", "benchmark", 150)))
        section.tables.append(Table(table.columns, table.rows(), name))
    return section


def _plain(markdown: str) -> list[str]:
    """The paragraphs of a summary without its headings and emphasis."""
    blocks = [block.strip() for block in markdown.split("\n\n")]
    return [
        block.replace("**", "").replace("\n", " ") for block in blocks if block and not block.startswith(("#", "|"))
    ]


def spending_section(sources: Sources) -> Section | None:
    """Planned against spent, by stage."""
    if not sources.planned:
        return None
    section = Section("spending", "Planned and spent")
    section.text = [
        "The plan's estimate beside what the stages left behind: requests and tokens from their tables (what was taken "
        "from the store counts too), dollars at the catalog's live price, hours of wall time of all jobs one after the "
        "other, GPU-hours of the jobs that hold GPUs.",
    ]
    rows, whole = [], Spent()
    for told in sources.planned:
        if told["stage"] == "total":
            continue
        took = Spent()
        for stage in sources.recipe.of_kind(told["stage"]):
            took += _spent(sources, stage, told.get("gpus", 0))
        whole += took
        rows.append(_planned_row(told, took))
    rows += [_planned_row(told, whole) for told in sources.planned if told["stage"] == "total"]
    columns = ["stage"]
    for measure in ("requests", "tokens in", "tokens out", "dollars", "GPU-hours"):
        columns += [f"{measure}, planned", "spent"]
    section.tables.append(Table([*columns, "hours of jobs"], rows))
    return section


def _spent(sources: Sources, stage: Stage, gpus: float) -> Spent:
    price = None
    for model in sources.recipe.inputs(stage, "model"):
        price = model.about.get("price")
    return spent(stage.folder, sources.usage, price, gpus)


def _planned_row(told: Mapping[str, Any], took: Spent) -> tuple[Any, ...]:
    return (
        told["stage"], told["requests"], took.requests, told["input_tokens"], took.input_tokens,
        told["output_tokens"], took.output_tokens, float(told["usd_live"]), took.usd, float(told["gpu_hours"]),
        took.gpu_hours, took.hours,
    )  # fmt: skip


def resources_section(folder: Path) -> Section | None:
    """Time and memory by rule."""
    if not any(folder.glob("*/**/*.jsonl")):
        return None
    table = usage(usage_files(folder))
    section = Section("resources", "Time and memory")
    section.text = ["All jobs of each rule in this folder of results, as Snakemake measured them."]
    for column, title in (("seconds", "wall time of all jobs (s)"), ("memory_mb", "largest memory of a job (MB)")):
        bars = table.select("rule", count=pl.col(column)).drop_nulls()
        if not bars.is_empty():
            section.figures.append(Figure.of(title, counted_bars(bars, "rule", title)))
    section.tables.append(Table(table.columns, table.rows()))
    return section


def lock_section(recipe: Recipe) -> Section:
    """What the recipe is pinned to: datasets, models, versions, prompts, and every stage's settings."""
    section = Section("lock", "What it was made of")
    rows = []
    for stage in recipe.of_kind("source", "benchmark", "model"):
        entry, pin = stage.settings.get("entry", {}), stage.settings.get("pin")
        place = next(
            (entry[key] for key in ("dataset", "repository", "api_model", "package", "path") if key in entry), ""
        )
        pinned = pin.get("revision") if isinstance(pin, Mapping) else pin
        licence = stage.about.get("licence", "unknown")
        rows.append((stage.kind, _name(stage), place, pinned or json.dumps(pin) if pin else "", licence))
    section.tables.append(Table(("kind", "name", "from", "commit or checksum", "licence"), rows))
    section.tables.append(Table(("program", "version"), list(recipe.versions.items())))
    prompts: dict[str, None] = {}
    for stage in recipe.stages.values():
        prompts |= dict.fromkeys(path for path in (stage.about.get("prompt"), *stage.about.get("prompts", ())) if path)
    for path in prompts:
        if Path(path).is_file():
            section.folds.append(Fold(f"Prompt {Path(path).stem}", Path(path).read_text(encoding="utf-8")))
    for stage in recipe.stages.values():
        told = {"settings": stage.settings, "inputs": stage.inputs}
        section.folds.append(Fold(f"{stage.kind} {stage.identity}", json.dumps(told, indent=2, ensure_ascii=False)))
    return section


def rows_section(recipe: Recipe) -> Section:
    """A few hundred rows of the dataset; its rows are shuffled, so its head is a sample of every domain."""
    (dataset,) = recipe.of_kind("dataset")
    table = scan_table(dataset.path, DATASET).head(ROWS).collect()
    rows = [_row(row) for row in table.iter_rows(named=True)]
    section = Section("rows", "Rows")
    note = f"The first {len(rows):,} of {dataset.rows or 0:,} rows. The search finds rows that have all of its words."
    section.browser = Browser("rows", "answer", rows, note)
    return section


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    question, text = (row["conversations"][turn]["value"] for turn in (0, 1))
    before, closed, answer = text.rpartition("</think>")
    if not closed and text.lstrip().startswith("<think>"):
        before, answer = text, "(cut off before the reasoning ended)"
    told = [row["domain"], row["source"], row["question_id"], f"sample {row['sample']}"]
    if row["difficulty"] is not None:
        told.append(f"difficulty {row['difficulty']}")
    return {
        "group": row["domain"],
        "title": ", ".join(told),
        "question": _shortened(question),
        "reasoning": _shortened(before.replace("<think>", "", 1).strip()),
        "answer": _shortened(answer.strip()),
    }


def _shortened(text: str) -> str:
    left_out = len(text) - MOST_CHARACTERS
    return text if left_out <= 0 else f"{text[:MOST_CHARACTERS]}\n[… {left_out:,} characters more]"
