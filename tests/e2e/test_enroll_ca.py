"""`easenroll ca`: what it makes is judged by the openssl command line, and existing CAs are joined as administrators join them."""
import json
import os
import pathlib
import select
import shutil
import stat
import subprocess
import time

import pytest
import yaml

from site_.proxy import binary

pytestmark = [pytest.mark.quick]

SUBORDINATE = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"


def openssl(*argv):
    done = subprocess.run(["openssl"] + [str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == 0, "%s: %s" % (argv, done.stdout.decode("utf-8", "replace"))
    return done.stdout.decode()


class Enroll:
    def __init__(self, place, **ca):
        self.place = place
        self.folder = place / "state" / "ca"
        (place / "state").mkdir()
        (place / "accounts.yaml").write_text("accounts: []\n")
        config = {"user": "nobody", "state_dir": str(place / "state"), "run_dir": str(place / "run"),
                  "directory": {"kind": "file", "file": str(place / "accounts.yaml")},
                  "enroll": {"listeners": [{"address": "127.0.0.1:0", "plain": True}], "public_url": "https://enroll.test",
                             "mail": {"host": "mail.test"}, "ca": ca}}
        (place / "easgate.yaml").write_text(yaml.safe_dump(config))

    def ca(self, *argv, good=True, status=None):
        done = subprocess.run([binary("easenroll"), "-c", str(self.place / "easgate.yaml"), "ca"] + [str(a) for a in argv],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, text=True)
        assert (done.returncode == 0) == good, done.stdout + done.stderr
        if status is not None:
            assert done.returncode == status
        return done.stdout if good else done.stderr

    def show(self):
        return json.loads(self.ca("show", "--json"))["certificates"]

    def states(self):
        return sorted((c["kind"], c["generation"], c["state"]) for c in self.show())


@pytest.fixture
def enroll(place):
    return Enroll(pathlib.Path(place))


@pytest.fixture
def root(place):
    """An existing root, as a company has one."""
    path = pathlib.Path(place) / "company"
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-keyout", "%s.key" % path, "-out", "%s.pem" % path,
            "-subj", "/O=Company/CN=Company Root", "-days", "30", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    return path


def sign(root, csr, out, extensions=SUBORDINATE):
    (root.parent / "extensions").write_text(extensions)
    openssl("x509", "-req", "-in", csr, "-CA", "%s.pem" % root, "-CAkey", "%s.key" % root, "-days", "20", "-out", out,
            "-extfile", root.parent / "extensions")


@pytest.mark.parametrize("rsa", [False, True], ids=["ecdsa", "rsa"])
def test_e46_a_new_ca_verifies_and_its_keys_are_for_nobody_else(enroll, rsa):
    enroll.ca("init", "--name", "Example", *(["--rsa"] if rsa else []))
    assert enroll.states() == [("issuing", 1, "current"), ("profile", 1, "current"), ("ra", 1, "current"), ("root", 1, "current")]
    f = enroll.folder
    for leaf in "ra-1.pem", "profile-1.pem":
        openssl("verify", "-x509_strict", "-CAfile", f / "root-1.pem", "-untrusted", f / "issuing-1.pem", f / leaf)
    text = openssl("x509", "-in", f / "issuing-1.pem", "-noout", "-text")
    assert "CA:TRUE, pathlen:0" in text
    assert ("rsaEncryption" if rsa else "prime256v1") in text
    ra = openssl("x509", "-in", f / "ra-1.pem", "-noout", "-text")
    assert "Digital Signature, Key Encipherment" in ra and "Extended Key Usage" not in ra and "2048 bit" in ra
    for name in os.listdir(f):
        mode = stat.S_IMODE(os.stat(f / name).st_mode)
        assert mode == (0o600 if name.endswith(".key") else 0o644), name
    assert stat.S_IMODE(os.stat(f).st_mode) == 0o700


def test_a_second_ca_is_not_made_over_the_first(enroll):
    enroll.ca("init")
    before = {n: (enroll.folder / n).read_bytes() for n in os.listdir(enroll.folder)}
    assert "rollover" in enroll.ca("init", good=False, status=1)
    assert before == {n: (enroll.folder / n).read_bytes() for n in os.listdir(enroll.folder)}


def test_wrong_words_say_the_right_ones(enroll):
    for words in (), ("init", "--activate"), ("init", "--subordinate"), ("import",), ("show", "--name", "x"), ("crown",), ("init", "more"):
        assert "easenroll ca init" in enroll.ca(*words, good=False, status=2)
    assert "holds no CA" in enroll.ca("show", good=False, status=1)


def test_rollover_announces_first_and_then_takes_over(enroll):
    enroll.ca("init")
    enroll.ca("rollover")
    assert ("issuing", 2, "next") in enroll.states() and ("issuing", 1, "current") in enroll.states()
    assert "already" in enroll.ca("rollover", good=False, status=1)
    enroll.ca("rollover", "--activate")
    assert enroll.states() == [("issuing", 1, "old"), ("issuing", 2, "current"), ("profile", 1, "old"), ("profile", 2, "current"),
                               ("ra", 1, "old"), ("ra", 2, "current"), ("root", 1, "current")]
    f = enroll.folder
    for generation in 1, 2:     # what the old one signed goes on being valid
        openssl("verify", "-CAfile", f / "root-1.pem", "-untrusted", f / ("issuing-%d.pem" % generation), f / ("ra-%d.pem" % generation))
    assert "no next" in enroll.ca("rollover", "--activate", good=False, status=1)


def test_rollover_without_the_roots_key_says_where_it_is_wanted(enroll):
    enroll.ca("init")
    os.rename(enroll.folder / "root-1.key", enroll.place / "root-1.key")
    assert "root-1.key" in enroll.ca("rollover", good=False, status=1)
    os.rename(enroll.place / "root-1.key", enroll.folder / "root-1.key")
    enroll.ca("rollover")


def test_a_subordinate_of_an_existing_root_is_requested_signed_and_imported(enroll, root):
    csr, out = enroll.place / "issuing.csr", enroll.place / "issuing.pem"
    enroll.ca("init", "--name", "Example", "--subordinate", "--csr-out", csr)
    assert "verify OK" in openssl("req", "-in", csr, "-verify", "-noout")
    assert enroll.states() == [("issuing", 1, "waiting")]
    sign(root, csr, out)
    assert "--chain" in enroll.ca("import", "--certificate", out, good=False, status=1)
    assert enroll.states() == [("issuing", 1, "waiting")]
    enroll.ca("import", "--certificate", out, "--chain", "%s.pem" % root)
    states = enroll.states()
    assert ("issuing", 1, "current") in states and ("ra", 1, "current") in states
    openssl("verify", "-x509_strict", "-CAfile", "%s.pem" % root, "-untrusted", enroll.folder / "issuing-1.pem", enroll.folder / "ra-1.pem")
    # its own rollover goes the same way
    csr2, out2 = enroll.place / "issuing2.csr", enroll.place / "issuing2.pem"
    assert "--subordinate" in enroll.ca("rollover", good=False, status=1)
    enroll.ca("rollover", "--subordinate", "--csr-out", csr2)
    sign(root, csr2, out2)
    enroll.ca("import", "--certificate", out2)
    assert [c["state"] for c in enroll.show() if c["kind"] == "issuing"] == ["current", "next"]


@pytest.mark.parametrize("what", ["no ca", "no crl sign", "another key", "not a certificate"])
def test_certificates_that_are_no_issuing_ca_are_not_imported(enroll, root, what):
    csr, out = enroll.place / "issuing.csr", enroll.place / "issuing.pem"
    enroll.ca("init", "--subordinate", "--csr-out", csr)
    if what == "another key":
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", enroll.place / "x.key", "-out", csr, "-subj", "/CN=x")
    sign(root, csr, out, {"no ca": "basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\n",
                          "no crl sign": SUBORDINATE.replace(",cRLSign", "")}.get(what, SUBORDINATE))
    if what == "not a certificate":
        out.write_text("nothing\n")
    before = sorted(os.listdir(enroll.folder))
    enroll.ca("import", "--certificate", out, "--chain", "%s.pem" % root, good=False, status=1)
    assert enroll.states() == [("issuing", 1, "waiting")]
    assert sorted(os.listdir(enroll.folder)) == before


def test_an_issuing_ca_that_exists_already_is_imported_with_its_key(enroll, root):
    key, csr, out = (enroll.place / n for n in ("old.key", "old.csr", "old.pem"))
    openssl("req", "-newkey", "rsa:3072", "-nodes", "-keyout", key, "-out", csr, "-subj", "/CN=Old Issuing CA")
    os.chmod(key, 0o600)
    sign(root, csr, out)
    enroll.ca("import", "--certificate", out, "--key", key, "--chain", "%s.pem" % root)
    assert ("issuing", 1, "current") in enroll.states()


def test_keys_are_encrypted_when_a_password_is_configured(place):
    place = pathlib.Path(place)
    (place / "password").write_text("correct horse\n")
    os.chmod(place / "password", 0o600)
    enroll = Enroll(place, key_password_file=str(place / "password"))
    enroll.ca("init")
    for name in os.listdir(enroll.folder):
        if name.endswith(".key"):
            assert (enroll.folder / name).read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    openssl("pkey", "-in", enroll.folder / "issuing-1.key", "-passin", "file:%s" % (place / "password"), "-noout")
    enroll.ca("rollover")


SOFTHSM = [p for p in ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so") if os.path.exists(p)]


@pytest.mark.skipif(not SOFTHSM or os.getuid() != 0, reason="needs softhsm2, and root to drop from")
def test_a_ca_key_in_a_token_signs_in_the_running_program(place, monkeypatch):
    place = pathlib.Path(place)
    token = place / "token"
    token.mkdir()
    (token / "softhsm2.conf").write_text("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n" % token)
    monkeypatch.setenv("SOFTHSM2_CONF", str(token / "softhsm2.conf"))
    (place / "pin").write_text("123456\n")
    os.chmod(place / "pin", 0o600)
    for words in (["softhsm2-util", "--init-token", "--free", "--label", "eg", "--pin", "123456", "--so-pin", "765432"],
                  ["pkcs11-tool", "--module", SOFTHSM[0], "--token-label", "eg", "--login", "--pin", "123456", "--keypairgen",
                   "--key-type", "EC:prime256v1", "--label", "issuing", "--id", "01"]):
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    enroll = Enroll(place, pkcs11_module=SOFTHSM[0], pin_file=str(place / "pin"))
    enroll.ca("init", "--key", "pkcs11:token=eg;object=issuing;type=private")
    assert [c["key"] for c in enroll.show() if c["kind"] == "issuing"] == ["token"]
    assert not (enroll.folder / "issuing-1.key").exists()
    for directory, _, names in os.walk(token):      # the token is the service user's
        for path in [directory] + [os.path.join(directory, n) for n in names]:
            shutil.chown(path, "nobody")
    running = subprocess.Popen([binary("easenroll"), "-c", str(place / "easgate.yaml"), "run"], stderr=subprocess.PIPE, text=True)
    try:
        for line in running.stderr:
            if '"event":"ready"' in line:
                break
        assert running.poll() is None
        deadline = time.monotonic() + 10
        while not list((place / "state" / "crl").glob("*.crl")):
            assert time.monotonic() < deadline, "no CRL"
            select.select([], [], [], 0.05)
        for crl in (place / "state" / "crl").glob("*.crl"):
            assert "verify OK" in openssl("crl", "-inform", "DER", "-in", crl, "-CAfile", enroll.folder / "issuing-1.pem", "-noout")
    finally:
        running.terminate()
        running.communicate(timeout=40)
    assert running.returncode == 0
