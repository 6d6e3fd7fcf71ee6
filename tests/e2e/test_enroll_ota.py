"""The over-the-air profile service with a phone that the test plays: a built-in certificate of a "device CA" of the test's own (short, SHA-1 and
out of date, as the real one), SCEP by strongSwan's pki, everything else by the openssl command.
"""
import pathlib
import plistlib

import pytest

from site_.enrolling import Phone, Site, run


@pytest.fixture
def site(place):
    site = Site(pathlib.Path(place))
    try:
        site.sign_in()
        yield site
    finally:
        site.stop()


def first_profile(site):
    """(device's id, the challenge of phase 1)"""
    device, path = site.link()
    status, headers, body = site.ask("GET", path)
    assert status == 200, body
    assert headers["Content-Type"] == "application/x-apple-aspen-config" and headers["Cache-Control"] == "no-store"
    profile = site.opened(body)
    assert profile["PayloadType"] == "Profile Service"
    assert profile["PayloadContent"]["URL"] == "https://enroll.test/ota"
    return device, profile["PayloadContent"]["Challenge"]


def post(site, body):
    return site.ask("POST", "/ota", body, **{"Content-Type": "application/pkcs7-signature"})


def test_a_phone_proves_which_one_it_is_and_gets_a_profile_that_only_it_can_read(site):
    phone, udid = site.devices.phone("phone"), "00008120-001A2B3C4D5E6F70"
    _, challenge = first_profile(site)
    status, _, body = post(site, phone.post(challenge, udid))
    assert status == 200, body
    (scep,) = site.opened(body)["PayloadContent"]
    key, certificate = site.scep(scep, "enrolled")
    status, _, body = post(site, phone.post("", udid, key, certificate, "sha256"))
    assert status == 200, body
    final = site.opened(body)
    assert final["IsEncrypted"] is True and "PayloadContent" not in final
    (site.place / "sealed").write_bytes(final["EncryptedPayloadContent"])
    payloads = plistlib.loads(run("openssl", "cms", "-decrypt", "-inform", "DER", "-in", site.place / "sealed", "-inkey", key, "-recip", certificate))
    kinds = {payload["PayloadType"]: payload for payload in payloads}
    account = kinds["com.apple.eas.account"]
    assert account["PayloadCertificateUUID"] == kinds["com.apple.security.scep"]["PayloadUUID"]
    assert (account["Host"], account["UserName"]) == ("mail.test", "alice@corp.example")
    assert kinds["com.apple.security.scep"]["PayloadContent"]["Challenge"] != scep["PayloadContent"]["Challenge"]
    # and the values of the final profile are good for the certificate that stays
    site.scep(kinds["com.apple.security.scep"], "final")


def test_a_secret_brings_one_phone_to_the_second_phase_once(site):
    phone, udid = site.devices.phone("phone"), "00008120-001A2B3C4D5E6F70"
    _, challenge = first_profile(site)
    assert post(site, phone.post(challenge, udid))[0] == 200
    assert post(site, phone.post(challenge, udid))[0] == 403
    assert post(site, phone.post("AAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG-HHHH", udid))[0] == 403
    assert post(site, phone.post("", udid))[0] == 403


def test_another_phone_gets_nothing_for_the_certificate_of_this_one(site):
    phone, udid = site.devices.phone("phone"), "00008120-001A2B3C4D5E6F70"
    _, challenge = first_profile(site)
    status, _, body = post(site, phone.post(challenge, udid))
    assert status == 200, body
    key, certificate = site.scep(site.opened(body)["PayloadContent"][0], "enrolled")
    assert post(site, phone.post("", "00008120-00FFFFFFFFFFFFFF", key, certificate, "sha256"))[0] == 403
    assert post(site, phone.post("", udid, key, certificate, "sha256"))[0] == 200


def test_posts_that_no_device_ca_stands_behind_and_junk_are_refused_and_audited(site):
    place, udid = site.place, "00008120-001A2B3C4D5E6F70"
    _, challenge = first_profile(site)
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", place / "own.key", "-out", place / "own.pem",
        "-subj", "/CN=Example iPhone Device CA", "-days", "1")
    good = site.devices.phone("phone").post(challenge, udid)
    for body in Phone(place / "own").post(challenge, udid, digest="sha256"), b"junk", good[:-20], b"\x30\x80" * 2000, good + b"\0":
        status, _, answer = post(site, body)
        assert status == 403 and challenge.encode() not in answer
    assert post(site, b"x" * 70000)[0] == 413
    assert post(site, good)[0] == 200
    site.program.assert_never(challenge)


def test_a_revoked_device_gets_no_further_phase(site):
    phone, udid = site.devices.phone("phone"), "00008120-001A2B3C4D5E6F70"
    device, challenge = first_profile(site)
    status, _, body = post(site, phone.post(challenge, udid))
    assert status == 200, body
    key, certificate = site.scep(site.opened(body)["PayloadContent"][0], "enrolled")
    assert site.ask("POST", "/api/devices/%s/revoke" % device, {"reason": "lost"})[0] == 200
    assert post(site, phone.post("", udid, key, certificate, "sha256"))[0] == 403
