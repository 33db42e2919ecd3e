"""The objects that a task of `k8s` is about: written in the task, or in files and templates of the controller."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from ciflow.model import Context, Outcome, Render, Reply, Step
from ciflow.modules.cluster import Thing
from ciflow.modules.replies import failure, text, well
from ciflow.modules.sources import Missing, find, read

_ITSELF = ("path",)  # words of a template that are no options of Jinja2


def manifests(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, list[Thing] | Outcome]:
    """All of them, in order, each with apiVersion, kind and name; or the outcome that says what is wrong."""
    found: list[Any] = []
    if args.get("src"):
        written = yield from _file(args["src"], context)
        if isinstance(written, Outcome):
            return written
        found.append(written)
    for one in _listed(args.get("template")):
        rendered = yield from _template(one, context)
        if isinstance(rendered, Outcome):
            return rendered
        found.append(rendered)
    found += _listed(args.get("definition"))
    try:
        things = [whole for one in found for document in _documents(one) for whole in _whole(document, args)]
    except ValueError as error:
        return Outcome(failed=True, msg=str(error))
    return things or _named(args)


def _file(src: str, context: Context) -> Generator[Step, Reply, str | Outcome]:
    found = yield from find(src, context)
    if isinstance(found, Missing):
        return Outcome(failed=True, msg=str(found))
    reply = yield from read(found.path)
    return text(reply.stdout) if well(reply) else failure(reply)


def _template(said: Any, context: Context) -> Generator[Step, Reply, str | Outcome]:
    """One template: its path, or a mapping of `path` and options of Jinja2."""
    options = dict(said) if isinstance(said, Mapping) else {"path": said}
    path = str(options.get("path", ""))
    found = yield from find(path, context, "templates")
    if isinstance(found, Missing):
        return Outcome(failed=True, msg=str(found))
    own = {name: value for name, value in options.items() if name not in _ITSELF}
    reply = yield Render(found.path, vars={"template_path": path}, options=own)
    return text(reply.stdout) if well(reply) else failure(reply)


def _listed(said: Any) -> list[Any]:
    if said in (None, "", [], {}):
        return []
    return list(said) if isinstance(said, list | tuple) else [said]


def _documents(said: Any) -> list[Any]:
    """Texts may hold several documents; one that is empty is none."""
    if not isinstance(said, str):
        return [said]
    from ciflow.lang.yamltext import load_data

    return [document for document in load_data(said) if document is not None]


def _whole(document: Any, args: Mapping[str, Any]) -> list[Thing]:
    """The objects of a document, which may be a List, with what the task's own arguments say of each."""
    if isinstance(document, list | tuple):
        return [whole for one in document for whole in _whole(one, args)]
    if not isinstance(document, Mapping):
        raise ValueError(f"an object of Kubernetes is a mapping, not {str(document)[:60]!r}")
    if str(document.get("kind", "")).endswith("List") and "items" in document:
        return [whole for one in document["items"] for whole in _whole(one, args)]
    thing = {**_beginning(args), **document}
    metadata = {**({"name": args["name"]} if args.get("name") else {}), **(document.get("metadata") or {})}
    lacking = [name for name in ("apiVersion", "kind") if not thing.get(name)]
    if not metadata.get("name"):
        lacking.append("metadata.name")
    if lacking:
        raise ValueError(f"an object has no {', '.join(lacking)}: {dict(document)}"[:400])
    return [{**thing, "metadata": metadata}]


def _beginning(args: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": args["api_version"], **({"kind": args["kind"]} if args.get("kind") else {})}


def _named(args: Mapping[str, Any]) -> list[Thing] | Outcome:
    """The one object that `kind` and `name` mean."""
    if args.get("kind") and args.get("name"):
        return [{**_beginning(args), "metadata": {"name": args["name"]}}]
    if args.get("kind") and args.get("label_selectors"):
        return []
    return Outcome(failed=True, msg="say which objects: definition, src or template, or kind and name")
