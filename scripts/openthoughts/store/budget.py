"""Money: what an answer costs, and a cap on what all clients of a store spend together.

Each client holds a grant, written beside the store before it is spent, so that whatever it has in flight is counted by
the others. What a client that died was granted and did not spend is free again once its journal is folded.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openthoughts.base.cli import UserError
from openthoughts.base.files import replace_text
from openthoughts.store.journal import segments
from openthoughts.store.leases import KNOWN_DEAD_SECONDS, is_present
from openthoughts.store.store import Store

TINY = 1e-9
GRANTS = 20
"""A client asks for a twentieth of what is left at a time, or for what one request may cost."""


class ExhaustedError(Exception):
    """The cap does not pay for another request."""


@dataclass
class _Account:
    granted: float = 0.0
    spent: float = 0.0
    reserved: float = 0.0

    @property
    def free(self) -> float:
        return self.granted - self.spent - self.reserved

    def reserve(self, usd: float) -> bool:
        """Set dollars aside; whether there were as many."""
        if self.free < usd:
            return False
        self.reserved += usd
        return True


class Budget:
    """This client's share of a cap in dollars; a context manager. All methods may be called from any thread.

    ``_growing`` is held by who gets a grant, which may take minutes; ``_lock`` only for a look at the account, so that
    nothing that is settled, or paid out of what is granted already, waits for a file.
    """

    def __init__(self, store: Store, cap: float) -> None:
        self._store = store
        self.cap = cap
        self._folder = store.folder / "budget"
        self._account = _Account()
        self._before = 0.0
        self._names: set[str] = set()
        self._lock = threading.Lock()
        self._growing = threading.Lock()

    def __enter__(self) -> Budget:
        self._folder.mkdir(exist_ok=True)
        self._before = self._store.dollars(of=[self._store.writer])
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_unfolded():  # else the grant stands for what the store does not have yet
            self._withdraw(self._own_names())

    def take(self, usd: float) -> bool:
        """Reserve dollars for a request; False where they are there only once something in flight is settled.

        Raises ``ExhaustedError`` where nothing is in flight either.
        """
        if self._reserve(usd):
            return True
        with self._growing:  # another thread may have got enough for both in the meantime
            if self._reserve(usd) or self._grow(usd):
                return True
            with self._lock:
                if self._account.reserve(usd):
                    return True
                if self._account.reserved <= TINY:
                    raise ExhaustedError
                return False

    def commit(self, usd: float) -> None:
        """Reserve dollars that are spent already as far as others are concerned, whatever the cap."""
        with self._growing:
            self._publish(self._account.granted + usd)
            with self._lock:
                self._account.granted += usd
                self._account.reserved += usd

    def settle(self, reserved: float, spent: float) -> None:
        """A request is over: what was reserved for it is free again, less what it cost."""
        with self._lock:
            self._account.reserved -= reserved
            self._account.spent += spent

    def spent(self) -> float:
        """Dollars spent, or granted to somebody who may be spending them, by all clients but this one's free part."""
        others = self._of_others()
        with self._lock:
            return others + self._account.spent + self._account.reserved

    def _reserve(self, usd: float) -> bool:
        """Reserve dollars out of what is granted; whether there were as many."""
        with self._lock:
            return self._account.reserve(usd)

    def _grow(self, usd: float) -> bool:
        """Get what is missing and reserve it; whether the cap allows it. What the dead did not spend is used too."""
        waiting = self._store.writers_waiting()
        if self._get(usd):
            return True
        self._store.adopt_orphans()  # without the lease: this may wait long for a journal that another process folds
        return self._store.writers_waiting() != waiting and self._get(usd)

    def _get(self, usd: float) -> bool:
        with self._store.lease("budget", wait=KNOWN_DEAD_SECONDS) as had:
            if not had:
                raise UserError(f"the budget of {self._store.folder} is locked by another process: run again.")
            left = self.cap - self._of_others() - self._account.granted
            with self._lock:
                needed = usd - self._account.free
                if left < needed:
                    return False
                self._account.reserved += usd  # at once, so that no other thread takes it for free
            more = max(needed, left / GRANTS, 0.0)
            try:
                self._publish(self._account.granted + more)
            except BaseException:
                self.settle(usd, 0.0)
                raise
            with self._lock:
                self._account.granted += more
            return True

    def _own_names(self) -> set[str]:
        """The names under which this client writes in this round: it gets a new one where it is taken for dead."""
        self._names.add(self._store.writer)
        return self._names

    def _publish(self, granted: float) -> None:
        """Tell the others what this client may spend, with what it spent before: they leave out all rows of its."""
        names = sorted(self._own_names())
        path = self._folder / f"{self._store.writer}.json"
        replace_text(json.dumps({"granted": self._before + granted, "writers": names}), path)
        self._withdraw({*names} - {path.stem})

    def _withdraw(self, names: Collection[str]) -> None:
        for name in names:
            (self._folder / f"{name}.json").unlink(missing_ok=True)

    def _is_unfolded(self) -> bool:
        """Whether answers of this client lie in its journal, because folding them failed."""
        names = self._own_names()
        paths = [path for writer, _, path in segments(self._store.folder / "journals") if writer in names]
        return any(path.exists() and path.stat().st_size for path in paths)

    def _of_others(self) -> float:
        """What clients that live are granted, what the store's rows of all others cost, and this one's earlier ones.

        Money moves from a grant to a batch or to the store, and from a batch to a grant or to the store, at any time:
        each place is read after those from which money comes to it, so that it is seen twice rather than not at all.
        """
        batches = self._batches()
        grants = self._grants()
        batches += self._batches()
        granted = sum(float(grant["granted"]) for grant in grants.values())
        holders = self._own_names().union(grants, *(grant.get("writers", ()) for grant in grants.values()))
        running = {batch["token"]: float(batch["reserved_usd"]) for batch in batches if batch["writer"] not in holders}
        return granted + sum(running.values()) + self._store.dollars(without=sorted(holders)) + self._before

    def _grants(self) -> dict[str, dict[str, Any]]:
        """What other clients are granted, but for those that died and have all their answers in the store."""
        grants = {}
        for path in self._folder.glob("*.json"):
            writer = path.stem
            if writer in self._own_names():
                continue
            # Whether it lives is asked first: the living may write a journal and die before the second question.
            if is_present(self._store.folder / "writers", writer) or writer in self._store.writers_waiting():
                grant = _read_if_there(path)
                if grant is not None:
                    grants[writer] = grant
            else:
                path.unlink(missing_ok=True)
        return grants

    def _batches(self) -> list[dict[str, Any]]:
        """Batches that run, some of them though the process which submitted them is gone."""
        found = (_read_if_there(path) for path in self._store.folder.glob("batches/*/*.json"))
        return [batch for batch in found if batch is not None]


def _read_if_there(path: Path) -> dict[str, Any] | None:
    """What a file says; None where its owner has removed it since it was listed: the store has its answers then."""
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
