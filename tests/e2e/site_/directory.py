"""A handle on the Active Directory bed: its addresses and files, changes to accounts, and faults of the DC.

Accounts that a test changes are its own: ad.account() makes a new one, so that tests may run side by side. Faults
of the whole DC (pause, stop, block) belong on `own_ad`, a bed that no other test uses.
"""
import contextlib
import itertools
import os
import select
import signal
import subprocess

import ldap
import ldap.filter
import ldap.modlist

from .mail import KerberosMail
from .netns import Netns
from .process import follow

SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "site")
NORMAL, DISABLED, NOT_DELEGATED = 0x200, 0x2, 0x100000
PORTS = {"kdc": (88,), "ldap": (389, 636, 3268, 3269), "mail": (80, 443)}


class ActiveDirectory:
    _numbers = itertools.count(1)

    def __init__(self, place):
        self.place = str(place)
        self.env = self._environment()
        self.netns = Netns(self.env["AD_NETNS"])
        self.realm, self.base = self.env["AD_REALM"], self.env["AD_BASE"]
        self.ca = self.env["AD_CA"]
        self.krb5_conf = self.env["KRB5_CONFIG"]
        self.ldaps, self.ldap = self.env["AD_LDAPS"], self.env["AD_LDAP"]
        self.reader, self.reader_password = self.env["AD_READER"], self.env["AD_READERPW"]
        self.principal, self.keytab = self.env["AD_PROXY_PRINCIPAL"], self.env["AD_PROXY_KEYTAB"]
        self.users = "CN=EAS-Users,OU=Groups," + self.base
        self._closers = []
        self._mail = self._log = None

    def _environment(self):
        out = subprocess.run([os.path.join(SITE, "ad-testbed"), "env", self.place], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
        pairs = (word.partition("=") for line in out.splitlines() for word in line.split()[1:])
        return {name: value.strip("'") for name, _, value in pairs}

    def keytab_of(self, account):
        return os.path.join(self.env["AD_KEYTABS"], account + ".keytab")

    @property
    def mail(self):
        """The Kerberos mail server of the bed."""
        if self._mail is None:
            self._mail = KerberosMail(self)
            self._closers.append(self._mail.close)
        return self._mail

    def run(self, *argv, check=True, **kw):
        """Runs a command in the namespace with the bed's environment; returns the CompletedProcess."""
        return subprocess.run(self.netns.command(argv), env=dict(os.environ, **self.env), check=check, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **kw)

    # reading and changing the directory, as administrator over LDAPS

    @contextlib.contextmanager
    def connection(self, name=None, password=None):
        """A bound connection of python-ldap, for the block."""
        handle = ldap.initialize("ldaps://%s" % self.env["AD_ADDR"])
        for option, value in ((ldap.OPT_X_TLS_CACERTFILE, self.ca),
                              (ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND), (ldap.OPT_REFERRALS, 0),
                              (ldap.OPT_NETWORK_TIMEOUT, 10), (ldap.OPT_TIMEOUT, 20), (ldap.OPT_X_TLS_NEWCTX, 0)):
            handle.set_option(option, value)
        with self.netns.inside():               # the socket is made by the bind
            handle.simple_bind_s(name or self.env["AD_ADMIN"], password or self.env["AD_ADMINPW"])
        try:
            yield handle
        finally:
            handle.unbind_s()

    def find(self, sam, *attributes):
        """(dn, attributes) of an account, values as lists of bytes."""
        with self.connection() as handle:
            found = handle.search_s(self.base, ldap.SCOPE_SUBTREE,
                                    ldap.filter.filter_format("(sAMAccountName=%s)", [sam]), list(attributes) or None)
        found = [(dn, values) for dn, values in found if dn]
        if len(found) != 1:
            raise KeyError(sam)
        return found[0]

    def get(self, sam, attribute):
        """The one value as text, None when there is none."""
        values = self.find(sam, attribute)[1].get(attribute)
        return values[0].decode() if values else None

    def sid(self, sam):
        from samba.dcerpc.security import dom_sid
        from samba.ndr import ndr_unpack
        return str(ndr_unpack(dom_sid, self.find(sam, "objectSid")[1]["objectSid"][0]))

    def set(self, sam, **values):
        """Replaces attributes; None removes one; `_` in a name stands for `-`."""
        dn, _ = self.find(sam, "sAMAccountName")
        changes = []
        for name, value in values.items():
            value = [value] if isinstance(value, (str, bytes, int)) else value
            value = None if value is None else [v if isinstance(v, bytes) else str(v).encode() for v in value]
            changes.append((ldap.MOD_REPLACE, name.replace("_", "-"), value))
        with self.connection() as handle:
            handle.modify_s(dn, changes)

    def account(self, sam=None, password=None, groups=("EAS-Users",), **values):
        """A new account of the test's own; returns its sAMAccountName. The password is "Passw0rd." + that."""
        sam = sam or "u%d-%d" % (os.getpid(), next(self._numbers))
        dn = "CN=%s,OU=People,%s" % (sam, self.base)
        attributes = {"objectClass": ["user"], "sAMAccountName": sam, "userPrincipalName": sam + "@corp.example",
                      "mail": sam + "@example.com", "userAccountControl": str(NORMAL),
                      "unicodePwd": _quoted(password or "Passw0rd." + sam), **values}
        encoded = {k: [x if isinstance(x, bytes) else x.encode() for x in (v if isinstance(v, list) else [v])]
                   for k, v in attributes.items() if v is not None}
        with self.connection() as handle:
            handle.add_s(dn, ldap.modlist.addModlist(encoded))
            for group in groups:
                handle.modify_s("CN=%s,OU=Groups,%s" % (group, self.base), [(ldap.MOD_ADD, "member", [dn.encode()])])
        return sam

    def group(self):
        """A new group of the test's own; its name. It stands beside EAS-Users."""
        name = "g%d-%d" % (os.getpid(), next(self._numbers))
        with self.connection() as handle:
            handle.add_s("CN=%s,OU=Groups,%s" % (name, self.base), ldap.modlist.addModlist({"objectClass": [b"group"], "sAMAccountName": [name.encode()]}))
        return name

    def rename_group(self, name, to):
        with self.connection() as handle:
            handle.rename_s("CN=%s,OU=Groups,%s" % (name, self.base), "CN=" + to)

    def leave(self, sam, group="EAS-Users"):
        dn, _ = self.find(sam, "sAMAccountName")
        with self.connection() as handle:
            handle.modify_s("CN=%s,OU=Groups,%s" % (group, self.base), [(ldap.MOD_DELETE, "member", [dn.encode()])])

    def delete(self, sam):
        dn, _ = self.find(sam, "sAMAccountName")
        with self.connection() as handle:
            handle.delete_s(dn)

    def disable(self, sam):
        self._control(sam, on=DISABLED)

    def enable(self, sam):
        self._control(sam, off=DISABLED)

    def make_sensitive(self, sam):
        """The account cannot be delegated."""
        self._control(sam, on=NOT_DELEGATED)

    def _control(self, sam, on=0, off=0):
        self.set(sam, userAccountControl=int(self.get(sam, "userAccountControl")) & ~off | on)

    def expire(self, sam):
        self.set(sam, accountExpires="130000000000000000")      # in 2012

    def change_password(self, sam, password):
        self.set(sam, unicodePwd=_quoted(password))

    def password_is(self, sam, password):
        """Whether an LDAP bind with it succeeds (this counts as a try)."""
        try:
            with self.connection(sam + "@corp.example", password):
                return True
        except ldap.INVALID_CREDENTIALS:
            return False

    def lock(self, sam):
        """Five wrong passwords, as phones do it."""
        for _ in range(5):
            assert not self.password_is(sam, "Wr0ng.Passw0rd")
        assert self.get(sam, "lockoutTime") not in (None, "0")

    def unlock(self, sam):
        self.set(sam, lockoutTime="0")

    # faults

    @property
    def _samba_pid(self):
        with open(os.path.join(self.place, "samba.pid")) as f:
            return int(f.read())

    def pause(self):
        """The DC stays connected and says nothing (LDAP and KDC), until resume()."""
        os.killpg(self._samba_pid, signal.SIGSTOP)

    def resume(self):
        os.killpg(self._samba_pid, signal.SIGCONT)

    def stop(self):
        """The DC's process is killed: connections are cut, new ones refused."""
        pid = self._samba_pid
        ended = os.pidfd_open(pid)
        os.killpg(pid, signal.SIGKILL)
        select.select([ended], [], [], 10)
        os.close(ended)
        self._testbed("stop-dc")

    def start(self):
        self._testbed("start-dc")

    def reset(self):
        """The directory as it was made."""
        self._testbed("reset")

    def _testbed(self, verb):
        done = subprocess.run([os.path.join(SITE, "ad-testbed"), verb, self.place], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout

    def block(self, what, silently=False):
        """Only "kdc", "ldap" or "mail" goes away: refused, or silently dropped; open connections too."""
        tcp = "drop" if silently else "reject with tcp reset"
        udp = "drop" if silently else "reject"
        ports = ",".join(map(str, PORTS[what]))
        rules = ["table inet block_%s {" % what, "chain input {", "type filter hook input priority 0",
                 "tcp dport { %s } %s" % (ports, tcp), "udp dport { %s } %s" % (ports, udp), "}", "}"]
        self.run("nft", "\n".join(rules))

    def unblock(self, what):
        self.run("nft", "delete table inet block_" + what)

    def heal(self):
        """Whatever a test left broken works again."""
        self.run("nft", "flush ruleset")
        if not os.path.exists(os.path.join(self.place, "samba.pid")):
            self.start()
        self.resume()

    @property
    def log(self):
        """Samba's log as a LineLog: "Auth:" lines show every password check that reached the DC."""
        if self._log is None:
            self._log, close = follow(os.path.join(self.place, "log", "samba.log"))
            self._closers.append(close)
        return self._log

    def close(self):
        for close in self._closers:
            close()


def _quoted(password):
    return ('"%s"' % password).encode("utf-16-le")
