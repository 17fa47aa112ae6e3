"""One run by several processes, through torchrun: it learns what one process learns, and goes on with any number."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from mopd.runs.records import read_jsonl
from tests.conftest import TINY

pytestmark = pytest.mark.long

SMOLLM2 = Path(__file__).parents[2] / "models" / "SmolLM2-135M-Instruct"
PROGRAM = Path(__file__).with_name("recorded_run.py")
PLAIN = [
    "optimizer.learning_rate=1e-3",
    "optimizer.warmup_steps=0",
    "evaluation.every=0",
    "evaluation.contexts_every=0",
]
STEPS = 5


def launched(count, *arguments):
    """A command of Python under torchrun, or by itself where `count` is 1."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return [sys.executable, *(torchrun if count > 1 else []), *map(str, arguments)]


def done(command, succeeds=True):
    """What a command said; it and all that it started are gone afterwards."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        said = process.communicate(timeout=300)
    finally:
        end_all(process)
    assert (process.returncode == 0) == succeeds, said[1][-4000:]
    return said


def end_all(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def train(count, *arguments, succeeds=True):
    return done(launched(count, "-m", "mopd", "train", *arguments, "--quiet"), succeeds)


def newest(run):
    return max((run / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))


def norm(tensors):
    return float(sum((tensor.double() ** 2).sum() for tensor in tensors) ** 0.5)


def apart(ours, theirs, change):
    """The norm of the difference of two sets of tensors, as a share of the norm of `change`."""
    assert ours.keys() == theirs.keys() == change.keys()
    return norm(ours[name] - theirs[name] for name in ours) / norm(change.values())


@pytest.fixture(scope="module")
def small_smollm2(tmp_path_factory):
    """SmolLM2's own weights, four of its layers; every fourth token ends what it writes, as it has no idea."""
    if not SMOLLM2.is_dir():
        pytest.skip("SmolLM2 is not here: `make smollm2` fetches it")
    folder = tmp_path_factory.mktemp("model") / "smollm2"
    model = AutoModelForCausalLM.from_pretrained(SMOLLM2, dtype=torch.float32)
    model.model.layers = model.model.layers[:4]
    model.config.num_hidden_layers = 4
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:4]
    model.generation_config.eos_token_id = list(range(2, model.config.vocab_size, 4))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(SMOLLM2).save_pretrained(folder)
    return folder


def settings_of(student, small, tmp_path):
    """(configuration, overrides): the embedded student after a warm-up, or the small real model without one."""
    if student == "embedded":
        return TINY, PLAIN
    text = f"""
student = "{small}"
group_size = 4
problems_per_step = 3
[problems]
source = "sort-digits"
size = 60
held_out = 0
options = {{ length = 3 }}
[sampling]
completion_tokens = 8
[peers]
recipe = "fixed"
successes = 1
failures = 1
[preflight]
action = "off"
[lessons]
pause = false
[context]
tokens = 256
[compute]
dtype = "float32"
threads = 1
"""
    (tmp_path / "small.toml").write_text(text)
    return tmp_path / "small.toml", PLAIN


def recorded(count, config, folder, reference, *overrides):
    told = [*overrides, f"steps={STEPS}", "checkpoint.every=1", f"checkpoint.keep={STEPS + 1}"]
    done(launched(count, PROGRAM, config, folder, reference, *told))


@pytest.mark.parametrize("student", ["embedded", "smollm2"])
def test_two_processes_learn_what_one_learns_whole_or_split(student, request, tmp_path):
    """Gradients of each step at the same weights, and where five steps lead."""
    small = request.getfixturevalue("small_smollm2") if student == "smollm2" else None
    config, overrides = settings_of(student, small, tmp_path)
    one = tmp_path / "one"
    recorded(1, config, one, "-", *overrides)
    gradients = sorted(path.name for path in one.glob("gradients-*"))
    assert len(gradients) == STEPS
    first, last = (load_file(one / "run" / "checkpoints" / f"step-{n}" / "model.safetensors") for n in (0, STEPS))
    moved = {name: last[name] - first[name] for name in last}
    for strategy in ("ddp", "fsdp"):
        told = [*overrides, f"parallel.strategy={strategy}"]
        recorded(2, config, tmp_path / f"{strategy}-follows", one / "run", *told)
        for file in gradients:
            alone = load_file(one / file)
            assert apart(load_file(tmp_path / f"{strategy}-follows" / file), alone, alone) <= 1e-5, (strategy, file)
        recorded(2, config, tmp_path / strategy, "-", *told)
        run = tmp_path / strategy / "run"
        ours = load_file(run / "checkpoints" / f"step-{STEPS}" / "model.safetensors")
        assert apart(ours, last, moved) <= 1e-3, strategy
        for alone, together in zip(*(read_jsonl(p / "metrics.jsonl") for p in (one / "run", run)), strict=True):
            assert alone.keys() == together.keys()
            for key in ("objective/loss", "update/grad_norm", "update/share", "update/drift_nats"):
                assert together[key] == pytest.approx(alone[key], rel=1e-3), (strategy, key)
            for key in ("lessons/count", "objective/tokens_count", "objective/alike_tokens_count", "reward/mean"):
                assert together[key] == alone[key], (strategy, key)


def test_a_run_goes_on_in_any_form_with_the_weights_that_it_had(tmp_path):
    told = [TINY, *PLAIN, "checkpoint.every=1"]
    train(1, *told, "steps=6", f"run='{tmp_path / 'alone'}'")
    run = tmp_path / "run"
    train(2, *told, "steps=2", "parallel.strategy=fsdp", f"run='{run}'")
    assert (newest(run) / "shares" / ".metadata").is_file()
    AutoModelForCausalLM.from_pretrained(newest(run))  # the student is whole in every checkpoint
    done([sys.executable, "-m", "mopd", "export", str(run), str(tmp_path / "exported"), "--dtype", "float32"])
    ours, theirs = (load_file(f / "model.safetensors") for f in (tmp_path / "exported", newest(run)))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    train(1, "--resume", run, "steps=3")
    assert (newest(run) / "optimizer.safetensors").is_file()
    train(2, "--resume", run, "steps=4", "parallel.strategy=ddp")
    train(2, "--resume", run, "steps=5", "parallel.strategy=fsdp")
    train(2, "--resume", run, "steps=6", "parallel.strategy=ddp")
    ranks = [json.loads(line)["environment"].get("ranks") for line in (run / "history.jsonl").read_text().splitlines()]
    assert ranks == [None, [2, 1], None, None, None]  # against those that it began with
    for name in ("model", "teacher", "optimizer"):
        ours, theirs = (load_file(newest(path) / f"{name}.safetensors") for path in (run, tmp_path / "alone"))
        assert apart(ours, theirs, theirs) <= 1e-4


@pytest.mark.parametrize(("problems", "strategy"), [(1, "fsdp"), (3, "ddp")])
def test_fewer_problems_than_processes_and_shares_that_are_not_even(problems, strategy, tmp_path):
    told = [TINY, *PLAIN, "steps=3", f"problems_per_step={problems}", f"parallel.strategy={strategy}"]
    for count in (1, 2):
        train(count, *told, f"run='{tmp_path / str(count)}'")
    alone, together = (load_file(newest(tmp_path / count) / "model.safetensors") for count in "12")
    assert apart(together, alone, alone) <= 1e-5


def begun(run, *overrides):
    """A long run of two processes, with a checkpoint: the launcher, and its two processes by rank."""
    gentle = ["optimizer.learning_rate=1e-6", "alarms.action=off"]  # it goes on until it is ended
    told = [TINY, *PLAIN, *gentle, "steps=4000", "checkpoint.every=1", f"run='{run}'", *overrides]
    command = launched(2, "-m", "mopd", "train", *told, "--quiet")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    ends = time.monotonic() + 200
    while not (run / "checkpoints" / "step-2").is_dir():
        assert process.poll() is None, process.communicate()[1][-4000:]
        assert time.monotonic() < ends
        time.sleep(0.05)
    children = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True).stdout
    by_rank = {}
    for pid in map(int, children.split()):
        found = dict(part.split("=", 1) for part in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in part)
        if "RANK" in found:
            by_rank[int(found["RANK"])] = pid
    assert sorted(by_rank) == [0, 1]
    return process, by_rank


@pytest.mark.parametrize(("rank", "strategy"), [(1, "ddp"), (0, "ddp"), (1, "fsdp")])
def test_a_process_that_is_killed_ends_the_run_with_one_error_and_it_goes_on(rank, strategy, tmp_path):
    run = tmp_path / "run"
    process, pids = begun(run, f"parallel.strategy={strategy}")
    try:
        os.kill(pids[rank], signal.SIGKILL)
        said = process.communicate(timeout=60)[1]
    finally:
        end_all(process)
    assert process.returncode != 0
    assert said.count("error: another process of this run has ended or does not answer") == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids.values())
    steps = int(newest(run).name[5:])
    train(2, "--resume", run, f"steps={steps + 2}")
    assert [row["step"] for row in read_jsonl(run / "metrics.jsonl")] == list(range(steps + 2))


@pytest.mark.parametrize("who", ["launcher", 0, 1])
def test_sigterm_to_any_process_saves_one_state_of_all(who, tmp_path):
    run = tmp_path / "run"
    process, pids = begun(run)
    try:
        os.kill(process.pid if who == "launcher" else pids[who], signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    finally:
        end_all(process)
    assert said.count("ended by SIGTERM; the run is saved in") == 1
    assert "error:" not in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids.values())
    steps = int(newest(run).name[5:])
    assert len(read_jsonl(run / "metrics.jsonl")) == steps
    train(2, "--resume", run, f"steps={steps + 1}")


def test_bad_input_is_one_error_and_leaves_no_trace(tmp_path):
    run = tmp_path / "run"
    told = [TINY, f"run='{run}'", "steps=2", "parallel.strategy=fsdp"]
    _, said = train(2, *told, "compute.weights=bfloat16", succeeds=False)
    assert said.count("error: compute.weights = bfloat16") == 1
    _, said = train(2, *told, "problems.source=nowhere.jsonl", succeeds=False)
    assert said.count("error:") == 1
    assert not run.exists()


def test_an_error_of_one_process_is_shown_once_and_ends_all(tmp_path):
    program = tmp_path / "failing.py"
    program.write_text(
        "import os, sys\n"
        "from mopd.cli import main\n"
        "from mopd.core.errors import OutOfMemoryError\n"
        "from mopd.rollouts.local import LocalEngine\n"
        "sample, count = LocalEngine.sample, 0\n"
        "def failing(self, requests, *rest):\n"
        "    global count\n"
        "    count += 1\n"
        "    if count == 3 and os.environ['RANK'] == '1':\n"
        "        raise OutOfMemoryError('memory suffices', 'none is left', 'buy some')\n"
        "    return sample(self, requests, *rest)\n"
        "LocalEngine.sample = failing\n"
        f"sys.exit(main(['train', {str(TINY)!r}, 'steps=4', \"run='{tmp_path / 'run'}'\", '--quiet']))\n"
    )
    _, said = done(launched(2, program), succeeds=False)
    assert said.count("error: none is left") == 1
    assert "another process of this run" not in said
