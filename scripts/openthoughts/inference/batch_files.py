"""The files of a batch: what was asked, kept beside the store, and the result files that the Batch API gives back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openthoughts.base.tables import write_text
from openthoughts.inference.bodies import read_completion
from openthoughts.inference.protocol import (
    Answer,
    EmptyAnswerError,
    FatalError,
    PassingError,
    RefusedError,
    Request,
    judge_status,
)
from openthoughts.store.store import Store


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


def outcomes(results: Sequence[Path], wanted: Mapping[str, Request]) -> Iterator[tuple[Request, Answer | RefusedError]]:
    """What result files say of the wanted requests, each once; what can pass is left out."""
    seen = set()
    for path in results:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    result = json.loads(line)
                    request = wanted[result["custom_id"]]
                    outcome = read_result(result)
                except (ValueError, KeyError, TypeError, PassingError):
                    continue
                if request.key not in seen:
                    seen.add(request.key)
                    yield request, outcome


def refusal_of_all(results: Sequence[Path], wanted: Mapping[str, Request]) -> str | None:
    """Why everything in a batch was refused, where that is for its settings and not for the questions; else None."""
    reason = None
    for _, outcome in outcomes(results, wanted):
        if isinstance(outcome, Answer):
            return None
        if not outcome.is_about_the_question:
            reason = str(outcome)
    return reason


def read_result(result: Mapping[str, Any]) -> Answer | RefusedError:
    """What one line of a result file says. Raises ``PassingError`` where the request is to be asked again.

    An empty answer stands at once: the next batch would bring nothing else, and the run would end for it.
    """
    response = result.get("response")
    if not response:
        error = result.get("error") or {}
        raise PassingError(str(error.get("message", "no answer")))
    status, body = response.get("status_code"), response.get("body")
    if status == 200:
        try:
            return read_completion(body)
        except EmptyAnswerError as empty:
            return empty.after_all()
        except (RefusedError, FatalError) as refusal:
            return _refused(refusal)
    error = (body or {}).get("error") or {}
    outcome = judge_status(int(status or 500), error.get("code"), str(error.get("message", "")), {})
    if isinstance(outcome, PassingError):
        raise outcome
    return _refused(outcome)


def _refused(outcome: RefusedError | FatalError) -> RefusedError:
    return outcome if isinstance(outcome, RefusedError) else RefusedError(str(outcome), is_about_the_question=False)
