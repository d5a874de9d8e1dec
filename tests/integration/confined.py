"""confined.py - a process as systemd would run it: what deploy/sluice.service says of privileges, put on without systemd.

The unit's own lines are what is read. Applied is what a process can do to itself: another user without any capability,
NoNewPrivileges, and one seccomp filter for SystemCallFilter, RestrictAddressFamilies, RestrictNamespaces,
RestrictRealtime, RestrictSUIDSGID, LockPersonality and MemoryDenyWriteExecute. What needs mounts is not.
"""
import collections
import ctypes
import os
import platform
import re
import signal
import socket
import struct
import subprocess

_libc = ctypes.CDLL(None, use_errno=True)
USER = 64321  # of nobody, as DynamicUser would choose one
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 24, 38, 22, 2
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
LOAD, AND, EQUAL, ANY, RETURN, ALLOW = 0x20, 0x54, 0x15, 0x45, 0x06, 0x7FFF0000
REFUSE = 0x00050001  # SECCOMP_RET_ERRNO with EPERM, which is what the unit's SystemCallErrorNumber says
ABSENT = 0x00050026  # ENOSYS
NAMESPACES = 0x7E020000  # CLONE_NEW*
EXEC, WRITE = 4, 2  # PROT_


def unit_of(path):
    """The lines of [Service]: key -> values in their order."""
    found = collections.defaultdict(list)
    with open(path) as file:
        for line in file.read().partition("[Service]")[2].partition("[Install]")[0].splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found[key].append(value)
    return found


def _numbers():
    """System calls of this machine, by name."""
    text = subprocess.run(["cc", "-E", "-dM", "-include", "sys/syscall.h", "-xc", "/dev/null"], check=True,
                          capture_output=True, text=True).stdout
    named = dict(re.findall(r"#define (__NR\w+) (\w+)", text))
    return {name[5:]: int(named.get(value, value)) for name, value in named.items()
            if name.startswith("__NR_") and named.get(value, value).isdigit()}


def _expand(words):
    """Names of system calls; @sets as systemd knows them."""
    names = set()
    for word in words:
        if not word.startswith("@"):
            names.add(word)
            continue
        listed = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", word], check=True,
                                capture_output=True, text=True).stdout.splitlines()[1:]
        names |= _expand([line.strip() for line in listed if line.strip() and not line.strip().startswith("#")])
    return names


def allowed_calls(unit):
    allowed = set()
    for value in unit["SystemCallFilter"]:
        words = value.lstrip("~").split()
        allowed = allowed - _expand(words) if value.startswith("~") else allowed | _expand(words)
    # systemd lets these through always: its @default
    return allowed | _expand(["@default"])


class _Program:
    def __init__(self):
        self.code = []

    def add(self, op, k, yes=0, no=0):
        self.code.append(struct.pack("HBBI", op, yes, no, k))

    def refuse_if(self, number, argument, mask, values=None):
        """Refused when any bit of `mask` is set; or, with `values`, when the argument within `mask` is one of them."""
        checks = [(EQUAL, value) for value in values] if values is not None else [(ANY, mask)]
        self.add(EQUAL, number, 0, 3 + 2 * len(checks))
        self.add(LOAD, 16 + 8 * argument)
        self.add(AND, mask)
        for op, value in checks:
            self.add(op, value, 0, 1)
            self.add(RETURN, REFUSE)
        self.add(LOAD, 0)

    def refuse_unless(self, number, argument, values):
        self.add(EQUAL, number, 0, 3 + len(values))
        self.add(LOAD, 16 + 8 * argument)
        for i, value in enumerate(values):
            self.add(EQUAL, value, len(values) - i, 0)
        self.add(RETURN, REFUSE)
        self.add(LOAD, 0)


def filter_of(unit):
    """The unit's filter as a program for the kernel."""
    numbers, p = _numbers(), _Program()
    p.add(LOAD, 4)
    p.add(EQUAL, ARCHITECTURE[platform.machine()], 1, 0)
    p.add(RETURN, REFUSE)
    p.add(LOAD, 0)
    families = [getattr(socket, name) for name in unit["RestrictAddressFamilies"][-1].split()]
    p.refuse_unless(numbers["socket"], 0, families)
    yes = lambda key: unit[key][-1:] == ["yes"]
    if yes("RestrictNamespaces"):
        p.refuse_if(numbers["clone"], 0, NAMESPACES)
        p.refuse_if(numbers["unshare"], 0, NAMESPACES)
    if yes("MemoryDenyWriteExecute"):
        p.refuse_if(numbers["mmap"], 2, EXEC | WRITE, [EXEC | WRITE])
        p.refuse_if(numbers["mprotect"], 2, EXEC)
        p.refuse_if(numbers["pkey_mprotect"], 2, EXEC)
    if yes("RestrictRealtime"):
        p.refuse_if(numbers["sched_setscheduler"], 1, 0xFFFFFFFF, [1, 2, 6])  # FIFO, RR, DEADLINE
    if yes("RestrictSUIDSGID"):
        for name, argument in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2)):
            if name in numbers:
                p.refuse_if(numbers[name], argument, 0o6000)
    if yes("LockPersonality"):
        p.refuse_if(numbers["personality"], 0, 0xFFFFFFFF)
    names = allowed_calls(unit)
    if yes("RestrictNamespaces"):  # flags of clone3 are out of a filter's reach: it does not exist, and clone is taken
        p.add(EQUAL, numbers["clone3"], 0, 1)
        p.add(RETURN, ABSENT)
        names = names - {"setns"}
    allowed = sorted(numbers[name] for name in names if name in numbers)
    assert len(allowed) > 200, "what systemd-analyze lists was not understood"
    for number in allowed:
        p.add(EQUAL, number, 0, 1)
        p.add(RETURN, ALLOW)
    p.add(RETURN, REFUSE)
    return b"".join(p.code)


def _must(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def confine(unit):
    """A function to call in the child before it becomes the program. Root becomes USER; others stay who they are."""
    code = filter_of(unit)
    program = ctypes.create_string_buffer(code)
    sock_fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(program)))

    def run():
        os.umask(int(unit["UMask"][-1], 8))
        if os.geteuid() == 0:
            for capability in range(64):
                _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
            os.setgroups([])
            os.setgid(USER)
            os.setuid(USER)
        _must(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        _must(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _must(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(sock_fprog)), 0, 0))
    run.keep = program
    return run
