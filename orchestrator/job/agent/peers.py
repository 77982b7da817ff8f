"""What this node sees of the others in a generation: who is there, who asked to stop, who has ended, who is lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterable

from orchestrator.job.agent.heartbeat import Stillness
from orchestrator.job.checkpoints.generations import Claim, Root, generation_dir
from orchestrator.job.system import proc
from orchestrator.job.system.atomic import read_json


class Peers:
    """The records of one generation's nodes, read again at each `look`. Records never change once they are there."""

    def __init__(self, root: Root, claim: Claim, *, heartbeat: float) -> None:
        self._directory = generation_dir(root, claim.generation)
        self._nodes = range(claim.nodes)
        self._heartbeat = heartbeat
        self._stillness = Stillness()
        self.joined: dict[int, dict[str, Any]] = {}
        self.exits: dict[int, dict[str, Any]] = {}
        self.stops: dict[int, dict[str, Any]] = {}
        self.outcome: dict[str, Any] | None = None

    def look(self) -> None:
        """Reads what is new."""
        names = set(os.listdir(self._directory))
        for kind, known in (("node", self.joined), ("exit", self.exits), ("stop", self.stops)):
            for node in self._nodes:
                if node not in known and f"{kind}-{node}.json" in names:
                    record = read_json(self._directory / f"{kind}-{node}.json")
                    if record is not None:
                        known[node] = record
        if self.outcome is None and "outcome.json" in names:
            self.outcome = read_json(self._directory / "outcome.json")

    def missing(self) -> list[int]:
        """Nodes that have not joined."""
        return [node for node in self._nodes if node not in self.joined]

    def lost(self, nodes: Iterable[int]) -> dict[int, tuple[str, str]]:
        """(cause, sentence) of each of `nodes` whose agent has gone or fallen silent."""
        found = {}
        for node in nodes:
            record = self.joined.get(node)
            word = self._word(node, record) if record is not None else None
            if word is not None:
                found[node] = word
        return found

    def still_running(self) -> list[int]:
        """Nodes that have joined and not said how they ended."""
        return [node for node in self.joined if node not in self.exits]

    def _word(self, node: int, record: dict[str, Any]) -> tuple[str, str] | None:
        host = record.get("host", "?")
        if proc.is_gone(record.get("process", {})):
            return "agent_lost", f"The agent of node {node} ({host}, process {record.get('pid')}) is gone."
        beat = _read(self._directory / f"beat-{node}.json")
        if self._stillness.seconds(node, beat) > self._heartbeat:
            return "node_lost", f"Node {node} ({host}) has given no heartbeat for {self._heartbeat:g} s."
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
