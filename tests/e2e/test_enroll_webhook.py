"""scep.challenge: webhook. Another server says whose device a challenge stands for; whatever else it says or does not say, nothing is issued."""
import base64
import os
import time

import pytest
from cryptography import x509

from site_ import scep
from site_.process import wait_until
from site_.proxy import binary
from site_.webhook import Webhook, allow, reply
from site_.ways import run, running

TOKEN = "webhook-token-0123456789"


@pytest.fixture
def webhook(place, made):
    for name in "hook", "other":
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "%s/%s.key" % (place, name),
            "-out", "%s/%s.pem" % (place, name), "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2")
    with open(os.path.join(place, "token"), "w") as f:
        f.write(TOKEN + "\n")
    os.chmod(os.path.join(place, "token"), 0o600)
    return made(Webhook(place + "/hook.pem", place + "/hook.key"))


def section(place, webhook, **more):
    return dict({"challenge": "webhook", "webhook_url": "https://localhost:%d/challenge?tenant=1" % webhook.port, "webhook_seconds": 1,
                 "webhook_token_file": place + "/token", "webhook_ca": place + "/hook.pem"}, **more)


@pytest.fixture
def site(place, webhook):
    with running(place, scep=section(place, webhook, webhook_notify=True)) as site:
        site.accounts.add("bob", display_name="Bob Example")
        site.program.reload()
        yield site


def test_the_webhook_is_asked_once_and_says_whose_device_it_is(site, webhook):
    webhook.answer = lambda question: allow("bob@corp.example", device_name="Bob's phone") if question["event"] == "challenge" else reply({})
    client = site.client()
    csr = scep.request(client.key, "a challenge", extensions=b"")
    first = client.enroll(csr=csr, transaction="T1")
    assert first.status == "0"
    certificate = x509.load_der_x509_certificate(first.certificate)
    assert "Bob Example" in certificate.subject.rfc4514_string() and "Administrator" not in certificate.subject.rfc4514_string()
    assert client.enroll(csr=csr, transaction="T1").certificate == first.certificate
    question, fields = webhook.wait_for("challenge")
    assert fields["Authorization"] == "Bearer " + TOKEN and fields["Content-Type"] == "application/json"
    assert (question["challenge"], question["transaction"], question["message_type"], question["profile"]) == ("a challenge", "T1", 19, "mail")
    assert question["client"].startswith("127.0.0.1:") and question["request"]["names"] == ["Administrator"]
    assert question["request"]["key"] == "RSA 2048" and base64.b64decode(question["request"]["der"]) == csr
    assert [asked["event"] for asked, _ in webhook.questions].count("challenge") == 1
    assert [device["name"] for device in site.devices()] == ["Bob's phone"]
    assert ("challenge_allowed", "by the webhook, for bob@corp.example") in site.trail()
    site.program.assert_never(TOKEN, "a challenge")


def test_the_webhook_is_told_what_was_issued_and_what_was_not(site, webhook):
    webhook.answer = lambda question: allow("alice") if question["event"] == "challenge" else reply({})
    done = site.client().enroll("x", transaction="good")
    notice, fields = webhook.wait_for("issued")
    certificate = x509.load_der_x509_certificate(done.certificate)
    assert base64.b64decode(notice["certificate"]) == done.certificate and int(notice["serial"], 16) == certificate.serial_number
    assert notice["transaction"] == "good" and fields["Authorization"] == "Bearer " + TOKEN
    webhook.answer = lambda question: allow("nobody-has-this-name") if question["event"] == "challenge" else reply({})
    assert site.client().enroll("x", transaction="bad").fail_info == "2"
    assert webhook.wait_for("refused")[0]["transaction"] == "bad"


NOT_A_YES = {
    "a no": reply({"allow": False, "reason": "the device is not managed"}),
    "no user": reply({"allow": True}),
    "an empty user": reply({"allow": True, "user": ""}),
    "a user that is no text": reply({"allow": True, "user": 7}),
    "a user with a line end": reply({"allow": True, "user": "alice\nbob"}),
    "a user who does not exist": allow("mallory"),
    "a device that does not exist": allow("alice", device="0" * 32),
    "a yes that is text": reply({"allow": "true", "user": "alice"}),
    "a key that nobody knows": allow("alice", subject="CN=root"),
    "a key twice": reply(b'{"allow":false,"allow":true,"user":"alice"}'),
    "a list": reply([True]),
    "no JSON": reply(b"allow"),
    "an empty body": reply(b""),
    "another type": reply({"allow": True, "user": "alice"}, kind="text/html"),
    "an error": reply({"allow": True, "user": "alice"}, 500),
    "not 200": reply({"allow": True, "user": "alice"}, 201),
    "too long": reply({"allow": True, "user": "alice", "reason": "x" * 9000}),
}


def test_nothing_is_issued_for_whatever_is_not_a_whole_yes(site, webhook):
    client = site.client()
    for what, answer in NOT_A_YES.items():
        webhook.answer = lambda question, answer=answer: answer if question["event"] == "challenge" else reply({})
        done = client.enroll("x", transaction=what)
        assert (done.status, done.fail_info) == ("2", "2"), what
    trail = " ".join(detail for _, detail in site.trail())
    assert "the device is not managed" in trail and "is no JSON object" in trail and "HTTP status 500" in trail and "too long" in trail
    assert site.live() == 0


def test_a_webhook_that_redirects_is_not_followed(site, webhook, place, made):
    other = made(Webhook(place + "/hook.pem", place + "/hook.key"))
    webhook.answer = lambda question: reply(b"", 307, "text/plain", ("Location", "https://localhost:%d/" % other.port))
    assert site.client().enroll("x").fail_info == "2"
    assert other.questions == []
    assert any("redirects" in detail for _, detail in site.trail())


def test_a_slow_webhook_holds_up_nobody_else_and_is_a_no(site, webhook):
    """One request waits for the webhook; meanwhile the worker answers others at once."""
    client = site.client()
    webhook.answer = webhook.hold
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.enroll, "x", transaction="slow")
        webhook.wait_for("challenge")
        began = time.monotonic()
        assert site.curl(site.scep + "?operation=GetCACaps").startswith(b"AES\n")
        quick = site.client(key=client.key).enroll(site.secret(), transaction="portal")
        assert quick.status == "0" and not slow.done(), time.monotonic() - began
        assert (slow.result(10).status, slow.result(10).fail_info) == ("2", "2")
    assert any("cannot be asked" in detail for _, detail in site.trail())


def test_a_webhook_that_is_away_is_a_no_and_secrets_of_the_portal_work_on(site, webhook):
    webhook.close()
    client = site.client()
    assert client.enroll("x").fail_info == "2"
    assert client.enroll(site.secret(), transaction="of the portal").status == "0"
    webhook.close = lambda: None


@pytest.mark.parametrize("wrong", ["another CA", "another name"])
def test_a_server_that_the_configured_ca_does_not_vouch_for_gets_no_question(place, webhook, wrong):
    changes = {"webhook_ca": place + "/other.pem"} if wrong == "another CA" else {"webhook_url": "https://127.0.0.1:%d/" % webhook.port}
    with running(place, scep=section(place, webhook, **changes)) as site:
        assert site.client().enroll("x").fail_info == "2"
        assert webhook.questions == []
        assert any("webhook cannot be asked" in detail and "certificate" in detail for _, detail in site.trail())


@pytest.mark.quick
@pytest.mark.parametrize("change, expected", [({"webhook_url": "http://localhost/"}, "expected an https:// URL"),
                                              ({"webhook_token_file": ""}, "is missing: the webhook has to know who asks")])
def test_a_webhook_without_tls_or_token_is_refused_by_the_configuration(place, webhook, change, expected):
    with pytest.raises(AssertionError, match=expected):
        with running(place, scep=section(place, webhook, **change)):
            pass


def test_check_reads_the_webhooks_files(site):
    os.chmod(site.config["enroll"]["scep"]["webhook_token_file"], 0o644)
    done = run(binary("easenroll"), "-c", site.place / "easgate.yaml", "check", good=False)
    assert b"token: its mode is 0644 and it is a secret" in done.stdout
