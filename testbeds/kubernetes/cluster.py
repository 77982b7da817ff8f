"""A real Kubernetes on this machine: an API server, a control node and two workers with containerd, three operators."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
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

from testbeds import Unavailable, proc
from testbeds.kubernetes import layout, operators
from testbeds.kubernetes.access import TEST_LABEL, Access, Space, claim_object, namespace_object
from testbeds.kubernetes.binaries import PROGRAMS, Absent, Binaries
from testbeds.kubernetes.daemons import Daemons, can_isolate, containers, processes, remove_cgroups, sweep
from testbeds.kubernetes.layout import API_PORT, BRIDGE, GATEWAY, IMAGE, NODES, PATH, POD_SUBNET, USER, WORKERS, Place
from testbeds.proc import send

PLACES = range(6)  # as many clusters may be on a machine, for tests that run beside each other
LOCK_WAIT = 60  # seconds
NEEDED = (
    "containerd", "containerd-shim-runc-v2", "runc", "ctr", "nsenter", "unshare", "setpriv", "mount", "ip", "iptables",
    "conntrack", "openssl",
)  # fmt: skip
ETCD = "http://127.0.0.1:12379"
STORAGE_CLASS = "shared"  # the default one
GANGS = "podgroups.scheduling.x-k8s.io"
SPARE_VOLUMES = 12  # for claims of that class which a test, or what it tests, makes
SPARE = "spare"


def why_not() -> str | None:
    """Why this machine can't have the test bed; None when it can."""
    if sys.platform != "linux":
        return "the Kubernetes test bed needs Linux"
    if missing := [program for program in NEEDED if shutil.which(program, path=PATH) is None]:
        return f"the Kubernetes test bed needs {', '.join(missing)}: testbeds/README.md names the packages"
    if layout.cni_plugins() is None:
        return "the Kubernetes test bed needs the bridge plugin of CNI: testbeds/README.md names the package"
    if os.geteuid() != 0:
        return "the Kubernetes test bed needs root: kubelets start containers"
    if not can_isolate():
        return "the Kubernetes test bed needs namespaces of its own: unshare --net --mount --pid is not allowed here"
    return None


class Cluster(Access):
    """The cluster, from `start` to `stop`. All of it ends when the thread that started it does.

    `place` is one of PLACES; left out, `start` takes the first that no other session has.
    """

    def __init__(self, place: int | None = None) -> None:
        self._places = PLACES if place is None else (place,)
        self.binaries = Binaries()
        self._lie_at(Place(self._places[0]))
        super().__init__(
            kubeconfig=self.kubeconfig,
            kubectl=self.binaries.program("kubectl") or Path("kubectl"),
            directory=self.root / "kubeconfigs",
            image=IMAGE,
            python=sys.executable,
        )
        self._installed: list[str] = []  # kinds whose operators are here
        self._pretended: set[tuple[str, str]] = set()  # resources of nodes that tests have made up
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
        self._place_programs(*PROGRAMS)
        layout.write_images(self.root)
        self.daemons.open(self.root / "bin" / "pause")
        self._connect()
        self._note("network")
        self._start_control_plane()
        self._note("API server")
        with ThreadPoolExecutor() as pool:
            nodes = [pool.submit(self._give_images, node) for node in NODES]
            self._install(*operators.STANDARD)
            for each in nodes:
                each.result()
        self._install_runtime()
        self._fill_volumes()
        self._await_nodes()
        self._note("nodes")
        for kind in operators.STANDARD:
            self.await_operator(kind)
        self._note("operators")

    def stop(self, *, keep: bool = False) -> None:
        """End every process; `keep` leaves the logs on disk."""
        if self._lock is None:
            return  # what is there is another session's
        self.daemons.close(alone=self._alone())
        self._disconnect()
        remove_cgroups(self.root)
        if not keep:
            shutil.rmtree(self.root, ignore_errors=True)
        self._lock.close()
        self._lock = None

    def heal(self) -> None:
        """As new for the next test: nothing of tests' is left, every daemon alive, every node ready."""
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
        for name in self.kubectl("get", "namespace", "-l", TEST_LABEL, "-o", "name").split():
            self.delete_namespace(name.partition("/")[2])
        self._heal_nodes()
        self._fill_volumes()
        counted = {
            each["metadata"]["name"]: each["status"].get("readyReplicas", 0) for each in self.items("deployments", "-A")
        }
        for kind in self._installed:
            if counted.get(operators.DEPLOYMENTS[kind][1]) != 1:
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
            f"--node-labels=testbed/role={role}",
        ]  # fmt: skip
        self._daemon(f"kubelet-{node}", "kubelet", *options)

    def kill_containerd(self, node: str) -> None:
        """kill -9; the node's containers go on."""
        self.daemons.end(f"containerd-{node}")

    def start_containerd(self, node: str) -> None:
        """And wait until it serves kubelets: one that comes sooner ends at once, and nobody starts it again."""
        name = f"containerd-{node}"
        if self.daemons.alive(name):
            return
        log = self.root / "log" / f"{name}.log"
        before = log.stat().st_size if log.exists() else 0
        self.daemons.start(name, ["containerd", "-c", f"{self.root}/{node}/containerd.toml"])
        self.until(lambda: b"Start streaming server" in log.read_bytes()[before:], hint=f"{name} serves kubelets")

    def crash(self, node: str) -> None:
        """As if the machine lost its power: kubelet, containerd and every container, all by kill -9."""
        self.kill_kubelet(node)
        self.kill_containerd(node)
        self._kill_containers(node)

    def start_node(self, node: str) -> None:
        self.start_containerd(node)
        self.start_kubelet(node)

    def processes(self, namespace: str, pod: str) -> dict[int, str]:
        """Command lines of a pod's processes by their ids on this machine, its containers' only."""
        statuses = self.get("pod", pod, "-n", namespace).get("status", {}).get("containerStatuses", [])
        ids = [each.get("containerID", "").rpartition("/")[2] for each in statuses]
        return {pid: command for each in ids if each for pid in processes(each) if (command := _command(pid))}

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
            "advertise-address": self.place.server,
            "service-cluster-ip-range": "10.96.0.0/16",
            "service-account-key-file": pki / "sa.pub",
            "service-account-signing-key-file": pki / "sa.key",
            "service-account-issuer": "https://kubernetes.default.svc",
            "token-auth-file": pki / "tokens.csv",
            "authorization-mode": "Node,RBAC",
            "allow-privileged": "true",
            "enable-admission-plugins": "PodSecurity",
            "kubelet-preferred-address-types": "InternalIP",
            "requestheader-client-ca-file": pki / "front-proxy-ca.crt",
            "requestheader-allowed-names": layout.FRONT_PROXY,
            "requestheader-username-headers": "X-Remote-User",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            "proxy-client-cert-file": pki / "front-proxy.crt",
            "proxy-client-key-file": pki / "front-proxy.key",
        }
        self._daemon("kube-apiserver", "kube-apiserver", *_flags(options))
        self.until(self.answers, hint="the API server answers", seconds=180)

    def answers(self) -> bool:
        """Whether the API server is ready."""
        if not (self.root / "pki" / "apiserver.crt").exists():
            return False
        if not self.kubeconfig.exists():
            layout.write_kubeconfig(self.place)
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
        self.until(self.answers, hint="the API server answers after a restart of etcd", seconds=180)

    def scale_operator(self, kind: str, replicas: int) -> None:
        """Take the operator of one kind of job down (0) or bring it back (1), and wait until it is so."""
        namespace, name = operators.DEPLOYMENTS[kind]
        if self.get("deployment", name, "-n", namespace)["spec"]["replicas"] != replicas:
            self.kubectl("scale", "deployment", name, "-n", namespace, f"--replicas={replicas}")
        if replicas:
            self.await_operator(kind)
        else:
            self.until(lambda: not self._operator_pods(kind), hint=f"no pod of {name} is left", seconds=180)

    def await_operator(self, kind: str, *, seconds: float = 120) -> None:
        """Until its Deployment is ready and its webhook admits an object."""
        namespace, name = operators.DEPLOYMENTS[kind]
        ready = ("wait", f"deployment/{name}", "-n", namespace, "--for=jsonpath={.status.readyReplicas}=1")
        end = time.monotonic() + seconds
        self.until(
            lambda: self.said(*ready, f"--timeout={seconds:.0f}s", timeout=seconds + 10).returncode == 0,
            seconds=seconds,
            hint=f"{name} is ready",
        )
        self.until(lambda: self._admits(kind), seconds=max(end - time.monotonic(), 10), hint=f"{name} admits its kind")

    def set_capacity(self, node: str, resources: Mapping[str, int | str]) -> None:
        """Pretend that a node has devices; pods are scheduled by them."""
        operations = [
            {"op": "add", "path": f"/status/{place}/{name.replace('/', '~1')}", "value": str(count)}
            for name, count in resources.items()
            for place in ("capacity", "allocatable")
        ]
        self.kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps(operations))
        self._pretended.update((node, name) for name in resources)

    # On demand

    def start_kueue(self) -> None:
        """Kueue, which from now on looks at every object that is made; PyTorchJobs are among what it queues."""
        self._await_built("kueue", "kueue")
        self._place_programs("kueue")
        self._install("kueue")
        self.await_operator("kueue")
        queues = "apiservice/v1beta2.visibility.kueue.x-k8s.io"  # who waits, and where
        self.kubectl("wait", queues, "--for=condition=Available", "--timeout=60s")

    def stop_kueue(self) -> None:
        """All of it; its hooks first, for without Kueue they would refuse everything."""
        for kind in ("mutating", "validating"):
            self.kubectl("delete", f"{kind}webhookconfiguration", f"kueue-{kind}-webhook-configuration")
        self._installed.remove("kueue")
        self.kubectl("delete", "--wait=false", "--ignore-not-found", "-f", "-", input=self._adapted("kueue").rest)
        self.until(lambda: not self._operator_pods("kueue"), seconds=180, hint="Kueue is gone")

    def start_gangs(self) -> None:
        """A second scheduler, for pods that name it: all of their PodGroup start, or none."""
        self._await_built("gang-scheduler", "gang-scheduler")
        self._place_programs("gang-scheduler")
        self.apply(self._definition_of_gangs())
        self.kubectl("wait", "crd", GANGS, "--for=condition=Established", "--timeout=60s")
        config = self.root / "gang-scheduler.yaml"
        config.write_text(yaml.safe_dump(operators.gang_scheduler(self.kubeconfig)))
        self._daemon("gang-scheduler", "gang-scheduler", *_flags({"config": config, "secure-port": 10261}))

    def stop_gangs(self) -> None:
        self.daemons.end("gang-scheduler")
        self.kubectl("delete", "-f", "-", input=self._definition_of_gangs())

    def _definition_of_gangs(self) -> str:
        manifest = self.binaries.manifest("gang-scheduler")
        assert manifest
        return manifest.read_text()

    def start_kwok(self, *, nodes: int, resources: Mapping[str, int | str] | None = None) -> None:
        """Nodes that only seem to be there, called fake-1 and on; pods on them seem to run until they are deleted.

        They have the label `type: kwok` and the taint `kwok.x-k8s.io/node=fake:NoSchedule`.
        """
        self._await_built("kwok", "kwok-stages")
        self._place_programs("kwok")
        manifest = self.binaries.manifest("kwok-stages")
        assert manifest
        known = {one["metadata"]["name"]: one for one in yaml.safe_load_all(manifest.read_text())}
        del known["pod-complete"]
        # No kubelet says that their containers have ended, so no Job would ever let go of them.
        known["pod-delete"]["spec"]["next"] = {"finalizers": {"empty": True}, "delete": True}
        stages = self.root / "kwok-stages.yaml"
        stages.write_text(yaml.safe_dump_all(known.values()))
        options = {
            "kubeconfig": self.kubeconfig,
            "config": stages,
            "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake",
            "node-lease-duration-seconds": 40,
            "cidr": "10.89.0.0/16",
        }
        self._daemon("kwok", "kwok", *_flags(options))
        allocatable = {"cpu": "64", "memory": "512Gi", "pods": "110"} | dict(resources or {})
        self.apply(yaml.safe_dump_all(_fake_node(f"fake-{number}", allocatable) for number in range(1, nodes + 1)))
        self.until(self._all_ready, seconds=180, hint="every fake node is ready")

    def stop_kwok(self) -> None:
        self.kubectl("delete", "node", "-l", "type=kwok")
        self.daemons.end("kwok")

    def load_image(
        self,
        tag: str,
        *,
        entrypoint: list[str],
        extra: Mapping[Path, str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """One more image for all nodes, like the first but for `extra`: directories here, and where they go."""
        archive = self.root / "more.tar"
        layout.write_image(archive, tag, entrypoint, extra, environment)
        for node in NODES:
            self.ctr(node, "-n", "k8s.io", "images", "import", str(archive))

    # Parts of the start

    def _note(self, what: str) -> None:
        self.timings[what] = round(time.monotonic() - self._began, 1)

    def _lie_at(self, place: Place) -> None:
        self.place = place
        self.root = place.root
        self.kubeconfig = self.root / "kubeconfig"
        self._directory = self.root / "kubeconfigs"
        self.daemons = Daemons(self.root)

    def _take_lock(self) -> None:
        """The first place that no other session has."""
        end = time.monotonic() + LOCK_WAIT
        while time.monotonic() < end:
            for place in map(Place, self._places):
                lock = _locked(place)
                if lock is not None:
                    self._lie_at(place)
                    self._lock = lock
                    return
            time.sleep(1)
        taken = ", ".join(str(Place(number).root) for number in self._places)
        raise Unavailable(f"other sessions on this machine have the Kubernetes test beds of {taken}")

    def _alone(self) -> bool:
        others = [_locked(place) for number in PLACES if (place := Place(number)) != self.place]
        for lock in others:
            if lock is not None:
                lock.close()
        return None not in others

    def _sweep_leftovers(self) -> None:
        if self.root.exists() and self.root.stat().st_uid != 0:
            raise Unavailable(f"{self.root} is not root's: remove it")
        try:
            sweep(self.root)
        except RuntimeError as error:
            raise Unavailable(str(error)) from None
        self._disconnect()

    def _await_built(self, program: str, manifest: str) -> None:
        try:
            self.binaries.await_built((program,), (manifest,))
        except Absent as reason:
            raise Unavailable(str(reason)) from None

    def _place_programs(self, *names: str) -> None:
        """What containers run is in one directory, which is mounted into each of them."""
        for name in names:
            source = self.binaries.program(name)
            if source is None or (self.root / "bin" / name).exists():
                continue
            try:
                os.link(source.resolve(), self.root / "bin" / name)
            except OSError:  # another file system
                shutil.copy(source, self.root / "bin" / name)

    def _connect(self) -> None:
        """A cable between this machine and the cluster's network: nothing else leads in or out."""
        ours, its = self.place.links
        _ip("link", "add", ours, "type", "veth", "peer", "name", its, "netns", str(self.daemons.first))
        _ip("addr", "add", f"{self.place.ours}/30", "dev", ours)
        _ip("link", "set", ours, "up")
        for argv in (
            f"ip addr add {self.place.server}/30 dev {its}",
            f"ip link set {its} up",
            f"ip route add default via {self.place.ours}",
            f"ip link add {BRIDGE} type bridge",
            f"ip addr add {GATEWAY}/24 dev {BRIDGE}",
            f"ip link set {BRIDGE} up",
        ):
            self.daemons.run(*argv.split())

    def _disconnect(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):  # it went with the cluster's network
            _ip("link", "del", self.place.links[0])

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

    def _give_images(self, node: str) -> None:
        socket = f"{self.root}/{node}/containerd.sock"
        self.until(lambda: self.ctr(node, "version", check=False), hint=f"containerd of {node} answers {socket}")
        for image in ("pause.tar", "image.tar"):
            self.ctr(node, "-n", "k8s.io", "images", "import", f"{self.root}/{image}")

    def ctr(self, node: str, *argv: str, check: bool = True) -> str:
        """A command of containerd's own client on one node."""
        return self.daemons.run("ctr", "-a", f"{self.root}/{node}/containerd.sock", *argv, check=check)

    def _await_nodes(self) -> None:
        self.until(self._all_ready, seconds=180, hint="every node is ready")

    def _all_ready(self) -> bool:
        told = self.items("nodes")
        conditions = [{each["type"]: each["status"] for each in node["status"]["conditions"]} for node in told]
        return len(told) >= len(NODES) and all(each.get("Ready") == "True" for each in conditions)

    def _heal_nodes(self) -> None:
        for node in WORKERS:
            self._kill_containers(node)
        if self.daemons.alive("kwok"):
            self.stop_kwok()
        self.kubectl("uncordon", *WORKERS)
        for node, resource in self._pretended:
            removed = {"op": "remove", "path": f"/status/capacity/{resource.replace('/', '~1')}"}
            self._run("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps([removed]))
        self._pretended.clear()
        self._await_nodes()
        self.until(
            lambda: not any(containers(self.root / node) for node in WORKERS),
            seconds=180,
            hint="no container of a test is left",
        )

    def _kill_containers(self, node: str) -> None:
        for container in containers(self.root / node):
            for pid in processes(container):
                send(pid, signal.SIGKILL)

    def _install(self, *kinds: str) -> None:
        """Definitions of all of them first: an operator ends when it does not find those that it works with."""
        manifests = [self._adapted(kind) for kind in kinds]
        self._apply_all("".join(each.definitions for each in manifests))
        self.kubectl("wait", "--for=condition=Established", "crd", "--all")
        self._apply_all("".join(each.rest for each in manifests))
        self._installed += [kind for kind in kinds if kind not in self._installed]

    def _adapted(self, kind: str) -> operators.Manifest:
        manifest = self.binaries.manifest(operators.PROGRAM[kind])
        assert manifest
        return operators.adapted(kind, manifest)

    def _apply_all(self, text: str) -> None:
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text, timeout=120)

    def _install_runtime(self) -> None:
        manifest = self.binaries.manifest("trainer-runtimes")
        assert manifest
        text = operators.torch_runtime(manifest)
        # Refused until the operator's webhook answers.
        self.until(lambda: self.said("apply", "--server-side", "-f", "-", input=text).returncode == 0, seconds=120)

    def _admits(self, kind: str) -> bool:
        argv = ("create", "-n", "default", "--dry-run=server", "-f", "-")
        return self.said(*argv, input=operators.admitted(kind)).returncode == 0

    def _operator_pods(self, kind: str) -> str:
        namespace, _ = operators.DEPLOYMENTS[kind]
        return self.kubectl("get", "pods", "-n", namespace, "-o", "name").strip()

    def _daemon(self, name: str, program: str, *options: str) -> None:
        self.daemons.start(name, [str(self.root / "bin" / program), *options])

    def _make_space(self, name: str, labels: Mapping[str, str]) -> Space:
        directory = self._open_directory(name)
        claim = {"storageClassName": STORAGE_CLASS, "volumeName": name}
        objects = [
            namespace_object(name, labels),
            _volume(name, directory, label=name, claim={"namespace": name, "name": "shared"}),
            claim_object(name, "shared", claim),
        ]
        self.apply(yaml.safe_dump_all(objects))
        self._fill_volumes()
        phase = ("get", "pvc", "shared", "-n", name, "-o", "jsonpath={.status.phase}")
        self.until(lambda: self.kubectl(*phase) == "Bound", hint=f"the claim of {name} is bound")
        return Space(name=name, claim="shared", shared=directory)

    def _open_directory(self, name: str) -> Path:
        directory = self.root / "claims" / name
        directory.mkdir()
        directory.chmod(0o777)
        os.chown(directory, USER, USER)
        return directory

    def _fill_volumes(self) -> None:
        """As many spare volumes as ever beside those that claims have; one that a claim has left is not bound again."""
        found = self.items("pv", "-l", f"{TEST_LABEL}={SPARE}")
        phases = {each["metadata"]["name"]: each["status"].get("phase") for each in found}
        if used := [name for name, phase in phases.items() if phase in {"Released", "Failed"}]:
            self.kubectl("delete", "pv", "--wait=false", *used)
        missing = SPARE_VOLUMES - len([phase for phase in phases.values() if phase in {"Available", "Pending", None}])
        names = [f"{SPARE}-{secrets.token_hex(3)}" for _ in range(missing)]
        if names:
            volumes = [_volume(name, self._open_directory(name), label=SPARE) for name in names]
            self.apply(yaml.safe_dump_all([_storage_class(), *volumes]))

    def delete_namespace(self, name: str) -> None:
        super().delete_namespace(name)
        self._run("delete", "pv", "-l", f"{TEST_LABEL}={name}", "--wait=false")

    def story(self) -> str:
        logs = ("kube-apiserver", "etcd", *(f"kubelet-{node}" for node in NODES))
        return "\n".join([super().story(), *(f"--- {name}\n{self.daemons.log(name)}" for name in logs)])


def _locked(place: Place) -> IO[str] | None:
    """The lock of a place, for as long as the file is open; None when another session has it."""
    lock = place.root.with_suffix(".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _storage_class() -> dict[str, object]:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    metadata = {"name": STORAGE_CLASS, "annotations": annotations}
    api = "storage.k8s.io/v1"
    return {
        "apiVersion": api, "kind": "StorageClass", "metadata": metadata, "provisioner": "kubernetes.io/no-provisioner",
    }  # fmt: skip


def _volume(name: str, directory: Path, *, label: str, claim: Mapping[str, str] | None = None) -> dict[str, object]:
    """A directory of this machine, which all nodes are."""
    spec: dict[str, object] = {
        "capacity": {"storage": "1Ti"},
        "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": STORAGE_CLASS,
        "hostPath": {"path": str(directory), "type": "Directory"},
    }
    if claim:
        spec["claimRef"] = dict(claim)
    metadata = {"name": name, "labels": {TEST_LABEL: label}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}


def _fake_node(name: str, resources: Mapping[str, int | str]) -> dict[str, object]:
    labels = {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    metadata = {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}}
    taint = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
    room = {resource: str(count) for resource, count in resources.items()}
    status = {"capacity": room, "allocatable": room}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": [taint]}, "status": status}


def _command(pid: int) -> str:
    return proc.command(pid).replace(b"\0", b" ").decode(errors="replace").strip()


def _flags(options: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" if name != "conf" else f"-{name}={value}" for name, value in options.items()]


def _ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True, env={"PATH": PATH})
