"""What the proxies saw of a device last, as `easenroll device list` and `show` tell it: from the device's record in Redis, by the fingerprint of its certificate."""
import base64
import hashlib
import subprocess
import time

import pytest
from cryptography.hazmat.primitives import serialization

from site_ import settings
from site_.enrol import certificates, new_request
from site_.portal import browser, enroll, signed_in, start_enroll  # noqa: F401 (fixtures)
from site_.process import wait_until

NOW = int(time.time())


def at(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@pytest.fixture
def fleet(start_enroll, browser, redis_server, place):
    """An easenroll on the Redis; alice's devices by name: the first two with a certificate and a record, then one with a certificate alone, then one without."""
    redis = {k: v for k, v in settings.redis(redis_server, place).items() if k == "redis"}
    enroll = start_enroll({**redis, "enroll.portal.devices_per_user": 10})
    devices = {}
    for n, (name, method) in enumerate((("synced", "certificate"), ("long ago", "password"), ("never", None), ("new", None))):
        device = enroll.command("device", "add", "--account", "alice", "--kind", "other", name)["device"]["id"]
        devices[name] = device
        if name == "new":
            continue
        secret = enroll.command("secret", "add", "--account", "alice", "--device", device, "--purpose", "est")["secret"]
        csr, _ = new_request()
        basic = base64.b64encode(("alice:" + secret).encode()).decode()
        answer = browser(enroll).request("POST", "/.well-known/est/simpleenroll", csr, [("Content-Type", "application/pkcs10"), ("Authorization", "Basic " + basic)])
        assert answer.status == 200, answer.body
        key = hashlib.sha256(certificates(answer.body)[0].public_bytes(serialization.Encoding.DER)).hexdigest()
        if method:
            redis_server.client.hset("easgate:device:" + key, mapping={"last_seen": NOW - n * 86400, "last_method": method, "last_command": "Sync", "device": "Eas%d" % n,
                                                                       "state": "registered", "sid": "S-1-5-21-9-9-9-9", "upn": "somebody@else.example"})
    return enroll, devices


def table(text):
    """name -> {title: cell} of a table; cells begin where their titles do."""
    lines = text.splitlines()
    titles = ["ID", "OWNER", "NAME", "KIND", "STATE", "CREATED", "LAST SYNC", "METHOD"]
    starts = [lines[0].index(title) for title in titles] + [None]
    rows = [{title: line[starts[i]:starts[i + 1]].strip() for i, title in enumerate(titles)} for line in lines[1:]]
    return {row["NAME"]: row for row in rows}


def text_of(enroll, *words):
    return subprocess.run([enroll.program, "-c", enroll.path, *words], capture_output=True, text=True, timeout=20, check=True).stdout


def test_list_and_show_tell_when_and_how_a_device_synced_last(fleet, redis_server):
    enroll, devices = fleet
    wait_until(lambda: enroll.command("device", "show", devices["synced"])["device"].get("last_sync"), 5)       # Redis is there
    wanted = {"synced": (at(NOW), "certificate", "Eas0"), "long ago": (at(NOW - 86400), "password", "Eas1"), "never": (None, None, None), "new": (None, None, None)}
    listed = {d["name"]: d for d in enroll.command("device", "list")["devices"]}
    rows = table(text_of(enroll, "device", "list"))
    for name, (sync, method, eas) in wanted.items():
        shown = enroll.command("device", "show", devices[name])["device"]
        for answer in listed[name], shown:
            assert (answer.get("last_sync"), answer.get("last_method"), answer.get("eas_device_id") or None) == (sync, method, eas), (name, answer)
            assert answer["owner"]["name"] == "alice", "whose it is the registry knows, whatever a record says"
        assert (rows[name]["LAST SYNC"], rows[name]["METHOD"]) == (sync or "", method or ""), rows[name]
        facts = dict(line.split(None, 1) for line in text_of(enroll, "device", "show", devices[name]).splitlines() if len(line.split(None, 1)) == 2)
        assert facts.get("last_sync", "").strip() == (sync or "") and facts.get("last_method", "").strip() == (method or "")
    redis_server.stop()
    assert {d["name"] for d in enroll.command("device", "list")["devices"]} == set(devices), "without Redis they are told without"
    assert table(text_of(enroll, "device", "list"))["synced"]["LAST SYNC"] == ""
