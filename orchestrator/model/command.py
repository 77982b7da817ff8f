"""What `run:` of job.yaml starts: the command as people type it, without the launcher, whose work orch does. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.job.nearest import nearest
from orchestrator.job.protocol.jobfile import SHELLS, VARIABLE
from orchestrator.model.launchers import BY_WORDS, MODULES, NODES, OTHERS, RANKS, WORLD, Launcher
from orchestrator.model.spec import Spec

# What a rank finds in its environment, from orch and from torchrun.
GIVEN = frozenset(
    {
        *("ORCH_RUN", "ORCH_RUN_ID", "ORCH_RUN_DIR", "ORCH_ATTEMPT", "ORCH_GENERATION", "ORCH_GENERATION_DIR"),
        *("ORCH_NODE", "ORCH_CHECKPOINT_DIR", "ORCH_RESUME_FROM", "ORCH_RESUME_STEP", "ORCH_DS_CONFIG", "ORCH_BUNDLE"),
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
        *("NNODES", "NODE_RANK", "NPROC_PER_NODE"),
    }
)
_PYTHON = re.compile(r"(.*/)?python[\d.]*")
_OPERATORS = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1", "&>", "|&"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_INTERPRETER = {  # options of Python that a variable stands for
    "-u": ("PYTHONUNBUFFERED", "1"),
    "-B": ("PYTHONDONTWRITEBYTECODE", "1"),
    "-O": ("PYTHONOPTIMIZE", "1"),
    "-OO": ("PYTHONOPTIMIZE", "2"),
    "-Xfaulthandler": ("PYTHONFAULTHANDLER", "1"),
    "-Xdev": ("PYTHONDEVMODE", "1"),
    "-Xutf8": ("PYTHONUTF8", "1"),
}
_DS_OPTIONS = ("--deepspeed", "--deepspeed_config", "--deepspeed_config_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`words`: a script or program and its arguments, `-m` and a module, or a shell and its script.

    `environment`: what a launcher would have handed on. `notes`: what was taken off. `ds_config`: the path that the
    script's own arguments name. `launcher_config`: the launcher's own configuration file. Paths are as written.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ds_config: str | None = None
    launcher_config: str | None = None

    @property
    def is_shell(self) -> bool:
        """Whether one process a node is started, which starts the ranks itself."""
        return self.words[0] in SHELLS


class CommandError(ValueError):
    """`problems`: all that is wrong with a command, each a sentence."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def parse_command(run: str, *, nodes: int, ranks: int, names: Collection[str] = ()) -> Command:
    """The command of `run` for `nodes` nodes of `ranks` ranks each. `names`: variables of the job, besides GIVEN.

    Raises CommandError.
    """
    try:
        words = shlex.split(run)
    except ValueError as error:
        raise CommandError([f"is not a command line: {str(error).lower()}"]) from error
    reader = _Reader(nodes, ranks)
    left = reader.command(words, _bare_operators(run))
    reader.problems += _unknown_variables(left, {*GIVEN, *names})
    if reader.problems:
        raise CommandError(reader.problems)
    return Command(
        words=tuple(left),
        environment=reader.environment,
        notes=tuple(reader.notes),
        ds_config=_ds_config(left),
        launcher_config=reader.config,
    )


def command_of(spec: Spec) -> Command:
    """The command of a job with `run:`. Raises CommandError."""
    assert spec.run is not None
    size = spec.resources
    return parse_command(spec.run, nodes=size.nodes, ranks=size.gpus_per_node, names=[*spec.env, *spec.secrets])


def check_counts(launcher: str, found: Mapping[str, object], *, nodes: int, ranks: int) -> list[str]:
    """What the counts in a launcher's own configuration contradict, each as a sentence."""
    wanted = {"num_machines": nodes, "num_processes": nodes * ranks}
    return [
        f"{launcher} says {name}: {found[name]}, and the job has {value}"
        for name, value in wanted.items()
        if isinstance(found.get(name), int) and found[name] != value
    ]


class _Reader:
    """Takes a command apart from its front; gathers what it finds on the way."""

    def __init__(self, nodes: int, ranks: int) -> None:
        self._sizes = {NODES: nodes, RANKS: ranks, WORLD: nodes * ranks}
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.environment: dict[str, str] = {}
        self.config: str | None = None

    def command(self, words: Sequence[str], operators: Sequence[str]) -> list[str]:
        """The words that are started."""
        if operators:
            self.problems.append(
                f"{operators[0]} belongs to a shell, and orch starts no shell; write a script: run: bash train.sh"
            )
        left = self._interpreter(list(words))
        launcher = next((key for key in BY_WORDS if tuple(left[: len(key)]) == key), None)
        if launcher is not None:
            left = self._launched(BY_WORDS[launcher], left[len(launcher) :])
        return self._started(left)

    def _interpreter(self, words: list[str]) -> list[str]:
        """Without the words for Python and its options."""
        if words and _ASSIGNMENT.match(words[0]):
            name = words[0].split("=")[0]
            self.problems.append(f"{name} is set before the command; write it below `env:`")
            while words and _ASSIGNMENT.match(words[0]):
                del words[0]
        if not words or not _PYTHON.fullmatch(words[0]):
            return words
        if "/" in words[0]:
            self.notes.append(f"{words[0]} is not used: the ranks' Python is the `python` of the cluster")
        del words[0]
        while words and words[0].startswith("-") and words[0] not in ("-m", "--"):
            option = words.pop(0)
            if option in ("-W", "-X") and words:
                option += words.pop(0)
            self._option_of_python(option)
        if words[:1] == ["--"]:
            del words[0]
        return words

    def _option_of_python(self, option: str) -> None:
        if option.startswith("-W"):
            self.environment["PYTHONWARNINGS"] = option[2:]
        elif option in _INTERPRETER:
            name, value = _INTERPRETER[option]
            self.environment[name] = value
        elif option == "-c":
            self.problems.append("python -c takes a text; write it into a script")
        else:
            self.problems.append(f"{option} of Python cannot be handed on to the ranks; leave it out")

    def _launched(self, launcher: Launcher, words: list[str]) -> list[str]:
        """What a launcher would start."""
        taken, module, program = [launcher.title], False, False
        sizes = {name: str(size) for name, size in self._sizes.items()}
        self.environment.update({name: value.format(**sizes) for name, value in launcher.constant.items()})
        while words and words[0].startswith("-"):
            option, equals, value = words.pop(0).partition("=")
            if option == "--":
                break
            name = option.lstrip("-").replace("-", "_")
            if name in launcher.module:
                module = True
                continue
            if name in launcher.flags:
                value = "true"
            elif not equals:
                if not words:
                    self.problems.append(f"{option} of {launcher.title} has no value")
                    break
                value = words.pop(0)
            program = program or name == "no_python"
            if name not in launcher.variables:
                taken.append(f"{option} {value}" if name not in launcher.flags else option)
            self._option(launcher, option, name, value)
        ours = ", ".join(taken)
        self.notes.append(f"{ours}: not used, orch starts the ranks itself")
        if module:
            return ["-m", *words]
        return words if program else self._interpreter(words)

    def _option(self, launcher: Launcher, option: str, name: str, value: str) -> None:
        if any(name == prefix or (prefix.endswith("_") and name.startswith(prefix)) for prefix in launcher.refused):
            self.problems.append(f"{option} of {launcher.title} cannot be handed on; set it in the script")
        elif name == launcher.config:
            self.config = value
        elif name in launcher.variables:
            self.environment[launcher.variables[name]] = value
        elif name in launcher.counts:
            self._count(launcher, option, launcher.counts[name], value)

    def _count(self, launcher: Launcher, option: str, of: str, value: str) -> None:
        if value in ("auto", "gpu", "cpu", "xpu", "-1") or "$" in value:
            return  # as many as there are, or a number that the job gives
        bounds = value.split(":")  # torchrun: MIN:MAX nodes
        if not all(bound.isdigit() for bound in bounds):
            self.problems.append(f"{option} of {launcher.title}: wanted a number, found {value}")
        elif not int(bounds[0]) <= self._sizes[of] <= int(bounds[-1]):
            where = {NODES: "resources.nodes", RANKS: "resources.gpus_per_node", WORLD: "nodes x gpus_per_node"}[of]
            self.problems.append(f"{option} {value} contradicts {where}: {self._sizes[of]}")

    def _started(self, words: list[str]) -> list[str]:
        """Checks what is left, and notes what is started."""
        known = next((key for key in MODULES if tuple(words[: len(key)]) == key), None)
        if known is not None:
            module = MODULES[known]
            self.notes.append(f"{' '.join(known)} would start a launcher: the ranks run its module {module}")
            return ["-m", module, *words[len(known) :]]
        if not words or (words[0].startswith("-") and words[0] != "-m") or words == ["-m"]:
            self.problems.append("wanted a Python script, `-m` and a module, a program or a shell script")
        elif words[0] in OTHERS:
            self.problems.append(f"{words[0]} starts ranks, and orch does; write what stands behind it")
        elif words[0].endswith(".sh") or words[0] in SHELLS:
            if words[0].endswith(".sh"):
                words = ["bash", *words]
            self.notes.append(
                "a shell script is started once on each node and starts the ranks itself, as in torchrun "
                "--nnodes $NNODES --node-rank $NODE_RANK --nproc-per-node $NPROC_PER_NODE --master-addr $MASTER_ADDR "
                "--master-port $MASTER_PORT train.py; orch cannot see its steps"
            )
        return words


def _bare_operators(run: str) -> list[str]:
    """Operators of a shell that stand unquoted as words of their own."""
    try:
        return [word for word in shlex.split(run, posix=False) if word in _OPERATORS]
    except ValueError:
        return []


def _unknown_variables(words: Sequence[str], known: Collection[str]) -> Iterator[str]:
    for word in words:
        for match in VARIABLE.finditer(word):
            name = match.group(2) or match.group(3)
            if name and name not in known:
                near = nearest(name, known)
                hint = f"; did you mean ${near}?" if near else ""
                yield (
                    f"${name} is none of orch's variables, of `env:` or of `secrets:`{hint} ($$ stands for a dollar; a "
                    "shell script may use every variable)"
                )


def _ds_config(words: Sequence[str]) -> str | None:
    """The ds_config that a script's arguments name: `--deepspeed` alone is a flag."""
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in _DS_OPTIONS:
            if not equals:
                value = words[place + 1] if place + 1 < len(words) else ""
            if value.endswith((".json", ".hjson")) and "$" not in value:
                return value
    return None
