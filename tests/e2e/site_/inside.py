"""Looks into easproxy's processes from outside, by /proc: who is who, what each has open, allows itself, and remembers."""
import os
import re

MEMORY_MAX = 256 << 20          # of one mapping; a sanitizer's shadow is larger and holds nothing


def by_role(proxy):
    """{"worker": [pid, ...], "directory": [...], ...} in the order of their numbers; the master is "master"."""
    found = {"master": [master_of(proxy)]}
    names = {"eas-worker": "worker", "eas-direct": "directory", "eas-kerber": "kerberos", "eas-revoca": "revocation", "eas-lockou": "lockout",
             "eas-stretc": "stretch", "eas-signer": "signer"}
    named = []
    for pid in proxy.daemon.pids():
        try:
            name = _read("/proc/%d/comm" % pid).strip()
        except (FileNotFoundError, ProcessLookupError):
            continue                    # it has just ended
        role = names.get(name.rpartition("-")[0])
        if role:
            named.append((name, role, pid))
    for _, role, pid in sorted(named):
        found.setdefault(role, []).append(pid)
    return found


def master_of(proxy):
    """`ip netns exec` becomes the program itself, so that the daemon's pid is the master's."""
    return proxy.daemon.pid


def status(pid):
    """/proc/PID/status as a dict of texts."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in _read("/proc/%d/status" % pid).splitlines())}


def descriptors(pid):
    """{number: what the link names} without the numbers of sockets and pipes in it."""
    found = {}
    for number in os.listdir("/proc/%d/fd" % pid):
        try:
            found[int(number)] = re.sub(r":\[\d+\]$", "", os.readlink("/proc/%d/fd/%s" % (pid, number)))
        except FileNotFoundError:
            continue
    return found


def pss(pid):
    """Proportional set size in kB: shared pages count once for all who share them."""
    return int(re.search(r"^Pss:\s+(\d+)", _read("/proc/%d/smaps_rollup" % pid), re.M).group(1))


def cpu_ticks(pid):
    fields = _read("/proc/%d/stat" % pid).rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def remembers(pid, *secrets):
    """Those of `secrets` (bytes) that stand anywhere in the memory of the process."""
    found = set()
    longest = max(map(len, secrets))
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as memory:
        for line in maps:
            span, rights, _, _, _, *name = line.split(None, 5)
            begin, end = (int(x, 16) for x in span.split("-"))
            if "r" not in rights or name and name[0].startswith("[v") or end - begin > MEMORY_MAX:
                continue
            for at in range(begin, end, 8 << 20):
                try:
                    memory.seek(at)
                    block = memory.read(min((8 << 20) + longest, end - at))
                except (OSError, ValueError):
                    continue
                found.update(s for s in secrets if s in block)
    return found


def _read(path):
    with open(path) as f:
        return f.read()


def shared(pid):
    """Memory that it shares with other processes and may write to: {what: bytes}."""
    found = {}
    with open("/proc/%d/maps" % pid) as f:
        for line in f:
            span, rights, _, device, inode, *path = line.split()
            begin, end = (int(x, 16) for x in span.split("-"))
            if rights.startswith("rw") and rights.endswith("s"):
                found[(device, inode, *path)] = found.get((device, inode, *path), 0) + end - begin
    return found
