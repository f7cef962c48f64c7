"""Work in processes with limits of their own: slow is not wrong, and one bad task costs no other."""

from __future__ import annotations

import os
import signal
import time

from lib.workers import Workers


def work(task: object) -> object:
    """What the workers of these tests do."""
    match task:
        case "spin":
            while True:
                pass
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise ValueError("no such thing")
        case "hoard":
            return len(bytearray(16 << 30))
        case "sleep":
            time.sleep(0.6)
            return "slept"
        case _:
            return task
    return None


def test_outcomes_come_in_the_order_of_the_tasks() -> None:
    with Workers(work, 2) as workers:
        assert [outcome.value for outcome in workers.map(range(200))] == list(range(200))


def test_a_task_over_its_processor_time_is_given_up_and_the_others_are_done() -> None:
    with Workers(work, 1, cpu_seconds=0.5) as workers:
        outcomes = list(workers.map(["spin", 1, 2]))
    assert outcomes[0].value is None
    assert "processor time" in (outcomes[0].error or "")
    assert [outcome.value for outcome in outcomes[1:]] == [1, 2]


def test_waiting_is_not_counted() -> None:
    with Workers(work, 1, cpu_seconds=0.3) as workers:
        assert [outcome.value for outcome in workers.map(["sleep", "sleep"])] == ["slept", "slept"]


def test_a_killed_worker_a_raised_error_and_too_much_memory_cost_one_task_each() -> None:
    with Workers(work, 2) as workers:
        outcomes = list(workers.map(["die", "raise", "hoard", 3]))
    assert [outcome.error for outcome in outcomes] == [
        "the worker died",
        "ValueError: no such thing",
        "ran out of memory",
        None,
    ]
    assert outcomes[3].value == 3


def test_no_task_starts_no_process() -> None:
    with Workers(work, 2) as workers:
        assert list(workers.map([])) == []
        assert workers._workers == []
