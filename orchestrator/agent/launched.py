"""Runs a launcher's module in this process, so that it dies with its agent: launched AGENT MODULE ARGUMENTS.

SIGUSR1 is ignored from here on: a scheduler that sends it to every process would end torchrun at once and leave its
workers running. A rank that understands it sets its own handler.
"""

from __future__ import annotations

import runpy
import signal
import sys

from orchestrator.agent.linux import die_with_parent


def main() -> None:
    """Does not return before the launcher does."""
    agent, module, *arguments = sys.argv[1:]
    die_with_parent(int(agent))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
