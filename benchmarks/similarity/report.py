"""The table of results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JOINS = (
    "join",
    "long",
    "self_join",
    "million",
    "million_self",
    "templates_join",
    "templates_self",
    "stage",
)


def render(results: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str], machine: str, date: str) -> str:
    """All results as one Markdown page."""
    loads = [result["load"] for result in results.values()]
    lines = [
        "# Results",
        "",
        f"{machine}. Measured on {date}, with a load average of {min(loads)} to {max(loads)} from this and other work.",
        "",
        "| run | texts | found | CPU s | wall s | peak GB | brute force, CPU s | times |",
        "|---|---|---|---|---|---|---|---|",
        *(_join_row(titles[name], results[name]) for name in JOINS if name in results),
        "",
        "Brute force is `rapidfuzz.process.cdist(scorer=fuzz.ratio, score_cutoff=...)`, one thread, on a random sample",
        "of rows (in brackets) and multiplied up; for a list with itself, half of it, since every pair counts once.",
        "For the whole stage it is that and, for each of 12 benchmarks, the corpus tokenized and compared as Python",
        "sets of 13-grams. Found: pairs, or for a list with itself texts that are dropped. Peak memory is that of the",
        "process, with the texts themselves and, where brute force was run, its tables.",
        "",
    ]
    for name in ("ngrams", "ngrams_recombined"):
        if name in results:
            lines += [*_ngram_lines(titles[name], results[name]), ""]
    if "startup" in results:
        startup = results["startup"]
        lines += [
            f"Start-up: the first use after installation compiles for {startup['first_cpu']} CPU seconds "
            f"({startup['first_wall']} s), later ones load for {startup['later_cpu']} CPU seconds "
            f"({startup['later_wall']} s).",
            "",
        ]
    return "\n".join(lines)


def _join_row(title: str, result: Mapping[str, Any]) -> str:
    cpu = result["ours_cpu"]
    brute, times = "", ""
    if "brute_cpu" in result:
        brute = f"{result['brute_cpu']:,.0f} ({result['brute_rows']:,} rows)"
        times = f"**{result['brute_cpu'] / cpu:,.0f}**"
    size = f"{result['left']:,} x {result['right']:,}"
    found = f"{result['pairs']:,}" if "pairs" in result else ""
    wall, peak = result["ours_wall"], result["peak_gb"]
    return f"| {title} | {size} | {found} | {cpu:.2f} | {wall:.2f} | {peak:.2f} | {brute} | {times} |"


def _ngram_lines(title: str, result: Mapping[str, Any]) -> list[str]:
    share = 100 * result["lookup_cpu"] / result["tokenize_cpu"]
    return [
        f"{title}: {result['left']:,} texts, {result['tokens']:,} tokens against {result['right']:,} texts; "
        f"{result['texts']:,} texts share a run. Tokenizing all of them takes {result['tokenize_cpu']:.2f} CPU seconds "
        f"and looking all n-grams up {result['lookup_cpu']:.2f} ({share:.0f} %). As the stage does it, tokenizing only "
        f"texts whose bytes can match, everything together takes {result['ours_cpu']:.2f}."
    ]
