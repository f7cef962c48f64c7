"""What the tests of the programs share: a finished small recipe, which they must not change, and a server to ask."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fake_openai import FakeServer
from tests.finished_recipe import Finished, finished_recipe


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The finished recipe; not to be changed."""
    return finished_recipe(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def own_results(tiny: Finished, tmp_path: Path) -> Path:
    """A copy of its results that a test may change."""
    return Path(shutil.copytree(tiny.plan.results, tmp_path / "results", symlinks=True))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A hosted API, or an engine that is up already."""
    with FakeServer() as running:
        yield running
