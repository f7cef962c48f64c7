"""What ``snakemake preflight`` says of engines on GPUs, of access to the hub, of models that end, and of the disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fake_hub import FakeHub
from tests.gpu_environment import make_environment

import plan as plan_program
import preflight
from openthoughts.base.places import WORKFLOW
from openthoughts.costs.preflight.disk import quota_left
from openthoughts.plan.config import read_config
from openthoughts.plan.planner import make_plan
from openthoughts.plan.shards import shard_path
from openthoughts.plan.validation import configured

CLUSTER = {"account": "", "cpu_partition": "cpu", "gpu_partition": "gpu", "gpu_type": "a100", "network_partition": ""}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub().running() as running:
        yield running


class Recipe:
    """A recipe of a dataset of the hub, which a model of the hub answers on GPUs and a student is trained on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources: dict[str, Any] = {
            "sums": {"connector": "hub", "domain": "math", "dataset": "some/sums", "column": "question", "rows": 1000}
        }
        self.teacher: dict[str, Any] = {
            "kind": "hub",
            "repository": "some/teacher",
            "tokenizer": "qwen",
            "template": "qwen",
            "parameters": 7e9,
            "max_model_len": 8000,
            "serving": {"tensor_parallel": 1, "tokens_per_answer": 1000},
        }

    def write(self) -> Path:
        """The configuration's file."""
        (self.folder / "own").mkdir(exist_ok=True)
        rows = self.folder / "own" / "roads.jsonl"
        rows.write_text('{"question": "How many roads?"}\n')
        roads = {"connector": "local", "domain": "math", "path": str(rows), "column": "question", "rows": 1}
        for name, entries in (
            ("sources", self.sources),
            ("benchmarks", {"roads": roads}),
            ("models", {"teacher": self.teacher}),
        ):
            (self.folder / "own" / f"{name}.yaml").write_text(yaml.safe_dump(entries))
        recipe = {
            "decontaminate": {"benchmarks": ["roads"]},
            "answers": {"teacher": "teacher", "samples": 4},
            "domains": {"math": {"sources": ["sums"], "select": {"by": "random"}}},
        }
        if self.teacher["kind"] == "hub":
            recipe["training"] = {"student": "teacher", "scale": "small"}
        config = {
            "targets": ["tiny"],
            "results": str(self.folder / "results"),
            "store": str(self.folder / "store"),
            "catalog": ["catalog", str(self.folder / "own")],
            "recipes": {"tiny": recipe},
        }
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        return path


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(WORKFLOW)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (tmp_path / "bin").mkdir()
    return Recipe(tmp_path)


def look(recipe: Recipe, capsys: pytest.CaptureFixture[str], *further: str) -> str:
    """What a preflight prints."""
    preflight.main(["--config", str(recipe.write()), *further])
    return capsys.readouterr().out


def line(output: str, subject: str) -> str:
    """The line of the table about a subject, its remedy behind it."""
    found = re.search(rf"^\w+ +{re.escape(subject)}  .*(?:\n +-> .*)?", output, re.MULTILINE)
    assert found, output
    return " ".join(found[0].split())


def play_driver(recipe: Recipe, version: str) -> None:
    """A machine whose two GPUs have this driver."""
    program = recipe.folder / "bin" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho {version}; echo {version}\n")
    program.chmod(0o755)


def use(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, name: str, torch: str, cuda: str | None, *more: str) -> None:
    """Bring an environment of one's own."""
    programs = make_environment(recipe.folder / name, torch, cuda, *more)
    monkeypatch.setenv(f"OPENTHOUGHTS_ENVIRONMENT_{name.upper()}", str(programs))


def test_torch_without_cuda_is_a_problem_and_one_with_it_tells_the_driver(
    recipe: Recipe, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(recipe, monkeypatch, "vllm", "2.13.0+cpu", None)
    use(recipe, monkeypatch, "llamafactory", "2.12.0+cu128", "12.8", "flash_attn")
    play_driver(recipe, "570.86.15")
    output = look(recipe, capsys, "--offline")
    assert line(output, "torch of vllm").startswith("problem torch of vllm 2.13.0+cpu is built without CUDA -> bring ")
    assert line(output, "torch of llamafactory") == "ok torch of llamafactory 2.12.0+cu128, CUDA 12.8"
    assert line(output, "flash-attn") == "ok flash-attn in the environment llamafactory"
    assert line(output, "NVIDIA driver").startswith(
        "ok NVIDIA driver 570.86.15; CUDA 12.8 of llamafactory needs 525.60.13"
    )


def test_a_driver_that_is_too_old_is_a_problem_and_without_flash_attn_its_cost_is_said(
    recipe: Recipe, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(recipe, monkeypatch, "vllm", "2.13.0+cu130", "13.0")
    use(recipe, monkeypatch, "llamafactory", "2.13.0+cu130", "13.0")
    play_driver(recipe, "570.86.15")
    output = look(recipe, capsys, "--offline")
    assert line(output, "NVIDIA driver").startswith(
        "problem NVIDIA driver 570.86.15; CUDA 13.0 of llamafactory, vllm needs 580 or newer -> "
    )
    assert line(output, "flash-attn").startswith("warning flash-attn not in the environment llamafactory: ")
    assert "slower and with more memory" in line(output, "flash-attn")


def test_where_there_is_no_gpu_the_driver_is_skipped_with_the_command_that_asks_for_it(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    output = look(recipe, capsys, "--offline", "--cluster", json.dumps(CLUSTER))
    told = re.search(r"^- NVIDIA driver, because (.*)", output, re.MULTILINE)
    assert told and "CUDA 13.0 of llamafactory, vllm needs 580 or newer" in told[1], "by the pins"
    assert "`srun --partition=gpu --gres=gpu:a100:1 nvidia-smi --query-gpu=driver_version" in told[1]


def test_gated_repositories_are_told_before_anything_is_fetched(
    recipe: Recipe, hub: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.use(monkeypatch, recipe.folder / "cache")
    hub.commit("some/sums", {"rows.jsonl": "{}"})
    hub.commit("some/teacher", {"config.json": "{}"})
    hub.repositories["some/teacher"].gated = True
    output = look(recipe, capsys)
    assert line(output, "access to some/teacher") == (
        "problem access to some/teacher some/teacher is gated (teacher) "
        "-> accept its terms on its page and set HF_TOKEN to your token"
    )
    assert "access to some/sums" not in output
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    output = look(recipe, capsys)
    assert line(output, "access to the hub").startswith("ok access to the hub all 2 datasets and models")
    assert not [path for _, path, _ in hub.requests if "resolve" in path], "nothing was downloaded"


def test_without_internet_access_is_skipped_not_fine(
    recipe: Recipe, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = FakeHub()
    gone.use(monkeypatch, recipe.folder / "cache")
    gone._server.server_close()
    assert re.search(r"^- access to the hub, because the hub cannot be reached", look(recipe, capsys), re.MULTILINE)
    assert "- access to the hub, because offline: 2 datasets and models" in look(recipe, capsys, "--offline")


def test_an_unclear_answer_of_the_hub_is_listed_and_ends_no_other_check(
    recipe: Recipe, hub: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.use(monkeypatch, recipe.folder / "cache")
    hub.commit("some/sums", {"rows.jsonl": "{}"})
    hub.commit("some/teacher", {"config.json": "{}"})
    for name in ("some/sums", "some/teacher"):
        hub.faults.clear()
        hub.fault(f"{name}/auth-check", times=100, status=429)
        output = look(recipe, capsys)
        assert re.search(
            rf"^- access to {name} .*because the hub answers {name} with status 429; run again later$",
            output,
            re.MULTILINE,
        )
        assert line(output, "access to the hub").startswith("ok access to the hub 1 of 2 datasets and models")
        assert "where the internet is" not in output


@pytest.mark.parametrize(
    ("days", "word", "said"),
    [(-3, "problem", "its provider shut it down on"), (59, "warning", "in 59 days"), (61, "", "")],
)
def test_a_hosted_model_that_ends_is_told_by_plan_and_preflight(
    recipe: Recipe, capsys: pytest.CaptureFixture[str], days: int, word: str, said: str
) -> None:
    end = (date.today() + timedelta(days=days)).isoformat()
    recipe.teacher = {"kind": "api", "api_model": "m", "base_url": "http://127.0.0.1:9/v1", "tokenizer": "qwen"}
    path = recipe.write()
    models = recipe.folder / "own" / "models.yaml"
    models.write_text(models.read_text() + f"  shutdown_date: {end}\n")  # without quotes, as a user writes it
    preflight.main(["--config", str(path), "--offline"])
    output = capsys.readouterr().out
    plan_program.main(["--config", str(path)])
    warned = capsys.readouterr().out
    if not word:
        assert "shut" not in output and "shut" not in warned
        return
    assert line(output, "end of teacher").startswith(f"{word} end of teacher")
    assert said in line(output, "end of teacher")
    assert re.search(rf"^warning: teacher: its provider .*{end}", warned, re.MULTILINE)


def test_a_day_that_is_none_is_a_mistake_of_the_catalog(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.teacher["shutdown_date"] = "2026-13-40"
    assert preflight.main(["--config", str(recipe.write()), "--offline"]) == 1
    assert "models.yaml.teacher.shutdown_date: '2026-13-40' is no day such as 2026-07-24" in capsys.readouterr().err


def test_disk_counts_each_place_of_a_file_system_and_nothing_that_is_there(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    def expected(output: str) -> float:
        (told,) = re.findall(r"^\w+ +disk of results.*?at least ([\d,]+) GB expected", output, re.MULTILINE)
        return float(told.replace(",", ""))

    output = look(recipe, capsys, "--offline")
    before = expected(output)
    assert 14 + 7 * 34 <= before <= 14 + 7 * 34 + 1, (
        "weights in bfloat16, a student's with two checkpoints, few answers"
    )
    assert "environment vllm" in output and "files of sums" in output, "their sizes are not known"
    (model,) = re.findall(r"models/(teacher-[0-9a-f]{12})", plan_of(recipe))
    made = recipe.folder / "results" / "models" / model
    made.mkdir(parents=True)
    (made / "model.json").write_text("{}")
    assert before - expected(look(recipe, capsys, "--offline")) == 14


def plan_of(recipe: Recipe) -> str:
    """The paths of a recipe's stages."""
    plan = make_plan(*configured(read_config([recipe.write()], "{}")))
    return " ".join(map(plan.path, plan.index.values()))


def test_checkpoints_of_students_are_not_expected_to_lie_there_all_at_once(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe.write()
    config = yaml.safe_load(path.read_text())
    tiny = config["recipes"]["tiny"]
    recipes = {"one": tiny, "two": {**tiny, "answers": {**tiny["answers"], "samples": 2}}}
    path.write_text(yaml.safe_dump({**config, "targets": ["one", "two"], "recipes": recipes}))
    preflight.main(["--config", str(path), "--offline"])
    told = line(capsys.readouterr().out, "disk of results, store, hub's cache, environments")
    (expected,) = re.findall(r"at least ([\d,]+) GB expected", told)
    assert 14 + 2 * 14 + 7 * 32 <= float(expected) <= 14 + 2 * 14 + 7 * 32 + 4, "the weights, and checkpoints once"
    assert "; 224 GB of it are checkpoints of one training, and up to 224 GB for each further training that" in told


def test_shards_that_are_made_are_not_expected_again(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.sources["sums"]["rows"] = 100_000_000
    recipe.teacher["parameters"] = 1

    def expected() -> tuple[float, float]:
        told = line(look(recipe, capsys, "--offline"), "disk of results, store, hub's cache, environments")
        (results, store) = re.findall(r"(?:results|store) ([\d,]+)", told)
        return float(results.replace(",", "")), float(store.replace(",", ""))

    plan = make_plan(*configured(read_config([recipe.write()], "{}")))
    (answers,) = [stage for stage in plan.index.values() if stage.kind == "answers"]
    results, store = expected()
    shards = answers.execution["shards"]
    for shard in range(shards // 2):
        made = Path(shard_path(plan, answers, shard))
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    share = shards // 2 / shards
    assert expected() == (pytest.approx(results - store * share, abs=2), pytest.approx(store * (1 - share), abs=2))


OVER = " /dev/sda1 9000000* 2000000 3000000 6days 5 0 0"


@pytest.mark.parametrize(("flag", "whose"), [("-u", "your quota"), ("-g", "quota of group")])
def test_who_is_over_a_quota_is_told_so_though_quota_then_fails(
    recipe: Recipe, capsys: pytest.CaptureFixture[str], flag: str, whose: str
) -> None:
    program = recipe.folder / "bin" / "quota"
    program.write_text(f"#!/bin/sh\ncase \"$*\" in *{flag}*) echo '{OVER}'; exit 1 ;; *) echo none ;; esac\n")
    program.chmod(0o755)
    output = look(recipe, capsys, "--offline")
    told = line(output, "disk of results, store, hub's cache, environments")
    assert told.startswith("problem") and re.search(rf", 0 GB left of {whose}", told)
    assert "- quota of a project for " in output, "which nobody was asked for"
    assert f"- {whose} for" not in output


def test_quotas_that_nothing_tells_are_listed_as_not_checked(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    program = recipe.folder / "bin" / "quota"
    program.write_text("#!/bin/sh\necho 'quota: no such filesystem' >&2; exit 1\n")
    program.chmod(0o755)
    output = look(recipe, capsys, "--offline")
    for quota in ("your quota", r"quota of group \S+"):
        assert re.search(rf"^- {quota} for \S+, because neither lfs nor quota answers$", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (
            "Disk quotas for user me (uid 7):\n  Filesystem blocks quota limit grace\n /dev/sda1 1000* 2000 3000 5 0 0",
            1.024e-3,
        ),
        ("        /lustre/me 5000000 0 6000000 - 12 0 0 -", 1.024),
        ("/lustre/a/path/that/takes/a/line/of/its/own\n        7000000* 6000000 6000000 - 12 0 0 -", 0.0),
        ("Disk quotas for user me (uid 7): none", None),
        ("/lustre/me 5000000 0 0 - 12 0 0 -", None),
    ],
)
def test_what_is_left_of_a_quota(said: str, left: float | None) -> None:
    assert quota_left(said) == (left if left is None else pytest.approx(left))
