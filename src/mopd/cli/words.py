"""The words of a command line: which commands and flags there are, and which word is what wherever it stands."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mopd import __version__
from mopd.cli import commands, upkeep
from mopd.core.errors import ConfigError


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of a command line, with every word in its place wherever it stands: `config` and `overrides` are set.

    CONFIG.toml and overrides may stand behind flags, which argparse alone refuses.
    """
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what a word may become; it needs the package argcomplete
        with suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)
    options, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-") and word != "-"]  # "-" is standard input
    if unknown or (rest and not hasattr(options, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(unknown or rest)}")
    if hasattr(options, "overrides"):
        _sort_words(options, rest)
    return options


def _sort_words(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Tell FILE, CONFIG.toml and overrides apart, which argparse takes in the order in which they stand."""
    if hasattr(options, "prompt"):
        _sort_words_of_generate(options, rest)
        return
    given = (getattr(options, "file", None), options.config, *options.overrides, *rest, *options.sets)
    words = [word for word in given if word is not None]
    names = [word for word in words if not _is_override(word)]
    if hasattr(options, "file"):
        options.file = names.pop(0) if names and not names[0].endswith(".toml") else None
    options.config = names.pop(0) if names else None
    options.overrides = [*names, *(word for word in words if _is_override(word))]  # a name too many is no override


def _sort_words_of_generate(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """The first word is the prompt, whatever it holds, unless --problem stands in its place."""
    words = [word for word in (options.prompt, *options.overrides, *rest, *options.sets) if word is not None]
    is_given = bool(words) and (options.problem is None or not _is_override(words[0]))
    options.prompt = words.pop(0) if is_given else None
    options.overrides = words


PATHS = ("file", "config", "target", "run", "other", "resume", "json", "completions", "out")
"""Words that name files and directories; `~` is the home directory in them, however they were quoted."""


def check_words(options: argparse.Namespace) -> None:
    """Expand `~`, and refuse what no path and no seed is. Raises ConfigError."""
    for name in PATHS:
        word = getattr(options, name, None)
        if not isinstance(word, str):
            continue
        if not word.strip():
            raise ConfigError(f"{name} names a file or directory", f"{name} is empty", "see whether a variable is set")
        if word.startswith("~"):
            with suppress(RuntimeError):  # a user that does not exist: it is then told that there is no such file
                setattr(options, name, str(Path(word).expanduser()))
    seed = getattr(options, "seed", None)
    if seed is not None and not 0 <= seed < 2**63:
        raise ConfigError("--seed is a number from 0 to 2^63 - 1, as the key seed", f"--seed {seed}", "change it")


def _is_override(word: str) -> bool:
    return "=" in word and not os.path.exists(word)


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    """`key=value` anywhere on the command line; `--set key=value` is the same."""
    told = "overrides, each one line of TOML; --set KEY=VALUE is the same"
    words: Any = parser.add_argument("overrides", nargs="*", metavar="key=value", help=told)
    flag: Any = parser.add_argument("--set", action="append", default=[], dest="sets", help=argparse.SUPPRESS)
    words.completer = flag.completer = complete_keys


def complete_keys(prefix: str, **_: Any) -> list[str]:
    """For a shell that completes words: the keys of the configuration that begin so."""
    from mopd.config import config_keys

    return [f"{key}=" for key in config_keys() if key.startswith(prefix) and "[]" not in key]


EXAMPLES = """\
the first hour:
  mopd init math > mine.toml       a configuration to begin with; `mopd init` lists the kinds
  mopd problems mine.toml          what will be trained on
  mopd estimate mine.toml          how much memory and time a run needs
  mopd preflight mine.toml         whether the student can learn from its peers
  mopd train mine.toml steps=20    train; any key can be overridden (`mopd config` lists them)
  mopd train --resume runs/mine    go on where a run was ended
  mopd generate runs/mine "2+2?"   what the model writes
  mopd evaluate runs/mine          figures on held-out problems
  mopd report runs/mine            the whole run as a page for the browser
completion in the shell: pip install argcomplete; eval "$(register-python-argcomplete mopd)"
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mopd",
        description="Multi-rollout on-policy distillation: a model's own attempts teach it, token by token.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mopd {__version__}")
    parser.set_defaults(after_interrupt="a run continues from its last checkpoint with `mopd train --resume RUN`")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        *(_add_init, _add_problems, _add_estimate, _add_preflight, _add_train, _add_evaluate),
        *(_add_generate, _add_verify, _add_show_context, _add_report, _add_picture, _add_analyze, _add_diff),
        *(_add_export, _add_serve, _add_config, _add_cache),
    ):
        add(subparsers)
    return parser


def _add_init(subparsers: Any) -> None:
    init = subparsers.add_parser("init", help="print a configuration to begin with, or list the kinds there are")
    init.add_argument("kind", nargs="?", metavar="KIND", help="what to train on; without it the kinds are listed")
    init.add_argument("--student", metavar="MODEL", help="the model in it: a folder, a .gguf file or a hub id")
    init.set_defaults(command=commands.init_command, after_interrupt="nothing was written")


def _add_problems(subparsers: Any) -> None:
    problems = subparsers.add_parser(
        "problems", help="what will be trained on: counts, lengths, one problem as it is read"
    )
    problems.add_argument("config", nargs="?", metavar="CONFIG.toml")
    _add_overrides(problems)
    problems.add_argument("--show", metavar="ID", help="the problem to show; unset: the first in training")
    problems.add_argument("--json", metavar="OUT", help="write the figures to this file")
    problems.add_argument("--quiet", action="store_true", help="show no progress")
    problems.set_defaults(command=commands.problems_command, after_interrupt="nothing was written")


def _add_estimate(subparsers: Any) -> None:
    asked = subparsers.add_parser(
        "estimate", help="memory by part and seconds a step of a run, and which card holds it"
    )
    asked.add_argument("config", nargs="?", metavar="CONFIG.toml")
    _add_overrides(asked)
    asked.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto, cpu, or a card: h100, h200, a100-80, l40s, rtx-4090, ...",
    )
    asked.add_argument(
        "--devices", type=int, default=1, metavar="N", help="of one host, which share a step as parallel.strategy says"
    )
    asked.add_argument("--json", metavar="OUT", help="write the figures to this file")
    asked.set_defaults(command=upkeep.estimate_command, after_interrupt="nothing was written")


def _add_preflight(subparsers: Any) -> None:
    preflight = subparsers.add_parser(
        "preflight", help="whether a student can learn from its peers, and from which, before a run"
    )
    preflight.add_argument("config", nargs="?", metavar="CONFIG.toml")
    _add_overrides(preflight)
    preflight.add_argument("--json", metavar="OUT", help="write the figures to this file")
    preflight.add_argument("--quiet", action="store_true", help="show no progress")
    preflight.set_defaults(command=commands.preflight_command, after_interrupt="nothing was written")


def _add_train(subparsers: Any) -> None:
    train = subparsers.add_parser("train", help="train as a configuration says, or continue a run")
    train.add_argument("config", nargs="?", metavar="CONFIG.toml")
    _add_overrides(train)
    train.add_argument("--resume", metavar="RUN", help="continue the run in this directory")
    train.add_argument(
        "--fresh", action="store_true", help="move a run that is already there aside to RUN.1, RUN.2, ..."
    )
    train.add_argument("--force", action="store_true", help="begin a run that cannot fit this machine's memory")
    train.add_argument("--quiet", action="store_true", help="show no progress")
    train.add_argument(
        "--log-json", action="store_true", help="for machines: a JSON object a line for each step, and one for the end"
    )
    train.set_defaults(command=commands.train_command)


def _add_evaluate(subparsers: Any) -> None:
    evaluate = subparsers.add_parser("evaluate", help="mean@8 and pass@8 on held-out problems")
    evaluate.add_argument("target", metavar="MODEL_OR_RUN", help="a run directory, a model folder, or builtin:NAME")
    evaluate.add_argument("config", nargs="?", metavar="CONFIG.toml", help="problems and sampling; a run has its own")
    _add_overrides(evaluate)
    evaluate.add_argument("--seed", type=int, help="seed of the sampling (a run's own unless told)")
    evaluate.add_argument("--json", metavar="OUT", help="write the figures to this file")
    evaluate.add_argument("--completions", metavar="OUT", help="write one JSON object a line: each completion")
    evaluate.add_argument("--quiet", action="store_true", help="show no progress")
    evaluate.set_defaults(command=commands.evaluate_command)


def _add_generate(subparsers: Any) -> None:
    generate = subparsers.add_parser("generate", help="what a model writes for a prompt, or for a problem of its run")
    generate.add_argument(
        "target", metavar="RUN_OR_MODEL", help="a run directory, one of its checkpoints, a model, or builtin:NAME"
    )
    generate.add_argument("prompt", nargs="?", metavar="PROMPT", help="one user turn; - reads standard input")
    _add_overrides(generate)
    generate.add_argument("-n", dest="count", type=int, default=8, metavar="N", help="completions, 8 unless told")
    generate.add_argument(
        "--problem", metavar="ID", help="a problem of the run instead of PROMPT, judged as in the run"
    )
    generate.add_argument("--verify", metavar="ANSWER", help="judge the completions against this answer")
    generate.add_argument("--kind", metavar="KIND", help="how ANSWER is compared: exact, math, mcq or tooluse")
    generate.add_argument("--seed", type=int, help="seed of the sampling, as the key seed")
    generate.add_argument("--temperature", metavar="T", help="as the key sampling.temperature")
    generate.add_argument("--tokens", metavar="N", help="longest completion, as the key sampling.completion_tokens")
    generate.add_argument("--json", metavar="OUT", help="write prompt, completions and verdicts to this file")
    generate.set_defaults(command=commands.generate_command, after_interrupt="nothing was written")


def _add_verify(subparsers: Any) -> None:
    verify = subparsers.add_parser("verify", help="verdicts on given completions, or an audit of verifiers with junk")
    verify.add_argument("file", nargs="?", metavar="FILE", help="records with a problem and a `completion` each")
    verify.add_argument("config", nargs="?", metavar="CONFIG.toml", help="how records are read, and limits of graders")
    _add_overrides(verify)
    verify.add_argument(
        "--audit", action="store_true", help="junk instead of completions: FILE or CONFIG.toml says which problems"
    )
    verify.add_argument("--json", metavar="OUT", help="write one JSON object a line: a verdict, or a kind of junk")
    verify.add_argument("--resume", action="store_true", help="go on behind the verdicts that OUT has already")
    verify.add_argument("--quiet", action="store_true", help="show no progress")
    verify.set_defaults(
        command=commands.verify_command, after_interrupt="what was judged is in the file of --json; --resume goes on"
    )


def _add_show_context(subparsers: Any) -> None:
    show = subparsers.add_parser("show-context", help="print what the teacher read before one recorded rollout")
    _add_rollout(show)
    show.add_argument("--scores", action="store_true", help="what teacher and student say of each token (opens both)")
    show.set_defaults(command=commands.show_context_command)


def _add_rollout(parser: argparse.ArgumentParser) -> None:
    """A run, and one of its recorded rollouts."""
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--step", type=int)
    parser.add_argument("--problem", metavar="ID")
    parser.add_argument("--rollout", type=int, metavar="INDEX")


def _add_picture(subparsers: Any) -> None:
    picture = subparsers.add_parser("picture", help="a recorded group as a drawing (SVG), on standard output")
    _add_rollout(picture)
    picture.set_defaults(command=upkeep.picture_command)


def _add_report(subparsers: Any) -> None:
    report = subparsers.add_parser("report", help="a run as one HTML file: figures, groups, what the teacher said")
    report.add_argument("run", metavar="RUN")
    report.add_argument("others", nargs="*", metavar="RUN2", help="runs to set beside it")
    report.add_argument("--out", metavar="FILE", help="where to write it; RUN/report.html unless told")
    report.add_argument(
        "--score", type=int, default=4, metavar="N", help="groups to score token by token, 4 unless told; 0 for none"
    )
    report.add_argument(
        "--watch", action="store_true", help="write it again with every step, until the run that is training ends"
    )
    report.add_argument("--quiet", action="store_true", help="show no progress")
    report.set_defaults(command=upkeep.report_command, after_interrupt="the page is as it was last written")


def _add_analyze(subparsers: Any) -> None:
    analyze = subparsers.add_parser(
        "analyze", help="the teacher's signal and the diversity of a run's rollouts, or of rollouts of other systems"
    )
    analyze.add_argument("target", metavar="RUN_OR_ROLLOUTS", help="a run, or a file or folder of JSONL or parquet")
    analyze.add_argument("--student", metavar="MODEL", help="a model that scores, in place of the run's teacher")
    analyze.add_argument("--contexts", metavar="LIST", help="as in base,1S,2S1F,feedback; all unless told")
    analyze.add_argument("--groups", type=int, default=32, metavar="N", help="mixed groups to score, 32 unless told")
    analyze.add_argument("--success", type=float, metavar="REWARD", help="of a file: the least reward of a success, 1")
    for column in ("prompt", "completion", "reward"):
        analyze.add_argument(f"--{column}", metavar="COLUMN", help=f"of a file: the column with the {column}")
    analyze.add_argument("--seed", type=int, help="which groups are scored (a run's own, or 0, unless told)")
    analyze.add_argument("--out", metavar="FOLDER", help="RUN/analysis unless told, or NAME.analysis beside a file")
    analyze.add_argument("--quiet", action="store_true", help="show no progress")
    analyze.set_defaults(command=upkeep.analyze_command, after_interrupt="nothing was written")


def _add_diff(subparsers: Any) -> None:
    diff = subparsers.add_parser("diff", help="how two runs differ: settings, environment, data, results")
    diff.add_argument("run", metavar="RUN_A")
    diff.add_argument("other", metavar="RUN_B")
    diff.add_argument("--json", metavar="OUT", help="write the differences to this file")
    diff.set_defaults(command=upkeep.diff_command, after_interrupt="nothing was written")


def _add_export(subparsers: Any) -> None:
    export = subparsers.add_parser("export", help="a run's student as a folder that other programs open")
    export.add_argument("target", metavar="RUN_OR_CHECKPOINT")
    export.add_argument("out", metavar="FOLDER", help="a new folder")
    export.add_argument("--adapter", action="store_true", help="the adapter alone, not merged into its base")
    export.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16", help="bfloat16 unless told"
    )
    export.set_defaults(command=upkeep.export_command, after_interrupt="nothing was written")


def _add_serve(subparsers: Any) -> None:
    serve = subparsers.add_parser("serve", help="start the vLLM servers that a configuration names, until interrupted")
    serve.add_argument("config", nargs="?", metavar="CONFIG.toml")
    _add_overrides(serve)
    serve.add_argument("--print", action="store_true", help="print their commands and start nothing")
    serve.set_defaults(command=upkeep.serve_command, after_interrupt="the servers have ended")


def _add_config(subparsers: Any) -> None:
    config = subparsers.add_parser("config", help="every key with its meaning, or a configuration resolved")
    config.add_argument("config", nargs="?", metavar="CONFIG.toml")
    _add_overrides(config)
    config.add_argument("--markdown", action="store_true", help="print docs/config.md")
    config.set_defaults(command=commands.config_command)


def _add_cache(subparsers: Any) -> None:
    cache = subparsers.add_parser("cache", help="the warm-ups kept on this disk; --prune removes old ones")
    cache.add_argument("--prune", action="store_true", help="remove those that were not used for DAYS days")
    cache.add_argument("--days", type=int, default=30, metavar="DAYS", help="30 unless told; 0 for all")
    cache.set_defaults(command=upkeep.cache_command, after_interrupt="what was removed stays removed")
