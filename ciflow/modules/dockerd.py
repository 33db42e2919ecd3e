"""What the modules about Docker share: requests of the Engine's API, and what their replies say."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import quote

from ciflow.model import Api, Change, Outcome, Probe, Reply, Step
from ciflow.modules.replies import failure, well

# Arguments that say which daemon, and what `ciflow/targets/docker.py` calls them.
_DAEMON = {
    "docker_host": "docker_host", "docker_context": "context", "tls": "tls", "validate_certs": "verify",
    "ca_path": "ca", "client_cert": "cert", "client_key": "key",
}  # fmt: skip
HUB = "docker.io"


def request(args: Mapping[str, Any], method: str, path: str, **more: Any) -> Api:
    """One request; `more` as `ask_docker` has it. All that these modules ask for may be asked for twice: it reads, or
    says what is to be, and the daemon tells by its status what is so already."""
    daemon = {name: args[said] for said, name in _DAEMON.items() if args.get(said) not in (None, "", False)}
    asked: dict[str, Any] = {"method": method, "path": path, "daemon": daemon, "timeout": args["timeout"], **more}
    return Api(kind="docker", request={name: value for name, value in asked.items() if value not in (None, "", {})})


def look(args: Mapping[str, Any], path: str, **more: Any) -> Probe:
    return Probe(request(args, "GET", path, **more))


def do(args: Mapping[str, Any], method: str, path: str, **more: Any) -> Change:
    return Change(request(args, method, path, **more))


def part(name: str) -> str:
    """A name as one part of a path; the slashes of an image's name stay."""
    return quote(name, safe="/:@")


def status(reply: Reply) -> int:
    """The HTTP status; 0 where nobody answered."""
    return int(reply.data.get("status", 0))


def answer(reply: Reply) -> Any:
    """The JSON that came."""
    return reply.data.get("json")


def missing(reply: Reply) -> bool:
    """The daemon answered: there is no such thing."""
    return status(reply) == 404


class Failed(Exception):
    """A request was not granted, or gave something else than it had to. `outcome` is what the task comes to."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.msg)
        self.outcome = outcome


def granted(reply: Reply, what: str) -> Any:
    """The answer's JSON. Raises Failed, saying that it could not `what`."""
    if not well(reply):
        raise Failed(failure(reply, {}, f"could not {what}"))
    return answer(reply)


# --- names of images (distribution's reference grammar) ----------------------------------------------------


def named(image: str, tag: str = "") -> tuple[str, str, str]:
    """The repository, the tag and the digest of an image's name; a name with neither means the tag `latest`."""
    plain, _, digest = image.partition("@")
    repository, colon, own = plain.rpartition(":")
    if not colon or "/" in own:  # a colon before a slash is a port's
        repository, own = plain, ""
    return repository, own or tag or ("" if digest else "latest"), digest


def reference(image: str, tag: str = "") -> str:
    """The name with its tag, or with its digest where it has one."""
    repository, tag, digest = named(image, tag)
    return f"{repository}@{digest}" if digest else f"{repository}:{tag}"


def registry_of(image: str) -> str:
    """The registry that an image's name means: its first part, where that is the name of a host."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else HUB


def pull(args: Mapping[str, Any], image: str, platform: str = "") -> Change:
    """Bring an image from its registry."""
    repository, tag, digest = named(image)
    query = {"fromImage": repository, "tag": digest or tag, **({"platform": platform} if platform else {})}
    return do(args, "POST", "/images/create", query=query, auth=registry_of(image), pieces=True)


def digests(found: Any) -> list[str]:
    """The digests of manifests by which an image is known in registries (`RepoDigests` of its inspection)."""
    return sorted({str(one).partition("@")[2] for one in (found or {}).get("RepoDigests") or []})


def in_registry(args: Mapping[str, Any], image: str) -> Generator[Step, Reply, str]:
    """The digest that the registry has for the name now; "" where it does not say."""
    reply = yield look(args, f"/distribution/{part(image)}/json", auth=registry_of(image))
    return str(((answer(reply) or {}).get("Descriptor") or {}).get("digest", "")) if well(reply) else ""
