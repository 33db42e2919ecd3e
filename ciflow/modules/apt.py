"""`apt`: packages of Debian and its relatives."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from ciflow.model import Change, Context, Http, Mkdir, Outcome, Probe, Remove, Reply, Step, Steps
from ciflow.modules import debian
from ciflow.modules.apt_cache import call, difference, updated
from ciflow.modules.debian import Known, Unavailable
from ciflow.modules.program import broken, output_data, questions, sections, tool
from ciflow.modules.replies import failure, predicted, text, well

_NOTHING = "\n0 upgraded, 0 newly installed, 0 to remove"
_NO = (False, "no")  # a playbook's bare `no` is false
_LIMIT = 1024 * 1024 * 1024  # bytes of a package that is downloaded
# What `deb` needs to know of each file: its package, version and architecture.
_FIELDS = r"""
for deb; do
  dpkg-deb --show --showformat='${Package}\t${Version}\t${Architecture}\n' -- "$deb" || exit
done
"""


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Clean, bring the index up to date, upgrade, install or remove: in Ansible's order, each only where asked."""
    complaint = _complaint(args)
    if complaint:
        return Outcome(failed=True, msg=complaint)
    if args["clean"]:
        cleaned = yield from _clean(args, context)
        if cleaned is not None:
            return cleaned
    there = yield from look(args, context)
    if not isinstance(there, Known):
        return there
    cache, refreshed = {"cache_updated": False, "cache_update_time": there.updated}, False
    if (args.get("update_cache") or args["cache_valid_time"]) and there.updated + args["cache_valid_time"] < there.now:
        fault = yield from updated(args, context)
        if fault is not None:
            return fault
        before, there = there.updated, (yield from look(args, context))
        if not isinstance(there, Known):
            return there
        refreshed = context.check or before != there.updated
        cache = {"cache_updated": refreshed, "cache_update_time": there.updated}
    if not _names(args) and args["upgrade"] in _NO and not args.get("deb") and not _tidies(args):
        return Outcome(changed=refreshed, data=cache)
    return (yield from _packages(args, context, there, cache))


def _complaint(args: Mapping[str, Any]) -> str:
    names = args.get("name") or []
    double = next((name for name in names if name.count("=") > 1), None)
    if double:
        return f"invalid package spec: {double}"
    if args.get("deb") and args["state"] != "present":
        return "deb only supports state=present"
    if "*" in names and args["state"] == "latest" and len(names) > 1:
        return "unable to install additional packages when upgrading all installed packages"
    return ""


def _names(args: Mapping[str, Any]) -> list[str]:
    return [name.strip() for name in args.get("name") or [] if name.strip()]


def _tidies(args: Mapping[str, Any]) -> bool:
    return bool(args["autoremove"] or args["autoclean"] or args["state"] == "fixed")


def _clean(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Outcome | None]:
    """Alone it is the whole task, and counts as a change, as in Ansible."""
    reply = yield Change(tool(["apt-get", "clean"], context))
    if not well(reply) and not predicted(reply):
        return broken(reply, "apt-get clean failed")
    alone = not _names(args) and args["upgrade"] in _NO and not args.get("deb")
    return Outcome(changed=True, data=output_data(text(reply.stdout), text(reply.stderr))) if alone else None


def look(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Known | Outcome]:
    """What dpkg and apt know of the packages that the task names, and of those that provide them."""
    names = [debian.wish(name).name for name in _names(args) if name != "*"]
    plain = [name for name in names if not debian.is_pattern(name)]
    release = args.get("default_release") or ""
    everything = "all" if len(plain) < len(names) else ""
    reply = yield Probe(questions(debian.LOOK, (release, everything, *plain), context))
    if reply.rc == 127 and reply.status == "done":
        return Outcome(failed=True, msg="apt-get is not on the host: it is no Debian, nor one of its relatives")
    if not well(reply):
        return broken(reply, "can't ask apt")
    said = sections(reply.stdout)
    there = debian.known(said)
    more = _to_ask_for(names, there)
    if more:
        reply = yield Probe(questions(debian.LOOK, (release, "", *plain, *more), context))
        if not well(reply):
            return broken(reply, "can't ask apt")
        there = debian.known(sections(reply.stdout) | {"names": said["names"]})
    return there


def _to_ask_for(names: list[str], there: Known) -> list[str]:
    """What patterns stand for, and who provides a name that is no package."""
    found = [name for one in names if debian.is_pattern(one) for name in debian.matching(one, there)]
    unknown = [name for name in names if name not in there.packages]
    return found + [provider for name in unknown for provider in there.providers.get(name, ())]


def _packages(args: Mapping[str, Any], context: Context, there: Known, cache: Mapping[str, Any]) -> Steps:
    names = _names(args)
    if args["upgrade"] not in _NO or (args["state"] == "latest" and names == ["*"]):
        return (yield from _one_call(_upgrade(args), args, context, cache))
    if args.get("deb"):
        return (yield from _deb(args, context, cache))
    specs = [name for name in names if name != "*"]
    if not specs:
        return (yield from _tidied(args, context, cache))
    try:
        specs = debian.spelled_out(specs, there)
        if args["state"] == "absent":
            words = debian.to_remove(specs, there, purge=args["purge"])
            return (yield from _one_call(_remove(args, words) if words else [], args, context, cache))
        latest = args["state"] == "latest"
        build = args["state"] == "build-dep"
        words = specs if build else debian.to_install(specs, there, latest=latest, only_upgrade=args["only_upgrade"])
    except Unavailable as missing:
        return Outcome(failed=True, msg=str(missing), data=dict(cache))
    outcome = yield from _one_call(_install(args, words) if words else [], args, context, cache)
    return outcome if outcome.failed or build else (yield from _marked(outcome, specs, there, context))


def _one_call(argv: list[str], args: Mapping[str, Any], context: Context, cache: Mapping[str, Any]) -> Steps:
    """Make the call (check mode has apt-get simulate it); it changed something unless it says that it did nothing."""
    if not argv:
        return Outcome(data=dict(cache))
    step = Probe(call([*argv, "--simulate"], args, context)) if context.check else Change(call(argv, args, context))
    reply = yield step
    stdout = text(reply.stdout)
    data = {**cache, **output_data(stdout, text(reply.stderr))}
    if not well(reply):
        return broken(reply, f"'{' '.join(argv)}' failed", dict(cache))
    if "autoclean" in argv:
        changed = "Del " in stdout
    else:
        changed = _NOTHING not in f"\n{stdout}"
    return Outcome(changed=changed, data=data, diff=difference(reply, context) if changed else None)


def _marked(outcome: Outcome, specs: list[str], there: Known, context: Context) -> Steps:
    """What a task names is wanted for itself: it stays when nothing needs it any more."""
    names = [debian.wish(spec).name for spec in specs]
    automatic = [name for name in names if there.packages.get(name, debian.Package()).automatic]
    if automatic and not context.check:
        reply = yield Change(tool(["apt-mark", "manual", *automatic], context))
        if not well(reply):
            return broken(reply, "can't mark packages as wanted", outcome.data)
    return outcome


def _options(args: Mapping[str, Any]) -> list[str]:
    """What every call has: how dpkg treats changed configuration, and how long to wait for its lock."""
    dpkg = [option.strip() for option in args["dpkg_options"].split(",") if option.strip()]
    words = [word for option in dpkg for word in ("-o", f"Dpkg::Options::=--{option}")]
    words += ["-o", f"DPkg::Lock::Timeout={args['lock_timeout']}"]
    force = args["force"]
    flags = {
        "--allow-unauthenticated": args["allow_unauthenticated"] or force,
        "--allow-downgrades": args["allow_downgrade"] or force,
        "--allow-change-held-packages": args["allow_change_held_packages"] or force,
        "--allow-remove-essential": force,
        "--auto-remove": args["autoremove"],
    }
    return ["apt-get", "-q", "-y", *words, *(flag for flag, wanted in flags.items() if wanted)]


def _release(args: Mapping[str, Any]) -> list[str]:
    return ["-t", args["default_release"]] if args.get("default_release") else []


def _install(args: Mapping[str, Any], words: list[str]) -> list[str]:
    recommends = args.get("install_recommends")
    flags = [flag for flag, wanted in (("--only-upgrade", args["only_upgrade"]), ("--no-remove",
             args["fail_on_autoremove"]), ("--fix-broken", args["state"] == "fixed")) if wanted]  # fmt: skip
    flags += [] if recommends is None else ["-o", f"APT::Install-Recommends={'yes' if recommends else 'no'}"]
    verb = "build-dep" if args["state"] == "build-dep" else "install"
    return [*_options(args), *flags, *_release(args), verb, *words]


def _remove(args: Mapping[str, Any], words: list[str]) -> list[str]:
    return [*_options(args), *(["--purge"] if args["purge"] else []), "remove", *words]


def _upgrade(args: Mapping[str, Any]) -> list[str]:
    verb = ["dist-upgrade"] if args["upgrade"] in ("dist", "full") else ["upgrade", "--with-new-pkgs"]
    no_remove = ["--no-remove"] if args["fail_on_autoremove"] else []
    return [*_options(args), *no_remove, *_release(args), *verb]


def _tidied(args: Mapping[str, Any], context: Context, cache: Mapping[str, Any]) -> Steps:
    """Without names: take away what nothing needs, empty the store of packages, or mend what is broken."""
    purge = ["--purge"] if args["purge"] else []
    if args["autoclean"]:
        argv = [*_options(args), "autoclean"]
    elif args["autoremove"]:
        argv = [*_options(args), *purge, "autoremove"]
    else:
        argv = _install(args, []) if args["state"] == "fixed" else []
    return (yield from _one_call(argv, args, context, cache))


def _deb(args: Mapping[str, Any], context: Context, cache: Mapping[str, Any]) -> Steps:
    """Files of packages: those of another version than the installed one, with all that they need."""
    files, temporary = [], list[str]()
    for deb in (part.strip() for part in args["deb"].split(",")):
        if "://" not in deb:
            files.append(deb)
            continue
        if context.check:
            return Outcome(changed=True, msg=f"would download {deb}", data=dict(cache))
        brought = yield from _downloaded(deb)
        if isinstance(brought, Outcome):
            return brought
        files.append(brought)
        temporary.append(brought)
    outcome = yield from _files(files, args, context, cache)
    for path in temporary:
        removed = yield Change(Remove(path=path))
        if not well(removed) and not outcome.failed:
            return failure(removed, outcome.data, f"installed, but {path} could not be taken away")
    return outcome


def _downloaded(url: str) -> Generator[Step, Reply, str | Outcome]:
    place = yield Change(Mkdir(path="", temporary="file", prefix="ciflow-", suffix=".deb"))
    if not well(place):
        return failure(place)
    path = str(place.data["path"])
    reply = yield Change(Http(url=url, dest=path, follow="all", limit=_LIMIT))
    return path if well(reply) and int(reply.data.get("status", 0)) < 400 else failure(reply, {}, f"can't get {url}")


def _files(files: list[str], args: Mapping[str, Any], context: Context, cache: Mapping[str, Any]) -> Steps:
    asked = yield Probe(questions(_FIELDS, files, context))
    if not well(asked):
        return broken(asked, "Unable to install package", dict(cache))
    rows = [line.split("\t") for line in text(asked.stdout).splitlines()]
    reply = yield Probe(questions(debian.LOOK, ("", "", *(row[0] for row in rows)), context))
    if not well(reply):
        return broken(reply, "can't ask apt", dict(cache))
    there = debian.known(sections(reply.stdout)).packages
    new = [file for file, (name, version, arch) in zip(files, rows, strict=True)
           if version != (there.get(f"{name}:{arch}") or there.get(name, debian.Package())).installed]  # fmt: skip
    argv = _install(args, [file if file.startswith("/") else f"./{file}" for file in new]) if new else []
    return (yield from _one_call(argv, args, context, cache))
