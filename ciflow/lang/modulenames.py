"""A module's name as playbooks write it, with or without the collection that has it in Ansible."""

from __future__ import annotations

from typing import Any

from ciflow.lang.schema import module_schema, verbs

_BUILTIN = ("ansible.builtin", "ansible.legacy")
_SAME = {"systemd_service": "systemd", "gather_facts": "setup"}  # what Ansible gives two names
_DOCKER = {  # modules of community.docker by their verbs here
    "docker_container": "container",
    "docker_image": "image",
    "docker_image_pull": "image",
    "docker_network": "container_network",
}

_KUBERNETES = frozenset({"k8s", "k8s_exec", "k8s_info"})
GROUPS = {  # of modules, for `module_defaults`
    "group/docker": frozenset(_DOCKER.values()),
    "group/community.docker.docker": frozenset(_DOCKER.values()),
    "group/k8s": _KUBERNETES,
    "group/kubernetes.core.k8s": _KUBERNETES,
}

# Modules of ansible-core, and short names of its collections' commonest, that roles for several systems choose among.
_FOREIGN = """
    acl alternatives apk apt_key at debconf dnf dnf5 firewalld gem homebrew htpasswd ini_file locale_gen
    lvg lvol make modprobe mount_facts mysql_db mysql_user nmcli npm openbsd_pkg opkg pacman pam_limits
    parted patch pkgng portage postgresql_db postgresql_user redhat_subscription rpm_key seboolean
    sefcontext selinux seport snap subversion synchronize sysvinit timezone ufw validate_argument_spec
    xattr xml yum yum_repository zypper zypper_repository
"""


def is_foreign(name: Any) -> bool:
    """Whether it names a module of Ansible's world that ciflow does not have: one with a collection, or a known one."""
    if not isinstance(name, str) or "{{" in name:
        return False
    collection, _, verb = name.rpartition(".")
    other = collection.count(".") == 1 and collection not in _BUILTIN
    return other or verb.startswith("win_") or verb in _FOREIGN.split()


def short(name: str) -> str:
    """The name without its collection: Ansible's own, or the one that the module's schema names; others stay."""
    collection, dot, verb = name.rpartition(".")
    if verb in _DOCKER and collection in ("", "community.docker"):
        return _DOCKER[verb]
    if not dot or collection in _BUILTIN:
        return _SAME.get(verb, verb)
    return verb if verb in verbs() and module_schema(verb).collection == collection else name
