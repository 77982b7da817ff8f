"""Hosts for tests: real sshd processes, each in network, process, mount and host-name namespaces of its own.

A bridge connects them with this machine. They share its file system, as hosts share a network file system, but not
~/.cache, /run, /dev/shm and /etc/hosts. Everything is ended by its id and removed by `close`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbeds import proc

SSHD = "/usr/sbin/sshd"
START_SECONDS = 10.0
END_SECONDS = 5.0  # that ssh has to end by itself
_NUMBERS = 32000  # of bridges, each with a network of its own below 10.64.0.0/9
_HIDDEN = ("/run", "/dev/shm", "~root/.cache")  # of this machine, where hosts have directories of their own

# Runs as process 1 of the host, and becomes its sshd once the network is there.
_INIT = """
set -e
mount -t proc proc /proc
hostname "$1"
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mkdir -p /run/sshd
mkdir -p "$3"
mount --bind "$2/cache-$1" "$3"
mount --bind "$2/hosts" /etc/hosts
# Logins run nothing of this machine: what a killed one leaves behind, as a lock of pyenv, would hold up all others.
for own in .bashrc .profile .bash_profile .bash_login; do
  [ ! -e "${3%/*}/$own" ] || mount --bind /dev/null "${3%/*}/$own"
done
ip link set lo up
read -r _
exec "$4" -D -e -f "$2/sshd-$1.conf" -E "$2/sshd-$1.log"
"""


def missing() -> str | None:
    """Why there can be no hosts on this machine; None where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in (SSHD, "ssh", "ssh-keygen", "ip", "ss", "unshare", "nsenter"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    for place in map(_path, _HIDDEN):
        if Path(sys.prefix).is_relative_to(place):
            return f"hosts have a {place} of their own, and this interpreter lies there: {sys.prefix}"
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--pid", "--mount", "ip", "link", "add", "type", "bridge"],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else f"there can be no network namespaces: {tried.stderr.strip()}"


@dataclass
class Host:
    """One host. `pid` is its process 1, as this machine numbers it."""

    name: str
    address: str
    link: str
    pid: int
    process: subprocess.Popen[str]

    def enter(self, *argv: str) -> str:
        """What a command prints that is run on the host."""
        inside = ["nsenter", "-t", str(self.pid), "-n", "-u", "-m", "-p", "--", *argv]
        return subprocess.run(inside, capture_output=True, text=True, check=True).stdout

    def processes(self, *needles: str) -> list[int]:
        """Processes of the host, without its sshd, whose command lines have all the needles."""
        return [pid for pid, line in self.all() if all(one in line for one in needles)]

    def kill(self, *needles: str) -> None:
        """kill -9 of all processes that `processes` finds, until there are none."""
        while found := self.processes(*needles):
            for pid in found:
                proc.send(pid, signal.SIGKILL)
            time.sleep(0.02)

    def cut(self) -> None:
        """Nothing comes through any more, and nothing moves there: as when its network and file system hang."""
        _ip("link", "set", self.link, "down")
        for pid in self._everyone():
            proc.send(pid, signal.SIGSTOP)

    def heal(self) -> None:
        """It comes back, and its processes go on where they were."""
        for pid in self._everyone():
            proc.send(pid, signal.SIGCONT)
        _ip("link", "set", self.link, "up")

    def power_off(self) -> None:
        """Everything on it is gone, and it answers nothing."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "set", self.link, "down")
        proc.send(self.pid, signal.SIGKILL)  # the kernel ends the whole namespace with its process 1
        self.process.wait()

    def all(self) -> Iterator[tuple[int, str]]:
        """(process, command line) of everything that runs on the host, but what belongs to its sshd."""
        for pid in self._everyone():
            line = proc.command(pid).replace(b"\0", b" ").decode(errors="replace").strip()
            if line and not line.startswith("sshd"):
                yield pid, line

    def _everyone(self) -> Iterator[int]:
        try:
            space = Path(f"/proc/{self.pid}/ns/pid").readlink()
        except OSError:
            return
        for pid in proc.others():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/ns/pid").readlink() == space:
                    yield pid


class Bed:
    """Some hosts, a key that they accept, and a configuration of ssh for both. `shared` is seen by all."""

    def __init__(self, count: int = 2) -> None:
        number = _add_bridge()
        self._bridge = _bridge(number)
        self._net = f"10.{64 + number // 250}.{number % 250}"
        self.root = Path(tempfile.mkdtemp(prefix="ssh-testbed-"))
        self.shared = self.root / "shared"
        self.config = self.root / "ssh_config"
        self.hosts: list[Host] = []
        self.names = [f"gpu{index + 1}" for index in range(count)]
        try:
            self._prepare()
            _ip("addr", "add", f"{self._net}.254/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
            for index, name in enumerate(self.names):
                self.hosts.append(self._start(index, name))
            for host in self.hosts:
                self._await(host)
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def alias(self, name: str, of: str, **options: str) -> str:
        """Another name for a host, with other options of ssh."""
        with self.config.open("a") as config:
            config.write(self._entry(name, self[of].address, **options))
        return name

    def close(self) -> None:
        for pid in self._clients():
            proc.send(pid, signal.SIGTERM)
        end = time.monotonic() + END_SECONDS
        while (left := self._clients()) and time.monotonic() < end:
            time.sleep(0.02)
        for pid in left:
            proc.send(pid, signal.SIGKILL)
        for host in self.hosts:
            proc.send(host.pid, signal.SIGKILL)
            host.process.kill()
            host.process.wait()
        for link in (*(host.link for host in self.hosts), self._bridge):
            with contextlib.suppress(subprocess.CalledProcessError):  # the kernel may have been faster
                _ip("link", "del", link)
        shutil.rmtree(self.root, ignore_errors=True)

    def _clients(self) -> set[int]:
        """ssh of this machine that still waits for a host, or keeps a connection to one for others to share."""
        asked = ["ss", "--no-header", "--tcp", "--numeric", "--processes", "dst", f"{self._net}.0/24"]
        connected = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
        return {*_knowing(self.config), *(int(pid) for pid in re.findall(r'"ssh",pid=(\d+)', connected))}

    def _prepare(self) -> None:
        self.shared.mkdir()
        addresses = {name: f"{self._net}.{index + 1}" for index, name in enumerate(self.names)}
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in addresses.items())]
        (self.root / "hosts").write_text("\n".join(lines) + "\n")
        for key in ("key", "stranger", *(f"host-{name}" for name in self.names)):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(self.root / key))
        shutil.copy(self.root / "key.pub", self.root / "authorized_keys")
        known = [f"{addresses[name]} {(self.root / f'host-{name}.pub').read_text()}" for name in self.names]
        (self.root / "known_hosts").write_text("".join(known))
        for name, address in addresses.items():
            (self.root / f"cache-{name}").mkdir()
            (self.root / f"sshd-{name}.conf").write_text(self._daemon(name, address))
        self.config.write_text("".join(self._entry(name, address) for name, address in addresses.items()))

    def _daemon(self, name: str, address: str) -> str:
        return "\n".join(
            [
                f"ListenAddress {address}",
                f"HostKey {self.root}/host-{name}",
                f"AuthorizedKeysFile {self.root}/authorized_keys",
                "PidFile none",
                "LogLevel VERBOSE",
                "StrictModes no",
                "UsePAM no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "PermitRootLogin prohibit-password",
                "",
            ]
        )

    def _entry(self, name: str, address: str, **options: str) -> str:
        values = {
            "HostName": address,
            "User": "root",
            "IdentityFile": f"{self.root}/key",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": f"{self.root}/known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            **options,
        }
        return f"Host {name}\n" + "".join(f"  {option} {value}\n" for option, value in values.items())

    def _start(self, index: int, name: str) -> Host:
        link = f"{self._bridge}h{index}"
        # Without unshare's own --fork, which fails now and then: the first child is process 1.
        first_child = 'bash -c "$0" init "$@" <&0 & wait "$!"'
        argv = ["unshare", "--net", "--uts", "--pid", "--mount", "bash", "-c", first_child, _INIT]
        process = subprocess.Popen(
            [*argv, name, str(self.root), str(_path("~root/.cache")), SSHD],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # that it was killed in the end
            text=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            start_new_session=True,
        )
        host = Host(
            name=name, address=f"{self._net}.{index + 1}", link=link, pid=_first_child(process.pid), process=process
        )
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        _ip("link", "set", link, "master", self._bridge, "up")
        inside = ["nsenter", "-t", str(host.pid), "-n", "--", "ip"]
        _run(*inside, "addr", "add", f"{host.address}/24", "dev", "eth0")
        _run(*inside, "link", "set", "eth0", "up")
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
        return host

    def _await(self, host: Host) -> None:
        end = time.monotonic() + START_SECONDS
        log = self.root / f"sshd-{host.name}.log"
        while not log.exists() or "Server listening" not in log.read_text():
            said = log.read_text() if log.exists() else ""
            assert time.monotonic() < end, f"the sshd of {host.name} does not start: {said}"
            time.sleep(0.02)


def _add_bridge() -> int:
    """Make a bridge; its number, which no other bed on this machine has."""
    first = os.getpid() % _NUMBERS
    for number in itertools.chain(range(first, _NUMBERS), range(first)):
        made = subprocess.run(
            ["ip", "link", "add", _bridge(number), "type", "bridge"], check=False, capture_output=True
        )
        if made.returncode == 0:
            return number
        if b"exists" not in made.stderr:
            raise AssertionError(f"no bridge can be made: {made.stderr.decode(errors='replace').strip()}")
    raise AssertionError(f"{_NUMBERS} beds are up on this machine")


def _bridge(number: int) -> str:
    return f"tb{number}"


def _path(name: str) -> Path:
    return Path(name).expanduser()


def _first_child(parent: int) -> int:
    """The first process of the namespaces that `parent` has made."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.005)
    raise AssertionError("unshare made no namespaces")


def _knowing(path: Path) -> Iterator[int]:
    """Processes whose command line names a file."""
    return (pid for pid in proc.others() if os.fsencode(path) in proc.command(pid).split(b"\0"))


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True)
