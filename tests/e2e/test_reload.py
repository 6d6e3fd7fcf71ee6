"""P53: SIGHUP. Live connections go on, the next request meets the new settings, a wrong configuration changes nothing."""
import copy
import os
import re
import threading

import pytest

from site_ import answers, inside, settings
from site_.process import wait_until


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


class Live:
    """Phones in the middle of their lives: some wait in a Ping, some keep a connection between two requests."""

    def __init__(self, phone, proxy, backend, identity, count=4):
        self.backend, self.hold = backend, answers.hold()
        backend.when("Ping", self.hold)
        self.devices = [phone(proxy, identity) for _ in range(count)]
        assert all(d.sync().status == 200 for d in self.devices)
        self.pings = [phone(proxy, identity).ping() for _ in range(count)]
        self.hold.wait_waiting(backend, count)

    def assert_not_one_dropped(self):
        lines = [d.line for d in self.devices]
        assert all(d.sync().status == 200 for d in self.devices)
        assert [d.line for d in self.devices] == lines, "a kept connection had to be made anew"
        assert all(p.waiting for p in self.pings)
        self.hold.release()
        assert all(p.wait().status == 200 for p in self.pings)


def reload_good(proxy, config):
    line = proxy.reload(config)
    assert line["event"] == "reloaded", line


@pytest.fixture
def started(start_proxy, configure, backend):
    """(proxy, its configuration as a dict of the test's own)"""
    def start(changes=None, **kw):
        config = configure(backend, changes)
        return start_proxy(config, **kw), copy.deepcopy(config)
    return start


@pytest.mark.quick
def test_53_a_new_server_certificate_is_shown_to_new_connections_and_the_others_live_on(started, phone, backend, pki, alice):
    proxy, config = started()
    live = Live(phone, proxy, backend, alice)
    host = config["proxy"]["hosts"][0]
    new = pki.server_ca.server("mail.example.com", "autodiscover.example.com")
    host["certificate"], host["key"] = new.write(os.path.dirname(host["key"]), "new")
    reload_good(proxy, config)
    with phone(proxy, alice).connect() as line:
        assert int(line.sock.getpeercert()["serialNumber"], 16) == new.serial
    live.assert_not_one_dropped()


def test_53_the_same_file_names_with_other_contents_are_read_again(started, phone, backend, pki, alice):
    proxy, config = started()
    live = Live(phone, proxy, backend, alice)
    new = pki.server_ca.server("mail.example.com")
    new.write(os.path.dirname(config["proxy"]["hosts"][0]["key"]), "mail")
    reload_good(proxy, None)
    with phone(proxy, alice).connect() as line:
        assert int(line.sock.getpeercert()["serialNumber"], 16) == new.serial
    live.assert_not_one_dropped()


def test_53_an_added_ca_lets_its_devices_in_and_a_removed_one_ends_theirs_and_no_others(started, phone, backend, pki, alice):
    proxy, config = started()
    live = Live(phone, proxy, backend, alice)
    other = pki.other_ca.device("bob@corp.example")
    assert phone(proxy, other, user="bob").refusal() in ("unknown ca", "decrypt error")
    tls = os.path.dirname(config["proxy"]["hosts"][0]["key"])
    before = copy.deepcopy(config)
    path = settings._write(tls, "other-ca.pem", pki.other_ca.pem)
    config["proxy"]["hosts"][0]["client_ca"].append(path)
    config["proxy"]["revocation"]["crls"].append(
        {"issuer_ca": path, "file": pki.other_ca.write_crl(os.path.join(tls, "other.crl"))})
    reload_good(proxy, config)
    guest = phone(proxy, other, user="bob")
    wait_until(lambda: guest.sync().status == 200, 10)
    held = phone(proxy, other, user="bob").ping()
    live.hold.wait_waiting(backend, 5)
    reload_good(proxy, before)
    assert held.wait(2) is None or held.outcome.status == 403
    assert proxy.wait_event("refused", reason="certificate-untrusted")["audit"] is True
    assert phone(proxy, other, user="bob").refusal() in ("unknown ca", "decrypt error")
    live.assert_not_one_dropped()


@pytest.mark.quick
def test_53_policy_limits_and_mail_server_count_for_the_next_request_of_a_live_connection(
        started, start_backend, phone, backend, pki, accounts, alice):
    proxy, config = started()
    live = Live(phone, proxy, backend, alice)
    device = phone(proxy, alice)
    assert device.post("Sync", b"b" * 5000).status == 200
    line = device.line
    elsewhere = start_backend(name="elsewhere")
    config["proxy"]["upstreams"][0]["servers"] = [elsewhere.url]
    reload_good(proxy, config)
    assert device.post("Sync", b"b" * 5000).status == 200 and device.line is line
    assert len(elsewhere.requests) == 1 and elsewhere.requests[0].get("X-EAS-User") == "alice"
    assert all(p.waiting for p in live.pings), "what waits at the old mail server waits on"

    config["proxy"]["limits"]["body_bytes"] = 4000
    reload_good(proxy, config)
    assert device.post("Sync", b"b" * 5000).status == 413
    config["proxy"]["policies"][0]["device_types"] = {"allow": ["Android"]}
    reload_good(proxy, config)
    assert device.sync().status == 403
    assert proxy.wait_event("refused", reason="device-type")
    del config["proxy"]["policies"][0]["device_types"]
    config["proxy"]["policies"][0]["required_group"] = "CN=Nobody,DC=corp,DC=example"
    reload_good(proxy, config)
    wait_until(lambda: phone(proxy, alice).sync().status == 403, 5)
    assert proxy.wait_event("refused", reason="not-in-group")


WRONG = {
    "a key that nobody knows": ({"proxy.limits.body_bites": 5}, r"easgate\.yaml:\d+: .*body_bites"),
    "a value out of range": ({"proxy.limits.head_bytes": 1}, r"easgate\.yaml:\d+: proxy\.limits\.head_bytes"),
    "a wrong type": ({"proxy.workers": "many"}, r"easgate\.yaml:\d+: .*workers"),
    "a policy that is not there": ({"proxy.hosts.0.policy": "other"}, r"easgate\.yaml:\d+: proxy\.hosts\[0\].*other"),
    "a file that is not there": ({"proxy.hosts.0.certificate": "/nowhere/mail.pem"}, r"/nowhere/mail\.pem"),
    "what cannot change": ({"proxy.workers": 2}, r"proxy\.workers"),
}


@pytest.mark.quick
@pytest.mark.parametrize("wrong", WRONG)
def test_53_a_wrong_configuration_keeps_the_old_one_and_is_named_by_file_line_and_key(started, phone, backend, alice, wrong):
    changes, pattern = WRONG[wrong]
    proxy, config = started()
    live = Live(phone, proxy, backend, alice, 2)
    since = proxy.mark()
    line = proxy.reload(settings.changed(config, changes))
    assert line["event"] == "reload_failed" and "old configuration stays" in line["message"], line
    said = [entry.get("message", "") for entry in proxy.log.lines[since:]]
    assert any(re.search(pattern, text) for text in said), said
    assert phone(proxy, alice).sync().status == 200
    reload_good(proxy, config)
    live.assert_not_one_dropped()


@pytest.mark.parametrize("content", [b"", b"no yaml: [", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
                         ids=["empty", "yaml", "pem"])
def test_53_a_broken_key_certificate_or_yaml_keeps_the_old_one(started, phone, backend, pki, alice, content):
    proxy, config = started()
    live = Live(phone, proxy, backend, alice, 2)
    if b"yaml" in content:
        assert proxy.reload(content.decode())["event"] == "reload_failed"
    else:
        path = config["proxy"]["hosts"][0]["certificate"]
        with open(path, "rb") as f:
            good = f.read()
        for name in ("certificate", "key"):
            target = config["proxy"]["hosts"][0][name]
            with open(target, "rb") as f:
                good = f.read()
            with open(target, "wb") as f:
                f.write(content)
            assert proxy.reload()["event"] == "reload_failed", name
            with open(target, "wb") as f:
                f.write(good)
    assert phone(proxy, alice).sync().status == 200
    live.assert_not_one_dropped()


class Load:
    """Phones that ask as fast as they are answered, each in a thread, until stop(): what was not 200 is kept."""

    def __init__(self, devices):
        self.count, self.faults, self._over = 0, [], False
        self._threads = [threading.Thread(target=self._run, args=(d,), daemon=True) for d in devices]
        for thread in self._threads:
            thread.start()

    def _run(self, device):
        while not self._over:
            try:
                response = device.sync()
                self.count += 1
                if response is None or response.status != 200:
                    self.faults.append(response and response.start)
            except (OSError, EOFError) as e:
                self.faults.append(repr(e))

    def stop(self):
        self._over = True
        for thread in self._threads:
            thread.join(20)


def test_53_no_request_fails_while_the_configuration_changes_under_load(started, start_backend, phone, backend, alice):
    proxy, config = started({"proxy.workers": 2})
    other = copy.deepcopy(config)
    other["proxy"]["upstreams"][0]["servers"] = [start_backend(name="other").url]
    other["directory"]["ttl_seconds"] = 61
    load = Load([phone(proxy, alice) for _ in range(6)])
    for number in range(12):
        reload_good(proxy, other if number % 2 == 0 else config)
    load.stop()
    assert load.faults == [] and load.count > 100, load.count
    assert not proxy.events("process_died")


def test_53_replaced_directory_and_kerberos_processes_lose_no_question(ad, pki, phone, kerberos_proxy):
    proxy = kerberos_proxy()
    names = ["load%02d" % n for n in range(1, 5)]
    devices = [phone(proxy, pki.device_ca.device(n + "@corp.example"), user=n) for n in names]
    before = inside.by_role(proxy)
    load = Load(devices)
    config = copy.deepcopy(proxy.config)
    for number in range(5):
        config["proxy"]["kerberos"]["timeout_ms"] = 2000 + number + 1
        reload_good(proxy, config)
        enough = load.count + 12
        wait_until(lambda: load.count >= enough or load.faults, 10)
    load.stop()
    assert load.faults == [], proxy.events("fault")
    wait_until(lambda: all(len(pids) == len(before[role]) for role, pids in inside.by_role(proxy).items()), 15)
    after = inside.by_role(proxy)
    assert after["worker"] == before["worker"]
    assert after["directory"] != before["directory"] and after["kerberos"] != before["kerberos"]
    assert not proxy.events("process_died")


@pytest.mark.slow
@pytest.mark.no_asan
def test_53_after_two_hundred_reloads_descriptors_and_memory_are_what_they_were(started, phone, backend, alice):
    proxy, config = started()
    device = phone(proxy, alice)

    def rounds(count):
        for number in range(count):
            config["proxy"]["limits"]["retry_after_seconds"] = 20 + number % 2
            reload_good(proxy, config)
            assert device.sync().status == 200
        wait_until(lambda: len(proxy.daemon.pids()) == 4, 20)

    def sizes():
        roles = inside.by_role(proxy)
        return {role: (len(inside.descriptors(pids[0])), inside.pss(pids[0])) for role, pids in roles.items()}
    rounds(20)
    before = sizes()
    rounds(200)
    after = sizes()
    for role in before:
        assert after[role][0] <= before[role][0] + 2, (role, before, after)
    for role in ("master", "worker"):
        assert after[role][1] < before[role][1] * 1.15 + 500, (role, before, after)
