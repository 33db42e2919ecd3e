"""Modules of Ansible's world that ciflow does not have, and what does their job here."""

from __future__ import annotations

from typing import Any

from ciflow.lang.modulenames import BUILTIN

# Modules of ansible-core, and short names of its collections' commonest: what does their job.
INSTEAD = {
    "acl": "`command: setfacl -m ENTRY PATH`",
    "alternatives": "`command: update-alternatives --set NAME PATH`",
    "apk": "`command: apk add NAME`",
    "apt_key": "`get_url` the key into /etc/apt/keyrings, and name it in `apt_repository` or `deb822_repository`",
    "at": "`command: at TIME` with `stdin:`",
    "debconf": "`command: debconf-set-selections` with `stdin:`",
    "dnf": "`command: dnf install -y NAME`",
    "dnf5": "`command: dnf5 install -y NAME`",
    "firewalld": "`command: firewall-cmd --permanent --add-service=NAME`",
    "gem": "`command: gem install NAME`",
    "homebrew": "`command: brew install NAME`",
    "htpasswd": "`command: htpasswd -i FILE USER` with `stdin:`",
    "ini_file": "`template` for the whole file, or `lineinfile` with `insertafter`",
    "locale_gen": "`command: locale-gen NAME`",
    "lvg": "`command: vgcreate NAME DEVICE`",
    "lvol": "`command: lvcreate -n NAME -L SIZE GROUP`",
    "make": "`command: make TARGET` with `chdir:`",
    "modprobe": "`command: modprobe NAME`",
    "mount_facts": "`command: findmnt --json` with `register:`, and `from_json`",
    "mysql_db": "`command: mysql` with `stdin:`",
    "mysql_user": "`command: mysql` with `stdin:`",
    "nmcli": "`command: nmcli connection ..`",
    "npm": "`command: npm ci` with `chdir:`",
    "openbsd_pkg": "`command: pkg_add NAME`",
    "opkg": "`command: opkg install NAME`",
    "pacman": "`command: pacman -S --noconfirm --needed NAME`",
    "pam_limits": "`lineinfile` in a file of /etc/security/limits.d",
    "parted": "`command: parted -s DEVICE ..`",
    "patch": "`command: patch -p1` with `stdin:` and `chdir:`",
    "pkgng": "`command: pkg install -y NAME`",
    "portage": "`command: emerge NAME`",
    "postgresql_db": "`command: createdb NAME`",
    "postgresql_user": "`command: psql` with `stdin:`",
    "redhat_subscription": "`command: subscription-manager register ..`",
    "rpm_key": "`command: rpm --import FILE`",
    "seboolean": "`command: setsebool -P NAME on`",
    "sefcontext": "`command: semanage fcontext -a -t TYPE PATTERN`",
    "selinux": "`lineinfile` in /etc/selinux/config, and `command: setenforce 1`",
    "seport": "`command: semanage port -a -t TYPE -p tcp PORT`",
    "snap": "`command: snap install NAME`",
    "subversion": "`command: svn checkout URL FOLDER`",
    "synchronize": "`copy` for few files, or `command: rsync ..` with `delegate_to: localhost`",
    "sysvinit": "`service`",
    "timezone": "`command: timedatectl set-timezone NAME`",
    "ufw": "`command: ufw allow PORT`",
    "xattr": "`command: setfattr -n NAME -v VALUE PATH`",
    "xml": "`template` for the whole file, or `command: xmlstarlet ed --inplace ..`",
    "yum": "`command: dnf install -y NAME`",
    "yum_repository": "`copy` of /etc/yum.repos.d/NAME.repo",
    "zypper": "`command: zypper --non-interactive install NAME`",
    "zypper_repository": "`command: zypper addrepo URL NAME`",
}


def is_foreign(name: Any) -> bool:
    """Whether it names a module of Ansible's world that ciflow does not have: one with a collection, or a known one."""
    if not isinstance(name, str) or "{{" in name:
        return False
    collection, _, verb = name.rpartition(".")
    other = collection.count(".") == 1 and collection not in BUILTIN
    return other or verb.startswith("win_") or verb in INSTEAD


def instead(name: str) -> str:
    """What does the job of such a module: another module, or the plain command; "" for what is no module known."""
    if not is_foreign(name):
        return ""
    calls = "the program that it calls by `command`, or its service by `uri`"
    return f"not a module of ciflow's; instead: {INSTEAD.get(name.rpartition('.')[2], calls)}"
