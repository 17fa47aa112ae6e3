"""The command line on a real run: train, evaluate, show-context, config."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mopd import load_config, train
from mopd.cli import main
from mopd.config import config_markdown
from mopd.method.contexts import render_context
from mopd.runs.reading import read_config
from mopd.runs.records import read_jsonl

ROOT = Path(__file__).parents[2]
TINY = str(ROOT / "tests" / "configs" / "tiny.toml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, made through the Python interface."""
    run = tmp_path_factory.mktemp("cli") / "run"
    summary = train(load_config(TINY, [f"run='{run}'"]), quiet=True)
    return run, summary


def test_a_run_leaves_what_it_takes_to_audit_and_plot_it(finished):
    run, summary = finished
    assert json.loads((run / "summary.json").read_text()) == summary
    assert read_config(run).steps == 6
    metrics, groups = read_jsonl(run / "metrics.jsonl"), read_jsonl(run / "groups.jsonl")
    assert [row["step"] for row in metrics] == list(range(6))
    assert len(groups) == 6 * 4
    assert all(len(group["rollouts"]) == 4 for group in groups)
    assert all(r["is_lesson"] == (r["no_lesson_reason"] is None) for g in groups for r in g["rollouts"])
    assert sum(row["lessons/count"] for row in metrics) == sum(r["is_lesson"] for g in groups for r in g["rollouts"])
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"]
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"step-4", "step-6"}


def test_the_summary_holds_floats_before_and_after(finished):
    _, summary = finished
    for when in ("before", "after"):
        for key in ("mean_at_8", "pass_at_8"):
            assert isinstance(summary[when][key], float)
            low, high = summary[when][f"{key}_interval"]
            assert low <= summary[when][key] <= high
    assert set(summary["seconds"]) == {"warmup", "train", "evaluate", "total"}
    assert all(isinstance(value, float) for value in summary["seconds"].values())


def test_no_recorded_peer_is_the_rollout_itself(finished):
    run, _ = finished
    for group in read_jsonl(run / "groups.jsonl"):
        for rollout in group["rollouts"]:
            shown = rollout["peers"]["successes"] + rollout["peers"]["failures"]
            assert rollout["index"] not in shown
            assert all(group["rollouts"][i]["is_success"] for i in rollout["peers"]["successes"])
            assert not any(group["rollouts"][i]["is_success"] for i in rollout["peers"]["failures"])


def test_transformers_opens_a_checkpoint(finished):
    run, _ = finished
    model = AutoModelForCausalLM.from_pretrained(run / "checkpoints" / "step-6")
    tokenizer = AutoTokenizer.from_pretrained(run / "checkpoints" / "step-6")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "312"}], add_generation_prompt=True, tokenize=False
    )
    assert prompt == "^312>"
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "312"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    written = model.generate(ids, max_new_tokens=4, do_sample=False)[0, ids.shape[1] :]
    assert 1 <= len(written) <= 4


def test_evaluate_with_the_runs_seed_repeats_the_figures_after_training(finished, tmp_path):
    run, summary = finished
    out = tmp_path / "out.json"
    assert main(["evaluate", str(run), "--json", str(out), "--quiet"]) == 0
    figures = json.loads(out.read_text())
    for key in ("mean_at_8", "mean_at_8_interval", "pass_at_8"):
        assert figures[key] == summary["after"][key]


def test_evaluate_with_another_seed_samples_anew(finished, tmp_path):
    run, summary = finished
    out = tmp_path / "out.json"
    checkpoint = str(run / "checkpoints" / "step-6")
    assert main(["evaluate", checkpoint, TINY, "--seed", "9", "--json", str(out), "--quiet"]) == 0
    figures = json.loads(out.read_text())
    assert figures["seed"] == 9
    assert figures["successes_by_problem"] != summary["after"]["successes_by_problem"]
    assert set(figures["successes_by_problem"]) == set(summary["after"]["successes_by_problem"])


def test_evaluate_a_model_without_a_configuration_says_what_is_missing(finished, capsys):
    run, _ = finished
    assert main(["evaluate", str(run / "checkpoints" / "step-6")]) == 2
    assert "CONFIG.toml" in capsys.readouterr().err


def test_show_context_prints_what_the_teacher_read(finished, capsys):
    run, _ = finished
    groups = read_jsonl(run / "groups.jsonl")
    group, rollout = next((g, r) for g in groups for r in g["rollouts"] if r["peers"]["failures"] and r["is_lesson"])
    arguments = ["--step", str(group["step"]), "--problem", group["problem_id"], "--rollout", str(rollout["index"])]
    assert main(["show-context", str(run), *arguments]) == 0
    printed = capsys.readouterr().out
    texts = {r["index"]: r["completion"] for r in group["rollouts"]}
    expected = render_context(
        group["prompt"],
        [texts[i] for i in rollout["peers"]["successes"]],
        [texts[i] for i in rollout["peers"]["failures"]],
        template=_digits_template(),
        order="failures_first",  # what `auto` is where the recipe is fixed
    )
    assert f"^{expected.messages[-1]['content']}>" in printed
    assert f"{rollout['context_tokens']} tokens" in printed


def test_show_context_names_the_rollout_its_verdict_and_reference(finished, capsys):
    run, _ = finished
    assert main(["show-context", str(run), "--step", "2"]) == 0
    printed = capsys.readouterr().out
    group = next(
        g for g in read_jsonl(run / "groups.jsonl") if g["step"] == 2 and f"problem {g['problem_id']}," in printed
    )
    rollout = group["rollouts"][int(printed.split("rollout ")[1].split()[0])]
    assert f"step 2, problem {group['problem_id']}, rollout {rollout['index']}\n" in printed
    assert f"verdict: {rollout['kind']}, reward {rollout['reward']:g}" in printed
    assert f"reference: {''.join(sorted(group['prompt'][-1]['content']))}\n" in printed


def test_show_context_has_the_scores_that_student_and_teacher_give(finished, capsys):
    """Student and teacher of the checkpoint, read by transformers alone."""
    run, _ = finished
    group, rollout = next(
        (g, r)
        for g in read_jsonl(run / "groups.jsonl")
        for r in g["rollouts"]
        if r["context_tokens"] and not r["is_success"]
    )
    place = ["--step", str(group["step"]), "--problem", group["problem_id"], "--rollout", str(rollout["index"])]
    assert main(["show-context", str(run), *place, "--scores"]) == 0
    printed = capsys.readouterr().out
    lines = printed.split("teacher - student\n")[1].splitlines()
    assert [line.split("'")[1] for line in lines[: len(rollout["completion"])]] == list(rollout["completion"])
    checkpoint = run / "checkpoints" / "step-6"
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    prompt = tokenizer.apply_chat_template(group["prompt"], add_generation_prompt=True, return_dict=False)
    own = tokenizer.encode(rollout["completion"], add_special_tokens=False)
    with torch.no_grad():
        logprobs = model(torch.tensor([prompt + own])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    expected = logprobs[range(len(own)), own].tolist()
    assert [float(line.split()[1]) for line in lines[: len(own)]] == pytest.approx(expected, abs=0.006)
    for line in lines:
        teacher, student, gain = map(float, line.split()[:3])
        assert teacher - student == pytest.approx(gain, abs=0.011)
    assert any(float(line.split()[2]) for line in lines)


def test_a_picture_of_a_run_is_a_drawing_of_one_of_its_groups(finished, capsys):
    run, _ = finished
    assert main(["picture", str(run)]) == 0
    drawn = ElementTree.fromstring(capsys.readouterr().out)
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    groups = read_jsonl(run / "groups.jsonl")
    index = int(next(text for text in texts if text.startswith("3  correct rollout")).split()[3])
    group = next(g for g in groups if texts[0] == f"1  attempt: {g['prompt'][-1]['content']}")
    assert not group["rollouts"][index]["is_success"]
    assert {f"{r['index']}  {r['completion']}" for r in group["rollouts"]} <= set(texts)
    assert any(text.startswith("success ") for text in texts)
    bars = [text for text in texts if text[0] in "+-" and text[1:].replace(".", "").isdigit()]
    assert len(bars) == group["rollouts"][index]["token_count"]


def test_a_picture_of_a_run_without_a_failed_rollout_says_so(finished, capsys):
    run, _ = finished
    assert main(["picture", str(run), "--step", "99"]) == 2
    assert "failed rollout" in capsys.readouterr().err


def _digits_template():
    from mopd.models.embedded import EMBEDDED

    return EMBEDDED["digits"].template


def test_show_context_opens_no_weights(finished, capsys, monkeypatch):
    run, _ = finished
    monkeypatch.setattr("transformers.LlamaForCausalLM.__init__", None)
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    assert main(["show-context", str(run)]) == 0
    assert "what the teacher reads" in capsys.readouterr().out


def test_show_context_of_nothing_says_where_to_look(finished, capsys):
    run, _ = finished
    assert main(["show-context", str(run), "--step", "99"]) == 2
    assert "groups.jsonl" in capsys.readouterr().err


def test_the_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "mopd", "config"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "peers.successes" in done.stdout


def test_the_documentation_of_the_configuration_is_generated():
    assert (ROOT / "docs" / "config.md").read_text() == config_markdown(), "run `make docs`"


def test_every_key_of_the_configuration_has_a_meaning():
    from mopd.config import config_keys

    assert [key for key, (_, _, meaning) in config_keys().items() if not meaning] == []


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.toml")), ids=lambda path: path.name)
def test_every_configuration_loads_and_survives_its_own_dump(path):
    config = load_config(path)
    assert type(config).model_validate_json(config.model_dump_json()) == config
    assert config.run == f"runs/{path.stem}"


def test_fresh_moves_an_earlier_run_aside(finished, tmp_path):
    config = load_config(TINY, [f"run='{tmp_path / 'run'}'", "steps=1"])
    first = train(config, quiet=True)
    train(config, fresh=True, quiet=True)
    assert json.loads((tmp_path / "run.1" / "summary.json").read_text()) == first


def test_the_same_seed_gives_the_same_run(finished, tmp_path):
    run, summary = finished
    again = train(load_config(TINY, [f"run='{tmp_path / 'run'}'"]), quiet=True)
    assert again["after"] == summary["after"]
    assert (tmp_path / "run" / "groups.jsonl").read_bytes() == (run / "groups.jsonl").read_bytes()


def test_another_seed_gives_another_run(finished, tmp_path):
    run, _ = finished
    train(load_config(TINY, [f"run='{tmp_path / 'run'}'", "seed=1", "steps=1"]), quiet=True)
    ours, theirs = (read_jsonl(path / "groups.jsonl")[0] for path in (tmp_path / "run", run))
    assert ours["problem_id"] != theirs["problem_id"] or ours["rollouts"] != theirs["rollouts"]


@pytest.mark.parametrize("objective", ["grpo", "sft"])
def test_the_other_objectives_train_on_the_same_groups(objective, finished, tmp_path):
    run, _ = finished
    train(load_config(TINY, [f"run='{tmp_path / 'run'}'", f"objective.kind='{objective}'", "steps=2"]), quiet=True)
    ours, theirs = (read_jsonl(path / "groups.jsonl")[:4] for path in (tmp_path / "run", run))
    completions = [[r["completion"] for g in groups for r in g["rollouts"]] for groups in (ours, theirs)]
    assert completions[0] == completions[1]
    assert sum(row["lessons/count"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl")) > 0
    assert not (tmp_path / "run" / "checkpoints" / "step-2" / "teacher.safetensors").exists()
