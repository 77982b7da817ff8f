"""Agents as detached processes on a list of hosts: which hosts an attempt uses, its start on one of them, its signals.

A slot is the place of one node's agent on one host; it is used once. Whether its agent lives is told by the processes
of that host, which carry the start in their environment, and by no file: locks of network file systems differ too much.

attempts/000001/
    token.json     random: a host that reads another one, or none, sees another directory under the same name
    hosts.json     the hosts of the attempt, by node; created once, before anything is started
    hostfile       the same for those who read a hostfile
    slot-0.json    written once node 0's agent was started: {"pid", "host"}
    agent-0.log    what it printed
    ended-0.json   written by it as its last act
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterator

from orchestrator.job.protocol import encoding
from orchestrator.job.protocol.operations import (
    CheckHost,
    Choice,
    ChosenHosts,
    HostFacts,
    Interpreter,
    Kill,
    ReadHosts,
    ReadSlots,
    ReadToken,
    Remaining,
    Slot,
    Slots,
    Start,
    Terminate,
    Token,
)
from orchestrator.job.remote import attempts
from orchestrator.job.system import proc
from orchestrator.job.system.atomic import create_json, read_json, write, write_json

START = "ORCH_START"  # carried by every process of a start; those that an agent starts have more behind a slash
SLOT = "ORCH_SLOT"
HOSTS = "hosts.json"
HOSTFILE = "hostfile"
TOKEN = "token.json"  # noqa: S105 - a name of a file
SCRIPT = "bundle/agent.sh"

KILL_SECONDS = 10.0
LOCK_SECONDS = 20.0
SEE_SECONDS = 5.0  # that a network file system may take to show a file that another host has just made
CHECK_SECONDS = 60.0
_TOO_LONG = 2000  # characters of what a check printed that are worth keeping

# Of the session in which an agent is started; its own would be wrong words for it.
_SESSION = ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_AUTH_SOCK", "SSH_ORIGINAL_COMMAND")


def read_token(request: ReadToken) -> Token:
    """The attempt's token, made by the first who asks, and the hosts that were chosen, if they were. Raises OSError.

    Where the disk is full, an attempt that was begun is still met: else it would look like one that cannot begin.
    """
    place = attempts.directory(request)
    if read_json(place / TOKEN) is None:
        create_json(place / TOKEN, {"token": os.urandom(16).hex()})
    return Token((read_json(place / TOKEN) or {}).get("token"), _chosen(place))


def read_hosts(request: ReadHosts) -> Choice:
    """Raises OSError."""
    return Choice(_chosen(attempts.directory(request)))


def _chosen(place: Path) -> ChosenHosts | None:
    found = read_json(place / HOSTS)
    return None if found is None else encoding.from_json(ChosenHosts, found, where=str(place / HOSTS))


def check(request: CheckHost) -> HostFacts:
    """Raises OSError."""
    place = attempts.directory(request)
    connection = os.environ.get("SSH_CONNECTION", "").split()
    address = connection[2] if len(connection) == 4 else None
    sees = _sees(place, request.token)
    python, printed = _interpreter(place / SCRIPT) if sees else (None, "")
    return HostFacts(os.uname().nodename, address, sees, python, printed)


def start(request: Start) -> Choice:
    """Raises OSError. Where hosts.json holds another choice, or the attempt was asked to stop, nothing is started."""
    place, chosen = attempts.directory(request), request.chosen
    create_json(place / HOSTS, encoding.to_json(chosen))
    recorded = _chosen(place)
    if recorded != chosen or attempts.is_asked(place):
        return Choice(recorded)
    hostfile = "".join(f"{host.name} slots={host.slots}\n" for host in chosen.hosts)
    write(place / HOSTFILE, hostfile.encode(), sync=False)  # hosts.json has the same, and is on the disk
    with _alone(chosen.start):
        for node in request.nodes:
            if _state(place, node, chosen.start) == "unused":
                pid = _launch(request, place, node)
                write_json(place / f"slot-{node}.json", {"pid": pid, "host": os.uname().nodename})
    if attempts.is_asked(place):  # since the first check: whoever requested it may not have found these agents yet
        terminate(Terminate(chosen.start))
    return Choice(recorded)


def slots(request: ReadSlots) -> Slots:
    """Raises OSError."""
    place = attempts.directory(request)
    return Slots(tuple(Slot(node, _state(place, node, request.start)) for node in request.nodes))


def terminate(request: Terminate) -> Remaining:
    """Send SIGTERM to the agents, and wait for none of them."""
    pids = [pid for pid, _ in _agents(request.start)]
    for pid in pids:
        proc.send(pid, signal.SIGTERM)
    return Remaining(tuple(pids))


def kill(request: Kill) -> Remaining:
    return Remaining(tuple(proc.kill_all(lambda: proc.carriers(f"{START}={request.start}"), seconds=KILL_SECONDS)))


def _launch(request: Start, place: Path, node: int) -> int:
    environment = {name: value for name, value in os.environ.items() if name not in _SESSION}
    environment.update(request.environment)
    environment.update({START: request.chosen.start, SLOT: str(node), "PYTHONUNBUFFERED": "1"})
    environment.update({"ORCH_HOST": request.chosen.hosts[node].name, "ORCH_HOSTFILE": str(place / HOSTFILE)})
    argv = ["bash", str(place / SCRIPT), "--detached", "--run-dir", request.dir, "--node", str(node)]
    argv += ["--attempt", str(request.attempt), "--start", request.chosen.start, *request.arguments]
    with (place / f"agent-{node}.log").open("ab") as log:
        # A session of its own: the end of this one, and of ssh, says nothing to it.
        process = subprocess.Popen(
            argv,
            env=environment,
            cwd=request.dir,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process.pid


def _state(place: Path, node: int, start_id: str) -> str:
    """Processes first: what an agent wrote before it ended is then there."""
    if any(slot == str(node) for _, slot in _agents(start_id)):
        return "live"
    used = any((place / name).exists() for name in (f"slot-{node}.json", f"ended-{node}.json"))
    return "gone" if used else "unused"


def _agents(start_id: str) -> Iterator[tuple[int, str]]:
    """(process, slot) of the agents of a start. Each leads a session; a helper that it has started does not."""
    for pid in proc.find(lambda environment: environment.get(START) == start_id):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == pid:
                yield pid, proc.environment(pid).get(SLOT, "")


def _sees(place: Path, token: str) -> bool:
    end = time.monotonic() + SEE_SECONDS
    while True:
        read = read_json(place / TOKEN)
        if read is not None and (place / SCRIPT).exists():
            return bool(read.get("token") == token)
        if time.monotonic() > end:
            return False
        time.sleep(0.2)


def _interpreter(script: Path) -> tuple[Interpreter | None, str]:
    """What the job's interpreter says of itself after the setup lines, else what was printed in its place."""
    try:
        done = subprocess.run(
            ["bash", str(script), "--check"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"nothing within {CHECK_SECONDS:.0f} s"
    except FileNotFoundError:
        return None, "there is no bash"
    said = done.stdout.decode(errors="replace").strip()
    last = said.splitlines()[-1] if said else ""
    with contextlib.suppress(ValueError):
        return encoding.parse(Interpreter, last), ""
    return None, said[-_TOO_LONG:] or f"nothing, and ended with {done.returncode}"


@contextlib.contextmanager
def _alone(start_id: str) -> Iterator[None]:
    """One starter at a time on this host. The name of a socket goes with its process, and needs no file system."""
    name = "\0orch-start-" + hashlib.sha256(start_id.encode()).hexdigest()[:32]
    end = time.monotonic() + LOCK_SECONDS
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        while True:
            try:
                lock.bind(name)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        yield
