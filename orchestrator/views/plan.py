"""`orch plan`: what would run, its memory term by term, the batch as a product, and the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from orchestrator.model.plan import Batch, Memory, ModelFacts, Plan, Term, Topology
from orchestrator.views import units
from orchestrator.views.text import Paint, field, plain, wrapped

_FIT = {True: ("fits", "good"), False: ("does not fit", "bad"), None: ("not known whether it fits", "warn")}
_DEVICES = {"cuda": "GPUs", "cpu": "the CPU", "auto": "GPUs where there are any, else the CPU"}

_LEGEND = (
    "P parameters, N ranks, b bytes of a value, L layers, h hidden size, v vocabulary, s sequence length, m micro-batch"
)


def to_json(name: str, cluster: str, plan: Plan) -> dict[str, object]:
    """Every figure of the plan, bytes as integers, with the sums that the page shows."""
    value = {"name": name, "cluster": cluster, **asdict(plan)}
    value["topology"]["world_size"] = plan.topology.world_size
    if plan.batch is not None:
        value["batch"]["tokens_per_step"] = plan.batch.tokens_per_step
    if plan.memory is not None:
        value["memory"] |= {"rank_bytes": plan.memory.rank_bytes, "host_bytes": plan.memory.host_bytes}
    return value


def summary(name: str, cluster: str, plan: Plan, *, width: int | None, paint: Paint = plain) -> list[str]:
    """The figures without the reasons, for `orch submit --dry-run`."""
    words, role = _FIT[plan.fits]
    lines = [f"{paint(name, 'strong')} on {cluster}: {paint(words, role)}"]
    lines += [field(label, text, width, paint) for label, text in _fields(plan) if text]
    return lines


def page(name: str, cluster: str, plan: Plan, *, width: int | None, paint: Paint = plain) -> list[str]:
    """The figures, the memory terms, the reasons and the warnings."""
    lines = summary(name, cluster, plan, width=width, paint=paint)
    if plan.memory is not None:
        per_host = "host memory per machine" if plan.topology.one_machine else "host memory per node"
        lines += ["", *_memory("memory per rank", plan.memory.rank, plan.memory.rank_limit, width, paint)]
        lines += ["", *_memory(per_host, plan.memory.host, plan.memory.host_limit, width, paint)]
        lines += ["", *(paint(line, "dim") for line in wrapped(_LEGEND, width))]
    for title, sentences, role in (("why", plan.because, "dim"), ("warnings", plan.warnings, "warn")):
        if sentences:
            lines += ["", paint(title, role), *(_sentence(sentence, width) for sentence in sentences)]
    return lines


def batch_line(batch: Batch) -> str:
    """The batch as a product, then the tokens of a step."""
    return (
        f"{batch.micro_batch} (micro-batch) x {batch.accumulation} (accumulation) x {batch.data_parallel} (ranks)"
        f" = {batch.global_batch} sequences\n"
        f"{batch.global_batch} x {batch.sequence_length:,} tokens = {batch.tokens_per_step:,} tokens a step"
    )


def _fields(plan: Plan) -> list[tuple[str, str]]:
    offload = "no offload" if plan.offload == "none" else f"offload to {plan.offload}"
    return [
        ("model", _model(plan.model) if plan.model else ""),
        ("ranks", _ranks(plan.topology)),
        ("ZeRO", f"stage {plan.zero_stage}, {offload}"),
        ("batch", batch_line(plan.batch) if plan.batch else ""),
        ("length", _length(plan)),
        ("checkpoints", _checkpoints(plan)),
        ("memory", _totals(plan.memory) if plan.memory else ""),
    ]


def _model(model: ModelFacts) -> str:
    layers = f"{units.plural(model.layers, 'layer')} of {model.hidden:,}"
    return f"{units.count(model.parameters)} parameters, {layers} ({model.source})"


def _ranks(top: Topology) -> str:
    product = f"{units.plural(top.nodes, 'node')} x {units.plural(top.ranks_per_node, 'rank')}"
    return f"{product} = {units.plural(top.world_size, 'rank')} on {_DEVICES[top.device]}"


def _length(plan: Plan) -> str:
    if plan.steps is not None:
        tokens = f", {units.count(plan.steps * plan.batch.tokens_per_step)} tokens" if plan.batch else ""
        return units.plural(plan.steps, "step") + tokens
    return "" if plan.epochs is None else f"{plan.epochs:g} {'epoch' if plan.epochs == 1 else 'epochs'}"


def _checkpoints(plan: Plan) -> str:
    often = []
    if plan.checkpoint_steps is not None:
        often.append(units.plural(plan.checkpoint_steps, "step"))
    if plan.checkpoint_seconds is not None:
        often.append(units.duration(plan.checkpoint_seconds))
    each = f", {units.size(plan.checkpoint_bytes)} each" if plan.checkpoint_bytes is not None else ""
    return f"every {' or '.join(often)}{each}" if often else ""


def _totals(memory: Memory) -> str:
    return f"{_of(memory.rank_bytes, memory.rank_limit)} per rank\n{_of(memory.host_bytes, memory.host_limit)} per host"


def _of(needed: int, limit: int | None) -> str:
    if limit is None:
        return units.size(needed)
    return f"{units.size(needed)} of {units.size(limit)}, {units.percent(needed, limit)}"


def _memory(title: str, terms: Sequence[Term], limit: int | None, width: int | None, paint: Paint) -> list[str]:
    names = max([5, *(len(term.name) for term in terms)])
    lines = [paint(title, "strong")]
    for term in terms:
        lead = f"  {term.name:<{names}}  {units.size(term.bytes):>9}   "
        first, *more = wrapped(term.formula, None if width is None else width - len(lead))
        lines += [lead + paint(first, "dim"), *(" " * len(lead) + paint(line, "dim") for line in more)]
    total = sum(term.bytes for term in terms)
    role = "" if limit is None else "bad" if total > limit else "good"
    text = f"  {'total':<{names}}  {units.size(total):>9}"
    tail = "" if limit is None else f"   of {units.size(limit)}, {units.percent(total, limit)}"
    return [*lines, paint(text + tail, role) if role else text + tail]


def _sentence(sentence: str, width: int | None) -> str:
    """An item of a list, wrapped under its text."""
    return "  - " + "\n    ".join(wrapped(sentence, None if width is None else width - 4))
