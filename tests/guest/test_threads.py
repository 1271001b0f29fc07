"""Threads that share memory, descriptors and a working directory, while others of them come and go."""


def test_memory_is_written_while_threads_end(run_guest):
    """The end of a call writes through a task that still lives, not through the thread that stopped last."""
    source = """
import os, socket, tempfile, threading
directory = tempfile.mkdtemp()
def connect(client, name):
    client.bind(name + 'c')
    client.connect(name)
for number in range(1000):
    name = f'{directory}/s{number}'
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(name)
        server.listen()
        thread = threading.Thread(target=connect, args=(client, name))
        thread.start()
        connection, peer = server.accept()
        connection.close()
        thread.join()
        assert peer == name + 'c', peer
print('all accepted')
"""
    assert run_guest("python3", "-c", source, check=True).stdout == "all accepted\n"
