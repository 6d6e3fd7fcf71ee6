"""ActiveSync bodies: enough WBXML to ask and to read what a phone asks and reads (MS-ASWBXML).

A document is nested tuples: ("FolderSync", ("SyncKey", "0")). decode() gives the same form back, tags that are not
in the tables as "page:tag"; opaque data and text both as str, or bytes where they are no UTF-8.
"""
PAGES = {
    0: {"Sync": 5, "Responses": 6, "Add": 7, "Change": 8, "Delete": 9, "Fetch": 10, "SyncKey": 11, "ClientId": 12,
        "ServerId": 13, "Status": 14, "Collection": 15, "Class": 16, "CollectionId": 18, "GetChanges": 19,
        "MoreAvailable": 20, "WindowSize": 21, "Commands": 22, "Options": 23, "FilterType": 24, "Collections": 28,
        "ApplicationData": 29, "Wait": 33, "HeartbeatInterval": 41},
    2: {"From": 24, "Subject": 20, "To": 22, "DateReceived": 15, "Read": 21},
    7: {"DisplayName": 7, "ServerId": 8, "ParentId": 9, "Type": 10, "Status": 12, "Changes": 14, "Add": 15,
        "SyncKey": 18, "FolderSync": 22, "Count": 23},
    13: {"Ping": 5, "Status": 7, "HeartbeatInterval": 8, "Folders": 9, "Folder": 10, "Id": 11, "Class": 12},
    21: {"SendMail": 5, "SaveInSentItems": 8, "Mime": 16, "ClientId": 17},
    14: {"Provision": 5, "Policies": 6, "Policy": 7, "PolicyType": 8, "PolicyKey": 9, "Data": 10, "Status": 11},
}
NAMES = {page: {number: tag for tag, number in tags.items()} for page, tags in PAGES.items()}
SWITCH_PAGE, END, STR_I, OPAQUE = 0, 1, 3, 0xC3
HEADER = b"\x03\x01\x6a\x00"            # WBXML 1.3, unknown public id, UTF-8, no string table


def encode(document, page):
    """`page`: the code page of all its tags; a tag of another one is written as (page, tag)."""
    out = bytearray(HEADER)
    _element(out, document, page, 0)
    return bytes(out)


def _element(out, element, page, current):
    tag, *content = element
    if isinstance(tag, tuple):
        page, tag = tag
    if page != current:
        out += bytes([SWITCH_PAGE, page])
    out.append(PAGES[page][tag] | (0x40 if content else 0))
    current = page
    for child in content:
        if isinstance(child, str):
            out += bytes([STR_I]) + child.encode() + b"\0"
        elif isinstance(child, bytes):
            out += bytes([OPAQUE]) + _size(len(child)) + child
        else:
            current = _element(out, child, page, current)
    if content:
        out.append(END)
    return current


def _size(value):
    out = bytes([value & 0x7F])
    while value := value >> 7:
        out = bytes([0x80 | value & 0x7F]) + out
    return out


def decode(data):
    if data[:2] != HEADER[:2] or data[3:4] != b"\0":
        raise ValueError("no ActiveSync WBXML: %r" % data[:8])
    at, page = 4, 0
    root = []
    stack = [root]
    while at < len(data):
        token, at = data[at], at + 1
        if token == SWITCH_PAGE:
            page, at = data[at], at + 1
        elif token == END:
            stack.pop()
        elif token == STR_I:
            end = data.index(0, at)
            stack[-1].append(_text(data[at:end]))
            at = end + 1
        elif token == OPAQUE:
            size, at = _number(data, at)
            stack[-1].append(_text(data[at:at + size]))
            at += size
        else:
            tag = NAMES.get(page, {}).get(token & 0x3F, "%d:%d" % (page, token & 0x3F))
            element = [tag]
            stack[-1].append(element)
            if token & 0x40:
                stack.append(element)
    if len(stack) != 1 or len(root) != 1:
        raise ValueError("unbalanced WBXML")
    return _tuples(root[0])


def _number(data, at):
    value = 0
    while True:
        byte, at = data[at], at + 1
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, at


def _text(raw):
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return bytes(raw)


def _tuples(element):
    return tuple(_tuples(x) if isinstance(x, list) else x for x in element)


def all_of(document, tag):
    """The first content of every `tag` in the document, in order."""
    found = []
    if document[0] == tag:
        found.append(document[1] if len(document) > 1 else "")
    for child in document[1:]:
        if isinstance(child, tuple):
            found += all_of(child, tag)
    return found


def folder_sync(key="0"):
    return encode(("FolderSync", ("SyncKey", key)), 7)


def sync(key="0", collection="1"):
    body = [("SyncKey", key), ("CollectionId", collection)]
    if key != "0":
        body += [("GetChanges",), ("WindowSize", "25")]
    return encode(("Sync", ("Collections", ("Collection", *body))), 0)


def provision():
    return encode(("Provision", ("Policies", ("Policy", ("PolicyType", "MS-EAS-Provisioning-WBXML")))), 14)


def send_mail(mime, client_id):
    return encode(("SendMail", ("ClientId", client_id), ("SaveInSentItems",), ("Mime", mime)), 21)


def ping(heartbeat=60, folders=("1",)):
    return encode(("Ping", ("HeartbeatInterval", str(heartbeat)),
                   ("Folders", *(("Folder", ("Id", f), ("Class", "Email")) for f in folders))), 13)
