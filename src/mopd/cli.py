"""The command line: mopd preflight | train | evaluate | verify | show-context | config."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from mopd.config import Config, build_config, config_keys, config_markdown, load_config, override_config, override_key
from mopd.core.errors import ConfigError, MopdError
from mopd.core.files import advice, check_can_write, dump_json, write_file
from mopd.core.streams import lasting_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 1 for a finding, 2 where the user can mend something, 130 when interrupted.

    A finding is junk that scores, graders that fail, numbers that are not finite. Whether somebody reads what is shown
    changes nothing of it: work is done to its end behind `| head` and without a terminal.
    """
    options = _parse(arguments)
    with lasting_streams() as output:
        status = _status_of(options)
        output.flush()
        if output.lost is not None:
            _tell(ConfigError("what a command prints can be written", str(output.lost.strerror), advice(output.lost)))
        return status if output.lost is None else max(status, ConfigError.exit_status)


def _status_of(options: argparse.Namespace) -> int:
    try:
        _check_words(options)
        return int(options.command(options) or 0)
    except MopdError as error:
        _tell(error)
        return error.exit_status
    except KeyboardInterrupt:
        text = f"interrupted; {options.after_interrupt}"
        Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
        return 130


def _tell(error: MopdError) -> None:
    Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of a command line, with every word in its place wherever it stands: `config` and `overrides` are set.

    CONFIG.toml and overrides may stand behind flags, which argparse alone refuses.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-")]
    if unknown or (rest and not hasattr(options, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(unknown or rest)}")
    if hasattr(options, "overrides"):
        _sort_words(options, rest)
    return options


def _sort_words(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Tell FILE, CONFIG.toml and overrides apart, which argparse takes in the order in which they stand."""
    given = (getattr(options, "file", None), options.config, *options.overrides, *rest)
    words = [word for word in given if word is not None]
    names = [word for word in words if not _is_override(word)]
    if hasattr(options, "file"):
        options.file = names.pop(0) if names and not names[0].endswith(".toml") else None
    options.config = names.pop(0) if names else None
    options.overrides = [*names, *(word for word in words if _is_override(word))]  # a name too many is no override


PATHS = ("file", "config", "target", "run", "resume", "json")
"""Words that name files and directories; `~` is the home directory in them, however they were quoted."""


def _check_words(options: argparse.Namespace) -> None:
    """Expand `~`, and refuse what no path and no seed is. Raises ConfigError."""
    for name in PATHS:
        word = getattr(options, name, None)
        if not isinstance(word, str):
            continue
        if not word.strip():
            raise ConfigError(f"{name} names a file or directory", "an empty text", "see whether a variable is set")
        if word.startswith("~"):
            with suppress(RuntimeError):  # a user that does not exist: it is then told that there is no such file
                setattr(options, name, str(Path(word).expanduser()))
    seed = getattr(options, "seed", None)
    if seed is not None and not 0 <= seed < 2**63:
        raise ConfigError("--seed is a number from 0 to 2^63 - 1, as the key seed", str(seed), "change it")


def _is_override(word: str) -> bool:
    return "=" in word and not os.path.exists(word)


OVERRIDES: dict[str, Any] = {"nargs": "*", "metavar": "key=value", "help": "overrides, each one line of TOML"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mopd",
        description="Multi-rollout on-policy distillation: a model's own attempts teach it, token by token.",
    )
    parser.set_defaults(after_interrupt="a run continues from its last checkpoint with `mopd train --resume RUN`")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_preflight, _add_train, _add_evaluate, _add_verify, _add_show_context, _add_config):
        add(commands)
    return parser


def _add_preflight(commands: Any) -> None:
    preflight = commands.add_parser(
        "preflight", help="whether a student can learn from its peers, and from which, before a run"
    )
    preflight.add_argument("config", nargs="?", metavar="CONFIG.toml")
    preflight.add_argument("overrides", **OVERRIDES)
    preflight.add_argument("--json", metavar="OUT", help="write the figures to this file")
    preflight.add_argument("--quiet", action="store_true", help="show no progress")
    preflight.set_defaults(command=_preflight, after_interrupt="nothing was written")


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train as a configuration says, or continue a run")
    train.add_argument("config", nargs="?", metavar="CONFIG.toml")
    train.add_argument("overrides", **OVERRIDES)
    train.add_argument("--resume", metavar="RUN", help="continue the run in this directory")
    train.add_argument(
        "--fresh", action="store_true", help="move a run that is already there aside to RUN.1, RUN.2, ..."
    )
    train.add_argument("--quiet", action="store_true", help="show no progress")
    train.set_defaults(command=_train)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="mean@8 and pass@8 on held-out problems")
    evaluate.add_argument("target", metavar="MODEL_OR_RUN", help="a run directory, a model folder, or builtin:NAME")
    evaluate.add_argument("config", nargs="?", metavar="CONFIG.toml", help="problems and sampling; a run has its own")
    evaluate.add_argument("overrides", **OVERRIDES)
    evaluate.add_argument("--seed", type=int, help="seed of the sampling (a run's own unless told)")
    evaluate.add_argument("--json", metavar="OUT", help="write the figures to this file")
    evaluate.add_argument("--quiet", action="store_true", help="show no progress")
    evaluate.set_defaults(command=_evaluate)


def _add_verify(commands: Any) -> None:
    verify = commands.add_parser("verify", help="verdicts on given completions, or an audit of verifiers with junk")
    verify.add_argument("file", nargs="?", metavar="FILE", help="records with a problem and a `completion` each")
    verify.add_argument("config", nargs="?", metavar="CONFIG.toml", help="how records are read, and limits of graders")
    verify.add_argument("overrides", **OVERRIDES)
    verify.add_argument(
        "--audit", action="store_true", help="junk instead of completions: FILE or CONFIG.toml says which problems"
    )
    verify.add_argument("--json", metavar="OUT", help="write one JSON object a line: a verdict, or a kind of junk")
    verify.add_argument("--resume", action="store_true", help="go on behind the verdicts that OUT has already")
    verify.add_argument("--quiet", action="store_true", help="show no progress")
    verify.set_defaults(command=_verify, after_interrupt="what was judged is in the file of --json; --resume goes on")


def _add_show_context(commands: Any) -> None:
    show = commands.add_parser("show-context", help="print what the teacher read before one recorded rollout")
    show.add_argument("run", metavar="RUN")
    show.add_argument("--step", type=int)
    show.add_argument("--problem", metavar="ID")
    show.add_argument("--rollout", type=int, metavar="INDEX")
    show.set_defaults(command=_show_context)


def _add_config(commands: Any) -> None:
    config = commands.add_parser("config", help="every key with its meaning, or a configuration resolved")
    config.add_argument("config", nargs="?", metavar="CONFIG.toml")
    config.add_argument("overrides", **OVERRIDES)
    config.add_argument("--markdown", action="store_true", help="print docs/config.md")
    config.set_defaults(command=_config)


def _train(options: argparse.Namespace) -> None:
    from mopd.report.terminal import print_summary
    from mopd.training.loop import resume, train

    given = _given_config(options, options.resume)
    if options.resume and options.fresh:
        raise ConfigError("a run is resumed or begun afresh", "--resume and --fresh", "leave one of them out")
    if options.resume:
        _check_read(
            options.overrides, {"run": f"--resume to where the run is, now {options.resume}"}, "mopd train --resume"
        )
        summary = resume(options.resume, expected=given, quiet=options.quiet)
    elif given is None:
        raise ConfigError("mopd train is told what to do", "neither CONFIG.toml nor --resume RUN", "give one of them")
    else:
        summary = train(given, fresh=options.fresh, quiet=options.quiet)
    print_summary(summary, Console())


def _preflight(options: argparse.Namespace) -> int:
    """1 where the student cannot learn from its peers."""
    from mopd.evaluation.reading import preflight
    from mopd.report.terminal import print_preflight

    unread = dict.fromkeys(
        ("run", "steps", "optimizer", "divergence", "teacher", "checkpoint", "tracker", "alarms"), ""
    )
    _check_read(options.overrides, unread, "mopd preflight")
    given = _given_config(options)
    if given is None:
        raise ConfigError("mopd preflight is told of which run", "no CONFIG.toml", "give the configuration of one")
    out = _checked_json(options)
    found = preflight(given, options.quiet)
    print_preflight(found.as_json(), Console())
    _write_json(out, found.as_json())
    return int(found.finding is not None)


def _checked_json(options: argparse.Namespace) -> Path | None:
    """The file of `--json`, which can be written; None where there is none."""
    out = Path(options.json) if options.json else None
    if out is not None:
        with _told_of_json(out):
            check_can_write(out)
    return out


def _write_json(out: Path | None, value: Mapping[str, Any]) -> None:
    if out is not None:
        with _told_of_json(out):
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
        from mopd.runs.run import read_config

        return override_config(read_config(Path(run)), options.overrides, where=f"the overrides of {run}")
    return build_config({}, options.overrides, where="the command line")


def _evaluate(options: argparse.Namespace) -> None:
    from mopd.evaluation.target import evaluate_target, unread_keys

    unread = unread_keys(options.target)
    if options.seed is not None and "warmup" in unread:
        unread["seed"] = "--seed alone"
    _check_read(options.overrides, unread, "mopd evaluate")
    config = _evaluated_config(options)
    out = _checked_json(options)
    figures = evaluate_target(options.target, config, options.seed, options.quiet)
    _print_figures(figures)  # first: they are on the screen whatever becomes of the file
    _write_json(out, figures)


def _evaluated_config(options: argparse.Namespace) -> Config | None:
    """What is evaluated on: CONFIG.toml, or overrides of a run's own configuration; other models need problems."""
    from mopd.runs.run import is_run

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
            raise ConfigError(f"an override is one that {command} reads", key, do)


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
def _told_of_json(path: Path) -> Iterator[None]:
    """What the system says of a path becomes an error that names `--json`."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            "--json names a file that can be written", f"{path}: {error.strerror}", "check the path"
        ) from error


def _verify(options: argparse.Namespace) -> int:
    """1 where a grader failed, or where an audit flags junk."""
    if options.audit and options.resume:
        raise ConfigError("--resume goes on with verdicts on completions", "an audit", "leave --resume out")
    read = ("problems", "verification", "sandbox", "rewards")
    _check_read(options.overrides, {key: "" for key in Config.model_fields if key not in read}, "mopd verify")
    config = _given_config(options) or build_config({})
    out = Path(options.json) if options.json else None
    return _audit(options, config, out) if options.audit else _judge_completions(options, config, out)


def _judge_completions(options: argparse.Namespace, config: Config, out: Path | None) -> int:
    from mopd.auditing.completions import count_of, verdicts_table, verify_completions

    if options.file is None:
        raise ConfigError(
            "mopd verify is given completions", "no FILE", "name a file whose records hold them, or give --audit"
        )
    rewards = verify_completions(options.file, config, out, options.quiet, options.resume)
    Console().print(verdicts_table(rewards))
    failed = count_of(rewards, "error")
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


def _show_context(options: argparse.Namespace) -> None:
    from mopd.report.contexts import rendered_context

    context, rendered, completion = rendered_context(Path(options.run), options.step, options.problem, options.rollout)
    console = Console()
    cut = f", {context.shortened_count} peers shortened, {context.dropped_count} dropped"
    console.rule(f"what the teacher reads ({context.token_count} tokens{cut})")
    console.print(rendered, markup=False, highlight=False, soft_wrap=True)
    console.rule("the student's own completion, scored token by token")
    console.print(completion, markup=False, highlight=False, soft_wrap=True)


def _config(options: argparse.Namespace) -> None:
    given = _given_config(options)
    if options.markdown and given is not None:
        raise ConfigError("--markdown prints every key", "a configuration besides", "leave one of them out")
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


if __name__ == "__main__":
    sys.exit(main())
