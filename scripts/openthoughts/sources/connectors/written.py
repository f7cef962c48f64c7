"""Questions that a model writes from the documents of another entry, in steps (``openthoughts.questions.writing``).

Only the documents are read; the plan makes a stage of each step.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, PositiveInt, model_validator

from openthoughts.base.options import did_you_mean
from openthoughts.sources.connectors import Connector

STEPS = ("write", "refine", "check", "rephrase", "self_verify", "backward")
"""What a model can be asked on the way from documents to questions."""


class Written(Connector):
    """Questions that a model writes."""

    documents: dict[str, Any] = Field(description="The entry whose texts the questions are written from.")
    model: str = Field(description="Model of the catalog that writes.")
    steps: list[str | list[str]] = Field(
        ["write", "refine", "check"], description="Steps in order; those in a list of their own run side by side."
    )
    prompts: dict[str, str] = Field({}, description="Step -> prompt of the catalog (default: STEP_question).")
    sampling: dict[str, Any] = Field({}, description="Sampling settings.")
    questions_per_shard: PositiveInt = Field(50_000, description="Questions per job.")

    @model_validator(mode="after")
    def _steps_are_known(self) -> Self:
        steps = [[step] if isinstance(step, str) else step for step in self.steps]
        if self.documents.get("connector") == "written":
            raise ValueError("the documents cannot be written by a model themselves")
        for key in ("limit", "passage", "repeat_to"):
            if key in self.model_fields_set:
                raise ValueError(f"{key!r} belongs in `documents`")
        for step in sorted({step for beside in steps for step in beside} | set(self.prompts)):
            if step not in STEPS:
                raise ValueError(f"there is no step {step!r}{did_you_mean(step, STEPS)}")
        if not steps or len(steps[-1]) != 1:
            raise ValueError("the last of `steps` must be one step, such as check")
        return self
