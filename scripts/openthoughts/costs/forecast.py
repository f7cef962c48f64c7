"""What a stage will have taken in the end, from what its finished part took: measured lengths and speeds."""

from __future__ import annotations

import math

from openthoughts.costs.estimates import Estimate, estimate_stage
from openthoughts.costs.measured import ERRORS, FEWEST, Measured
from openthoughts.costs.spending import Spent
from openthoughts.plan.stages import Stage


def forecast(stage: Stage, took: Spent, measured: Measured | None = None, share: float = 1.0) -> Estimate:
    """The estimate of a stage, scaled to what its answers so far took; its own where too few have been measured.

    ``share`` is that of its requests which no other stage buys; the time of its jobs is without them already.

    The range spans two standard errors of the mean length of an answer; GPU-hours vary with it.
    """
    planned = estimate_stage(stage, measured)
    if took.requests < FEWEST or not planned.requests:
        return planned.bought(share)
    scale = planned.requests / took.requests
    spread = ERRORS * took.length_deviation / max(1.0, took.output_tokens / took.requests) / math.sqrt(took.requests)
    result = Estimate(
        jobs=planned.jobs,
        requests=planned.requests,
        input_tokens=scale * took.input_tokens,
        output_tokens=scale * took.output_tokens,
        usd=share * scale * took.usd,
        gpu_hours=scale * took.gpu_hours or share * planned.gpu_hours,
        disk_gb=planned.disk_gb,
        unknown=planned.unknown,
    )
    low, high = max(0.0, 1 - spread), 1 + spread
    result.usd_low, result.usd_high = low * result.usd, high * result.usd
    result.gpu_hours_low, result.gpu_hours_high = low * result.gpu_hours, high * result.gpu_hours
    return result
