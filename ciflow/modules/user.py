"""`user`: an account on the host."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping
from typing import Any

from ciflow.model import Change, Context, Exec, Mkdir, Outcome, Probe, Reply, Stat, Step, Steps
from ciflow.modules import accounts
from ciflow.modules.accounts import Known, User
from ciflow.modules.program import Ran, broken, questions, run_all, sections, tool
from ciflow.modules.replies import failure, predicted, well

# $1 home, $2 skeleton, $3 uid, $4 gid: as useradd would have made it, which reads the mode in login.defs.
_HOME = r"""
set -e
mkdir -p -- "$(dirname -- "$1")"
if [ -d "$2" ]; then cp -RPp -- "$2" "$1"; else mkdir -- "$1"; fi
mode=$(awk '$1=="HOME_MODE"{m=$2} END{print m}' /etc/login.defs 2>/dev/null)
umask=$(awk '$1=="UMASK"{m=$2} END{print m}' /etc/login.defs 2>/dev/null)
[ -n "$mode" ] || mode=$(printf '%o' $((0777 & ~0${umask:-22})))
chmod "$mode" -- "$1"
chown -hR "$3:$4" -- "$1"
"""

# $1 file, $2 type, $3 bits, $4 comment, $5 uid, $6 gid; a passphrase comes over standard input.
_KEYGEN = r"""
set -e
dir=$(dirname -- "$1")
[ -d "$dir" ] || { mkdir -m 0700 -- "$dir"; chown "$5:$6" -- "$dir"; }
rm -f -- "$1" "$1.pub"
comment=$4; [ -n "$comment" ] || comment="ansible-generated on $(uname -n)"
file=$1 uid=$5 gid=$6
set -- -q -t "$2" -C "$comment" -f "$1" ${3:+-b "$3"}
if [ "$secret" = yes ]; then ssh-keygen "$@"; else ssh-keygen "$@" -N ''; fi
chown "$uid:$gid" -- "$file" "$file.pub"
"""
_KEY = r"""
section key; [ ! -e "$1" ] || echo key; [ ! -e "$1.pub" ] || echo public
section fingerprint; ssh-keygen -l -f "$1" 2>&1
section public; cat -- "$1.pub" 2>/dev/null
true
"""


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Look, then make, mend or take away what differs, then look again for what to tell."""
    password = args.get("password")
    if password is not None and not accounts.hashed(password):
        msg = "password must be a hash, or nobody could log in with it: {{ secret | password_hash('sha512', salt) }}"
        return Outcome(failed=True, msg=msg, data=_named(args))
    found = yield from _look(args, context)
    if not isinstance(found, Known):
        return found
    missing = [name for name in _groups_named(args) if found.group(name) is None]
    if args["state"] == "absent":
        return (yield from _absent(args, context, found))
    if missing:
        return Outcome(failed=True, msg=f"Group {missing[0]} does not exist", data=_named(args))
    return (yield from _present(args, context, found))


def _named(args: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": args["name"], "state": args["state"]}


def _groups_named(args: Mapping[str, Any]) -> list[str]:
    return [str(name) for name in (args.get("group"), *(args.get("groups") or ())) if name]


def _look(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Known | Outcome]:
    reply = yield Probe(questions(accounts.LOOK, (args["name"], args.get("home") or ""), context))
    if not well(reply):
        return failure(reply, _named(args), "can't ask for users and groups")
    return accounts.known(sections(reply.stdout))


def _absent(args: Mapping[str, Any], context: Context, found: Known) -> Steps:
    if found.user is None:
        return Outcome(data=_named(args))
    options = [*(["-f"] if args["force"] else []), *(["-r"] if args["remove"] else [])]
    call = tool(["userdel", *options, args["name"]], context)
    ran = yield from run_all([(f"can't remove the user {args['name']}", call)], _named(args))
    told = {} if ran.predicted else {"force": args["force"], "remove": args["remove"]}
    return ran.outcome or Outcome(changed=True, data=_named(args) | told | ran.said)


def _present(args: Mapping[str, Any], context: Context, found: Known) -> Steps:
    data = _named(args)
    if args.get("password") is not None:
        data["password"] = "NOT_LOGGING_PASSWORD"
    made = yield from _made(args, context, found)
    if made.outcome is not None:
        return made.outcome
    if found.user is None and made.predicted:
        return Outcome(changed=True, msg="would make it", data=data)
    data |= {"system": args["system"], "create_home": args["create_home"]} if found.user is None else {
        "append": args["append"], "move_home": args["move_home"]}  # fmt: skip
    changed = made.changed
    now = found if not made.changed or made.predicted else (yield from _look(args, context))
    if not isinstance(now, Known) or now.user is None:
        msg = f"failed to look up user name: {args['name']}"
        return Outcome(failed=True, changed=True, msg=msg, data=data) if isinstance(now, Known) else now
    rest = yield from _home_and_days(args, context, now, now.user)
    if rest.outcome is not None:
        return rest.outcome
    data |= _told(args, now.user) | made.said
    changed = changed or rest.changed
    if args.get("generate_ssh_key"):
        return (yield from _key(args, context, now.user, data, changed))
    return Outcome(changed=changed, data=data)


def _told(args: Mapping[str, Any], user: User) -> dict[str, Any]:
    told: dict[str, Any] = {"uid": user.uid, "group": user.gid, "comment": user.comment}
    told |= {"home": user.home, "shell": user.shell}
    return told | ({"groups": ",".join(args["groups"])} if args.get("groups") is not None else {})


def _made(args: Mapping[str, Any], context: Context, found: Known) -> Generator[Step, Reply, Ran]:
    """The account itself and its password."""
    name, calls = args["name"], list[tuple[str, Exec]]()
    if found.user is None:
        if args.get("home") and args["create_home"]:
            parent = yield from _parent(posixpath.dirname(args["home"]))
            if parent is not None:
                return Ran(outcome=parent)
        calls.append((f"can't add the user {name}", tool(accounts.useradd(args, found), context)))
    elif argv := accounts.usermod(args, found, found.user):
        calls.append((f"can't change the user {name}", tool(argv, context)))
    secret = accounts.new_password(args, found.user)
    if secret is not None:
        call = tool(["chpasswd", "-e"], context, stdin=f"{name}:{secret}\n")
        calls.append((f"can't set the password of {name}", call))
    return (yield from run_all(calls, _named(args)))


def _parent(folder: str) -> Generator[Step, Reply, Outcome | None]:
    """useradd makes a home, but not everywhere what is above it."""
    seen = yield Probe(Stat(path=folder or "/"))
    if seen.data.get("exists"):
        return None
    reply = yield Change(Mkdir(path=folder))
    return None if well(reply) or predicted(reply) else failure(reply, {}, f"can't make {folder}")


def _home_and_days(args: Mapping[str, Any], context: Context, now: Known, user: User) -> Generator[Step, Reply, Ran]:
    """A home that is missing, and the days of the password."""
    calls = list[tuple[str, Exec]]()
    if args["create_home"] and not now.home_there:
        home, skeleton = args.get("home") or user.home, args.get("skeleton") or "/etc/skel"
        calls.append((f"can't make {home}", questions(_HOME, (home, skeleton, str(user.uid), str(user.gid)), context)))
    if argv := accounts.chage(args, user):
        calls.append((f"can't set the days of the password of {user.name}", tool(argv, context)))
    return (yield from run_all(calls, _named(args)))


def _key(args: Mapping[str, Any], context: Context, user: User, data: Mapping[str, Any], changed: bool) -> Steps:
    """A key of ssh-keygen's; one that is there stays, unless `force` is set."""
    file = posixpath.join(user.home, args.get("ssh_key_file") or f".ssh/id_{args['ssh_key_type']}")
    seen = yield Probe(questions(_KEY, (file,), context))
    if not well(seen):
        return broken(seen, "can't look for the SSH key", data)
    said = sections(seen.stdout)
    if not said["key"].strip() or args["force"]:
        bits = str(args.get("ssh_key_bits") or "")
        words = (file, args["ssh_key_type"], bits, args.get("ssh_key_comment") or "", str(user.uid), str(user.gid))
        phrase = args.get("ssh_key_passphrase")
        call = questions(_KEYGEN, words, context, {"secret": "yes" if phrase else "no"})
        if phrase:
            call = Exec(argv=call.argv, env=call.env, timeout=call.timeout, stdin=f"{phrase}\n{phrase}\n".encode())
        ran = yield from run_all([("can't make the SSH key", call)], data)
        if ran.outcome is not None:
            return ran.outcome
        if ran.predicted:
            return Outcome(changed=True, data={**data, "ssh_key_file": file})
        changed, seen = True, (yield Probe(questions(_KEY, (file,), context)))
        said = sections(seen.stdout)
    told = {"ssh_fingerprint": said.get("fingerprint", "").strip(), "ssh_key_file": file}
    return Outcome(changed=changed, data={**data, **told, "ssh_public_key": said.get("public", "").strip() or None})
