"""Views are values to text: what is shown for given values, to the character."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.model.run import Event
from orchestrator.views import events, progress, reasons, status
from orchestrator.views.text import bar, clean, field, shorten


def run(**changes: Any) -> dict[str, Any]:
    """A run in the middle of its way, two minutes after its start."""
    snapshot = {
        "name": "tiny-llama",
        "run_id": "0123456789ab",
        "cluster": "local",
        "phase": "running",
        "cause": "none",
        "because": "",
        "attempt": 1,
        "generation": 2,
        "step": 150,
        "steps": 600,
        "loss": 3.21456,
        "tokens_per_second": 12345.6,
        "checkpoint": {"step": 140, "proven": True, "path": "generations/000001/checkpoints/checkpoint-140"},
        "dir": "/home/me/.local/state/orch/runs/tiny-llama",
        "checkpoint_dir": "/home/me/.local/state/orch/runs/tiny-llama/ckpt",
        "metrics": "/home/me/.local/state/orch/runs/tiny-llama/metrics.jsonl",
        "submitted_at": 1000.0,
        "ended_at": None,
        "failures": 0,
        "first_error": None,
        **changes,
    }
    return status.row(snapshot, now=1120.0, seconds_per_step=0.5)


FAILED = {
    "name": "llama-7b",
    "phase": "failed",
    "cause": "cuda_oom",
    "because": "rank 1 on node 0 ran out of GPU memory",
    "ended_at": 1090.0,
    "first_error": {"rank": 1, "node": 0, "type": "OutOfMemoryError", "message": "CUDA out of memory.\nmore"},
}
PENDING = {"name": "x", "phase": "pending", "step": None, "loss": None, "tokens_per_second": None, "checkpoint": None}


def clock(at: float) -> str:
    return f"t={at:.0f}"


def test_the_table_is_aligned_and_says_what_a_run_failed_of() -> None:
    assert status.listing([run(), run(**FAILED), run(**PENDING)], width=None) == [
        "NAME        PHASE       STEP    LOSS  TOKENS/S   LEFT  SAVED    AGE  CLUSTER  CAUSE",
        "tiny-llama  running  150/600  3.2146     12.3k  3m45s    140  2m00s  local",
        "llama-7b    failed   150/600  3.2146         -      -    140  2m00s  local    cuda_oom",
        "x           pending    0/600       -         -      -      -  2m00s  local",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100])
def test_the_table_fits_the_terminal(width: int) -> None:
    rows = [run(name="a-very-long-name-of-a-run-indeed-40-letters"), run(**FAILED)]
    lines = status.listing(rows, width=width)
    assert max(map(len, lines)) <= width
    assert "PHASE" in lines[0] or width < 20


def test_the_page_of_a_run_at_80_columns() -> None:
    assert status.page(run(), width=80, clock=clock) == [
        "tiny-llama  running",
        "progress     ━━━━━─────────────── 150 of 600 steps, 25 %, 3 min 45 s left",
        "loss         3.2146",
        "speed        12.3k tokens/s",
        "checkpoint   step 140, proven\n             generations/000001/checkpoints/checkpoint-140",
        "attempt      1, generation 2",
        "submitted    t=1000, 2 min ago",
        "where        /home/me/.local/state/orch/runs/tiny-llama on local",
        "checkpoints  /home/me/.local/state/orch/runs/tiny-llama/ckpt",
        "metrics      /home/me/.local/state/orch/runs/tiny-llama/metrics.jsonl",
        "next         orch logs tiny-llama -f",
    ]


def test_the_page_of_a_failed_run_says_why_and_what_to_do() -> None:
    page = status.page(run(**FAILED), width=80, clock=clock)
    assert page[:3] == [
        "llama-7b  failed",
        "why          cuda_oom: rank 1 on node 0 ran out of GPU memory",
        "first error  OutOfMemoryError: CUDA out of memory.\n             more (rank 1, node 0)",
    ]
    assert page[-1] == (
        "next         lower training.micro_batch, raise deepspeed.zero or turn on\n"
        "             training.gradient_checkpointing, then submit it under another name"
    )


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("changes", [{}, FAILED, PENDING, {"steps": None}, {"name": "n" * 40, "steps": 1_000_000}])
def test_the_live_line_leaves_room_for_the_terminals_own_echo(width: int, changes: dict[str, Any]) -> None:
    assert len(progress.live(run(**changes), width=width)) <= width - 3


def test_the_live_line_at_80_columns() -> None:
    line = "tiny-llama  running  ━━───────  150/600  loss 3.2146  12.3k tok/s  3m45s left"
    assert progress.live(run(), width=80) == line
    assert progress.live(run(), width=80, unicode=False).isascii()
    assert progress.live(run(**PENDING), width=80) == "x  pending  2m00s"


def test_a_plain_line_is_due_at_every_hundredth_of_the_way() -> None:
    assert progress.step_is_due(run(step=1), None)
    assert not progress.step_is_due(run(step=5), 1)
    assert progress.step_is_due(run(step=7), 1)
    assert progress.step_is_due(run(step=600), 599)
    assert progress.step_is_due(run(step=140), 150)  # a new generation goes on from an older step
    assert not progress.step_is_due(run(**PENDING), None)


@pytest.mark.parametrize(
    ("kind", "data", "sentence"),
    [
        ("submitted", {"cluster": "hpc"}, "submitted to hpc"),
        ("submitted", {"cluster": "hpc", "from_scratch": True}, "submitted to hpc, from scratch"),
        ("handed_over", {"attempt": 2, "handle": "42"}, "attempt 2 was handed over as job 42"),
        (
            "generation",
            {"generation": 1, "of_attempt": 1, "resumed_step": None},
            "generation 1 of attempt 1 starts at step 0",
        ),
        (
            "generation",
            {
                "generation": 3,
                "of_attempt": 2,
                "resumed_step": 20,
                "rejected": [{"path": "checkpoint-30", "why": "a.pt is missing"}],
            },
            "generation 3 of attempt 2 starts from the checkpoint of step 20\nnot from checkpoint-30: a.pt is missing",
        ),
        (
            "generation_ended",
            {
                "generation": 1,
                "of_attempt": 1,
                "result": "failed",
                "ended_by": "rank_killed",
                "ended_because": "Rank 1 on node 1 was killed by SIGKILL.",
            },
            "generation 1 ended: Rank 1 on node 1 was killed by SIGKILL.",
        ),
        (
            "generation_ended",
            {"generation": 2, "result": "failed", "ended_by": "hung", "ended_because": ""},
            "generation 2 ended: hung",
        ),
        (
            "generation_ended",
            {"generation": 3, "result": None, "ended_by": None},
            "generation 3 ended without an outcome",
        ),
        ("checkpoint", {"checkpoint": {"step": 20, "path": "p"}}, "the checkpoint of step 20 is proven: p"),
        ("lost", {"cause": "rank_killed", "because": "why"}, "the attempt ended: rank_killed: why"),
        ("resumed", {"attempt": 2, "from_step": 20}, "resumed by its user with attempt 2, from step 20"),
        ("cancel_requested", {"cancel_now": True}, "its user asked to cancel it, without a last checkpoint"),
        ("succeeded", {"cause": "completed", "because": "training is complete"}, "succeeded: training is complete"),
        (
            "failed",
            {"cause": "user_error", "because": "it raised", "first_error": {"rank": 0, "type": "E", "message": "m\nn"}},
            "failed: user_error: it raised\nfirst error: E: m (rank 0)",
        ),
        ("of_tomorrow", {"a": 1}, "of tomorrow: a 1"),
    ],
)
def test_an_event_is_a_sentence(kind: str, data: dict[str, Any], sentence: str) -> None:
    assert events.sentence(Event(run="x", kind=kind, at=0.0, data=data)) == sentence


def test_every_kind_that_the_store_folds_has_a_sentence() -> None:
    from orchestrator.model.fold import KINDS

    for kind in KINDS:
        assert events.sentence(Event(run="x", kind=kind, at=0.0)), kind


def test_every_cause_leads_to_something_to_do() -> None:
    from orchestrator.model.run import Cause, Phase
    from orchestrator.views.phases import next_step

    for phase in Phase:
        for cause in Cause:
            assert next_step(run(phase=phase.value, cause=cause.value))


def test_text_from_a_job_cannot_write_on_the_terminal() -> None:
    assert clean("a\x1b[2Jb\r\nc") == "a [2Jb  c"
    page = status.page(run(phase="failed", because="x\x1b]0;title\x07"), width=80, clock=clock)
    assert not any("\x1b" in line for line in page)


def test_colour_changes_no_width() -> None:
    def paint(text: str, role: str) -> str:
        return f"<{role}>{text}</>"

    import re

    rows = [run(), run(**FAILED)]
    painted = status.listing(rows, width=80, paint=paint)
    assert [re.sub(r"<[^>]*>", "", line).rstrip() for line in painted] == status.listing(rows, width=80)


def test_pieces_of_text() -> None:
    assert shorten("abcdefghij", 5) == "ab…ij"
    assert shorten("abc", 3) == "abc"
    assert bar(1, 2, 4) == "━━──"
    assert bar(5, 8, 4) == "━━╸─"
    assert bar(9, 8, 4) == "━━━━"
    assert bar(1, 0, 2) == "──"
    assert field("why", "aaa bbb", 23) == "why          aaa bbb"


def test_why_a_job_waits_stays_to_be_read_above_the_line_that_is_rewritten() -> None:
    queued = run(**{**PENDING, "phase": "queued"})
    never = run(**{**PENDING, "phase": "queued", "because": "it asks for more nodes than its partition has"})
    assert progress.notices(None, queued) == []
    assert progress.notices(queued, never) == ["queued: it asks for more nodes than its partition has"]
    assert progress.notices(never, never) == []
    assert progress.changes(queued, never, last_step=None) == ["queued: it asks for more nodes than its partition has"]


def test_the_page_names_the_job_where_a_scheduler_has_one() -> None:
    pages = [status.page(run(submission={"handle": handle}), width=None, clock=clock) for handle in ("4711", "vm:a-1")]
    attempts = [next(line for line in page if line.startswith("attempt")) for page in pages]
    assert attempts == ["attempt      1 (job 4711), generation 2", "attempt      1, generation 2"]


def test_the_machine_of_the_first_error_is_named() -> None:
    error = {"rank": 9, "node": 1, "host": "gn02", "type": "RuntimeError", "message": "CUDA error: ECC"}
    assert reasons.first_error({"first_error": error}) == "RuntimeError: CUDA error: ECC (rank 9, node 1, gn02)"
