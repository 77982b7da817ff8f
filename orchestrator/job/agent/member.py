"""This node's part in one generation: its launcher, and that it ends together with the other nodes'."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping

from orchestrator.job.agent import environment, evidence, fence, launcher, linux, log
from orchestrator.job.agent.codes import FENCED, Ended
from orchestrator.job.agent.evidence import Silent
from orchestrator.job.agent.heartbeat import Beat, Stillness
from orchestrator.job.agent.log_tail import LogTail, tail
from orchestrator.job.agent.options import Options
from orchestrator.job.agent.peers import Peers
from orchestrator.job.agent.pod import Pod
from orchestrator.job.agent.preflight import Device
from orchestrator.job.agent.processes import Inbox, Launcher
from orchestrator.job.checkpoints import generations
from orchestrator.job.protocol import files
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.encoding import to_json
from orchestrator.job.protocol.files import generation_dir
from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.protocol.records import Claim, Fault, NodeExit, RankProcess, StopRequest
from orchestrator.job.system import proc
from orchestrator.job.system.atomic import reserve, write_reserved

TICK = 0.2  # seconds between two reads of the other nodes' records; the end of a child wakes the agent at once
DIAGNOSIS_SECONDS = 2.0  # that a launcher has to log why a rank died, before all is ended
LEAVE_SECONDS = 60.0  # that a launcher has to end after all of its ranks attested their end
PLAIN_STOP_SECONDS = 35.0  # that a script without a Session has to end after a SIGTERM
STACKS_SECONDS = 0.5  # for hanging ranks to write where they hang
RESERVED = 64 * 1024  # bytes on the disk from the start, for records that must be written when it is full


@dataclass
class Node:
    """What does not change while this agent lives."""

    options: Options
    job: JobFile
    inbox: Inbox
    beat: Beat
    device: Device
    base: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    pod: Pod | None = None

    @property
    def root(self) -> Path:
        return self.job.root


class Member:
    """Holds the node's launcher from `start` to the exit record. `result` is None until then."""

    def __init__(self, node: Node, claim: Claim) -> None:
        self.node, self.claim = node, claim
        self.directory = generation_dir(node.root, claim.generation)
        self.peers = Peers(node.root, claim, heartbeat=node.job.timeouts.heartbeat)
        self.result: str | None = None
        self.overtaken = False  # node 0 has made the next claim already
        self.faults: list[Fault] = []  # detected by this agent, of any node
        self.number = node.options.node
        first = self.number * node.job.processes
        self._ranks = range(first, first + node.job.processes)
        logs = {f"rank {rank}": self.directory / files.LOGS / files.rank_log(rank) for rank in self._ranks}
        self._launcher_log = self.directory / files.LOGS / files.launcher_log(self.number)
        self._log_tail = LogTail(logs)
        self._stillness = Stillness()
        self._started = time.monotonic()
        self._pids: dict[int, int] = {}
        self._silent: dict[int, Silent] = {}
        self._asked: set[int] = set()
        self._stop_since: float | None = None
        self._plain_stop = False
        self._oom_kills = linux.out_of_memory_kills()
        self._launcher: Launcher | None = None

    def start(self) -> None:
        """Starts the launcher. Raises OSError."""
        options, job, claim = self.node.options, self.node.job, self.claim
        self.node.beat.move(self.directory / files.heartbeat(self.number))
        for name in (files.OUTCOME, files.node_exit(self.number), files.stop(self.number)):
            if name != files.OUTCOME or self.number == 0:
                reserve(self.directory / name, RESERVED)
        env = environment.make(
            job, options, claim, base=self.node.base, secrets=self.node.secrets, cpu=self.node.device.is_cpu
        )
        hostfile = self.directory / files.hostfile(self.number)
        self._launcher = Launcher(
            launcher.command(job, claim, self.number, hostfile, os.getpid()),
            env,
            self.directory,
            self._launcher_log,
            # The directory too: two runs that were started by hand may bear the same start.
            {
                "ORCH_START": f"{options.start}/{claim.generation}/{self.number}",
                "ORCH_GENERATION_DIR": str(self.directory),
            },
        )

    def update(self) -> None:
        """One round: read what has happened here and elsewhere, and act on it. Raises Ended when fenced."""
        if self._launcher is not None:
            self._launcher.reap()
        self._log_tail.pump()
        if self.node.pod is not None:
            self.node.pod.update()
        self.peers.refresh()
        if self.result is None:
            self._pass_on_stop()
        if self.result is None:
            self._watch_ranks()
            self._judge()
        self._check_fence()

    def close(self) -> None:
        """Ends whatever is left, on any way out."""
        if self._launcher is not None and self.result is None:
            self._end("killed")

    def age(self) -> float:
        """Seconds since this node began with the generation."""
        return time.monotonic() - self._started

    def progress_stands_still(self) -> float:
        """Seconds since rank 0 last recorded something; 0.0 before its first record."""
        progress, metrics = self.directory / files.PROGRESS, self.directory / files.METRICS
        seen = [path.stat().st_mtime_ns for path in (progress, metrics) if path.exists()]
        return self._stillness.seconds("progress", seen) if seen else 0.0

    def end_hung(self, sentence: str) -> None:
        """Has every rank here write where it hangs, then ends them."""
        for pid in self._pids.values():
            _signal(pid, signal.SIGUSR2)
        time.sleep(STACKS_SECONDS)
        self.faults.append(Fault(self.number, time.time(), "Hung", sentence, cause=Cause.HUNG))
        self._end("failed")

    def end(self) -> None:
        """Ends the ranks here because the generation can't go on."""
        if self.result is None:
            self._end("killed")

    def _pass_on_stop(self) -> None:
        """Pass a request to stop to the ranks: they agree on it at the next step boundary, save and exit."""
        asked = self.node.inbox.stop
        if asked is not None and self.number not in self.peers.stops:
            log.line(self.number, f"{asked.name}: asking the ranks to save and leave")
            record = StopRequest(asked.name, time.time())
            write_reserved(self.directory / files.stop(self.number), to_json(record))
            self.peers.refresh()
        if not self.peers.stops:
            return
        if self._stop_since is None:
            self._stop_since = time.monotonic()
        sessions = list((self.directory / files.RANKS).glob(files.rank_session("*")))
        # Where no rank understands a request, there is nothing to wait for.
        self._plain_stop = self._plain_stop or not sessions
        if self._plain_stop and not self._pids:
            self._end("stopped")
            return
        for rank, pid in self._pids.items():
            understands = (self.directory / files.RANKS / files.rank_session(rank)).exists()
            if rank not in self._asked and (self._plain_stop or understands):
                self._asked.add(rank)
                _signal(pid, signal.SIGTERM if self._plain_stop else signal.SIGUSR1)

    def _watch_ranks(self) -> None:
        """Notes ranks of this node that have died without a record; torchrun can take half a minute to log it."""
        for rank in self._ranks:
            path = self.directory / files.RANKS / files.rank_process(rank)
            record = read(RankProcess, path) if rank not in self._pids else None
            if record is not None:
                self._pids[rank] = record.pid
            pid = self._pids.get(rank)
            if pid is not None and rank not in self._silent and not proc.is_running(pid) and not self._has_record(rank):
                self._silent[rank] = Silent(rank, time.time())

    def _has_record(self, rank: int) -> bool:
        records = self.directory / files.RANKS
        return any((records / name).exists() for name in (files.rank_done(rank), files.rank_error(rank)))

    def _has_ended_in_error(self, rank: int) -> bool:
        path = self.directory / files.RANKS / files.rank_error(rank)
        if not path.exists():
            return False
        return not proc.is_running(self._pids.get(rank, 0)) or time.time() - path.stat().st_mtime > DIAGNOSIS_SECONDS

    def _judge(self) -> None:
        """Ends this node's part when it is over, here or elsewhere."""
        if self._launcher is None:
            return
        if self.peers.outcome is not None or any(_is_failure(record) for record in self.peers.exits.values()):
            self._end("stopped" if self._stop_since is not None else "killed")
        elif self._launcher.status is not None or self._is_overdue():
            self._end(self._own_result())

    def _own_result(self) -> str:
        if all((self.directory / files.RANKS / files.rank_done(rank)).exists() for rank in self._ranks):
            return "done"
        stopped = self._stop_since is not None or (self.directory / files.STOPPED).exists()
        return "stopped" if stopped else "failed"

    def _is_overdue(self) -> bool:
        """Whether a launcher that is still there has had its time."""
        now, clock = time.monotonic(), time.time()
        if self._stop_since is not None:
            grace = self.node.job.timeouts.grace
            return now - self._stop_since > (min(grace, PLAIN_STOP_SECONDS) if self._plain_stop else grace)
        if (self.directory / files.STOPPED).exists():
            return self._stillness.seconds("stopped", True) > LEAVE_SECONDS
        if self._silent:
            logged = evidence.statuses(tail(self._launcher_log), self._ranks.start)
            waited = clock - min(entry.time for entry in self._silent.values())
            return bool(logged) or waited > DIAGNOSIS_SECONDS
        if any(self._has_ended_in_error(rank) for rank in self._ranks):
            return True
        all_done = len(evidence.done_ranks(self.directory)) == self.node.job.world_size
        return all_done and self._stillness.seconds("done", True) > LEAVE_SECONDS

    def _end(self, result: str) -> None:
        """Ends all processes of this node and writes its exit record."""
        assert self._launcher is not None
        status = self._launcher.status
        if result == "failed":
            faults = evidence.local_faults(
                self.directory,
                self.number,
                silent=self._silent.values(),
                status=status,
                ranks=self._ranks,
                now=time.time(),
            )
            self.faults.extend(faults)
        left = self._launcher.kill(list(self._pids.values()))
        self._log_tail.pump(final=True)
        if result == "failed":  # otherwise a launcher logs only noise about its own end
            LogTail({f"launcher {self.number}": self._launcher_log}).pump(final=True)
        self.result = result
        record = NodeExit(
            node=self.number,
            result=result,
            code=status,
            faults=tuple(fault for fault in self.faults if fault.node == self.number),
            out_of_memory=linux.out_of_memory_kills() > self._oom_kills,
            left=tuple(left),
            time=time.time(),
        )
        write_reserved(self.directory / files.node_exit(self.number), to_json(record))
        self.peers.refresh()

    def _check_fence(self) -> None:
        if generations.newest_number(self.node.root) <= self.claim.generation:
            return
        newest = generations.newest_claim(self.node.root)
        if newest is None or newest.generation <= self.claim.generation:
            return  # claimed, and not readable yet
        self.end()
        self.overtaken = True
        if newest.start != self.claim.start:
            raise Ended(FENCED, Cause.FENCED, fence.fenced_by(newest), generation=self.claim.generation)


def _is_failure(record: NodeExit) -> bool:
    return record.result not in ("done", "stopped")


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
