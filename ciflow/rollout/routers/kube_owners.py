"""Other tools that apply an object out of a repository, and would put the traffic back to what that says."""

from __future__ import annotations

import json

from ciflow.rollout.routers.dial import RouterError
from ciflow.rollout.routers.kube_objects import Ref, Thing, noted

OWNERS = {
    "argocd.argoproj.io/": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
}


def refuse_owned(ref: Ref, thing: Thing, note: str, paths: tuple[str, ...]) -> None:
    """Raise RouterError for an object of theirs, with the words that make them leave it alone. `note` is the annotation
    that holds the dial, `paths` (jq) what a turn changes beside it."""
    metadata = thing["metadata"]
    if noted(thing, "kustomize.toolkit.fluxcd.io/ssa") in ("IfNotPresent", "Ignore"):
        return
    marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    owner = next((name for mark, name in OWNERS.items() if any(one.startswith(mark) for one in marks)), "")
    if owner:
        raise RouterError(
            f"{ref} is applied by {owner}, which would put the traffic back to what its repository says",
            help=f"Let it leave that alone, then say `gitops: true`:\n{_left_alone(ref, owner, note, paths)}",
        )


def _left_alone(ref: Ref, owner: str, note: str, paths: tuple[str, ...]) -> str:
    if owner == "Flux":
        return "metadata: {annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}  # of that object"
    group = ref.api_version.rpartition("/")[0]
    expressions = json.dumps([*paths, f'.metadata.annotations["{note}"]'])
    return (
        "ignoreDifferences:  # of the Application, with syncOptions: [RespectIgnoreDifferences=true]\n"
        f"  - {{group: {group}, kind: {ref.kind}, name: {ref.name}, jqPathExpressions: {expressions}}}"
    )
