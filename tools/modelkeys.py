"""Write orchestrator/planner/model_keys.json: what the installed transformers knows of models and training arguments.

Of each type of causal language model the keys of its configuration, of the others the type; of TrainingArguments the
names. Jobs are checked against it on machines that have another transformers, or none.

Usage: python tools/modelkeys.py [--check]     (--check: write nothing, exit status 1 when the file is out of date)
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, PreTrainedConfig, TrainingArguments
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

TABLE = Path(__file__).resolve().parent.parent / "orchestrator" / "planner" / "model_keys.json"


def keys_of(config: type[Any]) -> set[str]:
    """What a configuration class takes: its fields or parameters, and its other names for them."""
    names = {field.name for field in dataclasses.fields(config)} if dataclasses.is_dataclass(config) else set()
    names |= set(inspect.signature(config.__init__).parameters) - {"self", "args", "kwargs"}
    names |= set(config.attribute_map)
    return {name for name in names if not name.startswith("_")}


def table() -> dict[str, Any]:
    every = keys_of(PreTrainedConfig) | {"model_type", "architectures", "auto_map", "transformers_version"}
    causal = sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) & set(CONFIG_MAPPING))
    arguments = sorted(field.name for field in dataclasses.fields(TrainingArguments) if field.init)
    return {
        "transformers": transformers.__version__,
        "arguments": " ".join(arguments),
        "others": " ".join(sorted(set(map(str, CONFIG_MAPPING)) - set(causal))),
        "every": " ".join(sorted(every)),
        "causal": {name: " ".join(sorted(keys_of(CONFIG_MAPPING[name]) - every)) for name in causal},
    }


def main(argv: list[str]) -> int:
    content = json.dumps(table(), indent=1) + "\n"
    if TABLE.exists() and TABLE.read_text() == content:
        return 0
    if "--check" in argv:
        print(f"{TABLE.relative_to(TABLE.parents[2])} is out of date: make docs")
        return 1
    TABLE.write_text(content)
    print(f"wrote {TABLE.relative_to(TABLE.parents[2])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
