"""The scripts that ask, against a server on loopback: what they write, what they ask for again, and how they fail."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from tests.asking_helpers import asking_arguments, servers, write_model, write_questions
from tests.fake_openai import API_KEY, FakeServer, Fault

import label_questions
import merge_answers
import openthoughts.inference.runner
import openthoughts.store.leases
import parse_labels
import sample_answers
import sample_evaluation
from openthoughts.asking.programs import PROGRAMS
from openthoughts.base.hashing import question_id, request_seed
from openthoughts.base.tables import COMPLETIONS, EVALUATION_COMPLETIONS, LABELS, read_table
from openthoughts.models.model import Model
from openthoughts.store.store import Store

TEXTS = [f"What is {number} + {number}? {{braces}} \U0001f600" for number in range(12)]
CATALOG_PROMPTS = Path(__file__).parents[2] / "catalog" / "prompts"


@pytest.fixture
def model(tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_model(tmp_path)
    monkeypatch.setenv("OPENTHOUGHTS_SERVERS", servers(path, server))
    return path


def sample(folder: Path, model: Path, *further: str, questions: str = "drawn", samples: int = 2) -> int:
    return sample_answers.main(
        [
            *("--questions", str(folder / f"{questions}.parquet"), "--samples", str(samples)),
            *("--shard", "0", "--shards", "1", "--output", str(folder / "answers.parquet")),
            *asking_arguments(folder, model, *further),
        ]
    )


def answers_of(folder: Path) -> pl.DataFrame:
    return read_table(folder / "answers.parquet", COMPLETIONS)


def test_every_sample_of_every_occurrence_is_asked_once(tmp_path: Path, model: Path, server: FakeServer) -> None:
    write_questions(tmp_path / "drawn.parquet", [*TEXTS, TEXTS[3]], [0] * 12 + [1])
    assert sample(tmp_path, model) == 0
    table = answers_of(tmp_path)
    assert table.height == 26
    assert table.equals(table.sort("question_id", "sample"))
    repeated = table.filter(pl.col("question_id") == question_id(TEXTS[3]))
    assert repeated.get_column("sample").to_list() == [0, 1, 2, 3]
    assert repeated.get_column("text").n_unique() == 4
    assert repeated.item(2, "seed") == request_seed(1, question_id(TEXTS[3]), 2)
    assert set(table.get_column("model")) == {"teacher"}
    assert all(count == 1 for count in server.asked.values())
    body = server.bodies[0]
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert body["messages"][0]["content"] in TEXTS
    explicit = {"temperature", "top_p", "max_tokens", "seed", "top_k", "min_p", "repetition_penalty"}
    assert explicit <= set(body)


def test_a_special_token_in_a_question_is_never_sent(tmp_path: Path, model: Path, server: FakeServer) -> None:
    """A server would make a real one of it; such a question fails with its reason, and is counted."""
    weights = tmp_path / "weights"
    weights.mkdir()
    tokens = [{"content": text, "special": special} for text, special in (("<|im_end|>", True), ("<tool>", False))]
    tokens.append({"content": "<think>", "special": True})
    (weights / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    held = "What does <|im_end|> mean?"
    write_questions(tmp_path / "drawn.parquet", ["What are <tool> and <think>?", "What is 2 + 2?", held])
    assert sample(tmp_path, model, "--max-failed", "0.5") == 0
    table = answers_of(tmp_path)
    failed = table.filter(pl.col("question_id") == question_id(held))
    assert set(failed.get_column("error")) == {"the prompt holds <|im_end|>, a special token of the model"}
    assert failed.get_column("text").null_count() == failed.height
    assert table.get_column("error").drop_nulls().len() == failed.height
    assert not any("<|im_end|>" in message["content"] for body in server.bodies for message in body["messages"])
    asked = len(server.bodies)
    assert sample(tmp_path, model, "--max-failed", "0.5") == 0
    assert len(server.bodies) == asked


def test_what_is_in_the_store_is_not_asked_again(tmp_path: Path, model: Path, server: FakeServer) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    assert sample(tmp_path, model) == 0
    first = (tmp_path / "answers.parquet").read_bytes()
    server.stop()
    (tmp_path / "answers.parquet").unlink()
    assert sample(tmp_path, model) == 0
    assert (tmp_path / "answers.parquet").read_bytes() == first


def test_a_shards_lease_goes_only_when_others_see_its_answers(
    tmp_path: Path, model: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    server.faults.append(Fault(status=401, where=lambda body: server.served.total() >= 5))
    release, seen = openthoughts.store.leases.release, []

    def look_and_release(lease: Path) -> None:
        if lease.name.startswith("shard-"):
            with Store(tmp_path / "store") as store:
                store.adopt_orphans()
                seen.append(store.statistics().get_column("answers").sum())
        release(lease)

    monkeypatch.setattr(openthoughts.store.leases, "release", look_and_release)
    assert sample(tmp_path, model) == 1
    assert seen == [server.served.total()], "who gets the lease would ask for the rest again"


def test_a_client_that_was_taken_for_dead_soon_keeps_its_answers_elsewhere(
    tmp_path: Path, model: Path, server: FakeServer
) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    server.latency = 3.0
    asking = threading.Thread(target=sample, args=(tmp_path, model, "--concurrency", "2"))
    asking.start()
    while server.served.total() < 4:
        time.sleep(0.02)
    time.sleep(0.5)
    for path in [*tmp_path.glob("store/journals/*"), *tmp_path.glob("store/writers/*")]:
        path.unlink()
    kept = 0
    while kept < 4 and asking.is_alive():
        with Store(tmp_path / "store") as store:
            kept = int(store.statistics().get_column("answers").sum()) if store.files().height else 0
        time.sleep(0.1)
    assert server.served.total() < 2 * len(TEXTS), "well before the run ends"
    server.latency = 0.0
    asking.join()
    assert answers_of(tmp_path).height == 2 * len(TEXTS)
    assert set(server.asked.values()) == {1}


def test_answers_that_could_not_be_stored_at_the_end_are_not_asked_for_again(
    tmp_path: Path, model: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    monkeypatch.setattr(openthoughts.inference.runner, "FOLD_BYTES", 1)
    server.latency = 0.1
    commit, failures = Store.commit_lines, iter([True])

    def fail_late(store: Store, writer: str, segment: int, lines: Sequence[bytes]) -> None:
        if next(failures, False):
            while store.waiting() < 2 * len(TEXTS):
                time.sleep(0.05)
            time.sleep(1.0)
            raise OSError(5, "Input/output error")
        commit(store, writer, segment, lines)

    monkeypatch.setattr(Store, "commit_lines", fail_late)
    with contextlib.suppress(OSError):
        sample(tmp_path, model, "--concurrency", "2")
    assert sample(tmp_path, model) == 0
    assert set(server.asked.values()) == {1}
    assert answers_of(tmp_path).height == 2 * len(TEXTS)


def test_more_samples_and_more_questions_ask_only_for_themselves(
    tmp_path: Path, model: Path, server: FakeServer
) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS[:6])
    write_questions(tmp_path / "grown.parquet", TEXTS)
    assert sample(tmp_path, model) == 0
    assert sample(tmp_path, model, questions="grown", samples=4) == 0
    assert answers_of(tmp_path).height == 48
    assert server.asked.total() == 48
    assert max(server.asked.values()) == 1


def test_shards_share_the_questions_and_merge_to_the_whole(tmp_path: Path, model: Path, server: FakeServer) -> None:
    questions = write_questions(tmp_path / "drawn.parquet", [*TEXTS, TEXTS[0]], [0] * 12 + [1])
    shards = [tmp_path / f"{shard}.parquet" for shard in range(3)]
    for shard, path in enumerate(shards):
        arguments = ["--questions", str(questions), "--samples", "2", "--shard", str(shard), "--shards", "3"]
        assert sample_answers.main([*arguments, "--output", str(path), *asking_arguments(tmp_path, model)]) == 0
    opening = write_model(tmp_path / "opening", opening="<think>\nSo, ")
    merged = tmp_path / "merged.parquet"
    merge = ["--questions", str(questions), "--samples", "2", "--model", str(opening), "--output", str(merged)]
    assert merge_answers.main([*merge, "--completions", *map(str, reversed(shards))]) == 0
    table = read_table(merged, COMPLETIONS)
    assert table.height == 26
    assert table.equals(table.sort("question_id", "sample"))
    assert set(table.get_column("text").str.starts_with("<think>\nSo, <think>\nabout")) == {True}


def test_a_merge_names_what_is_missing_twice_or_unexpected(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = write_questions(tmp_path / "drawn.parquet", TEXTS)
    write_questions(tmp_path / "other.parquet", TEXTS[:11])
    assert sample(tmp_path, model, questions="other") == 0
    answers = str(tmp_path / "answers.parquet")
    merge = ["--model", str(model), "--output", str(tmp_path / "merged.parquet")]
    assert merge_answers.main(["--questions", str(questions), "--samples", "2", *merge, "--completions", answers]) == 1
    assert "2 answers are missing" in capsys.readouterr().err
    other = ["--questions", str(tmp_path / "other.parquet"), "--samples"]
    assert merge_answers.main([*other, "2", *merge, "--completions", answers, answers]) == 1
    assert "22 answers are there twice" in capsys.readouterr().err
    assert merge_answers.main([*other, "1", *merge, "--completions", answers]) == 1
    assert "11 answers are unexpected" in capsys.readouterr().err
    assert not (tmp_path / "merged.parquet").exists()


def test_labels_by_structured_output(tmp_path: Path, model: Path, server: FakeServer) -> None:
    questions = write_questions(tmp_path / "drawn.parquet", TEXTS)
    prompt = CATALOG_PROMPTS / "difficulty_math.md"
    arguments = ["--questions", str(questions), "--method", "difficulty", "--prompt", str(prompt)]
    output = ["--shard", "0", "--shards", "1", "--output", str(tmp_path / "c.parquet")]
    assert label_questions.main([*arguments, *output, *asking_arguments(tmp_path, model)]) == 0
    body = server.bodies[0]
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert any(text in body["messages"][1]["content"] for text in TEXTS)
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["difficulty", "reasoning"]
    assert schema["additionalProperties"] is False
    labels = tmp_path / "labels.parquet"
    parse = ["--questions", str(questions), "--completions", str(tmp_path / "c.parquet"), "--method", "difficulty"]
    assert parse_labels.main([*parse, "--output", str(labels)]) == 0
    table = read_table(labels, LABELS)
    assert table.get_column("question_id").to_list() == sorted(map(question_id, TEXTS))
    assert table.get_column("value").is_between(1, 10).all()
    assert table.get_column("rationale").str.starts_with("because").all()


def test_a_label_that_cannot_be_read_is_asked_for_again_as_often_as_told(
    tmp_path: Path, model: Path, server: FakeServer
) -> None:
    questions = write_questions(tmp_path / "drawn.parquet", TEXTS)
    server.faults.append(Fault(answer={"content": "hard to say"}, times=3))
    prompt = CATALOG_PROMPTS / "ask_llm.md"
    arguments = ["--questions", str(questions), "--method", "ask_llm", "--prompt", str(prompt), "--attempts", "4"]
    output = ["--shard", "0", "--shards", "1", "--output", str(tmp_path / "c.parquet")]
    assert label_questions.main([*arguments, *output, *asking_arguments(tmp_path, model)]) == 0
    completions = read_table(tmp_path / "c.parquet", COMPLETIONS)
    assert completions.height == server.asked.total() == 15
    labels = tmp_path / "labels.parquet"
    parse = ["--questions", str(questions), "--completions", str(tmp_path / "c.parquet"), "--method", "ask_llm"]
    assert parse_labels.main([*parse, "--output", str(labels)]) == 0
    assert read_table(labels, LABELS).get_column("value").null_count() == 0


def test_no_attempt_but_the_first_is_made_where_none_is_wanted(tmp_path: Path, model: Path, server: FakeServer) -> None:
    questions = write_questions(tmp_path / "drawn.parquet", TEXTS)
    server.faults.append(Fault(answer={"content": "hard to say"}, times=3))
    prompt = CATALOG_PROMPTS / "ask_llm.md"
    arguments = ["--questions", str(questions), "--method", "ask_llm", "--prompt", str(prompt), "--attempts", "0"]
    output = ["--shard", "0", "--shards", "1", "--output", str(tmp_path / "c.parquet")]
    assert label_questions.main([*arguments, *output, *asking_arguments(tmp_path, model)]) == 0
    assert server.asked.total() == len(TEXTS)


def test_a_shard_of_labels_is_from_the_store_only_with_every_attempt(
    tmp_path: Path, model: Path, server: FakeServer
) -> None:
    questions = write_questions(tmp_path / "drawn.parquet", TEXTS)
    server.faults.append(Fault(answer={"content": "hard to say"}, times=3))
    prompt = CATALOG_PROMPTS / "ask_llm.md"
    output = tmp_path / "c.parquet"
    arguments = ["--questions", str(questions), "--method", "ask_llm", "--prompt", str(prompt)]
    arguments += ["--shard", "0", "--shards", "1", "--output", str(output), *asking_arguments(tmp_path, model)]
    assert label_questions.main(arguments) == 0
    output.unlink()
    assert label_questions.main([*arguments, "--attempts", "3", "--from-store"]) == 0
    assert not output.exists(), "the second attempt at what could not be read is not in the store"
    assert PROGRAMS["label_questions"].count_stored([*arguments, "--attempts", "3"]) == len(TEXTS)
    assert not output.exists()
    assert label_questions.main([*arguments, "--attempts", "3"]) == 0
    before = output.read_bytes()
    output.unlink()
    assert label_questions.main([*arguments, "--attempts", "3", "--from-store"]) == 0
    assert output.read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("*c.parquet*")) == ["c.parquet"]


def test_response_length_counts_tokens_of_the_bare_question(tmp_path: Path, model: Path, server: FakeServer) -> None:
    questions = write_questions(tmp_path / "drawn.parquet", TEXTS)
    arguments = ["--questions", str(questions), "--method", "response_length", "--shard", "0", "--shards", "1"]
    output = str(tmp_path / "c.parquet")
    assert label_questions.main([*arguments, "--output", output, *asking_arguments(tmp_path, model)]) == 0
    labels = tmp_path / "labels.parquet"
    parse = ["--questions", str(questions), "--completions", output, "--method", "response_length"]
    assert parse_labels.main([*parse, "--output", str(labels)]) == 0
    completions = read_table(tmp_path / "c.parquet", COMPLETIONS)
    assert read_table(labels, LABELS).get_column("value").to_list() == completions["completion_tokens"].to_list()
    assert {len(body["messages"]) for body in server.bodies} == {1}


def test_benchmarks_share_one_job_and_their_answers(tmp_path: Path, model: Path, server: FakeServer) -> None:
    write_questions(tmp_path / "a.parquet", TEXTS[:4])
    write_questions(tmp_path / "b.parquet", TEXTS[2:6])
    prompt = tmp_path / "prompt.md"
    prompt.write_text("Answer briefly.\n\n{{ question }}\n")
    output = tmp_path / "e.parquet"
    tasks = [
        *("--benchmark", "second", str(tmp_path / "b.parquet"), "-", "1"),
        *("--benchmark", "first", str(tmp_path / "a.parquet"), "-", "2"),
        *("--benchmark", "third", str(tmp_path / "a.parquet"), str(prompt), "1"),
    ]
    assert sample_evaluation.main([*tasks, "--output", str(output), *asking_arguments(tmp_path, model)]) == 0
    table = read_table(output, EVALUATION_COMPLETIONS)
    assert table.group_by("benchmark").len().sort("benchmark").rows() == [("first", 8), ("second", 4), ("third", 4)]
    assert table.equals(table.sort("benchmark", "question_id", "sample"))
    assert server.asked.total() == 8 + 4 + 4 - 2, "two questions are in both, asked the same way"
    assert any(body["messages"][0]["content"].startswith("Answer briefly.") for body in server.bodies)


def test_failures_are_rows_with_a_reason_up_to_the_limit(
    tmp_path: Path, model: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    server.faults.append(
        Fault(status=400, code="content_filter", message="flagged", where=lambda body: TEXTS[5] in str(body))
    )
    assert sample(tmp_path, model, "--max-failed", "0.05") == 1
    message = capsys.readouterr().err
    assert "2 of 24 answers failed for good" in message
    assert "flagged" in message
    assert not (tmp_path / "answers.parquet").exists()
    asked = server.asked.total()
    assert sample(tmp_path, model, "--max-failed", "0.1") == 0
    assert server.asked.total() == asked
    failed = answers_of(tmp_path).filter(pl.col("text").is_null())
    assert failed.height == 2
    assert failed.get_column("error").str.contains("flagged").all()
    assert failed.get_column("finish_reason").null_count() == 2


def test_a_model_that_never_stops_is_cut_and_kept(tmp_path: Path, model: Path, server: FakeServer) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    server.faults.append(Fault(answer={"finish_reason": "length", "content": "la la la"}, times=3))
    assert sample(tmp_path, model) == 0
    assert answers_of(tmp_path).get_column("finish_reason").to_list().count("length") == 3


def test_the_key_of_the_server_is_nowhere(
    tmp_path: Path, model: Path, server: FakeServer, capfd: pytest.CaptureFixture[str]
) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    assert sample(tmp_path, model) == 0
    write_questions(tmp_path / "drawn.parquet", [*TEXTS, "one more"])
    server.faults.append(Fault(status=403, message=f"the key {API_KEY} may not do this"))
    assert sample(tmp_path, model) == 1
    captured = capfd.readouterr()
    assert "refuses the key" in captured.err
    assert API_KEY not in captured.err + captured.out
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or API_KEY.encode() not in path.read_bytes(), path


def test_rows_in_another_order_give_the_same_bytes(tmp_path: Path, model: Path) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    assert sample(tmp_path, model) == 0
    first = (tmp_path / "answers.parquet").read_bytes()
    write_questions(tmp_path / "drawn.parquet", TEXTS[::-1])
    assert sample(tmp_path, model) == 0
    assert (tmp_path / "answers.parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sampling", "{"], "must be a JSON object"),
        (["--sampling", '{"temperature": 1, "max_tokens": 5, "topp": 1}'], "topp"),
        (["--sampling", '{"max_tokens": 5}'], "temperature"),
        (["--prompt", "nowhere.md"], "nowhere.md cannot be read"),
        (["--shard", "4", "--shards", "4"], "there is no shard 4 of 4"),
        (["--model", "nowhere.json"], "nowhere.json does not exist"),
        (["--questions", "nowhere.parquet"], "nowhere.parquet does not exist"),
    ],
    ids=lambda value: value[0][2:] if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    assert sample(tmp_path, model, *arguments) == 1
    message = capsys.readouterr().err
    assert sentence in message
    assert "Traceback" not in message


def test_labels_need_an_answer_to_every_question(
    tmp_path: Path, model: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    few = write_questions(tmp_path / "few.parquet", TEXTS[:3])
    all_questions = write_questions(tmp_path / "all.parquet", TEXTS)
    arguments = ["--questions", str(few), "--method", "response_length", "--shard", "0", "--shards", "1"]
    output = str(tmp_path / "c.parquet")
    assert label_questions.main([*arguments, "--output", output, *asking_arguments(tmp_path, model)]) == 0
    parse = ["--questions", str(all_questions), "--completions", output, "--method", "response_length"]
    assert parse_labels.main([*parse, "--output", str(tmp_path / "labels.parquet")]) == 1
    assert "9 questions" in capsys.readouterr().err


def test_a_rating_needs_a_prompt(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = write_questions(tmp_path / "drawn.parquet", TEXTS)
    arguments = ["--questions", str(questions), "--method", "difficulty", "--shard", "0", "--shards", "1"]
    assert label_questions.main([*arguments, "--output", "x", *asking_arguments(tmp_path, model)]) == 1
    assert "needs a prompt" in capsys.readouterr().err


PRICE = '{"input": 1000, "output": 10000, "batch": 0.5}'


def test_answers_have_their_price(tmp_path: Path, model: Path) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    assert sample(tmp_path, model, "--price", PRICE) == 0
    answers = answers_of(tmp_path)
    cost = (answers["prompt_tokens"].sum() * 1000 + answers["completion_tokens"].sum() * 10000) / 1e6
    with Store(tmp_path / "store") as store:
        assert store.dollars() == pytest.approx(cost)


def test_a_budget_stops_the_asking_before_it_is_passed(
    tmp_path: Path, model: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    write_questions(tmp_path / "drawn.parquet", [f"Question {number}?" for number in range(50)])
    assert sample(tmp_path, model, "--price", PRICE, "--budget-usd", "10") == 1
    assert "budget of 10.00 USD" in capsys.readouterr().err
    with Store(tmp_path / "store") as store:
        spent = store.dollars()
    assert 10 - 1.5 < spent <= 10, "one answer costs up to 1.3 dollars"
    asked = server.asked.total()
    assert asked == server.served.total() < 100
    assert sample(tmp_path, model, "--price", PRICE, "--budget-usd", "10") == 1
    assert server.asked.total() == asked
    assert sample(tmp_path, model, "--price", PRICE, "--budget-usd", "1000") == 0
    assert server.asked.total() == 100
    assert not list((tmp_path / "store" / "budget").iterdir())


def test_clients_share_a_budget(tmp_path: Path, model: Path, server: FakeServer) -> None:
    write_questions(tmp_path / "drawn.parquet", [f"Question {number}?" for number in range(40)])
    server.latency = 0.02
    jobs = [
        subprocess.Popen(
            [
                *(sys.executable, str(CATALOG_PROMPTS.parents[1] / "scripts" / "sample_answers.py")),
                *("--questions", str(tmp_path / "drawn.parquet"), "--samples", "2", "--shard", str(shard)),
                *("--shards", "2", "--output", str(tmp_path / f"{shard}.parquet")),
                *asking_arguments(tmp_path, model, "--price", PRICE, "--budget-usd", "12"),
            ],
            stderr=subprocess.DEVNULL,
        )
        for shard in range(2)
    ]
    assert 1 in [job.wait() for job in jobs]
    with Store(tmp_path / "store") as store:
        assert 6 < store.dollars() <= 12


def test_a_budget_needs_the_price_of_a_hosted_model_only(
    tmp_path: Path, model: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    assert sample(tmp_path, model, "--budget-usd", "10") == 0
    monkeypatch.setenv("FAKE_KEY", API_KEY)
    hosted = tmp_path / "hosted.json"
    hosted_at = {"base_url": server.base_url, "api_model": "fake-model", "api_key_variable": "FAKE_KEY"}
    Model("hosted", "fake:hosted", provider="api", **hosted_at).write(hosted)
    asked = sum(server.asked.values())
    assert sample(tmp_path, hosted, "--budget-usd", "10") == 1
    assert "needs the price of hosted" in capsys.readouterr().err
    assert sum(server.asked.values()) == asked


def test_from_store_asks_nobody(tmp_path: Path, model: Path, server: FakeServer) -> None:
    write_questions(tmp_path / "drawn.parquet", TEXTS)
    assert sample(tmp_path, model, "--from-store") == 0
    assert not (tmp_path / "answers.parquet").exists()
    assert not server.asked
    assert sample(tmp_path, model) == 0
    first = (tmp_path / "answers.parquet").read_bytes()
    (tmp_path / "answers.parquet").unlink()
    assert sample(tmp_path, model, "--from-store") == 0
    assert (tmp_path / "answers.parquet").read_bytes() == first
    assert sample(tmp_path, model, "--from-store", samples=3) == 0
    assert (tmp_path / "answers.parquet").read_bytes() == first


def test_a_shard_without_questions_is_an_empty_table(tmp_path: Path, model: Path, server: FakeServer) -> None:
    write_questions(tmp_path / "drawn.parquet", [])
    assert sample(tmp_path, model) == 0
    assert answers_of(tmp_path).is_empty()
    tasks = ["--benchmark", "none", str(tmp_path / "drawn.parquet"), "-", "1"]
    output = tmp_path / "e.parquet"
    assert sample_evaluation.main([*tasks, "--output", str(output), *asking_arguments(tmp_path, model)]) == 0
    assert read_table(output, EVALUATION_COMPLETIONS).is_empty()
    assert not server.asked
