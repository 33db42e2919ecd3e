"""The options of a container: as a task says them, as the Engine's API has them, and whether the two agree.

One table serves both directions, for what `POST /containers/create` takes is what an inspection shows: `Config` at
its top level, and `HostConfig`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.modules.container_values import binds, healthcheck, pairs, ports, words

NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Option:
    """Where an option stands, how it is made of the argument, and how it is compared.

    `kind`: value (equal), set and dict (all that was asked for is there; more may be). `update`: it can be changed
    while the container lives (`POST /containers/{id}/update`).
    """

    where: str  # Config or HostConfig
    name: str
    make: Callable[[Any], Any]
    kind: str = "value"
    update: bool = False


def _same(value: Any) -> Any:
    return value


def _lines(value: Any) -> list[str]:
    """`A=1` for each pair of a mapping."""
    return [f"{name}={value}" for name, value in pairs(value).items()]


def _cpus(value: float) -> int:
    return round(value * NANO)


OPTIONS: Mapping[str, Option] = {
    "command": Option("Config", "Cmd", words),
    "entrypoint": Option("Config", "Entrypoint", words),
    "env": Option("Config", "Env", _lines, "set"),
    "labels": Option("Config", "Labels", pairs, "dict"),
    "user": Option("Config", "User", str),
    "working_dir": Option("Config", "WorkingDir", str),
    "hostname": Option("Config", "Hostname", str),
    "stop_signal": Option("Config", "StopSignal", str),
    "tty": Option("Config", "Tty", bool),
    "interactive": Option("Config", "OpenStdin", bool),
    "healthcheck": Option("Config", "Healthcheck", healthcheck),
    "ports": Option("HostConfig", "PortBindings", ports),
    "volumes": Option("HostConfig", "Binds", binds, "set"),
    "restart_policy": Option("HostConfig", "RestartPolicy", _same, update=True),
    "network_mode": Option("HostConfig", "NetworkMode", str),
    "memory": Option("HostConfig", "Memory", int, update=True),
    "memory_swap": Option("HostConfig", "MemorySwap", int, update=True),
    "memory_reservation": Option("HostConfig", "MemoryReservation", int, update=True),
    "cpus": Option("HostConfig", "NanoCpus", _cpus, update=True),
    "cpu_shares": Option("HostConfig", "CpuShares", int, update=True),
    "cpuset_cpus": Option("HostConfig", "CpusetCpus", str, update=True),
    "pids_limit": Option("HostConfig", "PidsLimit", int, update=True),
    "shm_size": Option("HostConfig", "ShmSize", int),
    "privileged": Option("HostConfig", "Privileged", bool),
    "read_only": Option("HostConfig", "ReadonlyRootfs", bool),
    "init": Option("HostConfig", "Init", bool),
    "auto_remove": Option("HostConfig", "AutoRemove", bool),
    "capabilities": Option("HostConfig", "CapAdd", _same, "set"),
    "cap_drop": Option("HostConfig", "CapDrop", _same, "set"),
    "security_opts": Option("HostConfig", "SecurityOpt", _same, "set"),
    "dns_servers": Option("HostConfig", "Dns", _same),
    "etc_hosts": Option("HostConfig", "ExtraHosts", lambda value: [f"{k}:{v}" for k, v in pairs(value).items()], "set"),
    "tmpfs": Option("HostConfig", "Tmpfs", lambda value: dict(one.partition(":")[::2] for one in value), "dict"),
    "sysctls": Option("HostConfig", "Sysctls", pairs, "dict"),
    "pid_mode": Option("HostConfig", "PidMode", str),
    "ipc_mode": Option("HostConfig", "IpcMode", str),
    "log": Option("HostConfig", "LogConfig", lambda log: {"Type": log["driver"], "Config": pairs(log.get("options"))}),
}


def wished(args: Mapping[str, Any]) -> dict[str, Any]:
    """What the task asks for, by option, in the API's form; what it doesn't say is not there."""
    said = dict(args)
    if said.get("restart_policy"):
        retries = said.get("restart_retries", 0) if said["restart_policy"] == "on-failure" else 0
        said["restart_policy"] = {"Name": said["restart_policy"], "MaximumRetryCount": retries}
    return {name: option.make(said[name]) for name, option in OPTIONS.items() if said.get(name) is not None}


def body(wish: Mapping[str, Any], image: str, networks: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
    """What `POST /containers/create` is sent."""
    made: dict[str, Any] = {"Image": image, "HostConfig": {}}
    for name, value in wish.items():
        option = OPTIONS[name]
        (made if option.where == "Config" else made["HostConfig"])[option.name] = value
    anonymous = [bind for bind in made["HostConfig"].get("Binds", []) if ":" not in bind]
    if anonymous:
        made["HostConfig"]["Binds"] = [bind for bind in made["HostConfig"]["Binds"] if bind not in anonymous]
        made["Volumes"] = {bind: {} for bind in anonymous}
    if wish.get("ports"):
        made["ExposedPorts"] = {port: {} for port in wish["ports"]}
    if networks and "network_mode" not in wish:
        first = networks[0]
        made["HostConfig"]["NetworkMode"] = first["name"]
        made["NetworkingConfig"] = {"EndpointsConfig": {first["name"]: endpoint(first)}}
    return made


def endpoint(network: Mapping[str, Any]) -> dict[str, Any]:
    """A container's place in a network."""
    made: dict[str, Any] = {"Aliases": list(network.get("aliases") or [])}
    if network.get("ipv4_address"):
        made["IPAMConfig"] = {"IPv4Address": network["ipv4_address"]}
    return made


@dataclass(frozen=True, slots=True)
class Difference:
    """One option that is not as the task says."""

    option: str
    before: Any
    after: Any


def differences(
    wish: Mapping[str, Any], found: Mapping[str, Any], image: Mapping[str, Any], comparisons: Mapping[str, str]
) -> list[Difference]:
    """What is not as wished. `comparisons`: by option (or `*`) strict, ignore, or allow_more_present.

    What the image itself sets is there in any case, and counts as wished where the comparison is strict.
    """
    made = []
    for name, value in wish.items():
        option = OPTIONS[name]
        how = comparisons.get(name) or comparisons.get("*") or "allow_more_present"
        have = _have(option, found)
        own = (image.get("Config") or {}).get(option.name) if name in ("env", "labels") else None
        if how != "ignore" and not _agree(option, value, have, own, strict=how == "strict"):
            made.append(Difference(name, have, value))
    return made


def _have(option: Option, found: Mapping[str, Any]) -> Any:
    have = found[option.where].get(option.name)
    if option.name == "Binds":
        return binds([*(have or []), *(found["Config"].get("Volumes") or {})])
    if option.name == "PortBindings":
        return {port: [_binding(one) for one in bound or []] for port, bound in (have or {}).items()}
    return have


def _binding(one: Mapping[str, str]) -> dict[str, str]:
    host = one.get("HostIp", "")
    return {"HostIp": "" if host == "0.0.0.0" else host, "HostPort": one.get("HostPort", "")}


def _agree(option: Option, wish: Any, have: Any, own: Any, *, strict: bool) -> bool:
    if option.kind == "set":
        wanted, there = set(wish), set(have or [])
        if option.name == "Env":
            replaced = {line.partition("=")[0] for line in wanted}
            own = [line for line in own or [] if line.partition("=")[0] not in replaced]
        return wanted | set(own or []) == there if strict else wanted <= there
    if option.kind == "dict":
        known: dict[str, str] = have or {}
        return {**(own or {}), **wish} == known if strict else wish.items() <= known.items()
    if option.name == "Healthcheck":
        have = {name: value for name, value in (have or {}).items() if value}
    empty: Any = type(wish)()
    return bool(wish == (empty if have is None else have))


def shown(options: list[Difference], side: str) -> str:
    """One side of a difference as text, a line for each option."""
    return "".join(f"{one.option}: {json.dumps(getattr(one, side), sort_keys=True)}\n" for one in options)


def updated(options: list[Difference]) -> dict[str, Any] | None:
    """What `POST /containers/{id}/update` is sent; None where the container has to be made anew."""
    if any(one.option not in OPTIONS or not OPTIONS[one.option].update for one in options):
        return None
    made = {OPTIONS[one.option].name: one.after for one in options}
    if "Memory" in made and "MemorySwap" not in made:
        made["MemorySwap"] = 2 * made["Memory"]  # as the daemon itself has it in a new container
    return made
