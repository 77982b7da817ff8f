"""Where a job's checkpoints go: the claim of the profile, or the class of the claims that orch makes. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.clusters.findings import Finding, ok, problem, warning
from orchestrator.clusters.kubernetes.check.answers import Answers, Document, name_of
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
    claim = answers.one("claim")
    if claim is not None:
        return _made(name, claim)
    if answers.lacks("claim"):
        todo = "make it (manifests/claim.yaml), or set `claim` to one of: kubectl get pvc"
        return problem("claim", f"there is no {name} in {answers.namespace}", todo)
    found = f"{name} cannot be looked at: {answers.why('claim')}"
    return warning("claim", found, f"see that it is bound and {MANY}")


def _made(name: str, claim: Document) -> Finding:
    status, spec = claim.get("status") or {}, claim.get("spec") or {}
    modes = set(status.get("accessModes") or spec.get("accessModes") or ())
    phase = str(status.get("phase", "Pending"))
    facts = [phase.lower(), str((status.get("capacity") or {}).get("storage", ""))]
    of = f" of class {spec['storageClassName']}" if spec.get("storageClassName") else ""
    found = f"{name}: {', '.join([*sorted(modes), *filter(None, facts)])}{of}"
    other = f"set `claim` to a {MANY} one"
    if (claim.get("metadata") or {}).get("deletionTimestamp"):
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
    """Of the claims that orch makes: the one that the profile names, or else the cluster's default."""
    classes = answers.many("classes")
    if classes is None:
        found = f"{name or 'the default one'} cannot be looked at: {answers.why('classes')}"
        return warning("storage class", found, _ASK)
    known = ", ".join(sorted(map(name_of, classes)))
    chosen = [one for one in classes if (name_of(one) == name if name else _is_default(one))]
    if chosen:
        return _provisioned(name or f"{name_of(chosen[-1])}, the default", chosen[-1])
    if name:
        todo = f"see that {MANY} volumes of it are free, or set `storage_class` to one of: {known or 'none'}"
        return warning("storage class", f"there is no {name}: only volumes made by hand can be claimed by it", todo)
    todo = f"set `claim` to a {MANY} claim, or `storage_class` to one of: {known}" if known else _CLAIM
    return problem("storage class", "the profile names none, and none is the cluster's default", todo)


_ASK = "see that it makes ReadWriteMany volumes, or set `claim`"
_CLAIM = "set `claim` to a ReadWriteMany claim: the cluster has no storage class"


def _is_default(of: Document) -> bool:
    annotations = (of.get("metadata") or {}).get("annotations") or {}
    return annotations.get(_DEFAULT) == "true"


def _provisioned(name: str, of: Document) -> Finding:
    by = str(of.get("provisioner", ""))
    if by in _DISKS:
        found = f"{name}: {by} makes volumes for one node, not {MANY} ones"
        return problem("storage class", found, "set `claim` or `storage_class` to what many nodes can mount")
    if by in _SHARED:
        return ok("storage class", f"{name}: {by}, which makes {MANY} volumes")
    return ok("storage class", f"{name}: {by}; whether it makes {MANY} volumes is seen when a claim is bound")
