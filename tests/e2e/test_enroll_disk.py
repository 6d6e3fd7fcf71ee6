"""The registry's disk has no room: what must be written is refused with 503 and said in the log, what is there is served, and nothing of it is lost."""
import os
import shutil
import subprocess

import pytest

from site_ import enrol
from site_.accounts import USERS
from site_.process import wait_until

pytestmark = pytest.mark.no_asan        # SQLite's and the disk's answers are the same

KILOBYTES = 3072
SPARE = 16              # enrolments that may still find room in a log that was begun anew


@pytest.fixture
def people(accounts):
    accounts.change("alice", display_name="Alice Example", password=enrol.hashed(enrol.PASSWORD), groups=[USERS])
    return accounts


@pytest.fixture
def small(place):
    """A disk of its own for the registry."""
    path = os.path.join(place, "small")
    os.makedirs(path)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dk,mode=755" % KILOBYTES, "tmpfs", path], capture_output=True)
    if done.returncode != 0:
        pytest.skip("no tmpfs may be mounted here: %s" % done.stderr.decode().strip())
    if os.getuid() == 0:
        shutil.chown(path, "nobody", "nogroup")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def enroll(made, place, pki, people, small):
    user = "nobody" if os.getuid() == 0 else None
    config = enrol.configuration(os.path.join(place, "enrol"), pki.root.server("enroll.example.com"), people, user,
                                 registry=os.path.join(small, "registry.db"))
    config["enroll"].setdefault("portal", {})["devices_per_user"] = 2 * SPARE
    enroll = enrol.Enroll(config, place)
    enroll.close = enroll.stop
    wait_until(lambda: enrol.curl("http://%s/readyz" % enroll.admin).status == 200, 10)
    return made(enroll)


def secret_of(enroll, name):
    device = enroll.ask("device", "add", "--account", "alice", "--kind", "other", name)["device"]["id"]
    return enroll.ask("secret", "add", "--account", "alice", "--device", device, "--purpose", "est")["secret"]


def fill(path):
    """Takes all that is left, to the last byte."""
    with open(path, "wb", buffering=0) as f:
        step = 65536
        while step:
            try:
                f.write(bytes(step))
            except OSError:
                step //= 2


def test_a_full_disk_is_told_costs_nothing_that_was_given_out_and_is_over_when_there_is_room(enroll, place, small):
    before = enrol.est_enroll(enroll, "alice", secret_of(enroll, "before"))[1]
    secrets = [secret_of(enroll, "more %d" % i) for i in range(SPARE)]      # changes are gathered by now
    given = [before]
    full = os.path.join(small, "full")
    fill(full)
    refused = cut = 0
    while refused < 4:
        try:
            answer, certificate, _ = enrol.est_enroll(enroll, "alice", secrets[-1])
        except (AssertionError, subprocess.SubprocessError, IndexError, ValueError):
            cut += 1                    # the first may find its connection cut: the changes that it came with were lost together
            assert cut <= 2
            continue
        if answer.status == 200 and refused == 0:
            given.append(certificate)   # the log was moved into the file while nobody asked: what fits into its old length needs no room
            secrets.pop()
            continue
        assert answer.status == 503 and certificate is None
        refused += 1
    told = enroll.wait_event("registry_failed", 5)["message"]
    assert "look for room" in told and ("full" in told or "I/O" in told)
    assert len(enroll.events("process_died")) <= 1, "a disk that stays full does not end one worker after the other"
    assert enrol.ocsp_status(enroll, before, place)[0] == "good"
    assert enrol.crl(enroll) is not None
    os.unlink(full)
    answer, after, _ = enrol.est_enroll(enroll, "alice", secrets[-1])
    assert answer.status == 200, "the secret that bought nothing is good still"
    for certificate in (*given, after):
        assert enrol.ocsp_status(enroll, certificate, place)[0] == "good"
    assert "whole" in enroll.run("audit", "verify")
