"""The text of a first job.yaml, for `orch init`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.config.yamlfile import scalar
from orchestrator.model.spec import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What `orch init` asks. `run`: a script of one's own; `model` None: a small LLaMA from scratch."""

    name: str = "first-run"
    model: str | None = None
    files: Sequence[str] = ("data/*.txt",)
    run: str | None = None
    steps: int = 100
    global_batch: int = 8
    sequence_length: int = 256
    nodes: int = 1
    gpus_per_node: int = 1
    precision: Precision = "bf16"
    minimal: bool = False
    schema: str | None = None  # path or URL of what `orch schema` prints, for editors


def job_yaml(answers: Answers) -> str:
    """A job file, with comments unless `minimal`; any text in the answers is read back unchanged."""
    lines = [*_HEAD, f"name: {quoted(answers.name)}", ""]
    lines += _built_in(answers) if answers.run is None else _script(answers.run)
    lines += _tail(answers)
    if answers.minimal:
        lines = [line for line in lines if line and not line.lstrip().startswith("#")]
    if answers.schema is not None:
        lines = [f"# yaml-language-server: $schema={_escaped_word(answers.schema)}", *lines]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """A YAML scalar on one line that is read as this text: plain where that is safe, else in double quotes."""
    plain = text.isascii() and text[:1].isalpha() and all(char.isalnum() or char in "-_./" for char in text)
    if plain and scalar(text) == text and text.lower() not in _YAML_1_1:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


_YAML_1_1 = frozenset({"y", "n", "yes", "no", "on", "off"})  # no text to a YAML 1.1 reader
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def _escaped(char: str) -> str:
    return _ESCAPES.get(char) or (char if char.isprintable() else f"\\U{ord(char):08X}")


def _escaped_word(text: str) -> str:
    """The text with characters escaped that would end the word or the comment around it."""
    return "".join(char if char.isprintable() and char != " " else f"%{ord(char):02X}" for char in text)


_HEAD = [
    "# One training job. `orch plan job.yaml` says whether it fits, `orch submit job.yaml` runs it.",
    "# What belongs to a place (partition, image, directories) is in the configuration: `orch clusters`.",
    "",
    "# The run's name: lower-case letters, digits and dashes.",
]


def _built_in(answers: Answers) -> list[str]:
    files = ", ".join(map(quoted, answers.files))
    return [
        *_model(answers.model),
        "",
        "# Training text: .txt, .jsonl (key `text`) or .parquet files, or `dataset:` with a hub id.",
        "data:",
        f"  files: [{files}]",
        f"  sequence_length: {answers.sequence_length}",
        "",
        "training:",
        "  # Optimizer steps; or `epochs:`.",
        f"  steps: {answers.steps}",
        "  # Sequences per optimizer step, over all GPUs together.",
        f"  global_batch: {answers.global_batch}",
        "  learning_rate: 3e-4",
        f"  precision: {answers.precision}",
        "  # Less memory, about a third slower:",
        "  # gradient_checkpointing: true",
        "  # Anything else that transformers' TrainingArguments knows:",
        "  # args: {warmup_steps: 10}",
    ]


def _model(model: str | None) -> list[str]:
    if model is not None:
        return ["# A hub id or a local directory: training goes on from its weights.", f"model: {quoted(model)}"]
    return [
        "# A small LLaMA with random weights. For pretrained ones: `model: org/name` or `model: ./directory`.",
        "model:",
        "  config:",
        "    model_type: llama",
        "    hidden_size: 256",
        "    intermediate_size: 688",
        "    num_hidden_layers: 4",
        "    num_attention_heads: 8",
        "    vocab_size: 264",
        "# A token a byte: needs no download.",
        "tokenizer: bytes",
    ]


def _script(run: str) -> list[str]:
    return [
        "# A script of your own. It saves to $ORCH_CHECKPOINT_DIR and goes on from $ORCH_RESUME_FROM;",
        "# a ds_config for it is at $ORCH_DS_CONFIG.",
        f"run: {quoted(run)}",
        "# A snapshot of this directory goes with the job.",
        "code: .",
    ]


def _tail(answers: Answers) -> list[str]:
    return [
        "",
        "deepspeed:",
        "  # ZeRO stage 0-3; auto: the lowest that fits.",
        "  zero: auto",
        "  # Raw keys laid over what orch renders, or the path of a ds_config.json:",
        "  # config: {gradient_clipping: 1.0}",
        "",
        "resources:",
        f"  nodes: {answers.nodes}",
        f"  gpus_per_node: {answers.gpus_per_node}",
        "",
        "checkpoint:",
        "  # Steps (100), a time (20m) or auto.",
        "  every: auto",
        "  keep: 3",
        "",
        '# env: {TOKENIZERS_PARALLELISM: "false"}',
        "# secrets: {HF_TOKEN: {env: HF_TOKEN}}",
    ]
