"""Jobs in machines at a real site: what comes through the runtime environment, on both back ends."""

import os
import random
import subprocess
import tarfile
import time
from pathlib import Path

from .test_rte_script import ODD

RTE = "ENV/APPPOT-1.0"


def words(values):
    """xRSL strings; a quote is doubled."""
    return " ".join('"' + str(value).replace('"', '""') + '"' for value in values)


def xrsl(executable, *arguments, image=("tools",), inputs=(), outputs=(), **more):
    """xRSL text; inputs and outputs: names, or (name, URL). image: it and further options."""
    def files(names):
        return "".join(f"({words(name if isinstance(name, tuple) else (name, ''))})" for name in names)
    lines = [f"&(executable={words([executable])})", f"(runTimeEnvironment={words([RTE, *image])})",
             '(stdout="out")(stderr="err")(gmlog="gmlog")']
    if arguments:
        lines.append(f"(arguments={words(arguments)})")
    if inputs:
        lines.append(f"(inputFiles={files(inputs)})")
    if outputs:
        lines.append(f"(outputFiles={files(outputs)})")
    lines += [f"({name}={value})" for name, value in more.items()]
    return "\n".join(lines)


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def new_mark():
    """Seconds to sleep that no other process sleeps."""
    return str(random.randrange(10 ** 6, 10 ** 7))


def processes(mark):
    """Processes of the computer with `mark` among their arguments."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def no_process(mark, seconds=20):
    end = time.monotonic() + seconds
    while processes(mark) and time.monotonic() < end:
        time.sleep(0.1)
    return not processes(mark)


def test_everything_comes_through(contained, job):
    script(job / "run.sh", """
        cat /etc/image; pwd; id -un; cat; cat sub/data.txt; printf '%s\\n' "$VARIABLE" "${GRID_GLOBAL_JOBHOST}" >variables
        echo result >result.txt; mkdir -p outdir/deep/er; echo 1 >outdir/one; echo 2 >outdir/deep/er/two
        echo gone >/etc/only-here; ls /etc/only-here; echo to-stderr >&2; exit 3""")
    (job / "data").write_text("data\n")
    (job / "stdin").write_text("from stdin\n")
    done = contained.run(xrsl("run.sh", inputs=[("sub/data.txt", "data"), "stdin"], stdin='"stdin"',
                              outputs=["result.txt", "outdir/", "variables"], memory=200, wallTime='"5 minutes"',
                              environment="""("VARIABLE" "blank ' and $HOME")"""), job)
    assert (done.state, done.exit_status) == ("Failed", 3), done.log()
    fetched = done.fetch()
    assert (fetched / "err").read_text() == "to-stderr\n"
    assert (fetched / "out").read_text() == ("tools\n/home/user/job\nuser\nfrom stdin\ndata\n/etc/only-here\n")
    assert (fetched / "result.txt").read_text() == "result\n"
    assert (fetched / "outdir/one").read_text() == "1\n"
    assert (fetched / "outdir/deep/er/two").read_text() == "2\n"
    assert (fetched / "variables").read_text() == "blank ' and $HOME\nlocalhost\n"
    assert not os.path.exists("/etc/only-here") and not (contained.images / "tools/etc/only-here").exists()


def test_an_executable_and_an_image_that_the_site_has_not(contained, job):
    """The program is only in the image, which is among the inputs and has an awkward name; arguments byte for byte."""
    image = "my image's $(id).squashfs"
    os.link(contained.images / "tools.squashfs", job / image)
    (job / "stdin").write_text("from stdin\n")
    arguments = [word for word in ODD if "\n" not in word]      # xRSL has no way to write a line's end
    done = contained.run(xrsl("/opt/only in the image/show", *arguments, image=[image], inputs=[image, "stdin"],
                              stdin='"stdin"'), job)
    assert done.state == "Finished", done.log()
    fetched = done.fetch()
    assert (fetched / "err").read_text() == "to-stderr\n"
    assert (fetched / "out").read_text() == "".join(word + "\0" for word in arguments) + "from stdin\ntools\n"


def test_inputs_from_arcs_cache(contained, job, web):
    """They are root's links out of the session directory: readable inside, and nobody's to change. So is an image."""
    (web.directory / "data").write_text("cached\n")
    os.link(contained.images / "tools.squashfs", web.directory / "tools.squashfs")
    script(job / "run.sh", "cat data 'sub/a: b'; ls -l data | cut -c1; cat /etc/image; echo changed >data || echo refused\n")
    text = xrsl("run.sh", image=["img"], inputs=[("data", f"{web.url}/data"), ("sub/a: b", f"{web.url}/data"),
                                                 ("img", f"{web.url}/tools.squashfs")])
    for _ in range(2):
        done = contained.run(text, job)
        assert done.state == "Finished", done.log()
        assert (done.fetch() / "out").read_text() == "cached\ncached\nl\ntools\nrefused\n"
    assert len([path for method, path in web.requests if method == "GET" and path.endswith("/tools.squashfs")]) == 1


def test_changes_among_the_inputs_are_merged(contained, job, apppot_of_the_site):
    change = "echo mine >/etc/image; echo '#!/bin/sh\necho new; cat /etc/image' >/bin/new; chmod 755 /bin/new"
    subprocess.run([apppot_of_the_site, "start", "-q", "--image", contained.images / "tools", "--cow", job / "cow", "--root",
                    "sh", "-c", change], check=True, cwd=job, stdin=subprocess.DEVNULL)
    subprocess.run([apppot_of_the_site, "snap", "--cow", job / "cow", "changes", job / "apppot-changes.tar.gz"],
                   check=True, cwd=job)
    with tarfile.open(job / "apppot-changes.tar.gz") as archive:
        assert any(name.endswith("bin/new") for name in archive.getnames())
    done = contained.run(xrsl("/bin/new", inputs=["apppot-changes.tar.gz"]), job)
    assert done.state == "Finished", done.log()
    assert (done.fetch() / "out").read_text() == "new\nmine\n"


def test_options_of_the_job(contained, job):
    done = contained.run(xrsl("/bin/sh", "-c", 'id -u; echo "$A"', image=["tools", "--root", "--env=A=b  c"]), job)
    assert done.state == "Finished", done.log()
    assert (done.fetch() / "out").read_text() == "0\nb  c\n"


def test_the_default_for_all_jobs(contained, job):
    """A site may put every job into a machine: also one that has never heard of it."""
    contained.set(APPPOT_DEFAULT_IMAGE="tools", APPPOT_JOB_IMAGES="no", APPPOT_OPTIONS="--network  none --hostname inside")
    contained.use_for_all_jobs()
    done = contained.run('&(executable="/bin/sh")(arguments="-c" "cat /etc/image; hostname")(stdout="out")'
                         '(stderr="err")(gmlog="gmlog")', job)
    assert done.state == "Finished", done.log()
    assert (done.fetch() / "out").read_text() == "tools\ninside\n"


def test_memory_exceeded(contained, job):
    hog = 'BEGIN { x = "0123456789abcdef"; while (length(x) < 30000000) x = x x; system("sleep 600") }'
    script(job / "run.sh", f"for i in 1 2 3 4 5 6; do awk '{hog}' & done; wait; echo survived\n")
    done = contained.run(xrsl("run.sh", memory=100), job)
    assert done.state == "Failed"
    fetched = done.fetch()
    assert "survived" not in (fetched / "out").read_text()
    assert "more than --mem 100 MiB allows" in (fetched / "err").read_text()


def test_time_exceeded(contained, job):
    mark = new_mark()
    script(job / "run.sh", f"echo started >partial; setsid sleep {mark} & sleep {mark}\n")
    done = contained.run(xrsl("run.sh", wallTime='"6 seconds"', outputs=["partial"]), job)
    assert done.state == "Failed"
    assert no_process(mark)
    fetched = done.fetch()
    assert "the time limit of 6 seconds is over" in (fetched / "err").read_text()
    assert (fetched / "partial").read_text() == "started\n"


def test_a_killed_job_leaves_no_process(contained, job):
    mark = new_mark()
    script(job / "run.sh", f"trap '' TERM HUP INT; setsid sleep {mark} & (sleep {mark} &) ; sleep {mark}\n")
    running = contained.submit(xrsl("run.sh", wallTime='"10 minutes"'), job)
    running.wait_until(lambda: len(processes(mark)) == 3)
    assert running.kill().returncode == 0
    assert no_process(mark), running.log()


def test_scratch_full(contained, job):
    """Inside it is ENOSPC, as anywhere; what fits comes back, and nothing is left on the node."""
    contained.set(APPPOT_SCRATCH=contained.small_scratch)
    script(job / "run.sh", "dd if=/dev/zero of=/var-big bs=1M count=64 && exit 0\n"
                           "rm /var-big; echo fits >/small; cat /small; exit 4\n")
    done = contained.run(xrsl("run.sh", image=["tools", "--root"]), job)
    assert (done.state, done.exit_status) == ("Failed", 4), done.log()
    fetched = done.fetch()
    assert (fetched / "out").read_text() == "fits\n"
    assert "No space left on device" in (fetched / "err").read_text()
    assert [name for name in os.listdir(contained.small_scratch) if name.startswith("apppot")] == []
