"""exec in all its forms, compared with the same program run natively in the tree, and written expectations."""

import os
import shutil
import struct

import pytest

from .test_processes import both  # noqa: F401: a fixture

KINDS = {
    "dynamic": [],  # position-independent, the Debian default
    "non-pie": ["-no-pie"],
    "static": ["-static"],
    "static-pie": ["-static-pie"],
}
MEMFD = """
import os, sys
def run(data):
    fd = os.memfd_create("x")
    os.write(fd, data)
    pid = os.fork()
    if pid == 0:
        try:
            os.execve(fd, ["true"], {})
        except OSError as error:
            os._exit(error.errno)
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
program = open("/bin/true", "rb").read()
for line in sys.stdin:
    print(run(program), run(b"no program"), run(b"#!/bin/sh"), flush=True)
"""
SELF = ["argc 3", "argv ./prog", "argv self", "argv a b", "exe /home/user/job/prog", "name prog", "comm prog",
        "execfn ./prog", "phdr loads entry set pagesz 4096 secure 0 random 1 uid 1", "brk 1", "maps 1 0", "env marked"]


@pytest.fixture(scope="module")
def built(debian_tree, tmp_path_factory):
    """programs/exec.c made by the guest's own compiler, in every kind."""
    import subprocess
    from .conftest import PROGRAMS, environment, start_command
    directory = tmp_path_factory.mktemp("built")
    shutil.copy(PROGRAMS / "exec.c", directory)
    script = "\n".join(f"gcc -O1 -w -pthread {' '.join(flags)} -o {kind} exec.c" for kind, flags in KINDS.items())
    done = subprocess.run(start_command("sh", "-ec", script, image=debian_tree), cwd=directory, env=environment(),
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(params=KINDS)
def prog(built, job, request):
    """./prog in the job directory, once for each kind of ELF file."""
    shutil.copy(built / request.param, job / "prog")
    return "./prog"


@pytest.fixture
def static(program, job):
    shutil.copy(program("exec"), job / "prog")
    return "./prog"


def test_what_a_program_sees_of_itself(run_guest, prog):
    done = run_guest(prog, "self", "a b", env={"MARK": "marked"}, check=True)
    *lines, descriptors = done.stdout.splitlines()
    assert lines == SELF
    assert descriptors == "fd0 fd1 fd2 fd3 fd4 "  # 3 and 4 are the two files of /proc that it has read


def test_interpreter_given_explicitly(run_guest, built, job):
    shutil.copy(built / "dynamic", job / "prog")
    done = run_guest("/lib64/ld-linux-x86-64.so.2", "./prog", "self", check=True)
    assert "argv ./prog" in done.stdout
    assert run_guest("/lib64/ld-linux-x86-64.so.2", "--list", "/bin/ls", check=True).stdout.count("=> /lib/") >= 2


@pytest.mark.parametrize("way", ["execv", "other-argv0", "fork", "vfork", "clone-vm", "clone-files", "spawn", "spawnp",
                                 "fexecve", "fexecve-path", "memfd", "thread"])
def test_ways_to_exec(run_guest, prog, way):
    assert run_guest(prog, way, "/home/user/job/prog", "exit", "7").returncode == 7


@pytest.mark.parametrize("way", ["fork", "vfork", "spawn", "fexecve-path", "thread"])
def test_ways_to_exec_a_script(run_guest, static, job, way):
    script = job / "script"
    script.write_text("#!/bin/sh -u\necho \"$0|$*\"\nexit 9\n")
    script.chmod(0o755)
    done = run_guest(static, way, "/home/user/job/script", "a", "b c")
    assert done.returncode == 9, done.stderr
    name, _, arguments = done.stdout.partition("|")
    assert arguments == "a b c\n"
    assert name == "/home/user/job/script" or (way == "fexecve-path" and name.startswith("/dev/fd/"))


def test_a_script_can_not_be_run_by_a_descriptor_that_closes(run_guest, static, job):
    (job / "script").write_text("#!/bin/sh\n")
    (job / "script").chmod(0o755)
    done = run_guest(static, "fexecve", "./script")
    assert (done.returncode, done.stderr) == (1, "fexecve: No such file or directory\n")


def test_execveat_just_written_deleted_and_self(run_guest, static, job):
    assert run_guest(static, "execveat", "bin/env", "true").returncode == 0
    out = run_guest(static, "written", check=True).stdout.splitlines()
    assert {"argc 2", "exe /home/user/job/just-written", "comm just-written"} <= set(out)
    assert run_guest(static, "self-exe", check=True).stdout.splitlines()[:3] == ["argc 2", "argv again", "argv self"]
    shutil.copy(job / "prog", job / "gone")
    assert run_guest(static, "deleted", "./gone", "exit", "4").returncode == 4


def test_many_and_racing(run_guest, static):
    assert run_guest(static, "many", "300", "/bin/true").returncode == 0
    assert run_guest(static, "race", "/bin/true").returncode == 0


def test_what_survives_exec(run_guest, static):
    done = run_guest(static, "signals")
    assert done.returncode == 128 + 14
    shown = dict(line.split(":\t") for line in done.stdout.splitlines())
    assert int(shown["SigIgn"], 16) & 1 << 9
    assert not int(shown["SigCgt"], 16) & 1 << 11


# What lies in the directory where `exec errors` runs.
GARBAGE = {"empty": b"", "garbage": b"\x00\x01\x02garbage", "script-nowhere": b"#!/nowhere\n", "script-loop": b"#!./script-loop\n",
           "script-directory": b"#!/etc\n", "script-empty": b"#!\n"}
ERRORS = {
    'execv("/nowhere", argv)': "ENOENT", 'execv("/etc/passwd", argv)': "EACCES", 'execv("/etc", argv)': "EACCES",
    'execv("/etc/passwd/x", argv)': "ENOTDIR", 'execv("", argv)': "ENOENT", "execv((char *) 8, argv)": "EFAULT",
    'execv("/bin/true", (void *) 8)': "EFAULT", 'execv("loop", argv)': "ELOOP", 'execv("empty", argv)': "ENOEXEC",
    'execv("garbage", argv)': "ENOEXEC", 'execv("script-nowhere", argv)': "ENOENT", 'execv("script-loop", argv)': "ELOOP",
    'execv("script-directory", argv)': "EACCES", 'execv("script-empty", argv)': "ENOEXEC", 'execv("noexec", argv)': "EACCES",
    'execv("truncated", argv)': "ENOEXEC", 'execv("foreign", argv)': "ENOEXEC", 'execv("no-interpreter", argv)': "ENOENT",
    'execv("/bin/true", large)': "E2BIG", 'execve("/bin/true", argv, large)': "E2BIG", 'execv("/bin/true", many)': "E2BIG",
    'execveat(fd, "", argv, environ, AT_EMPTY_PATH)': "EACCES", 'execveat(dir, "nowhere", argv, environ, 0)': "ENOENT",
    'execveat(99, "x", argv, environ, 0)': "EBADF", 'execveat(fd, "x", argv, environ, 0)': "ENOTDIR",
    'execveat(dir, "bin/sh", argv, environ, AT_SYMLINK_NOFOLLOW)': "ELOOP", 'execveat(dir, "", argv, environ, 0)': "ENOENT",
    'execveat(dir, "", argv, environ, AT_EMPTY_PATH)': "EACCES", 'execveat(dir, "bin/true", argv, environ, 1)': "EINVAL",
    "fexecve(fd, argv, environ)": "EACCES", 'execv("todirectory/", argv)': "EACCES",
    'execvp("nowhere-in-path", argv)': "ENOENT", "posix_spawn": "ENOENT", 'execv("busy", argv)': "ETXTBSY", "vfork": "5",
}


@pytest.mark.parametrize("place", ["/home/user/job/d", "/home/user/d"])
def test_errors_leave_the_old_program_running(run_guest, program, job, place):
    source = job / "made"
    source.mkdir()
    for name, content in GARBAGE.items():
        (source / name).write_bytes(content)
    elf = program("exec").read_bytes()
    (source / "busy").write_bytes(elf)
    (source / "truncated").write_bytes(elf[:80])
    (source / "foreign").write_bytes(elf[:18] + struct.pack("<H", 183) + elf[20:])  # EM_AARCH64
    (source / "noexec").write_bytes(elf)
    dynamic = open("/bin/true", "rb").read()
    (source / "no-interpreter").write_bytes(dynamic.replace(b"/lib64/ld-linux-x86-64.so.2", b"/lib64/no-linux-x86-64.so.2"))
    (source / "loop").symlink_to("loop")
    (source / "todirectory").symlink_to("/etc")
    for path in source.iterdir():
        if not path.is_symlink() and path.name != "noexec":
            path.chmod(0o755)
    (job / "prog").write_bytes(elf)
    (job / "prog").chmod(0o755)
    done = run_guest("sh", "-ec", 'cp -a made "$1"; cd "$1"; exec /home/user/job/prog errors', "sh", place)
    assert done.returncode == 0, done.stderr
    shown = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines())
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 14):
        shown['execv("busy", argv)'] = "ETXTBSY"  # older kernels can't be asked who writes to a file
    expected = ERRORS | {"posix_spawn(&(pid_t){0}, \"/nowhere\", 0, 0, argv, environ)": "ENOENT"}
    assert shown == expected


def test_script_chains(run_guest, job):
    def script(name, text):
        (job / name).write_text(text)
        (job / name).chmod(0o755)

    script("one", "#! /home/user/job/two  first argument \nnot read\n")
    script("two", "#!/usr/bin/env -S sh -c 'echo \"$0\" \"$@\"'\n")
    script("shell", "#!/bin/sh\necho \"$0\" $# \"$1\"\n")
    script("chain", "#!./shell with blanks\n")
    script("no-newline", "#!/bin/echo")
    script("long", "#!/bin/echo " + "x" * 600 + "\n")
    assert run_guest("./chain", "arg", check=True).stdout == "./shell 3 with blanks\n"
    assert run_guest("./shell", "arg", check=True).stdout == "./shell 1 arg\n"
    assert run_guest("./no-newline", "arg", check=True).stdout == "./no-newline arg\n"
    assert run_guest("./one", "arg", check=True).stdout == "/home/user/job/two first argument ./one arg\n"


def test_an_executable_without_a_format_is_a_script_to_a_shell(run_guest, job):
    (job / "plain").write_text("echo plain $1\n")
    (job / "plain").chmod(0o755)
    assert run_guest("bash", "-c", "./plain x", check=True).stdout == "plain x\n"


def test_32_bit_programs_are_refused_with_a_line(run_guest, job):
    header = b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0x8048054, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    segment = struct.pack("<IIIIIIII", 1, 0, 0x8048000, 0x8048000, 0x100, 0x100, 5, 0x1000)
    (job / "old").write_bytes((header + segment).ljust(0x100, b"\x90"))
    (job / "old").chmod(0o755)
    done = run_guest("bash", "-c", "./old; echo $?")
    assert done.stdout == "126\n"
    assert "32" in done.stderr


def test_an_executable_in_the_job_directory_and_one_without_read_permission(run_guest, static, job):
    os.chmod(job / "prog", 0o111)
    if os.getuid() != 0:
        assert run_guest("bash", "-c", "./prog exit 3; echo $?; cat prog >x 2>/dev/null || echo unreadable").stdout in (
            "3\nunreadable\n", "126\nunreadable\n")


def test_environment_and_path_search(run_guest, job):
    (job / "bin").mkdir()
    (job / "bin/tool").write_text("#!/bin/sh\necho tool $MARK\n")
    (job / "bin/tool").chmod(0o755)
    done = run_guest("tool", options=["--env", "PATH=/home/user/job/bin:/usr/bin:/bin"], env={"MARK": "m"})
    assert done.stdout == "tool m\n"


# -- what programs find in their address space, as natively

LAYOUTS = {
    "dynamic": ["-pie"], "non-pie": ["-no-pie"], "static": ["-static"], "static-pie": ["-static-pie"],
    "executable-stack": ["-z", "execstack"], "aligned-to-2-MiB": ["-Wl,-z,max-page-size=0x200000"],
    "static-pie-aligned": ["-static-pie", "-Wl,-z,max-page-size=0x200000"], "code-and-data": ["-Wl,-z,noseparate-code"],
}


@pytest.mark.parametrize("flags", LAYOUTS.values(), ids=LAYOUTS)
def test_address_space(both, flags):  # noqa: F811
    both("image", flags=flags)


def test_a_file_that_does_not_speak_of_its_stack(both):  # noqa: F811
    def forget(elf):
        data = bytearray(elf)
        start, = struct.unpack_from("<Q", data, 32)
        count, = struct.unpack_from("<H", data, 56)
        for header in range(start, start + 56 * count, 56):
            if struct.unpack_from("<I", data, header)[0] == 0x6474E551:  # PT_GNU_STACK
                struct.pack_into("<I", data, header, 0)
        return bytes(data)

    both("image", change=forget)


def test_large_arguments(both):  # noqa: F811
    both("image", "vectors", beside={"script": b"#!/bin/true and an argument\n"})


@pytest.mark.parametrize("count", [5, 60, 1000])
def test_many_segments(run_guest, job, count):
    """Every segment is a page; the last one calls exit(count % 128)."""
    page = 4096
    headers = (64 + 56 * count + page - 1) // page * page
    code = b"\xb8\x3c\0\0\0\xbf" + struct.pack("<I", count % 128) + b"\x0f\x05"
    table = struct.pack("<IIQQQQQQ", 1, 4, 0, 0x400000, 0, headers, headers, page)
    for index in range(1, count):
        table += struct.pack("<IIQQQQQQ", 1, 5, headers, 0x400000 + headers + page * index, 0, len(code), len(code), page)
    entry = 0x400000 + headers + page * (count - 1)
    header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, count, 0, 0, 0)
    (job / "prog").write_bytes((header + table).ljust(headers, b"\0") + code.ljust(page, b"\0"))
    (job / "prog").chmod(0o755)
    assert run_guest("./prog").returncode == count % 128


def test_a_long_name(run_guest, static, job):
    deep = "/".join(["d" * 200] * 17)
    (job / deep).mkdir(parents=True)
    shutil.copy(job / "prog", job / deep / "prog")
    assert run_guest(f"./{deep}/prog", "exit", "9").returncode == 9
    assert run_guest("sh", "-c", f"cd {deep} && exec ./prog exit 8").returncode == 8


@pytest.mark.parametrize("isolation", ["standard", "strict"])
def test_what_other_threads_do_during_an_exec_is_translated(run_guest, program, job, isolation):
    """The name exists in the machine alone."""
    shutil.copy(program("exec"), job / "prog")
    done = run_guest("./prog", "calls", "/home/user/job/prog", "/bin/true", options=["--isolation", isolation], timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_was_copied_for_exec_goes_with_the_process(start_guest):
    """A memfd is copied to where the stub can open it."""
    machine = start_guest("python3", "-c", MEMFD)
    for _ in range(3):
        machine.stdin.write("again\n")
        machine.stdin.flush()
        assert machine.stdout.readline() == "0 8 2\n", machine.communicate()      # ENOEXEC; ENOENT: the interpreter finds it closed
    with open(f"/proc/{machine.pid}/maps") as file:
        window = next(line.split()[-1] for line in file if line.rstrip().endswith("/window"))
    assert [name for name in os.listdir(os.path.dirname(window)) if name.startswith("exec")] == []
    assert machine.communicate("")[1] == ""
