"""A module's name as playbooks write it, with or without the collection that has it in Ansible."""

from __future__ import annotations

from ciflow.lang.schema import module_schema, verbs

BUILTIN = ("ansible.builtin", "ansible.legacy")
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


def short(name: str) -> str:
    """The name without its collection: Ansible's own, or the one that the module's schema names; others stay."""
    collection, dot, verb = name.rpartition(".")
    if verb in _DOCKER and collection in ("", "community.docker"):
        return _DOCKER[verb]
    if not dot or collection in BUILTIN:
        return _SAME.get(verb, verb)
    return verb if verb in verbs() and module_schema(verb).collection == collection else name
