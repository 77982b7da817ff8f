"""A user's own training script: DeepSpeed ZeRO 2, a Llama with random weights, and orch's Session.

The benchmarks start it under orch and under plain torchrun alike; outside orch the Session does nothing. Rank 0
appends to --record a JSON line for each step and each save: what happened, when (epoch seconds), how long it took.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import deepspeed
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from orchestrator.training import Session

VOCABULARY = 320


def main() -> None:
    options = parse()
    session = Session.start()
    deepspeed.init_distributed("gloo" if not torch.cuda.is_available() else None)
    engine = make_engine(options)
    directory = Path(session.checkpoint_dir if session.active else options.checkpoints)
    done = 0
    resume_from = session.resume_from or options.resume_from
    if resume_from:
        _, state = engine.load_checkpoint(resume_from)
        done = int(state["step"])
    generator = torch.Generator().manual_seed(1)
    while done < options.steps:
        started = time.perf_counter()
        loss = train_one_step(engine, options, generator)
        done += 1
        leave = session.step(done, options.steps, loss=loss, tokens=done * options.sequence)
        record(options, "step", step=done, seconds=time.perf_counter() - started)
        if done % options.save_every == 0 or leave:
            save(engine, session, options, directory / f"checkpoint-{done}", done)
        if leave:
            session.stopped(done)
    session.done(done)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--save-every", type=int, default=1_000_000)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--sequence", type=int, default=256)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--checkpoints", help="where checkpoints go outside orch")
    parser.add_argument("--resume-from", help="the checkpoint to go on from outside orch")
    return parser.parse_args()


def make_engine(options: argparse.Namespace) -> Any:
    torch.manual_seed(1)
    config = LlamaConfig(
        hidden_size=options.hidden,
        intermediate_size=options.hidden * 3,
        num_hidden_layers=options.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=VOCABULARY,
        max_position_embeddings=options.sequence,
    )
    model = LlamaForCausalLM(config)
    settings = {
        "train_micro_batch_size_per_gpu": options.batch,
        "zero_optimization": {"stage": 2, "reduce_bucket_size": 5_000_000, "allgather_bucket_size": 5_000_000},
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)
    return engine


def train_one_step(engine: Any, options: argparse.Namespace, generator: torch.Generator) -> float:
    tokens = torch.randint(VOCABULARY, (options.batch, options.sequence), generator=generator).to(engine.device)
    loss = engine(input_ids=tokens, labels=tokens).loss
    engine.backward(loss)
    engine.step()
    return float(loss.item())


def save(engine: Any, session: Session, options: argparse.Namespace, directory: Path, step: int) -> None:
    started = time.perf_counter()
    engine.save_checkpoint(str(directory), client_state={"step": step})
    saved = time.perf_counter()
    session.commit(str(directory), step)
    record(options, "save", step=step, seconds=saved - started, commit_seconds=time.perf_counter() - saved)


def record(options: argparse.Namespace, event: str, **facts: float) -> None:
    if torch.distributed.get_rank() == 0:
        with options.record.open("a") as file:
            file.write(json.dumps({"event": event, "time": time.time(), **facts}) + "\n")


if __name__ == "__main__":
    main()
    # Under plain torchrun too: an ordinary exit after DeepSpeed aborts now and then, though all went well.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
