"""Store: runs and events in $ORCH_HOME/store.db. An event and the run that it changes are one transaction."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.errors import JobError
from orchestrator.job.protocol.encoding import from_json
from orchestrator.model.codec import dump, load
from orchestrator.model.fold import begin, fold, updated
from orchestrator.model.run import Event, EventData, Run, Submission
from orchestrator.policy import nodes
from orchestrator.policy.nodes import NodeRecord
from orchestrator.store import lease as leases
from orchestrator.store.database import connect, translating_errors
from orchestrator.store.lease import Lease, LeaseRow
from orchestrator.store.reader import FILE, Reader


def open_store(home: Path) -> Store:
    """The store of one ORCH_HOME, made when it is missing. Raises StoreError."""
    path = Path(home) / FILE
    return Store(path, connect(path))


class Store(Reader):
    """A reader that also writes. Every method raises StoreError when the file cannot be used.

    A writer that shows a `lease` is refused with LeaseLostError once that lease is another's.
    """

    @contextlib.contextmanager
    def _transaction(self, lease: Lease | None = None) -> Iterator[sqlite3.Connection]:
        with translating_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                if lease is not None:
                    leases.check(self._connection, lease)
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @property
    def store_id(self) -> str:
        """Names this store; made with it."""
        return str(self._rows("SELECT value FROM meta WHERE key = 'store_id'")[0][0])

    # --- reading

    def find(self, name: str) -> Run | None:
        """One run, None when there is none of that name."""
        value = self.snapshot(name)
        return from_json(Run, value, f"the store, {name}") if value is not None else None

    def get(self, name: str) -> Run:
        """One run; JobError when there is none of that name."""
        run = self.find(name)
        if run is None:
            raise self.unknown(name)
        return run

    def unfinished(self) -> list[Run]:
        """Runs that have not ended, by name."""
        rows = self._rows("SELECT snapshot FROM runs WHERE ended = 0 ORDER BY name")
        return [load(Run, row[0]) for row in rows]

    def events(self, run: str | None = None, *, after: int = 0) -> list[Event]:
        """Events in the order of recording, of one run or (None) of all, those with a number above `after`."""
        if run is None:
            rows = self._rows("SELECT seq, run, kind, at, data FROM events WHERE seq > ? ORDER BY seq", after)
        else:
            rows = self._rows(
                "SELECT seq, run, kind, at, data FROM events WHERE run = ? AND seq > ? ORDER BY seq", run, after
            )
        return [Event(seq=seq, run=name, kind=kind, at=at, data=json.loads(data)) for seq, name, kind, at, data in rows]

    def secret_variables(self) -> list[str]:
        """Names of the environment variables that unfinished runs read secrets from."""
        rows = self._rows("SELECT secrets FROM runs WHERE ended = 0 AND secrets != ''")
        return sorted({name for row in rows for name in row[0].split(",")})

    def node_records(self, cluster: str | None = None) -> list[NodeRecord]:
        """The nodes that there is evidence against, of one cluster or (None) of all."""
        rows = self._rows("SELECT evidence FROM nodes WHERE ?1 IS NULL OR cluster = ?1 ORDER BY cluster, node", cluster)
        return [load(NodeRecord, row[0]) for row in rows]

    # --- writing

    def create_run(
        self, name: str, data: EventData, *, at: float | None = None, secrets: Sequence[str] = ()
    ) -> tuple[Run, bool]:
        """Record a run with its `submitted` event unless one of that name exists: (the run, whether it is new).

        Of any number of callers at the same moment exactly one makes the run. `secrets` names environment variables.
        """
        event = Event(run=name, kind="submitted", at=time.time() if at is None else at, data=data)
        with self._transaction() as connection:
            row = connection.execute("SELECT snapshot FROM runs WHERE name = ?", (name,)).fetchone()
            if row is not None:
                return load(Run, row[0]), False
            run = begin(event)
            _insert(connection, event)
            connection.execute(
                "INSERT INTO runs (name, ended, submitted_at, snapshot, secrets) VALUES (?, ?, ?, ?, ?)",
                (name, int(run.phase.ended), run.submitted_at, dump(run), ",".join(secrets)),
            )
        return run, True

    def record(
        self,
        name: str,
        kind: str,
        data: EventData | None = None,
        *,
        at: float | None = None,
        lease: Lease | None = None,
        attempt: int | None = None,
        submission: Submission | None = None,
    ) -> Run:
        """Append one event to a run's history, as `record_all` does."""
        events = [(kind, data or {})]
        return self.record_all(name, events, at=at, lease=lease, attempt=attempt, submission=submission)

    def record_all(
        self,
        name: str,
        events: Sequence[tuple[str, EventData]],
        *,
        at: float | None = None,
        lease: Lease | None = None,
        attempt: int | None = None,
        submission: Submission | None = None,
    ) -> Run:
        """Append events (kind, data) to a run's history, all or none, and return the run after them.

        What they say against or for a node changes the evidence against it, in the same transaction.
        An event that changes nothing, as any of a run that has ended, is left out. With `attempt`, nothing is recorded
        of a run that has gone on to another attempt meanwhile; with `submission`, nor of one whose attempt was handed
        over meanwhile. Raises JobError when there is no such run.
        """
        when = time.time() if at is None else at
        with self._transaction(lease) as connection:
            before = run = self.get(name)
            if run.removing:
                raise JobError(f"the run {name} is being removed", hint=f"orch rm {name} removes the rest of it")
            if attempt is not None and run.attempt != attempt:
                return run
            if submission is not None and run.submission != submission:
                return run
            for kind, data in events:
                event = Event(run=name, kind=kind, at=when, data=data)
                after = fold(run, event)
                if after is not run:
                    _insert(connection, event)
                    _judge_nodes(connection, after, event)
                run = after
            if run is not before:
                _write(connection, run)
        return run

    def update(self, changes: Mapping[str, EventData], *, lease: Lease | None = None) -> None:
        """Lay current values (step, loss, ...) over the snapshots of runs, by run name, without events."""
        if not changes:
            return
        with self._transaction(lease) as connection:
            for name, fields in changes.items():
                run = self.find(name)
                if run is not None:  # it may have been removed meanwhile
                    _write(connection, updated(run, fields))

    def begin_removal(self, name: str) -> None:
        """Record that a run shall be removed: nothing is recorded of it after that. Raises JobError if it lives."""
        with self._transaction() as connection:
            run = self.get(name)
            if not run.phase.ended:
                raise JobError(f"the run {name} has not ended: it is {run.phase.value}")
            _write(connection, dataclasses.replace(run, removing=True))

    def remove(self, name: str) -> None:
        """Delete a run whose removal has begun, and its events. The evidence against nodes stays."""
        with self._transaction() as connection:
            if self.get(name).removing:
                connection.execute("DELETE FROM runs WHERE name = ?", (name,))
                connection.execute("DELETE FROM events WHERE run = ?", (name,))
                _insert(connection, Event(run="", kind="removed", at=time.time(), data={"run": name}))

    def forgive(self, suspect: NodeRecord) -> bool:
        """Forget the evidence against a node; False when there is none."""
        with self._transaction() as connection:
            done = connection.execute(
                "DELETE FROM nodes WHERE cluster = ? AND node = ?", (suspect.cluster, suspect.node)
            )
            return done.rowcount > 0

    def hold(self, cluster: str, node: str) -> None:
        """Leave a node out until it is forgiven."""
        with self._transaction() as connection:
            known = _evidence(connection, cluster, node) or NodeRecord(cluster=cluster, node=node, at=time.time())
            _put_evidence(connection, dataclasses.replace(known, held=True))

    def note(self, kind: str, data: EventData, *, lease: Lease | None = None) -> None:
        """Record an event about the controller, not about a run."""
        with self._transaction(lease) as connection:
            _insert(connection, Event(run="", kind=kind, at=time.time(), data=data))

    # --- the controller's lease

    def lease(self) -> LeaseRow:
        with translating_errors(self.path):
            return leases.read(self._connection)

    def take_lease(self, holder: str, seen: LeaseRow) -> Lease | None:
        """Become the holder if the row is still as seen, else None."""
        with self._transaction() as connection:
            return leases.take(connection, holder, seen)

    def renew_lease(self, lease: Lease) -> LeaseRow:
        """Show that the holder lives; raises LeaseLostError."""
        with self._transaction() as connection:
            return leases.renew(connection, lease)

    def release_lease(self, lease: Lease, *, unless_unfinished: bool = False) -> bool:
        """Leave. With `unless_unfinished`, not while a run is unfinished: then False. Raises LeaseLostError."""
        with self._transaction() as connection:
            if unless_unfinished and connection.execute("SELECT 1 FROM runs WHERE ended = 0 LIMIT 1").fetchone():
                return False
            leases.release(connection, lease)
        return True

    def ask_controller_to_leave(self) -> None:
        with self._transaction() as connection:
            leases.ask_to_leave(connection)


def _insert(connection: sqlite3.Connection, event: Event) -> None:
    connection.execute(
        "INSERT INTO events (run, kind, at, data) VALUES (?, ?, ?, ?)",
        (event.run, event.kind, event.at, dump(event.data)),
    )


def _write(connection: sqlite3.Connection, run: Run) -> None:
    connection.execute(
        "UPDATE runs SET ended = ?, snapshot = ? WHERE name = ?", (int(run.phase.ended), dump(run), run.name)
    )


def _judge_nodes(connection: sqlite3.Connection, run: Run, event: Event) -> None:
    """Lay what an event of a run says of nodes over the evidence against them."""
    new = nodes.blame(run, event)
    if new is not None:
        _put_evidence(connection, nodes.after(_evidence(connection, new.cluster, new.node), new))
    generation, hosts = nodes.good(event)
    for host in hosts:
        known = _evidence(connection, run.cluster, host)
        left = nodes.cleared(known, run.name, generation) if known is not None else None
        if left is not None:
            _put_evidence(connection, left)
        elif known is not None:
            connection.execute("DELETE FROM nodes WHERE cluster = ? AND node = ?", (run.cluster, host))


def _evidence(connection: sqlite3.Connection, cluster: str, node: str) -> NodeRecord | None:
    query = "SELECT evidence FROM nodes WHERE cluster = ? AND node = ?"
    row = connection.execute(query, (cluster, node)).fetchone()
    return load(NodeRecord, row[0]) if row is not None else None


def _put_evidence(connection: sqlite3.Connection, suspect: NodeRecord) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO nodes (cluster, node, evidence) VALUES (?, ?, ?)",
        (suspect.cluster, suspect.node, dump(suspect)),
    )
