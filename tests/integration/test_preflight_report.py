"""`mopd preflight`: what it measures beyond a run, recomputed by hand from its file; and bad input."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from mopd import load_config, verifiers
from mopd.cli import main
from mopd.config import build_config
from mopd.core.errors import VerdictError
from mopd.core.statistics import auc, bootstrap_interval, wilson_interval
from mopd.core.types import Verdict
from mopd.evaluation.preflighting import run_preflight
from mopd.evaluation.reading import maker_of
from mopd.evaluation.token_scores import score_group, scores_of_all, teacher_of
from mopd.method.recipes import Recipe
from mopd.rollouts.engine import sample_groups

pytestmark = pytest.mark.long

SMALL = {
    "student": "builtin:digits",
    "group_size": 4,
    "problems_per_step": 4,
    "problems": {"source": "sort-digits", "size": 60, "held_out": 4, "options": {"length": 3}, "verifier": "parity"},
    "sampling": {"completion_tokens": 79},
    "context": {"tokens": 36},
    "preflight": {"problems": 6, "contexts": 12},
    "compute": {"threads": 1},
}


@verifiers.register("parity")
def parity(problem, completion):
    """A verdict of which every student has some of both kinds; feedback is digits, which the student can read."""
    is_right = sum(map(ord, completion)) % 2 == 0
    return Verdict(1.0, "correct") if is_right else Verdict(0.0, "wrong", completion, "0")


@verifiers.register("half-failing")
def half_failing(problem, completion):
    """As `parity`, but for texts of even length, at which it fails."""
    if len(completion) % 2 == 0:
        raise OSError("no judge for this one")
    return parity(problem, completion)


@verifiers.register("failing")
def failing(problem, completion):
    raise OSError("the judge is away")


def config_for(tmp_path, *overrides):
    return build_config(SMALL | {"run": str(tmp_path / "run")}, overrides)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return run_preflight(config_for(tmp_path_factory.mktemp("report")), quiet=True)


@pytest.fixture(scope="module")
def found(report):
    return json.loads(json.dumps(report.as_json(), allow_nan=False))


def row_of(found, **recipe):
    (row,) = [r for r in found["readings"] if r["recipe"] and recipe.items() <= {**PLAIN, **r["recipe"]}.items()]
    return row


PLAIN = {"feedback": False, "control": None}


def test_every_recipe_feedback_and_controls_are_written_from_on_the_same_cases(found):
    alone, *rows = found["readings"]
    names = {row["name"] for row in rows}
    assert alone["recipe"] is None
    assert {"1S0F", "2S0F", "0S1F, failures first", "feedback alone"} <= names
    for counts in ("1S1F", "2S1F"):
        assert {f"{counts}, {order} first" for order in ("failures", "successes")} <= names
    taken = found["name"]
    assert {f"{taken}, with feedback", f"{taken}, random peers", f"{taken}, another problem's peers"} <= names
    for row in found["readings"]:
        assert len(row["outcomes"]) == len(found["cases"]) > 6
    written = [outcome for row in rows for outcome in row["outcomes"] if outcome]
    assert {outcome["problem_id"] for outcome in written} <= {case["problem_id"] for case in found["cases"]}


def test_shares_and_paired_gaps_are_those_of_the_outcomes(found):
    alone = found["readings"][0]
    for row in found["readings"]:
        right = [o["is_right"] for o in row["outcomes"] if o and o["is_right"] is not None]
        assert row["accuracy"] == pytest.approx(np.mean(right))
        assert row["accuracy_interval"] == pytest.approx(wilson_interval(sum(right), len(right)))
        for kind in ("success", "failure"):
            copied = [o[f"is_copied_{kind}"] for o in row["outcomes"] if o and o[f"is_copied_{kind}"] is not None]
            assert row[f"copied_{kind}_share"] == pytest.approx(np.mean(copied) if copied else 0.0)
        if row is alone:
            continue
        changes = {}
        for mine, theirs in zip(alone["outcomes"], row["outcomes"], strict=True):
            if theirs is not None:
                changes.setdefault(mine["problem_id"], []).append(theirs["is_right"] - mine["is_right"])
        by_problem = [np.mean(values) for values in changes.values()]
        assert row["gap"] == pytest.approx(np.mean(by_problem))
        assert row["gap_interval"] == pytest.approx(bootstrap_interval(by_problem))


def test_statistics_of_scores_are_those_of_mixed_groups_alone(found):
    for row in found["readings"]:
        scores = row["scores"]
        assert len(scores["groups"]) == found["attempts"]["mixed"]
        defined, ranked = [], []
        for group in scores["groups"]:
            values = [r["score"] for r in group["rollouts"]]
            truth = [r["is_success"] for r in group["rollouts"]]
            defined += [auc(values, truth)] if len(set(truth)) == 2 else []
            ranked += [spearmanr(values, truth).statistic] if len(set(truth)) == 2 else []
        told = scores["signals"]
        assert told["auc"]["problems"] == len(defined)
        assert told["auc"]["undefined"] == len(scores["groups"]) - len(defined)
        if defined:
            assert told["auc"]["mean"] == pytest.approx(np.mean(defined))
            assert told["auc"]["interval"] == pytest.approx(bootstrap_interval(defined))
            assert told["spearman"]["mean"] == pytest.approx(np.mean(ranked))
        lengths = [r["read_tokens"] for group in scores["groups"] for r in group["rollouts"]]
        assert scores["read_tokens_most"] == max(lengths) <= SMALL["context"]["tokens"]
        assert scores["over_budget"] == sum(r["is_over_budget"] for g in scores["groups"] for r in g["rollouts"])
    assert sum(row["scores"]["over_budget"] for row in found["readings"]) > 0


def test_a_recipe_is_taught_where_a_rollout_has_a_peer_of_it(report, found):
    groups = report.found.attempts.groups
    texts = [[r.text.strip() for r in g.rollouts if g.is_success(r.index) and r.text.strip()] for g in groups]
    share = np.mean([bool(t) for t in texts])  # whoever fails may be shown a lone success
    assert row_of(found, successes=1, failures=0, **PLAIN)["taught_groups_share"] == pytest.approx(share)


def test_grpos_half_of_the_objective_teaches_no_recipe(tmp_path):
    """It learns from every mixed group, whatever finds room in a context."""
    contrast = ["objective.contrast={}", "peers.successes=1", "peers.failures=1"]
    tight = ["context.tokens=12", "context.over_budget='drop'"]
    alone, half = (
        run_preflight(config_for(tmp_path, *contrast, *tight, f"objective.grpo_weight={share}"), quiet=True).as_json()
        for share in (0, 0.5)
    )
    shares = [{row["name"]: row["taught_groups_share"] for row in found["readings"]} for found in (alone, half)]
    assert shares[0] == shares[1]
    assert any(share is not None and 0 < share < 1 for share in shares[0].values())


def test_the_first_figures_are_those_that_a_run_would_find(report, found):
    own = report.found.as_json()
    assert {key: found[key] for key in own if key != "readings"} == json.loads(
        json.dumps({key: value for key, value in own.items() if key != "readings"})
    )
    for row in own["readings"]:
        whole = next(r for r in found["readings"] if r["name"] == row["name"])
        if row["contexts"] == whole["contexts"]:  # not left early
            assert row == {key: whole[key] for key in row}


def test_scores_are_mean_log_probabilities_of_plain_transformers(tiny_setup):
    """Of own tokens, behind the context, at the run's temperature; and behind the prompt alone."""
    config = tiny_setup.config.model_copy(
        update={"sampling": tiny_setup.config.sampling.model_copy(update={"temperature": 0.7})}
    )
    setup = type(tiny_setup)(**{**vars(tiny_setup), "config": config})
    student = setup.student
    groups = sample_groups(
        setup.engine,
        student.tokenizer.encode_prompt,
        setup.problems.train[:6],
        4,
        config.sampling,
        key=lambda p: (0, p.id),
    )
    groups = setup.judge(groups, 0)[0]

    def plain(prefix, own):
        with torch.no_grad():
            logits = student.model(torch.tensor([[*prefix, *own]])).logits[0, len(prefix) - 1 : -1] / 0.7
        return logits.log_softmax(-1).gather(1, torch.tensor(own)[:, None]).mean().item()

    maker = scores_of_all(maker_of(setup, Recipe(1, 1, "failures_first")))
    contrast = scores_of_all(maker_of(setup, Recipe(1, 1, "failures_first", contrast=True)))
    checked = dict.fromkeys((None, maker, contrast), 0)
    for group in groups:
        for which in checked:
            found = score_group(teacher_of(setup), student.model, which, group, groups)
            for scored in found.rollouts:
                record = None if which is None else which.make_one(group, scored.index, groups)
                prefix = group.prompt_ids if record is None else record.context.token_ids
                own = group.rollouts[scored.index].token_ids
                wanted = plain(prefix, own)
                wanted -= plain(record.lesson.failure_context_ids, own) if which is contrast else 0
                assert scored.score == pytest.approx(wanted, abs=2e-5 if which is contrast else 1e-5)
                assert scored.read_tokens == len(prefix)
                checked[which] += 1
    assert checked[maker] > 4
    assert 0 < checked[contrast] < checked[maker]  # a lone failure has no other one to be read


def test_the_table_fits_100_columns_and_ends_with_the_verdict(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "mine.toml").write_text("student = 'builtin:digits'\n")
    keys = ("group_size", "problems_per_step", "sampling", "context", "preflight")
    overrides = [f"{key}={_toml(SMALL[key])}" for key in (*keys, "problems", "compute")]
    status = main(["preflight", "mine.toml", *overrides, "--json", "found.json"])
    told = capsys.readouterr()
    found = json.loads((tmp_path / "found.json").read_text())
    assert status == int(found["finding"] is not None)
    assert max(len(line) for line in told.out.splitlines() if line.startswith(("┃", "│", "┏", "└"))) <= 100
    assert f"verdict: {found['verdict']['said']}" in told.out
    for reason in found["verdict"]["reasons"]:
        assert f"- {reason}" in told.out
    assert "no promise of a gain" in told.out
    assert "preflight: scores" in told.err
    assert found["verdict"]["toml"] in told.out
    if found["verdict"]["settings"]:
        load_config("mine.toml", found["verdict"]["settings"])


def _toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


# --- what cannot be measured ----------------------------------------------------------------------------------------


def test_an_objective_without_a_teacher_is_told_by_its_groups(tmp_path):
    found = run_preflight(config_for(tmp_path, "objective.kind='grpo'"), quiet=True).as_json()
    assert (found["verdict"]["word"], found["readings"], found["finding"]) == ("go", [], None)
    assert any("objective has no teacher" in told for told in found["left_out"])


@pytest.mark.parametrize(
    ("verifier", "word", "kind"), [("exact", "warm up first", "wrong"), ("right", "change the problems", "correct")]
)
def test_a_student_that_solves_nothing_or_all_is_told_in_words(tmp_path, verifier, word, kind):
    verifiers.register("right")(lambda problem, completion: Verdict(1.0, "correct"))
    overrides = [f"problems.verifier='{verifier}'", "problems.options={ length = 8 }", "sampling.completion_tokens=79"]
    found = run_preflight(config_for(tmp_path, *overrides), quiet=True).as_json()
    assert found["attempts"]["mixed"] == 0 or kind == "correct"
    if found["attempts"]["mixed"] == 0:
        assert found["verdict"]["word"] == word
        assert found["finding"]
        assert found["readings"] == []
    assert kind in found["verdicts"]


def test_a_grader_that_fails_now_and_then_is_counted_and_pairs_leave_it_out(tmp_path):
    found = run_preflight(config_for(tmp_path, "problems.verifier='half-failing'"), quiet=True).as_json()
    assert found["verdicts"]["error"] > 0
    assert sum(row["grader_failed"] for row in found["readings"]) > 0
    for row in found["readings"]:
        assert row["contexts"] + row["grader_failed"] == sum(outcome is not None for outcome in row["outcomes"])


def test_a_grader_that_always_fails_ends_it_with_the_cause(tmp_path):
    with pytest.raises(VerdictError, match="the judge is away"):
        run_preflight(config_for(tmp_path, "problems.verifier='failing'"), quiet=True)


def test_contexts_without_room_get_the_budget_that_holds_them(tmp_path):
    found = run_preflight(config_for(tmp_path, "context.tokens=9"), quiet=True).as_json()
    assert found["verdict"]["said"] == "change the context: raise context.tokens"
    (setting,) = found["verdict"]["settings"]
    again = run_preflight(config_for(tmp_path, setting), quiet=True).as_json()
    assert row_of(again, **found["recipe"], **PLAIN)["over_budget"] == 0
    assert again["verdict"]["said"] != found["verdict"]["said"]


def test_an_interrupt_leaves_nothing(tmp_path):
    toml = [f"{key} = {_toml(value)}" for key, value in SMALL.items()]
    text = "\n".join(toml).replace(', verifier = "parity"', "")
    (tmp_path / "mine.toml").write_text(text + "\nwarmup = { kind = 'demonstrator', steps = 3000 }\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "mopd", "preflight", "mine.toml", "--json", "found.json"],
        cwd=tmp_path,
        env={**os.environ, "MOPD_CACHE": str(tmp_path / "cache")},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert "evaluate as it came" in process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    told = process.stderr.read()
    assert process.wait(60) == 130
    assert "nothing was written" in told
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["mine.toml"]
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
