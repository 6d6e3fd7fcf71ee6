"""P50, P51: what easproxy needs goes away, hangs, crawls, talks nonsense, and comes back; its own processes are killed.

Each time: those whose facts are known notice nothing, nobody is let in who was not asked about, and all is well soon after.
"""
import copy
import fcntl
import json
import os
import re
import select
import signal
import subprocess
import time

import pytest

from site_ import answers, inside, settings
from site_.device import Device, Held
from site_.process import wait_until, with_parent
from site_.proxy import binary

QUICKLY = 1.0               # a whole request of one who is known: far less than any deadline, far more than it takes
FAULTS = ["refused", "hang", "slice", "garbage"]


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


def break_it(relay, fault):
    if fault == "refused":
        relay.refuse()
        relay.cut()
        return
    relay.mode = fault
    if fault == "garbage":
        relay.cut()


def heal(relay):
    relay.mode = "pass"
    relay.cut()             # what was garbled or half sent does not become right
    relay.listen()


def status_of(device):
    """The answer's status; a connection that a revocation read anew ended before its first request is made again, as a phone would."""
    for _ in range(5):
        response = device.sync()
        if response is not None:
            return response.status
    return None


def is_refused(device):
    return status_of(device) == 403


def served(device):
    began = time.monotonic()
    assert device.sync().status == 200
    return time.monotonic() - began


def serve_while(known, held):
    """The known phone is served quickly as long as the other one waits; the other one's outcome."""
    slowest = 0
    while held.waiting:
        slowest = max(slowest, served(known))
    assert slowest < QUICKLY, "a phone that had nothing to do with it waited %.2f s" % slowest
    return held.wait()


def _asked(device):
    """A FolderSync under way on a connection of its own, as a Held."""
    line = device.connect()
    head = "\r\n".join("%s: %s" % h for h in device.headers())
    line.send(("POST %s HTTP/1.1\r\nHost: %s\r\n%s\r\nContent-Length: 1\r\n\r\nx"
               % (device.target("FolderSync"), device.server_name, head)).encode())
    return Held(line)


def settled(proxy, device):
    """The DC notes a logon and tells of it as of a change; until then the account is asked for once more."""
    asked, since = None, time.monotonic()

    def quiet():
        nonlocal asked, since
        assert device.sync().status == 200
        now = proxy.metric("easproxy_directory_calls_total")
        if now != asked:
            asked, since = now, time.monotonic()
        return time.monotonic() - since > 1.3
    wait_until(quiet, 10)
    return device


# --- P51: the servers ---

@pytest.mark.parametrize("fault", FAULTS)
def test_51_while_the_directory_server_is_ill_known_phones_are_served_and_new_ones_are_not_let_in(
        own_ad, pki, phone, kerberos_proxy, start_relay, fault):
    relay = start_relay(("127.0.0.1", 636), netns=own_ad.netns)
    sam, disabled = own_ad.account(), own_ad.account()
    own_ad.disable(disabled)
    proxy = kerberos_proxy(own_ad, {"directory.ldap.servers": ["ldaps://dc1.corp.example:%d" % relay.port]})
    known = settled(proxy, phone(proxy, pki.device_ca.device("alice@corp.example")))
    break_it(relay, fault)
    good = fault == "slice"                 # slow, but right
    for name in (sam, disabled):
        new = phone(proxy, pki.device_ca.device(name + "@corp.example"), user=name)
        outcome = serve_while(known, new.ping(heartbeat=60) if not good else _asked(new))
        assert outcome.status == (503 if not good else 403 if name == disabled else 200), (fault, name)
    heal(relay)
    new = phone(proxy, pki.device_ca.device(sam + "@corp.example"), user=sam)
    wait_until(lambda: new.sync().status == 200, 10)
    refused = phone(proxy, pki.device_ca.device(disabled + "@corp.example"), user=disabled)
    wait_until(lambda: refused.sync().status == 403, 10)


@pytest.mark.parametrize("fault", FAULTS)
def test_51_while_the_kdc_is_ill_phones_with_a_ticket_are_served_and_new_ones_wait_no_longer_than_configured(
        ad, pki, phone, kerberos_proxy, start_relay, fault):
    relay = start_relay(("127.0.0.1", 88), netns=ad.netns)
    proxy = kerberos_proxy(changes={"proxy.kerberos.kdcs": [relay.address], "proxy.kerberos.processes": 2,
                                    "proxy.kerberos.timeout_ms": 1000})
    known = settled(proxy, phone(proxy, pki.device_ca.device("alice@corp.example")))
    sam = ad.account()
    break_it(relay, fault)
    new = phone(proxy, pki.device_ca.device(sam + "@corp.example"), user=sam)
    began = time.monotonic()
    response = new.sync()
    assert time.monotonic() - began < 5
    assert response.status in ((200, 503) if fault == "slice" else (503,))
    assert served(known) < QUICKLY
    heal(relay)
    wait_until(lambda: new.sync().status == 200, 10)


@pytest.mark.parametrize("fault", FAULTS)
def test_51_while_redis_is_ill_what_was_revoked_stays_revoked_and_the_others_are_served(
        start_proxy, configure, backend, phone, pki, alice, start_redis, start_relay, place, fault):
    server = start_redis(secret=b"a secret of the fleet, for tests only")
    for ca in (pki.device_ca, pki.root):
        server.crl(ca)
    revoked = pki.device_ca.device("bob@corp.example")
    server.revoke(pki.device_ca, revoked, tell=False)
    relay = start_relay(("127.0.0.1", server.port))
    config = configure(backend, {**settings.redis(server, place), "proxy.revocation.crls": None})
    config["redis"].update(servers=[relay.address], timeout_ms=500)
    proxy = start_proxy(config)
    known, bad = phone(proxy, alice), phone(proxy, revoked, user="bob")
    wait_until(lambda: known.sync().status == 200, 10)
    wait_until(lambda: is_refused(bad), 10)
    later = pki.device_ca.device("bob@corp.example")
    break_it(relay, fault)
    until = time.monotonic() + 2
    server.revoke(pki.device_ca, later)
    while time.monotonic() < until:
        assert served(known) < QUICKLY
        assert is_refused(bad)
    heal(relay)
    wait_until(lambda: is_refused(phone(proxy, later, user="bob")), 10)
    assert served(known) < QUICKLY and is_refused(bad)


@pytest.mark.parametrize("fault", FAULTS)
def test_51_while_one_mail_server_is_ill_the_phones_of_another_notice_nothing(
        start_proxy, configure, start_backend, phone, pki, alice, start_relay, fault):
    ill, well = start_backend(name="ill"), start_backend(name="well")
    relay = start_relay(("127.0.0.1", ill.port))
    config = configure("http://" + relay.address, {"proxy.upstreams.0.response_ms": 1500})
    config["proxy"]["upstreams"].append(settings.upstream_of(well, name="other"))
    config["proxy"]["hosts"].append(dict(copy.deepcopy(config["proxy"]["hosts"][0]), names=["other.example.com"], upstream="other",
                                         **dict(zip(("certificate", "key"), pki.server_ca.server("other.example.com")
                                                    .write(os.path.dirname(config["proxy"]["hosts"][0]["key"]), "other")))))
    proxy = start_proxy(config)
    known = phone(proxy, pki.device_ca.device("bob@corp.example"), user="bob", server_name="other.example.com")
    patient = phone(proxy, alice)
    assert served(known) < QUICKLY and served(patient) < QUICKLY
    break_it(relay, fault)
    outcomes = [serve_while(known, _asked(patient)).status for _ in range(3)]
    assert set(outcomes) <= ({200} if fault == "slice" else {502, 503, 504}), outcomes
    heal(relay)
    wait_until(lambda: patient.sync().status == 200, 10)


@pytest.mark.parametrize("behaviour", [
    answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    answers.raw(b"\x00\x01\x02\x03\r\n\r\n"), answers.hang_up(), answers.hang_up(reset=True), answers.huge_headers(),
    answers.cut(), answers.cut(in_chunks=True, reset=True), answers.interim(100)],
    ids=["two-lengths", "binary", "closes", "resets", "huge-head", "cut-body", "cut-chunk", "interims"])
def test_55_a_mail_server_that_answers_wrongly_harms_its_own_exchange_alone(proxy_of, phone, backend, pki, alice, behaviour):
    proxy = proxy_of()
    other = phone(proxy, pki.device_ca.device("bob@corp.example"), user="bob")
    hold = backend.when(lambda request: request.get("X-EAS-User") == "bob" and "Cmd=Ping" in request.target, answers.hold())
    ping = other.ping()
    hold.wait_waiting(backend)
    backend.queue(behaviour)
    device = phone(proxy, alice)
    try:
        response = device.sync()
        assert response is None or response.status == 502, response.start
    except (OSError, EOFError):
        pass                            # a body that was cut is cut for the phone too: it must not take it for whole
    assert device.sync().status == 200
    assert ping.waiting
    hold.release()
    assert ping.wait().status == 200
    assert not proxy.events("process_died")


@pytest.fixture
def proxy_of(start_proxy, configure, backend):
    return lambda changes=None, **kw: start_proxy(configure(backend, changes), **kw)


# --- P53: its own processes ---

def kill(proxy, role, index=0, number=signal.SIGKILL):
    """Ends one process; returns its successor's pid once that is there."""
    old = inside.by_role(proxy)[role][index]
    since = proxy.mark()
    os.kill(old, number)
    proxy.wait_event("process_died", since=since, message=re.compile("^%s %d " % (role, index)))
    wait_until(lambda: len(inside.by_role(proxy).get(role, [])) > index and inside.by_role(proxy)[role][index] != old, 10)
    return inside.by_role(proxy)[role][index]


@pytest.mark.quick
def test_53_a_killed_worker_takes_its_own_connections_only_and_is_replaced(proxy_of, phone, backend, alice):
    proxy = proxy_of({"proxy.workers": 2})
    hold = backend.when("Ping", answers.hold())
    pings = [phone(proxy, alice).ping() for _ in range(16)]
    hold.wait_waiting(backend, 16)
    kill(proxy, "worker", 0)
    wait_until(lambda: any(not p.waiting for p in pings), 5)
    left = [p for p in pings if p.waiting]
    assert 0 < len(left) < 16, "the kernel spreads connections over both"
    hold.wait_abandoned(backend, 16 - len(left))
    for _ in range(8):
        assert phone(proxy, alice).sync().status == 200
    hold.release()
    assert all(p.wait().status == 200 for p in left)
    assert proxy.metric("easproxy_process_restarts_total") == 1
    assert proxy.metric("easproxy_sessions_held") == 0, "what the dead one had counted is not counted any more"


def test_53_a_process_that_dies_again_and_again_is_started_more_and_more_slowly(proxy_of, phone, alice):
    proxy = proxy_of()
    for expected in (100, 200, 400, 800):
        since = proxy.mark()
        kill(proxy, "worker")
        line = proxy.wait_event("process_restart", since=since)
        assert "in %d ms" % expected in line["message"]
    wait_until(lambda: served(phone(proxy, alice)) < 5, 5)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
@pytest.mark.parametrize("role", ["directory", "kerberos", "revocation"])
def test_53_a_killed_helper_costs_no_connection_and_no_answer(
        ad, pki, phone, kerberos_proxy, revocation_in_redis, role, number):
    proxy = kerberos_proxy(redis=revocation_in_redis)
    revoked = pki.device_ca.device("bob@corp.example")
    revocation_in_redis.revoke(pki.device_ca, revoked)
    known = phone(proxy, pki.device_ca.device("alice@corp.example"))
    assert known.sync().status == 200
    ping = known.ping()
    kill(proxy, role, number=number)
    assert known.sync().status == 200
    sam = ad.account()
    assert phone(proxy, pki.device_ca.device(sam + "@corp.example"), user=sam).sync().status == 200
    assert phone(proxy, revoked, user="bob").sync().status == 403
    assert ping.waiting
    second = pki.device_ca.device(sam + "@corp.example")
    revocation_in_redis.revoke(pki.device_ca, second)
    wait_until(lambda: is_refused(phone(proxy, second, user=sam)), 10)
    assert ping.waiting


@pytest.mark.parametrize("role", ["directory", "kerberos", "revocation"])
def test_51_a_helper_that_hangs_delays_only_those_who_need_it(own_ad, pki, phone, kerberos_proxy, role):
    sam = own_ad.account()
    proxy = kerberos_proxy(own_ad, {"directory.ldap.timeout_ms": 1000, "proxy.kerberos.timeout_ms": 500})
    known = settled(proxy, phone(proxy, pki.device_ca.device("alice@corp.example")))
    new = phone(proxy, pki.device_ca.device(sam + "@corp.example"), user=sam)
    pid, = inside.by_role(proxy)[role]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        held = new.ping()
        if role == "directory":
            assert serve_while(known, held).status == 503
        elif role == "kerberos":
            assert held.wait(6).status == 503
        else:
            assert served(known) < QUICKLY and served(new) < 5
        assert time.monotonic() - began < 6
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: new.sync().status == 200, 10)
    assert not proxy.events("process_died")


@pytest.mark.quick
def test_53_when_the_master_is_killed_all_its_processes_end(proxy_of, phone, backend, alice):
    proxy = proxy_of({"proxy.workers": 2})
    hold = backend.when("Ping", answers.hold())
    ping = phone(proxy, alice).ping()
    hold.wait_waiting(backend)
    os.kill(inside.master_of(proxy), signal.SIGKILL)
    proxy.stopped = True
    proxy.daemon.popen.wait(5)
    proxy.daemon.assert_nothing_left()
    assert ping.wait(5) is None or isinstance(ping.outcome, Exception) or ping.outcome.status == 503


# --- P50: no descriptors, no room on the disk, nobody who reads the log ---

def limit_descriptors(pid, count):
    """As the process's own user: root would need a capability that containers do not have."""
    user, group = (inside.status(pid)[key].split()[0] for key in ("Uid", "Gid"))
    subprocess.run(["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "prlimit", "--pid", str(pid),
                    "--nofile=%d:" % count], check=True)


def test_50_without_descriptors_the_worker_waits_without_spinning_and_serves_those_it_has(proxy_of, phone, backend, alice):
    proxy = proxy_of()
    device = phone(proxy, alice)
    assert device.sync().status == 200
    worker, = inside.by_role(proxy)["worker"]
    used = max(inside.descriptors(worker)) + 1
    limit_descriptors(worker, used + 6)
    silent = phone(proxy, plain=True)
    lines = [silent.connect() for _ in range(40)]
    proxy.wait_event("accept_paused")
    before, began = inside.cpu_ticks(worker), time.monotonic()
    while time.monotonic() - began < 2:
        assert device.sync().status == 200
        select.select([], [], [], 0.1)
    assert inside.cpu_ticks(worker) - before < 60, "hundredths of a second in two seconds"
    assert proxy.metric("easproxy_accept_refused_total", reason="descriptors") > 0
    for line in lines:
        line.close()
    limit_descriptors(worker, 1000)
    wait_until(lambda: phone(proxy, alice).sync().status == 200, 5)


def test_50_as_many_sessions_as_configured_and_the_next_one_waits_until_there_is_room(proxy_of, phone, backend, alice):
    proxy = proxy_of({"proxy.sessions": 20})
    devices = [phone(proxy, alice) for _ in range(20)]
    assert all(d.sync().status == 200 for d in devices)
    late = phone(proxy, plain=True)
    late.connect()
    proxy.wait_event("accept_paused")
    assert devices[0].sync().status == 200
    devices[1].hang_up()
    late.close()
    assert phone(proxy, alice).sync().status == 200


def _talk(stream, what):
    """The first line of this event from a pipe, read byte for byte so that nothing is taken behind it."""
    line = b""
    while True:
        byte = os.read(stream, 1)
        assert byte, "the program has ended"
        line += byte
        if byte == b"\n":
            entry = json.loads(line)
            if entry["event"] == what:
                return entry
            line = b""


def test_50_nobody_reads_the_log_and_the_phones_are_served_all_the_same(configure, backend, place, pki, alice, made):
    """Standard error is a full pipe: lines are lost and counted, never waited for."""
    import pwd

    import yaml
    config = configure(backend)
    for key in ("state_dir", "run_dir"):
        os.chown(config[key], pwd.getpwnam(config["user"]).pw_uid, -1)
    path = os.path.join(place, "pipe.yaml")
    with open(path, "w") as f:
        yaml.safe_dump(config, f)
    process = subprocess.Popen(with_parent([binary(), "-c", path]), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                               start_new_session=True, bufsize=0)
    stream = process.stderr.fileno()
    try:
        address = _talk(stream, "listening")["address"]
        _talk(stream, "ready")
        fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, 65536)
        device = made(Device(address, alice, ca=pki.server_ca.pem))
        for _ in range(700):                    # some 300 kB of access lines, far more than a pipe holds
            assert device.sync(headers=[("X-Filler", "f" * 200)]).status == 200
        slowest = max(served(device) for _ in range(50))
        assert slowest < QUICKLY
        text = b""
        while select.select([stream], [], [], 1)[0]:
            text += os.read(stream, 1 << 20)
        for _ in range(100):
            served(device)
            if select.select([stream], [], [], 0.2)[0]:
                break
        while select.select([stream], [], [], 1)[0]:
            text += os.read(stream, 1 << 20)
        lines = [json.loads(line) for line in text.splitlines()]        # none is torn
        assert sum(line.get("lines", 0) for line in lines if line["event"] == "log_lost") > 100
    finally:
        process.send_signal(signal.SIGTERM)
        os.set_blocking(stream, True)
        process.stderr.read()
        assert process.wait(10) == 0


@pytest.fixture
def small_disk(place):
    """small_disk(kilobytes): a file system of its own for state_dir."""
    mounted = []

    def mount(kilobytes):
        path = os.path.join(place, "small")
        os.makedirs(path)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dk,mode=755" % kilobytes, "tmpfs", path], capture_output=True)
        if done.returncode:
            pytest.skip("no file system can be mounted here: " + done.stderr.decode())
        mounted.append(path)
        return path
    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)


def fill(path):
    """Not a block is left on this disk."""
    with open(os.path.join(path, "ballast"), "wb", 0) as f:
        for size in (1 << 20, 4096):
            try:
                while True:
                    f.write(b"b" * size)
            except OSError:
                continue


def test_50_a_disk_without_room_at_the_start_is_named(configure, backend, start_proxy, small_disk):
    disk = small_disk(64)
    proxy = start_proxy(configure(backend, {"state_dir": disk}), wait=False)
    assert proxy.wait_exit() == 1
    assert disk in proxy.wait_event("dir_unusable")["message"]


def test_50_a_disk_that_fills_up_later_costs_no_process_and_lets_nobody_in(
        start_proxy, configure, backend, phone, pki, alice, revocation_in_redis, place, small_disk):
    disk = small_disk(40960)
    crl = os.path.join(place, "device.crl")
    proxy = start_proxy(configure(backend, {**settings.redis(revocation_in_redis, place), "state_dir": disk,
                                            "proxy.policies.0.device": "any"}))
    device = phone(proxy, alice)
    wait_until(lambda: device.sync().status == 200, 10)
    fill(disk)
    other = pki.device_ca.device("bob@corp.example")
    revocation_in_redis.revoke(pki.device_ca, other)
    wait_until(lambda: is_refused(phone(proxy, other, user="bob")), 5)      # the change table had its room from the start
    many = [n for n in range(10 ** 18, 10 ** 18 + 20000)]
    pki.device_ca.write_crl(crl, [*many, alice.serial])     # but this needs more than there is
    proxy.wait_event("crl_refused", 10, reason="No space left on device")
    assert phone(proxy, other, user="bob").sync().status == 403
    assert not proxy.events("process_died")
    os.unlink(os.path.join(disk, "ballast"))
    wait_until(lambda: is_refused(phone(proxy, alice)), 15)
