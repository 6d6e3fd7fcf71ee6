#!/usr/bin/python3
"""ad-populate.py DIR ADDRESS: fills the freshly made test domain in DIR.

Every account differs from a plain one in a single thing, which is what a test needs it for. Works on the
database files while no server runs; writes the service accounts' keytabs to DIR/keytabs.
"""
import sys

import ldb
import samba.dckeytab                                           # noqa: F401  adds Net.export_keytab
from samba.auth import system_session
from samba.ndr import ndr_pack
from samba.net import Net
from samba.param import LoadParm
from samba.provision.sambadns import ARecord
from samba.samdb import SamDB

SENSITIVE, SMARTCARD, NOEXPIRE, TO_DELEGATE = 0x100000, 0x40000, 0x10000, 0x1000000
MAIL_SPN = ["HTTP/mail.corp.example", "HTTP/mail"]
SECOND = 10 ** 7                                                # AD counts in 100 ns, durations are negative

lp = LoadParm()
lp.load(sys.argv[1] + "/smb.conf")
db = SamDB(lp=lp, session_info=system_session(lp))
base = str(db.domain_dn())


def modify(dn, **values):
    """Replaces attributes; `_` in a name stands for `-`."""
    message = ldb.Message()
    message.dn = ldb.Dn(db, str(dn))
    for name, value in values.items():
        name = name.replace("_", "-")
        message[name] = ldb.MessageElement(value, ldb.FLAG_MOD_REPLACE, name)
    db.modify(message)


def find(sam):
    found = db.search(base, ldb.SCOPE_SUBTREE, "(sAMAccountName=%s)" % sam, attrs=["userAccountControl"])[0]
    return found.dn, int(found["userAccountControl"][0])


def user(sam, upn=None, ou="People", bits=0, **values):
    db.newuser(sam, "Passw0rd." + sam, userou="OU=" + ou, useusernameascn=True)
    dn, control = find(sam)
    modify(dn, userPrincipalName=upn or sam + "@corp.example", **values)
    if bits:
        modify(dn, userAccountControl=str(control | bits))
    return dn


def group(name, *members):
    db.newgroup(name, groupou="OU=Groups")
    db.add_remove_group_members(name, list(members), add_members_operation=True)


def service(sam, spn=None, bits=0, to=None):
    dn = user(sam, ou="Services", bits=bits | NOEXPIRE, msDS_SupportedEncryptionTypes="24")
    db.setpassword("(sAMAccountName=%s)" % sam, "Passw0rd." + sam, False)     # keys again, now AES only
    if spn:
        modify(dn, servicePrincipalName=spn)
    if to:
        modify(dn, msDS_AllowedToDelegateTo=to)


def names_and_policy(address):
    zone = "DC=corp.example,CN=MicrosoftDNS,DC=DomainDnsZones," + base
    record = ndr_pack(ARecord(address))
    modify("DC=dc1," + zone, dnsRecord=record)
    for name in ("mail", "mail2", "proxy"):
        db.add({"dn": "DC=%s,%s" % (name, zone), "objectClass": "dnsNode", "dnsRecord": record})
    # the DC's own service names, which a service that does not run here would add
    modify(find("DC1$")[0], servicePrincipalName=[
        "HOST/dc1.corp.example", "HOST/DC1", "HOST/dc1.corp.example/corp.example", "ldap/dc1.corp.example",
        "ldap/DC1", "ldap/dc1.corp.example/corp.example", "ldap/dc1.corp.example/CORP",
        "GC/dc1.corp.example/corp.example"])
    # lock out at 5 failures for half an hour; tests change passwords as often as they like
    modify(base, lockoutThreshold="5", lockoutDuration=str(-1800 * SECOND), minPwdAge="0",
           lockOutObservationWindow=str(-1800 * SECOND), maxPwdAge=str(-2 ** 63))
    modify("CN=Partitions,CN=Configuration," + base, uPNSuffixes=["example.com", "mobile.example.com"])
    for ou in ("People", "Services", "Groups"):
        db.add({"dn": "OU=%s,%s" % (ou, base), "objectClass": "organizationalUnit"})


def people():
    user("alice", mail="alice.adams@example.com", altSecurityIdentities=[
        "X509:<I>DC=example,DC=corp,CN=Test Bed CA<S>CN=alice",
        "X509:<I>DC=example,DC=corp,CN=Test Bed CA<SR>1200000000ac11000000002b",
        "X509:<SKI>9a1f5e0c4d3b2a190807f6e5d4c3b2a190807f6e",
        "X509:<SHA1-PUKEY>50bf88e67522ab8ce093ce51830ab0bcf8ba7824",
        "X509:<RFC822>alice.adams@example.com"])
    user("bob", "bob.builder@example.com", mail="bob.builder@example.com")    # UPN is not name@realm
    user("carol")
    db.disable_account("(sAMAccountName=carol)")
    user("dave", accountExpires="130000000000000000")                         # expired in 2012
    user("erin", pwdLastSet="0")                                              # must change the password
    user("frank", bits=SENSITIVE)                                             # cannot be delegated
    user("grace")                                                             # in Protected Users
    user("henry")                                                             # locked at 3 by its own policy
    user("ivan", "ivan@mobile.example.com")
    user("judy", bits=SMARTCARD)                                              # smart card required
    user("kim", logonHours=b"\0" * 21)                                        # never allowed to log on
    user("mallory")                                                           # in no group that may sync
    user("zoe", "zo\u00eb@corp.example".encode())                             # UPN outside ASCII
    load = ["load%02d" % i for i in range(1, 21)]
    for name in load:
        user(name)
    group("EAS-Team", "alice", "zoe", *load)
    group("EAS-Dept", "EAS-Team")
    # alice is a member only by nesting
    group("EAS-Users", "EAS-Dept", "bob", "carol", "dave", "erin", "frank", "grace", "ivan", "judy", "kim")
    group("EAS-Denied", "henry")
    db.add_remove_group_members("Protected Users", ["grace"], add_members_operation=True)
    db.add_remove_group_members("EAS-Users", ["Administrator"], add_members_operation=True)
    db.add({"dn": "CN=pso-strict,CN=Password Settings Container,CN=System," + base,
            "objectClass": "msDS-PasswordSettings", "msDS-PasswordSettingsPrecedence": "10",
            "msDS-PasswordReversibleEncryptionEnabled": "FALSE", "msDS-PasswordHistoryLength": "24",
            "msDS-PasswordComplexityEnabled": "TRUE", "msDS-MinimumPasswordLength": "8",
            "msDS-MinimumPasswordAge": "0", "msDS-MaximumPasswordAge": str(-42 * 86400 * SECOND),
            "msDS-LockoutThreshold": "3", "msDS-LockoutObservationWindow": str(-600 * SECOND),
            "msDS-LockoutDuration": str(-600 * SECOND),
            "msDS-PSOAppliesTo": "CN=EAS-Denied,OU=Groups," + base})


def services():
    db.newcomputer("MAIL", prepare_oldjoin=False)
    modify(find("MAIL$")[0], dNSHostName="mail.corp.example", userAccountControl=str(0x1000),
           msDS_SupportedEncryptionTypes="28",
           servicePrincipalName=MAIL_SPN + ["HTTP/mail2.corp.example", "HOST/mail.corp.example"])
    db.setpassword("(sAMAccountName=MAIL$)", "Mail.Serv1ce.Passw0rd", False)
    service("svc-easproxy", ["HTTP/proxy.corp.example", "HTTP/proxy"], TO_DELEGATE, MAIL_SPN)
    # each of the next lacks one thing
    service("svc-nospn", None, TO_DELEGATE, MAIL_SPN)                # S4U2Self refused
    service("svc-not2a4d", ["HTTP/p2.corp.example"], 0, MAIL_SPN)    # S4U2Self gives no forwardable ticket
    service("svc-nodeleg", ["HTTP/p3.corp.example"], TO_DELEGATE)    # S4U2Proxy refused
    service("svc-stale", ["HTTP/p4.corp.example"], TO_DELEGATE, MAIL_SPN)   # its keytab has an old password
    service("svc-ldap")                                              # reads the directory
    net = Net(None, lp)
    keytabs = {name: [name] for name in ("svc-easproxy", "svc-nospn", "svc-not2a4d", "svc-nodeleg", "svc-stale",
                                         "svc-ldap")}
    keytabs["mail"] = ["HTTP/mail.corp.example", "HTTP/mail", "HTTP/mail2.corp.example", "MAIL$"]
    for keytab, principals in keytabs.items():
        for principal in principals:
            net.export_keytab(keytab="%s/keytabs/%s.keytab" % (sys.argv[1], keytab), principal=principal)
    db.setpassword("(sAMAccountName=svc-stale)", "An0ther.Passw0rd.since", False)


names_and_policy(sys.argv[2])
people()
services()
