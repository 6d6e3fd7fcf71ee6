"""The storm: what stale saved passwords do to accounts, straight at a mail server and through two proxies (issue: no account is ever
locked by a phone).

A week is told by its retries, not by its seconds: each of 200 devices tries its old password once for every second hour of seven days. The domain's
observation window is made a second long, so that dozens of windows pass meanwhile: in each AD forgets what it had counted, and a
guard that only counted would begin again.
"""
import base64
import contextlib
import threading
import time

import ldap
import pytest

from site_.device import EAS

USERS, STALE_EACH, TRIES = 20, 10, 7 * 12
THRESHOLD, MARGIN = 5, 2
OLD = ("Summer2024.%s", "Autumn2024.%s", "Winter2024.%s")     # three passwords ago and more: AD counts each of them
SECOND = 10 ** 7


def basic(user, password):
    return ("Authorization", "Basic " + base64.b64encode(("%s:%s" % (user, password)).encode()).decode())


def right(sam):
    return "Passw0rd." + sam


@contextlib.contextmanager
def lockout_policy(ad, **values):
    """The domain's policy, for the block."""
    names = list(values)
    with ad.connection() as handle:
        before = handle.search_s(ad.base, ldap.SCOPE_BASE, attrlist=names)[0][1]
        handle.modify_s(ad.base, [(ldap.MOD_REPLACE, name, [str(value).encode()]) for name, value in values.items()])
    try:
        yield
    finally:
        with ad.connection() as handle:
            handle.modify_s(ad.base, [(ldap.MOD_REPLACE, name, before[name]) for name in names])


class Watch:
    """badPwdCount and lockoutTime of accounts, read again and again while a storm blows."""

    def __init__(self, ad, accounts):
        self.worst, self.locked, self.looks = 0, set(), 0
        self._ad, self._accounts, self._over = ad, set(accounts), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self):
        with self._ad.connection() as handle:
            while not self._over.is_set():
                self.look(handle)
                self._over.wait(0.1)
            self.look(handle)

    def look(self, handle):
        found = handle.search_s("OU=People," + self._ad.base, ldap.SCOPE_SUBTREE, "(sAMAccountName=storm*)",
                                ["sAMAccountName", "badPwdCount", "lockoutTime"])
        for _, values in found:
            sam = values["sAMAccountName"][0].decode()
            if sam in self._accounts:
                self.worst = max(self.worst, int(values.get("badPwdCount", [b"0"])[0]))
                if values.get("lockoutTime", [b"0"])[0] != b"0":
                    self.locked.add(sam)
        self.looks += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(30)


def wrong_binds(ad, sam, since):
    """How many passwords of that account the domain controller found wrong."""
    return len(ad.log.find(lambda line: "Auth:" in line and "WRONG_PASSWORD" in line and ("[%s]" % sam in line or "[%s@" % sam in line
                                                                                         or "CN=%s," % sam in line), since))


@pytest.fixture
def users(own_ad):
    made = [own_ad.account("storm%02d-%d" % (i, time.monotonic_ns() % 10 ** 9)) for i in range(USERS)]
    yield made
    for sam in made:
        own_ad.delete(sam)


def stale_devices(users):
    """(device id, user, its old password): ten of each user, three old passwords among them."""
    return [("STALE%03d" % (i * STALE_EACH + k), sam, OLD[k % len(OLD)] % sam) for i, sam in enumerate(users) for k in range(STALE_EACH)]


@pytest.mark.long
@pytest.mark.no_asan
def test_straight_at_the_mail_server_stale_passwords_lock_every_account(own_ad, users, phone):
    mail = own_ad.env["AD_ADDR"] + ":80"
    with Watch(own_ad, users) as watch:
        line = phone(mail, netns=own_ad.netns, plain=True)
        for _hour in range(3):
            for device, sam, password in stale_devices(users):
                if sam in watch.locked:
                    continue
                answer = line._ask("POST", "/basic" + EAS + "?Cmd=Sync&User=%s&DeviceId=%s&DeviceType=iPhone" % (sam, device),
                                   [basic(sam, password)], b"x")
                assert answer.status == 401
    assert watch.locked == set(users), "all are locked out within three hours of the week"
    assert not own_ad.password_is(users[0], right(users[0])), "the owner is out, too"


class Stale:
    """A device with an old password: it keeps its connection as long as the proxy lets it."""

    def __init__(self, device, password):
        self.statuses, self.fault = [], None
        self._device, self._password = device, password
        self._thread = threading.Thread(target=self._blow, daemon=True)

    def _blow(self):
        try:
            for _ in range(TRIES):
                self.statuses.append(self._device.sync(headers=[self._password]).status)
        except Exception as e:                                      # told by the test
            self.fault = e

    @property
    def blows(self):
        return self._thread.is_alive()

    def start(self):
        self._thread.start()

    def join(self):
        self._thread.join(300)
        assert self.fault is None and not self.blows, self.fault


@pytest.mark.long
@pytest.mark.no_asan
@pytest.mark.xfail(strict=False, reason="200 devices at once fill the queue of password checks (503, overloaded), since each refusal keeps its place for "
                   "the time before it is told; and AD's count comes to the threshold less the margin, where the test wants it below")
def test_the_storm_through_two_proxies_locks_nobody_and_everybody_else_syncs(own_ad, users, pki, phone, kerberos_proxy, revocation_in_redis):
    changes = {"proxy.policies.0.methods": [{"certificate": "allowed", "password": "allowed"}],
               "lockout.margin": MARGIN, "lockout.memory_mib": 1, "lockout.address_attempts": 100000,
               "lockout.good_seconds": 60}
    with lockout_policy(own_ad, lockOutObservationWindow=-1 * SECOND):
        proxies = [kerberos_proxy(server=own_ad, redis=revocation_in_redis, node=node, changes=changes) for node in ("a", "b")]
        devices = stale_devices(users)
        well = []
        for i, sam in enumerate(users):
            proxy = proxies[i % 2]
            well.append((phone(proxy, pki.device_ca.device(sam + "@corp.example"), user=sam, device_id="CERT%03d" % i), []))
            well.append((phone(proxy, user=sam, device_id="GOOD%03d" % i), [basic(sam, right(sam))]))
        since = own_ad.log.mark()
        with Watch(own_ad, users) as watch:
            storm = [Stale(phone(proxies[n % 2], user=sam, device_id=device), basic(sam, password))
                     for n, (device, sam, password) in enumerate(devices)]
            synced = 0
            while synced < 2 or any(stale.blows for stale in storm):
                for device, headers in well:
                    answer = device.sync(headers=headers)
                    assert answer.status == 200, (device.device_id, synced, *(
                        str(line) for proxy in proxies for line in proxy.log.find(lambda line: device.device_id in str(line))[-2:]))
                synced += 1
                if synced == 1:             # who syncs already goes on, whatever comes
                    for stale in storm:
                        stale.start()
            for stale in storm:
                stale.join()
    sent = sum(len(stale.statuses) for stale in storm)
    assert sent == USERS * STALE_EACH * TRIES
    assert {status for stale in storm for status in stale.statuses} <= {401, 503}
    # once AD has refused it, or the fleet knows that it did: no bind, and the device is told that its password is wrong
    assert all(stale.statuses[-1] == 401 for stale in storm)
    assert not watch.locked and watch.looks > 10
    assert watch.worst < THRESHOLD - MARGIN, "badPwdCount came to %d" % watch.worst
    for sam in users:
        assert wrong_binds(own_ad, sam, since) <= len(OLD), sam
        assert own_ad.password_is(sam, right(sam))
    print("%d stale tries, %d of them reached the domain controller; %d rounds of the others meanwhile" %
          (sent, sum(wrong_binds(own_ad, sam, since) for sam in users), synced))
