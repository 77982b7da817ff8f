"""Warnings that are known to be harmless here, each silenced by name and for a reason."""

from __future__ import annotations

import logging
from typing import Any


def hush() -> None:
    """Silences them in this process."""
    from transformers.utils import logging as transformers_logging

    # A progress bar of a second's work per checkpoint, drawn into a log file.
    transformers_logging.disable_progress_bar()
    # The Trainer accumulates by itself and sets 1 in accelerate; DeepSpeed's figure, the right one, is then used.
    _drop("accelerate.accelerator", "Gradient accumulation steps mismatch")


def hush_printer(trainer: Any) -> None:
    """The callback prints each logged step already; the Trainer's own printer would repeat it as a dictionary."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def _drop(logger: str, words: str) -> None:
    logging.getLogger(logger).addFilter(lambda record: words not in record.getMessage())
