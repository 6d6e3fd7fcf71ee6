#!/usr/bin/python3
"""Starts a program the way systemd starts a unit, without systemd: what the unit takes away is really taken away.

    as_systemd.py UNIT GROUP SOCKET PROGRAM ARGUMENT...

CapabilityBoundingSet, NoNewPrivileges, SystemCallFilter (where systemd-analyze can say what @system-service is),
LimitNOFILE, LimitCORE and UMask come from the file UNIT; GROUP is in place of the unit's. SOCKET, "host:port" or "", is
bound and handed over as sd_listen_fds(3) says. What uses it is root's.
"""
import ctypes
import errno
import grp
import os
import re
import resource
import shutil
import socket
import subprocess
import sys

PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 23, 24, 38
CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
                "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
                "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
                "SYS_RESOURCE"]         # the first ones, by number (capabilities(7)); none of the later ones is kept
ACT_ALLOW, ACT_ERRNO = 0x7fff0000, 0x00050000       # seccomp_init(3)
LISTEN_FD = 3

libc = ctypes.CDLL(None, use_errno=True)


def settings(unit):
    """name -> value of the [Service] section; what stands twice is joined."""
    found = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", open(unit).read().partition("[Service]")[2], re.M):
        found[name] = (found.get(name, "") + " " + value).strip()
    return found


def kept(unit):
    """Numbers of the capabilities in the bounding set."""
    return {CAPABILITIES.index(name.removeprefix("CAP_")) for name in settings(unit)["CapabilityBoundingSet"].split()}


def system_calls(names):
    """The names with systemd's @groups written out; None if it is not there to ask."""
    if not shutil.which("systemd-analyze"):
        return None
    text = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True).stdout
    groups, group = {}, None
    for line in text.splitlines():
        if line.startswith("@"):
            group = groups.setdefault(line.strip(), [])
        elif re.match(r"    [@\w]", line):
            group.append(line.strip())
    found, todo = set(), list(names)
    while todo:
        name = todo.pop()
        if name.startswith("@"):
            todo += groups[name]
        else:
            found.add(name)
    return found


def filter_calls(names):
    """Everything else is answered with EPERM, as the unit has it."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(ACT_ERRNO | errno.EPERM)))
    for name in names:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert seccomp.seccomp_rule_add(context, ctypes.c_uint32(ACT_ALLOW), number, 0) == 0, name
    assert seccomp.seccomp_load(context) == 0, "the filter was refused"


def pass_socket(address):
    host, _, port = address.rpartition(":")
    listener = socket.create_server((host, int(port)), backlog=128)
    os.dup2(listener.detach(), LISTEN_FD)
    os.set_inheritable(LISTEN_FD, True)     # dup2 of a descriptor to itself leaves it as it was
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="easproxy.socket")


def main(unit, group, address, *argv):
    values = settings(unit)
    calls = system_calls(values["SystemCallFilter"].split())
    if address:
        pass_socket(address)
    resource.setrlimit(resource.RLIMIT_CORE, (int(values["LimitCORE"]),) * 2)
    files = min(int(values["LimitNOFILE"]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    os.umask(int(values["UMask"], 8))
    os.setgroups([])
    os.setgid(grp.getgrnam(group).gr_gid)
    keep = kept(unit)
    number = 0
    while libc.prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if number not in keep:
            assert libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0
        number += 1
    if values.get("NoNewPrivileges") == "yes":
        assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if calls is not None:
        filter_calls(calls)
    os.execv(argv[0], argv)


if __name__ == "__main__":
    main(*sys.argv[1:])
