"""From a Machine to its end: layers, mounts, user, first task, loop, cleaning up."""

import gc
import os
import sys
from contextlib import ExitStack, closing
from errno import EACCES, ENOENT, ENOEXEC, ENOTDIR
from stat import S_IFREG

from apppot.errors import STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND, AppPotError
from apppot.image.cow import Cow
from apppot.image.opening import open_image
from apppot.image.place import cache_directory
from apppot.image.progress import SILENT
from apppot.kernel import changes, environment, hooks, hostroot, identity, limits, wall
from apppot.kernel.credentials import Credentials
from apppot.kernel.fastpath import FastPath
from apppot.kernel.rundir import RunDirectory, is_apart, places
from apppot.kernel.running import RunningMachine
from apppot.kernel.signals import Attendant
from apppot.kernel.supervisor import Supervisor
from apppot.kernel.task import FsState, Task, ThreadGroup
from apppot.machine import JOB, what_runs
from apppot.platform import affinity, handover, libc, seccomp, tlb
from apppot.platform.layout import STUB_BASE, STUB_END, TLB_OFFSET
from apppot.platform.storage import temporary
from apppot.platform.window import Window
from apppot.syscalls import programs
from apppot.syscalls.table import IDENTITY, OWNERS
from apppot.vfs import devfs, users
from apppot.vfs.caller import KERNEL
from apppot.vfs.hostfs import HostFS
from apppot.vfs.layers import OPAQUE
from apppot.vfs.namespace import Namespace
from apppot.vfs.overlay import Overlay
from apppot.vfs.ownership import Ownership
from apppot.vfs.procfs import ProcFS


def run(machine):
    """Run the machine to its end; the exit status of the guest's command."""
    outer = wall.build(machine)
    limits.apply(machine)
    with ExitStack() as stack:
        image = stack.enter_context(open_image(machine.image, machine.progress or SILENT, machine.below))
        attendant = Attendant()         # only now: it blocks signals, and unpacking may take long
        run_dir = stack.enter_context(closing(RunDirectory(places(machine))))
        if machine.cow is not None:
            cow = stack.enter_context(closing(Cow.open(machine.cow)))
        else:
            place = stack.enter_context(closing(RunDirectory([temporary()], b"apppot-cow-")))
            # One directory, not one in the other: guests' calls go through all of its name.
            cow = stack.enter_context(closing(Cow.open(place.path, lock=place.another_lock())))
        if machine.image == b"/":
            _hide_host_temporaries(cow)
        cow.note_image(machine.image)
        ownership = Ownership(cow.upper, cow.ownership_log)
        stack.callback(ownership.close)
        layers = changes.put_in(machine, cow, image, ownership)
        for layer in layers:
            stack.callback(layer.close)
        root = Overlay(layers + machine.lowers[:-1] + image.layers, cow.upper, cow.work, ownership)
        root.own = identity.own_ids(image.layers)
        if machine.image == b"/":
            root.left_out = hostroot.left_out()
            root.in_part = hostroot.parents(root.left_out)
        ns = stack.enter_context(closing(Namespace(root, ownership, hidden=(run_dir.path, cow.path), cow=cow)))
        window = stack.enter_context(closing(Window(run_dir.path + b"/window", limits.window_slots())))
        running = RunningMachine(machine, run_dir.path, ns, window, ownership, outer)
        stack.callback(running.ipc.remove_all, libc.syscall)
        running.tell_snapshots(cow, image, layers)
        running.apart = cow.work if is_apart(machine, cow.work) else None
        looks = _watches(machine, running, cow, stack)
        return _run(machine, running, attendant, looks, image.config or environment.recorded(ns))


def _watches(machine, running, cow, stack):
    """Functions to be called now and then, which keep the machine within its limits. Few machines need that module."""
    if machine.mem is None and machine.disk is None and not machine.stats and not machine.end_with:
        return []
    from apppot.kernel import watches
    return watches.make(machine, running, cow, stack)


def _run(machine, running, attendant, looks, config):
    ns = running.ns
    _mount(machine, running)
    uid, gid, groups = identity.host_user()
    identity.set_up(ns, uid, gid)
    running.sudo_file, running.snap_file = identity.mount_programs(ns, running.run_dir)
    creds = Credentials(uid, gid, groups)

    def command():
        user = identity.start_user(ns, machine, uid, config)
        return *_first_task(machine, running, user, creds, config), environment.make(machine, user, config)

    paths = hooks.find(ns)
    if not paths:
        ready = command()          # what is wrong with it is said before anything is started
        return _supervise(machine, running, attendant, looks, creds, paths, lambda: ready)
    return _supervise(machine, running, attendant, looks, creds, paths, command)


# -- the tree

def _mount(machine, running):
    ns, run_dir = running.ns, running.run_dir
    if machine.image == b"/":
        _raise_parts(ns)
    ns.make_mountpoint(b"/dev")
    dev = devfs.Dev(run_dir)
    dev.mount(ns)
    for _, fs in dev.mounts:
        if isinstance(fs, devfs.PtsFS):
            fs.may_open = running.has_terminal
    running.procfs = ProcFS(running, run_dir, (running.stub, running.window.path), running.own_filters, machine.pid == "host")
    _mount_at(ns, b"/proc", running.procfs)
    _mount_at(ns, b"/sys", HostFS(b"/sys", readonly=True))
    _private_tmp(ns)
    _share_network_names(ns)
    if machine.job_dir != b"/":
        _mount_at(ns, JOB, HostFS(machine.job_dir))
        if machine.image == b"/":
            _mount_at(ns, machine.job_dir, HostFS(machine.job_dir))
    for path, make in machine.trees:
        _mount_at(ns, path, make(ns.ownership))
    for bind in machine.binds:
        _mount_at(ns, bind.guest, HostFS(bind.host, readonly=bind.read_only))


def _mount_at(ns, path, fs):
    directory = not isinstance(fs, HostFS) or fs.fd >= 0
    try:
        ns.make_mountpoint(path, directory)
        ns.mount(ns.resolve(KERNEL, path).path, fs)
    except OSError as error:
        raise AppPotError(f"{os.fsdecode(path)}: nothing can be mounted there: {error.strerror}") from None


def _share_network_names(ns):
    """The network is the host's, so are its names, until the guest writes files of its own there."""
    for path in (b"/etc/resolv.conf", b"/etc/hosts"):
        if not os.path.isfile(path) or not identity.exists(ns, b"/etc"):
            continue
        node = ns.resolve(KERNEL, path, None, False)
        if node.kind != S_IFREG or not node.upper:
            ns.mount(node.path, HostFS(path, readonly=True), soft=True, copied=True)


def _hide_host_temporaries(cow):
    """With the host's own root as image, its /tmp and /var/tmp are not the guest's."""
    for path in (b"/tmp", b"/var/tmp"):
        directory = cow.upper + path
        if not os.path.isdir(directory):
            os.makedirs(directory, 0o755)
            os.chmod(directory, 0o1777)
            os.close(os.open(directory + b"/" + OPAQUE, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _raise_parts(ns):
    """The directories of the host's root that are shown in part: guests open their upper part, so it must be there."""
    for path in sorted(ns.root.fs.in_part):
        node = ns.at(path or b"/")
        if node.kind == 0o040000:
            ns.root.fs.raise_directory(ns.directory(KERNEL, node))
    for path in (b"/run", b"/root"):
        identity.make_directories(ns, path)


def _private_tmp(ns):
    identity.make_directories(ns, b"/tmp")
    ns.chmod(KERNEL, ns.resolve(KERNEL, b"/tmp"), 0o1777)


# -- the first task

def _first_task(machine, running, user, host_creds, config):
    """(Task ready to be started, argv)."""
    ns = running.ns
    creds = host_creds
    if (user.uid, user.gid) != (creds.ruid, creds.rgid) or user.uid == 0:
        creds = creds.become(user.uid, user.gid, users.groups_of(ns, KERNEL, user))
    fs = FsState(b"/", b"/", _umask())
    task = Task(running, 0, ThreadGroup(0, b"/"), None, fs, creds)
    words, workdir = what_runs(machine, lambda path: _is_command(task, path), user.shell, config)
    if workdir is not None and machine.workdir is None:
        identity.make_directories(ns, workdir)          # as docker does
    workdir = machine.workdir or workdir or (JOB if machine.job_dir != b"/" else user.home)
    try:
        node = ns.resolve(task.caller, workdir)
        if node.kind != 0o040000:
            raise OSError(ENOTDIR if node.kind else ENOENT, os.strerror(ENOTDIR if node.kind else ENOENT))
    except OSError as error:
        raise AppPotError(f"--workdir {os.fsdecode(workdir)}: {error.strerror} in the machine") from None
    task.fs = FsState(b"/", node.path, fs.umask)
    task.fs.users = 1
    return task, _find_program(task, words, environment.path(machine, config))


def _hook_task(machine, running, creds, path):
    """(Task, argv, environment) of a start hook."""
    root = identity.root(running.ns)
    fs = FsState(b"/", b"/", 0o022)
    fs.users = 1
    task = Task(running, 0, ThreadGroup(0, b"/"), None, fs, creds.become(0, 0, users.groups_of(running.ns, KERNEL, root)))
    try:
        return task, _find_program(task, [path]), environment.make(machine, root)
    except AppPotError as error:
        raise AppPotError(error.message) from None


def _is_command(task, path):
    try:
        return task.ns.resolve(task.caller, path).kind == 0o100000
    except OSError:
        return False


def _find_program(task, words, places=environment.PATH):
    """Set task.program for `words`, looked up as a shell does; the argv it gets."""
    shown = os.fsdecode(words[0])
    path = users.command_path(task.ns, task.caller, words[0], places)
    if path is None:
        raise AppPotError(f"{shown}: command not found in the machine", STATUS_NOT_FOUND)
    node = None
    try:
        node = task.ns.resolve(task.caller, path)
        if node.host in (task.machine.sudo_file, task.machine.snap_file):
            raise AppPotError(f"{shown} is no program to start a machine with: run it from one (sh -c '...'), or say "
                              "--root, or apppot-snap --cow outside", STATUS_NOT_EXECUTABLE)
        task.program = programs.find(task, node, path)
    except OSError as error:
        if error.errno == ENOEXEC and node.kind and _is_text(task.ns, node):
            return _find_program(task, [b"/bin/sh", path] + words[1:])       # as execvp(3) does
        if error.errno == ENOENT and (node is None or not node.kind):
            raise AppPotError(f"{shown}: command not found in the machine", STATUS_NOT_FOUND) from None
        reason = "its interpreter is not in the image" if error.errno == ENOENT else error.strerror
        status = STATUS_NOT_FOUND if error.errno in (ENOENT, ENOTDIR) else STATUS_NOT_EXECUTABLE
        if error.errno == EACCES:
            reason = "it is not executable (chmod +x)"
        raise AppPotError(f"{shown}: can't be executed in the machine: {reason}", status) from None
    return words if task.program.prefix is None else task.program.prefix + words[1:]


def _is_text(ns, node):
    with open(ns.content(node), "rb") as file:
        return b"\0" not in file.read(256)


def _umask():
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


# -- running

def _supervise(machine, running, attendant, looks, creds, paths, command):
    """Run the start hooks `paths`, then what command() gives: (Task, argv, environment)."""
    window = running.window
    trusts = running.wall.trusts_stub
    filters = (window.put_program(seccomp.base_filter(STUB_BASE, STUB_END, machine.network, trusts, running.wall.counted,
                                                       running.wall.by_flags)),
               *(window.put_program(seccomp.identity_filter(STUB_BASE, STUB_END, trusts, flag)) for flag in (IDENTITY, OWNERS)))
    stats = tracing = None
    if machine.stats:
        from apppot.kernel.stats import Stats
        stats = Stats()
    if machine.trace is not None:
        from apppot.kernel.tracing import Trace
        tracing = Trace(machine.trace)
    running.patched = _patched_directory(machine, running)
    rules = running.wall.rule_set(running)
    if machine.verbose and running.wall.lacks() is not None:
        running.say(running.wall.lacks())
    supervisor = Supervisor(running, filters, rules, stats, tracing)
    if running.patched is not None:
        supervisor.fast = supervisor.execs.fast = FastPath(running, running.patched)
    libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
    descriptors = limits.raise_descriptors()
    attendant.start(running, machine.timeout, affinity.TICK, [supervisor.affinity.tick, *looks])

    def begin(task, words, variables, output=None):
        cwd = running.ns.open(task.caller, running.ns.at(task.fs.cwd(task)), os.O_PATH | os.O_DIRECTORY)
        supervisor.start(task, lambda: _spawn(machine, running, attendant, descriptors, cwd, words, variables, rules,
                                              output))
        attendant.attend(supervisor.main, supervisor.job_control)

    if paths:
        started = hooks.Hooks(paths, machine.verbose, running.run_dir,
                              lambda path, output: begin(*_hook_task(machine, running, creds, path), output),
                              lambda: begin(*command()))
        supervisor.then = started.next
        if not started.next():
            raise started.error
    else:
        started = None
        begin(*command())
    gc.freeze()                            # so that it never looks at the modules again
    gc.enable()
    status = supervisor.run()
    exceeded = running.control_group and running.control_group.exceeded()
    if exceeded:
        running.end(f"{exceeded}; the kernel has ended it (when last looked at, {running.memory_watch.culprit()})")
    if stats is not None:
        stats.write(supervisor.processes, running.memory_watch, supervisor.fast, _why_not_fast(machine, running))
    if tracing is not None:
        tracing.close()
    if started is not None and started.error is not None:
        raise started.error
    if machine.cow is None and not machine.discard and sys.stdin is not None and sys.stdin.isatty():
        running.say("what the machine changed outside of the job directory is thrown away; --cow DIR keeps it")
    if running.end_status is not None:
        return running.end_status
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _why_not_fast(machine, running):
    """Why the fast path is off, or None."""
    if machine.isolation == "strict":
        return "--isolation strict"
    if machine.trace is not None:
        return "--trace"
    if not running.wall.fast:
        return "this kernel has no Landlock"
    if not running.window.reserve(TLB_OFFSET, tlb.SIZE):
        return "there is no room for its cache"
    return None


def _patched_directory(machine, running):
    """Where patched copies are kept, or None: the fast path is off."""
    if _why_not_fast(machine, running) is not None:
        return None
    own = {name: value for name, value in os.environb.items() if name != b"APPPOT_CACHE"}      # that may be for reading only
    for cache in (cache_directory(), cache_directory(own), running.run_dir):
        try:
            os.makedirs(cache + b"/patched", 0o700, exist_ok=True)
        except OSError:
            continue
        if os.access(cache + b"/patched", os.W_OK | os.X_OK):
            return cache + b"/patched"
    return None


def _spawn(machine, running, attendant, descriptors, cwd, words, variables, rules, output):
    """Fork the first task; (its number, its Handover or None, function that lets it go on to exec the stub).

    output: descriptor of what standard output and error shall be, with nothing to read; None: the caller's.
    """
    held, released = os.pipe()
    here, there = handover.channel()
    word = int.from_bytes(os.urandom(8), "little")
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:             # the caller may have closed it
            stream.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(released)
            if running.wall.hands_over:
                handover.send_listener(there, word)
            there.close()                  # where there was nothing to send, that is what the supervisor waits for
            if not os.read(held, 1):       # the supervisor is gone
                os._exit(125)
            os.close(held)
            os.chdir(cwd)
            if output is not None:
                _redirect(output)
            limits.apply_in_child(machine, descriptors, running.control_group)
            _keep_open(machine.descriptors if rules is None else [*machine.descriptors, rules])
            if os.getuid() == 0:
                libc.drop_capabilities()
            attendant.restore_in_child()
            os.execve(running.stub, words, variables)
        except OSError as error:
            os.write(2, f"apppot-start: {os.fsdecode(error.filename or running.stub)}: {error.strerror}\n".encode())
        finally:
            os._exit(125)
    os.close(held)
    there.close()
    handed = handover.receive(here, word) if running.wall.hands_over else None
    here.close()

    def go():
        os.write(released, b"g")
        os.close(released)

    return pid, handed, go


def _keep_open(descriptors):
    """Of the descriptors above 2, exec keeps these open and closes all others, whatever the caller has left open."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2:
            try:
                os.set_inheritable(fd, fd in descriptors)
            except OSError:                # the listing's own
                continue


def _redirect(output):
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
