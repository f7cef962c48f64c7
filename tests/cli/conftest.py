"""A finished small recipe that the tests of what follows a recipe share; they must not change it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.finished_recipe import Finished, finished_recipe


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The finished recipe; not to be changed."""
    return finished_recipe(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def own_results(tiny: Finished, tmp_path: Path) -> Path:
    """A copy of its results that a test may change."""
    return Path(shutil.copytree(tiny.plan.results, tmp_path / "results", symlinks=True))
