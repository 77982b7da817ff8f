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
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Iterator, Mapping

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


def meet(request: Mapping[str, Any]) -> dict[str, Any]:
    """The attempt's token, made by the first who asks, and the hosts that were chosen, if they were. Raises OSError.

    Where the disk is full, an attempt that was begun is still met: else it would look like one that cannot begin.
    """
    place = attempts.directory(request)
    if read_json(place / TOKEN) is None:
        create_json(place / TOKEN, {"token": os.urandom(16).hex()})
    return {"token": (read_json(place / TOKEN) or {}).get("token"), "chosen": read_json(place / HOSTS)}


def chosen(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The hosts that were chosen for an attempt; None when nobody has. Raises OSError."""
    return read_json(attempts.directory(request) / HOSTS)


def check(request: Mapping[str, Any]) -> dict[str, Any]:
    """What this host can do for an attempt: whether it sees the same directory, and the job's interpreter.

    `address` is where the asker reached this host; `python` is None where the interpreter said nothing of itself.
    Raises OSError.
    """
    place = attempts.directory(request)
    connection = os.environ.get("SSH_CONNECTION", "").split()
    found: dict[str, Any] = {
        "nodename": os.uname().nodename,
        "address": connection[2] if len(connection) == 4 else None,
        "sees": _sees(place, request["token"]),
        "python": None,
        "said": "",
    }
    if found["sees"]:
        found["python"], found["said"] = _interpreter(place / SCRIPT)
    return found


def start(request: Mapping[str, Any]) -> dict[str, Any]:
    """Starts the agents of `nodes` here, each once. `chosen`: what stands in hosts.json, this choice or an earlier one.

    Where another choice stands, or the attempt was asked to stop, nothing is started. Raises OSError.
    """
    place = attempts.directory(request)
    create_json(place / HOSTS, request["chosen"])
    stands = read_json(place / HOSTS)
    if stands != request["chosen"] or attempts.is_asked(place):
        return {"chosen": stands, "slots": {}}
    hosts = request["chosen"]["hosts"]
    hostfile = "".join(f"{host['name']} slots={host['slots']}\n" for host in hosts)
    write(place / HOSTFILE, hostfile.encode(), sync=False)  # hosts.json has the same, and is on the disk
    with _alone(request["start"]):
        for node in request["nodes"]:
            if _slot(place, node, request["start"])["state"] == "unused":
                pid = _launch(request, place, node, hosts[node]["name"])
                write_json(place / f"slot-{node}.json", {"pid": pid, "host": os.uname().nodename})
    if attempts.is_asked(place):  # since the first look: whoever asked may not have found these agents yet
        tell(request)
    return {"chosen": stands, "slots": slots(request)}


def slots(request: Mapping[str, Any]) -> dict[str, Any]:
    """The slots of `nodes`, which must be this host's: unused, live or gone. Raises OSError."""
    place = attempts.directory(request)
    return {str(node): _slot(place, node, request["start"]) for node in request["nodes"]}


def tell(request: Mapping[str, Any]) -> int:
    """SIGTERM to the agents of a start on this host; how many there were."""
    pids = [pid for pid, _ in _agents(request["start"])]
    for pid in pids:
        proc.send(pid, signal.SIGTERM)
    return len(pids)


def kill(request: Mapping[str, Any]) -> list[int]:
    """SIGKILL to every process of a start on this host, until none is left; those that do not die in time."""
    return proc.kill_all(lambda: proc.carriers(f"{START}={request['start']}"), seconds=KILL_SECONDS)


def _launch(request: Mapping[str, Any], place: Path, node: int, host: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name not in _SESSION}
    environment.update(request.get("environment") or {})
    environment.update({START: request["start"], SLOT: str(node), "PYTHONUNBUFFERED": "1"})
    environment.update({"ORCH_HOST": host, "ORCH_HOSTFILE": str(place / HOSTFILE)})
    argv = ["bash", str(place / SCRIPT), "--detached", "--run-dir", request["dir"], "--node", str(node)]
    argv += ["--attempt", str(request["attempt"]), "--start", request["start"], *request["arguments"]]
    with (place / f"agent-{node}.log").open("ab") as log:
        # A session of its own: the end of this one, and of ssh, says nothing to it.
        process = subprocess.Popen(
            argv,
            env=environment,
            cwd=request["dir"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process.pid


def _slot(place: Path, node: int, start_id: str) -> dict[str, Any]:
    """Processes first: what an agent wrote before it ended is then there."""
    pid = next((pid for pid, slot in _agents(start_id) if slot == str(node)), None)
    if pid is not None:
        return {"state": "live", "pid": pid}
    used = any((place / name).exists() for name in (f"slot-{node}.json", f"ended-{node}.json"))
    return {"state": "gone" if used else "unused", "pid": None}


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


def _interpreter(script: Path) -> tuple[dict[str, Any] | None, str]:
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
        answer = json.loads(last)
        if isinstance(answer, dict):
            return answer, ""
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
