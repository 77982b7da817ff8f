"""A DeepSpeed hostfile: read as DeepSpeed reads it, and refused where DeepSpeed would let a mistake pass. Pure.

Whatever is accepted here means the same to DeepSpeed. Refused besides what DeepSpeed refuses: `slots=0`, words after
the number that are not comments, numbers of more than six digits, host names that ssh would not take or that have a
port, and one host under the names of two users.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.errors import JobError

WANTED = "write one line a host, as in: node1 slots=8"
_NEWLINE = re.compile("\r\n|\r|\n")
_ENTRY = re.compile(r"(?P<host>[^ \t]+)[ \t]+slots=(?P<slots>[0-9]+)(?P<rest>.*)")
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%@-]*")
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host of a hostfile; `line` is where it stands, from 1."""

    name: str
    slots: int
    line: int


def parse(content: bytes, file: str) -> tuple[Host, ...]:
    """The hosts of a file, in order. Raises JobError with the file's name and the line."""
    found: dict[str, Host] = {}
    for number, line in enumerate(_lines(content, file), start=1):
        entry = line.strip(" \t")
        if not entry or entry.startswith("#"):
            continue
        host = _host(entry, file, number)
        before = found.setdefault(machine(host.name), host)
        if before is not host:
            raise JobError(
                f"{host.name} stands here and in line {before.line}"
                + ("" if before.name == host.name else f" as {before.name}"),
                hint="name every host once, with the sum of its slots",
                file=file,
                line=number,
            )
    if not found:
        raise JobError("it names no host", hint=WANTED, file=file)
    return tuple(found.values())


def machine(name: str) -> str:
    """The host of a name, without the user that it is reached as."""
    return name.rpartition("@")[2].lower()


def port_problem(name: str) -> str | None:
    """What is wrong with a name that ends in a port; an IPv6 address has more than one colon."""
    _, colon, port = name.partition(":")
    return f"{name} has a port in its name, and ssh takes none there" if colon and port.isdigit() else None


def port_hint(name: str) -> str:
    """Where a port belongs."""
    host, _, port = name.partition(":")
    return f"write {host} here, and in ~/.ssh/config: Host {machine(host)}, below it Port {port}"


def _lines(content: bytes, file: str) -> list[str]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(_NEWLINE.split(content[: error.start].decode("utf-8")))
        raise JobError("it is not UTF-8 text", hint="save it as UTF-8", file=file, line=line) from error
    if "\0" in text:
        line = len(_NEWLINE.split(text.partition("\0")[0]))
        raise JobError("it holds a NUL character: it is not a text file", hint=WANTED, file=file, line=line)
    return _NEWLINE.split(text)


def _host(entry: str, file: str, line: int) -> Host:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise JobError(f"wanted HOST slots=N, found {entry[:80]!r}", hint=WANTED, file=file, line=line)
    name, slots, rest = match["host"], match["slots"].lstrip("0"), match["rest"]
    if not _HOST.fullmatch(name):
        raise JobError(f"{name[:80]!r} is not a host name that ssh takes", hint=WANTED, file=file, line=line)
    if problem := port_problem(name):
        raise JobError(problem, hint=port_hint(name), file=file, line=line)
    if rest.strip(" \t") and not re.match(r"[ \t]*#", rest):
        raise JobError(
            f"wanted nothing after slots={match['slots'][:20]}, found {rest.strip()[:80]!r}",
            hint="DeepSpeed would ignore it; remove it, or write # before it",
            file=file,
            line=line,
        )
    if not slots:
        raise JobError(
            f"{name} has slots=0: nothing could run there",
            hint="give it the number of its GPUs, or write # before the line",
            file=file,
            line=line,
        )
    if len(slots) > _DIGITS:
        raise JobError(f"{name} has a number of slots with {len(slots)} digits", hint=WANTED, file=file, line=line)
    return Host(name=name, slots=int(slots), line=line)
