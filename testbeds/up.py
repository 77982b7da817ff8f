"""A test bed from a shell, until Ctrl-C or SIGTERM.

Usage: python -m testbeds.up slurm|ssh|kubernetes [--keep] [--hosts N] [--place N]
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from testbeds import Unavailable
from testbeds.kubernetes.cluster import Cluster as KubernetesCluster
from testbeds.slurm.cluster import Cluster as SlurmCluster
from testbeds.ssh import hosts


@contextlib.contextmanager
def slurm(asked: argparse.Namespace) -> Iterator[str]:
    cluster = SlurmCluster(Path.cwd())
    try:
        cluster.start()
        user = shlex.join(cluster.argv_prefix())
        yield f"export SLURM_CONF={cluster.conf}\n# its user, whose jobs use {cluster.root}/work: {user} COMMAND"
    finally:
        cluster.stop(keep=asked.keep)


@contextlib.contextmanager
def ssh(asked: argparse.Namespace) -> Iterator[str]:
    if reason := hosts.missing():
        raise Unavailable(reason)
    with contextlib.closing(hosts.Bed(asked.hosts)) as bed:
        yield f"ssh -F {bed.config} {bed.names[0]}  # or {', '.join(bed.names[1:])}; all of them see {bed.shared}"


@contextlib.contextmanager
def kubernetes(asked: argparse.Namespace) -> Iterator[str]:
    cluster = KubernetesCluster(asked.place)
    try:
        cluster.start()
        yield f"# seconds: {cluster.timings}\nexport KUBECONFIG={cluster.kubeconfig}"
    finally:
        cluster.stop(keep=asked.keep)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    beds = {"slurm": slurm, "ssh": ssh, "kubernetes": kubernetes}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bed", choices=beds)
    parser.add_argument("--keep", action="store_true", help="leave the logs of Slurm or Kubernetes on disk")
    parser.add_argument("--hosts", type=int, default=2, help="how many to reach by ssh")
    parser.add_argument("--place", type=int, help="of Kubernetes: 0 to 5; left out, the first that is free")
    asked = parser.parse_args()
    try:
        with beds[asked.bed](asked) as told:
            print(told, flush=True)
            signal.pause()
    except KeyboardInterrupt:
        pass
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
