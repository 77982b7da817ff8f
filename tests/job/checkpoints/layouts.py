"""What libraries and scripts leave behind, as a table; run with a directory, it builds all of it there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Unit = tuple[str, str, "int | None", bool]  # path, kind, step, whether it is whole


@dataclass(frozen=True)
class Layout:
    name: str
    build: Callable[[Path], None]
    units: list[Unit]
    needs: str  # a file, relative to the tree, without which the checkpoint that it belongs to is none
    missed: bool = True  # whether that can be known where the file is gone; it always is where it is damaged


def pt(path: Path, value: Any = None) -> None:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"x": torch.zeros(64)} if value is None else value, path)


def st(path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"w": torch.ones(64)}, str(path))


def tag(directory: Path, ranks: int = 2, *, stage: int = 2, skip: tuple[int, ...] = (), **said: Any) -> None:
    directory.mkdir(parents=True)
    config = {"zero_optimization": {"stage": stage}, "bf16": {"enabled": bool(said.pop("bf16", False))}}
    values = {"ds_config": config, "dp_world_size": ranks, "mp_world_size": 1, **said}
    if stage < 3:
        pt(directory / "mp_rank_00_model_states.pt", values)
    for rank in range(ranks):
        if stage == 3:
            pt(directory / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt", values)
        if stage and rank not in skip:
            prefix = "bf16_" if config["bf16"]["enabled"] else ""
            pt(directory / f"{prefix}zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")


def deepspeed(where: Path, name: str, ranks: int = 2, **more: Any) -> None:
    tag(where / name, ranks, **more)
    (where / "latest").write_text(name)


def trainer(where: Path, step: int, ranks: int = 1) -> None:
    pt(where / "training_args.bin")
    pt(where / "scheduler.pt")
    (where / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    for rank in range(ranks):
        pt(where / (f"rng_state_{rank}.pth" if ranks > 1 else "rng_state.pth"))


def plain_trainer(where: Path, step: int, ranks: int = 1, weights: str = "model.safetensors") -> None:
    trainer(where, step, ranks)
    pt(where / "optimizer.pt")
    (st if weights.endswith(".safetensors") else pt)(where / weights)


def dcp(where: Path, **more: Any) -> None:
    import torch
    import torch.distributed.checkpoint

    torch.distributed.checkpoint.save({"w": torch.ones(64), **more}, checkpoint_id=where, no_dist=True)


def accelerate(where: Path, ranks: int = 1) -> None:
    st(where / "model.safetensors")
    for name in ("optimizer.bin", "scheduler.bin", "sampler.bin"):
        pt(where / name)
    for name in ["custom_checkpoint_0.pkl", *(f"random_states_{rank}.pkl" for rank in range(ranks))]:
        pt(where / name)


class PartialState:
    num_processes: int


def trainers(tree: Path) -> None:
    for step in (5, 10):
        plain_trainer(tree / f"checkpoint-{step}", step)
    st(tree / "model.safetensors")  # save_model's, at the end


def trainer_of_four(tree: Path) -> None:
    plain_trainer(tree / "checkpoint-10", 10, ranks=4, weights="pytorch_model.bin")
    (tree / "runs").mkdir()


def trainer_says_its_ranks(tree: Path) -> None:
    """In training_args.bin there is the state of accelerate, which says in how many processes the Trainer ran."""
    state = PartialState()
    state.num_processes = 3
    plain_trainer(tree / "checkpoint-10", 10, ranks=3)
    pt(tree / "checkpoint-10" / "training_args.bin", {"distributed_state": state})


def trainer_with_shards(tree: Path) -> None:
    where = tree / "checkpoint-10"
    plain_trainer(where, 10, weights="model-00001-of-00002.safetensors")
    st(where / "model-00002-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (where / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def trainer_deepspeed(tree: Path) -> None:
    for step in (5, 10):
        deepspeed(tree / f"checkpoint-{step}", f"global_step{step}", stage=3)
        trainer(tree / f"checkpoint-{step}", step, 2)
    (tree / "checkpoint-10" / "global_step10" / "zero_pp_rank_1_mp_rank_00_model_states.pt").write_bytes(b"PK\x03\x04")


def trainer_stopped_early(tree: Path) -> None:
    plain_trainer(tree / "checkpoint-10", 10)
    st(tree / "checkpoint-20" / "model.safetensors")
    (tree / "tmp-checkpoint-30").mkdir()
    plain_trainer(tree / "tmp-checkpoint-30", 30)


def fsdp(tree: Path) -> None:
    where = tree / "checkpoint-10"
    trainer(where, 10, 2)
    dcp(where / "pytorch_model_fsdp_0")
    dcp(where / "optimizer_0")


def fsdp_full(tree: Path) -> None:
    where = tree / "checkpoint-10"
    trainer(where, 10, 2)
    pt(where / "pytorch_model_fsdp.bin")
    pt(where / "optimizer.bin")


def adapter(tree: Path) -> None:
    plain_trainer(tree / "checkpoint-50", 50, weights="adapter_model.safetensors")
    (tree / "checkpoint-50" / "adapter_config.json").write_text("{}")
    (tree / "checkpoint-50" / "README.md").write_text("")


def adapters(tree: Path) -> None:
    plain_trainer(tree / "checkpoint-50", 50, weights="policy/adapter_model.safetensors")
    (tree / "checkpoint-50" / "policy" / "adapter_config.json").write_text("{}")


def linked(tree: Path) -> None:
    disk = tree.parent / "disk"
    deepspeed(disk / "there", "global_step10")
    trainer(disk / "there", 10, 2)
    tree.mkdir()
    (tree / "checkpoint-10").symlink_to(disk / "there")
    (tree / "checkpoint-20").symlink_to("nowhere")
    (tree / "loop").symlink_to("loop")
    (tree / "up").symlink_to("..")


def linked_inside(tree: Path) -> None:
    deepspeed(tree.parent / "disk-of-tags", "global_step10")
    where = tree / "checkpoint-10"
    trainer(where, 10, 2)
    (where / "latest").write_text("global_step10")
    (where / "global_step10").symlink_to(tree.parent / "disk-of-tags" / "global_step10")


def left_over(tree: Path) -> None:
    """Saved by four, then again by two under the same name; of the four one was never finished."""
    where = tree / "checkpoint-10"
    tag(where / "global_step10", 2)
    for rank in (2, 3):
        (where / "global_step10" / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").write_bytes(b"")
    (where / "latest").write_text("global_step10")
    trainer(where, 10, 4)
    (where / "rng_state_2.pth").unlink()


def tags(tree: Path) -> None:
    deepspeed(tree, "global_step10")
    deepspeed(tree, "global_step20", skip=(1,))


def tags_bf16(tree: Path) -> None:
    deepspeed(tree, "global_step9", bf16=True)
    deepspeed(tree, "global_step10", bf16=True, stage=1)


def free_tags(tree: Path) -> None:
    deepspeed(tree, "best", global_steps=30)
    deepspeed(tree, "epoch1", global_steps=20)
    deepspeed(tree, "epoch2", global_steps=40, skip=(0,))


def session(tree: Path) -> None:
    for step in (10, 20):
        deepspeed(tree / f"checkpoint-{step}", f"global_step{step}", stage=0)


def experts(tree: Path) -> None:
    tag(tree / "global_step10", stage=0, num_experts=[2, 2])
    for one in range(2):
        pt(tree / "global_step10" / f"expp_rank_{one}_mp_rank_00_optim_states.pt")
        for layer in range(2):
            pt(tree / "global_step10" / f"layer_{layer}_expert_{one}_mp_rank_00_model_states.pt")


def universal(tree: Path) -> None:
    deepspeed(tree, "global_step10")
    for name in ("a", "b"):
        pt(tree / "global_step10_universal" / "zero" / name / "fp32.pt")
    pt(tree / "global_step10_universal" / "mp_rank_00_model_states.pt")
    (tree / "latest_universal").write_text("global_step10_universal")


def accelerates(tree: Path) -> None:
    for number in range(11):
        accelerate(tree / f"checkpoint_{number}", ranks=2)
    (tree / "checkpoint_10" / "random_states_0.pkl").unlink()


def accelerate_steps(tree: Path) -> None:
    accelerate(tree / "step_5")
    accelerate(tree / "step_10")
    accelerate(tree / "step_20")
    for path in (tree / "step_20").glob("random_states_*"):
        path.unlink()


def accelerate_deepspeed(tree: Path) -> None:
    deepspeed(tree / "step_500", "pytorch_model")
    for rank in (0, 1):
        pt(tree / "step_500" / f"random_states_{rank}.pkl")


def accelerate_two_models(tree: Path) -> None:
    accelerate(tree / "step_5")
    for name in ("model_1.safetensors", "model_2.safetensors"):
        st(tree / "step_5" / name)


def accelerate_fsdp(tree: Path) -> None:
    where = tree / "step_5"
    dcp(where / "pytorch_model_fsdp_0")
    dcp(where / "optimizer_0")
    pt(where / "random_states_0.pkl")


def lightning(tree: Path) -> None:
    for step in (5, 10):
        pt(tree / f"epoch=0-step={step}.ckpt", {"global_step": step})
    pt(tree / "last.ckpt", {"global_step": 12})


def lightning_named(tree: Path) -> None:
    pt(tree / "epoch=1-val_loss=0.25.ckpt", {"global_step": 20})
    pt(tree / "epoch=0-val_loss=0.75.ckpt", {"global_step": 10})
    (tree / "last.ckpt").symlink_to("epoch=1-val_loss=0.25.ckpt")


def lightning_deepspeed(tree: Path) -> None:
    deepspeed(tree / "epoch=0-step=10.ckpt", "checkpoint")
    deepspeed(tree / "last.ckpt", "checkpoint", global_step=12)


def lightning_fsdp(tree: Path) -> None:
    dcp(tree / "epoch=0-step=10.ckpt")
    pt(tree / "epoch=0-step=10.ckpt" / "meta.pt", {"global_step": 10})


def dcps(tree: Path) -> None:
    for step in (5, 10, 20):
        dcp(tree / f"step_{step}")
    (tree / "step_20" / ".metadata").unlink()


def dcp_per_rank(tree: Path) -> None:
    dcp(tree / "step-10")
    (tree / "step-10" / ".metadata").rename(tree / "step-10" / "__0.metadata")


def tag_without_a_file(tree: Path) -> None:
    deepspeed(tree, "first", global_steps=10)
    (tree / "second").mkdir()
    (tree / "latest").write_text("second")


def lone_file(tree: Path) -> None:
    pt(tree / "net.pth")


def run_directory(tree: Path) -> None:
    """Links that name the newest are none of their own, wherever they lead through."""
    plain_trainer(tree / "checkpoint-10", 10)
    (tree / "last").symlink_to(tree / "checkpoint-10")
    (tree / "best").symlink_to("checkpoint-10")


def megatron(tree: Path) -> None:
    for rank in range(2):
        pt(tree / "iter_0000010" / f"mp_rank_{rank:02d}" / "model_optim_rng.pt")
    (tree / "latest_checkpointed_iteration.txt").write_text("10")


def files(tree: Path) -> None:
    for name in ("ckpt_5.pt", "ckpt_10.pt", "epoch_3.pth"):
        pt(tree / name)
    (tree / "ckpt_20.pt").write_bytes(b"")


def file_last(tree: Path) -> None:
    pt(tree / "last.pt", {"model": {}, "optimizer": {}, "step": 17})
    pt(tree / "tokens.pt", [1, 2, 3])  # no checkpoint: data


def file_without_a_step(tree: Path) -> None:
    pt(tree / "ckpt_10.pt")
    pt(tree / "last.pt", {"model": {}})
    os.utime(tree / "ckpt_10.pt", (1, 1))


def tars(tree: Path) -> None:
    pt(tree / "checkpoint_0005.pth.tar", {"epoch": 5, "state_dict": {}})
    (tree / "shard-000001.tar").write_bytes(b"a data set")


def own_directories(tree: Path) -> None:
    for step in (5, 10):
        pt(tree / f"step_{step}" / "model.pt")
        pt(tree / f"step_{step}" / "optimizer.pt")
        (tree / f"step_{step}" / "DONE").touch()
    st(tree / "step_20" / "model.safetensors")


def own_last(tree: Path) -> None:
    pt(tree / "last" / "model.pt", {"step": 8})
    pt(tree / "last" / "optimizer.pt")


LAYOUTS = [
    Layout(
        "trainer",
        trainers,
        [("checkpoint-10", "trainer", 10, True), ("checkpoint-5", "trainer", 5, True)],
        "checkpoint-10/trainer_state.json",
    ),
    Layout("trainer-ddp", trainer_of_four, [("checkpoint-10", "trainer", 10, True)], "checkpoint-10/rng_state_2.pth"),
    Layout(
        "trainer-args",
        trainer_says_its_ranks,
        [("checkpoint-10", "trainer", 10, True)],
        "checkpoint-10/rng_state_2.pth",
    ),
    Layout(
        "trainer-index",
        trainer_with_shards,
        [("checkpoint-10", "trainer", 10, True)],
        "checkpoint-10/model.safetensors.index.json",
    ),
    Layout(
        "trainer-zero3",
        trainer_deepspeed,
        [("checkpoint-10", "trainer", 10, False), ("checkpoint-5", "trainer", 5, True)],
        "checkpoint-5/global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt",
    ),
    Layout(
        "trainer-stopped-early",
        trainer_stopped_early,
        [("checkpoint-20", "trainer", 20, False), ("checkpoint-10", "trainer", 10, True)],
        "checkpoint-10/optimizer.pt",
    ),
    Layout("trainer-fsdp", fsdp, [("checkpoint-10", "trainer", 10, True)], "checkpoint-10/optimizer_0/.metadata"),
    Layout(
        "trainer-fsdp-full", fsdp_full, [("checkpoint-10", "trainer", 10, True)], "checkpoint-10/pytorch_model_fsdp.bin"
    ),
    Layout("adapter", adapter, [("checkpoint-50", "trainer", 50, True)], "checkpoint-50/adapter_config.json"),
    Layout(
        "adapters", adapters, [("checkpoint-50", "trainer", 50, True)], "checkpoint-50/policy/adapter_model.safetensors"
    ),
    Layout("linked", linked, [("checkpoint-10", "trainer", 10, True)], "checkpoint-10/rng_state_1.pth"),
    Layout(
        "linked-inside",
        linked_inside,
        [("checkpoint-10", "trainer", 10, True)],
        "checkpoint-10/global_step10/mp_rank_00_model_states.pt",
    ),
    Layout("left-over", left_over, [("checkpoint-10", "trainer", 10, True)], "checkpoint-10/rng_state_1.pth"),
    Layout(
        "tags",
        tags,
        [("global_step20", "deepspeed", 20, False), ("global_step10", "deepspeed", 10, True)],
        "global_step10/mp_rank_00_model_states.pt",
    ),
    Layout(
        "tags-bf16",
        tags_bf16,
        [("global_step10", "deepspeed", 10, True), ("global_step9", "deepspeed", 9, True)],
        "global_step10/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt",
    ),
    Layout(
        "free-tags",
        free_tags,
        [("epoch2", "deepspeed", 40, False), ("best", "deepspeed", 30, True), ("epoch1", "deepspeed", 20, True)],
        "best/zero_pp_rank_1_mp_rank_00_optim_states.pt",
    ),
    Layout(
        "session",
        session,
        [("checkpoint-20", "deepspeed", 20, True), ("checkpoint-10", "deepspeed", 10, True)],
        "checkpoint-20/latest",
    ),
    Layout(
        "experts",
        experts,
        [("global_step10", "deepspeed", 10, True)],
        "global_step10/layer_1_expert_1_mp_rank_00_model_states.pt",
    ),
    Layout(
        "universal",
        universal,
        [("global_step10", "deepspeed", 10, True), ("global_step10_universal", "universal", 10, True)],
        "global_step10_universal/zero/b/fp32.pt",
    ),
    Layout(
        "accelerate",
        accelerates,
        [(f"checkpoint_{number}", "accelerate", number, number != 10) for number in reversed(range(11))],
        "checkpoint_9/model.safetensors",
    ),
    Layout(
        "accelerate-steps",
        accelerate_steps,
        [
            ("step_20", "accelerate", 20, False),
            ("step_10", "accelerate", 10, True),
            ("step_5", "accelerate", 5, True),
        ],
        "step_10/optimizer.bin",
    ),
    Layout(
        "accelerate-deepspeed",
        accelerate_deepspeed,
        [("step_500", "accelerate", 500, True)],
        "step_500/random_states_1.pkl",
    ),
    Layout(
        "accelerate-models", accelerate_two_models, [("step_5", "accelerate", 5, True)], "step_5/model_1.safetensors"
    ),
    Layout("accelerate-fsdp", accelerate_fsdp, [("step_5", "accelerate", 5, True)], "step_5/optimizer_0/__0_0.distcp"),
    Layout(
        "lightning",
        lightning,
        [
            ("last.ckpt", "lightning", 12, True),
            ("epoch=0-step=10.ckpt", "lightning", 10, True),
            ("epoch=0-step=5.ckpt", "lightning", 5, True),
        ],
        "last.ckpt",
    ),
    Layout(
        "lightning-named",
        lightning_named,
        [("epoch=1-val_loss=0.25.ckpt", "lightning", 20, True), ("epoch=0-val_loss=0.75.ckpt", "lightning", 10, True)],
        "epoch=1-val_loss=0.25.ckpt",
    ),
    Layout(
        "lightning-deepspeed",
        lightning_deepspeed,
        [("last.ckpt", "lightning", 12, True), ("epoch=0-step=10.ckpt", "lightning", 10, True)],
        "last.ckpt/latest",
    ),
    Layout(
        "lightning-fsdp",
        lightning_fsdp,
        [("epoch=0-step=10.ckpt", "lightning", 10, True)],
        "epoch=0-step=10.ckpt/meta.pt",
    ),
    Layout(
        "dcp",
        dcps,
        [("step_20", "dcp", 20, False), ("step_10", "dcp", 10, True), ("step_5", "dcp", 5, True)],
        "step_10/__0_0.distcp",
    ),
    Layout("dcp-per-rank", dcp_per_rank, [("step-10", "dcp", 10, True)], "step-10/__0.metadata"),
    Layout("megatron", megatron, [("iter_0000010", "torch", 10, True)], "iter_0000010/mp_rank_00/model_optim_rng.pt"),
    Layout(
        "files",
        files,
        [
            ("ckpt_20.pt", "torch", 20, False),
            ("ckpt_10.pt", "torch", 10, True),
            ("ckpt_5.pt", "torch", 5, True),
            ("epoch_3.pth", "torch", 3, True),
        ],
        "ckpt_10.pt",
    ),
    Layout("lone-file", lone_file, [("net.pth", "torch", None, True)], "net.pth"),
    Layout(
        "links",
        run_directory,
        [("checkpoint-10", "trainer", 10, True)],
        "checkpoint-10/scheduler.pt",
    ),
    Layout(
        "tag-without-a-file",
        tag_without_a_file,
        [("second", "deepspeed", None, False), ("first", "deepspeed", 10, True)],
        "first/mp_rank_00_model_states.pt",
    ),
    Layout("file-last", file_last, [("last.pt", "torch", 17, True)], "last.pt"),
    Layout(
        "file-without-a-step",
        file_without_a_step,
        [("last.pt", "torch", None, True), ("ckpt_10.pt", "torch", 10, True)],
        "last.pt",
    ),
    Layout("tars", tars, [("checkpoint_0005.pth.tar", "torch", 5, True)], "checkpoint_0005.pth.tar"),
    Layout(
        "own-directories",
        own_directories,
        [
            ("step_10", "torch", 10, True),
            ("step_5", "torch", 5, True),
            ("step_20", "weights", 20, True),
        ],
        "step_10/optimizer.pt",
        missed=False,
    ),
    Layout("own-last", own_last, [("last", "torch", 8, True)], "last/model.pt", missed=False),
]


if __name__ == "__main__":
    for layout in LAYOUTS:
        layout.build(Path(sys.argv[1]) / layout.name)
