"""`setup`: facts of a host, in Ansible's names."""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Exec, Outcome, Probe, Steps
from ciflow.modules.replies import failure

SCRIPT = r"""
section() { printf '\n@@%s\n' "$1"; }
section release; cat /etc/os-release 2>/dev/null
section uname; uname -s; uname -r; uname -m; uname -v
section name; uname -n; hostname -f 2>/dev/null || uname -n
section meminfo; cat /proc/meminfo 2>/dev/null
section cpuinfo; grep -E '^(processor|vendor_id|model name|physical id|core id|$)' /proc/cpuinfo 2>/dev/null
section addresses; ip -o addr show 2>/dev/null
section routes; cat /proc/net/route 2>/dev/null
section trie; command -v ip >/dev/null || cat /proc/net/fib_trie 2>/dev/null
section inet6; cat /proc/net/if_inet6 2>/dev/null
section links; for d in /sys/class/net/*; do [ -e "$d" ] && echo "${d##*/} $(cat "$d/address" 2>/dev/null)"; done
section user; id -un; id -u; id -g; printf '%s\n' "$HOME" "$SHELL"
section date; LC_ALL=C date '+%s %Y %m %d %H %M %S %A %u %V %j %Z %z'
section python; show='import sys; print("%d.%d.%d" % sys.version_info[:3])'
for p in python3 python; do command -v $p && $p -c "$show" && break; done 2>/dev/null
section init; has() { command -v "$1" >/dev/null; }
if has systemctl && [ -d /run/systemd/system ]; then echo systemd
elif has initctl && [ -d /etc/init ]; then echo upstart
elif [ -e /sbin/openrc ]; then echo openrc
elif has systemctl && case $(readlink /sbin/init) in systemd|*/systemd) true ;; *) false ;; esac; then echo systemd
elif [ -d /etc/init.d ]; then echo sysvinit
elif [ -d /etc/dinit.d ]; then echo dinit
else echo service
fi
cat /proc/1/comm 2>/dev/null || readlink /sbin/init
section packages; for p in apt-get dnf yum zypper pacman apk; do command -v $p; done 2>/dev/null
section container; [ -e /.dockerenv ] && echo docker; [ -n "$KUBERNETES_SERVICE_HOST" ] && echo kubernetes
grep -q '^flags.* hypervisor' /proc/cpuinfo && echo kvm
section uptime; cat /proc/uptime 2>/dev/null
section mounts; df -kP 2>/dev/null
section local; for f in "$facts"/*.fact; do
if [ ! -e "$f" ]; then [ -L "$f" ] || continue; how=link said= rc=1
elif [ ! -f "$f" ]; then continue
elif [ -x "$f" ]; then how=run said=$("$f" 2>/dev/null); rc=$?
else how=read said=$(cat "$f" 2>/dev/null); rc=$?; fi
printf '%s ' "$(printf %s "${f##*/}" | base64 | tr -d '\n')" "$how" "$rc"; printf %s "$said" | base64 | tr -d '\n'; echo
done
section env; env -0 2>/dev/null || env
"""


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """One shell script on the host; what its sections mean is `facts`' business."""
    from ciflow.modules import facts  # only a run that gets here pays for it

    for name in args["gather_subset"]:
        if name.removeprefix("!") not in facts.NAMES:
            return Outcome(failed=True, msg=f"Bad subset {name!r} given to Ansible's gather_subset")
    subsets = _subsets(args["gather_subset"], set(facts.SUBSETS))
    known = {"gather_subset": args["gather_subset"], "module_setup": True}
    if not subsets:
        return Outcome(facts=known, data={"ansible_facts": known})
    limit = float(args["gather_timeout"])
    script = f"facts={_word(args['fact_path'])}\n{_script(subsets)}\n"
    operation = Exec(shell=script, env=context.environment, timeout=limit)
    reply = yield Probe(operation, last=True)
    if reply.status != "done" or not reply.stdout:
        return failure(reply, what="facts can't be read")
    known |= facts.facts(facts.sections(reply.stdout), subsets)
    chosen = {name: value for name, value in known.items() if _chosen(name, args["filter"])}
    return Outcome(facts=chosen, data={"ansible_facts": chosen})


def _script(subsets: frozenset[str]) -> str:
    """The sections that some subsets are made of, in their order."""
    from ciflow.modules.facts import SECTIONS

    wanted = {name for subset in subsets for name in SECTIONS.get(subset, ())}
    head, *parts = re.split(r"(?m)^(?=section \w+;)", SCRIPT.strip())
    return "".join([head, *(part for part in parts if part[8 : part.index(";")] in wanted)]).rstrip()


def _word(path: str) -> str:
    """A path for the shell, its home folder put in by the host."""
    home, slash, rest = path.partition("/")
    return f"{home}{slash}{shlex.quote(rest)}" if path.startswith("~") else shlex.quote(path)


def _subsets(asked: list[str], every: set[str]) -> frozenset[str]:
    """Ansible's rule: `all` unless only some are named; `!x` takes away what is not named itself, `min` stays unless
    `!min`."""
    from ciflow.modules.facts import NAMES

    named = {NAMES[name] for name in asked if not name.startswith("!")}
    unwanted = {name[1:] for name in asked if name.startswith("!")}
    wanted = every if "all" in named or not (named or "all" in unwanted) else named
    return frozenset((wanted | {"min"}) - (unwanted - named))


def _chosen(name: str, patterns: list[str]) -> bool:
    plain = name.removeprefix("ansible_")
    return not patterns or any(fnmatch.fnmatchcase(n, pattern) for pattern in patterns for n in (name, plain))
