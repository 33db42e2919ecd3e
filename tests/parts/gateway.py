"""Gateway API, ingress and Istio in a real cluster: their definitions, and Traefik outside of it as data plane.

Traefik reads the API with the administrator's kubeconfig and reaches the node's addresses as any machine of it does.
For Istio there is no data plane here.
"""

import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.parts import images, process
from tests.parts.kube import NODE_IP, Kube, Refused

GATEWAY, ISTIO = "gateway-1.6.3", "istio-1.31.4"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVED = ("gateway-api", "ingress-nginx")  # by Traefik


def define(kube: Kube, part: str) -> None:
    """The definitions of `part`, established. Raises MissingPart where they were never fetched."""
    definitions = process.BUILT / part / "crds"
    if not definitions.is_dir():
        raise process.MissingPart(f"{part} is not installed: make parts")
    texts = [file.read_text() for file in sorted(definitions.glob("*.yaml"))]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    things = [thing for text in texts for thing in yaml.load_all(text, loader)]
    defined = [thing for thing in things if thing and thing["kind"] == "CustomResourceDefinition"]
    for thing in defined:
        put(kube, DEFINITIONS, thing)
    names = [thing["metadata"]["name"] for thing in defined]
    process.wait_for(lambda: all(_established(kube.ask("GET", f"{DEFINITIONS}/{name}")) for name in names))


def _established(thing: Any) -> bool:
    conditions = (thing.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def put(kube: Kube, path: str, thing: Mapping[str, Any]) -> None:
    """Make an object; one that is there already stays as it is."""
    try:
        kube.ask("POST", path, thing)
    except Refused as refused:
        if not str(refused).startswith("409"):
            raise


def put_all(kube: Kube, namespace: str, things: Sequence[Mapping[str, Any]]) -> None:
    """Objects of one namespace, which is made."""
    put(kube, "/api/v1/namespaces", {"metadata": {"name": namespace}})
    for thing in things:
        version, kind = thing["apiVersion"], thing["kind"]
        plural = f"{kind.lower()}{'es' if kind.endswith('s') else 's'}"
        root = "/apis/" if "/" in version else "/api/"
        space = "" if kind.endswith("Class") else f"/namespaces/{namespace}"
        put(kube, f"{root}{version}{space}/{plural}", thing)


def outside(name: str, port: int, *addresses: str) -> list[dict[str, Any]]:
    """A Service on port 80 whose endpoints are those addresses of a program of this machine."""
    ports = [{"name": "http", "port": port, "protocol": "TCP"}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        },
    ]


def crowd(service: str, program: str, replicas: Mapping[str, int]) -> list[dict[str, Any]]:
    """A Service over the pods of two Deployments, whose program is told its slot, port and address, and to `drain`: a
    pod that is to end serves on for a moment, as those must that the Service may still lead to, and then tells whoever
    is still connected that it goes. A pod that asks for no CPU would get none on a machine that has much else to do."""
    things: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service},
            "spec": {"selector": {"app": service}, "ports": [{"port": 80, "targetPort": 8080}]},
        }
    ]
    for slot, count in replicas.items():
        labels = {"app": service, "slot": slot}
        container = {
            "name": "main",
            "image": images.GUARD,
            "command": ["python3", "-c", program, slot, "8080", "0.0.0.0", "drain"],
            "resources": {"requests": {"cpu": "50m"}},
            "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
        }
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 4}}
        spec = {"replicas": count, "selector": {"matchLabels": labels}, "template": pod}
        name = {"name": f"{service}-{slot}"}
        things.append({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": name, "spec": spec})
    return things


def traefik_argv(folder: Path, kind: str, port: int, admin: int, namespace: str) -> list[str]:
    """Traefik as data plane of that kind of router in one namespace: users at 127.0.0.1:port, its API and metrics at
    127.0.0.1:admin. It needs KUBECONFIG."""
    folder.mkdir(exist_ok=True)
    document = {
        "entryPoints": {"web": {"address": f"127.0.0.1:{port}"}, "traefik": {"address": f"127.0.0.1:{admin}"}},
        "metrics": {"prometheus": {"addServicesLabels": True}},
        "api": {"insecure": True},
        "providers": {"providersThrottleDuration": 0, **_provider(kind, namespace)},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "INFO"},
    }
    (folder / "traefik.json").write_text(json.dumps(document))
    return [process.find("traefik", "traefik"), f"--configFile={folder}/traefik.json"]


def weights(admin: int) -> list[tuple[int, ...]]:
    """Those of each service that Traefik splits, as it has them in force."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/rawdata", timeout=60) as answer:
        services = json.load(answer).get("services", {})
    split = [service["weighted"]["services"] for service in services.values() if "weighted" in service]
    return [tuple(int(one.get("weight", 1)) for one in parts) for parts in split]


def _provider(kind: str, namespace: str) -> dict[str, Any]:
    """Of that namespace alone: rules of another one's Ingress for the same path would win over ours, or not."""
    if kind == "gateway-api":
        return {"kubernetesGateway": {"throttleDuration": "0s", "namespaces": [namespace]}}
    return {"kubernetesIngressNGINX": {"throttleDuration": "0s", "watchNamespace": namespace}}


def route(kind: str, service: str, port: int) -> list[dict[str, Any]]:
    """What splits the traffic between SERVICE-a and SERVICE-b, all of it on a."""
    return {"gateway-api": _gateway_api, "ingress-nginx": _ingress_nginx, "istio": _istio}[kind](service, port)


def _gateway_api(service: str, port: int) -> list[dict[str, Any]]:
    group = "gateway.networking.k8s.io/v1"
    listener = {"name": "web", "protocol": "HTTP", "port": port, "allowedRoutes": {"namespaces": {"from": "Same"}}}
    refs = [{"name": f"{service}-a", "port": 80, "weight": 1}, {"name": f"{service}-b", "port": 80, "weight": 0}]
    return [
        {
            "apiVersion": group,
            "kind": "GatewayClass",
            "metadata": {"name": "traefik"},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
        {
            "apiVersion": group,
            "kind": "Gateway",
            "metadata": {"name": "edge"},
            "spec": {"gatewayClassName": "traefik", "listeners": [listener]},
        },
        {
            "apiVersion": group,
            "kind": "HTTPRoute",
            "metadata": {"name": service},
            "spec": {"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": refs}]},
        },
    ]


def _ingress_nginx(service: str, port: int) -> list[dict[str, Any]]:  # noqa: ARG001
    def ingress(name: str, slot: str, notes: Mapping[str, str]) -> dict[str, Any]:
        backend = {"service": {"name": f"{service}-{slot}", "port": {"number": 80}}}
        paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": name, "annotations": dict(notes)},
            "spec": {"ingressClassName": "nginx", "rules": [{"http": {"paths": paths}}]},
        }

    prefix = "nginx.ingress.kubernetes.io"
    canary = {f"{prefix}/canary": "true", f"{prefix}/canary-weight": "0", f"{prefix}/canary-weight-total": "10000"}
    own_class = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "nginx"},
        "spec": {"controller": "k8s.io/ingress-nginx"},
    }
    return [own_class, ingress(service, "a", {}), ingress(f"{service}-canary", "b", canary)]


def _istio(service: str, port: int) -> list[dict[str, Any]]:  # noqa: ARG001
    routes = [
        {"destination": {"host": f"{service}-{slot}"}, "weight": weight} for slot, weight in (("a", 100), ("b", 0))
    ]
    spec = {"hosts": [service], "http": [{"route": routes}]}
    kind = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"}
    return [{**kind, "metadata": {"name": service}, "spec": spec}]


__all__ = ["GATEWAY", "ISTIO", "NODE_IP", "define", "outside", "put_all", "route", "traefik_argv"]
