"""python -m orchestrator.job.remote: performs the calls on stdin and answers on stdout. See `wire` for both forms."""

from __future__ import annotations

import sys

from orchestrator.job.remote import wire
from orchestrator.job.remote.operations import perform


def main() -> None:
    """Serves one request."""
    calls = wire.request(sys.stdin.buffer.read())
    sys.stdout.write(wire.BEGUN)
    sys.stdout.flush()
    answers = perform(calls)
    sys.stdout.write(wire.reply(answers))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
