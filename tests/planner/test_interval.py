from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.plan import Topology
from orchestrator.model.spec import Checkpoint
from orchestrator.planner.interval import LONGEST_SECONDS, make_interval, save_seconds, save_size
from tests.planner.jobs import facts_of, gpus, job, llama, plan

GIB = 2**30


def ranks(nodes=1, per_node=8):
    return Topology(nodes=nodes, ranks_per_node=per_node, device="cuda")


def test_steps_and_times_are_taken_as_asked():
    steps = make_interval(Checkpoint(every=20), ranks(1), steps=60, save_bytes=None)
    time = make_interval(Checkpoint(every="20m"), ranks(1), steps=60, save_bytes=None)
    assert (steps.steps, steps.seconds, steps.because) == (20, None, "A checkpoint every 20 steps, as asked.")
    assert (time.steps, time.seconds, time.because) == (None, 1200, "A checkpoint every 20m, as asked.")


def test_a_short_run_saves_three_times():
    assert make_interval(Checkpoint(), ranks(1), steps=60, save_bytes=1000).steps == 20
    assert make_interval(Checkpoint(), ranks(1), steps=2, save_bytes=1000).steps == 1


def test_an_unknown_model_saves_every_half_hour():
    assert make_interval(Checkpoint(), ranks(1), steps=None, save_bytes=None).seconds == LONGEST_SECONDS


@given(size=st.integers(1, 2 * 10**12), nodes=st.integers(1, 2000))
def test_saves_neither_risk_much_nor_cost_much(size, nodes):
    seconds = make_interval(Checkpoint(), ranks(nodes), steps=None, save_bytes=size).seconds
    assert seconds >= 20 * save_seconds(size, ranks(nodes)) - 1
    assert seconds <= max(LONGEST_SECONDS, 20 * save_seconds(size, ranks(nodes)) + 1)


@given(size=st.integers(10**9, 10**12), nodes=st.integers(1, 1000))
def test_more_nodes_never_save_less_often(size, nodes):
    def of(count):
        return make_interval(Checkpoint(), ranks(count), steps=None, save_bytes=size).seconds

    assert of(2 * nodes) <= of(nodes)


def test_a_save_takes_as_long_as_was_measured():
    assert 3.5 <= save_seconds(2_850_000_000, ranks(1, 2)) - 2 <= 4.3


def test_a_save_that_takes_long_comes_seldom():
    made = make_interval(Checkpoint(), ranks(), steps=None, save_bytes=400 * 10**9)
    assert made.seconds == 20 * 202
    assert made.because.endswith("saves may take 1/20 of the time.")


def test_the_reason_states_what_was_assumed():
    because = plan(job(zero=2, gpus_per_node=8), gpus(), llama("7b")).because[-1]
    assert "Young and Daly" in because
    assert "3692 h" in because
    assert "a preemption may lose 30 min" in because


@pytest.mark.parametrize(
    ("stage", "gather", "gigabytes"),
    [(2, False, 2.7), (3, False, 1.6)],
)
def test_a_save_writes_what_was_measured(stage, gather, gigabytes):
    facts = facts_of(
        {
            "model_type": "llama",
            "hidden_size": 768,
            "intermediate_size": 2048,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "vocab_size": 37500,
        }
    )
    assert facts.parameters == pytest.approx(142.6e6, rel=0.01)
    size = save_size(facts, stage=stage, precision="fp32", gather=gather)
    assert size / GIB == pytest.approx(gigabytes, rel=0.03)


def test_gathered_weights_make_a_save_larger():
    facts = llama("7b")
    small, large = (save_size(facts, stage=3, precision="bf16", gather=gather) for gather in (False, True))
    assert large - small == 2 * facts.parameters
