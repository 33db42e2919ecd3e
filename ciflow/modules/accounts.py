"""Users and groups of a host as its name service knows them, and the calls of shadow-utils that change them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ciflow.dataclass import dataclass

DAY = 86400  # seconds

# $1 the user, $2 a home that is wished for ("": the user's own). Nothing here changes anything.
LOOK = r"""
section user; getent passwd "$1"
section shadow; getent shadow "$1" 2>/dev/null
section groups; getent group
home=$2; [ -n "$home" ] || home=$(getent passwd "$1" | cut -d: -f6)
section home; if [ -n "$home" ] && [ -e "$home" ]; then echo there; fi
true
"""

# A password as crypt(3) writes it, a locked one, or none: never one that a person would type.
_HASHED = r"(?s)[!*].*\Z|\$[0-9a-z]+\$.+\Z|[./0-9A-Za-z]{13}\Z|\Z"


@dataclass(frozen=True, slots=True)
class Group:
    """A line of group(5)."""

    name: str
    gid: int
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """A line of passwd(5), with what shadow(5) adds; -1 stands for an empty number there, "" for what can't be read."""

    name: str
    uid: int
    gid: int
    comment: str
    home: str
    shell: str
    password: str = ""
    least_days: int = -1
    most_days: int = -1
    warn_days: int = -1
    inactive: int = -1
    expires: int = -1  # days since 1970


@dataclass(frozen=True, slots=True)
class Known:
    """What the host said: the user if there is one, all groups, and whether the home lies there."""

    user: User | None
    groups: tuple[Group, ...]
    home_there: bool

    def group(self, wanted: str) -> Group | None:
        """A group by its number, or else its name."""
        by_number = (g for g in self.groups if wanted.isdigit() and g.gid == int(wanted))
        by_name = (g for g in self.groups if g.name == wanted)
        return next(by_number, None) or next(by_name, None)

    def memberships(self, name: str) -> set[str]:
        """Names of the groups that list the user as a member."""
        return {group.name for group in self.groups if name in group.members}


def known(said: Mapping[str, str]) -> Known:
    """What `LOOK` found."""
    user, shadow = said.get("user", "").strip("\n"), said.get("shadow", "").strip("\n")
    return Known(_user(user, shadow), groups_of(said.get("groups", "")), "there" in said.get("home", ""))


def groups_of(lines: str) -> tuple[Group, ...]:
    """Lines of group(5)."""
    rows = [line.split(":") for line in lines.splitlines()]
    return tuple(Group(r[0], int(r[2]), tuple(filter(None, r[3].split(",")))) for r in rows if len(r) == 4)


def _user(line: str, shadow: str) -> User | None:
    fields = line.split("\n")[0].split(":")
    if len(fields) != 7:
        return None
    name, password, uid, gid, comment, home, shell = fields
    secret = shadow.split("\n")[0].split(":")
    if len(secret) < 8:
        return User(name, int(uid), int(gid), comment, home, shell, password if len(password) > 1 else "")
    least, most, warn, inactive, expires = (int(field) if field else -1 for field in secret[3:8])
    return User(name, int(uid), int(gid), comment, home, shell, secret[1], least, most, warn, inactive, expires)


def hashed(password: str) -> bool:
    """Whether that text can stand in shadow(5): Ansible stores anything, and nobody can log in with it."""
    return bool(re.match(_HASHED, password)) and ":" not in password and "\n" not in password


def useradd(args: Mapping[str, Any], found: Known) -> list[str]:
    """The call that makes the user; the password comes after it, over standard input."""
    name = args["name"]
    argv = ["useradd", *_numbered(args, "uid", "-u")]
    if args.get("group"):
        argv += ["-g", args["group"]]
    elif found.group(name) is not None:
        argv.append("-N")
    if args.get("groups"):
        argv += ["-G", ",".join(args["groups"])]
    argv += _given(args, (("comment", "-c"), ("home", "-d"), ("shell", "-s")))
    argv += ["-e", _date(args["expires"])] if args.get("expires") is not None else []
    argv += _given(args, (("password_expire_account_disable", "-f"),))
    if args["create_home"]:
        argv += ["-m", *_given(args, (("skeleton", "-k"),))]
        argv += ["-K", f"UMASK={args['umask']}"] if args.get("umask") else []
    else:
        argv.append("-M")
    argv += ["-r"] if args["system"] else []
    return [*argv, *_range(args, "uid"), name]


def usermod(args: Mapping[str, Any], found: Known, user: User) -> list[str]:
    """The call that makes an existing user as wished; empty where it is so already."""
    argv: list[str] = []
    if args.get("uid") is not None and args["uid"] != user.uid:
        argv += _numbered(args, "uid", "-u")
    group = found.group(str(args["group"])) if args.get("group") else None
    if group is not None and group.gid != user.gid:
        argv += ["-g", str(group.gid)]
    argv += _memberships(args, found)
    for name, option, has in (("comment", "-c", user.comment), ("home", "-d", user.home), ("shell", "-s", user.shell)):
        if args.get(name) is not None and args[name] != has:
            argv += [option, args[name]]
            argv += ["-m"] if name == "home" and args["move_home"] else []
    if args.get("expires") is not None and not _expires_then(args["expires"], user):
        argv += ["-e", _date(args["expires"])]
    inactive = args.get("password_expire_account_disable")
    if inactive is not None and max(inactive, -1) != user.inactive:
        argv += ["-f", str(inactive)]
    if not _new_password(args, user):
        argv += _lock(args, user)
    return ["usermod", *argv, user.name] if argv else []


def _memberships(args: Mapping[str, Any], found: Known) -> list[str]:
    """Supplementary groups: exactly those, or with `append` at least those."""
    if args.get("groups") is None:
        return []
    wanted = {group.name for one in args["groups"] if one and (group := found.group(one))}
    has = found.memberships(args["name"])
    if wanted <= has if args["append"] else wanted == has:
        return []
    return [*(["-a"] if args["append"] else []), "-G", ",".join(sorted(wanted))]


def _lock(args: Mapping[str, Any], user: User) -> list[str]:
    locked = user.password.startswith("!")
    if args.get("password_lock") and not locked:
        return ["-L"]
    if args.get("password_lock") is False and locked and user.password.strip("!"):  # without one nothing unlocks
        return ["-U"]
    return []


def new_password(args: Mapping[str, Any], user: User | None) -> str | None:
    """The field of shadow(5) to set, or None where it may stay: for a call of chpasswd, which reads it."""
    if args.get("password") is None or (user is not None and not _new_password(args, user)):
        return None
    return f"!{args['password']}" if args.get("password_lock") else str(args["password"])


def _new_password(args: Mapping[str, Any], user: User) -> bool:
    if args["update_password"] != "always" or args.get("password") is None:
        return False
    return bool(user.password.lstrip("!") != args["password"].lstrip("!"))


def chage(args: Mapping[str, Any], user: User) -> list[str]:
    """The call that sets the days of a password; empty where they are so already."""
    argv: list[str] = []
    for name, option, has in (
        ("password_expire_min", "-m", user.least_days),
        ("password_expire_max", "-M", user.most_days),
        ("password_expire_warn", "-W", user.warn_days),
    ):
        if args.get(name) is not None and args[name] != has:
            argv += [option, str(args[name])]
    return ["chage", *argv, user.name] if argv else []


def groupadd(args: Mapping[str, Any]) -> list[str]:
    """The call that makes the group."""
    return ["groupadd", *_numbered(args, "gid", "-g"), *(["-r"] if args["system"] else []), *_range(args, "gid"),
            args["name"]]  # fmt: skip


def groupmod(args: Mapping[str, Any], group: Group) -> list[str]:
    """The call that gives an existing group its number; empty where it has it."""
    if args.get("gid") is None or args["gid"] == group.gid:
        return []
    return ["groupmod", *_numbered(args, "gid", "-g"), group.name]


def _numbered(args: Mapping[str, Any], name: str, option: str) -> list[str]:
    if args.get(name) is None:
        return []
    return [option, str(args[name]), *(["-o"] if args["non_unique"] else [])]


def _given(args: Mapping[str, Any], options: tuple[tuple[str, str], ...]) -> list[str]:
    return [word for name, option in options if args.get(name) is not None for word in (option, str(args[name]))]


def _range(args: Mapping[str, Any], name: str) -> list[str]:
    bounds = [key for key in (f"{name}_min", f"{name}_max") if args.get(key) is not None]
    return [word for key in bounds for word in ("-K", f"{key.upper()}={args[key]}")]


def _date(seconds: float) -> str:
    """A day in UTC as useradd takes it; empty, which is never, for a negative number."""
    return "" if seconds < 0 else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _expires_then(seconds: float, user: User) -> bool:
    return user.expires < 0 if seconds < 0 else user.expires == int(seconds // DAY)
