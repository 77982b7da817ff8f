"""What `run:` of job.yaml starts: the command as people type it, without the launcher, whose work orch does. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.job.nearest import nearest
from orchestrator.job.protocol.jobfile import SHELLS, VARIABLE
from orchestrator.model.launchers import (
    ACCELERATE,
    BY_WORDS,
    MODULES,
    NODES,
    OTHERS,
    RANKS,
    WITH_DEEPSPEED,
    WORLD,
    Launcher,
)
from orchestrator.model.spec import Spec
from orchestrator.model.words import split

# What a rank finds in its environment, from orch and from torchrun.
GIVEN = frozenset(
    {
        *("ORCH_RUN", "ORCH_RUN_ID", "ORCH_RUN_DIR", "ORCH_ATTEMPT", "ORCH_GENERATION", "ORCH_GENERATION_DIR"),
        *("ORCH_NODE", "ORCH_CHECKPOINT_DIR", "ORCH_RESUME_FROM", "ORCH_RESUME_STEP", "ORCH_DS_CONFIG", "ORCH_BUNDLE"),
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
        *("NNODES", "NODE_RANK", "NPROC_PER_NODE", "HOME"),
    }
)
_PYTHON = re.compile(r"(.*/)?python[\d.]*")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_INTERPRETER = {  # options of Python that a variable stands for
    "-u": ("PYTHONUNBUFFERED", "1"),
    "-B": ("PYTHONDONTWRITEBYTECODE", "1"),
    "-O": ("PYTHONOPTIMIZE", "1"),
    "-OO": ("PYTHONOPTIMIZE", "2"),
    "-s": ("PYTHONNOUSERSITE", "1"),
    "-P": ("PYTHONSAFEPATH", "1"),
    "-Xfaulthandler": ("PYTHONFAULTHANDLER", "1"),
    "-Xdev": ("PYTHONDEVMODE", "1"),
    "-Xutf8": ("PYTHONUTF8", "1"),
}
_OF_TRL = frozenset({"config_file", "machine_rank", "main_process_ip", "main_process_port"})  # it hands them on
_DS_OPTIONS = ("--deepspeed", "--deepspeed_config", "--deepspeed_config_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`words`: a script or program and its arguments, `-m` and a module, or a shell and its script; $$ is a dollar.

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

    @property
    def script(self) -> str | None:
        """What is started, where that may be a file; None for a module and for the text of `bash -c`."""
        if not self.is_shell:
            return None if self.words[0] == "-m" else self.words[0]
        if any(word.startswith("-") and word.endswith("c") for word in self.words[1:2]):
            return None
        return next((word for word in self.words[1:] if not word.startswith("-")), None)


class CommandError(ValueError):
    """`problems`: all that is wrong with a command, each a sentence."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def parse_command(run: str, *, nodes: int, ranks: int, names: Collection[str] = ()) -> Command:
    """The command of `run` for `nodes` nodes of `ranks` ranks each. `names`: variables of the job, besides GIVEN.

    Raises CommandError.
    """
    line = split(run)
    if line.problems:
        raise CommandError(line.problems)
    reader = _Reader(nodes, ranks)
    left = reader.command(line.words)
    reader.problems += _unknown_variables(left, names)
    if reader.problems:
        raise CommandError(reader.problems)
    return Command(
        words=tuple(left),
        environment=reader.environment,
        notes=tuple(reader.notes),
        ds_config=_ds_config(left) or reader.environment.get(WITH_DEEPSPEED["deepspeed_config_file"]),
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

    def command(self, words: Sequence[str]) -> list[str]:
        """The words that are started."""
        left = self._interpreter(list(words))
        launcher = next((key for key in BY_WORDS if _begins(left, key)), None)
        if launcher is not None:
            left = self._launched(BY_WORDS[launcher], left[len(launcher) :])
        return self._started(left) if left or not self.problems else left

    def _interpreter(self, words: list[str]) -> list[str]:
        """Without the words for Python and its options."""
        if words and _ASSIGNMENT.match(words[0]):
            name = words[0].split("=")[0]
            self.problems.append(f"{name} is set before the command; write it below `env:`")
            while words and _ASSIGNMENT.match(words[0]):
                del words[0]
        if not words or not _PYTHON.fullmatch(words[0]):
            return words
        words = _separated(words)
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
            before = self.environment.get("PYTHONWARNINGS")
            self.environment["PYTHONWARNINGS"] = f"{before},{option[2:]}" if before else option[2:]
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
            name = _full_name(launcher, option)
            if name is None:
                self.problems.append(_unknown_option(launcher, option))
                return []  # whether a value follows is not known
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
        self.notes.append(f"not used, because orch starts the ranks itself: {' '.join(taken)}")
        self._without_deepspeed(launcher)
        if program:
            self._program(launcher, words)
        return ["-m", *words] if module else self._interpreter(words)

    def _program(self, launcher: Launcher, words: Sequence[str]) -> None:
        if words and (_is_shell(words[0]) or words[0].endswith(".sh")):
            self.problems.append(
                f"{launcher.title} would start {words[0]} for every rank, and orch starts a shell script once on each "
                "node; write the Python script that it starts, or the shell script without the launcher"
            )

    def _option(self, launcher: Launcher, option: str, name: str, value: str) -> None:
        why = launcher.refusal(name)
        if why is not None:
            self.problems.append(f"{option} of {launcher.title} cannot be handed on: {why}")
        elif name == launcher.config:
            self.config = value
        elif name in launcher.variables:
            self.environment[launcher.variables[name]] = value
        elif name in launcher.counts:
            self._count(launcher, option, launcher.counts[name], value)
        elif name in launcher.selects:
            self._selected(option, value)

    def _without_deepspeed(self, launcher: Launcher) -> None:
        """Drops what accelerate hands on for DeepSpeed alone; its own file may still say that it is DeepSpeed."""
        if launcher is not ACCELERATE or self.config or "ACCELERATE_USE_DEEPSPEED" in self.environment:
            return
        for name, variable in WITH_DEEPSPEED.items():
            if self.environment.pop(variable, None) is not None:
                self.notes.append(f"--{name} is not used: accelerate reads it with --use_deepspeed only")

    def _selected(self, option: str, value: str) -> None:
        """Hosts and devices as DeepSpeed writes them: host@host:0,1."""
        hosts = value.split("@")
        self._agree(option, value, NODES, len(hosts), len(hosts))
        for slots in (slots for _, colon, slots in (host.partition(":") for host in hosts) if colon):
            self._agree(option, value, RANKS, slots.count(",") + 1, slots.count(",") + 1)

    def _count(self, launcher: Launcher, option: str, of: str, value: str) -> None:
        if value in ("auto", "gpu", "cpu", "xpu", "-1") or "$" in value:
            return  # as many as there are, or a number that the job gives
        if "," in value:
            value = str(value.rstrip(",").count(",") + 1)  # Lightning's list of devices
        bounds = value.split(":")  # torchrun: MIN:MAX nodes
        if not all(bound.isdigit() for bound in bounds):
            self.problems.append(f"{option} of {launcher.title}: wanted a number, found {value}")
        else:
            self._agree(option, value, of, int(bounds[0]), int(bounds[-1]))

    def _agree(self, option: str, value: str, of: str, least: int, most: int) -> None:
        if not least <= self._sizes[of] <= most:
            where = {NODES: "resources.nodes", RANKS: "resources.gpus_per_node", WORLD: "nodes x gpus_per_node"}[of]
            problem = f"{option} {value} contradicts {where}: {self._sizes[of]}"
            if problem not in self.problems:
                self.problems.append(problem)

    def _started(self, words: list[str]) -> list[str]:
        """Checks what is left, and notes what is started."""
        known = next((key for key in MODULES if _begins(words, key)), None)
        if known is not None:
            module, arguments = MODULES[known], words[len(known) :]
            self.notes.append(f"the ranks run the module {module}: {' '.join(known)} would start a launcher")
            return ["-m", module, *(self._without_launch(arguments) if known[0] == "trl" else arguments)]
        if not words or (words[0].startswith("-") and words[0] != "-m") or words == ["-m"]:
            self.problems.append("wanted a Python script, `-m` and a module, a program or a shell script")
        elif words[0] in OTHERS:
            self.problems.append(f"{words[0]} is not taken: {OTHERS[words[0]]}; write what stands behind it")
        elif words[0].endswith(".sh") or _is_shell(words[0]):
            words = ["bash", *words] if words[0].endswith(".sh") else [words[0].rpartition("/")[2], *words[1:]]
            if len(words) == 1:
                self.problems.append(f"{words[0]} needs a script, as in `{words[0]} train.sh`")
            self.notes.append(
                "a shell script is started once on each node and starts the ranks itself, as in torchrun "
                "--nnodes $NNODES --node-rank $NODE_RANK --nproc-per-node $NPROC_PER_NODE --master-addr $MASTER_ADDR "
                "--master-port $MASTER_PORT train.py; orch cannot see its steps"
            )
        return words

    def _without_launch(self, words: list[str]) -> list[str]:
        """What TRL's command hands to its script: without what it takes for accelerate."""
        left: list[str] = []
        while words:
            option, equals, value = words.pop(0).partition("=")
            name = option.lstrip("-").replace("-", "_")
            if name not in (*_OF_TRL, *ACCELERATE.counts, "accelerate_config"):
                left.append(f"{option}{equals}{value}")
                continue
            if not equals:
                value = words.pop(0) if words else ""
            self.notes.append(f"not used, because orch starts the ranks itself: {option} {value}")
            if name in ACCELERATE.counts:
                self._count(ACCELERATE, option, ACCELERATE.counts[name], value)
            elif value.endswith((".yaml", ".yml")):
                self.config = value
            elif name == "accelerate_config" and value not in ("single_gpu", "multi_gpu"):
                self.problems.append(
                    f"{option} {value} names a file inside TRL; copy that file to the code and write its path"
                )
        return left


def _begins(words: Sequence[str], key: tuple[str, ...]) -> bool:
    """Whether words begin with these; a program may stand there with its absolute path."""
    first = words[0].rpartition("/")[2] if words and words[0].startswith("/") else "".join(words[:1])
    return (first, *words[1 : len(key)]) == key


def _is_shell(word: str) -> bool:
    return word in SHELLS or (word.startswith("/") and word.rpartition("/")[2] in SHELLS)


def _separated(words: list[str]) -> list[str]:
    """Python's options one by one: -um is -u -m, -mpkg is -m pkg."""
    done = [words[0]]
    for place, word in enumerate(words[1:], start=1):
        if done[-1] in ("-W", "-X"):
            done.append(word)
            continue
        flags = re.match(r"-([uBOsPqbdvEIS]*)(m?)", word)
        if not word.startswith("-") or word.startswith("--") or flags is None:
            return [*done, *words[place:]]
        done += [f"-{flag}" for flag in flags.group(1).replace("OO", "")] + ["-OO"] * ("OO" in flags.group(1))
        rest = word[flags.end() :]
        if flags.group(2):
            return [*done, "-m", *([rest] if rest else []), *words[place + 1 :]]
        if rest:
            done.append(f"-{rest}")
    return done


def _full_name(launcher: Launcher, option: str) -> str | None:
    """The option that is meant, with underscores: argparse takes the beginning of a name, too."""
    name, known = option.lstrip("-").replace("-", "_"), launcher.known()
    if name in known or launcher.refusal(name) is not None:
        return name
    found = [one for one in known if option.startswith("--") and one.startswith(name)]
    return found[0] if len(found) == 1 else None


def _unknown_option(launcher: Launcher, option: str) -> str:
    near = nearest(option.lstrip("-").replace("-", "_"), sorted(launcher.known()))
    hint = f"did you mean --{near}? Else leave it out" if near else "leave it out"
    return f"{option} is no option of {launcher.title} that orch knows; {hint}: orch starts the ranks itself"


def _unknown_variables(words: Sequence[str], names: Collection[str]) -> list[str]:
    known = {*GIVEN, *names}
    used = dict.fromkeys(match.group(2) or match.group(3) for word in words for match in VARIABLE.finditer(word))
    problems = []
    for name in used:
        if name and name not in known:
            near = nearest(name, sorted(known))
            hint = f"; did you mean ${near}?" if near else ""
            problems.append(f"${name} is none of orch's variables, of `env:` or of `secrets:`{hint}")
    if problems:
        there = ", ".join([*sorted(names), *sorted(GIVEN)])
        problems[-1] += f" (there are {there}; $$ stands for a dollar, and a shell script may use every variable)"
    return problems


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
