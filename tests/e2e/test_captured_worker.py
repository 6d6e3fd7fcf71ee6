"""P39, P55: a captured worker has its sockets. On the real ones of a running proxy it asks everything: every verb, bodies of every
length and of names that open doors elsewhere. No secret of another process comes back, no ticket, and nobody else is harmed."""
import base64
import os
import re
import signal
import struct

import pytest

from site_ import inside, wires
from site_.process import wait_until
from site_.wires import ANSWER, CONTROL, TELL, Wire

TICKET = bytes.fromhex("06092a864886f712010202")       # the mechanism's name, which stands in every token
LINK_ASKED, HANGS = 7, 9                               # common/control.h: CONTROL_LINK_ASKED, CONTROL_HANGS
PASSWORDS = {"proxy.policies.0.methods": [{"certificate": "allowed", "password": "allowed"}], "lockout.memory_mib": 1, "lockout.processes": 2}
LENGTHS = [0, 1, 15, 16, 255, 4096, 65535, 65536]


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


def keys_of(keytab):
    """The keys in a keytab of format 5.2."""
    with open(keytab, "rb") as f:
        data = f.read()
    keys, at = [], 2
    while at + 4 <= len(data):
        size = struct.unpack_from(">i", data, at)[0]
        entry, at = data[at + 4:at + 4 + abs(size)], at + 4 + abs(size)
        if size <= 0:
            continue
        parts, p = struct.unpack_from(">H", entry)[0] + 1, 2
        for _ in range(parts):
            p += 2 + struct.unpack_from(">H", entry, p)[0]
        n = struct.unpack_from(">H", entry, p + 11)[0]
        keys.append(entry[p + 13:p + 13 + n])
    assert keys and all(len(k) >= 16 for k in keys)
    return keys


def vouchers_key(proxy):
    """From the master's memory, as only root can have it."""
    for number, name in inside.descriptors(inside.master_of(proxy)).items():
        if name.startswith("/memfd:easgate-key"):
            with open("/proc/%d/fd/%d" % (inside.master_of(proxy), number), "rb") as f:
                return f.read()
    raise AssertionError("the master has no key")


def bodies(secret_paths):
    """What may be put into a question: nothing, too much, names of files and accounts, formats."""
    texts = [b"", b"\0", b"alice", b"alice@corp.example", b"Administrator", b"*)(objectClass=*", b"%s%n%x", b"\xff" * 8,
             *(p.encode() for p in secret_paths)]
    found = []
    for n in LENGTHS:
        found += [b"\0" * n, b"\xff" * n, os.urandom(n)]
        found += [(t + b"\0" * n)[:n] for t in texts if len(t) < n]
    return found


def exact_lengths():
    """Every length that a struct of ours could have, filled with a name and with numbers that count as kinds and versions."""
    for n in range(0, 1400):
        yield (struct.pack("=IIII", 1, 2, 3, 4) + b"alice@corp.example" + b"\0" * n)[:n]
        yield (b"alice" + b"\0" * n)[:n]


@pytest.mark.slow
def test_39_on_no_wire_of_a_captured_worker_does_any_verb_bring_a_secret(
        ad, kerberos_proxy, revocation_in_redis, phone, alice, place):
    proxy = kerberos_proxy(redis=revocation_in_redis, changes=PASSWORDS)
    assert phone(proxy, alice).sync().status == 200
    secrets = {"bind password": ad.reader_password.encode(), "bind name": ad.reader.encode(), "fleet secret": revocation_in_redis.secret,
               "vouchers' key": vouchers_key(proxy), "ticket": TICKET,
               **{"keytab key %d" % i: k for i, k in enumerate(keys_of(ad.keytab))}}
    paths = [ad.keytab, os.path.join(place, "ldap.password"), os.path.join(place, "fleet.secret"), "/proc/self/environ"]
    worker, = inside.by_role(proxy)["worker"]
    roles = {pid: role for role, pids in inside.by_role(proxy).items() for pid in pids}
    ends = {roles[other]: fd for fd, other in wires.peers(proxy, worker).items() if other in roles}
    assert set(ends) == {"master", "directory", "kerberos", "revocation", "lockout"}, "none to those that stretch passwords: %r" % ends
    os.kill(worker, signal.SIGSTOP)                     # it is the intruder's now
    taken = {role: Wire(wires.take(worker, fd)) for role, fd in ends.items()}
    try:
        for role in ("directory", "kerberos", "revocation", "lockout"):
            ask_everything(taken[role], paths)
            assert taken[role].answers > 65536, (role, taken[role].answers)
        order_everything(taken["master"])
        for role, wire in taken.items():
            for what, secret in secrets.items():
                assert secret not in wire.heard, "%s answers with the %s" % (role, what)
    finally:
        for wire in taken.values():
            wire.sock.close()
        since = proxy.mark()
        os.kill(worker, signal.SIGKILL)
    proxy.wait_event("process_died", since=since, message=re.compile("^worker 0 "))
    wait_until(lambda: served(phone(proxy, alice)), 15)
    deaths = proxy.events("process_died")
    assert all(line["message"].startswith("worker 0 ") for line in deaths), deaths
    proxy.assert_never(ad.reader_password, revocation_in_redis.secret.decode())


@pytest.mark.quick
def test_each_table_of_the_node_is_mapped_by_those_who_use_it_alone(start_proxy, configure, backend):
    """What is known of accounts, the secrets of sessions, devices' records: whoever maps one can spoil it, and those who wait for its locks."""
    proxy = start_proxy(configure(backend, {**PASSWORDS, "lockout.entries": 40000, "proxy.policies.0.device": "pin"}))
    maps = {role: [inside.shared(pid) for pid in pids] for role, pids in inside.by_role(proxy).items()}
    assert {"lockout", "stretch", "directory", "revocation", "worker"} <= set(maps)

    def alone(role):
        others = {what for other, found in maps.items() if other not in (role, "master") for one in found for what in one}
        return {what: size for what, size in maps[role][0].items() if what not in others}
    assert sum(alone("lockout").values()) > 40000 * 1000, "its table is nobody else's"
    assert any("devices.tab" in what[-1] for what in alone("worker")) and len(alone("worker")) > 1, "records of devices, and sessions"
    for role in ("stretch", "directory", "revocation"):
        assert sum(maps[role][0].values()) < 4 << 20, (role, maps[role][0])


def test_a_captured_stretch_process_reaches_nobody_and_holds_no_key(ad, kerberos_proxy, revocation_in_redis, phone, alice):
    proxy = kerberos_proxy(redis=revocation_in_redis, changes=PASSWORDS)
    sam = ad.account("stretched")
    password = ("Authorization", "Basic " + base64.b64encode(("%s:Passw0rd.%s" % (sam, sam)).encode()).decode())
    assert phone(proxy, user=sam).sync(headers=[password]).status == 200
    captured, other = inside.by_role(proxy)["stretch"]
    secrets = {revocation_in_redis.secret: "fleet secret", vouchers_key(proxy): "vouchers' key", ("Passw0rd." + sam).encode(): "a password",
               ad.reader_password.encode(): "bind password"}
    for pid in (captured, other):
        assert inside.remembers(pid, *secrets) == set(), "of a password nothing is left when the work is done"
        opened = {name for name in inside.descriptors(pid).values() if not name.startswith(("socket", "pipe", "/dev/null", "anon_inode:[event"))}
        assert opened == set() and inside.status(pid)["NoNewPrivs"] == "1" and "0" not in inside.status(pid)["Uid"].split()
    roles = {pid: role for role, pids in inside.by_role(proxy).items() for pid in pids}
    ends = {roles[peer]: fd for fd, peer in wires.peers(proxy, captured).items() if peer in roles}
    assert set(ends) == {"master", "lockout"}, ends
    os.kill(captured, signal.SIGSTOP)
    taken = {role: Wire(wires.take(captured, fd)) for role, fd in ends.items()}
    try:
        taken["lockout"].ask_all([(verb, b"alice" * 20) for verb in [*range(64), 0x8011, 0x8021, 0x8023]])
        assert taken["lockout"].refused == taken["lockout"].answers == 67, "it answers no question"
        order_everything(taken["master"])
        assert not any(secret in wire.heard for wire in taken.values() for secret in secrets)
    finally:
        for wire in taken.values():
            wire.sock.close()
        since = proxy.mark()
        os.kill(captured, signal.SIGKILL)
    proxy.wait_event("process_died", since=since, message=re.compile("^stretch 0 "))
    assert phone(proxy, user=sam).sync(headers=[password]).status == 200
    assert [line["message"] for line in proxy.events("process_died") if not line["message"].startswith("stretch 0 ")] == []


def served(device):
    try:
        return device.sync().status == 200
    except (OSError, EOFError):
        return False


def ask_everything(wire, paths):
    """Every verb with some body; the verbs that exist, and a few that do not, with every body and length; tells and answers too."""
    texts = bodies(paths)
    wire.ask_all([(verb, texts[verb % len(texts)][:2048]) for verb in range(65536)])
    few = [*range(0, 12), 255, 256, 65535]
    wire.ask_all([(verb, body) for verb in few for body in texts], batch=8)
    wire.ask_all([(verb, body) for verb in few[:8] for body in exact_lengths()], batch=64)
    for verb in few:
        for body in texts[:40]:
            wire.send(verb, body[:300], kind=TELL)
            wire.send(verb, body[:300], kind=ANSWER, number=verb)
    wire.hear(1.0)
    assert wire.open, "it was cut off, though every frame was well formed"


def order_everything(wire):
    """To the master: every word, for every role. Wires that it has no right to do not come; a reload may."""
    for verb in range(65536):
        wire.send_frame(CONTROL.pack(verb, verb % 9, verb % 3, 0))
    for role in range(16):
        for index in range(8):
            for verb in LINK_ASKED, HANGS:
                wire.send_frame(CONTROL.pack(verb, role, index, 0))
    wire.hear(0.5)
    assert wire.open
