"""The plots of a recipe's page, each narrow enough for a phone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from openthoughts.report.plots import COLOURS, LIGHT, data, histogram

WIDTH, HEIGHT = 260, 150
SHADES = ("#b7cbe0", "#8fb0d1", "#6895c1", "#457cb1", "#2a5c8a", "#143a5e")
"""From the first stage to the last."""


def counted_bars(counts: pl.DataFrame, bar: str, axis: str, colour: str | None = None) -> Any:
    """Horizontal bars of ``count`` in the order of the rows, stacked by ``colour`` where there is one."""
    order = counts[bar].unique(maintain_order=True).to_list()
    chart = alt.Chart(data(counts)).mark_bar(color=COLOURS[0])
    x = alt.X("count:Q", title=axis, axis=alt.Axis(format="~s", tickCount=4))
    y = alt.Y(f"{bar}:N", sort=order, title=None, axis=alt.Axis(labelLimit=130))
    shown = chart.encode(x=x, y=y)
    if colour:
        shown = shown.encode(color=alt.Color(f"{colour}:N", title=None, legend=alt.Legend(orient="bottom", columns=2)))
    return shown.properties(width=WIDTH - 60, height=max(40, 19 * len(order)))


def before_and_after(before: pl.Series, after: pl.Series, axis: str) -> Any:
    """A histogram of all values (light) and of those kept (dark), in the same bins."""
    bins = histogram(before, 30)
    edges = [*bins["low"].to_list(), *bins["high"].to_list()[-1:]]
    rows = [
        {"low": low, "high": high, "all": count, "kept": int(after.is_between(low, high, closed="left").sum())}
        for low, high, count in zip(edges, edges[1:], bins["count"], strict=False)
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("low:Q", title=axis, scale=alt.Scale(zero=False), axis=alt.Axis(format="~s", tickCount=5)), x2="high:Q"
    )
    title = "questions: all, and kept (dark)"
    everything = base.mark_bar(color=LIGHT).encode(y=alt.Y("all:Q", title=title), y2=alt.datum(0))
    kept = base.mark_bar(color=COLOURS[0]).encode(y=alt.Y("kept:Q", title=title), y2=alt.datum(0))
    return alt.layer(everything, kept).properties(width=WIDTH, height=HEIGHT)


def shares_by_length(lengths: Sequence[tuple[str, pl.Series]], axis: str) -> Any:
    """A line for each label: the share of its values in bins of half an octave."""
    rows = []
    for label, values in lengths:
        bins = (values.clip(lower_bound=1).log(2) * 2).floor().cast(pl.Int64)
        counted = dict(bins.value_counts().iter_rows())
        for step in range(min(counted, default=0), max(counted, default=0) + 1):
            share = 100 * counted.get(step, 0) / max(1, len(values))
            rows.append({"stage": label, "tokens": 2 ** (step / 2), "share": share})
    labels = [label for label, _ in lengths]
    colours = [SHADES[round(place * (len(SHADES) - 1) / max(1, len(labels) - 1))] for place in range(len(labels))]
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("tokens:Q", title=axis, scale=alt.Scale(type="log", base=2), axis=alt.Axis(format="~s")),
            y=alt.Y("share:Q", title="% of the questions"),
            color=alt.Color(
                "stage:N",
                title=None,
                scale=alt.Scale(domain=labels, range=colours),
                legend=alt.Legend(orient="bottom", columns=2),
            ),
        )
        .properties(width=WIDTH, height=HEIGHT)
    )


def answer_lengths(lengths: pl.DataFrame) -> Any:
    """A histogram of ``tokens``: answers that ended by themselves, and on top of them those that were ``cut``."""
    longest = float(lengths["tokens"].max() or 1)  # type: ignore[arg-type]
    width = max(1, math.ceil((longest + 1) / 30))
    counted = (
        lengths.group_by(low=pl.col("tokens") // width * width)
        .agg(whole=(~pl.col("cut")).sum(), all=pl.len())
        .with_columns(high=pl.col("low") + width)
        .sort("low")
    )
    title = "answers: cut by the token limit (orange)"
    base = alt.Chart(data(counted)).encode(
        x=alt.X("low:Q", title="tokens of an answer", axis=alt.Axis(format="~s", tickCount=5)), x2="high:Q"
    )
    whole = base.mark_bar(color=COLOURS[0]).encode(y=alt.Y("whole:Q", title=title), y2=alt.datum(0))
    cut = base.mark_bar(color=COLOURS[1]).encode(y=alt.Y("all:Q", title=title), y2="whole:Q")
    return alt.layer(whole, cut).properties(width=WIDTH, height=HEIGHT)


def shares(values: pl.Series, axis: str) -> Any:
    """A histogram of values between 0 and 1 in tenths."""
    tenths = (values * 10).floor().clip(0, 9).cast(pl.Int64).value_counts().sort(values.name)
    rows = [{"low": tenth / 10, "high": (tenth + 1) / 10, "count": count} for tenth, count in tenths.iter_rows()]
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(color=COLOURS[0], stroke="white", strokeWidth=0.5)
        .encode(
            x=alt.X("low:Q", title=axis, scale=alt.Scale(domain=[0, 1])),
            x2="high:Q",
            y=alt.Y("count:Q", title="questions"),
            y2=alt.datum(0),
        )
        .properties(width=WIDTH, height=HEIGHT)
    )


def curve(points: pl.DataFrame, x: str, y: str, axis: str, colour: str | None = None) -> Any:
    """A line of column ``y`` over column ``x``, one for each value of ``colour``."""
    chart = alt.Chart(data(points)).mark_line(color=COLOURS[0])
    shown = chart.encode(
        x=alt.X(f"{x}:Q", title=axis, scale=alt.Scale(zero=False, nice=False)),
        y=alt.Y(f"{y}:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format="~g")),
    )
    if colour:
        shown = shown.encode(color=alt.Color(f"{colour}:N", title=None, legend=alt.Legend(orient="bottom", columns=2)))
    return shown.properties(width=WIDTH, height=HEIGHT)
