"""`orch init`: write a job.yaml to start from. Asks little, and nothing at all where nobody sits at the terminal."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from orchestrator.cli.terminal import say
from orchestrator.config import scaffold, specfile
from orchestrator.config.scaffold import Answers
from orchestrator.errors import OK, JobError

Answer = TypeVar("Answer")


def run(options: Namespace) -> int:
    target = Path(options.output)
    if options.output != "-" and target.exists():
        raise JobError(f"{target} exists already", hint="write another file with -o FILE, or remove it first")
    answers = Answers(name=_name_of(Path.cwd().name), minimal=options.minimal)
    if sys.stdin.isatty() and sys.stderr.isatty():
        answers = _ask(answers)
    text = scaffold.job_yaml(answers)
    if options.output == "-":
        sys.stdout.write(text)
        return OK
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise JobError(f"cannot write {target}: {error.strerror}", hint="write elsewhere with -o FILE") from error
    say(f"{target} written; see what it would do with: orch plan {target}")
    return OK


def _ask(defaults: Answers) -> Answers:
    say("Press Enter for the answer in brackets; everything can be changed in the file.")
    name = _question("Name of the run", defaults.name, _checked_name)
    script = _question("Your own training script and its arguments, or Enter for the built-in trainer", "", str)
    answers = replace(defaults, name=name, run=script or None)
    if not script:
        model = _question("Model: a hub id or directory, or Enter for a small LLaMA from scratch", "", str)
        files = _question("Text files to train on", " ".join(defaults.files), str.split)
        answers = replace(answers, model=model or None, files=tuple(files))
    nodes = _question("Nodes", defaults.nodes, _positive)
    return replace(answers, nodes=nodes, gpus_per_node=_question("GPUs per node", defaults.gpus_per_node, _positive))


def _question(text: str, default: object, parse: Callable[[str], Answer]) -> Answer:
    """Ask until the answer can be read. The end of the input takes the default."""
    shown = f" [{default}]" if default != "" else ""
    while True:
        sys.stderr.write(f"{text}{shown}: ")
        sys.stderr.flush()
        line = sys.stdin.readline().strip()
        try:
            return parse(line or str(default))
        except (ValueError, JobError) as error:
            say(f"  {error}")


def _checked_name(text: str) -> str:
    specfile.parse(f"name: {scaffold.quoted(text)}\nrun: x.py\ncode: .\n".encode(), "name")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"wanted a whole number of at least 1, found {text}")
    return int(text)


def _name_of(directory: str) -> str:
    """A name for the run made from the directory's: what a name may hold, and nothing else."""
    words = re.sub(r"[^a-z0-9]+", "-", directory.lower()).strip("-")[:40].rstrip("-")
    return words if words and words[0].isalpha() else Answers().name
