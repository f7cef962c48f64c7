"""Plots as SVG files, drawn by Vega-Lite without a browser or a network: the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from openthoughts.base.tables import write_text

WIDTH = 460
BAR_HEIGHT = 20
COLOURS = ("#3b6ea5", "#d9822b", "#4c9a6a", "#a4508b", "#8c6d46", "#6b7a8f", "#c44e52", "#937fb8")
LIGHT = "#c3d3e3"
PUBLISHED = "#d62728"


def save_svg(chart: Any, path: Path) -> None:
    """Write an Altair chart as SVG, atomically, in the project's look."""
    write_text(svg_of(chart) + "\n", path)


def svg_of(chart: Any) -> str:
    """An Altair chart as SVG in the project's look."""
    import vl_convert

    styled = chart.configure(
        background="white",
        font="Helvetica, Arial, sans-serif",
        padding=12,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(gridColor="#e6e6e6", domainColor="#999999", tickColor="#999999", labelLimit=260),
        range=alt.RangeConfig(category=list(COLOURS)),
        header=alt.HeaderConfig(titleFontSize=12, labelFontSize=12, labelFontWeight="bold"),
    )
    version = "_".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    svg: str = vl_convert.vegalite_to_svg(styled.to_dict(), vl_version=version)
    return svg


def write_tsv(table: pl.DataFrame, path: Path) -> None:
    """Write the numbers of a plot as tab-separated text (floats to 6 significant digits; null is empty)."""
    floats = [name for name, dtype in table.schema.items() if dtype.is_float()]
    rounded = table.with_columns(pl.col(floats).round_sig_figs(6)) if floats else table
    write_text(rounded.write_csv(separator="\t"), path)


def data(table: pl.DataFrame) -> alt.Data:
    """A table's rows inside the plot's specification."""
    return alt.Data(values=table.to_dicts())


def error_bars(scores: pl.DataFrame, bar: str, panel: str, width: int = 300) -> Any:
    """A panel for each value of ``panel``, a bar for each value of ``bar``, with whiskers of one standard error.

    Columns: ``bar``, ``panel``, ``score``, ``standard_error`` (nullable); bars and panels keep the order of the rows.
    """
    bars, panels = (scores[name].unique(maintain_order=True).to_list() for name in (bar, panel))
    drawn = scores.with_columns(
        low=(pl.col("score") - pl.col("standard_error")).clip(lower_bound=0),
        high=pl.col("score") + pl.col("standard_error"),
        label=pl.col("score").round(1).cast(pl.String),
    )
    drawn = drawn.with_columns(end=pl.coalesce("high", "score"))
    vertical = alt.Y(f"{bar}:N", sort=bars, title=None)
    base = alt.Chart().encode(y=vertical)
    title = _score_title(drawn)
    marks = []
    if title != "score":
        tick = base.mark_tick(color=PUBLISHED, thickness=3, size=BAR_HEIGHT - 2)
        marks.append(tick.encode(x=alt.X("published:Q", title=title)))
    shown = base.mark_bar(height=BAR_HEIGHT - 6).encode(
        x=alt.X("score:Q", title=title, scale=alt.Scale(zero=True, nice=True)),
        color=alt.Color(f"{bar}:N", sort=bars, legend=None),
    )
    whiskers = base.mark_rule(color="#222222", strokeWidth=1.5).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    text = base.mark_text(align="left", dx=5, fontSize=10).encode(x=alt.X("end:Q", title=title), text="label:N")
    height = BAR_HEIGHT * len(bars)
    layers = alt.layer(shown, whiskers, text, *marks, data=data(drawn)).properties(width=width, height=height)
    columns = 1 if len(panels) == 1 else 2
    return layers.facet(facet=alt.Facet(f"{panel}:N", sort=panels, title=None), columns=columns)


def score_curves(scores: pl.DataFrame, axis: str) -> Any:
    """A panel for each ``benchmark``, a line for each ``curve`` over ``x`` with whiskers of one standard error.

    Columns: arm, benchmark, x (null: a level, drawn as a dashed line), curve, score, standard_error, published.
    """
    panels = scores["benchmark"].unique(maintain_order=True).to_list()
    curves = scores["curve"].unique(maintain_order=True).to_list()
    drawn = scores.with_columns(
        low=pl.col("score") - pl.col("standard_error"), high=pl.col("score") + pl.col("standard_error")
    )
    values = [float(value) for value in drawn["x"].drop_nulls()]
    spread = bool(values) and min(values) > 0 and max(values) > 5 * min(values)
    scale = alt.Scale(type="log" if spread else "linear", zero=False, nice=not spread)
    legend = alt.Legend() if len(curves) > 1 else None
    colour = alt.Color("curve:N", sort=curves, title=None, legend=legend)
    x = alt.X("x:Q", title=axis, scale=scale, axis=alt.Axis(format="~s", tickCount=5, labelOverlap="greedy"))
    title = _score_title(drawn)
    y = alt.Y("score:Q", title=title, scale=alt.Scale(zero=False))
    points = alt.Chart().transform_filter("isValid(datum.x)")
    layers = [
        points.mark_line(point=True).encode(x=x, y=y, color=colour),
        points.mark_rule(strokeWidth=1.5).encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q", color=colour),
    ]
    if drawn["published"].is_not_null().any():
        published = points.transform_filter("isValid(datum.published)").mark_point(shape="diamond", color=PUBLISHED)
        layers.append(published.encode(x=x, y=alt.Y("published:Q", title=title)))
    if drawn["x"].is_null().any():
        level = alt.Chart().transform_filter("!isValid(datum.x)").mark_rule(strokeDash=[4, 3])
        layers.append(level.encode(y=y, color=colour))
    chart = alt.layer(*layers, data=data(drawn)).properties(width=300, height=170)
    facet = alt.Facet("benchmark:N", sort=panels, title=None)
    return chart.facet(facet=facet, columns=1 if len(panels) == 1 else 2).resolve_scale(y="independent")


def _score_title(scores: pl.DataFrame) -> str:
    """The title of the axis of scores, which says what the red marks are where there are any."""
    marked = "published" in scores.columns and scores["published"].is_not_null().any()
    return "score (red: published)" if marked else "score"


def score_matrix(scores: pl.DataFrame, panels: Sequence[str]) -> Any:
    """Arms against groups of benchmarks: each cell the score with its error, coloured by the difference.

    Columns: arm, benchmark, score, standard_error, difference (null: the arm compared to), low, high. A difference
    whose 95 % interval leaves out zero is set in bold.
    """
    arms = scores["arm"].unique(maintain_order=True).to_list()
    shown = [_cell(*row) for row in scores.select("score", "standard_error", "difference", "low", "high").iter_rows()]
    drawn = scores.with_columns(
        pl.Series("text", [text for text, _ in shown], dtype=pl.String),
        pl.Series("telling", [telling for _, telling in shown], dtype=pl.Boolean),
        shade=pl.col("difference").fill_null(0.0),
    )
    largest = max(1.0, float(drawn["shade"].abs().max() or 0.0))  # type: ignore[arg-type]
    base = alt.Chart(data(drawn)).encode(
        x=alt.X("benchmark:N", sort=list(panels), title="measured on", axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("arm:N", sort=arms, title="arm"),
    )
    scale = alt.Scale(domain=[-largest, 0, largest], range=["#d9822b", "#ffffff", "#3b6ea5"], interpolate="rgb")
    cells = base.mark_rect(stroke="#e6e6e6").encode(color=alt.Color("shade:Q", title="difference", scale=scale))
    plain = base.transform_filter("!datum.telling").mark_text(fontSize=11).encode(text="text:N")
    strong = base.transform_filter("datum.telling").mark_text(fontSize=11, fontWeight="bold").encode(text="text:N")
    return alt.layer(cells, plain, strong).properties(width=130 * len(panels), height=34 * max(1, len(arms)))


def _cell(
    score: float, error: float | None, difference: float | None, low: float | None, high: float | None
) -> tuple[str, bool]:
    """What a cell of the matrix says, and whether its difference is outside the noise."""
    text = f"{score:.1f}" + ("" if error is None else f" ± {error:.1f}")
    if difference is None:
        return text, False
    telling = low is not None and high is not None and (low > 0 or high < 0)
    return f"{text} ({difference:+.1f})", telling


def counts_bars(counts: pl.DataFrame, stages: Sequence[str], domains: Sequence[str]) -> Any:
    """The funnel: for each domain, rows (light) and different questions (dark) of each stage."""
    drawn = counts.with_columns(
        label=pl.concat_str(
            pl.col("rows").map_elements(lambda number: f"{number:,}", return_dtype=pl.String),
            pl.when(pl.col("rows") == pl.col("questions"))
            .then(pl.lit(""))
            .otherwise(pl.col("questions").map_elements(lambda number: f" ({number:,})", return_dtype=pl.String)),
        )
    )
    base = alt.Chart().encode(y=alt.Y("stage:N", sort=list(stages), title=None))
    title = "rows (light), different questions (dark)"
    rows = base.mark_bar(color=LIGHT).encode(x=alt.X("rows:Q", title=title))
    questions = base.mark_bar(color=COLOURS[0], height=alt.RelativeBandSize(0.5)).encode(
        x=alt.X("questions:Q", title=title)
    )
    text = base.mark_text(align="left", dx=5, fontSize=10).encode(x=alt.X("rows:Q", title=title), text="label:N")
    layers = alt.layer(rows, questions, text, data=data(drawn))
    layers = layers.properties(width=WIDTH, height=(BAR_HEIGHT + 2) * len(stages))
    facet = alt.Facet("domain:N", sort=list(domains), title=None)
    return layers.facet(facet=facet, columns=1).resolve_scale(x="independent")


def histogram(values: pl.Series, bins: int = 40) -> pl.DataFrame:
    """``low``, ``high``, ``count`` of at most ``bins`` equal bins, between whole numbers where all values are whole."""
    numbers = values.drop_nulls().drop_nans().to_numpy().astype(float)
    if numbers.size == 0:
        return pl.DataFrame(schema={"low": pl.Float64, "high": pl.Float64, "count": pl.Int64})
    if np.all(numbers == np.round(numbers)):
        width = np.ceil((numbers.max() - numbers.min() + 1) / bins)
        edges = np.arange(numbers.min(), numbers.max() + width + 1, width) - 0.5
    else:
        edges = np.histogram_bin_edges(numbers, bins=bins)
    counts, edges = np.histogram(numbers, bins=edges)
    return pl.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts.astype(np.int64)})


def histograms(binned: pl.DataFrame, series: Sequence[str], axis: str) -> Any:
    """A panel for each series of ``series``, ``low``, ``high``, ``count``; every panel has its own axes."""
    bars = (
        alt.Chart()
        .mark_bar(color=COLOURS[0], stroke="white", strokeWidth=0.5)
        .encode(
            x=alt.X("low:Q", title=axis, scale=alt.Scale(zero=False)),
            x2="high:Q",
            y=alt.Y("count:Q", title="rows", scale=alt.Scale(zero=True)),
            y2=alt.datum(0),
        )
        .properties(width=320, height=150)
    )
    faceted = alt.layer(bars, data=data(binned)).facet(
        facet=alt.Facet("series:N", sort=list(series), title=None), columns=2
    )
    return faceted.resolve_scale(x="independent", y="independent").resolve_axis(x="independent", y="independent")


def lines(points: pl.DataFrame, measures: Sequence[str], run: str) -> Any:
    """A panel for each of ``measure`` over ``step``, a line for each ``run``; columns run, step, measure, value."""
    line = (
        alt.Chart()
        .mark_line(point=points.height <= 100 * len(measures))
        .encode(
            x=alt.X("step:Q", title="optimiser step"),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format="~g")),
            color=alt.Color(f"{run}:N", title=None, legend=alt.Legend() if points[run].n_unique() > 1 else None),
        )
        .properties(width=WIDTH, height=170)
    )
    faceted = alt.layer(line, data=data(points)).facet(
        facet=alt.Facet("measure:N", sort=list(measures), title=None), columns=1
    )
    return faceted.resolve_scale(y="independent")


def stacked_bars(counts: pl.DataFrame, bar: str, colour: str, axis: str) -> Any:
    """Horizontal bars of ``count``, the longest first, stacked by ``colour``."""
    height = (BAR_HEIGHT + 2) * max(1, counts[bar].n_unique())
    return (
        alt.Chart(data(counts))
        .mark_bar()
        .encode(
            x=alt.X("count:Q", title=axis),
            y=alt.Y(f"{bar}:N", sort="-x", title=None),
            color=alt.Color(f"{colour}:N", title=None),
        )
        .properties(width=WIDTH, height=height)
    )


def side_by_side(table: pl.DataFrame, bar: str, measures: dict[str, str]) -> Any:
    """Horizontal bars of several measures of the same rows; ``measures`` maps a column to its axis title."""
    order = table[bar].to_list()
    panels = [
        alt.Chart(data(table))
        .mark_bar(color=COLOURS[number])
        .encode(
            x=alt.X(f"{column}:Q", title=title),
            y=alt.Y(f"{bar}:N", sort=order, title=None, axis=alt.Axis(labels=number == 0, ticks=number == 0)),
        )
        .properties(width=240, height=(BAR_HEIGHT - 2) * max(1, len(order)))
        for number, (column, title) in enumerate(measures.items())
    ]
    return alt.hconcat(*panels)


def message(text: str) -> Any:
    """A plot that says why there is nothing to plot."""
    row = pl.DataFrame({"text": [text]})
    return (
        alt.Chart(data(row))
        .mark_text(fontSize=13, color="#555555")
        .encode(text="text:N")
        .properties(width=WIDTH, height=60)
    )
