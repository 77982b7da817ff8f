"""Log records: what they belong to, how a line looks, and where lines go.

Each module that touches the world has a logger of its own. Importing `logging` costs more than all of `orch status`, so
here it is imported only where a log is set up: other commands are spared the import.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    import logging

MAX_BYTES, KEPT = 10_000_000, 3  # of the controller's log: when it is rotated, and how many old ones stay
# Records of other packages are dropped: the Kubernetes client's hold whole answers, secrets included.
ROOT = "orchestrator"

_run: ContextVar[str | None] = ContextVar("run", default=None)
_cluster: ContextVar[str | None] = ContextVar("cluster", default=None)


@contextlib.contextmanager
def about(*, run: str | None = None, cluster: str | None = None) -> Iterator[None]:
    """Records that are made in the block belong to a run, a cluster or both."""
    tokens = _run.set(run or _run.get()), _cluster.set(cluster or _cluster.get())
    try:
        yield
    finally:
        _run.reset(tokens[0])
        _cluster.reset(tokens[1])


def info(logger: str, message: str) -> None:
    """A record of what was done, on a path that is too short for an import of `logging`."""
    if "logging" in sys.modules:
        import logging

        logging.getLogger(logger).info("%s", message)


def call(logger: str, what: str, began: float, status: object, *, cluster: str | None = None) -> None:
    """One debug record of a call that has left this process: since `began` (monotonic), and how it ended.

    `what` must hold nothing secret: no values of an environment, no input.
    """
    record_call(logger, what, (time.monotonic() - began) * 1000, status, cluster=cluster)


def record_call(logger: str, what: str, milliseconds: float, status: object, *, cluster: str | None = None) -> None:
    """As `call`, for a call that was measured elsewhere."""
    if "logging" not in sys.modules:  # no log is set up
        return
    import logging

    fields = {"call": what, "duration_ms": round(milliseconds, 1), "status": status}
    with about(cluster=cluster):
        logging.getLogger(logger).debug("%s: %s in %.0f ms", what, status, milliseconds, extra=fields)


def level_of(verbosity: int) -> str:
    """What -v, given so many times, asks for."""
    return "info" if verbosity == 1 else "debug"


def to_stderr(level: str, form: str = "text") -> None:
    """Log to stderr from `level` on."""
    import logging

    _install(logging.StreamHandler(), level, form)


def to_file(path: Path, level: str, form: str = "text", *, max_bytes: int = MAX_BYTES) -> None:
    """Log to a file from `level` on; the file is rotated. Raises OSError."""
    from logging.handlers import RotatingFileHandler

    _install(RotatingFileHandler(path, maxBytes=max_bytes, backupCount=KEPT, encoding="utf-8"), level, form)


def _install(handler: logging.Handler, level: str, form: str) -> None:
    import logging

    handler.setFormatter(_formatter(form))
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())


def _formatter(form: str) -> logging.Formatter:
    import json
    import logging

    class Text(logging.Formatter):
        """2026-11-30T22:45:01Z INFO run=tiny cluster=hpc message."""

        def format(self, record: logging.LogRecord) -> str:
            about = "".join(f"{name}={value} " for name, value in _about().items())
            line = f"{self._time(record)} {record.levelname} {about}{record.getMessage()}"
            trace = self._trace(record)
            return f"{line}\n{trace}" if trace else line

        def _trace(self, record: logging.LogRecord) -> str:
            """Of an exception, or as it came from the other side of ssh."""
            return self.formatException(record.exc_info) if record.exc_info else str(getattr(record, "traceback", ""))

        def _time(self, record: logging.LogRecord) -> str:
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))

    class Json(Text):
        """One JSON object a line."""

        def format(self, record: logging.LogRecord) -> str:
            line = {"time": self._time(record), "level": record.levelname, "logger": record.name, **_about()}
            line["message"] = record.getMessage()
            line.update({name: record.__dict__[name] for name in _EXTRA if name in record.__dict__})
            if trace := self._trace(record):
                line["traceback"] = trace
            return json.dumps(line, default=str)

    return Json() if form == "json" else Text()


_EXTRA = ("call", "duration_ms", "status")


def _about() -> dict[str, str]:
    found = {"run": _run.get(), "cluster": _cluster.get()}
    return {name: value for name, value in found.items() if value}
