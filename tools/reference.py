"""The reference pages and schema files under docs/, generated from the model; `make docs` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_args, get_origin

from orchestrator.config.messages import alternatives, hints_of, members, wanted
from orchestrator.config.profiles import ProfileTypes
from orchestrator.config.schema import config_schema, json_schema
from orchestrator.model.arguments import OWNED
from orchestrator.model.key import key_of
from orchestrator.model.spec import Spec

_JOB = """\
# job.yaml

One file describes a job for every cluster; what belongs to one place is in [the configuration](configuration.md).
Relative paths start at the job file's directory.

- The file is YAML 1.2: `yes`, `no` and `n` are text, `3e-4` is a number. Duplicate keys, merge keys (`<<`) and tags are
  refused.
- An unknown key is an error that names the nearest one. Every error says file, line and key, and all are shown at once.
- A number is never written as text, and text that looks like a number is quoted: `env: {LEVEL: "5"}`.
- `orch submit job.yaml --set training.steps=50` lays one value over the file. A value that starts with `[`, `{` or a
  quote is read as YAML, any other as it stands; `null` takes an optional value away.
- For editors: `orch schema > job.schema.json`, and `# yaml-language-server: $schema=job.schema.json` as the first line.

Either `model`, `data` and `training`, or `run`:

```yaml
name: tiny-llama
model: {config: {model_type: llama, hidden_size: 256, num_hidden_layers: 4, num_attention_heads: 8, vocab_size: 264}}
data: {files: "corpus/**/*.txt", sequence_length: 256}
training: {steps: 60, global_batch: 16, learning_rate: 3e-4, precision: fp32}
deepspeed: {zero: 2}
resources: {nodes: 2, gpus_per_node: 1}
checkpoint: {every: 20, keep: 3}
```

```yaml
name: own-script
run: train.py --deepspeed
code: .
resources: {nodes: 2, gpus_per_node: 8}
checkpoint: {every: 20m}
secrets: {HF_TOKEN: {env: HF_TOKEN}}
```
"""

_DS_CONFIG = """\
## `deepspeed.config`

A file is read as DeepSpeed reads it: JSON with `#`, `//` and `/* */` comments, trailing commas, keys without \
quotes; `Infinity` is taken too. All mistakes
are told at once, each with file and line. Everything is compared with the DeepSpeed release that the messages name.

| found | orch |
| --- | --- |
| a key that begins with `_`, `//` or `#`, or is `comment` | a comment, kept; an error in `zero_optimization`, \
`fp16` and other sections of which DeepSpeed has a model, as it refuses the file |
| a key one or two letters from one of DeepSpeed's | an error: "did you mean gradient_clipping?" |
| any other key that DeepSpeed ignores | a warning; it stays in the rendered file, where a script may read it |
| a section or an optimizer that DeepSpeed has removed | an error that says what to write |
| `zero_optimization: true`, `cpu_offload` and other old names that DeepSpeed still takes | read as DeepSpeed \
reads them, with a warning |
| `"2"` or `"true"` where DeepSpeed's model takes it | the number or flag |
| batch sizes | must multiply out for the ranks of `resources`. Ranks that share a model count once: \
`sequence_parallel_size`, `tensor_parallel.autotp_size`, and `pipeline: {stages: N}`, which tells orch what the \
script builds |
| `optimizer`, `scheduler` | names and parameters are those of DeepSpeed and torch; what has no default must be \
there |
| `auto` | where the Trainer or accelerate fills it. With `run` a warning says that a script of another kind \
fails there |

"""

_CONFIGURATION = """\
# The configuration

`$ORCH_CONFIG`, or `orch/config.yaml` in the XDG configuration directory; all of it is optional. It is read as strictly
as [a job file](job.md). The clusters `local`, `ssh`, `slurm` and `kubernetes` always exist, with the defaults of their
kind.

```yaml
default: hpc
clusters:
  hpc: {kind: slurm, partition: gpu, account: ml, time_limit: 24:00:00, shared_dir: /scratch/me, gpu_memory: 80GiB}
  k8s: {kind: kubernetes, namespace: train, image: registry/train:1, claim: checkpoints}
  lab: {kind: ssh, hostfile: /etc/hostfile, shared_dir: /nfs/me}
```
"""


def job_page() -> str:
    """docs/job.md."""
    owned = "\n".join(f"| `{name}` | {instead} |" for name, instead in sorted(OWNED.items()))
    tail = f"## TrainingArguments that orch sets\n\n| not in `training.args` | use |\n| --- | --- |\n{owned}\n"
    return "\n".join([_JOB, *_sections(Spec, "", "Top level"), _DS_CONFIG, tail])


def configuration_page(types: ProfileTypes) -> str:
    """docs/configuration.md."""
    return "\n".join([_CONFIGURATION, *_sections(types.config, "", "Top level")])


def pages(types: ProfileTypes) -> Mapping[str, str]:
    """File name -> content of everything that is generated under docs/."""
    return {
        "job.md": job_page(),
        "configuration.md": configuration_page(types),
        "job.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
        "configuration.schema.json": json.dumps(config_schema(types), indent=2, ensure_ascii=False) + "\n",
    }


def _sections(record: Any, prefix: str, title: str) -> Iterator[str]:
    rows = [_row(of, hints_of(record)[of.name]) for of in fields(record)]
    table = ["| key | takes | default | meaning |", "| --- | --- | --- | --- |", *rows]
    yield "\n".join([f"## {title}", "", *_summary(record), *table, ""])
    for of in fields(record):
        inner, path = _inside(hints_of(record)[of.name], prefix + of.name)
        if inner is not None:
            yield from _sections(inner, path + ".", f"`{path}`")


def _summary(record: Any) -> Iterator[str]:
    yield f"{record.__doc__}"
    exactly: tuple[str, ...] = getattr(record, "exactly_one", ())
    if exactly:
        yield f"Exactly one of {_codes(exactly, 'and')} is given."
    for group in getattr(record, "at_most_one", ()):
        yield f"At most one of {_codes(group, 'and')} is given."
    yield ""


def _inside(kind: Any, path: str) -> tuple[Any, str]:
    for each in members(kind):
        if is_dataclass(each):
            return each, path
        if get_origin(each) is Mapping and is_dataclass(get_args(each)[1]):
            return get_args(each)[1], f"{path}.NAME"
    return None, path


def _row(of: Field[Any], kind: Any) -> str:
    key = key_of(of)
    kinds = f" For {alternatives(key.kinds, 'and')} clusters." if key.kinds else ""
    cells = (f"`{of.name}`", wanted(kind, key), _default(of), key.help + kinds)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _default(of: Field[Any]) -> str:
    if of.default is MISSING:
        return "required" if of.default_factory is MISSING else ""
    if of.default is None or of.default == ():
        return ""
    return f"`{json.dumps(of.default) if not isinstance(of.default, str) else of.default}`"


def _codes(words: tuple[str, ...], last: str) -> str:
    return alternatives([f"`{one}`" for one in words], last)
