"""Tables as a terminal shows them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table

WIDEST = 10_000
"""Cells in a line: a table is as wide as it is, so that it can be piped into other programs."""


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[str] = ()) -> None:
    """Print a table on standard output. The first column and those named in ``left`` are aligned left, others right."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in heads:
        table.add_column(head, justify="left" if head in {heads[0], *left} else "right", no_wrap=True, header_style="")
    for row in rows:
        table.add_row(*row)
    Console(width=WIDEST, markup=False, emoji=False, highlight=False).print(table)
