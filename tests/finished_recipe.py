"""A small recipe finished within seconds: the stages' own programs make its results, and a script plays the models.

Its questions and answers are full of HTML and scripts, which must come out as text wherever they are shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from tests.answer_tables import completion

import assemble_dataset
import compare_arms
import decontaminate
import deduplicate
import describe_recipe
import draw_questions
import fetch_source
import filter_answers
import grade_answers
import limit_length
import measure_answers
import measure_sensitivity
import mix_sources
import parse_labels
import select_questions
from openthoughts.base.tables import COMPLETIONS, EVALUATION_COMPLETIONS, write_table
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.config import merged
from openthoughts.plan.plan_file import content_path, plan_text, write_once
from openthoughts.plan.planner import make_plan
from openthoughts.plan.stages import Plan, RecipePlan, Stage

ROOT = Path(__file__).resolve().parents[1]

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><!-- &lt;b&gt;"
"""Ends a script, starts one, has a handler, opens a comment, and holds an entity that must stay as it is."""

SENTENCE = "how many ways are there to choose points on a circle so that no two of them touch each other"
WORDS = SENTENCE.split()
LEAK = "Let n be a positive integer such that n squared plus n plus one divides n to the power of 2025 plus twenty."

EXAM = {LEAK: "3", f"What is two and two? {HOSTILE}": "4", "Which prime lies between 8 and 12?": "11"}


def questions(start: int) -> list[str]:
    """Questions of a source: one leaks, one leaks in part, one stands twice, one is nearly another, one is hostile."""
    texts = [
        f"{' '.join(WORDS[number % 7 :])}, if there are {number} points and {number**7 % 99991} lines?"
        for number in range(start, start + 30)
    ]
    nearly = texts[1].replace("circle", "circles")
    part = f"A farmer wrote on a wall: {LEAK} {'He asked his sheep, and they did not know. ' * 6}"
    return [*texts, LEAK, part, texts[0], nearly, f"Is {start} {HOSTILE} prime?"]


def answer(question: str, sample: int) -> str:
    """An answer with reasoning; some answers to a question agree, and some hold a script."""
    value = len(question) % 7 if sample < 3 else sample
    reasoning = f"Let me see. {HOSTILE} {'Then. ' * (len(question) % 40)}"
    return f"<think>\n{reasoning}\n</think>\n\nSo \\boxed{{{value}}}. {HOSTILE}"


CONFIG: dict[str, Any] = {
    "targets": ["tiny", "choices"],
    "accelerator": "cpu",
    "recipes": {
        "tiny": {
            "decontaminate": {"benchmarks": ["exam"], "sensitivity": True},
            "limit": {"max_tokens": 400, "tokenizer": "qwen"},
            "answers": {"teacher": "oracle", "samples": 4, "sampling": {"max_tokens": 2000}},
            "domains": {
                "math": {
                    "sources": ["sums", "circles"],
                    "select": {"by": "response_length", "model": "oracle", "keep": 50},
                    "deduplicate": {"level": "fuzzy", "similarity": 99},
                    "draw": 25,
                },
                "code": {
                    "sources": ["programs"],
                    "select": {"by": "random", "keep": 20},
                    "deduplicate": {"level": "none"},
                },
            },
            "training": {"student": "smollm2-135m-instruct", "scale": "demo", "gpus": 0},
            "evaluation": {"benchmarks": ["exam"], "samples": 4},
        }
    },
    "experiments": {"choices": {"base": "tiny", "vary": {"filter.by": ["none", "majority"]}}},
}


@dataclass(frozen=True)
class Finished:
    """The results of the recipe: its folder, its configuration and its plan."""

    folder: Path
    config: Mapping[str, Any]
    plan: Plan

    @property
    def recipe(self) -> RecipePlan:
        return self.plan.recipes["tiny"]

    @property
    def manifest(self) -> Path:
        return Path(self.plan.results) / "recipes/tiny/manifest.json"

    def plan_file(self, **changes: Any) -> Path:
        """The plan as the workflow writes it, of the configuration with some changes (as of ``merged``)."""
        config = merged(self.config, changes)
        text = plan_text(config, make_plan(config, read_catalog(config["catalog"])))
        path = content_path(self.folder / "plans", text, ".json")
        write_once(path, text)
        return path

    @property
    def experiment(self) -> Path:
        """The comparison of the experiment's arms."""
        return Path(self.plan.path(self.plan.experiments["choices"].stage))


def finished_recipe(folder: Path) -> Finished:
    """Make the results of the recipe under ``folder``."""
    config = merged(CONFIG, {"results": str(folder / "results"), "store": str(folder / "store")})
    config = merged(config, {"catalog": [str(ROOT / "catalog"), str(ROOT / "demo/catalog"), str(_catalog(folder))]})
    plan = make_plan(config, read_catalog(config["catalog"]))
    stages = dict.fromkeys(plan.recipes["tiny"].stages())
    for experiment in plan.experiments.values():
        for arms in experiment.arms.values():
            stages |= dict.fromkeys(stage for arm in arms for stage in arm.stages())
        stages[experiment.stage] = None
    for stage in stages:
        Path(plan.path(stage)).parent.mkdir(parents=True)
        MAKE[stage.kind](plan, stage)
    _usage(Path(plan.results) / "usage")
    made = Finished(folder, config, plan)
    describe(made)
    return made


def describe(made: Finished, output: Path | None = None) -> None:
    """Write the recipe's manifest, with the arguments that the rule gives."""
    given = ["--plan", str(made.plan_file()), "--recipe", "tiny", "--output", str(output or made.manifest)]
    _run(describe_recipe.main, given)


def _catalog(folder: Path) -> Path:
    """The recipe's own sources, benchmark and teacher."""
    own = folder / "own"
    own.mkdir(parents=True)
    sources = {}
    for place, (name, domain) in enumerate((("sums", "math"), ("circles", "math"), ("programs", "code"))):
        rows = [{"question": text} for text in questions(3 + 40 * place)]
        (own / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sources[name] = {"connector": "local", "domain": domain, "path": str(own / f"{name}.jsonl"), "rows": 35}
        sources[name] |= {"column": "question", "licence": "cc-by-4.0"}
    rows = [{"question": text, "answer": reference} for text, reference in EXAM.items()]
    (own / "exam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    exam = {"connector": "local", "domain": "math", "path": str(own / "exam.jsonl"), "column": "question"}
    exam |= {"reference": "answer", "grader": "math", "rows": 3}
    oracle = {"kind": "api", "api_model": "oracle-1", "base_url": "http://localhost", "api_key_variable": "KEY"}
    oracle |= {"price": {"input": 1.0, "output": 4.0, "batch": 0.5}, "serving": {"tokens_per_answer": 200}}
    for name, entries in (("sources", sources), ("benchmarks", {"exam": exam}), ("models", {"oracle": oracle})):
        (own / f"{name}.yaml").write_text(yaml.safe_dump(entries))
    return own


def _run(program: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> None:
    assert program(arguments) == 0, arguments


def _inputs(plan: Plan, stage: Stage, role: str = "questions", file: str | None = None) -> list[str]:
    return [plan.path(one, file) for one in stage.inputs.get(role, ())]


def _outputs(plan: Plan, stage: Stage) -> list[str]:
    return ["--output", plan.path(stage), "--dropped", plan.path(stage, "dropped.parquet")]


def _fetched(plan: Plan, stage: Stage) -> None:
    entry = stage.settings["entry"]
    given = ["--name", stage.settings["name"], "--domain", entry["domain"], "--entry", json.dumps(entry)]
    _run(fetch_source.main, [*given, "--output", plan.path(stage)])


def _model(plan: Plan, stage: Stage) -> None:
    told = {"name": stage.settings.get("name", stage.id), "identity": "a model that a script plays"}
    Path(plan.path(stage)).write_text(json.dumps(told))


def _clean(plan: Plan, stage: Stage) -> None:
    given = ["--questions", *_inputs(plan, stage), "--benchmarks", *_inputs(plan, stage, "benchmarks")]
    _run(decontaminate.main, [*given, *_outputs(plan, stage)])
    _run(measure_sensitivity.main, [*given, "--output", plan.path(stage, "sensitivity.parquet")])


def _labels(plan: Plan, stage: Stage) -> None:
    (asked,) = _inputs(plan, stage)
    texts = pl.read_parquet(asked)["question"].unique().sort()
    rows = [completion(text, 0, "x" * (20 + len(text) % 31)) for text in texts]
    path = plan.path(stage, "completions/0-of-1.parquet")
    write_table(pl.DataFrame(rows, dict(COMPLETIONS)).sort("question_id"), path, COMPLETIONS)
    given = ["--questions", asked, "--completions", path, "--method", stage.settings["method"]]
    _run(parse_labels.main, [*given, "--output", plan.path(stage)])


def _selected(plan: Plan, stage: Stage) -> None:
    given = ["--questions", *_inputs(plan, stage), "--by", stage.settings["by"], "--seed", "42"]
    given += ["--keep", str(stage.settings["keep"]), "--count", stage.settings.get("counted", "rows")]
    labels = _inputs(plan, stage, "labels")
    _run(select_questions.main, [*given, *(["--labels", *labels] if labels else []), *_outputs(plan, stage)])


def _mixed(plan: Plan, stage: Stage) -> None:
    _run(mix_sources.main, ["--questions", *_inputs(plan, stage), "--seed", "42", "--output", plan.path(stage)])


def _limited(plan: Plan, stage: Stage) -> None:
    given = ["--questions", *_inputs(plan, stage), "--tokenizer", stage.settings["tokenizer"]]
    given += ["--max-tokens", str(stage.settings["max_tokens"])]
    _run(limit_length.main, [*given, *_outputs(plan, stage)])


def _deduplicated(plan: Plan, stage: Stage) -> None:
    given = ["--questions", *_inputs(plan, stage), "--level", stage.settings["level"]]
    given += ["--similarity", str(stage.settings.get("similarity", 100))]
    _run(deduplicate.main, [*given, *_outputs(plan, stage)])


def _drawn(plan: Plan, stage: Stage) -> None:
    given = ["--questions", *_inputs(plan, stage), "--count", str(stage.settings["count"] or "all"), "--seed", "42"]
    _run(draw_questions.main, [*given, *_outputs(plan, stage)])


def _answers(plan: Plan, stage: Stage) -> None:
    (drawn,) = _inputs(plan, stage)
    samples = stage.settings["samples"]
    asked = pl.read_parquet(drawn).group_by("question").agg(repeats=pl.len()).sort("question")
    rows = [
        completion(
            text, sample, answer(text, sample) if len(text) % 31 or sample else None,
            "length" if (len(text) + sample) % 9 == 0 else "stop",
        )
        for text, repeats in asked.iter_rows() for sample in range(repeats * samples)
    ]  # fmt: skip
    table = pl.DataFrame(rows, dict(COMPLETIONS)).sort("question_id", "sample")
    write_table(table, plan.path(stage), COMPLETIONS)


def _measured(plan: Plan, stage: Stage) -> None:
    given = ["--questions", *_inputs(plan, stage), "--answers", *_inputs(plan, stage, "answers")]
    _run(measure_answers.main, [*given, "--settings", json.dumps(stage.settings), "--output", plan.path(stage)])


def _filtered(plan: Plan, stage: Stage) -> None:
    given = ["--questions", *_inputs(plan, stage), "--answers", *_inputs(plan, stage, "answers")]
    given += [text for path in _inputs(plan, stage, "measured") for text in ("--measured", path)]
    _run(filter_answers.main, [*given, "--by", stage.settings["by"], *_outputs(plan, stage)])


def _dataset(plan: Plan, stage: Stage) -> None:
    roles = [_inputs(plan, stage, role) for role in ("drawn", "answers", "measured")]
    given: list[str] = []
    for domain, *tables in zip(stage.settings["domains"], *roles, strict=True):
        given += ["--domain", domain, *tables]
    given += ["--recipe", stage.id, "--seed", "42", "--output", plan.path(stage)]
    given += ["--licences", json.dumps(dict.fromkeys(("sums", "circles", "programs"), "cc-by-4.0"))]
    for name, file in (("info", "dataset_info.json"), ("card", "README.md"), ("counts", "counts.json")):
        given += [f"--{name}", plan.path(stage, file)]
    _run(assemble_dataset.main, given)


def _tokenized(plan: Plan, stage: Stage) -> None:
    parts = [("<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n", False), ("It is 4.<|im_end|>\n", True)]
    shown = [{"text": text, "trained": trained, "tokens": 12} for text, trained in parts]
    told = {
        "rows": 170, "tokens": 20_000, "trained_tokens": 15_000, "cut_share": 0.02, "cutoff": 512, "packed_rows": 160,
        "dropped": {"answer": 7, "question": 3}, "special_rows": 1, "template": "qwen", "digest": "d" * 64,
        "sample": [{"row": row, "tokens": 24, "parts": shown} for row in (0, 85, 169)],
    }  # fmt: skip
    Path(plan.path(stage)).write_text(json.dumps(told))


def _student(plan: Plan, stage: Stage) -> None:
    weights = Path(plan.path(stage, "weights"))
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes(bytes(1000))
    told = {"name": stage.id, "identity": "sha256:0", "path": "weights", "digest": "0", "chat_template": "0"}
    Path(plan.path(stage)).write_text(json.dumps(told))
    steps = list(range(1, 41))
    table = {"step": steps, "loss": [2 - step / 50 for step in steps], "learning_rate": [1e-5 / step for step in steps]}
    pl.DataFrame(table).write_parquet(plan.path(stage, "metrics.parquet"))


def _evaluation(plan: Plan, stage: Stage) -> None:
    (exam,) = _inputs(plan, stage, "benchmarks")
    knows = stage.input("model").kind == "student"
    rows = [
        {"benchmark": "exam", **completion(text, sample, rf"\boxed{{{reference if knows or sample % 2 else 0}}}")}
        for text, reference in EXAM.items()
        for sample in range(4)
    ]
    table = pl.DataFrame(rows, dict(EVALUATION_COMPLETIONS)).sort("benchmark", "question_id", "sample")
    write_table(table, plan.path(stage, "completions.parquet"), EVALUATION_COMPLETIONS)
    given = ["--completions", plan.path(stage, "completions.parquet"), "--benchmark", "exam", exam, "math"]
    _run(grade_answers.main, [*given, "--output", plan.path(stage, "grades.parquet"), "--scores", plan.path(stage)])


def _experiment(plan: Plan, stage: Stage) -> None:
    given = ["--experiment", stage.settings["experiment"], "--compare-to", "none", "--output", plan.path(stage)]
    for arm, evaluation in zip(stage.settings["arms"], stage.inputs["evaluations"], strict=True):
        given += ["--arm", arm, plan.path(evaluation), plan.path(evaluation, "grades.parquet")]
    for name, file in (("table", "scores.tsv"), ("plot", "plot.svg"), ("summary", "summary.md")):
        given += [f"--{name}", plan.path(stage, file)]
    _run(compare_arms.main, given)


def _usage(folder: Path) -> None:
    """Snakemake's own measurements of some jobs."""
    for rule, seconds in (("decontaminate", 12.5), ("train_student", 3600.0), ("sample_answers", 1800.0)):
        (folder / rule).mkdir(parents=True)
        measured = {"s": seconds, "max_rss": 700.0 + seconds, "cpu_time": 2 * seconds}
        (folder / rule / "x.jsonl").write_text(json.dumps(measured) + "\n")


MAKE: Mapping[str, Callable[[Plan, Stage], None]] = {
    "source": _fetched, "benchmark": _fetched, "model": _model, "clean": _clean, "labels": _labels,
    "selected": _selected, "mixed": _mixed, "limited": _limited, "deduplicated": _deduplicated, "drawn": _drawn,
    "answers": _answers, "measured": _measured, "filtered": _filtered, "dataset": _dataset, "tokenized": _tokenized,
    "student": _student, "evaluation": _evaluation, "experiment": _experiment,
}  # fmt: skip
"""Kind of stage -> what makes its results."""
