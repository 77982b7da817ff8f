"""The controller's lease: a row with a holder and a counter. A holder whose counter stands still may be replaced.

Clocks of two machines are never compared: a reader watches the counter on its own monotonic clock. Every write of a
controller names its lease, and the store refuses it once another holder has the next term.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from orchestrator.errors import StoreError

STANDING_STILL = 20.0  # seconds after which a counter that did not move counts as dead
NAME = "controller"


class LeaseLostError(StoreError):
    """Another controller took over: nothing may be written any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What a holder shows with each of its writes."""

    holder: str
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    """The row as read. `holder` is None if it is free; `leave`: the holder was asked to leave."""

    holder: str | None
    term: int
    counter: int
    leave: bool


def read(connection: sqlite3.Connection) -> LeaseRow:
    row = connection.execute("SELECT holder, term, counter, leave FROM leases WHERE name = ?", (NAME,)).fetchone()
    if row is None:
        return LeaseRow(holder=None, term=0, counter=0, leave=False)
    return LeaseRow(holder=row[0], term=row[1], counter=row[2], leave=bool(row[3]))


def take(connection: sqlite3.Connection, holder: str, seen: LeaseRow) -> Lease | None:
    """Become the holder if the row is still as seen, else None. The caller has judged that `seen` is free or dead.

    Runs inside the caller's transaction.
    """
    if read(connection) != seen:
        return None
    lease = Lease(holder=holder, term=seen.term + 1)
    connection.execute(
        "INSERT INTO leases (name, holder, term, counter, leave) VALUES (?, ?, ?, 0, 0)"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, term = excluded.term, counter = 0, leave = 0",
        (NAME, holder, lease.term),
    )
    return lease


def check(connection: sqlite3.Connection, lease: Lease) -> None:
    """Raise LeaseLostError unless `lease` still holds. Runs inside the caller's transaction."""
    row = read(connection)
    if row.holder != lease.holder or row.term != lease.term:
        raise LeaseLostError(
            f"the controller {lease.holder} was replaced by {row.holder or 'nobody'} (term {row.term})"
        )


def renew(connection: sqlite3.Connection, lease: Lease) -> LeaseRow:
    """Move the counter and return the row; raises LeaseLostError. Runs inside the caller's transaction."""
    check(connection, lease)
    connection.execute("UPDATE leases SET counter = counter + 1 WHERE name = ?", (NAME,))
    return read(connection)


def release(connection: sqlite3.Connection, lease: Lease) -> None:
    """Leave the lease to anybody; raises LeaseLostError. Runs inside the caller's transaction."""
    check(connection, lease)
    connection.execute("UPDATE leases SET holder = NULL, leave = 0 WHERE name = ?", (NAME,))


def ask_to_leave(connection: sqlite3.Connection) -> None:
    """Ask the holder to leave."""
    connection.execute("UPDATE leases SET leave = 1 WHERE name = ? AND holder IS NOT NULL", (NAME,))
