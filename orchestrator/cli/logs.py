"""`orch logs`: what a run's job, agents, launchers and ranks wrote, through every generation of an attempt."""

from __future__ import annotations

import re
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.cli import context, files
from orchestrator.cli.terminal import say
from orchestrator.errors import INTERRUPTED, OK, JobError, Unreachable
from orchestrator.job.protocol.operations.texts import LogTexts, ReadLogs
from orchestrator.store import Store
from orchestrator.views.phases import ENDED

POLL = 0.2  # seconds between two reads of files of this machine
POLL_ELSEWHERE = 2.0  # each read is a command there, unless the logs are streamed to this machine
# An agent repeats what its ranks and its launcher write, for schedulers that keep only the output of the agents.
_ECHO = re.compile(rb"\[(rank|launcher) \d+\] ")
_OF_AGENTS = ("agent", "job")  # sources that agents write to


@dataclass(slots=True)
class Source:
    """One log file, as far as it was read; what is not ended yet waits for its end."""

    kind: str
    number: int
    section: str
    offset: int = 0
    rest: bytes = b""

    def lines(self, content: bytes) -> list[bytes]:
        """Lines that are whole now, without their ends."""
        self.offset += len(content)
        *whole, self.rest = (self.rest + content).split(b"\n")
        return whole

    def last_line(self) -> list[bytes]:
        """What was not ended and never will be."""
        rest, self.rest = self.rest, b""
        return [rest] if rest else []


class Printer:
    """Writes lines to stdout with whose they are, and to stderr the section they belong to when it changes."""

    def __init__(self, rank: int | None) -> None:
        self._rank = rank
        self._section = ""
        self.count = 0

    def print(self, source: Source, line: bytes) -> None:
        if source.kind in _OF_AGENTS and _ECHO.match(line):
            return
        if source.section != self._section:
            sys.stdout.flush()
            say(f"== {source.section} ==")
            self._section = source.section
        signed = self._rank is not None or (source.kind in _OF_AGENTS and line.startswith(b"[agent "))
        prefix = b"" if signed else f"[{source.kind} {source.number}] ".encode()
        # A progress bar rewrites its line: only what it showed last can stand behind a prefix.
        text = line.removesuffix(b"\r").rpartition(b"\r")[2] if prefix else line
        sys.stdout.buffer.write(prefix + text + b"\n")
        self.count += 1


class Logs:
    """The log files of some attempts of a run, wherever they are."""

    def __init__(self, run: Mapping[str, Any], rank: int | None, *, follow: bool) -> None:
        self._read = files.reader_of(run)
        self._request = ReadLogs(
            run=run["name"],
            run_id=run["run_id"],
            dir=run["dir"],
            checkpoint_dir=run["checkpoint_dir"],
            attempt=0,
            rank=rank,
            follow=follow,
        )
        self.pace = POLL if files.are_here(run) else POLL_ELSEWHERE
        self.known: dict[str, Source] = {}

    def news(self, attempts: Sequence[int], *, final: bool) -> Iterator[tuple[Source, bytes]]:
        """Lines that are new in the logs of some attempts; `final`: the last ones too, ended or not.

        Raises Unreachable and ClusterError.
        """
        more = list(attempts)
        while more:
            offsets = {path: source.offset for path, source in self.known.items()}
            answers = self._read([replace(self._request, attempt=attempt, offsets=offsets) for attempt in more])
            for answer in answers:
                if answer.streams:
                    self.pace = POLL
                yield from self._lines(answer, final=final)
            more = [attempt for attempt, answer in zip(more, answers, strict=True) if answer.more]

    def _lines(self, answer: LogTexts, *, final: bool) -> Iterator[tuple[Source, bytes]]:
        cut = list(answer.texts)[-1] if answer.more and answer.texts else None
        for found in answer.sources:
            source = self.known.setdefault(found.path, Source(found.kind, found.number, found.section))
            lines = source.lines(answer.texts.get(found.path, b""))
            for line in [*lines, *(source.last_line() if final and found.path != cut else ())]:
                yield source, line


def run(options: Namespace) -> int:
    with context.store() as store:
        run = context.snapshot(store, options.run)
        attempt = options.attempt if options.attempt is not None else run["attempt"]
        if not 1 <= attempt <= run["attempt"]:
            raise JobError(f"{options.run} has no attempt {attempt}", hint=f"it has attempts 1 to {run['attempt']}")
        printer = Printer(options.rank)
        logs = Logs(run, options.rank, follow=options.follow)
        if options.follow:
            return _follow(store, options, attempt, logs, printer)
        for source, line in logs.news([attempt], final=True):
            printer.print(source, line)
        if not printer.count:
            _explain_silence(run, options, attempt, logs)
        return OK


def _follow(store: Store, options: Namespace, attempt: int, logs: Logs, printer: Printer) -> int:
    """Print what is there and what comes, until the run (or the attempt that was asked for) has ended."""
    troubled = False
    try:
        while True:
            run = context.snapshot(store, options.run)
            over = run["phase"] in ENDED or (options.attempt is not None and run["attempt"] > attempt)
            newest = attempt if options.attempt is not None else run["attempt"]
            try:
                for source, line in logs.news(range(attempt, newest + 1), final=over):
                    printer.print(source, line)
                troubled = False
            except Unreachable as error:
                if over:
                    raise
                if not troubled:
                    say(f"{error.message}; it is tried again")
                troubled = True
            sys.stdout.flush()
            if over:
                say(f"{options.run} {run['phase']}" if run["phase"] in ENDED else f"attempt {attempt} has ended")
                return OK
            time.sleep(logs.pace)
    except KeyboardInterrupt:
        say(f"detached; {options.run} goes on\n  come back:  orch logs {options.run} -f")
        return INTERRUPTED


def _explain_silence(run: Mapping[str, Any], options: Namespace, attempt: int, logs: Logs) -> None:
    """Nothing was printed: a rank that does not exist is an error, a job that has not written yet is not."""
    ranks = sorted({source.number for source in logs.known.values() if source.kind == "rank"})
    if options.rank is not None and ranks and options.rank not in ranks:
        raise JobError(
            f"attempt {attempt} of {run['name']} has no rank {options.rank}",
            hint=f"its ranks are {ranks[0]} to {ranks[-1]}",
        )
    say(f"no output yet from attempt {attempt} of {run['name']} ({run['phase']})")
