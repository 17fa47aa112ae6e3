"""What each command does. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from mopd.config import Config, build_config, config_keys, config_markdown, load_config, override_config, override_key
from mopd.core.errors import ConfigError
from mopd.core.files import check_can_write, dump_json, finite, write_file
from mopd.parallel.launch import is_first

if TYPE_CHECKING:
    from mopd.training.watching import StepDone

BEGIN_WITH = "`mopd init math > mine.toml` writes one to begin with, and `mopd init` lists other kinds"
"""What to do without a configuration."""


def init_command(options: argparse.Namespace) -> None:
    from mopd.starters import kinds, starter, summary

    if options.kind is not None:
        sys.stdout.write(starter(options.kind, options.student))
        return
    if options.student is not None:
        raise ConfigError("--student belongs to a starter", "no KIND", f"name one of {', '.join(kinds())}")
    console = Console()
    for kind in kinds():
        trains, needs, takes = summary(kind)
        text = f"{kind:<17}{trains}; needs {needs}; {takes}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print("`mopd init KIND > mine.toml` writes one of them.", markup=False, highlight=False, soft_wrap=True)


def train_command(options: argparse.Namespace) -> None:
    from mopd.report.terminal import print_summary
    from mopd.training.loop import resume, train

    given = _given_config(options, options.resume)
    quiet, on_step = options.quiet or options.log_json, _log_step if options.log_json else None
    if options.resume and options.fresh:
        raise ConfigError("a run is resumed or begun afresh", "--resume stands beside --fresh", "leave one of them out")
    if options.resume and options.force:
        raise ConfigError("--force begins a run", "--resume stands beside --force", "leave --force out")
    if options.resume:
        _check_read(
            options.overrides, {"run": f"--resume to where the run is, now {options.resume}"}, "mopd train --resume"
        )
        summary = resume(options.resume, expected=given, on_step=on_step, quiet=quiet)
    elif given is None:
        got = "neither CONFIG.toml nor --resume RUN"
        raise ConfigError("mopd train is told what to do", got, f"`mopd train mine.toml`; {BEGIN_WITH}")
    else:
        summary = train(given, fresh=options.fresh, force=options.force, on_step=on_step, quiet=quiet)
    if not is_first():
        return
    if options.log_json:
        _log_json("end", summary)
    else:
        print_summary(summary, Console())


def _log_step(done: StepDone) -> None:
    if is_first():
        _log_json("step", {"step": done.step, **done.metrics})


def _log_json(event: str, values: Mapping[str, Any]) -> None:
    """One line for machines on standard output, at once."""
    sys.stdout.write(json.dumps(finite({"event": event, **values}), allow_nan=False) + "\n")
    sys.stdout.flush()


def problems_command(options: argparse.Namespace) -> int:
    """1 where a run would end before its first step, or the solution that is shown is not right."""
    from mopd.auditing.problem_set import READ, overview
    from mopd.report.problems import print_problems

    _check_read(options.overrides, dict.fromkeys(Config.model_fields.keys() - {*READ}, ""), "mopd problems")
    given = needed_config(options, "mopd problems")
    out = checked_json(options)
    found = overview(given, options.show, options.quiet).as_json()
    print_problems(found, Console())
    write_json(out, found)
    return int(bool(found["findings"]))


def preflight_command(options: argparse.Namespace) -> int:
    """1 where the student cannot learn from its peers."""
    from mopd.evaluation.preflighting import run_preflight
    from mopd.report.preflights import print_report

    unread = dict.fromkeys(
        ("run", "steps", "optimizer", "divergence", "teacher", "checkpoint", "tracker", "alarms"), ""
    )
    _check_read(options.overrides, unread, "mopd preflight")
    given = needed_config(options, "mopd preflight")
    out = checked_json(options)
    found = run_preflight(given, options.quiet).as_json()
    print_report(found, Console())
    write_json(out, found)
    return int(found["finding"] is not None)


def checked_json(options: argparse.Namespace) -> Path | None:
    """The file of `--json`, which can be written; None where there is none."""
    return _checked_out(options.json, "--json")


def _checked_out(name: str | None, flag: str) -> Path | None:
    """The file that a flag names, which can be written; None where it names none."""
    out = Path(name) if name else None
    if out is not None:
        with _told_of(out, flag):
            check_can_write(out)
    return out


def write_json(out: Path | None, value: Mapping[str, Any]) -> None:
    if out is not None:
        with _told_of(out, "--json"):
            write_file(out, dump_json(value))


def _given_config(options: argparse.Namespace, run: str | None = None) -> Config | None:
    """The configuration of CONFIG.toml and overrides; None where neither is given.

    Overrides alone apply to the configuration of `run`, where there is one, and else to the defaults.
    """
    if options.config is not None:
        return load_config(options.config, options.overrides)
    if not options.overrides:
        return None
    if run is not None:
        from mopd.runs.reading import read_config

        return override_config(read_config(Path(run)), options.overrides, where=f"the overrides of {run}")
    return build_config({}, options.overrides, where="the command line")


def needed_config(options: argparse.Namespace, command: str) -> Config:
    """The configuration of a command that does nothing without one."""
    given = _given_config(options)
    if given is None:
        raise ConfigError(f"{command} is told of which run", "no CONFIG.toml", f"`{command} mine.toml`; {BEGIN_WITH}")
    return given


def evaluate_command(options: argparse.Namespace) -> None:
    from mopd.evaluation.target import evaluate_target, unread_keys
    from mopd.runs.completions import as_lines, describe_completions

    unread = unread_keys(options.target)
    if options.seed is not None and "warmup" in unread:
        unread["seed"] = "--seed alone"
    _check_read(options.overrides, unread, "mopd evaluate")
    config = _evaluated_config(options)
    out, kept = checked_json(options), _checked_out(options.completions, "--completions")
    if out is not None and kept is not None and out.resolve() == kept.resolve():
        raise ConfigError("--json and --completions name two files", f"{out} is named twice", "change one of them")
    found = evaluate_target(options.target, config, options.seed, options.quiet)
    _print_figures(found.figures)  # first: they are on the screen whatever becomes of the files
    write_json(out, found.figures)
    if kept is not None:
        with _told_of(kept, "--completions"):
            write_file(kept, as_lines(describe_completions(found.groups)))


def generate_command(options: argparse.Namespace) -> int:
    """1 where a grader failed."""
    from mopd.evaluation.generating import Asked, generate, unread_keys
    from mopd.report.completions import print_completions

    prompt = _standard_input() if options.prompt == "-" else options.prompt
    asked = Asked(prompt, options.problem, options.count, options.verify, options.kind)
    _check_read(options.overrides, unread_keys(asked, options.target), "mopd generate")
    out = checked_json(options)
    found = generate(options.target, asked, [*options.overrides, *_flags_as_overrides(options)]).as_json()
    print_completions(found, Console())
    write_json(out, found)
    return int(any(one.get("kind") == "error" for one in found["completions"]))


def _flags_as_overrides(options: argparse.Namespace) -> list[str]:
    """What flags set, as overrides. Raises ConfigError where an override sets the same."""
    keys = {"seed": "seed", "temperature": "sampling.temperature", "tokens": "sampling.completion_tokens"}
    told = {key: flag for flag, key in keys.items() if getattr(options, flag) is not None}
    for key in map(override_key, options.overrides):
        if key in told:
            raise ConfigError("a setting is told once", f"--{told[key]} beside {key}", "leave one of them out")
    return [f"{key}={getattr(options, flag)}" for key, flag in told.items()]


def _standard_input() -> str:
    """Standard input, without the end of its last line. Raises ConfigError where it is not text."""
    try:
        return sys.stdin.read().removesuffix("\n")
    except (UnicodeDecodeError, OSError, AttributeError) as error:  # AttributeError: of a stream that is closed
        raise ConfigError(
            "the prompt on standard input is text", f"standard input: {error}", "write it in UTF-8"
        ) from error


def _evaluated_config(options: argparse.Namespace) -> Config | None:
    """What is evaluated on: CONFIG.toml, or overrides of a run's own configuration; other models need problems."""
    from mopd.runs.reading import is_run

    if is_run(Path(options.target)):
        return _given_config(options, options.target)
    named = {"problems.source", "problems.mix"} & {override_key(override) for override in options.overrides}
    return _given_config(options) if options.config or named else None


def _check_read(overrides: Sequence[str], unread: Mapping[str, str], command: str) -> None:
    """Refuse overrides that change nothing; `unread` holds their keys or tables, with what to set instead."""
    for key in map(override_key, overrides):
        instead = unread.get(key.partition(".")[0])
        if instead is not None:
            do = f"leave it out, or set {instead}" if instead else "leave it out"
            raise ConfigError(f"an override is one that {command} reads", f"{command} does not read {key}", do)


def _print_figures(figures: Mapping[str, Any]) -> None:
    console = Console()
    for name, value in figures.items():
        if name.startswith(("mean_at_", "pass_at_")) and not name.endswith("_interval"):
            low, high = figures[f"{name}_interval"]
            console.print(
                f"{name.replace('_at_', '@')} {value:.3f}  95 % interval [{low:.3f}, {high:.3f}]", markup=False
            )
    console.print(
        f"{figures['problems']:.0f} problems, seed {figures['seed']}, {figures['model']}", markup=False, soft_wrap=True
    )
    for reason, count in figures.get("left_out", {}).items():
        console.print(f"{count} records were left out: {reason}", markup=False, soft_wrap=True)


@contextmanager
def _told_of(path: Path, flag: str) -> Iterator[None]:
    """What the system says of a path becomes an error that names its flag."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{flag} names a file that can be written", f"{path}: {error.strerror}", "check the path"
        ) from error


def verify_command(options: argparse.Namespace) -> int:
    """1 where a grader failed, or where an audit flags junk."""
    if options.audit and options.resume:
        raise ConfigError(
            "--resume goes on with verdicts on completions", "--resume stands beside --audit", "leave --resume out"
        )
    config = _given_config(options) or build_config({})
    read = ["problems", "verification", "sandbox", "rewards"] + ["success_reward"] * bool(config.rewards.functions)
    _check_read(options.overrides, {key: "" for key in Config.model_fields if key not in read}, "mopd verify")
    out = Path(options.json) if options.json else None
    return _audit(options, config, out) if options.audit else _judge_completions(options, config, out)


def _judge_completions(options: argparse.Namespace, config: Config, out: Path | None) -> int:
    from mopd.auditing.completions import count_of, verdicts_table, verify_completions
    from mopd.auditing.functions import functions_table

    if options.file is None:
        raise ConfigError(
            "mopd verify is given completions", "no FILE", "name a file whose records hold them, or give --audit"
        )
    judged = verify_completions(options.file, config, out, options.quiet, options.resume)
    rewards = judged.rewards
    Console().print(verdicts_table(rewards))
    failed = count_of(rewards, "error")
    if judged.functions:
        values = [value for (_, kind), found in rewards.items() if kind != "error" for value in found]
        successes = count_of(rewards, "correct")
        Console().print(functions_table(judged.functions, values, failed, successes, config.success_reward))
    if failed:
        where = f"`feedback` in {out} says why" if out else "--json OUT says why"
        total = sum(map(len, rewards.values()))
        text = f"{failed} of {total} completions have no verdict, since their graders failed (kind error); {where}"
        Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
    return 1 if failed else 0


def _audit(options: argparse.Namespace, config: Config, out: Path | None) -> int:
    from mopd.auditing.audit import audit, audit_table

    findings = audit(options.file, config, out, options.quiet)
    console = Console()
    console.print(audit_table(findings))
    flagged = [finding for finding in findings if finding.is_flagged]
    for finding in flagged:
        console.print(f"flagged: {finding.text}", markup=False, highlight=False, soft_wrap=True)
    return 1 if flagged else 0


def show_context_command(options: argparse.Namespace) -> None:
    from mopd.report.contexts import rendered_context
    from mopd.report.showing import print_titled

    context, rendered, completion = rendered_context(Path(options.run), options.step, options.problem, options.rollout)
    console = Console()
    cut = f", {context.shortened_count} peers shortened, {context.dropped_count} dropped"
    print_titled(console, f"what the teacher reads ({context.token_count} tokens{cut})", rendered)
    print_titled(console, "the student's own completion, scored token by token", completion)


def config_command(options: argparse.Namespace) -> None:
    given = _given_config(options)
    if options.markdown and given is not None:
        raise ConfigError(
            "--markdown prints every key", "--markdown stands beside a configuration", "leave one of them out"
        )
    if options.markdown:
        sys.stdout.write(config_markdown())
    elif given is not None:
        print(json.dumps(given.model_dump(mode="json"), indent=2))
    else:
        console = Console()
        for key, (kind, default, meaning) in config_keys().items():
            console.print(
                f"[bold]{key}[/] = {escape(default)}  [dim]({escape(kind)})[/]\n    {escape(meaning)}", soft_wrap=True
            )
