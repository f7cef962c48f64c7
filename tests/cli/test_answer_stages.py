"""The programs from the teacher's answers to the scores, run as the rules run them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.answer_tables import answers, benchmark, drawn, evaluation

import assemble_dataset
import compare_arms
import filter_answers
import grade_answers
import measure_answers
from openthoughts.base.tables import GRADES, SCORES

ROOT = Path(__file__).resolve().parents[2]
ENDS = ("-drawn.parquet", ".kept", ".measured")
"""Files of a domain that its dataset is assembled from."""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder with a dataset of two domains, made by the programs."""
    for domain, by in (("math", "majority"), ("science", "none")):
        questions = {f"{domain} {number}": [r"\boxed{1}", "is 1.", r"\boxed{2}"] for number in range(4)}
        drawn(tmp_path / f"{domain}-drawn.parquet", list(questions), domain, f"{domain} source", label=3.0)
        answers(tmp_path / f"{domain}.answers", questions)
        arguments = ["--questions", tmp_path / f"{domain}-drawn.parquet", "--answers", tmp_path / f"{domain}.answers"]
        measuring = [*arguments, "--settings", '{"last_number": true, "programs": true}']
        measuring += ["--output", tmp_path / f"{domain}.measured"]
        assert measure_answers.main([str(argument) for argument in measuring]) == 0
        arguments += ["--measured", tmp_path / f"{domain}.measured"]
        arguments += ["--by", by, "--output", tmp_path / f"{domain}.kept", "--dropped", tmp_path / f"{domain}.dropped"]
        assert filter_answers.main([str(argument) for argument in arguments]) == 0
    domains = [
        argument
        for domain in ("math", "science")
        for argument in ("--domain", domain, *(f"{tmp_path}/{domain}{end}" for end in ENDS))
    ]
    outputs = ["dataset.parquet", "dataset_info.json", "README.md", "counts.json"]
    names = ["--output", "--info", "--card", "--counts"]
    given = [text for name, file in zip(names, outputs, strict=True) for text in (name, str(tmp_path / file))]
    licences = ["--licences", '{"math source": "MIT"}', "--difficulty", "math"]
    assert assemble_dataset.main([*domains, *licences, "--recipe", "tiny", "--seed", "42", *given]) == 0
    return tmp_path


def test_answers_become_a_dataset(dataset: Path) -> None:
    table = pl.read_parquet(dataset / "dataset.parquet")
    assert table["domain"].value_counts(sort=True).rows() == [("science", 12), ("math", 8)]
    assert table.filter(pl.col("domain") == "math")["difficulty"].unique().to_list() == [3]
    info = json.loads((dataset / "dataset_info.json").read_text())["dataset"]
    assert (dataset / info["file_name"]).is_file()
    assert info["tags"]["user_tag"] == table["conversations"][0][0]["from"]
    counts = json.loads((dataset / "counts.json").read_text())
    assert counts["rows"] == table.height
    assert "| math | math source | MIT | 4 | 8 |" in (dataset / "README.md").read_text()


def test_the_filter_runs_as_a_program(dataset: Path) -> None:
    command = [sys.executable, "scripts/filter_answers.py", "--questions", f"{dataset}/math-drawn.parquet"]
    command += ["--answers", f"{dataset}/math.answers", "--by", "majority"]
    command += ["--measured", f"{dataset}/math.measured"]
    command += ["--output", f"{dataset}/again.kept", "--dropped", f"{dataset}/again.dropped"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "majority: kept 8 answers, dropped 4" in finished.stderr
    assert (dataset / "again.kept").read_bytes() == (dataset / "math.kept").read_bytes()


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        (filter_answers, ["--by", "best"], "there is no answer filter 'best'"),
        (filter_answers, ["--by", "none", "--options", "{"], "--options is not JSON"),
        (filter_answers, ["--by", "none", "--options", "[1]"], "give a JSON object"),
        (filter_answers, ["--by", "none", "--answers", "gone.parquet"], "gone.parquet does not exist"),
    ],
)
def test_mistakes_end_in_one_sentence(
    dataset: Path, capsys: pytest.CaptureFixture[str], program: object, arguments: list[str], message: str
) -> None:
    base = ["--questions", f"{dataset}/math-drawn.parquet", "--answers", f"{dataset}/math.answers"]
    base += ["--output", f"{dataset}/x", "--dropped", f"{dataset}/y"]
    assert filter_answers.main([*base, *arguments]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_a_difficulty_of_no_domain_is_refused(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--domain", "math", *(f"{dataset}/math{end}" for end in ENDS), "--difficulty", "maths"]
    given += ["--recipe", "r", "--seed", "1", "--output", "a", "--info", "b", "--card", "c", "--counts", "d"]
    assert assemble_dataset.main(given) == 1
    assert "--difficulty names maths" in capsys.readouterr().err


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    """A folder with two models' completions on two benchmarks, graded; ``good`` is right, ``bad`` half the time."""
    sums = {f"{number} + 1?": (str(number + 1), "{}") for number in range(12)}
    choices = json.dumps({"choices": ["yes", "no"]})
    letters = {f"is {number} even?": ("AB"[number % 2], choices) for number in range(6)}
    benchmark(tmp_path / "sums.parquet", sums)
    benchmark(tmp_path / "letters.parquet", letters)
    for model, wrong in (("good", 0), ("bad", 2)):
        responses = {
            name: {
                text: [
                    rf"so \boxed{{{reference if not wrong or number % 4 < 2 else 'Z'}}}",
                    "<think> hm",
                    None,
                ]
                for number, (text, (reference, _)) in enumerate(questions.items())
            }
            for name, questions in (("sums", sums), ("letters", letters))
        }
        evaluation(tmp_path / f"{model}.completions", responses)
        arguments = [
            "--completions",
            f"{tmp_path}/{model}.completions",
            "--benchmark",
            "sums",
            f"{tmp_path}/sums.parquet",
        ]
        arguments += ["math", "--benchmark", "letters", f"{tmp_path}/letters.parquet", "choice"]
        arguments += ["--output", f"{tmp_path}/{model}.grades", "--scores", f"{tmp_path}/{model}.scores"]
        assert grade_answers.main(arguments) == 0
    return tmp_path


def test_grades_count_what_could_not_be_read_apart(graded: Path) -> None:
    scores = {
        row["benchmark"]: row for row in pl.read_parquet(graded / "good.scores").select(*SCORES).iter_rows(named=True)
    }
    assert scores["sums"]["score"] == pytest.approx(100 / 3)
    assert (scores["sums"]["unparseable"], scores["sums"]["failed"], scores["sums"]["samples"]) == (12, 12, 3)
    assert scores["letters"]["score"] == pytest.approx(100 / 3)
    grades = pl.read_parquet(graded / "good.grades").select(*GRADES)
    assert grades.height == 18 * 3
    assert grades.filter(pl.col("benchmark") == "letters")["answer"].drop_nulls().unique().sort().to_list() == [
        "A",
        "B",
    ]
    bad = {row["benchmark"]: row["score"] for row in pl.read_parquet(graded / "bad.scores").iter_rows(named=True)}
    assert bad["sums"] == pytest.approx(100 / 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sums", "sums.parquet", "maths"], "there is no grader 'maths'"),
        (["sums", "letters.parquet", "math"], "not the same number for each"),
        (["other", "sums.parquet", "math"], "answers to the benchmark letters"),
    ],
)
def test_grading_refuses_what_does_not_fit(
    graded: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    name, path, grader = arguments
    given = ["--completions", f"{graded}/good.completions", "--benchmark", name, str(graded / path), grader]
    if name == "sums":
        given += ["--benchmark", "letters", f"{graded}/letters.parquet", "choice"]
    assert grade_answers.main([*given, "--output", f"{graded}/g", "--scores", f"{graded}/s"]) == 1
    assert message in capsys.readouterr().err


def test_mathematics_needs_references(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark(tmp_path / "q.parquet", {"why?": (None, "{}")})
    evaluation(tmp_path / "c.parquet", {"q": {"why?": ["so"]}})
    given = ["--completions", f"{tmp_path}/c.parquet", "--benchmark", "q", f"{tmp_path}/q.parquet", "math"]
    assert grade_answers.main([*given, "--output", f"{tmp_path}/g", "--scores", f"{tmp_path}/s"]) == 1
    assert "has no reference answer, which the grader math needs" in capsys.readouterr().err


def test_arms_are_compared_in_a_table_a_plot_and_a_paragraph(graded: Path) -> None:
    given = ["--experiment", "good or bad", "--compare-to", "bad"]
    for model in ("good", "bad"):
        given += ["--arm", model, f"{graded}/{model}.scores", f"{graded}/{model}.grades"]
    outputs = {"--table": "t.tsv", "--output": "t.parquet", "--plot": "p.svg", "--summary": "s.md"}
    given += [text for name, file in outputs.items() for text in (name, str(graded / file))]
    assert compare_arms.main(given) == 0
    table = pl.read_csv(graded / "t.tsv", separator="\t")
    assert table["arm"].unique(maintain_order=True).to_list() == ["good", "bad"]
    assert table.filter((pl.col("arm") == "good") & (pl.col("benchmark") == "average"))["difference"].item() > 10
    assert "**good** scores best" in (graded / "s.md").read_text()
    svg = (graded / "p.svg").read_text()
    assert svg.startswith("<svg")
    assert all(name in svg for name in ("good", "bad", "average", "sums", "letters"))
    assert compare_arms.main([*given[:2], "--compare-to", "ugly", *given[4:]]) == 1


@pytest.fixture
def programs(tmp_path: Path) -> list[str]:
    """The arguments that grade two programs, of which one is right."""
    tests = json.dumps({"tests": [{"input": "2 3\n", "output": "5\n"}]})
    benchmark(tmp_path / "q.parquet", {"Add.": (None, tests)})
    right, wrong = (f"```python\nprint({code})\n```" for code in ("sum(map(int, input().split()))", "6"))
    evaluation(tmp_path / "c.parquet", {"add": {"Add.": [right, wrong]}})
    given = ["--completions", f"{tmp_path}/c.parquet", "--benchmark", "add", f"{tmp_path}/q.parquet", "code"]
    return [*given, "--output", f"{tmp_path}/g.parquet", "--scores", f"{tmp_path}/s.parquet"]


@pytest.mark.parametrize("more", [[], ["--without-sandbox"]], ids=["sandbox", "without"])
def test_programs_are_graded(programs: list[str], tmp_path: Path, more: list[str]) -> None:
    assert grade_answers.main([*programs, *more]) == 0
    assert pl.read_parquet(tmp_path / "g.parquet")["outcome"].to_list() == ["correct", "wrong"]


def test_where_no_sandbox_can_be_made_nothing_is_run(programs: list[str], tmp_path: Path) -> None:
    """In a user namespace in which no other may be made, as on a machine whose kernel does not allow them."""
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        forbid,
        "sh",
        sys.executable,
        "scripts/grade_answers.py",
    ]
    refused = subprocess.run([*command, *programs], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1
    [error] = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert "this machine cannot run untrusted programs safely (its kernel refuses unprivileged user namespaces" in error
    assert "--without-sandbox" in error
    assert not (tmp_path / "g.parquet").exists()
    allowed = subprocess.run([*command, *programs, "--without-sandbox"], cwd=ROOT, capture_output=True, text=True)
    assert allowed.returncode == 0, allowed.stderr
    assert pl.read_parquet(tmp_path / "g.parquet")["outcome"].to_list() == ["correct", "wrong"]
