"""The thin line: certificate, file directory, header credential, and a mail server that keeps every byte."""
import pytest

from site_ import answers
from site_.device import EAS


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example", cn="alice's phone")


@pytest.fixture
def proxy(start_proxy, configure, backend):
    return start_proxy(configure(backend))


def test_options_reaches_the_mail_server_in_the_name_of_the_certificates_user(proxy, phone, backend, alice):
    response = phone(proxy, alice).options()
    assert response.status == 200
    assert response.get("MS-ASProtocolVersions").endswith("16.1")
    request, = backend.wait_requests(1)
    assert request.get("X-EAS-User") == "alice"
    assert (request.method, request.target, request.problems) == ("OPTIONS", EAS, [])


def test_a_sync_is_passed_on_byte_for_byte_and_answered(proxy, phone, backend, alice):
    backend.default = answers.eas(b"\x03\x01\x6a\x00 a new mail")
    device = phone(proxy, alice)
    response = device.sync()
    assert response.status == 200 and response.body == b"\x03\x01\x6a\x00 a new mail"
    request, = backend.wait_requests(1)
    assert request.target == device.target("Sync")
    assert request.body.startswith(b"\x03\x01\x6a\x00")
    assert device.sync().status == 200


def test_who_the_phone_says_it_is_does_not_reach_the_mail_server(proxy, phone, backend, alice):
    response = phone(proxy, alice).sync(headers=[("X-EAS-User", "bob"), ("x_eas_user", "bob"),
                                                 ("Authorization", "Basic Ym9iOmJvYnB3")])
    assert response.status == 200
    request, = backend.wait_requests(1)
    assert request.get("X-EAS-User") == "alice"
    assert b"bob" not in bytes(request.raw) and not request.all("Authorization")


def test_a_path_that_is_not_ours_is_404_and_stays_here(proxy, phone, backend, alice):
    with phone(proxy, alice).connect() as line:
        assert line.request("POST", "/owa/").status == 404
    assert backend.requests == []


def test_a_phone_without_a_certificate_gets_a_tls_alert(proxy, phone):
    assert phone(proxy).refusal() == "certificate required"


def test_a_certificate_of_another_ca_gets_a_tls_alert(proxy, phone, pki):
    assert phone(proxy, pki.other_ca.device("alice@corp.example")).refusal() in ("unknown ca", "decrypt error")


def test_a_revoked_certificate_is_refused_with_403_and_the_connection_closed(
        start_proxy, configure, phone, backend, pki, alice, crl):
    pki.device_ca.write_crl(crl, [(alice, 1)])
    device = phone(start_proxy(configure(backend)), alice)
    with device.connect() as line:
        assert line.request("OPTIONS", EAS).status == 403
        assert line.closed()
    assert backend.requests == []


def test_a_user_outside_the_required_group_is_refused_with_403(proxy, phone, backend, pki):
    assert phone(proxy, pki.device_ca.device("mallory@corp.example"), user="mallory").sync().status == 403
    assert backend.requests == []


def test_a_request_for_another_user_than_the_certificates_is_refused_with_403(proxy, phone, backend, alice):
    assert phone(proxy, alice, user="bob").sync().status == 403
    assert backend.requests == []


def test_a_held_ping_is_answered_when_the_mail_server_answers(proxy, phone, backend, alice):
    hold = backend.when("Ping", answers.hold(b"\x03\x01\x6a\x00 changes"))
    ping = phone(proxy, alice).ping()
    hold.wait_waiting(backend)
    assert ping.waiting
    hold.release()
    assert ping.wait().body == b"\x03\x01\x6a\x00 changes"
