"""What a recipe may say and probably does not mean: each warning one sentence with its place."""

from __future__ import annotations

from collections.abc import Iterator

from openthoughts.plan.catalog import Catalog
from openthoughts.plan.expectations import QUESTION_TOKENS
from openthoughts.plan.settings.recipe import Domain, Recipe
from openthoughts.plan.settings.student import resolved_scale
from openthoughts.questions.labels import METHODS
from openthoughts.training.scales import Scale


def recipe_warnings(name: str, recipe: Recipe, catalog: Catalog) -> Iterator[str]:
    """What is allowed and probably not meant in a resolved recipe."""
    evaluated = set(recipe.evaluation.benchmarks if recipe.evaluation else ())
    for domain, block in recipe.domains.items():
        compared = set(block.decontaminate.benchmarks or ())
        missing = {one for one in evaluated if not compared & {one, catalog.benchmarks[one].get("part_of")}}
        for benchmark in sorted(missing):
            yield f"{name}.{domain}: {benchmark} is evaluated, yet the questions are not decontaminated against it."
        yield from signature_warnings(f"{name}.{domain}", domain, block, catalog)
        if recipe.training:
            yield from length_warnings(f"{name}.{domain}", block, resolved_scale(recipe.training, catalog.scales))


def length_warnings(where: str, block: Domain, scale: Scale) -> Iterator[str]:
    """What of a domain's answers would not be trained on as it is."""
    room = max(0, scale.cutoff - QUESTION_TOKENS)
    longest = block.answers.sampling.max_tokens
    kept = int(room / (1 - scale.most_lost)) if scale.most_lost < 1 else longest
    if scale.over_cutoff == "drop" and longest > kept:
        yield (
            f"{where}: answers may have {longest:,} tokens, and rows whose answer has more than about {kept:,} are "
            f"dropped from the training (cutoff {scale.cutoff:,}, most_lost {scale.most_lost:g}): raise the cutoff, or "
            "lower max_tokens."
        )
    if scale.over_cutoff == "fail" and longest > room:
        yield (
            f"{where}: answers may have {longest:,} tokens, and one with more than about {room:,} ends the run before "
            f"the training (over_cutoff: fail at {scale.cutoff:,} tokens)."
        )


MOST_SOURCES = 4
"""Sources that can be mixed without harm: in the paper mixtures of 8 and 16 scored worse than the best one alone."""

LARGEST_TEACHER = 33e9
"""Parameters of the teacher that was best in the paper (QwQ-32B)."""


def signature_warnings(where: str, domain: str, block: Domain, catalog: Catalog) -> Iterator[str]:
    """What weakened the students of the paper, where a domain is configured so."""
    mixed = len(block.mixed_sources())
    if mixed > MOST_SOURCES:
        yield (
            f"{where}: {mixed} sources are mixed; in the paper every mixture of more than {MOST_SOURCES} made a weaker "
            "student than the best one or two (`top: 2` mixes the best two)."
        )
    for source in block.mixed_sources():
        own = catalog.sources[source]["domain"]
        if own != domain and any(entry["domain"] == domain for entry in catalog.sources.values()):
            yield f"{where}: {source} is of the domain {own}; its rows keep that name in the dataset."
    if block.select.by in METHODS and METHODS[block.select.by].classical:
        yield (
            f"{where}: {block.select.by} selects the questions; in the paper classical filters were no better "
            "than a random choice, labels of a language model were."
        )
    teacher = block.answers.teacher or ""
    if catalog.models.get(teacher, {}).get("parameters", 0) > LARGEST_TEACHER:
        yield (
            f"{where}: {teacher} answers; in the paper QwQ-32B taught better than DeepSeek-R1, which scores higher "
            "itself: compare teachers on a small draw first."
        )
