"""File names in line-based files: bytes up to the space, "%" and DEL are written %XX."""

_ESCAPED = bytes(range(33)) + b"%\x7f"


def escape(name):
    if not any(byte in _ESCAPED for byte in name):
        return name
    return b"".join(b"%%%02X" % byte if byte in _ESCAPED else b"%c" % byte for byte in name)


def unescape(text):
    if b"%" not in text:
        return text
    head, *rest = text.split(b"%")
    return head + b"".join(bytes((int(part[:2], 16),)) + part[2:] for part in rest)
