"""job.json: what the agent and the trainer read. Their only source besides their arguments."""

from __future__ import annotations

from orchestrator.errors import JobError
from orchestrator.job.protocol.jobfile import (
    FORMAT,
    Interface,
    JobFile,
    ModelSource,
    Need,
    SecretSource,
    TextData,
    Timeouts,
    Training,
)
from orchestrator.model.command import Command, CommandError, command_of
from orchestrator.model.spec import Secret, Spec
from orchestrator.rendering import needs, paths
from orchestrator.rendering.request import RenderRequest

CODE_DIR = "code"

JOIN_SECONDS = 600
HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 900


def job_file(request: RenderRequest) -> JobFile:
    spec, plan, profile = request.spec, request.plan, request.cluster.profile
    command = _command(spec)
    shell = command is not None and command.is_shell
    return JobFile(
        format=FORMAT,
        name=spec.name,
        run_id=request.run_id,
        nodes=plan.topology.nodes,
        ranks_per_node=plan.topology.ranks_per_node,
        checkpoint_dir=spec.checkpoint.dir,
        max_failures=spec.restart.max_failures,
        device=plan.topology.device,
        launcher=spec.launcher,
        python=profile.python,
        command=command.words if command else None,
        processes_per_node=1 if shell else None,
        instrument=spec.instrument,
        code=CODE_DIR if spec.code is not None else None,
        every_steps=plan.checkpoint_steps,
        every_seconds=plan.checkpoint_seconds,
        keep=spec.checkpoint.keep,
        steps=plan.steps,
        epochs=plan.epochs,
        env={**(command.environment if command else {}), **profile.env, **spec.env},
        secrets={name: _secret(name, secret, request) for name, secret in spec.secrets.items()},
        interface=Interface(profile.interface.socket, tuple(profile.interface.hcas)),
        cache_dir=profile.cache_dir,
        need=Need(needs.disk_bytes(spec, plan), needs.shm_bytes(plan)),
        timeouts=Timeouts(
            join=JOIN_SECONDS, heartbeat=HEARTBEAT_SECONDS, grace=max(GRACE_SECONDS, needs.save_seconds(plan))
        ),
        signatures=request.signatures,
        training=_training(request),
    )


def _command(spec: Spec) -> Command | None:
    if spec.run is None:
        return None
    try:
        return command_of(spec)
    except CommandError as error:
        raise JobError(str(error), field="run") from error


def _secret(name: str, secret: Secret, request: RenderRequest) -> SecretSource:
    """Where the agent reads it; the pod of a Kubernetes job has it in its environment already."""
    if secret.kubernetes is not None:
        return SecretSource(kubernetes=secret.kubernetes)
    if secret.file is not None:
        return SecretSource(file=paths.absolute(secret.file, paths.base(request)))
    return SecretSource(env=secret.env or name)


def _training(request: RenderRequest) -> Training | None:
    spec, batch = request.spec, request.plan.batch
    if spec.training is None or spec.model is None or spec.data is None or batch is None:
        return None
    return Training(
        model=ModelSource(paths.hub_or_path(spec.model.path, request), spec.model.revision, spec.model.config),
        tokenizer=_tokenizer(request),
        data=TextData(
            sequence_length=batch.sequence_length,
            files=tuple(paths.absolute_glob(glob, paths.base(request)) for glob in spec.data.files),
            dataset=paths.hub_or_path(spec.data.dataset, request),
            split=spec.data.split,
            text_field=spec.data.text_field,
        ),
        global_batch=batch.global_batch,
        micro_batch=batch.micro_batch,
        accumulation=batch.accumulation,
        learning_rate=spec.training.learning_rate,
        precision=spec.training.precision,
        gradient_checkpointing=spec.training.gradient_checkpointing,
        seed=spec.training.seed,
        log_every=spec.training.log_every,
        args=spec.training.args,
    )


def _tokenizer(request: RenderRequest) -> str | None:
    spec = request.spec
    if spec.tokenizer is None:
        own = spec.model.path if spec.model else None
        return "bytes" if own is None else paths.hub_or_path(own, request)
    return spec.tokenizer if spec.tokenizer == "bytes" else paths.hub_or_path(spec.tokenizer, request)
