"""Slurm: munged, slurmctld and slurmd of one node, which claims to have four processors."""

import os
import shutil
import subprocess

from .daemons import clean, halt, run, running, wait_for, write

COMMANDS = "sbatch squeue scontrol sinfo scancel srun salloc sacct".split()
CONFIGURATION = """\
ClusterName=apppot
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=slurm
AuthType=auth/munge
AuthInfo=socket={munge}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={slurm}/state
SlurmdSpoolDir={slurm}/spool
SlurmctldPidFile={slurm}/slurmctld.pid
SlurmdPidFile={slurm}/slurmd.pid
SlurmctldLogFile={slurm}/log/slurmctld.log
SlurmdLogFile={slurm}/log/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
MaxArraySize=1001
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """`bin`: directory of sbatch, squeue... which know where their configuration is, with an empty environment too."""

    def __init__(self, place):
        self.place = place
        self.directory = place.sub("cluster")
        self.munge = place.sub("munge")
        self.bin = place.sub("cluster", "bin")

    def _configure(self):
        for name in ("state", "log", "spool"):
            path = self.place.sub("cluster", name)
            if name != "spool":
                shutil.chown(path, "slurm", "slurm")
        shutil.chown(self.munge, "munge", "munge")
        key = self.munge / "munge.key"
        if not key.exists():
            with open(os.open(key, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o400), "wb") as file:
                file.write(os.urandom(128))
            shutil.chown(key, "munge", "munge")
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // 10 >> 20
        write(self.directory / "slurm.conf", CONFIGURATION.format(
            munge=self.munge, slurm=self.directory, memory=memory, controller_port=self.place.port("slurmctld"),
            node_port=self.place.port("slurmd")))
        for name in COMMANDS:
            write(self.bin / name, f'#!/bin/sh\nSLURM_CONF={self.directory}/slurm.conf exec /usr/bin/{name} "$@"\n', 0o755)

    def start(self):
        self._configure()
        log = self.directory / "log" / "start.log"
        if not running(self.munge / "munged.pid", "munged"):
            for left in self.munge.glob("munge.socket*"):
                left.unlink()
            # --force: munged otherwise insists on modes of directories above, which are the computer's own affair
            run(*clean("runuser", "-u", "munge", "--", "/usr/sbin/munged", "--force",
                       *(f"--{option}={self.munge}/{file}" for option, file in (
                           ("key-file", "munge.key"), ("socket", "munge.socket"), ("pid-file", "munged.pid"),
                           ("log-file", "munged.log"), ("seed-file", "munged.seed")))), log=log)
        for daemon in ("slurmctld", "slurmd"):
            if not running(self.directory / f"{daemon}.pid", daemon):
                run(*clean(daemon, "-f", self.directory / "slurm.conf"), log=log)
        wait_for(lambda: self._ask("sinfo", "-h", "-o", "%t").startswith(("idle", "mix", "alloc")), 30,
                 f"the Slurm node to be up ({self.directory}/log)")

    def stop(self):
        """Cancel what is queued or runs, then end the daemons."""
        if running(self.directory / "slurmctld.pid", "slurmctld") and running(self.directory / "slurmd.pid", "slurmd"):
            if jobs := self._ask("squeue", "-h", "-o", "%A").split():
                self._ask("scancel", *sorted(set(jobs)))
                wait_for(lambda: not self._ask("squeue", "-h", "-t", "R,CG", "-o", "%A"), 15, "the end of Slurm's jobs")
        halt(self.directory / "slurmd.pid", "slurmd", 10)
        halt(self.directory / "slurmctld.pid", "slurmctld", 10)
        halt(self.munge / "munged.pid", "munged", 5)

    def _ask(self, name, *arguments):
        return subprocess.run([self.bin / name, *arguments], capture_output=True, text=True, timeout=30).stdout.strip()
