"""gcc, make and a Debian source package, built and run in a machine."""

HELLO = '#include <stdio.h>\nint main(void) { printf("hello %d\\n", (int) sizeof(void *)); return 3; }\n'


def test_gcc_hello(run_guest, job):
    (job / "hello.c").write_text(HELLO)
    assert run_guest("gcc", "-O2", "-Wall", "-o", "hello", "hello.c", check=True).stderr == ""
    done = run_guest("./hello")
    assert (done.returncode, done.stdout) == (3, "hello 8\n")


def test_gcc_in_the_overlay_with_a_pipe_and_a_library(run_guest):
    done = run_guest("bash", "-ec", """
        cd /home/user; mkdir lib src; cd src
        echo 'int answer(void) { return 42; }' | gcc -pipe -fPIC -shared -x c -o ../lib/libanswer.so -
        echo 'int answer(void); int main(void) { return answer(); }' >main.c
        gcc -c main.c; gcc -o main main.o -L../lib -lanswer -Wl,-rpath,'$ORIGIN/../lib'
        ar rcs libx.a main.o; nm libx.a | grep -q answer; strip main; file main | grep -q stripped
        ./main
    """)
    assert done.returncode == 42, done.stderr


def test_make_a_debian_source_package(run_guest, job):
    """GNU hello from the archive's source: unpacked, configured, built on two processors, installed, run."""
    done = run_guest("bash", "-ec", """
        dpkg-source --no-check -x /usr/src/packages/hello_*.dsc hello >unpack.log
        cd hello; ./configure --prefix=/home/user/installed >../configure.log 2>&1
        make -j2 >../make.log 2>&1; make install >../install.log 2>&1
        /home/user/installed/bin/hello --greeting='made inside'
        /home/user/installed/bin/hello --version | head -1
    """, timeout=600)
    logs = "\n".join(f"{log}: {log.read_text()[-2000:]}" for log in sorted(job.glob("*.log")))
    assert done.returncode == 0, done.stderr + logs
    assert done.stdout.splitlines()[0] == "made inside"
    assert (job / "hello/hello").exists()


def test_make_knows_what_is_new(shell):
    assert shell("""
        printf 'out: in\\n\\tcp in out; echo made\\n' >Makefile; echo 1 >in
        make -s; make -s; sleep 0.02; touch in; make -s
    """) == "made\nmade\n"
