"""Slurm: an attempt is a job of one agent a node; Slurm says whether it waits or runs, its own records how it does."""

from orchestrator.clusters.kind import Kind, later, load
from orchestrator.clusters.slurm.profile import SlurmProfile

KIND = Kind(
    name="slurm",
    profile=SlurmProfile,
    open=lambda name, profile, _: load("orchestrator.clusters.slurm.backend:SlurmBackend")(name, profile),
    rendering=lambda: load("orchestrator.clusters.slurm.render:RENDERING"),
    check=later("orchestrator.clusters.slurm.examine:check"),
    excludes=True,
    look_up=later("orchestrator.clusters.slurm.examine:look_up"),
    time_limit=later("orchestrator.clusters.slurm.render:time_limit"),
)
