"""What this host lets AppPot do. Every probe tries the thing itself; version numbers are only printed.

A probe returns a Finding. Probes leave no process and no file behind and change nothing in the calling process.
"""

import ctypes
import errno
import os
import signal
import struct
import sys
import time

from apppot.platform.finding import DEGRADED, MISSING, OK, Finding, read_text
from apppot.platform.landlock import WITH_IOCTL, WITH_SCOPES, WITH_SOCKETS, WITH_TCP, WITH_TRUNCATE, WITH_UDP
from apppot.platform.storage import cache_directory, run_directory, temporary_directory

_libc = ctypes.CDLL(None, use_errno=True)

# <asm/unistd_64.h>
_SYS_SCHED_YIELD = 24
_SYS_PTRACE = 101
_SYS_PROCESS_VM_READV = 310
_SYS_SECCOMP = 317
_SYS_PIDFD_OPEN = 434
_SYS_OPENAT2 = 437
_SYS_PIDFD_GETFD = 438
_SYS_LANDLOCK_CREATE_RULESET = 444

# <linux/ptrace.h>, <elf.h>
_PTRACE_CONT = 7
_PTRACE_SEIZE = 0x4206
_PTRACE_GETREGSET = 0x4204
_PTRACE_SETREGSET = 0x4205
_PTRACE_O_TRACESECCOMP = 1 << 7
_PTRACE_O_EXITKILL = 1 << 20
_PTRACE_EVENT_SECCOMP = 7
_NT_PRSTATUS = 1
_ORIG_RAX, _RAX, _REGISTERS = 15, 10, 27    # places in struct user_regs_struct

# <linux/prctl.h>, <linux/seccomp.h>, <linux/audit.h>
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_RET_TRACE = 0x7FF00000
_SECCOMP_RET_ERRNO = 0x00050000
_SECCOMP_RET_ALLOW = 0x7FFF0000

_WALL = 0x40000000
_PATIENCE = 10.0                            # seconds a probe waits for its child
_ANSWER = 42

# What Landlock sees since which version of its ABI, landlock(7)
_LANDLOCK_SINCE = ((WITH_TRUNCATE, "truncating"), (WITH_TCP, "TCP"), (WITH_IOCTL, "ioctl on devices"),
                   (WITH_SCOPES, "signals and abstract sockets"), (WITH_SOCKETS, "names of sockets"), (WITH_UDP, "UDP"))

# What a child's exit status says about the step that failed
_NO_PRIVS_FAILED, _FILTER_FAILED, _NO_EFFECT = 101, 102, 103


class _IoVec(ctypes.Structure):             # <sys/uio.h>
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _FilterProgram(ctypes.Structure):     # struct sock_fprog, <linux/filter.h>
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _syscall(number, *arguments):
    """The call's result; its failure as OSError."""
    _libc.syscall.restype = ctypes.c_long
    result = _libc.syscall(ctypes.c_long(number), *(
        ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _ptrace(request, pid, address=0, data=0):
    return _syscall(_SYS_PTRACE, request, pid, address, data)


def _install_filter(number, action):
    """In a child: filter the one call and let every other pass. Ends the process where that fails."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        os._exit(_NO_PRIVS_FAILED)
    code = b"".join(struct.pack("=HBBI", *line) for line in (
        (0x20, 0, 0, 0),                    # load seccomp_data.nr
        (0x15, 0, 1, number),               # unless it is the call: skip one
        (0x06, 0, 0, action),
        (0x06, 0, 0, _SECCOMP_RET_ALLOW),
    ))
    program = _FilterProgram(len(code) // 8, code)
    try:
        _syscall(_SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(program))
    except OSError:
        os._exit(_FILTER_FAILED)


class _Child:
    """A forked child that runs body() when told to; killed and reaped at the end."""

    def __init__(self, body):
        waiting, self._go = os.pipe()
        self.status = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._go)
                os.read(waiting, 1)
                os._exit(body())
            finally:
                os._exit(120)
        os.close(waiting)

    def __enter__(self):
        return self

    def go(self):
        os.write(self._go, b"g")

    def wait(self):
        """The next status of waitpid(2)."""
        deadline = time.monotonic() + _PATIENCE
        pause = 0.0002
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG | _WALL)
            if pid:
                if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                    self.status = status
                return status
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
        raise OSError(errno.ETIMEDOUT, "no answer from a child process")

    def __exit__(self, *_):
        os.close(self._go)
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            while self.status is None:
                _, status = os.waitpid(self.pid, _WALL)
                if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                    self.status = status


def kernel():
    name = os.uname()
    if name.sysname != "Linux" or name.machine != "x86_64":
        return Finding("kernel", MISSING, f"{name.sysname} {name.release} {name.machine}",
                       "this version runs on Linux on x86_64 only", needed=True)
    return Finding("kernel", OK, f"{name.sysname} {name.release} {name.machine}", needed=True)


def python():
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):
        return Finding("python", MISSING, version, "use Python 3.11 or newer", needed=True)
    return Finding("python", OK, f"{version} ({sys.executable})", needed=True)


def ptrace():
    """Seize a child, see its filtered call stop, answer the call in its place: what a supervisor does all day."""
    def body():
        _install_filter(_SYS_SCHED_YIELD, _SECCOMP_RET_TRACE)
        _libc.syscall.restype = ctypes.c_long
        return _ANSWER if _libc.syscall(ctypes.c_long(_SYS_SCHED_YIELD)) == _ANSWER else _NO_EFFECT

    scope = read_text("/proc/sys/kernel/yama/ptrace_scope")
    yama = f"Yama ptrace_scope {scope}" if scope is not None else "no Yama"
    step = "PTRACE_SEIZE of a child"
    try:
        with _Child(body) as child:
            _ptrace(_PTRACE_SEIZE, child.pid, 0, _PTRACE_O_TRACESECCOMP | _PTRACE_O_EXITKILL)
            step = "a stop at a filtered call"
            child.go()
            status = child.wait()
            if status >> 8 != signal.SIGTRAP | _PTRACE_EVENT_SECCOMP << 8:
                raise OSError(errno.EPROTO, f"wait status {status:#x} instead of a seccomp event")
            step = "answering a call in the child's place"
            registers = (ctypes.c_ulonglong * _REGISTERS)()
            vector = _IoVec(ctypes.addressof(registers), ctypes.sizeof(registers))
            _ptrace(_PTRACE_GETREGSET, child.pid, _NT_PRSTATUS, ctypes.byref(vector))
            registers[_ORIG_RAX], registers[_RAX] = 2 ** 64 - 1, _ANSWER
            _ptrace(_PTRACE_SETREGSET, child.pid, _NT_PRSTATUS, ctypes.byref(vector))
            _ptrace(_PTRACE_CONT, child.pid)
            status = child.wait()
            if not os.WIFEXITED(status) or os.WEXITSTATUS(status) != _ANSWER:
                raise OSError(errno.EPROTO, f"the child ended with wait status {status:#x}")
    except OSError as error:
        return Finding("ptrace", MISSING, f"{step}: {error.strerror}; {yama}", _ptrace_remedy(scope), needed=True)
    return Finding("ptrace", OK, f"seize, seccomp event and answered call work; {yama}", needed=True)


def _ptrace_remedy(scope):
    if scope == "3":
        return "the administrator has switched ptrace off until the next boot (kernel.yama.ptrace_scope=3)"
    if scope == "2":
        return "only administrators may ptrace here; ask for: sysctl kernel.yama.ptrace_scope=1"
    if (read_text("/sys/fs/selinux/booleans/deny_ptrace") or "0").startswith("1"):
        return "SELinux denies ptrace; ask for: setsebool -P deny_ptrace off"
    tracer = next((line.split()[1] for line in (read_text("/proc/self/status") or "").splitlines()
                   if line.startswith("TracerPid:")), "0")
    if tracer != "0":
        return f"process {tracer} traces this one and its children; run AppPot outside of it"
    place = container()
    if place:
        return (f"the {place} container's profile forbids it; start the container with --cap-add=SYS_PTRACE or "
                "--security-opt seccomp=unconfined")
    return "a security profile (seccomp, AppArmor, gVisor) of this session forbids it; ask the administrator"


def container():
    """Name of the container runtime around us, or None."""
    if os.path.exists("/.dockerenv"):
        return "Docker"
    if os.path.exists("/run/.containerenv"):
        return "Podman"
    for name in ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"):
        if os.environ.get(name):
            return "Apptainer"
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "Kubernetes"
    return os.environ.get("container") or None


def seccomp():
    def body():
        _install_filter(_SYS_SCHED_YIELD, _SECCOMP_RET_ERRNO | errno.EXDEV)
        try:
            _syscall(_SYS_SCHED_YIELD)
        except OSError as error:
            return 0 if error.errno == errno.EXDEV else _NO_EFFECT
        return _NO_EFFECT

    trouble = {_NO_PRIVS_FAILED: "PR_SET_NO_NEW_PRIVS is refused", _FILTER_FAILED: "the filter is refused",
               _NO_EFFECT: "the filter has no effect"}
    try:
        with _Child(body) as child:
            child.go()
            status = child.wait()
        if status == 0:
            return Finding("seccomp", OK, "filters can be installed", needed=True)
        detail = trouble.get(os.waitstatus_to_exitcode(status), f"the probe ended with wait status {status:#x}")
    except OSError as error:
        detail = error.strerror
    return Finding("seccomp", MISSING, detail, "the kernel needs CONFIG_SECCOMP_FILTER, and the container's profile "
                   "must allow seccomp(2)", needed=True)


def memory():
    """process_vm_readv(2) of a child."""
    secret = ctypes.create_string_buffer(b"apppot probes", 64)
    copy = ctypes.create_string_buffer(64)
    try:
        with _Child(lambda: 0) as child:
            here, there = _IoVec(ctypes.addressof(copy), 64), _IoVec(ctypes.addressof(secret), 64)
            _syscall(_SYS_PROCESS_VM_READV, child.pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    except OSError as error:
        return Finding("process memory", DEGRADED, f"process_vm_readv: {error.strerror}",
                       "allow process_vm_readv(2) in the container's profile; /proc/PID/mem is slower")
    if copy.raw != secret.raw:
        return Finding("process memory", DEGRADED, "process_vm_readv returns something else",
                       "report this kernel; /proc/PID/mem is slower")
    return Finding("process memory", OK, "process_vm_readv works")


def descriptors():
    """pidfd_getfd(2) of a child."""
    try:
        with _Child(lambda: 0) as child:
            pidfd = _syscall(_SYS_PIDFD_OPEN, child.pid, 0)
            try:
                os.close(_syscall(_SYS_PIDFD_GETFD, pidfd, 0 if _is_open(0) else pidfd, 0))
            finally:
                os.close(pidfd)
    except OSError as error:
        return Finding("descriptors", DEGRADED, f"pidfd_getfd: {error.strerror}",
                       "a kernel from 5.6 on, and a container profile that allows pidfd_getfd(2), make calls on "
                       "descriptors exact")
    return Finding("descriptors", OK, "pidfd_getfd works")


def _is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _landlock_version():
    return _syscall(_SYS_LANDLOCK_CREATE_RULESET, 0, 0, 1)             # LANDLOCK_CREATE_RULESET_VERSION


def landlock():
    try:
        version = _landlock_version()
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            detail, remedy = "switched off at boot", "add landlock to the lsm= list of the kernel's command line"
        elif error.errno == errno.ENOSYS:
            detail, remedy = "not in this kernel", "a kernel from 5.13 on with CONFIG_SECURITY_LANDLOCK has it"
        else:
            detail, remedy = error.strerror, "the container's profile must allow landlock_create_ruleset(2)"
        return Finding("Landlock", DEGRADED, detail, f"{remedy}; without it the supervisor alone keeps guests in, and each path "
                                                     "call is slow")
    missing = [what for since, what in _LANDLOCK_SINCE if version < since]
    if missing:
        return Finding("Landlock", OK, f"ABI {version}: files are confined; of {', '.join(missing)} the filter and the supervisor "
                                       "take care alone")
    return Finding("Landlock", OK, f"ABI {version}")


def fast_path():
    """Repeated path calls without a stop: where Landlock is the wall, or none is wanted (see docs/architecture.md)."""
    wall = landlock()
    if wall.state != OK:
        return Finding("fast path", DEGRADED, "off without Landlock",
                       "every path call stops; for images that you trust --isolation none has it on")
    return Finding("fast path", OK, "on, unless --isolation strict or --trace is given")


def memory_limit():
    """Who enforces --mem."""
    from apppot.platform.cgroup import find_place
    place = find_place()
    if place is None:
        return Finding("memory limit", DEGRADED, "no control group can be made: --mem is enforced by measuring",
                       "start in a group of your own (systemd-run --user --scope -p Delegate=yes), or name a directory of control "
                       "groups that is delegated to you in APPPOT_CGROUP")
    return Finding("memory limit", OK, f"--mem is enforced by the kernel, by control groups in {place}")


def openat2():
    how = ctypes.create_string_buffer(struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, 0), 24)
    try:
        os.close(_syscall(_SYS_OPENAT2, -100, ctypes.c_char_p(b"/"), ctypes.byref(how), 24))
    except OSError as error:
        return Finding("openat2", DEGRADED, error.strerror,
                       "a kernel from 5.6 on, and a container profile that allows openat2(2), make look-ups safer")
    return Finding("openat2", OK, "works")


def programs_of_32_bits():
    """Runs the smallest 32-bit program: exit(42) by int 0x80."""
    code = bytes((0xB8, 1, 0, 0, 0, 0xBB, _ANSWER, 0, 0, 0, 0xCD, 0x80))
    start = 0x08048000
    size = 84 + len(code)
    program = (b"\x7fELF\x01\x01\x01" + bytes(9)
               + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, start + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0)
               + struct.pack("<IIIIIIII", 1, 0, start, start, size, size, 5, 4096) + code)

    def body():
        try:
            os.execve(file, ["probe"], {})
        except OSError as error:
            return error.errno

    remedy = "a kernel with CONFIG_IA32_EMULATION runs them"
    try:
        file = os.memfd_create("apppot-probe", os.MFD_CLOEXEC)
        try:
            os.write(file, program)
            with _Child(body) as child:
                child.go()
                status = child.wait()
        finally:
            os.close(file)
    except OSError as error:
        return Finding("32-bit programs", DEGRADED, f"not probed: {error.strerror}", remedy)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _ANSWER:
        return Finding("32-bit programs", OK, "the kernel runs them; AppPot itself does not yet")
    reason = os.strerror(os.WEXITSTATUS(status)) if os.WIFEXITED(status) else f"wait status {status:#x}"
    return Finding("32-bit programs", DEGRADED, reason, remedy)


def stub():
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "stub", "apppot-stub")
    build = "install the package with pip, or run python3 -m apppot.stub.build in the checkout (needs gcc)"
    try:
        with open(path, "rb") as file:
            head = file.read(20)
    except OSError as error:
        return Finding("stub", MISSING, f"{path}: {error.strerror}", build, needed=True)
    if head[:5] != b"\x7fELF\x02" or head[18:20] != b"\x3e\x00":
        return Finding("stub", MISSING, f"{path}: not a program for x86_64", build, needed=True)
    if not os.access(path, os.X_OK):
        return Finding("stub", MISSING, f"{path}: not executable", f"chmod +x it, or {build}", needed=True)
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return Finding("stub", MISSING, f"{path}: its file system is mounted noexec",
                       "install AppPot on a file system that allows programs", needed=True)
    return Finding("stub", OK, path, needed=True)


ALL = (kernel, python, stub, ptrace, seccomp, memory, descriptors, landlock, fast_path, openat2, memory_limit,
       programs_of_32_bits, cache_directory, run_directory, temporary_directory)


def examine():
    """All findings. Probes are tried one by one; one that breaks is itself a finding."""
    findings = []
    for probe in ALL:
        try:
            findings.append(probe())
        except Exception as error:
            findings.append(Finding(probe.__name__.replace("_", " "), DEGRADED,
                                    f"the probe failed: {type(error).__name__}: {error}", "please report it"))
    return findings


def can_run(findings):
    return not any(finding.needed and finding.state == MISSING for finding in findings)
