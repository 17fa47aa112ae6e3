"""Real vLLM servers for tests, started by `mopd serve`, and proxies that stand before one and spoil what it says."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "SmolLM2-135M-Instruct"
ENVIRONMENT = ROOT / ".venv-vllm"

CONFIG = """
student = "{model}"
steps = 2
group_size = 4
problems_per_step = 4

[engine]
kind = "vllm"
servers = {servers}
environment = "{environment}"
retries = 10
arguments = ["--enforce-eager"]   # nothing is compiled, which takes longer than all that is written here

[problems]
source = "tool-calls"
size = 200
held_out = 8

[sampling]
completion_tokens = 48

[context]
tokens = 512

[compute]
dtype = "float32"
threads = 1
sampling_rows = 64
"""


def free_ports(count):
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def write_config(folder, urls, extra=""):
    """A configuration of SmolLM2 on these servers."""
    path = folder / "served.toml"
    servers = "[" + ", ".join(f'"{url}"' for url in urls) + "]"
    path.write_text(CONFIG.format(model=MODEL, servers=servers, environment=ENVIRONMENT) + extra)
    return path


class Serving:
    """A process of `mopd serve`, and whatever it started."""

    def __init__(self, config, log, overrides=()):
        self.log = log
        with open(log, "w") as file:
            words = [sys.executable, "-m", "mopd", "serve", str(config), *overrides]
            self.process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)

    def wait_until_ready(self, urls, limit_s=600):
        """Until all serve. Fails where `mopd serve` ends before, with what it printed."""
        until = time.monotonic() + limit_s
        while not all(map(is_up, urls)):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < until, self.log.read_text()[-3000:]
            time.sleep(1)

    @property
    def children(self):
        """All processes that it started, and those that they did."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def of(self, url):
        """The process that listens at `url`."""
        port = int(url.rpartition(":")[2])
        return next(one for one in self.children if f"--port {port}" in " ".join(one.cmdline()))

    def kill(self, url):
        """Kill one server with all its processes, as a machine that goes away does."""
        server = self.of(url)
        for one in [server, *server.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()

    def end(self, number=signal.SIGTERM):
        """Send a signal and wait; the processes that are left 30 s behind it."""
        started = self.children if self.process.poll() is None else []
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)
        self.process.wait(120)
        _, left = psutil.wait_procs(started, timeout=30)
        return left


@contextmanager
def serving(folder, count, extra="", overrides=()):
    """(config file, urls, Serving): `count` servers of a new configuration; they end with the block."""
    urls = [f"http://127.0.0.1:{port}" for port in free_ports(count)]
    config = write_config(folder, urls, extra)
    one = Serving(config, folder / "serve.log", overrides)
    try:
        one.wait_until_ready(urls)
        yield config, urls, one
    finally:
        for left in one.end():
            left.kill()


def is_up(url):
    """Whether a server says that it is well."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


class Proxy:
    """Stands before a server. `spoil(path, status, answer)` gives what it says instead, status and bytes, or None for
    the server's own answer; it is asked before the server is, with neither, and again behind its answer."""

    def __init__(self, upstream, spoil):
        proxy = self
        self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.pass_on(None)

            def do_POST(self):
                self.pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def pass_on(self, body):
                proxy.asked.append(self.path)
                headers = {"Content-Type": "application/json"}
                request = urllib.request.Request(upstream + self.path, body, headers, method=self.command)
                spoilt = spoil(self.path, None, None)
                if spoilt is None:
                    try:
                        with urllib.request.urlopen(request) as answer:
                            status, said = answer.status, answer.read()
                    except urllib.error.HTTPError as error:
                        status, said = error.code, error.read()
                    spoilt = spoil(self.path, status, said) or (status, said)
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.send_response(spoilt[0])
                    self.send_header("Content-Length", str(len(spoilt[1])))
                    self.end_headers()
                    self.wfile.write(spoilt[1])

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
