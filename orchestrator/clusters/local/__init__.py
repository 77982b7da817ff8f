"""This machine: a node is a group of processes, started by an agent that outlives whoever submitted it."""

from orchestrator.clusters.local.backend import LocalBackend

__all__ = ["LocalBackend"]
