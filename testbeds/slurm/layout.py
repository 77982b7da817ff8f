"""How the test bed looks on disk and on the network: its configuration, fake GPUs, addresses and names."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import socket
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

CLUSTER = "testbed"
NODES = tuple(f"on{number:02d}" for number in range(1, 9))
HEAD = "onctl"
ADDRESSES = {HEAD: "127.0.1.10"} | {node: f"127.0.1.{number}" for number, node in enumerate(NODES, start=11)}
GPUS = 8  # of each node
KILL_WAIT = 3  # seconds from TERM to KILL of a job
NODE_TIMEOUT = 10  # seconds without an answer after which a node is lost

SLURM_CONF = """\
ClusterName={cluster}
SlurmctldHost={head}({head_address})
SlurmUser=slurm
SlurmdUser=root
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=cred_expire=5,socket={munge}
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
AccountingStoragePass={munge}
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
AuthInfo=socket={munge}
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
HOSTS = Path("/etc/hosts")
HOSTS_BEGIN, HOSTS_END = "# slurm testbed begin", "# slurm testbed end"


def lay_out(root: Path, ports: Iterator[int]) -> None:
    """Every file and directory that is there before the first daemon."""
    for name in ("etc/daemons", "state", "log", "run", "spool", "mysql", "dev", "bin", "home", "work", "open"):
        (root / name).mkdir(parents=True, mode=0o755)
    for name in ("state", "log", "run"):
        shutil.chown(root / name, "slurm", "slurm")
    shutil.chown(root / "mysql", "mysql", "mysql")
    for number in range(GPUS):
        device = root / "dev" / f"nvidia{number}"
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # /dev/null under another name
        device.chmod(0o666)
    listed = "".join(f"echo 'GPU {number}: Fake (UUID: GPU-{number})'\n" for number in range(GPUS))
    _program(root / "bin" / "nvidia-smi", listed)
    _program(root / "etc" / "task-prolog", f"echo export SLURM_CONF={root}/etc/slurm.conf\n")
    _write_configuration(root, ports)


def munge_socket(root: Path) -> Path:
    """Where this bed's own munged answers: the machine's, if there is one, belongs to others."""
    return root / "munge" / "munge.socket"


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


def _write_configuration(root: Path, ports: Iterator[int]) -> None:
    values = {
        "root": root,
        "cluster": CLUSTER,
        "munge": munge_socket(root),
        "head": HEAD,
        "head_address": ADDRESSES[HEAD],
        "nodes": "\n".join(NODE.format(node=node, address=ADDRESSES[node], gpus=GPUS) for node in NODES),
        "first": NODES[0],
        "kill_wait": KILL_WAIT,
        "node_timeout": NODE_TIMEOUT,
        **dict(zip(("ctld_port", "slurmd_port", "dbd_port"), ports, strict=False)),
    }
    etc = root / "etc"
    (etc / "slurm.conf").write_text(SLURM_CONF.format(**values))
    (etc / "daemons" / "slurm.conf").write_text(DAEMONS_CONF.format(**values))
    gres = f"NodeName={NODES[0][:-1]}[1-{len(NODES)}] Name=gpu File={root}/dev/nvidia[0-{GPUS - 1}]\n"
    (etc / "gres.conf").write_text(gres)
    (etc / "daemons" / "gres.conf").write_text(gres)
    (etc / "slurmdbd.conf").write_text(DBD_CONF.format(**values))
    (etc / "slurmdbd.conf").chmod(0o600)
    shutil.chown(etc / "slurmdbd.conf", "slurm", "slurm")


def free_ports(first: int) -> Iterator[int]:
    """Ports from `first` that are free at every address of the cluster, below those that the kernel hands out."""
    for port in range(first, 32000):
        with contextlib.ExitStack() as stack:
            try:
                for address in ("0.0.0.0", *ADDRESSES.values()):
                    sock = stack.enter_context(socket.socket())
                    sock.bind((address, port))
                    stack.pop_all().close()
            except OSError:
                continue
            yield port


def add_hosts() -> None:
    """Give the nodes their names."""
    text = HOSTS.read_text()
    if HOSTS_BEGIN in text:
        return  # another bed's, which are the same: beds differ by their ports
    lines = [HOSTS_BEGIN, *(f"{address} {name}" for name, address in ADDRESSES.items()), HOSTS_END]
    with HOSTS.open("a") as hosts:
        hosts.write(("" if text.endswith("\n") else "\n") + "\n".join(lines) + "\n")


def remove_hosts() -> None:
    """Take our lines out of /etc/hosts: what follows them is written over them before the file is cut."""
    with HOSTS.open("r+") as hosts:
        text = hosts.read()
        pattern = re.compile(rf"^{re.escape(HOSTS_BEGIN)}\n.*?^{re.escape(HOSTS_END)}\n", re.MULTILINE | re.DOTALL)
        left = pattern.sub("", text)
        if left != text:
            hosts.seek(0)
            hosts.write(left)
            hosts.truncate()


def opening(wanted: Iterable[Path], stashes: Path) -> str | None:
    """A shell script that, in a mount namespace of its own, shows everybody what is below directories closed to others.

    An empty open directory lies over each closed one, with what is wanted in it. None: nothing is closed.
    """
    closed: dict[Path, list[Path]] = {}
    for path in sorted(wanted):
        if above := next((parent for parent in reversed(path.parents) if not parent.stat().st_mode & 0o001), None):
            closed.setdefault(above, []).append(path)
    lines = ["set -e"]
    for above, paths in closed.items():
        kept = {path: stashes / str(path).replace("/", "_") for path in paths if not set(path.parents) & set(paths)}
        for path, stash in kept.items():
            lines.append(shlex.join(["mkdir", "-p", str(stash)]))
            lines.append(shlex.join(["mount", "--rbind", str(path), str(stash)]))
        lines.append(shlex.join(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(above)]))
        for path, stash in kept.items():
            lines.append(shlex.join(["mkdir", "-p", "-m", "755", str(path)]))
            lines.append(shlex.join(["mount", "--rbind", str(stash), str(path)]))
    return "\n".join(lines) if closed else None
