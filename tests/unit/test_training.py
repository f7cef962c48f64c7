"""Training scales, LLaMA-Factory's files, checkpoints and metrics."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.tiny_model import make_tiny_model

from openthoughts.base.cli import UserError
from openthoughts.base.engine_child import failure, run_engine
from openthoughts.training.arguments import Training, train_arguments
from openthoughts.training.checkpoints import MARKER, checkpoints, last_checkpoint, whole
from openthoughts.training.metrics import read_metrics
from openthoughts.training.nodes import Nodes, rendezvous
from openthoughts.training.scales import Preparation, Scale
from openthoughts.training.training import check_made_for, environment_of, launch, prepare, publish, sole_writer
from openthoughts.training.weights import finished, keep_model

ROOT = Path(__file__).resolve().parents[2]
SCALES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "catalog" / "scales.yaml").read_text())
STATISTICS = {
    "packed_rows": 1000,
    "template": "smollm2",
    "default_system": "Be kind.",
    "cutoff": 512,
    "packing": False,
    "neat_packing": False,
    "digest": "d" * 64,
}


def scale(name: str, **changes: Any) -> Scale:
    return Scale.from_json(json.dumps({**SCALES[name], **changes}))


@pytest.fixture
def training(tmp_path: Path) -> Training:
    base = make_tiny_model(tmp_path / "base")
    return Training("student", tmp_path / "rows", STATISTICS, base, scale("demo"), 42)


# What the paper and the published configurations give (global batch, learning rate, epochs, and what is special).
PUBLISHED = {
    "micro": (32, 1e-5, 13, set()),
    "small": (96, 2e-5, 7, set()),
    "medium": (128, 4e-5, 5, {"group_by_length"}),
    "large": (512, 8e-5, 5, {"packing", "neat_packing"}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_catalog_has_the_published_scales(name: str) -> None:
    found = scale(name)
    batch, rate, epochs, special = PUBLISHED[name]
    assert (found.global_batch, found.learning_rate, found.epochs) == (batch, rate, epochs)
    assert {key for key in ("group_by_length", "packing", "neat_packing") if getattr(found, key)} == special
    assert (found.cutoff, found.scheduler, found.warmup_ratio, found.max_steps) == (16384, "cosine", 0.1, None)


def test_large_scale_gives_the_published_arguments(training: Training, tmp_path: Path) -> None:
    statistics = STATISTICS | {"template": "qwen", "cutoff": 16384, "packing": True, "neat_packing": True}
    large = replace(training, scale=scale("large"), statistics=statistics)
    arguments = train_arguments(large, "cuda", large.scale.accumulation(4 * 8), tmp_path)
    published = {
        "stage": "sft",
        "finetuning_type": "full",
        "bf16": True,
        "flash_attn": "fa2",
        "enable_liger_kernel": True,
        "template": "qwen",
        "cutoff_len": 16384,
        "packing": True,
        "neat_packing": True,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 16,
        "learning_rate": 8e-5,
        "num_train_epochs": 5,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "adam_beta2": 0.999,
        "seed": 42,
    }
    assert {key: arguments[key] for key in published} == published
    assert "max_steps" not in arguments
    assert "use_cpu" not in arguments
    assert yaml.safe_load(yaml.safe_dump(arguments)) == arguments  # a learning rate that is read as text is none


@pytest.mark.parametrize(("dtype", "accelerator", "mixed"), [
    ("float32", "cpu", False), ("bfloat16", "cpu", True), ("float32", "cuda", True),
])  # fmt: skip
def test_processors_train_a_float32_model_in_float32(
    training: Training, tmp_path: Path, dtype: str, accelerator: str, mixed: bool
) -> None:
    training = replace(training, base=replace(training.base, dtype=dtype))
    assert train_arguments(training, accelerator, 1, tmp_path)["bf16"] is mixed


@pytest.mark.parametrize(("processes", "rows"), [(1, 512), (32, 16), (512, 1)])
def test_accumulation_makes_the_global_batch(processes: int, rows: int) -> None:
    assert scale("large").accumulation(processes) == rows


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match="512 does not divide over 24 training processes: use 16 or 32"):
        scale("large").accumulation(24)


def test_steps_count_as_the_trainer_does() -> None:
    assert scale("medium").steps(31_600) == (247, 1235)  # 246.9 batches an epoch: the last one is smaller
    assert scale("demo").steps(10) == (3, SCALES["demo"]["max_steps"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('{"epochs": 5}', "lacks global_batch, learning_rate, cutoff"),
        ('{"global_batch": 4, "learning_rate": 1e-5, "cutoff": 64}', r"lacks epochs \(or max_steps\)"),
        ('{"globalbatch": 4}', r"no setting 'globalbatch' \(did you mean global_batch\?\)"),
        (
            '{"global_batch": 4, "learning_rate": "1e-5", "cutoff": 64, "epochs": 1}',
            "learning_rate of the training scale is '1e-5'",
        ),
        ("[4]", "give a JSON object"),
        ("{4}", "not JSON"),
    ],
)
def test_a_wrong_scale_is_refused_in_a_sentence(settings: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Scale.from_json(settings)


def test_packing_reads_a_whole_scale() -> None:
    assert Preparation.from_json(json.dumps(SCALES["large"])) == Preparation(packing=True, neat_packing=True)
    assert Preparation.from_json("{}") == Preparation()


def test_data_that_an_earlier_version_cut_is_not_taken_for_dropped(training: Training) -> None:
    before = replace(training, statistics={**STATISTICS, "cut_rows": 3})
    with pytest.raises(UserError, match="tokenised with over_cutoff published, the scale says drop"):
        check_made_for(before)
    check_made_for(replace(before, scale=replace(before.scale, over_cutoff="published")))
    check_made_for(replace(training, statistics={**STATISTICS, "cut_rows": 0}))


def test_a_rule_that_says_nothing_names_nothing() -> None:
    assert scale("demo", over_cutoff="cut", most_lost=0.5).changed() == {"over_cutoff": "cut"}
    assert scale("demo", most_lost=0.5).changed() == {"most_lost": 0.5}


def test_fingerprint_names_what_decides_the_model(training: Training) -> None:
    name = training.fingerprint()
    assert replace(training, name="other", tokenized=Path("elsewhere")).fingerprint() == name
    assert replace(training, scale=replace(training.scale, save_steps=77)).fingerprint() == name
    changed = [
        replace(training, seed=43),
        replace(training, scale=replace(training.scale, learning_rate=1e-6)),
        replace(training, statistics=STATISTICS | {"digest": "e" * 64}),
        replace(training, base=replace(training.base, identity="sha256:0")),
    ]
    assert len({name, *(each.fingerprint() for each in changed)}) == 5


def make_checkpoint(run: Path, step: int, last: bool = False) -> Path:
    """A checkpoint as the engine leaves it, with the tiny model's files in it."""
    checkpoint = run / f"checkpoint-{step}"
    make_tiny_model(run / f"model-{step}")
    (run / f"model-{step}" / "weights").rename(checkpoint)
    (checkpoint / f"global_step{step}").mkdir()
    for name in ("latest", "trainer_state.json", "training_args.bin", "rng_state.pth", f"global_step{step}/optim.pt"):
        (checkpoint / name).write_text("{}")
    sizes = {str(p.relative_to(checkpoint)): p.stat().st_size for p in checkpoint.rglob("*") if p.is_file()}
    (checkpoint / MARKER).write_text(json.dumps({"last": last, "files": sizes}))
    return checkpoint


def test_incomplete_checkpoints_are_moved_aside(training: Training, tmp_path: Path) -> None:
    run = tmp_path / "run-1"
    for step in (2, 4, 10, 12):
        make_checkpoint(run, step)
    (run / "checkpoint-4" / "global_step4" / "optim.pt").write_text("")
    (run / "checkpoint-10" / "latest").unlink()
    (run / "checkpoint-12" / MARKER).unlink()
    (run / "incomplete-checkpoint-12-1").mkdir()
    prepare(training, Nodes("cpu", 1, 1), 4, run)
    assert [path.name for path in checkpoints(run)] == ["checkpoint-2"]
    aside = {path.name for path in run.glob("incomplete-*")}
    assert aside == {f"incomplete-checkpoint-{name}" for name in ("4-1", "10-1", "12-1", "12-2")}
    arguments = yaml.safe_load((run / "train.yaml").read_text())
    assert arguments["output_dir"] == str(run)
    assert json.loads((run / "deepspeed.json").read_text())["zero_optimization"]["stage"] == 3


def test_last_checkpoint_is_the_whole_one_that_ends_the_training(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 2)
    assert last_checkpoint(tmp_path) is None
    checkpoint = make_checkpoint(tmp_path, 4, last=True)
    assert last_checkpoint(tmp_path) == checkpoint
    (checkpoint / "model.safetensors").write_bytes(b"")
    assert whole(checkpoint) is None
    assert last_checkpoint(tmp_path) is None


STEPS = (
    '{"step": 1, "epoch": 0.5, "loss": 2.0, "learning_rate": 0.0, "grad_norm": 1, "tokens_per_second": 9, "mfu": null}',
    '{"step": 2, "epoch": 1.0, "loss": 9.9, "learning_rate": 1e-5, "grad_norm": 1, "tokens_per_second": 9}',
    '{"step": 2, "epoch": 1.0, "loss": 1.5, "learning_rate": 1e-5, "grad_norm": 1, "tokens_per_second": 7}',
    '{"step": 3, "epo',
)


def test_metrics_take_the_last_of_a_step_and_leave_torn_lines(tmp_path: Path) -> None:
    (tmp_path / "steps.jsonl").write_text("\n".join(STEPS))
    metrics = read_metrics(tmp_path)
    assert metrics["step"].to_list() == [1, 2]
    assert metrics["loss"].to_list() == [2.0, 1.5]
    assert metrics["mfu"].to_list() == [None, None]


def test_the_model_is_kept_and_what_a_restart_needs_is_not(training: Training, tmp_path: Path) -> None:
    output = tmp_path / "student" / "model.json"
    folder = training.folder(output)
    run = folder / "run-1"
    make_checkpoint(run, 4, last=True)
    make_checkpoint(run, 2)
    (run / "steps.jsonl").write_text("\n".join(STEPS))
    keep_model(training, run, folder)
    assert {path.name for path in (folder / "weights").iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    }
    # The tokenizer ends a turn with <|im_end|> (2); the base model's settings knew <|endoftext|> (0) only.
    assert json.loads((folder / "weights" / "generation_config.json").read_text())["eos_token_id"] == [2, 0]
    assert json.loads((folder / "weights" / "config.json").read_text())["use_cache"] is True
    assert {path.name for path in run.iterdir()} == {"steps.jsonl", "trainer_state.json"}

    publish(training, folder, output, tmp_path / "metrics.parquet")
    student = json.loads(output.read_text())
    assert student["identity"] == f"sha256:{student['digest']}"
    assert student["path"] == f"{folder.name}/weights"
    assert student["chat_template"] == training.base.chat_template
    assert student["training"]["last_loss"] == 1.5
    assert finished(folder)
    (folder / "weights" / "model.safetensors").write_bytes(b"changed")
    assert finished(folder) is None


def test_one_node_meets_itself_whatever_slurm_says() -> None:
    meeting = rendezvous({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, 1)
    assert (meeting.rank, meeting.address) == (0, "127.0.0.1")
    assert meeting.port > 1023


def test_nodes_meet_at_the_first_host_of_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$1 $2 $3" = "show hostnames gpu[3-4]" ] && printf "gpu3\\ngpu4\\n"\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    variables = {
        "SLURM_JOB_ID": "123456",
        "SLURM_PROCID": "1",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "gpu[3-4]",
    }
    meeting = rendezvous(variables, 2)
    assert (meeting.rank, meeting.address, meeting.port) == (1, "gpu3", 23456)
    first = rendezvous(variables | {"SLURM_PROCID": "0"}, 2)
    assert (first.address, first.port) == (meeting.address, meeting.port)


@pytest.mark.parametrize("variables", [{}, {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}])
def test_several_nodes_without_as_many_tasks_are_refused(variables: dict[str, str]) -> None:
    with pytest.raises(UserError, match="srun --nodes 2 --ntasks 2 --ntasks-per-node 1"):
        rendezvous(variables, 2)


@pytest.mark.parametrize("is_last", [True, False])
def test_a_training_that_is_over_may_end_badly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_last: bool
) -> None:
    programs, run = tmp_path / "bin", tmp_path / "run-1"
    programs.mkdir()
    marker = run / "checkpoint-4" / MARKER
    marker.parent.mkdir(parents=True)
    # Stands for the environment's interpreter: writes its last checkpoint and is then aborted.
    content = json.dumps({"last": is_last, "files": {}})
    (programs / "python").write_text(
        f"#!/bin/sh\necho '{content}' > {marker}\necho 'terminate called'\nkill -ABRT $$\n"
    )
    (programs / "python").chmod(0o755)
    monkeypatch.setenv("OPENTHOUGHTS_ENVIRONMENT_LLAMAFACTORY_CPU", str(programs))
    where = Nodes("cpu", 1, 1)
    if is_last:
        launch(environment_of(where), run, where, rendezvous({}, 1))
        assert "ended badly" in caplog.text
    else:
        with pytest.raises(UserError, match="training failed with status 134"):
            launch(environment_of(where), run, where, rendezvous({}, 1))


def test_a_second_job_of_one_training_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openthoughts.training.training.KNOWN_DEAD_SECONDS", 0.2)
    with sole_writer(tmp_path), pytest.raises(UserError, match="another job trains in"), sole_writer(tmp_path):
        pass
    with sole_writer(tmp_path):
        pass


@pytest.mark.parametrize(
    ("status", "messages", "sentence"),
    [
        (3, ["loading", "template x is not the model's.", ""], "template x is not the model's."),
        (137, ["step 1/4"], "training was killed, most likely for want of memory"),
        (
            1,
            ["[rank0]: OSError: disk quota exceeded", "raise ChildFailedError(", "====", "foo.ChildFailedError: "],
            "quota",
        ),
        (1, ["exitcode  : -9 (pid: 7)", "Root Cause (exitcode: -9)"], "most likely for want of memory"),
        (2, [], "failed with status 2, the messages above say why: it said nothing"),
    ],
)
def test_a_failed_engine_ends_in_a_sentence(status: int, messages: list[str], sentence: str) -> None:
    assert sentence in failure(status, "training", messages)


def test_an_engine_passes_its_messages_on(capfd: pytest.CaptureFixture[str]) -> None:
    run_engine(["sh", "-c", "echo said $WORD; echo and >&2"], {"WORD": "it", "PATH": "/usr/bin:/bin"}, "this")
    assert capfd.readouterr().err == "said it\nand\n"
    with pytest.raises(UserError, match="ValueError: no"):
        run_engine([sys.executable, "-c", "raise ValueError('no')"], {}, "this")
