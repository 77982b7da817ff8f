"""What runs inside the job, one agent a node, from its claim to its outcome. Standard library only."""
