"""The real program, killed at every step of issuing and revoking: no certificate without its row, none that was revoked is good, and the next start
finishes the act. `easenroll-stops` is easenroll whose files with such steps were compiled with them (enroll/worker/stop_at.h)."""
import os
import re
import sqlite3
import subprocess
import time

import pytest
from cryptography import x509

from site_ import enrol, settings
from site_.accounts import USERS
from site_.process import wait_until
from site_.proxy import binary

pytestmark = pytest.mark.no_asan        # what a crash leaves on disk is the same

ISSUE = ("issue-row", "issue-signed", "issue-live")
REVOKE = ("revoke-row", "revoke-entries", "revoke-signed", "revoke-listed", "revoke-told", "revoke-published")
ISSUING, LIVE, REVOKED = 1, 2, 5
DONE = 3                                # both steps of an act


@pytest.fixture
def people(accounts):
    accounts.change("alice", display_name="Alice Example", password=enrol.hashed(enrol.PASSWORD), groups=[USERS])
    return accounts


class Site:
    """One registry and CA, and the programs that run on it one after the other."""

    def __init__(self, place, pki, people, redis=None, **kw):
        user = "nobody" if os.getuid() == 0 else None
        self.place = place
        self.config = enrol.configuration(os.path.join(place, "enrol"), pki.root.server("enroll.example.com"), people, user, **kw)
        if redis:
            self.config["redis"] = redis
        self.enroll = None

    def start(self, stop_at=None, **env):
        self.enroll = enrol.Enroll(self.config, self.place, env=dict(env, EASGATE_STOP_AT=stop_at) if stop_at else {},
                                   program=os.path.join(os.path.dirname(binary("easenroll")), "tools", "easenroll-stops") if stop_at else None)
        wait_until(lambda: enrol.curl("http://%s/readyz" % self.enroll.admin).status == 200, 10)
        return self.enroll

    def killed(self):
        """Waits until the worker has met its step, then ends all the others as a power cut does."""
        self.enroll.wait_event("process_died", 10, message=re.compile("worker .* was ended by signal 9"))
        self.enroll.kill()

    def rows(self, query, *values):
        db = sqlite3.connect("file:%s/enroll/registry.db?mode=ro" % self.config["state_dir"], uri=True)
        try:
            return db.execute(query, values).fetchall()
        finally:
            db.close()

    def close(self):
        if self.enroll:
            self.enroll.kill()


@pytest.fixture
def site(made, place, pki, people):
    return made(Site(place, pki, people))


def quietly(ask):
    """A client whose server dies under it."""
    try:
        return ask()
    except (AssertionError, subprocess.SubprocessError, IndexError):
        return None


def serial_status(enroll, serial, place):
    done = subprocess.run(["openssl", "ocsp", "-issuer", enroll.file("issuing-1.pem"), "-serial", "0x%x" % serial, "-CAfile", enroll.file("root-1.pem"),
                           "-verify_other", enroll.file("issuing-1.pem"), "-url", "http://%s/ocsp" % enroll.plain],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    text = done.stdout.decode()
    assert "Response verify OK" in text, text
    return text.split("0x%x: " % serial)[1].split()[0]


# --- ways to a certificate: each returns (what it asks, how it asks again) ---

def by_est(enroll, place):
    device = enroll.ask("device", "add", "--account", "alice", "--kind", "windows", "a laptop")["device"]["id"]
    secret = enroll.ask("secret", "add", "--account", "alice", "--device", device, "--purpose", "est")["secret"]

    def ask(enroll):
        answer, certificate, _ = enrol.est_enroll(enroll, "alice", secret)
        return certificate if answer.status == 200 else None
    return ask


def by_scep(enroll, place):
    device = enroll.ask("device", "add", "--account", "alice", "--kind", "iphone", "a phone")["device"]["id"]
    secret = enroll.ask("secret", "add", "--account", "alice", "--device", device, "--purpose", "scep")["secret"]
    at = lambda name: os.path.join(place, device + name)
    run = lambda *words: subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True, timeout=30).stdout
    with open(at("key.der"), "wb") as f:
        f.write(run("pki", "--gen", "--type", "rsa", "--size", "2048"))

    def ask(enroll):
        url = "http://%s/scep" % enroll.plain
        run("pki", "--scepca", "--url", url, "--caout", at("ca.der"), "--raout", at("ra.der"), "--force")
        names = sorted(name for name in os.listdir(place) if name.startswith(device) and name.endswith(".der"))
        cas = [word for name in names if name.startswith(device + "ca") for word in ("--cacert", at("")[:-len(device)] + name)]
        ra = next(name for name in names if name.startswith(device + "ra"))
        path = os.path.join(place, ra)
        done = subprocess.run(["pki", "--scep", "--url", url, "--in", at("key.der"), "--dn", "CN=anything", "--password", secret, *cas,
                               "--cacert-enc", path, "--cacert-sig", path, "--cipher", "aes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        return x509.load_der_x509_certificate(done.stdout) if done.returncode == 0 else None
    return ask


def by_portal(enroll, place):
    browser = enrol.Browser(enroll, place)
    assert browser.sign_in("alice").status == 200
    device = browser.call("POST", "/api/devices", {"name": "a tablet", "kind": "android"}).json()["device"]["id"]

    def ask(enroll):
        other = enrol.Browser(enroll, place, "again")
        assert other.sign_in("alice").status == 200
        link = other.call("POST", "/api/devices/%s/delivery" % device, {}).json()
        return enrol.curl(other.base + link["path"]).status == 200
    return ask


@pytest.mark.parametrize("way, steps", [(by_est, ISSUE), (by_scep, ISSUE[1:]), (by_portal, ISSUE[2:])], ids=["est", "scep", "portal"])
def test_e46_easenroll_killed_at_each_step_of_issuing_leaves_no_certificate_without_a_row_and_is_asked_again(site, place, way, steps):
    asked = {}
    site.start(steps[0])
    for i, step in enumerate(steps):
        before = {row[0] for row in site.rows("SELECT serial FROM certificates")}
        ask = asked[step] = way(site.enroll, place)
        assert quietly(lambda: ask(site.enroll)) in (None, False), "nothing is given out before it is in the registry"
        site.killed()
        rows = [row for row in site.rows("SELECT serial, state FROM certificates") if row[0] not in before]
        assert len(rows) == 1 and rows[0][1] in ((LIVE,) if step == "issue-live" else (ISSUING, 4, REVOKED)), rows
        serial = int.from_bytes(rows[0][0], "big")
        enroll = site.start(steps[i + 1] if i + 1 < len(steps) else None)
        if step == "issue-live":
            assert serial_status(enroll, serial, place) == "good"
            assert way is by_est or ask(enroll), "SCEP's transaction and the portal's device are asked for again"
        else:
            wait_until(lambda: site.rows("SELECT state FROM certificates WHERE serial=?", rows[0][0]) == [(REVOKED,)], 5)
            assert serial_status(enroll, serial, place) == "revoked"
            assert enrol.crl(enroll).get_revoked_certificate_by_serial_number(serial) is not None
        assert site.rows("SELECT count(*) FROM certificates WHERE state=?", ISSUING) == [(0,)]
        assert "whole" in enroll.run("audit", "verify")
    if way is by_est:
        # the secret of which nobody got anything serves once more; that of which there is a certificate does not
        assert asked["issue-signed"](enroll) is not None and asked["issue-signed"](enroll) is None
        assert asked["issue-live"](enroll) is None
    enroll.stop()


def test_e46_easenroll_killed_with_changes_gathered_loses_them_as_if_they_never_were(site, place):
    """What was gathered and not yet committed when the process died: nobody was answered, no half of it is there, and the secret is good still."""
    enroll = site.start(ISSUE[2], EASGATE_STOP_UNSETTLED="1")
    for i in range(8):                      # commits that have to go well before changes are gathered
        enroll.ask("device", "add", "--account", "alice", "--kind", "other", "before %d" % i)
    ask = by_est(enroll, place)
    before = site.rows("SELECT count(*) FROM audit")
    assert quietly(lambda: ask(enroll)) is None
    site.killed()
    assert site.rows("SELECT count(*) FROM audit")[0][0] - before[0][0] < 3, "issuing, issued and what belongs to them are not all there"
    assert site.rows("SELECT count(*) FROM certificates WHERE state=?", LIVE) == [(0,)]
    enroll = site.start()
    certificate = ask(enroll)
    assert certificate is not None and serial_status(enroll, certificate.serial_number, place) == "good"
    assert site.rows("SELECT count(*) FROM certificates WHERE state IN (?,?)", ISSUING, LIVE) == [(1,)]
    assert "whole" in enroll.run("audit", "verify")
    enroll.stop()


def list_on_disk(site, enroll):
    """The list as whoever reads the file meanwhile has it: whole and signed, whatever was killed; its number."""
    with open(os.path.join(site.config["state_dir"], "crl", enroll.issuer_name() + ".crl"), "rb") as f:
        found = x509.load_der_x509_crl(f.read())
    assert found.is_signature_valid(enroll.issuer().public_key())
    return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_e46_a_registry_restored_from_an_old_copy_takes_no_serial_and_no_list_number_twice(site, place):
    enroll = site.start()
    wait_until(lambda: enrol.curl("http://%s/crl/%s.crl" % (enroll.plain, enroll.issuer_name())).status == 200, 5)
    before = []         # who was there when the copy was made, and is revoked or held after it
    for _ in range(3):
        device = enroll.ask("device", "add", "--account", "alice", "--kind", "other", "in the copy")["device"]["id"]
        secret = enroll.ask("secret", "add", "--account", "alice", "--device", device, "--purpose", "est")["secret"]
        before.append((device, enrol.est_enroll(enroll, "alice", secret)[1].serial_number))
    copy = os.path.join(place, "copy.db")
    with sqlite3.connect("%s/enroll/registry.db" % site.config["state_dir"]) as db:
        db.execute("VACUUM INTO ?", (copy,))
    db.close()
    given = []
    for _ in range(3):
        device = enroll.ask("device", "add", "--account", "alice", "--kind", "other", "lost with the disk")["device"]["id"]
        secret = enroll.ask("secret", "add", "--account", "alice", "--device", device, "--purpose", "est")["secret"]
        given.append(enrol.est_enroll(enroll, "alice", secret)[1].serial_number)
        enroll.run("device", "revoke", device)
    enroll.run("device", "revoke", before[0][0], "--reason", "lost")
    enroll.run("device", "hold", before[1][0])
    wait_until(lambda: site.rows("SELECT count(*) FROM acts WHERE steps<>?", DONE) == [(0,)], 5)
    number = list_on_disk(site, enroll)
    # several lists in one second run ahead of the clock, which is what numbers them after a restore: no restore is as quick as this one
    wait_until(lambda: time.time() > number, 20)
    enroll.stop()
    folder = "%s/enroll/" % site.config["state_dir"]
    for name in ("registry.db-wal", "registry.db-shm"):
        if os.path.exists(folder + name):
            os.unlink(folder + name)
    with open(copy, "rb") as old, open(folder + "registry.db", "wb") as f:
        f.write(old.read())
    enroll = site.start()
    told = enroll.wait_event("registry_older", 10)["message"]
    assert "2 revocations were taken over" in told and "3 certificates on it are unknown" in told, told
    assert [serial_status(enroll, serial, place) for _, serial in before] == ["revoked", "revoked", "good"], "what was published holds"
    assert site.rows("SELECT reason FROM certificates WHERE revoked_at>0 ORDER BY reason") == [(1,), (6,)]
    enroll.run("device", "release", before[1][0])
    ask = by_est(enroll, place)
    certificate = ask(enroll)
    assert certificate.serial_number not in given and certificate.serial_number.bit_length() > 64
    assert all(serial_status(enroll, serial, place) == "unknown" for serial in given), "nothing is known of them: never good"
    enroll.run("device", "revoke", site.rows("SELECT device FROM certificates ORDER BY issued DESC")[0][0])
    wait_until(lambda: site.rows("SELECT count(*) FROM acts WHERE steps<>?", DONE) == [(0,)], 5)
    assert list_on_disk(site, enroll) > number
    enroll.stop()
    since = len(site.start().events("registry_older"))
    assert since == 0, "once is enough"


def test_e45_e46_easenroll_killed_at_each_step_of_a_revocation_never_says_good_and_finishes_at_the_next_start(made, place, pki, people, redis_server):
    redis, section = redis_server, settings.redis(redis_server, place)["redis"]
    site = made(Site(place, pki, people, redis=section, ca={"delta_seconds": 0}))        # a delta is made at each start: not what is tried
    enroll = site.start()
    devices = []
    for step in REVOKE:
        device = enroll.ask("device", "add", "--account", "alice", "--kind", "windows", step)["device"]["id"]
        secret = enroll.ask("secret", "add", "--account", "alice", "--device", device, "--purpose", "est")["secret"]
        answer, certificate, _ = enrol.est_enroll(enroll, "alice", secret)
        assert answer.status == 200
        devices.append((device, certificate.serial_number))
    wait_until(lambda: site.rows("SELECT count(*) FROM acts WHERE steps<>?", DONE) == [(0,)], 5)
    enroll.stop()
    issuer, number = enroll.issuer_name(), list_on_disk(site, enroll)
    for step, (device, serial) in zip(REVOKE, devices):
        enroll = site.start(step)
        quietly(lambda: enroll.run("device", "revoke", device, "--reason", "lost"))
        site.killed()
        assert list_on_disk(site, enroll) >= number, "never half a list, never an older one"
        row = site.rows("SELECT state, revoked_at, act FROM certificates WHERE serial=?", serial.to_bytes(16, "big"))[0]
        assert row[0] in (4, REVOKED) and row[1] > 0, step
        assert site.rows("SELECT state FROM devices WHERE id=?", device) == [(3,)]
        enroll = site.start()
        assert serial_status(enroll, serial, place) == "revoked"
        wait_until(lambda: site.rows("SELECT count(*) FROM acts WHERE steps<>?", DONE) == [(0,)], 10)
        assert site.rows("SELECT state FROM certificates WHERE serial=?", serial.to_bytes(16, "big")) == [(REVOKED,)]
        assert enrol.crl(enroll).get_revoked_certificate_by_serial_number(serial) is not None
        assert list_on_disk(site, enroll) > number
        number = list_on_disk(site, enroll)
        assert redis.client.hget("easgate:revoked:" + issuer, "%x" % serial) is not None
        assert "whole" in enroll.run("audit", "verify")
        enroll.stop()
    # once each, however often it was begun
    for device, serial in devices:
        assert site.rows("SELECT count(*) FROM acts WHERE serial=? AND kind=1", serial.to_bytes(16, "big")) == [(1,)]
    told = {fields["serial"] for _, fields in redis.client.xrange("easgate:events") if fields["type"] == "revoked"}
    assert told == {"%x" % serial for _, serial in devices}
