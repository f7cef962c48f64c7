"""From documents to questions: passages, PDF pages, what the answers say, and the stages of the plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.asking_helpers import write_questions

from openthoughts.base.cli import UserError
from openthoughts.base.hashing import question_id
from openthoughts.base.tables import COMPLETIONS, QUESTIONS, read_table, write_table
from openthoughts.inference.prompts import Prompt as CatalogPrompt
from openthoughts.plan.catalog import Catalog, Prompt, local_pins
from openthoughts.plan.config import ConfigurationError
from openthoughts.plan.planner import make_plan
from openthoughts.plan.stages import Stage
from openthoughts.questions.writing import read_step, shard_texts, step_schema, written_questions
from openthoughts.sources.connectors.written import STEPS
from openthoughts.sources.entries import entry_problems
from openthoughts.sources.lock import pin_of
from openthoughts.sources.reading import passages, read_questions


def pdf(*texts: str) -> bytes:
    """A PDF file with one page of text each; an empty text makes a page without a text layer."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    pages = []
    for text in texts:
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET" if text else ""
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        font = "<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {len(objects)} 0 R"
        objects.append(f"{page} /Resources << /Font {font} >> >>")
        pages.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(pages)}] /Count {len(pages)} >>"
    content, places = "%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n"
    start = len(content)
    content += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"
    content += "".join(f"{place:010} 00000 n \n" for place in places)
    content += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    return content.encode()


def read(entry: dict[str, Any]) -> pl.DataFrame:
    return pl.concat(read_questions("books", "science", entry))


class TestDocuments:
    def test_pages_of_pdf_files_in_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "b.pdf").write_bytes(pdf("Alkenes add bromine.", "", "Ethers do not."))
        (tmp_path / "a.pdf").write_bytes(pdf("Alkanes burn."))
        table = read({"connector": "pdf", "path": str(tmp_path)})
        assert table["question"].to_list() == ["Alkanes burn.", "Alkenes add bromine.", "Ethers do not."]
        assert table["source_row"].to_list() == ["a.pdf#1", "b.pdf#1", "b.pdf#3"]

    def test_what_is_no_pdf_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "a.pdf").write_bytes(b"not at all")
        with pytest.raises(UserError, match=r"a\.pdf cannot be read as PDF"):
            read({"connector": "pdf", "path": str(tmp_path)})
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="holds no PDF file"):
            read({"connector": "pdf", "path": str(tmp_path / "empty")})

    def test_long_texts_are_cut_between_paragraphs(self, tmp_path: Path) -> None:
        assert passages("one\n\ntwo\n \nthree", 9) == ["one\n\ntwo", "three"]
        assert passages("abcdefgh", 3) == ["abc", "def", "gh"]
        assert passages("\n\n  \n\n", 3) == []
        (tmp_path / "d.jsonl").write_text('{"text": "one\\n\\ntwo"}\n{"text": "three"}\n')
        table = read({"connector": "local", "path": str(tmp_path / "d.jsonl"), "column": "text", "passage": 5})
        assert table.select("source_row", "question").rows() == [("0#0", "one"), ("0#1", "two"), ("1#0", "three")]

    def test_every_character_is_in_a_passage(self) -> None:
        text = "\n\n".join("x" * length for length in (3, 250, 1, 90, 40))
        pieces = passages(text, 100)
        assert max(map(len, pieces)) <= 100
        assert "".join(pieces).count("x") == text.count("x")


def completion(answer: Any, **changes: Any) -> dict[str, Any]:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return {"text": text, "finish_reason": "stop", "error": None, **changes}


class TestAnswers:
    @pytest.mark.parametrize(
        ("step", "answer", "question", "reason"),
        [
            ("write", {"reasoning": "r", "question": " Why? "}, "Why?", None),
            ("write", {"reasoning": "r", "question": None}, None, "no question"),
            ("write", {"reasoning": "r", "question": "  "}, None, "no question"),
            ("refine", '<think>{"question": "No."}</think>{"question": "Yes?"}', "Yes?", None),
            ("check", {"reasoning": "r", "answerable": True, "of_domain": True}, "the text", None),
            ("check", {"reasoning": "r", "answerable": False, "of_domain": True}, None, "not answerable"),
            ("check", {"reasoning": "r", "answerable": True, "of_domain": False}, None, "not of the domain"),
        ],
    )
    def test_what_they_say(self, step: str, answer: Any, question: str | None, reason: str | None) -> None:
        outcome = read_step(step, "the text", completion(answer))
        assert (outcome.question, outcome.reason) == (question, reason)

    @pytest.mark.parametrize("answer", ["I cannot help.", {"reasoning": "r"}, {"question": 5}, ""])
    def test_what_cannot_be_read_is_dropped_with_the_reason(self, answer: Any) -> None:
        outcome = read_step("write", "the text", completion(answer))
        assert outcome.question is None
        assert str(outcome.reason).startswith("unparseable: ")

    def test_a_question_that_was_cut_off_is_none(self) -> None:
        answer = completion('{"reasoning": "r", "question": "What is the', finish_reason="length")
        assert read_step("write", "the text", answer).reason == "unparseable: the answer was cut off"

    def test_a_refusal_keeps_its_reason(self) -> None:
        assert read_step("write", "t", completion("", text=None, error="content filter")).reason == "content filter"

    @pytest.mark.parametrize("step", STEPS)
    def test_the_schema_asks_for_every_member(self, step: str) -> None:
        schema = step_schema(step).schema
        assert set(schema["required"]) == set(schema["properties"])
        assert schema["additionalProperties"] is False

    def test_rows_keep_their_key_and_the_document_they_come_from(self, tmp_path: Path) -> None:
        texts = ["first text", "second text", "third text"]
        documents = tmp_path / "documents.parquet"
        table = pl.read_parquet(write_questions(tmp_path / "drawn.parquet", texts)).select(list(QUESTIONS))
        table = table.with_columns(pl.lit("42").alias("reference_answer"))
        twin = table.head(1).with_columns(pl.lit("9").alias("source_row"))
        write_table(pl.concat([table, twin]), documents, QUESTIONS)
        rows = [
            {"question_id": question_id(text), "sample": 0, "model": "m", "seed": 1, **completion({"question": asked})}
            for text, asked in zip(texts, ("A?", None, "C?"), strict=True)
        ]
        answers = tmp_path / "answers.parquet"
        schema = dict(COMPLETIONS)
        frame = pl.DataFrame([{**dict.fromkeys(schema), **row} for row in rows], schema=schema)
        write_table(frame, answers, COMPLETIONS)
        kept, dropped = written_questions("rephrase", [documents], [answers])
        assert kept["question"].to_list() == ["A?", "C?", "A?"]
        assert kept["question_id"].to_list() == [question_id(text) for text in ("A?", "C?", "A?")]
        assert kept["source_row"].to_list() == ["0/rephrase", "2/rephrase", "9/rephrase"]
        assert kept["reference_answer"].to_list() == ["42"] * 3
        assert json.loads(kept["metadata"][0]) == {"document": question_id("first text")}
        assert dropped.select("source_row", "stage", "reason").rows() == [("1", "written", "no question")]
        assert written_questions("write", [documents], [answers])[0]["reference_answer"].null_count() == 3
        write_table(frame.head(2), answers, COMPLETIONS)
        with pytest.raises(UserError, match="1 texts have no answer"):
            written_questions("write", [documents], [answers])

    def test_each_distinct_text_is_asked_about_once(self, tmp_path: Path) -> None:
        tables = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
        for path, texts in zip(tables, (["one", "two"], ["two", "three"]), strict=True):
            drawn = pl.read_parquet(write_questions(tmp_path / "drawn.parquet", texts))
            write_table(drawn.select(list(QUESTIONS)), path, QUESTIONS)
        shards = [shard_texts(tables, shard, 2, "math") for shard in range(2)]
        asked = pl.concat(shards)
        assert sorted(asked["question"]) == ["one", "three", "two"]
        assert {json.loads(metadata)["domain"] for metadata in asked["metadata"]} == {"math"}
        assert read_table(tables[0], QUESTIONS).height == 2

    def test_rows_whose_metadata_lacks_the_answer_are_named(self) -> None:
        prompt = CatalogPrompt.read("catalog/prompts/backward_question.md", may_tell=True)
        with pytest.raises(UserError, match="'answer' is undefined"):
            prompt.messages("How many?", {"domain": "math"})


ENTRY: dict[str, Any] = {
    "connector": "written",
    "domain": "math",
    "licence": "mit",
    "rows": 100,
    "documents": {"connector": "hub", "dataset": "a/texts", "column": "text"},
    "model": "writer",
}
CATALOG = Catalog(
    sources={"texts": ENTRY},
    models={"writer": {"kind": "hub", "repository": "a/b", "tokenizer": "qwen"}},
    prompts={f"{step}_question": Prompt(f"catalog/prompts/{step}_question.md", step) for step in STEPS},
)


def stages(entry: dict[str, Any] = ENTRY, catalog: Catalog = CATALOG) -> list[Stage]:
    """The stages of a recipe that uses the entry."""
    domain = {"sources": ["texts"], "select": {"by": "random"}}
    recipe = {"decontaminate": {"benchmarks": []}, "answers": {"teacher": "writer"}, "domains": {"math": domain}}
    config = {"targets": ["r"], "recipes": {"r": recipe}}
    return make_plan(config, replace(catalog, sources={"texts": entry})).recipes["r"].stages()


class TestPlan:
    def test_documents_are_fetched_then_three_steps_follow(self) -> None:
        made = stages()
        kinds = [stage.kind for stage in made]
        assert kinds[: kinds.index("clean")] == ["source", "model", "written", "written", "written"]
        (documents,) = (stage for stage in made if stage.kind == "source")
        assert documents.settings["entry"] == {"domain": "math", **ENTRY["documents"]}
        assert [stage.settings["step"] for stage in made if stage.kind == "written"] == ["write", "refine", "check"]

    def test_steps_side_by_side_go_on_together(self) -> None:
        made = stages({**ENTRY, "steps": [["rephrase", "backward"], "check"]})
        check = next(stage for stage in made if stage.settings.get("step") == "check")
        assert [stage.settings["step"] for stage in check.inputs["questions"]] == ["rephrase", "backward"]

    def test_a_changed_prompt_makes_its_step_and_what_follows_anew(self) -> None:
        prompts = {**CATALOG.prompts, "refine_question": Prompt("p.md", "changed")}
        changed = {stage.id for stage in stages(catalog=replace(CATALOG, prompts=prompts))}
        kept = [stage.settings.get("step", stage.kind) for stage in stages() if stage.id in changed]
        assert kept == ["source", "model", "write"]

    def test_shards_are_no_part_of_an_id(self) -> None:
        assert [stage.id for stage in stages({**ENTRY, "questions_per_shard": 7})] == [stage.id for stage in stages()]
        first = next(stage for stage in stages({**ENTRY, "questions_per_shard": 7}) if stage.kind == "written")
        assert first.execution["shards"] == 15

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"model": "writr"}, r"the catalog has no model 'writr' \(did you mean writer\?\)"),
            ({"prompts": {"write": "nowhere"}}, "the catalog has no prompt 'nowhere'"),
        ],
    )
    def test_what_the_catalog_lacks_is_a_problem(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            stages({**ENTRY, **change})

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"documents": {"connector": "hub", "colum": "t"}},
                "x.documents: unknown key 'colum' (did you mean column?)",
            ),
            ({"steps": ["write", "chek"]}, "x: there is no step 'chek' (did you mean check?)"),
            ({"steps": [["rephrase", "backward"]]}, "x: the last of `steps` must be one step, such as check"),
            ({"limit": 5}, "x: 'limit' belongs in `documents`"),
            ({"documents": ENTRY}, "x: the documents cannot be written by a model themselves"),
        ],
    )
    def test_a_mistaken_entry_is_said(self, change: dict[str, Any], message: str) -> None:
        assert any(problem.startswith(message) for problem in entry_problems({**ENTRY, **change}, "x"))
        assert entry_problems(ENTRY) == []

    def test_documents_are_pinned_like_any_source(self, tmp_path: Path) -> None:
        folder = {**ENTRY, "documents": {"connector": "pdf", "path": "books"}}
        assert local_pins(folder, lambda path: f"content of {path}") == ["content of books"]
        archive = tmp_path / "site.7z"
        archive.write_bytes(b"x")
        dump = {"connector": "stackexchange", "site": "s", "url": str(archive)}
        assert pin_of({**ENTRY, "documents": dump}) == pin_of(dump)
