"""What each process may do, holds and remembers, seen from outside in /proc; and what a captured worker gets from the others."""
import os
import re
import subprocess

import pytest

from site_ import inside
from site_.proxy import binary


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


@pytest.fixture
def whole(kerberos_proxy, revocation_in_redis, phone, alice):
    """Every kind of process at work: LDAP, Kerberos, Redis; alice has just been served, so that all secrets were used."""
    def start(**changes):
        proxy = kerberos_proxy(redis=revocation_in_redis, changes={"proxy.workers": 2, **changes})
        for _ in range(4):
            assert phone(proxy, alice).sync().status == 200
        return proxy
    return start


@pytest.mark.quick
@pytest.mark.no_asan
def test_55_every_process_but_the_master_has_dropped_root_for_good_and_leaves_no_core(whole):
    proxy = whole()
    roles = inside.by_role(proxy)
    assert {role: len(pids) for role, pids in roles.items()} == {
        "master": 1, "worker": 2, "directory": 1, "kerberos": 1, "revocation": 1}
    for role, pids in roles.items():
        for pid in pids:
            status = inside.status(pid)
            if role == "master":
                continue
            uids, gids = set(status["Uid"].split()), set(status["Gid"].split())
            assert len(uids) == len(gids) == 1 and "0" not in uids and "0" not in gids, (role, uids, gids)
            assert status["Groups"] == "" and int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0, role
            assert status["NoNewPrivs"] == "1", role
            limits = open("/proc/%d/limits" % pid).read()
            assert re.search(r"Max core file size\s+0\s+0\s", limits), role
            # not dumpable: its /proc belongs to root, so that no other process of its user can look in
            assert os.stat("/proc/%d/mem" % pid).st_uid == 0, role


@pytest.mark.no_asan
def test_55_a_process_of_the_same_user_cannot_look_into_another(whole):
    proxy = whole()
    roles = inside.by_role(proxy)
    for role in ("worker", "directory", "kerberos", "revocation"):
        pid = roles[role][0]
        uid, gid = (inside.status(pid)[key].split()[0] for key in ("Uid", "Gid"))
        for what in ("mem", "environ", "maps", "fd/0"):
            done = subprocess.run(["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "head", "-c1",
                                   "/proc/%d/%s" % (pid, what)], capture_output=True)
            assert done.returncode != 0 and b"denied" in done.stderr, (role, what, done.stderr)


def _kinds(pid, place):
    """What is open, in words; numbers of it left out."""
    kinds = set()
    for name in inside.descriptors(pid).values():
        if name.startswith(("socket", "anon_inode:[eventpoll]", "anon_inode:[eventfd]", "anon_inode:[signalfd]", "pipe",
                            "/dev/null", "/dev/urandom")):
            kinds.add(re.sub(r"^(socket|pipe).*", r"\1", name))
        elif name.startswith("/memfd:"):
            kinds.add("memfd")
        else:
            kinds.add(name.replace(place, "PLACE").replace(" (deleted)", ""))
    return kinds


COMMON = {"socket", "pipe", "/dev/null", "anon_inode:[eventpoll]", "anon_inode:[eventfd]"}


def test_55_each_process_has_open_what_its_job_needs_and_nothing_else(whole, place):
    proxy = whole()
    state = "PLACE/node/state"
    may = {"worker": COMMON | {state, "anon_inode:[signalfd]"}, "directory": COMMON, "kerberos": COMMON | {"memfd"},
           "revocation": COMMON | {state, state + "/revocation.idx", "anon_inode:inotify", "inotify", "anon_inode:[inotify]"}}
    for role, allowed in may.items():
        for pid in inside.by_role(proxy)[role]:
            more = {k for k in _kinds(pid, place) - allowed if not k.startswith(state + "/")}
            assert not more, (role, more)
            files = {k for k in _kinds(pid, place) if k.startswith("PLACE")}
            assert not any("tls" in f or "secret" in f or "password" in f or "keytab" in f for f in files), (role, files)


def test_55_only_workers_hold_listening_sockets_and_only_they_and_the_right_helper_talk_to_servers(whole):
    proxy = whole()
    out = proxy.netns.command(["ss", "-Htnpa"])
    text = subprocess.run(out, capture_output=True, text=True, check=True).stdout
    names = {pid: role for role, pids in inside.by_role(proxy).items() for pid in pids}
    listening, talking = set(), {}
    for line in text.splitlines():
        pids = {int(p) for p in re.findall(r"pid=(\d+)", line)} & set(names)
        peer = line.split()[4].rpartition(":")[2]
        for pid in pids:
            if line.startswith("LISTEN"):
                listening.add(names[pid])
            elif line.startswith("ESTAB"):
                talking.setdefault(names[pid], set()).add(peer)
    assert listening == {"worker", "master"}, "the master binds, for those to come"
    assert talking.get("directory", set()) <= {"636"} and talking["directory"]
    assert talking.get("kerberos", set()) <= {"88"}
    assert "revocation" not in talking, "Redis is reached by its unix socket here, and CRLs are files"
    assert "master" not in talking


@pytest.mark.no_asan        # whose allocator keeps what is freed
def test_55_secrets_are_in_the_memory_of_those_who_need_them_and_in_no_other(whole, ad, pki, place):
    proxy = whole()
    key = pki.mail.key.private_numbers().private_value.to_bytes(32, "big")
    words = b"".join(key[i:i + 8][::-1] for i in range(24, -8, -8))         # as OpenSSL keeps numbers: least word first
    secrets = {
        "ldap password": ad.reader_password.encode(),
        "keytab key": _keytab_key(ad.keytab),
        "tls key": words,
        "tls key file": pki.mail.key_pem.strip().splitlines()[1],
        "fleet secret": b"a secret of the fleet, for tests only",
    }
    by_bytes = {value: name for name, value in secrets.items()}
    held = {}
    for role, pids in inside.by_role(proxy).items():
        for pid in pids:
            held.setdefault(role, set()).update(by_bytes[s] for s in inside.remembers(pid, *by_bytes))
    assert held["master"] == set(), "the master reads files into sealed memory of others, and forgets"
    assert held["directory"] == {"ldap password"}
    assert held["kerberos"] == {"keytab key"}
    assert held["revocation"] == {"fleet secret"}
    assert held["worker"] <= {"tls key", "tls key file", "fleet secret"} and "tls key" in held["worker"]


def _keytab_key(path):
    """The bytes of the first AES-256 key (type 18) of a keytab of format 5.2."""
    data = open(path, "rb").read()
    at = data.index(b"\x00\x12\x00\x20")
    return data[at + 4:at + 36]


def test_55_no_secret_is_in_environment_command_line_or_files_of_state_and_run(whole, ad, place):
    proxy = whole()
    secrets = [ad.reader_password.encode(), b"a secret of the fleet", _keytab_key(ad.keytab), b"PRIVATE KEY"]
    texts = {}
    for pid in proxy.daemon.pids():
        for what in ("environ", "cmdline"):
            texts["%d %s" % (pid, what)] = open("/proc/%d/%s" % (pid, what), "rb").read()
    for top in ("state", "run"):
        for folder, _, names in os.walk(os.path.join(place, "node", top)):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path):
                    texts[path] = open(path, "rb").read()
                    assert os.stat(path).st_mode & 0o077 == 0, path
    assert not [(where, s) for where, text in texts.items() for s in secrets if s in text]


def _shared(pid):
    """Sizes of the nameless memory that it shares for writing with others: metrics, TLS sessions, guards."""
    found = []
    for line in open("/proc/%d/maps" % pid):
        if " rw-s " in line and "/dev/zero" in line:
            begin, end = (int(x, 16) for x in line.split()[0].split("-"))
            found.append(end - begin)
    return sorted(found)


def test_20_the_secrets_of_tls_sessions_are_mapped_by_workers_alone_and_in_no_file(whole):
    proxy = whole()
    roles = inside.by_role(proxy)
    table = max(_shared(roles["worker"][0]))
    assert table > 4 << 20, "65536 records"
    for role in ("directory", "kerberos", "revocation"):
        assert table not in _shared(roles[role][0]), role


@pytest.mark.no_asan
def test_39_a_captured_worker_reads_no_key_looks_into_no_process_and_leaves_nothing_behind(whole, ad, place, pki):
    """The same doors as a worker's, closed by the same code, and then an intruder's attempts, with the real neighbours running."""
    tool = os.path.join(os.path.dirname(binary()), "tools", "captured_worker")
    assert os.access(tool, os.X_OK), tool + " is not built: make tests-bin"
    proxy = whole()
    roles = inside.by_role(proxy)
    state = os.path.join(place, "node", "state")
    # readable for everybody, so that file modes alone would not hold
    bait = os.path.join(place, "bait")
    with open(bait, "w") as f:
        f.write("bait")
    os.chmod(bait, 0o644)
    words = ["file", ad.keytab, "file", os.path.join(place, "node", "tls", "mail.key"), "file", proxy.path, "file", bait,
             "file", os.path.join(place, "fleet.secret"), "write", os.path.join(state, "revocation.idx")]
    for role in ("master", "directory", "kerberos", "revocation", "worker"):
        words += ["memory", str(roles[role][0])]
    words += ["signal", str(roles["master"][0])]
    done = subprocess.run([tool, "nobody", state, *words], capture_output=True, text=True, timeout=20)
    assert "GOT" not in done.stdout, done.stdout
    assert done.returncode == 0 and done.stdout.count("denied ") > 30, (done.stdout, done.stderr)
    assert not os.path.exists("/tmp/planted-by-captured-worker")
    assert not proxy.events("process_died")
