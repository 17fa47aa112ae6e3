"""Programs that try to get out of the sandbox, to outlive it, or to be judged correct without being so.

Each is bounded by itself (forks, bytes, seconds) and touches nothing but what the test made for it, so that a sandbox
that fails does no harm. `ESCAPES` define `attack()`, which is true where the attempt succeeded: the test expects the
answer "escaped", so that a verdict `correct` is an escape. `FORGERIES` do not know the answer and want that verdict.
"""

from __future__ import annotations

SYSCALLS = {
    "x86_64": {
        **{"ptrace": 101, "process_vm_readv": 310, "unshare": 272, "setns": 308, "bpf": 321, "perf_event_open": 298},
        **{"io_uring_setup": 425, "keyctl": 250, "userfaultfd": 323, "memfd_create": 319, "shmget": 29, "mount": 165},
        **{"socket": 41, "personality": 135, "pidfd_open": 434, "clone3": 435, "open_by_handle_at": 304},
    },
    "aarch64": {
        **{"ptrace": 117, "process_vm_readv": 270, "unshare": 97, "setns": 268, "bpf": 280, "perf_event_open": 241},
        **{"io_uring_setup": 425, "keyctl": 219, "userfaultfd": 282, "memfd_create": 279, "shmget": 194, "mount": 40},
        **{"socket": 198, "personality": 92, "pidfd_open": 434, "clone3": 435, "open_by_handle_at": 265},
    },
}

_CALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {numbers}[os.uname().machine]
def call(name, *args):
    return libc.syscall(NUMBERS[name], *args)
""".replace("{numbers}", repr(SYSCALLS))

_TRY = """
def attack():
    try:
        return attempt()
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return False
"""


def _escape(body: str, needs_calls: bool = False) -> str:
    return (_CALL if needs_calls else "") + body.strip("\n") + "\n" + _TRY


def _syscall(name: str, *args: object) -> str:
    shown = ", ".join(map(str, args))
    return _escape(f"def attempt():\n    return call({name!r}{', ' if shown else ''}{shown}) >= 0", needs_calls=True)


ESCAPES: dict[str, str] = {
    # the network: PORT is a listener of the test's own
    "connects to a listener": _escape("""
import socket
def attempt():
    socket.create_connection(("127.0.0.1", PORT), 1).close()
    return True
"""),
    "connects without Python's socket": _syscall("socket", 2, 1, 0),
    "asks for a page": _escape("""
import urllib.request
def attempt():
    urllib.request.urlopen("http://127.0.0.1:PORT/", timeout=1)
    return True
"""),
    "opens a packet socket": _syscall("socket", 17, 3, 0),
    "connects to an abstract socket": _escape("""
import socket
def attempt():
    s = socket.socket(socket.AF_UNIX)
    s.connect("\\0ABSTRACT")
    return True
"""),
    # files: SECRET is a file that everyone outside may read
    "reads a file of the host": _escape("def attempt():\n    return bool(open('SECRET').read())"),
    "reads /etc/passwd": _escape("def attempt():\n    return bool(open('/etc/passwd').read())"),
    "reads through a symbolic link": _escape("""
import os
def attempt():
    os.symlink("SECRET", "/tmp/link")
    return bool(open("/tmp/link").read())
"""),
    "reads through /proc": _escape("""
import glob
def attempt():
    for root in glob.glob("/proc/*/root") + ["/proc/1/root", "/proc/self/root", "/proc/self/cwd/.."]:
        try:
            return bool(open(root + "SECRET").read())
        except OSError:
            pass
    return False
"""),
    "walks up from its folder": _escape("def attempt():\n    return bool(open('../' * 20 + 'SECRET').read())"),
    "reads through inherited descriptors": _escape("""
import os
def attempt():
    for number in range(3, 256):
        try:
            if os.listdir(number) or os.read(number, 1):
                return True
        except OSError:
            pass
    return False
"""),
    "reads other descriptors by their files' names": _escape("""
import os
def attempt():
    for number in [*range(3, 256), -1, 10**6]:
        for folder in ("/dev/fd", "/proc/self/fd", "/proc/1/fd", "/dev/fd/../../proc/1/fd"):
            try:
                if open(f"{folder}/{number}", "rb", buffering=0).read(1):
                    return True
            except (OSError, ValueError):
                pass
    return False
"""),
    "reads a file through a descriptor's name": _escape("""
def attempt():
    for name in ("/dev/stdin/../SECRET", "/dev/fd/../SECRET", "/dev/fd/0/../../SECRET", "/dev/stdin/SECRET"):
        try:
            return bool(open(name).read())
        except OSError:
            pass
    return False
"""),
    "takes its stack for more memory": _escape("""
import resource, threading
def attempt():
    resource.setrlimit(resource.RLIMIT_STACK, (2**31, 2**31))
    threading.stack_size(2**31 - 4096)
    threading.Thread(target=lambda: None).start()
    return True
"""),
    "sees the environment outside": _escape(
        "import os\ndef attempt():\n    return any('ENVMARK' in value for value in os.environ.values())"
    ),
    "sees environments through /proc": _escape("""
import glob
def attempt():
    return any(b"ENVMARK" in open(path, "rb").read() for path in glob.glob("/proc/*/environ"))
"""),
    "lists processes": _escape("import os\ndef attempt():\n    return any(n.isdigit() for n in os.listdir('/proc'))"),
    "writes to the root": _escape("def attempt():\n    return open('/mark', 'w').write('x') > 0"),
    "writes to /tmp": _escape("def attempt():\n    return open('/tmp/mark', 'w').write('x') > 0"),
    "writes to /dev/shm": _escape("def attempt():\n    return open('/dev/shm/mark', 'w').write('x') > 0"),
    "changes the standard library": _escape("""
import json, os
def attempt():
    return open(os.path.join(os.path.dirname(json.__file__), "mark.py"), "w").write("x") > 0
"""),
    "makes a folder anywhere": _escape("""
import os
def attempt():
    for folder, _, _ in os.walk("/"):
        if folder.count("/") > 3:
            continue
        try:
            os.mkdir(os.path.join(folder, "mark"))
            return True
        except OSError:
            pass
    return False
"""),
    "makes a device": _escape(
        "import os\ndef attempt():\n    os.mknod('/dev/mark', 0o60644, os.makedev(8, 0))\n    return True"
    ),
    "opens a disk": _escape("""
import glob
def attempt():
    return any(open(path, "rb").read(1) for path in glob.glob("/dev/[svx]d*") + ["/dev/mem", "/dev/kmsg", "/dev/fuse"])
"""),
    "opens the terminal": _escape("def attempt():\n    return bool(open('/dev/tty', 'w'))"),
    # rights
    "is root": _escape("import os\ndef attempt():\n    return 0 in (os.getuid(), os.geteuid(), os.getgid())"),
    "becomes root": _escape("import os\ndef attempt():\n    os.setuid(0)\n    return True"),
    "changes its root": _escape("import os\ndef attempt():\n    os.chroot('/usr')\n    return True"),
    "makes a user namespace": _syscall("unshare", "0x10000000"),
    "makes a mount namespace": _syscall("unshare", "0x00020000"),
    "makes namespaces with clone3": _syscall("clone3", "(ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)", 88),
    "enters a namespace": _syscall("setns", 0, 0),
    "mounts": _syscall("mount", "b'none'", "b'/tmp'", "b'tmpfs'", 0, 0),
    "opens a file by handle": _syscall("open_by_handle_at", -100, "ctypes.create_string_buffer(64)", 0),
    # kernel interfaces
    "loads a kernel program": _syscall("bpf", 0, "ctypes.create_string_buffer(64)", 64),
    "opens performance counters": _syscall("perf_event_open", "ctypes.create_string_buffer(128)", 0, -1, -1, 0),
    "sets up io_uring": _syscall("io_uring_setup", 4, "ctypes.create_string_buffer(256)"),
    "reads the keyring": _syscall("keyctl", 0, -3, 1),
    "handles page faults": _syscall("userfaultfd", 1),
    "changes its personality": _syscall("personality", "0x0400000"),
    # other processes: VICTIM is a process that the test started
    "kills a process outside": _escape("import os\ndef attempt():\n    os.kill(VICTIM, 9)\n    return True"),
    "signals a process group outside": _escape("import os\ndef attempt():\n    os.killpg(VICTIM, 15)\n    return True"),
    "traces the first process": _syscall("ptrace", 16, 1, 0, 0),
    "traces a child": _escape(
        """
import os, time
def attempt():
    child = os.fork()
    if child == 0:
        time.sleep(1)
        os._exit(0)
    return call("ptrace", 16, child, 0, 0) == 0
""",
        needs_calls=True,
    ),
    "reads the first process's memory": _syscall(
        "process_vm_readv", 1, "ctypes.create_string_buffer(16)", 1, "ctypes.create_string_buffer(16)", 1, 0
    ),
    "opens the first process": _syscall("pidfd_open", 1, 0),
    "limits the first process": _escape("""
import resource
def attempt():
    resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))
    return True
"""),
    # resources
    "forks without end": _escape("""
import os, time
def attempt():
    for count in range(200):
        if os.fork() == 0:
            time.sleep(2)
            os._exit(0)
    return True
"""),
    "starts threads without end": _escape("""
import threading, time
def attempt():
    for count in range(200):
        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
    return True
"""),
    "takes two gigabytes": _escape("def attempt():\n    return len(bytearray(2 * 2**30)) > 0"),
    "takes memory piece by piece": _escape("""
def attempt():
    held = [bytes(16 * 2**20) for _ in range(128)]
    return len(held) == 128
"""),
    "takes memory as a file": _syscall("memfd_create", "b'mark'", 0),
    "takes shared memory": _syscall("shmget", 0, "2**28", "0o1600"),
    "raises its limits": _escape("""
import resource
def attempt():
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return True
"""),
    "fills the disk": _escape("""
import os
def attempt():
    for folder in ("/", "/tmp", "/dev", "/dev/shm", "/var/tmp", "/run", "/home", os.getcwd()):
        try:
            with open(os.path.join(folder, "mark"), "wb") as file:
                return file.write(bytes(2**20)) > 0
        except OSError:
            pass
    return False
"""),
    "spins": _escape("def attempt():\n    while True:\n        pass"),
    "spins in C": _escape("def attempt():\n    return len(str(9 ** (9 ** 9))) > 0"),
    "sleeps": _escape("import time\ndef attempt():\n    time.sleep(20)\n    return True"),
    "refuses to die of its time": _escape("""
import signal
def attempt():
    for number in range(1, 32):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_IGN)
    while True:
        pass
"""),
    "stops its parents": _escape("""
import os, signal, time
def attempt():
    for pid in (1, os.getppid()):
        for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
            try:
                os.kill(pid, number)
            except OSError:
                pass
    time.sleep(0.2)
    return False
"""),
    "kills all it can see": _escape("import os\ndef attempt():\n    os.kill(-1, 9)\n    return False"),
    "stops itself": _escape(
        "import os, signal\ndef attempt():\n    os.kill(os.getpid(), signal.SIGSTOP)\n    return False"
    ),
    "leaves a daemon behind": _escape("""
import os, signal, time
def attempt():
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            time.sleep(20)
        os._exit(0)
    return False
"""),
    "crashes the interpreter": _escape("import ctypes\ndef attempt():\n    return ctypes.string_at(0)"),
    "closes every descriptor": _escape("import os\ndef attempt():\n    os.closerange(0, 256)\n    return False"),
    "recurses": _escape(
        "import sys\ndef attempt():\n    sys.setrecursionlimit(10**9)\n    f = lambda: f()\n    return f()"
    ),
}
"""What must fail whatever the kind of tests: programs that print, functions that are called, functions under assert."""

PRINT_FORGERIES: dict[str, str] = {
    "exits well": "import sys\nsys.exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "prints a verdict": 'print(\'{"stdout": "ANSWER", "status": 0, "limit": null, "stderr": ""}\')',
    "writes to every descriptor": """
import os
for number in range(1, 256):
    try:
        os.write(number, b'{"stdout": "ANSWER", "status": 0, "limit": null, "stderr": "", "verdict": {"passed": 1}}\\n')
    except OSError:
        pass
os._exit(0)
""",
    "prints at exit": "import atexit\natexit.register(lambda: print('ANSWER'))",
    "reads more tests from its input": "import sys\nprint(sys.stdin.read() * 2 + open(0).read())",
    "looks through its frames": """
import sys
frame = sys._getframe()
while frame:
    for value in list(frame.f_locals.values()):
        if "EXPECTED" in str(value):
            print(value)
    frame = frame.f_back
""",
    "looks through the heap": """
import gc
print([o for o in gc.get_objects() if isinstance(o, (str, dict, list)) and "EXP" + "ECTED" in repr(o)[:2000]][:1])
""",
    "talks over the harness": """
import gc, os
for thing in gc.get_objects():
    if type(thing).__name__ == "Channel":
        try:
            os.write(thing.writing, b'{"stdout": "ANSWER", "status": 0, "limit": null, "stderr": ""}\\n')
        except Exception as error:
            print(error)
""",
    "patches what compares": """
import builtins, json
builtins.str.__class__
json.dumps = lambda *args, **kwargs: '{"stdout": "ANSWER", "status": 0, "limit": null, "stderr": ""}'
builtins.len = lambda _: 0
""",
    "prints without end": "while True:\n    print('x' * 100000)",
    "complains without end": "import sys\nwhile True:\n    print('x' * 100000, file=sys.stderr)",
    "prints every answer": "for number in range(100000):\n    print(number)",
    "prints NUL bytes and half characters": "import sys\nsys.stdout.buffer.write(b'\\x00\\xff\\xed\\xa0\\x80' * 100)",
    "lets a grandchild hold the pipe": """
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        time.sleep(20)
    os._exit(0)
""",
    "does not compile": "def",
    "nests beyond the parser": "x = " + "(" * 5000 + ")" * 5000,
    "is a million operators": "x = " + "-" * 50000 + "1",
}
"""Programs whose right output is not known to them."""

CALL_FORGERIES: dict[str, str] = {
    "returns what is equal to all": """
class Equal:
    def __eq__(self, other):
        return True
    __hash__ = None
def f(x):
    return Equal()
""",
    **{
        f"returns {name} equal to all": f"""
class Equal({kind}):
    def __eq__(self, other):
        return True
    def __ne__(self, other):
        return False
    def __hash__(self):
        return 0
def f(x):
    return Equal()
"""
        for name, kind in {
            "an int": "int",
            "a text": "str",
            "a list": "list",
            "a float": "float",
            "a dict": "dict",
        }.items()
    },
    "returns itself within itself": "def f(x):\n    held = []\n    held.append(held)\n    return held",
    "returns what nests deep": """
def f(x):
    held = 0
    for _ in range(100000):
        held = [held]
    return held
""",
    "returns a great deal": "def f(x):\n    return 'x' * (64 * 2**20)",
    "returns a huge number": "def f(x):\n    return 10 ** 100000",
    "exits well when called": "import sys\ndef f(x):\n    sys.exit(0)",
    "exits at once when called": "import os\ndef f(x):\n    os._exit(0)",
    "exits at once when loaded": "import os\nos._exit(0)",
    **{
        f"raises {name}": f"def f(x):\n    raise {name}"
        for name in ("SystemExit(0)", "KeyboardInterrupt", "StopIteration", "GeneratorExit", "AssertionError")
    },
    "answers ahead": """
import gc, os
def f(x):
    for number in range(3, 256):
        try:
            os.write(number, b'{"value": true}\\n{"verdict": {"passed": 1, "failed": 0, "first": null}}\\n')
        except OSError:
            pass
    return None
""",
    "gives a verdict": """
import os
for number in range(0, 256):
    try:
        os.write(number, b'{"value": null}\\n{"verdict": {"passed": 1, "failed": 0, "first": null}}\\n')
    except OSError:
        pass
def f(x):
    return None
""",
    "sends something else": "import os\ndef f(x):\n    [os.write(n, b'[1]\\n') for n in range(3, 9)]\n    return None",
    "patches what asserts": """
import builtins
builtins.AssertionError = type("Nothing", (Exception,), {})
builtins.__debug__ if False else None
def f(x):
    raise builtins.AssertionError
""",
    "takes the tests' names": "def check(candidate):\n    return None\ndef f(x):\n    return None\nEXPECTED = f",
    "looks for the tests": """
import gc, sys
def f(x):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
            if "EXP" + "ECTED" in repr(value)[:5000]:
                return value
        frame = frame.f_back
    for thing in gc.get_objects():
        if isinstance(thing, (str, dict, list)) and "EXP" + "ECTED" in repr(thing)[:2000]:
            return thing
""",
    "changes what it is given": "def f(x):\n    x.clear() if hasattr(x, 'clear') else None\n    return x",
    "starts a thread that answers": """
import threading
def f(x):
    threading.Thread(target=lambda: None).start()
    return None
""",
    "exits well by a builtin name": "def f(x):\n    exit(0)",
    "quits when loaded": "quit()",
    "takes what is equal from a class that says that it is a text": """
class Equal(str):
    __module__ = "builtins"
    def __eq__(self, other):
        return True
    __hash__ = str.__hash__
Equal.__name__ = Equal.__qualname__ = "str"
def f(x):
    return Equal("x")
""",
    "says that its class is every class": """
class Meta(type):
    def __instancecheck__(cls, other):
        return True
    def __eq__(cls, other):
        return True
    __hash__ = type.__hash__
class Equal(metaclass=Meta):
    __class__ = str
    def __eq__(self, other):
        return True
    __hash__ = None
def f(x):
    return Equal
""",
    "changes what the tests hold": """
import gc
def f(x):
    for thing in gc.get_objects():
        if type(thing).__name__ == "Crossing":
            for number in range(5):
                thing._things[number] = thing._last_seen[number] = []
    return x
""",
    "sends changes of what never crossed": """
import gc
def f(x):
    for thing in gc.get_objects():
        if type(thing).__name__ == "Channel":
            for held in ({"$": "same", "v": 0}, {"$": "yours", "v": 0}, {"$": "named", "module": "os", "v": "_exit"}):
                thing.send({"changes": [[0, [1]], [-1, [1]]], "values": [held], "forget": [0, 1, 2]})
""",
    "has the tests run something": """
import gc
def f(x):
    channel = next(thing for thing in gc.get_objects() if type(thing).__name__ == "Channel")
    for held in (
        {"$": "value", "v": ["os", "_exit"], "args": [0]},
        {"$": "class", "v": ["os", "_exit"]},
        {"$": "value", "v": ["builtins", "eval"], "args": ["__import__('os')._exit(0)"]},
        {"$": "defaultdict", "factory": {"$": "class", "v": ["os", "abort"]}, "v": []},
    ):
        for what in ("call", "next", "get", "find"):
            nothing = {"$": "tuple", "v": []}
            channel.send({"ask": what, "changes": [], "values": [held, nothing, nothing]})
            channel.receive()
""",
    "never loads": "while True:\n    pass",
}
"""Functions whose right results are not known to them."""
