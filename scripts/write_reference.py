"""Write schemas/ and docs/reference/ (every key of the configuration and of the catalog) from the models of settings.

With --check nothing is written; the status is 1 where a page or a schema is not up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel

from openthoughts.base.cli import UserError, command
from openthoughts.base.tables import write_text
from openthoughts.plan.settings.configuration import Configuration
from openthoughts.plan.settings.entries import CatalogFiles
from openthoughts.report.reference import json_schema, page

ROOT = Path(__file__).resolve().parents[1]

DRAFT = "https://json-schema.org/draft/2020-12/schema"

HEAD = "# Written by scripts/write_reference.py from scripts/openthoughts/plan/settings/: change it there.\n"

PAGES: dict[str, tuple[str, str, str, type[BaseModel]]] = {
    "configuration": (
        "Configuration",
        "Every key of `config.yaml` and of the files that are laid over it with `--configfile`. What a domain sets "
        "itself overrides what its recipe says. A key that is not here is an error.",
        "config",
        Configuration,
    ),
    "catalog": (
        "Catalog",
        "Every key of the catalog's files. Each connector has keys of its own: [sources](../sources.md); each scale is "
        "described in `catalog/scales.yaml`: [training](../training.md).",
        "catalog",
        CatalogFiles,
    ),
}
"""Page -> its title, its first words, its schema's name and the model of both."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the pages, or look whether they are as they would be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "reference", help="folder of the pages")
    parser.add_argument("--schemas", type=Path, default=ROOT / "schemas", help="folder of the schemas")
    options = parser.parse_args(argv)
    for name, (title, introduction, which, model) in PAGES.items():
        schema = json_schema(model)
        whole = {"$schema": DRAFT, "title": title, **schema}
        written = yaml.safe_dump(whole, sort_keys=False, default_flow_style=None, width=10_000)
        texts = {
            options.output / f"{name}.md": page(title, introduction, schema, "scripts/openthoughts/plan/settings/"),
            options.schemas / f"{which}.schema.yaml": HEAD + written,
        }
        for path, text in texts.items():
            if not options.check:
                write_text(text, path)
            elif not path.is_file() or path.read_text(encoding="utf-8") != text:
                raise UserError(f"{path} is not what the settings say: run scripts/write_reference.py.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
