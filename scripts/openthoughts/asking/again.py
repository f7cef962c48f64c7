"""Which rules may have asked for answers of the store, by what is stored of their requests."""

from __future__ import annotations

import json
from collections.abc import Iterable

from openthoughts.answers.verification import verdict_schema
from openthoughts.asking.programs import PROGRAMS
from openthoughts.grading import judge
from openthoughts.inference.job import NOT_SAMPLED
from openthoughts.inference.structured import ResponseSchema
from openthoughts.questions.labelling import answered_methods, response_schema
from openthoughts.questions.writing import step_schema
from openthoughts.sources.connectors.written import STEPS


def rules_that_asked(requests: Iterable[str | None]) -> list[str]:
    """The rules that may have sent requests (the store's column ``request``); all where one is of no known form."""
    by_schema = _by_schema()
    found: set[str] = set()
    for request in set(requests):
        about = json.loads(request or "{}")
        schema = about.get("response_schema")
        if about.get("sampling") == NOT_SAMPLED.key() and schema is None:
            found |= {name for name, program in PROGRAMS.items() if program.embeds}
        elif "response_schema" in about and schema in by_schema:
            found |= by_schema[schema]
        else:
            found |= set(PROGRAMS)
    return [name for name in PROGRAMS if name in found]


def _by_schema() -> dict[str | None, set[str]]:
    """Name of a response schema -> the rules that ask with it; null for those that ask for free text."""
    schemas: list[tuple[str, ResponseSchema | None]] = [
        ("sample_answers", None),
        ("sample_evaluation", None),
        ("verify_answers", verdict_schema()),
        ("judge_answers", judge.verdict_schema()),
        *(("label_questions", response_schema(method)) for method in answered_methods()),
        *(("write_questions", step_schema(step)) for step in STEPS),
    ]
    found: dict[str | None, set[str]] = {}
    for rule, schema in schemas:
        found.setdefault(schema.name if schema else None, set()).add(rule)
    return found
