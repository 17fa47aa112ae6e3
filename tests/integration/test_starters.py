"""Starters: every kind is printed by a real process, loads, and trains a tiny model; what they bring along is right."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mopd import load_config, train
from mopd.cli import main
from mopd.config import config_keys
from mopd.judging.verdicts import prepare_verifiers
from mopd.problems import all_problems, load_problems
from mopd.runs.paths import settled
from mopd.runs.records import read_jsonl
from mopd.starters import kinds, starter
from mopd.starters.rewards import keeps_to_the_order
from tests.architectures import save
from tests.builders import UNMEASURED, make_config
from tests.integration.test_sandbox import needs_sandbox

ROOT = Path(__file__).parents[2]
OWN_FILES = ("gsm8k", "mbpp")
WITH_CODE = ("code", "mbpp")
STUDENT, STEPS, PROBLEMS, ROLLOUTS = "tiny-model", 1, 2, 4
SMALLER = (
    *UNMEASURED,
    f"steps={STEPS}",
    f"problems_per_step={PROBLEMS}",
    f"group_size={ROLLOUTS}",
    "problems.held_out=2",
    "sampling.completion_tokens=64",
    "evaluation.rollouts=1",
    "evaluation.contexts_every=0",
)


def run_mopd(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "mopd", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def write_downloads(folder):
    """Files of the form that users download for the starters that need one."""
    rows = [
        {"question": f"Ann has {n} pens and buys 2. How many?", "answer": f"{n}+2.\n#### {n + 2}"} for n in range(9)
    ]
    programs = [
        {
            "task_id": n,
            "text": f"Write a function to add {n} to a number.",
            "code": f"def add(x):\n    return x + {n}",
            "test_list": [f"assert add(1) == {n + 1}"],
        }
        for n in range(9)
    ]
    for name, records in (("gsm8k", rows), ("mbpp", programs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with a tiny model and the files to download, far from the package."""
    folder = tmp_path_factory.mktemp("starters")
    save(folder / STUDENT, "phi3", max_position_embeddings=2048)
    write_downloads(folder)
    return folder


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=needs_sandbox if kind in WITH_CODE else ()) for kind in kinds()]
)
def test_every_starter_trains_as_it_is_printed_but_for_sizes(kind, folder, monkeypatch):
    done = run_mopd(folder, "init", kind, "--student", STUDENT)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (folder / f"{kind}.toml").write_text(done.stdout)
    monkeypatch.chdir(folder)
    smaller = SMALLER + (("warmup.steps=2", "warmup.batch_size=2") if "[warmup]" in done.stdout else ())
    config = load_config(f"{kind}.toml", smaller)
    assert config.student == STUDENT
    summary = train(config, quiet=True)
    metrics = read_jsonl(folder / "runs" / kind / "metrics.jsonl")
    assert [row["step"] for row in metrics] == list(range(STEPS))
    assert all(row["verdicts/error_count"] == 0 for row in metrics)
    groups = read_jsonl(folder / "runs" / kind / "groups.jsonl")
    assert [len(group["rollouts"]) for group in groups] == [ROLLOUTS] * STEPS * PROBLEMS
    assert summary["after"]["problems_without_verdict"] == 0
    assert summary.get("warmup", {}).get("solutions_rejected_count", 0) == 0


# --- what is printed ------------------------------------------------------------------------------------------------


def test_init_without_a_kind_lists_every_kind_on_a_line_of_its_own(tmp_path):
    done = run_mopd(tmp_path, "init")
    assert done.returncode == 0
    lines = [line for line in done.stdout.splitlines() if re.match(r"[a-z0-9_]+ +\S.*; needs .*(CPU|GPU)", line)]
    assert [line.split()[0] for line in lines] == kinds()


def test_an_unknown_kind_is_an_error_that_names_the_nearest_and_prints_nothing_to_standard_output(tmp_path):
    done = run_mopd(tmp_path, "init", "multiple-choice")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean multiple_choice?" in done.stderr


@pytest.mark.parametrize("words", [("--student", "my-model"), ("math", "--student", " ")])
def test_a_student_without_a_kind_or_a_name_is_refused(words, tmp_path):
    done = run_mopd(tmp_path, "init", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--student" in done.stderr


@pytest.mark.parametrize("student", ["Qwen/Qwen3-0.6B", 'a "quoted" name', "C:\\models\\1", "models/größe", r"\1"])
def test_a_student_stands_in_a_starter_as_it_was_given_and_changes_nothing_else(student, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(starter("math", student))
    config = load_config(path)
    assert config.student == student
    path.write_text(starter("math"))
    assert config.model_copy(update={"student": load_config(path).student}) == load_config(path)


@pytest.mark.parametrize("kind", kinds())
def test_a_starter_says_why_each_of_its_few_keys_is_there(kind):
    lines = starter(kind).splitlines()
    keys = [place for place, line in enumerate(lines) if re.match(r"\w+ = ", line)]
    assert 5 <= len(keys) <= 12
    assert [lines[k] for k in keys if "  # " not in lines[k] and not lines[k - 1].startswith("#")] == []
    assert all(len(line) <= 120 for line in lines)
    assert any("folder of a model or a .gguf file" in line for line in lines)


@pytest.mark.parametrize("words", [["train"], ["preflight"], ["evaluate", "builtin:digits"]])
def test_a_command_without_a_configuration_says_how_to_get_one(words, capsys):
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "mopd init math > mine.toml" in told
    assert f"mopd {words[0]}" in told


# --- what is brought along ------------------------------------------------------------------------------------------


def problems_of(kind):
    return all_problems(make_config(f"problems.source='starter:{kind}'").problems)


@pytest.mark.parametrize("kind", [pytest.param("code", marks=needs_sandbox), "math", "multiple_choice", "tool_use"])
def test_every_solution_is_right_and_every_other_problem_s_is_not_always(kind):
    from mopd import verifiers

    problems = problems_of(kind)
    assert len(problems) >= 24
    prepare_verifiers({problem.verifier for problem in problems}, make_config())
    solutions = [problem.columns["solution"] for problem in problems]
    others = (solutions[1:] + solutions[:1])[:12]  # of code, each takes a sandbox
    judged = [verifiers.get(p.verifier)(p, text).kind for p, text in zip(problems, solutions, strict=True)]
    assert set(judged) == {"correct"}
    mixed_up = [verifiers.get(p.verifier)(p, text).kind for p, text in zip(problems, others, strict=False)]
    assert mixed_up.count("wrong") >= len(others) / 2


def test_the_reward_function_counts_the_wishes_that_are_fulfilled():
    texts = {
        "The rain falls on my umbrella.": 1.0,
        "I like the rain.": 2 / 3,
        "My umbrella is red": 2 / 3,
        "My umbrella is red and green and blue and old and dear to me.": 2 / 3,
        "Rain": 1 / 3,
        "": 0.0,
    }
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    rewards = keeps_to_the_order(completions, word=["umbrella"] * 6, most_words=[8] * 6, prompts=[])
    assert rewards == pytest.approx(list(texts.values()))
    orders = make_config("problems.source='starter:reward'", "problems.held_out=1").problems
    problems = load_problems(orders, needs_answer=False).train
    assert {problem.columns["most_words"] for problem in problems} == {9, 14}
    assert all(problem.columns["word"] in problem.messages[-1]["content"] for problem in problems)


def test_the_problem_files_are_what_the_script_writes(tmp_path):
    script = ROOT / "scripts" / "write_starter_problems.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, check=True)
    ours = {path.name: path.read_text() for path in (ROOT / "src" / "mopd" / "starters").glob("*.jsonl")}
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == ours


def test_a_starter_s_source_means_the_package_wherever_a_run_is_and_whatever_lies_there(tmp_path, monkeypatch):
    before = problems_of("math")
    monkeypatch.chdir(tmp_path)
    Path("starter:math").write_text('{"prompt": "1 + 1", "answer": "2", "kind": "math"}\n')
    assert problems_of("math") == before
    assert settled(make_config("problems.source='starter:math'")).problems.source == "starter:math"


def test_an_unknown_starter_as_a_source_names_the_nearest(tmp_path, capsys):
    assert main(["train", "problems.source=starter:maths", f"run='{tmp_path / 'run'}'"]) == 2
    assert "did you mean math?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_keys_of_generated_problems_are_refused_beside_a_starter_s_problems(tmp_path, capsys):
    words = ["train", "problems.source=starter:math", "problems.options={length=3}", f"run='{tmp_path / 'run'}'"]
    assert main(words) == 2
    assert "problems.options" in capsys.readouterr().err
    assert "problems.options" in config_keys()
