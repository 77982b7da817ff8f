"""The interpreter of a job's ranks: what it has, found without importing any of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.clusters.findings import Answer, Finding, last_line, ok, problem, warning
from orchestrator.config.messages import alternatives
from orchestrator.job.protocol.operations.commands import RunCommand

SECONDS = 60.0  # a cold interpreter on a network file system
# Run there by whatever Python there is, so in a syntax that the oldest one knows.
_PROBE = """
import importlib.util, json, os, re, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
found = {name: version(name) for name in ("torch", "deepspeed", "transformers")}
found["python"] = "%d.%d.%d" % sys.version_info[:3]
spec = importlib.util.find_spec("torch") if found["torch"] else None
found["cuda"] = None
if spec and spec.origin:
    with open(os.path.join(os.path.dirname(spec.origin), "version.py")) as file:
        match = re.search(r"^cuda(?:: [^=]*)? = '([^']+)'", file.read(), re.M)
        found["cuda"] = match.group(1) if match else None
print(json.dumps(found))
"""
OLDEST = (3, 9)


def question(python: str | None, setup: Sequence[str]) -> RunCommand:
    """Ask an interpreter, in a shell that has run the profile's `setup` as a job would."""
    script = "\n".join([*setup, 'exec "$@"'])
    return RunCommand(("bash", "-c", script, "bash", python or "python3", "-c", _PROBE), timeout=SECONDS)


def unfit(python: str, answer: Answer, needed: Sequence[str]) -> str | None:
    """Why an interpreter cannot run agents and ranks that import the packages `needed`; None where it can."""
    found = _found(answer)
    if found is None:
        return f"{python} does not run Python: {last_line(answer)}"
    if _version(found) < OLDEST:
        return f"{python} is Python {found['python']}, and 3.9 is the oldest that will do"
    missing = [name for name in needed if found.get(name) is None]
    return f"{python} has no {alternatives(missing)}" if missing else None


def _version(found: Mapping[str, str | None]) -> tuple[int, ...]:
    return tuple(int(part) for part in str(found["python"]).split(".")[:2])


def judge(python: str | None, answer: Answer, *, cpu: bool) -> Iterator[Finding]:
    """The findings about an interpreter. `cpu`: the cluster's jobs train without GPUs."""
    name = python or "python3"
    found = _found(answer)
    if found is None:
        yield problem("python", f"{name}: {last_line(answer)}", "set `python` in the profile to one that has torch")
        return
    if _version(found) < OLDEST:
        yield problem("python", f"{name} is {found['python']}", "set `python` to one of 3.9 or newer that has torch")
    else:
        yield ok("python", f"{name} is {found['python']}")
    yield from _torch(name, found, cpu=cpu)
    yield _package("deepspeed", name, found["deepspeed"], needed=True)
    yield _package("transformers", name, found["transformers"], needed=False)


def _found(answer: Answer) -> dict[str, str | None] | None:
    if answer.status != 0:
        return None
    try:
        found = json.loads(answer.stdout.strip().splitlines()[-1])  # `setup` may have printed something before
    except (ValueError, IndexError):
        return None
    return found if isinstance(found, dict) else None


def _torch(name: str, found: dict[str, str | None], *, cpu: bool) -> Iterator[Finding]:
    version, cuda = found["torch"], found["cuda"]
    if version is None:
        yield problem("torch", f"{name} has none", "install torch there, or set `python` to one that has it")
    elif cuda is None and not cpu:
        todo = "install a CUDA build, or set `device: cpu` in the profile"
        yield warning("torch", f"{version}, no build for CUDA: training would run on the CPU", todo)
    else:
        yield ok("torch", f"{version}, {f'CUDA {cuda}' if cuda else 'for the CPU'}")


def _package(package: str, name: str, version: str | None, *, needed: bool) -> Finding:
    if version is not None:
        return ok(package, version)
    if needed:
        return problem(package, f"{name} has none", f"install {package} there")
    return warning(package, f"{name} has none", "the built-in trainer needs it; scripts of your own may not")
