"""A real one-node Kubernetes: etcd, the control plane, containerd, kubelet and kube-proxy, from one folder.

Only one runs at a time on a machine (a lock sees to it): pod and service networks are the machine's.
The node's address lies on a bridge, since Kubernetes refuses loopback addresses for nodes.
"""

import contextlib
import datetime
import fcntl
import functools
import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from ciflow.targets import Connection
from tests.parts import images, process
from tests.parts.docker import bridge
from tests.parts.pki import Authority

VERSION = "1.34.0"
NODE = "node1"
NODE_IP = "10.245.0.1"
NODE_BRIDGE, POD_BRIDGE = "cfk0", "cfk1"
PODS = "10.244.0.0/16"
SERVICES = "10.96.0.0/16"


AUDITED = "least"  # of the accounts of this name the API server writes down what they ask
AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "Metadata", "users": [f"system:serviceaccount:{space}:{AUDITED}" for space in ("shop",)]},
        {"level": "None"},
    ],
}


class Refused(Exception):
    """The API server said no; the text is its answer."""


@dataclass(frozen=True)
class Kube:
    """A running cluster, reached as its administrator."""

    folder: Path
    port: int
    etcd_port: int = field(default_factory=process.free_port)
    parts: dict[str, process.Running] = field(default_factory=dict, repr=False)

    def start_apiserver(self) -> None:
        self.parts["apiserver"] = process.start("apiserver", apiserver_argv(self, self.etcd_port), self.folder)
        process.wait_until(self.healthy, self.parts["apiserver"], 60)

    def stop_apiserver(self) -> None:
        """At once, as a crash would: every connection to it ends; pods live on."""
        process.kill([self.parts["apiserver"].pid])
        process.end(self.parts["apiserver"])

    def start_kubelet(self) -> None:
        self.parts["kubelet"] = process.start("kubelet", kubelet_argv(self.folder), self.folder)
        process.wait_until(self.ready, self.parts["kubelet"], 60)

    def stop_kubelet(self) -> None:
        """As its crash or upgrade: pods live on, and what was executed in them through it."""
        process.kill([self.parts["kubelet"].pid])
        process.end(self.parts["kubelet"])

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, timeout_s: float = 10.0) -> Any:
        """One request to the API; gives the JSON answer, or text. Raises Refused, or OSError without a server."""
        pki = self.folder / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        data = None if body is None else json.dumps(body).encode()
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(self.url + path, data, {"Content-Type": kind}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s, context=context) as reply:
                text = reply.read().decode(errors="replace")
                return json.loads(text) if "json" in reply.headers.get("Content-Type", "") else text
        except urllib.error.HTTPError as refused:
            raise Refused(f"{refused.code} {refused.read().decode(errors='replace')}") from refused

    def ready(self) -> bool:
        """Whether the API answers, the node is Ready, and pods would be admitted."""
        with contextlib.suppress(OSError, Refused):
            node = self.ask("GET", f"/api/v1/nodes/{NODE}")
            self.ask("GET", "/api/v1/namespaces/default/serviceaccounts/default")
            self.ask("GET", "/api/v1/namespaces/default/configmaps/kube-root-ca.crt")
            return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
        return False

    def healthy(self) -> bool:
        with contextlib.suppress(OSError, Refused):
            return bool(self.ask("GET", "/readyz") == "ok")
        return False

    def connection(self, name: str, namespace: str = "default", **options: str) -> Connection:
        """A pod as the inventory would say it."""
        said = {"kubeconfig": str(self.kubeconfig), "namespace": namespace, **options}
        return Connection(kind="kubernetes", name=name, options=tuple(said.items()), connect_timeout=30.0)

    def start_pod(
        self, name: str, image: str = images.BUSYBOX, spec: Mapping[str, Any] | None = None, **more: Any
    ) -> str:
        """A pod asleep, with fields of its container in `more` and others in `spec`; it runs when this returns."""
        thing = {"apiVersion": "v1", "kind": "Pod", **template(name, image, spec, **more)}
        self.ask("POST", "/api/v1/namespaces/default/pods", thing)
        self.wait_for_phase(name, "Running")
        return name

    def start_python(self, name: str, folder: str = "/tmp", **more: Any) -> str:
        """A pod with the machine's Python, and its `folder` at the same path."""
        return self.start_pod(name, images.PYTHON, volumeMounts=python_mounts(folder), **more)

    def deploy_python(self, name: str, folder: str) -> None:
        """A Deployment of one such pod; it runs when this returns."""
        pod = template(name, images.PYTHON, volumeMounts=python_mounts(folder))
        spec = {"selector": {"matchLabels": {"app": name}}, "template": pod}
        thing = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
        self.ask("POST", "/apis/apps/v1/namespaces/default/deployments", thing)
        path = f"/apis/apps/v1/namespaces/default/deployments/{name}"
        process.wait_for(lambda: self.ask("GET", path).get("status", {}).get("availableReplicas"), "its pod")

    def wait_for_phase(self, pod: str, phase: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """The pod of namespace default once it is in `phase`. Raises TimeoutError with its last status."""
        deadline = time.monotonic() + timeout_s
        while True:
            found: dict[str, Any] = self.ask("GET", f"/api/v1/namespaces/default/pods/{pod}")
            if found["status"].get("phase") == phase:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"pod {pod} is not {phase}: {json.dumps(found['status'], indent=1)}")
            time.sleep(0.1)


def template(name: str, image: str, spec: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A pod asleep, labelled with its name. Mounts say with `from` what is there on the node."""
    container = {"name": "main", "image": image, "command": ["sleep", "1000000"], **more}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], **(spec or {})}
    if mounts := container.get("volumeMounts"):
        spec["volumes"] = [{"name": one["name"], "hostPath": {"path": one.pop("from")}} for one in mounts]
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def python_mounts(folder: str) -> list[dict[str, Any]]:
    usr = {"name": "usr", "from": "/usr", "mountPath": "/usr", "readOnly": True}
    return [usr, {"name": "shared", "from": folder, "mountPath": folder}]


@functools.cache
def programs() -> Path:
    """Folder of the built Kubernetes programs."""
    folder = process.BUILT / f"kube-{VERSION}"
    if not (folder / "kube-apiserver").exists():
        raise process.MissingPart("kube is not installed: make parts")
    return folder


def write_pki(folder: Path) -> None:
    authority = Authority(folder / "pki")
    serving = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "127.0.0.1", "10.96.0.1"]
    authority.leaf("apiserver", "kube-apiserver", alternatives=serving)
    authority.leaf("admin", "admin", "system:masters")
    authority.leaf("expired", "admin", "system:masters", valid=-datetime.timedelta(hours=1))
    authority.leaf("node", f"system:node:{NODE}", "system:nodes", [NODE, "127.0.0.1", NODE_IP])
    authority.leaf("kubelet-client", "apiserver-kubelet", "system:masters")
    authority.pair("sa")


def write_kubeconfig(kube: Kube, name: str) -> None:
    pki = kube.folder / "pki"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": kube.url, "certificate-authority": str(pki / "ca.crt")}}],
        "users": [
            {
                "name": name,
                "user": {"client-certificate": str(pki / f"{name}.crt"), "client-key": str(pki / f"{name}.key")},
            }
        ],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": name}}],
        "current-context": "c",
    }
    (kube.folder / f"{name}.kubeconfig").write_text(json.dumps(config))


def etcd_argv(folder: Path, port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{process.free_port()}"
    argv = [process.find("etcd", "etcd-server"), "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"]
    argv += ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
    return [*argv, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]


def apiserver_argv(kube: Kube, etcd_port: int) -> list[str]:
    """InternalIP first: otherwise exec and logs look up the node's name, which no DNS here knows."""
    pki = kube.folder / "pki"
    (kube.folder / "audit.json").write_text(json.dumps(AUDIT))
    return [
        str(programs() / "kube-apiserver"),
        f"--audit-policy-file={kube.folder}/audit.json",
        f"--audit-log-path={kube.folder}/audit.log",
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=0.0.0.0",  # pods reach it by the node's address
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={kube.port}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--service-cluster-ip-range={SERVICES}",
        "--allow-privileged",
        f"--kubelet-client-certificate={pki}/kubelet-client.crt",
        f"--kubelet-client-key={pki}/kubelet-client.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
    ]


def controller_argv(kube: Kube) -> list[str]:
    pki = kube.folder / "pki"
    return [
        str(programs() / "kube-controller-manager"),
        f"--kubeconfig={kube.kubeconfig}",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-cidr={PODS}",
        f"--service-cluster-ip-range={SERVICES}",
        "--use-service-account-credentials=true",
        "--horizontal-pod-autoscaler-sync-period=2s",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={process.free_port()}",
    ]


def scheduler_argv(kube: Kube) -> list[str]:
    argv = [str(programs() / "kube-scheduler"), f"--kubeconfig={kube.kubeconfig}", "--leader-elect=false"]
    return [*argv, "--bind-address=127.0.0.1", f"--secure-port={process.free_port()}"]


def containerd_argv(folder: Path) -> list[str]:
    """A containerd of our own. Without restrict_oom_score_adj no sandbox starts where CAP_SYS_RESOURCE is lacking."""
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": POD_BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(folder / "cni" / "leases"),
                    "ranges": [[{"subnet": "10.244.0.0/24"}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }
    (folder / "cni").mkdir()
    (folder / "cni" / "10-pods.conflist").write_text(json.dumps(network))
    (folder / "containerd.toml").write_text(f"""version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
""")
    return [process.find("containerd", "docker"), "-c", str(folder / "containerd.toml")]


def kubelet_argv(folder: Path) -> list[str]:
    """Disk eviction is off: a nearly full CI machine would otherwise evict every pod."""
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "port": process.free_port(NODE_IP),
        "healthzPort": 0,
        "oomScoreAdj": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{folder}/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{folder}/pki/node.crt",
        "tlsPrivateKeyFile": f"{folder}/pki/node.key",
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "failCgroupV1": False,
        "clusterDomain": "cluster.local",
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "resolvConf": "",
        "volumePluginDir": f"{folder}/volume-plugins",
        "podLogsDir": f"{folder}/pod-logs",
    }
    (folder / "kubelet.json").write_text(json.dumps(config))
    argv = [str(programs() / "kubelet"), f"--config={folder}/kubelet.json", f"--kubeconfig={folder}/node.kubeconfig"]
    return [*argv, f"--hostname-override={NODE}", f"--node-ip={NODE_IP}", f"--root-dir={folder}/kubelet"]


def proxy_argv(folder: Path) -> list[str]:
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{folder}/admin.kubeconfig"},
        "mode": "iptables",
        "oomScoreAdj": 0,
        "clusterCIDR": PODS,
        "hostnameOverride": NODE,
        "conntrack": {"maxPerCore": 0},
        "healthzBindAddress": f"127.0.0.1:{process.free_port()}",
        "metricsBindAddress": f"127.0.0.1:{process.free_port()}",
    }
    (folder / "proxy.json").write_text(json.dumps(config))
    return [str(programs() / "kube-proxy"), f"--config={folder}/proxy.json"]


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Wait for the cluster of another test process of this machine to end."""
    with Path("/tmp/cf-kube.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def import_images(folder: Path) -> None:
    archive = folder / "images.tar"
    images.write_test_images(archive)
    argv = [process.find("ctr", "docker"), "-a", str(folder / "containerd.sock"), "-n", "k8s.io"]
    subprocess.run([*argv, "images", "import", str(archive)], check=True, capture_output=True)


def serve_api_to_pods(kube: Kube) -> None:
    """Service `kubernetes` leads to the API server: nobody else says so where its own reconciler is off."""
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": kube.port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [NODE_IP], "conditions": {"ready": True}}],
    }
    kube.ask("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice_)


def end_pods(folder: Path) -> None:
    """End what containerd's shims hold: shims outlive containerd by design, in sessions of their own."""
    socket = f"{folder}/containerd.sock"
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            argv = command.read_bytes().split(b"\0")
            if b"containerd-shim" in argv[0] and socket.encode() in argv:
                pid = int(command.parent.name)
                process.kill([*process.descendants(pid), pid])


def tidy(folder: Path) -> None:
    """Take back what the node left outside its folder: packet filter rules, cgroups, links to logs, a bridge."""
    argv = [str(programs() / "kube-proxy"), "--cleanup", f"--config={folder}/proxy.json"]
    subprocess.run(argv, check=False, capture_output=True)
    subprocess.run(["ip", "link", "del", POD_BRIDGE], check=False, capture_output=True)
    process.unmount_below(folder)
    for group in sorted(Path("/sys/fs/cgroup").glob("**/kubepods/**/"), key=lambda path: -len(path.parts)):
        with contextlib.suppress(OSError):
            group.rmdir()
    for link in Path("/var/log/containers").glob("*"):
        if link.is_symlink() and link.readlink().is_relative_to(folder):
            link.unlink()


@contextlib.contextmanager
def control_plane(kube: Kube) -> Iterator[None]:
    folder, etcd_port = kube.folder, kube.etcd_port
    with contextlib.ExitStack() as stack:
        etcd = etcd_argv(folder, etcd_port)
        stack.enter_context(process.run("etcd", etcd, folder, lambda: process.answers("127.0.0.1", etcd_port)))
        stack.callback(kube.stop_apiserver)
        kube.start_apiserver()
        stack.enter_context(process.run("controller", controller_argv(kube), folder, lambda: True))
        stack.enter_context(process.run("scheduler", scheduler_argv(kube), folder, lambda: True))
        yield


@contextlib.contextmanager
def more_addresses(count: int) -> Iterator[list[str]]:
    """So many more addresses of a node that runs."""
    added = [str(IPv4Address(NODE_IP) + 10 + number) for number in range(count)]
    with contextlib.ExitStack() as stack:
        for address in added:
            place = [f"{address}/24", "dev", NODE_BRIDGE]
            subprocess.run(["ip", "address", "add", *place], check=True)
            stack.callback(subprocess.run, ["ip", "address", "delete", *place], check=True)
        yield added


@contextlib.contextmanager
def node(kube: Kube) -> Iterator[None]:
    folder = kube.folder
    with contextlib.ExitStack() as stack:
        stack.enter_context(bridge(NODE_BRIDGE, f"{NODE_IP}/24"))
        stack.callback(tidy, folder)
        stack.callback(end_pods, folder)
        socket = folder / "containerd.sock"
        stack.enter_context(process.run("containerd", containerd_argv(folder), folder, lambda: process.listens(socket)))
        import_images(folder)
        stack.callback(kube.stop_kubelet)
        kube.start_kubelet()
        stack.enter_context(process.run("proxy", proxy_argv(folder), folder, lambda: True))
        serve_api_to_pods(kube)
        yield


@contextlib.contextmanager
def kube(folder: Path) -> Iterator[Kube]:
    """A cluster with everything under `folder` (a short path: it holds sockets), its node Ready.

    Raises MissingPart where a program is missing, or where the machine gives no root.
    """
    programs()
    for program, part in (("etcd", "etcd-server"), ("containerd", "docker"), ("iptables", "docker")):
        process.find(program, part)
    if not Path("/usr/lib/cni/bridge").exists():
        raise process.MissingPart("containernetworking-plugins is not installed: make parts")
    if os.geteuid() != 0:
        raise process.MissingPart("a Kubernetes node needs root")
    cluster = Kube(folder, process.free_port())
    with only_one():
        write_pki(folder)
        write_kubeconfig(cluster, "admin")
        write_kubeconfig(cluster, "node")
        with control_plane(cluster), node(cluster):
            yield cluster
