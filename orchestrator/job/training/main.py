"""The built-in trainer: a causal language model on packed text, as job.json's training section says."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import traceback
from typing import Any

from orchestrator.job.nearest import nearest
from orchestrator.job.protocol.jobfile import TextData, Training
from orchestrator.job.training.environment import ConfigurationError, Environment, ModelError, TrainingError
from orchestrator.job.training.session import Session


def main() -> None:
    """Trains to the end, or saves and leaves when it is asked to stop; ends with 1 and a sentence when it can't."""
    session = Session.start()
    try:
        train(session)
    except TrainingError as error:
        session.records.error(error, traceback.format_exc(), error.cause)
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def train(session: Session) -> None:
    """One generation's training, from the checkpoint that the agent chose or from step 0."""
    environment = session.environment
    training = environment.job.training
    if training is None:
        raise TrainingError("job.json has no training section: this job has a command of its own. Submit it again.")
    _choose_device(environment)

    import deepspeed
    import torch
    from transformers import default_data_collator, set_seed

    from orchestrator.job.training.arguments import make_arguments
    from orchestrator.job.training.callback import OrchCallback
    from orchestrator.job.training.compiler import leave_out
    from orchestrator.job.training.operators import load_operators
    from orchestrator.job.training.packing import Rows, trim
    from orchestrator.job.training.quiet import hush, hush_printer
    from orchestrator.job.training.tokenizer import load_tokenizer
    from orchestrator.job.training.trainer import CausalTrainer

    hush()
    ds_config = _read_ds_config(environment.ds_config)
    cpu = not torch.cuda.is_available()
    leave_out(ds_config)
    load_operators(session, ds_config, cpu=cpu)
    if cpu:
        # transformers starts DeepSpeed's own communication only on a GPU, but ZeRO 3 makes the model with it.
        deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)
    # Before the model: at ZeRO 3 transformers reads from here that it must be made in partitions.
    arguments = _arguments(make_arguments(environment.job, training, ds_config, environment.checkpoint_dir, cpu=cpu))
    tokenizer = load_tokenizer(training.model, training.tokenizer)
    # The Trainer does it too, but after the random weights are made.
    set_seed(arguments.seed)
    rows = trim(_pack(session, training.data, tokenizer), training.global_batch)
    trainer = CausalTrainer(
        model=_make_model(training, tokenizer, rows.length),
        args=arguments,
        train_dataset=Rows(rows),
        processing_class=tokenizer,
        data_collator=default_data_collator,  # rows are full: the usual one asks for a padding token
        callbacks=[OrchCallback(session, tokens_per_step=training.global_batch * rows.length, say=True)],
    )
    hush_printer(trainer)
    trainer.train(resume_from_checkpoint=environment.resume_from)
    session.records.progress("saving")
    trainer.write_model(environment.model_dir)
    session.done(int(trainer.state.global_step))


def _choose_device(environment: Environment) -> None:
    """Before torch is imported: a job for the CPU must not see the machine's GPUs, and its ranks share the cores."""
    if environment.job.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ["DS_ACCELERATOR"] = "cpu"
    together = os.environ.get("MASTER_ADDR") in ("127.0.0.1", "localhost", "::1")
    ranks_here = environment.world_size if together else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // ranks_here)))


def _read_ds_config(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        config: dict[str, Any] = json.load(file)
    return config


def _arguments(wanted: dict[str, Any]) -> Any:
    from transformers import TrainingArguments

    known = [field.name for field in dataclasses.fields(TrainingArguments) if field.init]
    if "activation_checkpointing" not in known:  # its name in older versions
        wanted["gradient_checkpointing"] = wanted.pop("activation_checkpointing")
    for name in wanted:
        if name not in known:
            near = nearest(name, known)
            hint = f" Is it {near}?" if near else ""
            raise ConfigurationError(f"training.args: transformers' TrainingArguments have no {name}.{hint}")
    try:
        return TrainingArguments(**wanted)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"training.args: transformers refuses them: {error}") from error


def _pack(session: Session, data: TextData, tokenizer: Any) -> Any:
    """Rank 0 packs, for all: every rank maps the same file in the checkpoint directory."""
    from orchestrator.job.training.packing import pack

    outcome: Any = None
    if session.rank == 0:
        try:
            outcome = pack(data, tokenizer, os.path.join(session.environment.root, "packed"))
        except TrainingError as error:
            outcome = error
    outcome = session.share(outcome)
    if isinstance(outcome, TrainingError):
        raise outcome
    return outcome


def _make_model(training: Training, tokenizer: Any, length: int) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from orchestrator.job.training.tokenizer import unloadable

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[training.precision]
    model = training.model
    if model.config is None:
        try:
            made = AutoModelForCausalLM.from_pretrained(str(model.path), revision=model.revision, dtype=dtype)
        except (OSError, ValueError) as error:
            raise unloadable("model", str(model.path), error) from error
    else:
        ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        keys = {**ends, "pad_token_id": tokenizer.pad_token_id, **model.config}
        made = AutoModelForCausalLM.from_config(AutoConfig.for_model(keys.pop("model_type"), **keys), dtype=dtype)
    vocabulary = made.config.get_text_config().vocab_size
    if vocabulary < len(tokenizer):
        raise ModelError(
            f"The model has a vocabulary of {vocabulary}, but the tokenizer makes {len(tokenizer)} different tokens. "
            f"Set vocab_size in model.config to {len(tokenizer)} or more, or choose another tokenizer."
        )
    positions = getattr(made.config.get_text_config(), "max_position_embeddings", None)
    if isinstance(positions, int) and length > positions:
        raise ModelError(
            f"The model has {positions:,} positions, but a sequence has {length:,} tokens (data.sequence_length). "
            "Make data.sequence_length smaller, or choose another model."
        )
    return made


if __name__ == "__main__":
    main()
