"""The pages of `orch plan` and `orch checkpoints` for given values, to the character."""

from __future__ import annotations

import dataclasses

from orchestrator.job.protocol.report import Listed, Problem
from orchestrator.model.plan import Batch, Memory, ModelFacts, Plan, Term, Topology
from orchestrator.views import checkpoints, plan

GIB = 2**30
PLAN = Plan(
    topology=Topology(nodes=2, ranks_per_node=8, device="cuda"),
    batch=Batch(global_batch=128, micro_batch=4, accumulation=2, data_parallel=16, sequence_length=2048),
    zero_stage=3,
    offload="cpu",
    memory=Memory(
        rank=(
            Term(name="parameters", bytes=26 * GIB, formula="2 P"),
            Term(name="logits", bytes=GIB // 2, formula="s v"),
        ),
        host=(Term(name="optimizer", bytes=900 * GIB, formula="12 P / nodes, all of it in host memory, pinned"),),
        rank_limit=80 * GIB,
        host_limit=512 * GIB,
    ),
    model=None,
    fits=False,
    ds_config={},
    steps=1000,
    epochs=None,
    checkpoint_steps=None,
    checkpoint_seconds=1200,
    checkpoint_bytes=180 * GIB,
    because=("ZeRO 3: the lowest stage that fits a GPU.",),
    warnings=("The host memory is short.",),
)


def test_the_page_of_a_plan_at_60_columns() -> None:
    assert "\n".join(plan.page("llama-13b", "hpc", PLAN, width=60)) == (
        "llama-13b on hpc: does not fit\n"
        "ranks        2 nodes x 8 ranks = 16 ranks on GPUs\n"
        "ZeRO         stage 3, offload to cpu\n"
        "batch        4 (micro-batch) x 2 (accumulation) x 16 (ranks)\n"
        "             = 128 sequences\n"
        "             128 x 2,048 tokens = 262,144 tokens a step\n"
        "length       1,000 steps, 262 million tokens\n"
        "checkpoints  every 20 min, 180 GiB each\n"
        "memory       26.5 GiB of 80.0 GiB, 33 % per rank\n"
        "             900 GiB of 512 GiB, 175 % per host\n"
        "\n"
        "memory per rank\n"
        "  parameters   26.0 GiB   2 P\n"
        "  logits        512 MiB   s v\n"
        "  total        26.5 GiB   of 80.0 GiB, 33 %\n"
        "\n"
        "host memory per node\n"
        "  optimizer    900 GiB   12 P / nodes, all of it in host\n"
        "                         memory, pinned\n"
        "  total        900 GiB   of 512 GiB, 175 %\n"
        "\n"
        "P parameters, N ranks, b bytes of a value, L layers, h\n"
        "hidden size, v vocabulary, s sequence length, m micro-batch\n"
        "\n"
        "why\n"
        "  - ZeRO 3: the lowest stage that fits a GPU.\n"
        "\n"
        "warnings\n"
        "  - The host memory is short."
    )


def test_what_a_plan_does_not_know_is_left_out() -> None:
    script = dataclasses.replace(
        PLAN, memory=None, batch=None, fits=None, steps=None, checkpoint_bytes=None, warnings=()
    )
    assert plan.summary("x", "local", script, width=None) == [
        "x on local: not known whether it fits",
        "ranks        2 nodes x 8 ranks = 16 ranks on GPUs",
        "ZeRO         stage 3, offload to cpu",
        "checkpoints  every 20 min",
    ]


def test_a_model_is_told_by_its_size_and_where_that_comes_from() -> None:
    facts = {field.name: 1 for field in dataclasses.fields(ModelFacts)}
    model = ModelFacts(**{**facts, "parameters": 6_738_415_616, "layers": 32, "hidden": 4096, "source": "its config"})
    line = plan.summary("x", "local", dataclasses.replace(PLAN, model=model), width=None)[1]
    assert line == "model        6.74 billion parameters, 32 layers of 4,096 (its config)"


def test_json_has_bytes_and_the_sums_of_the_page() -> None:
    value = plan.to_json("x", "hpc", PLAN)
    assert value["memory"]["rank_bytes"] == 26 * GIB + GIB // 2
    assert value["topology"]["world_size"] == 16
    assert value["batch"]["tokens_per_step"] == 262144
    assert value["fits"] is False


def test_damage_is_told_file_by_file_below_its_checkpoint() -> None:
    whole = {"step": 40, "generation": 2, "basis": "manifest", "bytes": 3 * GIB, "counts": True, "kind": "trainer"}
    listed = [
        Listed(path="generations/000002/checkpoints/checkpoint-40", proven=True, problems=(), **whole),
        Listed(
            step=20,
            path="checkpoint-20",
            generation=0,
            basis="structure",
            proven=False,
            problems=(Problem("global_step20/a.pt", "is missing"), Problem("rng_state_0.pth", "is empty")),
            bytes=5,
            counts=True,
        ),
        Listed(
            step=10,
            path="checkpoint-10",
            generation=0,
            basis="structure",
            proven=None,
            problems=(),
            bytes=5,
            counts=True,
        ),
    ]
    assert checkpoints.listing([checkpoints.row(one) for one in listed], width=None) == [
        "STEP  GEN      SIZE  STATE         BY         KIND     PATH",
        "  40    2  3.00 GiB  proven        manifest   trainer  generations/000002/checkpoints/checkpoint-40",
        "  20    -       5 B  damaged       structure  -        checkpoint-20",
        "      global_step20/a.pt is missing",
        "      rng_state_0.pth is empty",
        "  10    -       5 B  not verified  structure  -        checkpoint-10",
    ]
