"""Agents as detached processes on hosts: which hosts an attempt uses, its start on one of them, its signals.

A slot is the place of one node's agent on one host; it is used once. Whether its agent lives is told by the processes
of that host, which carry the start in their environment, and by no lock: those of network file systems differ too much.

attempts/000001/
    token.json     random: a host that reads another one, or none, sees another directory under the same name
    hosts.json     the hosts of the attempt, by node; created once, before anything is started
    hostfile       the same for those who read a hostfile
    slot-0.json    written once node 0's agent was started: {"pid", "start", "host"}
    lock-0         held by the agent for life where it is told to, its pid and start inside
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
from typing import Iterator, Sequence

from orchestrator.job.protocol import encoding, files
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.operations.agents import (
    Agent,
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
from orchestrator.job.protocol.slot import SlotMark
from orchestrator.job.remote import attempts
from orchestrator.job.system import detached, failpoints, proc
from orchestrator.job.system.atomic import create_json, read_json, write, write_json

START = "ORCH_START"  # carried by every process of a start; those that an agent starts have more behind a slash
SLOT = "ORCH_SLOT"

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
    if read_json(place / files.TOKEN) is None:
        create_json(place / files.TOKEN, {"token": os.urandom(16).hex()})
    return Token((read_json(place / files.TOKEN) or {}).get("token"), _chosen(place))


def read_hosts(request: ReadHosts) -> Choice:
    """Raises OSError."""
    return Choice(_chosen(attempts.directory(request)))


def _chosen(place: Path) -> ChosenHosts | None:
    found = read_json(place / files.HOSTS)
    return None if found is None else encoding.from_json(ChosenHosts, found, where=str(place / files.HOSTS))


def check(request: CheckHost) -> HostFacts:
    """Raises OSError."""
    place = attempts.directory(request)
    connection = os.environ.get("SSH_CONNECTION", "").split()
    address = connection[2] if len(connection) == 4 else None
    sees = _sees(place, request.token)
    python, printed = _interpreter(place / files.BUNDLE / files.AGENT_SCRIPT) if sees else (None, "")
    return HostFacts(os.uname().nodename, address, sees, python, printed)


def start(request: Start) -> Choice:
    """Raises OSError. Where hosts.json holds another choice, or the attempt was asked to stop, nothing is started."""
    place = attempts.directory(request)
    recorded = _record(place, request.chosen)
    if recorded != request.chosen or attempts.is_asked(place):
        return Choice(recorded)
    with _alone(request.start):
        found = _slots(place, [agent.node for agent in request.agents], request.start)
        unused = {slot.node for slot in found if slot.state == "unused"}
        for agent in request.agents:
            if agent.node in unused:
                _launch(request, agent, place)
    if attempts.is_asked(place):  # since the first check: that request may have come before these agents
        terminate(Terminate(request.start))
    return Choice(recorded)


def slots(request: ReadSlots) -> Slots:
    """Raises OSError."""
    place = attempts.directory(request)
    return Slots(tuple(_slots(place, request.nodes, request.start)))


def terminate(request: Terminate) -> Remaining:
    """Send SIGTERM to the agents, and wait for none of them."""
    pids = [pid for pid, _ in _agents(request.start)]
    for pid in pids:
        proc.send(pid, signal.SIGTERM)
    return Remaining(tuple(pids))


def kill(request: Kill) -> Remaining:
    return Remaining(tuple(proc.kill_all(lambda: proc.carriers(f"{START}={request.start}"), seconds=KILL_SECONDS)))


def _record(place: Path, chosen: ChosenHosts | None) -> ChosenHosts | None:
    """The choice of hosts that stands: the first one that was recorded."""
    if chosen is None:
        return None
    create_json(place / files.HOSTS, encoding.to_json(chosen))
    recorded = _chosen(place)
    if recorded == chosen:
        hostfile = "".join(f"{host.name} slots={host.slots}\n" for host in chosen.hosts)
        write(place / files.HOSTFILE, hostfile.encode(), sync=False)  # hosts.json has the same, and is on the disk
    return recorded


def _launch(request: Start, agent: Agent, place: Path) -> None:
    inherited = os.environ if request.inherits else {}
    pid = detached.start(
        agent.argv,
        environment={
            **{name: value for name, value in inherited.items() if name not in _SESSION},
            **agent.environment,
            START: request.start,
            SLOT: str(agent.node),
            "PYTHONUNBUFFERED": "1",
        },
        directory=request.dir,
        output=place / files.agent_log(agent.node),
    )
    failpoints.failpoint("start.launched")
    write_json(place / files.slot(agent.node), encoding.to_json(SlotMark(pid, request.start, os.uname().nodename)))
    failpoints.failpoint("start.recorded")


def _slots(place: Path, nodes: Sequence[int], start_id: str) -> Iterator[Slot]:
    """Processes before what an agent wrote as its last act."""
    unrecorded: set[str] | None = None  # agents whose starter was killed before it could record them
    for node in nodes:
        marks = [mark for name in (files.slot(node), files.slot_lock(node)) if (mark := read(SlotMark, place / name))]
        host = next((mark.host for mark in marks if mark.host is not None), None)
        if any(mark.pid is not None and proc.environment(mark.pid).get(START) == start_id for mark in marks):
            yield Slot(node, "live", host)
        elif marks:
            yield Slot(node, "gone" if host in (None, os.uname().nodename) else "elsewhere", host)
        elif not (place / files.BUNDLE).exists():
            yield Slot(node, "unused")
        else:
            if unrecorded is None:
                unrecorded = {slot for _, slot in _agents(start_id)}
            if str(node) in unrecorded:
                yield Slot(node, "live")
            else:
                yield Slot(node, "gone" if (place / files.ended(node)).exists() else "unused")


def _agents(start_id: str) -> Iterator[tuple[int, str]]:
    """(process, slot) of the agents of a start. Each leads a session; a helper that it has started does not."""
    for pid in proc.find(lambda environment: environment.get(START) == start_id):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == pid:
                yield pid, proc.environment(pid).get(SLOT, "")


def _sees(place: Path, token: str) -> bool:
    end = time.monotonic() + SEE_SECONDS
    while True:
        read = read_json(place / files.TOKEN)
        if read is not None and (place / files.BUNDLE / files.AGENT_SCRIPT).exists():
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
