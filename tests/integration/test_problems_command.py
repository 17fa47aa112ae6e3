"""`mopd problems`: what will be trained on, before anything runs; what would end a run is found, all of it."""

import json
import subprocess
import sys

import pytest

from mopd.auditing.problem_set import overview
from mopd.cli import main
from mopd.config import build_config
from mopd.core.errors import ProblemError
from mopd.models.student import load_reader, load_student
from tests.architectures import save
from tests.conftest import TINY


def rows_of(count=20, long=(), **fields):
    """Digits to sort, some prompts too long for a window of 128 tokens."""
    return [
        {"id": f"p{i}", "prompt": f"{i}1" + "21" * 63 * (i in long), "answer": "12", "kind": "exact", **fields}
        for i in range(count)
    ]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments, status=0):
    """What `mopd problems` prints and writes of problems.jsonl with these overrides."""
    words = ["problems", "problems.source=problems.jsonl", "problems.held_out=4", "sampling.completion_tokens=4"]
    words += ["context.tokens=100", "problems_per_step=2", "steps=2", "--quiet", "--json", "out.json", *arguments]
    assert main(words) == status
    with open("out.json") as file:
        return capsys.readouterr().out, json.load(file)


def lines_of(printed):
    return [line.replace("│", " ").split() for line in printed.splitlines()]


def test_a_sound_set_is_counted_measured_and_shown_and_ends_with_0(folder, capsys):
    write(folder / "problems.jsonl", [*rows_of(12, dataset="sorting"), *rows_of(20)[12:]])
    printed, found = run(capsys)
    assert found["findings"] == []
    counts = {row["domain"]: row["train"] + row["held_out"] for row in found["counts"]}
    assert counts == {"sorting": 12, "default": 8}
    assert {(row["source"], row["verifier"]) for row in found["counts"]} == {("problems.jsonl", "exact")}
    assert ["all", "16", "4"] in lines_of(printed)
    assert (found["lengths"]["min"], found["lengths"]["median"], found["lengths"]["max"]) == (4, 4, 5)
    assert found["lengths"]["bins"] == [[4, 4, 10], [5, 5, 10]]
    assert ["4", "#" * 40, "10"] in lines_of(printed)
    assert found["shown"]["kind"] == "correct"
    assert "this solution is judged correct; the verifier reads '12'" in printed
    assert not (folder / "runs").exists()


def test_the_problem_asked_for_is_shown_with_the_tokens_of_the_template(folder, capsys):
    write(folder / "problems.jsonl", rows_of())
    printed, found = run(capsys, "--show", "p7")
    assert (found["shown"]["prompt"], found["shown"]["tokens"], found["shown"]["reference"]) == ("^71>", 4, "12")
    assert found["shown"]["where"] == "problems.jsonl, line 8"
    assert "^71>" in printed.splitlines()
    assert "problem p7 (problems.jsonl, line 8)" in printed
    assert main(["problems", "problems.source=problems.jsonl", "problems.held_out=4", "--show", "p77"]) == 2
    assert "did you mean p7" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["refuse", "leave_out"])
def test_problems_that_are_too_long_are_listed_and_end_with_1_where_a_run_would_be_refused(folder, capsys, action):
    write(folder / "problems.jsonl", rows_of(40, long=range(3, 36, 2)))
    printed, found = run(capsys, f"problems.over_long={action}", status=int(action == "refuse"))
    assert {row["problem"] for row in found["over_long"]} == {f"p{i}" for i in range(3, 36, 2)}
    assert "problems that are too long: 17" in printed
    assert sum(line.startswith("  problem p") for line in printed.splitlines()) == 10
    assert "and 7 more" in printed
    assert "problem p3 (problems.jsonl, line 4): 130 + 4" in printed
    assert "window of 128 tokens" in printed
    total = sum(row["train"] + row["held_out"] for row in found["counts"])
    assert total == (40 if action == "refuse" else 23)
    assert sum(found["split"]["left_out"].values()) == 40 - total
    assert ["17 of 40 problems" in finding for finding in found["findings"]] == [True] * (action == "refuse")


def test_a_prompt_over_the_budget_of_contexts_is_too_long_as_well(folder, capsys):
    write(folder / "problems.jsonl", rows_of(20, long=(3,)))
    printed, found = run(
        capsys, "context.tokens=60", "sampling.completion_tokens=1", "student='builtin:letters'", status=1
    )
    assert [row["problem"] for row in found["over_long"]] == ["p3"]
    assert "context.tokens = 60" in printed


@pytest.mark.parametrize(
    ("overrides", "rows", "says"),
    [
        (["context.tokens=126"], rows_of(), "fit the student's window of 128"),
        (["problems_per_step=30"], rows_of(), "30 problems a step"),
        ([], [*rows_of(19), {"id": "b", "prompt": "word", "answer": "1"}], "vocabulary can render"),
        ([], [row | {"kind": "tooluse"} for row in rows_of()], "can read its reference"),
        (["problems.verifier=math"], [row | {"solution": r"\boxed{13}"} for row in rows_of()], "is judged wrong"),
    ],
)
def test_whatever_would_end_a_run_is_a_finding_and_all_else_is_told(folder, capsys, overrides, rows, says):
    write(folder / "problems.jsonl", rows)
    printed, found = run(capsys, *overrides, status=1)
    assert any(says in finding for finding in found["findings"])
    assert says in printed
    assert found["lengths"]["min"] == 4


def test_several_findings_are_told_at_once(folder):
    rows = [*rows_of(19, long=(2,)), {"id": "b", "prompt": "word", "answer": "1"}]
    config = {"problems": {"source": str(write(folder / "problems.jsonl", rows)), "held_out": 4}, "steps": 5}
    found = overview(build_config(config | {"problems_per_step": 30, "sampling": {"completion_tokens": 4}}), quiet=True)
    assert len(found.findings) == 4  # budgets, the word, the long one, the steps


def test_a_file_that_cannot_be_read_and_keys_that_are_not_read_are_refused(folder, capsys):
    write(folder / "problems.jsonl", [{"prompt": "1"}])
    assert main(["problems", "problems.source=problems.jsonl"]) == 2
    assert "problems.jsonl, line 1" in capsys.readouterr().err
    assert main(["problems", str(TINY), "optimizer.learning_rate=1"]) == 2
    assert "optimizer.learning_rate" in capsys.readouterr().err
    assert main(["problems"]) == 2
    assert main(["problems", str(TINY), "student=builtin:digit"]) == 2


def test_where_reward_functions_judge_no_reference_is_judged_and_none_is_needed(folder, capsys):
    write(folder / "problems.jsonl", [{"id": f"p{i}", "prompt": f"{i}1"} for i in range(20)])
    printed, found = run(capsys, "rewards.functions=['no_such_module:f']")
    assert (found["shown"]["kind"], found["shown"]["reference"], found["findings"]) == (None, None, [])
    assert "judged by reward functions" in printed
    assert "not judged: reward functions judge" in printed


def test_sources_domains_and_verifiers_are_counted_apart(folder, capsys):
    (folder / "a.csv").write_text("prompt,answer\n" + "".join(f"{i}2,2\n" for i in range(10)))
    write(folder / "b.jsonl", rows_of(10, dataset="b"))
    (folder / "mix.toml").write_text(
        "problems_per_step = 2\n[sampling]\ncompletion_tokens = 4\n[context]\ntokens = 60\n"
        '[problems]\nheld_out = 4\n[[problems.mix]]\nsource = "a.csv"\n[[problems.mix]]\nsource = "b.jsonl"\n'
        '[[problems.mix]]\nsource = "sort-digits"\nsize = 30\n'
    )
    assert main(["problems", "mix.toml", "--json", "out.json", "--quiet"]) == 0
    counts = json.loads((folder / "out.json").read_text())["counts"]
    sizes = {(row["source"], row["domain"]): row["train"] + row["held_out"] for row in counts}
    assert sizes == {("a.csv", "default"): 10, ("b.jsonl", "b"): 10, ("generated", "sort-digits"): 30}
    assert sum(row["held_out"] for row in counts) == 4
    assert "near-duplicate" not in capsys.readouterr().err


def test_text_of_files_cannot_command_the_terminal(folder, capsys):
    write(folder / "problems.jsonl", rows_of(dataset="a\x1b[31m\u202e"))
    printed, _ = run(capsys)
    assert "\\x1b[31m\\u202e" in printed
    assert not {"\x1b", "\u202e"} & set(printed)


def test_a_student_is_read_alike_with_and_without_its_weights(tmp_path):
    save(tmp_path / "model", "llama")
    for name in ("builtin:digits", "builtin:letters", str(tmp_path / "model")):
        student, reader = load_student(name, 0), load_reader(name)
        assert (reader.window, reader.window_note, reader.template) == (
            student.window,
            student.window_note,
            student.template,
        )
        messages = [{"role": "user", "content": "12"}]
        assert reader.tokenizer.encode_prompt(messages) == student.tokenizer.encode_prompt(messages)


def test_no_weights_are_needed(tmp_path):
    save(tmp_path / "model", "llama")
    for path in (tmp_path / "model").glob("*.safetensors"):
        path.unlink()
    rows = [{"prompt": f"Is {i} even?", "answer": "yes"} for i in range(10)]
    problems = write(tmp_path / "problems.jsonl", rows)
    words = [f"student='{tmp_path / 'model'}'", f"problems.source='{problems}'", "problems.held_out=2"]
    words += ["sampling.completion_tokens=4", "context.tokens=200", "problems_per_step=2"]
    done = subprocess.run(
        [sys.executable, "-m", "mopd", "problems", *words], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "even?" in done.stdout


def test_an_id_that_no_problem_has_is_refused_by_the_function_too(folder):
    config = {"problems": {"source": str(write(folder / "problems.jsonl", rows_of())), "held_out": 4}}
    with pytest.raises(ProblemError, match="no problem 'nobody'"):
        overview(build_config(config), show="nobody", quiet=True)
