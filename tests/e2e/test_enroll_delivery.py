"""What devices get is read by programs that nobody here wrote: plistutil, the openssl command line, zbarimg.

The samples come from the unit tests' programs (`test_enroll_... write`): they use the same functions as the portal.
"""
import os
import pathlib
import plistlib
import re
import subprocess
import time

import pytest

from site_.enrolling import Site
from site_.process import wait_until
from site_.proxy import ROOT

pytestmark = [pytest.mark.quick, pytest.mark.no_asan]


def run(*argv, data=None, good=True):
    done = subprocess.run([str(a) for a in argv], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    if good:
        assert done.returncode == 0, "%s: %s" % (argv, done.stderr.decode("utf-8", "replace"))
    return done


@pytest.fixture
def site(place):
    site = Site(pathlib.Path(place), over_the_air=False)
    try:
        site.sign_in()
        yield site
    finally:
        site.stop()


def samples(name, directory, *more):
    build = os.path.dirname(os.environ.get("EASENROLL") or os.path.join(ROOT, "build", "easenroll"))
    run(os.path.join(build, "unit", name), "write", directory, *more)
    return directory


@pytest.fixture(scope="module")
def profiles(tmp_path_factory):
    return samples("test_enroll_apple_profile", tmp_path_factory.mktemp("profiles"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return samples("test_enroll_pkcs12", tmp_path_factory.mktemp("pkcs12"))


def through_plistutil(path):
    """As binary and back: what Apple's format library of another make understands."""
    binary = run("plistutil", "-i", path, "-f", "bin").stdout
    return plistlib.loads(binary)


def test_plistutil_and_python_read_the_same_profile(profiles):
    ours = through_plistutil(profiles / "profile.xml")
    assert ours == plistlib.loads((profiles / "profile.xml").read_bytes())
    kinds = [payload["PayloadType"] for payload in ours["PayloadContent"]]
    assert kinds == ["com.apple.security.scep", "com.apple.eas.account", "com.apple.security.root", "com.apple.security.pkcs1"]
    assert ours["PayloadOrganization"] == "Example & Sons <Ltd>"
    scep, account = ours["PayloadContent"][:2]
    assert account["PayloadCertificateUUID"] == scep["PayloadUUID"]
    assert scep["PayloadContent"]["Subject"][1] == [["CN", 'Al\u00efce "O\'Neil" <&>']]


def test_every_payload_has_a_name_and_a_uuid_of_its_own(profiles):
    profile = plistlib.loads((profiles / "profile.xml").read_bytes())
    payloads = [profile, *profile["PayloadContent"]]
    for key in "PayloadUUID", "PayloadIdentifier":
        assert len({payload[key] for payload in payloads}) == len(payloads)
    assert all(payload["PayloadIdentifier"].startswith(profile["PayloadIdentifier"]) for payload in payloads)
    assert all(payload["PayloadVersion"] == 1 for payload in payloads)


def test_openssl_reads_the_certificates_in_the_profile(profiles):
    profile = plistlib.loads((profiles / "profile.xml").read_bytes())
    subjects = [run("openssl", "x509", "-inform", "DER", "-noout", "-subject", data=payload["PayloadContent"]).stdout
                for payload in profile["PayloadContent"][2:]]
    assert subjects == [b"subject=CN = Example Root\n", b"subject=CN = Example Devices\n"]


def test_the_services_profile_is_no_array_and_names_the_attributes(profiles):
    service = through_plistutil(profiles / "service.xml")
    assert service["PayloadType"] == "Profile Service"
    assert service["PayloadContent"]["DeviceAttributes"] == ["UDID", "VERSION", "PRODUCT", "SERIAL", "IMEI", "MEID"]
    assert service["PayloadContent"]["URL"] == "https://enroll.example.com/ota"


def test_the_openssl_command_decrypts_the_final_profile_and_plistutil_reads_it(profiles, tmp_path):
    final = plistlib.loads((profiles / "final.xml").read_bytes())
    assert final["IsEncrypted"] is True and "PayloadContent" not in final
    (tmp_path / "sealed.der").write_bytes(final["EncryptedPayloadContent"])
    run("openssl", "cms", "-decrypt", "-inform", "DER", "-in", tmp_path / "sealed.der", "-recip", profiles / "phone.pem",
        "-inkey", profiles / "phone.pem", "-out", tmp_path / "inside.xml")
    payloads = through_plistutil(tmp_path / "inside.xml")
    assert payloads == plistlib.loads((profiles / "profile.xml").read_bytes())["PayloadContent"]
    shown = run("openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", tmp_path / "sealed.der").stdout
    assert b"aes-256-cbc" in shown and b"rsaEncryption" in shown


def test_a_profile_signed_as_devices_want_it_is_verified_by_the_openssl_command(profiles, tmp_path):
    """Attached and in DER, as SIGNER_PROFILE_SIGN gives it: the list comes out as it went in."""
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key", "-out", tmp_path / "ca",
        "-subj", "/CN=Signer", "-days", "1", "-addext", "keyUsage=digitalSignature")
    run("openssl", "cms", "-sign", "-binary", "-nodetach", "-in", profiles / "profile.xml", "-signer", tmp_path / "ca",
        "-inkey", tmp_path / "key", "-outform", "DER", "-out", tmp_path / "signed.mobileconfig")
    run("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", tmp_path / "signed.mobileconfig", "-CAfile", tmp_path / "ca",
        "-purpose", "any", "-out", tmp_path / "out.xml")
    assert (tmp_path / "out.xml").read_bytes() == (profiles / "profile.xml").read_bytes()


@pytest.mark.parametrize("name, words", [
    ("modern.p12", [b"PBES2, PBKDF2, AES-256-CBC", b"Iteration 100000", b"PRF hmacWithSHA256", b"MAC: sha256"]),
    ("legacy.p12", [b"pbeWithSHA1And3-KeyTripleDES-CBC", b"MAC: sha1"]),
])
def test_the_openssl_command_opens_a_pkcs12_with_its_password(files, name, words):
    password = (files / "password").read_text()
    done = run("openssl", "pkcs12", "-info", "-noout", "-in", files / name, "-passin", "pass:" + password)
    for word in words:
        assert word in done.stderr, done.stderr
    leaf = run("openssl", "pkcs12", "-in", files / name, "-passin", "pass:" + password, "-clcerts", "-nokeys").stdout
    verified = run("openssl", "verify", "-CAfile", files / "ca.pem", "-purpose", "sslclient", data=leaf)
    assert b"OK" in verified.stdout


@pytest.mark.parametrize("name", ["modern.p12", "legacy.p12"])
def test_49_a_pkcs12_stays_shut_without_its_password(files, name):
    for password in "", "K7QM-2XRA-9PPP-AAAA-BBBB":
        done = run("openssl", "pkcs12", "-noout", "-in", files / name, "-passin", "pass:" + password, good=False)
        assert done.returncode != 0 and b"invalid password" in done.stderr.lower()


def test_a_key_and_its_certificate_belong_together(files):
    password = (files / "password").read_text()
    for name in "modern.p12", "legacy.p12":
        key = run("openssl", "pkcs12", "-in", files / name, "-passin", "pass:" + password, "-nocerts", "-nodes").stdout
        leaf = run("openssl", "pkcs12", "-in", files / name, "-passin", "pass:" + password, "-clcerts", "-nokeys").stdout
        assert run("openssl", "pkey", "-pubout", data=key).stdout == run("openssl", "x509", "-noout", "-pubkey", data=leaf).stdout


def picture(svg, scale=4):
    """The code as a portable grey map."""
    side = int(re.search(r'viewBox="0 0 (\d+)', svg)[1])
    rows = [[255] * (side * scale) for _ in range(side * scale)]
    for x, y, n in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", svg.split('fill="#000"')[1]):
        for line in rows[int(y) * scale:(int(y) + 1) * scale]:
            line[int(x) * scale:(int(x) + int(n)) * scale] = [0] * (int(n) * scale)
    return b"P5 %d %d 255\n" % (side * scale, side * scale) + bytes(v for row in rows for v in row)


@pytest.mark.parametrize("text", ["https://enroll.example.com/d/K7QM2XRA9PPP", "https://x/%C3%A4?a=1&b=" + "z" * 400], ids=["short", "long"])
def test_another_program_reads_the_code_from_the_picture(tmp_path, text):
    samples("test_enroll_qr", tmp_path, text)
    (tmp_path / "code.pgm").write_bytes(picture((tmp_path / "code.svg").read_text()))
    read = run("zbarimg", "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", tmp_path / "code.pgm").stdout
    assert read.decode("utf-8").rstrip("\n") == text


def test_49_the_portals_pkcs12_is_fetched_once_opens_with_the_password_shown_and_is_kept_nowhere(site, tmp_path):
    _, path, password = site.link("android", with_password=True)
    assert re.fullmatch("([2-9A-HJ-NP-Z]{4}-){4}[2-9A-HJ-NP-Z]{4}", password)
    status, headers, _ = site.ask("HEAD", path)         # a messenger's preview
    assert status == 200
    status, headers, body = site.ask("GET", path)
    assert status == 200 and headers["Content-Type"] == "application/x-pkcs12" and headers["Cache-Control"] == "no-store"
    assert site.ask("GET", path)[0] == 404
    (tmp_path / "alice.p12").write_bytes(body)
    leaf = run("openssl", "pkcs12", "-in", tmp_path / "alice.p12", "-passin", "pass:" + password, "-clcerts", "-nokeys").stdout
    key = run("openssl", "pkcs12", "-in", tmp_path / "alice.p12", "-passin", "pass:" + password, "-nocerts", "-nodes").stdout
    chain = run("openssl", "pkcs12", "-in", tmp_path / "alice.p12", "-passin", "pass:" + password, "-cacerts", "-nokeys").stdout
    (tmp_path / "chain.pem").write_bytes(chain)
    assert b"OK" in run("openssl", "verify", "-CAfile", site.root(), "-untrusted", tmp_path / "chain.pem", "-purpose", "sslclient", data=leaf).stdout
    assert run("openssl", "pkey", "-pubout", data=key).stdout == run("openssl", "x509", "-noout", "-pubkey", data=leaf).stdout
    shown = run("openssl", "x509", "-noout", "-text", data=leaf).stdout.decode()
    assert "alice@corp.example" in shown and "TLS Web Client Authentication" in shown
    site.program.assert_never(password, path.rsplit("/", 1)[1])
    secret = run("openssl", "pkey", "-outform", "DER", data=key).stdout
    # the private part of a P-256 key in its DER: 32 bytes behind OCTET STRING, INTEGER 1
    at = secret.index(bytes.fromhex("020101 0420".replace(" ", ""))) + 5
    for folder, _, names in os.walk(site.place / "state"):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                kept = f.read()
            assert secret[at:at + 32] not in kept and password.encode() not in kept and body[:64] not in kept


def test_an_iphones_link_gives_a_signed_profile_once_and_a_real_scep_client_takes_its_values(site):
    _, path = site.link("iphone")
    status, headers, body = site.ask("GET", path)
    assert status == 200 and headers["Content-Type"] == "application/x-apple-aspen-config"
    assert site.ask("GET", path)[0] == 404
    profile = site.opened(body)
    kinds = {payload["PayloadType"]: payload for payload in profile["PayloadContent"]}
    assert kinds["com.apple.eas.account"]["PayloadCertificateUUID"] == kinds["com.apple.security.scep"]["PayloadUUID"]
    _, certificate = site.scep(kinds["com.apple.security.scep"], "phone")
    shown = run("openssl", "x509", "-noout", "-text", "-in", certificate).stdout.decode()
    assert "alice@corp.example" in shown and "1.3.6.1.4.1.311.25.2" in shown


def test_a_mac_gets_certificate_and_trust_without_an_account_that_it_does_not_know(site):
    _, path = site.link("mac")
    profile = site.opened(site.ask("GET", path)[2])
    assert [payload["PayloadType"] for payload in profile["PayloadContent"]] == ["com.apple.security.scep", "com.apple.security.root"]


def test_49_a_link_ends_with_its_time(place):
    site = Site(pathlib.Path(place), over_the_air=False, secrets={"seconds": 1})
    try:
        site.sign_in()
        _, path = site.link("android")
        over = time.time() + 1.1
        wait_until(lambda: time.time() > over, 5)
        assert [site.ask(method, path)[0] for method in ("HEAD", "GET")] == [404, 404]
    finally:
        site.stop()


def test_a_link_is_no_longer_good_when_another_was_made_or_the_device_was_revoked(site):
    device, first = site.link("iphone")
    second = site.deliver(device)["path"]
    assert site.ask("GET", first)[0] == 404
    assert site.ask("POST", "/api/devices/%s/revoke" % device, {"reason": "lost"})[0] == 200
    assert site.ask("GET", second)[0] == 404
    for path in "/d/", "/d/" + "0" * 64, "/d/../etc/passwd", "/d/" + "z" * 64:
        assert site.ask("GET", path)[0] in (400, 404)
