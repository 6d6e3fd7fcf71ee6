"""Autodiscover: forwarded with the same credential, or answered by the proxy itself (DESIGN 4.1, threat 48)."""
import time
import xml.etree.ElementTree as ET

import pytest

from site_ import answers
from site_.enrol import hashed
from site_.strict import read_backend
from test_passwords import GOOD, basic

PATH = "/Autodiscover/Autodiscover.xml"
ASKS = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/requestschema/2006"
SAYS = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"
FRAME = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
URL = "https://mail.example.com/Microsoft-Server-ActiveSync"
XML = [("Content-Type", "text/xml")]


def question(address="alice@example.com", schema=SAYS):
    return ("<?xml version=\"1.0\" encoding=\"utf-8\"?><Autodiscover xmlns=\"%s\"><Request><EMailAddress>%s</EMailAddress>"
            "<AcceptableResponseSchema>%s</AcceptableResponseSchema></Request></Autodiscover>" % (ASKS, address, schema)).encode()


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


@pytest.fixture
def answering(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.autodiscover": "answer", "proxy.autodiscover_url": URL,
                                            "proxy.limits.body_idle_seconds": 1}))
    return phone(proxy, alice, server_name="autodiscover.example.com")


def ask(device, body, headers=XML, path=PATH):
    with device.connect() as line:
        return line.request("POST", path, headers, body, host=device.server_name)


@pytest.mark.quick
def test_it_is_forwarded_with_the_users_credential(start_proxy, configure, backend, phone, alice):
    backend.default = answers.echo()
    device = phone(start_proxy(configure(backend)), alice, server_name="autodiscover.example.com")
    for path in (PATH, "/autodiscover/autodiscover.xml", "/AutoDiscover/AutoDiscover.xml"):
        response = ask(device, question(), path=path)
        assert response.status == 200 and response.body == question()
    requests = read_backend(backend)
    assert [r.target.decode() for r in requests] == [PATH, "/autodiscover/autodiscover.xml", "/AutoDiscover/AutoDiscover.xml"]
    assert all(r.all(b"x-eas-user") == [b"alice"] for r in requests)


@pytest.mark.quick
def test_the_proxys_own_answer_names_the_address_and_the_url_for_the_certificates_user(answering, backend):
    response = ask(answering, question())
    assert response.status == 200 and response.get("Content-Type").startswith("text/xml")
    root = ET.fromstring(response.body)
    assert root.tag == "{%s}Autodiscover" % FRAME
    text = {e.tag.split("}")[1]: e.text for e in root.iter()}
    assert text["EMailAddress"] == "alice@example.com" and text["Url"] == URL and text["Type"] == "MobileSync"
    assert root.find(".//{%s}Server" % SAYS) is not None
    assert backend.received() == b""


@pytest.mark.quick
def test_a_device_is_sent_where_its_method_is_taken_and_who_only_knows_a_name_hears_nothing_of_us(
        start_proxy, configure, backend, phone, alice, accounts):
    accounts.change("alice", password=hashed(GOOD))
    proxy = start_proxy(configure(backend, {
        "proxy.autodiscover": "answer", "proxy.autodiscover_url": URL,
        "proxy.autodiscover_urls": {"certificate": "https://certificate.example.com/Microsoft-Server-ActiveSync",
                                    "password": "https://password.example.com/Microsoft-Server-ActiveSync"},
        "proxy.policies.0.methods": [{"certificate": "allowed", "password": "allowed"}],
        "proxy.upstreams.0.credential": "passthrough"}))
    response = ask(phone(proxy, alice, server_name="autodiscover.example.com"), question())
    assert b"https://certificate.example.com/Microsoft-Server-ActiveSync" in response.body and backend.received() == b""
    response = ask(phone(proxy, server_name="autodiscover.example.com"), question(), [*XML, *basic("alice")])
    assert b"https://password.example.com/Microsoft-Server-ActiveSync" in response.body and b"https://certificate" not in response.body
    guess = ask(phone(proxy, server_name="autodiscover.example.com"), question(), [*XML, *basic("alice", "a guess")])
    assert guess.status == 401 and guess.body == b"" and backend.received() == b""


@pytest.mark.quick
def test_it_is_read_in_pieces_chunks_and_after_100_continue(answering):
    body = question()
    head = "POST %s HTTP/1.1\r\nHost: autodiscover.example.com\r\n" % PATH
    with answering.connect() as line:
        line.send(head.encode() + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert line.reader._until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for n in range(0, len(body), 50):
            line.send(body[n:n + 50])
        assert URL.encode() in line.response().body
        line.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        for n in range(0, len(body), 50):
            line.send(b"%x\r\n%s\r\n" % (len(body[n:n + 50]), body[n:n + 50]))
        line.send(b"0\r\n\r\n")
        assert URL.encode() in line.response().body
        line.send((head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body) * 3)
        assert [line.response().status for _ in range(3)] == [200] * 3


@pytest.mark.quick
def test_another_mailbox_than_the_certificates_is_403(answering, backend):
    for address in ("bob@example.com", "alice@elsewhere.example", "alice@example.com.evil.example"):
        assert ask(answering, question(address)).status == 403, address
    assert backend.received() == b""


@pytest.mark.quick
def test_threat_48_what_is_no_plain_request_gets_an_error_of_the_schema(answering, backend):
    entity = question().replace(b"<Autodiscover", b"<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><Autodiscover")
    bomb = b"<!DOCTYPE x [" + b"".join(b"<!ENTITY e%d \"%s\">" % (n + 1, b"&e%d;" % n * 10) for n in range(10)) + b"]>" + question()
    for name, body in {"outside entity": entity.replace(b"alice@example.com", b"&e;"), "bomb": bomb, "no xml": b"hello", "nothing": b"",
                       "cut": question()[:100], "another encoding": question().decode().encode("utf-16"),
                       "no address": question("")}.items():
        began = time.monotonic()
        response = ask(answering, body)
        assert response.status == 200 and b"<ErrorCode>600</ErrorCode>" in response.body, name
        assert b"root:" not in response.body and time.monotonic() - began < 1
    response = ask(answering, question(schema="http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"))
    assert b"<ErrorCode>601</ErrorCode>" in response.body
    assert backend.received() == b""


def test_a_question_that_is_too_large_is_413_and_one_that_does_not_come_is_408(answering):
    for body in (b" " * 16385, b" " * 100000):
        assert ask(answering, body).status == 413
    with answering.connect() as line:
        line.send(("POST %s HTTP/1.1\r\nHost: autodiscover.example.com\r\nContent-Length: 100\r\n\r\n<?xml" % PATH).encode())
        assert line.response().status == 408 and line.closed()
    with answering.connect() as line:
        line.send(("POST %s HTTP/1.1\r\nHost: autodiscover.example.com\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" % PATH).encode())
        assert line.response().status == 400 and line.closed()


@pytest.mark.quick
def test_who_may_not_sync_gets_no_answer_either(start_proxy, configure, backend, phone, pki, crl):
    mallory, revoked = pki.device_ca.device("mallory@corp.example"), pki.device_ca.device("alice@corp.example")
    pki.device_ca.write_crl(crl, [revoked])
    proxy = start_proxy(configure(backend, {"proxy.autodiscover": "answer", "proxy.autodiscover_url": URL}))
    assert ask(phone(proxy, mallory), question("mallory@example.com")).status == 403
    assert ask(phone(proxy, revoked), question()).status == 403
