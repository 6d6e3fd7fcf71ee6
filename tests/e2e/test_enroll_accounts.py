"""Who is taken out of the directory loses the certificates: disabled, deleted, out of the group; and a directory that errs takes them from nobody."""
import pathlib

import pytest

from site_.accounts import USERS
from site_.enrolling import Site, run
from site_.process import wait_until


@pytest.fixture
def site(place):
    site = Site(pathlib.Path(place), over_the_air=False)
    try:
        yield site
    finally:
        site.stop()


def enrolled(site):
    """The serial (lower-case hex) of a certificate that a device of alice's got."""
    site.sign_in()
    _, path, password = site.link("android", with_password=True)
    (site.place / "alice.p12").write_bytes(site.ask("GET", path)[2])
    leaf = run("openssl", "pkcs12", "-in", site.place / "alice.p12", "-passin", "pass:" + password, "-clcerts", "-nokeys")
    return run("openssl", "x509", "-noout", "-serial", data=leaf).decode().strip().partition("=")[2].lower()


def revoked(site):
    """Serials on the newest list."""
    folder = site.place / "state" / "crl"
    found = set()
    for path in folder.glob("*.crl"):
        if ".delta." not in path.name:
            text = run("openssl", "crl", "-inform", "DER", "-in", path, "-noout", "-text").decode()
            found |= {line.split(":")[1].strip().lower() for line in text.splitlines() if "Serial Number:" in line}
    return found


@pytest.mark.parametrize("change, why", [
    ({"enabled": False}, "the account was disabled"),
    ({"groups": []}, "the account is no longer in the required group"),
    (None, "the account is no longer in the directory"),
], ids=["disabled", "out-of-group", "deleted"])
def test_an_account_that_is_taken_away_loses_its_certificates_within_a_minute(site, change, why):
    serial = enrolled(site)
    site.accounts.add("bob")                # an empty directory would be another thing
    assert serial not in revoked(site)
    since = site.program.mark()
    if change is None:
        site.accounts.remove("alice")
    else:
        site.accounts.change("alice", **change)
    line = site.program.wait_event("account_fell", 60, since)
    assert why in line["message"] and ": 1 certificates" in line["message"]
    wait_until(lambda: serial in revoked(site), 10)


def test_who_leaves_the_group_of_a_profile_loses_the_certificates_of_that_profile(place):
    phones = "CN=Phones,DC=corp,DC=example"
    site = Site(pathlib.Path(place), over_the_air=False, profiles=[{"name": "mail", "required_group": phones}, {"name": "wifi"}])
    try:
        site.accounts.change("alice", groups=[USERS, phones])
        site.program.reload()
        serial = enrolled(site)
        since = site.program.mark()
        site.accounts.change("alice", groups=[USERS])       # still a member of what the portal and the other profile want
        line = site.program.wait_event("account_fell", 60, since)
        assert "required group of the certificate's profile" in line["message"] and ": 1 certificates" in line["message"]
        wait_until(lambda: serial in revoked(site), 10)
    finally:
        site.stop()


def test_an_account_that_is_only_locked_for_a_moment_keeps_its_certificates(site):
    serial = enrolled(site)
    since = site.program.mark()
    site.accounts.change("alice", enabled=False)
    site.program.wait_event("directory_up", 10, since)
    site.accounts.change("alice", enabled=True)
    site.accounts.add("bob", enabled=False)
    since = site.program.mark()
    with pytest.raises(AssertionError):
        site.program.wait_event("account_fell", 8, since)
    assert serial not in revoked(site)
