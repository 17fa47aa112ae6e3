"""Prove that two hosts train one run: two network namespaces with a cable between them, a process in each.

    python scripts/hosts.py [--strategy ddp fsdp]

1. One process trains a small run. Two hosts train the same: weights differ by at most a thousandth of what they moved.
2. All processes of the second host are killed in the middle: the first one says so and ends. Both resume, and end with
   the weights of the run that nobody disturbed, bit for bit.
3. The cable is pulled: nothing is closed, nobody answers. Both hosts say so after `parallel.timeout_s`.

Namespaces, cable and processes are gone afterwards, whatever happens. This needs root and iproute2.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

HERE = Path(__file__).resolve().parents[1]
CONFIG = HERE / "tests" / "configs" / "tiny.toml"
PLAIN = ("optimizer.learning_rate=1e-3", "optimizer.warmup_steps=0", "evaluation.every=0", "checkpoint.every=1")
STEPS = 5
PORT = 29500
LIMIT_S = 300.0


@dataclass(frozen=True)
class Host:
    """A network namespace with an address on the cable."""

    name: str
    cable: str
    address: str

    def start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a command on this host; what it says on standard error can be read."""
        environment = os.environ | {
            **{"GLOO_SOCKET_IFNAME": self.cable, "PYTHONPATH": str(HERE / "src"), "OMP_NUM_THREADS": "1"},
            **{"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
        }
        there = ["ip", "netns", "exec", self.name, *command]
        return subprocess.Popen(there, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def kill(self) -> None:
        """Kill every process on this host at once, as a power cut would; their peers see closed connections."""
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False).stdout
        for pid in map(int, pids.split()):
            os.kill(pid, signal.SIGKILL)


def ip(*words: str) -> None:
    """One command of iproute2."""
    subprocess.run(["ip", *words], check=True)


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts with a cable between them, which are gone afterwards with all that runs on them."""
    mark = os.getpid() % 100000
    hosts = tuple(Host(f"mopd-{side}-{mark}", f"m{side}{mark}", f"10.213.7.{side + 1}") for side in (0, 1))
    try:
        for host in hosts:
            ip("netns", "add", host.name)
        ip("link", "add", hosts[0].cable, "netns", hosts[0].name, "type", "veth", "peer", "name", hosts[1].cable)
        ip("link", "set", hosts[1].cable, "netns", hosts[1].name)
        for host in hosts:
            ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", host.cable)
            ip("-n", host.name, "link", "set", host.cable, "up")
            ip("-n", host.name, "link", "set", "lo", "up")
        yield hosts[0], hosts[1]
    finally:
        for host in hosts:
            host.kill()
            subprocess.run(["ip", "netns", "delete", host.name], check=False, stderr=subprocess.DEVNULL)


def train_command(hosts: tuple[Host, Host], number: int, words: Sequence[str]) -> list[str]:
    """What a user types on host `number`."""
    launcher = ["--nnodes", "2", "--node_rank", str(number), "--nproc_per_node", "1"]
    meeting = ["--master_addr", hosts[0].address, "--master_port", str(PORT)]
    return [sys.executable, "-m", "torch.distributed.run", *launcher, *meeting, "-m", "mopd", "train", *words]


def on_both(
    hosts: tuple[Host, Host], words: Sequence[str], disturb: Callable[[], None] | None = None
) -> list[tuple[int, str]]:
    """Train on both hosts, with a disturbance where there is one; exit code and standard error of each."""
    running = [host.start(train_command(hosts, number, words)) for number, host in enumerate(hosts)]
    if disturb is not None:
        disturb()
    return [(process.wait(), said) for process in running for said in [process.communicate(timeout=LIMIT_S)[1]]]


def when_saved(run: Path, step: int, then: Callable[[], None]) -> Callable[[], None]:
    """Waits for the checkpoint of a step, and then does something."""

    def disturb() -> None:
        ends = time.monotonic() + LIMIT_S
        while not (run / "checkpoints" / f"step-{step}").is_dir():
            if time.monotonic() > ends:
                raise SystemExit(f"no checkpoint of step {step} within {LIMIT_S:.0f} s")
            time.sleep(0.05)
        then()

    return disturb


def weights(run: Path, step: int = STEPS) -> dict[str, Tensor]:
    """The student's weights after some steps."""
    return dict(load_file(run / "checkpoints" / f"step-{step}" / "model.safetensors"))


def apart(ours: Path, theirs: Path) -> float:
    """The difference of two runs' weights, as a share of how far those of the second moved."""
    a, b, start = weights(ours), weights(theirs), weights(theirs, 0)
    difference, moved = (sum(float((x[k] - y[k]).square().sum()) for k in y) for x, y in ((a, b), (b, start)))
    return float((difference / moved) ** 0.5)


def check(is_so: bool, told: str) -> None:
    """Say what was found; end with 1 where it is not as it must be."""
    print(f"{'ok' if is_so else 'FAILED'}: {told}", flush=True)
    if not is_so:
        raise SystemExit(1)


def prove(hosts: tuple[Host, Host], folder: Path, strategy: str) -> None:
    """The three proofs under one strategy."""
    words = [*PLAIN, f"steps={STEPS}", f"checkpoint.keep={STEPS + 1}", f"parallel.strategy={strategy}", "--quiet"]
    alone, both, killed, pulled = (folder / f"{strategy}-{name}" for name in ("alone", "both", "killed", "pulled"))
    single = [sys.executable, "-m", "mopd", "train", str(CONFIG), *words, f"run='{alone}'"]
    check(hosts[0].start(single).wait() == 0, f"{strategy}: one process trains")
    ends = on_both(hosts, [str(CONFIG), *words, f"run='{both}'"])
    check([code for code, _ in ends] == [0, 0], f"{strategy}: two hosts train{_said(ends)}")
    distance = apart(both, alone)
    check(distance <= 1e-3, f"{strategy}: their weights differ by {distance:.1e} of what they moved")

    long = [str(CONFIG), *words, f"run='{killed}'"]
    ends = on_both(hosts, long, when_saved(killed, 2, hosts[1].kill))
    told = "another process of this run has ended" in ends[0][1]
    check(
        ends[0][0] != 0 and told, f"{strategy}: a host was killed, and the other says so{'' if told else _said(ends)}"
    )
    ends = on_both(hosts, ["--resume", str(killed), "--quiet"])
    undisturbed = weights(both)
    same = [value.equal(undisturbed[name]) for name, value in weights(killed).items()]
    check(all(same), f"{strategy}: resumed, the weights are those of the undisturbed run, bit for bit")

    pull = when_saved(pulled, 1, lambda: ip("-n", hosts[1].name, "link", "set", hosts[1].cable, "down"))
    ends = on_both(hosts, [str(CONFIG), *words, "parallel.timeout_s=15", f"run='{pulled}'"], pull)
    ip("-n", hosts[1].name, "link", "set", hosts[1].cable, "up")
    told = all("another process of this run has ended or does not answer" in said for _, said in ends)
    check(told, f"{strategy}: the cable was pulled, and both hosts say so{'' if told else _said(ends)}")


def _said(ends: Sequence[tuple[int, str]]) -> str:
    return "" if all(code == 0 for code, _ in ends) else "".join(f"\n{code}: {said[-2000:]}" for code, said in ends)


def main() -> None:
    """Prove it for each strategy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategy", nargs="+", choices=["ddp", "fsdp"], default=["ddp", "fsdp"])
    options = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise SystemExit("network namespaces are made by root with iproute2 (`apt-get install iproute2`)")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what was made is removed
    with tempfile.TemporaryDirectory() as folder, two_hosts() as hosts:
        for strategy in options.strategy:
            prove(hosts, Path(folder), strategy)


if __name__ == "__main__":
    main()
