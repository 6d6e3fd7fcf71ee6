"""A proxy's workers from outside: which processes they are, what memory and processor time they take."""
import os


def workers(proxy):
    """The pids of its worker processes."""
    found = []
    for pid in proxy.daemon.pids():
        try:
            with open("/proc/%d/comm" % pid) as f:
                if "worker" in f.read():
                    found.append(pid)
        except OSError:
            continue
    return found


def pss(proxy):
    """Bytes of memory that its workers take, shared pages counted in part."""
    total = 0
    for pid in workers(proxy):
        with open("/proc/%d/smaps_rollup" % pid) as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:")) * 1024
    return total


def cpu_seconds(proxy):
    """Processor time that its workers have used."""
    total = 0
    for pid in workers(proxy):
        with open("/proc/%d/schedstat" % pid) as f:
            total += int(f.read().split()[0])
    return total / 1e9


def descriptors(proxy):
    return sum(len(os.listdir("/proc/%d/fd" % pid)) for pid in workers(proxy))


def sanitized(proxy):
    """Whether it runs under AddressSanitizer, where memory says nothing."""
    for pid in workers(proxy):
        with open("/proc/%d/maps" % pid) as f:
            return "libasan" in f.read()
    return False
