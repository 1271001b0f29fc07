"""Sizes, times and counts as people write them; a ValueError says what would be right."""

_SIZES = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LEAST_MEMORY = 1 << 20
_MOST_MEMORY = 1 << 46


def size(text):
    """Bytes of 512M, 2G, 1.5G; a bare number counts MiB, as --mem always did."""
    number, unit = text.strip().upper(), ""
    for suffix in ("IB", "B"):
        if number.endswith(suffix) and len(number) > len(suffix) and number[-len(suffix) - 1] in "KMGT":
            number = number[:-len(suffix)]
            break
    if number[-1:] in ("K", "M", "G", "T"):
        number, unit = number[:-1], number[-1]
    try:
        if not number.replace(".", "", 1).isdecimal() or not number.isascii():
            raise ValueError
        amount = int(float(number) * _SIZES[unit])
    except ValueError:
        raise ValueError(f"{text!r} is not a size; write it like 512M or 2G") from None
    if amount < _LEAST_MEMORY:
        raise ValueError(f"{text!r} is too little for a machine; write it like 512M or 2G")
    if amount > _MOST_MEMORY:
        raise ValueError(f"{text!r} is more than any host has (a number without K, M or G counts MiB)")
    return amount


def duration(text):
    """Seconds of 90, 10m, 1h30m, 2d or [D-]HH:MM:SS."""
    wrong = f"{text!r} is not a time; write it like 90 (seconds), 10m, 2h or HH:MM:SS"
    days, dash, clock = text.strip().rpartition("-")
    if ":" in clock:
        fields = clock.split(":")
        if len(fields) != 3 or not all(is_whole(field) for field in fields) or (dash and not is_whole(days)):
            raise ValueError(wrong)
        hours, minutes, seconds = map(int, fields)
        if minutes > 59 or seconds > 59:
            raise ValueError(wrong)
        total = (int(days or 0) * 24 + hours) * 3600 + minutes * 60 + seconds
    else:
        total, digits, least = 0, "", None
        for letter in text.strip().lower():
            if letter in _TIMES:
                unit = _TIMES[letter]
                if not is_whole(digits) or (least is not None and unit >= least):
                    raise ValueError(wrong)
                total, digits, least = total + int(digits) * unit, "", unit
            else:
                digits += letter
        if digits:
            if not is_whole(digits) or least is not None:
                raise ValueError(wrong)
            total = int(digits)
        elif least is None:
            raise ValueError(wrong)
    if total <= 0:
        raise ValueError("the time must be longer than nothing")
    if total > 10 ** 9:
        raise ValueError(f"{text!r} is longer than 30 years; leave the option out for no limit")
    return total


def is_whole(digits):
    """Whether the text is a whole number in ASCII digits."""
    return digits.isdecimal() and digits.isascii() and len(digits) < 16


def count(text):
    if not is_whole(text) or int(text) < 1:
        raise ValueError(f"{text!r} is not a whole number from 1 up")
    return int(text)
