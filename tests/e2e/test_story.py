"""The main job on real parts: a certificate that names only a UPN, a real AD, a mail server that takes only Kerberos, Redis."""
import time

def test_alice_syncs_whatever_happens_to_her_password_until_she_is_disabled(ad, pki, phone, kerberos_proxy, revocation_in_redis):
    """Certificate with her UPN only -> mail as alice@REALM; new password: goes on; disabled: 403 and her held Ping ends."""
    sam = ad.account()
    proxy = kerberos_proxy(redis=revocation_in_redis)
    device = phone(proxy, pki.device_ca.device(sam + "@corp.example"), user=sam)
    log = ad.mail.mark()
    assert device.sync().status == 200
    ad.mail.wait_access(user="%s@%s" % (sam, ad.realm), status=200, since=log)

    ad.change_password(sam, "An0ther.Passw0rd")
    log = ad.mail.mark()
    assert device.sync().status == 200
    ad.mail.wait_access(user="%s@%s" % (sam, ad.realm), status=200, since=log)
    assert ad.get(sam, "badPwdCount") in (None, "0")

    held = device.ping()
    assert held.waiting
    changed = time.monotonic()
    ad.disable(sam)
    assert held.wait(10).status == 403
    took = time.monotonic() - changed
    assert took < 1.5, "the Ping ended %.2f s after the account was disabled" % took
    refused = phone(proxy, pki.device_ca.device(sam + "@corp.example"), user=sam).sync()
    assert refused.status == 403
    line = proxy.wait_event("refused", reason="account-disabled")
    assert line["audit"] is True
    proxy.assert_never("An0ther.Passw0rd", "Negotiate", ad.reader_password)


def test_a_certificate_revoked_in_redis_loses_every_live_connection_within_a_second(
        ad, pki, phone, kerberos_proxy, revocation_in_redis):
    sam = ad.account()
    proxy = kerberos_proxy(changes={"proxy.workers": 2}, redis=revocation_in_redis)
    identity = pki.device_ca.device(sam + "@corp.example")
    devices = [phone(proxy, identity, user=sam) for _ in range(4)]
    pings = [device.ping() for device in devices]
    assert all(p.waiting for p in pings)
    started = time.monotonic()
    revocation_in_redis.revoke(pki.device_ca, identity)
    for p in pings:
        assert p.wait(5).status == 403
    assert time.monotonic() - started < 1.0
    assert phone(proxy, identity, user=sam).sync().status == 403


def test_an_account_that_is_no_mail_user_or_a_protected_one_gets_403(ad, pki, phone, kerberos_proxy, revocation_in_redis):
    proxy = kerberos_proxy(redis=revocation_in_redis)
    cases = {"henry": "not-in-group", "carol": "account-disabled", "dave": "account-expired", "frank": "delegation-forbidden"}
    for sam, reason in cases.items():
        identity = pki.device_ca.device(sam + "@corp.example")
        assert phone(proxy, identity, user=sam).sync().status == 403, sam
        assert proxy.wait_event("refused", reason=reason)["status"] == 403
    unknown = pki.device_ca.device("nobody-here@corp.example")
    assert phone(proxy, unknown, user="nobody-here").sync().status == 403
    proxy.wait_event("refused", reason="account-unknown")
