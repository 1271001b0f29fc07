"""AF_UNIX addresses are names of files: they are translated on the way in and on the way out.

Before its ABI 9 Landlock does not mediate connecting and sending to such names, so what the supervisor has checked must be what the
kernel uses: the task connects to a name that only the supervisor can change, or, where no such name can be made, the
supervisor connects by itself, on its duplicate of the socket, to the file that it has found; other addresses and
message headers are copied to the window and the call is made with the copy. Calls on sockets that can't name a file
pass. Without a network, only AF_UNIX addresses lead anywhere.
"""

import fcntl
import os
import stat
import struct
from errno import (EADDRINUSE, EADDRNOTAVAIL, ECONNREFUSED, EEXIST, EINTR, EINVAL, ENAMETOOLONG, ENETUNREACH, ENODEV, ENOENT,
                   EROFS)

from apppot.syscalls.answer import NATIVE, Later, RunHere, Structure
from apppot.syscalls.decode import Fd, Int, Ptr, U64, UInt
from apppot.syscalls.paths import error

_AF_UNSPEC, _AF_UNIX, _AF_NETLINK = 0, 1, 16
# Without a network. To connect to AF_UNSPEC ends a connection; what is sent there goes to the address behind it, as with
# AF_INET (udp_sendmsg() in net/ipv4/udp.c).
_TO_SEND = (_AF_UNIX, _AF_NETLINK)
_TO_CONNECT = (_AF_UNSPEC, *_TO_SEND)
_SOCK_DGRAM = 2
_SOL_SOCKET, _SO_TYPE, _SO_DOMAIN = 1, 3, 39
_S_IFSOCK = 0o140000
_SENDMSG = 46
_SUN_PATH = 108
_SOCKADDR_MAX = 128  # sizeof(struct sockaddr_storage)
_MSGHDR = struct.Struct("<QIxxxxQQQQixxxx")
_NAMES_KEPT = 4096
# Options that join a group, by level (IPPROTO_IP, IPPROTO_IPV6): <linux/in.h>, <linux/in6.h>.
_JOIN = {0: (35, 39, 42, 46), 41: (20, 27, 42, 46)}


def _socket(task, fd):
    """A socket object on a duplicate of the task's descriptor; close it."""
    from _socket import socket

    own = task.getfd(fd)
    try:
        return socket(_AF_UNIX, _SOCK_DGRAM, 0, own)  # what it really is, is not looked at
    except OSError:
        os.close(own)
        raise


def _kind(task, fd):
    """(domain, type) of a socket."""
    sock = _socket(task, fd)
    try:
        return sock.getsockopt(_SOL_SOCKET, _SO_DOMAIN), sock.getsockopt(_SOL_SOCKET, _SO_TYPE)
    finally:
        sock.close()


# -- addresses on the way in

def connect(task, fd: Fd, address: Ptr, length: Int):
    data = _read(task, address, length)
    name = _file_name(data)
    if name is None:
        _check_address(task, data, _TO_CONNECT)
        return RunHere({1: data, 2: len(data)})
    node = _socket_node(task, name)
    pinned = _pin(node)
    link = task.machine.name_of_socket(task, node, pinned)
    if link is not None:
        os.close(pinned)
        return _connect_by(task, link)
    try:
        sock = _socket(task, fd)
    except OSError:
        os.close(pinned)
        if os.path.lexists(b"/proc/%d/fd/%d" % (task.tid, fd)):        # before Linux 5.6
            data = _sockaddr(task, node.host)
            return RunHere({1: data, 2: len(data)})
        raise
    return _connect(sock, pinned)


def _pin(node):
    """A descriptor of the socket that the node is: no symlink put in its way later leads elsewhere."""
    from apppot.vfs import abi

    fd, code = abi.pin(node.host)
    if fd < 0:
        raise error(code)
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        os.close(fd)
        raise error(ECONNREFUSED)
    return fd


def _connect_by(task, link):
    """The task connects by itself: the server's SO_PEERCRED shows its number, and signals interrupt it."""
    def remove(task, result):
        task.group.remove_temporary(link)
        return result

    try:
        data = _sockaddr(task, link)
    except OSError:
        task.group.remove_temporary(link)
        raise
    return RunHere({1: data, 2: len(data)}, remove)


def _connect(sock, pinned):
    """The answer to connect: made here, since Landlock would let the guest follow whatever the name leads to by then.

    Both descriptors are closed. Where the other side takes no more for now, a process beside the supervisor waits.
    """
    name = b"/proc/self/fd/%d" % pinned
    flags = fcntl.fcntl(sock, fcntl.F_GETFL)
    try:
        fcntl.fcntl(sock, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        try:
            sock.connect(name)
        finally:
            fcntl.fcntl(sock, fcntl.F_SETFL, flags)
    except BlockingIOError:
        if flags & os.O_NONBLOCK:
            _close(sock, pinned)
            raise
        return Later(lambda: _wait_to_connect(sock, name), lambda status: _connected(sock, pinned, status),
                     lambda: _close(sock, pinned))
    except OSError:
        _close(sock, pinned)
        raise
    _close(sock, pinned)
    return 0


def _wait_to_connect(sock, name):
    try:
        sock.setblocking(True)
        sock.connect(name)
    except OSError as refused:
        return refused.errno
    return 0


def _connected(sock, pinned, status):
    _close(sock, pinned)
    if status:
        raise error(EINTR if status < 0 else status)
    return 0


def _close(sock, pinned):
    sock.close()
    os.close(pinned)


def bind(task, fd: Fd, address: Ptr, length: Int):
    data = _read(task, address, length)
    name = _file_name(data)
    if name is None:
        if task.machine.network == "none" and _family(data) not in (_AF_UNIX, _AF_NETLINK):
            raise error(EADDRNOTAVAIL)
        return RunHere({1: data, 2: len(data)})
    node = task.ns.resolve(task.caller, name, follow=False)
    try:
        host = task.ns.create_path(task.caller, node)
    except OSError as refused:
        raise error(EADDRINUSE if refused.errno == EEXIST else refused.errno) from None
    data = _sockaddr(task, host, task.host_cwd())

    def remember(task, result):
        if result == 0:
            names = task.machine.socket_names
            if len(names) >= _NAMES_KEPT:
                names.clear()
            names[_file_name(data)] = name
        return result

    return RunHere({1: data, 2: len(data)}, remember)


def listen(task, fd: Fd):
    """Stops only without a network."""
    if _kind(task, fd)[0] != _AF_UNIX:
        raise error(EADDRNOTAVAIL)
    return NATIVE


def setsockopt(task, fd: Fd, level: Int, name: Int):
    """Stops only without a network."""
    if name in _JOIN.get(level, ()):
        raise error(ENODEV)
    return NATIVE


def sendto(task, fd: Fd, content: Ptr, size: U64, flags: Int, address: Ptr, length: Int):
    if _cannot_name(task, fd):
        return NATIVE
    data = _read_address(task, address, length)
    return RunHere({4: data, 5: len(data)})


def sendmsg(task, fd: Fd, message: Ptr, flags: UInt):
    if _cannot_name(task, fd):
        return NATIVE
    return RunHere({1: _message(task, message)})


def sendmmsg(task, fd: Fd, messages: Ptr, count: UInt, flags: UInt):
    """Only the first message is sent, with sendmsg: the kernel too may send fewer than it is asked to."""
    if not count or _cannot_name(task, fd):
        return NATIVE

    def tell_length(task, result):
        if result < 0:
            return result
        task.write(messages + _MSGHDR.size, struct.pack("<I", result))
        return 1

    return RunHere({1: _message(task, messages), 2: flags}, tell_length, _SENDMSG)


def _cannot_name(task, fd):
    """Whether what is sent on this socket can go as it stands: no address that comes with it is a file's.

    Stream and sequenced-packet sockets send only to whom they are connected.
    """
    if task.machine.network == "none":
        return False
    domain, kind = _kind(task, fd)
    return domain != _AF_UNIX or kind != _SOCK_DGRAM


def _message(task, address):
    """A copy of the struct msghdr at `address`, with its address translated."""
    data = task.read(address, _MSGHDR.size)
    name, length, *rest = _MSGHDR.unpack(data)
    if not name or not length:
        return data
    placed = _read_address(task, name, min(Int(task, length), _SOCKADDR_MAX))
    return Structure(_MSGHDR.pack(0, len(placed), *rest), {0: placed})


def _read_address(task, address, length):
    """The address to connect or send to, as the host knows it."""
    data = _read(task, address, length)
    name = _file_name(data)
    if name is None:
        _check_address(task, data, _TO_SEND)
        return data
    return _sockaddr(task, _socket_node(task, name).host)


def _check_address(task, data, families):
    """Raise unless an address that names no file may be connected or sent to. families: those that lead nowhere outside."""
    if task.machine.network == "none" and data and _family(data) not in families:
        raise error(ENETUNREACH)
    if _family(data) == _AF_UNIX and len(data) > 2 and not task.machine.wall.scoped and not _is_ours(task, data[2:]):
        raise error(ECONNREFUSED)


def _is_ours(task, name):
    """Whether the abstract address `name` is that of a socket which a task of the machine has open."""
    shown = b"@" + name[1:].replace(b"\0", b"@")          # as /proc/net/unix shows it
    inodes = set()
    with open("/proc/self/net/unix", "rb") as file:
        for line in file:
            fields = line.split(None, 7)
            if len(fields) == 8 and fields[7].rstrip(b"\n") == shown:
                inodes.add(b"socket:[%s]" % fields[6])
    if not inodes:
        return False
    for tgid in task.machine.processes():
        try:
            with os.scandir(b"/proc/%d/fd" % tgid) as entries:
                if any(os.readlink(entry.path) in inodes for entry in entries):
                    return True
        except OSError:
            continue
    return False


def _socket_node(task, name):
    """The node of the socket called `name`. A link in /proc to one that a guest has open is none: it may be anybody's."""
    node = task.ns.resolve(task.caller, name)
    if not node.kind:
        raise error(ENOENT)
    if node.kind != _S_IFSOCK or node.mount.fs is task.machine.procfs:
        raise error(ECONNREFUSED)
    if task.caller.virtual:
        try:
            task.ns.access(task.caller, node, os.W_OK)
        except OSError as refused:
            if refused.errno != EROFS:  # writing to a socket changes no file
                raise
    return node


def _read(task, address, length):
    if not 0 <= length <= _SOCKADDR_MAX:
        raise error(EINVAL)
    return task.read(address, length) if length else b""


def _family(data):
    return struct.unpack_from("<H", data)[0] if len(data) >= 2 else _AF_UNSPEC


def _file_name(data):
    """The file that a sockaddr names; None for other families, abstract addresses and the empty one."""
    if _family(data) != _AF_UNIX or len(data) <= 2 or not data[2] or len(data) > 2 + _SUN_PATH:
        return None
    return data[2:].split(b"\0")[0]


def _sockaddr(task, host, cwd=None):
    """The struct sockaddr_un of a host path; the directory of a long one goes by a short alias.

    cwd: host path that a name too long even so may be relative to. Only to bind: there Landlock sees where another
    thread's chdir would lead it.
    """
    if len(host) >= _SUN_PATH:
        directory, _, name = host.rpartition(b"/")
        host = task.machine.socket_alias(directory) + b"/" + name
        if len(host) >= _SUN_PATH:
            if len(name) > _SUN_PATH or directory != cwd:
                raise error(ENAMETOOLONG)
            return struct.pack("<H", _AF_UNIX) + name.ljust(_SUN_PATH, b"\0")
    return struct.pack("<H", _AF_UNIX) + host + b"\0"


# -- addresses on the way out

def getsockname(task, fd: Fd, address: Ptr, length: Ptr):
    return _name_of(task, fd, address, length, "getsockname")


def getpeername(task, fd: Fd, address: Ptr, length: Ptr):
    return _name_of(task, fd, address, length, "getpeername")


def _name_of(task, fd, address, length, method):
    data = _translated_name(task, fd, method)
    room = _room(task, length)
    if data is None:
        return NATIVE
    _write_address(task, data, address, length, room)
    return 0


def _translated_name(task, fd, method):
    """The sockaddr that `method` of the task's socket gives, as the guest knows it; None if it names no file."""
    sock = _socket(task, fd)
    try:
        if sock.getsockopt(_SOL_SOCKET, _SO_DOMAIN) != _AF_UNIX:
            return None
        name = getattr(sock, method)()
    finally:
        sock.close()
    if not name or isinstance(name, bytes):  # without a name, or abstract
        return None
    return struct.pack("<H", _AF_UNIX) + _guest_name(task, os.fsencode(name)[:_SUN_PATH]) + b"\0"


def _guest_name(task, host):
    """A socket's name as it was bound, else its canonical one."""
    name = task.machine.socket_names.get(host)
    return name or task.ns.guest_path(task.machine.socket_unalias(host)) or host


def accept(task, fd: Fd, address: Ptr, length: Ptr):
    return _accept(task, fd, address, length)


def accept4(task, fd: Fd, address: Ptr, length: Ptr, flags: Int):
    return _accept(task, fd, address, length)


def _accept(task, fd, address, length):
    room = _room(task, length)
    if _kind(task, fd)[0] != _AF_UNIX:
        return NATIVE

    def translate(task, result):
        if result >= 0:
            data = _translated_name(task, result, "getpeername")
            if data is not None:
                _write_address(task, data, address, length, room)
        return result

    return RunHere({}, translate)


def recvfrom(task, fd: Fd, buffer: Ptr, size: U64, flags: Int, address: Ptr, length: Ptr):
    if _kind(task, fd)[0] != _AF_UNIX:
        return NATIVE
    room = _room(task, length)

    def translate(task, result):
        if result >= 0:
            there = _room(task, length)
            name = _file_name(task.read(address, there)) if 2 < there <= room else None
            if name is not None:
                data = struct.pack("<H", _AF_UNIX) + _guest_name(task, name) + b"\0"
                _write_address(task, data, address, length, room)
        return result

    return RunHere({}, translate)


def _room(task, length):
    room, = struct.unpack("<i", task.read(length, 4))
    if room < 0:
        raise error(EINVAL)
    return room


def _write_address(task, data, address, length, room):
    """As the kernel does: what fits of the address, but its whole length."""
    task.write(address, data[:room])
    task.write(length, struct.pack("<I", len(data)))
