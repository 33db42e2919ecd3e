"""`package`: packages, whatever manages them on the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Probe, Steps
from ciflow.modules import apt
from ciflow.modules.program import broken, questions
from ciflow.modules.replies import text, well

# In the order of Ansible's fact `pkg_mgr`: what a distribution of that family has comes first.
_LOOK = r"""
for manager in apt-get dnf5 dnf yum zypper pacman apk; do
  command -v "$manager" >/dev/null && echo "$manager" && break
done
true
"""
# What `apt` takes and this verb doesn't name, with apt's own defaults.
_APT: Mapping[str, Any] = {
    "cache_valid_time": 0, "update_cache_retries": 5, "update_cache_retry_max_delay": 12, "purge": False,
    "force": False, "clean": False, "allow_unauthenticated": False, "allow_downgrade": False,
    "allow_change_held_packages": False, "upgrade": False, "dpkg_options": "force-confdef,force-confold",
    "autoremove": False, "autoclean": False, "only_upgrade": False, "fail_on_autoremove": False, "lock_timeout": 60,
}  # fmt: skip


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Find the manager, and have its own verb do it."""
    manager = args["use"]
    if manager == "auto":
        seen = yield Probe(questions(_LOOK, (), context))
        if not well(seen):
            return broken(seen, "can't look for a package manager")
        manager = text(seen.stdout).strip().replace("apt-get", "apt")
    if manager != "apt":
        msg = f"the packages of this host are managed by {manager or 'nothing that is known here'}, which is not built"
        return Outcome(failed=True, msg=f"{msg} yet; use `command`", data={"name": args["name"]})
    return (yield from apt.run({**_APT, **args}, context))
