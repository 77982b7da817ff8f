"""The command lines of launchers, and the port where ranks meet."""

from __future__ import annotations

import random
import socket
import sys
from pathlib import Path
from typing import Callable, Mapping

from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.protocol.records import Claim
from orchestrator.job.system import proc

RANK_MODULE = "orchestrator.job.agent.rank"
_LOWEST = 20_000  # of the ports for ranks to meet at: below are the well-known ones of other services
_TRIES = 50


def command(job: JobFile, claim: Claim, node: int, hostfile: Path, agent: int) -> list[str]:
    """What to run on `node` for the ranks of a generation. `agent`: the process that the launcher must die with.

    `hostfile` is written for a launcher that reads one. Raises OSError.
    """
    python = job.python or sys.executable
    argv = LAUNCHERS[job.launcher](job, claim, node, hostfile)
    return [python, "-m", "orchestrator.job.agent.launched", str(agent), *argv]


def _torchrun(job: JobFile, claim: Claim, node: int, _hostfile: Path) -> list[str]:
    # No restarts: its store is shared over restarts and gloo then fails; the agents restart all nodes together.
    return [
        "torch.distributed.run",
        *(f"--nnodes={job.nodes}", f"--nproc-per-node={job.processes}", "--node-rank", str(node)),
        f"--master-addr={claim.address}",
        f"--master-port={claim.port}",
        f"--rdzv-conf=timeout={int(job.timeouts.join)}",
        *("--max-restarts=0", "-m", RANK_MODULE),
    ]


def _deepspeed(job: JobFile, claim: Claim, node: int, hostfile: Path) -> list[str]:
    # --no_ssh: once per node, no ssh. --no_local_rank: a script gets its own arguments only.
    # Without ssh the hostfile only counts nodes and slots: it is the claim's, whatever other hosts a site's file names.
    hostfile.write_text("".join(f"node-{number} slots={job.processes}\n" for number in range(claim.nodes)))
    return [
        "deepspeed.launcher.runner",
        *(f"--hostfile={hostfile}", "--no_ssh", f"--node_rank={node}"),
        f"--num_gpus={job.processes}",
        f"--master_addr={claim.address}",
        f"--master_port={claim.port}",
        *("--no_local_rank", "--module", RANK_MODULE),
    ]


_Command = Callable[[JobFile, Claim, int, Path], list[str]]
LAUNCHERS: Mapping[str, _Command] = {"torchrun": _torchrun, "deepspeed": _deepspeed}


def free_port() -> int:
    """A TCP port that is free now. If another process takes it first, that generation fails and the next chooses again.

    Below those that the kernel gives to outgoing connections: any of these may be taken until the launcher listens.
    """
    end = _first_outgoing()
    for _ in range(_TRIES if end > _LOWEST else 0):
        port = random.randrange(_LOWEST, end)  # noqa: S311 - nothing depends on its being hard to guess
        if _is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _first_outgoing() -> int:
    limits = proc.read("sys/net/ipv4/ip_local_port_range").split()
    return int(limits[0]) if limits else 0


def default_address(nodes: int) -> str:
    """How other nodes reach this one if no address was given."""
    return "127.0.0.1" if nodes == 1 else socket.gethostname()
