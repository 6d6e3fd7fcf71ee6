"""What an administrator has to approve: the device waits (PENDING, 202) and gets its certificate, or a refusal, by asking again. Asked by a client of these
tests and by strongSwan's, which waits by itself.
"""
import base64
import subprocess

import pytest

from site_ import scep
from site_.process import wait_until
from site_.ways import PASSWORD, run, running


@pytest.fixture
def site(place):
    with running(place, scep={"approve": True}, profiles=[{"name": "mail", "approve": True}], est={"retry_seconds": 1}) as site:
        yield site


@pytest.fixture
def client(site):
    return site.client()


def waiting(site):
    return [device["id"] for device in site.devices() if device["state"] == "waiting"]


def test_a_scep_client_polls_until_the_device_is_approved_and_gets_one_certificate(site, client):
    secret = site.secret()
    csr = scep.request(client.key, secret)
    assert client.enroll(csr=csr).status == "3"
    assert client.poll().status == "3" and client.enroll(csr=csr).status == "3"
    assert len(waiting(site)) == 1 and site.live() == 0
    # the secret is used up: nobody else comes in by it
    assert site.client().enroll(secret).fail_info == "2"
    site.command("device", "approve", waiting(site)[0])
    first = client.poll()
    assert first.status == "0" and first.transaction == client.poll().transaction
    site.verify(first.certificate)
    # however it asks again, by poll or by the same request: the same one
    assert client.poll().certificate == first.certificate and client.enroll(csr=csr).certificate == first.certificate
    assert site.live() == 1


def test_a_client_that_sends_its_request_again_instead_of_polling_is_served_after_approval(site, client):
    csr = scep.request(client.key, site.secret())
    assert client.enroll(csr=csr, transaction="T").status == "3"
    site.command("device", "approve", waiting(site)[0])
    assert client.enroll(csr=csr, transaction="T").status == "0"


@pytest.mark.parametrize("word", ["reject", "revoke"])
def test_what_an_administrator_refuses_fails_for_good_and_is_kept_no_more(site, client, word):
    csr = scep.request(client.key, site.secret())
    assert client.enroll(csr=csr).status == "3" and site.kept_requests() == 1
    site.command("device", word, waiting(site)[0])
    assert site.kept_requests() == 0, "it holds the challenge that it came with"
    for reply in client.poll(), client.enroll(csr=csr), client.poll():
        assert (reply.status, reply.fail_info) == ("2", "2")
    assert site.live() == 0


def test_e42_a_poll_by_another_key_or_for_no_transaction_gets_nothing(site, client):
    assert client.enroll(site.secret(), "T").status == "3"
    site.command("device", "approve", waiting(site)[0])
    assert site.client().poll("T").fail_info == "4"
    assert client.poll("another").fail_info == "4"
    assert client.poll("T").status == "0"


def strongswan(site, *argv):
    return subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def scep_argv(site, key):
    return ("pki", "--scep", "--url", site.scep, "--in", key, "--dn", "CN=Administrator", "--cacert-enc", site.ra, "--cacert-sig", site.issuing,
            "--cacert", site.root, "--outform", "pem", "--password", site.secret(), "--interval", 1, "--maxpolltime", 60)


def est_argv(site, key):
    return ("pki", "--est", "--url", site.est, "--in", site.csr("e.csr", key), "--cacert", site.place / "tls.pem", "--cacert", site.root,
            "--cacert", site.issuing, "--outform", "pem", "--userpass", "alice:" + PASSWORD, "--interval", 1, "--maxpolltime", 60)


@pytest.mark.parametrize("argv", [scep_argv, est_argv], ids=["scep", "est"])
def test_strongswan_waits_for_the_approval_by_itself(site, argv):
    with strongswan(site, *argv(site, site.key("a.key"))) as client:
        try:
            wait_until(lambda: waiting(site), 20)
            assert client.poll() is None
            site.command("device", "approve", waiting(site)[0])
            out, errors = client.communicate(timeout=90)
        finally:
            client.kill()
    assert client.returncode == 0, errors.decode()
    site.verify(out)
    assert site.live() == 1


def test_strongswan_is_told_of_a_refusal(site):
    with strongswan(site, *scep_argv(site, site.key("a.key"))) as client:
        try:
            wait_until(lambda: waiting(site), 20)
            site.command("device", "revoke", waiting(site)[0])
            _, errors = client.communicate(timeout=90)
        finally:
            client.kill()
    assert client.returncode != 0 and site.live() == 0, errors


@pytest.fixture
def ask(site, client):
    """Sends one and the same request by EST: status and head."""
    body = site.place / "body"
    body.write_bytes(base64.b64encode(scep.request(client.key)))

    def send(*who):
        status = site.curl("-o", site.place / "answer", "-D", site.place / "head", "-w", "%{http_code}", *who,
                           "-H", "Content-Type: application/pkcs10", "--data-binary", "@%s" % body, site.est + "/.well-known/est/simpleenroll")
        return int(status), (site.place / "head").read_text().lower()
    return send


def test_an_est_request_is_told_when_to_come_again_and_refused_after_an_administrators_no(site, ask):
    alice = ("-u", "alice:" + PASSWORD)
    status, head = ask(*alice)
    assert status == 202 and "retry-after: 1\n" in head
    assert ask(*alice)[0] == 202 and len(waiting(site)) == 1
    site.command("device", "revoke", waiting(site)[0])
    assert ask(*alice)[0] == 403
    assert site.ask("device", "list")["devices"][0]["state"] == "revoked"


def test_nobody_is_told_of_a_waiting_est_request_before_his_credential_was_looked_at(site, ask):
    site.accounts.add("boris", password=run("openssl", "passwd", "-6", PASSWORD).stdout.decode().strip())
    secret = site.secret("est")
    by_secret, others = ("-u", "alice:" + secret), [((), 401), (("-u", "alice:wrong"), 401), (("-u", "boris:" + PASSWORD), 403)]
    assert ask(*by_secret)[0] == 202
    for approved in False, True:
        for who, status in others:
            answer, head = ask(*who)
            assert answer == status and (who or "www-authenticate: basic" in head), (who, approved)
        # the secret that the request used up lets its sender ask for it again, and its account's password does
        for who in by_secret, ("-u", "alice:" + PASSWORD):
            assert ask(*who)[0] == (200 if approved else 202)
        if not approved:
            site.command("device", "approve", waiting(site)[0])
    assert site.live() == 1
