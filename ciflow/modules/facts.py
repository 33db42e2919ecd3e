"""What the texts that `setup` reads from a Linux host say, under Ansible's names. Pure."""

from __future__ import annotations

import base64
import configparser
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.encoding import loads

Sections = Mapping[str, str]

_FAMILIES = {
    "Debian": ("debian", "ubuntu", "linuxmint", "raspbian", "kali", "pop"),
    "RedHat": ("rhel", "centos", "fedora", "rocky", "almalinux", "amzn", "ol"),
    "Suse": ("opensuse-leap", "opensuse-tumbleweed", "sles", "suse"),
    "Alpine": ("alpine",),
    "Archlinux": ("arch", "manjaro"),
}
_DISTRIBUTIONS = {
    "debian": "Debian",
    "ubuntu": "Ubuntu",
    "rhel": "RedHat",
    "centos": "CentOS",
    "fedora": "Fedora",
    "rocky": "Rocky",
    "almalinux": "AlmaLinux",
    "amzn": "Amazon",
    "alpine": "Alpine",
    "arch": "Archlinux",
    "opensuse-leap": "openSUSE Leap",
    "sles": "SLES",
}
_MANAGERS = {"apt-get": "apt", "dnf": "dnf", "yum": "yum", "zypper": "zypper", "pacman": "pacman", "apk": "apk"}


def sections(output: bytes) -> dict[str, str]:
    """The script's output by section. A line `@@name` opens one; the environment, last, may hold anything."""
    text = output.decode("utf-8", "replace")
    head, mark, environment = text.partition("\n@@env\n")
    parts = re.split(r"(?m)^@@(\w+)\n", head)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return found | ({"env": environment} if mark else {})


def facts(said: Sections, subsets: frozenset[str]) -> dict[str, Any]:
    """All facts of the subsets asked for, with the prefix `ansible_`."""
    known: dict[str, Any] = {}
    for subset in SUBSETS:
        if subset in subsets:
            for read in SUBSETS[subset]:
                known |= read(said)
    return {f"ansible_{name}": value for name, value in known.items()}


def _lines(said: Sections, name: str, count: int) -> list[str]:
    lines = said.get(name, "").split("\n")
    return (lines + [""] * count)[:count]


def _distribution(said: Sections) -> dict[str, Any]:
    pairs = dict(line.split("=", 1) for line in said.get("release", "").splitlines() if "=" in line)
    release = {key: value.strip("\"'") for key, value in pairs.items()}
    name, version = release.get("ID", ""), release.get("VERSION_ID", "")
    likes = [name, *release.get("ID_LIKE", "").split()]
    family = next((f for like in likes for f, names in _FAMILIES.items() if like in names), "")
    return {
        "distribution": _DISTRIBUTIONS.get(name, name.capitalize()) or "NA",
        "distribution_version": version or "NA",
        "distribution_major_version": version.split(".")[0] or "NA",
        "distribution_release": release.get("VERSION_CODENAME", "NA"),
        "os_family": family or _DISTRIBUTIONS.get(name, name.capitalize()) or "NA",
    }


def _kernel(said: Sections) -> dict[str, Any]:
    system, kernel, machine, version = _lines(said, "uname", 4)
    nodename, fqdn = _lines(said, "name", 2)
    machines = {"amd64": "x86_64", "arm64": "aarch64"}
    return {
        "system": system,
        "kernel": kernel,
        "kernel_version": version,
        "machine": machine,
        "architecture": machines.get(machine, machine),
        "userspace_bits": "64" if machine.endswith("64") or machine == "s390x" else "32",
        "nodename": nodename,
        "hostname": nodename.split(".")[0],
        "fqdn": fqdn or nodename,
        "domain": fqdn.partition(".")[2],
    }


def _user(said: Sections) -> dict[str, Any]:
    name, uid, gid, home, shell = _lines(said, "user", 5)
    numbers = {"user_uid": int(uid), "user_gid": int(gid)} if uid.isdigit() and gid.isdigit() else {}
    return {"user_id": name, **numbers, "user_dir": home, "user_shell": shell}


def _environment(said: Sections) -> dict[str, Any]:
    text = said.get("env", "")
    entries = text.split("\0") if "\0" in text else text.splitlines()
    return {"env": dict(entry.split("=", 1) for entry in entries if "=" in entry)}


def _date(said: Sections) -> dict[str, Any]:
    words = said.get("date", "").split()
    if len(words) != 13:
        return {}
    epoch, year, month, day, hour, minute, second, weekday, number, week, yearday, zone, offset = words
    return {
        "date_time": {
            "epoch": epoch,
            "year": year,
            "month": month,
            "day": day,
            "hour": hour,
            "minute": minute,
            "second": second,
            "date": f"{year}-{month}-{day}",
            "time": f"{hour}:{minute}:{second}",
            "iso8601": _utc(int(epoch)),
            "weekday": weekday,
            "weekday_number": str(int(number) % 7),
            "weeknumber": week,
            "yearday": str(int(yearday)),
            "tz": zone,
            "tz_offset": offset,
        }
    }


def _utc(epoch: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_INITS = {"procd": "openwrt_init", "runit-init": "runit", "svscan": "svc", "openrc-init": "openrc"}


def _software(said: Sections) -> dict[str, Any]:
    path, version = _lines(said, "python", 2)
    managers = [line.rsplit("/", 1)[-1] for line in said.get("packages", "").split()]
    found: dict[str, Any] = {
        "service_mgr": _service_manager(*_lines(said, "init", 2)),
        "pkg_mgr": next((_MANAGERS[name] for name in managers if name in _MANAGERS), "unknown"),
    }
    if version:
        major, minor, micro = (int(part) for part in version.split("."))
        found |= {"python_version": version, "python": {"executable": path, "version": _version(major, minor, micro)}}
    return found


def _service_manager(installed: str, first: str) -> str:
    """By the name of process 1, unless that is one of many or a container's shell; then by what is installed."""
    name = first.rsplit("/", 1)[-1].strip()
    return (installed or "service") if name in ("", "init") or name.endswith("sh") else _INITS.get(name, name)


def _version(major: int, minor: int, micro: int) -> dict[str, int]:
    return {"major": major, "minor": minor, "micro": micro}


def _memory(said: Sections) -> dict[str, Any]:
    """/proc/meminfo counts in KiB (which it calls kB); Ansible divides by 1024 and cuts off."""
    kib = {m[1]: int(m[2]) for m in re.finditer(r"(?m)^(\w+):\s+(\d+)", said.get("meminfo", ""))}
    names = {"memtotal": "MemTotal", "memfree": "MemFree", "swaptotal": "SwapTotal", "swapfree": "SwapFree"}
    return {f"{name}_mb": kib[key] // 1024 for name, key in names.items() if key in kib}


def _processors(said: Sections) -> dict[str, Any]:
    """Processors as the kernel counts them; without topology (virtual machines, ARM) each is a socket's core."""
    blocks = [dict(re.findall(r"(?m)^([^\t:]+?)\s*:[ \t]*(.*)$", b)) for b in said.get("cpuinfo", "").split("\n\n")]
    units = [block for block in blocks if "processor" in block]
    sockets = {block["physical id"] for block in units if "physical id" in block}
    cores = {(block["physical id"], block["core id"]) for block in units if {"physical id", "core id"} <= set(block)}
    per_socket = max(len(cores) // len(sockets), 1) if sockets else 1
    return {
        "processor": [w for b in units for w in (b["processor"], b.get("vendor_id"), b.get("model name")) if w],
        "processor_vcpus": len(units),
        "processor_nproc": len(units),
        "processor_count": len(sockets) or len(units),
        "processor_cores": per_socket,
        "processor_threads_per_core": max(len(units) // len(cores), 1) if cores else 1,
    }


def _uptime(said: Sections) -> dict[str, Any]:
    first = said.get("uptime", "").split(".")[0].strip()
    return {"uptime_seconds": int(first)} if first.isdigit() else {}


def _mounts(said: Sections) -> dict[str, Any]:
    rows = [line.split(None, 5) for line in said.get("mounts", "").splitlines()[1:]]
    return {
        "mounts": [
            {"device": r[0], "mount": r[5], "size_total": int(r[1]) * 1024, "size_available": int(r[3]) * 1024}
            for r in rows
            if len(r) == 6 and r[1].isdigit() and r[3].isdigit()
        ]
    }


def _addresses(said: Sections) -> dict[str, Any]:
    """From `ip` where the host has it, otherwise from what the kernel shows in /proc/net."""
    found = re.findall(r"(?m)^\d+:\s+(\S+)\s+inet6?\s+([^\s/]+)(?:\s+peer\s+\S+?)?/(\d+)", said.get("addresses", ""))
    rows = [(name.split("@")[0], ipaddress.ip_interface(f"{address}/{bits}")) for name, address, bits in found]
    if not rows:
        rows = [_placed(said, address) for address in _trie(said)] + _inet6(said)
    known = [(name, face) for name, face in rows if not face.ip.is_loopback]
    links = dict(line.split(None, 1) for line in said.get("links", "").splitlines() if len(line.split()) == 2)
    v4 = [(name, face) for name, face in known if face.version == 4]
    v6 = [(name, face) for name, face in known if face.version == 6]
    return {
        "all_ipv4_addresses": [str(face.ip) for _, face in v4],
        "all_ipv6_addresses": [str(face.ip) for _, face in v6],
        "interfaces": [line.split()[0] for line in said.get("links", "").splitlines() if line.split()],
        "default_ipv4": _default_ipv4(said, v4, links),
    }


def _default_ipv4(said: Sections, v4: list[tuple[str, Any]], links: Mapping[str, str]) -> dict[str, Any]:
    """The address of the interface that the route to 0.0.0.0/0 names."""
    route = next((r for r in _routes(said) if r[1] == "00000000" and r[7] == "00000000"), None)
    if route is None:
        return {}
    gateway = _kernel_address(route[2])
    face = next((face for name, face in v4 if name in (route[0], "")), None)
    default: dict[str, Any] = {"interface": route[0], "alias": route[0], "gateway": str(gateway)}
    if route[0] in links:
        default["macaddress"] = links[route[0]]
    if face is not None:
        network = face.network
        default |= {"address": str(face.ip), "netmask": str(network.netmask), "network": str(network.network_address)}
    return default


def _routes(said: Sections) -> list[list[str]]:
    """Rows of /proc/net/route: interface, destination, gateway, .., mask (the eighth)."""
    rows = [line.split() for line in said.get("routes", "").splitlines()[1:]]
    return [row for row in rows if len(row) > 7]


def _kernel_address(text: str) -> ipaddress.IPv4Address:
    """An address as the kernel prints it there: hexadecimal, the last byte first."""
    return ipaddress.IPv4Address(bytes.fromhex(text)[::-1])


def _placed(said: Sections, address: str) -> tuple[str, Any]:
    """A local address with the interface and prefix of the network that is linked there, where a route names one."""
    for row in _routes(said):
        network = ipaddress.IPv4Network((int(_kernel_address(row[1])), str(_kernel_address(row[7]))))
        if row[2] == "00000000" and network.prefixlen and ipaddress.IPv4Address(address) in network:
            return row[0], ipaddress.ip_interface(f"{address}/{network.prefixlen}")
    return "", ipaddress.ip_interface(address)


def _trie(said: Sections) -> list[str]:
    """Local addresses of /proc/net/fib_trie: a leaf `|-- address` followed by `/32 host LOCAL`."""
    return sorted(set(re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", said.get("trie", ""))))


def _inet6(said: Sections) -> list[tuple[str, Any]]:
    rows = [line.split() for line in said.get("inet6", "").splitlines()]
    return [
        (r[5], ipaddress.ip_interface(f"{ipaddress.IPv6Address(int(r[0], 16))}/{int(r[2], 16)}"))
        for r in rows
        if len(r) == 6
    ]


def _virtual(said: Sections) -> dict[str, Any]:
    kinds = said.get("container", "").split()
    if kinds:
        return {"virtualization_type": kinds[0], "virtualization_role": "guest"}
    hypervisor = "hypervisor" in said.get("cpuinfo", "")
    return {
        "virtualization_type": "kvm" if hypervisor else "NA",
        "virtualization_role": "guest" if hypervisor else "NA",
    }


def _local(said: Sections) -> dict[str, Any]:
    """The host's own facts: lines of a file's name, how it was asked, its exit code and what it says (in base64)."""
    rows = (line.split(" ") for line in said.get("local", "").splitlines() if line)
    named = ((_decoded(row[0]), row[1], int(row[2]), _decoded(row[3])) for row in rows)
    return {"local": {name.removesuffix(".fact"): _own(text) if rc == 0 else _FAILED[how].format(name=name, rc=rc)
                      for name, how, rc, text in named}}  # fmt: skip


_FAILED = {
    "link": "Could not stat fact ({name}): it is a link that leads nowhere",
    "read": "error loading facts: {name} can't be read",
    "run": "Failure executing fact script ({name}), rc: {rc}",
}


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode("utf-8", "replace")


def _own(text: str) -> Any:
    """One file of local facts: JSON, else INI (sections of texts, their keys in small letters), else what is wrong."""
    try:
        return loads(text)
    except ValueError:
        pass
    read = configparser.ConfigParser()
    try:
        read.read_string(text)
        return {name: dict(read.items(name)) for name in read.sections()}
    except configparser.Error as error:
        return f"error loading facts as ini, nor are they JSON: {error}".replace("\n", " ")


SUBSETS: dict[str, tuple[Callable[[Sections], dict[str, Any]], ...]] = {
    "min": (_distribution, _kernel, _user, _environment, _date, _software, _local),
    "hardware": (_memory, _processors, _uptime, _mounts),
    "network": (_addresses,),
    "virtual": (_virtual,),
}

# Finer names of Ansible's, and the subset that has what they ask for.
_FINER = {
    "min": "apparmor architecture caps chroot cmdline date_time distribution distribution_major_version "
    "distribution_release distribution_version dns effective_group_ids effective_user_id env facter fips "
    "is_chroot kernel kernel_version local lsb machine machine_id ohai os_family pkg_mgr platform python "
    "python_version real_user_id selinux service_mgr ssh_host_key_dsa_public ssh_host_key_ecdsa_public "
    "ssh_host_key_ed25519_public ssh_host_key_rsa_public ssh_host_pub_keys ssh_pub_keys system "
    "system_capabilities system_capabilities_enforced systemd user user_dir user_gecos user_gid user_id "
    "user_shell user_uid",
    "hardware": "devices mounts processor processor_cores processor_count",
    "network": "all_ipv4_addresses all_ipv6_addresses default_ipv4 default_ipv6 interfaces iscsi",
    "virtual": "virtualization_role virtualization_type",
}
# Facts by the beginnings of their names, where they are not called as a subset is.
_PREFIXES = {
    "min": ("distribution", "kernel", "python", "user", "os_", "host", "fqdn", "domain", "nodename"),
    "hardware": ("mem", "swap", "processor", "uptime"),
    "virtual": ("virtualization_",),
}
# Which sections of what is read on a host each subset is made of.
SECTIONS = {
    "min": ("release", "uname", "name", "user", "date", "python", "init", "packages", "local", "env"),
    "hardware": ("meminfo", "cpuinfo", "uptime", "mounts"),
    "network": ("addresses", "routes", "trie", "inet6", "links"),
    "virtual": ("container", "cpuinfo"),
}
_SUBSET_OF = {name: subset for subset, names in _FINER.items() for name in names.split()}
NAMES = {name: name for name in ("all", *SUBSETS)} | _SUBSET_OF


def subset_of(fact: str) -> str:
    """The subset that a fact is in, where its name says so; else ""."""
    name = fact.removeprefix("ansible_")
    return _SUBSET_OF.get(name) or next((s for s, starts in _PREFIXES.items() if name.startswith(starts)), "")
