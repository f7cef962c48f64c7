"""scripts/environments.py as a user runs it."""

from __future__ import annotations

import pytest

import environments as program


def test_an_unknown_environment_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["vlm-cpu"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: there is no environment vlm-cpu: the environments are llamafactory,")


@pytest.mark.slow
def test_environments_that_are_built_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["vllm-cpu"]) == 0
    first = capsys.readouterr().out
    assert program.main(["vllm-cpu", "vllm-cpu"]) == 0
    assert capsys.readouterr().out == first * 2
