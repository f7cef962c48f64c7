"""The cap in dollars holds whatever clients do to each other meanwhile, and waits keep nobody from an answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.fake_openai import API_KEY, MODEL, FakeServer, Fault
from tests.unit.test_store import row

from openthoughts.base.cli import UserError
from openthoughts.inference.client import Client
from openthoughts.inference.endpoints import Endpoint
from openthoughts.inference.pace import Limits
from openthoughts.inference.protocol import Answer, FatalError, Request
from openthoughts.store import budget as budget_module
from openthoughts.store import leases
from openthoughts.store.budget import Budget, ExhaustedError
from openthoughts.store.store import Store

CAP = 10.0


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens one more client's view of the same store."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Store(tmp_path))


def spend(store: Store, number: int, usd: float) -> None:
    """An answer that cost so much comes and is folded."""
    store.append(row(number, usd=usd))
    store.fold()


def most(budget: Budget) -> float:
    """The most that a client is granted, to the dollar."""
    for usd in range(int(CAP), 0, -1):
        try:
            if budget.take(usd):
                return usd
        except ExhaustedError:
            continue
    return 0


def once(function: Callable[[], object]) -> Callable[[], None]:
    """Call a function at the first call only."""
    calls: list[Callable[[], object]] = [function]

    def call() -> None:
        if calls:
            calls.pop()()

    return call


def before(monkeypatch: pytest.MonkeyPatch, target: object, name: str, act: Callable[..., object]) -> None:
    """Let something happen each time before a method is called."""
    method = getattr(target, name)

    def replaced(*arguments: Any, **named: Any) -> Any:
        act(*arguments)
        return method(*arguments, **named)

    monkeypatch.setattr(target, name, replaced)


def announce_elsewhere(folder: Path, name: str) -> Path:
    """A process of another machine that has just shown that it is alive."""
    path = folder / "writers" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    process = {"host": "elsewhere", "boot": "1", "namespace": "1", "pid": 1, "started": "1"}
    path.write_text(json.dumps(process))
    return path


def test_what_a_client_spent_in_an_earlier_round_is_spent_for_the_others(open_store: Callable[[], Store]) -> None:
    first, second = open_store(), open_store()
    with Budget(first, CAP) as budget:
        assert budget.take(9)
        budget.settle(9, 9)
        spend(first, 0, 9)
    with Budget(first, CAP) as budget, Budget(second, CAP) as other:
        assert budget.take(0.5)
        with pytest.raises(ExhaustedError):
            other.take(8)
        assert other.spent() == pytest.approx(9.5)
        assert other.take(0.5)


def test_an_answer_that_another_client_folds_at_a_rounds_start_stays_spent(
    open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = open_store(), open_store()
    with Budget(other, CAP) as theirs:
        assert theirs.take(6)
        theirs.settle(6, 6)
        other.append(row(0, usd=6.0))
        looks = iter(range(100))
        before(monkeypatch, first, "refresh", lambda: other.fold() if next(looks) == 1 else None)
        with Budget(first, CAP) as mine:
            theirs.__exit__(None, None, None)
            assert most(mine) == 4


def test_a_client_may_leave_while_others_look_at_its_grant(
    open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = open_store(), open_store()
    theirs = Budget(other, CAP).__enter__()
    assert theirs.take(6)

    def leave() -> None:
        theirs.settle(6, 6)
        spend(other, 0, 6)
        theirs.__exit__(None, None, None)

    def is_still_present(*_: object) -> bool:
        leaves()
        return True

    leaves = once(leave)
    monkeypatch.setattr(budget_module, "is_present", is_still_present)
    with Budget(first, CAP) as mine:
        assert most(mine) == 4


def test_a_batch_may_end_while_others_look_at_it(open_store: Callable[[], Store]) -> None:
    store = open_store()
    folder = store.folder / "batches" / "model"
    folder.mkdir(parents=True)
    (folder / "ended.json").symlink_to("removed since it was listed")
    with Budget(store, CAP) as budget:
        assert budget.take(1)


def write_batch(store: Store, token: str, usd: float) -> Path:
    """What is kept of a batch that a client submitted."""
    path = store.folder / "batches" / "model" / f"{token}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"token": token, "reserved_usd": usd, "writer": store.writer}))
    return path


def test_a_batch_that_a_client_takes_over_and_ends_meanwhile_is_paid_for(
    open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other, dead = open_store(), open_store(), open_store()
    batch = write_batch(dead, "one", 6)
    dead.close()

    def take_over(_: Path, pattern: str) -> None:
        if pattern.startswith("batches"):
            takes_over()

    def harvest() -> None:
        theirs.commit(6)
        spend(other, 0, 6)
        batch.unlink()

    takes_over = once(harvest)
    with Budget(first, CAP) as mine, Budget(other, CAP) as theirs:
        assert theirs.take(0.1)
        before(monkeypatch, Path, "glob", take_over)
        with pytest.raises(ExhaustedError):
            mine.take(9)
        assert most(mine) == 3


def test_a_batch_that_a_client_submits_before_it_dies_is_paid_for(
    open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = open_store(), open_store()
    theirs = Budget(other, CAP).__enter__()
    assert theirs.take(6)

    def is_present_no_more(*_: object) -> bool:
        write_batch(other, "one", 6)
        return False

    monkeypatch.setattr(budget_module, "is_present", is_present_no_more)
    with Budget(first, CAP) as mine:
        assert most(mine) == 4


def test_a_client_that_writes_its_first_answer_and_dies_meanwhile_is_paid_for(
    open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = open_store(), open_store()
    theirs = Budget(other, CAP).__enter__()
    assert theirs.take(6)

    def is_present_no_more(*_: object) -> bool:
        append()
        return False

    append = once(lambda: other.append(row(0, usd=6.0)))
    monkeypatch.setattr(budget_module, "is_present", is_present_no_more)
    with Budget(first, CAP) as mine:
        assert most(mine) == 4


def test_answers_that_could_not_be_folded_stay_spent(open_store: Callable[[], Store]) -> None:
    first, other = open_store(), open_store()
    with Budget(other, CAP) as theirs:
        assert theirs.take(6)
        other.append(row(0, usd=6.0))
    with Budget(first, CAP) as mine:
        assert most(mine) == 4


def test_what_a_client_spends_is_spent_once_though_it_was_taken_for_dead(open_store: Callable[[], Store]) -> None:
    first, other = open_store(), open_store()
    with Budget(first, CAP) as mine, Budget(other, CAP) as theirs:
        assert mine.take(4)
        mine.settle(4, 4)
        first.append(row(0, usd=4.0))
        former = first.writer
        for path in (first.folder / "journals").glob(f"{former}.*"):
            path.unlink()
        first.fold()
        assert first.writer != former
        assert mine.take(2)
        assert mine.spent() == pytest.approx(6)
        assert most(theirs) == 4


def test_what_a_dead_client_was_granted_and_did_not_spend_is_free_again(open_store: Callable[[], Store]) -> None:
    store = open_store()
    (store.folder / "journals").mkdir()
    (store.folder / "journals" / "dead.000001.jsonl").write_text(json.dumps(row(0, usd=2.0)) + "\n")
    with Budget(store, CAP) as budget:
        (store.folder / "budget" / "dead.json").write_text('{"granted": 8, "writers": ["dead"]}')
        assert most(budget) == 8


def test_a_budget_held_by_a_client_that_died_on_another_machine_is_waited_for(
    open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    died = announce_elsewhere(store.folder, "died")
    assert leases.try_lease(store.folder / "leases", "budget", store.folder / "writers", "died")
    touched, slept = died.stat().st_mtime, [0.0]

    def sleep(seconds: float) -> None:
        slept[0] += seconds

    clock = SimpleNamespace(sleep=sleep, monotonic=lambda: slept[0])
    monkeypatch.setattr(leases, "time", clock)
    monkeypatch.setattr(leases, "_file_server_time", lambda _: touched + slept[0])
    with Budget(store, CAP) as budget:
        assert budget.take(1)
    assert slept[0] >= leases.STALE_SECONDS


def test_waiting_for_the_journal_of_the_dead_keeps_nobody_from_the_budget(
    open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = open_store(), open_store()
    monkeypatch.setattr(other, "lease", lambda name, wait: Store.lease(other, name, wait=0))
    with Budget(first, CAP) as mine, Budget(other, CAP) as theirs:
        assert theirs.take(1)
        before(monkeypatch, first, "adopt_orphans", once(lambda: theirs.take(5)))
        with pytest.raises(ExhaustedError):
            mine.take(CAP)
        assert theirs.spent() == pytest.approx(6)


def test_a_locked_budget_is_one_sentence(open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = open_store(), open_store()
    monkeypatch.setattr(budget_module, "KNOWN_DEAD_SECONDS", 0.0)
    with (
        other.lease("budget", wait=0),
        Budget(first, CAP) as budget,
        pytest.raises(UserError, match="is locked by another process: run again"),
    ):
        budget.take(1)


def test_threads_never_reserve_more_than_the_cap_together(open_store: Callable[[], Store]) -> None:
    taken: list[float] = []
    with Budget(open_store(), CAP) as budget:

        def take() -> None:
            for _ in range(4):
                try:
                    if budget.take(0.75):
                        taken.append(0.75)
                except ExhaustedError:
                    return

        threads = [threading.Thread(target=take) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(taken) == pytest.approx(9.75)
        assert budget.spent() == pytest.approx(9.75)


class Account:
    """Pays a dollar for each request out of a budget."""

    def __init__(self, budget: Budget, usd: float) -> None:
        self._budget = budget
        self._usd = usd

    def reserve(self, _: Request) -> float | None:
        return self._usd if self._budget.take(self._usd) else None

    def settle(self, reserved: float, answer: Answer | None) -> None:
        self._budget.settle(reserved, self._usd / 10 if answer else 0.0)

    def exhausted(self) -> str:
        return "exhausted"


async def ask(
    server: FakeServer,
    spending: Account,
    count: int,
    answered: Callable[[Request, Answer], None],
    stopping: asyncio.Event,
) -> None:
    """Ask so many questions, four at a time."""
    wanted = [Request(f"k{i}", f"q{i}", 0, i, [{"role": "user", "content": f"question {i}"}]) for i in range(count)]
    endpoint = Endpoint(server.base_url, API_KEY, MODEL)
    limits = Limits(concurrency=4, timeout=30.0)
    async with Client(endpoint, {"max_tokens": 100}, limits, local=True, spending=spending) as client:
        await client.run(iter(wanted), answered, stopping, grace=30.0)


def test_an_answer_is_kept_at_once_though_the_budget_is_slow(
    open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, kept, looks, in_time = open_store(), threading.Event(), iter(range(100)), []

    def wait_for_the_first_answer(**_: object) -> None:
        if next(looks) == 1:
            in_time.append(kept.wait(5.0))

    with FakeServer() as server, Budget(store, 10 * CAP) as budget:
        monkeypatch.setattr(budget_module, "GRANTS", 1e9)
        before(monkeypatch, store, "writers_waiting", wait_for_the_first_answer)
        asyncio.run(ask(server, Account(budget, 1.0), 3, lambda *_: kept.set(), asyncio.Event()))
    assert in_time == [True]


def test_who_waits_for_money_asks_nothing_once_the_asking_stops(open_store: Callable[[], Store]) -> None:
    answers: list[str] = []
    with FakeServer(latency=0.05) as server, Budget(open_store(), CAP) as budget:
        stopping = asyncio.Event()

        def answered(request: Request, _: Answer) -> None:
            answers.append(request.key)
            if len(answers) == 2:
                stopping.set()

        with pytest.raises(FatalError, match="stopped before everything was asked"):
            asyncio.run(ask(server, Account(budget, 8.0), 20, answered, stopping))
        assert server.asked.total() == len(answers) == 2
        assert budget.spent() == pytest.approx(1.6), "nothing stays set aside"


def test_what_was_paid_for_without_an_answer_is_spent(
    open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openthoughts.inference.client.LONGEST_PAUSE", 0.001)
    answers = dict[str, Answer]()
    broken = {"choices": [{"finish_reason": "abort", "message": {}}], "usage": {"completion_tokens": 5}}
    with FakeServer() as server, Budget(open_store(), CAP) as budget:
        server.faults.append(Fault(body=broken, where=lambda body: body["seed"] == 1))

        def answered(request: Request, answer: Answer) -> None:
            answers[request.key] = answer

        asyncio.run(ask(server, Account(budget, 1.0), 2, answered, asyncio.Event()))
        assert answers["k1"].error == "the server broke off (abort), 8 times"
        assert budget.spent() == pytest.approx(0.2)
