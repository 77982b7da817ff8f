"""Processes in namespaces of their own: whatever they start is gone, kernel's word, when the first of them is."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbeds.kubernetes.layout import PATH
from testbeds.proc import child, send, started

DIE_WITH_PARENT = ["setpriv", "--pdeathsig=KILL"]
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
UNSHARE += ["--propagation", "private"]
# Where containerd, the pod network and kubelet write beside their own directories: in here, to memory.
HIDDEN = (Path("/run/containerd"), Path("/run/netns"), Path("/var/lib/cni"), Path("/var/log/containers"))


def can_isolate() -> bool:
    return subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode == 0


@dataclass(slots=True)
class Daemon:
    """`entry` went into the namespaces and waits; `pid`, its child, is the program."""

    entry: subprocess.Popen[bytes]
    pid: int


class Daemons:
    """A network, mount and process namespace below one directory, and named programs in it.

    Its first process ends when the thread that called `open` does, even by kill -9; then the kernel ends all others.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._keeper: subprocess.Popen[bytes] | None = None
        self._made: list[Path] = []
        self._running: dict[str, Daemon] = {}

    def open(self, reaper: Path) -> None:
        """Make the namespaces. `reaper`: a program that reaps what is left to it."""
        self._made = [path for path in HIDDEN if not path.exists()]
        for path in self._made:
            path.mkdir(parents=True)
        mounts = "".join(f"mount -t tmpfs -o mode=755 none {path}\n" for path in HIDDEN)
        script = f"set -e\nmount --make-rshared /\n{mounts}ip link set lo up\necho ready\nexec {reaper}\n"
        with (self.root / "log" / "keeper.log").open("wb") as log:
            self._keeper = subprocess.Popen(
                [*DIE_WITH_PARENT, *UNSHARE, "sh", "-c", script],
                env=self.environment(),
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.root / "keeper").write_text(f"{self._keeper.pid} {started(self._keeper.pid)}\n")
        said = self.root / "log" / "keeper.log"
        _until(lambda: "ready" in said.read_text() or self._keeper_is_dead(), "the namespaces are made")
        if self._keeper_is_dead():
            raise RuntimeError(f"no namespaces for the test bed: {said.read_text()}")

    def close(self, *, alone: bool = True) -> None:
        """End every process, those of containers among them. `alone`: no other cluster on this machine is up."""
        if self._keeper is None:
            return
        inside = child(self._keeper.pid)
        if inside is not None:
            send(inside, signal.SIGKILL)
        self._keeper.kill()
        self._keeper.wait()
        for daemon in self._running.values():
            send(daemon.entry.pid, signal.SIGCONT)
            daemon.entry.kill()
            daemon.entry.wait()
        self._running.clear()
        self._keeper = None
        for path in self._made if alone else ():  # another cluster has mounted its own there
            with contextlib.suppress(OSError):
                path.rmdir()

    def environment(self) -> dict[str, str]:
        return {"PATH": PATH, "LANG": "C.UTF-8", "HOME": str(self.root)}

    @property
    def first(self) -> int:
        """The process that holds the namespaces, by its id out here."""
        assert self._keeper is not None
        pid = child(self._keeper.pid)
        assert pid is not None
        return pid

    def enter(self) -> list[str]:
        """The start of a command that runs in the namespaces."""
        return ["nsenter", f"--target={self.first}", "--net", "--mount", "--pid", f"--wd={self.root}", "--"]

    def run(self, *argv: str, check: bool = True, timeout: float = 60) -> str:
        """A command in the namespaces, to its end; what it printed."""
        done = subprocess.run(
            [*self.enter(), *argv], env=self.environment(), text=True, capture_output=True, timeout=timeout, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{argv} ended {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def start(self, name: str, argv: Sequence[str]) -> None:
        with (self.root / "log" / f"{name}.log").open("ab") as log:
            entry = subprocess.Popen(
                [*self.enter(), *argv],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _until(lambda: child(entry.pid) is not None or entry.poll() is not None, f"{name} has begun")
        self._running[name] = Daemon(entry, child(entry.pid) or 0)

    def alive(self, name: str) -> bool:
        return name in self._running and self._running[name].entry.poll() is None

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def send(self, name: str, number: int) -> None:
        """A signal to one daemon and to nothing that it has started."""
        if not self.alive(name):
            return
        daemon = self._running[name]
        send(daemon.pid, number)
        if number == signal.SIGCONT:  # it stops itself when its child is stopped
            send(daemon.entry.pid, number)

    def end(self, name: str, number: int = signal.SIGKILL) -> None:
        """End one daemon and wait for it; what it has started lives on."""
        if name not in self._running:
            return
        self.send(name, number)
        self.send(name, signal.SIGCONT)
        daemon = self._running.pop(name)
        try:
            daemon.entry.wait(20)
        except subprocess.TimeoutExpired:
            send(daemon.pid, signal.SIGKILL)
            daemon.entry.wait()

    def log(self, name: str, *, lines: int = 12) -> str:
        """The end of what a daemon has said, without kubelet's steady complaint that it may not measure the disk."""
        path = self.root / "log" / f"{name}.log"
        told = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join([line[:400] for line in told if "filesystem info" not in line][-lines:])

    def _keeper_is_dead(self) -> bool:
        return self._keeper is None or self._keeper.poll() is not None


def sweep(root: Path) -> None:
    """End what a session that was killed has left below `root`, and take its directories away."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        pid, began = (root / "keeper").read_text().split()
        if started(int(pid)) == began:
            inside = child(int(pid))
            for each in (inside, int(pid)):
                if each is not None:
                    send(each, signal.SIGKILL)
            _until(lambda: started(int(pid)) != began, "the last session's processes have ended")
    remove_cgroups(root)
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if left := [place for place in mounted if Path(place).is_relative_to(root)]:
        raise RuntimeError(f"{root} is in use: {', '.join(left)} are mounted there; unmount and remove it")
    shutil.rmtree(root, ignore_errors=True)


def containers(node: Path) -> list[str]:
    """Ids of the containers, pods' first ones among them, that one containerd has started and not yet removed."""
    return [path.name for path in node.glob("containerd/state/io.containerd.runtime.v2.task/k8s.io/*")]


def processes(container: str) -> list[int]:
    """Process ids, as they are out here."""
    files = [path / "cgroup.procs" for path in _cgroups(container)]
    found: set[int] = set()
    for file in files:
        with contextlib.suppress(OSError):
            found.update(int(line) for line in file.read_text().split())
    return sorted(found)


def remove_cgroups(root: Path) -> None:
    """Take away the control groups of containers whose processes were ended behind containerd's back."""
    groups = (
        [path for node in root.iterdir() for each in containers(node) for path in _cgroups(each)]
        if root.exists()
        else []
    )
    for path in groups:
        end = time.monotonic() + 10
        while path.is_dir() and time.monotonic() < end:
            with contextlib.suppress(OSError):  # busy until its last process is gone
                path.rmdir()
                break
            time.sleep(0.05)
    for parent in {path.parent for path in groups}:
        with contextlib.suppress(OSError):  # another containerd has some there, too
            parent.rmdir()


def _cgroups(container: str) -> list[Path]:
    """A container's control group, one in each hierarchy of this machine."""
    hierarchy = Path("/sys/fs/cgroup")
    places = (hierarchy, *(path for path in hierarchy.iterdir() if path.is_dir() and not path.is_symlink()))
    return [path for place in places if (path := place / "k8s.io" / container).is_dir()]


def _until(what: Callable[[], object], hint: str, *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds} s: {hint}")
        time.sleep(0.02)
