"""The Python API: what may be passed instead of named, what a run keeps of it, and a run as data."""

import dataclasses
import json
import shutil

import datasets
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import mopd
from mopd import Problem, load_config, load_run, resume, train
from mopd.core.errors import ConfigError, ProblemError, RunError, StudentError
from mopd.runs.checkpoint import latest_checkpoint
from tests.architectures import make_model, make_tokenizer, save
from tests.integration.resuming import assert_equal_runs
from tests.integration.test_pretrained import config_for

RECORDS = [{"id": f"p{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(12)]
PROBLEMS = [Problem(r["id"], ({"role": "user", "content": r["question"]},), r["answer"], "exact") for r in RECORDS]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model"), "llama")


def config_at(folder, model, *overrides):
    folder.mkdir(exist_ok=True)
    return config_for(folder, model, *overrides)


def of_records(folder, model, *overrides):
    return config_at(folder, model, "problems.columns={prompt='question'}", *overrides)


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def unfinish(run, steps=2):
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints" / f"step-{steps}")


def inputs(run):
    return json.loads((run / "inputs.json").read_text())["problems"]


# --- problems -------------------------------------------------------------------------------------------------------


def test_records_problems_and_data_sets_train_as_the_same_records_in_a_file_do(tmp_path, model):
    file = write(tmp_path / "records.jsonl", RECORDS)
    train(of_records(tmp_path / "file", model, f"problems.source='{file}'"), quiet=True)
    train(of_records(tmp_path / "list", model), problems=RECORDS, quiet=True)
    train(of_records(tmp_path / "set", model), problems=datasets.Dataset.from_list(RECORDS), quiet=True)
    train(config_at(tmp_path / "problems", model), problems=PROBLEMS, quiet=True)
    for name in ("list", "set", "problems"):
        assert_equal_runs(tmp_path / name / "run", tmp_path / "file" / "run")
    assert inputs(tmp_path / "list" / "run") == inputs(tmp_path / "set" / "run") == inputs(tmp_path / "file" / "run")
    assert load_run(tmp_path / "list" / "run").config.problems.source == "python:problems"


def test_held_out_problems_may_be_passed_beside_a_file_of_problems(tmp_path, model):
    file = write(tmp_path / "records.jsonl", RECORDS)
    config = of_records(tmp_path / "run", model, f"problems.source='{file}'")
    train(config, held_out=PROBLEMS[:2], quiet=True)
    found = inputs(tmp_path / "run" / "run")
    assert (found["train"]["count"], found["held_out"]["count"]) == (10, 2)


def test_a_run_goes_on_with_the_problems_it_was_given_and_with_no_others(tmp_path, model):
    config, run = of_records(tmp_path / "one", model), tmp_path / "one" / "run"
    train(of_records(tmp_path / "whole", model), problems=RECORDS, quiet=True)
    train(config, problems=RECORDS, quiet=True)
    unfinish(run)
    with pytest.raises(RunError, match=r"pass problems=\.\.\. again in Python"):
        resume(run, quiet=True)
    with pytest.raises(RunError, match="not all as they were"):
        resume(run, problems=[*RECORDS[:-1], RECORDS[-1] | {"answer": "0"}], quiet=True)
    resume(run, problems=RECORDS, quiet=True)
    assert_equal_runs(run, tmp_path / "whole" / "run")


def test_a_run_of_passed_problems_goes_on_from_a_file_of_the_same_records(tmp_path, model):
    config, run = of_records(tmp_path / "one", model), tmp_path / "one" / "run"
    train(config, problems=RECORDS, quiet=True)
    unfinish(run)
    asked = load_run(run).config
    file = write(tmp_path / "records.jsonl", RECORDS)
    asked = asked.model_copy(update={"problems": asked.problems.model_copy(update={"source": str(file)})})
    assert resume(run, expected=asked, quiet=True)["steps"] == 2


def test_a_run_of_a_file_is_not_resumed_with_passed_problems(tmp_path, model):
    train(config_at(tmp_path / "one", model), quiet=True)
    unfinish(tmp_path / "one" / "run")
    with pytest.raises(RunError, match="problems passed, but the run's come from"):
        resume(tmp_path / "one" / "run", problems=PROBLEMS, quiet=True)


def test_a_run_of_passed_problems_is_evaluated_with_them_and_on_others_where_told(tmp_path, model):
    config, run = of_records(tmp_path / "one", model), tmp_path / "one" / "run"
    summary = train(config, problems=RECORDS, quiet=True)
    figures = mopd.evaluate(run, problems=RECORDS, quiet=True)
    assert figures["successes_by_problem"].keys() == summary["after"]["successes_by_problem"].keys()
    with pytest.raises(RunError, match="no problems, but the run's were passed"):
        mopd.evaluate(run, quiet=True)
    other = mopd.evaluate(run, config, problems=RECORDS[:4], quiet=True)
    assert other["problems"] == 2


def test_a_model_in_memory_is_evaluated_as_its_folder_is(tmp_path, model):
    config = of_records(tmp_path / "one", model)
    figures = mopd.evaluate(model, config, problems=RECORDS, quiet=True)
    inner = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    assert mopd.evaluate(inner, config, problems=RECORDS, quiet=True) == figures | {"model": "python:LlamaForCausalLM"}
    with pytest.raises(StudentError, match="a pair"):
        mopd.evaluate(inner[0], config, problems=RECORDS, quiet=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one problem"),
        ("problems.jsonl", "a str"),
        ({"train": RECORDS}, "pass one split"),
        ([*PROBLEMS, RECORDS[0]], "a list of Problem and dict"),
        ([1], "a list of int"),
        ([{"prompt": "a", "answer": object()}], "record 1: a object"),
        ([PROBLEMS[0], PROBLEMS[0]], "id 'p0' of problems 1 and 2"),
        ([dataclasses.replace(PROBLEMS[0], messages=())], "problem 1"),
        ([dataclasses.replace(PROBLEMS[0], columns={"x": [object()]})], "a object in"),
        ([dataclasses.replace(PROBLEMS[0], columns={"x": {1, 2}})], "a set in"),
    ],
)
def test_what_are_no_problems_is_refused_and_leaves_no_trace(tmp_path, model, given, message):
    with pytest.raises(ProblemError, match=message):
        train(config_at(tmp_path / "one", model), problems=given, quiet=True)
    assert not (tmp_path / "one" / "run").exists()


def test_problems_are_passed_or_named_and_not_both(tmp_path, model):
    held_out = f"problems.held_out_source='{tmp_path / 'one' / 'problems.jsonl'}'"
    with pytest.raises(ConfigError, match="held_out passed"):
        train(config_at(tmp_path / "one", model, held_out), held_out=PROBLEMS[:2], quiet=True)
    with pytest.raises(ConfigError, match=r"problems\.verifier belongs to records"):
        train(config_at(tmp_path / "one", model, "problems.verifier='math'"), problems=PROBLEMS, quiet=True)


# --- student --------------------------------------------------------------------------------------------------------


def test_a_model_that_is_passed_trains_as_its_folder_does_and_is_trained_itself(tmp_path, model):
    passed = make_model("llama")
    train(config_at(tmp_path / "folder", model), quiet=True)
    train(config_at(tmp_path / "passed", "unread"), student=(passed, make_tokenizer()), quiet=True)
    assert_equal_runs(tmp_path / "passed" / "run", tmp_path / "folder" / "run")
    assert load_run(tmp_path / "passed" / "run").config.student == "python:LlamaForCausalLM"
    kept = type(passed).from_pretrained(latest_checkpoint(tmp_path / "passed" / "run" / "checkpoints"))
    for (name, one), (_, two) in zip(passed.named_parameters(), kept.named_parameters(), strict=True):
        assert torch.equal(one, two), name


def test_a_run_of_a_passed_model_goes_on_from_its_checkpoint_without_it(tmp_path):
    for name in ("whole", "ended"):
        given = (make_model("llama"), make_tokenizer())
        train(config_at(tmp_path / name, "unread"), student=given, quiet=True)
    run = tmp_path / "ended" / "run"
    unfinish(run)
    resume(run, quiet=True)
    assert_equal_runs(run, tmp_path / "whole" / "run")


def test_a_run_of_a_passed_model_that_has_no_checkpoint_says_that_it_begins_again(tmp_path):
    train(config_at(tmp_path / "one", "unread"), student=(make_model("llama"), make_tokenizer()), quiet=True)
    run = tmp_path / "one" / "run"
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(StudentError, match="begin the run again"):
        resume(run, quiet=True)


def test_a_model_that_cannot_be_trained_whole_is_refused_as_it_is(tmp_path):
    frozen = make_model("llama").bfloat16()
    frozen.get_input_embeddings().requires_grad_(False)
    for given, message in (
        ((frozen, make_tokenizer()), "requires_grad = False"),
        ((torch.nn.Linear(2, 2), make_tokenizer()), "Linear in the place of a PreTrainedModel"),
        ((make_model("llama"), "tokenizer"), "str in the place of a PreTrainedTokenizerBase"),
        (make_model("llama"), "a LlamaForCausalLM"),
    ):
        with pytest.raises(StudentError, match=message):
            train(config_at(tmp_path / "one", "unread"), student=given, quiet=True)
    assert frozen.dtype == torch.bfloat16
    assert not (tmp_path / "one" / "run").exists()


# --- a callback -----------------------------------------------------------------------------------------------------


def test_a_callback_is_told_of_every_step_once_it_is_recorded(tmp_path, model):
    config, run, told = config_at(tmp_path / "one", model), tmp_path / "one" / "run", []

    def on_step(done):
        rows = [*load_run(run).metrics_rows()]
        assert rows[-1] == {"step": done.step, **done.metrics}
        assert [group.problem.id for group in done.groups] == [
            group["problem_id"] for group in load_run(run).iter_groups() if group["step"] == done.step
        ]
        with pytest.raises(TypeError):
            done.metrics["reward/mean"] = 1.0
        told.append(done.step)
        return False  # ignored

    train(config, on_step=on_step, quiet=True)
    assert told == [0, 1]


def test_what_a_callback_raises_ends_the_run_and_loses_nothing(tmp_path, model):
    train(config_at(tmp_path / "whole", model), quiet=True)
    config, run = config_at(tmp_path / "one", model), tmp_path / "one" / "run"

    def stop(done):
        raise ZeroDivisionError("enough")

    with pytest.raises(ZeroDivisionError, match="enough"):
        train(config, on_step=stop, quiet=True)
    assert latest_checkpoint(run / "checkpoints").name == "step-1"
    told = []
    resume(run, on_step=lambda done: told.append(done.step), quiet=True)
    assert told == [1]
    assert_equal_runs(run, tmp_path / "whole" / "run")


# --- a run as data --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("finished")
    train(config_for(folder, model), quiet=True)
    return folder / "run"


def test_a_run_is_tables_and_rows(finished):
    run = load_run(str(finished))
    assert (run.config.steps, run.summary["steps"], run.preflight, run.damaged_lines) == (2, 2, None, 0)
    assert run.metrics["step"].tolist() == [0, 1]
    for row, read in zip(run.metrics.to_dict("records"), run.metrics_rows(), strict=True):
        assert {name: row[name] for name in read} == read
    rollouts = run.groups
    assert len(rollouts) == sum(len(group["rollouts"]) for group in run.iter_groups()) == 2 * 2 * 4
    assert {"step", "problem_id", "domain", "prompt", "index", "completion", "reward", "kind"} <= {*rollouts.columns}
    assert run.evaluations["step"].tolist() == [row["step"] for row in run.evaluation_rows()] == [0, 2]


def test_half_a_line_of_a_killed_run_is_left_out_and_counted(finished, tmp_path):
    copied = shutil.copytree(finished, tmp_path / "run")
    (copied / "summary.json").unlink()
    for name in ("metrics.jsonl", "groups.jsonl"):
        whole = (copied / name).read_bytes()
        (copied / name).write_bytes(whole[:-20])
    (copied / "evaluations.jsonl").write_bytes(b"")
    run = load_run(copied)
    assert (run.summary, run.damaged_lines, run.metrics["step"].tolist()) == (None, 2, [0])
    assert len([*run.iter_groups()]) == 3
    assert len(run.evaluations) == 0
    (copied / "metrics.jsonl").write_text("{\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 1"):
        _ = run.metrics


def test_groups_are_read_a_line_at_a_time(finished, tmp_path):
    copied = shutil.copytree(finished, tmp_path / "run")
    with open(copied / "groups.jsonl", "a") as file:
        file.write("damaged\n")
    rows = load_run(copied).iter_groups()
    assert [next(rows)["step"] for _ in range(4)] == [0, 0, 1, 1]
    with pytest.raises(RunError, match="line 5"):
        next(rows)


def test_a_run_that_has_done_no_step_is_empty(finished, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(finished / "config.json", tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert (run.summary, [*run.metrics_rows()], len(run.groups), run.damaged_lines) == (None, [], 0, 0)


def test_what_is_no_run_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError, match="no config"):
            load_run(path)


# --- the configuration ----------------------------------------------------------------------------------------------


def test_a_configuration_is_a_file_a_mapping_or_text(tmp_path):
    text = "steps = 7\n[peers]\nfailures = 0\n"
    (tmp_path / "a=b.toml").write_text(text)
    of_file = load_config(str(tmp_path / "a=b.toml"))
    assert of_file.run == "runs/a=b"
    for source in (text, "steps=7", {"steps": 7, "peers": {"failures": 0}}, tmp_path / "a=b.toml"):
        assert load_config(source).steps == 7
    assert load_config(text) == load_config({"steps": 7, "peers": {"failures": 0}})
    assert load_config(text).run == "runs/mopd"


def test_overrides_are_lines_a_mapping_or_keywords():
    base = {"problems": {"columns": {"prompt": "q"}, "held_out": 3}}
    lines = load_config(base, ["steps=5", "peers.failures=0"])
    assert lines == load_config(base, {"steps": 5, "peers.failures": 0})
    assert lines == load_config(base, steps=5, peers={"failures": 0})
    assert lines == load_config(base, ["steps=4"], steps=5, peers={"failures": 0})
    merged = load_config(base, problems={"columns": {"answer": "a"}})
    assert merged.problems.columns == {"prompt": "q", "answer": "a"}
    assert load_config(base, {"problems.columns": {}}).problems.columns == {}


@pytest.mark.parametrize(
    ("source", "overrides", "message"),
    [
        ({"steps": 0}, (), r"0 \(from the mapping\)"),
        ("steps = 0", (), r"0 \(from the TOML text\)"),
        ("steps =", (), "the TOML text: "),
        ("steps = 3", ["steps=0"], r"0 \(from the override of steps\)"),
        ("steps = 3", {"peers": {"failures": -1}}, r"-1 \(from the override of peers\.failures\)"),
        ("peers.successes = -1", {"steps": 3}, r"-1 \(from the TOML text\)"),
        ({"stepz": 1}, (), r"stepz \(from the mapping\)"),
        ({}, "steps=3", "put it into a list"),
        (3, (), "a int"),
        ("nowhere.toml", (), "nowhere.toml"),
        ("", (), "check the path"),
    ],
)
def test_errors_say_where_a_value_came_from(source, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(source, overrides)
