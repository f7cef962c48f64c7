"""The register: what every kind of stage is. Nothing else in the workflow lists kinds.

A kind says where its files lie, what it is called on pages and whether it drops rows. One that asks a model also says
how: with which program, about which of its inputs, with which settings, and how many tokens a request takes. Programs,
shards, estimates, spending, memory, plots and pages all read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openthoughts.plan.expectations import (
    EVALUATION_TOKENS,
    QUESTION_TOKENS,
    Length,
    answer_tokens,
    checkpoint_gigabytes,
    classifier_gigabytes,
    expected_rows,
    model_gigabytes,
    question_tokens,
    tokenized_gigabytes,
    training_gigabytes,
    unknown_rows,
    unknown_weights,
)
from openthoughts.questions.labels import METHODS

if TYPE_CHECKING:
    from openthoughts.plan.stages import Stage

EXAMPLES = ("positives", "negatives")
"""Roles of the tables of good and bad examples."""

Requests = Callable[["Stage"], Iterable[tuple["Stage", int]]]
"""Tables of questions that a stage asks about, with the requests per question."""

Tokens = Callable[["Stage"], tuple[float, float | None]]
"""Tokens (in, out) of one request of a stage; null where the catalog does not say."""


def bounded(tokens_in: float, tokens_out: float) -> Tokens:
    """So many tokens per request, at most ``max_tokens`` of them out."""
    return lambda stage: (tokens_in, min(tokens_out, stage.settings["sampling"]["max_tokens"]))


def embedded(stage: Stage) -> tuple[float, float | None]:
    """Tokens of one embedding: the question's."""
    return question_tokens(stage.inputs.get("questions", ())) or QUESTION_TOKENS, 0


def answered(stage: Stage) -> tuple[float, float | None]:
    """Tokens of one answer to a question, as long as the catalog says that the model's answers are."""
    asked = question_tokens(stage.inputs["questions"]) or QUESTION_TOKENS
    return asked + stage.execution.get("prompt_tokens", 0), answer_tokens(stage)


def labelled(stage: Stage) -> tuple[float, float | None]:
    """Tokens of one label: of the prompt and the question where the catalog says how long it is, else the method's."""
    tokens_in, tokens_out = bounded(*METHODS[stage.settings["method"]].tokens)(stage)
    asked = question_tokens(stage.inputs["questions"])
    return tokens_in if asked is None else asked + stage.execution.get("prompt_tokens", 0), tokens_out


def evaluated(stage: Stage) -> tuple[float, float | None]:
    """Tokens of one answer to a benchmark's question."""
    longest = stage.settings["sampling"]["max_tokens"]
    prompts = stage.execution["prompt_tokens"]
    weights = [samples * (expected_rows(questions) or 1) for questions, samples in each_task(stage)]
    asked = [question_tokens([table]) or QUESTION_TOKENS for table in stage.inputs["benchmarks"]]
    all_asked = sum(weight * (tokens + prompt) for weight, tokens, prompt in zip(weights, asked, prompts, strict=True))
    return all_asked / sum(weights), answer_tokens(stage) or min(EVALUATION_TOKENS, longest)


def each_question(stage: Stage) -> Iterable[tuple[Stage, int]]:
    """Every question of the stage's input, as often as its setting ``samples`` says, else once."""
    return [(questions, stage.settings.get("samples", 1)) for questions in stage.inputs["questions"]]


def each_answer(stage: Stage) -> Iterable[tuple[Stage, int]]:
    """Every answer to the questions of the stage's input."""
    return [(stage.input("questions"), stage.input("answers").settings["samples"])]


def each_example(stage: Stage) -> Iterable[tuple[Stage, int]]:
    """Every example, good or bad; at most ``most`` of each table."""
    return [(table, 1) for role in EXAMPLES for table in stage.inputs[role]]


def each_task(stage: Stage) -> Iterable[tuple[Stage, int]]:
    """Every question of every benchmark."""
    tasks = zip(stage.inputs["benchmarks"], stage.settings["tasks"], strict=True)
    return [(questions, task["samples"]) for questions, task in tasks]


def each_judged(stage: Stage) -> Iterable[tuple[Stage, int]]:
    """Every answer to a benchmark."""
    return [(stage.input("questions"), stage.execution["samples"])]


@dataclass(frozen=True)
class Input:
    """An input of a program: its argument, the role of the stages it is from, and the file (null: their main file)."""

    flag: str
    role: str
    file: str | None = None


QUESTIONS, MODEL = Input("questions", "questions"), Input("model", "model")


@dataclass(frozen=True)
class Inference:
    """How a stage asks a model. A rule of the program's name runs it, once per shard."""

    program: str
    inputs: tuple[Input, ...]
    """Its inputs; a stage asks in this way if it has all of their roles."""
    settings: tuple[str, ...] = ("sampling", "seed")
    """The settings that the program takes."""
    tokens: Tokens = embedded
    requests: Requests = each_question
    folder: str | None = "completions"
    """Where shards lie below the stage's folder; null where one job asks for everything."""
    file: str = "completions.parquet"
    """What a single job writes."""
    each_row: bool = False
    """Asks about every row of a table, not once about each different question."""
    use: str = ""
    """What the model is used for, in words; empty where it answers questions."""
    lengths_by_model: bool = False
    """Its answers are as long as the catalog says that the model's are."""
    shared: bool = False
    """Its settings, and nothing else, decide an answer, so stages with the same settings share it."""
    embeds: bool = False
    """Asks for embeddings, which a local model gives without the completion store."""
    client_mb: int = 8_000
    engine_mb: int = 64_000
    gpu_mb: int = 32_000
    """Memory of a job: its client's, or its engine's with what each of the engine's GPUs adds."""

    def threads(self, entry: Mapping[str, Any], gpus: int) -> int:
        """Cores of a job that asks the model of a catalog entry: one for a client, three more per GPU of an engine."""
        return 1 if entry["kind"] == "api" else 1 + 3 * max(1, gpus)

    def memory_mb(self, gpus: int, attempt: int = 1) -> int:
        """Memory (MB) of a job whose engine has so many GPUs; twice as much after a failure."""
        return (self.engine_mb + self.gpu_mb * gpus if gpus else self.client_mb) * min(attempt, 2)


@dataclass(frozen=True)
class Kind:
    """A kind of stage."""

    folder: str
    file: str = "questions.parquet"
    """Its main file."""
    version: int = 1
    """Raised when its output changes for equal settings."""
    label: str = ""
    """What its rows are called on pages and plots, such as "drawn"."""
    nested: bool = False
    """Keeps the first questions of an order: what settings of size alone make smaller is part of the larger."""
    drops: bool = False
    """Keeps some rows of questions and writes the others to ``dropped.parquet``: a level of the funnel."""
    fetched: str = ""
    """What stages of the kind are called, where they are fetched from outside; empty for those that are made."""
    asks: tuple[Inference, ...] = ()
    """The ways in which it may ask a model; a stage asks in the first whose inputs it has."""
    trained_by: str = ""
    """The program that trains a model, on the GPUs of the stage's ``execution``."""
    jobs: int = 1
    """Jobs of a stage that has no shards."""
    gigabytes: Callable[[Stage, Length], float] = lambda stage, length: 0.0
    """Disk that a stage takes, beside the answers that it asks for; given are the lengths of answers, too."""
    unsized: Callable[[Stage, Length], set[str]] = lambda stage, length: set()
    """What is missing to know all of that disk, each as a phrase."""
    scratch_gigabytes: Callable[[Stage], float] = lambda stage: 0.0
    """Disk that a stage takes only while it runs."""
    spread: tuple[float, float] = (0.9, 2.2)
    """How far dollars and GPU-hours may lie below and above the estimate, as factors.

    Labels: 1,500 to 3,700 tokens in and 50 to 100 out per question. Answers and trainings: what vLLM's public
    figures, and those of trainings, spread about the plan's speeds (benchmarks/performance). Others have the spread of
    labels.
    """


WRITING = Inference(
    "write_questions",
    (QUESTIONS, MODEL),
    ("step", "domain", "sampling", "seed"),
    tokens=bounded(2500, 300),  # a page with a prompt; a question with the reason
    use="writing",
    shared=True,
)
EMBEDDING = Inference(
    "embed_questions", (QUESTIONS, Input("direction", "direction"), MODEL), (), folder="similarities", embeds=True
)
LABELLING = Inference(
    "label_questions",
    (QUESTIONS, MODEL),
    ("method", "attempts", "sampling", "seed"),
    tokens=labelled,
    use="labels by {about}",
    shared=True,
)
DIRECTING = Inference(
    "embed_examples",
    (Input("positives", "positives"), Input("negatives", "negatives"), MODEL),
    ("most", "seed"),
    requests=each_example,
    folder=None,
    file="direction.json",
    embeds=True,
)
ANSWERING = Inference(
    "sample_answers",
    (QUESTIONS, MODEL),
    ("samples", "sampling", "seed"),
    tokens=answered,
    folder="shards",
    each_row=True,
    lengths_by_model=True,
    shared=True,
)
VERIFYING = Inference(
    "verify_answers",
    (QUESTIONS, Input("answers", "answers"), MODEL),
    tokens=bounded(1500, 300),  # a rubric with question and answer; the reasons with the verdict
    requests=each_answer,
    each_row=True,
    use="verdicts on answers",
    shared=True,
)
EVALUATING = Inference(
    "sample_evaluation",
    (MODEL, Input("", "benchmarks")),
    tokens=evaluated,
    requests=each_task,
    folder=None,
    use="evaluation",
    lengths_by_model=True,
    shared=True,
)
JUDGING = Inference(
    "judge_answers",
    (QUESTIONS, Input("completions", "evaluation", "completions.parquet"), MODEL),
    ("benchmark", "sampling", "seed"),
    tokens=bounded(1500, 150),  # a rubric with the question and the answer; the verdict and why
    requests=each_judged,
    folder=None,
    use="judging",
    shared=True,
)

KINDS: Mapping[str, Kind] = {
    "source": Kind("sources", label="sourced", fetched="question sources"),
    "thinned": Kind("thinned", label="thinned", nested=True, drops=True),
    "written": Kind("written", label="written", asks=(WRITING,)),
    "clean": Kind("clean", label="decontaminated", drops=True),
    "classifier": Kind("classifiers", "classifier.bin", gigabytes=classifier_gigabytes),
    "direction": Kind("directions", "direction.json", asks=(DIRECTING,)),
    "labels": Kind("labels", "labels.parquet", asks=(EMBEDDING, LABELLING)),
    "selected": Kind("selected", label="selected", nested=True, drops=True),
    "mixed": Kind("mixed", label="mixed"),
    "limited": Kind("limited", label="short enough", drops=True),
    "deduplicated": Kind("deduplicated", label="deduplicated", drops=True),
    "drawn": Kind("drawn", label="drawn", nested=True, drops=True),
    "answers": Kind("answers", "completions.parquet", label="answered", asks=(ANSWERING,), spread=(0.7, 2.0)),
    "measured": Kind("measured", "measures.parquet", version=2),
    "assessed": Kind("assessed", "assessments.parquet", asks=(VERIFYING,)),
    "filtered": Kind("filtered", "completions.parquet", version=2, label="filtered"),
    "dataset": Kind("datasets", "dataset.parquet", version=2, label="dataset rows"),
    "model": Kind("models", "model.json", fetched="models", gigabytes=model_gigabytes, unsized=unknown_weights),
    "tokenized": Kind("tokenized", "statistics.json", gigabytes=tokenized_gigabytes, unsized=unknown_rows),
    "student": Kind(
        "students",
        "model.json",
        trained_by="train_student",
        gigabytes=training_gigabytes,
        unsized=unknown_weights,
        scratch_gigabytes=checkpoint_gigabytes,
        spread=(0.7, 1.6),
    ),
    "benchmark": Kind("benchmarks", fetched="benchmarks"),
    "evaluation": Kind("evaluations", "scores.parquet", asks=(EVALUATING,), jobs=2, spread=(0.7, 2.0)),
    "judged": Kind("judged", "completions.parquet", asks=(JUDGING,)),
    "experiment": Kind("experiments", "scores.parquet", version=2, jobs=2),
}
"""In the order the data flows; models and benchmarks stand before what is made with them last."""

LABELS: Mapping[str, str] = {name: kind.label or name for name, kind in KINDS.items()}
"""Kinds in the words of pages and plots."""

FETCHED: Mapping[str, str] = {name: kind.fetched for name, kind in KINDS.items() if kind.fetched}
"""The kinds that are fetched from outside, and so pinned, and what they are called."""

DROPPING = tuple(name for name, kind in KINDS.items() if kind.drops)
"""The kinds that keep some rows of questions and write down those that they drop."""

LEVELS: Mapping[str, str] = {name: LABELS[name] for name in ("source", *DROPPING)}
"""The levels of the funnel of questions, from the sources, and what their questions are called."""


def inference(stage: Stage) -> Inference | None:
    """How a stage asks a model; null where it asks none."""
    for each in KINDS[stage.kind].asks:
        if all(one.role in stage.inputs for one in each.inputs):
            return each
    return None


def asked(stages: Iterable[Stage]) -> list[Stage]:
    """The models of the catalog that stages ask (a student counts as the model that it was trained from)."""
    found = []
    for stage in stages:
        if inference(stage):
            model = stage.input("model")
            found.append(model.input("model") if "model" in model.inputs else model)
    return list(dict.fromkeys(found))


def kind_in(folder: str) -> Kind | None:
    """The kind whose stages lie in a folder of the results; null where there is none."""
    return next((kind for kind in KINDS.values() if kind.folder == folder), None)


def engine_programs() -> frozenset[str]:
    """The rules whose jobs hold GPUs, where the model is a local one."""
    return asking_programs() | frozenset({kind.trained_by for kind in KINDS.values() if kind.trained_by})


def asking_programs() -> frozenset[str]:
    """The rules that ask models."""
    return frozenset(each.program for kind in KINDS.values() for each in kind.asks)
