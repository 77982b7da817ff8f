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
        ("OSError: [Errno 98] Address already in use", Cause.PORT, True),
        (
            "OSError: [Errno 98] error while attempting to bind on address ('::', 80): address already in use",
            Cause.PORT,
            True,
        ),
        ("socket.gaierror: [Errno -2] Name or service not known", Cause.NETWORK, True),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", Cause.NETWORK, True),
        ("urllib.error.URLError: <urlopen error [Errno -5] No address associated with hostname>", Cause.NETWORK, True),
        (
            "ConnectionError: Max retries exceeded with url: / (Caused by NameResolutionError('hub'))",
            Cause.NETWORK,
            True,
        ),
        (
            "huggingface_hub.errors.HfHubHTTPError: Server error '503 Service Unavailable' for url 'u'",
            Cause.NETWORK,
            True,
        ),
        ("huggingface_hub.errors.HfHubHTTPError: 504 Server Error: Gateway Timeout for url: u", Cause.NETWORK, True),
        ("requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: u", Cause.NETWORK, True),
        ("urllib.error.HTTPError: HTTP Error 502: Bad Gateway", Cause.NETWORK, True),
        ("httpx.ReadTimeout: timed out", Cause.NETWORK, True),
        (
            "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='h'): Read timed out. (read timeout=10)",
            Cause.NETWORK,
            True,
        ),
        ("OSError: We couldn't connect to 'https://huggingface.co' to load the files, and", Cause.NETWORK, True),
        (
            "safetensors_rust.SafetensorError: Error while deserializing header: header too large",
            Cause.CHECKPOINT_DAMAGED,
            True,
        ),
        ("SafetensorError: Error while deserializing header: MetadataIncompleteBuffer", Cause.CHECKPOINT_DAMAGED, True),
        (
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for DeepSpeedZeroConfig\nreduce_bucket",
            Cause.CONFIGURATION,
            False,
        ),
        ("ValidationError: 2 validation errors for CompileConfig", Cause.CONFIGURATION, False),
        ("AssertionError: OneBitAdam is not a supported DeepSpeed Optimizer", Cause.CONFIGURATION, False),
        ("RuntimeError: [Rank 0]: Ranks 1 failed to pass monitoredBarrier in 4000 ms", Cause.NETWORK, True),
        ("[gloo/unbound_buffer.cc:78] Timed out waiting 4000ms for recv operation to complete", Cause.NETWORK, True),
        (
            "DistStoreError: Timed out after 901 seconds waiting for clients. 1/2 clients joined.",
            Cause.RENDEZVOUS,
            True,
        ),
        (
            "DistStoreError: Timed out initializing process group in store based barrier on rank 0, for key: k",
            Cause.RENDEZVOUS,
            True,
        ),
        ("size mismatch for lm_head: copying a param with shape", Cause.SHAPE, False),
    ],
)
def test_common_messages_are_told_apart(text: str, cause: Cause, *, retry: bool) -> None:
    found = classify(f"Traceback (most recent call last):\n  File ...\n{text}\n", rows())
    assert found is not None
    assert (found.cause, found.retry) == (cause, retry)


# Near what has a row: a script's own errors, and answers that no other try changes.
OTHERS = [
    "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. (Request ID: x) Repository Not Found for url: u",
    "huggingface_hub.errors.GatedRepoError: 403 Client Error. Cannot access gated repo for url u",
    "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: u",
    "pydantic_core._pydantic_core.ValidationError: 1 validation error for MyConfig",
    "ValueError: wanted 512 sequences, found 429",
    "    except requests.ReadTimeout as error:  # the line of a traceback",
    "TimeoutError: the data loader timed out",
    "OSError: [Errno 99] Cannot assign requested address",
    "KeyError: 'barrier'",
]


@pytest.mark.parametrize(
    "text", ["", "step 3 loss 0.5", "I am importing an ImportError class", "ValueError: my own", *OTHERS]
)
def test_ordinary_lines_and_unknown_errors_match_no_row(text: str) -> None:
    assert classify(text, rows()) is None


def test_rows_go_into_json_and_back() -> None:
    carried = [to_json(row) for row in rows()]
    assert all(set(row) == {"cause", "pattern", "retry", "echo"} for row in carried)
    assert tuple(from_json(jobfile.Signature, row) for row in carried) == rows()
    assert all(re.compile(row.pattern) for row in rows())
