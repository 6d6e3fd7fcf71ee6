"""The whole life of a device: sign in on the portal, add a device, get its certificate, sync through easproxy, be held and released, be revoked."""
import os
import plistlib
import re
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12

from site_ import answers, enrol, settings
from site_.accounts import USERS
from site_.portal import PASSWORD, browser, start_enroll  # noqa: F401 (fixtures)
from site_.pki import Identity
from site_.process import wait_until

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


@pytest.mark.quick
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


@pytest.mark.quick
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


@pytest.mark.quick
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


# --- with Redis, so that several proxies hear of it

class Fleet:
    """An easenroll and what easproxy needs of it: both follow one Redis."""

    def __init__(self, enroll, redis, place):
        self.enroll, self.redis = enroll, redis
        self.folder = os.path.join(enroll.config["state_dir"], "ca")
        shown = [c for c in enroll.command("ca", "show")["certificates"] if c["kind"] == "issuing"]
        self.name = shown[0]["spki_sha256"]
        lists = os.path.join(enroll.config["state_dir"], "crl", self.name + ".crl")
        wait_until(lambda: os.path.exists(lists), 10)
        self.proxy = dict(settings.redis(redis, place), **{"proxy.hosts.0.client_ca": [self.pem("issuing-1")],
                          "proxy.revocation.crls": [{"issuer_ca": self.pem("issuing-1"), "file": lists}], "proxy.revocation.refresh_seconds": 3600})

    def pem(self, name):
        return os.path.join(self.folder, name + ".pem")

    def run(self, *words, data=None):
        """A program where easenroll is."""
        done = subprocess.run(self.enroll.netns.command([str(w) for w in words]), input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert done.returncode == 0, (words, done.stderr.decode())
        return done.stdout

    def list_holds(self, serial):
        """The CRL as the plain listener serves it, its signature checked."""
        der = self.run("curl", "-sSf", "http://%s/crl/%s.crl" % (self.enroll.address("plain"), self.name))
        text = self.run("openssl", "crl", "-inform", "DER", "-noout", "-text", "-CAfile", self.pem("issuing-1"), data=der).decode()
        return ("%x" % serial) in text.lower().replace("serial number: 0", "serial number: ")

    def ocsp(self, path):
        text = self.run("openssl", "ocsp", "-issuer", self.pem("issuing-1"), "-cert", path, "-CAfile", self.pem("root-1"), "-verify_other", self.pem("issuing-1"),
                        "-url", "http://%s/ocsp" % self.enroll.address("plain"), "-no_nonce").decode()
        return re.search(r": (good|revoked|unknown)$", text, re.M)[1]


def ended(held):
    """Seconds until a held Ping was ended with 403, and for good."""
    began = time.monotonic()
    answer = held.wait(5)
    assert answer is not None and answer.status == 403
    return time.monotonic() - began


def iphone(fleet, profile, place):
    """What an iPhone makes of a profile: a key of its own kind, SCEP with the profile's values, and an account that uses the certificate."""
    payloads = {p["PayloadType"]: p for p in profile["PayloadContent"]}
    scep, account = payloads["com.apple.security.scep"], payloads["com.apple.eas.account"]
    assert account["PayloadCertificateUUID"] == scep["PayloadUUID"] and "Password" not in account
    values, at = scep["PayloadContent"], lambda name: os.path.join(place, name)
    assert values["Key Type"] == "RSA" and values["URL"].startswith("http://enroll.example.com/")
    url = values["URL"].replace("enroll.example.com", fleet.enroll.address("plain"))
    fleet.run("pki", "--scepca", "--url", url, "--caout", at("scep-ca"), "--raout", at("scep-ra"), "--outform", "pem")
    fleet.run("openssl", "genrsa", "-traditional", "-out", at("iphone.key"), values["Keysize"])
    ca = [at(name) for name in sorted(os.listdir(place)) if name.startswith("scep-ca")]
    ra = [at(name) for name in sorted(os.listdir(place)) if name.startswith("scep-ra")]
    issuing = next(path for path in ca if b"Issuing" in fleet.run("openssl", "x509", "-noout", "-subject", "-in", path))
    dn = ", ".join("%s=%s" % tuple(pair) for rdn in values["Subject"] for pair in rdn)
    pem = fleet.run("pki", "--scep", "--url", url, "--in", at("iphone.key"), "--dn", dn, "--password", values["Challenge"], "--cacert-enc", ra[0], "--cacert-sig", issuing,
                    *[word for path in ca for word in ("--cacert", path)], "--outform", "pem")
    with open(at("iphone.pem"), "wb") as f:
        f.write(pem)
    with open(at("iphone.key"), "rb") as f:
        return Identity(x509.load_pem_x509_certificate(pem), load_pem_private_key(f.read(), None)), account


def test_the_whole_story_from_a_sign_in_with_the_ad_password_to_a_revoked_iphone(
        ad, start_enroll, browser, kerberos_proxy, redis_server, phone, place):
    sam, old, new = ad.account(), None, "An0ther.Passw0rd"
    old = "Passw0rd." + sam
    redis = {key: value for key, value in settings.redis(redis_server, place).items() if key == "redis"}
    fleet = Fleet(start_enroll(redis, ad=ad), redis_server, place)
    proxy = kerberos_proxy(changes=fleet.proxy)

    # signs in, gets a profile, once
    me = browser(fleet.enroll)
    assert me.sign_in(sam, old).status == 200
    device = me.post("/api/devices", {"name": "My iPhone", "kind": "iphone"}).json["device"]
    offer = me.post("/api/devices/%s/delivery" % device["id"]).json
    signed = browser(fleet.enroll).get(offer["path"])
    assert signed.status == 200 and signed.get("Content-Type") == "application/x-apple-aspen-config"
    assert browser(fleet.enroll).get(offer["path"]).status == 404
    profile = plistlib.loads(fleet.run("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-CAfile", fleet.pem("root-1"), "-purpose", "any", data=signed.body))
    identity, account = iphone(fleet, profile, place)
    assert account["Host"] == "mail.example.com" and account["EmailAddress"] == ad.get(sam, "mail")
    assert fleet.ocsp(os.path.join(place, "iphone.pem")) == "good" and not fleet.list_holds(identity.cert.serial_number)

    # syncs from the Kerberos mail server, by its certificate alone
    with_it = phone(proxy, identity, user=sam)
    log = ad.mail.mark()
    assert with_it.sync().status == 200
    ad.mail.wait_access(user="%s@%s" % (sam, ad.realm), status=200, since=log)
    wait_until(lambda: me.get("/api/devices").json["devices"][0].get("last_sync"), 10)          # the portal has it from Redis
    mine = me.get("/api/devices").json["devices"][0]
    assert mine["eas_device_id"] == "ApplTEST0001" and mine["certificates"][0]["state"] == "live"

    # the password changes, mail goes on
    ad.change_password(sam, new)
    log = ad.mail.mark()
    assert with_it.sync().status == 200
    ad.mail.wait_access(user="%s@%s" % (sam, ad.realm), status=200, since=log)
    assert ad.get(sam, "badPwdCount") in (None, "0")
    again = browser(fleet.enroll)
    assert again.sign_in(sam, new).status == 200

    # revoked on the portal: out at once, everywhere
    held = with_it.ping()
    assert held.waiting
    began = time.monotonic()
    assert again.post("/api/devices/%s/revoke" % device["id"], {"reason": "lost"}).json["device"]["state"] == "revoked"
    ended(held)
    assert time.monotonic() - began < 1.0
    assert phone(proxy, identity, user=sam).sync().status == 403
    assert fleet.ocsp(os.path.join(place, "iphone.pem")) == "revoked"
    wait_until(lambda: fleet.list_holds(identity.cert.serial_number), 5)
    assert again.get("/api/devices").json["devices"][0]["certificates"][0]["state"] == "revoked"
    assert fleet.enroll.command("audit", "verify")["whole"]
    for program in (fleet.enroll, proxy):
        program.assert_never(old, new, offer["path"])


def test_approved_held_and_released_by_page_and_command_and_the_proxies_follow(
        start_enroll, browser, accounts, redis_server, start_proxy, configure, backend, phone, place):
    backend.default = answers.eas(b"\x03\x01\x6a\x00 mail")
    hold = backend.when("Ping", answers.hold())
    redis = {key: value for key, value in settings.redis(redis_server, place).items() if key == "redis"}
    fleet = Fleet(start_enroll({**redis, "enroll.profiles.0.approve": True}), redis_server, place)
    proxies = [start_proxy(configure(backend, changes=fleet.proxy, node=node)) for node in ("one", "two")]
    alice, root = browser(fleet.enroll), browser(fleet.enroll)
    assert alice.sign_in("alice", PASSWORD).status == root.sign_in("root", PASSWORD).status == 200
    device = alice.post("/api/devices", {"name": "Tablet", "kind": "windows"}).json["device"]
    assert device["state"] == "waiting" and alice.post("/api/devices/%s/delivery" % device["id"]).json["error"] == "waiting"
    act = lambda word: root.post("/api/admin/devices/%s/%s" % (device["id"], word)).status
    assert act("hold") == 200 and act("approve") == 200            # there was nothing to hold yet
    offer = alice.post("/api/devices/%s/delivery" % device["id"]).json
    identity = from_pkcs12(browser(fleet.enroll).get(offer["path"]).body, offer["password"])

    def says(status):
        for proxy in proxies:
            wait_until(lambda: phone(proxy, identity, user="alice").sync().status == status, 5)
    says(200)
    for how in (act, lambda word: fleet.enroll.command("device", word, device["id"]) and 200):
        held = [phone(proxy, identity, user="alice").ping() for proxy in proxies]
        hold.wait_waiting(backend, 2)
        began = time.monotonic()
        assert how("hold") == 200
        assert [ended(one) >= 0 for one in held] and time.monotonic() - began < 1.0
        says(403)
        assert alice.get("/api/devices").json["devices"][0]["certificates"][0]["state"] == "hold"
        assert root.get("/api/admin/devices").json["devices"][0]["held"] is True
        assert how("release") == 200
        says(200)
        assert alice.get("/api/devices").json["devices"][0]["certificates"][0]["state"] == "live"
    assert alice.get("/api/devices").json["devices"][0]["last_sync"] is not None
    assert act("revoke") == 200 and act("release") == 409
    says(403)


def test_e46_a_serial_of_128_bits_is_the_same_number_to_easenroll_easproxy_redis_and_openssl(
        start_enroll, accounts, redis_server, start_proxy, configure, backend, phone, place):
    backend.default = answers.eas(b"\x03\x01\x6a\x00 mail")
    fleet = Fleet(start_enroll({"redis": settings.redis(redis_server, place)["redis"]}), redis_server, place)
    proxy, enroll, key = start_proxy(configure(backend, changes=fleet.proxy)), fleet.enroll, ec.generate_private_key(ec.SECP256R1())
    device = enroll.command("device", "add", "--account", "alice", "--kind", "windows", "A notebook")["device"]["id"]

    def issue():
        secret = enroll.command("secret", "add", "--account", "alice", "--device", device, "--purpose", "est")["secret"]
        answer = fleet.run("curl", "-sSfk", "-u", "alice:" + secret, "-H", "Content-Type: application/pkcs10", "--data-binary", "@-",
                           "https://%s/.well-known/est/simpleenroll" % enroll.address("enroll"), data=enrol.new_request(key)[0])
        return enrol.certificates(answer)[0]
    identity = Identity(enrol.whose_first_bit_is_set(issue), key)
    path, serial = identity.write(place, "notebook")[0], "%x" % identity.cert.serial_number
    assert fleet.run("openssl", "x509", "-noout", "-serial", "-in", path).decode().strip().lower() == "serial=" + serial
    shown = enroll.command("device", "show", device)["device"]["certificates"]
    assert [c["state"] for c in shown if c["serial"] == serial] == ["live"]
    assert phone(proxy, identity, user="alice").sync().status == 200
    assert fleet.ocsp(path) == "good" and not fleet.list_holds(identity.cert.serial_number)
    enroll.command("device", "revoke", device)
    wait_until(lambda: phone(proxy, identity, user="alice").sync().status == 403, 5)
    wait_until(lambda: fleet.list_holds(identity.cert.serial_number), 5)
    assert fleet.ocsp(path) == "revoked"
    assert redis_server.client.hexists("easgate:revoked:" + fleet.name, serial)
    assert serial in {fields["serial"] for _, fields in redis_server.client.xrange("easgate:events") if fields["type"] == "revoked"}


@pytest.mark.no_asan        # what the directory says comes to the same
def test_who_is_disabled_deleted_or_out_of_the_group_in_ad_loses_the_certificate_everywhere_within_a_minute(
        ad, start_enroll, browser, redis_server, place):
    redis = {key: value for key, value in settings.redis(redis_server, place).items() if key == "redis"}
    fleet = Fleet(start_enroll({**redis, "enroll.profiles.0.required_group": ad.users, "directory.ldap.watch_seconds": 1}, ad=ad), redis_server, place)
    paths = {}
    for sam in [ad.account() for _ in range(4)]:
        me = browser(fleet.enroll)
        assert me.sign_in(sam, "Passw0rd." + sam).status == 200
        device = me.post("/api/devices", {"name": "A tablet", "kind": "android"}).json["device"]
        link = me.post("/api/devices/%s/delivery" % device["id"]).json
        identity = from_pkcs12(browser(fleet.enroll).get(link["path"]).body, link["password"])
        paths[sam] = (identity.write(place, sam)[0], identity.cert.serial_number, ad.sid(sam))
    disabled, deleted, left, stays = paths
    assert all(fleet.ocsp(path) == "good" for path, _, _ in paths.values())
    began = time.monotonic()
    ad.disable(disabled)
    ad.delete(deleted)
    ad.leave(left)
    for sam, why in ((disabled, "was disabled"), (deleted, "no longer in the directory"), (left, "no longer in the required group")):
        path, serial, sid = paths[sam]
        line = fleet.enroll.log.wait(lambda line: isinstance(line, dict) and line.get("event") == "account_fell" and sid in line["message"], 60, what=sam)
        assert why in line["message"] and ": 1 certificates" in line["message"]
        wait_until(lambda: fleet.ocsp(path) == "revoked" and fleet.list_holds(serial) and
                   redis_server.client.hexists("easgate:revoked:" + fleet.name, "%x" % serial), 5)
    assert time.monotonic() - began < 60
    path, serial, _ = paths[stays]
    assert fleet.ocsp(path) == "good" and not fleet.list_holds(serial)
    assert not redis_server.client.hexists("easgate:revoked:" + fleet.name, "%x" % serial)


@pytest.mark.no_asan        # as above
def test_a_group_that_was_renamed_in_ad_revokes_nobody(ad, start_enroll, browser, redis_server, place):
    redis = {key: value for key, value in settings.redis(redis_server, place).items() if key == "redis"}
    group = ad.group()
    fleet = Fleet(start_enroll({**redis, "enroll.profiles.0.required_group": "CN=%s,OU=Groups,%s" % (group, ad.base), "directory.ldap.watch_seconds": 1}, ad=ad),
                  redis_server, place)
    paths = {}
    for sam in [ad.account(groups=("EAS-Users", group)) for _ in range(3)]:
        me = browser(fleet.enroll)
        assert me.sign_in(sam, "Passw0rd." + sam).status == 200
        device = me.post("/api/devices", {"name": "A tablet", "kind": "android"}).json["device"]
        link = me.post("/api/devices/%s/delivery" % device["id"]).json
        paths[sam] = from_pkcs12(browser(fleet.enroll).get(link["path"]).body, link["password"]).write(place, sam)[0]
    stays, *gone = paths
    sids = {sam: ad.sid(sam) for sam in paths}
    ad.rename_group(group, group + "-new")
    fleet.enroll.log.wait(lambda line: isinstance(line, dict) and line.get("event") == "directory_group_missing" and group in line["message"], 30,
                          what="the missing group")
    for sam in gone:            # one after the other, each asked about twice with seconds between: the other one is asked about meanwhile, too
        ad.delete(sam)
        fell = fleet.enroll.log.wait(lambda line: isinstance(line, dict) and line.get("event") == "account_fell" and sids[sam] in line["message"], 60, what=sam)
        assert "no longer in the directory" in fell["message"]
        wait_until(lambda: fleet.ocsp(paths[sam]) == "revoked", 5)
    assert fleet.ocsp(paths[stays]) == "good"
    assert browser(fleet.enroll).sign_in(stays, "Passw0rd." + stays).status == 200      # the portal's own group is another
