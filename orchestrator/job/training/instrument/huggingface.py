"""transformers.Trainer, and all that is built on it: the callback, where the script has none of orch's."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any, Optional

from orchestrator.job.training.instrument.observer import TRAINER, Observer
from orchestrator.job.training.instrument.wrapping import UnknownVersion, wrap


def trainer(observer: Observer, module: ModuleType) -> Optional[str]:
    """Steps, losses, saves by `checkpoint.every` and when asked to stop, proven checkpoints. Raises UnknownVersion."""
    trainer_type = getattr(module, "Trainer", None)
    if trainer_type is None:
        raise UnknownVersion("it has no Trainer")
    trained: list[int] = []

    def init(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        from orchestrator.job.training.callback import OrchCallback, ScriptCallback

        original(self, *args, **kwargs)
        callbacks = self.callback_handler.callbacks
        if not any(isinstance(callback, OrchCallback) for callback in callbacks):
            self.add_callback(ScriptCallback(observer))

    def train(original: Any, self: Any, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        observer.counts(TRAINER)
        if not resume_from_checkpoint and not trained:
            resume_from_checkpoint = _newest(observer, self.args.output_dir) or resume_from_checkpoint
        trained.append(1)
        return original(self, resume_from_checkpoint, *args, **kwargs)

    def save(original: Any, *args: Any, **kwargs: Any) -> Any:
        with observer.saving():
            return original(*args, **kwargs)

    wrap(trainer_type, "_save_checkpoint", save)
    wrap(trainer_type, "train", train, "resume_from_checkpoint")
    wrap(trainer_type, "__init__", init, "callbacks")
    return "steps, losses, proven checkpoints, and a last one when the job is stopped"


def _newest(observer: Observer, output_dir: str) -> Optional[str]:
    """The checkpoint that a script which names none goes on from: of its own output directory only."""
    from transformers.trainer_utils import get_last_checkpoint

    if observer.environment.resume_from is None or not os.path.isdir(output_dir):
        return None
    if not observer.is_protected(os.path.join(output_dir, "checkpoint")):
        return None
    newest = get_last_checkpoint(output_dir)
    if newest is None:
        return None
    observer.note(f"the script named no checkpoint to resume from, and goes on from {newest}")
    return str(newest)
