"""P54: the program's own allocations and system calls fail, one after another, inside each of its processes.

Each time: nothing crashes or hangs, nobody gets in who is refused otherwise, nobody gets another one's bytes, and when the faults
have ended everybody is served again. How many places are tried: EASGATE_FAULT_ROUNDS times as many as in `make check`.
"""
import copy
import errno
import os
import re
import socket
import time

import pytest

from site_ import answers, inside, settings, wires
from site_.faults import SHORT, Faults, crash_places, crashes, in_libraries, spread
from site_.http1 import ProtocolError
from site_.process import wait_until
from site_.proxy import Proxy
from test_resumption import session_of

ROUNDS = int(os.environ.get("EASGATE_FAULT_ROUNDS", "1"))
RECOVERY = 10.0
LONGEST = 5.0               # of one attempt: more than each limit that is configured here
GONE = (OSError, EOFError, ProtocolError)
LIMITS = {"proxy.limits.handshake_seconds": 2, "proxy.limits.head_seconds": 2, "proxy.limits.body_idle_seconds": 2,
          "proxy.upstreams.0.response_ms": 2000, "proxy.upstreams.0.connect_ms": 1000}
IO = [("read", errno.EIO), ("read", SHORT), ("write", errno.ENOSPC), ("write", SHORT), ("accept", errno.EMFILE), ("watch", errno.ENOMEM),
      ("make", errno.EMFILE), ("connect", errno.ENETUNREACH), ("open", errno.EMFILE), ("files", errno.ENOSPC), ("map", errno.ENOMEM),
      ("fork", errno.EAGAIN)]
if ROUNDS > 1:
    IO += [("read", errno.EINTR), ("write", errno.EIO), ("write", errno.EINTR), ("accept", errno.EINTR), ("watch", errno.ENOSPC),
           ("make", errno.ENOBUFS), ("open", errno.EIO), ("open", errno.ENOSPC), ("files", errno.EIO)]
MEMORY = [("alloc", errno.ENOMEM)]


@pytest.fixture
def faults(place, made):
    return made(Faults(place))


class Site:
    """A proxy with phones that may in and one that is revoked, for which every answer is checked."""

    def __init__(self, proxy, faults, phone, pki, revoked):
        self.proxy, self.faults, self._phone = proxy, faults, phone
        self.alice = pki.device_ca.device("alice@corp.example")
        self.bob = pki.device_ca.device("bob@corp.example")
        self.revoked = revoked
        self.attempts = 0
        self.renew = None

    def names(self, user):
        """What the mail server's answer says to this user, and to no other."""
        return b"X-EAS-User=%s\n" % user.encode()

    def device(self, identity, user):
        return self._phone(self.proxy, identity, user=user, timeout=LONGEST)

    def attempt(self, identity, user, session=None, device=None, timeout=LONGEST):
        """A fresh connection with one request: its status, or None. What is served must be this user's. A session is of a device."""
        device, began = device or self.device(identity, user), time.monotonic()
        device.timeout = timeout
        self.attempts += 1
        try:
            line = device.connect(session=session)
            device.line = line
            response = device.sync()
        except GONE:
            return None
        finally:
            device.close()
            assert time.monotonic() - began < LONGEST, "hung"
        if response is None:
            return None
        if response.status == 200:
            assert identity is not self.revoked, "a revoked certificate was served"
            assert self.names(user) in response.body, response.body
        else:
            assert response.status in (403, 408, 500, 502, 503, 504), response.start
        return response.status

    def serves(self):
        """All is as it should be: both users are served, the revoked one is not."""
        return self.attempt(self.alice, "alice") == 200 and self.attempt(self.bob, "bob") == 200 and \
            self.attempt(self.revoked, "alice") == 403

    def calm(self, since=0):
        """The faults have ended: no process was lost to a signal, and all is well within RECOVERY."""
        self.faults.disarm()
        assert not crashes(self.proxy, since), crash_places(self.proxy, since)
        if in_libraries(self.proxy, since) and self.renew:
            self.renew()            # each of many deaths in a row makes the next start later
        wait_until(self.serves, RECOVERY)
        assert not crashes(self.proxy, since), crash_places(self.proxy, since)

    def calls(self, process, kind, action):
        """How many calls of this kind that is, when nothing fails."""
        self.faults.count(process, kind)
        action()
        calls = self.faults.calls
        self.faults.disarm()
        return calls

    def try_each(self, process, places, count, action):
        """Lets action() meet one failing call in each of about `count` places for each of `places`, (kind, errno)."""
        tried = 0
        for number, (kind, error) in enumerate(places):
            if kind == "alloc" and not self.faults.memory:
                continue
            total = self.calls(process, kind, action)
            for nth in spread(total, count, number):
                since = self.proxy.mark()
                self.faults.arm(process, kind, nth, error=error)
                try:
                    action()
                    tried += self.faults.failed > 0
                    self.calm(since)
                except AssertionError as e:
                    raise AssertionError("%s call %d of %d in %s fails with %s: %s\n%s\n%s" % (
                        kind, nth, total, process, errno.errorcode.get(error, "one byte only"), e, self.proxy.log.tail(),
                        "\n".join(self.proxy.log.find(lambda line: isinstance(line, str), since)))) from e
        return tried


@pytest.fixture
def site(start_proxy, configure, backend, phone, pki, crl, faults):
    """site(changes={...}): with the file directory and a CRL."""
    def start(changes=None, **kw):
        revoked = pki.device_ca.device("alice@corp.example")
        pki.device_ca.write_crl(crl, [revoked.serial])
        backend.default = answers.whoami("X-EAS-User")
        proxy = start_proxy(configure(backend, {**LIMITS, **(changes or {})}), env=faults.env, **kw)
        site = Site(proxy, faults, phone, pki, revoked)
        wait_until(site.serves, RECOVERY)
        return site
    return start


# --- the worker ---

def test_54_a_failing_call_in_a_worker_costs_that_phone_its_answer_at_most(site, faults):
    site = site()

    def all_three():
        site.attempt(site.alice, "alice")
        site.attempt(site.bob, "bob")
        site.attempt(site.revoked, "alice")
    tried = site.try_each("worker", MEMORY, 24 * ROUNDS, all_three)
    tried += site.try_each("worker", IO, ROUNDS, all_three)
    assert tried >= (24 if faults.memory else 1), tried
    assert not site.proxy.events("process_died")


def test_54_a_failing_call_while_a_session_is_resumed_is_no_way_in(site, faults, pki, crl):
    site = site()
    good, bad = site.device(site.alice, "alice"), site.device(site.revoked, "alice")
    session = session_of(good)
    # a session of the revoked one, made before it was
    pki.device_ca.write_crl(crl, [])
    wait_until(lambda: site.device(site.revoked, "alice").sync().status == 200, RECOVERY)
    before = session_of(bad)
    pki.device_ca.write_crl(crl, [site.revoked.serial])
    wait_until(lambda: site.device(site.revoked, "alice").sync().status == 403, RECOVERY)

    def resume():
        site.attempt(site.alice, "alice", session, good)
        site.attempt(site.revoked, "alice", before, bad)
    tried = site.try_each("worker", MEMORY, 12 * ROUNDS, resume)
    tried += site.try_each("worker", IO, ROUNDS, resume)
    assert tried >= (12 if faults.memory else 1), tried
    assert not site.proxy.events("process_died")


@pytest.mark.parametrize("kind, error, every", [
    ("alloc", errno.ENOMEM, 40), ("alloc", errno.ENOMEM, 1), ("read", errno.EIO, 5), ("write", errno.EINTR, 2), ("write", SHORT, 1),
    ("watch", errno.ENOSPC, 2), ("make", errno.EMFILE, 1), ("accept", errno.EMFILE, 1)])
@pytest.mark.parametrize("process", ["worker", "all"])
def test_54_while_calls_fail_again_and_again_nobody_gets_in_and_afterwards_all_is_well(site, faults, process, kind, error, every):
    if kind == "alloc" and not faults.memory:
        pytest.skip("the sanitizer's malloc does not fail")
    site = site()
    since = site.proxy.mark()
    host, _, port = site.proxy.address("admin").rpartition(":")
    site.faults.arm(process, kind, 1, span=0xffffffff, every=every, error=error)
    began = time.monotonic()
    with socket.create_connection((host, int(port))), socket.create_connection((host, int(port))):
        while time.monotonic() - began < 0.6 * ROUNDS:
            site.attempt(site.alice, "alice", timeout=0.4)
            site.attempt(site.revoked, "alice", timeout=0.4)
    took = time.monotonic() - began
    tried = site.faults.failed
    site.calm(since)
    assert error == SHORT or tried < 20000 * took, "%d calls failed in %.1f s: it spins" % (tried, took)


# --- start ---

@pytest.mark.slow
@pytest.mark.parametrize("process", ["master", "worker", "directory", "revocation"])
def test_54_a_start_with_a_failing_call_serves_or_ends_with_a_reason(configure, backend, phone, pki, crl, faults, place, process):
    revoked = pki.device_ca.device("alice@corp.example")
    pki.device_ca.write_crl(crl, [revoked.serial])
    backend.default = answers.whoami("X-EAS-User")
    config = configure(backend, LIMITS)

    def start():
        directory = os.path.join(place, "start")
        os.makedirs(directory, exist_ok=True)
        return Proxy(config, directory, env=faults.env, wait=False)
    for number, (kind, error) in enumerate(MEMORY + [p for p in IO if p[0] in ("read", "open", "make", "map", "files", "watch", "fork")]):
        if kind == "alloc" and not faults.memory:
            continue
        faults.count(process, kind)
        proxy = start()
        proxy.wait_event("ready", 10)
        total = faults.calls
        faults.disarm()
        proxy.stop()
        for nth in spread(total, (3 if kind == "alloc" else 1) * ROUNDS, number):
            faults.arm(process, kind, nth, error=error)
            proxy = start()
            try:
                starts(proxy, faults, phone, pki, revoked)
            except AssertionError as e:
                raise AssertionError("%s call %d of %d in %s fails with %s: %s\n%s" % (
                    kind, nth, total, process, errno.errorcode.get(error, "one byte only"), e, proxy.log.tail())) from e
            finally:
                proxy.kill()


def starts(proxy, faults, phone, pki, revoked):
    """Ready, or ended by itself with status 1 and a word of why; what is ready must serve."""
    try:
        proxy.wait_event("ready", 15)
    except AssertionError:
        assert proxy.wait_exit(1) == 1, "neither ready nor ended"
        assert not crashes(proxy), crashes(proxy)
        assert any(line.get("level") == "error" if isinstance(line, dict) else line for line in proxy.log.lines), "without a word"
        return
    faults.disarm()
    site = Site(proxy, faults, phone, pki, revoked)
    site.calm()
    proxy.stop()


# --- reload ---

@pytest.mark.parametrize("process", ["master", "worker", "directory", "revocation"])
def test_54_a_reload_with_a_failing_call_is_good_or_refused_and_the_next_one_is_good(site, process):
    site = site()
    config = copy.deepcopy(site.proxy.config)
    number = 0

    def reload():
        nonlocal number
        number += 1
        config["proxy"]["limits"]["retry_after_seconds"] = 20 + number
        config["directory"]["ttl_seconds"] = 60 + number
        config["proxy"]["revocation"]["max_age_seconds"] = 80000 + number
        site.proxy.reload(config, 20)
        site.attempt(site.revoked, "alice")

    places = MEMORY + [p for p in IO if p[0] in ("read", "open", "make", "map", "files", "watch", "fork", "write")]
    original = site.calm

    def calm(since=0):
        original(since)
        line = site.proxy.reload(timeout=20)
        assert line["event"] == "reloaded", line
    site.calm = calm
    site.try_each(process, places, 1 * ROUNDS, reload)
    site.try_each(process, MEMORY, 3 * ROUNDS, reload)


# --- revocation ---

def test_54_a_failing_call_in_the_revocation_process_delays_a_revocation_at_most(
        start_proxy, configure, backend, phone, pki, faults, revocation_in_redis, place, crl):
    revoked = pki.device_ca.device("alice@corp.example")
    revocation_in_redis.revoke(pki.device_ca, revoked)
    backend.default = answers.whoami("X-EAS-User")
    proxy = start_proxy(configure(backend, {**LIMITS, **settings.redis(revocation_in_redis, place)}), env=faults.env)
    site = Site(proxy, faults, phone, pki, revoked)
    wait_until(site.serves, RECOVERY)
    victims, calm = [], site.calm

    def revoke():
        victim = pki.device_ca.device("bob@corp.example")
        assert faults.failed or site.attempt(victim, "bob") == 200
        victims.append(victim)
        revocation_in_redis.revoke(pki.device_ca, victim)
        time.sleep(0.05)                    # an event, or a look at the lists: whatever comes meets the fault

    def refused_at_last(since=0):
        calm(since)
        wait_until(lambda: site.attempt(victims[-1], "bob") == 403, RECOVERY)
    site.calm = refused_at_last
    tried = site.try_each("revocation", MEMORY, 8 * ROUNDS, revoke)
    tried += site.try_each("revocation", [p for p in IO if p[0] in ("read", "write", "watch")], ROUNDS, revoke)

    by_redis = victims[::8]

    def publish():
        """By the CRL alone."""
        victim = pki.device_ca.device("bob@corp.example")
        victims.append(victim)
        since = proxy.mark()
        pki.device_ca.write_crl(crl, [victim.serial])
        try:
            proxy.log.wait(lambda line: isinstance(line, dict) and line.get("event") in ("crl_loaded", "crl_refused"), 2.5, since)
        except AssertionError:
            pass
    site.try_each("revocation", MEMORY, 2 * ROUNDS, publish)
    site.try_each("revocation", [p for p in IO if p[0] in ("read", "open", "files", "map")], ROUNDS, publish)
    # by Redis: nothing of it was taken back meanwhile
    for victim in by_redis:
        assert site.attempt(victim, "bob") == 403
    assert tried >= (8 if faults.memory else 1), tried


# --- the directory and Kerberos ---

@pytest.mark.slow
@pytest.mark.parametrize("process", ["directory", "kerberos", "worker"])
def test_54_a_failing_call_while_accounts_and_tickets_are_asked_for_is_503_at_most(
        ad, pki, phone, kerberos_proxy, faults, revocation_in_redis, process):
    revoked = pki.device_ca.device("alice@corp.example")
    revocation_in_redis.revoke(pki.device_ca, revoked)

    def start():
        return kerberos_proxy(changes={**LIMITS, "directory.ldap.timeout_ms": 1000, "proxy.kerberos.timeout_ms": 1000},
                              redis=revocation_in_redis, env=faults.env)

    def renew():
        site.proxy.stop()
        site.proxy = start()
    site = Site(start(), faults, phone, pki, revoked)
    site.renew = renew
    site.names = lambda user: b"REMOTE_USER=%s@CORP.EXAMPLE" % user.encode()
    wait_until(site.serves, RECOVERY)
    sid = ad.sid("alice")

    def forget_and_ask():
        """Account and ticket are asked for anew: by LDAP, and S4U2Self and S4U2Proxy from the KDC."""
        since = site.proxy.mark()
        revocation_in_redis.event("account", sid=sid)
        try:
            site.proxy.wait_event("kerberos_forgot", 0.3, since)
        except AssertionError:
            pass                            # the fault met this
        site.attempt(site.alice, "alice")
        site.attempt(site.revoked, "alice")
    io = [p for p in IO if p[0] in ("read", "write", "watch", "make", "connect", "open")]
    tried = site.try_each(process, MEMORY, 6 * ROUNDS, forget_and_ask)
    tried += site.try_each(process, io, ROUNDS, forget_and_ask)
    assert tried >= (6 if faults.memory else 1), tried


# --- between the processes ---

@pytest.mark.parametrize("role", ["directory", "kerberos", "revocation"])
def test_54_a_wire_that_breaks_between_two_living_processes_is_made_anew(
        ad, pki, phone, kerberos_proxy, revocation_in_redis, role):
    proxy = kerberos_proxy(redis=revocation_in_redis)
    device = phone(proxy, pki.device_ca.device("alice@corp.example"))
    assert device.sync().status == 200
    worker, = inside.by_role(proxy)["worker"]
    other, = inside.by_role(proxy)[role]
    fd, = [fd for fd, pid in wires.peers(proxy, worker).items() if pid == other]
    wire = wires.take(worker, fd)
    wire.shutdown(socket.SHUT_RDWR)
    wire.close()
    proxy.wait_event("link_again", message=re.compile("worker 0 and %s 0" % role))
    sam = ad.account()
    new = pki.device_ca.device(sam + "@corp.example")
    assert phone(proxy, new, user=sam).sync().status == 200         # account and ticket: asked for over the new wires
    since = proxy.mark()
    revocation_in_redis.revoke(pki.device_ca, new)
    wait_until(lambda: phone(proxy, new, user=sam).sync().status == 403, RECOVERY)
    assert device.sync().status == 200
    assert not proxy.events("process_died", since)
