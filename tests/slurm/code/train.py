"""A small DeepSpeed training whose steps take as long as a fault needs; the same losses however long they take."""

import argparse
import os
import time
from pathlib import Path

import deepspeed
import torch
from torch import nn

from orchestrator.job.checkpoints import manifest, retention
from orchestrator.job.training.compiler import leave_out
from orchestrator.training import Session

WIDTH = 64


def batch(step: int, rank: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A generator of its own for each step: to go on from one, nobody has to draw those before it."""
    generator = torch.Generator().manual_seed(1000 * step + rank)
    x = torch.randn(size, WIDTH, generator=generator)
    return x, x.roll(1, dims=1).sin()


def commit_without_asking(session: Session, directory: str, step: int) -> None:
    """As a process would that was stopped after it had looked for a newer claim, and before it wrote."""
    torch.distributed.barrier()
    if session.rank == 0:
        mine = session.environment
        names = [str(path.relative_to(directory)) for path in Path(directory).rglob("*") if path.is_file()]
        manifest.write_commit(
            directory,
            step=step,
            generation=mine.generation,
            attempt=mine.attempt,
            run_id=mine.run_id,
            world_size=mine.world_size,
            files=manifest.hash_files(directory, names),
        )
        retention.prune(mine.root, mine.generation, 1)
    torch.distributed.barrier()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=0.0, help="that a step takes longer")
    parser.add_argument("--after", type=int, default=0, help="steps at full speed, before")
    parser.add_argument("--slow", type=int, default=1, help="generations in which it does")
    parser.add_argument("--deaf", action="store_true", help="commit in the first generation whoever has taken over")
    options = parser.parse_args()
    generation = int(os.environ["ORCH_GENERATION"])
    pause = options.seconds if generation <= options.slow else 0.0
    commit = commit_without_asking if options.deaf and generation == 1 else Session.commit

    session = Session.start()
    leave_out({})  # hundreds of ranks start in a test session
    deepspeed.init_distributed(dist_backend="gloo")
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=os.environ["ORCH_DS_CONFIG"])
    if session.resume_from:
        engine.load_checkpoint(session.resume_from)
    step = session.resume_step
    while step < options.steps:
        x, y = batch(step, session.rank, engine.train_micro_batch_size_per_gpu())
        loss = nn.functional.mse_loss(engine(x), y)
        engine.backward(loss)
        engine.step()
        time.sleep(pause if step >= options.after else 0.0)
        step += 1
        leave = session.step(step, options.steps, loss=loss.detach())
        if session.save_due or leave or step == options.steps:
            directory = f"{session.checkpoint_dir}/checkpoint-{step}"
            engine.save_checkpoint(directory)
            commit(session, directory, step)
        if leave:
            session.stopped(step)
    session.done(step)


if __name__ == "__main__":
    main()
