"""A certificate authority for the tests, a certificate of the host and one of the user, and the user's proxy."""

import subprocess

from .daemons import run, write

SUBJECT = "AppPot Tester"
NAME = f"/DC=org/DC=nordugrid/DC=ARC/O=TestCA/CN={SUBJECT}"
_DAY = 24 * 3600


class Certificates:
    """`authority`: directory of the CA; `host`: of hostcert.pem and hostkey.pem; `home`: the user's, with client.conf."""

    def __init__(self, place):
        self.place = place
        self.authority = place.directory / "ca"
        self.host = place.sub("host")
        self.home = place.sub("home")
        self.proxy = self.home / "proxy.pem"
        self.log = place.sub("log") / "certificates.log"

    def make(self, arc_conf):
        """Make what is missing or ends within a day. arc_conf: any arc.conf; arcctl wants one."""
        user_certificate = self.home / "usercert.pem"
        if not (_lasts(self.host / "hostcert.pem", _DAY) and _lasts(user_certificate, _DAY)):
            self._sign(arc_conf)
            for part, mode in (("cert", 0o644), ("key", 0o400)):
                made = next(self.host.glob(f"client-*-{part}.pem"))
                self.place.give(made, mode)
                made.replace(self.home / f"user{part}.pem")
        write(self.host / "subjects", f'"{NAME}"\n')
        self._client()
        if not _lasts(self.proxy, _DAY // 2):
            run(*self.as_user("arcproxy", "-P", self.proxy, "-c", "validityPeriod=240H"), log=self.log)

    def _sign(self, arc_conf):
        """With -n and --no-auth arcctl writes into the current directory, else into /etc/grid-security and a home."""
        tool = ["arcctl", "-c", arc_conf, "test-ca", "--ca-dir", self.authority]
        run("rm", "-rf", self.authority, log=self.log)
        self.authority.mkdir(mode=0o755)
        run(*tool, "init", "-v", "3650", log=self.log, cwd=self.host)
        run(*tool, "hostcert", "-v", "3650", "-n", "localhost", "-f", log=self.log, cwd=self.host)
        for part in ("cert", "key"):
            (self.host / f"host-localhost-{part}.pem").replace(self.host / f"host{part}.pem")
        run(*tool, "usercert", "-v", "3650", "-n", SUBJECT, "--no-auth", "-f", log=self.log, cwd=self.host)

    def _client(self):
        self.place.give(self.home, 0o755)
        (self.home / ".arc").mkdir(exist_ok=True)
        self.place.give(self.home / ".arc", 0o755)
        write(self.home / ".arc" / "client.conf", (
            f"[common]\ncacertificatesdirectory={self.authority}\ncertificatepath={self.home}/usercert.pem\n"
            f"keypath={self.home}/userkey.pem\nproxypath={self.proxy}\ntimeout=20\n"))

    def variables(self):
        """Environment of ARC's client."""
        name = self.place.account.pw_name
        return {"HOME": str(self.home), "USER": name, "LOGNAME": name, "PATH": "/usr/local/bin:/usr/bin:/bin",
                "LANG": "C.UTF-8", "X509_CERT_DIR": str(self.authority), "X509_USER_PROXY": str(self.proxy)}

    def as_user(self, *command):
        """The command line that runs a command as the user, with that environment."""
        return ["runuser", "-u", self.place.account.pw_name, "--", "env", "-i",
                *(f"{name}={value}" for name, value in self.variables().items()), *map(str, command)]


def _lasts(certificate, seconds):
    return certificate.exists() and subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-checkend", str(seconds)], capture_output=True).returncode == 0
