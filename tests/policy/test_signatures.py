"""Signatures: a row's example is its test."""

from __future__ import annotations

import re

import pytest

from orchestrator.job.agent.outcome import classify
from orchestrator.job.protocol import jobfile
from orchestrator.job.protocol.encoding import from_json, to_json
from orchestrator.model.run import Cause
from orchestrator.policy.signatures import SIGNATURES, Signature, rows


@pytest.mark.parametrize("row", SIGNATURES, ids=lambda row: f"{row.cause.value}-{row.pattern[:20]}")
def test_the_example_of_a_row_is_found_by_that_row_and_no_earlier_one(row: Signature) -> None:
    assert classify(row.example, rows()) == rows()[SIGNATURES.index(row)]


@pytest.mark.parametrize(
    ("text", "cause", "retry"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", Cause.CUDA_OOM, False),
        ("NameError: name 'x' is not defined", Cause.USER_ERROR, False),
        ("ImportError: cannot import name 'a' from 'b'", Cause.USER_ERROR, False),
        ("SyntaxError: invalid syntax", Cause.USER_ERROR, False),
        ("RuntimeError: Gloo connectFullMesh failed with [../gloo.cc:1]", Cause.NETWORK, True),
        ("DeepSpeedConfigError: nebula has been removed", Cause.CONFIGURATION, False),
        ("OSError: [Errno 122] Disk quota exceeded", Cause.DISK_FULL, True),
        ("RuntimeError: NCCL error: unhandled system error", Cause.NETWORK, True),
        ("size mismatch for lm_head: copying a param with shape", Cause.SHAPE, False),
    ],
)
def test_common_messages_are_told_apart(text: str, cause: Cause, *, retry: bool) -> None:
    found = classify(f"Traceback (most recent call last):\n  File ...\n{text}\n", rows())
    assert found is not None
    assert (found.cause, found.retry) == (cause, retry)


@pytest.mark.parametrize("text", ["", "step 3 loss 0.5", "I am importing an ImportError class", "ValueError: my own"])
def test_ordinary_lines_and_unknown_errors_match_no_row(text: str) -> None:
    assert classify(text, rows()) is None


def test_rows_go_into_json_and_back() -> None:
    carried = [to_json(row) for row in rows()]
    assert all(set(row) == {"cause", "pattern", "retry", "echo"} for row in carried)
    assert tuple(from_json(jobfile.Signature, row) for row in carried) == rows()
    assert all(re.compile(row.pattern) for row in rows())
