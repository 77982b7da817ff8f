"""Meets the libraries that an unmodified script imports: steps, losses, saves and the agreement to stop.

Nothing is imported here that the script does not import itself: each library is patched when it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Optional

from orchestrator.job.training.environment import Environment, read_environment
from orchestrator.job.training.instrument import huggingface, libraries
from orchestrator.job.training.instrument.imports import Finder
from orchestrator.job.training.instrument.observer import Observer
from orchestrator.job.training.instrument.wrapping import UnknownVersion

Instrument = Callable[[Observer, ModuleType], Optional[str]]
# What is patched in which module, and how; the sentence for `orch events` says what a library gives.
LIBRARIES: Mapping[str, Instrument] = {
    "torch.optim.optimizer": libraries.torch_optimizer,
    "torch._tensor": libraries.torch_backward,
    "torch.serialization": libraries.torch_save,
    "torch.distributed.checkpoint.state_dict_saver": libraries.torch_checkpoint,
    "safetensors": libraries.safetensors,
    "deepspeed.runtime.engine": libraries.deepspeed,
    "deepspeed.runtime.pipe.engine": libraries.pipeline,
    "accelerate.accelerator": libraries.accelerate,
    "lightning.fabric.fabric": libraries.fabric,
    "lightning_fabric.fabric": libraries.fabric,
    "lightning.pytorch.trainer.trainer": libraries.lightning,
    "pytorch_lightning.trainer.trainer": libraries.lightning,
    "transformers.trainer": huggingface.trainer,
}


def install(before_first_step: Callable[[], None], opened: Callable[[str], None]) -> Callable[[], None]:
    """Patches each known library once the script imports it; what it returns is to be called when the script is done.

    `before_first_step` is called before the script's first optimizer step, `opened` with the path of a file that is
    read by other means than Python's `open`.
    """
    environment = read_environment()
    assert environment is not None
    observer = Observer(environment, before_first_step, opened)
    Finder({name: functools.partial(_patch, observer, name) for name in LIBRARIES}).install()
    return observer.finishes


def _patch(observer: Observer, name: str, module: ModuleType) -> None:
    try:
        said = LIBRARIES[name](observer, module)
    except UnknownVersion as unknown:
        observer.tell(f"{_title(name)} is not instrumented: this version is not known, {unknown}")
    except Exception:  # noqa: BLE001 - a bug here must not end a script that runs without it
        observer.failed(_title(name))
    else:
        if said:
            observer.meets(name, f"{_title(name)} is instrumented: {said}")


def _title(name: str) -> str:
    """A library with its version."""
    import importlib.metadata

    package = name.split(".", maxsplit=1)[0]
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package


__all__ = ["Environment", "install"]
