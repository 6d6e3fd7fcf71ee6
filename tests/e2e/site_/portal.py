"""Fixtures of the portal's tests: an easenroll with people in it, and their browsers."""
import os
import subprocess
import tempfile

import pytest

from .accounts import USERS
from .enroll import ADMINS, Enroll, configuration

PASSWORD = "Correct-1 battery"
HASH = subprocess.run(["openssl", "passwd", "-6", "-salt", "easgatetests", PASSWORD], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def start_enroll(place, pki, accounts, made):
    """start_enroll(changes, ad): an easenroll that is ready; people of the file have PASSWORD, root is an administrator."""
    def start(changes=None, ad=None, **kw):
        directory = tempfile.mkdtemp(prefix="enroll-", dir=place)
        os.chmod(directory, 0o755)
        config = configuration(directory, pki, accounts, ad, "nobody" if os.getuid() == 0 else None, changes)
        enroll = Enroll(config, directory, netns=ad.netns if ad else None, **kw)
        enroll.close = enroll.stop
        return made(enroll)
    for sam in ("alice", "bob", "mallory"):
        accounts.change(sam, password=HASH)
    accounts.add("root", password=HASH, groups=[USERS, ADMINS])
    return start


@pytest.fixture
def enroll(start_enroll):
    return start_enroll()


@pytest.fixture
def browser(pki):
    return lambda enroll: enroll.browser(pki.server_ca.pem)


@pytest.fixture
def signed_in(enroll, browser):
    """signed_in(name): a browser of the common easenroll with a session."""
    def start(name="alice", where=None):
        b = browser(where or enroll)
        answer = b.sign_in(name, PASSWORD)
        assert answer.status == 200, answer.body
        return b
    return start


def add(b, name="Phone", kind="android"):
    answer = b.post("/api/devices", {"name": name, "kind": kind})
    assert answer.status == 201, answer.body
    return answer.json["device"]
