"""What the modules of Kubernetes have in common: requests to a cluster's API, and names of its objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Api

Thing = Mapping[str, Any]


def ask(args: Mapping[str, Any], verb: str, words: Mapping[str, Any], *, repeat: bool = True) -> Api:
    """One request to the cluster that a task's arguments mean. What is empty is left out."""
    place = {name: args.get(name) for name in ("kubeconfig", "context")}
    return Api(kind="kubernetes", request={"verb": verb, **_given({**place, **words})}, repeat=repeat)


def identity(thing: Thing, namespace: str) -> dict[str, Any]:
    """The words of a request that say which object is meant; its own namespace wins."""
    metadata = thing["metadata"]
    words = {"api_version": thing["apiVersion"], "kind": thing["kind"], "name": metadata.get("name", "")}
    return {**words, "namespace": metadata.get("namespace") or namespace}


def called(thing: Thing) -> str:
    """`Deployment web`, as people call it."""
    return f"{thing['kind']} {thing['metadata'].get('name')}"


def _given(words: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in words.items() if value not in (None, "", False, [], {})}
