"""`orch schema`: JSON Schema, for editors."""

from __future__ import annotations

import sys
from argparse import Namespace

from orchestrator.cli import output
from orchestrator.config import schema
from orchestrator.errors import OK


def run(options: Namespace) -> int:
    sys.stdout.write(output.one_json(_configuration() if options.config else schema.json_schema()))
    return OK


def _configuration() -> schema.Schema:
    from orchestrator.clusters import PROFILES

    return schema.config_schema(PROFILES)
