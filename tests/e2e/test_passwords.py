"""While a company migrates: devices with certificates and devices with passwords on one name (DESIGN 4.1.9, 4.2)."""
import base64

import pytest

from site_ import answers, settings
from site_.device import EAS
from site_.strict import read_backend



def basic(user, password="secret"):
    return [("Authorization", "Basic " + base64.b64encode(("%s:%s" % (user, password)).encode()).decode())]


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


@pytest.fixture
def started(start_proxy, configure, backend):
    """started(credential, passwords): a proxy of that kind."""
    def start(credential="passthrough", passwords=True):
        return start_proxy(configure(backend, {**(settings.PASSWORDS if passwords else settings.OPTIONAL), "proxy.upstreams.0.credential": credential}))
    return start


@pytest.mark.quick
def test_without_a_certificate_where_one_is_optional_and_passwords_are_off_it_is_403(started, phone, backend, alice):
    proxy = started("header", passwords=False)
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
def test_a_device_with_a_password_gets_through_with_it_and_hears_the_mail_servers_verdict(started, phone, backend):
    device = phone(started())
    wrong = answers.ok(b"", [("WWW-Authenticate", "Basic realm=\"mail\"")], 401)
    backend.queue(answers.eas(), wrong)
    assert device.sync(headers=basic("alice")).status == 200
    response = device.sync(headers=basic("alice", "old password"))
    assert response.status == 401 and response.get("WWW-Authenticate") == "Basic realm=\"mail\""
    requests = read_backend(backend)
    assert [r.all(b"authorization") for r in requests] == [[basic("alice")[0][1].encode()], [basic("alice", "old password")[0][1].encode()]]
    assert not requests[0].all(b"x-eas-user")


@pytest.mark.quick
@pytest.mark.parametrize("credential", ["header", "passthrough", "none"])
def test_a_password_that_nobody_has_checked_never_becomes_the_proxys_own_word(started, phone, backend, credential):
    device = phone(started(credential))
    assert device.sync(headers=[*basic("alice", "certainly wrong"), ("X-EAS-User", "alice")]).status == 200
    request, = read_backend(backend)
    assert not request.all(b"x-eas-user"), "the mail server would believe it"
    assert request.all(b"authorization") == [basic("alice", "certainly wrong")[0][1].encode()]


@pytest.mark.quick
def test_threat_15_a_certificate_with_the_password_of_another_user_is_403(started, phone, backend, alice):
    proxy = started()
    for headers in (basic("bob"), [("Authorization", "Bearer of-bob")], [("Authorization", "Negotiate TlRM")],
                    [("Authorization", "Basic !!!")]):
        with phone(proxy, alice).connect() as line:
            assert line.request("POST", phone(proxy, alice).target("Sync"), headers).status == 403 and line.closed()
    assert backend.received() == b""
    for user in ("alice", "ALICE", "alice@corp.example", "alice@example.com"):
        assert phone(proxy, alice).sync(headers=basic(user)).status == 200, user
    assert {r.all(b"authorization")[0].split()[0] for r in read_backend(backend)} == {b"Basic"}


@pytest.mark.quick
def test_with_a_certificate_a_401_is_never_passed_on(started, phone, backend, alice):
    proxy = started()
    backend.default = answers.ok(b"", [("WWW-Authenticate", "Basic realm=\"mail\"")], 401)
    response = phone(proxy, alice).sync(headers=basic("alice"))
    assert response.status == 503 and not response.all("WWW-Authenticate")


@pytest.mark.quick
def test_threat_16_a_password_device_may_name_only_its_own_mailbox(started, phone, backend):
    proxy = started()
    assert phone(proxy, user="bob").sync(headers=basic("alice")).status == 403
    assert phone(proxy).sync(headers=basic("nobody-at-all")).status == 403
    assert phone(proxy, user="mallory").sync(headers=basic("mallory")).status == 403
    assert backend.received() == b""


@pytest.mark.quick
def test_threat_17_two_passwords_of_one_user_do_not_share_a_connection(started, phone, backend):
    proxy = started()
    for password in ("right", "wrong", "right", "wrong"):
        assert phone(proxy).sync(headers=basic("alice", password)).status == 200
    carried = [{r.get("Authorization") for r in c.requests} for c in backend.connections if c.requests]
    assert len(carried) == 2 and all(len(c) == 1 for c in carried)


@pytest.mark.quick
def test_passwords_are_in_no_log_line(started, phone, backend):
    proxy = started()
    secret = "sesame-open-5"
    for user in ("alice", "bob", "nobody"):
        phone(proxy, user=user).sync(headers=basic(user, secret))
    proxy.wait_event("access", status=403)
    proxy.assert_never(secret, basic("alice", secret)[0][1].split()[1], basic("bob", secret)[0][1].split()[1])


@pytest.mark.quick
def test_certificate_and_password_devices_are_served_side_by_side(started, phone, backend, alice, pki):
    proxy = started("header")
    with_certificate, with_password = phone(proxy, alice), phone(proxy, user="bob")
    for _ in range(5):
        assert with_certificate.sync().status == 200
        assert with_password.sync(headers=basic("bob")).status == 200
    for connection in backend.connections:
        names = {r.get("X-EAS-User") or r.get("Authorization") for r in connection.requests}
        assert len(names) <= 1
    assert phone(proxy, pki.device_ca.device("mallory@corp.example"), user="mallory").connect().request(
        "POST", EAS + "?Cmd=Sync&User=mallory&DeviceId=d&DeviceType=t").status == 403
