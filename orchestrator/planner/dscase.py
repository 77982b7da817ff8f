"""A final ds_config with the job it belongs to, as the rules ask it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.model.plan import DsConfig, Topology
from orchestrator.model.spec import Spec
from orchestrator.planner.dscheck import AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A final ds_config (raw keys laid over orch's own) and the job it belongs to."""

    config: DsConfig
    spec: Spec
    topology: Topology

    def at(self, *path: str) -> Any:
        """The value at a path; None when it is absent, null or `auto`."""
        value: Any = self.config
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return None if value == AUTO else value

    def zero(self, *path: str) -> Any:
        """The value at a path in zero_optimization."""
        return self.at("zero_optimization", *path)

    @property
    def stage(self) -> int:
        return int(self.zero("stage") or 0)
