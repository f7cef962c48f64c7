"""How fast one client may ask: limits on requests and tokens per minute, kept by waiting."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How fast one client may ask; 0 is no limit."""

    concurrency: int = 32
    requests_per_minute: float = 0
    tokens_per_minute: float = 0
    timeout: float = 3600.0
    pause: float = 1.0
    """The first pause before another attempt, in seconds; it doubles with each."""


class Pace:
    """A bucket that fills at ``per_minute`` and holds at most ``burst_seconds`` worth of it."""

    def __init__(self, per_minute: float, burst_seconds: float = 2.0) -> None:
        self._burst_seconds = burst_seconds
        self._level = self._rate = self._burst = 0.0
        self._filled = time.monotonic()
        self.change(per_minute)
        self._level = self._burst

    def change(self, per_minute: float) -> None:
        """Fill at another rate from now on; 0 is no limit."""
        self._fill()
        self._rate = per_minute / 60.0
        self._burst = max(self._rate * self._burst_seconds, 1.0)

    def _fill(self) -> None:
        now = time.monotonic()
        self._level = min(self._burst, self._level + (now - self._filled) * self._rate)
        self._filled = now

    async def take(self, amount: float) -> None:
        """Wait until ``amount`` may be spent, in the order of asking; large amounts go into debt."""
        if not self._rate:
            return
        self._fill()
        self._level -= amount
        if self._level < 0:
            await asyncio.sleep(-self._level / self._rate)

    def give_back(self, amount: float) -> None:
        """Return what was taken and not used (negative: was used beyond)."""
        self._level += amount
