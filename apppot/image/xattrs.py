"""Extended attributes of guests' files, and how files of the host keep those that an ordinary user can't set.

`user.*` are what they are. `trusted.*`, `security.*` and access control lists are kept under names of the user namespace,
`user.apppot.` and the true name, which guests don't see (`security.capability` as `user.apppot.capability`, as it always
was). A list of the image is so no list of the host's: its numbers are users of the guest. What a file of the host has of
these by itself, in a directory that root made, is seen where nothing is kept. Its security labels are the host's affair.

Names are str. Symlinks, FIFOs and sockets can keep none: Linux allows no `user.*` on them.
"""

from errno import EACCES, ENODATA, EOPNOTSUPP
import os

from apppot.image import acl

PRIVATE = "user.apppot."
CAPABILITY = "security.capability"
_KEPT_CAPABILITY = PRIVATE + "capability"
_SPACES = ("trusted.", "security.")


def is_kept(name):
    """Whether an attribute is one that is kept under another name."""
    return name.startswith(_SPACES) or name in acl.NAMES


def kept_name(name):
    return _KEPT_CAPABILITY if name == CAPABILITY else PRIVATE + name


def names(path):
    """Those of a host file that its guests may know of, in no order."""
    found = dict.fromkeys(os.listxattr(path, follow_symlinks=False))
    for name in [name for name in found if name.startswith(PRIVATE)]:
        del found[name]
        found[CAPABILITY if name == _KEPT_CAPABILITY else name[len(PRIVATE):]] = None
    return list(found)


def settable(path):
    """The host's own names of what a host file has and its owner may set and remove; none where there can't be any."""
    try:
        return [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user.") or name in acl.NAMES]
    except OSError:
        return []


def get(path, name):
    """The value. OSError(ENODATA): there is none."""
    if is_kept(name):
        try:
            return os.getxattr(path, kept_name(name), follow_symlinks=False)
        except OSError as error:
            if error.errno == EACCES:      # for user.* the file must be readable, for what is kept under it need not
                if kept_name(name) in os.listxattr(path, follow_symlinks=False):
                    raise
            elif error.errno not in (ENODATA, EOPNOTSUPP):
                raise
    return os.getxattr(path, name, follow_symlinks=False)


def read(path, mode=None):
    """{name: value} of all that belongs to the file, wherever it is; sorted. What can't be read isn't there.

    mode: the file's true one, where that isn't the host's; its access control list says the same then.
    """
    found = {}
    try:
        listed = sorted(names(path))
    except OSError:
        return found
    for name in listed:
        try:
            if name.startswith("security.") and name != CAPABILITY:
                found[name] = os.getxattr(path, kept_name(name), follow_symlinks=False)
            elif name.startswith("user.") or is_kept(name):
                found[name] = get(path, name)
        except OSError:
            continue
    if mode is not None and acl.ACCESS in found:
        found[acl.ACCESS] = acl.pack(acl.with_mode(acl.parse(found[acl.ACCESS]), mode))
    return found


def put(where, attributes):
    """Give a host file these attributes as well. where: a descriptor, or a path whose end is not followed.

    Returns {name: error} of what could not be kept.
    """
    refused = {}
    for name, value in attributes.items():
        if not name.startswith("user.") and not is_kept(name):
            continue
        try:
            os.setxattr(where, kept_name(name) if is_kept(name) else name, value, follow_symlinks=isinstance(where, int))
        except (OSError, ValueError) as error:
            refused[name] = error
    return refused


def put_as(root, where, attributes):
    """The same for a tree of its own: as root they are what they are called, where the host has such attributes."""
    kept = dict(attributes)
    for name in attributes if root else ():
        try:
            os.setxattr(where, name, attributes[name], follow_symlinks=isinstance(where, int))
            del kept[name]
        except (OSError, ValueError):
            pass
    return put(where, kept)


def hand_down(directory):
    """Let the host's kernel give what is made in a directory the access control lists that guests expect.

    Guests make files there by themselves, so its default list must be the host's as well. The directories above keep the
    host's other users out. A host without such lists hands nothing down.
    """
    try:
        entries = acl.parse(os.getxattr(directory, kept_name(acl.DEFAULT)))
        value = acl.pack([(tag, 7 if tag == acl.USER_OBJ else bits, number) for tag, bits, number in entries])
        os.setxattr(directory, acl.DEFAULT, value)
    except OSError:
        pass
