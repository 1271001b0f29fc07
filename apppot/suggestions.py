"""What to say to somebody who wrote a word that is not known: the one that was perhaps meant, or where to find it."""


def among(word, known):
    """For a command or key: the rest of a line that begins with what is wrong."""
    near = _near(word, known)
    return f"{f'did you mean {near}? T' if near else 't'}here are: {', '.join(known)}"


def option(name, known, elsewhere):
    """The line for an unknown option. elsewhere: {option of other tools: what to say instead}."""
    found = elsewhere.get(name) or elsewhere.get(name[:2])       # also with what is joined to a letter: -w/tmp
    if found:
        return f"unknown option {name}; {found}"
    if "-" + name in known:                     # -image
        near = "-" + name
    else:
        near = _near(name, [other for other in known if other[:2] == name[:2] == "--"])
    return f"unknown option {name}; {f'did you mean {near}?' if near else '--help lists the options'}"


def _near(word, known):
    from difflib import get_close_matches
    return next(iter(get_close_matches(word, known, n=1)), None)
