"""`k8s_info`: what objects a Kubernetes cluster has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Probe, Steps
from ciflow.modules.cluster import ask, identity
from ciflow.modules.replies import failure, well


def run(args: Mapping[str, Any], context: Context) -> Steps:  # noqa: ARG001
    """Without a name and a namespace those of all namespaces, as in Ansible. What is not there is an empty list."""
    words = {name: args.get(name) for name in ("api_version", "kind", "name", "namespace")}
    words |= {"labels": ",".join(args["label_selectors"]), "fields": ",".join(args["field_selectors"])}
    words["everywhere"] = not args.get("name") and not args.get("namespace")
    found = yield Probe(ask(args, "read", words))
    if not well(found):
        return failure(found, {"resources": []}, args["kind"])
    things = [dict(thing) for thing in found.data["objects"]]
    if args["wait"]:
        for number, thing in enumerate(things):
            own = identity(thing, args.get("namespace", "")) | {"condition": args.get("wait_condition")}
            reply = yield Probe(ask(args, "wait", {**own, "timeout": args["wait_timeout"]}))
            if not well(reply):
                return failure(reply, {"resources": things})
            things[number] = dict(reply.data["object"])
    return Outcome(data={"resources": things, "api_found": True})
