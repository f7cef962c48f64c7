"""Training scales: the settings of a training and the arithmetic of its batches and steps."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from openthoughts.base.cli import UserError, json_object
from openthoughts.base.options import did_you_mean

EXECUTION = frozenset({"save_steps"})
"""Settings that change how a training runs, not what comes out."""


OVER_CUTOFF = ("drop", "cut", "fail", "published")
"""What may happen to rows that are longer than the cutoff."""

EMPTY_THINKING = ("none", "answer", "prompt")
"""Where an empty thinking may be put for answers that have none."""


class SettingError(UserError):
    """A setting of a scale is unknown, missing or impossible."""

    def __init__(self, setting: str, sentence: str) -> None:
        """``setting`` is its name."""
        super().__init__(sentence)
        self.setting = setting


@dataclass(frozen=True)
class RowRules:
    """What becomes of rows that do not fit, or whose answers have no thinking (``catalog/scales.yaml`` says more)."""

    over_cutoff: str = "drop"
    most_lost: float = 0.1
    empty_thinking: str = "none"

    def changed(self) -> dict[str, Any]:
        """The rules that are not the default; only these are part of ids."""
        changed = {name: value for name, value in self.rules().items() if value != getattr(RowRules, name)}
        if self.over_cutoff != "drop":
            changed.pop("most_lost", None)  # says nothing then
        return changed

    def rules(self) -> dict[str, Any]:
        """All rules."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(RowRules)}

    def check(self) -> None:
        """Raise ``SettingError`` where a rule is none."""
        for name, known in (("over_cutoff", OVER_CUTOFF), ("empty_thinking", EMPTY_THINKING)):
            value = getattr(self, name)
            if value not in known:
                raise SettingError(name, f"{name} of the training scale is {value!r}{did_you_mean(str(value), known)}.")
        lost = self.most_lost
        if isinstance(lost, bool) or not isinstance(lost, int | float) or not 0 <= lost <= 1:
            wrong = f"most_lost of the training scale is {lost!r}: it must be a share from 0 to 1."
            raise SettingError("most_lost", wrong)


@dataclass(frozen=True)
class Preparation(RowRules):
    """The settings that tokenising needs."""

    packing: bool = False
    neat_packing: bool = False

    @classmethod
    def from_json(cls, text: str) -> Preparation:
        """Read the settings from a JSON object, which may hold a whole scale. Raises ``UserError`` for wrong ones."""
        settings = json_object(text, "--settings", '{"packing": true}')
        known = {item.name for item in dataclasses.fields(cls)}
        preparation = cls(**{name: value for name, value in settings.items() if name in known})
        preparation.check()
        return preparation


@dataclass(frozen=True, kw_only=True)
class Scale(Preparation):
    """An entry of ``catalog/scales.yaml`` (which says what each setting means)."""

    global_batch: int
    learning_rate: float
    cutoff: int
    epochs: float | None = None
    max_steps: int | None = None
    scheduler: str = "cosine"
    warmup_ratio: float = 0.1
    group_by_length: bool = False
    save_steps: int = 100

    @classmethod
    def from_json(cls, text: str) -> Scale:
        """Read a scale from a JSON object. Raises ``SettingError`` for unknown, missing or impossible settings."""
        settings = json_object(text, "--settings", '{"packing": true}')
        known = {item.name for item in dataclasses.fields(cls)}
        for name in settings:
            if name not in known:
                raise SettingError(name, f"the training scale has no setting '{name}'{did_you_mean(name, known)}.")
        missing = [name for name in ("global_batch", "learning_rate", "cutoff") if settings.get(name) is None]
        if settings.get("epochs") is None and settings.get("max_steps") is None:
            missing.append("epochs (or max_steps)")
        if missing:
            lacking = f"the training scale lacks {', '.join(missing)}: add it in catalog/scales.yaml."
            raise SettingError(missing[0].partition(" ")[0], lacking)
        scale = cls(**settings)
        for name in ("global_batch", "learning_rate", "cutoff", "epochs", "max_steps", "save_steps"):
            value = getattr(scale, name)
            if value is not None and not (isinstance(value, int | float) and value > 0):
                wrong = f"{name} of the training scale is {value!r}: it must be a number above 0."
                raise SettingError(name, wrong)
        scale.check()
        return scale

    def output_settings(self) -> dict[str, Any]:
        """The settings that change the trained model."""
        unchanged = self.rules().keys() - self.changed()
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in EXECUTION | unchanged}

    def accumulation(self, processes: int) -> int:
        """Rows that each of ``processes`` sees for one optimiser step, one at a time.

        Raises ``UserError`` where the global batch does not divide: the batch would not be the scale's.
        """
        if self.global_batch % processes:
            fitting = [n for n in range(1, self.global_batch + 1) if self.global_batch % n == 0]
            near = sorted(fitting, key=lambda n: (abs(n - processes), n))[:2]
            raise UserError(
                f"a global batch of {self.global_batch} does not divide over {processes} training processes: use "
                f"{' or '.join(map(str, sorted(near)))} (nodes x GPUs of a node)."
            )
        return self.global_batch // processes

    def steps(self, rows: int) -> tuple[int, int]:
        """Optimiser steps of an epoch, and of the whole training, on ``rows`` (packed) rows, as the trainer counts."""
        epoch = math.ceil(rows / self.global_batch)
        return epoch, self.max_steps or math.ceil(epoch * (self.epochs or 1))
