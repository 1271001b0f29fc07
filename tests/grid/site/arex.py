"""A-REX, ARC's computing element, one for each back end ("lrms"): fork runs jobs itself, slurm hands them to Slurm."""

import grp
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from .daemons import SiteError, clean, halt, run, running, wait_for, write

SHIPPED = Path("/usr/share/arc")
RTE = "ENV/APPPOT-1.0"
SECONDS_BETWEEN_LOOKS = 2
CONFIGURATION = """\
[common]
hostname = localhost
x509_host_key = {host}/hostkey.pem
x509_host_cert = {host}/hostcert.pem
x509_cert_dir = {authority}

[authgroup:testers]
file = {host}/subjects

[mapping]
map_to_user = testers {user}:{group}

[lrms]
lrms = {lrms}
{of_lrms}
[arex]
{scratch}controldir = {own}/control
sessiondir = {own}/session
runtimedir = {rte}
logfile = {own}/log/arex.log
joblog = {own}/log/jobs.log
helperlog = {own}/log/helper.log
pidfile = {own}/arex.pid
tmpdir = {own}/tmp
wakeupperiod = 5
loglevel = VERBOSE
helper = . {own}/look-for-ended-jobs

[arex/cache]
cachedir = {own}/cache

[arex/data-staging]
loglevel = VERBOSE

[arex/ws]
wsurl = {url}
logfile = {own}/log/ws.log
pidfile = {own}/arex-ws.pid

[arex/ws/jobs]
allowaccess = testers

[infosys]
logfile = {own}/log/infosys.log

[infosys/glue2]
admindomain_name = AppPotTests

[infosys/cluster]

[queue:{queue}]
"""
OF_SLURM = """\
slurm_bin_path = {bin}
slurm_use_sacct = no
slurm_wakeupperiod = 5
"""
# A-REX runs its own look for ended jobs every 20 seconds; this is the same program, run every second.
LOOK = """\
#!/bin/bash
boss=$PPID
rm -f {own}/look.lock
while read -r _ _ _ parent _ </proc/$$/stat && [ "$parent" = "$boss" ]; do
    {own}/look-once --config {own}/arex.cfg {own}/control
    sleep 1
done
"""


class Arex:
    """One A-REX. `url`: its REST interface; `slurm`: the Slurm to use for the back end slurm."""

    def __init__(self, place, lrms, certificates, slurm):
        self.place, self.lrms, self.certificates, self.slurm = place, lrms, certificates, slurm
        self.port = place.port(lrms)
        self.url = f"https://localhost:{self.port}/arex"
        self.own = place.sub(lrms)
        self.configuration = self.own / "arc.conf"

    # -- configuration

    def configure(self):
        """Write arc.conf and the start scripts."""
        for name in ("control", "session", "cache", "log"):
            self.place.sub(self.lrms, name)
        for name in ("tmp", "node"):
            self.place.sub(self.lrms, name).chmod(0o1777)
        account = self.place.account
        write(self.configuration, CONFIGURATION.format(
            own=self.own, url=self.url, lrms=self.lrms, rte=self.place.sub("rte"), user=account.pw_name,
            group=grp.getgrgid(account.pw_gid).gr_name, queue="main" if self.lrms == "slurm" else "fork",
            host=self.certificates.host, authority=self.certificates.authority,
            # The job moves from the session directory to the node's own disk, and back at its end. In scripts for Slurm, which
            # are for bash, that of ARC 6.17 fails with bash 5.2, unless the session has hidden files.
            scratch=f"scratchdir = {self.own}/node\n" if self.lrms == "fork" else "",
            of_lrms=OF_SLURM.format(bin=self.slurm.bin) if self.lrms == "slurm" else ""))

    def _adapt_scripts(self):
        """Copies of the shipped scripts with what arc.conf has no word for."""
        self._adapt("arc-arex-ws-start", "arc-arex-ws-start", "<tcp:Listen><tcp:Port>",
                    "<tcp:Listen><tcp:Interface>127.0.0.1</tcp:Interface><tcp:Port>")
        element = "<arex:gmconfig>$ARC_RUNTIME_CONFIG</arex:gmconfig>"
        tenths = SECONDS_BETWEEN_LOOKS * 10
        self._adapt("arc-arex-start", "arc-arex-start", element,
                    f"{element}<arex:InfoproviderWakeupPeriod>{tenths}</arex:InfoproviderWakeupPeriod>")
        scan = "scan-SLURM-job" if self.lrms == "slurm" else "scan-fork-job"
        lines = (SHIPPED / scan).read_text().splitlines()
        adapted = [f"basedir={SHIPPED}" if line.startswith("basedir=`dirname")
                   else f"lockfile={self.own}/look.lock" if line.startswith("lockfile=")
                   else ":" if line.startswith("sleep ") else line for line in lines]
        write(self.own / "look-once", "\n".join(adapted) + "\n", 0o755)
        write(self.own / "look-for-ended-jobs", LOOK.format(own=self.own), 0o755)

    def _adapt(self, name, target, old, new):
        text = (SHIPPED / name).read_text()
        if old not in text:
            raise SiteError(f"{SHIPPED / name} of this version of ARC can't be adapted: it has no {old}")
        write(self.own / target, text.replace(old, new), 0o755)

    def _diffie_hellman(self):
        """A group of RFC 7919; A-REX would compute one of its own for minutes."""
        path = self.own / "control" / "dhparam.pem"
        if not path.exists():
            run("openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", path,
                log=self.own / "log" / "start.log")
            path.chmod(0o600)

    # -- the runtime environment

    def install_rte(self, source):
        """What an administrator does: copy the script and enable it."""
        target = self.place.sub("rte", "ENV") / "APPPOT-1.0"
        shutil.copyfile(source, target)
        if not os.path.lexists(self.own / "control" / "rte" / "enabled" / RTE):
            self.arcctl("rte", "enable", RTE)

    def use_for_all_jobs(self, wanted):
        """`arcctl rte default`: jobs that name no runtime environment get ours, or do no longer."""
        if wanted != os.path.lexists(self.own / "control" / "rte" / "default" / RTE):
            self.arcctl("rte", "default" if wanted else "undefault", RTE)

    def set_parameter(self, name, value):
        """`arcctl rte params-set`; None takes the setting away."""
        if value is None:
            self.arcctl("rte", "params-unset", RTE, name)
        else:
            self.arcctl("rte", "params-set", RTE, name, value)

    def arcctl(self, *words):
        done = subprocess.run(["arcctl", "-c", self.configuration, *words], capture_output=True, text=True)
        if done.returncode:
            raise SiteError(f"arcctl {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")

    # -- start and stop

    def start(self):
        self._adapt_scripts()
        self._diffie_hellman()
        log = self.own / "log" / "start.log"
        environment = {"ARC_CONFIG": self.configuration}
        if not running(self.own / "arex.pid", "arched"):
            (self.own / "control" / "info.xml").unlink(missing_ok=True)
            run(*clean(self.own / "arc-arex-start", **environment), log=log)
        if not running(self.own / "arex-ws.pid", "arched"):
            run(*clean(self.own / "arc-arex-ws-start", **environment), log=log)
        wait_for(lambda: running(self.own / "arex.pid", "arched"), 10, f"A-REX ({self.own}/log/arex.log)")
        wait_for(self._listens, 30, f"A-REX's port {self.port}")
        wait_for((self.own / "control" / "info.xml").exists, 60, "A-REX's description of the site")
        wait_for(lambda: subprocess.run(self.certificates.as_user("arcinfo", "-c", self.url), capture_output=True,
                                        timeout=30).returncode == 0, 20, "A-REX's answer to arcinfo")

    def _listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def stop(self):
        halt(self.own / "arex-ws.pid", "arched", 5)
        halt(self.own / "arex.pid", "arched", 25)       # one of its threads sleeps for 10 seconds
        self._end_what_is_left()

    def _end_what_is_left(self):
        """A-REX does not wait for its helpers, whose command lines name our files, nor for jobs of the back end fork."""
        own = os.fsencode(self.own) + b"/"
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if own in (entry / "cmdline").read_bytes() or os.fsencode(os.readlink(entry / "cwd")).startswith(own):
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue
