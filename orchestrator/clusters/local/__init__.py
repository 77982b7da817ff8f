"""This machine: a node is a group of processes, started by an agent that outlives whoever submitted it."""

from orchestrator.clusters.kind import Kind, later, load
from orchestrator.model.cluster import Profile

KIND = Kind(
    name="local",
    profile=Profile,
    open=later("orchestrator.clusters.local.backend:LocalBackend"),
    rendering=lambda: load("orchestrator.clusters.local.render:RENDERING"),
    check=later("orchestrator.clusters.local.examine:check"),
    here=True,
)
