"""Small tables of questions and answers for the tests of what follows the completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
from pyarrow import parquet

from openthoughts.base.hashing import question_id
from openthoughts.base.tables import COMPLETIONS, DRAWN, EVALUATION_COMPLETIONS, QUESTIONS, write_table


def drawn(
    path: Path, questions: Sequence[str], domain: str = "math", source: str = "ours", label: float | None = None
) -> Path:
    """Write a DRAWN table; a text that repeats gets occurrences 0, 1, …"""
    seen: dict[str, int] = {}
    rows = []
    for number, text in enumerate(questions):
        seen[text] = seen.get(text, -1) + 1
        rows.append(
            {
                "question_id": question_id(text),
                "question": text,
                "domain": domain,
                "source": source,
                "source_row": str(number),
                "reference_answer": None,
                "metadata": "{}",
                "label": label,
                "occurrence": seen[text],
            }
        )
    write_table(pl.DataFrame(rows, schema=dict(DRAWN)), path, DRAWN)
    return path


def completion(question: str, sample: int, text: str | None, finish_reason: str = "stop") -> dict[str, object]:
    """One row of COMPLETIONS; a null text is a refused request."""
    return {
        "question_id": question_id(question),
        "sample": sample,
        "text": text,
        "finish_reason": None if text is None else finish_reason,
        "prompt_tokens": 5,
        "completion_tokens": None if text is None else len(text),
        "model": "teacher",
        "seed": sample,
        "error": "refused by the content filter" if text is None else None,
    }


def answers(path: Path, texts: Mapping[str, Sequence[str | None]]) -> Path:
    """Write COMPLETIONS: the texts of each question are its samples 0, 1, …"""
    rows = [
        completion(question, sample, text) for question, given in texts.items() for sample, text in enumerate(given)
    ]
    table = pl.DataFrame(rows, schema=dict(COMPLETIONS)).sort("question_id", "sample")
    write_table(table, path, COMPLETIONS)
    return path


def benchmark(path: Path, questions: Mapping[str, tuple[str | None, str]], name: str = "ours") -> Path:
    """Write QUESTIONS of a benchmark: text -> (reference answer, metadata JSON)."""
    rows = [
        {
            "question_id": question_id(text),
            "question": text,
            "domain": "math",
            "source": name,
            "source_row": str(number),
            "reference_answer": reference,
            "metadata": metadata,
        }
        for number, (text, (reference, metadata)) in enumerate(questions.items())
    ]
    write_table(pl.DataFrame(rows, schema=dict(QUESTIONS)), path, QUESTIONS)
    return path


def evaluation(path: Path, responses: Mapping[str, Mapping[str, Sequence[str | None]]]) -> Path:
    """Write EVALUATION_COMPLETIONS: benchmark -> question -> responses."""
    rows = [
        {"benchmark": name, **completion(question, sample, text)}
        for name, questions in responses.items()
        for question, texts in questions.items()
        for sample, text in enumerate(texts)
    ]
    write_table(pl.DataFrame(rows, schema=dict(EVALUATION_COMPLETIONS)), path, EVALUATION_COMPLETIONS)
    return path


def hide_column(path: Path, name: str) -> None:
    """Make the values of a table's column unreadable, so that who loads them fails; all else stays whole."""
    metadata = parquet.read_metadata(path)
    data = bytearray(path.read_bytes())
    for group in range(metadata.num_row_groups):
        parts = (metadata.row_group(group).column(number) for number in range(metadata.num_columns))
        for part in (part for part in parts if part.path_in_schema == name):
            start = min(part.data_page_offset, part.dictionary_page_offset or part.data_page_offset)
            data[start : start + part.total_compressed_size] = bytes(part.total_compressed_size)
    path.write_bytes(data)
