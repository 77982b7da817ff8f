"""What runs in the ranks of a job: the built-in trainer, and what `orchestrator.training` offers to users' scripts."""
