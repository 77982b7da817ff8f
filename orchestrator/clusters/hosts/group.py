"""Many hosts asked at once, each by one ssh; one that does not answer holds up the others only once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.clusters.transport import LocalTransport, Transport
from orchestrator.errors import OrchError, Unreachable
from orchestrator.job.protocol.operations import SECONDS, Operation

AT_ONCE = 32
PATIENCE = 8.0  # seconds that a look at many hosts waits for one that has answered so far
LATEST = 20.0  # seconds after which an answer is not even of use to a later look
GLANCE = 0.3  # seconds for one that was silent the last time


Answer = list[Any] | OrchError
Calls = Mapping[str, Sequence[Operation[Any]]]  # by host


class Hosts(Protocol):
    """Some hosts that can be asked. `silent` are those that did not answer the last time."""

    silent: set[str]

    def ask(self, calls: Calls, *, seconds: float = SECONDS) -> dict[str, Answer]:
        """The answer of every host. `seconds`: that its work may take, besides reaching it."""

    def glance(self, calls: Calls) -> dict[str, Answer]:
        """The answers of those that answer soon; who was silent the last time is hardly waited for."""


class ThisMachine(Hosts):
    """The machine that this process runs on, under whatever name."""

    def __init__(self) -> None:
        self.silent = set()

    def ask(self, calls: Calls, *, seconds: float = SECONDS) -> dict[str, Answer]:
        return {host: _performed(operations) for host, operations in calls.items()}

    def glance(self, calls: Calls) -> dict[str, Answer]:
        return self.ask(calls)


def _performed(operations: Sequence[Operation[Any]]) -> Answer:
    try:
        return LocalTransport().call_all(operations)
    except OrchError as error:
        return error


@dataclass
class _Question:
    """Operations for one host, in a thread of its own; `answer` or `bug` is there when `done` is."""

    answer: Answer | None = None
    bug: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Group(Hosts):
    """The hosts of a cluster. Remembers who is silent, only to spare the others the wait."""

    def __init__(self, reach: Callable[[str], Transport]) -> None:
        self._reach = reach
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._open: dict[str, _Question] = {}
        self.silent = set()

    def ask(self, calls: Calls, *, seconds: float = SECONDS) -> dict[str, Answer]:
        questions = {host: self._put(host, what, seconds) for host, what in calls.items()}
        return {host: self._answer_of(host, question, None) for host, question in questions.items()}

    def glance(self, calls: Calls) -> dict[str, Answer]:
        end = time.monotonic() + PATIENCE
        busy = {host for host in calls if self._is_still_asked(host)}
        answers: dict[str, Answer] = {host: self._late(host) for host in busy}
        order = sorted(set(calls) - busy, key=lambda host: (host in self.silent, host))
        questions = {host: self._put(host, calls[host], LATEST) for host in order}
        for host, question in questions.items():
            left = min(GLANCE, end - time.monotonic()) if host in self.silent else end - time.monotonic()
            answers[host] = self._answer_of(host, question, max(0.0, left))
        return answers

    def _is_still_asked(self, host: str) -> bool:
        """Whether an earlier question is open. One that was answered late tells that the host is back."""
        question = self._open.get(host)
        if question is None or not question.done.is_set():
            return question is not None
        if not isinstance(question.answer, Unreachable):
            self.silent.discard(host)
        return False

    def _put(self, host: str, calls: Sequence[Operation[Any]], seconds: float) -> _Question:
        question = _Question()
        self._open[host] = question
        threading.Thread(target=self._work, args=(host, calls, seconds, question), daemon=True).start()
        return question

    def _work(self, host: str, calls: Sequence[Operation[Any]], seconds: float, question: _Question) -> None:
        try:
            with self._slots:
                question.answer = self._reach(host).call_all(calls, seconds=seconds)
        except OrchError as error:
            question.answer = error
        except OSError as error:
            question.answer = Unreachable(f"{host} cannot be asked: {error}")
        except Exception as bug:  # noqa: BLE001 - raised again in the thread that asked
            question.bug = bug
        finally:
            question.done.set()

    def _answer_of(self, host: str, question: _Question, seconds: float | None) -> Answer:
        if not question.done.wait(seconds):
            return self._late(host)
        if question.bug is not None:
            raise question.bug
        answer = question.answer if question.answer is not None else Unreachable(f"{host} was not asked")
        if isinstance(answer, Unreachable):
            self.silent.add(host)
        else:
            self.silent.discard(host)
        return answer

    def _late(self, host: str) -> Unreachable:
        self.silent.add(host)
        return Unreachable(f"{host} does not answer", hint="see that ssh to it works by hand")
