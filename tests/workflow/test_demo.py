"""The demo, run for real, killed with -9 at random moments on the way, and started again each time.

vLLM serves the demo's model behind a proxy that counts; the student's evaluations start servers of their own. What the
demo makes is then looked at stage by stage: every planted row's fate, the dataset, the student, the scores, the report.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import psutil
import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from tests.browser import complaints, headless_chromium
from tests.counting_proxy import CountingProxy
from tests.workflow.conftest import ROOT, Checkout

from openthoughts.costs.estimates import estimate, total
from openthoughts.costs.spending import Spent, spent
from openthoughts.inference.endpoints import SERVERS_VARIABLE
from openthoughts.inference.server import engine
from openthoughts.inference.vllm import EngineSettings
from openthoughts.models.model import Model
from openthoughts.plan.config import read_config
from openthoughts.plan.planner import make_plan
from openthoughts.plan.validation import configured

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

KILLS = (3, pytest.param(10, marks=pytest.mark.exhaustive))
LAST_JOBS = 8
"""So many jobs at the end are too short to be met by a kill."""
PROFILE = ("--workflow-profile", "profiles/demo")
FSYNC_SECONDS = 2.0
"""Answers of at most this long before a kill may be lost: a second between two syncs, and one for the request."""


@dataclass
class Demo:
    """The finished demo and what was seen on the way."""

    checkout: Checkout
    kills: list[float] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    asked_again: list[str] = field(default_factory=list)
    requests: int = 0
    output: str = ""

    @property
    def results(self) -> Path:
        return self.checkout.folder / "results/demo"

    def table(self, pattern: str) -> pl.DataFrame:
        """All files of a pattern below the results, one under the other."""
        return pl.concat([pl.read_parquet(path) for path in sorted(self.results.glob(pattern))], how="diagonal_relaxed")


def finished_jobs(log: Path) -> int:
    return len(re.findall(r"^Finished jobid", log.read_text(), re.MULTILINE)) if log.exists() else 0


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and everything it started."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def run_until_killed(demo: Demo, variables: dict[str, str], jobs: int, delay: float, log: Path) -> bool:
    """Start the workflow, wait for so many more jobs and a moment, kill the workflow; False where it ended before.

    Only Snakemake and the programs of its jobs are killed, as a lost login would: engines and trainings that they
    started must notice by themselves.
    """
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *PROFILE],
            cwd=demo.checkout.folder, env=variables, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    while process.poll() is None and finished_jobs(log) < jobs:
        time.sleep(0.2)
    time.sleep(delay)
    if process.poll() is not None:
        return False
    started = family(psutil.Process(process.pid))
    killed = []
    for each in started:
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(each.pid) == process.pid:
                os.kill(each.pid, signal.SIGKILL)
                killed.append(each)
    process.wait()
    psutil.wait_procs(killed, timeout=120)
    # Only now: until its end, a client may be sent answers that it does not read any more.
    demo.kills.append(time.monotonic())
    _, alive = psutil.wait_procs(started, timeout=120)
    demo.orphans += [" ".join(each.cmdline()) for each in alive if each.is_running()]
    return True


@pytest.fixture(scope="module", params=KILLS, ids=lambda kills: f"{kills} kills")
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo, killed and restarted until it is done."""
    folder = tmp_path_factory.mktemp("demo")
    made = Demo(Checkout(folder))
    seed = request.config.getoption("seed")
    print(f"killed at moments drawn with --seed {seed}")
    run = made.checkout
    run.snakemake(*PROFILE, "--quiet", "rules", "--until", "fetch_model")
    (card,) = made.results.glob("models/*/model.json")
    model = Model.read(card)
    chance = random.Random(seed)
    total = run.jobs(*PROFILE)["total"]
    moments = sorted(chance.sample(range(total - LAST_JOBS), request.param))
    with (
        engine(model, EngineSettings(accelerator="cpu")) as endpoint,
        CountingProxy(endpoint.base_url) as proxy,
    ):
        entry = {"base_url": proxy.base_url, "api_key": endpoint.api_key, "model_name": endpoint.model_name}
        variables = {**run.variables, SERVERS_VARIABLE: json.dumps({model.key_digest(): entry})}
        for kill, moment in enumerate(moments):
            more = moment - (total - run.jobs(*PROFILE)["total"])
            delay = chance.uniform(0, 6)
            if not run_until_killed(made, variables, more, delay, folder / f"run-{kill}.log"):
                break
            subprocess.run(
                [sys.executable, "-m", "snakemake", *PROFILE, "--unlock"], cwd=folder, check=True, capture_output=True
            )
        finished = subprocess.run(
            [sys.executable, "scripts/run_demo.py"], cwd=folder, env=variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stdout[-20_000:]
        made.output = finished.stdout
        made.asked_again = proxy.asked_again(made.kills, FSYNC_SECONDS)
        made.requests = len(proxy.asked)
    yield made


def test_the_demo_survives_kills_and_asks_no_acknowledged_answer_again(
    demo: Demo, request: pytest.FixtureRequest
) -> None:
    assert len(demo.kills) == request.node.callspec.params["demo"]
    assert demo.asked_again == []
    assert demo.orphans == []
    asked = [
        demo.table(files).select(*key).n_unique()
        for files, key in (
            ("labels/*/completions/*.parquet", ("question_id",)),
            ("answers/*/completions.parquet", ("question_id", "sample")),
            (
                "evaluations/smollm2-135m-instruct-????????????/completions.parquet",
                ("benchmark", "question_id", "sample"),
            ),
        )
    ]
    assert demo.requests == sum(asked)


def test_a_second_run_does_nothing_and_starts_no_server(demo: Demo) -> None:
    run = subprocess.run(
        [sys.executable, "scripts/run_demo.py"], cwd=demo.checkout.folder, text=True, capture_output=True,
        env={**demo.checkout.variables, "OPENTHOUGHTS_ENVIRONMENTS": "/nonexistent"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "Nothing to be done" in run.stdout


def test_the_plan_foretold_what_it_took(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo.checkout.folder)
    plan = make_plan(*configured(read_config([Path("config.yaml"), Path("demo/config.yaml")])))
    foretold = estimate(plan.index.values())
    ratios = {}
    for kind in ("labels", "answers", "evaluation"):
        took = Spent()
        for stage in plan.index.values():
            if stage.kind == kind:
                took += spent(demo.results / stage.folder, demo.results / "usage", shards=stage.execution.get("shards"))
        for quantity in ("requests", "input_tokens", "output_tokens"):
            ratios[kind, quantity] = getattr(foretold[kind], quantity) / getattr(took, quantity)
    written = sum(path.stat().st_size for path in demo.results.rglob("*") if path.is_file() and not path.is_symlink())
    ratios["everything", "disk"] = total(foretold.values()).disk_gb * 1e9 / written
    print(*(f"{kind} {quantity}: {ratio:.2f}" for (kind, quantity), ratio in ratios.items()), sep="\n")
    assert {key: ratio for key, ratio in ratios.items() if not 1 / 1.5 < ratio < 1.5} == {}


def test_it_ends_by_saying_where_things_are(demo: Demo) -> None:
    places = dict(re.findall(r"^(dataset|student|scores|page|report) +(\S+)$", demo.output, re.MULTILINE))
    assert set(places) == {"dataset", "student", "scores", "page", "report"}
    for place in places.values():
        assert (demo.checkout.folder / place).is_file()


def planted(demo: Demo) -> pl.DataFrame:
    """The planted rows with their kind."""
    rows = demo.table("sources/planted-*/questions.parquet")
    return rows.with_columns(kind=pl.col("metadata").str.json_path_match("$.planted"))


def rows_of(table: pl.DataFrame) -> set[tuple[str, str]]:
    return set(table.select("source", "source_row").iter_rows())


def test_every_leak_is_dropped_with_its_benchmark_and_nothing_else_that_was_planted(demo: Demo) -> None:
    leaks = planted(demo).filter(pl.col("kind").is_in(["verbatim", "edited", "embedded"]))
    dropped = demo.table("clean/planted-*/dropped.parquet")
    assert leaks.height == 6
    assert rows_of(dropped) == rows_of(leaks)
    assert set(dropped["benchmark"]) == {"champ-holdout"}
    methods = dropped.join(leaks, on=["source", "source_row"]).group_by("kind").agg(pl.col("reason").unique())
    by_kind = {kind: set(reasons) for kind, reasons in methods.iter_rows()}
    assert by_kind["verbatim"] == {"similarity", "ngram"}
    assert "similarity" in by_kind["edited"]
    assert by_kind["embedded"] == {"ngram"}


def test_an_exact_copy_is_dropped_once_and_names_its_twin(demo: Demo) -> None:
    copies = planted(demo).filter(pl.col("kind") == "exact")
    dropped = demo.table("deduplicated/*/dropped.parquet").filter(pl.col("reason") == "exact")
    kept = demo.table("deduplicated/*/questions.parquet")
    for question in copies["question_id"]:
        assert dropped.filter(pl.col("question_id") == question).height >= 1
        assert kept.filter(pl.col("question_id") == question).height == 1
    assert dropped["kept_question_id"].null_count() == 0


def test_a_near_copy_stays_where_duplicates_are_exact_and_goes_where_they_are_fuzzy(demo: Demo) -> None:
    near = (
        planted(demo).filter(pl.col("kind") == "near").with_columns(of=pl.col("metadata").str.json_path_match("$.of"))
    )
    kept = set(demo.table("deduplicated/*/questions.parquet")["question_id"])
    selected = set(demo.table("mixed/*/questions.parquet")["question_id"])
    for domain, together in (("math", True), ("science", False)):
        pairs = near.filter(pl.col("domain") == domain).select("question_id", "of").rows()
        assert len(pairs) == 2
        for copy, original in pairs:
            assert {copy, original} <= selected
            assert ({copy, original} <= kept) is together
            assert copy in kept or original in kept


def test_a_repeated_question_gets_answers_of_its_own_for_each_row(demo: Demo) -> None:
    repeated = planted(demo).filter(pl.col("kind") == "repeated")
    answers = demo.table("answers/code-*/completions.parquet")
    for question in repeated["question_id"].unique():
        assert sorted(answers.filter(pl.col("question_id") == question)["sample"]) == list(range(8))
    others = answers.filter(~pl.col("question_id").is_in(repeated["question_id"].implode()))
    assert set(others.group_by("question_id").len()["len"]) == {4}


def test_the_dataset_is_the_answers_shuffled_in_sharegpt_form(demo: Demo) -> None:
    folder = demo.results / "recipes/demo/dataset"
    dataset = pl.read_parquet(folder / "dataset.parquet")
    answers = demo.table("answers/*/completions.parquet")
    assert dataset.height == answers.filter(pl.col("text").is_not_null()).height
    assert dataset.columns[:4] == ["difficulty", "source", "domain", "conversations"]
    assert [turn["from"] for turn in dataset["conversations"][0]] == ["human", "gpt"]
    assert dataset["domain"].head(20).n_unique() == 3, "the head of the file holds every domain"
    info = json.loads((folder / "dataset_info.json").read_text())
    assert "sharegpt" in json.dumps(info)
    card = (folder / "README.md").read_text()
    assert "planted-math" in card
    assert "apache-2.0" in card


def test_the_student_is_trained_and_differs_from_its_base(demo: Demo) -> None:
    student = json.loads((demo.results / "recipes/demo/model/model.json").read_text())
    (base,) = demo.results.glob("models/*/model.json")
    assert student["identity"].startswith("sha256:")
    assert student["digest"] != json.loads(base.read_text())["digest"]
    (metrics,) = demo.results.glob("recipes/demo/model/metrics.parquet")
    losses = pl.read_parquet(metrics)["loss"]
    assert losses.len() == 4
    assert losses.is_finite().all()


def test_scores_have_errors_for_the_student_and_its_base(demo: Demo) -> None:
    for name in ("scores", "scores-base"):
        scores = pl.read_parquet(demo.results / f"recipes/demo/{name}/scores.parquet")
        assert set(scores["benchmark"]) == {"champ-holdout", "reasoning-gym", "science-choice"}
        assert scores["score"].is_between(0, 100).all()
        assert scores["standard_error"].is_not_null().all()
        assert scores["questions"].to_list() == [16, 12, 16]


def test_the_ablation_shares_all_but_its_late_stages(demo: Demo) -> None:
    assert len(list(demo.results.glob("students/*/model.json"))) == 2
    assert len(list(demo.results.glob("answers/*"))) == 3
    (experiment,) = demo.results.glob("experiments/demo-filter-*")
    table = pl.read_csv(experiment / "scores.tsv", separator="\t")
    assert {"none", "majority"} <= set(table["arm"])
    assert (experiment / "plot.svg").read_text().lstrip().startswith("<svg")
    assert (experiment / "summary.md").read_text().strip()


def test_majority_keeps_only_answers_that_agree(demo: Demo) -> None:
    dropped = demo.table("filtered/*/dropped.parquet")
    assert dropped.height > 0
    assert dropped["reason"].null_count() == 0


EXCEPTED = {
    "make test": "it is what runs this",
    ".venv/bin/python scripts/environments.py vllm llamafactory": "a command for machines with GPUs",
    ".venv/bin/snakemake lock": "it asks the hub, tests/unit/test_locking.py one of its own",
    ".venv/bin/python scripts/serve_model.py results/models/NAME/model.json --accelerator cuda --tensor-parallel 4"
    " -- COMMAND": "names to be filled in, and GPUs; tests/cli/test_serve_model.py",
    "snakemake -s /path/to/openthoughts-snakemake/Snakefile --configfile mine.yaml --workflow-profile"
    " /path/to/my-profile": "paths to be filled in; tests/workflow/test_anywhere.py",
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_every_command_of_a_page_runs(demo: Demo, page: str) -> None:
    folder = demo.checkout.folder
    if not (folder / ".venv").exists():
        (folder / ".venv").symlink_to(ROOT / ".venv")
    for block in blocks(page, "yaml"):
        path = folder / block.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(block)
    commands = [line for block in blocks(page, "bash") for line in block.splitlines() if line]
    assert "make demo" in commands
    said = []
    for command in commands:
        if command in EXCEPTED:
            continue
        run = subprocess.run(
            command, shell=True, cwd=folder, env=demo.checkout.variables, text=True, capture_output=True
        )
        assert run.returncode == 0, f"{command}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
        said.append(run.stdout + run.stderr)
    if page == "docs/tutorial.md":
        assert re.search(r"^answers +6 of 12 ", said[-1], re.MULTILINE), said[-1]
        assert pl.read_parquet(folder / "results/mine/recipes/mine/dataset/dataset.parquet").height == 6


@pytest.mark.parametrize("page", ["docs/asking.md", "docs/engines.md", "docs/experiments.md", "docs/sources.md"])
def test_every_command_of_a_page_about_larger_things_is_understood(demo: Demo, page: str) -> None:
    """What the store's programs say is looked at in the demo's store; what needs GPUs is run dry."""
    folder = demo.checkout.folder
    if not (folder / ".venv").exists():
        (folder / ".venv").symlink_to(ROOT / ".venv")
    for block in blocks(page, "yaml"):
        if block.startswith("# "):
            (folder / block.splitlines()[0].removeprefix("# ")).write_text(block)
    lines = [line.partition("  #")[0].strip() for block in blocks(page, "bash") for line in block.splitlines()]
    assert lines
    for command in (line for line in lines if line and line not in EXCEPTED):
        if command.startswith(".venv/bin/snakemake") and " plan" not in command and " -n" not in command:
            command += " -n --quiet rules"
        run = subprocess.run(
            command.replace("--store store", "--store store/demo"), shell=True, cwd=folder,
            env=demo.checkout.variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert run.returncode == 0, f"{command}\n{run.stdout[-3000:]}"


REPORTED = {
    "Questions": {"funnel", "labels", "decontamination"},
    "Answers": {"lengths"},
    "Student": {"scores", "training"},
    "Experiments": {"demo-filter"},
    "Time and memory": {"time and memory"},
}
"""Category -> how the rows of the report's plots begin."""


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    with headless_chromium() as running:
        running.implicitly_wait(10)
        yield running


def test_the_recipes_page_opens_without_a_complaint(demo: Demo, browser: webdriver.Chrome) -> None:
    browser.get((demo.results / "recipes/demo/report.html").as_uri())
    assert complaints(browser) == []
    assert browser.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 100)")
    assert len(browser.find_elements(By.CSS_SELECTOR, "[data-list=rows] .row")) == 20


def test_the_report_opens_in_a_browser_with_its_plots(demo: Demo, browser: webdriver.Chrome) -> None:
    for category, plots in REPORTED.items():
        for plot in plots:
            assert plot_width(browser, demo.results / "report.html", category, plot) > 100, f"{category}: {plot}"
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []


def plot_width(browser: webdriver.Chrome, report: Path, category: str, plot: str) -> int:
    """Open the report and a plot of it by clicks. Snakemake's page now and then loses a click while it builds rows."""
    for _ in range(3):
        browser.get(report.as_uri())
        browser.find_element(By.XPATH, f"//*[normalize-space(text())='{category}']").click()
        row = browser.find_element(By.XPATH, f"//tr[td[starts-with(normalize-space(), '{plot}')]]")
        row.find_element(By.XPATH, ".//a[@iconname='eye']").click()
        with contextlib.suppress(TimeoutException):
            return WebDriverWait(browser, 20).until(shown_plot)["width"]
    return 0


def shown_plot(browser: webdriver.Chrome) -> dict[str, int] | None:
    """The natural size of the largest picture on the page, once it is loaded."""
    size: dict[str, int] | None = browser.execute_script(
        "return [...document.images].filter(i => i.complete && !i.src.includes('logo'))"
        ".map(i => ({width: i.naturalWidth})).sort((a, b) => b.width - a.width)[0] || null"
    )
    return size if size and size["width"] > 0 else None
