"""A recipe, from its domains to its scores."""

from __future__ import annotations

from openthoughts.plan.parts.answers import plan_answers
from openthoughts.plan.parts.builder import Builder
from openthoughts.plan.parts.evaluation import plan_evaluation, plan_judged
from openthoughts.plan.parts.filtering import plan_filtered
from openthoughts.plan.parts.questions import plan_questions
from openthoughts.plan.parts.training import plan_student
from openthoughts.plan.settings.recipe import Domain, Recipe
from openthoughts.plan.stages import RecipePlan, Stage


def plan_recipe(build: Builder, name: str, recipe: Recipe) -> RecipePlan:
    """All stages of a resolved recipe."""
    domains = {domain: plan_domain(build, domain, block) for domain, block in recipe.domains.items()}
    inputs: dict[str, list[Stage]] = {"drawn": [], "answers": [], "measured": []}
    for stages in domains.values():
        inputs["drawn"].append(stages["drawn"])
        inputs["answers"].append(stages["filtered"])
        inputs["measured"].append(stages["measured"])
    difficulty = sorted(name for name, block in recipe.domains.items() if block.select.by == "difficulty")
    settings = {
        "domains": list(domains),
        "difficulty": difficulty,
        "seed": recipe.shuffle_seed,
    }
    dataset = build.add("dataset", "-".join(domains), settings, inputs)
    student = plan_student(build, dataset, recipe.training) if recipe.training else None
    evaluations: dict[str, Stage] = {}
    if student and recipe.training and recipe.evaluation:
        wanted, base = recipe.evaluation, recipe.training.student
        evaluations["student"] = plan_evaluation(build, f"{base}-student", student, wanted)
        if wanted.base:
            evaluations["base"] = plan_evaluation(build, base, build.model(base), wanted)
    judged = tuple(stage for evaluation in evaluations.values() for stage in plan_judged(build, evaluation))
    return RecipePlan(name, domains, dataset, student, evaluations, judged)


def plan_domain(build: Builder, name: str, block: Domain) -> dict[str, Stage]:
    """The stages of one domain, from its mixed sources to its filtered answers."""
    stages = plan_questions(build, name, block)
    drawn = stages["drawn"]
    stages["answers"] = answers = plan_answers(build, name, drawn, block.answers)
    about = {"questions": [drawn], "answers": [answers]}
    stages["measured"] = build.add("measured", name, block.measure.identity(), about)
    stages["filtered"] = plan_filtered(build, name, drawn, answers, stages["measured"], block.filter)
    return stages
