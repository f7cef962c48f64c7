"""Progress of a run of requests: a bar on a terminal, a line per minute in a log."""

from __future__ import annotations

import logging
import sys
import time

LINE_SECONDS = 60.0

log = logging.getLogger(__name__)


class Progress:
    """Counts what is asked; ``total`` requests of which ``cached`` were had already."""

    def __init__(self, total: int, cached: int) -> None:
        self.total = total
        self.cached = cached
        self.done = 0
        self.failed = 0
        self.tokens = 0
        self.usd = 0.0
        self._began = self._spoke = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=cached, unit="answer", smoothing=0.05, dynamic_ncols=True)

    def add(self, failed: bool, tokens: int, usd: float | None = None) -> None:
        """Count one answer."""
        self.done += 1
        self.failed += failed
        self.tokens += tokens
        self.usd += usd or 0.0
        if self._bar is not None:
            self._bar.update()
        elif self.done % 64 == 0 and time.monotonic() - self._spoke >= LINE_SECONDS:
            self.say()

    def say(self) -> None:
        """Write the line now."""
        self._spoke = time.monotonic()
        log.info("%s", self.line())

    def line(self) -> str:
        """Where the run stands, in a sentence."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        had = self.cached + self.done
        left = (self.total - had) * seconds / self.done if self.done else float("inf")
        parts = [f"{had} of {self.total} answers ({self.cached} from the store, {self.failed} failed)"]
        parts.append(f"{self.done / seconds:.1f} requests/s, {self.tokens / seconds:.0f} tokens/s")
        if self.usd:
            parts.append(f"{self.usd:.2f} USD")
        if 0 < left < float("inf"):
            parts.append(f"{_duration(left)} left")
        return ", ".join(parts)

    def close(self) -> None:
        """End with the last line."""
        if self._bar is not None:
            self._bar.close()
        self.say()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
