"""Laws of the configuration: what words it takes, what they mean, and the bounds of its numbers."""

import json
import math
import typing

import pytest
from pydantic import BaseModel

from mopd.config import Config, build_config, config_keys, load_config, override_config
from mopd.core.errors import ConfigError
from mopd.core.files import dump_json


def numbers(model=Config, prefix=""):
    """Every key whose value is a number or an array of them, with its kinds' tables set beside it."""
    for name, field in model.model_fields.items():
        for table in tables_of(field.annotation):
            kind = table.model_fields.get("kind")
            said = (
                [f"{prefix}{name}.kind='{kind.default}'"]
                if kind is not None and len(tables_of(field.annotation)) > 1
                else []
            )
            for key, overrides, shape in numbers(table, f"{prefix}{name}."):
                yield key, said + overrides, shape
        text = str(field.annotation)
        is_number = ("int" in text or "float" in text) and "Literal" not in text
        if is_number and not tables_of(field.annotation):
            yield prefix + name, [], text


def tables_of(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for argument in typing.get_args(annotation) for table in tables_of(argument)]


def spelled(shape, value):
    if "tuple" in shape:
        return f"[{value}, {value}]"
    if "dict" in shape:
        return f"{{ a = {value} }}"
    return f"[{value}]" if "list" in shape else value


NUMBERS = [case for case in numbers() if not case[0].startswith(("problems.mix", "rewards.weights"))]


def with_steps(overrides):
    return [*overrides, "warmup.steps=1"] if any("warmup" in word for word in overrides) else overrides


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e300", "1" + "0" * 40])
@pytest.mark.parametrize(("key", "kind", "shape"), NUMBERS, ids=[key for key, _, _ in NUMBERS])
def test_no_number_is_beyond_what_the_code_below_can_take(key, kind, shape, value):
    with pytest.raises(ConfigError) as error:
        build_config({}, [*with_steps(kind), f"{key}={spelled(shape, value)}"])
    assert key.rpartition(".")[2] in str(error.value)


def test_the_numbers_of_the_configuration_are_all_found():
    assert len(NUMBERS) > 45
    assert {"optimizer.betas", "teacher.rate", "warmup.context_share", "problems.weights"} <= {
        key for key, *_ in NUMBERS
    }


@pytest.mark.parametrize(
    "override",
    [
        "optimizer.betas=[0.9, 1.0]",
        "optimizer.betas=[1.0, 0.9]",
        "compute.threads=100000",
        "sampling.temperature=1e-30",
        "evaluation.temperature=1e-30",
        "optimizer.clip_norm=1e-30",
        "group_size=1000000000",
        "evaluation.rollouts=1000000000",
        "problems.size=1000000000",
        "sampling.completion_tokens=1000000000",
    ],
)
def test_a_number_that_the_code_below_cannot_take_is_refused_by_its_key(override):
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        build_config({}, [override])


def test_a_table_of_anything_holds_no_number_that_a_run_cannot_record():
    for override in ("chat.options.x=inf", "problems.options={ a = [1, { b = nan }] }"):
        with pytest.raises(ConfigError, match="finite"):
            build_config({}, [override])
    with pytest.raises(ConfigError, match=r"chat\.options\.a"):
        build_config({"chat": {"options": {"a": object()}}})


@pytest.mark.parametrize("override", ["optimizer.betas=[0, 0.999999]", "compute.threads=1024", "sampling.top_p=1e-9"])
def test_numbers_at_their_bounds_are_taken(override):
    config = build_config({}, [override])
    assert type(config).model_validate_json(dump_json(config.model_dump(mode="json"))) == config


DATES = {
    "2024-08-01": "2024-08-01",
    "08:30:00": "08:30:00",
    "2024-08-01T10:00:00": "2024-08-01T10:00:00",
    "2024-08-01 10:00:00Z": "2024-08-01T10:00:00+00:00",
}


@pytest.mark.parametrize("written", DATES)
def test_dates_and_times_are_text_in_iso_form_in_files_and_overrides(written, tmp_path):
    path = tmp_path / "dated.toml"
    path.write_text(f"run = {written}\n[problems]\noptions = {{ since = {written}, all = [{written}] }}\n")
    overrides = [f"run={written}", f"problems.options={{ since = {written}, all = [{written}] }}"]
    for config in (load_config(path), build_config({}, overrides)):
        assert config.run == DATES[written]
        assert config.problems.options == {"since": DATES[written], "all": [DATES[written]]}
        json.dumps(config.model_dump(mode="json"), allow_nan=False)


def test_a_date_where_a_number_is_meant_is_refused_by_its_key():
    with pytest.raises(ConfigError, match="steps"):
        build_config({}, ["steps=2024-08-01"])


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    path = tmp_path / "marked.toml"
    path.write_bytes(b"\xef\xbb\xbfsteps = 7\r\n")
    assert load_config(path).steps == 7


def test_a_file_that_is_no_utf_8_is_said_to_be_none(tmp_path):
    path = tmp_path / "windows.toml"
    path.write_bytes("steps = 7\n".encode("utf-16"))
    with pytest.raises(ConfigError, match="save the file as UTF-8"):
        load_config(path)


def test_an_override_is_one_line_and_nothing_in_it_is_dropped():
    with pytest.raises(ConfigError, match="steps"):
        build_config({}, ["steps=3\nseed=4"])


@pytest.mark.parametrize(
    ("override", "kind"),
    [
        ("teacher.rate=0.1", "ema"),
        ("objective.aggregation='rollout_mean'", "distill"),
        ("warmup={ steps = 3, demonstrator_error = 0.1 }", "demonstrator"),
        ("warmup={ steps = 3, context_steps = 2 }", "solutions"),
    ],
)
def test_a_table_without_its_kind_is_of_the_kind_that_is_meant(override, kind, tmp_path):
    path = tmp_path / "kind.toml"
    path.write_text(override)
    table = override.partition("=")[0].partition(".")[0]
    assert getattr(build_config({}, [override]), table).kind == kind
    assert getattr(load_config(path), table).kind == kind


def test_keys_of_a_kind_in_overrides_join_the_file_s(tmp_path):
    path = tmp_path / "kind.toml"
    path.write_text("[objective]\nkind = 'grpo'\n[warmup]\nsteps = 3\n")
    config = load_config(path, ["objective.clip_high=0.3", "warmup.kind='solutions'"])
    assert (config.objective.kind, config.objective.clip_high, config.warmup.kind) == ("grpo", 0.3, "solutions")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["objective.clip_high=0.3"], "objective.clip_high belongs to objective.kind = 'grpo'"),
        (["teacher.kind='frozen'", "teacher.rate=0.1"], "teacher.rate belongs to teacher.kind = 'ema'"),
        (["warmup.steps=3"], "warmup.steps, which both kinds have"),
        (["warmup.context_steps=3", "warmup.demonstrator_error=0"], "no kind has together"),
        (["warmup.steps=3", "warmup.context_step=3"], "did you mean warmup.context_steps"),
    ],
)
def test_a_key_of_no_kind_or_of_another_is_refused_with_the_kind_to_set(overrides, says):
    with pytest.raises(ConfigError) as error:
        build_config({}, overrides)
    assert says in str(error.value)
    if "context_step=" not in overrides[-1]:
        assert ".kind" in str(error.value)


def test_a_domain_called_like_a_kind_is_named_whole():
    with pytest.raises(ConfigError, match=r"problems\.weights\.live"):
        build_config({}, ["problems.weights={ live = -1 }"])


def test_overrides_of_a_configuration_keep_all_else():
    base = build_config(
        {}, ["steps=7", "objective.kind='grpo'", "objective.clip_high=0.5", "warmup={ steps = 2, order = 'shuffled' }"]
    )
    config = override_config(base, ["seed=3"], "here")
    assert config == base.model_copy(update={"seed": 3})
    with pytest.raises(ConfigError, match=r"did you mean peers\.successes"):
        override_config(base, ["peers.succeses=1"], "here")


def test_another_kind_drops_what_only_the_old_kind_had():
    base = build_config({}, ["objective.kind='grpo'", "objective.aggregation='rollout_mean'"])
    objective = override_config(base, ["objective.kind='distill'"], "here").objective
    assert (objective.kind, objective.aggregation) == ("distill", "rollout_mean")
    with pytest.raises(ConfigError, match=r"teacher\.rate belongs"):
        override_config(base, ["teacher.kind='live'", "teacher.rate=0.1"], "here")


def test_a_table_that_the_configuration_lacks_can_be_given_by_overrides():
    base = build_config({}, [])
    assert base.warmup is None
    overrides = ["warmup.steps=3", "warmup.demonstrator_error=0.1"]
    assert override_config(base, overrides, "here").warmup.steps == 3


def test_the_default_of_every_number_is_within_its_bounds():
    assert Config.model_validate(Config().model_dump(mode="json")) == Config()
    assert all(math.isfinite(json.loads(default)) for _, default, _ in config_keys().values() if default[:1].isdigit())
