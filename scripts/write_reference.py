"""Write docs/reference/ (every key of the configuration and of the catalog) from the schemas.

With --check nothing is written; the status is 1 where a page is not up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import UserError, command
from openthoughts.base.tables import write_text
from openthoughts.plan.config import schema
from openthoughts.report.reference import page

ROOT = Path(__file__).resolve().parents[1]

PAGES = {
    "configuration": (
        "Configuration",
        "Every key of `config.yaml` and of the files that are laid over it with `--configfile`. What a domain sets "
        "itself overrides what its recipe says. A key that is not here is an error.",
        "config",
    ),
    "catalog": (
        "Catalog",
        "Every key of the catalog's files. Each connector has keys of its own: [sources](../sources.md); each scale is "
        "described in `catalog/scales.yaml`: [training](../training.md).",
        "catalog",
    ),
}
"""Page -> its title, its first words and its schema."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the pages, or look whether they are as they would be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "reference", help="folder of the pages")
    options = parser.parse_args(argv)
    for name, (title, introduction, which) in PAGES.items():
        path = options.output / f"{name}.md"
        text = page(title, introduction, schema(which), f"schemas/{which}.schema.yaml")
        if not options.check:
            write_text(text, path)
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise UserError(f"{path} is not what the schema says: run scripts/write_reference.py.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
