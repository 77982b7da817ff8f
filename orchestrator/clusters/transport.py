"""Where operations are performed: in this process, or through the system's ssh.

However many operations are performed together, the other side starts one process for them; connections are shared, so
that one login (and one second factor) serves all.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

from orchestrator import job
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.job.protocol.operations import SECONDS, Operation
from orchestrator.job.protocol.operations.commands import CommandResult, RunCommand
from orchestrator.job.remote.operations import Bug, Failure, perform
from orchestrator.system import logs

A = TypeVar("A")
B = TypeVar("B")

CONNECT_SECONDS = 15
PERSIST = "4h"  # a shared connection lives on so long after its last use
NOT_INSTALLED = 79  # what the other side answers where this version's library is not there yet
SSH_FAILED = 255
_SOCKET_NAME = 64  # bytes of a control socket's name, with what ssh adds while it makes one
_SOCKET_PATH = 104  # the least that a system allows for the path of a socket


class RemoteBug(Exception):
    """A mistake of orch's, made on the other side of ssh, with the traceback from there."""


class Transport(Protocol):
    """A way to perform operations of `orchestrator.job.remote` where a cluster is."""

    where: str  # for messages

    def call_all(self, operations: Sequence[Operation[A]], *, seconds: float = SECONDS) -> list[A]:
        """The answers to some operations, performed in their order. `seconds`: that their work may take.

        Raises ClusterError when one failed, and Unreachable where that may pass, or what was done is unknown.
        """

    @overload
    def call(self, first: Operation[A], /, *, seconds: float = SECONDS) -> A: ...
    @overload
    def call(self, first: Operation[A], second: Operation[B], /, *, seconds: float = SECONDS) -> tuple[A, B]: ...
    def call(self, *operations: Operation[Any], seconds: float = SECONDS) -> Any:
        """The answer to an operation, or to two that are performed together."""
        answers = self.call_all(operations, seconds=seconds)
        return answers[0] if len(operations) == 1 else tuple(answers)


class LocalTransport(Transport):
    """This machine."""

    where = "this machine"

    def call_all(self, operations: Sequence[Operation[A]], *, seconds: float = SECONDS) -> list[A]:
        return [_value(operation, perform(operation), self.where) for operation in operations]


class SshTransport(Transport):
    """A machine behind the system's ssh. `python` is an interpreter there, 3.9 or newer."""

    def __init__(
        self, destination: str, *, config: str | None = None, python: str | None = None, interactive: bool = False
    ) -> None:
        self.where = destination
        self._config = config
        self._python = python or "python3"
        self._interactive = interactive

    def call_all(self, operations: Sequence[Operation[A]], *, seconds: float = SECONDS) -> list[A]:
        from orchestrator.job.remote import wire

        request = wire.pack(operations)
        what = ", ".join(type(operation).__name__ for operation in operations)
        done = self._execute(_start_command(self._python), request, seconds, what)
        if done.returncode == NOT_INSTALLED:
            self._install()
            done = self._execute(_start_command(self._python), request, seconds, what)
        output = done.stdout.decode(errors="replace")
        answers = wire.answers_in(output, operations)
        if answers is None and (wire.has_begun(output) or done.returncode < 0):
            raise Unreachable(f"{self.where} broke off in the middle of an answer: {_last_message(done)}")
        if answers is None:
            raise self._no_answer(done)
        return [_value(*done_there, self.where) for done_there in zip(operations, answers, strict=False)]

    def open(self) -> None:
        """Make the shared connection; an interactive one asks at the terminal for a password or a second factor."""
        self._execute("true", b"", 600.0, "login")

    def close(self) -> None:
        """End the shared connection, if there is one."""
        subprocess.run([*self._ssh(), "-O", "exit", "--", self.where], capture_output=True, check=False)

    def _install(self) -> None:
        done = self._execute(_install_command(self._python), library(), SECONDS, "installation")
        if done.returncode != 0:
            raise self._no_answer(done)

    def _execute(self, command: str, content: bytes, seconds: float, what: str) -> subprocess.CompletedProcess[bytes]:
        what, began = f"ssh {self.where}: {what}", time.monotonic()
        try:
            argv = [*self._ssh(), "-T", "--", self.where, command]
            done = subprocess.run(
                argv, input=content, capture_output=True, timeout=seconds + CONNECT_SECONDS, check=False
            )
        except FileNotFoundError as error:
            raise ClusterError("there is no ssh on this machine", hint="install OpenSSH's client") from error
        except subprocess.TimeoutExpired as late:
            logs.call(__name__, what, began, "no answer")
            raise Unreachable(f"{self.where} did not answer within {late.timeout:.0f} s") from late
        logs.call(__name__, what, began, f"exit status {done.returncode}")
        if done.returncode == SSH_FAILED:
            raise Unreachable(f"ssh to {self.where} failed: {_last_line(done.stderr)}", hint=_advice(done.stderr))
        return done

    def _ssh(self) -> list[str]:
        options = [] if self._interactive else ["-o", "BatchMode=yes"]
        options += ["-o", f"ConnectTimeout={CONNECT_SECONDS}", "-o", "ServerAliveInterval=10"]
        config = ["-F", self._config] if self._config else []
        return ["ssh", *config, *options, *_sharing(self.where, self._config)]

    def _no_answer(self, done: subprocess.CompletedProcess[bytes]) -> ClusterError:
        return ClusterError(
            f"{self.where}: {self._python} did not do what it was asked: {_last_message(done)}",
            hint="set `python` in the cluster's profile to a Python of 3.9 or newer on that machine",
        )


def _value(operation: Operation[Any], answer: Any, where: str) -> Any:
    if isinstance(operation, RunCommand) and isinstance(answer, CommandResult):
        log_command(operation, answer)
    if isinstance(answer, Failure):
        raise (Unreachable if answer.passing else ClusterError)(f"{where}: {answer.message}")
    if isinstance(answer, Bug):
        raise RemoteBug(f"{answer.traceback.strip().splitlines()[-1]} (on {where})\n{answer.traceback}")
    return answer


def log_command(command: RunCommand, result: CommandResult) -> None:
    """A debug line for a scheduler's command."""
    ended = "no end in time" if result.status is None else f"exit status {result.status}"
    logs.record_call(__name__, shlex.join(command.argv), result.seconds * 1000, ended)


def _last_message(done: subprocess.CompletedProcess[bytes]) -> str:
    return _last_line(done.stderr) or f"exit status {done.returncode}"


def _last_line(content: bytes) -> str:
    lines = [line.strip() for line in content.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _advice(stderr: bytes) -> str:
    text = stderr.decode(errors="replace")
    if "Permission denied" in text:
        return (
            "see that your key is accepted there; a password or second factor is asked for by: orch clusters check NAME"
        )
    if "Host key verification failed" in text:
        return "log in once by hand with ssh, and compare the host's key before you accept it"
    return "see that ssh to it works by hand, without a question"


@functools.lru_cache(maxsize=256)
def _sharing(destination: str, config: str | None) -> tuple[str, ...]:
    """Options that share connections; none where the user's own configuration does that already."""
    asked = subprocess.run(
        ["ssh", *(["-F", config] if config else []), "-G", "--", destination],
        capture_output=True,
        text=True,
        check=False,
    )
    if any(line.startswith("controlpath ") and line != "controlpath none" for line in asked.stdout.splitlines()):
        return ()
    directory = socket_directory()
    if directory is None:
        return ()
    path = f"ControlPath={directory}/%C"
    return ("-o", "ControlMaster=auto", "-o", path, "-o", f"ControlPersist={PERSIST}")


def socket_directory() -> str | None:
    """A directory of this user's alone whose name is short enough for sockets; None where there is none."""
    import tempfile

    path = Path(tempfile.gettempdir()) / f"orch-ssh-{os.getuid()}"
    with contextlib.suppress(OSError):
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        mine = status.st_uid == os.getuid() and not path.is_symlink() and not status.st_mode & 0o077
        if mine and len(os.fsencode(path)) + _SOCKET_NAME <= _SOCKET_PATH:
            return str(path)
    return None


# One line each, without double quotes, dollars and the like: any login shell must take it between double quotes.
_START = (
    "import os,sys; d=os.path.expanduser('~/.cache/orch/site-{digest}'); os.path.isdir(d) or sys.exit({missing}); "
    "sys.path.insert(0,d); from orchestrator.job.remote.__main__ import main; main()"
)
_INSTALL = (
    "import io,os,shutil,subprocess,sys,tempfile,zipfile; c=os.path.expanduser('~/.cache/orch'); "
    "os.makedirs(c,exist_ok=True); t=tempfile.mkdtemp(dir=c); d=os.path.join(c,'site-{digest}'); "
    "zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())).extractall(t); "
    # Two may install at once: one of the renames fails, and all is well.
    "subprocess.call(['mv','-T',t,d],stderr=subprocess.DEVNULL); shutil.rmtree(t,True); sys.exit(not os.path.isdir(d))"
)


def _start_command(python: str) -> str:
    return _python_command(python, _START.format(digest=_digest(), missing=NOT_INSTALLED))


def _install_command(python: str) -> str:
    return _python_command(python, _INSTALL.format(digest=_digest()))


def _python_command(python: str, program: str) -> str:
    quoted = "'" + python.replace("'", "'\\''") + "'"
    return f'exec {quoted} -c "{program}"'


@functools.cache
def library() -> bytes:
    """A zip archive of what runs on the other side."""
    import zipfile

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in job.modules():
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return content.getvalue()


@functools.cache
def _digest() -> str:
    return hashlib.sha256(library()).hexdigest()[:16]
