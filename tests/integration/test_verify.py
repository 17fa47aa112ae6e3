"""`mopd verify`: verdicts on given completions, line by line; and the audit, which flags junk that scores."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mopd import verifiers
from mopd.auditing.audit import audit
from mopd.cli import main
from mopd.config import build_config
from mopd.core.types import Verdict
from mopd.judging.verdicts import judge
from mopd.verifiers import pool
from tests.conftest import TINY

CALL = [{"Action": "weather", "Action_Input": '{"city": "Rome"}'}]


def row(idx, kind, answer, completion, **columns):
    return {
        "idx": idx,
        "kind": kind,
        "dataset": f"{kind}s",
        "answer": answer,
        "prompt": "?",
        "system": None,
        "tests": "-",
        "completion": completion,
        **columns,
    }


ROWS = [
    row(7, "math", "1/2", r"so \boxed{0.5}"),
    row(7, "math", "1/2", r"so \boxed{0.6}"),
    row(7, "math", "1/2", "no idea"),
    row("b", "mcq", "B", "<answer>B</answer>"),
    row("b", "mcq", "B", "<answer>C</answer>"),
    row(9, "tooluse", json.dumps(CALL), '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'),
    row(9, "tooluse", CALL, 'Action: weather\nAction Input: {"city": "Oslo"}'),
    row(10, "exact", "12", ""),
    row(10, "exact", "12", "\ud800\0"),
]
KINDS = ["correct", "wrong", "unparsable", "correct", "wrong", "correct", "wrong", "unparsable", "wrong"]


def write(path, rows):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return str(path)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(autouse=True)
def usual_pool():
    yield
    pool.configure(2, 10.0)


@pytest.fixture
def registered():
    """Registers a function as the verifier "own" for one test."""
    yield verifiers.register("own")
    verifiers._VERIFIERS.pop("own", None)


# --- verdicts -------------------------------------------------------------------------------------------------------


def test_every_row_gets_one_line_in_order_and_rows_may_share_a_problem(tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert main(["verify", write(tmp_path / "in.jsonl", ROWS), "--json", str(out), "--quiet"]) == 0
    verdicts = read(out)
    assert [v["idx"] for v in verdicts] == [one["idx"] for one in ROWS]
    assert [v["kind"] for v in verdicts] == KINDS
    assert [v["reward"] for v in verdicts] == [float(kind == "correct") for kind in KINDS]
    assert {tuple(v) for v in verdicts} == {("idx", "reward", "kind", "answer", "feedback")}
    assert (verdicts[0]["answer"], verdicts[8]["answer"]) == ("0.5", "\ud800\0")
    printed, err = capsys.readouterr()
    assert err == ""
    rows = [line.replace("│", " ").split() for line in printed.splitlines()]
    assert ["maths", "correct", "1", "0.333", "1.000"] in rows
    assert ["exacts", "any", "2", "1.000", "0.000"] in rows
    assert ["all", "wrong", "4", "0.444", "0.000"] in rows
    assert ["all", "any", "9", "1.000", "0.333"] in rows


@pytest.mark.long
def test_verdicts_are_those_of_training(tmp_path):
    """The same function judges both, whatever the number of workers."""
    rng = random.Random(0)
    rows = [row(i, "math", "5", rf"\boxed{{{rng.choice(['5', '10/2', '6', 'x', '((', '5.0'])}}}") for i in range(40)]
    outs = []
    for workers in (1, 3):
        out = tmp_path / f"{workers}.jsonl"
        arguments = ["verify", write(tmp_path / "in.jsonl", rows), f"verification.workers={workers}"]
        assert main([*arguments, "--json", str(out), "--quiet"]) == 0
        outs.append(read(out))
    assert outs[0] == outs[1]
    from mopd.problems import read_jsonl

    problems = read_jsonl(tmp_path / "in.jsonl")
    assert [v["kind"] for v in outs[0]] == [judge(p, r["completion"]).kind for p, r in zip(problems, rows, strict=True)]


def test_columns_verifier_and_domain_are_read_as_the_configuration_says(tmp_path, capsys):
    rows = [{"q": "1 + 1", "gold": {"value": 2}, "response": text} for text in (r"\boxed{2}", r"\boxed{3}")]
    (tmp_path / "own.toml").write_text(
        '[problems]\nverifier = "math"\ndomain = "sums"\n'
        'columns = { prompt = "q", answer = "gold.value", completion = "response" }\n'
    )
    out = tmp_path / "out.jsonl"
    path = write(tmp_path / "in.jsonl", rows)
    assert main(["verify", path, str(tmp_path / "own.toml"), "--json", str(out), "--quiet"]) == 0
    assert [(v["idx"], v["kind"]) for v in read(out)] == [(1, "correct"), (2, "wrong")]
    assert "sums" in capsys.readouterr().out
    arguments = ["problems.verifier=exact", "problems.domain=other"]
    assert main(["verify", path, "--json", str(out), "--quiet", str(tmp_path / "own.toml"), *arguments]) == 0
    assert [v["kind"] for v in read(out)] == ["wrong", "wrong"]
    assert main(["verify", path, *arguments, "problems.columns={prompt='q'}"]) == 2
    assert "answer" in capsys.readouterr().err


def test_a_file_of_one_row_is_one_row_whatever_lists_it_holds(tmp_path):
    rows = [row(1, "tooluse", [{"type": "function", "function": {"name": "weather", "arguments": {}}}], "none")]
    out = tmp_path / "out.jsonl"
    assert main(["verify", write(tmp_path / "in.jsonl", rows), "--json", str(out), "--quiet"]) == 0
    assert [v["kind"] for v in read(out)] == ["unparsable"]


@pytest.mark.parametrize("arguments", [["verify"], ["verify", "--audit"]])
def test_a_domain_that_no_terminal_can_write_is_shown_all_the_same(arguments, tmp_path, capsys):
    path = write(tmp_path / "in.jsonl", [row(1, "exact", "yes", "yes", dataset="[red]\ud800")])
    assert main([*arguments, path, "--quiet"]) in (0, 1)
    assert "[red]?" in capsys.readouterr().out


def test_without_json_the_table_is_all(tmp_path, capsys):
    assert main(["verify", write(tmp_path / "in.jsonl", ROWS), "--quiet"]) == 0
    assert "correct" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_row_whose_grader_failed_is_counted_said_and_in_no_mean(tmp_path, capsys):
    rows = [row(1, "math", "?", r"\boxed{5}"), row(2, "math", "5", r"\boxed{5}"), row(3, "math", "5", r"\boxed{4}")]
    out = tmp_path / "out.jsonl"
    assert main(["verify", write(tmp_path / "in.jsonl", rows), "--json", str(out), "--quiet"]) == 1
    printed, err = capsys.readouterr()
    assert "1 of 3 completions have no verdict" in err
    assert str(out) in err.replace("\n", "")
    assert [v["kind"] for v in read(out)] == ["error", "correct", "wrong"]
    rows = [line.replace("│", " ").split() for line in printed.splitlines()]
    assert ["maths", "error", "1", "0.333", "-"] in rows
    assert ["maths", "any", "3", "1.000", "0.500"] in rows


def test_hostile_completions_get_verdicts_within_the_time_limit(tmp_path):
    texts = [
        "a" * 10_000_000,
        "\0" * 100_000,
        "\ud800\udfff" * 1000,
        r"\boxed{" * 50_000 + "5" + "}" * 50_000,
        r"\boxed{" + "(" * 900 + "1" + ")" * 900 + "}",
        r"\boxed{" + r"\frac{1}{" * 15 + "2" + "}" * 16,
        "[" * 100_000,
        "{" * 50_000 + "}" * 50_000,
        "<answer>" * 50_000 + "</answer>" * 50_000,
        "<think>" * 200_000 + "</think>" * 200_000,
        "<tool_call>" * 5000,
        "Action: a\n" * 9000,
        'Action: a\nAction Input: {"x":' + "[" * 40_000,
        r"\boxed{\binom{99999999}{44444444}}",
    ]
    kinds = (("math", "5"), ("mcq", "B"), ("exact", "x"), ("tooluse", json.dumps(CALL)))
    rows = [row(i, kind, answer, text) for kind, answer in kinds for i, text in enumerate(texts)]
    out = tmp_path / "out.jsonl"
    began = time.perf_counter()
    arguments = ["verification.time_limit_s=2", "--json", str(out), "--quiet"]
    assert main(["verify", write(tmp_path / "in.jsonl", rows), *arguments]) == 1
    assert time.perf_counter() - began < 60
    verdicts = read(out)
    assert len(verdicts) == len(rows)
    errors = [(v["idx"], v["feedback"]) for v in verdicts if v["kind"] == "error"]
    assert 13 in dict(errors)
    assert all("ran over its time limit of 2 s" in feedback for _, feedback in errors)
    assert {v["idx"] for v in verdicts if v["kind"] == "error"} <= {5, 13}  # nested fractions, on a slow machine
    assert {v["kind"] for v in verdicts} == {"wrong", "unparsable", "error"}


@pytest.mark.long
def test_an_interrupted_run_keeps_every_line_that_was_judged(tmp_path, interrupts):
    """Interrupted while its eleventh grader hangs: ten whole lines, and exit code 130."""
    rows = [row(i, "math", "5", r"\boxed{5}") for i in range(10)] + [
        row(i, "math", "5", r"\boxed{\binom{99999999}{44444444}}") for i in range(10, 60)
    ]
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "mopd", "verify", write(tmp_path / "in.jsonl", rows), "--json", str(out)]
    program = subprocess.Popen([*command, "verification.time_limit_s=4"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out.exists() and len(out.read_text().splitlines()) >= 10) and time.monotonic() < deadline:
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert "what was judged is in the file of --json" in err
    assert [v["kind"] for v in read(out)][:10] == ["correct"] * 10
    assert len(read(out)) < 20


@pytest.mark.parametrize("cut", [0, 1, 40, 200, 10**6])
def test_verdicts_go_on_where_they_were_cut_and_equal_those_that_nobody_cut(cut, tmp_path):
    path, out = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    assert main(["verify", path, "--json", str(out)]) == 0
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) - cut] if cut <= len(whole) else b"")
    before = out.read_bytes()
    assert main(["verify", path, "--json", str(out), "--resume"]) == 0
    assert out.read_bytes() == whole
    assert whole.startswith(before)


def test_verdicts_on_other_rows_are_not_gone_on_with(tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert main(["verify", write(tmp_path / "a.jsonl", ROWS[:2]), "--json", str(out)]) == 0
    kept = out.read_bytes()
    assert main(["verify", write(tmp_path / "b.jsonl", ROWS[5:]), "--json", str(out), "--resume"]) == 2
    assert main(["verify", write(tmp_path / "c.jsonl", ROWS[:1]), "--json", str(out), "--resume"]) == 2
    assert main(["verify", write(tmp_path / "d.jsonl", ROWS[:1]), "--resume"]) == 2
    assert "leave out --resume" in capsys.readouterr().err
    assert out.read_bytes() == kept


# --- reward functions -----------------------------------------------------------------------------------------------

FUNCTIONS = '''
def longer(completions, answer, **columns):
    """How many characters a completion has more than its answer; None where there is none, an error at "!"."""
    texts = [turns[-1]["content"] for turns in completions]
    more = [len(text) - len(right or "") for text, right in zip(texts, answer)]
    return [None if not text else float("nan") if "!" in text else n for text, n in zip(texts, more)]


def get_bonus(most):
    def bonus(completions, log_extra, **columns):
        log_extra("seen", [turns[-1]["content"] for turns in completions])
        return [min(most, 1.0) for _ in completions]
    return bonus


def tokens(completion_ids, **columns):
    return [len(ids) for ids in completion_ids]


def any_tokens(completions, completion_ids=None, **columns):
    return [0.0 if completion_ids is None else 9.0 for _ in completions]
'''


@pytest.fixture(scope="module")
def folder_with_functions(tmp_path_factory):
    """Functions and completions; what they give is known. One folder: a process imports a module from one place."""
    folder = tmp_path_factory.mktemp("functions")
    (folder / "given_rewards.py").write_text(FUNCTIONS)
    entry = '{ function = "given_rewards:get_bonus", args = { most = 0.5 } }'
    (folder / "own.toml").write_text(
        f'success_reward = 2.0\n[rewards]\nfunctions = ["given_rewards:longer", {entry}]\nweights = [1.0, 2.0]\n'
    )
    texts = ["yes", "yesyes", "", "y!", "no"]
    rows = [{"id": n, "prompt": "?", "answer": "yes", "completion": text} for n, text in enumerate(texts)]
    write(folder / "in.jsonl", [*rows, {"id": 5, "prompt": "?", "completion": "four"}, {"id": 6, "prompt": "?"}])
    return folder


@pytest.fixture
def with_functions(folder_with_functions, monkeypatch):
    """That folder as the current directory, without what another test wrote."""
    monkeypatch.chdir(folder_with_functions)
    (folder_with_functions / "out.jsonl").unlink(missing_ok=True)
    return folder_with_functions


@pytest.mark.long
def test_reward_functions_judge_completions_with_weights_and_factories(with_functions, capsys):
    assert main(["verify", "in.jsonl", "own.toml", "--json", "out.jsonl", "--quiet"]) == 1
    lines = read(with_functions / "out.jsonl")
    assert [line["reward"] for line in lines] == [1.0, 4.0, 1.0, 0.0, 0.0, 5.0, 0.0]
    assert [line["kind"] for line in lines] == ["wrong", "correct", "wrong", "error", "wrong", "correct", "error"]
    assert [line["details"].get("rewards/longer") for line in lines] == [0.0, 3.0, None, None, -1.0, 4.0, None]
    assert [line["details"].get("rewards/bonus") for line in lines] == [0.5] * 6 + [None]
    assert lines[1]["details"]["seen"] == "yesyes"
    assert "not finite" in lines[3]["details"]["failed/longer"]
    assert "in.jsonl, line 7" in lines[6]["feedback"]
    rows = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["longer", "1", "1.500", "-1.000", "4.000", "1", "1"] in rows
    assert ["bonus", "2", "0.500", "0.500", "0.500", "0", "0"] in rows
    assert ["weighted", "sum", "2.200", "0.000", "5.000", "2"] in rows
    assert ["successes,", "with", "a", "reward", "of", "at", "least", "2:", "2", "of", "5,", "share", "0.400"] in rows


def test_overrides_alone_name_reward_functions_and_what_is_a_success(with_functions, capsys):
    arguments = ["rewards.functions=['given_rewards:longer']", "success_reward=4", "--quiet"]
    assert main(["verify", "in.jsonl", *arguments]) == 1
    assert "of at least 4: 1 of 4, share 0.250" in " ".join(capsys.readouterr().out.split())


@pytest.mark.long
def test_verdicts_of_functions_go_on_where_they_were_cut_and_not_with_those_of_others(with_functions, capsys):
    out = with_functions / "out.jsonl"
    arguments = ["verify", "in.jsonl", "own.toml", "--json", "out.jsonl", "--quiet"]
    assert main(arguments) == 1
    whole, shown = out.read_bytes(), capsys.readouterr().out
    out.write_bytes(whole[: len(whole) // 2])
    assert main([*arguments, "--resume"]) == 1
    assert out.read_bytes() == whole
    assert capsys.readouterr().out == shown
    assert main([*arguments, "--resume", "rewards.functions=['given_rewards:longer']", "rewards.weights=[1]"]) == 2
    assert main([*arguments, "--resume", "rewards.functions=[]", "rewards.weights=[]"]) == 2
    assert out.read_bytes() == whole


def test_functions_are_called_with_few_completions_at_a_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sized_rewards.py").write_text(
        "def size(completions, **columns):\n    return [len(completions)] * len(completions)\n"
    )
    write(tmp_path / "many.jsonl", [{"id": n, "prompt": "?", "completion": "x"} for n in range(150)])
    arguments = ["rewards.functions=['sized_rewards:size']", "--json", "out.jsonl", "--quiet"]
    assert main(["verify", "many.jsonl", *arguments]) == 0
    assert [line["details"]["rewards/size"] for line in read(tmp_path / "out.jsonl")] == [64] * 128 + [22] * 22


def test_a_function_that_needs_tokens_is_refused_and_one_that_can_do_without_gets_none(with_functions, capsys):
    assert main(["verify", "in.jsonl", "rewards.functions=['given_rewards:tokens']"]) == 2
    assert "tokens asks for completion_ids" in capsys.readouterr().err
    arguments = ["rewards.functions=['given_rewards:any_tokens']", "--json", "out.jsonl", "--quiet"]
    assert main(["verify", "in.jsonl", *arguments]) == 1
    assert [line["details"]["rewards/any_tokens"] for line in read(with_functions / "out.jsonl")[:6]] == [0.0] * 6


def test_completions_are_read_from_csv_and_compressed_files(tmp_path):
    rows = "prompt,answer,completion\n?,yes,yes\n?,yes,\n"
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(rows.encode()))
    out = tmp_path / "out.jsonl"
    assert main(["verify", str(tmp_path / "in.csv.gz"), "--json", str(out), "--quiet"]) == 0
    assert [(line["idx"], line["kind"]) for line in read(out)] == [(2, "correct"), (3, "unparsable")]


# --- bad input ------------------------------------------------------------------------------------------------------


def without(field):
    return {key: value for key, value in row(2, "exact", "1", "1").items() if key != field}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (without("completion"), "'completion'"),
        (row(2, "exact", "1", None), "'completion'"),
        (row(2, "exact", "1", 5), "'completion'"),
        (row(2, "exact", "1", ["1"]), "'completion'"),
        (without("answer"), "'answer'"),
        (without("prompt"), "'prompt'"),
        (row(2, "essay", "1", "1"), "'kind'"),
        (row(True, "exact", "1", "1"), "'idx'"),
        (row(float("inf"), "exact", "1", "1"), "'idx'"),
    ],
)
def test_a_record_at_fault_costs_no_other_its_verdict(bad, says, tmp_path):
    out = tmp_path / "out.jsonl"
    path = write(tmp_path / "in.jsonl", [row(1, "exact", "1", "1"), bad, row(3, "exact", "1", "1")])
    assert main(["verify", path, "--json", str(out)]) == 1
    lines = read(out)
    assert [line["kind"] for line in lines] == ["correct", "error", "correct"]
    assert lines[1]["idx"] == 2
    assert f"{path}, line 2" in lines[1]["feedback"]
    assert says in lines[1]["feedback"]
    assert main(["verify", write(tmp_path / "bad.jsonl", [bad, bad]), "--json", str(tmp_path / "none.jsonl")]) == 2
    assert not (tmp_path / "none.jsonl").exists()


def test_a_file_that_is_no_json_lines_is_refused_with_its_line(tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    for bad in ([1], None):
        path = write(tmp_path / "in.jsonl", [row(1, "exact", "1", "1"), bad])
        assert main(["verify", path, "--json", str(out)]) == 2
        assert f"{path}, line 2" in capsys.readouterr().err.replace("\n", "")
        assert not out.exists()


def test_a_completion_under_another_name_is_suggested(tmp_path, capsys):
    rows = [{**without("completion"), "response": "1"}]
    assert main(["verify", write(tmp_path / "in.jsonl", rows)]) == 2
    assert "did you mean problems.columns.completion = 'response'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no FILE"),
        (["none.jsonl"], "No such file"),
        (["in.jsonl", "problems.verifier=exakt"], "did you mean exact"),
        (["in.jsonl", "rewards.functions=['no_such_module:b']"], "no_such_module"),
        (["in.jsonl", "rewards.weights=[1]"], "set rewards.functions"),
        (["in.jsonl", "success_reward=0.5"], "an override is one that mopd verify reads"),
        (["--audit", "once.jsonl", "rewards.functions=['a:b']"], "rewards.functions=[]"),
        (["in.jsonl", "problems.mix=[{source='x'}]"], "problems.mix=[]"),
        (["sort-digits"], "file or data set"),
        (["in.jsonl", "--json", "in.jsonl"], "a file of its own"),
        (["--audit", "once.jsonl", "--json", "once.jsonl"], "a file of its own"),
        (["--audit", "problems.source=once.jsonl", "--json", "./once.jsonl"], "a file of its own"),
        (["--audit", "in.jsonl"], "an id of its own"),
        (["in.jsonl", "--json", "no/such/folder"], "can be written"),
        (["in.jsonl", "verification.workers=0"], "verification.workers"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_lost(arguments, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.jsonl", ROWS)
    write(tmp_path / "once.jsonl", ROWS[:1])
    assert main(["verify", *arguments]) == 2
    assert says in capsys.readouterr().err
    assert (len(read(tmp_path / "in.jsonl")), len(read(tmp_path / "once.jsonl"))) == (len(ROWS), 1)


def test_training_reads_no_column_of_completions(tmp_path):
    from mopd.core.errors import ConfigError
    from mopd.problems import load_problems

    config = build_config({}, [f"problems.source='{write(tmp_path / 'in.jsonl', ROWS)}'"])
    problems = config.problems.model_copy(update={"columns": {"completion": "completion"}})
    with pytest.raises(ConfigError, match="mopd verify"):
        load_problems(problems)


# --- audit ----------------------------------------------------------------------------------------------------------


def choices(letters, options="ABCD"):
    listed = "\n".join(f"{letter}: thing {letter}" for letter in options)
    return [
        {
            "idx": i,
            "kind": "mcq",
            "dataset": "quiz",
            "prompt": f"Which of the {i}?\n\n{listed}\nThink.",
            "answer": letter,
        }
        for i, letter in enumerate(letters)
    ]


def findings(tmp_path, rows, *overrides):
    return audit(write(tmp_path / "problems.jsonl", rows), build_config({}, overrides), quiet=True)


def flagged(found):
    return {finding.junk.name for finding in found if finding.is_flagged}


@pytest.mark.long
def test_an_audit_of_sound_problems_flags_nothing(tmp_path, capsys):
    rows = choices("ABCD" * 20) + [
        row(f"m{i}", "math", str(i * 37 + 101), "-", prompt=f"{i} * 37 + 101?") for i in range(2, 9)
    ]
    rows += [row(f"t{i}", "tooluse", CALL, "-", prompt=f"Rome, {i}") for i in range(9)]
    out = tmp_path / "out.jsonl"
    assert main(["verify", "--audit", write(tmp_path / "in.jsonl", rows), "--json", str(out), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "flagged" not in printed
    for name in ("nothing", "a word", "the prompt", "number", "option A", "option D", "0.250 (chance)"):
        assert name in printed
    found = {(f["domain"], f["junk"]): f for f in read(out)}
    assert (found["quiz", "option C"]["share"], found["quiz", "option C"]["allowed"]) == (0.25, 0.25)
    assert found["quiz", "option C"]["examples"] == ["2", "6", "10"]
    assert found["maths", "nothing"]["problems"] == 7
    assert not any(f["is_flagged"] for f in read(out))


@pytest.mark.long
def test_one_letter_that_is_right_too_often_is_flagged_and_one_that_is_right_by_chance_is_not(tmp_path):
    assert flagged(findings(tmp_path, choices("B" * 30 + "ACD" * 10))) == {"option B"}
    assert flagged(findings(tmp_path, choices("B" * 15 + "ACD" * 15))) == set()
    assert flagged(findings(tmp_path, choices("AAB"))) == set()  # three problems show nothing


@pytest.mark.long
def test_the_chance_of_a_letter_is_that_of_the_options_a_problem_has(tmp_path):
    two = choices("AB" * 40, "AB")
    assert flagged(findings(tmp_path, two)) == set()
    (finding,) = [f for f in findings(tmp_path, two) if f.junk.name == "option A"]
    assert (finding.share, finding.allowed) == (0.5, 0.5)
    rows = [{**one, "prompt": "Which?" + str(i)} for i, one in enumerate(two)]  # options unsaid: A to D are assumed
    assert flagged(findings(tmp_path, rows)) == {"option A", "option B"}


def said(capsys, tmp_path, rows):
    code = main(["verify", "--audit", write(tmp_path / "in.jsonl", rows), "--quiet"])
    return code, [line for line in capsys.readouterr().out.splitlines() if line.startswith("flagged: ")]


def test_references_that_name_no_option_are_flagged(tmp_path, capsys):
    for answer in ("1", "thing X", "E", ["x", "y"], {"A": 1}):
        found = findings(tmp_path, [one | {"answer": answer} for one in choices("ABCD")])
        assert "every option in its turn" in flagged(found)
    code, lines = said(
        capsys,
        tmp_path,
        choices("AB" * 20 + "CD" * 20) + [one | {"idx": f"u{i}", "answer": "7"} for i, one in enumerate(choices("AB"))],
    )
    assert (code, lines) == (
        1,
        ["flagged: no option is right on 2 of 82 problems of quiz, such as u0, u1: their references name none"],
    )


def test_an_option_that_is_never_right_is_flagged_where_luck_does_not_explain_it(tmp_path, capsys):
    """As where an index that begins at 1 is read as one that begins at 0."""
    code, lines = said(capsys, tmp_path, choices("BCD" * 20))
    assert (code, lines) == (
        1,
        ["flagged: option A is never right on 60 problems of quiz: are references read as they were meant?"],
    )
    assert flagged(findings(tmp_path, choices("BCD"))) == set()
    unlisted = [one | {"prompt": f"Which, {i}?"} for i, one in enumerate(choices("ABC" * 10))]
    assert flagged(findings(tmp_path, unlisted)) == set()  # nothing says that there is an option D


def test_several_right_options_are_no_finding(tmp_path):
    rows = [one | {"answer": ["A", "C"]} for one in choices("A" * 9)] + choices("ABCD")
    rows = [one | {"idx": i} for i, one in enumerate(rows)]
    assert flagged(findings(tmp_path, rows)) == set()


def test_an_answer_without_a_call_is_no_junk_where_no_call_is_right_unless_that_is_often(tmp_path):
    calls = [row(f"t{i}", "tooluse", CALL, "-", prompt=f"Rome, {i}") for i in range(19)]
    none = [row(f"n{i}", "tooluse", [], "-", prompt=f"Sing, {i}") for i in range(4)]
    assert flagged(findings(tmp_path, calls + none[:1])) == set()
    assert {"a word (banana)", "the prompt"} & flagged(findings(tmp_path, calls + none))


def test_a_prompt_a_number_or_a_word_that_scores_is_flagged_with_examples(tmp_path, capsys):
    rows = [row(f"e{i}", "exact", f"say {i}", "-", prompt=f"say {i}") for i in range(5)]
    rows += [row(f"m{i}", "math", f"{1000 + i}", "-", prompt=f"What is {1000 + i} - 0?") for i in range(5)]
    rows += [row(f"n{i}", "exact", "yes", "-", prompt=f"is {i}?", dataset="nods") for i in range(5)]
    assert main(["verify", "--audit", write(tmp_path / "in.jsonl", rows), "--quiet"]) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("flagged: ")]
    assert said == [
        "flagged: the prompt scores on 5 of 5 problems of exacts, such as e0, e1, e2",
        "flagged: the prompt's longest number scores on 5 of 5 problems of maths, such as m0, m1, m2",
        "flagged: 'yes' scores on 5 of 5 problems of nods, such as n0, n1, n2",
    ]


def test_a_verifier_that_rewards_what_is_no_answer_is_flagged_however_rarely_and_however_little(registered, tmp_path):
    registered(lambda problem, completion: Verdict(0.1 if (problem.id, completion) == ("7", "nan") else 0.0, "wrong"))
    rows = [row(i, "exact", "x", "-") for i in range(100)]
    assert flagged(findings(tmp_path, rows, "problems.verifier=own")) == {"'nan'"}


def test_a_guess_that_is_right_now_and_then_is_not_flagged(tmp_path):
    rows = [row(i, "math", str(i), "-", prompt=f"{i} + 0 + 1000") for i in range(20)]
    found = findings(tmp_path, rows)
    assert flagged(found) == set()
    hits = {f.junk.name: f.hits for f in found if f.hits}
    assert set(hits.values()) == {1}
    assert {"'0'", "'1'", "'2'", "'10'", "'1.0'", "'-0'"} <= set(hits)


def test_graders_that_fail_are_counted_and_flag_nothing(tmp_path, capsys):
    rows = [row(1, "math", r"p \to q", "-"), row(2, "math", "12345", "-")]
    assert main(["verify", "--audit", write(tmp_path / "in.jsonl", rows), "--quiet"]) == 0
    assert "verdicts of kind error" in capsys.readouterr().out


def test_an_audit_takes_a_configuration_a_generated_source_or_overrides(tmp_path, capsys):
    (tmp_path / "own.toml").write_text("[problems]\nsource = 'sort-digits'\nsize = 30\noptions = { length = 12 }\n")
    assert main(["verify", "--audit", str(tmp_path / "own.toml"), "problems.size=20", "--quiet"]) == 0
    assert " 20 " in capsys.readouterr().out
    assert main(["verify", "--audit", "reasoning_gym:spell_backward", "problems.size=4", "--quiet"]) == 0
    assert "spell_backward" in capsys.readouterr().out
    assert main(["verify", "--audit", "problems.size=8", "--quiet"]) == 0
    assert main(["verify", "--audit", str(TINY), "problems.size=40", "--quiet"]) in (0, 1)


DATA = Path(os.environ.get("MOPD_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.mark.skipif(not DATA.is_dir(), reason="the development data is not beside the repository (../shared/data)")
def test_an_audit_of_real_records_flags_one_letter_of_the_physics_test(capsys):
    """33 of its 80 answers are B, of which chance gives 20; no other test of the release is as lopsided."""
    science = DATA / "sciknoweval"
    assert main(["verify", "--audit", str(science / "physics-test.json"), "--quiet"]) == 1
    assert "flagged: option B scores on 33 of 80" in capsys.readouterr().out
    assert main(["verify", "--audit", str(science / "biology-test.json"), "--quiet"]) == 0
    assert main(["verify", "--audit", str(DATA / "tooluse" / "test-part.jsonl"), "--quiet"]) == 0
