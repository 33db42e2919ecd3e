"""`scan`: what databases of advisories say of the packages in a lock file or a bill of materials."""

from __future__ import annotations

import hashlib
import json
import posixpath
import sys
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from ciflow.model import At, Change, Context, Exec, Mkdir, Outcome, Probe, Read, Reply, Stat, Step, Steps, Write
from ciflow.modules.execute import whole_stdout
from ciflow.modules.replies import failure, predicted, text, well
from ciflow.supply.policy import FILE

_NAMES = {"json": "scan.json", "sarif": "scan.sarif", "openvex": "openvex.json", "cyclonedx-vex": "vex.cdx.json"}
_SHOWN = 3
_PROGRAM = (sys.executable, "-m", "ciflow.modules.files.scan")
Asked = Generator[Step, Reply, dict[str, Any] | Outcome]


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Texts come from the host, databases lie on the controller, where one program looks everything up."""
    artifact = yield from _artifact(args, context)
    if isinstance(artifact, Outcome):
        return artifact
    wish = yield from _wish(args, context)
    if isinstance(wish, Outcome):
        return wish
    stdin = json.dumps(wish, default=str).encode()
    reply = yield At("controller", Probe(Exec(argv=_PROGRAM, stdin=stdin, env=_environment(context))))
    if not well(reply):
        said = text(reply.stderr).strip().splitlines()
        return Outcome(failed=True, msg=said[-1]) if said and reply.status == "done" else failure(reply)
    stdout = yield from whole_stdout(reply)
    if isinstance(stdout, Reply):
        return failure(stdout, what="the findings can't be read")
    told = json.loads(stdout)
    written = yield from _written(args, told.pop("documents"))
    if isinstance(written, Reply):
        return failure(written)
    msg = _message(told.pop("msg"), told)
    changed = written.pop("changed")
    return Outcome(changed=changed, failed=bool(told["failing"]), msg=msg, data={**told, **artifact, **written})


def _artifact(args: Mapping[str, Any], context: Context) -> Asked:
    """{artifact, artifact_sha256}: whoever deploys it finds by its digest that it was this one that was looked at."""
    name = args.get("artifact")
    if name is None:
        return {}
    path = context.artifacts.get(name)
    if path is None:
        known = ", ".join(sorted(context.artifacts)) or "none"
        return Outcome(failed=True, msg=f"no artifact named '{name}' (there are: {known})")
    seen = yield At("controller", Probe(Stat(path=path, hash="sha256", follow=True)))
    if not well(seen) or not seen.data.get("hash"):
        return failure(seen, what=f"the artifact '{name}' can't be read")
    return {"artifact": name, "artifact_sha256": seen.data["hash"]}


def _wish(args: Mapping[str, Any], context: Context) -> Asked:
    """What the program is told; a text that can't be had ends the task."""
    place = args.get("chdir", "")
    chosen = posixpath.join(place, args.get("policy") or FILE)
    wanted = [posixpath.join(place, one) for one in (args["path"], *args["vex"], args.get("since", "")) if one]
    seen = yield Probe(Stat(path=chosen))
    if not well(seen):
        return failure(seen)
    if args.get("policy") or seen.data.get("exists"):
        wanted.append(chosen)
    texts: dict[str, str] = {}
    for path in wanted:
        reply = yield Probe(Read(path=path))
        if not well(reply):
            return failure(reply, what=f"a scan needs {path}")
        texts[path] = reply.stdout.decode("utf-8", "surrogateescape")
    return {
        "text": texts[wanted[0]],
        "path": args["path"],
        "policy": texts.get(chosen, ""),
        "policy_path": chosen,
        "vex": {one: texts[posixpath.join(place, one)] for one in args["vex"]},
        "since": texts[posixpath.join(place, args["since"])] if args.get("since") else "",
        "databases": [_rooted(one, context) for one in args["databases"]],
        "online": args["online"],
        "platforms": [f"{kind} {one}" for kind in ("arch", "os") for one in args[f"target_{kind}"]],
        "ignore": args["ignore"],
        "fail_on": args["fail_on"],
        "formats": args["formats"] if args.get("dest") else [],
        "now": context.now,
    }


def _rooted(name: str, context: Context) -> str:
    """Databases lie on the controller; relative names count from the playbook's folder."""
    root = context.search[-1] if context.search else "."
    return name if name.startswith("~") else posixpath.join(root, name)


def _environment(context: Context) -> dict[str, str]:
    names = ("CIFLOW_ADVISORIES", "CIFLOW_OSV", "CARGO_HOME", "XDG_CACHE_HOME")
    return {name: context.environment[name] for name in names if name in context.environment}


def _written(args: Mapping[str, Any], documents: Mapping[str, str]) -> Generator[Step, Reply, dict[str, Any] | Reply]:
    """{changed, files} when all documents are where they belong; else the reply of what failed."""
    if not documents:
        return {"changed": False}
    dest = posixpath.join(args.get("chdir", ""), args["dest"])
    made = yield Change(Mkdir(path=dest))
    if not well(made) and not predicted(made):
        return made
    changed, files = made.changed, {}
    name = args.get("artifact") or posixpath.basename(args["path"])
    for form, content in documents.items():
        path = posixpath.join(str(made.data.get("path", dest)), f"{name}.{_NAMES[form]}")
        reply = yield Change(Write(path=path, content=content.encode()))
        if not well(reply) and not predicted(reply):
            return reply
        changed = changed or reply.changed
        files[path] = hashlib.sha256(content.encode()).hexdigest()
    return {"changed": changed, "files": files}


def _message(sentence: str, told: Mapping[str, Any]) -> str:
    """What was found, and the worst of what makes it fail: findings come the worst first."""
    if not told["failing"]:
        return str(sentence)
    worst: Sequence[Mapping[str, Any]] = [one for one in told["findings"] if one["state"] == "open"][:_SHOWN]
    names = [f"{one['package']} {one['version']} {one['id']}" for one in worst]
    more = [".."] if told["failing"] > _SHOWN else []
    return f"{sentence}: {told['failing']} that fail on {', '.join(told['fail_on'])} ({', '.join([*names, *more])})"
