"""What estimates rest on: the length of answers and the speed of each model, by use, and where they are from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from openthoughts.costs.measured import Measured, about, asking_stages, base_name, counted
from openthoughts.models.model import API
from openthoughts.plan.expectations import answer_tokens, served_entry
from openthoughts.plan.register import inference
from openthoughts.plan.speeds import engine_gpus, engine_seconds, missing_of_speed
from openthoughts.plan.stages import Stage


def basis(stages: Iterable[Stage], measured: Measured, gpu: str | None) -> list[str]:
    """A line for each model and use; answers by domain where each domain is measured by itself."""
    lines = dict.fromkeys(line for stage in asking_stages(stages) for line in _lines(stage, measured, gpu))
    return list(lines)


def _lines(stage: Stage, measured: Measured, gpu: str | None) -> Iterator[str]:
    asks = inference(stage)
    use = asks.use.format(about=about(stage)) if asks else ""
    figure = measured.length(stage)
    if not use and figure and figure.own:
        use = about(stage)
    whose = f"{'students of ' if 'model' in stage.input('model').inputs else ''}{base_name(stage)}"
    tokens = _length(stage, measured)
    parts = [tokens, *_speed(stage, measured, gpu)]
    yield f"{', '.join(filter(None, (whose, use)))}: {', '.join(parts)}"


def _length(stage: Stage, measured: Measured) -> str:
    figure = measured.length(stage)
    if figure:
        return f"{figure.output_tokens:,.0f} tokens per answer ({figure.rests_on})"
    asks = inference(stage)
    tokens = asks.tokens(stage)[1] if asks else None
    if tokens is None:
        return "unknown tokens per answer"
    in_catalog = asks is not None and asks.lengths_by_model and answer_tokens(stage) is not None
    return f"{tokens:,.0f} tokens per answer ({'catalog' if in_catalog else 'usual length'})"


def _speed(stage: Stage, measured: Measured, gpu: str | None) -> Iterator[str]:
    """The speed of the engine, where there is one."""
    entry = served_entry(stage.input("model"))
    asks = inference(stage)
    if entry["kind"] == API or asks is None:
        return
    gpus = engine_gpus(entry)
    of = (f" of {gpus} {gpu}" if gpus > 1 else f" of {gpu}") if gpu else ""
    speed = measured.speed(stage)
    if speed:
        on = counted(speed.parts, "shard")
        yield f"{speed.tokens_per_second:,.0f} tokens/s per engine{of} (measured on {on})"
        return
    figure = measured.length(stage)
    tokens_in, tokens_out = figure[:2] if figure else asks.tokens(stage)
    seconds = engine_seconds(entry, tokens_in, tokens_out) if tokens_out else None
    if seconds and tokens_out:
        rests_on = "catalog" if entry.get("serving", {}).get("tokens_per_second") else "from its architecture"
        yield f"{tokens_out / seconds:,.0f} tokens/s per engine{of} ({rests_on})"
    elif tokens_out:
        yield f"unknown speed ({missing_of_speed(base_name(stage), entry)} not known)"
