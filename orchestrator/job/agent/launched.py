"""Runs a launcher's module in this process, so that it dies with its agent: launched AGENT MODULE ARGUMENTS.

A scheduler may send its signals to every process of a job. SIGUSR1 would end torchrun at once and leave its workers
running, so it is ignored from here on; a rank that understands it sets its own handler. After a SIGTERM torchrun gives
its workers 30 s, even where the scheduler gives more, so it is blocked until `rank` lets it through.
"""

from __future__ import annotations

import runpy
import signal
import sys

from orchestrator.job.agent.linux import die_with_parent


def main() -> None:
    """Does not return before the launcher does."""
    agent, module, *arguments = sys.argv[1:]
    die_with_parent(int(agent))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
