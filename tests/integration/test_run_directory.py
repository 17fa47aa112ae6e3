"""A run's directory: what a run may take, move and delete, how it is moved and prolonged, and what it depends on."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mopd import load_config, resume, train
from mopd.config import build_config
from mopd.core.errors import CheckpointError, ConfigError, MopdError, RunError
from mopd.evaluation.target import evaluate
from mopd.report.contexts import read_again
from mopd.runs import progress, trackers
from mopd.runs.directory import check_may_begin, new_directory
from mopd.runs.paths import settled
from mopd.runs.reading import read_config
from mopd.runs.records import read_jsonl
from mopd.runs.run import LOGS, Run
from tests.architectures import save
from tests.builders import UNMEASURED

PROBLEMS = [{"id": f"p{i}", "prompt": f"{i}1", "answer": f"1{i}", "kind": "exact"} for i in range(12)]


def write_problems(path, rows=PROBLEMS):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def small(folder, *overrides):
    """A run of well under a second on twelve problems of a file."""
    if not (folder / "problems.jsonl").exists():
        write_problems(folder / "problems.jsonl")
    return build_config(
        {},
        [
            *UNMEASURED,
            f"run='{folder / 'run'}'",
            f"problems={{source='{folder / 'problems.jsonl'}', held_out=2}}",
            *("steps=4", "group_size=2", "problems_per_step=2", "compute.threads=1", "checkpoint.every=1"),
            *("peers.failures=1", "peers.successes=0", "peers.require_success=false"),
            *("sampling.completion_tokens=4", "context.tokens=60", "evaluation.rollouts=2"),
            *overrides,
        ],
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with problems.jsonl and a run of four steps."""
    folder = tmp_path_factory.mktemp("finished")
    train(small(folder, "checkpoint.keep=3"), quiet=True)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the run, unfinished: three of its steps are done. It lies elsewhere than when it began."""
    shutil.copytree(finished / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-4")
    (tmp_path / "run" / "summary.json").unlink()
    return tmp_path / "run"


def contents(folder):
    """Every file below a folder with its bytes, but for locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def run_of(folder):
    """What a run learnt and recorded."""
    newest = max((folder / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
    tensors = {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}
    metrics = [
        {k: v for k, v in row.items() if not k.startswith(("time/", "memory/"))} for row in read_jsonl(folder / LOGS[0])
    ]
    return tensors, metrics, (folder / "groups.jsonl").read_bytes(), (folder / "evaluations.jsonl").read_bytes()


# --- what a run may take, move and delete -----------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["", " ", ".", "./", "sub/..", "~", "/", "~nobody-has-this-name/x", "a\0b"])
def test_a_run_has_a_directory_of_its_own(tmp_path, monkeypatch, run):
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="directory of its own"):
        train(small(tmp_path).model_copy(update={"run": run}), quiet=True, fresh=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["problems.jsonl", "sub"]


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    "files",
    [
        {"thesis.tex": "x"},
        {"config.json": "{}"},
        {"config.json": '{"model_type": "llama"}', "model.safetensors": ""},
        {"environment.json": "mine"},
        {"metrics.jsonl": "{}\n"},
        {".lock": "", "groups.jsonl": "{}\n"},
    ],
    ids=lambda files: "+".join(files),
)
def test_what_is_not_provably_a_runs_is_neither_taken_nor_moved_nor_changed(tmp_path, files, fresh):
    (tmp_path / "run").mkdir()
    for name, text in files.items():
        (tmp_path / "run" / name).write_text(text)
    with pytest.raises(RunError, match="holds"):
        train(small(tmp_path), fresh=fresh, quiet=True)
    assert {path.name: path.read_text() for path in (tmp_path / "run").iterdir()} == files
    assert not (tmp_path / "run.1").exists()


def test_fresh_moves_a_run_aside_but_nothing_that_lies_with_it(copied):
    (copied / "notes.txt").write_text("mine")
    before = contents(copied)
    with pytest.raises(RunError, match=r"notes\.txt"):
        train(small(copied.parent), fresh=True, quiet=True)
    assert contents(copied) == before
    (copied / "notes.txt").unlink()
    del before["notes.txt"]
    train(small(copied.parent, "steps=1"), fresh=True, quiet=True)
    assert contents(copied.with_name("run.1")) == before
    assert read_config(copied).steps == 1


def test_a_run_in_use_is_neither_moved_nor_resumed_nor_changed(copied):
    before = contents(copied)
    with open(copied / ".lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        for attempt in (
            lambda: train(small(copied.parent), fresh=True, quiet=True),
            lambda: resume(copied, quiet=True),
        ):
            with pytest.raises(RunError, match=f"in use by another, process {os.getpid()}"):
                attempt()
    assert contents(copied) == before
    assert not copied.with_name("run.1").exists()


def test_a_lock_of_a_directory_that_was_moved_aside_is_not_the_lock_of_the_new_one(copied, monkeypatch):
    """Between opening and locking, another process finishes and a third moves the run aside."""
    from mopd.runs import directory

    def moved_first(descriptor):
        copied.rename(copied.with_name("run.1"))
        return None

    monkeypatch.setattr(directory, "try_lock", moved_first)
    with pytest.raises(RunError, match="in use"):
        new_directory(copied, fresh=True)


def test_of_many_that_begin_one_directory_one_does_and_the_others_are_told(tmp_path):
    outcomes = []

    def begin():
        try:
            outcomes.append(Run.begin(settled(small(tmp_path)), {}))
        except RunError as error:
            outcomes.append(error)

    write_problems(tmp_path / "problems.jsonl")
    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = [outcome for outcome in outcomes if isinstance(outcome, Run)]
    assert len(runs) == 1
    assert len(outcomes) == 8
    runs[0].close()


def test_a_beginning_that_was_cut_short_is_begun_again(tmp_path):
    run = Run.begin(settled(small(tmp_path)), {})
    run.close()
    (tmp_path / "run" / "config.json").unlink()
    (tmp_path / "run" / ".config.json.new").write_text("{")
    assert train(small(tmp_path, "steps=1"), quiet=True)["steps"] == 1


def test_bad_input_leaves_no_trace(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    for overrides, kind in ((["tracker.kind='wandb'"], ConfigError), (["student='no/such/model'"], MopdError)):
        with pytest.raises(kind):
            train(small(tmp_path, *overrides), quiet=True)
        assert not (tmp_path / "run").exists()


# --- paths ------------------------------------------------------------------------------------------------------------


def test_paths_are_those_of_the_working_directory_and_stored_absolute(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("configs", "models/own", "home/deep"):
        (tmp_path / name).mkdir(parents=True)
    for file in ("data.jsonl", "models/a.gguf", "home/more.jsonl"):
        (tmp_path / file).touch()
    toml = tmp_path / "configs" / "demo.toml"
    toml.write_text(
        'student = "models/own"\nrewards = { functions = ["a:b"] }\n'
        '[problems]\nsource = "data.jsonl"\nheld_out_source = "~/more.jsonl"\n'
    )
    monkeypatch.chdir(tmp_path)
    config = settled(load_config("configs/demo.toml"))
    assert (config.run, config.student) == (str(tmp_path / "runs/demo"), str(tmp_path / "models/own"))
    assert config.problems.source == str(tmp_path / "data.jsonl")
    assert config.problems.held_out_source == str(tmp_path / "home/more.jsonl")
    assert config.rewards.folder == str(tmp_path / "configs")
    assert settled(config) == config
    sources = ("hub:./models", "hub:org/name", "sort-digits")
    mixed = settled(build_config({"problems": {"mix": [{"source": source} for source in sources]}}))
    assert [s.source for s in mixed.problems.mix] == [f"hub:{tmp_path / 'models'}", *sources[1:]]
    assert settled(build_config(mixed.model_dump(mode="json"))) == mixed
    gguf = build_config({}, ["student=models/a.gguf", "run=~/deep/x", "problems.source=no-such-file"])
    assert settled(gguf).student == str(tmp_path / "models/a.gguf")
    assert settled(gguf).run == str(tmp_path / "home/deep/x")
    assert settled(gguf).problems.source == "no-such-file"
    assert settled(build_config({}, ["student=Qwen/Qwen3-0.6B"])).student == "Qwen/Qwen3-0.6B"


def test_a_process_that_changes_directory_goes_on_writing_its_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aside").mkdir()
    write_problems(tmp_path / "problems.jsonl")

    def reward(completions, **others):
        os.chdir(tmp_path / "aside")
        return [float(i % 2) for i, _ in enumerate(completions)]

    config = small(tmp_path, "steps=2", "problems.source='problems.jsonl'", "run='runs/a'", "tracker.kind=tensorboard")
    summary = train(config, reward_functions=reward, quiet=True)
    assert summary["run"] == str(tmp_path / "runs" / "a")
    assert list((tmp_path / "aside").iterdir()) == []
    assert (tmp_path / "runs" / "a" / "checkpoints" / "step-2").is_dir()


def test_a_moved_run_is_whole_from_any_directory(finished, tmp_path, monkeypatch):
    shutil.copytree(finished / "run", tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert resume("../moved", quiet=True)["run"] == str(tmp_path / "elsewhere/../moved")
    figures = evaluate("../moved", None, None, quiet=True)
    assert figures["mean_at_2"] == resume(finished / "run", quiet=True)["after"]["mean_at_2"]
    assert read_again(Path("../moved"), None, None, None).context.token_count > 0


def test_a_moved_run_goes_on_with_its_problem_file_moved_too(finished, copied, tmp_path, monkeypatch):
    shutil.copy(finished / "problems.jsonl", tmp_path / "there.jsonl")
    monkeypatch.chdir(tmp_path)
    own = read_config(copied).model_dump(mode="json")
    resume(copied, expected=build_config(own, ["problems.source=there.jsonl"]), quiet=True)
    assert run_of(copied) == run_of(finished / "run")
    assert read_config(copied).problems.source == str(tmp_path / "there.jsonl")


# --- what a run depends on besides its configuration ------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[::-1],
        lambda rows: [*rows, {**rows[0], "id": "more", "prompt": "99"}],
        lambda rows: rows[:-1],
        lambda rows: [{**row, "prompt": row["prompt"] + "2"} if row["id"] == "p3" else row for row in rows],
        lambda rows: [{**row, "answer": "7"} if row["id"] == "p3" else row for row in rows],
    ],
    ids=["order", "one more", "one less", "a prompt", "an answer"],
)
def test_a_run_is_not_resumed_nor_evaluated_on_other_problems_than_it_began_with(copied, tmp_path, change):
    own = read_config(copied).model_dump(mode="json")
    write_problems(tmp_path / "other.jsonl", change(PROBLEMS))
    before = contents(copied)
    with pytest.raises(RunError, match="problems are those that it began with"):
        resume(copied, expected=build_config(own, [f"problems.source='{tmp_path / 'other.jsonl'}'"]), quiet=True)
    assert contents(copied) == before
    (copied / "config.json").write_text(
        json.dumps({**own, "problems": {**own["problems"], "source": str(tmp_path / "other.jsonl")}})
    )
    with pytest.raises(RunError, match="problems are those that it began with"):
        evaluate(str(copied), None, None, quiet=True)


REWARD = """
import math  # what a module imports of Python is not its own
from helper import shift

def reward(completions, **others):
    return [float((i + shift()) % 2) for i, _ in enumerate(completions)]
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "text", "is_same"),
    [
        ("helper.py", "def shift():\n    return 1\n", False),
        ("own.py", REWARD.replace("% 2", "% 3"), False),
        ("own.py", REWARD.replace("import math  # what", "import math  # another remark"), True),
    ],
)
def test_a_run_is_not_resumed_with_other_reward_functions_than_it_began_with(tmp_path, file, text, is_same):
    write_problems(tmp_path / "problems.jsonl")
    (tmp_path / "own.py").write_text(REWARD)
    (tmp_path / "helper.py").write_text("def shift():\n    return 0\n")
    config = small(tmp_path, "rewards.functions=['own:reward']", f"rewards.folder='{tmp_path}'", "steps=2")
    (tmp_path / "mopd.toml").write_text("")
    command = [sys.executable, "-c", "import sys; from mopd.cli import main; sys.exit(main())", "train", "--quiet"]
    (tmp_path / "config.json").write_text(json.dumps(config.model_dump(mode="json")))
    begin = "import sys, json; from mopd import train; from mopd.config import build_config; "
    begin += f"train(build_config(json.load(open('{tmp_path / 'config.json'}'))), quiet=True)"
    subprocess.run([sys.executable, "-c", begin], check=True, capture_output=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-2")
    (tmp_path / "run" / "summary.json").unlink()
    (tmp_path / file).write_text(text)
    done = subprocess.run([*command, "--resume", str(tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == (0 if is_same else 2), done.stderr
    assert is_same or "reward functions are those that it began with" in done.stderr


def dated_model(folder):
    save(folder, "llama")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    template = folder / "chat_template.jinja"
    text = template.read_text() if template.exists() else config.pop("chat_template")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    template.write_text("{{ strftime_now('%d %H') }} " + text)
    return folder


def test_a_template_that_writes_the_date_writes_that_of_the_runs_beginning(tmp_path, monkeypatch):
    dated_model(tmp_path / "model")
    config = small(tmp_path, f"student='{tmp_path / 'model'}'", "context.tokens=90", "steps=2")
    train(config, quiet=True)
    shutil.copytree(tmp_path / "run", tmp_path / "later")
    shutil.rmtree(tmp_path / "later" / "checkpoints" / "step-2")
    (tmp_path / "later" / "summary.json").unlink()
    monkeypatch.setenv("TZ", "Pacific/Kiritimati" if os.environ.get("TZ") != "Pacific/Kiritimati" else "Etc/GMT+12")
    import time

    time.tzset()
    try:
        resume(tmp_path / "later", quiet=True)
        assert run_of(tmp_path / "later") == run_of(tmp_path / "run")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_another_version_is_said_and_recorded_and_no_reason_to_refuse(copied, capsys):
    environment = json.loads((copied / "environment.json").read_text())
    environment["packages"]["torch"] = "1.0"
    (copied / "environment.json").write_text(json.dumps(environment))
    resume(copied, quiet=True)
    assert "torch 1.0 is now" in capsys.readouterr().err
    assert read_jsonl(copied / "history.jsonl")[-1]["environment"]["torch"][0] == "1.0"


# --- prolonged and changed --------------------------------------------------------------------------------------------


def test_a_prolonged_run_learns_what_it_would_have_learnt_at_once(finished, tmp_path):
    train(small(tmp_path, "steps=2"), quiet=True)
    own = read_config(tmp_path / "run").model_dump(mode="json")
    summary = resume(tmp_path / "run", expected=build_config(own, ["steps=4", "checkpoint.keep=1"]), quiet=True)
    assert summary["steps"] == 4
    assert run_of(tmp_path / "run")[:3] == run_of(finished / "run")[:3]
    assert [row["step"] for row in read_jsonl(tmp_path / "run" / "evaluations.jsonl")] == [0, 2, 4]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-4"]
    assert json.loads((tmp_path / "run" / "summary-2.json").read_text())["steps"] == 2
    last = read_jsonl(tmp_path / "run" / "history.jsonl")[-1]
    assert (last["step"], last["settings"]) == (2, {"steps": [2, 4], "checkpoint.keep": [2, 1]})
    assert read_config(tmp_path / "run").steps == 4


def test_a_run_has_at_least_the_steps_that_it_has_done(copied):
    own = read_config(copied).model_dump(mode="json")
    with pytest.raises(RunError, match="3 are done"):
        resume(copied, expected=build_config(own, ["steps=2"]), quiet=True)
    summary = resume(copied, expected=build_config(own, ["steps=3"]), quiet=True)
    assert summary["after"]["step"] == 3


def test_what_shapes_the_student_is_not_changed_on_resume(copied):
    own = read_config(copied).model_dump(mode="json")
    before = contents(copied)
    for change in ("optimizer.learning_rate=1e-2", "seed=3", "problems.held_out=3", "student='builtin:letters'"):
        with pytest.raises(RunError, match=change.split("=")[0]):
            resume(copied, expected=build_config(own, [change]), quiet=True)
    assert contents(copied) == before


def test_evaluations_that_were_measured_otherwise_are_not_paired(copied):
    own = read_config(copied).model_dump(mode="json")
    summary = resume(copied, expected=build_config(own, ["evaluation.temperature=0.5"]), quiet=True)
    assert "gain" not in summary
    assert summary["after"]["measured"]["temperature"] == 0.5


# --- damaged files ----------------------------------------------------------------------------------------------------

FILES_OF_A_RUN = {
    "config.json": "backup",
    "inputs.json": "remove it",
    "metrics.jsonl": "backup",
    "groups.jsonl": "backup",
    "evaluations.jsonl": "backup",
    "checkpoints/step-3/config.json": "remove .*step-3 to continue from step-2",
    "checkpoints/step-3/cursor.json": "remove .*step-3 to continue from step-2",
    "checkpoints/step-3/model.safetensors": "remove .*step-3 to continue from step-2",
    "checkpoints/step-3/teacher.safetensors": "remove .*step-3 to continue from step-2",
    "checkpoints/step-3/optimizer.safetensors": "remove .*step-3 to continue from step-2",
    "checkpoints/step-3/tokenizer.json": "remove .*step-3 to continue from step-2",
    "checkpoints/step-3/tokenizer_config.json": "remove .*step-3 to continue from step-2",
}


@pytest.mark.parametrize("damage", ["half", "missing"])
@pytest.mark.parametrize("name", FILES_OF_A_RUN)
def test_a_damaged_file_gets_its_own_advice_and_nothing_is_changed(copied, name, damage):
    if damage == "half":
        os.truncate(copied / name, (copied / name).stat().st_size // 4)
    else:
        (copied / name).unlink()
    before = contents(copied)
    if (name, damage) == ("inputs.json", "missing"):
        assert resume(copied, quiet=True)["steps"] == 4  # as the advice says
        return
    with pytest.raises((RunError, CheckpointError), match=FILES_OF_A_RUN[name]) as caught:
        resume(copied, quiet=True)
    assert Path(name).name in caught.value.got
    assert "fetch" not in caught.value.do
    assert contents(copied) == before


def test_the_advice_for_a_damaged_checkpoint_and_log_works(copied, finished):
    os.truncate(copied / "checkpoints/step-3/model.safetensors", 9)
    os.truncate(
        copied / "groups.jsonl",
        json.loads((copied / "checkpoints/step-2/cursor.json").read_text())["log_bytes"]["groups.jsonl"],
    )
    with pytest.raises(CheckpointError, match="remove"):
        resume(copied, quiet=True)
    shutil.rmtree(copied / "checkpoints" / "step-3")
    resume(copied, quiet=True)
    assert run_of(copied) == run_of(finished / "run")


def test_a_log_is_never_made_longer(copied):
    os.truncate(copied / "metrics.jsonl", 100)
    with pytest.raises(RunError, match=r"metrics\.jsonl"):
        resume(copied, quiet=True)
    assert (copied / "metrics.jsonl").stat().st_size == 100
    assert b"\0" not in (copied / "metrics.jsonl").read_bytes()


def test_a_damaged_summary_is_written_again(finished, tmp_path):
    shutil.copytree(finished / "run", tmp_path / "run")
    os.truncate(tmp_path / "run" / "summary.json", 50)
    with pytest.raises(RunError, match="remove it"):
        resume(tmp_path / "run", quiet=True)
    (tmp_path / "run" / "summary.json").unlink()
    assert resume(tmp_path / "run", quiet=True)["after"] == resume(finished / "run", quiet=True)["after"]


def test_a_checkpoint_is_evaluated_whole_or_not(finished, tmp_path):
    shutil.copytree(finished / "run", tmp_path / "run")
    os.truncate(tmp_path / "run/checkpoints/step-4/model.safetensors", 1000)
    with pytest.raises(CheckpointError, match=r"remove .*step-4 to continue from step-3"):
        evaluate(str(tmp_path / "run"), None, None, quiet=True)


# --- what ends a run --------------------------------------------------------------------------------------------------


def command(folder, *more):
    (folder / "config.json").write_text(json.dumps(small(folder, *more).model_dump(mode="json")))
    code = "import json, sys; from mopd import train; from mopd.config import build_config; "
    return [sys.executable, "-c", code + f"train(build_config(json.load(open('{folder / 'config.json'}'))))"]


def test_a_reader_of_progress_that_goes_away_ends_no_run(tmp_path, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, "stderr", closed)
        train(small(tmp_path, "steps=1"))
        monkeypatch.undo()
        closed.close = lambda: None
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.long
def test_no_file_of_a_run_takes_the_place_of_a_closed_standard_stream(tmp_path):
    done = subprocess.run(["sh", "-c", 'exec "$@" 2>&- >&-', "sh", *command(tmp_path, "steps=1")], check=False)
    assert done.returncode == 0
    assert (tmp_path / "run" / "summary.json").exists()
    for name in LOGS:
        assert all(isinstance(row, dict) for row in read_jsonl(tmp_path / "run" / name))


@pytest.mark.parametrize("phase", ["sample", "teacher", "update", "evaluate", "save"])
def test_sigterm_saves_the_steps_done_and_exits_with_143(finished, tmp_path, monkeypatch, phase):
    """SIGTERM to this very process, in each phase of the second step."""
    from mopd.learning import optimizer, teacher
    from mopd.training import loop

    count = [0]

    def interrupting(inner, at):
        def call(*arguments, **options):
            count[0] += 1
            if count[0] == at:
                os.kill(os.getpid(), signal.SIGTERM)
            return inner(*arguments, **options)

        return call

    where, name, at = {
        "sample": (loop.Stepper, "attempt", 2),
        "teacher": (teacher.LocalTeacher, "read", 2),
        "update": (optimizer.AdamW, "update", 2),
        "evaluate": (loop, "evaluate_held_out", 2),
        "save": (Run, "save", 2),
    }[phase]
    monkeypatch.setattr(where, name, interrupting(getattr(where, name), at))
    config = small(tmp_path, "checkpoint.every=4", *(["evaluation.every=2"] if phase == "evaluate" else []))
    with pytest.raises(SystemExit) as ended:
        train(config, quiet=True)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    monkeypatch.undo()
    if phase != "save":
        done = 1 if phase == "sample" else 2
        assert (tmp_path / "run" / "checkpoints" / f"step-{done}").is_dir()
    resume(tmp_path / "run", quiet=True)
    assert run_of(tmp_path / "run")[:3] == run_of(finished / "run")[:3]
    evaluated = [row["step"] for row in read_jsonl(tmp_path / "run" / "evaluations.jsonl")]
    assert evaluated == ([0, 2, 4] if phase == "evaluate" else [0, 4])


def test_a_terminal_that_goes_away_ends_a_run_as_sigterm_does(finished, tmp_path, monkeypatch):
    from mopd.training import loop

    inner, count = loop.Stepper.attempt, [0]

    def attempt(*arguments):
        count[0] += 1
        if count[0] == 3:
            os.kill(os.getpid(), signal.SIGHUP)
        return inner(*arguments)

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        monkeypatch.setattr(loop.Stepper, "attempt", attempt)
        with pytest.raises(SystemExit) as ended:
            train(small(tmp_path, "checkpoint.every=4"), quiet=True)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ended.value.code == 129
    assert (tmp_path / "run" / "checkpoints" / "step-2").is_dir()
    monkeypatch.undo()
    resume(tmp_path / "run", quiet=True)
    assert run_of(tmp_path / "run")[:3] == run_of(finished / "run")[:3]


def test_a_run_under_nohup_goes_on_without_its_terminal(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        train(small(tmp_path, "steps=1"), quiet=True)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_handler_of_ones_own_stays(tmp_path):
    before = signal.signal(signal.SIGTERM, handler := lambda *_: None)
    try:
        train(small(tmp_path, "steps=1"), quiet=True)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


# --- trackers and models ----------------------------------------------------------------------------------------------


def test_a_tracker_is_closed_also_where_a_run_ends_by_an_error(tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr("mopd.training.loop.open_tracker", lambda _: trackers.Tracker(close=lambda: closed.append(1)))
    monkeypatch.setattr("mopd.training.loop.Stepper.step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(small(tmp_path), quiet=True)
    assert closed == [1]


def test_a_tracker_that_fails_ends_no_run_and_is_counted(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise OSError("no network")

    monkeypatch.setattr("mopd.training.loop.open_tracker", lambda _: trackers.Tracker(fail, fail, "wandb"))
    summary = train(small(tmp_path, "steps=2"), quiet=True)
    assert summary["tracker_failed_count"] > 2
    assert capsys.readouterr().err.count("tracker wandb failed") == 1


def test_one_model_is_alive_while_warming_up(tmp_path, monkeypatch):
    from mopd.learning.teacher import LocalTeacher
    from mopd.training import loop

    order = []
    build, warm = LocalTeacher.__init__, loop.warm_up_measured
    monkeypatch.setattr(LocalTeacher, "__init__", lambda self, *a: (order.append("teacher"), build(self, *a))[1])
    monkeypatch.setattr(loop, "warm_up_measured", lambda *a: (order.append("warm-up"), warm(*a))[1])
    monkeypatch.setenv("MOPD_CACHE", str(tmp_path / "cache"))
    train(small(tmp_path, "steps=1", "warmup={kind='solutions', steps=1, batch_size=2}"), quiet=True)
    assert order == ["warm-up", "teacher"]


# --- the cache of warm-ups, and disks ---------------------------------------------------------------------------------

WARMUP = "warmup={kind='solutions', steps=1, batch_size=2}"


@pytest.mark.parametrize("place", ["a file", "read-only", "full", "no home"])
def test_a_cache_that_cannot_be_written_costs_no_warm_up(tmp_path, monkeypatch, capsys, place):
    monkeypatch.setenv("MOPD_CACHE", str(tmp_path / "cache"))
    if place == "a file":
        (tmp_path / "cache").touch()
    elif place == "no home":
        monkeypatch.delenv("MOPD_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home directory")))
    else:
        number = 30 if place == "read-only" else 28

        def refuse(*_, **__):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("mopd.warmup.cache.write_folder_atomically", refuse)
    summary = train(small(tmp_path, "steps=1", WARMUP), quiet=True)
    assert summary["warmup"]["is_cached"] is False
    assert summary["warmup"]["cache_error"]
    assert "warm-up" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["warmup.json", "model.safetensors", "config.json"])
@pytest.mark.long
def test_a_damaged_cached_warm_up_is_done_again_and_replaced(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("MOPD_CACHE", str(tmp_path / "cache"))
    first = train(small(tmp_path, "steps=1", WARMUP), quiet=True)
    (cached,) = (tmp_path / "cache" / "warmups").iterdir()
    os.truncate(cached / damage, 20)
    for is_cached in (False, True):
        again = train(small(tmp_path, "steps=1", WARMUP), quiet=True, fresh=True)
        assert again["warmup"]["is_cached"] is is_cached
        assert again["after"] == first["after"]


def test_what_cannot_be_written_is_said_without_a_traceback_and_nothing_is_lost(copied, finished, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    for place in ("mopd.runs.run.write_atomically", "mopd.runs.run.append_line", "mopd.runs.logs.os.write"):
        monkeypatch.setattr(place, full)
        with pytest.raises(RunError, match="free space"):
            resume(copied, quiet=True)
        monkeypatch.undo()
    resume(copied, quiet=True)
    assert run_of(copied) == run_of(finished / "run")


def test_a_line_that_a_full_disk_refused_half_way_is_taken_back(tmp_path, monkeypatch):
    from mopd.runs.logs import Log

    log = Log(tmp_path / "log.jsonl")
    log.append({"a": 1})
    write = os.write
    monkeypatch.setattr("os.write", lambda d, data: write(d, data[:3]) if len(data) > 5 else full_disk())
    with pytest.raises(OSError, match="full"):
        log.append({"b": 2})
    monkeypatch.undo()
    log.close()
    assert (tmp_path / "log.jsonl").read_text() == '{"a": 1}\n'


def full_disk():
    raise OSError(28, "full")


def test_nothing_is_said_where_nobody_can_read_it(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    progress.say("x")
    progress.ProgressDisplay().phase("x", 1).__enter__().advance()


def test_a_directory_that_is_absent_or_empty_may_be_begun(tmp_path):
    assert check_may_begin(tmp_path / "new", fresh=True) is False
    assert check_may_begin(tmp_path, fresh=True) is False
