"""python3 in the tree: threads, processes, virtual environments, sqlite3."""

import zipfile


def python(run_guest, source, **more):
    return run_guest("python3", "-c", source, check=True, **more).stdout


def test_threads(run_guest):
    assert python(run_guest, """
import os, threading
def work(n):
    for i in range(50):
        name = f'/tmp/{n}-{i}'
        with open(name, 'w') as file: file.write('x' * n)
        assert os.stat(name).st_size == n
        os.rename(name, name + '.new'); os.unlink(name + '.new')
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(os.listdir('/tmp'))
""") == "[]\n"


def test_multiprocessing_in_all_its_ways(run_guest, job):
    (job / "mp.py").write_text("""
import multiprocessing as mp, os
def square(n): return n * n
if __name__ == '__main__':
    for method in ('fork', 'spawn', 'forkserver'):
        with mp.get_context(method).Pool(3) as pool:
            print(method, sum(pool.map(square, range(100))))
    queue = mp.Queue(); lock = mp.Lock()
    child = mp.Process(target=queue.put, args=(os.getpid(),)); child.start()
    print(queue.get() == os.getpid()); child.join(); print(child.exitcode)
    from multiprocessing import shared_memory
    memory = shared_memory.SharedMemory(create=True, size=4096); memory.buf[0] = 7
    again = shared_memory.SharedMemory(memory.name); print(again.buf[0]); again.close(); memory.close(); memory.unlink()
""")
    assert run_guest("python3", "mp.py", check=True).stdout == (
        "fork 328350\nspawn 328350\nforkserver 328350\nTrue\n0\n7\n")


def test_subprocess(run_guest):
    assert python(run_guest, """
import subprocess as s
print(s.run(['cat'], input='x', text=True, capture_output=True).stdout)
print(s.run('exit 5', shell=True).returncode, s.run(['sh', '-c', 'kill -9 $$']).returncode)
try: s.run(['/nowhere'])
except FileNotFoundError as error: print(error.filename)
try: s.run(['/etc/passwd'])
except PermissionError as error: print(error.filename)
print(s.run(['pwd'], cwd='/usr', text=True, capture_output=True).stdout, end='')
""") == "x\n5 -9\n/nowhere\n/etc/passwd\n/usr\n"


def test_venv_and_a_local_wheel(run_guest, job):
    wheel = job / "mini-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("mini/__init__.py", "def main():\n    print('from the wheel')\n")
        info = "mini-1.0.dist-info"
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mini\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/entry_points.txt", "[console_scripts]\nmini = mini:main\n")
        file.writestr(f"{info}/RECORD", "")
    done = run_guest("bash", "-ec", f"""
        cd /home/user; python3 -m venv env; env/bin/pip install --no-index --disable-pip-version-check ./job/{wheel.name} >pip.log
        env/bin/mini; env/bin/python -c 'import sys; print(sys.prefix)'; env/bin/pip uninstall -qy mini
        env/bin/mini 2>/dev/null || echo gone
    """, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "from the wheel\n/home/user/env\ngone\n"


def test_sqlite3(run_guest):
    for place in ("/home/user/job/db", "/home/user/db"):
        assert python(run_guest, f"""
import sqlite3, threading
def fill(n):
    base = sqlite3.connect('{place}', timeout=60)
    for i in range(20):
        with base: base.execute('insert into t values (?)', (n * 100 + i,))
base = sqlite3.connect('{place}'); base.execute('pragma journal_mode=wal'); base.execute('create table t (n int)')
threads = [threading.Thread(target=fill, args=(n,)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(base.execute('select count(*), sum(n) from t').fetchone())
print(base.execute('pragma integrity_check').fetchone())
""") == "(80, 12760)\n('ok',)\n"
    assert run_guest("sqlite3", "db", "select count(*) from t", check=True).stdout == "80\n"


def test_perl(shell):
    assert shell("""perl -MFile::Find -MFile::Temp=tempfile -e '
        find(sub { $n++ if -f }, "/etc"); my ($h, $name) = tempfile(UNLINK => 1); print $h "x" x 1000; close $h;
        print -s $name, " ", $n > 50 ? "many" : "few", " ", `echo sub`; exit(system("exit 3;") >> 8 == 3 ? 0 : 1)'"""
                 ) == "1000 many sub\n"


def test_where_python_thinks_it_is(run_guest):
    assert python(run_guest, "import sys, os; print(sys.executable, os.path.realpath('/proc/self/exe'), os.getcwd())") == (
        "/usr/bin/python3 /usr/bin/python3.11 /home/user/job\n")


def test_asyncio_and_sockets(run_guest):
    assert python(run_guest, """
import asyncio, os
async def answer(reader, writer):
    writer.write((await reader.readline()).upper()); await writer.drain(); writer.close()
async def main():
    deep = '/home/user/' + 'd' * 60 + '/'; os.mkdir(deep)
    for make in (lambda: asyncio.start_unix_server(answer, deep + 's'),):
        server = await make()
        reader, writer = await asyncio.open_unix_connection(deep + 's')
        writer.write(b'hello\\n'); print((await reader.read()).decode(), end='')
        server.close()
    server = await asyncio.start_server(answer, '127.0.0.1', 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b'tcp\\n'); print((await reader.read()).decode(), end='')
    process = await asyncio.create_subprocess_exec('echo', 'child', stdout=-1)
    print((await process.communicate())[0].decode(), end='')
asyncio.run(main())
""") == "HELLO\nTCP\nchild\n"
