"""What is added by adding a file: how it is found, what is checked of it before anything runs, and that it is light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from openthoughts.base.register import Register
from openthoughts.plan.catalog import Catalog, read_catalog
from openthoughts.plan.config import ConfigurationError
from openthoughts.plan.parts.builder import Builder

ROOT = Path(__file__).resolve().parents[2]

HEAVY = ("polars", "numpy", "pyarrow", "sympy", "math_verify", "datasets", "huggingface_hub", "lxml", "reasoning_gym")


def test_the_plan_and_all_declarations_import_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "import openthoughts.plan.planner\n"
        "from openthoughts.base.register import Register\n"
        "registers = [each for module in list(sys.modules.values()) for each in list(vars(module).values())"
        " if isinstance(each, Register)]\n"
        "names = {register.package: len(list(register.values())) for register in registers}\n"
        f"print(*sorted(names), *[name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, cwd=ROOT / "scripts", check=True, capture_output=True, text=True).stdout
    assert printed.split() == [
        "openthoughts.answers.filters",
        "openthoughts.grading.graders",
        "openthoughts.questions.labels",
        "openthoughts.sources.connectors",
    ]


def test_a_module_of_a_register_defines_one_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "sayings"
    package.mkdir()
    (package / "__init__.py").write_text("class Saying:\n    pass\n")
    (package / "_helper.py").write_text("")
    (package / "one.py").write_text("from sayings import Saying\n\n\nclass One(Saying):\n    pass\n")
    (package / "two.py").write_text("from sayings.one import One\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import sayings  # type: ignore[import-not-found]

    register = Register("sayings", sayings.Saying)
    assert list(register) == ["one", "two"]
    assert register["one"].__name__ == "One"
    assert "three" not in register and "_helper" not in register
    with pytest.raises(TypeError, match="two defines 0 subclasses of Saying"):
        register["two"]


@pytest.mark.parametrize(
    ("grader", "message"),
    [
        ("maths", r"benchmarks.yaml.my-exam: .*'maths', which is not a grader \(did you mean math\?\)"),
        ("judge", "benchmarks.yaml.my-exam: it is graded by a judge: say which"),
    ],
)
def test_a_grader_that_cannot_grade_is_told_with_the_catalog(tmp_path: Path, grader: str, message: str) -> None:
    (tmp_path / "benchmarks.yaml").write_text(
        f"my-exam: {{connector: local, domain: math, path: x.jsonl, column: question, grader: {grader}, rows: 10}}\n"
    )
    with pytest.raises(ConfigurationError, match=message):
        read_catalog([ROOT / "catalog", tmp_path])


def test_an_archive_of_this_machine_is_pinned_by_its_content(tmp_path: Path) -> None:
    archive = tmp_path / "physics.7z"
    entry = {"connector": "stackexchange", "domain": "science", "site": "physics", "url": str(archive)}
    ids = []
    for content in ("old", "new"):
        archive.write_text(content)
        ids.append(Builder(Catalog(sources={"physics": entry})).fetched("source", "physics").id)
    assert ids[0] != ids[1]
    assert "pin" not in Builder(Catalog(sources={"x": {**entry, "url": "https://x"}})).fetched("source", "x").settings


def test_the_keys_of_an_entry_have_types(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text("mine: {connector: local, domain: math, path: x.csv, column: 3, limti: 5}\n")
    with pytest.raises(ConfigurationError) as caught:
        read_catalog([tmp_path])
    assert [problem.partition("sources.yaml.")[2] for problem in caught.value.problems] == [
        "mine.column: 3 should be of type string",
        "mine: unknown key 'limti' (did you mean limit?)",
    ]
