"""What runs inside the job, one agent a node: claim, preflight, launcher, heartbeat, grace, outcome. Standard library only."""
