"""What is known of a device decides: pins, quarantine, the limit; with a certificate or a password, by Redis or on one machine (issue 4)."""
import subprocess

import pytest

from site_ import answers, settings
from site_.enrol import hashed
from site_.proxy import binary
from site_.process import wait_until
from test_passwords import GOOD, basic

PASSWORDS = {"proxy.policies.0.methods": [{"certificate": "allowed", "password": "allowed"}], "proxy.upstreams.0.credential": "passthrough"}


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


@pytest.fixture(params=["redis", "table"])
def node(request, configure, backend, place):
    """node(changes, name): a configuration whose devices are kept in Redis, or in the table."""
    store = request.getfixturevalue("redis_server") if request.param == "redis" else None
    shared = {**settings.redis(store, place), "proxy.revocation.redis": False} if store else {}

    def build(changes=None, node="node"):
        return configure(backend, {**shared, "proxy.policies.0.device": "pin", **(changes or {})}, node=node)
    build.store = store
    return build


def known(proxy, *words):
    """The lines of `easproxy device list`, as lists of fields."""
    out = subprocess.run([binary(), "-c", proxy.path, "device", "list", *words], capture_output=True, text=True, timeout=30)
    assert out.returncode == 0, out.stderr
    return [line.split("\t") for line in out.stdout.splitlines()]


def act(proxy, *words):
    return subprocess.run([binary(), "-c", proxy.path, "device", *words], capture_output=True, text=True, timeout=30)


@pytest.mark.quick
def test_a_new_device_waits_until_an_administrator_lets_it_in(start_proxy, node, phone, backend, alice):
    proxy = start_proxy(node({"proxy.policies.0.quarantine": "new"}))
    device = phone(proxy, alice)
    for _ in range(2):
        assert device.sync().status == 403
    line = proxy.wait_event("refused", reason="device-quarantined")
    assert line["audit"] is True and line["user"] == "alice" and "release" in line["cure"]
    (key, state, user, device_id, kind, method, first, last, *_), = known(proxy, "waiting")
    assert (key, state, user, method) == (alice.sha256, "quarantined", "alice@corp.example", "certificate")
    assert device_id and kind and first.startswith("20") and last.startswith("20")
    assert backend.received() == b""
    assert act(proxy, "release", key).returncode == 0
    wait_until(lambda: device.sync().status == 200, 1.5, 0.1)
    assert known(proxy, "waiting") == []
    assert [row[1] for row in known(proxy)] == ["registered"]
    other = phone(proxy, alice)
    other.device_id = "AnotherOne"
    assert other.sync().status == 403, "what was let in is one device"


@pytest.mark.quick
def test_a_blocked_certificate_is_kept_out_of_further_paths_too(start_proxy, node, phone, backend, alice):
    proxy = start_proxy(node({"proxy.paths": ["/EWS/Exchange.asmx"]}))
    device = phone(proxy, alice)

    def ews():
        with device.connect() as line:
            return line.request("POST", "/EWS/Exchange.asmx").status
    assert ews() == 200, "nothing is known of it, and nothing speaks against it"
    assert known(proxy) == [], "a request that names no device binds none"
    assert device.sync().status == 200 and ews() == 200
    assert act(proxy, "block", alice.sha256).returncode == 0
    wait_until(lambda: ews() == 403, 2, 0.1)
    assert proxy.wait_event("refused", reason="device-blocked", command="-")["certificate"] == alice.sha256
    assert act(proxy, "release", alice.sha256).returncode == 0
    wait_until(lambda: ews() == 200, 2, 0.1)


@pytest.mark.quick
def test_further_paths_are_open_to_certificates_that_were_let_in_alone_where_that_is_demanded(start_proxy, node, phone, backend, alice, pki):
    """With quarantine one that comes there first waits there, and gets its device when it is let in; with registered it is refused."""
    proxy = start_proxy(node({"proxy.paths": ["/EWS/Exchange.asmx"], "proxy.policies.0.quarantine": "new"}))
    device = phone(proxy, alice)

    def ews(device):
        with device.connect() as line:
            return line.request("POST", "/EWS/Exchange.asmx").status
    assert ews(device) == 403 and backend.received() == b""
    assert proxy.wait_event("refused", reason="device-quarantined", command="-")["certificate"] == alice.sha256
    assert [row[:3] for row in known(proxy, "waiting")] == [[alice.sha256, "quarantined", "alice@corp.example"]]
    assert device.sync().status == 403, "it is the same certificate"
    assert act(proxy, "release", alice.sha256).returncode == 0
    wait_until(lambda: ews(device) == 200, 2, 0.1)
    other = phone(proxy, alice)
    other.device_id = "AnotherOne"
    assert other.sync().status == 200 and device.sync().status == 403 and ews(device) == 200, "the first that names itself is its device"
    config = node({"proxy.paths": ["/EWS/Exchange.asmx"], "proxy.policies.0.device": "registered"}, node="registered")
    proxy = start_proxy(config)
    assert ews(phone(proxy, pki.device_ca.device("bob@corp.example"))) == 403
    assert proxy.wait_event("refused", reason="device-unregistered", command="-")
    assert ews(phone(proxy, alice)) == (200 if node.store else 403), "the fleet knows that it was let in"


@pytest.mark.quick
def test_a_blocked_devices_ping_ends_and_a_forgotten_pin_is_free(start_proxy, node, phone, backend, alice):
    proxy = start_proxy(node())
    hold = backend.when("Ping", answers.hold())
    device, other = phone(proxy, alice), phone(proxy, alice)
    other.device_id = "AnotherOne"
    assert device.sync().status == 200 and other.sync().status == 403
    ping = device.ping()
    hold.wait_waiting(backend, 1)
    assert act(proxy, "block", alice.sha256).returncode == 0
    outcome = ping.wait(8)
    assert outcome is not None and outcome.status in (403, 503)
    wait_until(lambda: device.sync().status == 403, 2, 0.1)
    assert proxy.wait_event("refused", reason="device-blocked")
    assert act(proxy, "forget", alice.sha256).returncode == 0
    wait_until(lambda: other.sync().status == 200, 2, 0.1)
    assert device.sync().status == 403
    missing = act(proxy, "release", "0" * 64)
    assert missing.returncode == 1 and "no such device" in missing.stderr
    assert act(proxy, "release").returncode == 2
    hold.release()


@pytest.mark.quick
def test_pin_log_lets_another_device_in_and_says_so_and_off_says_nothing(start_proxy, node, phone, alice):
    for pin, said in (("log", True), ("off", False)):
        proxy = start_proxy(node({"proxy.policies.0.pin": pin}, node=pin))
        assert phone(proxy, alice).sync().status == 200
        other = phone(proxy, alice)
        other.device_id = "AnotherOne"
        assert other.sync().status == 200
        if said:
            assert proxy.wait_event("would_refuse", reason="other-device")["audit"] is True
        assert bool(proxy.events("would_refuse")) == said
        if node.store:
            node.store.flush()


@pytest.mark.quick
def test_an_account_has_no_more_devices_than_it_may_by_certificate_and_password_alike(start_proxy, node, phone, alice, pki, accounts):
    accounts.change("alice", password=hashed(GOOD))
    proxy = start_proxy(node({**PASSWORDS, "proxy.policies.0.devices_per_user": 2}))
    assert phone(proxy, alice).sync().status == 200
    mail = phone(proxy, user="alice")
    mail.device_id = "ByPassword"
    assert mail.sync(headers=basic("alice")).status == 200
    wait_until(lambda: len(known(proxy)) == 2, 5, 0.1)
    assert sorted(row[5] for row in known(proxy)) == ["certificate", "password"]
    second = phone(proxy, pki.device_ca.device("alice@corp.example"))
    assert second.sync().status == 403
    assert proxy.wait_event("refused", reason="device-limit")["detail"]
    assert phone(proxy, pki.device_ca.device("bob@corp.example"), user="bob").sync().status == 200
    by_password = next(row[0] for row in known(proxy) if row[5] == "password")
    assert act(proxy, "block", by_password).returncode == 0
    wait_until(lambda: second.sync().status == 200, 2, 0.1)
    wait_until(lambda: mail.sync(headers=basic("alice")).status == 403, 2, 0.1)


@pytest.mark.quick
def test_whoever_only_knows_a_name_is_not_noted_and_whoever_has_the_password_is_judged_at_once(start_proxy, node, phone, backend, accounts):
    accounts.change("alice", password=hashed(GOOD))
    proxy = start_proxy(node({**PASSWORDS, "proxy.policies.0.devices_per_user": 1}))
    for number in range(3):
        guesser = phone(proxy, user="alice")
        guesser.device_id = "Guess%d" % number
        assert guesser.sync(headers=basic("alice", "guess")).status == 401
    assert known(proxy) == [] and backend.received() == b""
    owner = phone(proxy, user="alice")
    assert owner.sync(headers=basic("alice")).status == 200
    wait_until(lambda: [row[5] for row in known(proxy)] == ["password"], 5, 0.1)
    other = phone(proxy, user="alice")
    other.device_id = "Another"
    assert other.sync(headers=basic("alice")).status == 403
    assert proxy.wait_event("refused", reason="device-limit")["method"] == "password"
    assert len(known(proxy)) == 1


@pytest.mark.quick
def test_a_forged_record_is_not_let_in_by_an_administrator_and_figures_are_kept(
        start_proxy, configure, backend, redis_server, place, phone, alice):
    proxy = start_proxy(configure(backend, {**settings.redis(redis_server, place), "proxy.revocation.redis": False,
                                            "proxy.policies.0.device": "pin", "proxy.policies.0.quarantine": "new"}))
    redis = redis_server.client
    redis.hset("easgate:device:" + alice.sha256, mapping={"sid": "S-1-5-21-1-2-3-1104", "device": "x\x1b[2J", "state": "quarantined", "mac": "0" * 64})
    redis.zadd("easgate:quarantine", {alice.sha256: 1, "not a key": 2, "e" * 64: 3})
    redis.set("easgate:device:" + "e" * 64, "of another type")
    assert phone(proxy, alice).sync().status == 403
    (row,) = known(proxy, "waiting")
    assert row[0] == alice.sha256 and row[3] == "?", "no terminal obeys it"
    refused = act(proxy, "release", alice.sha256)
    assert refused.returncode == 1 and "not the fleet's" in refused.stderr
    assert redis.hget("easgate:device:" + alice.sha256, "state") in ("quarantined", b"quarantined")
    assert act(proxy, "forget", alice.sha256).returncode == 0
    wait_until(lambda: phone(proxy, alice).sync().status == 403 and redis.hget("easgate:device:" + alice.sha256, "upn"), 3, 0.1)
    assert act(proxy, "release", alice.sha256).returncode == 0
    wait_until(lambda: phone(proxy, alice).sync().status == 200, 2, 0.1)
    wait_until(lambda: [k for k in redis.keys("easgate:daily:*") if len(k) == len("easgate:daily:20261129")], 8, 0.2)
    day = next(k for k in redis.keys("easgate:daily:*") if len(k) == len("easgate:daily:20261129"))
    wait_until(lambda: int(redis.hget(day, "requests_certificate") or 0) >= 1, 8, 0.2)
    assert redis.pfcount((day if isinstance(day, str) else day.decode()) + ":certificate") == 1 and redis.ttl(day) > 86400 * 300
