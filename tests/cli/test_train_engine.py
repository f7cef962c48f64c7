"""Tokenising and training with the real engine: LLaMA-Factory and DeepSpeed ZeRO-3 on processors, a tiny model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pyarrow as pa
import pytest
import yaml
from tests.tiny_model import SYSTEM, make_tiny_model
from tokenizers import Tokenizer

import tokenize_dataset
import train_student
from openthoughts.answers.dataset import dataset_info
from openthoughts.base.environments import find
from openthoughts.base.tables import DATASET
from openthoughts.inference.vllm import free_port
from openthoughts.models.chat_templates import read_chat_template, render
from openthoughts.models.model import Model
from openthoughts.training.arguments import Training
from openthoughts.training.nodes import Nodes
from openthoughts.training.scales import Scale
from openthoughts.training.template_names import TEMPLATES
from openthoughts.training.tokenize import read_statistics
from openthoughts.training.training import prepare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[2]
ROWS = 15
CUTOFF = 400
STEPS = 8
# Two epochs of four steps, the last one of three rows.
SCALE = {
    "global_batch": 4, "learning_rate": 1e-3, "cutoff": CUTOFF, "epochs": 2, "save_steps": 2, "over_cutoff": "cut"
}  # fmt: skip
GROUPED = {"group_by_length": True}


def test_the_names_of_templates_are_those_of_the_engine() -> None:
    code = "import json; from llamafactory.data.template import TEMPLATES; print(json.dumps(sorted(TEMPLATES)))"
    environment = find("llamafactory-cpu")
    told = subprocess.run(
        environment.command("python", "-c", code),
        env=environment.variables(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(json.loads(told.stdout.splitlines()[-1])) == TEMPLATES


def conversation(number: int) -> tuple[str, str]:
    """A question with braces, quotes and non-ASCII letters, and an answer of varying length."""
    question = f"What is {number} + {{{number}}}? 'naïve' <b>"
    return question, "<think>\n" + f"Add {number}. " * (number * 7 % 40) + f"</think>\n\nIt is {2 * number}."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, its description, and the tiny model."""
    folder = tmp_path_factory.mktemp("training")
    make_tiny_model(folder / "base")
    rows = []
    for number in range(ROWS):
        question, answer = conversation(number)
        rows.append({"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]})
    table = pl.DataFrame(rows, schema={"conversations": DATASET["conversations"]})
    table.write_parquet(folder / "dataset.parquet")
    (folder / "dataset_info.json").write_text(json.dumps(dataset_info("dataset.parquet")))
    return folder


def tokenize(data: Path, name: str, settings: dict[str, Any], *further: str) -> int:
    return tokenize_dataset.main(
        [
            *("--dataset", str(data / "dataset.parquet"), "--info", str(data / "dataset_info.json")),
            *("--model", str(data / "base" / "model.json"), "--cutoff", str(CUTOFF)),
            *("--settings", json.dumps(settings), "--output", str(data / name)),
            *("--statistics", str(data / f"{name}.json"), "--template", "smollm2", *further),
        ]
    )


@pytest.fixture(scope="module")
def tokenized(data: Path) -> Path:
    """The dataset, tokenised without packing."""
    assert tokenize(data, "rows", {"over_cutoff": "cut"}) == 0
    return data / "rows"


def read_tokens(folder: Path) -> list[dict[str, Any]]:
    """The rows of tokenised data, in order."""
    rows: list[dict[str, Any]] = []
    for path in sorted((folder / "train").glob("*.arrow")):
        rows += pa.ipc.open_stream(path).read_all().to_pylist()
    return rows


def test_training_shows_the_model_the_prompts_of_evaluation(data: Path, tokenized: Path) -> None:
    weights = data / "base" / "weights"
    template, tokenizer = read_chat_template(weights), Tokenizer.from_file(str(weights / "tokenizer.json"))
    rows = read_tokens(tokenized)
    assert len(rows) == ROWS
    cut = 0
    for number, row in enumerate(rows):
        question, answer = conversation(number)
        asked = render(template, [{"role": "user", "content": question}], add_generation_prompt=True)
        assert SYSTEM in asked
        prompt = tokenizer.encode(asked, add_special_tokens=False).ids
        target = tokenizer.encode(f"{answer}<|im_end|>\n", add_special_tokens=False).ids
        cut += len(prompt + target) > CUTOFF
        if len(prompt + target) <= CUTOFF:
            assert row["input_ids"] == prompt + target
            assert row["labels"] == [-100] * len(prompt) + target
        else:
            assert row["input_ids"] == (prompt + target)[:CUTOFF]  # a long answer is cut at its end
    statistics = json.loads((data / "rows.json").read_text())
    assert 0 < cut < ROWS
    assert (statistics["rows"], statistics["packed_rows"], statistics["cut_rows"]) == (ROWS, ROWS, cut)
    assert statistics["cut_share"] == pytest.approx(cut / ROWS, abs=1e-6)
    assert statistics["tokens"] == sum(len(row["input_ids"]) for row in rows)
    assert statistics["trained_tokens"] == sum(label != -100 for row in rows for label in row["labels"])
    assert statistics["default_system"] == SYSTEM


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_packed_data_does_not_depend_on_the_processes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openthoughts.training.tokenize.BATCH_ROWS", 3)
    monkeypatch.setattr("openthoughts.training.tokenize.CHUNK_ROWS", 6)
    packing = {"packing": True, "neat_packing": True, "over_cutoff": "cut"}
    (data / "packed-1").mkdir()
    (data / "packed-1" / "old").write_text("what was there is replaced")
    assert tokenize(data, "packed-1", packing, "--processes", "1") == 0
    assert tokenize(data, "packed-2", packing, "--processes", "2") == 0
    assert contents(data / "packed-1") == contents(data / "packed-2")
    assert (data / "packed-1.json").read_text() == (data / "packed-2.json").read_text()
    assert len(list((data / "packed-1" / "train").glob("*.arrow"))) == 3

    statistics = json.loads((data / "packed-1.json").read_text())
    rows = read_tokens(data / "packed-1")
    assert len(rows) == statistics["packed_rows"] < ROWS
    assert {len(row["input_ids"]) for row in rows} == {CUTOFF}
    assert statistics["trained_tokens"] == sum(label != -100 for row in rows for label in row["labels"])
    assert not list(data.glob(".*.partial"))


def test_a_template_that_is_not_the_models_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokenize(data, "refused", {}, "--template", "llama3") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: template llama3 renders a question as '<|im_start|>")
    assert not (data / "refused").exists()


def train_command(data: Path, student: str, changes: dict[str, Any], *further: str) -> list[str]:
    return [
        *("--tokenized", str(data / "rows"), "--statistics", str(data / "rows.json")),
        *("--model", str(data / "base" / "model.json"), "--name", "student", "--settings", json.dumps(SCALE | changes)),
        *("--output", str(data / student / "model.json"), "--metrics", str(data / student / "metrics.parquet")),
        *further,
    ]


@pytest.fixture(scope="module")
def shuffled(data: Path, tokenized: Path) -> Path:
    """A student trained without interruption on shuffled rows."""
    assert train_student.main(train_command(data, "shuffled", {})) == 0
    return data / "shuffled"


@pytest.fixture(scope="module")
def grouped(data: Path, tokenized: Path) -> Path:
    """A student trained without interruption on rows grouped by length."""
    assert train_student.main(train_command(data, "grouped", GROUPED)) == 0
    return data / "grouped"


def losses(folder: Path) -> list[float]:
    metrics = pl.read_parquet(folder / "metrics.parquet")
    assert metrics["step"].to_list() == list(range(1, STEPS + 1))
    return metrics["loss"].to_list()


def test_the_student_has_learnt_and_is_the_base_models_kind(data: Path, shuffled: Path) -> None:
    student, base = Model.read(shuffled / "model.json"), Model.read(data / "base" / "model.json")
    assert student.identity != base.identity
    assert (student.chat_template, student.max_model_len) == (base.chat_template, base.max_model_len)
    found = losses(shuffled)
    assert sum(found[4:]) < sum(found[:4])
    tokens = {
        folder: Tokenizer.from_file(str(folder / "tokenizer.json")).encode("<|im_start|>naïve<|im_end|>").ids
        for folder in (student.weights, base.weights)
    }
    assert tokens[student.weights] == tokens[base.weights]
    header = (student.weights / "model.safetensors").read_bytes()[8:4000]
    assert b'"BF16"' in header
    assert b'"F32"' not in header


def test_a_training_that_is_over_is_verified_and_returned(data: Path, shuffled: Path) -> None:
    before = (shuffled / "model.json").read_bytes(), (shuffled / "metrics.parquet").read_bytes()
    (shuffled / "model.json").unlink()  # as Snakemake does before a job
    steps = next(shuffled.glob("training-*/run-1/steps.jsonl"))
    changed = steps.stat().st_mtime_ns
    assert train_student.main(train_command(data, "shuffled", {}, "--processes", "2")) == 0
    assert (shuffled / "model.json").read_bytes() == before[0]
    assert (shuffled / "metrics.parquet").read_bytes() == before[1]
    assert steps.stat().st_mtime_ns == changed


def wait_for(condition: Any, seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def running_in(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and str(folder) in " ".join(process.info["cmdline"] or []):
            found.append(process.pid)
    return found


@pytest.mark.parametrize(("order", "changes"), [("shuffled", {}), ("grouped", GROUPED)])
def test_killed_and_started_again_it_has_the_same_losses(
    data: Path, order: str, changes: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    uninterrupted: Path = request.getfixturevalue(order)
    killed = data / f"{order}-killed"
    arguments = train_command(data, killed.name, changes)
    command = [sys.executable, str(ROOT / "scripts" / "train_student.py"), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    run = Path()

    def steps() -> int:
        nonlocal run
        run = next(iter(killed.glob("training-*/run-1")), run)
        log = run / "steps.jsonl"
        return len(log.read_text().splitlines()) if run.name and log.is_file() else 0

    wait_for(lambda: process.poll() is not None or (run / "checkpoint-6" / "complete.json").exists() or steps() > STEPS)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    wait_for(lambda: not running_in(killed), 30)

    # A newer checkpoint looks half-written; the one before it, in the middle of the second epoch, counts.
    shutil.copytree(run / "checkpoint-6", run / "checkpoint-7")
    (run / "checkpoint-7" / "complete.json").unlink()
    done = steps()
    assert train_student.main(arguments) == 0
    assert steps() == done + 2, "it did not go on from the sixth step"
    assert losses(killed) == losses(uninterrupted)
    assert Model.read(killed / "model.json").digest == Model.read(uninterrupted / "model.json").digest
    assert not running_in(killed)


def test_two_nodes_train_the_same_batches(data: Path, grouped: Path) -> None:
    """Two nodes on loopback, one process each: the global batches stay, so the losses do (up to rounding)."""
    command = [sys.executable, str(ROOT / "scripts" / "train_student.py")]
    command += train_command(data, "nodes", GROUPED, "--nodes", "2", "--processes", "1")
    meeting = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    nodes = [
        subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**inherited, **meeting, "NODE_RANK": str(rank)})
        for rank in (1, 0)
    ]
    assert [node.wait(900) for node in nodes] == [0, 0]
    assert losses(data / "nodes") == pytest.approx(losses(grouped), rel=0.02)
    assert next((data / "nodes").glob("training-*/run-2/steps.jsonl")).is_file()


PARSE = """
import json, sys, yaml
from llamafactory.hparams import get_train_args
arguments = yaml.safe_load(open(sys.argv[1]))
# There is no GPU here, and no Liger kernels without one.
assert arguments.pop("enable_liger_kernel") is True
model, data, training, tuning, _ = get_train_args(arguments | {"use_cpu": True})
print("PARSED " + json.dumps({
    "flash_attn": str(model.flash_attn), "block_diagonal": model.block_diag_attn, "template": data.template,
    "cutoff": data.cutoff_len, "neat_packing": data.neat_packing, "batch": training.per_device_train_batch_size,
    "accumulation": training.gradient_accumulation_steps, "rate": training.learning_rate,
    "epochs": training.num_train_epochs, "scheduler": str(training.lr_scheduler_type.value), "bf16": training.bf16,
    "warmup": training.get_warmup_steps(1000), "beta2": training.adam_beta2, "seed": training.seed,
    "zero": training.hf_deepspeed_config.config["zero_optimization"]["stage"], "stage": tuning.stage,
    "type": tuning.finetuning_type, "max_steps": training.max_steps}))
"""


def test_openthinker3_is_what_llamafactory_reads(data: Path, tokenized: Path, tmp_path: Path) -> None:
    scale = yaml.safe_load((ROOT / "catalog" / "scales.yaml").read_text())["large"]
    statistics = read_statistics(data / "rows.json") | {"template": "qwen", "default_system": None}
    base = Model.read(data / "base" / "model.json")
    training = Training("openthinker3-7b", tokenized, statistics, base, Scale.from_json(json.dumps(scale)), 42)
    where = Nodes("cuda", 4, 8)
    prepare(training, where, training.scale.accumulation(where.world), tmp_path)
    variables = find("llamafactory-cpu").variables() | {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "DS_ACCELERATOR": "cpu",
        "HF_HUB_OFFLINE": "1",
    }
    command = [*find("llamafactory-cpu").python, "-c", PARSE, str(tmp_path / "train.yaml")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert "PARSED " in done.stdout, done.stderr
    assert json.loads(done.stdout.split("PARSED ")[1].splitlines()[0]) == {
        "flash_attn": "fa2",
        "block_diagonal": True,
        "template": "qwen",
        "cutoff": 16383,
        "neat_packing": True,
        "batch": 1,
        "accumulation": 16,
        "rate": 8e-5,
        "epochs": 5.0,
        "scheduler": "cosine",
        "bf16": True,
        "warmup": 100,
        "beta2": 0.999,
        "seed": 42,
        "zero": 3,
        "stage": "sft",
        "type": "full",
        "max_steps": -1,
    }  # LLaMA-Factory keeps one token of a packed row for itself
