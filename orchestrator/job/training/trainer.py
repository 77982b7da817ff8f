"""The Hugging Face Trainer, changed where a run has to be repeatable and its checkpoints whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import torch
from transformers import Trainer

from orchestrator.job.system.atomic import replacing


class CausalTrainer(Trainer):
    """Logs each step's own loss, writes every file of a checkpoint once, and ends at once when all steps are done."""

    _loss: Optional[torch.Tensor] = None
    _loss_step = -1

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One micro-batch, whose loss is added to its step's."""
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self._loss is None or self._loss_step != self.state.global_step:
            self._loss, self._loss_step = torch.zeros_like(loss), self.state.global_step
        self._loss = self._loss + loss
        return loss

    def log(self, logs: dict[str, float], start_time: Optional[float] = None) -> None:
        """Logs the loss of this step alone, over all ranks, with every digit.

        The Trainer's own figure is a mean since the last log, which is another number after a resume in between.
        """
        if "loss" in logs and self._loss is not None:
            logs["loss"] = self.accelerator.gather(self._loss.reshape(1)).mean().item()
        super().log(logs, start_time)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> Any:
        """The batches of one step; none when the checkpoint that was resumed from is the last step's."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return [], None
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def save_model(self, output_dir: Optional[str] = None, *args: Any, **kwargs: Any) -> None:
        """The weights beside a checkpoint's shards; at ZeRO 3 only where the ds_config asks for them.

        There the Trainer would call save_checkpoint in their stead, and again for the shards themselves: twice the
        bytes, and good shards are cut off and written again.
        """
        engine: Any = self.model_wrapped
        if output_dir is None or not _partitioned(engine) or engine.zero_gather_16bit_weights_on_model_save():
            super().save_model(output_dir, *args, **kwargs)
        elif self.args.should_save:
            model: Any = self.model
            tokenizer: Any = self.processing_class
            model.config.save_pretrained(output_dir)
            tokenizer.save_pretrained(output_dir)

    def write_model(self, directory: str) -> None:
        """The finished model: safetensors, config and tokenizer, from every ZeRO stage. All ranks call it.

        The directory appears when everything in it is on disk.
        """
        model: Any = self.model
        tokenizer: Any = self.processing_class
        state = _gather(model) if _partitioned(self.model_wrapped) else None
        if not self.args.should_save:
            return
        with replacing(Path(directory), sync=True) as partial:
            model.save_pretrained(str(partial), state_dict=state)
            tokenizer.save_pretrained(str(partial))


def _partitioned(engine: Any) -> bool:
    return bool(engine.zero_optimization_partition_weights())


def _gather(model: Any) -> Optional[dict[str, torch.Tensor]]:
    """The whole state of a ZeRO-3 model in rank 0's memory, gathered a module at a time; None on other ranks."""
    import deepspeed

    first = torch.distributed.get_rank() == 0
    state: dict[str, torch.Tensor] = {}
    seen: dict[int, torch.Tensor] = {}
    # Persistent buffers alone: these are in no partition, and what is gathered below replaces the partitioned rest.
    buffers = {name for name, _ in model.named_buffers()}
    for name, tensor in model.state_dict().items() if first else ():
        if name in buffers:
            state[name] = tensor.detach().to("cpu", copy=True)
    for prefix, module in model.named_modules():
        parameters = dict(module.named_parameters(recurse=False))
        # modifier_rank=0 frees what was gathered as soon as the block ends.
        with deepspeed.zero.GatheredParameters(list(parameters.values()), modifier_rank=0):
            for name, parameter in parameters.items() if first else ():
                if parameter.ds_id not in seen:
                    seen[parameter.ds_id] = parameter.detach().to("cpu", copy=True)
                state[f"{prefix}.{name}" if prefix else name] = seen[parameter.ds_id]
    return state if first else None
