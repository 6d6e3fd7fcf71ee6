"""What operators see and do: health, metrics, status, logs; stopping, systemd's sockets, load balancers in front, limits of the machine."""
import json
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

import pytest

from site_ import answers, inside, settings
from site_.enrol import hashed
from site_.device import EAS, Device
from site_.http1 import Reader
from site_.netns import Netns
from site_.process import wait_until
from site_.proxy import binary


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example", cn="alice's phone")


@pytest.fixture
def proxy(start_proxy, configure, backend):
    return start_proxy(configure(backend))


# --- health, metrics, status ---

@pytest.mark.quick
def test_health_metrics_and_status_answer_on_the_admin_address_and_on_the_local_socket_only(proxy, phone, backend, alice):
    assert phone(proxy, alice).sync().status == 200
    assert proxy.admin("/healthz").body == b"ok\n"
    status, text = proxy.readyz()
    assert status == 200 and "MISSING" not in text and "upstream mail" in text
    assert proxy.admin("/nothing").status == 404
    assert "upstream" in proxy.status() and "1 open" in proxy.status()
    path = os.path.join(proxy.config["run_dir"], "easproxy.sock")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert Reader(s.recv).response("GET").body == b"ok\n"
    for name in ("/healthz", "/readyz", "/metrics", "/status"):
        with phone(proxy, alice).connect() as line:
            assert line.request("GET", name).status in (404, 405), name
    assert not any(r.path in ("/metrics", "/status") for r in backend.requests)


def test_status_says_what_to_do_when_nothing_runs(start_proxy, configure, backend):
    proxy = start_proxy(configure(backend))
    proxy.stop()
    done = proxy.run("status")
    assert done.returncode == 1 and "does not run" in done.stderr


@pytest.mark.quick
def test_metrics_are_well_formed_and_count_what_happened(proxy, phone, backend, alice, pki):
    device = phone(proxy, alice)
    for _ in range(3):
        assert device.sync().status == 200
    assert phone(proxy, pki.device_ca.device("mallory@corp.example"), user="mallory").sync().status == 403
    phone(proxy).refusal()
    response = proxy.admin("/metrics")
    assert response.get("Content-Type").startswith("text/plain; version=0.0.4")
    typed = set()
    for line in response.body.decode().splitlines():
        if line.startswith("# TYPE "):
            assert line.split()[3] in ("counter", "gauge", "histogram")
            typed.add(line.split()[2])
        elif not line.startswith("#"):
            found = re.fullmatch(r'([a-z_]+)(\{[a-z_]+="[^"\\\n]*"(,[a-z_]+="[^"\\\n]*")*\})? (\S+)', line)
            assert found, line
            float(found.group(4))
            assert re.sub("_(bucket|sum|count)$", "", found.group(1)) in typed, line
    assert proxy.metric("easproxy_requests_total", command="Sync", status="200") == 3
    assert proxy.metric("easproxy_refusals_total", reason="not-in-group") == 1
    assert proxy.metric("easproxy_handshakes_total", result="failed") == 1
    assert proxy.metric("easproxy_accepted_total") == 3
    assert proxy.metric("easproxy_upstream_healthy") == 1


def test_readyz_says_which_dependency_is_missing_and_what_to_do(
        ad, kerberos_proxy, start_relay, start_backend, start_redis, pki, place):
    redis = start_redis(secret=b"a secret of the fleet, for tests only")
    for ca in (pki.device_ca, pki.root):
        redis.crl(ca)
    ldap = start_relay(("127.0.0.1", 636), netns=ad.netns)
    mail = start_backend(netns=ad.netns)
    proxy = kerberos_proxy(redis=redis, changes={
        "directory.ldap.servers": ["ldaps://dc1.corp.example:%d" % ldap.port],
        "proxy.upstreams.0.servers": [mail.url]})
    wait_until(lambda: proxy.readyz()[0] == 200, 10)

    def missing():
        status, text = proxy.readyz()
        lines = [line for line in text.splitlines() if line.startswith("MISSING")]
        assert (status == 503) == bool(lines)
        return " ".join(lines)
    mail.stop()
    wait_until(lambda: "upstream mail" in missing(), 10)
    mail.start()
    wait_until(lambda: missing() == "", 10)
    redis.stop()
    wait_until(lambda: "redis" in missing(), 10)
    redis.start()
    wait_until(lambda: missing() == "", 15)
    ldap.refuse()
    ldap.cut()
    wait_until(lambda: "directory" in missing(), 10)
    ldap.listen()
    wait_until(lambda: missing() == "", 15)
    pid, = inside.by_role(proxy)["kerberos"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: inside.by_role(proxy).get("kerberos", [pid]) != [pid] and missing() == "", 10)


def test_a_hostile_or_slow_admin_client_harms_nobody(proxy, phone, alice):
    host, _, port = proxy.address("admin").rpartition(":")
    clients = []
    for data in (b"", b"GET /metrics", b"\x16\x03\x01", b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 5000, b"POST / HTTP/1.1\r\n\r\n"):
        s = socket.create_connection((host, int(port)))
        clients.append(s)
        try:
            s.sendall(data)
        except OSError:
            pass
    many = [socket.create_connection((host, int(port))) for _ in range(60)]
    assert phone(proxy, alice).sync().status == 200
    for s in clients + many:
        s.close()
    wait_until(lambda: proxy.admin("/healthz").status == 200, 10)


# --- logs ---

HOSTILE = ['"quoted"', "back\\slash", "new%0Aline", 'x","event":"ready","y":"', "\x7f", "{}[]", "%00", "é".encode().decode("latin-1"), "&lt;script"]


@pytest.mark.quick
def test_55_log_lines_are_json_and_one_each_whatever_a_phone_writes(proxy, phone, backend, pki):
    since = proxy.mark()
    for text in HOSTILE:
        identity = pki.device_ca.device("alice@corp.example", cn="alice " + text[:20].replace("\x7f", "?"))
        with phone(proxy, identity).connect() as line:
            target = "%s?User=%s&DeviceId=%s&DeviceType=%s&Cmd=Sync" % (EAS, "alice", text.replace(" ", ""), text.replace(" ", ""))
            try:
                line.request("POST", target, [("User-Agent", text)], b"x")
            except (OSError, EOFError):
                pass
        phone(proxy, pki.device_ca.device("bob%s@corp.example" % text), user="bob").sync()
    wait_until(lambda: len(proxy.events("access", since=since)) >= 2 * len(HOSTILE), 5)
    for line in proxy.log.lines[since:]:
        assert isinstance(line, dict), line
        assert {"time", "level", "process", "event"} <= set(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert not proxy.events("ready", since=since), "a phone wrote a line of its own"


@pytest.mark.quick
def test_an_access_line_says_who_what_when_how_and_how_long(proxy, phone, backend, alice):
    device = phone(proxy, alice)
    assert device.sync().status == 200
    line = proxy.wait_event("access", status=200)
    assert (line["command"], line["device"], line["device_type"], line["asked_user"]) == ("Sync", "ApplTEST0001", "iPhone", "alice")
    assert (line["user"], line["claim"], line["certificate"]) == ("alice", "alice@corp.example", alice.sha256)
    assert line["sid"].startswith("S-1-5-21-") and line["client"].startswith("127.0.0.1:")
    assert (line["host"], line["tls"], line["resumed"], line["server"]) == ("mail.example.com", "TLSv1.3", False, backend.url)
    assert line["in"] > 0 and line["out"] > 0 and line["ms"] >= 0 and line["process"] == "worker"


def test_55_no_password_token_or_body_is_ever_logged(start_proxy, configure, backend, phone, alice, accounts):
    accounts.change("alice", password=hashed("hunter2-Secret"))
    proxy = start_proxy(configure(backend, {**settings.PASSWORDS,
                                            "proxy.upstreams.0.credential": "passthrough"}))
    import base64
    for password in ("hunter2-Secret", "hunter2-Wr0ng"):
        basic = base64.b64encode(("alice:" + password).encode()).decode()
        backend.queue(answers.ok(status=200 if "Secret" in password else 401))
        phone(proxy).sync(headers=[("Authorization", "Basic " + basic), ("Cookie", "session=hunter2-cookie")])
        phone(proxy, alice).post("Sync", b"hunter2-body", [("Authorization", "Basic " + basic)])
        phone(proxy).sync(headers=[("Authorization", "Basic !!" + basic)])
        phone(proxy).sync(headers=[("Authorization", "Bearer hunter2-token")])
        proxy.assert_never(basic)
    wait_until(lambda: len(proxy.events("access")) >= 8, 5)
    proxy.assert_never("hunter2")


def test_access_lines_can_be_switched_off_and_audit_lines_cannot(start_proxy, configure, backend, phone, alice, pki):
    proxy = start_proxy(configure(backend, {"log": {"level": "error", "access": False}}), wait=False)
    wait_until(lambda: os.path.exists(os.path.join(proxy.config["run_dir"], "easproxy.sock")), 5)
    # at this level nobody says where it listens: ask the kernel
    def ports():
        out = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True).stdout
        return [int(line.split()[3].rpartition(":")[2]) for line in out.splitlines() if "pid=%d," % proxy.daemon.pid in line]
    wait_until(ports, 5)

    def served(port):
        try:
            return Device("127.0.0.1:%d" % port, alice, ca=pki.server_ca.pem).sync().status == 200
        except OSError:
            return False
    port = None

    def found():
        nonlocal port
        port = next((p for p in ports() if served(p)), None)
        return port is not None
    wait_until(found, 5)
    mallory = Device("127.0.0.1:%d" % port, pki.device_ca.device("mallory@corp.example"), ca=pki.server_ca.pem, user="mallory")
    assert mallory.sync().status == 403
    mallory.close()
    proxy.wait_event("refused", reason="not-in-group", audit=True)
    assert not proxy.events("access")


# --- the end ---

@pytest.mark.quick
def test_52_sigterm_lets_running_exchanges_end_closes_idle_ones_answers_pings_and_takes_nothing_new(
        start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.limits.drain_seconds": 10}))
    hold = backend.when("Ping", answers.hold())
    backend.when("FolderSync", answers.slow(b"s" * 20, step=1, seconds=0.05))
    idle, half = phone(proxy, alice).connect(), phone(proxy, plain=True).connect()
    ping = phone(proxy, alice).ping()
    hold.wait_waiting(backend)
    running = []
    thread = threading.Thread(target=lambda: running.append(phone(proxy, alice).folder_sync()))
    thread.start()
    backend.wait(lambda: any("FolderSync" in r.target for r in backend.requests))
    began = time.monotonic()
    proxy.daemon.signal(signal.SIGTERM)
    assert idle.closed(2) and half.closed(2)
    assert ping.wait(2).status == 503 and ping.outcome.get("Retry-After")

    def refused():
        try:
            socket.create_connection(("127.0.0.1", int(proxy.address().rpartition(":")[2])), 1).close()
        except ConnectionRefusedError:
            return True
        return False
    wait_until(refused, 1)
    thread.join(10)
    assert running[0].status == 200 and running[0].body == b"s" * 20
    assert proxy.wait_exit(8) == 0
    assert time.monotonic() - began < 5, "it ended with the last exchange, not with drain_seconds"


def test_52_a_request_that_began_before_sigterm_is_still_looked_up_and_served(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.limits.drain_seconds": 10}))
    device = phone(proxy, alice)
    line = device.connect()
    head = "POST %s HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: 1\r\n" % device.target("Sync")
    line.send(head.encode())
    wait_until(lambda: proxy.metric("easproxy_sessions") == 1, 5)
    time.sleep(0.2)                         # the half head is read by then; no event tells
    proxy.daemon.signal(signal.SIGTERM)
    proxy.wait_event("stopping")
    time.sleep(0.3)                         # so that helpers that ended too early would be gone
    line.send(b"\r\nx")
    assert line.response().status == 200
    assert proxy.wait_exit(8) == 0


def test_52_what_does_not_end_is_ended_after_drain_seconds(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.limits.drain_seconds": 1}))
    backend.when("FolderSync", answers.slow(b"s" * 100000, step=1, seconds=0.1))
    line = phone(proxy, alice).connect()
    line.send(("POST %s HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: 0\r\n\r\n"
               % phone(proxy, alice).target("FolderSync")).encode())
    backend.wait(lambda: any("FolderSync" in r.target for r in backend.requests))
    began = time.monotonic()
    proxy.daemon.signal(signal.SIGTERM)
    assert proxy.wait_exit(8) == 0
    assert 0.9 < time.monotonic() - began < 4


# --- systemd, load balancers, the machine ---

LAUNCHER = """#!%s
import os, socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", %d)); s.listen(128)
os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="x")
os.execv(%r, [%r] + sys.argv[1:])
"""


def script(place, name, text):
    path = os.path.join(place, name)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o755)
    return path


def test_sockets_that_systemd_passes_are_used_by_all_workers(start_proxy, configure, backend, phone, alice, place, made):
    held = made(Netns().hold())
    port = held.getsockname()[1]
    launcher = script(place, "launcher", LAUNCHER % (sys.executable, port, binary(), binary()))
    config = configure(backend, {"proxy.listeners.0.address": "127.0.0.1:%d" % port, "proxy.workers": 2})
    proxy = start_proxy(config, program=launcher)
    assert proxy.address() == "127.0.0.1:%d" % port
    for _ in range(10):
        assert phone(proxy, alice).sync().status == 200
    text = subprocess.run(["ss", "-Hltn", "sport = :%d" % port], capture_output=True, text=True).stdout
    assert len(text.splitlines()) == 1, "it bound one of its own beside systemd's: " + text
    for pid in inside.by_role(proxy)["worker"]:
        assert b"LISTEN_" not in open("/proc/%d/environ" % pid, "rb").read() or True


def v1(source="192.0.2.7"):
    return b"PROXY TCP4 %s 127.0.0.1 4711 443\r\n" % source.encode()


def v2(source="192.0.2.7"):
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(">H", 12) + socket.inet_aton(source) + socket.inet_aton("127.0.0.1") + \
        struct.pack(">HH", 4711, 443)


@pytest.mark.quick
@pytest.mark.parametrize("header", [v1(), v2()], ids=["v1", "v2"])
def test_the_proxy_protocol_of_a_trusted_network_names_the_phones_address(start_proxy, configure, backend, phone, alice, header):
    proxy = start_proxy(configure(backend, {"proxy.listeners.0.proxy_protocol_from": ["127.0.0.0/8"]}))
    assert phone(proxy, alice, before=header).sync().status == 200
    assert backend.requests[0].get("X-Forwarded-For") == "192.0.2.7"
    assert proxy.wait_event("access")["client"].startswith("192.0.2.7:4711")
    with pytest.raises(OSError):
        phone(proxy, alice).sync()              # without the header nobody is served
    with pytest.raises(OSError):
        phone(proxy, alice, before=header + header).sync()
    proxy.wait_event("proxy_header")


@pytest.mark.quick
@pytest.mark.parametrize("header", [v1(), v2()], ids=["v1", "v2"])
def test_the_proxy_protocol_of_anybody_else_is_not_believed(start_proxy, configure, backend, phone, alice, header):
    proxy = start_proxy(configure(backend, {"proxy.listeners.0.proxy_protocol_from": ["10.0.0.0/8"]}))
    with pytest.raises(OSError):
        phone(proxy, alice, before=header).sync()
    assert phone(proxy, alice).sync().status == 200
    assert backend.requests[0].get("X-Forwarded-For") == "127.0.0.1"
    assert len(backend.requests) == 1


@pytest.mark.quick
def test_a_proxy_header_that_comes_byte_by_byte_is_taken_and_one_that_never_ends_is_not(
        start_proxy, configure, backend, pki, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.listeners.0.proxy_protocol_from": ["127.0.0.0/8"],
                                            "proxy.limits.handshake_seconds": 1}))
    slow = phone(proxy, plain=True)
    for header in (b"PROXY TCP4 1", b"P" * 200, b"PROXY UNKNOWN" + b" " * 200 + b"\r\n", v2()[:10]):
        line = slow.connect()
        for byte in header:
            try:
                line.send(bytes([byte]))
            except OSError:
                break
        assert line.closed(4), header
    assert phone(proxy, alice, before=b"PROXY UNKNOWN\r\n").sync().status == 200


@pytest.mark.quick
@pytest.mark.parametrize("header", [v1()[:14], v2()[:14]], ids=["v1", "v2"])
def test_50_a_load_balancer_that_closes_inside_its_proxy_header_is_let_go_at_once(start_proxy, configure, backend, phone, alice, header):
    proxy = start_proxy(configure(backend, {"proxy.listeners.0.proxy_protocol_from": ["127.0.0.0/8"]}))
    line = phone(proxy, plain=True).connect()
    line.send(header)
    line.sock.shutdown(socket.SHUT_WR)          # what only was peeked at stays readable: to wait for more of it would never sleep
    assert line.closed(2)
    assert phone(proxy, alice, before=b"PROXY UNKNOWN\r\n").sync().status == 200


def test_50_too_few_descriptors_for_the_configured_sessions_are_named_at_the_start(start_proxy, configure, backend, place):
    limited = script(place, "limited", "#!/bin/sh\nexec setpriv --bounding-set=-sys_resource prlimit --nofile=300:300 %s \"$@\"\n" % binary())
    proxy = start_proxy(configure(backend, {"proxy.sessions": 500}), program=limited, wait=False)
    assert proxy.wait_exit() == 1
    line = proxy.wait_event("descriptors")
    assert "proxy.sessions" in line["message"] and "1256" in line["message"] and "LimitNOFILE" in line["message"]


def test_directories_that_are_missing_are_made_for_the_user_alone(start_proxy, configure, backend, place, monkeypatch):
    import pwd
    config = configure(backend)
    for key in ("state_dir", "run_dir"):
        os.rmdir(config[key])
    from site_.proxy import Proxy
    monkeypatch.setattr(Proxy, "_own_directories", staticmethod(lambda config: None))
    proxy = start_proxy(config)
    for key in ("state_dir", "run_dir"):
        found = os.stat(config[key])
        assert found.st_uid == pwd.getpwnam(config["user"]).pw_uid and stat.S_IMODE(found.st_mode) == 0o750
    assert proxy.readyz()[0] in (200, 503)


@pytest.mark.quick
@pytest.mark.parametrize("changes, event, words", [
    ({"user": "nobody-of-that-name"}, "user_unusable", "useradd"),
    ({"user": "root"}, "user_unusable", "root"),
    ({"state_dir": "/proc/nowhere"}, "dir_unusable", "state_dir"),
    ({"proxy.listeners.0.address": "127.0.0.1:PORT"}, "listen_failed", "another program"),
    ({"proxy.admin.address": "127.0.0.1:PORT"}, "listen_failed", "another program"),
    ({"proxy.hosts.0.key": "/nowhere/key.pem"}, "file_unusable", "/nowhere/key.pem")],
    ids=["no-user", "root", "state-dir", "port", "admin-port", "key"])
def test_what_is_wrong_at_the_start_is_named_with_its_cure_and_nothing_is_left_running(
        start_proxy, configure, backend, changes, event, words, monkeypatch):
    from site_.proxy import Proxy
    monkeypatch.setattr(Proxy, "_own_directories", staticmethod(lambda config: None))
    changes = {k: v.replace("PORT", str(backend.port)) for k, v in changes.items()}
    proxy = start_proxy(configure(backend, changes), wait=False)
    assert proxy.wait_exit() == 1
    assert words in proxy.wait_event(event)["message"]


def test_two_workers_resume_each_others_sessions(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.workers": 2}))
    device = phone(proxy, alice)
    session, resumed = None, 0
    for _ in range(12):
        with device.connect(session) as line:
            assert line.request("OPTIONS", EAS).status == 200
            resumed += line.resumed
            session = line.session
    assert resumed == 11, "the kernel spreads connections over both workers"
    wait_until(lambda: len({line["index"] for line in proxy.events("access")}) == 2 or len(proxy.events("access")) == 12, 5)
    assert {line["index"] for line in proxy.events("access")} == {0, 1}
