"""The command line: mopd train | evaluate | verify | show-context | config."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from mopd.config import Config, build_config, config_keys, config_markdown, load_config
from mopd.core.errors import ConfigError, MopdError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 1 for a finding, 2 where the user can mend something, 130 when interrupted."""
    options = _parse(arguments)
    errors = Console(stderr=True)
    try:
        return int(options.command(options) or 0)
    except MopdError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        errors.print(f"interrupted; {options.after_interrupt}", markup=False, highlight=False, soft_wrap=True)
        return 130
    except BrokenPipeError:
        return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of a command line; CONFIG.toml and overrides may stand behind flags, which argparse alone refuses."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and rest[0].endswith(".toml") and getattr(options, "config", "") is None:
        options.config = rest.pop(0)
    unknown = [argument for argument in rest if argument.startswith("-") or "=" not in argument]
    if unknown or (rest and not hasattr(options, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(unknown or rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


OVERRIDES: dict[str, Any] = {"nargs": "*", "metavar": "key=value", "help": "overrides, each one line of TOML"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mopd",
        description="Multi-rollout on-policy distillation: a model's own attempts teach it, token by token.",
    )
    parser.set_defaults(after_interrupt="a run continues from its last checkpoint with `mopd train --resume RUN`")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_train, _add_evaluate, _add_verify, _add_show_context, _add_config):
        add(commands)
    return parser


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

    given = _given_config(options)
    if options.resume:
        summary = resume(options.resume, expected=given, quiet=options.quiet)
    elif given is None:
        raise ConfigError("mopd train is told what to do", "neither CONFIG.toml nor --resume RUN", "give one of them")
    else:
        summary = train(given, fresh=options.fresh, quiet=options.quiet)
    print_summary(summary, Console())


def _given_config(options: argparse.Namespace) -> Config | None:
    """The configuration of CONFIG.toml and overrides; None where neither is given."""
    if options.config is None:
        return None
    if _is_override(options.config):  # only overrides were given
        if getattr(options, "resume", None):
            from mopd.runs.run import read_config

            run_config = read_config(Path(options.resume)).model_dump(mode="json")
            return build_config(run_config, [options.config, *options.overrides], where="the overrides")
        return build_config({}, [options.config, *options.overrides], where="the command line")
    return load_config(options.config, options.overrides)


def _is_override(word: str) -> bool:
    return "=" in word and not Path(word).exists()


def _evaluate(options: argparse.Namespace) -> None:
    from mopd.evaluation.target import evaluate_target

    figures = evaluate_target(options.target, _given_config(options), options.seed, options.quiet)
    if options.json:
        _write_json(Path(options.json), figures)
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


def _write_json(path: Path, value: dict[str, Any]) -> None:
    from mopd.core.files import dump_json

    try:
        path.write_text(dump_json(value), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "--json names a file that can be written", f"{path}: {error.strerror}", "check the path"
        ) from error


def _verify(options: argparse.Namespace) -> int:
    """1 where a grader failed, or where an audit flags junk."""
    if options.file and (options.file.endswith(".toml") or _is_override(options.file)):
        options.overrides = [*([options.config] if options.config else []), *options.overrides]
        options.file, options.config = None, options.file
    config = _given_config(options) or build_config({}, options.overrides)
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
