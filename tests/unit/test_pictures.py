"""The pictures in the documentation are those of the code as it is."""

from __future__ import annotations

from pathlib import Path

from draw_pictures import embedded, rooms, rules

ROOT = Path(__file__).resolve().parents[2]

GRAPH = """
flowchart TB
	id0[all]
	id7[grade_answers]
	id2[sample_evaluation]
	id3[fetch_model]
	id4[plot_scores]
	style id0 fill:#D95757
	id7 --> id0
	id2 --> id7
	id3 --> id7
	id3 --> id2
	id7 --> id4
"""


def test_the_picture_of_the_rooms_is_that_of_the_imports() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert embedded(page, rooms()) == page, "run `make pictures`"


def test_every_room_says_what_it_is_for() -> None:
    assert '<br>"]' not in rooms()


def test_the_picture_of_the_rules_has_the_shortest_story() -> None:
    assert (
        rules(GRAPH) == "flowchart TB\n    fetch_model --> sample_evaluation\n    sample_evaluation --> grade_answers\n"
    )
