"""Who it is says the proxy alone: no header, trailer, query or connection of a device changes that (threats 10, 13 to 17)."""
import base64
import re
import threading

import pytest

from site_ import answers
from site_.device import EAS, base64_query
from site_.strict import read_backend

LOOK_ALIKES = ["X-EAS-User", "x-eas-user", "X_EAS_USER", "X-EAS_User", "x_eas-user", "X.EAS.User", "X-EAS.User", "X-Eas-User",
              "X+EAS+User", "X!EAS~User", "X-EAS'User", "x|eas^user", "X#EAS$User", "X%EAS&User", "X*EAS`User"]
IDENTITY = ["Authorization", "Proxy-Authorization", "X-Forwarded-For", "X-Forwarded-User", "X-Forwarded-Host", "X_Forwarded_For",
            "X-Forwarded-Proto", "X-Forwarded-Client-Cert", "Forwarded", "X-Original-URL", "X-Original-Host", "X_Original_URL",
            "X-Rewrite-URL", "X-Remote-User", "Remote-User", "REMOTE_USER", "X-Real-IP", "X.Real.IP", "X-Client-DN", "X-Client-Cert",
            "X-SSL-Client-S-DN", "SSL-Client-Cert", "SSL_CLIENT_S_DN", "X-WebObjects-Remote-User", "Front-End-Https", "X-User",
            "X-Auth-User", "X-Authenticated-User", "X-HTTP-Method-Override", "X-ARR-ClientCert", "True-Client-IP", "Client-Cert",
            "X-Cluster-Client-IP", "X-Proxy-User", "X-Common-Access-Token", "X+Forwarded~For", "Remote!User", "X~SSL~Client-S-DN"]
OURS = {b"x-eas-user": [b"alice"], b"x-forwarded-proto": [b"https"], b"x-forwarded-host": [b"mail.example.com"],
        b"x-forwarded-for": [b"127.0.0.1"]}


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example", cn="alice's phone")


@pytest.fixture
def proxy(start_proxy, configure, backend):
    return start_proxy(configure(backend))


@pytest.fixture
def device(proxy, phone, alice):
    return phone(proxy, alice)


def only_ours(request):
    """Each identity header exactly once and with the proxy's value; no field by another spelling of these names."""
    for name, values in OURS.items():
        assert request.all(name) == values, (name, request.fields)
    folded = [re.sub(b"[^a-z0-9]", b"-", n.lower()) for n, _ in request.fields]       # the variable that some servers make of it
    for name in LOOK_ALIKES + IDENTITY:
        key = re.sub(b"[^a-z0-9]", b"-", name.lower().encode())
        assert folded.count(key) == (1 if key in OURS else 0), (name, request.fields)


@pytest.mark.quick
def test_threat_13_identity_headers_of_a_device_are_replaced_by_exactly_one_of_ours(device, backend):
    for name in LOOK_ALIKES + IDENTITY:
        response = device.sync(headers=[(name, "mallory"), ("X-Kept", "yes")])
        assert response.status in (200, 400), name      # 400: a misspelt framing or identity name that nobody needs
    assert device.sync(headers=[(n, "mallory") for n in LOOK_ALIKES + ["Forwarded", "X-Forwarded-For", "X-Remote-User"]]).status == 200
    requests = read_backend(backend)
    assert len(requests) > len(LOOK_ALIKES)
    for request in requests:
        only_ours(request)
    assert b"mallory" not in backend.received()
    assert requests[0].all(b"x-kept") == [b"yes"]


@pytest.mark.quick
def test_threat_13_the_trusted_header_is_kept_from_devices_by_whatever_name_it_is_configured(
        start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.upstreams.0.header": "Mail_Login"}))
    for name in ("Mail_Login", "Mail-Login", "mail.login", "MAIL_LOGIN"):
        assert phone(proxy, alice).sync(headers=[(name, "bob")]).status == 200
    for request in read_backend(backend):
        assert [v for n, v in request.fields if n in (b"mail_login", b"mail-login", b"mail.login")] == [b"alice"]
    assert b"bob" not in backend.received()


@pytest.mark.quick
@pytest.mark.parametrize("kind, value", [("sam", "alice"), ("upn", "alice@corp.example"), ("mail", "alice@example.com")])
def test_the_trusted_header_holds_what_header_value_says(start_proxy, configure, backend, phone, alice, kind, value):
    proxy = start_proxy(configure(backend, {"proxy.upstreams.0.header_value": kind}))
    assert phone(proxy, alice).sync().status == 200
    assert backend.requests[0].get("X-EAS-User") == value


@pytest.mark.quick
def test_threat_14_connection_cannot_strip_our_headers_and_does_not_pass(device, backend):
    options = ["X-EAS-User, Authorization", "X-Forwarded-For", "Host, Content-Length", "close, X-EAS-User", "keep-alive, Cookie",
               "Content-Type, MS-ASProtocolVersion", "Transfer-Encoding"]
    for value in options:
        assert device.sync(headers=[("Connection", value), ("X-EAS-User", "bob"), ("Cookie", "a=b")]).status == 200, value
    requests = read_backend(backend)
    assert len(requests) == len(options)
    for request, value in zip(requests, options):
        only_ours(request)
        assert request.all(b"host") and not request.all(b"connection")
        assert request.all(b"cookie") == ([] if "Cookie" in value else [b"a=b"]), "RFC 9110: a named field goes"


@pytest.mark.quick
def test_threat_15_authorization_beside_a_certificate_is_dropped(device, backend):
    for value in ("Basic " + base64.b64encode(b"bob:secret-of-bob").decode(), "Negotiate TlRMTVNTUAAB", "NTLM TlRMTVNTUAAB",
                  "Bearer token-of-bob", "Digest username=\"bob\""):
        assert device.sync(headers=[("Authorization", value)]).status == 200
    for request in read_backend(backend):
        only_ours(request)
    assert b"bob" not in backend.received()


@pytest.mark.quick
def test_threat_15_what_devices_send_as_credentials_is_never_logged(proxy, device, backend):
    basic = base64.b64encode(b"bob:secret-of-bob").decode()
    assert device.sync(headers=[("Authorization", "Basic " + basic), ("Cookie", "session=sesame")]).status == 200
    proxy.wait_event("access", command="Sync")
    proxy.assert_never("secret-of-bob", basic, "sesame")


@pytest.mark.quick
def test_threat_16_a_request_for_another_mailbox_is_403_closed_and_audited(proxy, phone, backend, alice):
    for user in ("bob", "CORP%5Cbob", "bob@corp.example", "alice@other.example", "OTHER%5Calice", "alice%2Ebob", "alic", "alicee",
                 "CORP%5Calice%5Cbob", "alice%20", "%C3%A1lice"):
        with phone(proxy, alice).connect() as line:
            response = line.request("POST", "%s?Cmd=Sync&User=%s&DeviceId=d&DeviceType=t" % (EAS, user))
            assert response.status == 403, user
            assert line.closed()
    query = base64_query("Sync", parameters=[(8, b"bob")])      # tag 8 is User
    with phone(proxy, alice).connect() as line:
        assert line.request("POST", EAS + "?" + query).status == 403
    assert backend.received() == b""
    refused = proxy.wait_event("refused", reason="other-user", asked_user="bob@corp.example")
    assert refused["user"] == "alice" and refused["status"] == 403


@pytest.mark.quick
def test_threat_16_the_names_of_the_certificates_own_account_pass(device, backend):
    for user in ("alice", "ALICE", "alice@corp.example", "alice%40corp.example", "alice@example.com"):
        line = device.connect()
        assert line.request("POST", "%s?Cmd=Sync&User=%s&DeviceId=d&DeviceType=t" % (EAS, user)).status == 200, user
    assert device.connect().request("POST", EAS + "?" + base64_query("Sync")).status == 200, "the base64 form names nobody"
    assert {r.all(b"x-eas-user")[0] for r in read_backend(backend)} == {b"alice"}


@pytest.mark.quick
def test_threat_10_names_with_line_ends_in_a_certificate_reach_no_header_and_no_log_line(proxy, phone, backend, pki):
    for name in (b"alice@corp.example\r\nX-EAS-User: bob", b"alice\r\nX-Evil: yes@corp.example", b"alice\0@corp.example",
                 b"alice@corp.example\n", b"\x1b[31malice@corp.example"):
        assert phone(proxy, pki.device_ca.device(name)).sync().status == 403, name
    identity = pki.device_ca.device("alice@corp.example", cn="x\r\n{\"event\": \"forged\"}\r\n")
    assert phone(proxy, identity).sync().status == 200
    received = backend.received()
    assert b"Evil" not in received and b"bob" not in received and b"forged" not in received
    proxy.wait_event("access", status=200)
    assert not proxy.events("forged") and all(isinstance(line, dict) for line in proxy.log.lines), proxy.log.tail()


@pytest.mark.quick
def test_threat_17_two_users_many_interleaved_requests_never_share_a_connection(start_proxy, configure, backend, phone, pki):
    backend.default = answers.whoami("X-EAS-User")
    proxy = start_proxy(configure(backend, {"proxy.upstreams.0.pool": 6}))
    users = ["alice", "bob"] * 4
    wrong, count = [], 125

    def run(user):
        device = phone(proxy, pki.device_ca.device(user + "@corp.example"), user=user)
        for n in range(count):
            if n % 25 == 24:
                device.hang_up()
            body = device.sync().body
            if body != b"X-EAS-User=%s\n" % user.encode():
                wrong.append((user, body))
    threads = [threading.Thread(target=run, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(backend.requests) == count * len(users)
    for connection in backend.connections:
        assert len({r.get("X-EAS-User") for r in connection.requests}) <= 1, "one connection carried two users"
    assert len(backend.connections) < len(backend.requests) / 2, "connections are used again"


@pytest.mark.quick
def test_threat_17_a_connection_that_one_user_left_open_is_not_given_to_the_next(proxy, phone, backend, pki):
    for user in ("alice", "bob", "alice", "bob"):
        device = phone(proxy, pki.device_ca.device(user + "@corp.example"), user=user)
        assert device.sync().status == 200
        device.hang_up()
    carried = [[r.get("X-EAS-User") for r in c.requests] for c in backend.connections if c.requests]
    assert carried == [["alice", "alice"], ["bob", "bob"]]
