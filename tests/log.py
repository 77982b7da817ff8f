"""A log on stderr for the length of a test."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from orchestrator.system import logs


@contextlib.contextmanager
def cleared() -> Iterator[None]:
    """Take back what the block does to orch's log."""
    logger = logging.getLogger(logs.ROOT)
    try:
        yield
    finally:
        for handler in logger.handlers:
            handler.close()
        logger.handlers[:] = []
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


@contextlib.contextmanager
def to_stderr(level: str = "info") -> Iterator[None]:
    with cleared():
        logs.to_stderr(level)
        yield
