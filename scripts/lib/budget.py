"""Money: what an answer costs, and a cap on what all clients of a store spend together.

Each client holds a grant, written beside the store before it is spent, so that whatever it has in flight is counted by
the others. What a client that died was granted and did not spend is free again once its journal is folded.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib.cli import UserError
from lib.leases import is_present
from lib.prompts import Messages
from lib.store import Store

MILLION = 1e6
TINY = 1e-9
FORM_TOKENS = 256
"""Room for what is in a prompt beside its messages: roles, a response schema."""
GRANTS = 20
"""A client asks for a twentieth of what is left at a time, or for what one request may cost."""


class Price(BaseModel):
    """Dollars per million tokens, as in the catalog; ``batch`` is the factor of the Batch API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    batch: float = Field(default=1.0, ge=0)

    @classmethod
    def parse(cls, text: str) -> Price | None:
        """Read the JSON of ``--price``; None for an empty one."""
        try:
            return cls(**json.loads(text)) if text else None
        except (ValidationError, ValueError, TypeError) as error:
            raise UserError(f'--price must be like {{"input": 0.15, "output": 0.6}}, not {text!r}.') from error

    def of(self, prompt_tokens: int, completion_tokens: int, in_batch: bool = False) -> float:
        """Dollars of so many tokens."""
        whole = (prompt_tokens * self.input + completion_tokens * self.output) / MILLION
        return whole * self.batch if in_batch else whole


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


class Budget:
    """This client's share of a cap in dollars; a context manager. All methods may be called from any thread."""

    def __init__(self, store: Store, cap: float) -> None:
        self._store = store
        self.cap = cap
        self._folder = store.folder / "budget"
        self._account = _Account()
        self._before = 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> Budget:
        self._folder.mkdir(exist_ok=True)
        self._before = self._store.dollars() - self._store.dollars(without=[self._store.writer])
        return self

    def __exit__(self, *_: object) -> None:
        (self._folder / f"{self._store.writer}.json").unlink(missing_ok=True)

    def take(self, usd: float) -> bool:
        """Reserve dollars for a request; False where they are there only once something in flight is settled.

        Raises ``ExhaustedError`` where nothing is in flight either.
        """
        with self._lock:
            if self._account.free < usd and not self._grow(usd):
                if self._account.reserved <= TINY:
                    raise ExhaustedError
                return False
            self._account.reserved += usd
            return True

    def commit(self, usd: float) -> None:
        """Reserve dollars that are spent already as far as others are concerned, whatever the cap."""
        with self._lock:
            self._account.granted += usd
            self._account.reserved += usd
            self._write()

    def settle(self, reserved: float, spent: float) -> None:
        """A request is over: what was reserved for it is free again, less what it cost."""
        with self._lock:
            self._account.reserved -= reserved
            self._account.spent += spent

    def spent(self) -> float:
        """Dollars spent, or granted to somebody who may be spending them, by all clients but this one's free part."""
        with self._lock:
            return self._of_others() + self._account.spent + self._account.reserved

    def _grow(self, usd: float) -> bool:
        with self._store.lease("budget", wait=60.0) as had:
            if not had:
                raise UserError(f"the budget of {self._store.folder} is locked by another process: run again.")
            needed = usd - self._account.free
            left = self.cap - self._of_others() - self._account.granted
            if left < needed and self._store.adopt_orphans():
                left = self.cap - self._of_others() - self._account.granted
            if left < needed:
                return False
            self._account.granted += max(needed, left / GRANTS)
            self._write()
            return True

    def _write(self) -> None:
        path = self._folder / f"{self._store.writer}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"granted": self._account.granted}))
        temporary.replace(path)

    def _of_others(self) -> float:
        """What clients that live are granted, what the store's rows of all others cost, and this one's earlier ones."""
        waiting = self._store.writers_waiting()
        granted = {}
        for path in self._folder.glob("*.json"):
            writer = path.stem
            if writer == self._store.writer:
                continue
            if writer in waiting or is_present(self._store.folder / "writers", writer):
                granted[writer] = float(json.loads(path.read_text())["granted"])
            else:
                path.unlink(missing_ok=True)
        excluded = [*granted, self._store.writer]
        others = sum(granted.values()) + self._of_batches(granted) + self._store.dollars(without=excluded)
        return others + self._before

    def _of_batches(self, granted: Mapping[str, float]) -> float:
        """What batches can cost that run on though the process which submitted them is gone."""
        batches = [json.loads(path.read_text()) for path in self._store.folder.glob("batches/*/*.json")]
        return sum(one["reserved_usd"] for one in batches if one["writer"] not in {*granted, self._store.writer})


def worst_cost(price: Price, messages: Messages, max_tokens: int, in_batch: bool = False) -> float:
    """The most that one request can cost: a token stands for a byte at least, but for those of the chat's form."""
    size = FORM_TOKENS + sum(len(message["content"].encode()) for message in messages)
    return price.of(size, max_tokens, in_batch)
