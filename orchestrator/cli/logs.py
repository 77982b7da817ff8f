"""`orch logs`: what the ranks of a run wrote, and its agents and launchers, through every generation of an attempt."""

from __future__ import annotations

import re
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.checkpoints import generations
from orchestrator.cli import context
from orchestrator.cli.terminal import say
from orchestrator.errors import INTERRUPTED, OK, JobError
from orchestrator.store import Store
from orchestrator.views.phases import ENDED

POLL = 0.2  # seconds between two looks at the files
CHUNK = 1 << 20
_LOG = re.compile(r"(rank|launcher|agent)-(\d+)\.log")
_ECHO = re.compile(rb"\[rank \d+\] ")  # an agent repeats what its ranks write, for schedulers that keep only its output
_ORDER = {"agent": 0, "launcher": 1, "rank": 2}


@dataclass(slots=True)
class Source:
    """One log file, read line by line; what is not ended yet waits for its end."""

    path: Path
    kind: str
    number: int
    section: str
    rest: bytes = b""
    file: BinaryIO | None = field(default=None, repr=False)

    def lines(self, *, final: bool) -> Iterator[bytes]:
        """Lines that are new, without their ends; `final`: the last one too, ended or not."""
        try:
            self.file = self.file or self.path.open("rb")
        except FileNotFoundError:
            return
        while chunk := self.file.read(CHUNK):
            *whole, self.rest = (self.rest + chunk).split(b"\n")
            yield from whole
        if final and self.rest:
            yield self.rest
            self.rest = b""

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class Printer:
    """Writes lines to stdout with whose they are, and to stderr the section they belong to when it changes."""

    def __init__(self, rank: int | None) -> None:
        self._rank = rank
        self._section = ""
        self.count = 0

    def print(self, source: Source, line: bytes) -> None:
        if source.kind == "agent" and _ECHO.match(line):
            return
        if source.section != self._section:
            sys.stdout.flush()
            say(f"== {source.section} ==")
            self._section = source.section
        signed = self._rank is not None or (source.kind == "agent" and line.startswith(b"[agent "))
        prefix = b"" if signed else f"[{source.kind} {source.number}] ".encode()
        # A progress bar rewrites its line: only what it showed last can stand behind a prefix.
        text = line.removesuffix(b"\r").rpartition(b"\r")[2] if prefix else line
        sys.stdout.buffer.write(prefix + text + b"\n")
        self.count += 1


def run(options: Namespace) -> int:
    with context.store() as store:
        run = context.snapshot(store, options.run)
        attempt = options.attempt if options.attempt is not None else run["attempt"]
        if not 1 <= attempt <= run["attempt"]:
            raise JobError(f"{options.run} has no attempt {attempt}", hint=f"it has attempts 1 to {run['attempt']}")
        printer = Printer(options.rank)
        if options.follow:
            return _follow(store, options, attempt, printer)
        for source in _sources(run, options, attempt):
            for line in source.lines(final=True):
                printer.print(source, line)
            source.close()
        if not printer.count:
            _explain_silence(run, options, attempt)
        return OK


def _follow(store: Store, options: Namespace, attempt: int, printer: Printer) -> int:
    """Print what is there and what comes, until the run (or the attempt that was asked for) has ended."""
    known: dict[Path, Source] = {}
    try:
        while True:
            run = context.snapshot(store, options.run)
            over = run["phase"] in ENDED or (options.attempt is not None and run["attempt"] > attempt)
            newest = attempt if options.attempt is not None else run["attempt"]
            for number in range(attempt, newest + 1):
                for source in _sources(run, options, number):
                    known.setdefault(source.path, source)
            for source in known.values():
                for line in source.lines(final=over):
                    printer.print(source, line)
            sys.stdout.flush()
            if over:
                say(f"{options.run} {run['phase']}" if run["phase"] in ENDED else f"attempt {attempt} has ended")
                return OK
            time.sleep(POLL)
    except KeyboardInterrupt:
        say(f"detached; {options.run} goes on\n  come back:  orch logs {options.run} -f")
        return INTERRUPTED
    finally:
        for source in known.values():
            source.close()


def _sources(run: Mapping[str, Any], options: Namespace, attempt: int) -> list[Source]:
    """The log files of an attempt in the order to read them: its agents, then generation by generation."""
    found = _in(Path(run["dir"]) / "attempts" / f"{attempt:06d}", f"attempt {attempt}")
    root = Path(run["checkpoint_dir"])
    for claim in generations.claims(root):
        if claim.attempt == attempt and claim.run_id == run["run_id"]:
            logs = generations.generation_dir(root, claim.generation) / "logs"
            found += _in(logs, f"generation {claim.generation} (attempt {attempt})")
    if options.rank is None:
        return found
    return [source for source in found if (source.kind, source.number) == ("rank", options.rank)]


def _in(directory: Path, section: str) -> list[Source]:
    try:
        matches = [(path, _LOG.fullmatch(path.name)) for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [Source(path, match[1], int(match[2]), section) for path, match in matches if match]
    return sorted(found, key=lambda source: (_ORDER[source.kind], source.number))


def _explain_silence(run: Mapping[str, Any], options: Namespace, attempt: int) -> None:
    """Nothing was printed: a rank that does not exist is an error, a job that has not written yet is not."""
    everyone = _sources(run, Namespace(rank=None), attempt)
    ranks = sorted({source.number for source in everyone if source.kind == "rank"})
    if options.rank is not None and ranks and options.rank not in ranks:
        raise JobError(
            f"attempt {attempt} of {run['name']} has no rank {options.rank}",
            hint=f"its ranks are {ranks[0]} to {ranks[-1]}",
        )
    say(f"no output yet from attempt {attempt} of {run['name']} ({run['phase']})")
