"""Commands beside a run: what it will need, students to export, and cached warm-ups."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from mopd.cli import commands
from mopd.core.errors import ConfigError


def export_command(options: argparse.Namespace) -> None:
    """Write what `AutoModelForCausalLM.from_pretrained` opens, or an adapter alone."""
    from mopd.runs.exporting import export

    checkpoint = export(options.target, Path(options.out), options.dtype, options.adapter)
    console = Console()
    console.print(f"{checkpoint} as {options.dtype}: {options.out}", markup=False, highlight=False, soft_wrap=True)


def report_command(options: argparse.Namespace) -> None:
    """Write the page, and say what is missing from it."""
    from mopd.page.report import write_report
    from mopd.page.watching import watch_report

    if options.score < 0:
        raise ConfigError("--score is a number of groups, at least 0", f"--score {options.score}", "change it")
    out = Path(options.out) if options.out else None
    write = watch_report if options.watch else write_report
    target, missing = write([options.run, *options.others], out, options.score, options.quiet)
    console = Console()
    for told in missing:
        console.print(f"missing: {told}", markup=False, highlight=False, soft_wrap=True)
    size = target.stat().st_size / 2**20 if target.is_file() else 0.0
    console.print(f"{target} ({size:.1f} MiB)", markup=False, highlight=False, soft_wrap=True)


def picture_command(options: argparse.Namespace) -> None:
    """Print the drawing alone, so that it can be sent into a file."""
    from mopd.page.picture import picture_of

    sys.stdout.write(picture_of(Path(options.run), options.step, options.problem, options.rollout))


def analyze_command(options: argparse.Namespace) -> None:
    """Write the analysis, and show its tables."""
    from mopd.analysis.analyze import Asked, analyze
    from mopd.report.analysis import print_analysis

    contexts = None if options.contexts is None else tuple(options.contexts.split(","))
    given = ("target", "student", "groups", "success", "seed", "prompt", "completion", "reward", "out")
    asked = Asked(contexts=contexts, **{name: getattr(options, name) for name in given})
    folder, found = analyze(asked, options.quiet)
    console = Console()
    print_analysis(found, console)
    console.print(f"{folder}/", markup=False, highlight=False, soft_wrap=True)


def diff_command(options: argparse.Namespace) -> None:
    """Say how two runs differ."""
    from mopd.analysis.differences import diff_runs
    from mopd.report.differences import print_differences

    out = commands.checked_json(options)
    found = diff_runs(options.run, options.other)
    print_differences(found, Console())
    commands.write_json(out, found)


def estimate_command(options: argparse.Namespace) -> int:
    """1 where the run does not fit what is free."""
    from mopd.estimating.estimate import estimate
    from mopd.report.estimates import print_estimate

    given = commands.needed_config(options, "mopd estimate")
    out = commands.checked_json(options)
    found = estimate(given, options.device, options.devices)
    print_estimate(found, Console())
    commands.write_json(out, found.as_json())
    return int(not found.fits)


def cache_command(options: argparse.Namespace) -> None:
    """List what warm-ups are kept, or remove those that nobody used for some days."""
    from mopd.warmup.cache import cache_root, cached_warmups, prune

    if options.days < 0:
        raise ConfigError("--days is a number of days, at least 0", f"--days {options.days}", "change it")
    console = Console()
    if options.prune:
        removed = prune(options.days)
        size = sum(entry.size for entry in removed) / 2**20
        console.print(f"removed {len(removed)} warm-ups, {size:.0f} MiB, not used for {options.days} days or more")
        return
    entries = cached_warmups()
    for entry in entries:
        text = f"{entry.size / 2**20:8.0f} MiB  used {entry.age_days:4.0f} days ago  {entry.path.name}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    total = sum(entry.size for entry in entries) / 2**20
    where = f"{len(entries)} warm-ups, {total:.0f} MiB, in {cache_root() / 'warmups'} (MOPD_CACHE says where)"
    console.print(where, markup=False, highlight=False, soft_wrap=True)


def serve_command(options: argparse.Namespace) -> None:
    """Print the commands of servers, and run them until a signal comes."""
    from mopd.estimating.servers import needed_servers
    from mopd.runs.paths import settled
    from mopd.serving.launching import serve

    console = Console(stderr=not options.print)
    found = needed_servers(settled(commands.needed_config(options, "mopd serve")))
    for command in found:
        console.print(str(command), markup=False, highlight=False, soft_wrap=True)
    if not options.print:
        serve(found, lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True))
