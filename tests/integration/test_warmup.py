"""The warm-up on solutions: it teaches the task and reading, its figures are in the summary, and it is cached."""

import json

import pytest
import torch

from mopd import train
from mopd.config import build_config
from mopd.core.errors import ProblemError
from mopd.core.seeding import derive_rng
from mopd.evaluation.target import evaluate
from mopd.judging.verdicts import judge, verify
from mopd.preflight.setup import prepare, prepare_problems
from mopd.verifiers import demonstration
from mopd.warmup import cache
from mopd.warmup.cache import cache_folder
from mopd.warmup.demonstrations import Solutions
from tests.builders import UNMEASURED, make_group

LEARNING = "steps=55, batch_size=32, learning_rate=3e-3"


def config_for(tmp_path, *overrides):
    """Three-digit sorting by an embedded student, but warmed up as a pretrained one."""
    return build_config(
        {},
        [
            *UNMEASURED,
            f"run='{tmp_path / 'run'}'",
            "problems.size=200",
            "problems.held_out=24",
            "problems.options={length=3}",
            f"warmup={{kind='solutions', {LEARNING}, context_steps=60, context_problems=24}}",
            "sampling.completion_tokens=6",
            "context.tokens=60",
            "steps=2",
            "problems_per_step=4",
            "group_size=4",
            "optimizer.learning_rate=1e-4",
            "compute.threads=1",
            *overrides,
        ],
    )


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOPD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.long
def test_the_summary_tells_what_the_warm_up_taught(own_cache, tmp_path):
    measured = ("preflight.action='warn'", "peers.recipe='auto'")
    summary = train(config_for(tmp_path, *measured), quiet=True)
    warmup = summary["warmup"]
    assert warmup["is_cached"] is False
    assert warmup["before"]["mean_at_1"] < 0.1 < summary["before"]["mean_at_8"]
    assert warmup["loss_nats"] > 0 < warmup["contexts_loss_nats"]
    assert 0 < warmup["rollouts_success_share"] < 1
    assert warmup["solutions_rejected_count"] == warmup["skipped_nonfinite_count"] == 0
    assert warmup["problems_without_solution_count"] == warmup["problems_too_long_count"] == 0
    found = summary["preflight"]
    assert found["attempts"]["attempted"] == sum(found["attempts"][kind] for kind in ("mixed", "solved", "failed"))
    assert found["attempts"]["mixed"] > 0
    alone, *readings = found["readings"]
    assert alone["recipe"] is None
    reading = {row.pop("name"): {key: row[key] for key in row if key != "recipe"} for row in readings}
    for recipe in ("1S0F", "1S1F, failures first", "1S1F, successes first"):
        assert reading[recipe]["contexts"] > 0
    assert reading["1S0F"]["accuracy"] > warmup["before"]["mean_at_1"]
    assert reading["2S0F"] == reading["1S0F"]  # one right answer has one text: no group shows two successes
    assert found["name"] in reading
    assert (found["gain"] > 0) == (found["finding"] is None)
    again = train(config_for(tmp_path, *measured, f"run='{tmp_path / 'again'}'"), quiet=True)
    assert again["warmup"]["is_cached"] is True
    assert again["after"] == summary["after"]
    assert {**again["warmup"], "is_cached": False} == warmup
    assert again["preflight"] == json.loads((tmp_path / "run" / "preflight.json").read_text())


def test_evaluation_finds_the_warm_up_that_training_cached(own_cache, tmp_path):
    short = "warmup={kind='solutions', steps=3, batch_size=8}"
    summary = train(config_for(tmp_path, short, "steps=1"), quiet=True)
    figures = evaluate("builtin:digits", config_for(tmp_path, short, "evaluation.rollouts=4"), None, quiet=True)
    assert len(list((own_cache / "warmups").iterdir())) == 1
    assert figures["mean_at_4"] >= 0
    again = evaluate("builtin:digits", config_for(tmp_path, short), None, quiet=True)
    assert again["mean_at_8"] == summary["before"]["mean_at_8"]


@pytest.mark.parametrize(
    ("setting", "is_other"),
    [
        ("context.strip_thinking=false", True),
        ("verification.time_limit_s=9", True),
        ("rewards.form='text'", True),
        ("chat.options={a=1}", True),
        ("peers.truncated_failures=true", True),
        ("peers.failures=0", False),
        ("context.order='successes_first'", False),
        ("objective.kind='grpo'", False),
        ("optimizer.learning_rate=1e-6", False),
        ("steps=3", False),
    ],
)
def test_settings_name_the_cached_student_unless_they_cannot_shape_it(tmp_path, setting, is_other):
    setups = [
        prepare(config, prepare_problems(config)) for config in (config_for(tmp_path), config_for(tmp_path, setting))
    ]
    one, two = (cache_folder(setup, is_measured=True) for setup in setups)
    assert (one != two) == is_other


def test_any_changed_module_of_the_package_names_another_student(tmp_path, monkeypatch):
    config = config_for(tmp_path)
    setup = prepare(config, prepare_problems(config))
    names = {cache_folder(setup, is_measured=True)}
    texts = cache.package_source()
    assert any("def strip_thinking" in text for text in texts)
    assert any("class RewardFunctions" in text for text in texts)
    monkeypatch.setattr(cache, "package_source", lambda: [*texts[:-1], texts[-1] + "# changed"])
    assert len(names | {cache_folder(setup, is_measured=True)}) == 2


def rotated(setup):
    setup.student.model.config.rope_parameters["rope_theta"] = 17.0


def permuted(setup):
    """Two rows of the embedding change places: every sum stays."""
    weight = setup.student.model.get_input_embeddings().weight.data
    weight[[9, 10]] = weight[[10, 9]]


def other_buffer(setup):
    next(setup.student.model.buffers()).mul_(2.0)


def other_end(setup):
    setup.student.tokenizer.end_id = 5


def one_more_end(setup):
    setup.student.tokenizer.end_ids |= {7}


def other_template(setup):
    """As before without a system turn, which the problems have not."""
    inner = setup.student.tokenizer.inner
    inner.chat_template = "{% if messages[0]['role'] == 'system' %}!{% endif %}" + inner.chat_template


def other_merges(setup):
    """Text of the problems is cut as before, other text is not."""
    from tokenizers import normalizers

    setup.student.tokenizer.inner.backend_tokenizer.normalizer = normalizers.Replace("9", "8")


def other_version(setup):
    cache.package_versions = lambda: {"transformers": "0"}


@pytest.mark.parametrize(
    "change",
    [rotated, permuted, other_buffer, other_end, one_more_end, other_template, other_merges, other_version],
)
def test_a_cache_is_for_one_model_one_tokenizer_and_one_set_of_packages(tmp_path, monkeypatch, change):
    config = config_for(tmp_path)
    setup = prepare(config, prepare_problems(config))
    monkeypatch.setattr(cache, "package_versions", cache.package_versions)  # put back afterwards
    with torch.no_grad():
        names = [cache_folder(setup, is_measured=True)]
        assert cache_folder(setup, is_measured=True) == names[0]
        change(setup)
        names.append(cache_folder(setup, is_measured=True))
    assert names[0] != names[1]


def test_where_a_model_lies_does_not_name_its_cache(tmp_path):
    config = config_for(tmp_path)
    setup = prepare(config, prepare_problems(config))
    name = cache_folder(setup, is_measured=True)
    setup.student.model.config._name_or_path = "/elsewhere"
    assert cache_folder(setup, is_measured=True) == name


def test_a_cache_is_for_one_configuration(own_cache, tmp_path):
    short = "warmup={kind='solutions', steps=3, batch_size=8}"
    train(config_for(tmp_path, short, "steps=1"), quiet=True)
    other = train(
        config_for(tmp_path, short, "steps=1", "sampling.temperature=0.9", f"run='{tmp_path / 'b'}'"), quiet=True
    )
    assert other["warmup"]["is_cached"] is False
    assert len(list((own_cache / "warmups").iterdir())) == 2
    assert json.loads((tmp_path / "b" / "warmup.json").read_text()) == other["warmup"]


@pytest.mark.long
def test_a_cache_is_for_one_file_of_solutions(own_cache, tmp_path):
    def is_cached(name, *, kind="exact", end=""):
        rows = [{"id": str(i), "kind": kind, "prompt": f"{i}", "answer": f"{i}"} for i in range(1, 9)]
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row | {"solution": row["answer"] + end}) + "\n" for row in rows))
        short = ("warmup={kind='solutions', steps=2, batch_size=4}", "steps=1", "problems_per_step=2")
        source = f"problems={{source='{path}', held_out=2}}"
        return train(config_for(tmp_path, source, *short, f"run='{tmp_path / name}'"), quiet=True)["warmup"][
            "is_cached"
        ]

    assert not is_cached("a")
    assert is_cached("b")
    assert not is_cached("c", end="0")
    assert not is_cached("d", end="0", kind="math")


def test_demonstrations_of_every_verifier_are_judged_correct():
    from mopd.core.types import Problem

    asked = ({"role": "user", "content": "?"},)
    for name, reference in (
        ("exact", "12"),
        ("math", "\\frac{1}{2}"),
        ("math", "\\boxed{3}"),
        ("multiple_choice", "B"),
        ("tool_use", '[{"Action": "a", "Action_Input": "{\\"x\\": 1}"}]'),
    ):
        problem = Problem("p", asked, reference, name)
        assert judge(problem, demonstration(problem)).kind == "correct"
    worked = Problem("p", asked, "4", "math", columns={"solution": "2 + 2 is \\boxed{4}."})
    assert demonstration(worked) == "2 + 2 is \\boxed{4}."
    bare = Problem("p", asked, "204", "math", columns={"solution": "204"})  # a file whose `solution` is the answer
    assert demonstration(bare) == "\\boxed{204}"
    assert demonstration(Problem("p", asked, None, "exact")) is None
    assert demonstration(Problem("p", asked, "no calls", "tool_use")) is None


@pytest.fixture
def solutions(tmp_path):
    config = config_for(tmp_path)
    problems = prepare_problems(config)
    student = prepare(config, problems).student
    return Solutions(student, problems.train, config, config.warmup), student


def test_plain_and_attempted_problems_do_not_overlap(solutions):
    made, _ = solutions
    plain, attempted = ({p.id for p in part} for part in (made.plain_problems, made.context_problems))
    assert len(attempted) == 24
    assert plain
    assert not plain & attempted


def test_contexts_hold_the_students_own_failures_and_end_in_the_solution(solutions):
    made, student = solutions
    group = make_group(["213", "123", "321"], kinds=["wrong", "correct", "wrong"], problem="321")
    object.__setattr__(group.problem, "reference", "123")
    rng = derive_rng("test")
    shown = [made._peers(group, 2, 1, rng) for _ in range(20)]
    assert all(good == ["123"] for good, _ in shown)
    assert {bad[0] for _, bad in shown} == {"213", "321"}
    rows = made.context_batch(0, [group])
    texts = {student.tokenizer.decode(row.completion) for row in rows}
    assert "123" in texts
    assert any(len(row.prefix) > 8 for row in rows)


def test_batches_are_functions_of_the_step(solutions):
    made, _ = solutions
    assert made.plain_batch(3) == made.plain_batch(3) != made.plain_batch(4)


def test_solutions_that_do_not_fit_are_counted_and_none_left_is_an_error(tmp_path):
    config = config_for(tmp_path, "sampling.completion_tokens=3")
    problems = prepare_problems(config)
    student = prepare(config, problems).student
    with pytest.raises(ProblemError, match="no longer than a completion") as error:
        Solutions(student, problems.train, config, config.warmup)
    assert "176 with one over sampling.completion_tokens = 3" in str(error.value)


def test_verified_rollouts_are_the_peers_of_the_second_stage(solutions):
    group = make_group(["12", "21"], kinds=["correct", "wrong"])
    assert [v.kind for v in verify([group])[0].verdicts] == ["error", "error"]  # no reference: no peer is made of them


def test_a_single_problem_serves_both_stages(solutions, tmp_path):
    made, student = solutions
    alone = Solutions(student, made.plain_problems[:1], config_for(tmp_path), made.warmup)
    assert alone.plain_problems == alone.context_problems == made.plain_problems[:1]
    assert len(alone.plain_batch(0)) == 32


def test_a_failure_that_training_would_not_show_is_not_shown_here(solutions):
    made, _ = solutions
    group = make_group(["213", "321"], kinds=["truncated", "wrong"], problem="321")
    shown = [made._peers(group, 0, 2, derive_rng("test"))[1] for _ in range(5)]
    assert all(bad == ["321"] for bad in shown)


def test_solutions_that_their_verifier_rejects_are_counted(own_cache, tmp_path):
    rows = [
        {"id": str(i), "prompt": f"{i}", "answer": f"{i}", "solution": "9" if i % 4 == 0 else f"{i}"}
        for i in range(1, 9)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = config_for(
        tmp_path,
        f"problems={{source='{path}', held_out=2, verifier='exact'}}",
        "warmup={kind='solutions', steps=2, batch_size=4}",
        "steps=1",
        "problems_per_step=2",
    )
    problems = prepare_problems(config)
    wrong = sum(int(problem.id) % 4 == 0 for problem in problems.train)
    assert train(config, quiet=True)["warmup"]["solutions_rejected_count"] == wrong > 0
