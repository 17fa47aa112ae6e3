"""The paper's domains from end to end, on configs/stand-ins: rollouts, verdicts, peers, lessons, update.

Each run is its configuration's, made smaller, and what is asserted is read from the run's files.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
from safetensors.torch import load_file
from scripts.write_stand_ins import files

from mopd import load_config, train
from mopd.report.contexts import read_again
from mopd.runs.records import read_jsonl
from tests.builders import UNMEASURED
from tests.integration.test_sandbox import needs_sandbox

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "stand-ins"
KINDS = ("correct", "wrong", "unparsable", "truncated", "timeout", "error")

STEPS, PROBLEMS, ROLLOUTS = 3, 4, 8
SMALLER = (
    *UNMEASURED,
    f"steps={STEPS}",
    f"problems_per_step={PROBLEMS}",
    "problems.held_out=4",
    "warmup.steps=60",
    "warmup.batch_size=16",
    "warmup.learning_rate=4e-3",
    "warmup.context_steps=0",
    "warmup.problems=48",
    "evaluation.every=0",
    "evaluation.rollouts=2",
    "evaluation.reading_contexts=4",
)

DOMAINS = [pytest.param("code", marks=needs_sandbox), "math", "science", "tool-use"]


def run_of(name, folder, *overrides):
    """The folder of a run of a stand-in, made smaller."""
    path = folder / name
    with contextlib.chdir(ROOT):
        train(load_config(FOLDER / f"{name}.toml", [*SMALLER, f"run='{path}'", *overrides]), quiet=True)
    return path


@pytest.fixture(scope="module", params=DOMAINS)
def run(request, tmp_path_factory):
    return run_of(request.param, tmp_path_factory.mktemp("runs"))


def rollouts(run):
    return [(group, rollout) for group in read_jsonl(run / "groups.jsonl") for rollout in group["rollouts"]]


def mixed_groups(run):
    groups = read_jsonl(run / "groups.jsonl")
    return [group for group in groups if len({rollout["is_success"] for rollout in group["rollouts"]}) == 2]


def records():
    """Every record of the stand-ins by the text of its prompt."""
    lines = [line.strip().rstrip(",") for text in files().values() for line in text.splitlines()]
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return {record.get("prompt") or record["problem"]: record for record in found}


# --- laws -----------------------------------------------------------------------------------------------------------


def test_some_rollouts_succeed_some_fail_and_no_grader_errs(run):
    kinds = [rollout["kind"] for _, rollout in rollouts(run)]
    assert len(kinds) == STEPS * PROBLEMS * ROLLOUTS
    assert {"correct"} < set(kinds) <= {*KINDS} - {"error"}
    assert {"wrong", "unparsable"} & set(kinds)


def test_metrics_count_the_verdicts_that_groups_record(run):
    for metrics in read_jsonl(run / "metrics.jsonl"):
        kinds = [rollout["kind"] for group, rollout in rollouts(run) if group["step"] == metrics["step"]]
        assert {kind: metrics[f"verdicts/{kind}_count"] for kind in KINDS} == {
            kind: kinds.count(kind) for kind in KINDS
        }
    summary = json.loads((run / "summary.json").read_text())
    for when in ("before", "after"):
        assert sum(summary[when]["kinds"].values()) == 4 * 2
        assert summary[when]["kinds"]["error"] == summary[when]["problems_without_verdict"] == 0
    assert summary["warmup"]["solutions_rejected_count"] == 0


def test_every_rollout_of_a_mixed_group_is_shown_the_peers_there_are(run):
    """Two distinct successes and a failure at most, never itself; fewer only where the group has no more to show."""
    assert mixed_groups(run)
    for group in mixed_groups(run):
        text = {rollout["index"]: rollout["completion"].strip() for rollout in group["rollouts"]}
        good = {rollout["index"] for rollout in group["rollouts"] if rollout["is_success"]}
        bad = {r["index"] for r in group["rollouts"] if not r["is_success"] and r["kind"] != "truncated"}
        for index, rollout in enumerate(group["rollouts"]):
            peers = rollout["peers"]
            others = {text[i] for i in good - {index}} - {text[index]}
            failures = {text[i] for i in bad} - {text[index], "", *(text[i] for i in good)}
            assert index not in peers["successes"] + peers["failures"]
            assert set(peers["successes"]) <= good
            assert set(peers["failures"]) <= bad
            assert len(peers["successes"]) == (min(2, len(others)) or min(1, len(good - {index})))
            assert len(peers["failures"]) >= min(1, len(failures))
            assert rollout["is_lesson"] == bool(good - {index})
            assert rollout["no_lesson_reason"] == (None if good - {index} else "no_success")


def test_a_lesson_s_context_holds_the_prompt_and_its_peers_whole(run):
    lessons = [(group, rollout) for group, rollout in rollouts(run) if rollout["is_lesson"]]
    assert len(lessons) == sum(metrics["lessons/count"] for metrics in read_jsonl(run / "metrics.jsonl")) > 0
    for group, rollout in lessons[:: max(1, len(lessons) // 3)]:
        asked = read_again(run, group["step"], group["problem_id"], rollout["index"])
        context, shown = asked.context, asked.text
        assert group["prompt"][-1]["content"] in shown
        assert context.token_count == rollout["context_tokens"]
        for index in rollout["peers"]["successes"] + rollout["peers"]["failures"]:
            assert group["rollouts"][index]["completion"].strip() in shown


def test_lessons_move_the_student_and_the_teacher_follows(run):
    began, ended = run / "checkpoints" / "step-0", run / "checkpoints" / f"step-{STEPS}"
    student, teacher = (moved(began / name, ended / name) for name in ("model.safetensors", "teacher.safetensors"))
    assert student > 0
    assert 0 < teacher < student  # an average of where the student was
    with_lessons = [metrics for metrics in read_jsonl(run / "metrics.jsonl") if metrics["lessons/count"]]
    assert all(metrics["update/grad_norm"] > 0 for metrics in with_lessons)
    assert all(metrics["update/skipped_nonfinite_count"] == 0 for metrics in with_lessons)
    assert all(metrics["objective/loss"] > 0 for metrics in with_lessons)


def moved(before, after):
    old, new = load_file(before), load_file(after)
    assert old.keys() == new.keys()
    return sum((new[name] - old[name]).norm().item() ** 2 for name in old) ** 0.5


# --- secrets --------------------------------------------------------------------------------------------------------


def secrets_of(record):
    """What of a record no feedback may hold, as patterns; hidden inputs and outputs are long and in no prompt."""
    tests = record.get("tests")
    if tests is None:
        answer = record.get("answer", record.get("solution"))
        if record.get("kind") == "tooluse":
            return list(json.loads(answer[0]["Action_Input"]).values())
        return [rf"\b{answer}\b"]
    if tests["testtype"] == "stdin":
        return [text.strip() for text in tests["inputs"] + tests["outputs"]]
    return re.findall(r"\d{4,}", json.dumps(tests))  # numbers of arguments and results


def test_feedback_on_a_failure_holds_neither_the_answer_nor_anything_hidden(run):
    known, failures = records(), [(g, r) for g, r in rollouts(run) if not r["is_success"]]
    for group, rollout in failures:
        record = known[group["prompt"][-1]["content"]]
        secrets = secrets_of(record)
        assert secrets
        assert rollout["feedback"]
        for secret in secrets:
            found = re.search(secret, rollout["feedback"])
            assert found is None or found[0] in rollout["completion"], (secret, rollout)
    assert len({rollout["feedback"] for _, rollout in failures}) > 1


def test_the_share_of_tests_passed_is_recorded_under_its_own_name_and_is_no_reward(run):
    for group, rollout in rollouts(run):
        ran = group["domain"] == "code" and rollout["kind"] in ("correct", "wrong", "timeout")
        assert (rollout.get("details", {}).keys() == {"tests_passed_share"}) == ran
        if ran:
            assert (rollout["details"]["tests_passed_share"] == 1.0) == rollout["is_success"]
            assert rollout["reward"] == float(rollout["is_success"])


# --- all together ---------------------------------------------------------------------------------------------------


@needs_sandbox
def test_a_mix_of_the_four_domains_weighs_them_alike(tmp_path):
    run = run_of("mix", tmp_path, "problems.held_out=8")
    groups = read_jsonl(run / "groups.jsonl")
    for step in range(STEPS):
        domains = [group["domain"] for group in groups if group["step"] == step]
        assert sorted(domains) == ["code", "math", "science", "tool-use"]
    config = json.loads((run / "config.json").read_text())
    assert config["objective"]["aggregation"] == "domain_balanced"
    kinds = {(group["domain"], rollout["kind"]) for group, rollout in rollouts(run)}
    assert not {kind for kind in kinds if kind[1] == "error"}
    assert len({domain for domain, _ in kinds}) == 4
    assert sum(metrics["lessons/count"] for metrics in read_jsonl(run / "metrics.jsonl")) > 0


@needs_sandbox
def test_half_of_the_tests_of_held_out_programs_can_be_trained_on_as_the_recipe_does(tmp_path):
    rows = [line for line in files()["code.jsonl"].splitlines() if '"testtype": "assert"' not in line]
    (tmp_path / "code.jsonl").write_text("\n".join(rows[:8]) + "\n")
    half = ("problems.train_on_half_of_held_out_tests=true", "problems.held_out=1000", "warmup.steps=1", "steps=1")
    run = run_of("code", tmp_path, f"problems.source='{tmp_path / 'code.jsonl'}'", *half)
    assert json.loads((run / "summary.json").read_text())["split"]["trained_on_count"] == 8
    assert all(group["problem_id"].endswith("/half-of-tests") for group, _ in rollouts(run))


# --- the files ------------------------------------------------------------------------------------------------------


def test_the_files_are_what_the_script_writes():
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json*")} == files()


@pytest.mark.parametrize(
    ("name", "recipes"),
    [
        ("code", ["livecodebench-qwen3-4b", "livecodebench-qwen3-8b"]),
        ("math", ["math-qwen3-4b"]),
        ("science", ["science-qwen3-8b"]),
        ("tool-use", ["tooluse-qwen3-8b"]),
    ],
)
def test_a_stand_in_has_its_recipe_s_options(name, recipes):
    ours = load_config(FOLDER / f"{name}.toml")
    for recipe in recipes:
        theirs = load_config(ROOT / "configs" / "paper" / f"{recipe}.toml")
        for table in ("peers", "teacher", "objective", "evaluation"):
            assert getattr(ours, table) == getattr(theirs, table)
        assert ours.divergence.model_copy(update={"k": 100}) == theirs.divergence
        assert (ours.sampling.temperature, ours.sampling.top_p) == (theirs.sampling.temperature, theirs.sampling.top_p)
        assert ours.optimizer.weight_decay == theirs.optimizer.weight_decay
        assert ours.optimizer.clip_norm == theirs.optimizer.clip_norm
        assert ours.group_size == theirs.group_size
        assert bool(ours.problems.mix) == bool(theirs.problems.mix)
        assert (ours.problems.held_out_source is None) == (theirs.problems.held_out_source is None)
        assert f"configs/paper/{recipes[0]}.toml" in (FOLDER / f"{name}.toml").read_text()
