"""Every system call of x86-64, and what becomes of it: the one place that says so.

The seccomp filter, the dispatcher and the user documentation are derived from it. A row's action is `NATIVE` (the
filter lets the call pass), `TRACED` (it stops, a handler decides) or `DENIED` with an errno. `rules` look at
arguments first: the first rule that fits wins, else the row's action. Kernel pointers can't be looked at by a filter,
so a call is native only if its registers alone say that it names no file, user or process outside the machine.
"""

from errno import (
    EACCES, EAFNOSUPPORT, EINVAL, EIO, ENOSYS, EOPNOTSUPP, EPERM, EPROTONOSUPPORT,
)

NATIVE = "native"
TRACED = "traced"
DENIED = "denied"
STOPPED = "stopped"  # only a rule's: traced even where the stub may make the call

#: May be made from the stub's code range: Landlock mediates it, or it only reads.
STUB = 1
#: Traced, by the second filter, for tasks whose identity is virtual.
IDENTITY = 2
#: Traced, by a filter of its own, also for the others where files have ownership records.
OWNERS = 4
#: Makes a task: traced where tasks are counted (--pids).
COUNTED = 8

# Rules: (test, argument, value, action); action is TRACED, NATIVE or the errno of a denial.
# Unless it says otherwise, a test sees the low 32 bits of the register, as the kernel does for an int.
IS = "is"  # the argument is one of the values
IS_NOT = "is not"  # ... none of the values
HAS = "has"  # ... has one of the bits of value
UPPER_IS = "upper half is"  # the upper 32 bits are one of the values
UPPER_IS_NOT = "upper half is not"
MASKED_IS = "masked is"  # its bits of the mask value[0] are one of the others
MASKED_IS_NOT = "masked is not"
SET = "set"  # the whole register (a pointer) is not zero; value is None


class Row:
    """One system call. `error`: the errno if denied. `reason`: why it is not simply native."""

    __slots__ = ("number", "name", "action", "error", "flags", "rules", "reason")

    def __init__(self, number, name, action, error, flags, rules, reason):
        self.number = number
        self.name = name
        self.action = action
        self.error = error
        self.flags = flags
        self.rules = rules
        self.reason = reason

    @property
    def kind(self):
        """In a word for users: native, translated (made by the task with checked arguments), emulated, denied."""
        if self.action == TRACED:
            return "emulated" if self.name in EMULATED else "translated"
        return self.action

    @property
    def why(self):
        return self.reason or "names no file, user or process outside the machine"

    @property
    def stops(self):
        """A handler is needed: the call can reach the supervisor."""
        rules = self.rules + NO_NETWORK.get(self.name, ())
        return self.action == TRACED or bool(self.flags & (IDENTITY | COUNTED)) or any(rule[3] == TRACED for rule in rules)

    def __repr__(self):
        return f"<{self.number} {self.name}: {self.action}>"


def native(number, name, reason="", flags=0, rules=()):
    return Row(number, name, NATIVE, 0, flags, rules, reason)


def traced(number, name, reason, flags=0):
    return Row(number, name, TRACED, 0, flags, (), reason)


def denied(number, name, error, reason):
    return Row(number, name, DENIED, error, 0, (), reason)


FILE = "names a file"
META = "changes a file's metadata, which Landlock does not mediate"
KEPT = "attributes are kept that the host doesn't know"
DIRECTORY = "the working directory is a guest path"
LISTING = "lists names"
ADDRESS = "an AF_UNIX address names a file"
WINDOW = "the window, which holds what the supervisor has checked, stays where it is"
IPC = "keys and identifiers are the machine's"
WHO = "virtual ids are the supervisor's"
PROCESS = "names a process, which must be in the machine"
MOUNTS = "mounts are the machine's"
HANDLE = "a handle names a file past its path"
HOST = "changes the host"
KEYS = "key rings are the host's"
RING = "the ring makes system calls that no filter sees"
GONE = "not in any kernel of today"
MASK = "the supervisor may have put the task on its own CPU for a moment"
NESTED = "a rule on a guest directory would forbid its copy-up"

# include/uapi/linux/sched.h
CLONE_NEW = 0x7E020000  # NEWNS NEWCGROUP NEWUTS NEWIPC NEWUSER NEWPID NEWNET
CLONE_NEWTIME = 0x80
CLONE_FS = 0x200
CLONE_UNTRACED = 0x800000
CLONE_INTO_CGROUP = 0x200000000

CLONE = (
    (HAS, 0, CLONE_NEW, EPERM),
    (HAS, 0, CLONE_UNTRACED, EINVAL),
)
UNSHARE = (
    (HAS, 0, CLONE_NEW | CLONE_NEWTIME, EPERM),
    (HAS, 0, CLONE_FS, TRACED),
)
FCNTL = ((IS, 1, (8, 15), TRACED),)  # F_SETOWN, F_SETOWN_EX: whom to send signals to
PRCTL = (
    (IS, 0, (
        3, 4,  # PR_GET_DUMPABLE, PR_SET_DUMPABLE: the supervisor must be able to read memory
        7, 8,  # PR_GET_KEEPCAPS, PR_SET_KEEPCAPS
        23, 24,  # PR_CAPBSET_READ, PR_CAPBSET_DROP
        27, 28,  # PR_GET_SECUREBITS, PR_SET_SECUREBITS
        38, 39,  # PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS: always set, but sudo asks
        47,  # PR_CAP_AMBIENT
        21, 22,  # PR_GET_SECCOMP, PR_SET_SECCOMP: as if the supervisor's filters weren't there
        0x59616D61,  # PR_SET_PTRACER
    ), TRACED),
    (IS, 0, (35,), EPERM),  # PR_SET_MM
    (IS, 0, (59,), EINVAL),  # PR_SET_SYSCALL_USER_DISPATCH: it would catch the stub's calls
)
SECCOMP = (
    # A listener could let calls go that the supervisor's filter stops: SECCOMP_FILTER_FLAG_NEW_LISTENER,
    # as refused by kernels that don't have it.
    (HAS, 1, 0x8, EINVAL),
    (IS, 0, (0, 1), TRACED),  # SECCOMP_SET_MODE_STRICT, SECCOMP_SET_MODE_FILTER
)
IOCTL = (
    # They change what belongs to a file through a descriptor, even one open for reading.
    (IS, 1, (
        0x40086602, 0x40046602, 0x401C5820,  # FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS, FS_IOC_FSSETXATTR
        0x40087602, 0x40047602,  # FS_IOC_SETVERSION, FS_IOC32_SETVERSION
        0x40086604, 0x40047211,  # EXT4_IOC_SETVERSION_OLD, FAT_IOCTL_SET_ATTRIBUTES
        0x800C6613, 0xC0506617, 0xC0406618, 0xC0406619,  # FS_IOC_SET_ENCRYPTION_POLICY, ..._ENCRYPTION_KEY...
        0x40806685,  # FS_IOC_ENABLE_VERITY
        # BTRFS_IOC_*: SUBVOL_CREATE, SNAP_DESTROY, SNAP_CREATE, their _V2, SUBVOL_SETFLAGS name files
        0x5000940E, 0x5000940F, 0x50009401, 0x50009417, 0x50009418, 0x5000943F, 0x4008941A,
    ), EOPNOTSUPP),
    (IS, 1, (0x5412,), EIO),  # TIOCSTI: types on the caller's terminal; as kernels answer that have it off
    (IS, 1, (0x541C,), EPERM),  # TIOCLINUX: pastes on the console
    (IS, 1, (0x8901, 0x8902), TRACED),  # FIOSETOWN, SIOCSPGRP
)
# Upper halves of the addresses of the window (platform/layout.py), and of the 4 GiB below: where a range of less than
# 4 GiB that touches the window begins.
NEAR_WINDOW = (0x7E80, 0x7E81)
RANGE = ((UPPER_IS, 0, NEAR_WINDOW, TRACED), (UPPER_IS_NOT, 1, (0,), TRACED))
REMAP = RANGE + ((UPPER_IS, 4, NEAR_WINDOW, TRACED), (UPPER_IS_NOT, 2, (0,), TRACED))
DONTFORK = ((IS, 2, (10,), TRACED),)  # MADV_DONTFORK: a child could put memory of its own there
FAMILIES = ((IS_NOT, 0, (1, 2, 10, 16, 17), EAFNOSUPPORT),)  # AF_UNIX, _INET, _INET6, _NETLINK, _PACKET
SELF = ((IS_NOT, 0, (0,), TRACED),)  # the first argument is a process, 0 the caller
WHICH = ((IS_NOT, 0, (0,), TRACED), (IS_NOT, 1, (0,), TRACED))  # PRIO_PROCESS is 0
IOPRIO = ((IS_NOT, 0, (1,), TRACED), (IS_NOT, 1, (0,), TRACED))  # IOPRIO_WHO_PROCESS is 1

ROWS = (
    native(0, "read"),
    native(1, "write"),
    traced(2, "open", FILE, STUB),
    native(3, "close"),
    traced(4, "stat", FILE, STUB),
    native(5, "fstat", WHO, IDENTITY | OWNERS | STUB),
    traced(6, "lstat", FILE, STUB),
    native(7, "poll"),
    native(8, "lseek"),
    native(9, "mmap", WINDOW, 0, RANGE),
    native(10, "mprotect"),
    native(11, "munmap", WINDOW, 0, RANGE),
    native(12, "brk"),
    native(13, "rt_sigaction"),
    native(14, "rt_sigprocmask"),
    native(15, "rt_sigreturn"),
    native(16, "ioctl", "some requests change files or name processes", 0, IOCTL),
    native(17, "pread64"),
    native(18, "pwrite64"),
    native(19, "readv"),
    native(20, "writev"),
    traced(21, "access", FILE, STUB),
    native(22, "pipe"),
    native(23, "select"),
    native(24, "sched_yield"),
    native(25, "mremap", WINDOW, 0, REMAP),
    native(26, "msync"),
    native(27, "mincore"),
    native(28, "madvise", WINDOW, 0, DONTFORK),
    traced(29, "shmget", IPC),
    traced(30, "shmat", IPC),
    traced(31, "shmctl", IPC),
    native(32, "dup"),
    native(33, "dup2"),
    native(34, "pause"),
    native(35, "nanosleep"),
    native(36, "getitimer"),
    native(37, "alarm"),
    native(38, "setitimer"),
    native(39, "getpid"),
    native(40, "sendfile"),
    native(41, "socket", "families that reach the hypervisor or parts of the kernel that no guest needs", 0, FAMILIES),
    traced(42, "connect", ADDRESS),
    native(43, "accept", ADDRESS, 0, ((SET, 1, None, TRACED),)),
    native(44, "sendto", ADDRESS, 0, ((SET, 4, None, TRACED),)),
    native(45, "recvfrom", ADDRESS, 0, ((SET, 4, None, TRACED),)),
    traced(46, "sendmsg", ADDRESS),
    native(47, "recvmsg"),
    native(48, "shutdown"),
    traced(49, "bind", ADDRESS),
    native(50, "listen"),
    traced(51, "getsockname", ADDRESS),
    traced(52, "getpeername", ADDRESS),
    native(53, "socketpair"),
    native(54, "setsockopt"),
    native(55, "getsockopt"),
    native(56, "clone", "no namespaces, no child that the supervisor does not see", COUNTED, CLONE),
    native(57, "fork", "--pids counts tasks", COUNTED),
    native(58, "vfork", "--pids counts tasks", COUNTED),
    traced(59, "execve", FILE, STUB),
    native(60, "exit"),
    native(61, "wait4"),
    traced(62, "kill", PROCESS),
    traced(63, "uname", "the host name is the machine's", STUB),
    traced(64, "semget", IPC),
    traced(65, "semop", IPC),
    traced(66, "semctl", IPC),
    native(67, "shmdt"),
    traced(68, "msgget", IPC),
    traced(69, "msgsnd", IPC),
    traced(70, "msgrcv", IPC),
    traced(71, "msgctl", IPC),
    native(72, "fcntl", PROCESS, 0, FCNTL),
    native(73, "flock"),
    native(74, "fsync"),
    native(75, "fdatasync"),
    traced(76, "truncate", FILE, STUB),
    native(77, "ftruncate"),
    traced(78, "getdents", LISTING),
    traced(79, "getcwd", DIRECTORY),
    traced(80, "chdir", FILE, STUB),
    traced(81, "fchdir", DIRECTORY),
    traced(82, "rename", FILE, STUB),
    traced(83, "mkdir", FILE, STUB),
    traced(84, "rmdir", FILE),
    traced(85, "creat", FILE, STUB),
    traced(86, "link", FILE, STUB),
    traced(87, "unlink", FILE, STUB),
    traced(88, "symlink", FILE),
    traced(89, "readlink", FILE, STUB),
    traced(90, "chmod", FILE),
    traced(91, "fchmod", META),
    traced(92, "chown", FILE),
    traced(93, "fchown", META),
    traced(94, "lchown", FILE),
    traced(95, "umask", "the supervisor makes files in the task's name"),
    native(96, "gettimeofday"),
    native(97, "getrlimit"),
    native(98, "getrusage"),
    native(99, "sysinfo"),
    native(100, "times"),
    denied(101, "ptrace", EPERM, "the supervisor is the tracer"),
    native(102, "getuid", WHO, IDENTITY),
    denied(103, "syslog", EPERM, "the kernel's log is the host's"),
    native(104, "getgid", WHO, IDENTITY),
    native(105, "setuid", WHO, IDENTITY),
    native(106, "setgid", WHO, IDENTITY),
    native(107, "geteuid", WHO, IDENTITY),
    native(108, "getegid", WHO, IDENTITY),
    native(109, "setpgid"),
    native(110, "getppid"),
    native(111, "getpgrp"),
    native(112, "setsid"),
    native(113, "setreuid", WHO, IDENTITY),
    native(114, "setregid", WHO, IDENTITY),
    native(115, "getgroups", WHO, IDENTITY),
    native(116, "setgroups", WHO, IDENTITY),
    native(117, "setresuid", WHO, IDENTITY),
    native(118, "getresuid", WHO, IDENTITY),
    native(119, "setresgid", WHO, IDENTITY),
    native(120, "getresgid", WHO, IDENTITY),
    native(121, "getpgid"),
    native(122, "setfsuid", WHO, IDENTITY),
    native(123, "setfsgid", WHO, IDENTITY),
    native(124, "getsid"),
    native(125, "capget", WHO, IDENTITY),
    native(126, "capset", WHO, IDENTITY),
    native(127, "rt_sigpending"),
    native(128, "rt_sigtimedwait"),
    traced(129, "rt_sigqueueinfo", PROCESS),
    native(130, "rt_sigsuspend"),
    native(131, "sigaltstack"),
    traced(132, "utime", FILE),
    traced(133, "mknod", FILE),
    denied(134, "uselib", ENOSYS, GONE),
    native(135, "personality"),
    native(136, "ustat"),
    traced(137, "statfs", FILE, STUB),
    native(138, "fstatfs"),
    native(139, "sysfs"),
    native(140, "getpriority", PROCESS, 0, WHICH),
    native(141, "setpriority", PROCESS, 0, WHICH),
    native(142, "sched_setparam", PROCESS, 0, SELF),
    native(143, "sched_getparam"),
    native(144, "sched_setscheduler", PROCESS, 0, SELF),
    native(145, "sched_getscheduler"),
    native(146, "sched_get_priority_max"),
    native(147, "sched_get_priority_min"),
    native(148, "sched_rr_get_interval"),
    native(149, "mlock"),
    native(150, "munlock"),
    native(151, "mlockall"),
    native(152, "munlockall"),
    denied(153, "vhangup", EPERM, HOST),
    native(154, "modify_ldt"),
    denied(155, "pivot_root", EPERM, MOUNTS),
    denied(156, "_sysctl", ENOSYS, GONE),
    native(157, "prctl", "some options are about identity or the tracer", 0, PRCTL),
    native(158, "arch_prctl"),
    denied(159, "adjtimex", EPERM, HOST),
    native(160, "setrlimit"),
    traced(161, "chroot", FILE),
    native(162, "sync"),
    denied(163, "acct", EPERM, HOST),
    denied(164, "settimeofday", EPERM, HOST),
    denied(165, "mount", EPERM, MOUNTS),
    denied(166, "umount2", EPERM, MOUNTS),
    denied(167, "swapon", EPERM, HOST),
    denied(168, "swapoff", EPERM, HOST),
    denied(169, "reboot", EPERM, HOST),
    traced(170, "sethostname", "the host name is the machine's"),
    traced(171, "setdomainname", "the domain name is the machine's"),
    denied(172, "iopl", EPERM, HOST),
    denied(173, "ioperm", EPERM, HOST),
    denied(174, "create_module", ENOSYS, GONE),
    denied(175, "init_module", EPERM, HOST),
    denied(176, "delete_module", EPERM, HOST),
    denied(177, "get_kernel_syms", ENOSYS, GONE),
    denied(178, "query_module", ENOSYS, GONE),
    denied(179, "quotactl", EPERM, HOST),
    denied(180, "nfsservctl", ENOSYS, GONE),
    denied(181, "getpmsg", ENOSYS, GONE),
    denied(182, "putpmsg", ENOSYS, GONE),
    traced(183, "afs_syscall", "the supervisor hands descriptors over by it; ENOSYS to all others"),
    denied(184, "tuxcall", ENOSYS, GONE),
    denied(185, "security", ENOSYS, GONE),
    native(186, "gettid"),
    native(187, "readahead"),
    traced(188, "setxattr", FILE),
    traced(189, "lsetxattr", FILE),
    traced(190, "fsetxattr", META),
    traced(191, "getxattr", FILE, STUB),
    traced(192, "lgetxattr", FILE, STUB),
    traced(193, "fgetxattr", KEPT, STUB),
    traced(194, "listxattr", FILE, STUB),
    traced(195, "llistxattr", FILE, STUB),
    traced(196, "flistxattr", KEPT, STUB),
    traced(197, "removexattr", FILE),
    traced(198, "lremovexattr", FILE),
    traced(199, "fremovexattr", META),
    traced(200, "tkill", PROCESS),
    native(201, "time"),
    native(202, "futex"),
    traced(203, "sched_setaffinity", MASK),
    traced(204, "sched_getaffinity", MASK),
    native(205, "set_thread_area"),
    native(206, "io_setup"),
    native(207, "io_destroy"),
    native(208, "io_getevents"),
    native(209, "io_submit"),
    native(210, "io_cancel"),
    native(211, "get_thread_area"),
    denied(212, "lookup_dcookie", ENOSYS, GONE),
    native(213, "epoll_create"),
    denied(214, "epoll_ctl_old", ENOSYS, GONE),
    denied(215, "epoll_wait_old", ENOSYS, GONE),
    denied(216, "remap_file_pages", ENOSYS, "swaps pages of the window; replaced by mmap in every program of today"),
    traced(217, "getdents64", LISTING, STUB),
    native(218, "set_tid_address"),
    native(219, "restart_syscall"),
    traced(220, "semtimedop", IPC),
    native(221, "fadvise64"),
    native(222, "timer_create"),
    native(223, "timer_settime"),
    native(224, "timer_gettime"),
    native(225, "timer_getoverrun"),
    native(226, "timer_delete"),
    denied(227, "clock_settime", EPERM, HOST),
    native(228, "clock_gettime"),
    native(229, "clock_getres"),
    native(230, "clock_nanosleep"),
    native(231, "exit_group"),
    native(232, "epoll_wait"),
    native(233, "epoll_ctl"),
    traced(234, "tgkill", PROCESS),
    traced(235, "utimes", FILE),
    denied(236, "vserver", ENOSYS, GONE),
    native(237, "mbind"),
    native(238, "set_mempolicy"),
    native(239, "get_mempolicy"),
    traced(240, "mq_open", IPC),
    traced(241, "mq_unlink", IPC),
    native(242, "mq_timedsend"),
    native(243, "mq_timedreceive"),
    native(244, "mq_notify"),
    native(245, "mq_getsetattr"),
    denied(246, "kexec_load", EPERM, HOST),
    native(247, "waitid"),
    denied(248, "add_key", ENOSYS, KEYS),
    denied(249, "request_key", ENOSYS, KEYS),
    denied(250, "keyctl", ENOSYS, KEYS),
    native(251, "ioprio_set", PROCESS, 0, IOPRIO),
    native(252, "ioprio_get", PROCESS, 0, IOPRIO),
    native(253, "inotify_init"),
    traced(254, "inotify_add_watch", FILE),
    native(255, "inotify_rm_watch"),
    native(256, "migrate_pages", PROCESS, 0, SELF),
    traced(257, "openat", FILE, STUB),
    traced(258, "mkdirat", FILE, STUB),
    traced(259, "mknodat", FILE),
    traced(260, "fchownat", FILE),
    traced(261, "futimesat", FILE),
    traced(262, "newfstatat", FILE, STUB),
    traced(263, "unlinkat", FILE, STUB),
    traced(264, "renameat", FILE, STUB),
    traced(265, "linkat", FILE, STUB),
    traced(266, "symlinkat", FILE),
    traced(267, "readlinkat", FILE, STUB),
    traced(268, "fchmodat", FILE),
    traced(269, "faccessat", FILE, STUB),
    native(270, "pselect6"),
    native(271, "ppoll"),
    native(272, "unshare", "no namespaces; the working directory may become the task's own", 0, UNSHARE),
    native(273, "set_robust_list"),
    native(274, "get_robust_list", PROCESS, 0, SELF),
    native(275, "splice"),
    native(276, "tee"),
    native(277, "sync_file_range"),
    native(278, "vmsplice"),
    native(279, "move_pages", PROCESS, 0, SELF),
    traced(280, "utimensat", FILE),
    native(281, "epoll_pwait"),
    native(282, "signalfd"),
    native(283, "timerfd_create"),
    native(284, "eventfd"),
    native(285, "fallocate"),
    native(286, "timerfd_settime"),
    native(287, "timerfd_gettime"),
    native(288, "accept4", ADDRESS, 0, ((SET, 1, None, TRACED),)),
    native(289, "signalfd4"),
    native(290, "eventfd2"),
    native(291, "epoll_create1"),
    native(292, "dup3"),
    native(293, "pipe2"),
    native(294, "inotify_init1"),
    native(295, "preadv"),
    native(296, "pwritev"),
    traced(297, "rt_tgsigqueueinfo", PROCESS),
    denied(298, "perf_event_open", EACCES, "counters see the host"),
    native(299, "recvmmsg"),
    denied(300, "fanotify_init", EPERM, "marks whole file systems of the host"),
    denied(301, "fanotify_mark", EPERM, "marks whole file systems of the host"),
    native(302, "prlimit64", PROCESS, 0, SELF),
    denied(303, "name_to_handle_at", EOPNOTSUPP, HANDLE),
    denied(304, "open_by_handle_at", EPERM, HANDLE),
    denied(305, "clock_adjtime", EPERM, HOST),
    native(306, "syncfs"),
    traced(307, "sendmmsg", ADDRESS),
    denied(308, "setns", EPERM, "namespaces are the host's"),
    native(309, "getcpu"),
    traced(310, "process_vm_readv", PROCESS),
    traced(311, "process_vm_writev", PROCESS),
    traced(312, "kcmp", PROCESS),
    denied(313, "finit_module", EPERM, HOST),
    native(314, "sched_setattr", PROCESS, 0, SELF),
    native(315, "sched_getattr"),
    traced(316, "renameat2", FILE, STUB),
    native(317, "seccomp", "no answers past the supervisor's filter; it knows who has filters", STUB, SECCOMP),
    native(318, "getrandom"),
    native(319, "memfd_create"),
    denied(320, "kexec_file_load", EPERM, HOST),
    denied(321, "bpf", EPERM, HOST),
    traced(322, "execveat", FILE, STUB),
    denied(323, "userfaultfd", EPERM, "the supervisor's reads of memory would wait for the guest"),
    native(324, "membarrier"),
    native(325, "mlock2"),
    native(326, "copy_file_range"),
    native(327, "preadv2"),
    native(328, "pwritev2"),
    native(329, "pkey_mprotect"),
    native(330, "pkey_alloc"),
    native(331, "pkey_free"),
    traced(332, "statx", FILE, STUB),
    native(333, "io_pgetevents"),
    native(334, "rseq"),
    native(335, "uretprobe", "made by the kernel's own trampolines"),
    native(336, "uprobe", "made by the kernel's own trampolines"),
    traced(424, "pidfd_send_signal", PROCESS),
    denied(425, "io_uring_setup", ENOSYS, RING),
    denied(426, "io_uring_enter", ENOSYS, RING),
    denied(427, "io_uring_register", ENOSYS, RING),
    denied(428, "open_tree", EPERM, MOUNTS),
    denied(429, "move_mount", EPERM, MOUNTS),
    denied(430, "fsopen", EPERM, MOUNTS),
    denied(431, "fsconfig", EPERM, MOUNTS),
    denied(432, "fsmount", EPERM, MOUNTS),
    denied(433, "fspick", EPERM, MOUNTS),
    traced(434, "pidfd_open", PROCESS),
    traced(435, "clone3", "its flags are in memory"),
    native(436, "close_range"),
    traced(437, "openat2", FILE, STUB),
    traced(438, "pidfd_getfd", PROCESS),
    traced(439, "faccessat2", FILE, STUB),
    traced(440, "process_madvise", PROCESS),
    native(441, "epoll_pwait2"),
    denied(442, "mount_setattr", EPERM, MOUNTS),
    denied(443, "quotactl_fd", EPERM, HOST),
    denied(444, "landlock_create_ruleset", EOPNOTSUPP, NESTED),
    denied(445, "landlock_add_rule", EOPNOTSUPP, NESTED),
    denied(446, "landlock_restrict_self", EOPNOTSUPP, NESTED),
    native(447, "memfd_secret"),
    native(448, "process_mrelease"),
    native(449, "futex_waitv"),
    native(450, "set_mempolicy_home_node"),
    native(451, "cachestat"),
    traced(452, "fchmodat2", FILE),
    native(453, "map_shadow_stack"),
    native(454, "futex_wake"),
    native(455, "futex_wait"),
    native(456, "futex_requeue"),
    denied(457, "statmount", ENOSYS, MOUNTS),
    denied(458, "listmount", ENOSYS, MOUNTS),
    native(459, "lsm_get_self_attr"),
    denied(460, "lsm_set_self_attr", EPERM, HOST),
    native(461, "lsm_list_modules"),
    native(462, "mseal"),
    traced(463, "setxattrat", FILE),
    traced(464, "getxattrat", FILE, STUB),
    traced(465, "listxattrat", FILE, STUB),
    traced(466, "removexattrat", FILE),
    denied(467, "open_tree_attr", EPERM, MOUNTS),
    traced(468, "file_getattr", FILE),
    traced(469, "file_setattr", FILE),
    denied(470, "listns", ENOSYS, "namespaces are the host's"),
)

# What the filter does on top where a machine has no network: no address families that reach out in ways of their own
# (the addresses of AF_INET are the handlers' business), no SCTP, whose socket options name peers, nobody let in.
NO_NETWORK = {
    "socket": (
        (IS, 0, (17,), EAFNOSUPPORT),  # AF_PACKET
        (IS, 2, (132,), EPROTONOSUPPORT),  # IPPROTO_SCTP
    ),
    "listen": ((IS_NOT, 0, (), TRACED),),
    "setsockopt": ((IS, 1, (0, 41), TRACED),),  # IPPROTO_IP, IPPROTO_IPV6: to join a group is to send
}

NR_CLONE, NR_CLONE3 = 56, 435
# Calls that stop and whose work the supervisor does itself, on files that it has found and holds; of sockets those with
# the name of a file.
EMULATED = frozenset((
    "connect", "getsockname", "getpeername", "uname", "sethostname", "setdomainname", "getdents", "getdents64", "getcwd",
    "chroot", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "link", "linkat", "unlink", "unlinkat", "symlink",
    "symlinkat", "readlink", "readlinkat", "mknod", "mknodat", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown",
    "lchown", "fchownat", "utime", "utimes", "futimesat", "utimensat", "truncate", "setxattr", "lsetxattr", "fsetxattr",
    "setxattrat", "removexattr", "lremovexattr", "fremovexattr", "removexattrat", "file_getattr", "file_setattr",
))

by_name = {row.name: row for row in ROWS}
by_number = {row.number: row for row in ROWS}


def numbers(*names):
    """The set of these calls' numbers."""
    return frozenset(by_name[name].number for name in names)
