"""Graders: what a response answers, and whether that is right. Each module of this folder is one.

To add a grader, add a module: its name is the grader's, and it defines one subclass of ``Grader``. The plan reads what
every grader needs, so nothing slow is imported at the top of these modules.
"""

from __future__ import annotations

from typing import ClassVar

from openthoughts.base.register import Register
from openthoughts.grading.item import Item


class Grader:
    """One way to grade; it runs in a worker process under a limit of processor time."""

    needs_reference: ClassVar[bool] = False
    """Whether every question must have a reference answer."""

    metadata: ClassVar[tuple[str, ...]] = ()
    """Keys that the metadata of every question must have."""

    asks_judge: ClassVar[bool] = False
    """Whether it reads what the ``judge`` of the catalog's entry said of the response."""

    runs_programs: ClassVar[bool] = False
    """Whether it runs programs of the response, so that a sandbox is needed."""

    preload: ClassVar[tuple[str, ...]] = ()
    """Its slow imports, made once for all its workers."""

    @staticmethod
    def grade(response: str, item: Item) -> tuple[str | None, float | None]:
        """What was extracted (null: nothing could be) and a score from 0 to 1 (null with it).

        One that raises or is stopped yields *unknown*, which is not wrong.
        """
        raise NotImplementedError


GRADERS: Register[Grader] = Register(__name__, Grader)
"""Every grader by its name in the catalog."""
