"""Raw ds_config keys, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.model.spec import Spec


def check(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    return raw


def check_values(raw: Mapping[str, Any], spec: Spec, data_parallel: int) -> None:
    return None
