"""Hosts that live as long as a play: its `image` is started for each of its hosts, and taken away with it.

Making and removing are tasks like any other, so they are seen, recorded and resumed. A killed run leaves its
container: resumed, it goes on in there and removes it at the play's end. One that nobody resumes ends by itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import Diagnostic, Invalid, Refused
from ciflow.engine.drive import Chain
from ciflow.engine.link import Connection
from ciflow.engine.result import HostFailed, Result
from ciflow.engine.task import TaskRun
from ciflow.lang.kinds import size
from ciflow.model import Become, Task

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.stage import StageRun

# A week, and then it ends: a shell that waits takes in the orphans that commands leave, as process 1 has to.
ASLEEP = "i=0; while [ $i -lt 168 ]; do i=$((i+1)); sleep 3600 & wait $!; done"
WEEK = 7 * 24 * 3600  # seconds

# Of one kind of connection: module and arguments that make the host, and those that take it away.
Made = tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]


def made_for(lane: Lane) -> str:
    """The name of what is made for a host of the play, if anything is: the same after a resume, another in each try."""
    if lane.stage.play.image is None:
        return ""
    text = f"ciflow-{lane.run.id}-{lane.stage.id}-{lane.host.name}"
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:200].rstrip("-.")


async def make(stage: StageRun) -> None:
    """Start a host for each of the stage's. Where that fails, it has failed."""
    if stage.play.image is not None:
        await asyncio.gather(*(_make(stage, stage.own_lane(host)) for host in stage.hosts))


async def remove(stages: Iterable[StageRun]) -> None:
    """Take away what was made for these stages, however they ended."""
    for stage in stages:
        if stage.play.image is not None:
            lanes = [lane for lane in map(stage.own_lane, stage.hosts) if lane.connection().kind in MAKERS]
            for result in await asyncio.gather(*(_run(stage, lane, 1) for lane in lanes)):
                if result.bad:
                    stage.run.wire.warn(f"{stage.play.name}: what its `image` made is left: {result.values['msg']}")


async def _make(stage: StageRun, lane: Lane) -> None:
    result = await _run(stage, lane, 0)
    if result.bad:
        task = _task(stage, lane, 0)
        stage.host_failed(lane, HostFailed(task, result, replace(lane.key, path=task.path)))


async def _run(stage: StageRun, lane: Lane, which: int) -> Result:
    task = _task(stage, lane, which)
    stage.announce(lane, task, task.path)
    return await TaskRun(lane, task, replace(lane.key, path=task.path), Chain(), None).run()


def _task(stage: StageRun, lane: Lane, which: int) -> Task:
    connection = lane.connection()
    if connection.kind not in MAKERS:
        text = f"`image` makes a host in the place of {lane.host.name}, which is reached by {connection.kind}"
        help = f"say `connection: {next(iter(MAKERS))}`, or `hosts: localhost`"
        raise Invalid([Diagnostic("error", "CF0520", text, stage.play.span, help=help)])
    module, args = MAKERS[connection.kind](stage.play.image, lane, connection)[which]
    name, path = (("Start the play's image", "image.start"), ("Remove what it started", "image.remove"))[which]
    return Task(name, module, args, stage.play.span, (path,), check_mode=False, become=Become(enabled=False))


def _container(image: Any, lane: Lane, connection: Connection) -> Made:
    """A container that sleeps. Nothing is mounted but what the play names, the daemon's socket least of all."""
    wanted = dict(image) if isinstance(image, Mapping) else {"name": image}
    common = {"name": connection.address, "force_kill": True, "keep_volumes": False}
    made = {"image": wanted.pop("name"), "entrypoint": ["/bin/sh", "-c"], "command": [ASLEEP], "auto_remove": True}
    labels = {"ciflow.run": lane.run.id, "ciflow.play": lane.stage.play.id}
    return ("container", {**common, **made, **wanted, "labels": labels}), ("container", {**common, "state": "absent"})


def _job(image: Any, lane: Lane, connection: Connection) -> Made:
    """A Job whose pod sleeps. It is connected to once that runs; a forgotten one ends by its deadline."""
    image = lane.at_once(image)
    wanted = dict(image) if isinstance(image, Mapping) else {"name": image}
    unbuilt = sorted(wanted.keys() & {"platform", "networks", "network_mode"})
    if unbuilt:
        text = f"`{unbuilt[0]}` of an image is Docker's, and {lane.host.name} is made in Kubernetes"
        raise Invalid([Diagnostic("error", "CF0520", text, lane.stage.play.span)])
    job = connection.option("job")
    labels = {"ciflow.run": lane.run.id, "ciflow.play": _label(lane.stage.play.id)}
    which = {name: connection.option(name) for name in ("kubeconfig", "context", "namespace")}
    which["kubeconfig"] = which["kubeconfig"] or connection.option("config")
    which = {name: value for name, value in which.items() if value}
    mounts, volumes = _volumes(wanted.get("volumes") or ())
    container: dict[str, Any] = {
        "name": "main",
        "image": wanted["name"],
        "command": ["/bin/sh", "-c", ASLEEP],
        "imagePullPolicy": {"always": "Always", "never": "Never"}.get(str(wanted.get("pull")), "IfNotPresent"),
        "env": [{"name": str(key), "value": str(value)} for key, value in (wanted.get("env") or {}).items()],
        "volumeMounts": mounts,
        "resources": {"limits": _limits(wanted)},
        "securityContext": _user(wanted.get("user")),
    }
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes}
    spec = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": WEEK,
        "ttlSecondsAfterFinished": 3600,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job, "labels": labels}, "spec": spec}
    gone = {"api_version": "batch/v1", "kind": "Job", "name": job, "state": "absent", "wait": True}
    gone["delete_options"] = {"propagationPolicy": "Foreground"}  # its pod first: the play is over when that is gone
    return ("k8s", {"definition": made, **which}), ("k8s", {**gone, **which})


def _label(text: str) -> str:
    """A value that a label may have (Kubernetes, "Labels and Selectors")."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:63].strip("-_.")


def _volumes(said: Iterable[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Mounts and volumes of `/on/the/node:/inside:ro` (hostPath) or `claim:/inside` (PersistentVolumeClaim)."""
    mounts, volumes = [], []
    for number, text in enumerate(said):
        source, inside, *flags = str(text).split(":")
        claim = {"persistentVolumeClaim": {"claimName": source}}
        kind: dict[str, Any] = {"hostPath": {"path": source}} if source.startswith("/") else claim
        mounts.append({"name": f"v{number}", "mountPath": inside, "readOnly": flags == ["ro"]})
        volumes.append({"name": f"v{number}", **kind})
    return mounts, volumes


def _limits(wanted: Mapping[str, Any]) -> dict[str, str]:
    """Memory in bytes, processors as a number: Kubernetes reads `2g` otherwise than Docker does."""
    memory = {"memory": str(size(wanted["memory"]))} if wanted.get("memory") else {}
    return memory | ({"cpu": str(wanted["cpus"])} if wanted.get("cpus") else {})


def _user(said: Any) -> dict[str, Any]:
    """`1000` or `1000:1000`; Kubernetes knows users by number only."""
    user, _, group = str(said if said is not None else "").partition(":")
    if not user:
        return {}
    if not user.isdigit() or (group and not group.isdigit()):
        raise Refused(f"`user: {said}` of an image: Kubernetes knows users by their numbers")
    return {"runAsUser": int(user), **({"runAsGroup": int(group)} if group else {})}


MAKERS: Mapping[str, Callable[[Any, Lane, Connection], Made]] = {"docker": _container, "kubernetes": _job}
