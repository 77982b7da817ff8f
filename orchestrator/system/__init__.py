"""The machine that orch runs on: processes, file locks, paths, failpoints."""
