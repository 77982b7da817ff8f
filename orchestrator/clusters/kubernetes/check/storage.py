"""Where a job's checkpoints go: the claim of the profile, or the class of the claims that orch makes. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.clusters.findings import Finding, ok, problem, warning
from orchestrator.clusters.kubernetes.check.answers import CLAIM, CLASSES, Answers
from orchestrator.clusters.kubernetes.check.objects import Claim, StorageClass
from orchestrator.clusters.kubernetes.profile import KubernetesProfile

MANY, ONE = "ReadWriteMany", frozenset({"ReadWriteOnce", "ReadWriteOncePod"})
_DEFAULT = "storageclass.kubernetes.io/is-default-class"
# Provisioners whose volumes are disks of one machine, and those whose volumes are shared file systems.
_DISKS = frozenset(
    {
        "cinder.csi.openstack.org", "csi.vsphere.vmware.com", "disk.csi.azure.com", "docker.io/hostpath",
        "dobs.csi.digitalocean.com", "ebs.csi.aws.com", "k8s.io/minikube-hostpath", "kubernetes.io/aws-ebs",
        "kubernetes.io/azure-disk", "kubernetes.io/cinder", "kubernetes.io/gce-pd", "linodebs.csi.linode.com",
        "pd.csi.storage.gke.io", "rancher.io/local-path", "rbd.csi.ceph.com", "topolvm.io",
    }
)  # fmt: skip
_SHARED = frozenset(
    {
        "azurefile.csi.azure.com", "beegfs.csi.netapp.com", "cephfs.csi.ceph.com", "efs.csi.aws.com",
        "file.csi.azure.com", "filestore.csi.storage.gke.io", "fsx.csi.aws.com", "fsx.openzfs.csi.aws.com",
        "lustre.csi.storage.gke.io", "nfs.csi.k8s.io", "parallelstore.csi.storage.gke.io", "weka.csi.weka.io",
    }
)  # fmt: skip


def judge(profile: KubernetesProfile, answers: Answers) -> Iterator[Finding]:
    if profile.claim:
        yield _claim(profile.claim, answers)
    else:
        yield _class(profile.storage_class, answers)


def _claim(name: str, answers: Answers) -> Finding:
    claim = answers.one(CLAIM)
    if claim is not None:
        return _judge_claim(name, claim)
    if answers.lacks(CLAIM):
        todo = "make it (manifests/claim.yaml), or set `claim` to one of: kubectl get pvc"
        return problem("claim", f"there is no {name} in {answers.namespace}", todo)
    found = f"{name} cannot be read: {answers.why(CLAIM)}"
    return warning("claim", found, f"see that it is bound and {MANY}")


def _judge_claim(name: str, claim: Claim) -> Finding:
    modes, phase = set(claim.modes or claim.requested_modes), claim.phase
    facts = [*sorted(modes), phase.lower(), *filter(None, [claim.capacity])]
    of = f" of class {claim.storage_class}" if claim.storage_class else ""
    found = f"{name}: {', '.join(facts)}{of}"
    other = f"set `claim` to a {MANY} one"
    if claim.deleted is not None:
        return problem("claim", f"{found}, and it is being deleted", other)
    if phase == "Lost":
        return problem("claim", f"{found}: its volume is gone", other)
    if MANY not in modes and modes & ONE:
        return warning("claim", found, f"only jobs of one node can use it: {other}")
    if MANY not in modes:
        return problem("claim", f"{found}: nothing can be written there", other)
    if phase != "Bound":
        todo = "kubectl describe pvc says why; of a class with WaitForFirstConsumer it is bound with the first pod"
        return warning("claim", found, todo)
    return ok("claim", found)


def _class(name: str | None, answers: Answers) -> Finding:
    """The storage class of the claims that orch makes: the profile's, or else the cluster's default."""
    classes = answers.many(CLASSES)
    if classes is None:
        found = f"{name or 'the default one'} cannot be read: {answers.why(CLASSES)}"
        return warning("storage class", found, _ASK)
    known = ", ".join(sorted(one.name for one in classes))
    chosen = [one for one in classes if (one.name == name if name else one.annotations.get(_DEFAULT) == "true")]
    if chosen:
        return _provisioned(name or f"{chosen[-1].name}, the default", chosen[-1])
    if name:
        todo = f"see that {MANY} volumes of it are free, or set `storage_class` to one of: {known or 'none'}"
        return warning("storage class", f"there is no {name}: only volumes made by hand can be claimed by it", todo)
    todo = f"set `claim` to a {MANY} claim, or `storage_class` to one of: {known}" if known else _CLAIM
    return problem("storage class", "the profile names none, and none is the cluster's default", todo)


_ASK = "see that it makes ReadWriteMany volumes, or set `claim`"
_CLAIM = "set `claim` to a ReadWriteMany claim: the cluster has no storage class"


def _provisioned(name: str, of: StorageClass) -> Finding:
    by = of.provisioner
    if by in _DISKS:
        found = f"{name}: {by} makes volumes for one node, not {MANY} ones"
        return problem("storage class", found, "set `claim` or `storage_class` to what many nodes can mount")
    if by in _SHARED:
        return ok("storage class", f"{name}: {by}, which makes {MANY} volumes")
    return ok("storage class", f"{name}: {by}; whether it makes {MANY} volumes is seen when a claim is bound")
