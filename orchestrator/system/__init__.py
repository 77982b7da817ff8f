"""The machine that orch runs on: environments, paths, logs."""
