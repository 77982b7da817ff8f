"""A real Kubernetes on this machine: an API server, a control node and two workers with containerd, three operators."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import yaml

from tests.kubernetes import layout, operators
from tests.kubernetes.access import TEST_LABEL, Access, Space, Unavailable, claim_object, namespace_object
from tests.kubernetes.binaries import MANIFESTS, PROGRAMS, Absent, Binaries
from tests.kubernetes.daemons import PATH, Daemons, can_isolate, make_cgroups, remove_cgroups, sweep
from tests.kubernetes.layout import (
    API_ADDRESS,
    API_PORT,
    BRIDGE,
    GATEWAY,
    HOST_ADDRESS,
    IMAGE,
    NETWORK,
    NODES,
    POD_SUBNET,
    USER,
    WORKERS,
)  # fmt: skip

PLACE = Path("/var/tmp/orch-kube-test-bed")
LOCK_WAIT = 60  # seconds
NEEDED = (
    "containerd", "containerd-shim-runc-v2", "runc", "ctr", "nsenter", "unshare", "ip", "iptables", "conntrack", "openssl",
    "mount",
)  # fmt: skip
OUR_LINK, ITS_LINK = "orch-kube-h", "orch-kube-n"
ETCD = "http://127.0.0.1:12379"
SPARE_VOLUMES = 4  # of each namespace, for claims that a test has made for itself
STORAGE_CLASS = "shared"


def why_not() -> str | None:
    """Why this machine can't have the test bed; None when it can."""
    if sys.platform != "linux":
        return "the Kubernetes test bed needs Linux"
    if missing := [program for program in NEEDED if shutil.which(program, path=PATH) is None]:
        return f"the Kubernetes test bed needs {', '.join(missing)}: tools/system-packages.sh installs them"
    if layout.cni_plugins() is None:
        return "the Kubernetes test bed needs the bridge plugin of CNI: tools/system-packages.sh installs it"
    if os.geteuid() != 0:
        return "the Kubernetes test bed needs root: kubelets start containers"
    if not can_isolate():
        return "the Kubernetes test bed needs namespaces of its own: unshare --net --mount --pid is not allowed here"
    return None


class Cluster(Access):
    """The cluster, from `start` to `stop`. All of it ends when the thread that started it does."""

    own = True

    def __init__(self) -> None:
        self.root = PLACE
        self.binaries = Binaries()
        kubectl = self.binaries.program("kubectl") or Path("kubectl")
        super().__init__(kubeconfig=PLACE / "kubeconfig", kubectl=kubectl, directory=PLACE / "kubeconfigs", image=IMAGE)
        self.daemons = Daemons(PLACE)
        self.timings: dict[str, float] = {}  # seconds from the start
        self._began = 0.0
        self._lock: IO[str] | None = None

    # Up and down

    def start(self) -> None:
        if reason := why_not():
            raise Unavailable(reason)
        try:
            self.binaries.await_built()
        except Absent as reason:
            raise Unavailable(f"the Kubernetes test bed is not built: {reason}") from None
        kubectl = self.binaries.program("kubectl")
        assert kubectl
        self._kubectl = kubectl
        self._take_lock()
        self._began = time.monotonic()
        self._sweep_leftovers()
        layout.lay_out(self.root)
        self._place_programs()
        layout.write_images(self.root)
        make_cgroups(NETWORK)
        self.daemons.open(self.root / "bin" / "pause")
        self._connect()
        self._note("network")
        self._start_control_plane()
        self._note("API server")
        with ThreadPoolExecutor() as pool:
            nodes = [pool.submit(self._start_node, node) for node in NODES]
            manifests = [pool.submit(self._install, kind) for kind in ("pytorchjob", "jobset", "trainjob")]
            for each in (*nodes, *manifests):
                each.result()
        self._await_nodes()
        self._note("nodes")
        for kind in ("pytorchjob", "jobset", "trainjob"):
            self.await_operator(kind)
        self._install_runtime()
        self._note("operators")

    def stop(self, *, keep: bool = False) -> None:
        """End every process; `keep` leaves the logs on disk."""
        if self._lock is None:
            return  # what is there is another session's
        self.daemons.close()
        _unlink()
        remove_cgroups(NETWORK)
        if not keep:
            shutil.rmtree(self.root, ignore_errors=True)
        self._lock.close()
        self._lock = None

    def heal(self) -> None:
        """As new for the next test: no namespaces of tests, every daemon alive, every node ready."""
        self.cont_apiserver()
        if not self.daemons.alive("etcd"):
            self.start_etcd()
        if not self.daemons.alive("kube-apiserver"):
            self.start_apiserver()
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns"):
            if not self.daemons.alive(name):
                self._start_helper(name)
        for node in NODES:
            self.start_containerd(node)
            self.start_kubelet(node)
        for space in self.kubectl("get", "namespace", "-l", TEST_LABEL, "-o", "name").split():
            self.delete_namespace(space.partition("/")[2])
        self.kubectl("uncordon", *WORKERS)
        self._await_nodes()
        for kind in ("pytorchjob", "jobset", "trainjob"):
            self.scale_operator(kind, 1)

    # Faults

    def kill_kubelet(self, node: str) -> None:
        """kill -9; the node's containers go on."""
        self.daemons.end(f"kubelet-{node}")

    def start_kubelet(self, node: str) -> None:
        if self.daemons.alive(f"kubelet-{node}"):
            return
        place = self.root / node
        role = "control" if node == layout.CONTROL else "worker"
        options = [
            f"--config={place}/kubelet.yaml", f"--kubeconfig={self.kubeconfig}", f"--root-dir={place}/kubelet",
            f"--hostname-override={node}", f"--cert-dir={place}/pki", f"--node-ip={GATEWAY}",
            f"--node-labels=orch-test/role={role}",
        ]  # fmt: skip
        self._daemon(f"kubelet-{node}", "kubelet", *options)

    def kill_containerd(self, node: str) -> None:
        """kill -9; the node's containers go on."""
        self.daemons.end(f"containerd-{node}")

    def start_containerd(self, node: str) -> None:
        if self.daemons.alive(f"containerd-{node}"):
            return
        self.daemons.start(f"containerd-{node}", ["containerd", "-c", f"{self.root}/{node}/containerd.toml"])

    def stop_apiserver(self) -> None:
        """SIGSTOP: connections are open and nobody answers."""
        self.daemons.send("kube-apiserver", signal.SIGSTOP)

    def cont_apiserver(self) -> None:
        self.daemons.send("kube-apiserver", signal.SIGCONT)

    def kill_apiserver(self) -> None:
        self.daemons.end("kube-apiserver")

    def start_apiserver(self) -> None:
        pki = self.root / "pki"
        options = {
            "etcd-servers": ETCD,
            "cert-dir": pki,
            "secure-port": API_PORT,
            "bind-address": "0.0.0.0",
            "advertise-address": API_ADDRESS,
            "service-cluster-ip-range": "10.96.0.0/16",
            "service-account-key-file": pki / "sa.pub",
            "service-account-signing-key-file": pki / "sa.key",
            "service-account-issuer": "https://kubernetes.default.svc",
            "token-auth-file": pki / "tokens.csv",
            "authorization-mode": "Node,RBAC",
            "allow-privileged": "true",
            "enable-admission-plugins": "PodSecurity",
            "kubelet-preferred-address-types": "InternalIP",
        }
        self._daemon("kube-apiserver", "kube-apiserver", *_flags(options))
        self.until(self.answers, hint="the API server answers", seconds=90)

    def answers(self) -> bool:
        """Whether the API server is ready."""
        if not (self.root / "pki" / "apiserver.crt").exists():
            return False
        if not self.kubeconfig.exists():
            self._write_kubeconfig()
        return self._run("get", "--raw", "/readyz", "--request-timeout=5s").stdout == "ok"

    def kill_etcd(self) -> None:
        self.daemons.end("etcd")

    def start_etcd(self) -> None:
        peer = "http://127.0.0.1:12380"
        options = {
            "data-dir": self.root / "etcd",
            "listen-client-urls": ETCD,
            "advertise-client-urls": ETCD,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
        }
        # What is written need not survive the machine: kill -9 of etcd loses nothing that the kernel has.
        self._daemon("etcd", "etcd", *_flags(options), "--unsafe-no-fsync")

    def restart_etcd(self) -> None:
        self.kill_etcd()
        self.start_etcd()
        self.until(self.answers, hint="the API server answers after a restart of etcd", seconds=60)

    def scale_operator(self, kind: str, replicas: int) -> None:
        """Take the operator of one kind of job down (0) or bring it back (1), and wait until it is so."""
        namespace, name = operators.DEPLOYMENTS[kind]
        self.kubectl("scale", "deployment", name, "-n", namespace, f"--replicas={replicas}")
        if replicas:
            self.await_operator(kind)
        else:
            self.until(lambda: not self._operator_pods(kind), hint=f"no pod of {name} is left", seconds=60)

    def await_operator(self, kind: str, *, seconds: float = 120) -> None:
        """Until its Deployment is available and its webhook admits an object."""
        namespace, name = operators.DEPLOYMENTS[kind]
        self.until(
            lambda: self.get("deployment", name, "-n", namespace).get("status", {}).get("readyReplicas"),
            seconds=seconds,
            hint=f"{name} is ready",
        )

    def set_capacity(self, node: str, resources: Mapping[str, int | str]) -> None:
        """Pretend that a node has devices; pods are scheduled by them."""
        operations = [
            {"op": "add", "path": f"/status/{place}/{name.replace('/', '~1')}", "value": str(count)}
            for name, count in resources.items()
            for place in ("capacity", "allocatable")
        ]
        self.kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps(operations))

    # Parts of the start

    def _note(self, what: str) -> None:
        self.timings[what] = round(time.monotonic() - self._began, 1)

    def _take_lock(self) -> None:
        lock = PLACE.with_suffix(".lock").open("w")
        end = time.monotonic() + LOCK_WAIT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    lock.close()
                    raise Unavailable(f"another session has the Kubernetes test bed ({lock.name})") from None
                time.sleep(1)
            else:
                self._lock = lock
                return

    def _sweep_leftovers(self) -> None:
        if self.root.exists() and self.root.stat().st_uid != 0:
            raise Unavailable(f"{self.root} is not root's: remove it")
        try:
            sweep(self.root, cgroup=NETWORK)
        except RuntimeError as error:
            raise Unavailable(str(error)) from None
        _unlink()

    def _place_programs(self) -> None:
        """What containers run is in one directory, which is mounted into each of them."""
        for name in PROGRAMS:
            source = self.binaries.program(name)
            assert source
            try:
                os.link(source.resolve(), self.root / "bin" / name)
            except OSError:  # another file system
                shutil.copy(source, self.root / "bin" / name)

    def _connect(self) -> None:
        """A cable between this machine and the cluster's network: nothing else leads in or out."""
        first = str(self.daemons.first)
        _ip("link", "add", OUR_LINK, "type", "veth", "peer", "name", ITS_LINK, "netns", first)
        _ip("addr", "add", f"{HOST_ADDRESS}/30", "dev", OUR_LINK)
        _ip("link", "set", OUR_LINK, "up")
        for argv in (
            f"ip addr add {API_ADDRESS}/30 dev {ITS_LINK}",
            f"ip link set {ITS_LINK} up",
            f"ip route add default via {HOST_ADDRESS}",
            f"ip link add {BRIDGE} type bridge",
            f"ip addr add {GATEWAY}/24 dev {BRIDGE}",
            f"ip link set {BRIDGE} up",
        ):
            self.daemons.run(*argv.split())

    def _start_control_plane(self) -> None:
        self.start_etcd()
        for node in NODES:
            self.start_containerd(node)
        self.start_apiserver()
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns"):
            self._start_helper(name)
        for node in NODES:
            self.start_kubelet(node)

    def _start_helper(self, name: str) -> None:
        config = {"kubeconfig": self.kubeconfig}
        options: dict[str, dict[str, object]] = {
            "kube-controller-manager": config | {
                "service-account-private-key-file": self.root / "pki" / "sa.key",
                "root-ca-file": self.root / "pki" / "apiserver.crt",
                "leader-elect": "false",
                "node-monitor-grace-period": "16s",
                "flex-volume-plugin-dir": self.root / "volume-plugins",
                "controllers": "*,-cloud-node-lifecycle-controller,-node-route-controller,-service-lb-controller",
            },
            "kube-scheduler": config | {"leader-elect": "false"},
            "kube-proxy": config | {
                "proxy-mode": "iptables",
                "cluster-cidr": POD_SUBNET,
                "conntrack-max-per-core": "0",
                "hostname-override": layout.CONTROL,
                "nodeport-addresses": "127.0.0.0/8",
            },
            "coredns": {"conf": self.root / "Corefile"},
        }  # fmt: skip
        self._daemon(name, name, *_flags(options[name]))

    def _start_node(self, node: str) -> None:
        """Give a node its images."""
        socket = f"{self.root}/{node}/containerd.sock"
        self.until(lambda: self.ctr(node, "version", check=False), hint=f"containerd of {node} answers {socket}")
        for image in ("pause.tar", "image.tar"):
            self.ctr(node, "-n", "k8s.io", "images", "import", f"{self.root}/{image}")

    def ctr(self, node: str, *argv: str, check: bool = True) -> str:
        """A command of containerd's own client on one node."""
        return self.daemons.run("ctr", "-a", f"{self.root}/{node}/containerd.sock", *argv, check=check)

    def _await_nodes(self) -> None:
        def ready() -> bool:
            told = self.get("nodes")["items"]
            conditions = [{each["type"]: each["status"] for each in node["status"]["conditions"]} for node in told]
            return len(told) >= len(NODES) and all(each.get("Ready") == "True" for each in conditions)

        self.until(ready, seconds=90, hint="every node is ready")

    def _install(self, kind: str) -> None:
        manifest = self.binaries.manifest(operators.PROGRAM[kind])
        assert manifest
        text = operators.adapted(kind, manifest)
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text, timeout=120)

    def _install_runtime(self) -> None:
        manifest = self.binaries.manifest(MANIFESTS[-1])
        assert manifest
        self.kubectl("apply", "--server-side", "-f", "-", input=operators.torch_runtime(manifest))

    def _operator_pods(self, kind: str) -> str:
        namespace, _ = operators.DEPLOYMENTS[kind]
        return self.kubectl("get", "pods", "-n", namespace, "-o", "name").strip()

    def _write_kubeconfig(self) -> None:
        token = (self.root / "pki" / "token").read_text()
        layout.write_kubeconfig(self.kubeconfig, self.root, user="admin", token=token)

    def _daemon(self, name: str, program: str, *options: str) -> None:
        self.daemons.start(name, [str(self.root / "bin" / program), *options])

    def _make_space(self, name: str, labels: Mapping[str, str]) -> Space:
        objects = [namespace_object(name, labels)]
        for volume, claim in (("shared", "shared"), *((f"spare-{number}", None) for number in range(SPARE_VOLUMES))):
            directory = self.root / "claims" / name / volume
            directory.mkdir(parents=True)
            directory.chmod(0o777)
            os.chown(directory, USER, USER)
            objects.append(_volume(f"{name}-{volume}", directory, (name, claim) if claim else None))
        objects.append(
            claim_object(name, "shared", {"storageClassName": STORAGE_CLASS, "volumeName": f"{name}-shared"})
        )
        self.apply(yaml.safe_dump_all(objects))
        return Space(name=name, claim="shared", shared=self.root / "claims" / name / "shared")

    def delete_namespace(self, name: str) -> None:
        super().delete_namespace(name)
        self._run("delete", "pv", "-l", f"{TEST_LABEL}={name}", "--wait=false")

    def story(self) -> str:
        logs = ("kube-apiserver", "etcd", *(f"kubelet-{node}" for node in NODES))
        return "\n".join([super().story(), *(f"--- {name}\n{self.daemons.log(name)}" for name in logs)])


def _volume(name: str, directory: Path, claim: tuple[str, str] | None) -> dict[str, object]:
    spec: dict[str, object] = {
        "capacity": {"storage": "10Gi"},
        "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": STORAGE_CLASS,
        "hostPath": {"path": str(directory), "type": "Directory"},
    }
    if claim:
        spec["claimRef"] = {"namespace": claim[0], "name": claim[1]}
    labels = {TEST_LABEL: directory.parent.name}
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "labels": labels}, "spec": spec,
    }  # fmt: skip


def _flags(options: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" if name != "conf" else f"-{name}={value}" for name, value in options.items()]


def _ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True, env={"PATH": PATH})


def _unlink() -> None:
    with contextlib.suppress(subprocess.CalledProcessError):
        _ip("link", "del", OUR_LINK)
