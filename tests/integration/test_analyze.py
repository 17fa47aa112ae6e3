"""`mopd analyze`: figures that can be made again from what was recorded, and names for what is missing."""

import csv
import gzip
import io
import json
import random
import shutil
from xml.etree import ElementTree

import pytest
from rich.console import Console
from scipy import stats

from mopd import load_config, load_run, train
from mopd.analysis.analyze import Asked, analyze
from mopd.analysis.contexts import ContextMaker, parse
from mopd.analysis.diversity import DIVERSITY, self_bleu
from mopd.analysis.groups import RunGroups
from mopd.analysis.opened import Models, with_tokens
from mopd.analysis.rollout_files import open_files
from mopd.cli import main
from mopd.core.errors import ConfigError, ProblemError, RunError, StudentError
from mopd.core.statistics import bootstrap_interval, mean_or_zero
from mopd.report.analysis import print_analysis
from mopd.runs.directory import check_may_begin
from mopd.runs.reading import read_config
from mopd.scoring.head import row_logprobs
from mopd.scoring.rows import Row
from tests.conftest import TINY

CONTEXTS = ("base", "1S", "1F", "1S1F", "feedback", "random_peer", "unrelated_problem", "successes_only")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four steps whose teacher is the student itself, so that its checkpoint's model scores."""
    folder = tmp_path_factory.mktemp("analyzed") / "run"
    train(load_config(TINY, [f"run='{folder}'", "steps=4", "teacher.kind='live'"]), quiet=True)
    return folder


@pytest.fixture(scope="module")
def found(run):
    folder, found = analyze(Asked(str(run), contexts=CONTEXTS, groups=8), quiet=True)
    assert folder == run / "analysis"
    assert json.loads((folder / "analysis.json").read_text()) == json.loads(json.dumps(found))
    return found


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copied", ignore=shutil.ignore_patterns("analysis"))


def edited(run, change):
    """Change every group of a run's log."""
    rows = [*load_run(run).iter_groups()]
    for row in rows:
        change(row)
    (run / "groups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(file):
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


# --- a run ----------------------------------------------------------------------------------------------------------


def test_a_whole_run_misses_nothing_and_scores_mixed_groups_alone(run, found):
    assert found["missing"] == []
    assert found["scored_by"]["step"] == 4
    recorded = {(g["step"], g["problem_id"]): g for g in load_run(run).iter_groups()}
    mixed = [g for g in recorded.values() if len({r["is_success"] for r in g["rollouts"]}) == 2]
    assert found["outcomes"]["mixed"] == len(mixed) == found["scored_by"]["of_mixed"]
    assert len(found["signal"]["groups"]) == min(8, len(mixed))
    for group in found["signal"]["groups"]:
        rollouts = recorded[group["step"], group["problem_id"]]["rollouts"]
        assert group["successes"] == [rollouts[index]["is_success"] for index in group["rollouts"]]


def test_scores_are_mean_log_probabilities_of_own_tokens_by_the_checkpoints_model(run, found):
    """Beside the scorer: whole rows, one at a time, through the model."""
    config = read_config(run)
    models = Models.open(run, config)
    groups = RunGroups(run / "groups.jsonl", config.success_reward)
    makers = {shown.name: ContextMaker(shown, models) for shown in parse(("base", "1S", "1S1F"))}
    compared = 0
    for scored in found["signal"]["groups"][:3]:
        place = [(one.step, one.problem) for one in groups.seen].index((scored["step"], scored["problem_id"]))
        ((_, recorded),) = groups.read([place])
        group = with_tokens(recorded, models.student.tokenizer)
        for name, maker in makers.items():
            for index, score in zip(scored["rollouts"], scored["scores"][name], strict=True):
                made = maker.of(group, index, [group])
                if isinstance(made, str):
                    assert score is None
                    continue
                ids = group.rollouts[index].token_ids
                row = Row(made[0].token_ids, ids, (True,) * len(ids))
                rows = row_logprobs(models.student.model, [row]).detach()
                assert score == pytest.approx(
                    mean_or_zero([float(rows[i, token]) for i, token in enumerate(ids)]), abs=1e-5
                )
                compared += 1
    assert compared > 15


def test_what_contexts_show_is_what_their_names_say(run):
    config = read_config(run)
    models = Models.open(run, config)
    groups = RunGroups(run / "groups.jsonl", config.success_reward)
    recorded = [group for _, group in groups.read(range(len(groups.seen)))]
    seen = 0
    for shown in parse(("base", "2S1F", "1F", "successes_only", "unrelated_problem")):
        maker = ContextMaker(shown, models)
        for group in recorded:
            for rollout in group.rollouts:
                made = maker.of(group, rollout.index, recorded)
                if isinstance(made, str):
                    continue
                context, peers = made
                kinds = [block.kind for block in context.blocks]
                assert 0 <= kinds.count("success") <= shown.successes
                assert 0 <= kinds.count("failure") <= shown.failures
                assert bool(shown.successes) == ("success" in kinds)
                assert bool(shown.failures) == ("failure" in kinds)
                if shown.control is None:
                    assert all(group.is_success(index) for index in peers.successes)
                    assert all(group.is_failure(index) for index in peers.failures)
                    assert rollout.index not in (*peers.successes, *peers.failures)
                else:
                    assert group.problem.id not in peers.problem_ids
                seen += 1
    assert seen > 50


def by_scipy(scores, successes):
    """AUC, pairwise accuracy, Spearman, Kendall, point-biserial; None where undefined."""
    good = [s for s, is_success in zip(scores, successes, strict=True) if is_success]
    bad = [s for s, is_success in zip(scores, successes, strict=True) if not is_success]
    if not good or not bad:
        return (None,) * 5
    pairs = [(a, b) for a in good for b in bad]
    auc = stats.mannwhitneyu(good, bad).statistic / len(pairs)
    right = sum(a > b for a, b in pairs) / len(pairs)
    if len(set(scores)) == 1:
        return auc, right, None, None, None
    correlations = (stats.spearmanr, stats.kendalltau, stats.pointbiserialr)
    return auc, right, *(float(one(successes, scores).statistic) for one in correlations)


NAMES = ("auc", "pairwise_accuracy", "spearman", "kendall_tau_b", "point_biserial")


def mean_over_problems(values):
    by_problem = {}
    for problem, value in values:
        if value is not None:
            by_problem.setdefault(problem, []).append(value)
    return [mean_or_zero(found) for found in by_problem.values()]


def check(estimate, values):
    means = mean_over_problems(values)
    assert estimate["problems"] == len(means)
    assert estimate["undefined"] == sum(value is None for _, value in values)
    if not means:
        assert (estimate["mean"], estimate["interval"]) == (None, None)
        return
    assert estimate["mean"] == pytest.approx(mean_or_zero(means), abs=1e-12)
    assert estimate["interval"] == pytest.approx(bootstrap_interval(means), abs=1e-12)


def column(group, name, *others):
    kept = [
        (group["scores"][name][i], success)
        for i, success in enumerate(group["successes"])
        if all(group["scores"][one][i] is not None for one in (name, *others))
    ]
    return by_scipy([score for score, _ in kept], [success for _, success in kept])


def test_all_five_statistics_and_their_intervals_are_scipys_of_the_scores(found):
    groups = found["signal"]["groups"]
    for context in found["signal"]["contexts"]:
        values = [(group["problem_id"], column(group, context["name"])) for group in groups]
        for number, name in enumerate(NAMES):
            check(context["statistics"][name], [(problem, of_one[number]) for problem, of_one in values])


def test_differences_are_paired_on_the_rollouts_that_both_contexts_have(found):
    groups, differences = found["signal"]["groups"], found["signal"]["differences"]
    assert {(one["context"], one["minus"]) for one in differences} == {(name, "base") for name in CONTEXTS[1:]}
    for one in differences:
        values = []
        for group in groups:
            ours = column(group, one["context"], one["minus"])
            theirs = column(group, one["minus"], one["context"])
            both = [None if None in pair else pair[0] - pair[1] for pair in zip(ours, theirs, strict=True)]
            values.append((group["problem_id"], both))
        for number, name in enumerate(NAMES):
            check(one["statistics"][name], [(problem, of_one[number]) for problem, of_one in values])


def test_rollouts_without_a_score_are_counted_by_reason(found):
    for context in found["signal"]["contexts"]:
        column = [score for group in found["signal"]["groups"] for score in group["scores"][context["name"]]]
        assert context["rollouts"] == sum(score is not None for score in column)
        assert sum(context["unscored"].values()) == sum(score is None for score in column)


def test_diversity_is_that_of_the_recorded_completions(run, found):
    recorded = [*load_run(run).iter_groups()]
    parts = {part["name"]: part for part in found["parts"]}
    assert list(parts) == ["all", "early", "late", "evaluation step-0", "evaluation step-4"]
    for name, steps in (("all", {0, 1, 2, 3}), ("early", {0}), ("late", {3})):
        groups = [group for group in recorded if group["step"] in steps]
        for measure, of in DIVERSITY.items():
            check(
                parts[name]["measures"][measure],
                [(group["problem_id"], of([r["completion"] for r in group["rollouts"]])) for group in groups],
            )
        shares = [(g["problem_id"], mean_or_zero([r["is_success"] for r in g["rollouts"]])) for g in groups]
        check(parts[name]["measures"]["success_share"], shares)


def test_diversity_at_evaluation_is_paired_by_held_out_problem(run, found):
    sides = []
    for step in (0, 4):
        texts = {}
        for row in load_run(run).completion_rows(step):
            texts.setdefault(row["problem_id"], []).append(row["completion"])
        sides.append({problem: self_bleu(of_one) for problem, of_one in texts.items()})
    (change,) = [one for one in found["changes"] if one["to"] == "evaluation step-4"]
    check(
        change["measures"]["self_bleu_4"],
        [(problem, sides[1][problem] - before) for problem, before in sides[0].items()],
    )
    summary = load_run(run).summary
    assert change["measures"]["success_share"]["mean"] == pytest.approx(summary["gain"]["mean"])


def test_tables_and_picture_hold_the_same_figures(run, found):
    folder = run / "analysis"
    signal = {(row["context"], row["minus"], row["statistic"]): row for row in rows_of(folder / "signal.csv")}
    for context in found["signal"]["contexts"]:
        for name, estimate in context["statistics"].items():
            row = signal[context["name"], "", name]
            assert row["mean"] == ("" if estimate["mean"] is None else str(estimate["mean"]))
            assert row["undefined"] == str(estimate["undefined"])
    assert len(rows_of(folder / "diversity.csv")) == sum(len(part["measures"]) for part in found["parts"])
    picture = ElementTree.parse(folder / "signal.svg").getroot()
    texts = [element.text for element in picture.iter() if element.tag.endswith("text")]
    assert set(CONTEXTS) <= set(texts)


def test_tables_fit_eighty_characters(found):
    out = io.StringIO()
    print_analysis(found, Console(file=out, width=80))
    told = out.getvalue()
    assert "…" not in told
    assert all(name in told for name in CONTEXTS)
    auc = found["signal"]["contexts"][0]["statistics"]["auc"]
    assert f"{auc['mean']:.2f} [{auc['interval'][0]:.2f}, {auc['interval'][1]:.2f}]" in told


def test_the_same_question_has_the_same_answer_and_another_seed_may_score_other_groups(run, found, tmp_path):
    _, again = analyze(Asked(str(run), contexts=CONTEXTS, groups=8, out=str(tmp_path / "again")), quiet=True)
    assert again == found
    asked = [Asked(str(run), contexts=("base",), groups=2, seed=s, out=str(tmp_path / "x")) for s in range(4)]
    chosen = [[(g["step"], g["problem_id"]) for g in analyze(one, quiet=True)[1]["signal"]["groups"]] for one in asked]
    assert len({str(one) for one in chosen}) > 1


def test_a_run_may_begin_afresh_where_one_was_analyzed(run, found):
    assert check_may_begin(run, fresh=True)


# --- what is missing ------------------------------------------------------------------------------------------------


def analyzed(run, *contexts):
    return analyze(Asked(str(run), contexts=contexts or ("base",), groups=2), quiet=True)[1]


def test_without_a_checkpoint_there_is_diversity_alone(copied):
    shutil.rmtree(copied / "checkpoints")
    found = analyzed(copied)
    assert found["signal"] is None
    assert "the teacher's signal: no checkpoint in" in "\n".join(found["missing"])
    assert found["parts"][0]["measures"]["unique_ratio"]["mean"] is not None
    assert "no checkpoint" in (copied / "analysis" / "signal.svg").read_text()
    assert rows_of(copied / "analysis" / "signal.csv") == []


def test_a_damaged_checkpoint_is_named(copied):
    newest = sorted((copied / "checkpoints").iterdir())[-1]
    (newest / "model.safetensors").write_bytes(b"half")
    found = analyzed(copied)
    assert found["signal"] is None
    assert "model.safetensors" in "\n".join(found["missing"])


def test_a_run_without_any_success_has_no_signal_and_says_so(copied):
    def fail(group):
        for rollout in group["rollouts"]:
            rollout.update(is_success=False, reward=0.0, kind="wrong")

    edited(copied, fail)
    found = analyzed(copied)
    assert found["signal"] is None
    assert "no group has a success and a failure (16 failed)" in "\n".join(found["missing"])
    assert found["parts"][0]["measures"]["success_share"]["mean"] == 0.0


def test_a_killed_run_is_read_up_to_where_it_was(copied, capsys):
    text = (copied / "groups.jsonl").read_text()
    (copied / "groups.jsonl").write_text(text[: len(text) - 200])
    shutil.rmtree(copied / "evaluations")
    (copied / "summary.json").unlink()
    assert main(["analyze", str(copied), "--contexts", "base", "--groups", "2", "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "missing: 1 lines of groups.jsonl cannot be read" in told
    assert "missing: diversity at evaluation" in told


def test_what_an_earlier_version_did_not_record_has_the_value_for_nothing(copied):
    def older(group):
        del group["domain"]
        for rollout in group["rollouts"]:
            del rollout["token_count"], rollout["feedback"], rollout["answer"]

    edited(copied, older)
    found = analyzed(copied, "base", "1S")
    assert found["missing"] == []
    assert found["signal"]["contexts"][1]["rollouts"] > 0


def test_text_that_the_student_has_no_tokens_for_costs_one_group_and_control_characters_are_shown(copied, capsys):
    def spoil(group):
        if group["step"] == 0:
            group["rollouts"][0]["completion"] = "\x1b[31m\x00\u202e</svg>"

    edited(copied, spoil)
    assert main(["analyze", str(copied), "--contexts", "base,1S", "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "missing: the signal of sort-digits" in told
    assert not {"\x1b", "\x00", "\u202e"} & set(told)
    assert json.loads((copied / "analysis" / "analysis.json").read_text())["signal"]["groups"]
    ElementTree.parse(copied / "analysis" / "signal.svg")


def test_a_run_whose_objective_has_no_teacher_is_scored_by_its_student_from_the_problem_alone(copied):
    config = json.loads((copied / "config.json").read_text())
    config["objective"] = {"kind": "grpo"}
    (copied / "config.json").write_text(json.dumps(config))
    found = analyze(Asked(str(copied), groups=2), quiet=True)[1]
    assert [context["name"] for context in found["signal"]["contexts"]] == ["base"]
    assert found["scored_by"]["teacher"] is None
    asked = analyzed(copied, "base", "1S")
    assert asked["signal"]["contexts"][1]["rollouts"] > 0


# --- rollouts of other systems --------------------------------------------------------------------------------------


def sums(step, seed=0):
    """(step, a prompt of digits, a completion, whether it is sorted) of two problems with four attempts each."""
    rng = random.Random(seed + step)
    rows = []
    for prompt in ("312", "0754"):
        for attempt in range(4):
            digits = list(prompt)
            rng.shuffle(digits)
            text = "".join(sorted(prompt) if attempt % 2 else digits)
            rows.append((step, prompt, text, text == "".join(sorted(prompt))))
    return rows


def write_verl(folder, steps=(1, 2, 10)):
    """As verl's `_dump_generations` does: STEP.jsonl, rollouts of a group anywhere in it."""
    folder.mkdir()
    for step in steps:
        rows = [
            {
                "input": f"system\nYou sort.\nuser\n{prompt}\nassistant\n",
                "output": text,
                "gts": "".join(sorted(prompt)),
                "score": float(right),
                "step": step,
                "acc": right,
            }
            for step, prompt, text, right in sums(step)
        ]
        random.Random(0).shuffle(rows)
        (folder / f"{step}.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return folder


def test_a_folder_of_verl_is_grouped_by_step_and_prompt(tmp_path):
    folder, found = analyze(Asked(str(write_verl(tmp_path / "dump"))), quiet=True)
    assert folder == tmp_path / "dump.analysis"
    assert found["read_as"][0].startswith("verl: prompt is `input`, completion is `output`, reward is `score`")
    assert found["groups"] == 6
    shares = [right for step in (1, 2, 10) for *_, right in sums(step)]
    parts = {part["name"]: part for part in found["parts"]}
    assert parts["all"]["measures"]["success_share"]["mean"] == pytest.approx(mean_or_zero(shares))
    assert parts["late"]["groups"] == 2
    late = mean_or_zero([right for *_, right in sums(10)])
    assert parts["late"]["measures"]["success_share"]["mean"] == pytest.approx(late)
    assert [told for told in found["missing"] if "--student MODEL" in told]


def test_prompts_that_a_chat_template_wrote_for_verl_are_read_as_turns(tmp_path):
    groups, _ = open_files(write_verl(tmp_path / "dump"), 1.0, None, None, None)
    ((_, group),) = groups.read([0])
    assert group.problem.messages[0] == {"role": "system", "content": "You sort."}
    assert group.problem.messages[1]["content"] in ("312", "0754")
    assert len(group.rollouts) == 4


def test_the_tables_of_trl_are_read_with_turns_several_rewards_and_rewards_that_are_missing(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    folder = tmp_path / "completions"
    folder.mkdir()
    for step in (5, 10):
        rows = sums(step)
        table = {
            "step": [step] * len(rows),
            "prompt": [[{"role": "user", "content": prompt}] for _, prompt, *_ in rows],
            "completion": [[{"role": "assistant", "content": text}] for *_, text, _ in rows],
            "sorted_reward": [float(right) for *_, right in rows],
            "format_reward": [None if i % 4 == 0 else 0.5 for i in range(len(rows))],
            "advantage": [0.0] * len(rows),
        }
        pandas.DataFrame(table).to_parquet(folder / f"completions_{step:05d}.parquet")
    _, found = analyze(Asked(str(folder), success=1.5), quiet=True)
    assert found["read_as"][0].endswith("reward is `sorted_reward + format_reward`")
    assert (found["groups"], found["missing"][1:]) == (4, [])
    rewards = [right + (0.0 if i % 4 == 0 else 0.5) for step in (5, 10) for i, (*_, right) in enumerate(sums(step))]
    measures = found["parts"][0]["measures"]
    assert measures["reward_mean"]["mean"] == pytest.approx(mean_or_zero(rewards))
    assert measures["success_share"]["mean"] == pytest.approx(mean_or_zero([r >= 1.5 for r in rewards]))
    _, alone = analyze(Asked(str(folder), reward="sorted_reward"), quiet=True)
    shares = [right for step in (5, 10) for *_, right in sums(step)]
    assert alone["parts"][0]["measures"]["success_share"]["mean"] == pytest.approx(mean_or_zero(shares))


def test_lines_that_cannot_be_read_are_counted_and_named_and_the_rest_is_analyzed(tmp_path):
    file = tmp_path / "rollouts.jsonl.gz"
    good = [json.dumps({"prompt": p, "completion": c, "reward": float(r)}) for _, p, c, r in sums(1)]
    bad = ["{ not json", "[1]", '{"prompt": "3"}', '{"prompt": "3", "completion": "3", "reward": "high"}']
    none = '{"prompt": "312", "completion": "123", "reward": null}'
    with gzip.open(file, "wt") as out:
        out.write("\n".join([good[0], *bad, none, *good[1:]]) + '\n{"prompt": "half')
    folder, found = analyze(Asked(str(file)), quiet=True)
    assert folder == tmp_path / "rollouts.analysis"
    told = "\n".join(found["missing"])
    assert "1 records left out: no JSON (the first: rollouts.jsonl.gz, record 2)" in told
    assert "1 records left out: no JSON object (the first: rollouts.jsonl.gz, record 3)" in told
    assert "1 records left out: no completion" in told
    assert "1 records left out: a reward that is no number" in told
    assert "1 records left out: half a line" in told
    assert found["groups"] == 2
    assert [part["name"] for part in found["parts"]] == ["all"]
    shares = [mean_or_zero([r for _, p, _, r in sums(1) if p == prompt]) for prompt in ("312", "0754")]
    assert found["parts"][0]["measures"]["success_share"]["mean"] == pytest.approx(mean_or_zero(shares))


def test_a_model_scores_a_file_and_statistics_are_those_of_its_scores(tmp_path):
    file = tmp_path / "rollouts.jsonl"
    rows = [{"question": p, "text": c, "points": 5.0 * r, "step": s} for s in (1, 2) for s, p, c, r in sums(s)]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    columns = ["--prompt", "question", "--completion", "text", "--reward", "points", "--success", "5"]
    command = ["analyze", str(file), "--student", "builtin:digits", "--contexts", "base,1S", "--quiet", *columns]
    assert main(command) == 0
    found = json.loads((tmp_path / "rollouts.analysis" / "analysis.json").read_text())
    assert found["scored_by"]["model"] == "builtin:digits"
    assert found["missing"] == []
    for context in found["signal"]["contexts"]:
        values = [(group["problem_id"], column(group, context["name"])) for group in found["signal"]["groups"]]
        for number, name in enumerate(NAMES):
            check(context["statistics"][name], [(problem, of_one[number]) for problem, of_one in values])


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "error", "told"),
    [
        ({"contexts": ("2S1G",)}, ConfigError, "2S1G"),
        ({"contexts": ("0S0F",)}, ConfigError, "0S0F"),
        ({"groups": 0}, ConfigError, "--groups 0"),
        ({"success": 1.0}, ConfigError, "--success beside the run"),
        ({"reward": "score"}, ConfigError, "--reward beside the run"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_before_anything_is_read(run, tmp_path, asked, error, told):
    with pytest.raises(error, match=told):
        analyze(Asked(str(run), out=str(tmp_path / "out"), **asked), quiet=True)
    assert not (tmp_path / "out").exists()


def test_what_holds_no_rollouts_is_refused(tmp_path):
    with pytest.raises(ProblemError, match="no such file"):
        analyze(Asked(str(tmp_path / "none.jsonl")), quiet=True)
    with pytest.raises(ProblemError, match="no run, and no file"):
        analyze(Asked(str(tmp_path)), quiet=True)
    (tmp_path / "a.jsonl").write_text('{"question": "3", "answer": "3"}\n')
    with pytest.raises(ProblemError, match="no prompt among the columns question, answer"):
        analyze(Asked(str(tmp_path / "a.jsonl")), quiet=True)
    (tmp_path / "b.jsonl").write_text('{"prompt": "3", "completion": "3", "speed": 1.0, "length": 2}\n')
    with pytest.raises(ProblemError, match="speed, length could be"):
        analyze(Asked(str(tmp_path / "b.jsonl")), quiet=True)
    assert main(["analyze", str(tmp_path / "b.jsonl")]) == 2


def test_a_model_that_was_named_and_does_not_open_is_refused(run, tmp_path):
    with pytest.raises(StudentError, match="nowhere"):
        analyze(Asked(str(run), student=str(tmp_path / "nowhere"), out=str(tmp_path / "out")), quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused_first(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can be written"):
        analyze(Asked(str(run), out=str(tmp_path / "file")), quiet=True)
