"""`orch schema`: JSON Schema, for editors."""

from __future__ import annotations

import json
from argparse import Namespace

from orchestrator import schema
from orchestrator.errors import OK


def run(options: Namespace) -> int:
    print(json.dumps(schema.config_schema() if options.config else schema.json_schema(), indent=2, ensure_ascii=False))
    return OK
