"""The SQLite file: opened with the right journal, its format checked, its errors as sentences."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import StoreError
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.system import proc
from orchestrator.store.mounts import on_network

FORMAT = 2
BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    name TEXT PRIMARY KEY,
    ended INTEGER NOT NULL,
    submitted_at REAL NOT NULL,
    snapshot TEXT NOT NULL,
    secrets TEXT NOT NULL
);
CREATE INDEX runs_open ON runs (name) WHERE ended = 0;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX events_of_run ON events (run, seq);
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT,
    term INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    leave INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""
_NODES = """
CREATE TABLE nodes (
    cluster TEXT NOT NULL,
    node TEXT NOT NULL,
    evidence TEXT NOT NULL,
    PRIMARY KEY (cluster, node)
) WITHOUT ROWID;
"""
_STEPS = {1: _SCHEMA, 2: _NODES}  # what each format has beyond the one before it


def connect(path: Path) -> sqlite3.Connection:
    """Open the store's file, made when it is missing. Raises StoreError."""
    with translating_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(
                f"cannot make the directory of the store, {path.parent}: {error.strerror}",
                hint="set ORCH_HOME to a directory that you may write to",
            ) from error
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found < FORMAT:
        _bring_up(connection, path)
    elif found > FORMAT:
        raise StoreError(
            f"the store {path} has format {found}, made by a newer orch; this one reads format {FORMAT}",
            hint="use the newer orch, or set ORCH_HOME to another directory",
        )
    connection.execute("PRAGMA synchronous = FULL")


def _bring_up(connection: sqlite3.Connection, path: Path) -> None:
    """Make what an empty file, or one of an older format, does not have."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
        # WAL shares memory between processes, which a network file system cannot do between machines.
        journal = "DELETE" if on_network(proc.read("mounts"), str(path.parent.resolve())) else "WAL"
        connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.execute("BEGIN IMMEDIATE")
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    for number in range(found + 1, FORMAT + 1):
        for statement in _STEPS[number].split(";\n"):
            if statement.strip():
                connection.execute(statement)
    if found == 0:
        connection.execute("INSERT INTO meta VALUES ('store_id', ?)", (os.urandom(6).hex(),))
    if found < FORMAT:
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")


@contextlib.contextmanager
def translating_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StoreError with what to do next."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"the store {path} cannot be used: {error}", hint=_hint(str(error), path)) from error
    except RecordError as error:
        raise StoreError(
            f"the store {path} has a record that this orch cannot read: {error}",
            hint="use the version of orch that wrote it, or set ORCH_HOME to another directory",
        ) from error


def _hint(message: str, path: Path) -> str:
    hints = (
        ("locked", f"another process has held it for {BUSY_SECONDS:.0f} s; see who with: fuser {path}"),
        ("readonly", "set ORCH_HOME to a directory that you may write to"),
        ("unable to open", "check that ORCH_HOME names a directory that you may write to"),
        ("full", f"free some space on the disk of {path.parent}"),
        ("malformed", f"it is damaged: move {path} away; the runs' own directories are not touched by that"),
        (
            "not a database",
            f"it is damaged or not orch's: move {path} away; the runs' own directories are not touched by that",
        ),
        ("disk I/O", f"the disk of {path.parent} reports errors"),
    )
    for text, hint in hints:
        if text in message:
            return hint
    return f"look at {path}, or set ORCH_HOME to another directory"
