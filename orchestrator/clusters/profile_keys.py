"""Keys that profiles of more than one kind have."""

from __future__ import annotations

from orchestrator.model.key import ABSOLUTE, Pattern, key

NODE = Pattern(regex=r"[A-Za-z0-9_][-._A-Za-z0-9]*", words="a node's name")

SHARED_DIR = key("A directory that all nodes see.", pattern=ABSOLUTE)
SSH_CONFIG = key("A configuration file for ssh, in place of ~/.ssh/config.", pattern=ABSOLUTE)
EXCLUDE = key("Nodes that are never used.", pattern=NODE)
SETUP = key("Shell lines run before the job, as in module load cuda.")
