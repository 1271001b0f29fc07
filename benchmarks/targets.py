"""What the figures of AppPot with its fast path on must be. The ratios are to native in the same run."""

from dataclasses import dataclass

from .workloads import START


@dataclass(frozen=True)
class Target:
    """ratio: to native, of commands without the start of /bin/true. most: in the workload's unit. slow_most: the same, with the
    fast path off. speedup: throughput beside that of one process."""

    ratio: float | None = None
    most: float | None = None
    slow_most: float | None = None
    speedup: float | None = None

    def text(self, unit):
        parts = [f"≤ {self.ratio:g} ×"] if self.ratio else []
        parts += [f"≤ {self.most:g} {unit}"] if self.most else []
        parts += [f"off ≤ {self.slow_most:g} {unit}"] if self.slow_most else []
        parts += [f"≥ {self.speedup:g} × one"] if self.speedup else []
        return ", ".join(parts)


TARGETS = {
    "stat": Target(1.5, slow_most=30),
    **dict.fromkeys(("stat-image", "stat-relative", "access", "access-image", "open-close", "open-close-image"), Target(1.5)),
    **dict.fromkeys(("python-start", "numpy"), Target(1.5)),
    "stat-missing": Target(2),
    **dict.fromkeys(("find", "du", "grep", "tar-c"), Target(2)),
    **dict.fromkeys(("tar-x-job", "tar-x-tmp", "rm-job", "rm-tmp"), Target(2.5)),
    **dict.fromkeys(("make", "git-add", "git-commit", "git-status", "pip"), Target(1.25)),
    **dict.fromkeys(("fork-exec", "vfork-exec"), Target(1.8)),
    **dict.fromkeys(("getpid", "read", "io"), Target(1.05)),
    "cpu": Target(1.02),
    START: Target(most=80),
    "stat-x2": Target(speedup=1.8),
    "memory": Target(most=40),
}
