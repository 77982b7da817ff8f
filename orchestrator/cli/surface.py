"""The surface that people and scripts rely on: every command, argument and option with its help text.

A command `x` is run by `orchestrator/cli/x.py`, which is imported only when it was chosen. tests/cli freezes this.
"""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable, Iterator, Mapping

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

Actions = Mapping[str, tuple[str, Callable[[ArgumentParser], None]]]

SUMMARY = "Train with DeepSpeed from one job.yaml, on one machine or many, and always go on."

EPILOG = """\
a first run:
  orch init                     write job.yaml
  orch plan job.yaml            see what would run, and whether it fits
  orch submit job.yaml --wait   run it and watch; Ctrl-C leaves it running

exit codes:
  0    fine
  1    a bug in orch: where the traceback was written is printed
  2    the job file, the configuration or the command line is wrong
  3    the plan does not fit where it was asked to run
  4    the cluster said no or cannot be reached
  5    the store cannot be read or written
  10   the run failed or was stopped (wait, submit --wait, resume --wait)
  11   the run was cancelled (the same)
  130  interrupted; a run that was being watched goes on

environment:
  ORCH_HOME    state of orch (default: ~/.local/state/orch)
  ORCH_CONFIG  configuration file (default: ~/.config/orch/config.yaml)
  ORCH_DEBUG   show tracebacks
  NO_COLOR     no colour"""

VERBOSE = "log to stderr what is done; -vv: every ssh, scheduler and HTTP call, too"


def _job(parser: ArgumentParser) -> None:
    parser.add_argument("job", metavar="job.yaml", help="the job file")
    parser.add_argument(
        "-c", "--cluster", metavar="NAME", help="the cluster (default: the configuration's default, else local)"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one key of the job file, as in training.steps=50; may be repeated",
    )


def _run(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the name of a run")


def _json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")


def _wait(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--wait", action="store_true", help="show progress until the run ends; Ctrl-C leaves it running"
    )


def _init(parser: ArgumentParser) -> None:
    parser.add_argument("--minimal", action="store_true", help="only the keys that have no default, without comments")
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="job.yaml", help="where to write (default: job.yaml; - for stdout)"
    )


def _plan(parser: ArgumentParser) -> None:
    _job(parser)
    _json(parser)


def _render(parser: ArgumentParser) -> None:
    _job(parser)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="a new or empty directory, or one that orch rendered before; - prints a Kubernetes job as one YAML stream",
    )
    where.add_argument(
        "--diff", action="store_true", help="write nothing; show what the profile's overlay changes in a Kubernetes job"
    )
    parser.add_argument("--name", help="the run's name (default: the job's)")
    parser.add_argument(
        "--kind",
        metavar="KIND",
        choices=("trainjob", "jobset", "pytorchjob"),
        help="trainjob, jobset or pytorchjob: what a Kubernetes job is made as (default: the profile's job_kind)",
    )
    parser.add_argument(
        "--attempt", metavar="N", type=int, default=1, help="go on by hand after attempt N-1 has ended (default: 1)"
    )
    parser.add_argument("--force", action="store_true", help="write into a directory that holds other files, too")


def _submit(parser: ArgumentParser) -> None:
    _job(parser)
    parser.add_argument("--name", help="the run's name (default: the job's)")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="go on with the run of this name from its newest checkpoint, with the job as it is now",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan and the files; send and store nothing")
    _wait(parser)
    parser.add_argument("--from-scratch", action="store_true", help="start at step 0 even where checkpoints exist")
    _json(parser)


class _Phases:
    """The phases of a run, found when a command names one."""

    def __iter__(self) -> Iterator[str]:
        from orchestrator.model.run import Phase

        return iter(Phase)


def _status(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", nargs="?", help="the name of a run (default: all runs)")
    _json(parser)
    parser.add_argument("--phase", metavar="PHASE", choices=_Phases(), help="only runs in this phase, as in running")
    parser.add_argument("--cluster", metavar="NAME", help="only runs on this cluster")
    parser.add_argument("--since", metavar="TIME", help="only runs submitted since: 30m, 12h, 7d or 2025-12-31")
    parser.add_argument("--last", metavar="N", type=int, help="only the N newest of these runs")
    parser.add_argument("--watch", action="store_true", help="keep it up to date until Ctrl-C or the end")


def _logs(parser: ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    parser.add_argument("--rank", metavar="R", type=int, help="only this rank (default: all, and agents and launchers)")
    parser.add_argument("--attempt", metavar="A", type=int, help="this attempt (default: the newest)")


def _events(parser: ArgumentParser) -> None:
    _run(parser)
    _json(parser)


def _cancel(parser: ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("--now", action="store_true", help="do not wait for a last checkpoint")


def _resume(parser: ArgumentParser) -> None:
    _run(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--from", dest="from_step", metavar="STEP", type=int, help="continue from the checkpoint of this step"
    )
    start.add_argument("--from-scratch", action="store_true", help="start at step 0 even where checkpoints exist")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="go on with another value, as in training.steps=200: training.{steps,learning_rate,log_every,args},"
        " checkpoint.{every,keep}, restart, env, launcher, instrument; may be repeated",
    )
    parser.add_argument("--code", action="store_true", help="go on with the job's code directory as it is now")
    parser.add_argument(
        "--cluster-profile",
        metavar="WHICH",
        choices=("current", "kept"),
        default="current",
        help="current or kept: the cluster's profile as it is now, or as it was (default: current)",
    )
    _wait(parser)


def _rm(parser: ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="the names of runs that have ended")
    files = parser.add_mutually_exclusive_group()
    files.add_argument(
        "--checkpoints", action="store_true", help="their checkpoint directories, too, which else stay as they are"
    )
    files.add_argument(
        "--keep-files", action="store_true", help="only forget them; ask no cluster, and leave all files where they are"
    )
    _json(parser)


def _checkpoints(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN|DIR", help="a run, a directory of checkpoints, or one checkpoint")
    parser.add_argument("--verify", action="store_true", help="read every file and name what is wrong with it")
    _json(parser)


def _controller(parser: ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="look after every run once, then leave")
    how.add_argument("--stop", action="store_true", help="end the controller that is alive; runs go on without it")
    parser.add_argument(
        "--log-level", metavar="LEVEL", choices=LEVELS, default="info", help=f"{', '.join(LEVELS)} (default: info)"
    )
    parser.add_argument(
        "--log-format", metavar="FORMAT", choices=FORMATS, default="text", help="text, or json: an object a line"
    )


def _schema(parser: ArgumentParser) -> None:
    parser.add_argument("--config", action="store_true", help="the schema of the configuration file instead")


def _actions(parser: ArgumentParser, actions: Actions) -> None:
    """What a command can do beside its usual work, each with arguments of its own."""
    below = parser.add_subparsers(dest="action", metavar="[ACTION]", title="actions", prog=parser.prog)
    for name, (help_text, add_arguments) in actions.items():
        action = below.add_parser(name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.")
        add_arguments(action)


def _json_again(parser: ArgumentParser) -> None:
    """As `_json`, for an action of a command that takes it too: what precedes the action keeps its value."""
    parser.add_argument("--json", action="store_true", default=SUPPRESS, help="print JSON on stdout")


def _clusters(parser: ArgumentParser) -> None:
    _json(parser)
    _actions(
        parser,
        {
            "list": ("list the clusters that a job can be sent to", _json_again),
            "add": ("write a cluster into the configuration file", _clusters_add),
            "check": (
                "look whether a cluster does what orch needs, and say what it can promise there",
                _clusters_check,
            ),
        },
    )


class _Kinds:
    """The names of the kinds of clusters, found when a command names one or shows help."""

    def __iter__(self) -> Iterator[str]:
        from orchestrator.clusters import kind_names

        return kind_names()


def _clusters_add(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the name of the cluster")
    parser.add_argument("--kind", required=True, choices=_Kinds(), help="what it is")
    parser.add_argument(
        "--set",
        dest="values",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a key of its profile, as in partition=gpu; may be repeated",
    )
    parser.add_argument("--replace", action="store_true", help="replace the cluster of that name")
    parser.add_argument("--offline", action="store_true", help="do not look at the cluster for what was not said")


def _clusters_check(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="the cluster (default: the configuration's default)")
    _json_again(parser)


def _nodes(parser: ArgumentParser) -> None:
    _json(parser)
    _actions(
        parser,
        {
            "list": ("list the nodes that there is evidence against", _json_again),
            "forgive": ("forget the evidence against a node", _one_node),
            "exclude": ("leave a node out until it is forgiven", _one_node),
        },
    )


def _one_node(parser: ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE", help="the name of a node")
    parser.add_argument("-c", "--cluster", metavar="NAME", help="its cluster")


def _completion(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="your shell")


COMMANDS: dict[str, tuple[str, Callable[[ArgumentParser], None]]] = {
    "init": ("write a commented job.yaml to start from", _init),
    "plan": ("show what would run, how much memory it takes, and why", _plan),
    "render": ("write every file of a job, for any kind of cluster", _render),
    "submit": ("start a run and print its name", _submit),
    "status": ("show all runs, or one in full", _status),
    "logs": ("show what the ranks of a run wrote", _logs),
    "events": ("show what happened to a run, and why", _events),
    "wait": ("show progress until a run ends", _run),
    "cancel": ("end a run, after a last checkpoint", _cancel),
    "resume": ("continue a run that ended before it was done", _resume),
    "rm": ("remove runs that have ended: their records, logs and other files", _rm),
    "checkpoints": ("list checkpoints, and check that they are whole", _checkpoints),
    "controller": ("look after runs in the foreground", _controller),
    "schema": ("print the JSON Schema of job.yaml", _schema),
    "clusters": ("list, add and check the clusters that a job can be sent to", _clusters),
    "nodes": ("list the nodes that runs failed on, and leave them out or not", _nodes),
    "completion": ("print a completion script for a shell", _completion),
}
