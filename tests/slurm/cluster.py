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
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

NODES = tuple(f"on{number:02d}" for number in range(1, 9))
HEAD = "onctl"
ADDRESSES = {HEAD: "127.0.1.10"} | {node: f"127.0.1.{number}" for number, node in enumerate(NODES, start=11)}
GPUS = 8  # of each node
USER = "orch-test"
ROOT = Path("/var/tmp/orch-slurm-test-bed")  # a fixed place, so that what a killed session left behind is found
REPOSITORY = Path(__file__).resolve().parents[2]
DAEMON_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEEDED = (
    "slurmctld", "slurmd", "slurmdbd", "sbatch", "sacctmgr", "mariadbd", "mariadb-install-db", "munge", "munged",
    "setpriv", "unshare", "nsenter", "useradd",
)  # fmt: skip
KILL_WAIT = 3  # seconds from TERM to KILL of a job
NODE_TIMEOUT = 10  # seconds without an answer after which a node is lost

SLURM_CONF = """\
ClusterName=orchtest
SlurmctldHost={head}({head_address})
SlurmUser=slurm
SlurmdUser=root
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=cred_expire=5
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
SlurmctldDebug=info
SlurmdDebug=info
SlurmdParameters=config_overrides
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={root}/etc/task-prolog
SwitchType=switch/none
ReturnToService=2
JobRequeue=1
SlurmctldTimeout=60
SlurmdTimeout={node_timeout}
InactiveLimit=0
KillWait={kill_wait}
MinJobAge=300
Waittime=0
MaxJobCount=20000
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_min_interval=2000000,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={head_address}
AccountingStoragePort={dbd_port}
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=low Nodes=ALL Default=YES MaxTime=1-0 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=15
PartitionName=bare Nodes=ALL MaxTime=1-0 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=high Nodes=ALL MaxTime=1-0 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=small Nodes={first} MaxTime=1-0 MaxNodes=1 State=UP PriorityTier=1
"""
NODE = (
    "NodeName={node} NodeAddr={address} CPUs=64 Sockets=2 CoresPerSocket=32 ThreadsPerCore=1 RealMemory=64000 "
    "Gres=gpu:{gpus} Feature=fake State=UNKNOWN"
)
# Daemons listen on the address of their own host name. Clients must not: a step's tasks answer to the address that srun
# called from, which on loopback is 127.0.0.1 whatever the host's name is.
DAEMONS_CONF = """\
include {root}/etc/slurm.conf
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
"""
DBD_CONF = """\
AuthType=auth/munge
DbdHost={head}
DbdAddr={head_address}
DbdPort={dbd_port}
CommunicationParameters=NoInAddrAny
SlurmUser=slurm
LogFile={root}/log/slurmdbd.log
PidFile={root}/run/slurmdbd.pid
DebugLevel=info
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct
"""
HOSTS_BEGIN, HOSTS_END = "# orch slurm test bed begin", "# orch slurm test bed end"


class Unavailable(Exception):
    """This machine cannot have the test bed; the message says why."""


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
        return f"the Slurm test bed needs {', '.join(missing)}: tools/system-packages.sh installs them"
    if os.geteuid() != 0:
        return "the Slurm test bed needs root: slurmd starts jobs as their users"
    if subprocess.run(["unshare", "--uts", "--mount", "true"], check=False, capture_output=True).returncode != 0:
        return "the Slurm test bed needs host names of its own: unshare --uts --mount is not allowed here"
    return None


class Cluster:
    """The cluster, from `start` to `stop`. Its daemons are children of this process."""

    def __init__(self) -> None:
        self.root = ROOT
        self.conf = ROOT / "etc" / "slurm.conf"
        self.user: str | None = None
        self.no_user: str | None = None  # why jobs run as root instead
        self._names = itertools.count(1)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._prefix: list[str] = []
        self._lock: IO[str] | None = None
        self._ports: dict[str, int] = {}

    # Up and down

    def start(self) -> None:
        if reason := why_not():
            raise Unavailable(reason)
        self._take_lock()
        self._sweep_leftovers()
        self._lay_out()
        self._add_hosts()
        self._start_munge()
        self._open_directories()
        self._make_user()
        self.start_mariadb()
        self.start_slurmdbd()
        if "orchtest" not in self.admin("sacctmgr", "-nP", "show", "cluster", "format=cluster"):
            self.admin("sacctmgr", "-i", "add", "cluster", "orchtest")
        self.start_slurmctld()
        for node in NODES:
            self.start_slurmd(node)
        self.until_idle()

    def stop(self, *, keep: bool = False) -> None:
        """End every process, in the order in which nobody waits for another; `keep` leaves the logs on disk."""
        with contextlib.suppress(Exception):
            self.admin("scancel", "--full", *self.jobs(), timeout=10)
        for name in (*NODES, "slurmctld", "slurmdbd", "mariadbd", "munged", "keeper"):
            self._end(name, signal.SIGKILL if name in {*NODES, "keeper"} else signal.SIGTERM)
        for pid in self.processes():
            _send(pid, signal.SIGKILL)
        _remove_hosts()
        if not keep:
            shutil.rmtree(self.root, ignore_errors=True)
        if self._lock:
            self._lock.close()

    def heal(self) -> None:
        """As new for the next test: no jobs, no orphans, every daemon alive, every node idle."""
        for name in ("slurmctld", *NODES):
            if self.alive(name):
                self.send(name, signal.SIGCONT)
        for name, restart in (
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
        self.until(lambda: not self.jobs(), seconds=60, hint="no job is left in the queue")
        for pid in self.processes(tasks_only=True):
            _send(pid, signal.SIGKILL)
        self.until_idle(seconds=60)

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

    def until(self, what, *, seconds: float = 30, hint: str = "") -> object:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := what():
                return value
            time.sleep(0.1)
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
        for pid, command, environment in _everything():
            if b"SLURM_CONF=" + os.fsencode(self.root) + b"/" not in environment:
                continue
            if node is not None and where not in environment.split(b"\0"):
                continue
            if tasks_only and (pid in daemons or b"SLURM_JOB_ID=" not in environment):
                continue
            if all(needle in command for needle in needles):
                found.append(pid)
        return found

    # Parts of the start

    def _take_lock(self) -> None:
        lock = ROOT.with_suffix(".lock").open("a+")
        end = time.monotonic() + 60
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    lock.seek(0)
                    raise AssertionError(f"another session (process {lock.read()}) has the Slurm test bed") from None
                time.sleep(0.5)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _sweep_leftovers(self) -> None:
        """End what a session that was killed has left, by the ids that it wrote down and the place that they name."""
        with contextlib.suppress(FileNotFoundError):
            for line in (self.root / "processes").read_text().splitlines():
                pid, started = line.split()
                if _started(int(pid)) == started:
                    _send(int(pid), signal.SIGKILL)
        for pid in self.processes():
            _send(pid, signal.SIGKILL)
        _remove_hosts()
        if self.root.exists() and self.root.stat().st_uid != 0:
            raise Unavailable(f"{self.root} is not root's: remove it")
        shutil.rmtree(self.root, ignore_errors=True)

    def _lay_out(self) -> None:
        for name in ("etc/daemons", "state", "log", "run", "spool", "mysql", "dev", "bin", "home", "work", "open"):
            (self.root / name).mkdir(parents=True, mode=0o755)
        for name in ("state", "log", "run"):
            shutil.chown(self.root / name, "slurm", "slurm")
        shutil.chown(self.root / "mysql", "mysql", "mysql")
        for number in range(GPUS):
            device = self.root / "dev" / f"nvidia{number}"
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # /dev/null under another name
            device.chmod(0o666)
        self._ports = dict(zip(("ctld_port", "slurmd_port", "dbd_port"), _free_ports(), strict=False))
        nodes = "\n".join(NODE.format(node=node, address=ADDRESSES[node], gpus=GPUS) for node in NODES)
        values = {
            "root": self.root, "head": HEAD, "head_address": ADDRESSES[HEAD], "nodes": nodes, "first": NODES[0],
            "kill_wait": KILL_WAIT, "node_timeout": NODE_TIMEOUT, **self._ports,
        }  # fmt: skip
        etc = self.root / "etc"
        self.conf.write_text(SLURM_CONF.format(**values))
        (etc / "daemons" / "slurm.conf").write_text(DAEMONS_CONF.format(**values))
        gres = f"NodeName={NODES[0][:-1]}[1-{len(NODES)}] Name=gpu File={self.root}/dev/nvidia[0-{GPUS - 1}]\n"
        (etc / "gres.conf").write_text(gres)
        (etc / "daemons" / "gres.conf").write_text(gres)
        (etc / "slurmdbd.conf").write_text(DBD_CONF.format(**values))
        (etc / "slurmdbd.conf").chmod(0o600)
        shutil.chown(etc / "slurmdbd.conf", "slurm", "slurm")
        listed = "".join(f"echo 'GPU {number}: Fake (UUID: GPU-{number})'\n" for number in range(GPUS))
        tool = self.root / "bin" / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{listed}")
        tool.chmod(0o755)
        prolog = etc / "task-prolog"
        prolog.write_text(f"#!/bin/sh\necho export SLURM_CONF={self.conf}\n")
        prolog.chmod(0o755)

    def _add_hosts(self) -> None:
        lines = [HOSTS_BEGIN, *(f"{address} {name}" for name, address in ADDRESSES.items()), HOSTS_END]
        text = Path("/etc/hosts").read_text()
        with Path("/etc/hosts").open("a") as hosts:
            hosts.write(("" if text.endswith("\n") else "\n") + "\n".join(lines) + "\n")

    def _start_munge(self) -> None:
        def answers() -> bool:
            return subprocess.run(["munge", "-n"], check=False, capture_output=True).returncode == 0

        if answers():
            return
        key = Path("/etc/munge/munge.key")
        if not key.exists():
            key.write_bytes(os.urandom(1024))
            shutil.chown(key, "munge", "munge")
            key.chmod(0o400)
        for place in ("/run/munge", "/var/lib/munge"):
            Path(place).mkdir(parents=True, exist_ok=True)
            shutil.chown(place, "munge", "munge")
        own = self.root / "munge"
        own.mkdir()
        shutil.chown(own, "munge", "munge")
        files = [f"--{name}-file={own}/munged.{name}" for name in ("pid", "log", "seed")]
        become = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "--"]
        self._spawn("munged", [*become, "munged", "--foreground", "--force", *files])
        self.until(answers, hint="munged answers")

    def _open_directories(self) -> None:
        """Nodes and user see the interpreter and this checkout also below directories that are closed to others.

        In a mount namespace of their own an empty open directory lies over each closed one, with what is needed in it.
        """
        wanted = {REPOSITORY, Path(sys.prefix), Path(sys.base_prefix).resolve(), Path(sys.executable).resolve().parent}
        closed: dict[Path, list[Path]] = {}
        for path in sorted(wanted):
            if above := next((parent for parent in reversed(path.parents) if not parent.stat().st_mode & 0o001), None):
                closed.setdefault(above, []).append(path)
        if not closed:
            return
        lines = ["set -e"]
        for above, paths in closed.items():
            kept = [path for path in paths if not any(other in path.parents for other in paths)]
            stashes = [self.root / "open" / str(path).replace("/", "_") for path in kept]
            for path, stash in zip(kept, stashes, strict=True):
                stash.mkdir()
                lines.append(shlex.join(["mount", "--rbind", str(path), str(stash)]))
            lines.append(shlex.join(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(above)]))
            for path, stash in zip(kept, stashes, strict=True):
                lines.append(shlex.join(["mkdir", "-p", "-m", "755", str(path)]))
                lines.append(shlex.join(["mount", "--rbind", str(stash), str(path)]))
        lines += ["echo ready", "exec sleep infinity"]
        keep = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(lines)]
        self._spawn("keeper", keep)
        said = self.root / "log" / "keeper.log"
        self.until(lambda: "ready" in said.read_text() or not self.alive("keeper"), hint="the directories are open")
        if self.alive("keeper"):
            self._prefix = ["nsenter", f"--mount=/proc/{self._daemons['keeper'].pid}/ns/mnt"]

    def _make_user(self) -> None:
        (self.root / "home" / "root").mkdir(exist_ok=True)
        home = self.root / "home" / USER
        try:
            pwd.getpwnam(USER)
        except KeyError:
            make = ["useradd", "--system", "--no-create-home", "--home-dir", str(home), "--shell", "/bin/bash", USER]
            subprocess.run(make, check=True, capture_output=True)
        self.user = USER
        home.mkdir(exist_ok=True)
        self.own(home)
        shutil.chown(self.root / "work", USER)
        tried = self.run(sys.executable, "-c", "import orchestrator.agent", cwd=REPOSITORY, check=False)
        if tried.returncode != 0:
            self.user = None
            self.no_user = f"{USER} cannot use {sys.executable} with {REPOSITORY}: {tried.stderr.strip()[-300:]}"
        compiled = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or f"{sys.prefix}/torch_extensions")
        if compiled.is_dir():
            shutil.copytree(compiled, self.operators)
        for path in (self.operators, *self.operators.rglob("*")):
            if path.exists():
                self.own(path)

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
            record.write(f"{process.pid} {_started(process.pid)}\n")

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


def _named(host: str) -> list[str]:
    """The start of a command that runs under a host name of its own."""
    return ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host]


def _free_ports() -> Iterator[int]:
    """Ports that nobody listens on at any address of the cluster, below those that the kernel hands out."""
    for port in range(21000, 32000):
        with contextlib.ExitStack() as stack:
            try:
                for address in ("0.0.0.0", *ADDRESSES.values()):
                    sock = stack.enter_context(socket.socket())
                    sock.bind((address, port))
                    stack.pop_all().close()
            except OSError:
                continue
            yield port


def _counts(told: str) -> dict[str, int]:
    """Counts by kind of message from the tables of `sdiag` and `sacctmgr show stats`."""
    table = told.partition("statistics by message type")[2].partition("statistics by user")[0]
    return {name: int(count) for name, count in re.findall(r"^\s*(\w+)\s+\(\s*\d+\) count:(\d+)", table, re.MULTILINE)}


def _remove_hosts() -> None:
    """Take our lines out of /etc/hosts: what follows them is written over them before the file is cut."""
    with Path("/etc/hosts").open("r+") as hosts:
        text = hosts.read()
        pattern = re.compile(rf"^{re.escape(HOSTS_BEGIN)}\n.*?^{re.escape(HOSTS_END)}\n", re.MULTILINE | re.DOTALL)
        left = pattern.sub("", text)
        if left != text:
            hosts.seek(0)
            hosts.write(left)
            hosts.truncate()


def _everything() -> Iterator[tuple[int, str, bytes]]:
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = Path(entry.path, "cmdline").read_bytes()
            environment = Path(entry.path, "environ").read_bytes()
        except OSError:
            continue
        yield int(entry.name), command.replace(b"\0", b" ").decode(errors="replace"), environment


def _started(pid: int) -> str | None:
    """When a process started, which tells it from a later one of the same id."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
