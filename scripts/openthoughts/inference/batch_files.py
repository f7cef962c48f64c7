"""The files of a batch: what was asked, kept beside the store, and the result files that the Batch API gives back."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openthoughts.base.tables import write_text
from openthoughts.inference.bodies import error_in, read_completion, read_error
from openthoughts.inference.protocol import (
    Answer,
    EmptyAnswerError,
    FatalError,
    PaidError,
    PassingError,
    RefusedError,
    Request,
    UsedUpError,
)
from openthoughts.store.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """A batch on disk: ``TOKEN.json`` beside ``TOKEN.jsonl``, its requests."""

    token: str
    model: str
    base_url: str
    api_key_variable: str | None
    requests: int
    reserved_usd: float
    writer: str
    batch_id: str | None = None

    def write(self, folder: Path) -> None:
        """Keep it, atomically."""
        write_text(json.dumps(asdict(self), indent=1), folder / f"{self.token}.json")

    @staticmethod
    def read(path: Path) -> Batch | None:
        """The batch that a file describes; None where another process has forgotten it meanwhile."""
        try:
            return Batch(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def has_requests(self, folder: Path) -> bool:
        """Whether its requests are on disk."""
        return (folder / f"{self.token}.jsonl").exists()

    def wanted(self, folder: Path) -> dict[str, Request]:
        """Its requests by key; none where another process has read its answers and forgotten it meanwhile."""
        try:
            with (folder / f"{self.token}.jsonl").open(encoding="utf-8") as lines:
                requests = (Request(**json.loads(line)) for line in lines)
                return {request.key: request for request in requests}
        except FileNotFoundError:
            return {}

    def remove(self, folder: Path) -> None:
        """Forget it; its description first, so that none is left without requests."""
        (folder / f"{self.token}.json").unlink(missing_ok=True)
        (folder / f"{self.token}.jsonl").unlink(missing_ok=True)


def kept(folder: Path) -> list[Batch]:
    """The batches on disk in a folder."""
    found = (Batch.read(path) for path in sorted(folder.glob("*.json")))
    return [batch for batch in found if batch is not None]


def folder_of(store: Store, model_id: str) -> Path:
    """Where the batches of a model are kept."""
    return store.folder / "batches" / model_id


Outcome = Answer | RefusedError | UsedUpError
"""What a line says that is not to be asked again as it is."""


def outcomes(results: Sequence[Path], wanted: Mapping[str, Request]) -> Iterator[tuple[Request, Outcome]]:
    """What result files say of the wanted requests, each once; what can pass is left out, and counted in the log."""
    passing = Counter[str]()
    for request, outcome in _read(results, wanted):
        if isinstance(outcome, PassingError):
            passing[str(outcome)] += 1
        else:
            yield request, outcome
    for reason, count in passing.most_common(3):
        log.warning("%d lines of a batch are no answers and are asked again: %s", count, reason)


def _read(results: Sequence[Path], wanted: Mapping[str, Request]) -> Iterator[tuple[Request, Outcome | PassingError]]:
    """What the lines of result files say; those that are repeated, or of which no request is known, are left out."""
    seen = set()
    for path in results:
        with path.open("rb") as lines:
            for line in lines:
                try:
                    result = json.loads(line)
                    request = wanted[result["custom_id"]]
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue
                outcome = _outcome(result)
                if request.key not in seen:
                    yield request, outcome
                if not isinstance(outcome, PassingError):
                    seen.add(request.key)


def refusal_of_all(results: Sequence[Path], wanted: Mapping[str, Request]) -> str | None:
    """Why everything in a batch was refused, where that is for its settings and not for the questions; else None."""
    reason = None
    for _, outcome in _read(results, wanted):
        if isinstance(outcome, Answer):
            return None
        if isinstance(outcome, RefusedError) and not outcome.is_about_the_question:
            reason = str(outcome)
    return reason


def _outcome(result: Mapping[str, Any]) -> Outcome | PassingError:
    """What one line of a result file says."""
    try:
        return read_result(result)
    except (PassingError, UsedUpError) as error:
        return error
    except RecursionError:
        return PassingError("the line is too deeply nested")


def read_result(result: Mapping[str, Any]) -> Answer | RefusedError:
    """What one line of a result file says.

    Raises ``PassingError`` where the request is to be asked again, ``UsedUpError`` where none can be. An answer of no
    use stands at once: the next batch would bring nothing else, and the run would end for it.
    """
    response = result.get("response")
    held = response if isinstance(response, Mapping) else {}
    body, status = held.get("body"), _status(held.get("status_code"))
    told = result.get("error") or (response if isinstance(response, str) else None)
    is_answered = status is None or 200 <= status < 300
    try:
        if is_answered and body and isinstance(body, Mapping):
            return read_completion(body)
        failure = read_error(error_in(body) or body or told or "no answer", None if is_answered else status)
    except EmptyAnswerError as empty:
        return empty.after_all()
    except PaidError as useless:
        failure = RefusedError(str(useless), is_about_the_question=False)
        failure.answer = useless.after_all()
    except (RefusedError, FatalError) as error:
        failure = error
    if isinstance(failure, PassingError | UsedUpError):
        raise failure
    return failure if isinstance(failure, RefusedError) else RefusedError(str(failure), is_about_the_question=False)


def _status(value: Any) -> int | None:
    """The HTTP status of a line; null where it has none."""
    try:
        return int(value)
    except (ValueError, TypeError, OverflowError):
        return None
