"""A recipe's dataset and student on the hub: what is refused, the card, and the files of a repository."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from openthoughts.answers.dataset import size_category
from openthoughts.base.cli import UserError
from openthoughts.base.places import located
from openthoughts.plan.plan_file import Configured
from openthoughts.report.funnel import by_stage, repeats
from openthoughts.report.manifest import Recipe, Stage
from openthoughts.report.plot_data import decontaminated, model_scores
from openthoughts.training.tokenize import read_statistics, summary_lines

DATASET, MODEL = "dataset", "model"

FILES = ("recipe.yaml", "lock.yaml", "manifest.json")
"""What says how to make it again; beside the card in every repository."""


@dataclass(frozen=True)
class Publication:
    """What is published where: the manifest of a finished recipe, and the plan of the working tree."""

    manifest: Path
    repository: str
    private: bool
    stages: frozenset[str]
    """KIND/ID of every stage that the working tree's plan has for the recipe."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The configuration that makes the recipe."""


def publications(of: Configured, kind: str) -> list[Publication]:
    """What the recipes among the targets say to publish. ``UserError`` where none says so."""
    found = []
    for name, planned in of.plan.recipes.items():
        recipe = of.config["recipes"][name]
        wanted = of.settings.recipes[name].publish
        repository = wanted.dataset if kind == "dataset" else wanted.model
        if repository is not None:
            own = {"targets": [name], "recipes": {name: recipe}, "accelerator": of.accelerator}
            own["catalog"] = list(of.settings.catalog)
            manifest = Path(of.plan.results) / "recipes" / name / "manifest.json"
            stages = frozenset(stage.name for stage in planned.stages())
            found.append(Publication(manifest, repository, wanted.private, stages, own))
    if not found:
        raise UserError(
            "no recipe among the targets says where to publish: give it `publish: {dataset: OWNER/NAME, model: "
            "OWNER/NAME}`."
        )
    return found


def finished(publication: Publication) -> Recipe:
    """The recipe as it was run. ``UserError`` where it was not, or where the working tree would run another one."""
    recipe = Recipe.read(publication.manifest)
    missing, old = publication.stages - set(recipe.stages), set(recipe.stages) - publication.stages
    if missing or old:
        named = ", ".join(sorted(missing or old)[:3])
        raise UserError(
            f"{publication.manifest} was made by another configuration than this one ({len(missing or old)} stages "
            f"differ, {named} among them): run the recipe again, or publish with the configuration it was run with."
        )
    return recipe


def check_licences(recipe: Recipe, allowed: Sequence[str] | None, private: bool) -> None:
    """Refuse questions under a licence that is not allowed; where none is named, unknown ones stay private."""
    for name, licence in licences(recipe).items():
        if allowed is not None and licence.lower() not in {one.lower() for one in allowed}:
            raise UserError(
                f"the licence of {name} ({licence}) is not among `licences`: allow it, or leave the source out."
            )
        if allowed is None and licence == "unknown" and not private:
            raise UserError(
                f"the licence of {name} is unknown: state it in the catalog, list `unknown` among `licences`, or "
                "publish privately."
            )


def licences(recipe: Recipe) -> dict[str, str]:
    """Source -> its licence."""
    return {
        str(stage.settings.get("name", stage.identity)): str(stage.about.get("licence", "unknown"))
        for stage in recipe.of_kind("source")
    }


def dataset_files(recipe: Recipe) -> dict[str, Path]:
    """Path in the repository -> file, of a dataset."""
    (dataset,) = recipe.of_kind("dataset")
    return {name: dataset.folder / name for name in ("dataset.parquet", "dataset_info.json", "counts.json")}


def model_files(recipe: Recipe) -> dict[str, Path]:
    """Path in the repository -> file, of a student: its weights. ``UserError`` where it has none."""
    from openthoughts.models.model import Model

    students = recipe.of_kind("student")
    if not students:
        raise UserError(f"the recipe {recipe.name} trains no student: give it `training`, or publish its dataset only.")
    weights = Model.read(students[0].path).weights
    return {str(path.relative_to(weights)): path for path in sorted(weights.rglob("*")) if path.is_file()}


def described(recipe: Recipe, config: Mapping[str, Any], manifest: Path) -> dict[str, bytes]:
    """The files that say how to make it again (FILES)."""
    pins: dict[str, dict[str, Any]] = {}
    for stage in recipe.of_kind("source", "benchmark", "model"):
        if "pin" in stage.settings and isinstance(stage.settings["pin"], Mapping):
            pins.setdefault(f"{stage.kind}s", {})[stage.settings["name"]] = dict(stage.settings["pin"])
    texts = (yaml.safe_dump(dict(config), sort_keys=False), yaml.safe_dump(pins), manifest.read_text(encoding="utf-8"))
    return dict(zip(FILES, (text.encode() for text in texts), strict=True))


def card(recipe: Recipe, kind: str) -> str:
    """The repository's README.md, written from the manifest."""
    front = yaml.safe_dump(_front_matter(recipe, kind), sort_keys=False, allow_unicode=True).strip()
    parts = [f"---\n{front}\n---", f"# {recipe.name}", _summary(recipe, kind), _sources(recipe), _funnel(recipe)]
    parts += [_decontamination(recipe), _prompts(recipe), _scores(recipe), _again(recipe)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(recipe: Recipe, kind: str) -> dict[str, Any]:
    counts = recipe.counts or {"rows": 0, "domains": {}}
    tags = ["reasoning", "openthoughts-snakemake", *counts["domains"]]
    if kind == DATASET:
        only = set(licences(recipe).values())
        return {
            "pretty_name": recipe.name,
            "license": only.pop().lower() if len(only) == 1 and only != {"unknown"} else "other",
            "task_categories": ["text-generation"],
            "tags": tags,
            "size_categories": [size_category(counts["rows"])],
            "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "dataset.parquet"}]}],
        }
    base = _base(recipe)
    entry = base.settings.get("entry", {})
    return {
        "license": base.about.get("licence", "other"),
        "base_model": entry.get("repository", base.settings.get("name")),
        "pipeline_tag": "text-generation",
        "tags": tags,
    }


def _base(recipe: Recipe) -> Stage:
    (student,) = recipe.of_kind("student")
    (base,) = recipe.inputs(student, "model")
    return base


def _summary(recipe: Recipe, kind: str) -> str:
    counts = recipe.counts or {"rows": 0, "tokens": 0}
    teachers = {model.settings["name"] for one in recipe.answers() for model in recipe.inputs(one, "model")}
    made = (
        f"{counts['rows']:,} rows of reasoning data ({counts['tokens']:,} tokens of answers): a question and an answer "
        f"of {', '.join(sorted(teachers))} with its reasoning."
    )
    if kind == DATASET:
        return f"{made} The rows are shuffled, so a head of the file is a sample of every domain."
    (student,) = recipe.of_kind("student")
    settings = json.dumps(dict(student.settings["settings"]), sort_keys=True)
    return (
        f"{_base(recipe).settings['name']}, fine-tuned (all weights) on {made}\n\nTraining settings: `{settings}`, "
        f"seed {student.settings['seed']}.{_trained_on(recipe, student)}"
    )


def _trained_on(recipe: Recipe, student: Stage) -> str:
    """What tokenising the dataset left of it."""
    files = [stage.path for stage in recipe.inputs(student, "tokenized") if stage.path.is_file()]
    return "".join("\n\nTraining data: " + "; ".join(summary_lines(read_statistics(path))) + "." for path in files)


def _sources(recipe: Recipe) -> str:
    if not recipe.counts:
        return ""
    rows = [
        (
            domain,
            source,
            counts["licence"] or "unknown",
            counts["questions"],
            counts["rows"],
            counts["tokens"],
            counts["truncated"],
        )
        for domain, block in recipe.counts["domains"].items()
        for source, counts in block["sources"].items()
    ]
    columns = ("domain", "source", "licence", "questions", "rows", "answer tokens", "cut by the token limit")
    return f"## Sources\n\n{_table(columns, rows)}\n\nThe questions keep the licences of their sources."


def _funnel(recipe: Recipe) -> str:
    rows = [
        (domain, row["stage"] + repeats(row), row["rows"], row["questions"], sum(row["dropped"].values()))
        for domain in recipe.domains()
        for row in by_stage(recipe.funnel, domain)
    ]
    table = _table(("domain", "stage", "rows", "different questions", "dropped"), rows)
    return f"## From sources to questions\n\n{table}"


def _decontamination(recipe: Recipe) -> str:
    cleaned = recipe.of_kind("clean")
    if not cleaned:
        return ""
    benchmarks = sorted(
        {benchmark.settings["name"] for stage in cleaned for benchmark in recipe.inputs(stage, "benchmarks")}
    )
    rules = {(stage.settings["similarity"], stage.settings["ngram"]) for stage in cleaned}
    limits = "; ".join(f"{similarity:g} % similarity or {ngram} shared tokens" for similarity, ngram in sorted(rules))
    counts = decontaminated([(stage.identity, stage.folder / "dropped.parquet") for stage in cleaned])
    counts = counts.group_by("benchmark", "method").agg(pl.col("count").sum()).sort("benchmark", "method")
    found = _table(("benchmark", "method", "rows dropped"), counts.rows()) if counts.height else "Nothing was dropped."
    return f"## Decontamination\n\nAgainst {', '.join(benchmarks) or 'nothing'}: {limits}.\n\n{found}"


def _prompts(recipe: Recipe) -> str:
    paths: dict[str, None] = {}
    for stage in recipe.stages.values():
        paths |= dict.fromkeys(path for path in (stage.about.get("prompt"), *stage.about.get("prompts", ())) if path)
    texts = [(Path(path).stem, located(path)) for path in paths if located(path).is_file()]
    shown = [f"### {name}\n\n{_fenced(path.read_text(encoding='utf-8'))}" for name, path in texts]
    return "## Prompts\n\n" + "\n\n".join(shown) if shown else ""


def _fenced(text: str) -> str:
    """The text as a block of code, whatever backticks it has."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{text.strip()}\n{fence}"


def _scores(recipe: Recipe) -> str:
    evaluations = recipe.of_kind("evaluation")
    if not evaluations:
        return ""
    named = [
        ("student" if recipe.inputs(stage, "model")[0].kind == "student" else "base", stage.path)
        for stage in evaluations
    ]
    table = model_scores(sorted(named, reverse=True)).select(
        "model", "benchmark", "questions", "samples", "score", "standard_error"
    )
    rows = [[f"{value:.1f}" if isinstance(value, float) else value for value in row] for row in table.rows()]
    return f"## Scores\n\n{_table(table.columns, rows)}\n\nErrors are standard errors over questions."


def _again(recipe: Recipe) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in recipe.versions.items())
    return (
        "## How to make it again\n\n`recipe.yaml` is the configuration, `lock.yaml` the commits and checksums of what "
        "was fetched, `manifest.json` every stage with its settings, inputs and counts. In a checkout of "
        "openthoughts-snakemake, with `lock.yaml` in `catalog/`:\n\n"
        f"```bash\nmake setup\n.venv/bin/snakemake --configfile recipe.yaml\n```\n\nMade with {versions}."
    )


def _table(columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> str:
    def cell(value: Any) -> str:
        if value is None:
            return ""
        return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|").replace("\n", " ")

    names = list(columns)
    lines = [names, ["---"] * len(names), *[[cell(value) for value in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def upload(publication: Publication, kind: str, files: Mapping[str, Path], texts: Mapping[str, bytes]) -> str:
    """Put the files into the repository in one commit; returns the commit.

    A repository that is not there is made, private unless said otherwise; one that is there keeps its visibility, and
    is refused where it is public and the publication private. What an earlier, interrupted upload brought there is not
    sent again. The token is ``HF_TOKEN``'s, or the one that the hub's own login left.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi(endpoint=constants.ENDPOINT)
    operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
    operations += [CommitOperationAdd(name, content) for name, content in texts.items()]
    try:
        api.create_repo(publication.repository, repo_type=kind, private=publication.private, exist_ok=True)
        if publication.private and not api.repo_info(publication.repository, repo_type=kind).private:
            raise UserError(
                f"{publication.repository} is there already and public: make it private, name another repository, or "
                "set `publish: {private: false}`."
            )
        done = api.create_commit(
            publication.repository, operations, commit_message="Publish a recipe's results", repo_type=kind
        )
    except (HfHubHTTPError, LocalTokenNotFoundError, RuntimeError, OSError) as error:
        raise UserError(
            f"{publication.repository} could not be published ({str(error).splitlines()[0]}): check the network, "
            "HF_TOKEN and its rights, and run again: what was sent is not sent again."
        ) from error
    return str(done.oid)
