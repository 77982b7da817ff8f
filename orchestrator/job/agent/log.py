"""Lines in the agent's output."""

from __future__ import annotations

import sys
import time


def line(node: int, text: str) -> None:
    """One line on stdout, with the time and the node."""
    sys.stdout.write(f"[agent {node} {time.strftime('%H:%M:%S')}] {text}\n")
    sys.stdout.flush()
