"""Slurm: an attempt is a job of one agent a node; Slurm says whether it waits or runs, its own records how it does."""

from orchestrator.clusters.slurm.backend import SlurmBackend

__all__ = ["SlurmBackend"]
