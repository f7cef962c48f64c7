"""What the tokens of a hosted model cost."""

from __future__ import annotations

import json

from pydantic import ValidationError

from openthoughts.base.cli import UserError
from openthoughts.base.options import Options, execution_only

MILLION = 1e6


class Price(Options):
    """US dollars per million tokens; batch is the factor of the batch mode."""

    input: float = execution_only(ge=0, description="Price of a million input tokens.")
    output: float = execution_only(ge=0, description="Price of a million output tokens.")
    batch: float = execution_only(1.0, ge=0, description="Factor of the Batch API.")
    as_of: str | None = execution_only(None, description="When the price was looked up, such as 2026-11.")

    @classmethod
    def parse(cls, text: str) -> Price | None:
        """Read the JSON of ``--price``; None for an empty one."""
        try:
            return cls.model_validate(json.loads(text)) if text else None
        except (ValidationError, ValueError) as error:
            raise UserError(f'--price must be like {{"input": 0.15, "output": 0.6}}, not {text!r}.') from error

    def of(self, prompt_tokens: float, completion_tokens: float, in_batch: bool = False) -> float:
        """Dollars of so many tokens."""
        whole = (prompt_tokens * self.input + completion_tokens * self.output) / MILLION
        return whole * self.batch if in_batch else whole
