"""The harness as it lies in a sandbox: one zip file of compiled modules, which Python imports as a package."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path

from mopd.sandbox.failures import SandboxFailure
from mopd.sandbox.interpreter import interpreter

PLACE = "/harness.zip"
"""Where the archive lies in a sandbox."""

START = f"import sys; sys.path[0] = {PLACE!r}; from harness.requests import main; sys.path[0] = '/'; main()"
"""What the Python in a sandbox is told to run. The archive is on the path for this one import alone, since a package
finds its other modules without the path; then the path is that of a script in `/`."""

PACK = """
import importlib.util, io, json, marshal, sys, zipfile
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w") as archive:
    texts = json.load(sys.stdin)
    names = {}
    exec(compile(texts["harness/names.py"], "names", "exec", dont_inherit=True), names)
    texts["harness/names.py"] += f"WHERE.update({names['places']()!r})"
    for name, text in texts.items():
        code = compile(text, f"<{name}>", "exec", dont_inherit=True)
        archive.writestr(name + "c", importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
sys.stdout.buffer.write(packed.getvalue())
"""


@functools.cache
def packed() -> bytes:
    """Every module of the folder `harness`, compiled once by the Python that will run them at each start.

    That Python also says which names its modules have: `names.WHERE`.
    """
    folder = Path(__file__).parent / "harness"
    texts = {f"{folder.name}/{path.name}": path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))}
    command = [interpreter()[0], "-I", "-S", "-c", PACK]
    try:
        return subprocess.run(command, input=json.dumps(texts).encode(), stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SandboxFailure(f"the Python for programs does not work: {error}") from error
