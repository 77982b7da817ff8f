"""A real Slurm of eight nodes on this machine: fake GPUs, accounting and preemption, on loopback addresses only."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from testbeds import Unavailable, proc
from testbeds.slurm import layout
from testbeds.slurm.layout import HEAD, NODES

USER = "slurm-testbed"
PLACES = [Path(f"/var/tmp/slurm-testbed{suffix}") for suffix in ("", *(f"-{number}" for number in range(2, 7)))]
HOSTS_LOCK = Path("/var/tmp/slurm-testbed-hosts.lock")  # held while /etc/hosts is read and written
LOCK_WAIT = 60  # seconds
DAEMON_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEEDED = (
    "slurmctld", "slurmd", "slurmdbd", "sbatch", "sacctmgr", "mariadbd", "mariadb-install-db", "munge", "munged",
    "setpriv", "unshare", "nsenter", "useradd",
)  # fmt: skip


@dataclass(frozen=True)
class Accounted:
    """One line of `sacct -D`: a job that was requeued has several."""

    job: str
    state: str
    exit: str
    nodes: str


def why_not() -> str | None:
    """Why this machine can't have the test bed; None when it can."""
    if sys.platform != "linux":
        return "the Slurm test bed needs Linux"
    if missing := [program for program in NEEDED if shutil.which(program, path=DAEMON_PATH) is None]:
        return f"the Slurm test bed needs {', '.join(missing)}: testbeds/README.md names the packages"
    if os.geteuid() != 0:
        return "the Slurm test bed needs root: slurmd starts jobs as their users"
    if subprocess.run(["unshare", "--uts", "--mount", "true"], check=False, capture_output=True).returncode != 0:
        return "the Slurm test bed needs host names of its own: unshare --uts --mount is not allowed here"
    return None


class Cluster:
    """The cluster, from `start` to `stop`. Its daemons are children of this process.

    `shown` are the directories that jobs use in place: the user and all nodes see them beside the interpreter, also
    where they lie below directories that are closed to others.
    """

    def __init__(self, *shown: Path) -> None:
        self.root = PLACES[0]
        self._shown = [path.resolve() for path in shown]
        self.user: str | None = None
        self.no_user: str | None = None  # why jobs run as root instead
        self._names = itertools.count(1)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._prefix: list[str] = []
        self._lock: IO[str] | None = None

    @property
    def conf(self) -> Path:
        return self.root / "etc" / "slurm.conf"

    @property
    def _user_here(self) -> str:
        return USER + self.root.name.removeprefix(PLACES[0].name)

    # Up and down

    def start(self) -> None:
        if reason := why_not():
            raise Unavailable(reason)
        self._take_lock()
        self._sweep_leftovers()
        layout.lay_out(self.root, layout.free_ports(21000 + 1000 * PLACES.index(self.root)))
        with _hosts_locked():
            layout.add_hosts()
        self.start_munge()
        self._open_directories()
        self._make_user()
        self.start_mariadb()
        self.start_slurmdbd()
        if layout.CLUSTER not in self.admin("sacctmgr", "-nP", "show", "cluster", "format=cluster"):
            self.admin("sacctmgr", "-i", "add", "cluster", layout.CLUSTER)
        self.start_slurmctld()
        for node in NODES:
            self.start_slurmd(node)
        self.until_idle()

    def stop(self, *, keep: bool = False) -> None:
        """End every process, in the order in which nobody waits for another; `keep` leaves the logs on disk."""
        if self._lock is None:
            return  # what is there is another session's
        with contextlib.suppress(Exception):
            self.admin("scancel", "--full", *self.jobs(), timeout=60)
        for name in (*NODES, "slurmctld", "slurmdbd", "mariadbd", "munged", "keeper"):
            self._end(name, signal.SIGKILL if name in {*NODES, "keeper"} else signal.SIGTERM)
        for pid in self.processes():
            proc.send(pid, signal.SIGKILL)
        self._forget_hosts()
        subprocess.run(["userdel", self._user_here], check=False, capture_output=True)
        if not keep:
            shutil.rmtree(self.root, ignore_errors=True)
        self._lock.close()
        self._lock = None

    def heal(self) -> None:
        """As new for the next test: no jobs, no orphans, every daemon alive, every node idle."""
        for name in ("slurmctld", *NODES):
            if self.alive(name):
                self.send(name, signal.SIGCONT)
        for name, restart in (
            ("munged", self.start_munge),
            ("mariadbd", self.start_mariadb),
            ("slurmdbd", self.start_slurmdbd),
            ("slurmctld", self.start_slurmctld),
        ):
            if not self.alive(name):
                restart()
        if jobs := self.jobs():
            self.admin("scancel", "--full", *jobs)
        for node in NODES:
            if not self.alive(node):
                self.start_slurmd(node)
        self.until(lambda: not self.jobs(), seconds=180, hint="no job is left in the queue")
        for pid in self.processes(tasks_only=True):
            proc.send(pid, signal.SIGKILL)
        self.until_idle(seconds=180)

    # Daemons

    def start_slurmd(self, node: str) -> None:
        (self.root / "spool" / node).mkdir(parents=True, exist_ok=True)
        self._spawn(node, [*self._prefix, *_named(node), "slurmd", "-D", "-N", node])

    def start_slurmctld(self) -> None:
        self._spawn("slurmctld", [*_named(HEAD), "slurmctld", "-D"])
        self.until(lambda: "is UP" in self.admin("scontrol", "ping", check=False), hint="slurmctld answers")

    def start_slurmdbd(self) -> None:
        self._spawn("slurmdbd", [*_named(HEAD), "slurmdbd", "-D"], conf=self.conf)
        ask = ("sacctmgr", "-nP", "show", "cluster", "format=cluster")
        self.until(lambda: self._admin(*ask, timeout=10).returncode == 0, hint="slurmdbd answers")

    def start_munge(self) -> None:
        """With a socket and a key of its own, beside any other munged of this machine."""
        home = self.root / "munge"
        key = home / "key"
        if not home.exists():
            home.mkdir()
            key.write_bytes(os.urandom(1024))
            key.chmod(0o400)
            for path in (home, key):
                shutil.chown(path, "munge", "munge")
        socket = layout.munge_socket(self.root)
        files = [f"--{name}-file={home}/munged.{name}" for name in ("pid", "log", "seed")]
        become = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "--"]
        munged = ["munged", "--foreground", "--force", f"--socket={socket}", f"--key-file={key}", *files]
        self._spawn("munged", [*become, *munged])
        ask = ["munge", "--no-input", f"--socket={socket}"]
        self.until(lambda: subprocess.run(ask, check=False, capture_output=True).returncode == 0, hint="munged answers")

    def start_mariadb(self) -> None:
        home = self.root / "mysql"
        sock = home / "mysqld.sock"
        options = [f"--datadir={home}/data", "--user=mysql", "--skip-networking", f"--socket={sock}"]
        speed = ["--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=16M"]
        if not (home / "data").exists():
            install = ["mariadb-install-db", "--no-defaults", *options[:2], "--skip-test-db"]
            with (self.root / "log" / "mariadb-install.log").open("wb") as log:
                subprocess.run(install, check=True, stdout=log, stderr=log, env=self._daemon_environment())
        pid_file = f"--pid-file={home}/mysqld.pid"
        self._spawn("mariadbd", ["mariadbd", "--no-defaults", *options, *speed, pid_file, "--lock-wait-timeout=900"])
        client = ["mariadb", "--no-defaults", f"--socket={sock}", "-e"]
        setup = (
            "create database if not exists slurm_acct; create user if not exists slurm@localhost; "
            "grant all on slurm_acct.* to slurm@localhost"
        )
        self.until(
            lambda: subprocess.run([*client, setup], check=False, capture_output=True).returncode == 0,
            hint="mariadbd answers",
        )

    def alive(self, name: str) -> bool:
        return name in self._daemons and self._daemons[name].poll() is None

    def send(self, name: str, number: int) -> None:
        """A signal to a daemon: a node's slurmd, "slurmctld", "slurmdbd"."""
        self._daemons[name].send_signal(number)

    def kill(self, name: str) -> None:
        """kill -9 of one daemon; what a slurmd has started lives on."""
        self._end(name, signal.SIGKILL)

    def terminate(self, name: str) -> None:
        self._end(name, signal.SIGTERM)

    # Commands

    def run(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 60,
        check: bool = True,
        as_root: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end as the ordinary user of this cluster."""
        done = subprocess.run(
            [*self.argv_prefix(cwd, as_root=as_root), *argv],
            env=self.environment(env),
            cwd=cwd,
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{shlex.join(argv)} ended {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def argv_prefix(self, cwd: Path | None = None, *, as_root: bool = False) -> list[str]:
        """What makes a command one of the ordinary user, who sees what the nodes see."""
        enter = [*self._prefix, f"--wd={cwd or self.root}"] if self._prefix else []
        if self.user is None or as_root:
            return enter
        entry = pwd.getpwnam(self.user)
        return [*enter, "setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--"]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The user's whole environment: nothing of the test's own is in it."""
        name = self.user or "root"
        return {
            "PATH": f"{Path(sys.executable).parent}:{DAEMON_PATH}",
            "HOME": str(self.home),
            "USER": name,
            "LOGNAME": name,
            "LANG": "C.UTF-8",
            "SLURM_CONF": str(self.conf),
            **(more or {}),
        }

    @property
    def operators(self) -> Path:
        """DeepSpeed's compiled operators, the user's own copy."""
        return self.home / "torch_extensions"

    @property
    def home(self) -> Path:
        return self.root / "home" / (self.user or "root")

    def directory(self, name: str) -> Path:
        """A new directory of the user's, seen by all nodes."""
        path = self.root / "work" / f"{next(self._names):03d}-{re.sub('[^a-z0-9]+', '-', name.lower())}"
        path.mkdir(parents=True)
        self.own(path)
        return path

    def own(self, path: Path) -> None:
        """Give a file to the user."""
        if self.user:
            entry = pwd.getpwnam(self.user)
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def admin(self, *argv: str, check: bool = True, timeout: float = 60) -> str:
        """A command of the administrator's; what it printed."""
        done = self._admin(*argv, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"{shlex.join(argv)} ended {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def sbatch(self, *argv: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """Submit as the user; the job's id."""
        return self.run("sbatch", "--parsable", *argv, cwd=cwd, env=env).stdout.strip()

    # What it says

    def jobs(self) -> list[str]:
        return self.admin("squeue", "--noheader", "--format=%A").split()

    def state(self, job: str) -> str:
        """The word of squeue for a job; empty when it has left the queue."""
        done = self._admin("squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T")
        return done.stdout.strip()

    def reason(self, job: str) -> str:
        return self.admin("squeue", "--noheader", f"--jobs={job}", "--format=%r").strip()

    def hosts(self, job: str) -> list[str]:
        """The nodes of a running job, the head first."""
        listed = self.admin("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
        return self.admin("scontrol", "show", "hostnames", listed).split() if listed else []

    def restarts(self, job: str) -> int:
        found = re.search(r"Restarts=(\d+)", self.admin("scontrol", "show", "job", job))
        return int(found[1]) if found else 0

    def accounted(self, job: str) -> list[Accounted]:
        """Every life of a job, oldest first."""
        fields = "jobid,state,exitcode,nodelist"
        told = self.admin("sacct", "-nPXD", f"--jobs={job}", f"--format={fields}", "--starttime=now-1days")
        return [Accounted(*line.split("|")) for line in told.splitlines()]

    def rpcs(self) -> dict[str, int]:
        """How often slurmctld was asked, by kind of message, since it started."""
        return _counts(self.admin("sdiag"))

    def rpcs_of_user(self) -> int:
        """How often the ordinary user asked slurmctld, since it started."""
        table = self.admin("sdiag").partition("statistics by user")[2]
        found = re.search(rf"^\s*{self.user or 'root'}\s+\(\s*\d+\) count:(\d+)", table, re.MULTILINE)
        return int(found[1]) if found else 0

    def database_rpcs(self) -> dict[str, int]:
        """How often slurmdbd was asked, by kind of message."""
        return _counts(self.admin("sacctmgr", "show", "stats"))

    def idle(self) -> int:
        return len(self.admin("sinfo", "-hN", "-p", "low", "-t", "idle", "-o", "%N").split())

    def until_idle(self, *, seconds: float = 60) -> None:
        self.until(lambda: self.idle() == len(NODES), seconds=seconds, hint="every node is idle")

    def until(self, what: Callable[[], object], *, seconds: float = 90, hint: str = "") -> object:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := what():
                return value
            time.sleep(0.2)
        raise AssertionError(f"not within {seconds} s: {hint}\n{self.story()}")

    def story(self) -> str:
        parts = [self._admin("sinfo", "-N", "-l").stdout, self._admin("squeue", "-l").stdout]
        parts += [
            f"--- {log}\n{log.read_text(errors='replace')[-2000:]}" for log in self.root.glob("log/slurmctld.log")
        ]
        return "\n".join(parts)

    def processes(self, *needles: str, node: str | None = None, tasks_only: bool = False) -> list[int]:
        """Ids of this cluster's processes with all needles in the command line; `node`: of tasks there."""
        where = f"SLURMD_NODENAME={node}".encode()
        daemons = {process.pid for process in self._daemons.values()}
        found = []
        for pid in proc.others():
            environment = proc.environment(pid)
            if b"SLURM_CONF=" + os.fsencode(self.root) + b"/" not in environment:
                continue
            if node is not None and where not in environment.split(b"\0"):
                continue
            if tasks_only and (pid in daemons or b"SLURM_JOB_ID=" not in environment):
                continue
            command = proc.command(pid).replace(b"\0", b" ").decode(errors="replace")
            if all(needle in command for needle in needles):
                found.append(pid)
        return found

    # Parts of the start

    def _take_lock(self) -> None:
        """The first place that no other session has."""
        end = time.monotonic() + LOCK_WAIT
        while time.monotonic() < end:
            for place in PLACES:
                lock = _locked(place)
                if lock is not None:
                    self.root, self._lock = place, lock
                    return
            time.sleep(1)
        raise AssertionError(f"{len(PLACES)} sessions on this machine have a Slurm test bed each: wait for one to end")

    def _sweep_leftovers(self) -> None:
        """End what a session that was killed has left, by the ids that it wrote down and the place that they name."""
        with contextlib.suppress(FileNotFoundError):
            for line in (self.root / "processes").read_text().splitlines():
                recorded, started = line.split()
                if proc.started(int(recorded)) == started:
                    proc.send(int(recorded), signal.SIGKILL)
        for pid in self.processes():
            proc.send(pid, signal.SIGKILL)
        self._forget_hosts()
        if self.root.exists() and self.root.stat().st_uid != 0:
            raise Unavailable(f"{self.root} is not root's: remove it")
        shutil.rmtree(self.root, ignore_errors=True)

    def _forget_hosts(self) -> None:
        """Take the nodes' names out of /etc/hosts, unless another session needs them."""
        with _hosts_locked():
            others = [_locked(place) for place in PLACES if place != self.root]
            if None not in others:
                layout.remove_hosts()
            for lock in others:
                if lock is not None:
                    lock.close()

    def _open_directories(self) -> None:
        """Nodes and user see the interpreter and what is shown also below directories that are closed to others."""
        wanted = {
            *self._shown,
            Path(sys.prefix),
            Path(sys.base_prefix).resolve(),
            Path(sys.executable).resolve().parent,
        }
        script = layout.opening(wanted, self.root / "open")
        if script is None:
            return
        stay = f"{script}\necho ready\nexec sleep infinity"
        self._spawn("keeper", ["unshare", "--mount", "--propagation", "private", "sh", "-c", stay])
        said = self.root / "log" / "keeper.log"
        self.until(lambda: "ready" in said.read_text() or not self.alive("keeper"), hint="the directories are open")
        if self.alive("keeper"):
            self._prefix = ["nsenter", f"--mount=/proc/{self._daemons['keeper'].pid}/ns/mnt"]

    def _make_user(self) -> None:
        (self.root / "home" / "root").mkdir(exist_ok=True)
        user = self._user_here
        home = self.root / "home" / user
        try:
            pwd.getpwnam(user)
        except KeyError:
            make = ["useradd", "--system", "--no-create-home", "--home-dir", str(home), "--shell", "/bin/bash", user]
            subprocess.run(make, check=True, capture_output=True)
        self.user = user
        home.mkdir(exist_ok=True)
        self.own(home)
        shutil.chown(self.root / "work", user)
        self.no_user = self._what_is_closed(user)
        if self.no_user is not None:
            self.user = None
        compiled = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or f"{sys.prefix}/torch_extensions")
        if compiled.is_dir():
            # A lock would wait for ever for a build that another session has begun and that nobody ends here.
            shutil.copytree(compiled, self.operators, ignore=shutil.ignore_patterns("lock", "*-lock"))
        for path in (self.operators, *self.operators.rglob("*")):
            if path.exists():
                self.own(path)

    def _what_is_closed(self, user: str) -> str | None:
        """Why the user can't have the jobs: it can't run the interpreter, or read a program of what is shown."""
        ran = self.run(sys.executable, "-c", "", check=False)
        if ran.returncode != 0:
            return f"{user} cannot run {sys.executable}: {ran.stderr.strip()[-300:]}"
        for path in self._shown:
            hidden = ("-mindepth", "1", "-maxdepth", "2", "-name", ".*", "-prune")
            look = ("find", str(path), *hidden, "-o", "-name", "*.py", "-not", "-readable", "-print", "-quit")
            seen = self.run(*look, check=False)
            if seen.returncode != 0 or seen.stdout:
                return f"{user} cannot read all of {path}: {(seen.stdout + seen.stderr).strip()[-300:]}"
        return None

    # Processes

    def _admin(self, *argv: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        environment = self._daemon_environment(self.conf)
        try:
            return subprocess.run(argv, env=environment, text=True, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(argv, 124, "", f"not within {error.timeout} s")

    def _daemon_environment(self, conf: Path | None = None) -> dict[str, str]:
        return {
            "PATH": DAEMON_PATH,
            "LANG": "C.UTF-8",
            "SLURM_CONF": str(conf or self.root / "etc" / "daemons" / "slurm.conf"),
            "MYSQL_UNIX_PORT": str(self.root / "mysql" / "mysqld.sock"),
        }

    def _spawn(self, name: str, argv: Sequence[str], *, conf: Path | None = None) -> None:
        with (self.root / "log" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                argv,
                env=self._daemon_environment(conf),
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._daemons[name] = process
        with (self.root / "processes").open("a") as record:
            record.write(f"{process.pid} {proc.started(process.pid)}\n")

    def _end(self, name: str, number: int) -> None:
        process = self._daemons.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _locked(place: Path) -> IO[str] | None:
    """The lock of a place, for as long as the file is open; None when another session has it."""
    lock = place.with_suffix(".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


@contextlib.contextmanager
def _hosts_locked() -> Iterator[None]:
    """One bed at a time has /etc/hosts."""
    with HOSTS_LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _named(host: str) -> list[str]:
    """The start of a command that runs under a host name of its own."""
    return ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host]


def _counts(told: str) -> dict[str, int]:
    """Counts by kind of message from the tables of `sdiag` and `sacctmgr show stats`."""
    table = told.partition("statistics by message type")[2].partition("statistics by user")[0]
    return {name: int(count) for name, count in re.findall(r"^\s*(\w+)\s+\(\s*\d+\) count:(\d+)", table, re.MULTILINE)}
