"""`pip`: Python packages on the host, in a virtual environment or the system's own."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Generator, Mapping
from typing import Any

from ciflow.model import Change, Context, Exec, Outcome, Probe, Reply, Step, Steps
from ciflow.modules.program import broken, output_data, questions
from ciflow.modules.replies import predicted, text, well

_VERBS = {
    "present": ("install",),
    "latest": ("install", "-U"),
    "forcereinstall": ("install", "-U", "--force-reinstall"),
    "absent": ("uninstall", "-y"),
}
_VCS = r"(svn|git|hg|bzr)\+"
_SPECIFIER = r"\s*(===|==|~=|!=|<=|>=|<|>)"
_NOT_THERE = 3
# $1 the folder to be in, $2 the umask, $3 the environment, whose programs come first; the rest is the call.
_CALL = r"""
cd -- "${1:-/tmp}" || exit
[ -z "$2" ] || umask "$2"
[ -z "$3" ] || PATH="$3/bin:$PATH"
shift 3
exec "$@"
"""
# $1 the folder, $2 the environment, $3 a pip to use: says which pip is there. Exit 3: the environment is not made.
_WHICH = r"""
cd -- "${1:-/tmp}" || exit
if [ -n "$2" ]; then
  [ -e "$2/bin/activate" ] || exit 3
  for pip in "$2/bin/pip3" "$2/bin/pip"; do [ -x "$pip" ] && { echo "$pip"; exit; }; done
  "$2/bin/python" -m pip --version >/dev/null && printf '%s\n' "$2/bin/python" -m pip
elif [ -n "$3" ]; then
  command -v "$3" || { echo "Unable to find $3 to use.  pip needs to be installed." >&2; exit 1; }
elif python3 -m pip --version >/dev/null 2>&1; then
  printf '%s\n' "$(command -v python3)" -m pip
else
  command -v pip3 || { echo 'Unable to find any of pip3 to use.  pip needs to be installed.' >&2; exit 1; }
fi
"""
# $1 the folder, $2 the environment, $3 "site" for the system's packages, $4 a Python; the rest is the command.
_MAKE = r"""
cd -- "${1:-/tmp}" || exit
env=$2 site=$3 python=$4; shift 4
[ "$site" != site ] || set -- "$@" --system-site-packages
[ -z "$python" ] || set -- "$@" "-p$python"
exec "$@" "$env"
"""


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Make the environment where it is missing, find its pip, call it: pip itself says whether it did anything."""
    names = joined(args.get("name") or [])
    fault = _complaint(args, names)
    if fault:
        return Outcome(failed=True, msg=fault)
    place = _environment(args)
    pip = yield from _pip(args, place, context)
    made = pip is None
    if pip is None:
        fault_or_pip = yield from _made(args, place, context)
        if isinstance(fault_or_pip, Outcome):
            return fault_or_pip
        pip = fault_or_pip
    if isinstance(pip, Outcome):
        return pip
    return (yield from _called(args, names, place, pip, context, made=made))


def joined(names: list[str]) -> list[str]:
    """Names as written: a list was cut at its commas, and `a>1`, `<2` belongs together, as does `a[b`, `c]`."""
    found: list[str] = []
    for part in (piece for name in names for piece in name.split(",")):
        within = bool(found) and found[-1].count("[") > found[-1].count("]")
        if found and (within or re.match(_SPECIFIER, part)):
            found[-1] += f",{part}"
        else:
            found.append(part)
    return [name.strip() for name in found if name.strip()]


def _complaint(args: Mapping[str, Any], names: list[str]) -> str:
    version = args.get("version")
    if version is not None and args["state"] == "latest":
        return "version is incompatible with state=latest"
    if version is not None and len(names) > 1:
        return "'version' argument is ambiguous when installing multiple package distributions. Please specify " \
               "version restrictions next to each package in 'name' argument."  # fmt: skip
    if version is not None and names and re.search(r"[=<>~!]=|[<>]", names[0]):
        return "The 'version' argument conflicts with any version specifier provided along with a package name. " \
               "Please keep the version specifier, but remove the 'version' argument."  # fmt: skip
    umask = args.get("umask")
    return "" if not umask or re.fullmatch(r"[0-7]{1,4}", umask) else "umask must be an octal integer"


def _environment(args: Mapping[str, Any]) -> str:
    path = args.get("virtualenv") or ""
    return posixpath.join(args.get("chdir") or "", path) if path else ""


def _pip(args: Mapping[str, Any], place: str, context: Context) -> Generator[Step, Reply, list[str] | Outcome | None]:
    """The pip to call; None where the environment is still to be made."""
    words = (args.get("chdir") or "", place, args.get("executable") or "")
    reply = yield Probe(questions(_WHICH, words, context))
    if reply.status == "done" and reply.rc == _NOT_THERE and place:
        return None
    return text(reply.stdout).split("\n")[:-1] if well(reply) else broken(reply, "can't find pip")


def _made(args: Mapping[str, Any], place: str, context: Context) -> Generator[Step, Reply, list[str] | Outcome]:
    """A new environment and its pip."""
    command, python = shlex.split(args["virtualenv_command"]), args.get("virtualenv_python") or ""
    if python and ("venv" in command[1:] or command[0] == "pyvenv"):
        msg = "virtualenv_python should not be used when using the venv module or pyvenv as virtualenv_command"
        return Outcome(failed=True, msg=msg)
    site = "site" if args["virtualenv_site_packages"] else ""
    words = (args.get("chdir") or "", place, site, python, *command)
    reply = yield Change(questions(_MAKE, words, context))
    if predicted(reply):
        return Outcome(changed=True, msg="would make the environment", data={"virtualenv": place})
    if not well(reply):
        return broken(reply, f"can't make the environment {place}", {"cmd": [*command, place]})
    pip = yield from _pip(args, place, context)
    return pip if pip is not None else Outcome(failed=True, msg=f"{args['virtualenv_command']} made no {place}")


def _called(
    args: Mapping[str, Any], names: list[str], place: str, pip: list[str], context: Context, *, made: bool
) -> Steps:
    wanted, state = _wanted(args, names), args["state"]
    cmd = [*pip, *_VERBS[state], *_extra(args, names), *wanted]
    data = {
        "cmd": cmd, "name": args.get("name"), "version": args.get("version"), "state": state,
        "requirements": args.get("requirements"), "virtualenv": place or None,
    }  # fmt: skip
    if context.check:
        return (yield from _predicted(args, names, place, pip, context, data))
    compares = bool(args.get("requirements") or any(re.match(_VCS, name) for name in names)) and state != "absent"
    freeze = Probe(_call([*pip, "list", "--format=freeze"], args, place, context))
    before = (yield freeze) if compares else Reply()
    reply = yield Change(_call(cmd, args, place, context))
    stdout, stderr = text(reply.stdout), text(reply.stderr)
    not_there = state == "absent" and reply.rc == 1 and "not installed" in stdout + stderr
    if not well(reply) and not not_there:
        return broken(reply, "pip failed", data)
    if compares:
        changed = (yield freeze).stdout != before.stdout
    else:
        changed = ("Successfully uninstalled" if state == "absent" else "Successfully installed") in stdout
    return Outcome(changed=changed or made, data=data | output_data(stdout, stderr))


def _wanted(args: Mapping[str, Any], names: list[str]) -> list[str]:
    if args.get("requirements"):
        return ["-r", args["requirements"]]
    version = (args.get("version") or "").strip()
    if version:
        return [f"{names[0]}=={version}" if version[0].isdigit() else f"{names[0]}{version}"]
    return names


def _extra(args: Mapping[str, Any], _names: list[str]) -> list[str]:
    words = shlex.split(args.get("extra_args") or "")
    return [*words, *(["-e"] if args["editable"] and "-e" not in words else [])]


def _call(argv: list[str], args: Mapping[str, Any], place: str, context: Context) -> Exec:
    env = {"PIP_BREAK_SYSTEM_PACKAGES": "1"} if args["break_system_packages"] else {}
    env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    words = (args.get("chdir") or "", args.get("umask") or "", place, *argv)
    return questions(_CALL, words, context, env)


def _predicted(
    args: Mapping[str, Any], names: list[str], place: str, pip: list[str], context: Context, data: Mapping[str, Any]
) -> Steps:
    """pip rehearses an installation itself (since 22.2); what would be uninstalled is looked up."""
    if args["state"] == "absent":
        reply = yield Probe(_call([*pip, "list", "--format=freeze"], args, place, context))
        there = {canonical(line.partition("==")[0]) for line in text(reply.stdout).splitlines()}
        changed = any(canonical(name) in there for name in names) or bool(args.get("requirements"))
        return Outcome(changed=changed, data=dict(data)) if well(reply) else broken(reply, "can't ask pip", data)
    rehearsal = [*pip, *_VERBS[args["state"]], "--dry-run", *_extra(args, names), *_wanted(args, names)]
    reply = yield Probe(_call(rehearsal, args, place, context))
    said = text(reply.stdout)
    if not well(reply) and "no such option: --dry-run" not in text(reply.stderr):
        return broken(reply, "pip failed", data)
    changed = "Would install" in said or not well(reply)
    return Outcome(changed=changed, data={**data, **output_data(said, text(reply.stderr))})


def canonical(name: str) -> str:
    """A project's name as all spellings have it (PEP 503), without extras and versions."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name.strip(), maxsplit=1)[0]).lower()
