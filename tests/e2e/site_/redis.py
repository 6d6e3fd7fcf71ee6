"""A real Redis server of the test's own, and the keys that the nodes share (DESIGN section 6)."""
import hashlib
import hmac
import os
import signal
import time

import redis

from .netns import Netns
from .process import Daemon


class RedisServer:
    """On 127.0.0.1 with a kernel-chosen port, and on a unix socket. Data survive stop() and start()."""

    def __init__(self, place, netns=None, password=None, prefix="easgate:", secret=b"", args=()):
        self.place, self.netns = str(place), netns or Netns()
        self.password, self.prefix, self.secret = password, prefix, secret
        self.args = list(args)
        self.socket_path = os.path.join(self.place, "redis.sock")
        self._held = self.netns.hold()
        self.port = self._held.getsockname()[1]
        self.daemon = None
        self.start()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.port

    def start(self):
        argv = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket_path,
                "--unixsocketperm", "777", "--dir", self.place, "--save", "", "--appendonly", "no",
                "--dbfilename", "redis.rdb", "--daemonize", "no", "--enable-debug-command", "yes"]
        argv += (["--requirepass", self.password] if self.password else []) + self.args
        self.daemon = Daemon(argv, self.netns)
        self.daemon.stdout.wait(lambda line: "Ready to accept connections" in line, 10, what="word that Redis is ready")
        self.client = redis.Redis(unix_socket_path=self.socket_path, password=self.password, decode_responses=True)

    def stop(self, keep=True):
        """Ends the server; `keep` False forgets the data, as an eviction or a fresh machine would."""
        self.resume()
        rdb = os.path.join(self.place, "redis.rdb")
        if keep:
            self.client.save()
        elif os.path.exists(rdb):
            os.unlink(rdb)
        self.client.close()
        self.daemon.kill()

    def close(self):
        if self.daemon.running:
            self.client.close()
            self.daemon.kill()
        self._held.close()
        self.daemon.assert_nothing_left()

    def hang(self):
        """Connections stay open, nothing is answered, until resume()."""
        self.daemon.signal(signal.SIGSTOP)

    def resume(self):
        if self.daemon.running:
            self.daemon.signal(signal.SIGCONT)

    def pause(self, seconds):
        """Redis itself delays every command for so long."""
        self.client.execute_command("CLIENT", "PAUSE", int(seconds * 1000), "ALL")

    def flush(self):
        self.client.flushall()

    def kill_clients(self):
        """Every other connection is cut; the server stays."""
        self.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    # the keys

    def key(self, *parts):
        return self.prefix + ":".join(parts)

    def revoke(self, issuer, cert, reason=1, when=None, tell=True):
        """`issuer` and `cert` are Identities (or a hash and a serial in hex)."""
        issuer, serial = _issuer(issuer), _serial(cert)
        when = int(time.time()) if when is None else when
        self.client.hset(self.key("revoked", issuer), serial, "%d %d" % (reason, when))
        if tell:
            self.event("revoked", issuer=issuer, serial=serial, reason=reason, time=when)

    def unrevoke(self, issuer, cert, tell=True):
        issuer, serial = _issuer(issuer), _serial(cert)
        self.client.hdel(self.key("revoked", issuer), serial)
        if tell:
            self.event("unrevoked", issuer=issuer, serial=serial, time=int(time.time()))

    def crl(self, issuer, this_update=None, next_update=None, number=1, loaded_at=None):
        """Says how fresh the revoked hash of this issuer is; nothing is revoked by it."""
        now = int(time.time())
        self.client.hset(self.key("crl", _issuer(issuer)), mapping={
            "this_update": now if this_update is None else this_update,
            "next_update": now + 7 * 86400 if next_update is None else next_update,
            "number": number, "loaded_at": now if loaded_at is None else loaded_at})

    def device(self, cert, **fields):
        self.client.hset(self.key("device", cert.sha256), mapping=fields)

    def event(self, kind, mac=True, **fields):
        """An entry of the stream. `mac`: True for the right one, False for none, or the text to send."""
        entry = {"type": kind, "time": str(int(time.time())), **{k: str(v) for k, v in fields.items()}}
        if mac is True:
            entry["mac"] = event_mac(self.secret, entry)
        elif mac:
            entry["mac"] = mac
        return self.client.xadd(self.key("events"), entry, maxlen=10000)


def event_mac(secret, entry):
    """HMAC-SHA256 over these fields, one a line, empty where the entry has none."""
    text = "\n".join(entry.get(k, "") for k in ("type", "issuer", "serial", "sid", "certificate", "time"))
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def _issuer(value):
    return value if isinstance(value, str) else value.spki_hash


def _serial(value):
    return value if isinstance(value, str) else "%x" % value if isinstance(value, int) else value.serial_hex
