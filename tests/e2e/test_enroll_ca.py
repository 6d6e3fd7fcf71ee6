"""`easenroll ca`: what it makes is judged by the openssl command line, and existing CAs are joined as administrators join them."""
import datetime
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
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from site_.proxy import binary


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
        done = subprocess.run([binary("easenroll"), "-c", str(self.place / "easgate.yaml"), "ca"] + [a if isinstance(a, bytes) else str(a) for a in argv],
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


def sign(root, csr, out, extensions=SUBORDINATE, digest="-sha256", days=20):
    (root.parent / "extensions").write_text(extensions)
    openssl("x509", "-req", "-in", csr, "-CA", "%s.pem" % root, "-CAkey", "%s.key" % root, "-days", days, "-out", out, digest,
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


def test_nothing_is_made_under_a_root_that_has_ended(enroll):
    enroll.ca("init")
    pem, key = enroll.folder / "root-1.pem", serialization.load_pem_private_key((enroll.folder / "root-1.key").read_bytes(), None)
    root = x509.load_pem_x509_certificate(pem.read_bytes())
    ended = x509.CertificateBuilder(root.issuer, root.subject, root.public_key(), root.serial_number, datetime.datetime(2020, 1, 1), datetime.datetime(2021, 1, 1),
                                    list(root.extensions)).sign(key, hashes.SHA256())
    pem.write_bytes(ended.public_bytes(serialization.Encoding.PEM))
    before = sorted(os.listdir(enroll.folder))
    said = enroll.ca("rollover", good=False, status=1)
    assert "the root has ended" in said and "root-1.pem" in said and sorted(os.listdir(enroll.folder)) == before


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


@pytest.mark.no_asan    # some forty programs; the same code imports in the tests beside it
def test_what_makes_no_issuing_ca_is_not_imported_and_leaves_the_folder_as_it_was(enroll, root):
    csr, out, short = enroll.place / "issuing.csr", enroll.place / "issuing.pem", enroll.place / "short"
    enroll.ca("init", "--subordinate", "--csr-out", csr)
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", enroll.place / "x.key", "-out", enroll.place / "x.csr", "-subj", "/CN=x")
    openssl("req", "-newkey", "rsa:1024", "-nodes", "-keyout", enroll.place / "weak.key", "-out", enroll.place / "weak.csr", "-subj", "/CN=x")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "%s.key" % short, "-out", "%s.pem" % short, "-subj", "/CN=Short Root",
            "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    before = sorted(os.listdir(enroll.folder))

    def refused(said, extensions=SUBORDINATE, request=csr, by=root, chain=None, digest="-sha256", key=None, days=20):
        sign(by, request, out, extensions, digest, days)
        words = ["import", "--certificate", out, "--chain", chain or "%s.pem" % by] + (["--key", key] if key else [])
        assert said in enroll.ca(*words, good=False, status=1)
        assert sorted(os.listdir(enroll.folder)) == before and enroll.states() == [("issuing", 1, "waiting")]

    refused("CA:TRUE", "basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\n")
    refused("cRLSign", SUBORDINATE.replace(",cRLSign", ""))
    refused("keyCertSign", SUBORDINATE.replace("keyCertSign,", ""))
    refused("subject key identifier", SUBORDINATE.replace("subjectKeyIdentifier=hash\n", "subjectKeyIdentifier=none\n"))
    refused("not valid now", days=0)
    refused("bring the key with --key", request=enroll.place / "x.csr")
    refused("is not the key of", request=enroll.place / "x.csr", key=enroll.place / "weak.key")
    refused("no key for a CA", request=enroll.place / "weak.csr", key=enroll.place / "weak.key")
    # what would be believed by nobody: a device's certificate is verified up to the root before the CA is taken
    refused("path length constraint exceeded", by=short)
    refused("CA signature digest algorithm too weak", digest="-sha1")
    refused("unsuitable certificate purpose", SUBORDINATE + "extendedKeyUsage=serverAuth\n")
    refused("permitted subtree violation", SUBORDINATE + "nameConstraints=critical,permitted;dirName:dn\n[dn]\nO=Another\n")
    middle = enroll.place / "middle"
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "%s.key" % middle, "-out", "%s.csr" % middle, "-subj", "/CN=Middle")
    sign(root, "%s.csr" % middle, "%s.pem" % middle, SUBORDINATE.replace("pathlen:0", "pathlen:1"))
    refused("up to the root, with --chain", by=middle)
    (enroll.place / "both.pem").write_text(pathlib.Path("%s.pem" % middle).read_text() + pathlib.Path("%s.pem" % root).read_text())
    refused("CA signature digest algorithm too weak", by=middle, chain=enroll.place / "both.pem", digest="-md5")
    out.write_text("nothing\n")
    assert "not a certificate" in enroll.ca("import", "--certificate", out, good=False, status=1)
    # with both above it, it is a good one; and once is enough
    sign(middle, csr, out)
    enroll.ca("import", "--certificate", out, "--chain", enroll.place / "both.pem")
    assert "here already" in enroll.ca("import", "--certificate", out, good=False, status=1)
    assert "here already" in enroll.ca("import", "--certificate", out, "--key", enroll.folder / "issuing-1.key", good=False, status=1)


def test_a_request_that_got_lost_is_written_again_for_the_same_key(enroll, root):
    csr, again, out = (enroll.place / n for n in ("a.csr", "b.csr", "a.pem"))
    assert "No such file" in enroll.ca("init", "--subordinate", "--csr-out", enroll.place / "nowhere" / "a.csr", good=False, status=1)
    assert os.listdir(enroll.folder) == []
    enroll.ca("init", "--subordinate", "--csr-out", csr)
    enroll.ca("init", "--subordinate", "--csr-out", again)
    assert openssl("req", "-in", csr, "-noout", "-pubkey") == openssl("req", "-in", again, "-noout", "-pubkey")
    assert "easenroll ca import" in enroll.ca("init", good=False, status=1)
    sign(root, again, out)
    enroll.ca("import", "--certificate", out, "--chain", "%s.pem" % root)
    enroll.ca("rollover", "--subordinate", "--csr-out", csr)
    assert "waits for its certificate with another key" in enroll.ca("rollover", "--subordinate", "--csr-out", again, "--key", "pkcs11:token=x",
                                                                     good=False, status=1)
    enroll.ca("rollover", "--subordinate", "--csr-out", again)
    assert openssl("req", "-in", csr, "-noout", "-pubkey") == openssl("req", "-in", again, "-noout", "-pubkey")


def test_a_command_that_fails_leaves_the_folder_as_it_was_and_says_the_cure(enroll):
    for words, said in ((["rollover"], "easenroll ca init"), (["init", "--name", "a\033[31mb"], "control characters"), (["init", "--name", "x" * 45], "44 bytes"),
                        (["init", "--name", b"\xff"], "UTF-8"), (["init", "--key", enroll.place / "some.key"], "easenroll ca import"),
                        (["init", "--key", "pkcs11:token=x"], "enroll.ca.pkcs11_module"), (["init", "--key", "pkcs11:" + "x" * 600], "511 bytes")):
        assert said in enroll.ca(*words, good=False, status=1)
        assert not enroll.folder.exists() or os.listdir(enroll.folder) == []
    enroll.folder.mkdir(exist_ok=True)
    (enroll.folder / "ra-1.key").write_text("of an interrupted command\n")
    assert "ra-1.key" in enroll.ca("init", good=False, status=1)
    assert os.listdir(enroll.folder) == ["ra-1.key"]
    os.unlink(enroll.folder / "ra-1.key")
    os.chmod(enroll.folder, 0o777)
    assert "chmod 700" in enroll.ca("init", good=False, status=1)
    os.chmod(enroll.folder, 0o700)
    if os.getuid() == 0:
        shutil.chown(enroll.folder, "nobody")
        assert "chown it to root" in enroll.ca("init", good=False, status=1)
        shutil.chown(enroll.folder, 0)
    enroll.ca("init")
    index = enroll.folder / "ca.json"
    index.write_text(index.read_text()[:-20])
    for words in ["show"], ["rollover"], ["init"]:
        assert "backup" in enroll.ca(*words, good=False, status=1)


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
                   "--key-type", "EC:prime256v1", "--label", "issuing", "--id", "01"],
                  ["pkcs11-tool", "--module", SOFTHSM[0], "--token-label", "eg", "--login", "--pin", "123456", "--keypairgen",
                   "--key-type", "rsa:1024", "--label", "weak", "--id", "02"]):
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    enroll = Enroll(place, pkcs11_module=SOFTHSM[0], pin_file=str(place / "pin"))
    enroll.ca("init", "--key", "pkcs11:token=eg;object=issuing;type=private")
    assert [c["key"] for c in enroll.show() if c["kind"] == "issuing"] == ["token"]
    assert not (enroll.folder / "issuing-1.key").exists()
    before = sorted(os.listdir(enroll.folder))
    assert "a key of its own" in enroll.ca("rollover", "--key", "pkcs11:token=eg;object=issuing;type=private", good=False, status=1)
    for wrong, said in (("pkcs11:token=eg;object=another;type=private", "no such private key"), ("pkcs11:token=none;object=issuing", "no such private key"),
                        ("pkcs11:token=eg;object=weak", "no key for a CA")):
        assert said in enroll.ca("rollover", "--key", wrong, good=False, status=1)
    (place / "pin").write_text("999999\n")
    assert "enroll.ca.pin_file is not its PIN" in enroll.ca("rollover", "--key", "pkcs11:token=eg;object=issuing", good=False, status=1)
    (place / "pin").write_text("123456\n")
    assert sorted(os.listdir(enroll.folder)) == before
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
