"""Notifications of a device manager: a device that it gave up loses its certificates here; whoever has no secret, or means no device of ours, changes nothing."""
import contextlib
import json
import os
import sqlite3

import pytest

from site_ import enrol
from site_.accounts import USERS
from site_.process import wait_until

SECRET = "ws1:a secret of the device manager"


@pytest.fixture
def people(accounts):
    for name in ("alice", "bob"):
        (accounts.change if name == "alice" else accounts.add)(name, display_name=name.title(), password=enrol.hashed(enrol.PASSWORD), groups=[USERS])
    return accounts


@pytest.fixture
def start_enroll(made, place, pki, people):
    def start(action="revoke", lockout=None, **changes):
        path = os.path.join(place, "mdm.secret")
        with open(path, "w") as f:
            f.write(SECRET + "\n")
        os.chmod(path, 0o600)
        user = "nobody" if os.getuid() == 0 else None
        config = enrol.configuration(os.path.join(place, "enrol"), pki.root.server("enroll.example.com"), people, user,
                                     mdm={"enabled": True, "secret_file": path, "action": action}, **changes)
        config["lockout"] = lockout or {}
        enroll = enrol.Enroll(config, place)
        enroll.close = enroll.stop
        made(enroll)
        wait_until(lambda: enrol.curl("http://%s/readyz" % enroll.admin).status == 200, 5)
        return enroll
    return start


def add(enroll, account="alice", name="a phone", serial_number="", udid=""):
    """A device, with what the over-the-air service or an administrator's tool has learnt of its hardware."""
    device = enroll.ask("device", "add", "--account", account, "--kind", "iphone", name)["device"]["id"]
    with contextlib.closing(sqlite3.connect("%s/enroll/registry.db" % enroll.directory, timeout=10)) as db, db:
        db.execute("UPDATE devices SET serial_number=?, udid=? WHERE id=?", (serial_number, udid, device))
    return device


def device_of(enroll, account="alice", *more, **known):
    """A device with a live certificate: (its id, the certificate)."""
    device = add(enroll, account, *more, **known)
    secret = enroll.ask("secret", "add", "--account", account, "--device", device, "--purpose", "est")["secret"]
    answer, certificate, _ = enrol.est_enroll(enroll, account, secret)
    assert answer.status == 200
    return device, certificate


def state(enroll, device):
    return enroll.ask("device", "show", device)["device"]["certificates"][0]["state"]


def tell(enroll, vendor, body, secret=SECRET, kind="application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return enrol.curl("https://%s/mdm/%s" % (enroll.tls, vendor), *(["-u", secret] if secret else []), "-H", "Content-Type: " + kind, data=data)


def workspace_one(**fields):
    return dict({"EventId": 39, "EventType": "MDM Enrollment Complete", "DeviceId": 7, "DeviceFriendlyName": "alice iPhone",
                 "EnrollmentUserName": "alice", "EventTime": "2026-11-29T10:00:00Z", "EnrollmentStatus": "Enrolled",
                 "CompromisedStatus": "Not Compromised", "Udid": "System.Byte[]", "SerialNumber": ""}, **fields)


def jamf(event, **fields):
    return {"webhook": {"id": 1, "name": "easgate", "webhookEvent": event, "eventTimestamp": 1795400000000},
            "event": dict({"udid": "", "deviceName": "an iPad", "serialNumber": "", "username": "alice", "jssID": 3}, **fields)}


def actions(enroll):
    return [(entry["actor"], entry["action"], entry["detail"]) for entry in enroll.ask("audit", "list")["entries"]]


def test_a_device_that_the_manager_gave_up_loses_its_certificate_in_either_vendor_s_words(start_enroll, place):
    enroll = start_enroll()
    (one, first), (two, second), (three, third), (kept, fourth) = (
        device_of(enroll, serial_number="F2LONE"), device_of(enroll, udid="00008110-CA44"), device_of(enroll, name="alice iPhone"),
        device_of(enroll, "bob", name="alice iPhone", serial_number="F2LKEPT"))
    # of no concern
    assert tell(enroll, "workspace-one", workspace_one(SerialNumber="F2LONE")).json() == {"result": "ignored"}
    assert tell(enroll, "jamf", jamf("MobileDeviceCheckIn", serialNumber="F2LONE")).json() == {"result": "ignored"}
    assert state(enroll, one) == "live"
    # found by serial number, by UDID in XML, by owner and name
    assert tell(enroll, "workspace-one", workspace_one(SerialNumber="f2lone", EnrollmentStatus="Unenrolled")).json() == {"result": "revoked"}
    body = b"<JSSEvent><webhook><webhookEvent>MobileDeviceUnEnrolled</webhookEvent></webhook><event><udid>00008110-ca44</udid></event></JSSEvent>"
    assert tell(enroll, "jamf", body, kind="text/xml").json() == {"result": "revoked"}
    assert tell(enroll, "workspace-one", workspace_one(CompromisedStatus="Compromised")).json() == {"result": "revoked"}
    for device, certificate in ((one, first), (two, second), (three, third)):
        assert state(enroll, device) in ("revoked", "revoking")
        assert enrol.ocsp_status(enroll, certificate, place)[0] == "revoked"
    assert enrol.ocsp_status(enroll, fourth, place)[0] == "good"
    # told again, and of nobody's: nothing happens
    for event in (workspace_one(SerialNumber="F2LONE", EnrollmentStatus="Unenrolled", EnrollmentUserName=""),
                  workspace_one(SerialNumber="F2LOTHER", EnrollmentStatus="Unenrolled", EnrollmentUserName="nobody")):
        assert tell(enroll, "workspace-one", event).json() == {"result": "unknown"}
    told = actions(enroll)
    assert ("mdm workspace-one", "device-revoked", "unenrolled") in told and ("mdm jamf", "device-revoked", "unenrolled") in told
    assert ("mdm workspace-one", "device-revoked", "compromised") in told
    assert sum(action == "mdm_ignored" for _, action, _ in told) == 2
    assert enroll.run("audit", "verify")


def test_on_hold_instead_if_so_configured_and_two_devices_of_one_name_are_left_alone(start_enroll):
    enroll = start_enroll(action="hold")
    (one, _), (two, _), (three, _) = (device_of(enroll, serial_number="F2LONE"), device_of(enroll, name="twin"), device_of(enroll, name="twin"))
    assert tell(enroll, "jamf", jamf("MobileDeviceUnEnrolled", deviceName="twin")).json() == {"result": "unknown"}
    assert (state(enroll, two), state(enroll, three)) == ("live", "live")
    assert tell(enroll, "jamf", jamf("MobileDeviceUnEnrolled", serialNumber="F2LONE")).json() == {"result": "held"}
    # a manager says it in every event about such a device: that stops nobody else's
    compromised = workspace_one(SerialNumber="F2LONE", CompromisedStatus="Compromised")
    assert [tell(enroll, "workspace-one", compromised).json() for _ in range(12)] == [{"result": "held"}] * 12
    assert state(enroll, one) == "hold" and not enroll.events("mdm_stopped")
    enroll.run("device", "release", one)
    assert state(enroll, one) == "live"


def test_e48_who_has_no_secret_or_sends_no_notification_changes_nothing_and_leaves_a_line(start_enroll):
    enroll = start_enroll(lockout={"address_attempts": 6})
    device, _ = device_of(enroll, serial_number="F2LONE")
    event = workspace_one(SerialNumber="F2LONE", EnrollmentStatus="Unenrolled")
    hostile = b'<!DOCTYPE Eventlog [<!ENTITY a SYSTEM "file:///etc/passwd">]><Eventlog><EventType>&a;</EventType></Eventlog>'
    for body, kind in ((b"{", "application/json"), (json.dumps(event).encode() + b"}", "application/json"), (hostile, "application/xml"),
                       (json.dumps(event).encode(), "text/plain"), (b"[" * 70000, "application/json")):
        assert tell(enroll, "workspace-one", body, kind=kind).status in (400, 413), body[:40]
    # who asks first what is wanted, as many HTTP clients do each time, has tried nothing
    for _ in range(8):
        asked = tell(enroll, "workspace-one", event, None)
        assert asked.status == 401 and asked.get("WWW-Authenticate").startswith("Basic ")
    for secret in ("ws1:wrong", "ws1:", "other:" + SECRET.partition(":")[2], SECRET[:-1], SECRET + "x", ":"):
        assert tell(enroll, "workspace-one", event, secret).status == 401, secret
    # and from then on nobody there is listened to, the right secret included
    limited = tell(enroll, "workspace-one", event)
    assert limited.status == 429 and int(limited.get("Retry-After")) > 0
    assert enrol.curl("http://%s/mdm/workspace-one" % enroll.plain, "-X", "POST").status == 404
    assert state(enroll, device) == "live"
    told = actions(enroll)
    assert sum(action == "mdm_refused" for _, action, _ in told) >= 10
    enroll.assert_never(SECRET.partition(":")[2])
    assert SECRET.partition(":")[2] not in json.dumps(told)


def test_a_manager_that_gives_up_everybody_is_stopped(start_enroll):
    enroll = start_enroll(portal={"devices_per_user": 20})
    devices = [add(enroll, name="phone %d" % i, serial_number="F2L%d" % i) for i in range(12)]
    answers = [tell(enroll, "workspace-one", workspace_one(SerialNumber="F2L%d" % i, EnrollmentStatus="Unenrolled")).status for i in range(12)]
    assert answers == [200] * 10 + [429] * 2
    enroll.wait_event("mdm_stopped")
    states = [enroll.ask("device", "show", device)["device"]["state"] for device in devices]
    assert states == ["revoked"] * 10 + ["active"] * 2
