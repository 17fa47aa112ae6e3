"""`mopd report`: what a page holds is what the run recorded and what its models say; what is missing is named."""

import json
import math
import shutil

import pytest
import torch

from mopd import load_config, load_run, train
from mopd.cli import main
from mopd.core.errors import RunError
from mopd.page.report import write_report
from mopd.preflight.setup import open_student
from mopd.report.contexts import read_again
from mopd.runs.checkpoint import latest_checkpoint
from mopd.runs.reading import read_config
from mopd.scoring.head import row_logprobs
from mopd.scoring.rows import Row
from tests.conftest import TINY
from tests.report_pages import HOSTILE, blocks_of, save_byte_student, train_byte_student, with_hostile_text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four steps with checkpoints, failures shown, and evaluations before and after."""
    folder = tmp_path_factory.mktemp("reported") / "run"
    train(load_config(TINY, [f"run='{folder}'", "steps=4", "teacher.kind='live'"]), quiet=True)
    return folder


@pytest.fixture(scope="module")
def page(run):
    target, missing = write_report([run], None, score=3, quiet=True)
    return blocks_of(target), missing


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("report.html"))


def made(run, *others, score=0, tmp_path):
    target, missing = write_report([run, *others], tmp_path / "page.html", score, quiet=True)
    return blocks_of(target), "\n".join(missing)


# --- what is there --------------------------------------------------------------------------------------------------


def test_a_whole_run_has_every_group_and_misses_nothing(run, page):
    data, missing = page
    assert missing == []
    recorded = [*load_run(run).iter_groups()]
    assert [group["step"] for group in data["groups"]] == [group["step"] for group in recorded]
    for drawn, group in zip(data["groups"], recorded, strict=True):
        texts = [(r["text"], r["kind"], r["success"], r["reward"]) for r in drawn["rollouts"]]
        assert texts == [(r["completion"], r["kind"], r["is_success"], r["reward"]) for r in group["rollouts"]]


def test_figures_are_those_of_the_summary(run, page):
    overview, summary = page[0]["overview"], load_run(run).summary
    mean = overview["figures"][0]
    assert (mean["before"]["value"], mean["after"]["value"]) == (
        summary["before"]["mean_at_8"],
        summary["after"]["mean_at_8"],
    )
    assert overview["gain"] == summary["gain"]
    charts = {chart["title"]: chart for chart in overview["charts"]}
    rows = [*load_run(run).metrics_rows()]
    assert charts["success"]["lines"][0]["points"] == [[row["step"], row["reward/success_share"]] for row in rows]
    assert charts["held-out problems"]["lines"][0]["points"][0] == [0, summary["before"]["mean_at_8"]]
    phases = {phase["name"]: phase["seconds"] for phase in overview["cost"]["phases"]}
    assert sum(phases.values()) == pytest.approx(sum(row["time/step_s"] for row in rows))


def test_contexts_are_what_show_context_prints(run, page):
    data, template = page[0], page[0]["overview"]["template"]
    seen = 0
    for drawn, group in zip(data["groups"], load_run(run).iter_groups(), strict=True):
        for rollout in drawn["rollouts"]:
            if "context" not in rollout:
                continue
            context = read_again(run, group["step"], group["problem_id"], rollout["index"]).context
            blocks = "".join(template[b["kind"]].replace("{text}", b["text"]) for b in rollout["context"]["blocks"])
            turn = template["turn"].replace("{problem}", drawn["prompt"][-1][1]).replace("{blocks}", blocks)
            assert turn == context.messages[-1]["content"]
            assert rollout["context"]["tokens"] == context.token_count
            for block in rollout["context"]["blocks"]:
                peer = drawn["rollouts"][block["peer"]]
                assert peer["text"] == block["text"]
                assert peer["success"] == (block["kind"] == "success")
            seen += 1
    assert seen > 20


def test_held_out_problems_stand_before_and_after(run, page):
    data, summary = page[0], load_run(run).summary
    assert data["overview"]["held_out"] == {"shown": 16, "all": 16, "before": 0, "after": 4}
    for problem in data["held-out"]:
        right = [sum(rollout["success"] for rollout in problem[side]) for side in ("before", "after")]
        counts = [summary[side]["successes_by_problem"][problem["problem"]] for side in ("before", "after")]
        assert right == counts
        assert problem["gain"] == pytest.approx((right[1] - right[0]) / 8)


def test_scores_of_tokens_are_those_of_the_models(run, page):
    """Beside the scorer: whole rows through the checkpoint's model, of which a live teacher is one."""
    data = page[0]
    student = open_student(read_config(run), latest_checkpoint(run / "checkpoints"))
    compared = 0
    for scored in data["tokens"]:
        group = data["groups"][scored["group"]]
        prompt = tuple(student.tokenizer.encode_prompt([{"role": "user", "content": group["prompt"][-1][1]}]))
        for found in scored["rollouts"]:
            text = group["rollouts"][found["index"]]["text"]
            context = read_again(run, group["step"], group["problem"], found["index"]).context
            ids = (*student.tokenizer.encode_completion(text), student.tokenizer.end_id)
            if len(ids) != len(found["pieces"]):  # it was cut, and has no end token
                continue
            rows = [Row(prefix, ids, (True,) * len(ids)) for prefix in (prompt, context.token_ids)]
            with torch.no_grad():
                s, t = (row_logprobs(student.model, [row]) for row in rows)
            chosen = torch.tensor(ids)[:, None]
            gain = (t.gather(-1, chosen) - s.gather(-1, chosen)).squeeze(-1)
            assert found["gain"] == pytest.approx(gain.tolist(), abs=2e-3)
            doubt = t.amax(-1) - t.gather(-1, chosen).squeeze(-1)
            assert found["doubt"] == pytest.approx(doubt.tolist(), abs=2e-3)
            assert "".join(found["pieces"]).startswith(text)
            assert found["tops"][0][0][1] == pytest.approx(t[0].amax().exp().item(), abs=1e-3)
            compared += 1
    assert compared >= 6


def test_what_peers_contribute_is_with_them_minus_without(run, page):
    data, both = page[0], 0
    for scored in data["tokens"]:
        rollouts = {r["index"]: r for r in data["groups"][scored["group"]]["rollouts"]}
        for found in scored["rollouts"]:
            kinds = {block["kind"] for block in rollouts[found["index"]]["context"]["blocks"]}
            assert ("of_successes" in found, "of_failures" in found) == ("success" in kinds, "failure" in kinds)
            both += len(kinds) == 2
            if "alike" in found:
                sums = [sum(map(abs, found[name])) for name in ("alike", "apart")]
                assert found["moved"] == pytest.approx(sums, abs=1e-2)
    assert both
    scores = data["overview"]["scores"]
    assert scores["step"] == 4
    assert scores["alike"] > 0
    assert scores["apart"] > 0


def test_failed_rollouts_have_a_nearest_success_and_a_place(page):
    data, places = page[0], 0
    for scored in data["tokens"]:
        rollouts = {r["index"]: r for r in data["groups"][scored["group"]]["rollouts"]}
        for found in scored["rollouts"]:
            rollout = rollouts[found["index"]]
            if rollout["success"]:
                assert (found["here"], found["beside"]) == (None, None)
                continue
            peer = rollouts[found["beside"]["index"]]
            shared = found["beside"]["shared"]
            assert peer["success"]
            assert peer["text"][:shared] == rollout["text"][:shared]
            if found["here"] is not None:
                assert found["doubt"][found["here"]] >= math.log(2) - 1e-3
                places += 1
    assert places


def test_runs_are_compared_with_paired_intervals(run, copied, tmp_path):
    rows = [json.loads(line) for line in (copied / "evaluations.jsonl").read_text().splitlines()]
    better = rows[-1]["successes_by_problem"]
    rows[-1]["successes_by_problem"] = {problem: min(8, count + 2) for problem, count in better.items()}
    (copied / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = json.loads((copied / "config.json").read_text())
    config["optimizer"]["learning_rate"] = 0.5
    (copied / "config.json").write_text(json.dumps(config))
    data, missing = made(run, copied, tmp_path=tmp_path)
    found = data["overview"]["comparison"]
    expected = sum(min(8, count + 2) - count for count in better.values()) / 8 / len(better)
    beside = found["runs"][1]["beside_first"]
    assert beside["mean"] == pytest.approx(expected)
    assert beside["interval"][0] <= expected <= beside["interval"][1]
    assert beside["problems"] == 16
    assert {row["key"] for row in found["settings"]} == {"optimizer.learning_rate"}
    assert found["runs"][0]["name"] != found["runs"][1]["name"]
    assert missing == ""


def test_a_run_as_data_has_verdicts_lessons_and_completions(run):
    loaded = load_run(run)
    verdicts, lessons = loaded.verdicts, loaded.lessons
    assert len(verdicts) == len(lessons) == len(loaded.groups) == 4 * 4 * 4
    assert verdicts["is_success"].tolist() == loaded.groups["is_success"].tolist()
    assert set(lessons["no_lesson_reason"].dropna()) <= {"no_success", "no_peers"}
    assert "completion" not in verdicts
    assert "reward" not in lessons
    assert len([*loaded.completion_rows(0)]) == 16 * 8
    assert [*loaded.completion_rows(3)] == []


def test_parts_of_peers_that_were_cut_out_are_marked(tmp_path):
    run = train_byte_student(tmp_path, context__tokens=150, peers__successes=1)
    data, missing = made(run, tmp_path=tmp_path)
    contexts = [r["context"] for group in data["groups"] for r in group["rollouts"] if "context" in r]
    short = [block for context in contexts for block in context["blocks"] if block["short"]]
    assert len(short) == sum(context["shortened"] for context in contexts) > 0
    assert all(data["overview"]["template"]["marker"] in block["text"] for block in short)
    assert missing == ""


VARIANTS = {
    "lora": {"lora__rank": 4},
    "contrast": {"objective": {"kind": "distill", "contrast": {}}, "peers__successes": 1},
    "external": {},
    "unrelated": {"peers__control": "unrelated_problem"},
    "sampled": {"divergence__kind": "sampled_reverse_kl"},
}


def test_under_a_contrast_both_contexts_are_shown_and_what_is_ruled_out_is_a_number(tmp_path):
    data, missing = made(train_byte_student(tmp_path, **VARIANTS["contrast"]), score=1, tmp_path=tmp_path)
    assert missing == ""
    shown = [r["context"]["blocks"] for group in data["groups"] for r in group["rollouts"] if "context" in r]
    kinds = {tuple(block["kind"] for block in blocks) for blocks in shown}
    assert ("success", "failure") in kinds
    assert kinds <= {("success", "failure"), ("success",)}  # the latter where there is no failed peer
    scored = [found for group in data["tokens"] for found in group["rollouts"]]
    assert scored
    assert all(
        math.isfinite(value) for found in scored for key in ("gain", "doubt", "divergence") for value in found[key]
    )
    assert not any("of_successes" in found for found in scored)


@pytest.mark.parametrize(
    ("form", "who"), [("target", "the contrast's target"), ("advantage", "the teacher that reads the success")]
)
def test_a_picture_says_whose_probabilities_its_bars_are(form, who, tmp_path, capsys):
    objective = {"kind": "distill", "contrast": {"form": form}}
    run = train_byte_student(tmp_path, objective=objective, peers__successes=1)
    lines = (run / "groups.jsonl").read_text().splitlines()
    rollouts = [(group, rollout) for group in map(json.loads, lines) for rollout in group["rollouts"]]
    group, rollout = next((g, r) for g, r in rollouts if r["context_tokens"] and r["peers"]["failures"])
    asked = ["--step", group["step"], "--problem", group["problem_id"], "--rollout", rollout["index"]]
    assert main(["picture", str(run), *map(str, asked)]) == 0
    assert f"log {who} - log student" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_of_teacher_is_asked(name, tmp_path):
    overrides = dict(VARIANTS[name])
    if name == "external":
        overrides["teacher"] = {"kind": "external", "model": str(save_byte_student(tmp_path / "teacher"))}
    data, missing = made(train_byte_student(tmp_path, **overrides), score=4, tmp_path=tmp_path)
    assert missing == ""
    scores = data["overview"]["scores"]
    assert scores["groups"] == 4
    assert scores["rollouts"] >= 8
    assert scores["alike"] + scores["apart"] > 0
    for scored in data["tokens"]:
        for found in scored["rollouts"]:
            assert len(found["pieces"]) == len(found["gain"]) == len(found["tops"]) == len(found["divergence"])
            assert all(value >= -1e-3 for value in found["divergence"])


# --- what is missing ------------------------------------------------------------------------------------------------


def test_of_a_killed_run_is_shown_what_is_there(copied, tmp_path):
    (copied / "summary.json").unlink()
    for name in ("metrics.jsonl", "groups.jsonl", "evaluations.jsonl"):
        (copied / name).write_bytes((copied / name).read_bytes()[:-30])
    shutil.rmtree(copied / "checkpoints")
    data, missing = made(copied, score=2, tmp_path=tmp_path)
    assert len(data["groups"]) == 15
    assert "the run is not finished; 3 of 4 steps" in missing
    assert "1 lines of groups.jsonl cannot be read" in missing
    assert "scores of tokens: no checkpoint" in missing


def test_a_damaged_line_ends_the_curves_and_is_named(copied, tmp_path):
    lines = (copied / "metrics.jsonl").read_text().splitlines()
    (copied / "metrics.jsonl").write_text("\n".join([*lines[:2], "damaged", lines[3]]) + "\n")
    data, missing = made(copied, tmp_path=tmp_path)
    assert "metrics of steps from line 3 on" in missing
    charts = {chart["title"]: chart for chart in data["overview"]["charts"]}
    assert len(charts["success"]["lines"][0]["points"]) == 2


def test_an_earlier_version_recorded_less(copied, tmp_path):
    groups = [json.loads(line) for line in (copied / "groups.jsonl").read_text().splitlines()]
    kept = ("index", "completion", "kind", "is_success", "reward")
    for group in groups:
        group["rollouts"] = [{name: rollout[name] for name in kept} for rollout in group["rollouts"]]
    (copied / "groups.jsonl").write_text("".join(json.dumps(group) + "\n" for group in groups))
    rows = [json.loads(line) for line in (copied / "metrics.jsonl").read_text().splitlines()]
    rows = [{"step": row["step"], "reward/success_share": row["reward/success_share"]} for row in rows]
    (copied / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.rmtree(copied / "evaluations")
    data, missing = made(copied, score=2, tmp_path=tmp_path)
    assert len(data["groups"]) == 16
    assert [chart["title"] for chart in data["overview"]["charts"]] == ["held-out problems", "success"]
    assert "no group that is shown has a context" in missing
    assert "completions of held-out problems: no evaluations/step-0.jsonl" in missing


def test_a_run_without_any_success_is_shown(copied, tmp_path):
    groups = [json.loads(line) for line in (copied / "groups.jsonl").read_text().splitlines()]
    for group in groups:
        for rollout in group["rollouts"]:
            rollout |= {"is_success": False, "kind": "wrong", "reward": 0.0, "context_tokens": None}
    (copied / "groups.jsonl").write_text("".join(json.dumps(group) + "\n" for group in groups))
    data, missing = made(copied, score=2, tmp_path=tmp_path)
    assert "no rollout of this run succeeded" in missing
    assert data["overview"]["groups"]["outcomes"] == {"failed": 16}
    assert data["tokens"] == []


def test_a_run_that_has_done_nothing_is_a_page(run, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(run / "config.json", tmp_path / "run")
    data, missing = made(tmp_path / "run", score=2, tmp_path=tmp_path)
    assert data["groups"] == []
    assert data["overview"]["charts"] == []
    assert "steps: none is recorded" in missing
    assert "groups: none is recorded" in missing


def test_a_run_without_a_teacher_says_so(copied, tmp_path):
    config = json.loads((copied / "config.json").read_text())
    config["objective"] = {"kind": "grpo"}
    (copied / "config.json").write_text(json.dumps(config))
    data, missing = made(copied, score=2, tmp_path=tmp_path)
    assert "scores of tokens: objective.kind = grpo" in missing
    assert data["groups"]


def test_hostile_text_stays_text_and_groups_beyond_the_budget_are_counted(run, tmp_path):
    hostile = with_hostile_text(run, tmp_path / "hostile", 2800)
    data, _ = made(hostile, tmp_path=tmp_path)
    counts = data["overview"]["groups"]
    assert (counts["all"], counts["rollouts"]) == (700, 2800)
    assert counts["shown_rollouts"] == 2000
    steps = [group["step"] for group in data["groups"]]
    assert {step: steps.count(step) for step in set(steps)} == {step: pytest.approx(50, abs=4) for step in range(10)}
    texts = {rollout["text"] for group in data["groups"] for rollout in group["rollouts"]}
    assert any(text.startswith(HOSTILE[0]) for text in texts)
    assert any("characters are left out here" in text for text in texts)
    page = (tmp_path / "page.html").read_text()
    assert "<img" not in page
    assert 'id="evil"' not in page
    assert page.count("<script") == page.count("</script>") == 5
    assert len(page.encode()) < 20 * 2**20


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_writes_into_the_run_and_fresh_still_moves_the_run_aside(copied, capsys):
    assert main(["report", str(copied), "--score", "0", "--quiet"]) == 0
    assert str(copied / "report.html") in capsys.readouterr().out
    config = load_config(TINY, [f"run='{copied}'", "steps=1", "warmup.steps=1", "alarms.action='off'"])
    train(config, fresh=True, quiet=True)
    assert (copied.with_name("run.1") / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{nowhere}"], "no config.json"),
        (["{run}", "{nowhere}"], "no config.json"),
        (["{run}", "--score", "-1"], "--score is a number"),
        (["{run}", "--out", "{nowhere}/page.html"], "can be written"),
        (["{run}", "--out", " "], "out is empty"),
    ],
)
def test_bad_words_are_refused_and_nothing_is_written(words, told, copied, tmp_path, capsys):
    filled = [word.format(run=copied, nowhere=tmp_path / "nowhere") for word in words]
    assert main(["report", *filled]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (copied / "report.html").exists()


def test_a_page_that_cannot_be_written_is_an_error_of_the_run(run, tmp_path):
    with pytest.raises(RunError, match="can be written"):
        write_report([run], tmp_path, 0, quiet=True)
