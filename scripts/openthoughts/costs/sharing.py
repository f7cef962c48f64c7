"""What stages buy together: an answer is asked for once, whichever stages want it.

The store keys an answer by model, messages, sampling, seed and the number of the sample. Stages with the same of these
share what they ask about the same questions. How many questions two stages have in common is known where they ask
about one table, where one table is drawn from the other, or where both are draws from one table under one seed: the
smaller draw is part of the larger. Else nothing is taken off, but together they hold no more than the table that both
are taken from.

A question in several rows gets samples of its own for each, the first ones first, so what stages want of it is the
larger of their numbers of samples. Counted as rows times samples, as here, that is never too few.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

from openthoughts.base.hashing import canonical_json
from openthoughts.plan.expectations import expected_questions, expected_rows
from openthoughts.plan.register import KINDS, inference
from openthoughts.plan.stages import Stage
from openthoughts.questions.labels import METHODS

SIZES = frozenset({"count", "keep", "share", "least"})
"""Settings of nested kinds that say how many; the order does not depend on them."""

MOST_TABLES = 256
"""Tables of questions that are compared with each other; what is beyond them is counted in full."""


class Wanted(NamedTuple):
    """Answers that a stage wants: so many samples of each question of a table."""

    form: Hashable
    """What beside question and sample decides an answer; null where no other stage can share it."""
    table: Stage
    samples: int
    each_row: bool
    """Samples of every row of the table, not of each different question."""


class Together:
    """Counts what stages buy, one after the other."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Stage, bool], int] = {}
        self._groups: dict[tuple[Hashable, Hashable, bool], _Group] = {}
        self._added: set[Stage] = set()
        self._uncertain: dict[str, None] = {}

    def add(self, stage: Stage) -> float:
        """The share of a stage's requests that those added before it do not buy: 0 to 1."""
        asks = inference(stage)
        if asks is None or stage in self._added:
            return float(stage not in self._added)
        self._added.add(stage)
        own = new = 0
        for wanted in wanted_by(stage):
            requests = self.rows(wanted.table, wanted.each_row) * wanted.samples
            own += requests
            new += requests if wanted.form is None else self._bought(stage, wanted, requests)
        return new / own if own else 1.0

    def uncertain(self) -> list[str]:
        """The kinds of stages that may share more than is known: their questions are from one source."""
        found = {**self._uncertain}
        by_form: dict[Hashable, list[_Group]] = defaultdict(list)
        for (form, *_), group in self._groups.items():
            by_form[form].append(group)
        sources = _Sources()
        for groups in by_form.values():
            if len(groups) > 1:
                count = Counter(name for group in groups for name in sources.of(next(iter(group.tables))))
                if max(count.values(), default=0) > 1:
                    found |= dict.fromkeys(group.kind for group in groups)
        return list(found)

    def rows(self, table: Stage, each_row: bool) -> int:
        """Expected rows of a table, or the different questions among them; 0 where they are not known."""
        key = (table, each_row)
        if key not in self._rows:
            self._rows[key] = (expected_rows if each_row else expected_questions)(table) or 0
        return self._rows[key]

    def _bought(self, stage: Stage, wanted: Wanted, requests: int) -> int:
        root = _root(wanted.table)
        group = self._groups.setdefault((wanted.form, root, wanted.each_row), _Group(stage.kind))
        if group.tables.get(wanted.table, 0) >= wanted.samples:
            return 0
        if len(group.tables) >= MOST_TABLES:
            self._uncertain[stage.kind] = None
            return requests
        before = group.requests
        group.tables[wanted.table] = wanted.samples
        group.requests, is_exact = _Union(self, wanted.each_row).requests(group.tables)
        if not is_exact:
            self._uncertain[stage.kind] = None
        return min(requests, max(0, group.requests - before))


@dataclass
class _Group:
    """Stages that ask in one form about tables that come from one."""

    kind: str
    tables: dict[Stage, int] = field(default_factory=dict)
    """Table -> most samples of each question that a stage wants."""
    requests: int = 0


class _Union:
    """Counts the rows of tables that come from one, each row once."""

    def __init__(self, together: Together, each_row: bool) -> None:
        self._together, self._each_row = together, each_row
        self._is_exact = True

    def requests(self, tables: dict[Stage, int]) -> tuple[int, bool]:
        """Answers that are wanted of any table, and whether it is known which rows the tables have in common."""
        total = last = 0
        for samples in sorted(set(tables.values())):
            wanted = {table for table, most in tables.items() if most >= samples}
            total += (samples - last) * self._rows_of_any(wanted)
            last = samples
        return total, self._is_exact

    def _rows_of_any(self, wanted: set[Stage]) -> int:
        below: dict[Stage | None, dict[Stage, None]] = defaultdict(dict)
        for table in wanted:
            child: Stage = table
            while child not in below[parent := parent_of(child)]:
                below[parent][child] = None
                if parent is None:
                    break
                child = parent
        return self._sum(below[None], wanted, below)

    def _sum(self, tables: Iterable[Stage], wanted: set[Stage], below: dict[Stage | None, dict[Stage, None]]) -> int:
        """Rows of tables that are taken from one; those of one series lie in each other."""
        series: dict[Hashable, list[Stage]] = defaultdict(list)
        for table in tables:
            series[_series(table)].append(table)
        counts = [self._of_series(each, wanted, below) for each in series.values()]
        self._is_exact &= sum(count > 0 for count in counts) <= 1
        return sum(counts)

    def _of_series(self, tables: list[Stage], wanted: set[Stage], below: dict[Stage | None, dict[Stage, None]]) -> int:
        def rows(table: Stage) -> int:
            return self._together.rows(table, self._each_row)

        tables.sort(key=rows, reverse=True)
        counts: list[int] = []
        for table in tables:
            if table in wanted:  # it holds all that are smaller
                counts.append(rows(table))
                break
            inner = self._sum(below[table], wanted, below)
            counts.append(min(inner, rows(table) or inner))
        self._is_exact &= sum(count > 0 for count in counts) <= 1
        return min(sum(counts), rows(tables[0]) or sum(counts))


class _Sources:
    """The names of what stages are fetched from."""

    def __init__(self) -> None:
        self._known: dict[Stage, frozenset[str]] = {}

    def of(self, table: Stage) -> frozenset[str]:
        if table not in self._known:
            before = [self.of(each) for each in table.inputs.get("questions", ())]
            own = {table.name} if KINDS[table.kind].fetched else set()
            self._known[table] = frozenset(own).union(*before)
        return self._known[table]


def parent_of(table: Stage) -> Stage | None:
    """The table that a table of questions is a part of; null where it has rows of several, or of its own."""
    before = table.inputs.get("questions", ())
    is_part = (KINDS[table.kind].drops or table.kind == "mixed") and not table.settings.get("fill")
    return before[0] if is_part and len(before) == 1 else None


def _root(table: Stage) -> Hashable:
    """What tables must have in common to be compared: the one that they are part of, or their series."""
    while (parent := parent_of(table)) is not None:
        table = parent
    return _series(table)


def _series(table: Stage) -> Hashable:
    """What tables have in common of which the smaller is always part of the larger."""
    if not KINDS[table.kind].nested:
        return table
    settings = {name: value for name, value in table.settings.items() if name not in SIZES}
    inputs = tuple((role, stages) for role, stages in sorted(table.inputs.items()))
    return table.kind, inputs, canonical_json(settings)


def wanted_by(stage: Stage) -> Iterator[Wanted]:
    """What a stage that asks a model wants, table by table."""
    asks = inference(stage)
    if asks is None:
        return
    forms: Iterator[Hashable] = _forms(stage) if asks.shared else repeat(None)
    for table, samples in asks.requests(stage):
        yield Wanted(next(forms), table, samples, asks.each_row)


def _forms(stage: Stage) -> Iterator[Hashable]:
    """For each table that a stage asks about, what beside question and sample decides its answers."""
    settings, model = stage.settings, stage.input("model")
    if "tasks" in settings:
        for task in settings["tasks"]:
            yield _form(stage, model, "text", task["prompt"])
        return
    about: list[Hashable] = [_answer_of(stage)]
    if stage.kind == "answers":
        about = ["text"]
    elif stage.kind == "labels":
        # Methods that want free text ask for the same as each other.
        about = ["text" if METHODS[settings["method"]].form is None else settings["method"]]
    elif stage.kind == "written":
        about += [settings["step"], settings["domain"]]
    while True:
        yield _form(stage, model, *about, settings.get("prompt"))


def _form(stage: Stage, model: Stage, *about: Hashable) -> Hashable:
    return model, canonical_json(stage.settings["sampling"]), stage.settings["seed"], about


def _answer_of(stage: Stage) -> Hashable:
    """What decides the answers that a stage asks a model to judge; its kind where it judges none."""
    if "answers" in stage.inputs:
        return stage.kind, next(_forms(stage.input("answers")))
    if "evaluation" in stage.inputs:
        evaluation = stage.input("evaluation")
        forms = zip(evaluation.settings["tasks"], _forms(evaluation), strict=True)
        own = [form for task, form in forms if task["benchmark"] == stage.settings["benchmark"]]
        return stage.kind, *own
    return (stage.kind,)
