"""Why a job waits, where its user should act: reasons of squeue other than waiting for its turn."""

from __future__ import annotations

import re

# A pattern for Slurm's reason, and a sentence for the user. The first match counts; no match is ordinary waiting.
_NEVER = "it can never start as it is"
_SENTENCES: tuple[tuple[str, str], ...] = (
    (
        "PartitionNodeLimit",
        (
            f"it asks for more or fewer nodes than its partition gives to a job, so {_NEVER}: cancel it, and choose "
            "another partition or number of nodes"
        ),
    ),
    (
        "PartitionTimeLimit",
        (
            f"its time limit is longer than its partition allows, so {_NEVER}: cancel it, and lower time_limit or "
            "choose another partition"
        ),
    ),
    ("PartitionDown|PartitionInactive", "its partition is out of use: an administrator has to open it"),
    (
        "BadConstraints",
        (
            f"no nodes of the cluster are what it asks for (constraint, GPUs, CPUs, memory), so {_NEVER}: cancel it, "
            "and fix the profile"
        ),
    ),
    ("DependencyNeverSatisfied", f"a job that it depends on did not end as asked for, so {_NEVER}: cancel it"),
    ("InvalidAccount|AccountNotAllowed", f"its account may not be used here, so {_NEVER}: cancel it, and fix account"),
    ("InvalidQOS|QOSNotAllowed", f"its qos may not be used here, so {_NEVER}: cancel it, and fix qos"),
    (
        "InvalidReservation|ReservationDeleted|Reservation_deleted",
        "its reservation is gone: cancel it, and fix reservation",
    ),
    ("JobHeldUser", "it is held; let it go with: scontrol release {job}"),
    ("job.requeued.in.held.state", "an administrator has queued it again and holds it: scontrol release {job}"),
    ("JobHeldAdmin", "it is held by an administrator, who has to let it go"),
    (
        "JobHoldMaxRequeue|launch.failed.requeued.held",
        "Slurm could not launch it again and again and holds it; see the nodes' state, then: scontrol release {job}",
    ),
    (
        r"ReqNodeNotAvail.*|Nodes.required.for.job.are.DOWN.*|NodeDown",
        "nodes that it needs are down, drained or reserved; sinfo -R says why",
    ),
    (
        (
            r"(Assoc|QOS)(Max\w+Per(Job(Limit)?|Node)|Min\w+)|(Association|QOS)?(Resource|Time)Limit|Max(Mem|Cpu)PerLimit"
            r"|MaxMemPerLimit|QOSUsageThreshold"
        ),
        (
            f"it asks for more (or less) than a limit of its account or qos allows one job, so {_NEVER}: cancel it and "
            "ask for less, or have the limit changed; sacctmgr show assoc and sacctmgr show qos list them"
        ),
    ),
    (
        r"(Assoc|QOS)(Grp|Max)\w+|Max\w+PerAccount|(Association|QOS)?JobLimit",
        "a limit on all jobs of its account, user or qos is reached: it waits until others end or the limit is changed",
    ),
    ("BurstBuffer.*", "its burst buffer is not ready"),
)


def advice(reason: str, job: str) -> str:
    """What to do about a job that waits, with Slurm's own reason; empty for ordinary waiting."""
    bare = reason.strip("()")
    for pattern, sentence in _SENTENCES:
        if re.fullmatch(pattern, bare):  # compiled when the first job waits, not on import
            return f"job {job} does not start ({bare}): {sentence.format(job=job)}"
    return ""
