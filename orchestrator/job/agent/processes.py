"""The agent's processes: its launcher, the signals it gets, and what a launcher has left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path
from types import FrameType
from typing import Mapping, Sequence

from orchestrator.job.system import proc

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
KILL_SECONDS = 15.0  # a process that does not die of SIGKILL by then waits for a device


class Inbox:
    """Signals to this agent. `stop` is the first request to stop; the end of a child only wakes `wait`."""

    def __init__(self) -> None:
        self.stop: signal.Signals | None = None
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        os.set_blocking(self._read, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, self._on_child)

    def wait(self, seconds: float) -> None:
        """Returns after `seconds`, or at once when a signal comes or has come since the last wait."""
        if select.select([self._read], [], [], seconds)[0]:
            os.read(self._read, 4096)

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        self.stop = self.stop or signal.Signals(number)

    def _on_child(self, _number: int, _frame: FrameType | None) -> None:
        """Exists so that the signal wakes `wait`."""


class Launcher:
    """A launcher in a session of its own, with all that it started. Must be ended by `kill`.

    `mark` holds variables of the environment of all its processes, by which they are found again wherever they have
    gone: torchrun gives every rank a session of its own.
    """

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path, mark: Mapping[str, str]
    ) -> None:
        self._mark = mark
        self.status: int | None = None  # as subprocess gives it: negative is a signal
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(argv),
                env={**env, **mark},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def reap(self) -> None:
        """Reap exited children: the launcher, adopted orphans and, as PID 1, any process."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status = self._process.returncode = os.waitstatus_to_exitcode(status)

    def kill(self, also: Sequence[int] = ()) -> list[int]:
        """SIGKILL to everything that the launcher started, and to `also`; returns what still runs after a while."""
        if self.status is None:
            os.killpg(self.pid, signal.SIGKILL)

        def left() -> list[int]:
            self.reap()
            found = set(marked(self._mark))
            found.update(pid for pid in (*also, self.pid) if proc.is_running(pid) and self._is_ours(pid))
            return sorted(found)

        return proc.kill_all(left, seconds=KILL_SECONDS)

    def _is_ours(self, pid: int) -> bool:
        """Guards against a process id that the kernel has reused."""
        environment = proc.environment(pid)
        return not environment or _bears(environment, self._mark)


def marked(mark: Mapping[str, str]) -> list[int]:
    """Running processes that were started with all of these variables."""
    return proc.find(lambda environment: _bears(environment, mark))


def _bears(environment: Mapping[str, str], mark: Mapping[str, str]) -> bool:
    return all(environment.get(name) == value for name, value in mark.items())


def sweep(root: Path, node: int) -> list[int]:
    """Ends children of ranks of earlier generations in `root`, left behind by dead agents of this node.

    Processes of an agent that lives, or is only stopped, are left to the fence.
    """
    prefix = str(root / "generations") + os.sep

    def is_orphan(environment: Mapping[str, str]) -> bool:
        agent = environment.get("ORCH_AGENT_PID", "")
        return (
            environment.get("ORCH_GENERATION_DIR", "").startswith(prefix)
            and environment.get("ORCH_NODE") == str(node)
            and agent.isdigit()
            and not proc.is_running(int(agent))
        )

    before = proc.find(is_orphan)
    proc.kill_all(lambda: proc.find(is_orphan), seconds=KILL_SECONDS)
    return before
