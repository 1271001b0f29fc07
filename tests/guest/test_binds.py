"""--bind: files and directories of the host in the guest."""

import os
import socket
import subprocess


def test_directory_file_and_read_only(shell, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "f").write_text("host\n")
    (tmp_path / "single").write_text("one file\n")
    out = shell("cat /mnt/deep/new/f; echo guest >/mnt/deep/new/g; cat /etc/motd; cat /ro/f; touch /ro/x 2>&1; rm /ro/f 2>&1;"
                "ls /ro; ls /mnt/deep; mv /mnt/deep/new /mnt/x 2>&1; rmdir /mnt/deep/new 2>&1; rm /etc/motd 2>&1; mv /home/user/job/a /ro/ 2>&1"
                "; true", options=["--root", "--bind", f"{data}:/mnt/deep/new", "--bind", f"{tmp_path}/single:/etc/motd",
                                   "--bind", f"{data}:/ro:ro"]).splitlines()
    assert out[:8] == ["host", "one file", "host", "touch: cannot touch '/ro/x': Read-only file system",
                       "rm: cannot remove '/ro/f': Read-only file system", "f", "g", "new"]
    assert "busy" in out[8] and "busy" in out[9] and "busy" in out[10]
    assert (data / "g").read_text() == "guest\n"
    assert (data / "f").exists()


def test_same_path_by_default(shell, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("x\n")
    assert shell(f"cat {tmp_path}/d/f; cd {tmp_path}/d; pwd; ls ..", options=["--bind", tmp_path / "d"]).splitlines() == [
        "x", f"{tmp_path}/d", "d"]


def test_changes_of_the_host_are_seen_at_once(start_guest, job):
    process = start_guest("sh", "-c", "echo ready; while read name; do cat $name 2>&1; ls late 2>/dev/null; echo .; done")
    assert process.stdout.readline() == "ready\n"

    def ask(name):
        process.stdin.write(name + "\n")
        process.stdin.flush()
        lines = [process.stdout.readline()]
        while lines[-1] != ".\n":
            lines.append(process.stdout.readline())
        return lines[:-1]

    assert ask("late") == ["cat: late: No such file or directory\n"]
    (job / "late").write_text("here\n")
    assert ask("late") == ["here\n", "late\n"]
    (job / "late").unlink()
    (job / "late").symlink_to("other")
    (job / "other").write_text("through a link\n")
    assert ask("late") == ["through a link\n", "late\n"]


def test_host_symlinks_are_resolved_in_the_guests_tree(shell, job):
    (job / "absolute").symlink_to("/etc/hostname")
    (job / "up").symlink_to("../../../../../../etc/hostname")
    (job / "host-only").symlink_to(job)
    assert shell("cat absolute up; ls host-only/ 2>&1; true").splitlines() == [
        "image", "image", "ls: cannot access 'host-only/': No such file or directory"]


def test_later_binds_lie_on_earlier_ones(shell, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / name).write_text(name)
    assert shell("ls /m/sub; ls /m", options=["--bind", f"{tmp_path}/a:/m", "--bind", f"{tmp_path}/b/sub:/m/sub"]
                 ).split() == ["b", "sub"]


def test_links_and_renames_between_mounts_are_refused_honestly(shell, tmp_path):
    (tmp_path / "d").mkdir()
    out = shell("touch /home/user/f; ln /home/user/f /m/f 2>&1; python3 -c \"import os; os.rename('/home/user/f', '/m/f')\" 2>&1 | tail -1; "
                "mv /home/user/f /m/f && ls /m", options=["--bind", f"{tmp_path}/d:/m"])
    assert out.splitlines() == ["ln: failed to create hard link '/m/f' => '/home/user/f': Invalid cross-device link",
                                "OSError: [Errno 18] Invalid cross-device link: '/home/user/f' -> '/m/f'", "f"]


def test_a_socket_of_the_host(shell, tmp_path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen()
    shell("python3 -c \"import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/s'); s.send(b'hello')\"",
          options=["--bind", f"{tmp_path}/s:/run/s"])
    assert server.accept()[0].recv(10) == b"hello"


def test_job_directory_with_an_odd_name(shell, tmp_path):
    odd = tmp_path / "with blank: and ünïcode\n"
    odd.mkdir()
    assert shell("pwd; touch f; df . | tail -1 | awk '{print $NF}'", cwd=odd).splitlines() == [
        "/home/user/job", "/home/user/job"]
    assert (odd / "f").exists()


def test_workdir(shell, tmp_path):
    assert shell("pwd; echo $PWD", options=["--workdir", "/usr/share"]) == "/usr/share\n/usr/share\n"


def test_a_shared_file_system_has_no_caches_of_names(shell, job):
    """What others create, remove and link in a host mount is seen by the very next call."""
    for n in range(20):
        subprocess.run(["sh", "-c", f"sleep 0.0{n % 3}; touch n{n}"], cwd=job, check=True)
    assert len(shell("ls").split()) == 20
    assert os.listdir(job)
