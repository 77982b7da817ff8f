"""What is patched in torch, DeepSpeed, accelerate and Lightning. Each function raises UnknownVersion."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any, Optional

from orchestrator.job.training.instrument.observer import ENGINE, OPTIMIZER, Observer
from orchestrator.job.training.instrument.wrapping import UnknownVersion, wrap

_DRY_RUN = "_init_optim_state"  # of torch.distributed.checkpoint: a step without effect, to make the optimizer's state


def torch_optimizer(observer: Observer, module: ModuleType) -> Optional[str]:
    """Counts the steps of the first optimizer, of scripts that have nothing better."""
    before = getattr(module, "register_optimizer_step_pre_hook", None)
    after = getattr(module, "register_optimizer_step_post_hook", None)
    if before is None or after is None:
        raise UnknownVersion("it has no hooks for all optimizers")
    first: list[int] = []
    torch = sys.modules["torch"]

    def starts(optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if torch.compiler.is_compiling():
            return  # a compiler traces this function; what follows would break its graph
        if not first and not _is_called_by(_DRY_RUN):
            first.append(id(optimizer))
        if first and first[0] == id(optimizer):
            observer.starts_step()

    def took(optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if not torch.compiler.is_compiling() and first and first[0] == id(optimizer):
            observer.took_step(OPTIMIZER)

    before(starts)
    after(took)
    return None


def torch_backward(observer: Observer, module: ModuleType) -> Optional[str]:
    """The loss is what a loop of its own calls `backward` of."""
    tensor = getattr(module, "Tensor", None)
    if tensor is None:
        raise UnknownVersion("it has no Tensor")
    torch = sys.modules["torch"]

    def backward(original: Any, loss: Any, *args: Any, **kwargs: Any) -> Any:
        if not torch.compiler.is_compiling() and loss.numel() == 1:
            observer.keeps_loss(loss, OPTIMIZER)
        return original(loss, *args, **kwargs)

    wrap(tensor, "backward", backward)
    return None


def torch_save(observer: Observer, module: ModuleType) -> Optional[str]:
    """A file that torch.save writes says no step: the line of metrics before it does."""

    def save(original: Any, obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
        with observer.saving() as outermost:
            if outermost and isinstance(f, (str, os.PathLike)):
                observer.log()
            return original(obj, f, *args, **kwargs)

    wrap(module, "save", save, "obj", "f")
    torch = sys.modules["torch"]
    if getattr(torch, "save", None) is not None:
        vars(torch)["save"] = module.save  # imported from there, perhaps before it was patched
    return None


def torch_checkpoint(observer: Observer, module: ModuleType) -> Optional[str]:
    """torch.distributed.checkpoint.save is called by all ranks, unless it is told that there is only one."""

    def save(original: Any, *args: Any, **kwargs: Any) -> Any:
        with observer.saving() as outermost:
            observer.log()
            result = original(*args, **kwargs)
        directory = kwargs.get("checkpoint_id") or getattr(kwargs.get("storage_writer"), "path", None)
        # With a process group of some of the ranks the others are not here.
        by_all = not kwargs.get("no_dist") and kwargs.get("process_group") is None
        if outermost and by_all and isinstance(directory, (str, os.PathLike)):
            observer.commits(os.fspath(directory), by=module.__name__)
        return result

    wrap(module, "save", save, "checkpoint_id", "storage_writer", "process_group", "no_dist")
    package = sys.modules.get("torch.distributed.checkpoint")
    if package is not None and hasattr(package, "save"):
        vars(package)["save"] = module.save
    return "torch.distributed.checkpoint's saves are proven"


def safetensors(observer: Observer, module: ModuleType) -> Optional[str]:
    """Reads files without Python's `open`."""
    opener: Any = getattr(module, "safe_open", None)
    if opener is None:
        raise UnknownVersion("it has no safe_open")

    def safe_open(filename: Any, *args: Any, **kwargs: Any) -> Any:
        observer.opened(filename)
        return opener(filename, *args, **kwargs)

    vars(module)["safe_open"] = safe_open
    return None


def deepspeed(observer: Observer, module: ModuleType) -> Optional[str]:
    """Steps and losses of an engine, and a proven checkpoint for each tag."""
    engine_type = getattr(module, "DeepSpeedEngine", None)
    if engine_type is None:
        raise UnknownVersion("it has no DeepSpeedEngine")

    def save_checkpoint(original: Any, engine: Any, save_dir: Any, tag: Any = None, *args: Any, **kwargs: Any) -> Any:
        with observer.saving() as outermost:
            result = original(engine, save_dir, tag, *args, **kwargs)
        writer = getattr(engine, "checkpoint_engine", None)
        later = getattr(writer, "is_decoupled", None)
        if outermost and not (later is not None and later()):
            name = f"global_step{engine.global_steps}" if tag is None else str(tag)
            observer.commits(os.path.join(save_dir, name), int(engine.global_steps), by=module.__name__)
        return result

    def step(original: Any, engine: Any, *args: Any, **kwargs: Any) -> Any:
        observer.counts(ENGINE)  # before the optimizer below it counts the same step
        before = engine.global_steps
        result = original(engine, *args, **kwargs)
        if engine.global_steps != before:
            observer.took_step(ENGINE, int(engine.global_steps), by=module.__name__)
        return result

    def backward(original: Any, engine: Any, *args: Any, **kwargs: Any) -> Any:
        observer.keeps_loss(args[0] if args else kwargs.get("loss"))
        return original(engine, *args, **kwargs)

    for name, around, arguments in (
        ("save_checkpoint", save_checkpoint, ("save_dir", "tag")),
        ("step", step, ()),
        ("backward", backward, ()),
    ):
        wrap(engine_type, name, around, *arguments)
    return "steps, losses and proven checkpoints"


def pipeline(observer: Observer, module: ModuleType) -> Optional[str]:
    """DeepSpeed's engine of pipeline stages takes its steps in `train_batch`, and saves as the other one does."""
    engine_type = getattr(module, "PipelineEngine", None)
    if engine_type is None:
        raise UnknownVersion("it has no PipelineEngine")

    def train_batch(original: Any, engine: Any, *args: Any, **kwargs: Any) -> Any:
        observer.counts(ENGINE)  # before the optimizer below it counts the same step
        loss = original(engine, *args, **kwargs)
        observer.keeps_loss(loss)
        observer.took_step(ENGINE, int(engine.global_steps), by="deepspeed.runtime.engine")
        return loss

    wrap(engine_type, "train_batch", train_batch)
    return None


def accelerate(observer: Observer, module: ModuleType) -> Optional[str]:
    """`save_state` is called by all ranks and returns where it has saved."""
    accelerator = getattr(module, "Accelerator", None)
    if accelerator is None:
        raise UnknownVersion("it has no Accelerator")

    def save_state(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        with observer.saving() as outermost:
            observer.log()
            directory = original(self, *args, **kwargs)
        if outermost and isinstance(directory, (str, os.PathLike)):
            # What a rank holds whole some scripts save on rank 0 only, and nothing in accelerate waits for the others.
            sharded = str(self.distributed_type).rpartition(".")[2] in ("DEEPSPEED", "FSDP", "MEGATRON_LM")
            together = sharded or self.project_configuration.automatic_checkpoint_naming
            observer.commits(os.fspath(directory), by=module.__name__, together=together)
        return directory

    def backward(original: Any, self: Any, loss: Any, **kwargs: Any) -> Any:
        observer.keeps_loss(loss)
        return original(self, loss, **kwargs)

    wrap(accelerator, "save_state", save_state, "output_dir")
    wrap(accelerator, "backward", backward, "loss")
    return "steps, losses and proven checkpoints"


def lightning(observer: Observer, module: ModuleType) -> Optional[str]:
    """Steps and losses; a checkpoint that is one file is judged by its structure."""
    trainer = getattr(module, "Trainer", None)
    if trainer is None:
        raise UnknownVersion("it has no Trainer")

    def save_checkpoint(original: Any, self: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        with observer.saving() as outermost:
            result = original(self, filepath, *args, **kwargs)
        if outermost:
            observer.commits(os.fspath(filepath), int(self.global_step), by=module.__name__)
        return result

    def init(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        # Before its own callbacks, one of which saves: the step is known by then.
        self.callbacks.insert(0, _lightning_callback(observer, module))

    wrap(trainer, "save_checkpoint", save_checkpoint, "filepath")
    wrap(trainer, "__init__", init, "callbacks")
    return "steps, losses and checkpoints"


def fabric(observer: Observer, module: ModuleType) -> Optional[str]:
    """`save` is called by all ranks; what is one file is judged by its structure."""
    fabric_type = getattr(module, "Fabric", None)
    if fabric_type is None:
        raise UnknownVersion("it has no Fabric")

    def save(original: Any, self: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
        with observer.saving() as outermost:
            observer.log()
            result = original(self, path, *args, **kwargs)
        if outermost:
            observer.commits(os.fspath(path), by=module.__name__)
        return result

    def backward(original: Any, self: Any, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        observer.keeps_loss(tensor)
        return original(self, tensor, *args, **kwargs)

    wrap(fabric_type, "save", save, "path")
    wrap(fabric_type, "backward", backward, "tensor")
    return "steps, losses and checkpoints"


def _lightning_callback(observer: Observer, module: ModuleType) -> Any:
    """A callback of the package, lightning or pytorch_lightning, that `module` belongs to."""
    name = module.__name__
    base = sys.modules[module.__name__.replace(".trainer.trainer", ".callbacks")].Callback

    class OrchCallback(base):  # type: ignore[misc, valid-type]  # known at run time - which of two packages it is of
        def on_train_batch_end(self, trainer: Any, _model: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            observer.keeps_loss(outputs.get("loss") if isinstance(outputs, dict) else outputs)
            steps = trainer.max_steps if trainer.max_steps > 0 else None
            observer.took_step(ENGINE, int(trainer.global_step), steps, by=name)

    return OrchCallback()


def _is_called_by(name: str) -> bool:
    frame: Any = sys._getframe(1)  # noqa: SLF001 - only the stack tells a dry run from a step
    while frame is not None:
        if frame.f_code.co_name == name:
            return True
        frame = frame.f_back
    return False
