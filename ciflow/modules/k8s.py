"""`k8s`: objects of a Kubernetes cluster as they should be, by server-side apply, or gone."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.model import Api, Change, Context, Outcome, Probe, Reply, Step, Steps
from ciflow.modules.cluster import Thing, ask, called, identity
from ciflow.modules.manifests import manifests
from ciflow.modules.replies import failure, text, well

_BOOKS = ("resourceVersion", "generation", "creationTimestamp", "uid")  # what a reader of a difference does not want


@dataclass(slots=True)
class _Done:
    """What has been done so far, object by object."""

    results: list[Thing] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    printed: str = ""  # by the Jobs that were waited for
    changed: bool = False

    def take(self, reply: Reply, *, differs: bool) -> None:
        was, now = dict(reply.data.get("before", {})), dict(reply.data.get("after", {}))
        self.changed |= reply.changed
        self.results.append(now or was)
        if differs and reply.changed:
            self.before.append(_shown(was))
            self.after.append(_shown(now))

    def outcome(self, context: Context, bad: Outcome | None = None) -> Outcome:
        """Ansible's `result`: the object, or where there are several, all of them in `results`."""
        one = self.results[0] if len(self.results) == 1 else {"results": self.results}
        data = {"result": one, **({"pruned": self.pruned} if self.pruned else {}), **(bad.data if bad else {})}
        if self.printed:
            data |= {"stdout": self.printed.rstrip("\n"), "stdout_lines": self.printed.splitlines()}
        diff = ("---\n".join(self.before), "---\n".join(self.after)) if context.diff and self.changed else None
        if bad is None:
            return Outcome(changed=self.changed, data=data, diff=diff)
        return Outcome(changed=self.changed, failed=True, unknown=bad.unknown, msg=bad.msg, data=data, diff=diff)


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """All objects are written before the first is waited for: they may need one another. Check mode asks the server to
    predict, which also has its validation and its webhooks look at them."""
    things = yield from manifests(args, context)
    if isinstance(things, Outcome):
        return things
    done = _Done()
    if args["state"] == "absent":
        bad = yield from _remove(args, context, things, done)
    else:
        bad = yield from _apply(args, context, things, done)
    return done.outcome(context, bad)


def _apply(
    args: Mapping[str, Any], context: Context, things: list[Thing], done: _Done
) -> Generator[Step, Reply, Outcome | None]:
    for thing in things:
        said = dict(args.get("server_side_apply") or {})
        force = args["force_conflicts"] or said.get("force_conflicts") is True
        words = {**identity(thing, args.get("namespace", "")), "object": thing, "force": force}
        reply = yield _change(args, context, "apply", words)
        if not well(reply):
            return _bad(reply, called(thing))
        done.take(reply, differs=context.diff)
    if args["wait"] and not context.check:
        for number, thing in enumerate(things):
            words = identity(thing, args.get("namespace", "")) | {"condition": args.get("wait_condition")}
            logs = {"logs": True} if thing["kind"] == "Job" else {}
            reply = yield Probe(ask(args, "wait", {**words, "timeout": args["wait_timeout"], **logs}))
            done.printed += text(reply.stdout)
            if not well(reply):
                return _bad(reply, "")
            done.results[number] = dict(reply.data.get("object", {}))
    return (yield from _prune(args, context, things, done)) if args.get("prune") else None


def _remove(
    args: Mapping[str, Any], context: Context, things: list[Thing], done: _Done
) -> Generator[Step, Reply, Outcome | None]:
    """In the opposite order, so that what needs others goes before them."""
    if not things:
        words = {name: args.get(name) for name in ("api_version", "kind", "namespace")}
        found = yield Probe(ask(args, "read", {**words, "labels": ",".join(args["label_selectors"])}))
        if not well(found):
            return _bad(found, str(args["kind"]))
        things = list(found.data["objects"])
    propagation = dict(args.get("delete_options") or {}).get("propagationPolicy", "")
    for thing in reversed(things):
        words = identity(thing, args.get("namespace", ""))
        reply = yield _change(args, context, "delete", {**words, "propagation": propagation})
        if not well(reply):
            return _bad(reply, called(thing))
        done.take(reply, differs=context.diff)
        if args["wait"] and reply.changed and not context.check:
            gone = yield Probe(ask(args, "wait", {**words, "absent": True, "timeout": args["wait_timeout"]}))
            if not well(gone):
                return _bad(gone, "")
    return None


def _prune(
    args: Mapping[str, Any], context: Context, things: list[Thing], done: _Done
) -> Generator[Step, Reply, Outcome | None]:
    """Remove what an earlier playbook applied under the same labels and this one doesn't name any more: of the kinds
    that it names, or `prune_kinds` do, in the namespaces that it names; never what ciflow has not applied."""
    kept = {_name(identity(thing, args.get("namespace", ""))) for thing in things}
    named = [(thing["apiVersion"], thing["kind"]) for thing in things]
    spaces = [identity(thing, args.get("namespace", ""))["namespace"] for thing in things]
    for api_version, kind in dict.fromkeys([*named, *map(_kind, args["prune_kinds"])]):
        for namespace in dict.fromkeys(spaces):
            words = {"api_version": api_version, "kind": kind, "namespace": namespace}
            found = yield Probe(ask(args, "read", {**words, "labels": args["prune"], "managed": True}))
            if not well(found):
                return _bad(found, f"what is to be pruned of {kind}")
            for thing in found.data["objects"]:
                own = identity(thing, namespace)
                if _name(own) in kept or _name({**own, "namespace": namespace}) in kept:
                    continue
                reply = yield _change(args, context, "delete", own)
                if not well(reply):
                    return _bad(reply, called(thing))
                done.changed |= reply.changed
                done.pruned.append(called(thing))
    return None


def _change(args: Mapping[str, Any], context: Context, verb: str, words: Mapping[str, Any]) -> Probe | Change:
    """A change; in check mode the server is asked what it would come to."""
    if context.check:
        return Probe(ask(args, verb, {**words, "dry_run": True}))
    operation: Api = ask(args, verb, words)
    return Change(operation)


def _bad(reply: Reply, what: str) -> Outcome:
    conflicts = reply.data.get("conflicts")
    return failure(reply, {"conflicts": conflicts} if conflicts else None, what)


def _name(words: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(words[name]) for name in ("api_version", "kind", "namespace", "name"))


def _kind(text: str) -> tuple[str, str]:
    """`apps/v1/Deployment`, or `ConfigMap` of v1."""
    api_version, _, kind = text.rpartition("/")
    return api_version or "v1", kind


def _shown(thing: Mapping[str, Any]) -> str:
    """YAML of what was written, for a difference."""
    if not thing:
        return ""
    from ciflow.lang.yamltext import dump

    metadata = {name: value for name, value in _items(thing.get("metadata")) if name not in _BOOKS}
    written = {name: value for name, value in thing.items() if name != "status"}
    return dump({**written, "metadata": metadata}, flow=False)


def _items(said: Any) -> Iterable[tuple[str, Any]]:
    return dict(said or {}).items()
