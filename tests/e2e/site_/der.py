"""Just enough DER writing for what libraries refuse to write: wrong, raw or very large structures."""
import datetime


def tlv(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def sequence(*parts):
    return tlv(0x30, *parts)


def context(number, *parts, constructed=True):
    return tlv((0xA0 if constructed else 0x80) | number, *parts)


def integer(value):
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def octets(value):
    return tlv(0x04, value)


def bits(value, unused=0):
    return tlv(0x03, bytes([unused]), value)


def boolean(value):
    return tlv(0x01, b"\xff" if value else b"\0")


def enumerated(value):
    return tlv(0x0A, bytes([value]))


def utf8(value):
    """`value` is text, or bytes that are to stand there as they are."""
    return tlv(0x0C, value.encode() if isinstance(value, str) else value)


def ia5(value):
    return tlv(0x16, value.encode() if isinstance(value, str) else value)


def oid(dotted):
    first, second, *rest = (int(n) for n in dotted.split("."))
    out = bytearray()
    for n in [first * 40 + second, *rest]:
        part = [n & 0x7F]
        while n := n >> 7:
            part.append(0x80 | n & 0x7F)
        out += bytes(reversed(part))
    return tlv(0x06, bytes(out))


def utc(when):
    """Seconds since the epoch, or a datetime that is UTC already, as a datetime without a zone."""
    if isinstance(when, datetime.datetime):
        return when
    return datetime.datetime.fromtimestamp(when, datetime.timezone.utc).replace(tzinfo=None)


def time(when):
    """RFC 5280: UTCTime until 2049, GeneralizedTime from 2050 on."""
    when = utc(when)
    if when.year < 2050:
        return tlv(0x17, when.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(0x18, when.strftime("%Y%m%d%H%M%SZ").encode())


def extension(dotted, value, critical=False):
    return sequence(oid(dotted), boolean(True) if critical else b"", octets(value))
