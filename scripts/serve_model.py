"""Serve a model for as long as a command runs: ``serve_model.py MODEL.json [options] -- COMMAND``.

Every stage that the command runs and that asks this model joins the server instead of starting one. The server
listens on loopback, on a free port, with a key made for the run, and is gone when the command ends. Ends with the
command's exit status; if the engine dies meanwhile, the stages that need it start their own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from openthoughts.base.cli import UserError, command
from openthoughts.base.processes import run
from openthoughts.inference.endpoints import SERVERS_VARIABLE, running_servers
from openthoughts.inference.server import engine
from openthoughts.inference.vllm import EngineSettings, add_engine_arguments
from openthoughts.models.model import Model


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Serve the model, run the command, and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="serve_model.py MODEL.json [options] -- COMMAND",
    )
    parser.add_argument("model", type=Path, help="model.json")
    add_engine_arguments(parser)
    own, separator, wanted = split(arguments)
    options = parser.parse_args(own)
    if not separator or not wanted:
        raise UserError("no command to run: serve_model.py MODEL.json [options] -- COMMAND")
    model = Model.read(options.model)
    with engine(model, EngineSettings.of(options)) as endpoint:
        entry = {"base_url": endpoint.base_url, "api_key": endpoint.api_key, "model_name": endpoint.model_name}
        servers = {**running_servers(), model.key_digest(): entry}
        return run(wanted, variables={**os.environ, SERVERS_VARIABLE: json.dumps(servers)})


def split(arguments: Sequence[str]) -> tuple[list[str], bool, list[str]]:
    """Arguments before and after ``--``, and whether it is there."""
    if "--" not in arguments:
        return list(arguments), False, []
    at = list(arguments).index("--")
    return list(arguments[:at]), True, list(arguments[at + 1 :])


if __name__ == "__main__":
    sys.exit(main())
