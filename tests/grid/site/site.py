"""The whole site: back ends are started when they are asked for."""

import json
import os
import subprocess
from pathlib import Path

from .arex import Arex
from .certificates import Certificates
from .daemons import SiteError, require_uts_namespace, write
from .slurm import Slurm

BACK_ENDS = ("fork", "slurm")
FACTS = "site.json"
SMALL = 8 << 20             # bytes of the node's small scratch directory, which is a file system of its own


class Site:
    """`start("fork")`, `start("slurm")`: A-REX with that back end; `start("sbatch")`: Slurm alone."""

    def __init__(self, place, rte):
        """rte: our runtime environment's script, or None."""
        self.place, self.rte = place, rte
        place.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._wanted = set()        # what was started and not stopped; Slurm serves two of them
        self.small_scratch = place.directory / "small-scratch"
        self.certificates = Certificates(place)
        self.slurm = Slurm(place)
        self.arex = {lrms: Arex(place, lrms, self.certificates, self.slurm) for lrms in BACK_ENDS}

    def start(self, name):
        """Nothing happens where it runs already."""
        require_uts_namespace()
        self._mount_small_scratch()
        self._wanted.add(name)
        if name != "fork":
            self.slurm.start()
        if name != "sbatch":
            arex = self.arex[name]
            arex.configure()
            self.certificates.make(arex.configuration)
            if self.rte is not None:
                arex.install_rte(self.rte)
            arex.start()
        self._tell()

    def stop(self, *names):
        """Stop what was started; without names all of it."""
        for name in names or BACK_ENDS:
            if name in self.arex:
                self.arex[name].stop()
        self._wanted -= set(names or self._wanted)
        if not names or not self._wanted & {"slurm", "sbatch"}:
            self.slurm.stop()
        if not names and os.path.ismount(self.small_scratch):
            subprocess.run(["umount", "--lazy", self.small_scratch], check=False)

    def _mount_small_scratch(self):
        if not os.path.ismount(self.small_scratch):
            self.small_scratch.mkdir(exist_ok=True)
            done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=1777", "apppot-tests", self.small_scratch],
                                  capture_output=True, text=True)
            if done.returncode:
                raise SiteError(f"nothing can be mounted here: {done.stderr.strip()}", lacking=True)

    def set_parameter(self, name, parameter, value):
        """Set a parameter of our runtime environment, as `arcctl rte params-set` does."""
        self.arex[name].set_parameter(parameter, value)

    def use_for_all_jobs(self, name, wanted):
        """Whether jobs that name no runtime environment get ours."""
        self.arex[name].use_for_all_jobs(wanted)

    def _tell(self):
        """Write down for the tests how the site is reached."""
        write(self.place.directory / FACTS, json.dumps({
            "account": self.place.account.pw_name, "environment": self.certificates.variables(),
            "urls": {lrms: arex.url for lrms, arex in self.arex.items()},
            "sessions": {lrms: str(arex.own / "session") for lrms, arex in self.arex.items()},
            "small_scratch": str(self.small_scratch), "slurm_bin": str(self.slurm.bin)}, indent=1))


def facts(directory):
    """What Site.start wrote down."""
    return json.loads((Path(directory) / FACTS).read_text())


def default_rte():
    """The script of this checkout, if there is one."""
    path = Path(__file__).parents[3] / "arc_rte" / "ENV" / "APPPOT-1.0"
    return path if os.path.exists(path) else None
