"""Tables on a terminal: aligned whatever their cells hold."""

from __future__ import annotations

import pytest

from openthoughts.base.terminal import print_table


def test_columns_stay_aligned_beside_long_names_and_nothing_is_taken_for_markup(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "an arm of a long name, [bold] and :smile: " + "x" * 100
    print_table(["arm", "jobs", "note"], [[name, "7", "few"], ["b", "1,000", "many more"]], left=["note"])
    head, first, second = capsys.readouterr().out.splitlines()
    assert first == f"{name}      7  few      "
    assert second.split() == ["b", "1,000", "many", "more"]
    assert {line.index(end) + len(end) for line, end in ((head, "jobs"), (first, "  7"), (second, "1,000"))} == {
        len(name) + len("  1,000")
    }
