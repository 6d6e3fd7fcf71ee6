"""P24, P52, P53 in large counts: 10,000 held Pings, 1,000 reloads, 1,000,000 resumed sessions. Minutes; not part of `make check`,
which has the same with hundreds and thousands (test_relay.py, test_reload.py, test_resumption.py). Each prints its figures."""
import copy
import json
import os
import re
import resource
import socket
import subprocess
import time

import pytest

from site_ import inside, workers
from site_.process import wait_until, with_parent
from site_.proxy import ROOT, binary

pytestmark = [pytest.mark.long, pytest.mark.no_asan]

PINGS, RELOADS, RESUMPTIONS = 10000, 1000, 1000000
DEVICES = 20


def _all_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Tool:
    """bench-load or bench-origin: says a line of JSON for each step."""

    def __init__(self, name, *words):
        build = os.path.dirname(os.path.abspath(binary()))
        subprocess.run(["make", "-s", "-C", ROOT, "BUILD=" + build, os.path.join(build, name)], check=True, stdout=subprocess.DEVNULL)
        self.popen = subprocess.Popen(with_parent([os.path.join(build, name), *map(str, words)]), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      preexec_fn=_all_descriptors)

    def hear(self):
        line = self.popen.stdout.readline()
        assert line, "it has ended"
        return json.loads(line)

    def go(self):
        self.popen.stdin.write(b"\n")
        self.popen.stdin.flush()

    def close(self):
        self.popen.kill()
        self.popen.wait()
        self.popen.stdin.close()
        self.popen.stdout.close()


class Origin(Tool):
    """The mail server of the benches: holds any number of Pings."""

    def __init__(self, place):
        super().__init__("bench-origin", "--sink", os.path.join(place, "sink"))
        self.address = self.hear()["address"]
        self.url = "http://" + self.address

    def held(self):
        host, port = self.address.split(":")
        with socket.create_connection((host, int(port)), 5) as s:
            s.sendall(b"GET /bench/stats HTTP/1.1\r\nHost: origin\r\n\r\n")
            data = b""
            while not data.endswith(b"}\n"):
                data += s.recv(4096)
        return json.loads(data.rpartition(b"\r\n")[2])["held"]


@pytest.fixture
def origin(made, place):
    return made(Origin(place))


@pytest.fixture
def load(made, place, pki):
    """load(proxy, mode, ...): a Tool that plays phones, ready to go."""
    ca, manifest = os.path.join(place, "load-ca.pem"), os.path.join(place, "devices")
    with open(ca, "wb") as f:
        f.write(pki.server_ca.pem if isinstance(pki.server_ca.pem, bytes) else pki.server_ca.pem.encode())
    with open(manifest, "w") as f:
        for n in range(DEVICES):
            parts = pki.device_ca.device("alice@corp.example").write(place, "load%d" % n)
            path = os.path.join(place, "load%d.both" % n)
            with open(path, "wb") as both:
                for part in parts:
                    with open(part, "rb") as one:
                        both.write(one.read())
            f.write("%s alice Appl%04d\n" % (path, n))

    def start(proxy, mode, **options):
        words = [w for key, value in options.items() for w in ("--" + key, value)]
        tool = made(Tool("bench-load", mode, "--target", proxy.address(), "--host", "mail.example.com", "--ca", ca,
                         "--devices", manifest, *words))
        assert tool.hear()["event"] == "ready"
        return tool
    return start


def configuration(configure, origin, **changes):
    return configure(origin.url, {"log.access": False, "log.level": "info", **changes})


def test_52_ten_thousand_held_pings_cost_little_memory_live_through_a_reload_and_give_it_back(
        start_proxy, configure, origin, load, phone, pki):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(PINGS, hard - 500)
    each_worker = min(6500, (hard - 1000) // 2)
    config = configuration(configure, origin, **{"proxy.workers": 2, "proxy.sessions": each_worker})
    proxy = start_proxy(config)
    alice = pki.device_ca.device("alice@corp.example")
    assert phone(proxy, alice).sync().status == 200
    before = workers.pss(proxy)
    tool = load(proxy, "hold", ops=count, connections=64, deadline=300)
    began = time.monotonic()
    tool.go()
    done = tool.hear()
    assert (done["ops"], done["failures"]) == (count, 0), done
    wait_until(lambda: origin.held() == count, 30)
    took, full = time.monotonic() - began, workers.pss(proxy)
    assert proxy.metric("easproxy_sessions_held") == count
    each = (full - before) / count
    assert each < 25000, "%d bytes for each" % each
    ticks = workers.cpu_seconds(proxy)
    time.sleep(10)
    idle = workers.cpu_seconds(proxy) - ticks
    assert idle < 1.0, "%.2f s of processor time in ten seconds of waiting" % idle
    config = copy.deepcopy(config)
    config["proxy"]["limits"]["retry_after_seconds"] = 31
    assert proxy.reload(config, 60)["event"] == "reloaded"
    assert origin.held() == count
    began = time.monotonic()
    assert phone(proxy, alice).sync().status == 200
    beside = time.monotonic() - began
    assert beside < 1.0
    tool.go()
    assert tool.hear()["lost"] == 0
    wait_until(lambda: origin.held() == 0 and proxy.metric("easproxy_sessions") <= 2, 60)
    deadline = time.monotonic() + 30
    kept = before + (full - before) // 10
    while workers.pss(proxy) > kept and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(2)
    after = workers.pss(proxy)
    print("\n%d Pings held by 2 workers in %.1f s: %.0f bytes (PSS) each, %.0f ms of processor time in 10 s of waiting, a new phone "
          "served beside them in %.0f ms, PSS %.1f MB before, %.1f with them, %.1f after"
          % (count, took, each, idle * 1000, beside * 1000, before / 1e6, full / 1e6, after / 1e6))
    assert after <= kept, "it keeps the memory"


def test_53_after_a_thousand_reloads_descriptors_and_memory_are_what_they_were(start_proxy, configure, backend, phone, pki):
    config = copy.deepcopy(configure(backend, {"log.level": "error"}))
    proxy = start_proxy({**config, "log": {"level": "info", "access": False}})
    config["log"] = {"level": "info", "access": False}
    device = phone(proxy, pki.device_ca.device("alice@corp.example"))

    def rounds(count):
        for number in range(count):
            config["proxy"]["limits"]["retry_after_seconds"] = 20 + number % 2
            # now and then one that replaces the other processes, too
            config["directory"]["ttl_seconds"] = 60 + number // 10 % 2
            line = proxy.reload(config)
            assert line["event"] == "reloaded", line
            assert device.sync().status == 200
        wait_until(lambda: len(proxy.daemon.pids()) == 4, 20)

    def sizes():
        roles = inside.by_role(proxy)
        return {role: (len(inside.descriptors(pids[0])), inside.pss(pids[0])) for role, pids in roles.items()}
    rounds(40)
    before, began = sizes(), time.monotonic()
    rounds(RELOADS)
    took, after = time.monotonic() - began, sizes()
    print("\n%d reloads in %.1f s; descriptors and kB (PSS) before and after: %s" % (
        RELOADS, took, ", ".join("%s %d/%d %d/%d" % (role, before[role][0], after[role][0], before[role][1], after[role][1])
                                 for role in sorted(before))))
    for role in before:
        assert after[role][0] <= before[role][0] + 2, (role, before, after)
    for role in ("master", "worker"):
        assert after[role][1] < before[role][1] * 1.15 + 500, (role, before, after)
    assert not proxy.events("process_died")


def _private(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return int(re.search(r"Private_Dirty: +(\d+) kB", f.read()).group(1))


def test_24_memory_is_flat_over_a_million_resumptions(start_proxy, configure, origin, load):
    proxy = start_proxy(configuration(configure, origin))
    worker, = inside.by_role(proxy)["worker"]

    def resume(count):
        tool = load(proxy, "resumed", ops=count, connections=16, deadline=3000)
        tool.go()
        done = tool.hear()
        assert (done["ops"], done["failures"]) == (count, 0) and done["resumed"] == done["handshakes"] == count, done
        tool.close()
        return done["seconds"]
    resume(RESUMPTIONS // 20)
    before, ticks = _private(worker), workers.cpu_seconds(proxy)
    seconds = resume(RESUMPTIONS)
    after, cpu = _private(worker), workers.cpu_seconds(proxy) - ticks
    resumed = proxy.metric("easproxy_handshakes_total", result="resumed")
    print("\n%d resumed sessions (%d counted) in %.0f s, %.0f us of processor time each; private memory of the worker %d kB before, "
          "%d kB after" % (RESUMPTIONS, resumed, seconds, cpu / RESUMPTIONS * 1e6, before, after))
    assert resumed >= RESUMPTIONS
    assert after - before < 1024, "%d kB more" % (after - before)
