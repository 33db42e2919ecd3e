"""From a host's variables to the connection that reaches it. Ansible's names, long and short."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import CiflowError, Refused
from ciflow.engine.reached import LOCAL
from ciflow.lang.files import Files
from ciflow.lang.scope import Layer, Level, Need, NeedFacts, Scope
from ciflow.lang.template import keyword, render
from ciflow.model import EMPTY, Become, Host
from ciflow.targets import BecomeUser, Connection

if TYPE_CHECKING:
    from ciflow.lang.inventory import Inventory

_N = TypeVar("_N", int, float)
TIMEOUT = LOCAL.connect_timeout  # seconds, unless somebody says otherwise
LOGIN_PASSWORDS = ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")
PASSPHRASES = ("ansible_ssh_private_key_passphrase", "ansible_private_key_passphrase")
BECOME_PASSWORDS = (
    "ansible_sudo_pass", "ansible_su_pass", "ansible_doas_pass", "ansible_become_password", "ansible_become_pass",
)  # fmt: skip
SECRETS = (*LOGIN_PASSWORDS, *PASSPHRASES, *BECOME_PASSWORDS)
_KINDS = {
    "paramiko": "ssh", "paramiko_ssh": "ssh", "smart": "ssh",
    "community.docker.docker": "docker", "community.docker.docker_api": "docker",
    "kubernetes": "kubernetes", "kubectl": "kubernetes", "kubernetes.core.kubectl": "kubernetes",
}  # fmt: skip
# What only one kind of target asks for: the name in `Connection.options`, and the variable, as its collection has it.
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "docker": {
        "docker_host": "ansible_docker_docker_host", "context": "ansible_docker_context",
        "tls": "ansible_docker_tls", "verify": "ansible_docker_validate_certs", "ca": "ansible_docker_ca_path",
        "cert": "ansible_docker_client_cert", "key": "ansible_docker_client_key",
        "workdir": "ansible_docker_working_dir", "privileged": "ansible_docker_privileged",
    },
    "kubernetes": {
        "kubeconfig": "ansible_kubectl_kubeconfig", "config": "ansible_kubectl_config",
        "context": "ansible_kubectl_context", "namespace": "ansible_kubectl_namespace", "pod": "ansible_kubectl_pod",
        "container": "ansible_kubectl_container", "selector": "ansible_kubectl_selector",
    },
}  # fmt: skip
# Ways to reach a cluster that nothing here obeys: a kubeconfig says all of it, and is no argument for all to see.
_UNBUILT: Mapping[str, tuple[str, ...]] = {
    "kubernetes": (
        "ansible_kubectl_host", "ansible_kubectl_server", "ansible_kubectl_token", "ansible_kubectl_api_key",
        "ansible_kubectl_username", "ansible_kubectl_user", "ansible_kubectl_password", "ansible_kubectl_extra_args",
        "ansible_kubectl_cert_file", "ansible_kubectl_client_cert", "ansible_kubectl_key_file",
        "ansible_kubectl_client_key", "ansible_kubectl_ca_cert", "ansible_kubectl_ssl_ca_cert",
        "ansible_kubectl_verify_ssl", "ansible_kubectl_local_env_vars",
    ),
}  # fmt: skip
_WHICH_CLUSTER = ("kubeconfig", "config", "context", "namespace")  # also of this machine: whom a rollback asks
_WHICH_POD = ("pod", "container", "selector")
LOGIN_USER = Become(enabled=False)  # nobody else, unless the host's own variables say so


@dataclass(frozen=True, slots=True)
class Reach:
    """What the command line says of reaching hosts: the lowest word, which every keyword and variable wins over."""

    connection: str = ""
    user: str = ""
    private_key: str = ""
    common_args: str = ""
    extra_args: str = ""
    timeout: float = 0.0
    become: bool = False
    become_user: str = ""
    become_method: str = ""
    password: str = field(default="", repr=False)
    become_password: str = field(default="", repr=False)


NOTHING_SAID = Reach()


def connection_for(host: Host, scope: Scope, become: Become, reach: Reach = NOTHING_SAID, made: str = "") -> Connection:
    """Where and as whom operations for `host` are executed. `made`: in what was made of a play's image in its place."""
    asked = "" if host.connection == "local" else reach.connection  # the implicit localhost stays here
    kind = str(_first(scope, "ansible_connection", "connection") or asked or host.connection)
    kind = _KINDS.get(kind, kind)
    if made and kind == "local":
        kind = _maker(scope)
    address = made or str(_first(scope, "ansible_host", "ansible_ssh_host") or host.name)
    key = _first(scope, "ansible_ssh_private_key_file", "ansible_private_key_file") or reach.private_key
    arguments = (
        _first(scope, "ansible_ssh_common_args") or reach.common_args,
        _first(scope, "ansible_ssh_extra_args") or reach.extra_args,
    )
    return Connection(
        kind=kind,
        name=host.name,
        address=address if kind != "local" else "",
        port=_number(scope, int, "ansible_port", "ansible_ssh_port") or 0,
        user=str(_first(scope, "ansible_user", "ansible_ssh_user") or reach.user),
        password=str(_first(scope, *LOGIN_PASSWORDS) or reach.password),
        private_keys=(os.path.expanduser(str(key)),) if key else (),  # noqa: PTH111
        passphrase=str(_first(scope, *PASSPHRASES) or ""),
        common_args=" ".join(str(words) for words in arguments if words),
        python=str(_first(scope, "ansible_python_interpreter") or "auto"),
        become=_identity(scope, become, reach),
        connect_timeout=_number(scope, float, "ansible_ssh_timeout", "ansible_timeout") or reach.timeout or TIMEOUT,
        options=tuple(_options(scope, kind, made)),
    )


def _number(scope: Scope, kind: Callable[[Any], _N], *names: str) -> _N | None:
    """What the first of the variables says that says anything; Refused where that is no number."""
    value = _first(scope, *names)
    if not value:
        return None
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        said = next(name for name in names if name in scope)
        where = f"`ciflow vars HOST {said} --why` says where it is set"
        raise Refused(f"{said} must be a number, not {value!r}", help=where) from error


def _maker(scope: Scope) -> str:
    """In what a play's image is started in the place of this machine: what the play's `connection` says, or docker."""
    said = (str(layer.values.get("ansible_connection")) for layer in scope.layers if layer.level is Level.KEYWORDS)
    return next((_KINDS[one] for one in said if one in _KINDS), "docker")


def _options(scope: Scope, kind: str, made: str) -> Iterator[tuple[str, str]]:
    for name in _UNBUILT.get(kind, ()):
        if name in scope:
            raise Refused(f"the variable {name} is not built", help="say it in a kubeconfig, and name its context")
    for name, variable in _OPTIONS.get("kubernetes" if kind == "local" else kind, EMPTY).items():
        if kind == "local" and name not in _WHICH_CLUSTER:
            continue
        value = _first(scope, variable)
        if value is None and kind == "kubernetes":
            value = os.environ.get(f"K8S_AUTH_{name.upper()}")  # as Ansible's plugin has it
        if value and not (made and name in _WHICH_POD):
            yield name, str(value)
    if made and kind == "kubernetes":
        yield "job", _job_name(made)


def _job_name(made: str) -> str:
    """A name that a Job may have, and the label that its pod has by it (RFC 1123): no two of them get the same."""
    name = re.sub(r"[^a-z0-9]+", "-", made.lower()).strip("-")
    digest = hashlib.blake2b(made.encode(), digest_size=4).hexdigest()
    return f"{name[:43].rstrip('-')}-{digest}"


def _identity(scope: Scope, become: Become, reach: Reach) -> BecomeUser | None:
    """Ansible's order: a variable of the method, one of any method, the keyword, the command line."""
    asked = _first(scope, "ansible_become")
    said = asked if asked is not None else keyword(become.enabled, scope)
    if (reach.become if said is None else said) not in (True, "yes", "true", "True", 1):
        return None
    said = _first(scope, "ansible_become_method") or keyword(become.method, scope) or reach.become_method
    method = str(said or "sudo")

    def word(name: str, given: Any) -> str:
        return str(_first(scope, f"ansible_{method}_{name}", f"ansible_become_{name}") or keyword(given, scope) or "")

    passwords = (f"ansible_{method}_pass", "ansible_become_password", "ansible_become_pass")
    return BecomeUser(
        user=word("user", become.user) or reach.become_user or "root",
        method=method,
        flags=word("flags", become.flags),
        exe=word("exe", become.exe),
        password=str(_first(scope, *passwords) or reach.become_password),
    )


def passwords_of(hosts: Iterable[tuple[Layer, ...]], extra: Mapping[str, Any]) -> Iterator[str]:
    """The passwords that an inventory (its hosts' layers) and `-e` hold, whether or not a task will need them.

    One whose template asks for a fact or a lookup is left out: it is learnt when its host is connected to.
    """
    given = Layer(Level.EXTRA_VARS, extra)
    for layers in ((given,), *((given, *layers) for layers in hosts)):
        named = {name for name in SECRETS for layer in layers if name in layer.values}
        scope = Scope(layers, render)
        for name in named:
            try:
                yield str(scope.get(name))
            except (CiflowError, Need, NeedFacts):
                continue


def _first(scope: Scope, *names: str) -> Any:
    for name in names:
        if name in scope and (value := scope.get(name)) not in (None, ""):
            return value
    return None


def connection_by_name(name: str, inventory: tuple[str, ...], files: Files) -> Connection:
    """How an inventory says to reach a host. Raises Refused for a host that it doesn't have."""
    return connections_by_pattern(name, inventory, files)[0]


def connections_by_pattern(pattern: str, inventory: tuple[str, ...], files: Files) -> tuple[Connection, ...]:
    """How an inventory says to reach the hosts of a pattern. Raises Refused where it has none."""
    from ciflow.lang.inventory import load_inventory

    known = load_inventory(inventory, files)
    found = known.select(pattern)
    if not found:
        raise Refused(f"the inventory has no host {pattern}", help="name the inventory with `-i`")
    return tuple(_of_inventory(known, host) for host in found)


def _of_inventory(known: Inventory, host: Host) -> Connection:
    layers = known.layers.get(host.name, (Layer(Level.INVENTORY_HOST, host.vars),))
    return connection_for(host, Scope(tuple(layers), render), LOGIN_USER)
