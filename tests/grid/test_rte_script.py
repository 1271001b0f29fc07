"""The runtime environment's script without a site: what its stages do to ARC's variables, under dash and bash."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SCRIPT = Path(__file__).parents[2] / "arc_rte" / "ENV" / "APPPOT-1.0"
SHELLS = (["dash"], ["bash"], ["bash", "--posix"])         # the last is what sh is on many systems
# As submit-LRMS-job does it; then the words that the job's script would run, and what else ARC pastes into that.
HARNESS = r"""
sourcewithargs() { script=$1; shift; . $script; }
sourcewithargs "$SCRIPT" 0 || exit 99
eval "set -- $joboption_args"
printf '%s\0' "$joboption_arg_0" "$ACCOUNTING_WN_INSTANCE" "$#" "$@"
unset BASH_EXECUTION_STRING         # bash keeps all of this text there
set | grep -a '^joboption_runtime_0_' && exit 98
i=0
while eval "[ -n \"\${joboption_env_$i+set}\" ]"; do eval "printf '%s\0' \"\$joboption_env_$i\""; i=$((i + 1)); done
exit 0
"""


class Stage0:
    """What stage 0 made: words (the command), executable, instance (of the accounting), environment (of the script)."""

    def __init__(self, shell, **variables):
        definitions = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
        done = subprocess.run([*shell, "-c", definitions + HARNESS], capture_output=True, cwd="/",
                              env={"PATH": os.environ["PATH"], "SCRIPT": str(SCRIPT), "LANG": "C.UTF-8"})
        self.status, self.log = done.returncode, done.stderr.decode(errors="surrogateescape")
        if self.status == 0:
            assert self.log == ""
            fields = done.stdout.decode(errors="surrogateescape").split("\0")
            self.executable, self.instance, count, *fields = fields
            self.words, self.environment = fields[:int(count)], fields[int(count):-1]


@pytest.fixture(params=SHELLS, ids=" ".join)
def stage0(request, tmp_path):
    """stage0(image and options of the job, arguments=..., inputs=..., environment=..., further variables) → Stage0"""
    def run(*options, arguments=("/bin/true",), inputs=(), environment=(), **variables):
        given = {"rte_idx": "0", "rte_name": "ENV/APPPOT-1.0", "joboption_runtime_0": "ENV/APPPOT-1.0",
                 "joboption_directory": str(tmp_path), "joboption_gridid": "ID", "joboption_controldir": "/nowhere",
                 "joboption_args": '"run this on the bare host"', "joboption_count": "1", "joboption_memory": "",
                 "joboption_walltime": ""}
        for name, values, first in (("arg", arguments, 0), ("inputfile", ["/" + name for name in inputs], 0),
                                    ("env", environment, 0), ("runtime_0", options, 1)):
            given |= {f"joboption_{name}_{at}": value for at, value in enumerate(values, first)}
        return Stage0(request.param, **given | variables)
    return run


def after(words, option):
    return words[words.index(option) + 1]


def refused(done, *parts):
    assert done.status == 99
    assert done.log.startswith("ENV/APPPOT-1.0: ") and done.log.count("\n") == 1
    for part in parts:
        assert part in done.log


def test_defaults(stage0):
    done = stage0("debian")
    assert done.words[:4] == ["/opt/apppot/bin/apppot", "start", "--image", "/opt/apppot/images/debian"]
    assert after(done.words, "--isolation") == "standard"
    assert "--mem" not in done.words and "--timeout" not in done.words and "--bind" not in done.words
    assert done.words[done.words.index("--"):] == ["--", "/bin/true"]
    assert after(done.words, "--end-with").isdecimal()
    assert (done.executable, done.instance) == ("/opt/apppot/bin/apppot", "site:debian")
    assert done.environment == ["APPPOT_JOB_IMAGE=site:debian"]


ODD = ["", " ", "two  words", "quote ' and \" and $HOME and `id` and $(id)", "\\n \\ \\", "a\nb", "*", "-x", "--", "~", "#", "'",
       "''", "\t", "ä€", "!", "&;|<>(){}[]"]


def test_arguments_byte_for_byte(stage0):
    done = stage0("debian", arguments=["/opt/only/in/the image"] + ODD)
    assert done.words[done.words.index("--") + 1:] == ["/opt/only/in/the image"] + ODD


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), max_size=4),
       name=st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=12))
def test_any_argument_and_any_name_of_an_image_that_the_job_brings(stage0, words, name):
    if name in (".", ".."):
        return
    done = stage0(name, inputs=[name], arguments=["./run", *words], environment=[f"A={' '.join(words)}"])
    assert done.words[done.words.index("--") + 1:] == ["./run", *words]
    assert done.words[2:4] == ["--image", f"./{name}"]
    assert after(done.words, "--env") == f"A={' '.join(words)}"
    assert done.environment == [f"APPPOT_JOB_IMAGE=job:{name}"]
    assert not set(done.instance) & set("'\"\\ \n$`")


def test_names_of_images(stage0):
    assert stage0("my image's.img", inputs=["my image's.img"]).words[3] == "./my image's.img"
    assert stage0("./x.img", inputs=["x.img"]).words[3] == "./x.img"
    assert stage0(inputs=["data", "apppot.img"]).words[3] == "./apppot.img"
    assert stage0(APPPOT_DEFAULT_IMAGE="debian 12").words[3] == "/opt/apppot/images/debian 12"
    assert stage0("x", inputs=["x"]).words[3] == "./x"          # the job's own comes first
    refused(stage0(), "names no image", "APPPOT_DEFAULT_IMAGE")
    for name in ("/etc", "../x", "..", "a/b"):
        refused(stage0(name), f"image {name}: neither")
    refused(stage0("mine", APPPOT_ALLOWED_IMAGES="debian* alpine"), "image mine", "not allowed", "debian* alpine")
    assert stage0("debian12", APPPOT_ALLOWED_IMAGES="alpine debian*").status == 0
    refused(stage0("x.img", inputs=["x.img"], APPPOT_JOB_IMAGES="no"), "takes no images from jobs")


@pytest.mark.parametrize("options", [
    ["--root"], ["--user", "alice"], ["--env", "A=b c"], ["--env=A=b c"], ["--clean-env"], ["--hostname", "h"],
    ["--changes", "my changes.tar.gz"], ["--cow=kept"], ["--network", "none"], ["--isolation", "strict"], ["--cpus", "2"],
    ["--pids", "100"], ["--disk", "2G"], ["--nice", "5"], ["--require-isolation"],
    ["--trace"], ["--stats", "-v", "--root"],
])
def test_what_a_job_may_ask_for(stage0, options):
    words = stage0("debian", *options).words
    wanted = [part for option in options for part in option.split("=", 1)] if "=" in options[0] else options
    at = words.index(wanted[0], 4)
    if wanted[0] == "--isolation":
        at = words.index("--isolation", at + 1)     # the last one counts
    assert words[at:at + len(wanted)] == wanted


@pytest.mark.parametrize("options", [
    ["--bind", "/etc"], ["--bind=/etc:/x"], ["--isolation", "none"], ["--isolation", "standard"], ["--network", "host"],
    ["--image", "/x"], ["--mem", "100G"], ["--timeout=1h"], ["--changes", "/etc/passwd"], ["--changes", "a/../../b"],
    ["--changes", ""],
    ["--cow", ".."], ["--cow=/tmp/x"], ["--trace=/tmp/x"], ["--cpus", "1; id"], ["--nice", "-5"], ["--end-with", "1"], ["--env"],
    ["stray"], ["--", "x"], ["-X", "mem=1"], ["--root", "--nonsense", "x"],
])
def test_what_is_not_for_jobs_to_choose(stage0, options):
    refused(stage0("debian", *options), "option")


def test_limits(stage0):
    words = stage0("debian", joboption_memory="200", joboption_walltime="300").words
    assert (after(words, "--mem"), after(words, "--timeout")) == ("200M", "300")
    assert after(stage0("debian", joboption_memory="200", joboption_count="8").words, "--mem") == "1600M"
    words = stage0("debian", joboption_memory="200", joboption_count="8", joboption_countpernode="4").words
    assert after(words, "--mem") == "800M"
    assert after(stage0("debian", APPPOT_MEMORY="50", CONFIG_defaultmemory="60").words, "--mem") == "50M"
    assert after(stage0("debian", CONFIG_defaultmemory="60").words, "--mem") == "60M"
    for memory in ("lots", "0500", "0"):
        refused(stage0("debian", joboption_memory=memory), f"memory {memory}")


def test_the_environment_of_the_job_is_the_machines(stage0):
    done = stage0("debian", environment=["A=b c", "GRID_GLOBAL_JOBID=ID", "LD_PRELOAD=/x.so", "APPPOT=/tmp/mine"])
    assert done.environment == ["GRID_GLOBAL_JOBID=ID", "APPPOT_JOB_IMAGE=site:debian"]
    given = [value for option, value in zip(done.words, done.words[1:]) if option == "--env"]
    assert given == ["A=b c", "LD_PRELOAD=/x.so", "APPPOT=/tmp/mine"]


def test_the_sites_options(stage0):
    words = stage0("debian", "--root", APPPOT_OPTIONS="--bind /data:/data:ro  --network none", APPPOT_ISOLATION="strict").words
    assert after(words, "--bind") == "/data:/data:ro" and after(words, "--network") == "none"
    assert after(words, "--isolation") == "strict"


def test_cached_inputs(stage0, tmp_path):
    """Only links to where ARC's cache has this job's inputs, and only if that is not the job's own directory."""
    links = tmp_path / "cache" / "joblinks" / "ID"
    for name, target in {"a:b": links / "a:b", "sub/c": links / "sub" / "c", "passwd": "/etc/passwd",
                         "out": links / ".." / "x", "other": tmp_path / "cache" / "joblinks" / "OTHER" / "a"}.items():
        (tmp_path / "job" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "job" / name).symlink_to(target)
    settings = {"inputs": ["passwd", "a:b", "sub/c", "out", "other", "data"], "joboption_directory": str(tmp_path / "job")}
    bind = ["--bind", f"{links}:{links}:ro"]
    words = stage0("debian", **settings).words
    assert words[words.index("--bind"):][:2] == bind and words.count("--bind") == 1     # it is not on the computing element
    links.mkdir(parents=True)
    if os.getuid():
        assert "--bind" not in stage0("debian", **settings).words
    words = stage0("debian", **settings, joboption_controldir=str(tmp_path)).words      # A-REX is an ordinary user's
    assert [word for word in words if "joblinks" in word] == bind[1:]
    colon = tmp_path / "a:b" / "joblinks" / "ID"
    (tmp_path / "job" / "data").symlink_to(colon / "data")
    refused(stage0("debian", **settings), str(colon), "colon")


def test_names_of_streams(stage0):
    refused(stage0("debian", joboption_stdout="/session/ID/out;id"), "out;id")
    refused(stage0("debian", joboption_stdin="my input"), "my input")
    assert stage0("debian", joboption_stdin="data/in.1", joboption_stderr="/session/ID/err").status == 0


def test_no_executable(stage0):
    refused(stage0("debian", arguments=[""]), "no executable")
