"""The whole life of a device, thinly: sign in on the portal's API, add a device, get its certificate, sync through easproxy, revoke, be refused."""
import os
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from site_ import answers, enrol, settings
from site_.accounts import USERS
from site_.pki import Identity
from site_.process import wait_until

pytestmark = pytest.mark.quick


@pytest.fixture
def people(accounts):
    accounts.change("alice", display_name="Alice Example", password=enrol.hashed(enrol.PASSWORD), groups=[USERS])
    return accounts


@pytest.fixture
def enroll(made, place, pki, people):
    user = "nobody" if os.getuid() == 0 else None
    config = enrol.configuration(os.path.join(place, "enrol"), pki.root.server("enroll.example.com"), people, user)
    enroll = enrol.Enroll(config, place)
    enroll.close = enroll.stop
    wait_until(lambda: enrol.curl("http://%s/readyz" % enroll.admin).status == 200, 5)
    return made(enroll)


@pytest.fixture
def proxy(start_proxy, configure, backend, enroll):
    """easproxy that trusts easenroll's CA and reads its list, as one machine has it."""
    lists = os.path.join(enroll.directory, "crl", enroll.issuer_name() + ".crl")
    backend.default = answers.eas(b"\x03\x01\x6a\x00 mail")
    return start_proxy(configure(backend, changes={
        "proxy.hosts.0.client_ca": [enroll.file("issuing-1.pem")],
        "proxy.revocation.crls": [{"issuer_ca": enroll.file("issuing-1.pem"), "file": lists}]}))


@pytest.fixture
def issued_ca(enroll):
    """The proxy's processes run as another user than the one who made the CA: certificates are for everybody, keys are not."""
    for name in os.listdir(enroll.ca_folder):
        if name.endswith(".key"):
            assert os.stat(enroll.file(name)).st_mode & 0o077 == 0
    return enroll.file("issuing-1.pem")


def assert_refused(proxy, device, revoked):
    """Once the proxy has read the list with that many entries."""
    proxy.wait_event("crl_loaded", 5, revoked=revoked)
    assert device.sync().status == 403


def from_pkcs12(data, password):
    key, certificate, _ = pkcs12.load_key_and_certificates(data, password.encode())
    return Identity(certificate, key)


def test_a_device_is_added_on_the_portal_syncs_by_its_certificate_and_is_revoked_there(
        enroll, issued_ca, proxy, phone, backend, place):
    browser = enrol.Browser(enroll, place)
    assert browser.sign_in("alice", "wrong").status == 401
    assert browser.sign_in("alice").status == 200
    added = browser.call("POST", "/api/devices", {"name": "Alice's tablet", "kind": "android"})
    assert added.status == 201, added.body
    device = added.json()["device"]
    link = browser.call("POST", "/api/devices/%s/delivery" % device["id"], {}).json()
    fetched = enrol.curl(browser.base + link["path"])
    assert fetched.status == 200, fetched.body
    identity = from_pkcs12(fetched.body, link["password"])
    assert enrol.curl(browser.base + link["path"]).status in (404, 410)

    tablet = phone(proxy, identity, user="alice")
    assert tablet.sync().status == 200
    request, = backend.wait_requests(1)
    assert request.get("X-EAS-User") == "alice"
    assert enrol.ocsp_status(enroll, identity.cert, place)[0] == "good"

    assert browser.call("POST", "/api/devices/%s/revoke" % device["id"], {"reason": "lost"}).status == 200
    assert enrol.ocsp_status(enroll, identity.cert, place)[0] == "revoked"
    wait_until(lambda: enrol.crl(enroll).get_revoked_certificate_by_serial_number(identity.cert.serial_number) is not None, 2)
    assert_refused(proxy, phone(proxy, identity, user="alice"), 1)
    assert enroll.run("audit", "verify")


def test_what_est_issues_syncs_and_a_revoked_one_is_neither_accepted_nor_renewed(enroll, issued_ca, proxy, phone, place):
    device = enroll.ask("device", "add", "--account", "alice", "--kind", "windows", "a laptop")["device"]["id"]
    secret = enroll.ask("secret", "add", "--account", "alice", "--device", device, "--purpose", "est")["secret"]
    answer, certificate, key = enrol.est_enroll(enroll, "alice", secret)
    assert answer.status == 200
    assert enrol.est_enroll(enroll, "alice", secret)[0].status == 401
    identity = Identity(certificate, key)
    assert phone(proxy, identity, user="alice").sync().status == 200

    pem, private = identity.write(place, "laptop")
    renewed, newer, _ = enrol.est_enroll(enroll, "", "", "simplereenroll", "--cert", pem, "--key", private, subject=certificate.subject)
    assert renewed.status == 200 and newer.serial_number != certificate.serial_number
    enroll.run("device", "revoke", device, "--reason", "lost")
    assert_refused(proxy, phone(proxy, identity, user="alice"), 2)
    again = enrol.est_enroll(enroll, "", "", "simplereenroll", "--cert", pem, "--key", private, subject=certificate.subject)[0]
    assert again.status in (401, 403)
    assert enrol.ocsp_status(enroll, newer, place)[0] == "revoked"


def test_scep_by_strongswans_client_with_a_one_time_secret_gives_a_certificate_of_the_directorys_words(enroll, place):
    device = enroll.ask("device", "add", "--account", "alice", "--kind", "iphone", "a phone")["device"]["id"]
    secret = enroll.ask("secret", "add", "--account", "alice", "--device", device, "--purpose", "scep")["secret"]
    url, at = "http://%s/scep" % enroll.plain, lambda name: os.path.join(place, name)
    run = lambda *words: subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True, timeout=30).stdout
    with open(at("key.der"), "wb") as f:
        f.write(run("pki", "--gen", "--type", "rsa", "--size", "2048"))
    run("pki", "--scepca", "--url", url, "--caout", at("ca.der"), "--raout", at("ra.der"), "--force")
    extra = [word for name in sorted(os.listdir(place)) if name.startswith("ca") and name.endswith(".der")
             for word in ("--cacert", at(name))]
    ra = [word for name in sorted(os.listdir(place)) if name.startswith("ra") and name.endswith(".der") for word in ("--cacert-enc", at(name), "--cacert-sig", at(name))][:4]
    der = run("pki", "--scep", "--url", url, "--in", at("key.der"), "--dn", "CN=administrator", "--san", "admin@corp.example", "--password", secret,
              *extra, *ra, "--cipher", "aes")
    certificate = x509.load_der_x509_certificate(der)
    assert "Alice Example" in certificate.subject.rfc4514_string() and "administrator" not in certificate.subject.rfc4514_string()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == ["alice@example.com"]
