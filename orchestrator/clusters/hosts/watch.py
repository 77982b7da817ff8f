"""Watching and stopping attempts on hosts: each is asked once a look, the first that answers for the records too."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from orchestrator.clusters import observation
from orchestrator.clusters.attempts import start_id
from orchestrator.clusters.hosts import reading
from orchestrator.clusters.hosts.group import Hosts
from orchestrator.clusters.hosts.reading import HERE, Slot
from orchestrator.errors import ClusterError, OrchError, Unreachable
from orchestrator.job.protocol.operations import SECONDS, Operation
from orchestrator.job.protocol.operations.agents import Choice, Kill, ReadHosts, ReadSlots, Slots, Terminate
from orchestrator.job.protocol.operations.attempts import RequestStop
from orchestrator.job.protocol.operations.records import AttemptRecords
from orchestrator.model.run import Observation, Phase, Question, Submission

T = TypeVar("T")
# An operation, and what to do with its answer or with the error in its place.
_Entry = tuple[Operation[Any], Callable[[Any], None]]


@dataclass
class Known:
    """What is remembered of an attempt, to ask less: all of it is on the cluster, and is read again when forgotten."""

    hosts: tuple[str, ...] = ()  # by node; empty: not known yet
    begun: set[int] = field(default_factory=set)  # nodes whose agents were started, for all that is known
    asked: set[str] = field(default_factory=set)  # hosts whose agents were asked to stop
    quiet: tuple[object, float] | None = None  # heartbeats and silent hosts, and since when (monotonic)


@dataclass
class _Seen:
    """What the hosts have said in one observation."""

    slots: dict[tuple[str, int], Slot] = field(default_factory=dict)  # by run and node
    looks: dict[str, AttemptRecords | OrchError] = field(default_factory=dict)  # by run; an error where it is unread


class Watch:
    """Looks at attempts. `names` are those of the hosts now; any of them can read the records.

    `alone`: this machine is the only one, for all nodes of every attempt.
    """

    def __init__(self, group: Hosts, names: Callable[[], Sequence[str]], *, alone: bool = False) -> None:
        self._group = group
        self._hosts = names
        self._alone = alone
        self._attempts: dict[tuple[str, int], Known] = {}
        self.reader: str | None = None  # the host that read records the last time

    def known(self, submission: Submission) -> Known:
        fixed = (HERE,) * submission.nodes if self._alone else ()
        return self._attempts.setdefault((submission.dir, submission.attempt), Known(hosts=fixed))

    def readers(self) -> list[str]:
        """The hosts in the order in which they are asked for records. Raises ClusterError when there are none."""
        names = [name for name in (self.reader, *self._hosts()) if name is not None]
        if not names:
            raise ClusterError("the cluster lists no hosts", hint="set `hosts` or `hostfile` in the cluster's profile")
        return sorted(dict.fromkeys(names), key=lambda name: name in self._group.silent)

    def observe(self, questions: Sequence[Question]) -> dict[str, Observation]:
        """The answer to each question, by name of the run."""
        if not questions:
            return {}
        seen = _Seen()
        submissions = [question.submission for question in questions]
        strangers = [one for one in submissions if not self.known(one).hosts]
        plan = self._slot_questions(submissions, seen)
        reader = self.readers()[0]
        plan.setdefault(reader, []).extend(self._look_questions(questions, seen))
        self._perform(plan)
        self._look_elsewhere(questions, seen, reader)
        self._perform(self._slot_questions(strangers, seen))
        self._perform(self._start_questions(submissions, seen))
        # Where no agent lives the records decide, and must not be older than what was seen of the last agent.
        over = [one for one in questions if self._is_over(one.submission, seen)]
        if over:
            self._perform({self.readers()[0]: self._look_questions(over, seen)})
        return observation.each(questions, lambda one: self._observation(one.submission, seen))

    def read(self, operations: Sequence[Operation[T]], *, seconds: float = SECONDS) -> list[T]:
        """The answers to some operations of a host that answers. Raises Unreachable, and ClusterError.

        The first is asked alone, then all others at once: a dead host takes a while to be found out.
        """
        first, *others = self.readers()
        failures = []
        for hosts in ([first], others):
            for host, answer in self._group.ask(dict.fromkeys(hosts, operations), seconds=seconds).items():
                if not isinstance(answer, Unreachable):
                    self.reader = host
                    if isinstance(answer, OrchError):
                        raise answer
                    return answer
                failures.append(answer.message)
        raise Unreachable(f"no host answers: {'; '.join(failures)}", hint="see that ssh to them works by hand")

    def cancel(self, submission: Submission, *, now: bool) -> None:
        """Have agents stopped, or (`now`) killed with all that they started. Raises Unreachable where none answers."""
        known = self.known(submission)
        if not now and known.hosts and known.asked.issuperset(known.hosts):
            return
        request = RequestStop(submission.dir, submission.attempt)
        _, choice = self.read([request, ReadHosts(submission.dir, submission.attempt)])
        if isinstance(choice, Choice) and choice.chosen is not None:
            known.hosts = choice.chosen.names
        hosts = dict.fromkeys(known.hosts)
        operation = Kill(start_id(submission)) if now else Terminate(start_id(submission))
        asked = [host for host in hosts if now or host not in known.asked]
        answers = self._group.glance({host: [operation] for host in asked})
        reached = {host: answer[0] for host, answer in answers.items() if not isinstance(answer, OrchError)}
        if not now:
            known.asked.update(reached)
        if asked and not reached:
            raise Unreachable(f"none of {', '.join(asked)} answers", hint="it is tried again")
        stuck = [f"{host}: {list(left.pids)}" for host, left in reached.items() if now and left.pids]
        if stuck:
            raise Unreachable(f"processes do not die; they may wait for a disk: {'; '.join(stuck)}")

    # --- questions

    def _slot_questions(self, submissions: Sequence[Submission], seen: _Seen) -> dict[str, list[_Entry]]:
        plan: dict[str, list[_Entry]] = {}
        for one in submissions:
            hosts = self.known(one).hosts
            for host in dict.fromkeys(hosts):
                nodes = [node for node, name in enumerate(hosts) if name == host]
                slots = ReadSlots(one.dir, one.attempt, start_id(one), tuple(nodes))
                taker = _slot_taker(one, host, nodes, seen, self.known(one).begun)
                plan.setdefault(host, []).append((slots, taker))
        return plan

    def _start_questions(self, submissions: Sequence[Submission], seen: _Seen) -> dict[str, list[_Entry]]:
        """Whether the agents of silent hosts were started at all, where that is not known: any host can tell."""
        questions: list[_Entry] = []
        for one in submissions:
            known, slots = self.known(one), self._slots(one, seen)
            nodes = [slot.node for slot in slots if slot.state == "silent" and slot.node not in known.begun]
            if nodes and any(slot.state != "silent" for slot in slots):
                request = ReadSlots(one.dir, one.attempt, start_id(one), tuple(nodes))
                questions.append((request, _start_taker(one, seen, known)))
        return {self.readers()[0]: questions} if questions else {}

    def _look_questions(self, questions: Sequence[Question], seen: _Seen) -> list[_Entry]:
        entries: list[_Entry] = []
        for question in questions:
            one = question.submission
            known = self.known(one)
            entries.append((observation.request_of(question), _look_taker(one, seen)))
            if not known.hosts:
                entries.append((ReadHosts(one.dir, one.attempt), _hosts_taker(known)))
        return entries

    def _perform(self, plan: Mapping[str, Sequence[_Entry]]) -> None:
        answers = self._group.glance({host: [operation for operation, _ in entries] for host, entries in plan.items()})
        for host, entries in plan.items():
            answer = answers[host]
            if isinstance(answer, Unreachable) or (isinstance(answer, OrchError) and len(entries) == 1):
                for _, take in entries:
                    take(answer)
            elif isinstance(answer, OrchError):  # one of them failed there, and takes no other with it
                for entry in entries:
                    self._perform({host: [entry]})
            else:
                for (_, take), value in zip(entries, answer, strict=True):
                    take(value)

    def _look_elsewhere(self, questions: Sequence[Question], seen: _Seen, reader: str) -> None:
        """Read through other hosts what the first did not read: all of them for one that did not answer, else one."""
        for host in self.readers():
            failed = {one.submission.run: seen.looks.get(one.submission.run) for one in questions}
            missing = [one for one in questions if isinstance(failed[one.submission.run], OrchError)]
            if not missing:
                break
            if host == reader or host in self._group.silent:
                continue
            self._perform({host: self._look_questions(missing, seen)})
            if any(not isinstance(seen.looks[one.submission.run], OrchError) for one in missing):
                self.reader = host
            if not any(isinstance(failed[one.submission.run], Unreachable) for one in missing):
                break

    # --- answers

    def _slots(self, submission: Submission, seen: _Seen) -> tuple[Slot, ...]:
        hosts = self.known(submission).hosts
        return tuple(
            seen.slots.get((submission.run, node)) or Slot(node=node, host=host, state="silent")
            for node, host in enumerate(hosts)
        ) or tuple(Slot(node=node, host="no host", state="unused") for node in range(submission.nodes))

    def _is_over(self, submission: Submission, seen: _Seen) -> bool:
        look = seen.looks.get(submission.run)
        if not isinstance(look, AttemptRecords) or reading.lives(self._slots(submission, seen)):
            return False
        return submission.handle is not None or look.asked

    def _observation(self, submission: Submission, seen: _Seen) -> Observation:
        look, slots = seen.looks.get(submission.run), self._slots(submission, seen)
        if not isinstance(look, AttemptRecords):
            because = look.message if isinstance(look, OrchError) else "no host answers"
            return Observation(phase=Phase.UNKNOWN, raw=reading.raw(slots), because=because)
        state = reading.observation(submission, look, slots, still=self._still(submission, look, slots))
        return observation.with_records(state, look)

    def _still(self, submission: Submission, look: AttemptRecords, slots: Sequence[Slot]) -> float:
        """Seconds since a heartbeat, or the set of silent hosts, last changed."""
        known = self.known(submission)
        state = (look.report.generation, look.report.beat, [slot.state for slot in slots])
        if known.quiet is None or known.quiet[0] != state:
            known.quiet = (state, time.monotonic())
        return time.monotonic() - known.quiet[1]


def _slot_taker(
    submission: Submission, host: str, nodes: Sequence[int], seen: _Seen, begun: set[int]
) -> Callable[[Any], None]:
    def take(answer: Slots | OrchError) -> None:
        if isinstance(answer, OrchError):
            for node in nodes:
                seen.slots[submission.run, node] = Slot(node=node, host=host, state="silent")
            return
        for slot in answer.slots:
            if slot.state == "elsewhere" and host == HERE:
                seen.slots[submission.run, slot.node] = Slot(node=slot.node, host=slot.host or HERE, state=slot.state)
                continue
            # A host of a list is known by its name there; its own name for itself may have changed since.
            state = "gone" if slot.state == "elsewhere" else slot.state
            seen.slots[submission.run, slot.node] = Slot(node=slot.node, host=host, state=state)
            if state != "unused":
                begun.add(slot.node)

    return take


def _start_taker(submission: Submission, seen: _Seen, known: Known) -> Callable[[Any], None]:
    def take(answer: Slots | OrchError) -> None:
        for slot in answer.slots if isinstance(answer, Slots) else ():
            if slot.state == "unused":
                host = known.hosts[slot.node]
                seen.slots[submission.run, slot.node] = Slot(node=slot.node, host=host, state="unused")
            else:
                known.begun.add(slot.node)

    return take


def _look_taker(submission: Submission, seen: _Seen) -> Callable[[Any], None]:
    def take(answer: AttemptRecords | OrchError) -> None:
        seen.looks[submission.run] = answer

    return take


def _hosts_taker(known: Known) -> Callable[[Any], None]:
    def take(answer: Choice | OrchError) -> None:
        if isinstance(answer, Choice) and answer.chosen is not None:
            known.hosts = answer.chosen.names

    return take
