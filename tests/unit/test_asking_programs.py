"""The programs that ask a model are declared once: those of the register, the scripts and the shards are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from openthoughts.asking.programs import PROGRAMS, program
from openthoughts.inference.program import Program
from openthoughts.plan.register import KINDS

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def test_every_program_of_the_register_is_declared_and_is_a_script() -> None:
    asking = {each.program for kind in KINDS.values() for each in kind.asks}
    assert asking >= set(PROGRAMS)
    assert all((SCRIPTS / f"{name}.py").is_file() for name in asking)
    assert all(isinstance(program(name), Program) for name in asking)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_its_command_line_says_what_it_takes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        PROGRAMS[name].command("About it.")(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "About it." in text
    flags = {flag for flag, _ in PROGRAMS[name].arguments} | {"--model", "--store", "--output"}
    assert all(flag in text for flag in flags)
    assert ("--shards" in text) == PROGRAMS[name].sharded
    assert ("--sampling" in text) != PROGRAMS[name].embeds
