"""Devices with passwords: checked once by the *lockout* process, then served like those with certificates (DESIGN 4.1.9, 4.2)."""
import base64
import os
import signal

import pytest

from site_ import answers, inside, settings
from site_.device import EAS
from site_.enrol import hashed
from site_.process import wait_until
from site_.strict import read_backend

GOOD = "right-Horse-7"


def basic(user, password=GOOD):
    return [("Authorization", "Basic " + base64.b64encode(("%s:%s" % (user, password)).encode()).decode())]


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


@pytest.fixture(scope="module")
def good_hash():
    return hashed(GOOD)


@pytest.fixture
def started(start_proxy, configure, backend, accounts, good_hash):
    """started(credential, methods, changes): a proxy of that kind; alice, bob and mallory have the good password."""
    def start(credential="header", methods=({"certificate": "allowed", "password": "allowed"},), changes=None):
        for sam in ("alice", "bob"):
            accounts.change(sam, password=good_hash)
        return start_proxy(configure(backend, {"proxy.policies.0.methods": [dict(m) for m in methods], "lockout.memory_mib": 1,
                                               "proxy.upstreams.0.credential": credential, **(changes or {})}))
    return start


@pytest.mark.quick
def test_without_a_certificate_where_nothing_else_is_taken_it_is_403(started, phone, backend, alice):
    proxy = started(methods=[{"certificate": "allowed"}])
    for headers in ([], basic("alice"), [("X-EAS-User", "alice")]):
        with phone(proxy).connect() as line:
            response = line.request("POST", phone(proxy).target("Sync"), headers)
            assert response.status == 403 and not response.all("WWW-Authenticate") and line.closed()
    assert backend.received() == b""
    assert proxy.wait_event("refused", reason="no-certificate")["status"] == 403
    assert phone(proxy, alice).sync().status == 200


@pytest.mark.quick
def test_without_a_certificate_and_without_a_password_it_is_401_with_basic(started, phone, backend):
    device = phone(started())
    for headers in ([], [("Authorization", "Bearer x")], [("Authorization", "Negotiate TlRM")]):
        with device.connect() as line:
            response = line.request("POST", device.target("Sync"), headers)
            assert response.status == 401 and response.get("WWW-Authenticate").startswith("Basic realm=")
    for value in ("Basic", "Basic !!!", "Basic " + base64.b64encode(b"no colon").decode(), "Basic " + base64.b64encode(b":x").decode(),
                  "Basic " + base64.b64encode(b"al\0ice:x").decode(), "Basic " + base64.b64encode(b"al\r\nice:x").decode()):
        with device.connect() as line:
            assert line.request("POST", device.target("Sync"), [("Authorization", value)]).status in (400, 401), value
    assert backend.received() == b""


@pytest.mark.quick
@pytest.mark.parametrize("credential", ["header", "passthrough", "none"])
def test_a_right_password_gets_in_and_a_wrong_one_never_reaches_the_mail_server(started, phone, backend, credential):
    proxy = started(credential)
    device = phone(proxy)
    for user in ("alice", "ALICE", "alice@corp.example"):
        assert device.sync(headers=[*basic(user), ("X-EAS-User", "bob")]).status == 200, user
    for user, password in (("alice", "wrong"), ("alice", ""), ("alice", GOOD + "x"), ("nobody-at-all", GOOD), ("bob", "x" * 400)):
        response = phone(proxy, user=user).sync(headers=basic(user, password))
        assert response.status == 401 and response.get("WWW-Authenticate").startswith("Basic realm="), user
        assert proxy.wait_event("refused", reason="password-wrong")["status"] == 401
    requests = read_backend(backend)
    assert len(requests) == 3
    for request, user in zip(requests, ("alice", "ALICE", "alice@corp.example")):
        assert request.all(b"x-eas-user") == ([b"alice"] if credential == "header" else []), "the proxy's own word, for the account"
        assert request.all(b"authorization") == ([basic(user)[0][1].encode()] if credential == "passthrough" else [])
    assert proxy.wait_event("access", status=200)["method"] == "password"


@pytest.mark.quick
def test_a_password_is_asked_about_once_for_a_connection_and_an_authorization(started, phone, backend, accounts, good_hash):
    proxy = started()
    device = phone(proxy)
    checks = lambda: proxy.metric("easproxy_lockout_checks_total")
    with device.connect() as line:
        for _ in range(5):
            assert line.request("POST", device.target("Sync"), basic("alice")).status == 200
        wait_until(lambda: checks() == 1, 5)
        assert line.request("POST", device.target("Sync"), basic("alice", "wrong")).status == 401
        assert line.request("POST", device.target("Sync"), basic("alice")).status == 200
        wait_until(lambda: checks() == 3, 5)
    assert device.sync(headers=basic("alice")).status == 200
    wait_until(lambda: checks() == 4, 5)


@pytest.mark.quick
def test_one_connection_never_carries_anothers_name_or_an_older_password(started, phone, backend):
    proxy = started("passthrough")
    device = phone(proxy)
    with device.connect() as line:
        assert line.request("POST", device.target("Sync"), basic("alice")).status == 200
        assert line.request("POST", device.target("Sync"), []).status == 401
        assert line.request("POST", device.target("Sync"), basic("bob")).status == 403       # User=alice
    with phone(proxy, user="bob").connect() as line:
        assert line.request("POST", phone(proxy, user="bob").target("Sync"), basic("bob")).status == 200
    for connection in backend.connections:
        assert len({r.get("Authorization") for r in connection.requests}) <= 1


@pytest.mark.quick
def test_what_changes_of_the_account_ends_what_its_password_opened(started, phone, backend, accounts):
    hold = backend.when("Ping", answers.hold())
    proxy = started()
    device = phone(proxy)
    ping = device.ping(headers=basic("alice"))
    hold.wait_waiting(backend)
    accounts.change("alice", enabled=False)
    proxy.reload()
    outcome = ping.wait(10)
    assert outcome is None or isinstance(outcome, Exception) or outcome.status == 403
    assert device.sync(headers=basic("alice")).status == 403
    accounts.change("alice", enabled=True, password=hashed("a new one"))
    proxy.reload()
    wait_until(lambda: device.sync(headers=basic("alice", "a new one")).status == 200, 10)
    assert device.sync(headers=basic("alice")).status == 401


@pytest.mark.quick
def test_threat_15_a_certificate_with_the_password_of_another_user_is_403(started, phone, backend, alice):
    proxy = started("passthrough")
    for headers in (basic("bob"), [("Authorization", "Bearer of-bob")], [("Authorization", "Negotiate TlRM")],
                    [("Authorization", "Basic !!!")]):
        with phone(proxy, alice).connect() as line:
            assert line.request("POST", phone(proxy, alice).target("Sync"), headers).status == 403 and line.closed()
    assert backend.received() == b""
    for user in ("alice", "ALICE", "alice@corp.example"):
        assert phone(proxy, alice).sync(headers=basic(user)).status == 200, user
    assert {r.all(b"authorization")[0].split()[0] for r in read_backend(backend)} == {b"Basic"}


@pytest.mark.quick
def test_a_device_with_a_certificate_is_never_asked_for_a_password_that_it_does_not_need(started, phone, backend, alice):
    proxy = started("passthrough")
    response = phone(proxy, alice).sync(headers=basic("alice", "wrong"))
    assert response.status == 403 and not response.all("WWW-Authenticate")
    assert proxy.wait_event("refused", reason="password-refused", method="certificate")
    assert backend.received() == b"", "AD would have counted it"
    backend.default = answers.ok(b"", [("WWW-Authenticate", "Basic realm=\"mail\"")], 401)
    response = phone(proxy, alice).sync(headers=basic("alice"))
    assert response.status == 503 and not response.all("WWW-Authenticate")


@pytest.mark.quick
@pytest.mark.parametrize("credential", ["header", "passthrough"])
def test_where_both_are_required_both_must_be_right_and_name_one_account(started, phone, backend, alice, credential):
    proxy = started(credential, [{"certificate": "required", "password": "required"}])
    device = phone(proxy, alice)
    for headers in ([], basic("alice", "wrong")):
        response = device.sync(headers=headers)
        assert response.status == 401 and response.get("WWW-Authenticate").startswith("Basic realm=")
    assert device.sync(headers=basic("bob")).status == 403
    assert device.sync(headers=[("Authorization", "Bearer x")]).status == 401
    assert backend.received() == b""
    assert device.sync(headers=basic("alice")).status == 200
    assert proxy.wait_event("access", status=200)["method"] == "certificate+password"
    assert phone(proxy).refusal() == "certificate required"


@pytest.mark.quick
def test_threat_16_a_password_device_may_name_only_its_own_mailbox(started, phone, backend):
    proxy = started()
    assert phone(proxy, user="bob").sync(headers=basic("alice")).status == 403
    assert phone(proxy).sync(headers=basic("nobody-at-all")).status == 401
    assert phone(proxy, user="mallory").sync(headers=basic("mallory")).status == 403
    assert backend.received() == b""


@pytest.mark.quick
def test_threat_17_two_passwords_of_one_user_do_not_share_a_connection(started, phone, backend):
    proxy = started("passthrough", changes={"lockout.mode": "off"})
    for password in ("right", "wrong", "right", "wrong"):
        assert phone(proxy).sync(headers=basic("alice", password)).status == 200
    carried = [{r.get("Authorization") for r in c.requests} for c in backend.connections if c.requests]
    assert len(carried) == 2 and all(len(c) == 1 for c in carried)


@pytest.mark.quick
def test_with_the_guard_off_a_password_that_is_passed_on_is_the_mail_servers_to_judge_and_no_other(started, phone, backend):
    wrong = answers.ok(b"", [("WWW-Authenticate", "Basic realm=\"mail\"")], 401)
    backend.queue(answers.eas(), wrong)
    proxy = started("passthrough", changes={"lockout.mode": "off"})
    assert phone(proxy).sync(headers=basic("alice", "whatever")).status == 200
    response = phone(proxy).sync(headers=basic("alice", "old password"))
    assert response.status == 401 and response.get("WWW-Authenticate") == "Basic realm=\"mail\""
    assert all(not r.all(b"x-eas-user") for r in read_backend(backend))


@pytest.mark.quick
def test_where_the_header_speaks_the_password_is_checked_even_with_the_guard_off(started, phone, backend):
    proxy = started("header", changes={"lockout.mode": "off"})
    assert phone(proxy).sync(headers=basic("alice", "wrong")).status == 401
    assert backend.received() == b""
    assert phone(proxy).sync(headers=basic("alice")).status == 200


@pytest.mark.quick
def test_without_the_lockout_process_passwords_are_refused_and_certificates_go_on(started, phone, backend, alice):
    proxy = started()
    assert phone(proxy).sync(headers=basic("alice")).status == 200
    guard, = inside.by_role(proxy)["lockout"]
    os.kill(guard, signal.SIGSTOP)
    waits = phone(proxy, user="bob").ping(headers=basic("bob"))
    assert phone(proxy, alice).sync().status == 200
    os.kill(guard, signal.SIGKILL)
    response = waits.wait(10)
    assert response.status == 503 and response.get("Retry-After")
    assert proxy.wait_event("fault", reason="password-unchecked")
    wait_until(lambda: phone(proxy, user="bob").sync(headers=basic("bob")).status == 200, 10)


@pytest.mark.quick
def test_a_stretch_process_that_dies_or_hangs_costs_a_503_and_is_replaced(started, phone, backend, alice):
    proxy = started(changes={"lockout.processes": 2})
    assert phone(proxy).sync(headers=basic("alice")).status == 200
    wait_until(lambda: proxy.metric("easproxy_lockout_processes") == 2, 10)
    hangs = inside.by_role(proxy)["stretch"]
    for pid in hangs:
        os.kill(pid, signal.SIGSTOP)
    since = proxy.mark()
    waiting = [phone(proxy, user=user).ping(headers=basic(user)) for user in ("alice", "bob")]
    proxy.wait_event("process_hangs", since=since, timeout=15)
    assert phone(proxy, alice).sync().status == 200, "certificates do not pass there"
    for one in waiting:
        response = one.wait(10)
        assert response.status == 503 and response.get("Retry-After")
    wait_until(lambda: len(set(inside.by_role(proxy).get("stretch", [])) - set(hangs)) == 2, 10)
    dies, lives = inside.by_role(proxy)["stretch"]
    os.kill(dies, signal.SIGKILL)
    for user in ("alice", "bob", "alice"):
        assert phone(proxy, user=user).sync(headers=basic(user)).status == 200, "the other goes on"
    wait_until(lambda: proxy.metric("easproxy_lockout_processes") == 2, 10)
    assert "2 processes that stretch them, 0 passwords wait" in proxy.status()
    assert lives in inside.by_role(proxy)["stretch"] and {line["message"].split()[0] for line in proxy.events("process_died")} == {"stretch"}


@pytest.mark.quick
def test_passwords_are_in_no_log_line(started, phone, backend):
    proxy = started()
    for user in ("alice", "bob", "nobody"):
        phone(proxy, user=user).sync(headers=basic(user))
    phone(proxy, user="bob").sync(headers=basic("bob", "sesame-open-5"))
    proxy.wait_event("access", status=401)
    proxy.assert_never(GOOD, "sesame-open-5", basic("alice")[0][1].split()[1], basic("bob")[0][1].split()[1])


@pytest.mark.quick
def test_autodiscover_with_a_password_goes_the_same_way(started, phone, backend):
    proxy = started(changes={"proxy.autodiscover": "answer", "proxy.autodiscover_url": "https://mail.example.com" + EAS})
    device = phone(proxy, server_name="autodiscover.example.com")
    body = (b"<?xml version=\"1.0\" encoding=\"utf-8\"?><Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/mobilesync/"
            b"requestschema/2006\"><Request><EMailAddress>alice@example.com</EMailAddress><AcceptableResponseSchema>http://schemas.microsoft.com/"
            b"exchange/autodiscover/mobilesync/responseschema/2006</AcceptableResponseSchema></Request></Autodiscover>")
    for headers, status in (([], 401), (basic("alice", "wrong"), 401), (basic("bob"), 403), (basic("alice"), 200)):
        with device.connect() as line:
            response = line.request("POST", "/Autodiscover/Autodiscover.xml", [("Content-Type", "text/xml"), *headers], body, host=device.server_name)
            assert response.status == status
    assert b"alice@example.com" in response.body and backend.received() == b""


@pytest.mark.quick
def test_certificate_and_password_devices_are_served_side_by_side(started, phone, backend, alice, pki):
    proxy = started("header")
    with_certificate, with_password = phone(proxy, alice), phone(proxy, user="bob")
    for _ in range(5):
        assert with_certificate.sync().status == 200
        assert with_password.sync(headers=basic("bob")).status == 200
    for connection in backend.connections:
        assert len({r.get("X-EAS-User") for r in connection.requests}) <= 1
    assert phone(proxy, pki.device_ca.device("mallory@corp.example"), user="mallory").connect().request(
        "POST", EAS + "?Cmd=Sync&User=mallory&DeviceId=d&DeviceType=t").status == 403


# --- in the domain: judged here, and never sent on

def test_a_right_password_becomes_a_ticket_in_the_users_name_and_goes_nowhere_itself(ad, kerberos_proxy, start_backend, phone):
    sam = ad.account()
    password = "Passw0rd." + sam
    changes = {"proxy.policies.0.methods": [{"certificate": "allowed", "password": "allowed"}], "lockout.memory_mib": 1}
    proxy = kerberos_proxy(changes=changes)
    device = phone(proxy, user=sam)
    mark = ad.mail.mark()
    assert device.sync(headers=basic(sam, password)).status == 200
    ad.mail.wait_access(user="%s@%s" % (sam, ad.realm), status=200, since=mark)        # mod_auth_gssapi took the ticket
    assert proxy.wait_event("access", status=200)["method"] == "password"
    tickets = proxy.metric("easproxy_kerberos_calls_total")
    assert phone(proxy, user=sam).sync(headers=basic(sam, "Wr0ng.Passw0rd")).status == 401
    assert proxy.metric("easproxy_kerberos_calls_total") == tickets, "no ticket for one that is wrong"
    # what a mail server is sent, byte for byte
    backend = start_backend(netns=ad.netns)
    proxy = kerberos_proxy(changes={**changes, "proxy.upstreams.0.servers": [backend.url], "proxy.upstreams.0.ca": None, "proxy.upstreams.0.server_name": None},
                           node="recorded")
    assert phone(proxy, user=sam).sync(headers=basic("%s@corp.example" % sam, password)).status == 200
    request, = read_backend(backend)
    value, = request.all(b"authorization")
    assert value.startswith(b"Negotiate YI")
    sent = backend.received() + base64.b64decode(value.split()[1])
    for secret in (password, basic(sam, password)[0][1].split()[1], base64.b64encode(password.encode()).decode()):
        assert secret.encode() not in sent
    proxy.assert_never(password, basic("%s@corp.example" % sam, password)[0][1].split()[1])


@pytest.mark.quick
@pytest.mark.parametrize("credential, status", [("header", 503), ("none", 503), ("passthrough", 401)])
def test_a_mail_server_that_refuses_our_credential_does_not_make_the_phone_ask_for_a_password_that_was_right(
        started, phone, backend, credential, status):
    proxy = started(credential)
    backend.default = answers.ok(status=401, headers=[("WWW-Authenticate", "Negotiate")])
    response = phone(proxy).sync(headers=basic("alice"))
    assert response.status == status
    assert bool(response.all("WWW-Authenticate")) == (status == 401)
    if status == 503:
        assert response.get("Retry-After") and proxy.wait_event("fault", reason="upstream-auth")["user"] == "alice"
        backend.default = answers.ok(headers=[("WWW-Authenticate", "Negotiate oRQwEqADCgEA")])
        response = phone(proxy).sync(headers=basic("alice"))
        assert response.status == 200 and not response.all("WWW-Authenticate")
