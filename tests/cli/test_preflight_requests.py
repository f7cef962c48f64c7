"""What ``snakemake preflight`` finds out by one short request to each hosted model of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fake_openai import API_KEY, MODEL, FakeServer, Fault

import preflight
from openthoughts.base.places import WORKFLOW
from openthoughts.inference import trial


@dataclass
class Setup:
    """A small recipe whose teacher is a hosted model; ``oracle`` is its entry, ``recipe`` what is changed in it."""

    folder: Path
    oracle: dict[str, Any]
    models: dict[str, Any]
    recipe: dict[str, Any]

    def write(self) -> Path:
        """The configuration's file."""
        rows = self.folder / "sums.jsonl"
        rows.write_text('{"question": "What is 1 plus 1?"}\n')
        table = {"connector": "local", "domain": "math", "path": str(rows), "column": "question", "rows": 1}
        models = {"oracle": self.oracle, **self.models}
        sources = {"sums": table, "others": table}
        for name, entries in {"sources": sources, "benchmarks": {"roads": table}, "models": models}.items():
            (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(entries))
        recipe = {
            "decontaminate": {"benchmarks": ["roads"]},
            "answers": {"teacher": "oracle", "samples": 1},
            "domains": {"math": {"sources": ["sums"], "select": {"by": "random"}}},
            **self.recipe,
        }
        path = self.folder / "config.yaml"
        places = {"results": str(self.folder / "results"), "store": str(self.folder / "store")}
        content = {"targets": ["tiny"], **places, "catalog": [str(self.folder)], "recipes": {"tiny": recipe}}
        path.write_text(yaml.safe_dump(content))
        return path


@pytest.fixture
def setup(tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.chdir(WORKFLOW)
    monkeypatch.setenv("ORACLE_KEY", API_KEY)
    return Setup(tmp_path, hosted(server), {}, {})


def hosted(server: FakeServer, **further: Any) -> dict[str, Any]:
    address = {"base_url": server.base_url, "api_model": MODEL, "api_key_variable": "ORACLE_KEY"}
    return {"kind": "api", "tokenizer": "qwen", **address, **further}


@dataclass
class Line:
    """A line of the table about a request."""

    word: str
    text: str
    remedy: str


def look(setup: Setup, capsys: pytest.CaptureFixture[str], *further: str) -> tuple[int, list[Line], str]:
    """The exit status, the lines about requests, and the last line."""
    status = preflight.main(["--config", str(setup.write()), *further])
    rows = capsys.readouterr().out.splitlines()
    found = []
    table = rows[: rows.index("Not checked:")] if "Not checked:" in rows else rows
    for number, row in enumerate(table):
        word, _, text = row.partition(" ")
        if text.strip().startswith("request to"):
            after = rows[number + 1].strip()
            found.append(Line(word, text.strip(), after if after.startswith("->") else ""))
    return status, found, rows[-1]


def test_a_model_that_takes_what_jobs_send_is_ok(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    setup.oracle["price"] = {"input": 1000, "output": 1000}
    status, (line,), last = look(setup, capsys)
    assert status == 0
    assert line.word == "ok"
    assert "request to oracle (answers)" in line.text
    assert f"{MODEL} answered in " in line.text
    assert " USD" in line.text
    assert "nothing was booked" in last and "short requests went to oracle" in last
    (body,) = server.bodies
    sent = {"model", "messages", "temperature", "top_p", "max_tokens", "seed"}
    assert set(body) == sent, "what a job sends, and nothing else"
    assert body["max_tokens"] == trial.FEW_TOKENS
    assert not list((setup.folder / "store").iterdir()), "the answer is not kept"


def test_a_refused_parameter_is_named_with_the_remedy_and_the_remedy_works(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "Unsupported parameter: 'top_p' is not supported with this model."
    server.faults.append(Fault(status=400, message=message, where=lambda body: "top_p" in body))
    status, (line,), last = look(setup, capsys)
    assert status == 1
    assert line.word == "problem"
    assert message in line.text
    assert "`request: {omit: [top_p]}` in its entry of the catalog" in line.remedy
    assert last.startswith("1 of ")
    setup.oracle["request"] = {"omit": ["top_p"]}
    status, (line,), _ = look(setup, capsys)
    assert (status, line.word) == (0, "ok")


def test_a_wrong_key_is_a_problem_that_does_not_show_it(
    setup: Setup, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORACLE_KEY", "wrong-secret")
    status, (line,), _ = look(setup, capsys)
    assert (status, line.word) == (1, "problem")
    assert "refuses the key (401" in line.text
    assert "set the right one" in line.remedy
    assert "wrong-secret" not in line.text


def test_an_unknown_model_is_a_problem(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    setup.oracle["api_model"] = "oracle-9"
    status, (line,), _ = look(setup, capsys)
    assert (status, line.word) == (1, "problem")
    assert "does not know the model (404: The model `oracle-9` does not exist)" in line.text
    assert "correct `api_model`" in line.remedy


@pytest.mark.parametrize("status", [400, 422])
def test_an_unknown_model_is_told_from_a_refused_setting(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    server.faults.append(Fault(status=status, message="Model Not Exist"))
    _, (line,), _ = look(setup, capsys)
    assert "correct `api_model`" in line.remedy


def test_a_server_that_is_down_is_a_problem(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    setup.write()
    server.stop()
    status, (line,), _ = look(setup, capsys)
    assert (status, line.word) == (1, "problem")
    assert "does not answer (the connection failed" in line.text
    assert "check `base_url` of its entry" in line.remedy


@pytest.mark.parametrize(
    ("fault", "said", "remedy"),
    [
        (Fault(status=503, message="busy"), "503: busy", "wait"),
        (Fault(status=429, message="slow down"), "429: slow down", "wait"),
        (Fault(status=429, message="no more", code="insufficient_quota"), "used up", "add credit"),
        (Fault(content_type="text/html"), "no JSON", "check `base_url` of its entry"),
        (Fault(hang=True), "no answer within", "check `base_url` of its entry"),
    ],
    ids=["busy", "limited", "used up", "a page", "hangs"],
)
def test_a_server_in_trouble_is_asked_once(
    setup: Setup,
    server: FakeServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    said: str,
    remedy: str,
) -> None:
    monkeypatch.setattr(trial, "SECONDS", 1.0)
    server.faults.append(fault)
    status, (line,), _ = look(setup, capsys)
    assert (status, line.word) == (1, "problem")
    assert said in line.text
    assert remedy in line.remedy
    assert server.asked.total() == 1


def test_offline_sends_nothing(setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, last = look(setup, capsys, "--offline")
    assert (status, lines) == (0, [])
    assert "went to" not in last
    assert not server.asked


def test_without_its_key_a_model_is_not_tried(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORACLE_KEY")
    status, (line,), last = look(setup, capsys)
    assert (status, line.word) == (1, "skipped")
    assert "not sent: " in line.text and "ORACLE_KEY" in line.text
    assert last.startswith("1 of "), "the missing key is the problem"
    assert not server.asked


def test_each_form_that_a_model_is_asked_in_is_tried(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    select = {"by": "difficulty", "model": "oracle", "prompt": "difficulty_math", "keep": 1}
    setup.recipe["domains"] = {
        "math": {"sources": ["sums"], "select": select},
        "more": {"sources": ["sums"], "select": {**select, "prompt": "difficulty_code"}},
    }
    server.faults.append(Fault(status=400, message="Unknown parameter: 'response_format'.",
                               where=lambda body: "response_format" in body))  # fmt: skip
    status, lines, _ = look(setup, capsys)
    assert status == 1
    assert [(line.word, line.text.partition("  ")[0]) for line in lines] == [
        ("problem", "request to oracle (labels, schema difficulty)"),
        ("ok", "request to oracle (answers)"),
    ]
    assert "{omit: [response_format]}" in lines[0].remedy
    assert sum("response_format" in body for body in server.bodies) == 1, "two domains ask in the same form"


def test_an_embedding_model_is_asked_for_an_embedding(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    setup.models["embedder"] = hosted(server, task="embed")
    examples = {"positives": ["sums"], "negatives": ["others"]}
    select = {"by": "embeddings", "model": "embedder", "keep": 1, "examples": examples}
    setup.recipe["domains"] = {"math": {"sources": ["sums"], "select": select}}
    status, lines, _ = look(setup, capsys)
    assert status == 0
    assert {line.text.partition("  ")[0] for line in lines} == {
        "request to embedder (direction, labels)",
        "request to oracle (answers)",
    }
    (body,) = (body for body in server.bodies if "input" in body)
    assert set(body) == {"model", "input", "encoding_format"}


def test_a_model_of_the_responses_api_and_of_batches_is_asked_live(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    setup.oracle |= {"request": {"api": "responses"}, "serving": {"mode": "batch"}}
    status, (line,), _ = look(setup, capsys)
    assert (status, line.word) == (0, "ok")
    assert "live; jobs ask in batches" in line.text
    assert server.bodies[0]["max_output_tokens"] == trial.FEW_TOKENS
    assert not server.batches


@pytest.mark.parametrize(
    "fault",
    [
        Fault(answer={"content": "", "finish_reason": "length"}),
        Fault(status=400, message="Could not finish the message because max_tokens or model output limit was reached."),
    ],
    ids=["empty", "refused"],
)
def test_a_model_that_thinks_past_the_few_tokens_has_taken_the_request(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str], fault: Fault
) -> None:
    server.faults.append(fault)
    status, (line,), _ = look(setup, capsys)
    assert (status, line.word) == (0, "ok")
    assert f"took the request, without a text in {trial.FEW_TOKENS} tokens" in line.text
    assert server.asked.total() == 1


def test_a_model_that_wants_more_tokens_is_asked_again_with_those_of_the_jobs(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    setup.recipe["answers"] = {"teacher": "oracle", "samples": 1, "sampling": {"max_tokens": 4000}}
    message = "`max_tokens` must be greater than `thinking.budget_tokens`"
    server.faults.append(Fault(status=400, message=message, where=lambda body: body["max_tokens"] < 2000))
    status, (line,), _ = look(setup, capsys)
    assert (status, line.word) == (0, "ok")
    assert [body["max_tokens"] for body in server.bodies] == [trial.FEW_TOKENS, 4000]


def refuses(key: str, message: str = "") -> Fault:
    """What a server says that does not take a key."""
    message = message or f"Unsupported parameter: '{key}' is not supported with this model."
    return Fault(status=400, message=message, where=lambda body: key in body)


def test_everything_that_a_model_refuses_is_found_at_once(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    rename = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    server.faults += [refuses("max_tokens", rename), *map(refuses, ("temperature", "top_p", "service_tier"))]
    setup.oracle["request"] = {"omit": ["seed"], "add": {"service_tier": "flex", "user": "me"}}
    status, (line,), _ = look(setup, capsys)
    assert (status, line.word) == (1, "problem")
    assert all(f"'{key}' is not supported" in line.text for key in ("max_tokens", "temperature", "top_p"))
    block = "{omit: [seed, temperature, top_p], rename: {max_tokens: max_completion_tokens}, add: {user: me}}"
    assert f"write `request: {block}` in its entry of the catalog" in line.remedy
    assert server.asked.total() == 5
    setup.oracle["request"] = yaml.safe_load(block)
    status, (line,), _ = look(setup, capsys)
    assert (status, line.word) == (0, "ok")


def test_the_remedy_of_a_model_holds_what_all_its_forms_are_refused_for(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    select = {"by": "difficulty", "model": "oracle", "prompt": "difficulty_math", "keep": 1}
    setup.recipe["domains"] = {"math": {"sources": ["sums"], "select": select}}
    setup.recipe["answers"] = {"teacher": "oracle", "samples": 1, "sampling": {"top_k": 5}}
    server.faults += map(refuses, ("response_format", "top_k"))
    _, lines, _ = look(setup, capsys)
    assert [line.word for line in lines] == ["problem", "problem"]
    assert all("`request: {omit: [response_format, top_k]}`" in line.remedy for line in lines)


def test_a_name_that_the_entry_gives_is_refused_under_it(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    setup.oracle["request"] = {"rename": {"seed": "random_seed"}}
    server.faults.append(refuses("random_seed"))
    _, (line,), _ = look(setup, capsys)
    assert "`request: {omit: [seed]}`" in line.remedy


def test_a_model_of_the_other_api_is_asked_there(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "This model is only supported in v1/responses and not in v1/chat/completions."
    server.faults += [Fault(status=404, message=message, where=lambda body: "messages" in body), refuses("top_p")]
    status, (line,), _ = look(setup, capsys)
    assert status == 1
    assert "`request: {api: responses, omit: [top_p]}`" in line.remedy


def test_no_more_than_six_requests_are_sent_in_a_form(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"top_k": 5, "min_p": 0.1, "presence_penalty": 0.1, "frequency_penalty": 0.1, "stop": ["x"]}
    setup.recipe["answers"] = {"teacher": "oracle", "samples": 1, "sampling": settings}
    server.faults += map(refuses, (*settings, "temperature", "top_p"))
    status, (line,), _ = look(setup, capsys)
    assert status == 1
    assert server.asked.total() == trial.MOST_REQUESTS == 6
    assert line.remedy.endswith("then run again, as it may refuse more")


def test_what_comes_after_a_refusal_is_told_too(
    setup: Setup, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults += [refuses("top_p"), Fault(status=429, message="no more", code="insufficient_quota")]
    _, (line,), _ = look(setup, capsys)
    assert "'top_p' is not supported" in line.text and "is used up (no more)" in line.text
    assert line.remedy.endswith(
        "`request: {omit: [top_p]}` in its entry of the catalog, then add credit, then run again"
    )


@pytest.mark.parametrize(
    ("answer", "omit", "is_told"),
    [
        ({"content": "Hello! How can I help?"}, [], True),
        ({"content": "Hello! How can I", "finish_reason": "length"}, [], False),
        ({"content": 'Sure:\n{"rationale": "it is easy", "score": 2}'}, [], False),
        ({"content": "Hello!"}, ["response_format"], False),
    ],
    ids=["ignored", "cut", "an object", "not asked for"],
)
def test_a_server_that_ignores_the_schema_is_noted(
    setup: Setup,
    server: FakeServer,
    capsys: pytest.CaptureFixture[str],
    answer: dict[str, Any],
    omit: list[str],
    is_told: bool,
) -> None:
    select = {"by": "difficulty", "model": "oracle", "prompt": "difficulty_math", "keep": 1}
    setup.recipe["domains"] = {"math": {"sources": ["sums"], "select": select}}
    setup.oracle["request"] = {"omit": omit}
    server.faults.append(Fault(answer=answer))
    status, lines, _ = look(setup, capsys)
    assert status == 0
    assert ["ignores the schema" in line.text for line in lines] == [is_told, False]
