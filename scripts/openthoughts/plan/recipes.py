"""A recipe's settings, filled in: a domain's over the recipe's over the schema's defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from openthoughts.plan.catalog import Catalog
from openthoughts.plan.config import merged, schema, with_defaults
from openthoughts.training.scales import Scale

Settings = Mapping[str, Any]

MODEL_LABELS = frozenset({"difficulty", "response_length", "ask_llm", "embeddings"})
"""Filters of questions that ask a model; the others learn from examples or compute."""


def resolved_domain(recipe: Settings, domain: str) -> dict[str, Any]:
    """A domain's settings: its own over the recipe's over the schema's defaults."""
    shared = {key: recipe[key] for key in ("decontaminate", "limit", "answers", "filter", "measure") if key in recipe}
    block = merged(shared, recipe["domains"][domain])
    filled: dict[str, Any] = with_defaults(block, {"$ref": "#/$defs/domain"}, schema("config"))
    return filled


def resolved_scale(training: Settings, catalog: Catalog) -> Scale:
    """The training scale of a recipe with its overrides. Raises ``UserError`` where a setting is unknown or wrong."""
    return Scale.from_json(json.dumps(merged(catalog.scales[training["scale"]], training.get("overrides", {}))))
