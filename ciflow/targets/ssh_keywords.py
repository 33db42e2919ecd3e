"""The keywords of ssh_config(5), which of them are obeyed, and the small languages in which their values are written:
words, patterns, tokens. Pure. docs/ssh.md gives the reason for each keyword that is not obeyed.
"""

from __future__ import annotations

import fnmatch
import functools
import getpass
import hashlib
import os
import re
import socket
from collections.abc import Mapping

from ciflow.diagnostics import Refused

Settings = Mapping[str, list[str]]  # keyword in lower case -> its words

# Older names of keywords.
ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "tisauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
    "identityfile2": "identityfile",
    "keepalive": "tcpkeepalive",
    "smartcarddevice": "pkcs11provider",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "hostbasedkeytypes": "hostbasedacceptedalgorithms",
    "hostbasedacceptedkeytypes": "hostbasedacceptedalgorithms",
}
_OBEYED = """
    addressfamily bindaddress casignaturealgorithms canonicaldomains canonicalizefallbacklocal canonicalizehostname
    canonicalizemaxdots certificatefile ciphers connecttimeout forwardagent globalknownhostsfile host
    hostkeyalgorithms hostkeyalias hostname identitiesonly identityagent identityfile ignoreunknown include
    kbdinteractiveauthentication kexalgorithms macs match passwordauthentication port preferredauthentications
    proxycommand proxyjump pubkeyauthentication refuseconnection requiredrsasize revokedhostkeys sendenv
    serveralivecountmax serveraliveinterval setenv stricthostkeychecking tag user userknownhostsfile
"""
OBEYED = frozenset(_OBEYED.split())
# Of another session than ours, and never made for it: passed over in a file, refused where somebody asks for them.
_NOT_MADE = "dynamicforward localcommand localforward remotecommand remoteforward tunnel"
NOT_MADE = frozenset(_NOT_MADE.split())
# Without them a connection leads nowhere else, trusts nobody more, and shows nothing to anybody.
_HARMLESS = """
    addkeystoagent batchmode channeltimeout checkhostip clearallforwardings compression
    connectionattempts controlmaster controlpath controlpersist enableescapecommandline enablesshkeysign escapechar
    exitonforwardfailure fingerprinthash forkafterauthentication forwardx11 forwardx11timeout forwardx11trusted
    gatewayports gssapiauthentication gssapiclientidentity gssapidelegatecredentials gssapikeyexchange
    gssapikexalgorithms gssapirenewalforcesrekey gssapiserveridentity gssapitrustdns hashknownhosts
    hostbasedacceptedalgorithms hostbasedauthentication ipqos kbdinteractivedevices loglevel logverbose
    nohostauthenticationforlocalhost numberofpasswordprompts obscurekeystroketiming permitlocalcommand
    permitremoteopen pkcs11provider pubkeyacceptedalgorithms rekeylimit requesttty securitykeyprovider sessiontype
    stdinnull streamlocalbindmask streamlocalbindunlink syslogfacility tcpkeepalive tunneldevice updatehostkeys
    usekeychain verifyhostkeydns versionaddendum visualhostkey warnweakcrypto xauthlocation
"""
HARMLESS = frozenset(_HARMLESS.split())
# What OpenSSH itself passes over by now.
_FORGOTTEN = """
    afstokenpassing cipher compressionlevel fallbacktorsh globalknownhostsfile2 kerberosauthentication
    kerberostgtpassing protocol rhostsauthentication rhostsrsaauthentication rsaauthentication useprivilegedport
    userknownhostsfile2 useroaming usersh
"""
FORGOTTEN = frozenset(_FORGOTTEN.split())
# What it would not do to pass over, and nothing here obeys: refused unless it says one of these.
UNBUILT: Mapping[str, tuple[str, ...]] = {
    "bindinterface": (),
    "canonicalizepermittedcnames": ("none",),
    "knownhostscommand": ("none",),
    "proxyusefdpass": ("no", "false"),
}
_KNOWN = OBEYED | HARMLESS | NOT_MADE | FORGOTTEN | UNBUILT.keys()
_SEVERAL = frozenset(["identityfile", "certificatefile", "sendenv"])  # each line adds to those before
_AS_IT_STANDS = frozenset(["proxycommand", "proxyjump", "localcommand", "remotecommand", "knownhostscommand"])


def keyword(word: str) -> str:
    """Its name today, in lower case."""
    return ALIASES.get(word.lower(), word.lower())


def known(word: str) -> bool:
    return word in _KNOWN


def words_of(word: str, value: str) -> list[str]:
    """The words of a keyword's value. ValueError: a quote is not closed."""
    return [value.lstrip(" \t=")] if word in _AS_IT_STANDS else list(split(value))


def put(found: dict[str, list[str]], word: str, words: list[str]) -> None:
    """What is said first counts, but for keywords that may be said several times; and of a way through hosts and one by
    a command the first (`ProxyJump none` is no way: a command that is said later is)."""
    if word in _SEVERAL:
        found[word] = list(dict.fromkeys([*found.get(word, ()), *words]))
        return
    jumps = first(found, "proxyjump").lower() not in ("", "none")
    other = {"proxyjump": "proxycommand" in found, "proxycommand": jumps}.get(word, False)
    if word not in found and not other:
        found[word] = words


@functools.lru_cache(maxsize=1024)  # all hosts of a run read the same lines
def split(text: str) -> tuple[str, ...]:
    """Words as OpenSSH reads them: in quotes of either kind, with a backslash before a quote, a backslash or a space,
    up to a word that begins with #. ValueError: a quote is not closed."""
    words: list[str] = []
    at = 0
    while at < len(text) and text[at] != "#":
        if text[at] in " \t":
            at += 1
            continue
        word = quote = ""
        while at < len(text) and (quote or text[at] not in " \t"):
            here, after = text[at], text[at + 1 : at + 2]
            at += 1
            if here == "\\" and after and (after in "'\"\\" or (after == " " and not quote)):
                word, at = word + after, at + 1
            elif here in "'\"" and quote in ("", here):
                quote = "" if quote else here
            else:
                word += here
        if quote:
            raise ValueError(f"a quote is not closed in {text!r}")
        words.append(word)
    return tuple(words)


def fits(text: str, pattern: str) -> bool:
    """ssh_config(5), PATTERNS: only * and ? are wild."""
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def listed(text: str, patterns: str) -> bool:
    """Whether one of the patterns, between commas, fits, and none that is negated."""
    found = False
    for pattern in patterns.split(","):
        if fits(text, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def tokens(asked: str, host: str, settings: Settings, home: str) -> dict[str, str]:
    """ssh_config(5), TOKENS, for a host that was `asked` for and is called `host` by its HostName."""
    here, port = socket.gethostname(), first(settings, "port") or "22"
    user, jump = first(settings, "user") or getpass.getuser(), _nothing(first(settings, "proxyjump"))
    digest = hashlib.sha1(f"{here}{host}{port}{user}{jump}".encode(), usedforsecurity=False).hexdigest()
    return {
        "C": digest, "L": here.partition(".")[0], "d": home, "h": host, "i": str(os.getuid()), "j": jump,
        "k": first(settings, "hostkeyalias") or asked, "l": here, "n": asked, "p": port, "r": user,
        "u": getpass.getuser(),
    }  # fmt: skip


def expand(text: str, meanings: Mapping[str, str]) -> str:
    """`text` with its tokens replaced. Refused: one that means nothing here."""

    def meant(token: re.Match[str]) -> str:
        if token[1] == "%":
            return "%"
        if token[1] not in meanings:
            raise Refused(
                f"ssh's configuration: %{token[1]} means nothing in {text!r}", help="see TOKENS in ssh_config(5)"
            )
        return meanings[token[1]]

    return re.sub("%(.?)", meant, text)


def path(text: str, meanings: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """A path with its tokens, `${VARIABLE}` and `~`. Refused: there is no such variable."""

    def valued(name: re.Match[str]) -> str:
        if name[1] not in environment:
            raise Refused(f"ssh's configuration: there is no variable {name[1]} for {text!r}")
        return environment[name[1]]

    found = re.sub(r"\$\{([^}]*)\}", valued, expand(text, meanings))
    return meanings["d"] + found[1:] if found == "~" or found.startswith("~/") else os.path.expanduser(found)  # noqa: PTH111


def first(settings: Settings, word: str) -> str:
    return next(iter(settings.get(word, ())), "")


def number(settings: Settings, word: str, usual: int) -> int:
    """Refused where it is none."""
    said = first(settings, word)
    if said and not said.isdecimal():
        raise Refused(f"ssh's {word} must be a number, not {said!r}")
    return int(said or usual)


def _nothing(text: str) -> str:
    return "" if text.lower() == "none" else text
