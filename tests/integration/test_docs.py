"""The documentation says what the code does: links lead somewhere, commands parse, the Python example runs."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mopd import load_config, train
from mopd.cli import main
from mopd.cli.words import parse
from tests.architectures import save

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_named_exists(page):
    targets = set(re.findall(r"^([a-z0-9.-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z0-9-]+(?:\.[a-z0-9]+)*)", page.read_text(), flags=re.MULTILINE))
    assert named <= targets


def test_the_drawing_of_the_rooms_is_true():
    command = [sys.executable, str(ROOT / "scripts" / "draw_rooms.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def blocks(language):
    readme = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)


def test_every_command_of_the_readme_parses():
    commands = [line for block in blocks("") for line in block.splitlines() if line.startswith("mopd ")]
    assert len(commands) >= 5
    for command in commands:
        words = shlex.split(command.partition(" > ")[0], comments=True)[1:]
        options = parse(words)
        assert callable(options.command)
        if getattr(options, "config", None) not in (None, "mine.toml"):  # which the command before has written
            assert (ROOT / options.config).exists()


def test_the_python_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    example = next(block for block in blocks("python") if "import load_config" in block)
    assert len(example.strip().splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "my-model", "phi3", max_position_embeddings=2048)
    smaller = '"my-model", "preflight": {"action": "warn"}'
    smaller += ', "problems": {"held_out": 2}, "sampling": {"completion_tokens": 4}'
    exec(example.replace('"Qwen/Qwen2.5-Coder-0.5B-Instruct"', smaller).replace('"steps": 20', '"steps": 2'), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["0", "1"]
    assert (tmp_path / "runs" / "sums" / "summary.json").exists()


def write_files(page, folder):
    """Write the files that a page shows, each in a block whose title ends with its name; the commands of its others."""
    text = (ROOT / "docs" / page).read_text()
    shown = re.findall(r"^```([^\n]*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    for name, content in ((title.split()[-1], content) for title, content in shown if title):
        (folder / name).write_text(content)
    return [line for title, content in shown if not title for line in content.splitlines()]


def run_command(command, folder, *more):
    """Run a command in a folder, with more words. What it prints is also in the file behind its `>`."""
    words = shlex.split(command, comments=True)
    printed_to = words.pop() if ">" in words else None
    program = [sys.executable, "-m", *(word for word in words if word != ">"), *more]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if printed_to:
        (folder / printed_to).write_text(done.stdout)
    return done


def run_commands(commands, folder, *for_training):
    """Run commands in a folder; each ends with 0, or with the exit code that its comment tells.

    `for_training` are overrides for those that train.
    """
    for command in commands:
        expected = int(command.partition("# exit code ")[2] or 0)
        done = run_command(command, folder, *(for_training if " train " in command else ()))
        assert done.returncode == expected, f"{command}: {done.stdout} {done.stderr}"


@pytest.mark.long
def test_your_own_model_problems_and_reward_as_the_page_says(tmp_path):
    """Every file and every command of docs/your-own.md, in a folder of their own, with a tiny model."""
    commands = write_files("your-own.md", tmp_path)
    rows = [{"question": f"Is {n} even or odd?", "label": ("even", "odd")[n % 2], "topic": "parity"} for n in range(90)]
    shown = [json.loads(line) for line in (tmp_path / "my_problems.jsonl").read_text().splitlines()]
    assert all(row in rows for row in shown)
    (tmp_path / "my_problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save(tmp_path / "my-model", "llama")
    run_commands(commands, tmp_path, "lessons.pause=false")  # so tiny a model reads badly
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["problems"] == 16
    summary = json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())
    assert summary["before"]["mean_at_8"] > summary["warmup"]["before"]["mean_at_1"]
    found = summary["preflight"]
    assert found["attempts"]["mixed"] > 0
    recipes = {(row["recipe"]["successes"], row["recipe"]["failures"]): row for row in found["readings"][1:]}
    assert recipes[1, 1]["contexts"] > 0
    assert found["recipe"] in [row["recipe"] for row in found["readings"][1:]]
    for run in ("mine", "mine-grpo", "mine-sdpo"):
        metrics = [json.loads(line) for line in (tmp_path / "runs" / run / "metrics.jsonl").read_text().splitlines()]
        assert sum(row["lessons/count"] for row in metrics) > 0
        assert sum(row["rewards/names_the_label_error_count"] for row in metrics) == 0


@pytest.mark.long
def test_the_first_hour_as_the_page_says(tmp_path):
    """Every file and every command of docs/first-hour.md, with a tiny model and problems that it learns in a minute."""
    commands = write_files("first-hour.md", tmp_path)
    begin = commands.index("mopd init math > mine.toml") + 1
    assert {command.split()[1] for command in commands[begin:]} == {
        *("config", "verify", "preflight", "train", "show-context", "report", "evaluate")
    }
    rows = [{"prompt": f"Is {n} even?", "answer": str(1 + n % 2), "kind": "math"} for n in range(10, 90)]
    cities = [{"question": f"What is the capital of land {n}?", "capital": "ABC"[n % 3]} for n in range(60)]
    for name, records in (("parity.jsonl", rows), ("capitals.jsonl", cities)):
        (tmp_path / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    save(tmp_path / "my-model", "phi3", max_position_embeddings=2048)
    run_commands(commands[:begin], tmp_path)
    for name in ("mine.toml", "capitals.toml"):
        text = (tmp_path / name).read_text()
        for key, value in (("student", '"my-model"'), ("steps", "2")):
            text = re.sub(rf"^{key} = \S+", f"{key} = {value}", text, count=1, flags=re.MULTILINE)
        (tmp_path / name).write_text(text)
    (preflight,) = (command for command in commands if " preflight " in command)
    *mine, capitals = [command for command in commands[begin:] if command != preflight]
    warmup = ["warmup.steps=150", "warmup.learning_rate=4e-3", "warmup.context_steps=20"]
    smaller = ["problems.source=parity.jsonl", "sampling.completion_tokens=12", "lessons.pause=false"]
    done = run_command(preflight, tmp_path, *warmup, *smaller)
    found = json.loads((tmp_path / "found.json").read_text())
    assert done.returncode == int(found["finding"] is not None), done.stderr  # so tiny a model reads badly
    assert found["attempts"]["mixed"] > 0
    run_commands(mine, tmp_path, *warmup, *smaller)
    assert json.loads((tmp_path / "figures.json").read_text())["problems"] == 12
    run_commands([capitals], tmp_path, "preflight.action=warn", "evaluation.rollouts=1")
    assert (tmp_path / "runs" / "capitals" / "summary.json").exists()


@pytest.mark.long
def test_what_the_model_writes_as_the_page_says(tmp_path, monkeypatch):
    """Every command of docs/runs.md, on a run of the demo's problems with fewer steps."""
    commands = write_files("runs.md", tmp_path)
    demo = ROOT / "configs" / "demo.toml"
    overrides = [f"run='{tmp_path}/runs/demo'", "warmup.steps=2", "steps=1", "preflight.action='off'"]
    overrides += ["problems.held_out=2", "peers.recipe='fixed'"]
    train(load_config(demo, overrides), quiet=True)
    checkpoints = tmp_path / "runs" / "demo" / "checkpoints"
    (checkpoints / "step-1").rename(checkpoints / "step-40")  # the demo's last
    assert len(commands) >= 4
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    found = json.loads((tmp_path / "completions.json").read_text())
    assert [one["index"] for one in found["completions"]] == list(range(8))
    assert all(one["kind"] in ("correct", "wrong", "unparsable", "truncated") for one in found["completions"])


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.long
def test_verifying_as_the_page_says(tmp_path):
    """Every file and every command of docs/verifying.md; the problems to audit are more than a page can show."""
    commands = write_files("verifying.md", tmp_path)
    for name, letters in (("answers-only.jsonl", "AB" * 12), ("lopsided.jsonl", "B" * 18 + "ACD" * 2)):
        options = "\n\nA: 1\nB: 2\nC: 3\nD: 4" if "C" in letters else "\n\nA: 1\nB: 2"
        rows = [{"kind": "mcq", "prompt": f"Item {i}?{options}", "answer": x} for i, x in enumerate(letters)]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(commands) >= 6
    run_commands(commands, tmp_path)
    verdicts = read_lines(tmp_path / "verdicts.jsonl")
    assert [(v["idx"], v["kind"]) for v in verdicts] == [
        (1, "correct"),
        (1, "wrong"),
        (2, "unparsable"),
        (3, "correct"),
    ]
    assert [v["kind"] for v in read_lines(tmp_path / "theirs-verdicts.jsonl")] == ["correct", "wrong"]
    assert not any(finding["is_flagged"] for finding in read_lines(tmp_path / "junk.jsonl"))
