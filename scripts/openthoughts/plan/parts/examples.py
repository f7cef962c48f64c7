"""What is learnt from good and bad examples: a classifier, or a direction among embeddings."""

from __future__ import annotations

from openthoughts.plan.parts.answers import plan_answers
from openthoughts.plan.parts.builder import Builder, needed
from openthoughts.plan.parts.sources import plan_source
from openthoughts.plan.register import EXAMPLES
from openthoughts.plan.settings.answers import Answers, Filter
from openthoughts.plan.settings.questions import Example, Examples, Select
from openthoughts.plan.stages import Stage


def plan_classifier(build: Builder, block: Select | Filter) -> Stage:
    """A fastText classifier of a ``select`` or ``filter``, shared by all that have the same examples."""
    examples = needed(block.examples)
    settings = {"parameters": block.fasttext.identity(), **examples.drawing()}
    return build.add("classifier", "fasttext", settings, plan_examples(build, examples))


def plan_direction(build: Builder, select: Select) -> Stage:
    """The direction from the mean embedding of the negative examples to that of the positive ones."""
    examples, model = needed(select.examples), needed(select.model)
    inputs = {**plan_examples(build, examples), "model": [build.model(model)]}
    return build.add("direction", model, examples.drawing(), inputs)


def plan_examples(build: Builder, block: Examples) -> dict[str, list[Stage]]:
    """The texts that are good and bad examples: questions of sources, or a model's answers to them."""
    return {role: [plan_example(build, each, block) for each in getattr(block, role)] for role in EXAMPLES}


def plan_example(build: Builder, example: str | Example, block: Examples) -> Stage:
    """One source of examples."""
    if isinstance(example, str):
        return plan_source(build, example)
    name = example.source
    few = {"by": "random", "keep": block.most, "seed": block.seed}
    selected = build.add("selected", name, few, {"questions": [plan_source(build, name)]})
    drawn = build.add("drawn", name, {"count": None, "seed": block.seed}, {"questions": [selected]})
    return plan_answers(build, name, drawn, Answers(teacher=example.model, samples=1, sampling=example.sampling))
