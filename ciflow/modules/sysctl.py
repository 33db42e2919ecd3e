"""`sysctl`: a parameter of the kernel, in a file that is read at each start (sysctl.conf(5)) and as it is now."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from ciflow.model import Change, Context, Outcome, Probe, Reply, Step, Steps, Write
from ciflow.modules.execute import tool
from ciflow.modules.replies import difference, failure, predicted, text, well
from ciflow.modules.textfile import rewrite

_TRUE, _FALSE = ("yes", "on", "true", "1", "y", "t"), ("no", "off", "false", "0", "n", "f")
_SAID_AND_FAILED = ("Invalid argument", "Read-only file system")  # with exit code 0, by some versions of sysctl


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """The file first, then, with `sysctl_set`, the kernel, then, with `reload`, all that the file says."""
    name, value = args["name"].strip(), _value(args.get("value"))
    data = {"name": name, "value": value, "sysctl_file": args["sysctl_file"], "state": args["state"]}
    present = args["state"] == "present"
    if not name or (present and not value):
        return Outcome(failed=True, msg="name and, where it is to be present, value can't be blank", data=data)
    if len(f"{name}={value}".splitlines()) > 1:
        return Outcome(failed=True, msg="name and value can't have several lines: they stand in one", data=data)
    differs = present and (args["reload"] or args["sysctl_set"]) and (yield from _differs(name, value, context))
    attributes = {key: args.get(key, "") for key in ("mode", "owner", "group")}
    wish = Write(path=args["sysctl_file"], diff=context.diff, **attributes)
    done = yield from rewrite(wish, lambda content: edited(content, name, value if present else None))
    if not well(done.reply):
        return failure(done.reply, data)
    changed = done.reply.changed or differs
    if differs and args["sysctl_set"]:
        wrong = yield from _sysctl(args, context, "-w", f"{name}={value}")
        if wrong is not None:
            return failure(wrong, data, f"setting {name} failed")
    if changed and args["reload"]:
        wrong = yield from _sysctl(args, context, "-p", args["sysctl_file"])
        if wrong is not None:
            return failure(wrong, data, "Failed to reload sysctl")
    return Outcome(changed=changed, data=data, diff=difference(done.reply))


def edited(content: str, name: str, value: str | None) -> str:
    """The text with that parameter once, where it first stood or at the end; without it where the value is None."""
    out: list[str] = []
    wanted = f"{name}={value}\n"
    put = value is None
    for line in content.splitlines(keepends=True):
        if not _sets(line, name):
            out.append(line)
        elif not put:
            put = True
            out.append(line if line.partition("=")[2].strip() == value else wanted)
    if not put:
        out += ["\n"] if out and not out[-1].endswith("\n") else []
        out.append(wanted)
    return "".join(out)


def _sets(line: str, name: str) -> bool:
    said = line.strip()
    return not said.startswith(("#", ";")) and "=" in said and said.partition("=")[0].strip() == name


def _value(said: str | None) -> str:
    """Words for yes and no are the numbers that the kernel knows."""
    given = (said or "").strip()
    return "1" if given.lower() in _TRUE else "0" if given.lower() in _FALSE else given


def _differs(name: str, value: str, context: Context) -> Generator[Step, Reply, bool]:
    """Whether the kernel has another value now, or none; how many blanks stand between its numbers is no difference."""
    reply = yield Probe(tool(("sysctl", "-e", "-n", name), context))
    return not well(reply) or text(reply.stdout).split() != value.split()


def _sysctl(args: Mapping[str, Any], context: Context, *words: str) -> Generator[Step, Reply, Reply | None]:
    """None when it went well, or would in check mode."""
    options = ("-e",) if args["ignoreerrors"] else ()
    reply = yield Change(tool(("sysctl", *options, *words), context))
    silent = any(line.endswith(_SAID_AND_FAILED) for line in text(reply.stderr).splitlines())
    return None if predicted(reply) or (well(reply) and not silent) else reply
