"""A registry that is damaged or held by somebody else: said with its file and the cure, waited for once, and what needs no change is served on."""
import os
import sqlite3
import time

import pytest

from site_ import enrol
from site_.accounts import USERS
from site_.process import wait_until

pytestmark = pytest.mark.no_asan        # SQLite's answers are the same


@pytest.fixture
def config(place, pki, accounts):
    accounts.change("alice", display_name="Alice Example", password=enrol.hashed(enrol.PASSWORD), groups=[USERS])
    user = "nobody" if os.getuid() == 0 else None
    return enrol.configuration(os.path.join(place, "enrol"), pki.root.server("enroll.example.com"), accounts, user)


@pytest.fixture
def enroll(config, place, made):
    enroll = enrol.Enroll(config, place)
    enroll.close = enroll.stop
    made(enroll)
    wait_until(lambda: enrol.curl("http://%s/readyz" % enroll.admin).status == 200, 10)
    return enroll


def secret_of(enroll, name):
    device = enroll.ask("device", "add", "--account", "alice", "--kind", "other", name)["device"]["id"]
    return enroll.ask("secret", "add", "--account", "alice", "--device", device, "--purpose", "est")["secret"]


def test_a_registry_that_somebody_holds_is_waited_for_once_and_the_rest_is_served(enroll, config, place):
    certificate = enrol.est_enroll(enroll, "alice", secret_of(enroll, "one"))[1]
    secret = secret_of(enroll, "two")
    path = config["state_dir"] + "/enroll/registry.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    try:
        assert enrol.est_enroll(enroll, "alice", secret)[0].status == 503
        told = enroll.wait_event("registry_failed", 5)["message"]
        assert path in told and "locked" in told and "fuser" in told
        began = time.monotonic()
        for _ in range(5):
            assert enrol.est_enroll(enroll, "alice", secret)[0].status == 503
        assert time.monotonic() - began < 20, "five seconds each were 25"
        assert enrol.ocsp_status(enroll, certificate, place)[0] == "good"
        assert enrol.crl(enroll) is not None
        assert not enroll.events("process_died")
    finally:
        db.execute("ROLLBACK")
        db.close()
    assert enrol.est_enroll(enroll, "alice", secret)[0].status == 200, "the secret that bought nothing is good still"
    assert "whole" in enroll.run("audit", "verify")


def overwrite(path):
    """Each page but the first one, so that it is a database still."""
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        f.seek(4096)
        f.write(b"\xa5" * (size - 4096))


def truncate(path):
    os.truncate(path, os.path.getsize(path) // 2 // 4096 * 4096)


def replace(path):
    with open(path, "wb") as f:
        f.write(b"this is no database\n" * 1000)


@pytest.mark.parametrize("damage", [overwrite, truncate, replace])
def test_a_damaged_registry_is_said_with_its_file_and_the_cure_and_a_copy_in_its_place_serves(enroll, config, place, made, damage):
    certificate = enrol.est_enroll(enroll, "alice", secret_of(enroll, "one"))[1]
    enroll.stop()
    path = config["state_dir"] + "/enroll/registry.db"
    with open(path, "rb") as f:
        copy = f.read()
    damage(path)
    for name in (path + "-wal", path + "-shm"):
        if os.path.exists(name):
            os.unlink(name)
    broken = enrol.Enroll(config, place, wait=False)
    broken.close = broken.kill
    made(broken)
    told = broken.log.wait(lambda line: isinstance(line, dict) and line.get("event") in ("registry_unusable", "registry_failed"), 10)["message"]
    assert path in told and "damaged" in told and "copy" in told, told
    done = broken.run("audit", "verify", check=False)
    assert done.returncode == 1 and b"damaged" in done.stderr
    broken.kill()
    with open(path, "r+b") as f:        # the same file: owner and mode stay
        f.truncate(0)
        f.write(copy)
    again = enrol.Enroll(config, place)
    again.close = again.stop
    made(again)
    wait_until(lambda: enrol.curl("http://%s/readyz" % again.admin).status == 200, 10)
    assert enrol.ocsp_status(again, certificate, place)[0] == "good"
    assert "whole" in again.run("audit", "verify")
