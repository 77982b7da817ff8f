"""make_plan: the one straight line through the planner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.errors import JobError, together
from orchestrator.model.cluster import Cluster
from orchestrator.model.command import command_of
from orchestrator.model.plan import Batch, DsConfig, Memory, ModelFacts, Plan, Topology
from orchestrator.model.spec import Spec
from orchestrator.planner.advice import NO_BATCH, advise
from orchestrator.planner.batch import (
    TOKENS_PER_MICRO_BATCH,
    data_parallel,
    micro_batches,
    script_batch_problem,
    without_limit,
)
from orchestrator.planner.devices import device_advice, device_problems, without_gpus
from orchestrator.planner.dscase import Case
from orchestrator.planner.dscheck import Checked, check
from orchestrator.planner.dsconfig import Inputs, render
from orchestrator.planner.dsoptimizer import optimizer_problems, scheduler_problems
from orchestrator.planner.dsrules import problems_of
from orchestrator.planner.interval import make_interval
from orchestrator.planner.settings import read_asked
from orchestrator.planner.sizing import Job, memory_of, recomputing, save_bytes_of
from orchestrator.planner.stage import (
    DEFAULT_STAGE,
    DEFAULT_STAGE_OF_A_SCRIPT,
    Candidate,
    candidates,
    choose,
    gib,
    rejection,
)
from orchestrator.planner.topology import make_topology, shortage


def make_plan(spec: Spec, cluster: Cluster, facts: ModelFacts | None) -> Plan:
    """What will run, and why. JobError for all that contradicts; what does not fit has `fits` False, and a reason."""
    seen = without_gpus(spec, cluster)
    topology = make_topology(spec.resources, seen)
    checked = check(spec.deepspeed.config)
    found = [*device_problems(spec, cluster, topology), *checked.problems]
    try:
        plan = _plan(spec, seen, facts, checked, topology)
    except JobError as error:
        given = Case(config=checked.config, spec=spec, topology=topology)
        found += [*error.each(), *optimizer_problems(given), *scheduler_problems(given)]
    if found:
        raise together(_one_for_each_field(found))
    return replace(plan, warnings=(*device_advice(spec, cluster, topology), *plan.warnings))


def _plan(spec: Spec, cluster: Cluster, facts: ModelFacts | None, checked: Checked, topology: Topology) -> Plan:
    raw = checked.config
    asked = read_asked(spec, raw)
    ranks = data_parallel(topology, asked)
    job = Job(spec=spec, cluster=cluster, facts=facts, raw=raw, asked=asked, topology=topology, data_parallel=ranks)
    return _finish(job, _choose_for_script(job) if spec.run is not None else _choose(job), checked.warnings)


def _one_for_each_field(errors: list[JobError]) -> list[JobError]:
    """The first about each field: a key that was refused may have left a second error behind."""
    fields: dict[str, JobError] = {}
    for error in errors:
        fields.setdefault(error.field or str(error), error)
    return list(fields.values())


_SCRIPT_MEMORY = "The model and the batch are the script's own, so memory is not estimated."


_UNSEEN = (
    "orch cannot see steps of this script: orch status shows no step or loss, and a start that ignores a checkpoint is "
    "not noticed."
)
_OWN_CONFIG = "The script reads its own {}; orch's ds_config.json is in $ORCH_DS_CONFIG."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """`batch` and `memory` are None for a script of the user's own."""

    candidate: Candidate
    batch: Batch | None
    memory: Memory | None
    because: tuple[str, ...]


def _choose_for_script(job: Job) -> _Chosen:
    found = candidates(job.asked, job.spec.deepspeed.nvme_path)
    choice = choose(found, lambda _: None, default=DEFAULT_STAGE_OF_A_SCRIPT)
    sizes_left_open = job.asked.global_batch is None and job.asked.micro_batch is None
    command = command_of(job.spec)
    seen = job.spec.instrument and not command.is_shell
    because = (
        *(f"{note[0].upper()}{note[1:]}." for note in command.notes),
        *choice.because,
        *((_OWN_CONFIG.format(command.ds_config),) if command.ds_config else ()),
        _SCRIPT_MEMORY,
        *((NO_BATCH,) if sizes_left_open and not job.raw else ()),
        *(() if seen else (_UNSEEN,)),
    )
    return _Chosen(candidate=choice.candidate, batch=None, memory=None, because=because)


def _choose(job: Job) -> _Chosen:
    _check_positions(job)
    micros = micro_batches(job.asked, job.training.global_batch, job.data_parallel)
    found = candidates(job.asked, job.spec.deepspeed.nvme_path)
    choice = choose(found, lambda one: memory_of(job, one, micros[0]), default=DEFAULT_STAGE)
    micro, why = _micro_batch(job, choice.candidate, micros)
    memory = memory_of(job, choice.candidate, micro)
    return _Chosen(
        candidate=choice.candidate,
        batch=_batch(job, micro),
        memory=memory,
        because=(*choice.because, why, *_why_fits(job, choice.candidate, micro, memory)),
    )


def _finish(job: Job, chosen: _Chosen, ignored: tuple[str, ...]) -> Plan:
    candidate, training = chosen.candidate, job.spec.training
    facts = job.facts if chosen.batch is not None else None
    size = save_bytes_of(job, candidate) if facts is not None else None
    steps = training.steps if training else None
    interval = make_interval(job.spec.checkpoint, job.topology, steps=steps, save_bytes=size)
    inputs = Inputs(spec=job.spec, asked=job.asked, candidate=candidate, batch=chosen.batch, facts=facts, raw=job.raw)
    config = render(inputs)
    _stop_if_wrong(job, config)
    short = shortage(job.topology, job.cluster)
    return Plan(
        topology=job.topology,
        batch=chosen.batch,
        zero_stage=candidate.stage,
        offload=candidate.offload,
        memory=chosen.memory,
        model=facts,
        fits=False if short else _fits(chosen.memory, candidate),
        ds_config=config,
        steps=steps,
        epochs=training.epochs if training else None,
        checkpoint_steps=interval.steps,
        checkpoint_seconds=interval.seconds,
        checkpoint_bytes=size,
        because=(*((short,) if short else ()), *chosen.because, interval.because),
        warnings=(*ignored, *advise(job.spec, job.topology, job.raw, config)),
    )


def _stop_if_wrong(job: Job, config: DsConfig) -> None:
    batch = script_batch_problem(job.asked, job.data_parallel) if job.spec.run is not None else None
    problems = problems_of(Case(config=config, spec=job.spec, topology=job.topology))
    if found := [*([batch] if batch else []), *problems]:
        raise together(found)


def _check_positions(job: Job) -> None:
    positions = job.facts.positions if job.facts else None
    if positions is not None and job.sequence_length > positions:
        raise JobError(
            f"{job.sequence_length} tokens are more than the {positions} positions that the model has learned",
            hint=f"Use at most {positions}, or another model.",
            field="data.sequence_length",
        )


def _batch(job: Job, micro: int) -> Batch:
    total = job.training.global_batch
    return Batch(
        global_batch=total,
        micro_batch=micro,
        accumulation=total // (micro * job.data_parallel),
        data_parallel=job.data_parallel,
        sequence_length=job.sequence_length,
    )


def _micro_batch(job: Job, candidate: Candidate, micros: tuple[int, ...]) -> tuple[int, str]:
    if len(micros) == 1:
        return micros[0], f"Micro-batch {micros[0]}: the only one, as asked or as the batch divides."
    sizes = [(micro, size) for micro in micros if (size := memory_of(job, candidate, micro)) and size.deciding_limit]
    most = f"{TOKENS_PER_MICRO_BATCH:,} tokens"
    if not sizes:
        micro = without_limit(micros, job.sequence_length)
        return micro, f"Micro-batch {micro}: memory or model size is not known, so {most} at most."
    fitting = tuple(micro for micro, size in sizes if rejection(size) is None)
    if not fitting:
        return micros[0], f"Micro-batch {micros[0]}: the smallest, and even that does not fit."
    if job.topology.device == "cpu":
        micro = without_limit(fitting, job.sequence_length)
        return micro, f"Micro-batch {micro}: it fits, and more than {most} are no faster on a CPU."
    return max(fitting), f"Micro-batch {max(fitting)}: the largest of {', '.join(map(str, micros))} that fits."


def _fits(memory: Memory | None, candidate: Candidate) -> bool | None:
    """None when a limit that matters is not known: the GPU's; the host's on a CPU or with offload."""
    if memory is None:
        return None
    if rejection(memory) is not None:
        return False
    needs_host = memory.rank_on_host or candidate.offload == "cpu"
    return None if memory.deciding_limit is None or (needs_host and memory.host_limit is None) else True


def _why_fits(job: Job, candidate: Candidate, micro: int, memory: Memory | None) -> Iterator[str]:
    if memory is None:
        yield "The model's size is not known here, so memory is not estimated."
        return
    why = rejection(memory)
    if why is not None:
        yield f"It does not fit: it needs {why}."
        less = memory_of(recomputing(job), candidate, micro)
        if less is not None and rejection(less) is None:
            yield f"training.gradient_checkpointing: true would fit, with {gib(less.rank_bytes)} a rank."
    elif memory.deciding_limit is None:
        yield f"A rank needs {gib(memory.rank_bytes)}; how much there is, is not known."
