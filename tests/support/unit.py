# SPDX-License-Identifier: BSD-3-Clause
"""A systemd service unit, and a program started the way the unit says, where systemd is not there to do it.

As a program, "unit.py UNIT INSTANCE [--root DIR] [--forbid] -- COMMAND..." becomes COMMAND as the unit's user, with the
capabilities, limits, directories, address families and system calls of the unit, all of it read from the unit's file.
It must be root. With --root it lives in that directory. With --forbid a system call that is not in the unit's list ends
the process instead of failing, so that none goes unnoticed.
"""

import argparse
import configparser
import ctypes
import errno
import os
import pwd
import re
import resource
import socket
import subprocess
import sys

_libc = ctypes.CDLL(None, use_errno=True)

# uapi/linux/capability.h, in the order of their numbers
CAPABILITIES = """chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
    net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace
    sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control
    setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore""".split()


class Unit:
    """What the file of a template unit says for one INSTANCE. A setting that is given several times is a list."""

    def __init__(self, path, instance):
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#", ";"),
                                              dict_type=_Repeated)
        parser.optionxform = str
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
        self.sections = {name: dict(parser.items(name)) for name in parser.sections()}
        self.instance = instance

    def get(self, name, section="Service"):
        """The value, with the instance's name put in; several lines are joined by blanks. Empty where there is none."""
        value = self.sections[section].get(name, "")
        return value.replace("\n", " ").replace("%i", self.instance).strip()

    def words(self, name):
        return self.get(name).split()

    def yes(self, name):
        return self.get(name) in ("yes", "true", "on", "1")

    def system_calls(self):
        """The names that SystemCallFilter lets through. Sets (@name) are looked up with systemd-analyze."""
        return _calls(tuple(["@default", *self.words("SystemCallFilter")]))


class _Repeated(dict):
    """Settings whose later lines are added to the earlier ones."""

    def __setitem__(self, key, value):
        if isinstance(value, list) and isinstance(self.get(key), list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def _calls(words):
    shown = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter"], capture_output=True, text=True,
                           check=True).stdout
    sets, current = {}, None
    for line in shown.splitlines():
        if line.startswith("@"):
            current = sets.setdefault(line.strip(), [])
        elif current is not None and re.fullmatch(r"\s+@?[a-z0-9_]+", line):
            current.append(line.strip())
    names, waiting = set(), list(words)
    while waiting:
        word = waiting.pop()
        if word.startswith("@"):
            waiting += sets[word]
        else:
            names.add(word)
    return names


def _check(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno() or -result, f"{what}: {os.strerror(ctypes.get_errno() or -result)}")


# ---- directories ----

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
CLONE_NEWNS = 0x20000


def _mount(source, target, kind=None, flags=0, data=None):
    words = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), None if data is None else data.encode()), f"mount {target}")


def _bind(path, read_only=False):
    """Makes PATH a mount of its own, which may be less writable than what is around it."""
    _mount(path, path, flags=MS_BIND | MS_REC)
    if read_only:
        _mount(None, path, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def _own_directory(path, user, mode):
    os.makedirs(path, exist_ok=True)
    os.chown(path, user.pw_uid, user.pw_gid)
    os.chmod(path, mode)


def _enter(unit, root, user):
    """Directories as the unit wants them, in a mount namespace of this process's own."""
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _mount(None, "/", flags=MS_REC | MS_PRIVATE)
    inside = root.rstrip("/")
    state = [f"{inside}/var/lib/{name}" for name in unit.words("StateDirectory")]
    run = [f"{inside}/run/{name}" for name in unit.words("RuntimeDirectory")]
    for path in state:
        _own_directory(path, user, int(unit.get("StateDirectoryMode") or "755", 8))
    for path in run:
        _own_directory(path, user, int(unit.get("RuntimeDirectoryMode") or "755", 8))
    if unit.get("ProtectSystem") == "strict":
        _bind(root, read_only=True)
        for path in state + run:
            _bind(path)
            _mount(None, path, flags=MS_REMOUNT | MS_BIND)
    if inside:
        _mount("proc", f"{inside}/proc", "proc", data="hidepid=invisible" if unit.get("ProtectProc") else None)
        _mount("/sys", f"{inside}/sys", flags=MS_BIND | MS_REC)
        _mount("tmpfs", f"{inside}/dev", "tmpfs", MS_NOSUID, "mode=755")
        for name in ("null", "zero", "full", "random", "urandom"):
            with open(f"{inside}/dev/{name}", "wb"):
                pass
            _mount(f"/dev/{name}", f"{inside}/dev/{name}", flags=MS_BIND)
    if unit.yes("PrivateTmp"):
        for path in ("tmp", "var/tmp"):
            _mount("tmpfs", f"{inside}/{path}", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    if unit.yes("ProtectHome"):
        for path in ("home", "root"):
            _mount("tmpfs", f"{inside}/{path}", "tmpfs", MS_NOSUID | MS_NODEV | MS_RDONLY, "mode=000")
    os.chroot(root)
    os.chdir(unit.get("WorkingDirectory") or "/")


# ---- user and capabilities ----

PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 8, 24, 47, 2
SYS_CAPSET = {"x86_64": 126, "aarch64": 91}


def capability_set(text):
    """The numbers of capabilities named as "CAP_NET_RAW CAP_KILL"."""
    return {CAPABILITIES.index(name.lower().removeprefix("cap_")) for name in text.split()}


def _capset(numbers):
    """Permitted and inheritable, all that an ambient one needs; and effective."""
    version_3 = 0x20080522
    low, high = (sum(1 << n % 32 for n in numbers if n // 32 == half) for half in (0, 1))
    header = (ctypes.c_uint32 * 2)(version_3, 0)
    data = (ctypes.c_uint32 * 6)(low, low, low, high, high, high)
    _check(_libc.syscall(SYS_CAPSET[os.uname().machine], header, data), "capset")


def _become(unit, user, last):
    """Gives up root for the unit's user and capabilities. LAST: the last capability that the kernel knows."""
    for name, limit in (("LimitMEMLOCK", resource.RLIMIT_MEMLOCK), ("LimitNOFILE", resource.RLIMIT_NOFILE)):
        if unit.get(name):
            value = resource.RLIM_INFINITY if unit.get(name) == "infinity" else int(unit.get(name))
            try:
                resource.setrlimit(limit, (value, value))
            except ValueError:  # a root without CAP_SYS_RESOURCE, as in some containers
                most = resource.getrlimit(limit)[1]
                resource.setrlimit(limit, (most, most))
    os.umask(int(unit.get("UMask") or "022", 8))
    bounding = capability_set(unit.get("CapabilityBoundingSet"))
    ambient = capability_set(unit.get("AmbientCapabilities"))
    for number in set(range(last + 1)) - bounding:
        _check(_libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "PR_CAPBSET_DROP")
    _check(_libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "PR_SET_KEEPCAPS")
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    _capset(ambient)
    for number in ambient:
        _check(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0), "PR_CAP_AMBIENT_RAISE")


# ---- system calls, by libseccomp ----

KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
COMPARE_EQ, COMPARE_GE, COMPARE_MASKED_EQ = 4, 5, 7
PROT_WRITE, PROT_EXEC = 2, 4


def _fails(number):
    return 0x00050000 | number


class _Compare(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class _Filter:
    def __init__(self, otherwise):
        self.library = ctypes.CDLL("libseccomp.so.2")
        self.library.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.library.seccomp_init(ctypes.c_uint32(otherwise)))

    def rule(self, action, name, *compares):
        number = self.library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:  # not of this architecture, or too new for the library
            return
        array = (_Compare * max(1, len(compares)))(*compares)
        result = self.library.seccomp_rule_add_array(self.context, ctypes.c_uint32(action), number,
                                                     ctypes.c_uint(len(compares)), array)
        if result not in (0, -errno.EEXIST, -errno.EDOM):
            raise OSError(-result, f"seccomp rule for {name}")

    def load(self):
        result = self.library.seccomp_load(self.context)
        if result != 0:
            raise OSError(-result, "seccomp_load")


def _restrict(unit, calls, forbid):
    """The last step: what the process may ask of the kernel from here on. One filter for each setting, as systemd does;
    of several, the strictest answer holds."""
    denied = _fails(errno.EPERM)
    families = [getattr(socket, name) for name in unit.words("RestrictAddressFamilies")]
    if families:
        sockets = _Filter(ALLOW)
        unlisted = _fails(errno.EAFNOSUPPORT)
        for family in set(range(max(families))) - set(families):
            sockets.rule(unlisted, "socket", _Compare(0, COMPARE_EQ, family, 0))
        sockets.rule(unlisted, "socket", _Compare(0, COMPARE_GE, max(families) + 1, 0))
        sockets.load()
    if unit.yes("MemoryDenyWriteExecute"):
        memory = _Filter(ALLOW)
        both = PROT_WRITE | PROT_EXEC
        memory.rule(denied, "mmap", _Compare(2, COMPARE_MASKED_EQ, both, both))
        for name in ("mprotect", "pkey_mprotect"):
            memory.rule(denied, name, _Compare(2, COMPARE_MASKED_EQ, PROT_EXEC, PROT_EXEC))
        memory.load()
    if unit.yes("RestrictSUIDSGID"):
        modes = _Filter(ALLOW)
        for bit in (0o4000, 0o2000):
            for name, argument in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1), ("mkdirat", 2),
                                   ("creat", 1)):
                modes.rule(denied, name, _Compare(argument, COMPARE_MASKED_EQ, bit, bit))
        modes.load()
    number = getattr(errno, unit.get("SystemCallErrorNumber") or "EPERM")
    everything = _Filter(KILL_PROCESS if forbid else _fails(number))
    for name in sorted(calls):
        everything.rule(ALLOW, name)
    everything.load()


def _main():
    parser = argparse.ArgumentParser()
    parser.add_argument("unit")
    parser.add_argument("instance")
    parser.add_argument("--root", default="/")
    parser.add_argument("--forbid", action="store_true")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    unit = Unit(options.unit, options.instance)
    # All that needs a program, a library or a file of this system comes before the other root directory.
    calls = unit.system_calls()
    user = user_in(options.root, unit.get("User"))
    ctypes.CDLL("libseccomp.so.2")
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
        last = int(file.read())
    _enter(unit, options.root, user)
    _become(unit, user, last)
    _restrict(unit, calls, options.forbid)
    os.execv(options.command[0], options.command)


def user_in(root, name):
    """A user of the system in ROOT."""
    with open(os.path.join(root, "etc/passwd"), encoding="utf-8") as file:
        for line in file:
            fields = line.rstrip("\n").split(":")
            if fields[0] == name:
                return pwd.struct_passwd((fields[0], fields[1], int(fields[2]), int(fields[3]), *fields[4:7]))
    raise KeyError(f"there is no user {name} in {root}")


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    _main()
