"""Several virtual hosts in one configuration, and what a proxy's processes cost."""
import copy
import os
import re
import ssl

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def second_host(config, pki, place, name="other.example.com", identity=None, **values):
    """A copy of the first host under another name, with a certificate of its own."""
    certificate, key = (identity or pki.server_ca.server(name)).write(place, name)
    host = dict(copy.deepcopy(config["proxy"]["hosts"][0]), names=[name], certificate=certificate, key=key, **values)
    config["proxy"]["hosts"].append(host)
    return config


def worker_rss(proxy):
    """Bytes of all of the proxy's processes that are its own."""
    total = 0
    for pid in proxy.daemon.pids():
        with open("/proc/%d/smaps_rollup" % pid) as f:
            total += int(re.search(r"Private_Dirty: +(\d+) kB", f.read()).group(1)) * 1024
    return total


def cpu_seconds(proxy):
    ticks = 0
    for pid in proxy.daemon.pids():
        with open("/proc/%d/stat" % pid) as f:
            fields = f.read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def is_sanitized(proxy):
    """Whether the program was built with AddressSanitizer: slower, and it keeps freed memory for a while."""
    with open(proxy.program, "rb") as f:
        return b"__asan_init" in f.read()
