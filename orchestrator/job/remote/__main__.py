"""python -m orchestrator.job.remote: performs the operations on stdin and answers on stdout. See `wire` for both."""

from __future__ import annotations

import sys

from orchestrator.job.remote import wire
from orchestrator.job.remote.operations import perform_for_another


def main() -> None:
    """Serve one request."""
    operations = wire.unpack(sys.stdin.buffer.read())
    sys.stdout.write(wire.BEGUN)
    sys.stdout.flush()
    answers = [perform_for_another(operation) for operation in operations]
    sys.stdout.write(wire.reply(answers))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
