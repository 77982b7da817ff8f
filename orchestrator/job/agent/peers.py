"""What this node sees of the others in a generation: which have joined, asked to stop, ended or are lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterable, TypeVar

from orchestrator.job.agent.heartbeat import Stillness
from orchestrator.job.protocol import files
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.files import Root, generation_dir
from orchestrator.job.protocol.records import Claim, NodeExit, NodeJoined, Outcome, StopRequest
from orchestrator.job.system import proc

T = TypeVar("T")


class Peers:
    """The records of one generation's nodes, read again at each `refresh`. Records never change once they are there."""

    def __init__(self, root: Root, claim: Claim, *, heartbeat: float) -> None:
        self._directory = generation_dir(root, claim.generation)
        self._nodes = range(claim.nodes)
        self._heartbeat = heartbeat
        self._stillness = Stillness()
        self.joined: dict[int, NodeJoined] = {}
        self.exits: dict[int, NodeExit] = {}
        self.stops: dict[int, StopRequest] = {}
        self.outcome: Outcome | None = None

    def refresh(self) -> None:
        """Reads what is new."""
        names = set(os.listdir(self._directory))
        for node in self._nodes:
            self._read_new(NodeJoined, files.joined(node), node, self.joined, names)
            self._read_new(NodeExit, files.node_exit(node), node, self.exits, names)
            self._read_new(StopRequest, files.stop(node), node, self.stops, names)
        if self.outcome is None and files.OUTCOME in names:
            self.outcome = read(Outcome, self._directory / files.OUTCOME)

    def _read_new(self, kind: type[T], name: str, node: int, known: dict[int, T], names: set[str]) -> None:
        record = read(kind, self._directory / name) if node not in known and name in names else None
        if record is not None:
            known[node] = record

    def missing(self) -> list[int]:
        """Nodes that have not joined."""
        return [node for node in self._nodes if node not in self.joined]

    def lost(self, nodes: Iterable[int]) -> dict[int, tuple[Cause, str]]:
        """(cause, sentence) of each of `nodes` whose agent has gone or fallen silent."""
        found = {}
        for node in nodes:
            record = self.joined.get(node)
            loss = self._loss(node, record) if record is not None else None
            if loss is not None:
                found[node] = loss
        return found

    def still_running(self) -> list[int]:
        """Nodes that have joined and not recorded their end."""
        return [node for node in self.joined if node not in self.exits]

    def _loss(self, node: int, record: NodeJoined) -> tuple[Cause, str] | None:
        if proc.is_gone(record.process):
            return Cause.AGENT_LOST, f"The agent of node {node} ({record.host}, process {record.pid}) is gone."
        beat = _read(self._directory / files.heartbeat(node))
        if self._stillness.seconds(node, beat) > self._heartbeat:
            return Cause.NODE_LOST, f"Node {node} ({record.host}) has given no heartbeat for {self._heartbeat:g} s."
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
