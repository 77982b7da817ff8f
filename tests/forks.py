"""Processes of the real program, forked from one that has imported it: each command has a process and no start-up.

Importing what `orch plan` needs takes a hundred times as long as planning. A fork has arguments, an environment, a
directory and streams of its own and ends as the interpreter ends, so a test sees what it would see of a new process.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TypedDict

ROOT = Path(__file__).parents[1]
AT_START = ("PYTHON", "LC_", "LANG", "TZ", "LD_")  # variables that a process reads once, when it starts
SLOW = ("orchestrator.training", "orchestrator.job.training", "orchestrator.submitit", "orchestrator.__main__")
SIZE = 1 << 20  # bytes of the longest request


class Request(TypedDict):
    """One command."""

    arguments: list[str]
    cwd: str
    env: dict[str, str]


def run(
    arguments: tuple[str, ...], *, cwd: Path | None, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """`orch ARGUMENTS` in a process of its own, to its end."""
    server = _server()
    with Path(os.devnull).open() as nothing:
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        request = Request(arguments=list(arguments), cwd=str(cwd or Path.cwd()), env=dict(env))
        socket.send_fds(server, [json.dumps(request).encode()], [nothing.fileno(), out_end, err_end])
    os.close(out_end)
    os.close(err_end)
    pid = int(server.recv(SIZE))
    try:
        said = _read({out: b"", err: b""}, until=time.monotonic() + timeout)
    except BaseException as error:  # also the time limit of the test
        os.kill(pid, signal.SIGKILL)
        if isinstance(error, TimeoutError):
            raise subprocess.TimeoutExpired(["orch", *arguments], timeout) from None
        raise
    finally:
        os.close(out)
        os.close(err)
        status = os.waitstatus_to_exitcode(int(server.recv(SIZE)))
    return subprocess.CompletedProcess(["orch", *arguments], status, _text(said[out]), _text(said[err]))


def _text(data: bytes) -> str:
    return data.decode().replace("\r\n", "\n").replace("\r", "\n")


def _read(said: dict[int, bytes], *, until: float) -> dict[int, bytes]:
    """All that comes out of pipes, until nobody holds their other ends."""
    with selectors.DefaultSelector() as open_pipes:
        for pipe in said:
            open_pipes.register(pipe, selectors.EVENT_READ)
        while open_pipes.get_map():
            ready = open_pipes.select(max(0.0, until - time.monotonic()))
            if not ready and time.monotonic() >= until:
                raise TimeoutError
            for key, _ in ready:
                if data := os.read(key.fd, SIZE):
                    said[key.fd] += data
                else:
                    open_pipes.unregister(key.fd)
    return said


@functools.cache
def _server() -> socket.socket:
    """The process that forks, which ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    env = {name: value for name, value in os.environ.items() if name.startswith(AT_START)}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        env={**env, "PYTHONPATH": str(ROOT)},
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(requests: socket.socket) -> Request | None:
    """Returns in each fork what it is to run, and None when nobody will ask any more."""
    while True:
        data, streams, _, _ = socket.recv_fds(requests, SIZE, 3)
        if not data:
            return None
        if (pid := os.fork()) == 0:
            requests.close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            asked: Request = json.loads(data)
            return asked
        for stream in streams:
            os.close(stream)
        requests.send(str(pid).encode())
        requests.send(str(os.waitpid(pid, 0)[1]).encode())


def main() -> None:
    import orchestrator

    for module in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
        if not module.name.startswith(SLOW):
            import_module(module.name)
    gc.freeze()
    asked = _serve(socket.socket(fileno=int(sys.argv[1])))
    if asked is not None:
        os.environ.clear()
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115 - open as long as the process runs
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115 - the same
        sys.argv = ["orch", *asked["arguments"]]
        runpy.run_module("orchestrator", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
