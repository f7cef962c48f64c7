"""Servers: started, joined or kept by the user; every way to fail is one sentence, and nothing is left behind.

The engine is a stand-in with real processes and real HTTP (``tests/stand_in_engine.py``); vLLM itself runs in
``tests/cli/test_vllm.py``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.stand_in_engine import install
from tests.tiny_model import make_tiny_model

from openthoughts.base.cli import UserError
from openthoughts.inference import vllm
from openthoughts.inference.diagnoses import diagnose
from openthoughts.inference.endpoints import SERVERS_VARIABLE, Endpoint, probe
from openthoughts.inference.server import engine
from openthoughts.inference.vllm import EngineSettings
from openthoughts.models.model import Model


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in in place of vLLM; the file it notes its starts in."""
    monkeypatch.setenv("OPENTHOUGHTS_ENVIRONMENT_VLLM_CPU", str(install(tmp_path / "stand-in")))
    monkeypatch.setenv("STAND_IN_RECORD", str(tmp_path / "starts.jsonl"))
    monkeypatch.setenv("OPENTHOUGHTS_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(vllm, "LONGEST_TEMPORARY_FOLDER", 1000)
    monkeypatch.delenv(SERVERS_VARIABLE, raising=False)
    return tmp_path / "starts.jsonl"


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return make_tiny_model(tmp_path / "model")


def starts(record: Path) -> list[dict[str, Any]]:
    """Arguments and variables of the stand-in's starts."""
    return [json.loads(line) for line in record.read_text().splitlines()] if record.is_file() else []


def settings(behave: str = "", **further: Any) -> EngineSettings:
    return EngineSettings("cpu", engine_args=f"--behave {behave}" if behave else "", **further)


def tree_of(pid: int) -> list[psutil.Process]:
    """An engine's process and all it started, once all of it runs."""
    root = psutil.Process(pid)
    end = time.monotonic() + 120
    while len(root.children(recursive=True)) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    found = [root, *root.children(recursive=True)]
    assert len(found) == 3
    return found


def assert_all_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=120)
    assert not [it for it in alive if it.status() != psutil.STATUS_ZOMBIE]


def test_an_engine_is_started_asked_and_taken_down(record: Path, model: Model) -> None:
    with engine(model, settings()) as endpoint:
        assert endpoint.alive()
        assert endpoint.base_url.startswith("http://127.0.0.1:")
        assert probe(endpoint.base_url, endpoint.api_key, endpoint.model_name) is None
        assert probe(endpoint.base_url, "another key", endpoint.model_name) is not None
        tree = tree_of(starts(record)[0]["pid"])
        assert len(list(record.parent.glob("openthoughts-*"))) == 1
    assert_all_end(tree)
    assert not endpoint.alive()
    assert [path.name for path in record.parent.glob("openthoughts-*")] == []


def test_what_an_engine_is_told(record: Path, model: Model) -> None:
    with engine(model, settings(tensor_parallel=2, data_parallel=3)) as endpoint:
        pass
    [start] = starts(record)
    told = dict(zip(start["argv"], start["argv"][1:], strict=False))
    assert told["serve"] == str(model.weights)
    assert told["--max-model-len"] == "2048"
    assert told["--dtype"] == "bfloat16"
    assert told["--generation-config"] == "vllm"
    assert (told["--tensor-parallel-size"], told["--data-parallel-size"]) == ("2", "3")
    assert start["environ"]["HF_HUB_OFFLINE"] == "1"
    assert endpoint.api_key not in " ".join(start["argv"])
    assert start["environ"]["TMPDIR"] != os.environ["TMPDIR"]
    scratch = os.environ["OPENTHOUGHTS_SCRATCH"]
    assert not list(Path(scratch).glob("*"))
    for name in ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR"):
        assert start["environ"][name].startswith(scratch)


@pytest.mark.parametrize(("threads", "computing"), [("8", "7"), ("1", "1")])
def test_one_of_a_jobs_processors_is_left_to_the_server(
    threads: str, computing: str, record: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    with engine(model, settings()):
        pass
    assert starts(record)[0]["environ"]["OMP_NUM_THREADS"] == computing


def test_engine_arguments_override_what_is_made_here(record: Path, model: Model) -> None:
    extra = "--max-num-seqs 8 --hf-overrides '{\"a\": 1}'"
    with engine(model, EngineSettings("cpu", engine_args=extra)):
        pass
    assert starts(record)[0]["argv"][-4:] == ["--max-num-seqs", "8", "--hf-overrides", '{"a": 1}']


@pytest.mark.parametrize(
    ("behave", "sentence"),
    [
        ("out-of-memory", "the engine of tiny has ended: it ran out of memory: give it more GPUs"),
        ("weights", "its weights are missing or cut short"),
        ("architecture", "this version of vLLM does not know its architecture"),
        ("killed", "it was killed, most likely for memory"),
        ("surprise", "ValueError: something nobody has thought of"),
    ],
)
def test_a_failed_start_is_explained_and_its_log_shown(
    behave: str, sentence: str, record: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as raised, engine(model, settings(behave)):
        pass
    assert sentence in str(raised.value)
    if behave != "killed":
        assert "  | one line before" in capsys.readouterr().err
    assert [path.name for path in record.parent.glob("openthoughts-*")] == []


def test_a_start_that_takes_too_long_is_ended(record: Path, model: Model) -> None:
    with (
        pytest.raises(UserError, match=r"the engine of tiny was not ready in 1 s"),
        engine(model, settings("never-ready", start_seconds=1.0)),
    ):
        pass
    assert not psutil.pid_exists(starts(record)[0]["pid"])


def test_a_start_that_must_not_go_on_is_ended(record: Path, model: Model) -> None:
    @contextmanager
    def running(_: int) -> Iterator[Callable[[], str | None]]:
        yield lambda: "the hours are used up" if starts(record) else None

    with (
        pytest.raises(UserError, match=r"^the hours are used up$"),
        engine(model, settings("never-ready", start_seconds=30.0), running),
    ):
        pass
    assert not psutil.pid_exists(starts(record)[0]["pid"])


def test_a_taken_port_is_replaced_by_another(record: Path, model: Model) -> None:
    with engine(model, settings("port-once")) as endpoint:
        assert endpoint.alive()
    assert len(starts(record)) == 2


def test_an_engine_that_dies_is_noticed(record: Path, model: Model) -> None:
    with engine(model, settings()) as endpoint:
        tree = tree_of(starts(record)[0]["pid"])
        os.kill(starts(record)[0]["pid"], signal.SIGKILL)
        end = time.monotonic() + 120
        while endpoint.alive() and time.monotonic() < end:
            time.sleep(0.02)
        with pytest.raises(UserError, match="the engine of tiny has ended: it was killed"):
            endpoint.check()
        assert_all_end(tree[1:])


def test_an_engine_that_ignores_sigterm_goes_too(record: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm, "STOP_GRACE_SECONDS", 0.5)
    with engine(model, settings("deaf")):
        tree = tree_of(starts(record)[0]["pid"])
    assert_all_end(tree)


def test_a_failing_user_of_the_engine_takes_it_down(record: Path, model: Model) -> None:
    with pytest.raises(ZeroDivisionError), engine(model, settings()):
        tree = tree_of(starts(record)[0]["pid"])
        raise ZeroDivisionError
    assert_all_end(tree)


def named(model: Model, endpoint: Endpoint) -> str:
    """``OPENTHOUGHTS_SERVERS`` for one server."""
    entry = {"base_url": endpoint.base_url, "api_key": endpoint.api_key, "model_name": endpoint.model_name}
    return json.dumps({model.key_digest(): entry})


def test_a_running_server_is_joined(record: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine(model, settings()) as first:
        monkeypatch.setenv(SERVERS_VARIABLE, named(model, first))
        with engine(model, settings()) as second:
            assert second == first
        assert first.alive()
    assert len(starts(record)) == 1


def test_a_dead_named_server_is_replaced_by_an_own_one(
    record: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(model, settings()) as first:
        monkeypatch.setenv(SERVERS_VARIABLE, named(model, first))
    with engine(model, settings()) as second:
        assert second.alive() and second != first
    assert len(starts(record)) == 2


def test_a_joined_server_that_dies_is_noticed(record: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine(model, settings()) as first:
        monkeypatch.setenv(SERVERS_VARIABLE, named(model, first))
        with engine(model, settings()) as second:
            os.kill(starts(record)[0]["pid"], signal.SIGKILL)
            first_end = time.monotonic() + 120
            while first.alive() and time.monotonic() < first_end:
                time.sleep(0.02)
            assert "does not answer" in (second.failure() or "")


def test_another_models_server_is_not_joined(record: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = {"base_url": "http://127.0.0.1:9/v1", "api_key": "k", "model_name": "other"}
    monkeypatch.setenv(SERVERS_VARIABLE, json.dumps({"0" * 32: elsewhere}))
    with engine(model, settings()) as endpoint:
        assert endpoint.model_name == "tiny"


def test_a_server_that_the_user_keeps_is_asked(
    record: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "")
    with engine(model, settings()) as running:
        fields = {"base_url": running.base_url, "api_key_variable": "OUR_KEY", "api_model": "tiny"}
        kept = dataclasses.replace(settings(), endpoint=json.dumps(fields))
        with (
            pytest.raises(UserError, match="tiny needs a key: set the environment variable OUR_KEY"),
            engine(model, kept),
        ):
            pass
        monkeypatch.setenv("OUR_KEY", running.api_key)
        with engine(model, kept) as endpoint:
            assert endpoint.base_url == running.base_url
    with (
        pytest.raises(UserError, match=r"does not answer .*; start it, or remove `endpoint`"),
        engine(model, kept),
    ):
        pass
    assert len(starts(record)) == 1


def test_an_apis_model_is_asked_at_its_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    hosted = Model(
        "m", "api:m-1", provider="api", base_url="https://api.example/v1", api_key_variable="API_KEY", api_model="m-1"
    )
    monkeypatch.setenv("API_KEY", "secret")
    with engine(hosted, EngineSettings()) as endpoint:
        assert (endpoint.base_url, endpoint.api_key, endpoint.model_name) == ("https://api.example/v1", "secret", "m-1")
    assert "secret" not in repr(endpoint)
    monkeypatch.delenv("API_KEY")
    with pytest.raises(UserError, match="set the environment variable API_KEY"), engine(hosted, EngineSettings()):
        pass


def test_a_missing_environment_says_what_to_run(model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENTHOUGHTS_ENVIRONMENTS", str(tmp_path / "none"))
    monkeypatch.delenv("OPENTHOUGHTS_ENVIRONMENT_VLLM_CPU", raising=False)
    with (
        pytest.raises(UserError, match=r"environment vllm-cpu is not built: run .* vllm-cpu"),
        engine(model, settings()),
    ):
        pass


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("(EngineCore pid=1) ERROR 01-01 [core.py:9] ValueError: No available memory for the cache blocks.", "memory"),
        (
            "ValueError: Free memory on device (3/80 GiB) on startup is less than desired GPU memory utilization",
            "memory",
        ),
        (
            "ValueError: Total number of attention heads (9) must be divisible by tensor parallel size (2).",
            "tensor par",
        ),
        ("RuntimeError: Failed to infer device type, please set VLLM_LOGGING_LEVEL", "no GPU on this machine"),
        ("vllm serve: error: unrecognized arguments: --no-such-thing", "the argument --no-such-thing"),
        ("User-specified max_model_len (9000) is greater than the derived max_model_len (8192)", "max_model_len"),
    ],
)
def test_reasons_that_engines_log(line: str, reason: str) -> None:
    assert reason in diagnose(f"INFO fine\n{line}\nTraceback ...\n", 1)
