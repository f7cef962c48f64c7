"""GPU-hours of engines that shards start: counted over all clients of a store, and never more than the budget."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from scripts import embed_questions, sample_answers
from tests.asking_helpers import asking_arguments, write_model, write_questions
from tests.fake_openai import MODEL

from openthoughts.base import gpus
from openthoughts.base.cli import UserError
from openthoughts.base.files import write_text
from openthoughts.plan.catalog import read_catalog
from openthoughts.store import gpu_hours
from openthoughts.store.gpu_hours import used_by_all
from openthoughts.store.store import Store
from openthoughts.store.usage import Usage

ROOT = Path(__file__).parents[2]
SECOND = 1 / 3600

ENGINE = f"""#!{sys.executable}
import os, sys, threading
sys.path.insert(0, {str(ROOT)!r})
from tests import fake_openai
fake_openai.API_KEY = os.environ["VLLM_API_KEY"]
with fake_openai.FakeServer(latency=0.2, port=int(sys.argv[sys.argv.index("--port") + 1])):
    threading.Event().wait()
"""
"""Speaks vLLM's command line and OpenAI's protocol; every answer takes 0.2 s."""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "weights").mkdir()
    (programs / "python").symlink_to(sys.executable)
    (programs / "vllm").write_text(ENGINE)
    (programs / "vllm").chmod(0o755)
    monkeypatch.setenv("OPENTHOUGHTS_ENVIRONMENT_VLLM", str(programs))
    monkeypatch.delenv("OPENTHOUGHTS_SERVERS", raising=False)
    return write_model(tmp_path, name=MODEL)


def arguments(folder: Path, model: Path, *further: str) -> list[str]:
    return [
        *("--questions", str(folder / "drawn.parquet"), "--samples", "1", "--shard", "0", "--shards", "1"),
        *("--output", str(folder / "answers.parquet")),
        *asking_arguments(folder, model, "--accelerator", "cuda", "--tensor-parallel", "4", *further),
    ]


def used(folder: Path) -> float:
    return sum(use.hours for use in used_by_all(folder / "store"))


def test_an_engine_is_counted_by_its_gpus(tmp_path: Path, model: Path) -> None:
    write_questions(tmp_path / "drawn.parquet", ["One?", "Two?"])
    began = time.monotonic()
    assert sample_answers.main(arguments(tmp_path, model)) == 0
    assert 4 * 0.2 * SECOND < used(tmp_path) <= 4 * (time.monotonic() - began) * SECOND
    before = used(tmp_path)
    assert sample_answers.main(arguments(tmp_path, model)) == 0
    assert used(tmp_path) == before, "no engine is started for a shard that is in the store"


NVIDIA_SMI = """#!/bin/sh
echo NVIDIA H100 80GB HBM3
echo NVIDIA H100 80GB HBM3
"""


def test_what_an_engine_gave_is_noted_without_its_start(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "smi").mkdir()
    program = tmp_path / "smi" / "nvidia-smi"
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    gpus.gpu_name.cache_clear()
    engine = tmp_path / "bin" / "vllm"
    engine.write_text(ENGINE.replace("import os, sys, threading", "import os, sys, threading, time; time.sleep(2)"))
    write_questions(tmp_path / "drawn.parquet", [f"Question {number}?" for number in range(40)])
    assert sample_answers.main(arguments(tmp_path, model)) == 0
    gpus.gpu_name.cache_clear()
    (use,) = used_by_all(tmp_path / "store")
    table = pl.read_parquet(tmp_path / "answers.parquet")
    assert (use.gpu, use.gpus, use.answers, use.about) == ("NVIDIA H100 80GB HBM3", 4, 40, "")
    assert use.output_tokens == table["completion_tokens"].sum()
    assert use.input_tokens == table["prompt_tokens"].sum()
    assert 40 / 8 * 0.2 <= use.seconds <= use.hours * 3600 / 4 - 2, "eight at a time, 0.2 s each"


@pytest.mark.parametrize(
    ("told", "entries"),
    [
        ("NVIDIA H100 80GB HBM3", ["h100"]),
        ("NVIDIA H100 PCIe", ["h100-pcie"]),
        ("NVIDIA H100 NVL", ["h100-nvl"]),
        ("NVIDIA H200", ["h200"]),
        ("NVIDIA A100-SXM4-80GB", ["a100-80"]),
        ("NVIDIA A100-SXM4-40GB", ["a100-40"]),
        ("NVIDIA A100 80GB PCIe", ["a100-80-pcie"]),
        ("NVIDIA B200", ["b200"]),
        ("NVIDIA L40S", ["l40s"]),
        ("NVIDIA GeForce RTX 4090", ["rtx-4090"]),
        ("Tesla T4", []),
        ("", []),
    ],
)
def test_a_driver_s_name_is_that_of_one_gpu_of_the_catalog(told: str, entries: list[str]) -> None:
    assert [name for name in read_catalog([ROOT / "catalog"]).gpus if gpus.is_gpu(name, told)] == entries


def test_asking_stops_before_the_budget_is_passed(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_questions(tmp_path / "drawn.parquet", [f"Question {number}?" for number in range(400)])
    cap = 4 * 14 * SECOND
    options = ("--concurrency", "1", "--grace", "5", "--budget-gpu-hours", str(cap))
    assert sample_answers.main(arguments(tmp_path, model, *options)) == 1
    assert "GPU-hours does not pay for more answers" in capsys.readouterr().err
    assert 0 < used(tmp_path) <= cap
    assert not (tmp_path / "answers.parquet").exists()

    assert sample_answers.main(arguments(tmp_path, model, *options, "--budget-gpu-hours", str(used(tmp_path)))) == 1
    assert "starting the engine" not in capsys.readouterr().err, "nothing is booked where nothing is left"

    assert sample_answers.main(arguments(tmp_path, model, "--concurrency", "64", "--budget-gpu-hours", "1")) == 0
    assert pl.read_parquet(tmp_path / "answers.parquet").height == 400


def test_an_engines_start_is_ended_before_the_budget_is_passed(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "bin" / "vllm"
    engine.write_text(ENGINE.replace("import os, sys, threading", "import os, sys, threading, time; time.sleep(12)"))
    monkeypatch.setattr(gpu_hours, "BEAT_SECONDS", 0.2)
    write_questions(tmp_path / "drawn.parquet", ["One?"])
    cap = 4 * 8 * SECOND
    assert sample_answers.main(arguments(tmp_path, model, "--grace", "5", "--budget-gpu-hours", str(cap))) == 1
    assert "GPU-hours does not pay for more answers" in capsys.readouterr().err
    assert 4 * 3 * SECOND <= used(tmp_path) <= cap


def test_two_clients_that_start_together_see_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both_have_looked = threading.Barrier(2)

    def look(store: Path) -> list[gpu_hours.Use]:
        uses = used_by_all(store)
        with suppress(threading.BrokenBarrierError):
            both_have_looked.wait(1.0)
        return uses

    monkeypatch.setattr(gpu_hours, "used_by_all", look)
    outcomes = []

    def start(store: Store) -> None:
        try:
            with gpu_hours.GpuMeter(store, MODEL, cap=1.5, grace=3600.0).running(1):
                outcomes.append("started")
                decided.wait(20.0)
        except UserError:
            outcomes.append("refused")
            decided.wait(20.0)

    decided = threading.Barrier(2)
    with Store(tmp_path) as one, Store(tmp_path) as other:
        threads = [threading.Thread(target=start, args=(store,)) for store in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(outcomes) == ["refused", "started"], "there is room for one hour, not for two"


def test_notes_of_a_later_version_are_read(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        note = tmp_path / "gpu-hours" / f"{store.writer}.json"
        note.parent.mkdir()
        note.write_text(json.dumps({"model": MODEL, "hours": 1.5, "reserved": 0.0, "added_later": 7}))
        assert [use.hours for use in used_by_all(tmp_path)] == [1.5]
        with gpu_hours.GpuMeter(store, MODEL).running(1):
            pass
        assert used_by_all(tmp_path)[0].hours >= 1.5, "what the client used before counts on"
    write_text(json.dumps({"usage": {"requests": 3, "added_later": 7}}), tmp_path / "direction.json")
    assert Usage.of(tmp_path / "direction.json") == Usage(3)


def test_what_brought_no_tokens_is_no_answer_of_an_engine(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        meter = gpu_hours.GpuMeter(store, MODEL)
        with meter.running(1):
            meter.asking()
            for tokens in (100, 0, 50, 0):
                meter.answered(20, tokens)
    (use,) = used_by_all(tmp_path)
    assert (use.answers, use.output_tokens) == (2, 150)


def test_the_rounds_of_a_client_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(gpu_hours, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with Store(tmp_path) as store:
        for seconds in (3600.0, 360.0):
            with gpu_hours.GpuMeter(store, MODEL, cap=10.0).running(2):
                now[0] += seconds
        assert [use.hours for use in used_by_all(tmp_path)] == [pytest.approx(2.2)]
        meter = gpu_hours.GpuMeter(store, MODEL, cap=2.1)
        with pytest.raises(UserError, match="does not pay for more answers"), meter.running(2):
            pass


EMBEDDER = f"""#!{sys.executable}
import sys, time
import numpy
time.sleep(0.4)
numpy.save(sys.argv[4], numpy.ones((len(open(sys.argv[3]).readlines()), 2), "float32"))
"""
"""Stands for the environment's interpreter: takes 0.4 s and gives every text the same vector."""


def test_a_sentence_model_is_counted_and_stopped_by_the_budget_too(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python = tmp_path / "bin" / "python"
    python.unlink()
    python.write_text(EMBEDDER)
    python.chmod(0o755)
    write_questions(tmp_path / "questions.parquet", ["One?", "Two?"])
    (tmp_path / "direction.json").write_text(json.dumps({"direction": [1.0, 2.0]}))
    given = ["--questions", str(tmp_path / "questions.parquet"), "--direction", str(tmp_path / "direction.json")]
    given += ["--shard", "0", "--shards", "1", "--output", str(tmp_path / "labels.parquet")]
    given += ["--model", str(model), "--store", str(tmp_path / "store"), "--accelerator", "cuda"]
    began = time.monotonic()
    assert embed_questions.main([*given, "--tensor-parallel", "2", "--budget-gpu-hours", "1"]) == 0
    assert 2 * 0.4 * SECOND < used(tmp_path) <= 2 * (time.monotonic() - began) * SECOND
    assert pl.read_parquet(tmp_path / "labels.parquet")["value"].to_list() == [3.0, 3.0]

    before = used(tmp_path)
    assert embed_questions.main([*given, "--budget-gpu-hours", str(before)]) == 1
    assert "GPU-hours does not pay for more answers" in capsys.readouterr().err
    assert used(tmp_path) == before

    monkeypatch.setattr(gpu_hours, "BEAT_SECONDS", 0.2)
    python.write_text(EMBEDDER.replace("sleep(0.4)", "sleep(60)"))
    cap = before + 2 * 6 * SECOND
    options = ("--tensor-parallel", "2", "--grace", "3", "--budget-gpu-hours", str(cap))
    assert embed_questions.main([*given, *options]) == 1
    assert "GPU-hours does not pay for more answers" in capsys.readouterr().err
    assert before < used(tmp_path) <= cap


def test_what_a_killed_client_used_still_counts(tmp_path: Path, model: Path) -> None:
    write_questions(tmp_path / "drawn.parquet", [f"Question {number}?" for number in range(400)])
    command = [sys.executable, str(ROOT / "scripts" / "sample_answers.py")]
    client = subprocess.Popen(
        [*command, *arguments(tmp_path, model, "--concurrency", "1", "--grace", "3600")],
        stderr=subprocess.DEVNULL,
        env={**os.environ},
    )
    deadline = time.monotonic() + 120
    while not used(tmp_path) > 2 * SECOND and time.monotonic() < deadline:
        time.sleep(0.1)
    (running,) = used_by_all(tmp_path / "store")
    assert running.reserved == pytest.approx(4.0), "an hour of four GPUs may be needed for what is in flight"
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    (dead,) = used_by_all(tmp_path / "store")
    assert dead.hours >= running.hours and dead.reserved == 0.0
    assert json.loads(next((tmp_path / "store" / "gpu-hours").iterdir()).read_text())["model"] == MODEL
