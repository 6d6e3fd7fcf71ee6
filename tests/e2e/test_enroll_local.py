"""One machine without Redis: what enrolment revokes reaches the proxy over its local socket at once, and nobody else may speak there."""
import os
import re
import socket
import struct
import time

import pytest

from site_ import answers, enrol
from site_.accounts import USERS
from site_.pki import Identity
from site_.process import wait_until

WITHIN = 1.0                # seconds from the command to the end of the held Ping: the contract


@pytest.fixture
def people(accounts):
    accounts.change("alice", display_name="Alice Example", password=enrol.hashed(enrol.PASSWORD), groups=[USERS])
    return accounts


@pytest.fixture
def start_enroll(made, place, pki, people):
    user = "nobody" if os.getuid() == 0 else None
    config = enrol.configuration(os.path.join(place, "enrol"), pki.root.server("enroll.example.com"), people, user, local_proxy=True)
    config["run_dir"] = os.path.join(place, "shared")
    os.makedirs(config["run_dir"])

    def start():
        enroll = enrol.Enroll(config, place)
        enroll.close = enroll.stop
        wait_until(lambda: enrol.curl("http://%s/readyz" % enroll.admin).status == 200, 5)
        return made(enroll)
    return start


@pytest.fixture
def enroll(start_enroll):
    return start_enroll()


@pytest.fixture
def proxy_config(configure, backend, enroll):
    """The list's file is looked at once an hour: what is known sooner was said over the socket."""
    lists = os.path.join(enroll.directory, "crl", enroll.issuer_name() + ".crl")
    backend.default = answers.eas(b"\x03\x01\x6a\x00 mail")
    return configure(backend, changes={
        "run_dir": enroll.config["run_dir"],
        "proxy.hosts.0.client_ca": [enroll.file("issuing-1.pem")],
        "proxy.revocation.crls": [{"issuer_ca": enroll.file("issuing-1.pem"), "file": lists}],
        "proxy.revocation.local": True, "proxy.revocation.refresh_seconds": 3600})


@pytest.fixture
def proxy(start_proxy, proxy_config, enroll):
    proxy = start_proxy(proxy_config)
    enroll.wait_event("proxy_connected")
    return proxy


def enrolled(enroll, name="a phone"):
    """(device id, Identity)"""
    device = enroll.ask("device", "add", "--account", "alice", "--kind", "windows", name)["device"]["id"]
    secret = enroll.ask("secret", "add", "--account", "alice", "--device", device, "--purpose", "est")["secret"]
    answer, certificate, key = enrol.est_enroll(enroll, "alice", secret)
    assert answer.status == 200
    return device, Identity(certificate, key)


def status(device):
    """None: the connection was ended while it asked."""
    try:
        answer = device.sync()
        return answer and answer.status
    finally:
        device.hang_up()


def test_a_device_revoke_ends_the_held_ping_within_a_second_and_its_list_is_read_at_once(enroll, proxy, phone, backend):
    hold = backend.when("Ping", answers.hold())
    (device, identity), (_, other) = enrolled(enroll), enrolled(enroll, "another phone")
    held = [phone(proxy, who, user="alice").ping() for who in (identity, other)]
    hold.wait_waiting(backend, 2)
    since, began = proxy.mark(), time.monotonic()
    enroll.run("device", "revoke", device, "--reason", "lost")
    outcome = held[0].wait(WITHIN)
    assert time.monotonic() - began < WITHIN
    assert outcome is not None and outcome.status == 403 and not outcome.keeps_open
    assert held[1].waiting
    assert status(phone(proxy, identity, user="alice")) == 403
    assert status(phone(proxy, other, user="alice")) == 200
    proxy.wait_event("local_revoked", serial=re.compile("^0?%x$" % identity.cert.serial_number), result="taken", since=since)
    proxy.wait_event("crl_loaded", since=since, revoked=1)
    assert proxy.metric("easproxy_local_revocations_total", result="taken") == 1
    assert proxy.metric("easproxy_local_revocations_total", result="refused") == 0
    wait_until(lambda: b"undone_acts 0" in enrol.curl("http://%s/metrics" % enroll.admin).body, 5)


def test_a_held_device_is_out_at_once_and_in_again_by_the_list_that_says_so(enroll, proxy, phone):
    device, identity = enrolled(enroll)
    assert status(phone(proxy, identity, user="alice")) == 200
    for _ in range(2):
        enroll.run("device", "hold", device)
        proxy_says(phone, proxy, identity, 403)
        enroll.run("device", "release", device)
        proxy_says(phone, proxy, identity, 200)


def proxy_says(phone, proxy, identity, wanted, within=3):
    wait_until(lambda: status(phone(proxy, identity, user="alice")) == wanted, within)


def test_a_proxy_that_was_down_refuses_at_its_next_start_and_one_that_lost_its_memory_is_told_again(
        enroll, start_proxy, proxy_config, phone):
    (device, identity), (second, other) = enrolled(enroll), enrolled(enroll, "another phone")
    proxy = start_proxy(proxy_config)
    enroll.wait_event("proxy_connected")
    assert "ok      local proxy %s answers" % path_of(proxy_config) in enroll.run("check")
    proxy.stop()
    enroll.wait_event("proxy_away", message=re.compile("has ended"))
    assert b"FAILED  local proxy " in enroll.run("check", check=False).stdout
    enroll.run("device", "revoke", device, "--reason", "lost")
    since = enroll.mark()
    proxy = start_proxy(proxy_config)
    assert status(phone(proxy, identity, user="alice")) == 403
    assert status(phone(proxy, other, user="alice")) == 200
    enroll.wait_event("proxy_connected", 5, since)
    wait_until(lambda: b"undone_acts 0" in enrol.curl("http://%s/metrics" % enroll.admin).body, 5)
    # killed, and its index gone: the list holds all
    proxy.kill()
    os.unlink(os.path.join(proxy_config["state_dir"], "revocation.idx"))
    proxy = start_proxy(proxy_config)
    assert status(phone(proxy, identity, user="alice")) == 403
    since = proxy.mark()
    enroll.run("device", "revoke", second)
    proxy.wait_event("local_revoked", 5, since, serial=re.compile("^0?%x$" % other.cert.serial_number))


def test_enrolment_that_was_killed_before_it_told_the_proxy_tells_it_at_its_next_start(start_enroll, enroll, start_proxy, proxy_config, phone):
    device, identity = enrolled(enroll)
    enroll.run("device", "revoke", device)              # there is no proxy yet: the act waits
    enroll.kill()
    proxy = start_proxy(proxy_config)
    start_enroll()
    proxy.wait_event("local_connected", 10)
    assert status(phone(proxy, identity, user="alice")) == 403


# --- who else is there ---

def path_of(config):
    return os.path.join(config["run_dir"], "revocation.sock")


def speak(path, *messages):
    """Sends each; whether the other side then cuts the connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(5)
        s.connect(path)
        try:
            for message in messages:
                s.send(message)
            return s.recv(1000) == b""
        except (BrokenPipeError, ConnectionResetError):
            return True


HEAD = struct.Struct("=QHHI")               # number, verb, kind, length (wire.c)
KIND_ASK = 1
REVOKED, LISTED = 1, 2


def message(verb, body, number=1, kind=KIND_ASK):
    return HEAD.pack(number, verb, kind, len(body)) + body


def body(issuer, serial, number=0, version=1, reserved=b"\0\0\0", padding=b"\0\0\0\0", n=None):
    return struct.pack("=IB3sQ32s20s4s", version, len(serial) if n is None else n, reserved, number, issuer, serial, padding)


MALFORMED = [
    (lambda i: message(REVOKED, b""), "another length"),
    (lambda i: message(REVOKED, b"\0" * 65536), "another length"),
    (lambda i: message(REVOKED, body(i, b"\1", version=2)), "another version"),
    (lambda i: message(REVOKED, body(i, b"\1", reserved=b"\1\0\0")), "where nothing belongs"),
    (lambda i: message(REVOKED, body(i, b"\1", padding=b"\0\0\0\1")), "where nothing belongs"),
    (lambda i: message(REVOKED, body(i, b"\0\1")), "no serial"),
    (lambda i: message(REVOKED, body(i, b"\1" * 20, n=21)), "no serial"),
    (lambda i: message(REVOKED, body(i, b"\1\2", n=1)), "no serial"),
    (lambda i: message(REVOKED, body(i, b"")), "no serial"),
    (lambda i: message(LISTED, body(i, b"\1")), "no serial"),
    (lambda i: message(REVOKED, body(i, b"\1", number=1 << 63)), "no number"),
]


def test_what_is_malformed_or_junk_is_cut_off_with_an_audit_line_and_the_proxy_serves_on(proxy, proxy_config, enroll, phone):
    issuer = bytes.fromhex(enroll.issuer_name())
    for what, reason in MALFORMED:
        since = proxy.mark()
        assert speak(path_of(proxy_config), what(issuer))
        line = proxy.wait_event("local_refused", 5, since)
        assert reason in line["reason"] and line["audit"] is True and line["uid"] == os.getuid()
    for junk in (b"\0", os.urandom(64), b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 70000):
        since = proxy.mark()
        speak(path_of(proxy_config), junk)
        proxy.log.wait(lambda line: isinstance(line, dict) and line.get("event") in ("wire_broken", "wire_refused"), 5, since, "the junk's line")
    (device, lost), (_, kept) = enrolled(enroll), enrolled(enroll, "another phone")
    enroll.run("device", "revoke", device)
    proxy_says(phone, proxy, lost, 403)
    assert status(phone(proxy, kept, user="alice")) == 200


@pytest.mark.skipif(os.getuid() != 0, reason="another user is needed")
def test_another_user_is_refused_whatever_the_socket_s_mode_says(proxy, proxy_config, enroll, phone):
    _, identity = enrolled(enroll)
    assert os.stat(path_of(proxy_config)).st_mode & 0o777 == 0o600
    os.chmod(path_of(proxy_config), 0o777)
    for folder in (proxy_config["run_dir"], os.path.dirname(proxy_config["run_dir"])):
        os.chmod(folder, 0o755)
    since = proxy.mark()
    said = message(REVOKED, body(bytes.fromhex(enroll.issuer_name()), identity.cert.serial_number.to_bytes(16, "big").lstrip(b"\0")))
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(1, 1, 1)
        os.setresuid(1, 1, 1)
        try:
            os._exit(0 if speak(path_of(proxy_config), said) else 1)
        except OSError:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    line = proxy.wait_event("local_refused", 5, since, uid=1)
    assert line["audit"] is True and line["reason"] == "is neither root nor the service user"
    assert status(phone(proxy, identity, user="alice")) == 200


def test_nothing_that_is_said_over_the_socket_lets_a_revoked_device_in(proxy, proxy_config, enroll, phone):
    device, identity = enrolled(enroll)
    issuer, serial = bytes.fromhex(enroll.issuer_name()), identity.cert.serial_number.to_bytes(16, "big").lstrip(b"\0")
    enroll.run("device", "revoke", device)
    proxy_says(phone, proxy, identity, 403)
    proxy.wait_event("crl_loaded", revoked=1)
    idle = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(12)]
    for s in idle:                                  # more than there are places: the newest is heard
        s.connect(path_of(proxy_config))
    for verb in range(3, 12):                       # "unrevoked" and whatever else one may think of: no such verb
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(5)
            s.connect(path_of(proxy_config))
            s.send(message(verb, body(issuer, serial)))
            answer = s.recv(1000)
        assert len(answer) == HEAD.size             # refused: nothing in it
    # a list that is not there, and the entry again with a number that every list is above
    for said in (message(LISTED, body(issuer, b"", number=(1 << 63) - 1)), message(REVOKED, body(issuer, serial, number=0))):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(5)
            s.connect(path_of(proxy_config))
            s.send(said)
            assert len(s.recv(1000)) == HEAD.size + 4
    assert status(phone(proxy, identity, user="alice")) == 403
    for s in idle:
        s.close()
