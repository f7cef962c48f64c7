"""How the tests run: what runs side by side, what is repeated, and what a skip means.

`make test` runs them in several processes (pytest-xdist, ``-n``). Tests of one group run in one process, one after the
other: they share a cluster, an engine or a checkout that is made once. Groups start in the order of the tests, so that
the longest come first and the end is not one long wait.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

LONGEST = (
    "slurm", "workflow/test_demo.py", "workflow/test_experiments_run.py", "cli/test_train_engine.py",
    "cli/test_asking_faults.py", "cli/test_vllm.py",
)  # fmt: skip
"""Folders and files that take a minute or more, the longest first; each is one group."""
SKIPPED, CRASHED = 6, 7
"""Exit statuses of a run under CI that skipped a test, and of one that lost a worker with the tests that it was to run.
They are not that of failed tests, which are repeated."""
CRASHES: list[object] = []
SEED = "openthoughts/seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of these tests."""
    group = parser.getgroup("openthoughts")
    group.addoption("--seed", type=int, help="seed of the moments at which the demo is killed (default: a new one)")
    group.addoption("--flaky", action="store_true", help="report tests that pass as flaky: they failed just before")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed, here and not in a worker; failed tests are repeated with the one they failed with."""
    cache = getattr(config, "cache", None)  # none with -p no:cacheprovider
    if config.option.seed is None:
        earlier = cache.get(SEED, None) if cache and config.option.lf else None
        config.option.seed = random.randrange(10**6) if earlier is None else earlier
    if cache and not hasattr(config, "workerinput"):
        cache.set(SEED, config.option.seed)


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to repeat the run."""
    return f"seed of the demo's kills: --seed {config.option.seed}"


class Groups(LoadScopeScheduling):
    """Gives the tests of a group to one worker, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid) or nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    """Give out tests by group, whatever ``--dist`` says."""
    config.option.loadscopereorder = False
    return Groups(config, log)


def group_of(nodeid: str) -> str | None:
    """The group of a test; None where it shares nothing that is expensive, as most in ``tests/unit``."""
    file = nodeid.partition("::")[0].removeprefix("tests/")
    for name in LONGEST:
        if file == name or file.startswith(f"{name}/"):
            return name
    return None if file.startswith("unit/") else file


def rank(item: pytest.Item) -> int:
    """Its place in the order: the longest groups, the others, slow tests on their own, quick ones."""
    group = group_of(item.nodeid)
    if group in LONGEST:
        return LONGEST.index(group)
    return len(LONGEST) + (0 if group else 1 if item.get_closest_marker("slow") else 2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests, and leave the exhaustive ones out unless they are asked for by ``-m``."""
    items.sort(key=rank)
    if "exhaustive" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Name the flaky tests, and say which skipped tests fail the run."""
    yield
    if terminalreporter.config.option.flaky:
        for report in terminalreporter.stats.get("passed", []):
            terminalreporter.write_line(f"flaky: {report.nodeid}", yellow=True)
    if os.environ.get("CI") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("Skipped tests fail the run under CI: see the reasons above.", red=True)


def pytest_testnodedown(error: object) -> None:
    """Notice a worker that died: the tests that it was to run are not run."""
    if error:
        CRASHES.append(error)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run under CI that skipped a test: what it needs has to be installed. Fail one that lost a worker."""
    if CRASHES:
        session.exitstatus = CRASHED
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and session.exitstatus in (0, 1):
        session.exitstatus = SKIPPED
