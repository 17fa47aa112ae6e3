"""What a model writes: `mopd generate`, and the completions that evaluations keep."""

import io
import json
import shutil

import pytest

from mopd import load_config, resume, train
from mopd.cli import main
from mopd.cli.words import parse
from mopd.config import build_config
from mopd.problems import load_problems
from mopd.report.showing import visible
from mopd.runs.reading import read_config
from mopd.runs.records import read_jsonl
from tests.architectures import save
from tests.conftest import TINY


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with all its checkpoints, evaluated at 0, 2, 4 and 6 steps."""
    run = tmp_path_factory.mktemp("generate") / "run"
    train(load_config(TINY, [f"run='{run}'", "evaluation.every=2", "checkpoint.keep=4"]), quiet=True)
    return run


@pytest.fixture
def generated(tmp_path):
    """A function that runs `mopd generate` and gives what it wrote to --json."""

    def generate(*words):
        out = tmp_path / "out.json"
        assert main(["generate", *map(str, words), "--json", str(out)]) == 0
        return json.loads(out.read_text())

    return generate


def texts(found):
    return [one["completion"] for one in found["completions"]]


# --- generate ---------------------------------------------------------------------------------------------------------


def test_completions_of_a_prompt_are_printed_with_their_figures(finished, generated, capsys):
    found = generated(finished, "312", "-n", "5")
    printed = capsys.readouterr().out
    assert "what the model reads (5 tokens)" in printed
    assert "^312>" in printed
    assert found["model"] == str(finished / "checkpoints" / "step-6")
    assert found["sampling"] == {"temperature": 1.0, "top_p": 1.0, "completion_tokens": 6}  # the run's own
    assert len(found["completions"]) == 5
    for one in found["completions"]:
        assert f"{one['completion']}\n-- {one['token_count']} token" in printed
        assert f"mean log-probability {one['mean_logprob']:.3f} a token" in printed
        assert one["mean_logprob"] < 0
        assert "kind" not in one


def test_the_same_seed_gives_the_same_completions_and_another_seed_others(finished, generated):
    first = generated(finished, "312", "-n", "8", "--seed", "3")
    assert generated(finished, "312", "seed=3") == first
    assert texts(generated(finished, "312", "--seed", "4")) != texts(first)


def test_a_completion_at_the_limit_is_told_as_cut(finished, generated, capsys):
    found = generated(finished, "312", "--tokens", "1")
    assert all(one["is_truncated"] and one["token_count"] == 1 for one in found["completions"])
    assert "-- 1 token, cut at the limit" in capsys.readouterr().out


def test_a_lower_temperature_makes_completions_more_alike(finished, generated):
    cold = generated(finished, "312", "--temperature", "0.01")
    assert len(set(texts(cold))) == 1 < len(set(texts(generated(finished, "312"))))


def test_a_problem_of_the_run_is_judged_as_in_the_run(finished, generated, capsys):
    problems = load_problems(read_config(finished).problems)
    for problem in (problems.train[0], problems.held_out[0]):
        found = generated(finished, "--problem", problem.id, "-n", "32")
        assert found["prompt"] == list(problem.messages)
        kinds = [one["kind"] for one in found["completions"]]
        assert kinds == [
            "truncated" if one["is_truncated"] else "correct" if one["completion"] == problem.reference else "wrong"
            for one in found["completions"]
        ]
        assert [one["reward"] for one in found["completions"]] == [float(kind == "correct") for kind in kinds]
        assert f"{kinds.count('correct')} correct" in capsys.readouterr().out or "correct" not in kinds


def test_a_problem_of_a_run_whose_files_were_changed_is_refused(tmp_path, generated, capsys):
    file, run = tmp_path / "digits.jsonl", tmp_path / "run"
    records = [
        {"id": f"p{i}", "prompt": f"{i}12", "answer": "".join(sorted(f"{i}12")), "verifier": "exact"} for i in range(9)
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    small = [
        "student='builtin:digits'",
        "peers.recipe='fixed'",
        "preflight.action='off'",
        "context.tokens=64",
        "sampling.completion_tokens=6",
    ]
    told = [f"run='{run}'", f"problems.source='{file}'", "problems.held_out=2", "problems_per_step=4", "steps=1"]
    train(load_config({}, [*small, *told]), quiet=True)
    assert generated(run, "--problem", "p3")["prompt"] == [{"role": "user", "content": "312"}]
    file.write_text(file.read_text().replace('"312"', '"321"'))
    assert main(["generate", str(run), "--problem", "p3"]) == 2
    assert "not all as they were" in capsys.readouterr().err
    assert generated(run, "--problem", "p3", f"problems.source='{tmp_path}/./digits.jsonl'", "problems.held_out=3")


@pytest.mark.long
def test_reward_functions_of_the_run_judge_its_problem(finished, generated, tmp_path):
    (tmp_path / "lengths.py").write_text(
        "def of_length(completions, **kwargs):\n"
        "    return [0.25 * len(completion[-1]['content']) for completion in completions]\n"
    )
    copied = tmp_path / "run"
    shutil.copytree(finished, copied)
    config = read_config(copied).model_dump(mode="json")
    config["rewards"] |= {"functions": ["lengths:of_length"], "folder": str(tmp_path)}
    (copied / "config.json").write_text(json.dumps(config))
    problem = load_problems(read_config(finished).problems).train[0]
    found = generated(copied, "--problem", problem.id)
    assert [one["reward"] for one in found["completions"]] == [0.25 * len(text) for text in texts(found)]


def test_an_answer_judges_the_completions_of_a_prompt_by_the_kind_of_the_runs_problems(finished, generated):
    one = texts(generated(finished, "312"))[0]
    found = generated(finished, "312", "--verify", one)
    assert [c["kind"] == "correct" for c in found["completions"]] == [text == one for text in texts(found)]
    in_a_box = generated(finished, "312", "--verify", one, "--kind", "math")
    assert {c["kind"] for c in in_a_box["completions"]} <= {"unparsable", "truncated"}  # digits box nothing


def test_a_checkpoint_of_a_run_writes_as_the_run_did_then(finished, generated):
    first = generated(finished / "checkpoints" / "step-2", "312", "-n", "16")
    assert first["sampling"]["completion_tokens"] == 6
    shutil.copytree(finished, finished.parent / "shorter")
    for name in ("step-4", "step-6"):
        shutil.rmtree(finished.parent / "shorter" / "checkpoints" / name)
    newest = generated(finished.parent / "shorter", "312", "-n", "16")
    assert newest["completions"] == first["completions"]


def test_a_model_writes_as_far_as_its_window_has_room(generated, tmp_path):
    embedded = generated("builtin:digits", "312", "-n", "2")
    assert embedded["sampling"]["completion_tokens"] == 128 - 5
    save(tmp_path / "model", "llama")
    opened = generated(tmp_path / "model", "What is 6 times 7?", "-n", "2", "--tokens", "3")
    assert all(one["token_count"] <= 3 for one in opened["completions"])


def test_standard_input_is_the_prompt_without_its_last_newline(finished, generated, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("312\n"))
    assert generated(finished, "-n", "2", "-")["prompt"] == [{"role": "user", "content": "312"}]


def test_the_first_word_is_the_prompt_whatever_it_holds():
    options = parse(["generate", "RUN", "-n", "2", "x = 3, what is x?", "seed=1"])
    assert (options.prompt, options.overrides) == ("x = 3, what is x?", ["seed=1"])
    options = parse(["generate", "RUN", "--problem", "p", "seed=1"])
    assert (options.prompt, options.overrides) == (None, ["seed=1"])


def test_control_characters_and_markup_of_a_completion_are_shown(capsys):
    from rich.console import Console

    from mopd.report.showing import print_plain

    assert visible("a\x1b[31m\r\n\tb\u202e\u200d") == "a\\x1b[31m\\r\n\tb\\u202e\u200d"
    print_plain(Console(), "[bold]7[/] \x07" + "long " * 60)
    assert capsys.readouterr().out == "[bold]7[/] \\x07" + "long " * 60 + "\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([""], "a prompt says something"),
        ([], "--problem ID of its run"),
        (["312", "-n", "0"], "-n is from 1 to"),
        (["1" * 130], "fits the model's window of 128 tokens"),
        (["1" * 124], "set --tokens to at most"),
        (["abc"], "chat template and vocabulary can render"),
        (["--problem", "sort-digits-00"], "did you mean sort-digits-"),
        (["312", "--problem", "x"], "a prompt, or the --problem ID"),
        (["312", "--kind", "math"], "give --verify ANSWER"),
        (["312", "--verify", "1", "--kind", "code"], "--kind is one of"),
        (["312", "--seed", "1", "seed=2"], "a setting is told once"),
        (["312", "steps=9"], "an override is one that mopd generate reads"),
        (["312", "problems.seed=9"], "an override is one that mopd generate reads"),
        (["312", "--temperature", "0"], "sampling.temperature"),
    ],
)
def test_what_cannot_be_answered_says_what_to_do(finished, capsys, words, told):
    assert main(["generate", str(finished), *words]) == 2
    assert told in capsys.readouterr().err


def test_a_run_without_a_checkpoint_and_a_problem_without_a_run_are_told(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("step-*"))
    assert main(["generate", str(tmp_path / "run"), "312"]) == 2
    assert "a run whose model is asked for has a checkpoint" in capsys.readouterr().err
    assert main(["generate", "builtin:digits", "--problem", "x"]) == 2
    assert "--problem names a problem of a run" in capsys.readouterr().err


# --- completions that evaluations keep --------------------------------------------------------------------------------


def test_every_evaluation_of_a_run_keeps_the_completions_that_its_figures_are_of(finished):
    evaluations = read_jsonl(finished / "evaluations.jsonl")
    assert [figures["step"] for figures in evaluations] == [0, 2, 4, 6]
    names = {path.name for path in (finished / "evaluations").iterdir()}
    assert names == {f"step-{step}.jsonl" for step in (0, 2, 4, 6)}
    references = {problem.id: problem for problem in load_problems(read_config(finished).problems).held_out}
    for figures in evaluations:
        lines = read_jsonl(finished / "evaluations" / f"step-{figures['step']}.jsonl")
        assert len(lines) == 16 * 8
        right = dict.fromkeys(references, 0)
        for line in lines:
            assert line["prompt"] == list(references[line["problem_id"]].messages)
            assert line["is_truncated"] == (line["kind"] == "truncated")
            assert (line["kind"] == "correct") == (line["completion"] == references[line["problem_id"]].reference)
            right[line["problem_id"]] += line["reward"] == 1
        assert right == figures["successes_by_problem"]
        mean = sum(line["token_count"] for line in lines) / len(lines)
        assert mean == pytest.approx(figures["completion_tokens_mean"])


def test_evaluate_writes_the_completions_that_the_run_kept(finished, tmp_path, capsys):
    out = tmp_path / "completions.jsonl"
    assert main(["evaluate", str(finished), "--completions", str(out), "--quiet"]) == 0
    assert out.read_bytes() == (finished / "evaluations" / "step-6.jsonl").read_bytes()
    assert main(["evaluate", str(finished), "--completions", str(out), "--json", str(out)]) == 2
    assert "two files" in capsys.readouterr().err
    assert main(["evaluate", str(finished), "--completions", str(tmp_path / "no" / "out")]) == 2
    assert "--completions names a file that can be written" in capsys.readouterr().err


def test_keeping_no_completions_changes_no_number(finished, tmp_path):
    overrides = [f"run='{tmp_path / 'run'}'", "evaluation.every=2", "evaluation.keep_completions=false"]
    train(load_config(TINY, overrides), quiet=True)
    assert not (tmp_path / "run" / "evaluations").exists()
    for name in ("groups.jsonl", "evaluations.jsonl", "checkpoints/step-6/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes()


def test_resume_removes_files_of_evaluations_that_are_done_again_or_never(finished, tmp_path):
    """As a kill leaves them: files behind the checkpoint, one half written, and no line that tells of them."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints" / "step-6")
    (run / "evaluations" / "step-5.jsonl").write_text("of an evaluation that is not due any more\n")
    (run / "evaluations" / ".step-6.jsonl.new").write_text("half")
    (run / "evaluations" / "notes.txt").write_text("somebody's own")
    resume(run, quiet=True)
    names = {path.name for path in (run / "evaluations").iterdir()}
    assert names == {"step-0.jsonl", "step-2.jsonl", "step-4.jsonl", "step-6.jsonl", "notes.txt"}
    for step in (0, 2, 4, 6):
        name = f"evaluations/step-{step}.jsonl"
        assert (run / name).read_bytes() == (finished / name).read_bytes()


def test_a_run_whose_evaluations_keep_nothing_any_more_says_nothing_of_later_ones(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    own = read_config(run).model_dump(mode="json")
    resume(run, expected=build_config(own, ["steps=7", "evaluation.keep_completions=false"]), quiet=True)
    assert [figures["step"] for figures in read_jsonl(run / "evaluations.jsonl")] == [0, 2, 4, 6, 7]
    assert len(list((run / "evaluations").iterdir())) == 4
