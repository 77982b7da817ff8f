"""`orch nodes`: the nodes that runs failed on, and which of them are left out."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace

from orchestrator.cli import context, output
from orchestrator.cli.terminal import columns, painter, say
from orchestrator.clusters import kind_of, open_backend
from orchestrator.config import configfile
from orchestrator.errors import OK, ClusterError, JobError
from orchestrator.model.cluster import Profile
from orchestrator.policy import nodes
from orchestrator.policy.nodes import NodeRecord
from orchestrator.store import Store
from orchestrator.system.paths import orch_home
from orchestrator.views import nodes as view


def run(options: Namespace) -> int:
    with context.store() as store:
        if options.action == "forgive":
            return _forgive(store, options)
        if options.action == "exclude":
            return _exclude(store, options)
        return _list(store, options)


def _list(store: Store, options: Namespace) -> int:
    config, now = context.configuration(), time.time()
    able = {name for name, profile in config.clusters.items() if kind_of(profile.kind).excludes}
    rows = [view.row(one, config.nodes, now, can_exclude=one.cluster in able) for one in store.node_records()]
    if options.json:
        sys.stdout.write(output.json_list(view.to_json(row) for row in rows))
        return OK
    if not rows:
        say("there is no evidence against any node")
    lines = view.listing(rows, clock=context.clock, width=columns(sys.stdout), paint=painter(sys.stdout))
    sys.stdout.write(output.lines(lines))
    return OK


def _forgive(store: Store, options: Namespace) -> int:
    found = [one for one in store.node_records(options.cluster) if _is_named(one, options.node)]
    if not found:
        where = f" of the cluster {options.cluster}" if options.cluster else ""
        known = ", ".join(sorted({one.node for one in store.node_records(options.cluster)}))
        hint = f"there is evidence against {known}" if known else "there is no evidence against any node"
        raise JobError(f"there is no evidence against a node {options.node}{where}", hint=hint)
    for record in found:
        store.forgive(record)
        say(f"{record.node} of the cluster {record.cluster} is forgiven; the next attempts may use it")
    return OK


def _exclude(store: Store, options: Namespace) -> int:
    cluster, profile = configfile.cluster(context.configuration(), options.cluster)
    if not kind_of(profile.kind).excludes:
        raise JobError(
            f"no node of the cluster {cluster} can be excluded: it is of kind {profile.kind}",
            hint="name a Slurm, ssh or Kubernetes cluster with -c",
        )
    node = _listed(cluster, profile, options.node)
    store.hold(cluster, node)
    say(f"the next attempts on {cluster} exclude {node}, until: orch nodes forgive {node}")
    return OK


def _listed(cluster: str, profile: Profile, node: str) -> str:
    """The name that a node has in a cluster's list of hosts, or its own where this machine has no such list.

    Raises JobError for a node that is not listed, or listed twice.
    """
    if not kind_of(profile.kind).lists_hosts:
        return node
    try:
        hosts = open_backend(cluster, profile, orch_home(os.environ)).hosts()
    except ClusterError:  # its hostfile is on another machine
        return node
    name = nodes.name_among(node, hosts)
    if name is None:
        listed = ", ".join(hosts) or "no host"
        raise JobError(f"{node} names no host of the cluster {cluster}, or several", hint=f"it may use {listed}")
    return name


def _is_named(suspect: NodeRecord, node: str) -> bool:
    return nodes.name_among(node, [suspect.node]) is not None
