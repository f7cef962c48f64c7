"""How the tests run: what runs side by side, what is repeated, and what a skip means.

`make test` runs them in several processes (pytest-xdist, ``--dist loadgroup``). Tests of one group run in one process,
one after the other: they share a cluster, an engine or a checkout that is made once. Groups start in the order of the
tests, so that the longest come first and the end is not one long wait.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LONGEST = (
    "slurm", "workflow/test_demo.py", "workflow/test_experiments_run.py", "cli/test_train_engine.py",
    "cli/test_asking_faults.py", "cli/test_vllm.py",
)  # fmt: skip
"""Folders and files that take a minute or more, the longest first; each is one group."""
SKIPPED = 6
"""Exit status of a run under CI in which nothing failed to run but what was skipped; other than that of failed tests,
which are repeated."""
SEED = "openthoughts/seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of these tests."""
    group = parser.getgroup("openthoughts")
    group.addoption("--seed", type=int, help="seed of the moments at which the demo is killed (default: a new one)")
    group.addoption("--flaky", action="store_true", help="report tests that pass as flaky: they failed just before")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed, here and not in a worker; failed tests are repeated with the one they failed with."""
    if config.option.seed is None:
        earlier = config.cache.get(SEED, None) if config.cache and config.option.lf else None
        config.option.seed = random.randrange(10**6) if earlier is None else earlier
    if config.cache and not hasattr(config, "workerinput"):
        config.cache.set(SEED, config.option.seed)


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to repeat the run."""
    return f"seed of the demo's kills: --seed {config.option.seed}"


def group_of(path: Path) -> str | None:
    """The group of a test by its file; None where it shares nothing that is expensive."""
    place = path.relative_to(HERE).as_posix()
    for name in LONGEST:
        if place == name or place.startswith(f"{name}/"):
            return name
    return None if place.startswith("unit/") else place


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group and order the tests, and leave the exhaustive ones out unless they are asked for by ``-m``."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    order = {}
    for item in items:
        group = group_of(item.path)
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
        order[item] = ranks.get(group or "", len(ranks) + (group is None))
    items.sort(key=order.__getitem__)
    if "exhaustive" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Give a test its own name back, by which ``--last-failed`` finds it: pytest-xdist appends the group."""
    if hasattr(report, "node") and report.nodeid.rfind("@") > report.nodeid.rfind("]"):
        report.nodeid = report.nodeid.rpartition("@")[0]


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Name the flaky tests, and say which skipped tests fail the run."""
    yield
    if terminalreporter.config.option.flaky:
        for report in terminalreporter.stats.get("passed", []):
            terminalreporter.write_line(f"flaky: {report.nodeid}", yellow=True)
    if os.environ.get("CI") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("Skipped tests fail the run under CI: see the reasons above.", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run under CI that skipped a test: what it needs has to be installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and session.exitstatus in (0, 1):
        session.exitstatus = SKIPPED
