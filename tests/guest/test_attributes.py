"""Access control lists and trusted attributes with the programs that set them, in the host's own root."""

import shutil
import subprocess
import tarfile

import pytest

pytestmark = pytest.mark.skipif(not (shutil.which("setfacl") and shutil.which("getfacl")),
                                reason="setfacl is missing; please run: apt-get install acl")

LISTED = ["user::rw-", "user:1234:rw-", "group::r--", "mask::rw-", "other::r--"]


@pytest.fixture
def run(run_guest, extended_attributes):
    def shell(script, *options):
        done = run_guest("sh", "-ec", script, image="/", check=True, options=options)
        return [line.split("\t")[0] for line in done.stdout.splitlines()]
    return shell


PLACE = "mkdir /opt/t; cd /opt/t; echo >f; "


def test_a_list_that_root_sets(run):
    assert run(PLACE + "setfacl -m u:1234:rw f; getfacl -cn f", "--root") == [*LISTED, ""]
    assert run(PLACE + "setfacl -m u:1234:rw f; chmod g=r f; getfacl -cn f", "--root")[3] == "mask::r--"
    assert run(PLACE + "setfacl -m u:1234:rw f; setfacl -b f; getfacl -cn f; ls -l f | cut -c-11", "--root") == [
        "user::rw-", "group::r--", "other::r--", "", "-rw-r--r-- "]


def test_a_list_that_the_user_sets(run):
    assert run("cd /tmp; echo >f; setfacl -m u:1234:rw f; cp -a f g; getfacl -cn g") == [*LISTED, ""]


def test_whom_a_list_lets_in(run):
    script = (PLACE + "echo secret >f; chown 0:0 f; chmod 600 f; setfacl -m u:1234:r f\n"
              "become='setpriv --clear-groups --regid=99 --reuid'\n"
              "exec 2>&1; $become 1234 sh -c 'read x <f; echo $x; echo >f || echo refused'; $become 1235 sh -c 'read x <f' || "
              "echo out")
    told = run(script, "--root")
    assert told[0] == "secret" and told[2] == "refused" and told[-1] == "out"


def test_lists_travel_in_changes(run, job, tmp_path):
    run(PLACE + "setfacl -m u:1234:rw f; setfacl -dm g:42:rx .; touch in"
        "; python3 -c 'import os; os.setxattr(\"f\", \"trusted.a\", b\"\\0\")'; apppot-snap -q changes /home/user/job/c.tar.gz",
        "--root")
    with tarfile.open(job / "c.tar.gz") as archive:
        kept = {name for name in archive.getmember("opt/t/f").pax_headers if name.startswith("SCHILY.xattr.")}
    assert kept == {"SCHILY.xattr.system.posix_acl_access", "SCHILY.xattr.trusted.a"}
    told = run("cd /opt/t; getfacl -cn f; getfacl -cdn .; python3 -c 'import os; print(os.listxattr(\"f\"))'", "--root",
               "--changes", "c.tar.gz")
    assert told[:5] == LISTED and "group:42:r-x" in told and "trusted.a" in told[-1]


def test_lists_on_the_hosts_files_are_the_hosts(run, job):
    (job / "f").write_text("")
    if subprocess.run(["setfacl", "-m", "u:1234:rw", job / "f"], capture_output=True).returncode:
        pytest.skip("the file system of the tests has no access control lists")
    assert run("getfacl -cn f")[:5] == LISTED
    run("setfacl -m u:1234:r f")
    told = subprocess.run(["getfacl", "-cnp", job / "f"], capture_output=True, text=True, check=True).stdout
    assert "user:1234:r--" in told
