"""How the test bed looks on disk and on the network: configuration, certificates' places, and the one image."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WORKERS = ("node-1", "node-2")
CONTROL = "control"  # where the operators run, so that a test may do anything to the workers
NODES = (CONTROL, *WORKERS)
GATEWAY, POD_SUBNET = "10.88.7.1", "10.88.7.0/24"  # of the pods: known only in the cluster's own network
API_PORT = 16443
IMAGE = "docker.io/local/train:1"
PAUSE_IMAGE = "docker.io/local/pause:1"
NETWORK = "kube-testbed"  # of the pods
USER = 1000  # who the image's processes are, and who owns what pods share
MOUNTED = Path("/opt/testbed")  # in every container: bin/ and torch_extensions/
BRIDGE = "testbed-pods"
FRONT_PROXY = "front-proxy-client"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cluster is: another one beside it has its own directory, cable and addresses."""

    number: int

    @property
    def root(self) -> Path:
        return Path("/var/tmp") / f"kube-testbed{f'-{self.number + 1}' if self.number else ''}"

    @property
    def links(self) -> tuple[str, str]:
        """The cable's two ends: this machine's and the cluster's."""
        return f"kube-testbed-h{self.number}", f"kube-testbed-n{self.number}"

    @property
    def ours(self) -> str:
        return f"10.88.8.{4 * self.number + 1}"

    @property
    def server(self) -> str:
        """Where the API server answers."""
        return f"10.88.8.{4 * self.number + 2}"


KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: bed, cluster: {{server: "https://{address}:{port}", certificate-authority-data: {authority}}}}}]
users: [{{name: admin, user: {{token: {token}}}}}]
contexts: [{{name: bed, context: {{cluster: bed, user: admin, namespace: default}}}}]
current-context: bed
"""
COREFILE = """\
.:53 {{
  bind {gateway}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {root}/kubeconfig bed
    pods insecure
    ttl 0
  }}
}}
"""
CONTAINERD = """\
version = 2
root = "{node}/containerd/root"
state = "{node}/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{node}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{root}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    base_runtime_spec = "{root}/base-spec.json"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{root}/runc"
"""
# A pod's volumes come after what every container begins with, and hide what of it lies below them: a /tmp of the pod's
# own, an interpreter below /tmp. So the deeper ones are mounted last.
RUNC = """\
#!/bin/sh
previous=
for word; do
  [ "$previous" != --bundle ] || {python} -I -S -c '
import json, sys
with open(sys.argv[1], "r+") as file:
    spec = json.load(file)
    spec["mounts"].sort(key=lambda mount: mount["destination"].rstrip("/").count("/"))
    file.seek(0)
    json.dump(spec, file)
    file.truncate()
' "$word/config.json"
  previous=$word
done
exec {runc} "$@"
"""
KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://{node}/containerd.sock
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
failCgroupV1: false
localStorageCapacityIsolation: false
oomScoreAdj: 0
port: {port}
readOnlyPort: 0
healthzPort: {health_port}
evictionHard: {{nodefs.available: "0%", imagefs.available: "0%", memory.available: "100Mi"}}
imageGCHighThresholdPercent: 100
clusterDNS: [{gateway}]
clusterDomain: cluster.local
resolvConf: {root}/resolv.conf
podLogsDir: {node}/pod-logs
volumePluginDir: {node}/volume-plugins
nodeStatusUpdateFrequency: 4s
syncFrequency: 3s
registerWithTaints: {taints}
"""
CNI_PLACES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
PASSWD = f"root:x:0:0:root:/root:/bin/sh\ntrainer:x:{USER}:{USER}:trainer:/home/trainer:/bin/sh\n"
GROUP = f"root:x:0:\ntrainer:x:{USER}:\n"
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


def cni_plugins() -> Path | None:
    return next((place for place in CNI_PLACES if (place / "bridge").exists()), None)


def lay_out(root: Path) -> None:
    """Every file and directory that is there before the first daemon."""
    for name in ("pki", "log", "cni", "claims", "bin", "kubeconfigs", "torch_extensions"):
        (root / name).mkdir(parents=True)
    key = root / "pki" / "sa.key"
    _openssl("genrsa", "-out", str(key), "2048")
    _openssl("rsa", "-in", str(key), "-pubout", "-out", str(key.with_suffix(".pub")))
    _make_front_proxy(root / "pki")
    (root / "pki" / "token").write_text(secrets.token_hex(16))
    (root / "pki" / "tokens.csv").write_text(f"{(root / 'pki' / 'token').read_text()},admin,admin,system:masters\n")
    (root / "Corefile").write_text(COREFILE.format(root=root, gateway=GATEWAY))
    (root / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (root / "cni" / "10-bridge.conflist").write_text(json.dumps(_pod_network(root)))
    _share_operators(root / "torch_extensions")
    (root / "base-spec.json").write_text(json.dumps(_base_spec(root)))
    runc = root / "runc"
    runc.write_text(RUNC.format(python=shlex.quote(sys.executable), runc=shutil.which("runc", path=PATH)))
    runc.chmod(0o755)
    for number, node in enumerate(NODES):
        _lay_out_node(root, node, number)


def write_images(root: Path) -> None:
    write_image(root / "image.tar", IMAGE, ["/bin/sh"])
    # A pod's first process has none of the mounts that its containers have.
    write_image(root / "pause.tar", PAUSE_IMAGE, ["/pause"], {root / "bin" / "pause": "pause"})


def write_kubeconfig(place: Place) -> None:
    """The administrator's, for processes on this machine and in the cluster's network."""
    pki = place.root / "pki"
    authority = base64.b64encode((pki / "apiserver.crt").read_bytes()).decode()
    token = (pki / "token").read_text()
    path = place.root / "kubeconfig"
    path.write_text(KUBECONFIG.format(address=place.server, port=API_PORT, authority=authority, token=token))
    path.chmod(0o600)


def _make_front_proxy(pki: Path) -> None:
    """Who the API server is to the servers that it hands requests on to, such as Kueue's list of who waits."""
    ca, own = pki / "front-proxy-ca", pki / "front-proxy"
    new = ("req", "-newkey", "rsa:2048", "-nodes", "-days", "30")
    _openssl(*new, "-x509", "-subj", "/CN=front-proxy-ca", "-keyout", f"{ca}.key", "-out", f"{ca}.crt")
    _openssl(*new, "-subj", f"/CN={FRONT_PROXY}", "-keyout", f"{own}.key", "-out", f"{own}.csr")
    signed = ("-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", "30", "-out", f"{own}.crt")
    _openssl("x509", "-req", "-in", f"{own}.csr", *signed)


def _openssl(*argv: str) -> None:
    subprocess.run(["openssl", *argv], check=True, capture_output=True)


def _pod_network(root: Path) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": POD_SUBNET, "rangeStart": "10.88.7.10", "gateway": GATEWAY}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": f"{root}/cni-addresses",
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": NETWORK, "plugins": [bridge]}


def _lay_out_node(root: Path, node: str, number: int) -> None:
    place = root / node
    (place / "kubelet").mkdir(parents=True)
    taint = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    values = {
        "root": root,
        "node": place,
        "pause": PAUSE_IMAGE,
        "cni": cni_plugins(),
        "gateway": GATEWAY,
        "port": 11250 + number,
        "health_port": 12250 + number,
        "taints": json.dumps([taint] if node == CONTROL else []),
    }
    (place / "containerd.toml").write_text(CONTAINERD.format(**values))
    (place / "kubelet.yaml").write_text(KUBELET.format(**values))


# The image: this machine's own /usr and Python, read-only


def _base_spec(root: Path) -> dict[str, Any]:
    """What every container begins with: containerd's own default and this machine's programs."""
    told = subprocess.run(["ctr", "oci", "spec"], check=True, capture_output=True, text=True)
    spec: dict[str, Any] = json.loads(told.stdout)
    mounts = [(place, place, "ro") for place in _programs()]
    mounts += [(root / "bin", MOUNTED / "bin", "ro"), (root / "torch_extensions", operators_in_pods(), "rw")]
    spec["mounts"] += [
        {"destination": str(to), "type": "bind", "source": str(source), "options": ["rbind", mode]}
        for source, to, mode in mounts
    ]
    return spec


def operators_in_pods() -> Path:
    """DeepSpeed's compiled operators, as containers see them."""
    return MOUNTED / "torch_extensions"


def _programs() -> list[Path]:
    """Directories and files that a container needs to run this interpreter, at their own places."""
    system = [Path("/usr"), *(path for path in _merged() if not path.is_symlink())]
    python = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_prefix).resolve()}
    python.add(Path(os.path.realpath(sys.executable)).parents[1])
    outside = sorted(path for path in python if not path.is_relative_to("/usr"))
    settings = [Path("/etc") / name for name in ("ld.so.cache", "ssl", "alternatives")]
    return [*system, *outside, *(path for path in settings if path.exists())]


def _merged() -> list[Path]:
    """Directories of the root that most distributions have merged with /usr."""
    return [path for name in ("bin", "sbin", "lib", "lib32", "lib64") if (path := Path("/") / name).exists()]


def _share_operators(to: Path) -> None:
    """A copy of the compiled operators that every user of a container may write."""
    compiled = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or f"{sys.prefix}/torch_extensions")
    if compiled.is_dir():
        # A lock would wait for ever for a build that another session has begun and that nobody ends here.
        ignored = shutil.ignore_patterns("lock", "*-lock")
        shutil.copytree(compiled, to, ignore=ignored, dirs_exist_ok=True)
    for path in (to, *to.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666 | (path.stat().st_mode & 0o111))


def write_image(
    path: Path,
    tag: str,
    entrypoint: list[str],
    extra: Mapping[Path, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """An image for `ctr images import`: empty but for names of users, and for our directories in `extra`."""
    layer = _layer(extra or {})
    digest = hashlib.sha256(layer).hexdigest()
    variables = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
        "TORCH_EXTENSIONS_DIR": str(operators_in_pods()),
        **(environment or {}),
    }
    settings = {
        "Entrypoint": entrypoint,
        "User": f"{USER}:{USER}",
        "Env": [f"{name}={value}" for name, value in variables.items()],
    }
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{digest}"]}
    config = json.dumps({"architecture": machine, "os": "linux", "config": settings, "rootfs": rootfs}).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    index = [{"Config": name, "RepoTags": [tag], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        _add(archive, f"{digest}/layer.tar", layer)
        _add(archive, name, config)
        _add(archive, "manifest.json", json.dumps(index).encode())


def _layer(extra: Mapping[Path, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode, owner in (
            ("etc", 0o755, 0), ("root", 0o755, 0), ("home", 0o755, 0), ("home/trainer", 0o755, USER),
            ("tmp", 0o1777, 0), ("var", 0o755, 0), ("var/tmp", 0o1777, 0), ("run", 0o755, 0),
        ):  # fmt: skip
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
            archive.addfile(entry)
        for path in _merged():
            if path.is_symlink():
                entry = tarfile.TarInfo(path.name)
                entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
                archive.addfile(entry)
        for name, text in (("etc/passwd", PASSWD), ("etc/group", GROUP), ("etc/nsswitch.conf", NSSWITCH)):
            _add(archive, name, text.encode())
        for source, to in extra.items():
            archive.add(source, arcname=to, filter=_without_bytecode)
    return buffer.getvalue()


def _without_bytecode(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.uid = entry.gid = 0
    return None if entry.name.endswith("__pycache__") else entry


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
