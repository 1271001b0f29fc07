"""AF_UNIX sockets by name: what servers and clients learn of each other."""

import os

import pytest

PEERS = """
import os, socket, struct, sys
def peer(end):
    return struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
path = sys.argv[1]
server = socket.socket(socket.AF_UNIX)
server.bind(path); server.listen(1)
pid = os.fork()
if pid == 0:
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.recv(1)
    print(client.getpeername(), peer(client) == (os.getppid(), os.getuid(), os.getgid()), flush=True)
    os._exit(0)
end, name = server.accept()
print(name == "", peer(end) == (pid, os.getuid(), os.getgid()), flush=True)
end.send(b"x")
os.waitpid(pid, 0)
print(os.stat(path).st_nlink)
"""


@pytest.mark.parametrize("path", ["/tmp/server", "server", "/tmp/" + "/".join(["directory" * 4] * 3) + "/server"])
def test_who_connects_is_told_to_the_server(run_guest, path):
    if len(path) > 108:
        script = f"import os; os.makedirs({os.path.dirname(path)!r}); os.chdir({os.path.dirname(path)!r})\n" + PEERS
        path = "./server"
    else:
        script = PEERS
    done = run_guest("python3", "-c", script, path, check=True)
    assert done.stdout.splitlines() == ["True True", f"{path} True", "1"]


MANY = """
import os, socket
def use(number):
    directory = b"/tmp/%d/" % number + b"d" * 120
    os.makedirs(directory, exist_ok=True)
    os.chdir(directory)
    server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    server.bind(b"s")
    server.listen()
    client.connect(b"s")
    assert server.getsockname() == client.getpeername() == "s", client.getpeername()
    server.close()
    client.close()
    os.unlink(b"s")
for number in range(1100):
    use(number)
    use(0)
use(1)
"""


def test_sockets_in_many_deep_directories(run_guest):
    """More of them than are remembered by short names, one used again and again, and one that was forgotten."""
    assert run_guest("python3", "-c", MANY).stderr == ""
