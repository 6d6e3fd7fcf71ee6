"""Resumed TLS sessions: real ones, from records that all workers share, and none that should not be (P18 to P20, P24)."""
import os
import re
import signal
import time

import pytest

from site_ import answers, inside, settings
from site_.device import EAS, s_client
from site_.hosts import TLS12, is_sanitized, second_host, worker_rss
from site_.pki import Authority

OPTIONS = b"OPTIONS %s HTTP/1.1\r\nHost: %%s\r\nConnection: close\r\n\r\n" % EAS.encode()


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example", cn="alice's phone")


@pytest.fixture
def proxy(start_proxy, configure, backend):
    return start_proxy(configure(backend))


def session_of(device, **kw):
    """A session that can be resumed: one is there once something was received."""
    with device.connect(**kw) as line:
        assert line.request("OPTIONS", EAS, host=kw.get("server_name") or device.server_name).status == 200
        assert line.session.has_ticket
        return line.session


def resumed(device, session, **kw):
    """The line, after a request of its own was answered with 200 (or `status`)."""
    status = kw.pop("status", 200)
    line = device.connect(session=session, **kw)
    response = line.request("OPTIONS", EAS, host=kw.get("server_name") or device.server_name)
    assert response.status == status, response.start
    return line


def ask(host="mail.example.com"):
    return OPTIONS % host.encode()


def is_resumed(shown):
    return "Reused, TLSv1.3" in shown


# that it works

@pytest.mark.quick
def test_a_session_is_resumed_by_both_workers_from_the_table_they_share(
        start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, changes={"proxy.workers": 2}))
    device = phone(proxy, alice)
    session = session_of(device)
    first, = {e["index"] for e in proxy.events("access")} or {proxy.wait_event("access")["index"]}
    since = proxy.mark()
    for _ in range(40):
        with resumed(device, session) as line:
            assert line.resumed
            session = line.session
    proxy.wait_event("access", since=since, process="worker", index=1 - first, resumed=True)
    proxy.wait_event("access", since=since, process="worker", index=first, resumed=True)
    assert proxy.metric("easproxy_handshakes_total", result="resumed") == 40
    assert proxy.metric("easproxy_handshakes_total", result="full") == 1
    assert {r.get("X-EAS-User") for r in backend.requests} == {"alice"}


def test_a_resumed_connection_is_the_same_user_and_certificate_to_log_and_mail_server(proxy, phone, pki, backend):
    device = phone(proxy, pki.device_ca.device("bob@corp.example"), user="bob")
    session_of(device)
    with resumed(device, session_of(device)) as line:
        assert line.resumed
    entry = proxy.wait_event("access", resumed=True)
    assert (entry["user"], entry["certificate"]) == ("bob", device.identity.sha256)
    assert backend.requests[-1].get("X-EAS-User") == "bob"


def test_one_ticket_is_sent_and_it_may_be_used_more_than_once(proxy, alice, phone, place):
    path = os.path.join(place, "session")
    shown = s_client(proxy.address(), "-tls1_3", "-sess_out", path, identity=alice, send=ask())
    assert shown.count("Post-Handshake New Session Ticket arrived") == 1
    for _ in range(3):
        assert is_resumed(s_client(proxy.address(), "-tls1_3", "-sess_in", path, identity=alice, send=ask()))


def test_a_session_outlives_the_worker_that_made_it(start_proxy, configure, backend, phone, alice):
    """Its record is the node's: the process that is started in the killed one's place resumes it."""
    proxy = start_proxy(configure(backend))
    device = phone(proxy, alice)
    session = session_of(device)
    old, = inside.by_role(proxy)["worker"]
    os.kill(old, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while True:
        try:
            with resumed(device, session) as line:
                assert line.resumed
            break
        except OSError:                             # nobody listens until the next one has begun
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_tls_1_2_phone_is_served_by_full_handshakes(proxy, phone, alice):
    device = phone(proxy, alice, versions=(TLS12, TLS12))
    with device.connect() as line:
        assert line.request("OPTIONS", EAS).status == 200
        session = line.session
    with resumed(device, session) as line:
        assert not line.resumed


def test_a_session_that_nobody_made_means_a_full_handshake(proxy, alice, place):
    """The name of the session is turned over: the table has no such record, and no ticket is ever opened."""
    path = os.path.join(place, "session")
    s_client(proxy.address(), "-tls1_3", "-sess_out", path, identity=alice, send=ask())
    shown = s_client(proxy.address(), "-tls1_3", "-sess_in", path, identity=alice, send=ask())
    ticket = bytes.fromhex(re.sub(r"[^0-9a-f]", "", "".join(re.findall(
        r"TLS session ticket:\n((?:    [0-9a-f]{4} - .*\n)+)", shown)[0].splitlines()[0][11:60])))
    assert len(ticket) == 16
    import base64
    with open(path, "rb") as f:
        lines = f.read().split(b"\n")
    body = base64.b64decode(b"".join(lines[1:-2]))
    # [10] EXPLICIT OCTET STRING, the ticket: both lengths agree, which random bytes do not
    at, = {m.end() for m in re.finditer(rb"\xaa(.)\x04(.)", body, re.S) if m[1][0] == m[2][0] + 2 and m[2][0] in (16, 32)}
    changed = bytearray(body)
    changed[at] ^= 0xFF
    with open(path, "wb") as f:
        f.write(lines[0] + b"\n" + base64.encodebytes(bytes(changed)) + lines[-2] + b"\n")
    shown = s_client(proxy.address(), "-tls1_3", "-sess_in", path, identity=alice, send=ask())
    assert not is_resumed(shown) and "HTTP/1.1 200" in shown


# what was true once is asked again

@pytest.mark.quick
def test_p19_a_certificate_that_was_revoked_since_is_refused_when_resumed(proxy, phone, alice, backend, pki, crl):
    device = phone(proxy, alice)
    session = session_of(device)
    seen = len(backend.requests)
    since = proxy.mark()
    pki.device_ca.write_crl(crl, [(alice, 1)])
    proxy.wait_event("crl_loaded", since=since, revoked=1)
    with resumed(device, session, status=403) as line:
        assert line.resumed and line.closed()
    entry = proxy.wait_event("refused", reason="revoked")
    assert entry["audit"] is True and entry["certificate"] == alice.sha256
    assert len(backend.requests) == seen


@pytest.mark.quick
def test_p19_an_account_that_was_disabled_since_is_refused_when_resumed(proxy, phone, alice, backend, accounts):
    device = phone(proxy, alice)
    session = session_of(device)
    seen = len(backend.requests)
    since = proxy.mark()
    accounts.change("alice", enabled=False)
    proxy.wait_event("directory_up", since=since)
    with resumed(device, session, status=403) as line:
        assert line.resumed and line.closed()
    assert proxy.wait_event("refused", reason="account-disabled")["user"] == "alice"
    assert len(backend.requests) == seen


def test_p19_an_account_that_left_the_group_since_is_refused_when_resumed(proxy, phone, alice, accounts):
    device = phone(proxy, alice)
    session = session_of(device)
    since = proxy.mark()
    accounts.change("alice", groups=[])
    proxy.wait_event("directory_up", since=since)
    with resumed(device, session, status=403) as line:
        assert line.resumed


@pytest.mark.quick
def test_p19_a_session_does_not_outlive_its_certificate_nor_does_a_held_ping(proxy, phone, pki, backend):
    hold = backend.when("Ping", answers.hold())
    end = int(time.time()) + 3
    device = phone(proxy, pki.device_ca.device("alice@corp.example", not_after=end))
    session = session_of(device)
    ping = device.ping()
    hold.wait_waiting(backend)
    with resumed(device, session) as line:
        assert line.resumed
        idle = line
        outcome = ping.wait(8)
        assert time.time() >= end
        assert idle.closed()
    assert outcome is None or isinstance(outcome, Exception) or outcome.status == 403
    hold.wait_abandoned(backend)
    assert device.refusal(session=session).endswith("certificate expired")
    assert proxy.wait_event("ended", reason="certificate-expired") or proxy.events("refused", reason="certificate-expired")


def test_p19_a_session_of_an_intermediate_that_expires_ends_with_it(start_proxy, configure, backend, pki, phone, place):
    end = int(time.time()) + 3
    brief = Authority("CN=Brief CA", parent=pki.root, not_after=end)
    proxy = start_proxy(configure(backend, changes={"proxy.revocation.unknown": "allow"}))
    device = phone(proxy, brief.device("alice@corp.example"))
    session = session_of(device)
    with resumed(device, session) as line:
        assert line.resumed and line.closed(6)
    assert time.time() >= end
    assert device.refusal(session=session).endswith("certificate expired")


def test_a_session_ends_after_session_seconds_however_often_it_was_resumed(
        start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, changes={"proxy.limits.session_seconds": 3}))
    device = phone(proxy, alice)
    session = session_of(device)
    began = time.monotonic()
    while True:
        with resumed(device, session) as line:
            if not line.resumed:
                break
            session = line.session
        assert time.monotonic() - began < 6
        backend.closing.wait(0.2)
    assert time.monotonic() - began > 1.5


# whose session it is

@pytest.mark.quick
def test_p18_a_session_of_one_host_is_not_resumed_on_another(
        start_proxy, configure, backend, pki, place, phone, alice):
    proxy = start_proxy(second_host(configure(backend), pki, place))
    device = phone(proxy, alice)
    session = session_of(device)
    with resumed(device, session, server_name="other.example.com") as line:
        assert not line.resumed
    with resumed(device, session) as line:
        assert line.resumed                     # and its own host still knows it
    with resumed(device, session, server_name="autodiscover.example.com") as line:
        assert line.resumed                     # another name of the same host


@pytest.mark.quick
def test_p18_a_session_without_the_certificate_opens_no_other_host(
        start_proxy, configure, backend, pki, place, alice):
    """CVE-2025-23419 and kin: made with a certificate on one host, offered without one on another."""
    free = dict(settings.POLICY, name="free", methods=[{"certificate": "allowed"}])
    config = second_host(configure(backend, changes={"proxy.policies.1": free}), pki, place)
    config = second_host(config, pki, place, "free.example.com", policy="free")
    proxy = start_proxy(config)
    path = os.path.join(place, "session")
    for made, offered in (("mail.example.com", "other.example.com"), ("free.example.com", "mail.example.com"),
                          ("mail.example.com", "free.example.com")):
        shown = s_client(proxy.address(), "-tls1_3", "-sess_out", path, identity=alice, server_name=made, send=ask(made))
        assert "HTTP/1.1 200" in shown
        seen = len(backend.requests)
        shown = s_client(proxy.address(), "-tls1_3", "-sess_in", path, server_name=offered, send=ask(offered))
        assert not is_resumed(shown)
        assert "HTTP/1.1 403" in shown if offered == "free.example.com" else "certificate required" in shown
        assert len(backend.requests) == seen


def test_p18_a_host_with_an_optional_certificate_gives_no_session_to_who_has_none(
        start_proxy, configure, backend, place):
    proxy = start_proxy(configure(backend, changes=settings.OPTIONAL))
    path = os.path.join(place, "session")
    shown = s_client(proxy.address(), "-tls1_3", "-sess_out", path, send=ask())
    assert "HTTP/1.1 403" in shown and "New Session Ticket arrived" not in shown
    assert not os.path.exists(path)


def test_p18_a_session_of_another_ca_is_not_resumed_where_that_ca_is_not_trusted(
        start_proxy, configure, backend, pki, place):
    other = os.path.join(place, "other-ca.pem")
    with open(other, "wb") as f:
        f.write(pki.other_ca.pem)
    config = second_host(configure(backend, changes={"proxy.revocation.unknown": "allow"}), pki, place,
                         client_ca=[other])
    proxy = start_proxy(config)
    mallory, path = pki.other_ca.device("alice@corp.example"), os.path.join(place, "session")
    shown = s_client(proxy.address(), "-tls1_3", "-sess_out", path, identity=mallory, server_name="other.example.com",
                     send=ask("other.example.com"))
    assert "HTTP/1.1 200" in shown
    seen = len(backend.requests)
    for identity in (mallory, None):
        shown = s_client(proxy.address(), "-tls1_3", "-sess_in", path, identity=identity, send=ask())
        assert not is_resumed(shown) and re.search("unknown ca|certificate required", shown)
    assert len(backend.requests) == seen


@pytest.mark.quick
def test_p18_after_a_reload_without_its_ca_a_session_is_refused_and_live_connections_end(
        start_proxy, configure, backend, pki, place, phone, alice):
    hold = backend.when("Ping", answers.hold())
    config = configure(backend)
    proxy = start_proxy(config)
    device = phone(proxy, alice)
    session = session_of(device)
    ping = device.ping()
    idle = device.connect()
    hold.wait_waiting(backend)
    other = os.path.join(place, "other-ca.pem")
    with open(other, "wb") as f:
        f.write(pki.other_ca.pem)
    assert proxy.reload(settings.changed(config, {"proxy.hosts.0.client_ca": [other]}))["event"] == "reloaded"
    outcome = ping.wait(2)
    assert outcome is None or isinstance(outcome, Exception) or outcome.status == 403
    assert idle.closed(2)
    assert device.refusal(session=session).endswith("unknown ca")
    assert len(backend.requests) == 2


@pytest.mark.parametrize("change", [
    {"proxy.hosts.0.policy": "strict"}, settings.OPTIONAL, {"proxy.identity": ["upn"]},
    {"proxy.hosts.0.names": ["mail.example.com"]}], ids=["policy", "optional", "identity", "names"])
def test_p18_a_session_made_under_other_rules_is_not_resumed_after_a_reload(
        start_proxy, configure, backend, phone, alice, change):
    config = configure(backend, changes={"proxy.policies.1": dict(settings.POLICY, name="strict")})
    proxy = start_proxy(config)
    device = phone(proxy, alice)
    session = session_of(device)
    assert proxy.reload(settings.changed(config, change))["event"] == "reloaded"
    with resumed(device, session) as line:
        assert not line.resumed


def test_a_reload_that_changes_no_rule_keeps_sessions(start_proxy, configure, backend, phone, alice):
    config = configure(backend)
    proxy = start_proxy(config)
    device = phone(proxy, alice)
    session = session_of(device)
    assert proxy.reload(settings.changed(config, {"proxy.limits.head_seconds": 20}))["event"] == "reloaded"
    with resumed(device, session) as line:
        assert line.resumed


def test_p20_a_session_of_one_node_or_of_the_last_run_is_not_resumed_and_no_secret_is_on_disk(
        start_proxy, configure, backend, alice, place):
    config = configure(backend, node="one")
    one, two = start_proxy(config), start_proxy(configure(backend, node="two"))
    path = os.path.join(place, "session")
    shown = s_client(one.address(), "-tls1_3", "-sess_out", path, identity=alice, send=ask())
    secret = bytes.fromhex(re.search("Resumption PSK: ([0-9A-F]+)", shown).group(1))
    assert not is_resumed(s_client(two.address(), "-tls1_3", "-sess_in", path, identity=alice, send=ask()))
    assert is_resumed(s_client(one.address(), "-tls1_3", "-sess_in", path, identity=alice, send=ask()))
    one.stop()
    for directory in (config["state_dir"], config["run_dir"]):
        for at, _, names in os.walk(directory):
            for name in filter(lambda n: os.path.isfile(os.path.join(at, n)), names):
                with open(os.path.join(at, name), "rb") as f:
                    assert secret not in f.read(), name
    again = start_proxy(config)
    shown = s_client(again.address(), "-tls1_3", "-sess_in", path, identity=alice, send=ask())
    assert not is_resumed(shown) and "HTTP/1.1 200" in shown


# what it costs

@pytest.mark.slow
@pytest.mark.no_asan        # whose allocator keeps what is freed
def test_p24_memory_is_flat_over_thousands_of_resumptions(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, changes={"proxy.limits.session_records": 256, "log.access": False}))
    device = phone(proxy, alice)
    session = session_of(device)

    def go_round(count, session):
        for _ in range(count):
            with device.connect(session=session) as line:
                assert line.request("OPTIONS", EAS).status == 200
                assert line.resumed
                session = line.session
        return session

    session = go_round(400, session)                    # the table is full, pools are warm
    before = worker_rss(proxy)
    session = go_round(1600, session)
    if not is_sanitized(proxy):                         # which keeps what was freed
        assert worker_rss(proxy) - before < 1 << 20
    assert proxy.metric("easproxy_handshakes_total", result="resumed") == 2000


def test_p24_more_sessions_than_the_table_holds_push_out_the_oldest_and_nobody_is_refused(
        start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, changes={"proxy.limits.session_records": 64}))
    device = phone(proxy, alice)
    oldest = session_of(device)
    for _ in range(400):
        newest = session_of(device)
    with resumed(device, newest) as line:
        assert line.resumed
    with resumed(device, oldest) as line:
        assert not line.resumed
