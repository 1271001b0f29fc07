"""apt-get as virtual root, with the computer's own sources (they are in the tree; see make_tree)."""

import os

import pytest

NETWORK = [option for path in ("/etc/resolv.conf", "/etc/hosts") if os.path.exists(path)
           for option in ("--bind", f"{path}:{path}:ro")]


@pytest.fixture(scope="module")
def archive_reachable():
    """Without a network there is no archive; then the .deb in the tree must do."""
    import socket
    from . import make_tree
    host, port = make_tree.sources().split("URIs: ")[1].split("/")[2], 80
    if ":" in host:
        host, port = host.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError:
        pytest.skip(f"the archive can't be reached: {host}")


def test_update_install_run_remove(run_guest, archive_reachable, tmp_path):
    cow = tmp_path / "cow"
    options = ["--root", "--cow", cow, *NETWORK]

    def root(*command):
        done = run_guest(*command, options=options, timeout=600, env={"DEBIAN_FRONTEND": "noninteractive"})
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    update = root("apt-get", "update")
    assert "Err:" not in update.stdout and "W:" not in update.stderr
    root("apt-get", "install", "-y", "hello")
    assert root("hello").stdout == "Hello, world!\n"
    assert run_guest("/usr/bin/hello", options=["--cow", cow]).stdout == "Hello, world!\n"
    assert "install ok installed" in root("dpkg", "-s", "hello").stdout
    left_out = ("/usr/share/doc/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/man/")  # see make_tree.LEFT_OUT
    assert not [line for line in root("dpkg", "--verify", "hello").stdout.splitlines()
                if not line.split()[-1].startswith(left_out)]
    root("apt-get", "remove", "-y", "hello")
    assert run_guest("hello", options=options).returncode == 127
    assert root("dpkg", "--audit").stdout == ""


def test_install_something_with_users_groups_and_setgid(run_guest, archive_reachable, tmp_path):
    """A package whose scripts add a group and whose files have an owner."""
    options = ["--root", "--cow", tmp_path / "cow", *NETWORK]
    done = run_guest("bash", "-c", """
        apt-get update && apt-get install -y --no-install-recommends cron man-db at &&
        stat -c '%A %U %G %n' /usr/bin/crontab /usr/bin/at && getent group crontab | cut -d: -f1
    """, options=options, timeout=900, env={"DEBIAN_FRONTEND": "noninteractive"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-3:] == [
        "-rwxr-sr-x root crontab /usr/bin/crontab", "-rwsr-sr-x daemon daemon /usr/bin/at", "crontab"]


def test_dpkg_without_a_network(run_guest):
    done = run_guest("bash", "-c", "dpkg -i /usr/src/packages/hello_*.deb && hello && dpkg -P hello && ! test -e "
                     "/usr/bin/hello", options=["--root"], timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Hello, world!" in done.stdout
