"""What torch, transformers and deepspeed say, asked in a process of their own: importing them here would warn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Ask = Callable[[str, Any], Any]

ROOT = Path(__file__).parents[2]

# Libraries print what they like: the answers have a channel of their own.
ANSWERING = """
import json, os, sys, traceback
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    program, question = json.loads(line)
    names = {"question": question}
    try:
        exec(program, names)
        reply = [names["answer"], ""]
    except Exception:
        reply = [None, traceback.format_exc()]
    print(json.dumps(reply), file=answers, flush=True)
"""


@pytest.fixture(scope="session")
def ask() -> Iterator[Ask]:
    """`ask(program, question)` runs Python text that reads `question` and sets `answer`, both plain JSON."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
    with subprocess.Popen(
        [sys.executable, "-c", ANSWERING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as child:

        def run(program: str, question: Any) -> Any:
            assert child.stdin is not None
            assert child.stdout is not None
            print(json.dumps([program, question]), file=child.stdin, flush=True)
            answer, problem = json.loads(child.stdout.readline())
            assert not problem, problem
            return answer

        yield run
        child.communicate()
