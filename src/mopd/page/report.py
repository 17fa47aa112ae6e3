"""`mopd report`: what a run, or several, have to show, gathered and written as one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mopd.analysis.cost import cost
from mopd.analysis.opened import LONGEST, Models
from mopd.config import Config
from mopd.core.files import check_can_write, write_file
from mopd.method.contexts import ENGLISH
from mopd.method.lessons import LessonMaker
from mopd.method.recipes import in_force
from mopd.page.comparison import Figures, compare
from mopd.page.credit import MOST_TOKENS, choose_to_score, score_group
from mopd.page.groups import Chosen, choose_groups
from mopd.page.held_out import before_and_after_by_problem
from mopd.page.html import document
from mopd.page.overview import alarms, curves, figures_table
from mopd.page.sampling import Budget, Row, shown
from mopd.report.contexts import reader_of
from mopd.report.loaded import LoadedRun, load_run
from mopd.report.missing import tried
from mopd.report.warnings import warnings_of
from mopd.runs.directory import EVALUATIONS, REPORT, written
from mopd.runs.progress import ProgressDisplay
from mopd.training.summary import before_and_after

Found = TypeVar("Found")

ROLLOUTS, GROUP_BYTES = 2000, 10 * 2**20
"""What a page shows of groups at most."""

HELD_OUT, HELD_OUT_BYTES = 1000, 4 * 2**20
"""Of completions of held-out problems."""


@dataclass
class _Gathering:
    """One run while its page is made: what can be read of it, and, for the page, what cannot."""

    run: LoadedRun
    config: Config
    missing: list[str] = field(default_factory=list)

    def tried(self, what: str, read: Callable[[], Found], otherwise: Any) -> Found:
        """What `read` gives; where it fails, `otherwise`, and `what` is named as missing with the reason."""
        return tried(self.missing, what, read, otherwise)

    def rows(self, what: str, read: Callable[[], Any]) -> list[Row]:
        """The lines of a log up to the first that is damaged."""
        found: list[Row] = []
        self.tried(f"{what} from line {{}} on", lambda: found.extend(_with_step(row) for row in read()), None)
        self.missing = [told.replace("{}", str(len(found) + 1), 1) for told in self.missing]
        return found


def _with_step(row: Row) -> Row:
    if not isinstance(row.get("step"), int):
        raise ValueError("a line without the number of its step")
    return row


def write_report(
    runs: Sequence[str | Path], out: Path | None, score: int, quiet: bool = False, refresh_s: int = 0
) -> tuple[Path, list[str]]:
    """Write the page of the first run, beside which the others are set, to `out` (its directory, unless told).

    `score` groups are scored token by token; `refresh_s` is for a page that is written again and again (`watching`).
    Gives the file, and what is missing from it. Raises RunError where a
    directory holds no run, or where the file cannot be written.
    """
    loaded = [load_run(run) for run in runs]
    target = out or loaded[0].path / REPORT
    with written(target):
        check_can_write(target)
    gathered = [_Gathering(run, run.config) for run in loaded]
    figures = [_figures(each, name) for each, name in zip(gathered, _names(loaded), strict=True)]
    first = gathered[0]
    data = _data(first, figures, score, ProgressDisplay(quiet))
    others = [f"{other.run.path.name}: {told}" for other in gathered[1:] for told in other.missing]
    counts = Counter([*first.missing, *others])
    data["overview"]["missing"] = [f"{told} ({n} times)" if n > 1 else told for told, n in counts.items()]
    with written(target):
        write_file(target, document(f"mopd: {figures[0].name}", data, refresh_s).decode())
    return target, data["overview"]["missing"]


def _names(runs: Sequence[LoadedRun]) -> list[str]:
    """Short names that differ."""
    short = [shown(run.path.name, 80) for run in runs]
    return short if len(set(short)) == len(short) else [shown(str(run.path), 200) for run in runs]


def _figures(gathering: _Gathering, name: str) -> Figures:
    run = gathering.run
    rows = gathering.rows("metrics of steps", run.metrics_rows)
    evaluations = gathering.rows("evaluations", run.evaluation_rows)
    figures = gathering.tried("figures before and after", lambda: before_and_after(evaluations), {})
    return Figures(name, gathering.config, rows, evaluations, figures)


def _data(first: _Gathering, figures: Sequence[Figures], score: int, progress: ProgressDisplay) -> dict[str, Any]:
    """The blocks of data of a page."""
    config = first.tried("the recipe", lambda: in_force(first.config, first.run.preflight or {}), first.config)
    maker = _maker(first, config)
    chosen = first.tried("groups", lambda: _groups(first, maker), None)
    held_out, counts = _held_out(first, figures[0])
    overview = _overview(first, figures[0]) | {"held_out": counts, "template": maker.template.model_dump()}
    overview["groups"] = None if chosen is None else _counts(chosen, first)
    overview["comparison"] = first.tried("the comparison", lambda: compare(figures), None)
    tokens = [] if chosen is None or not score else _scores(first, config, chosen, score, progress)
    overview["scores"] = tokens[0] if tokens else None
    return {
        "overview": overview,
        "groups": [] if chosen is None else chosen.drawn,
        "held-out": held_out,
        "tokens": tokens[1] if tokens else [],
    }


def _overview(first: _Gathering, figures: Figures) -> dict[str, Any]:
    run, config = first.run, first.config
    summary = first.tried("the summary", lambda: run.summary, None)
    if summary is None:
        first.missing.append(
            f"the end: the run is not finished; {len(figures.rows)} of {config.steps} steps are recorded"
        )
    if not figures.rows:
        first.missing.append("steps: none is recorded")
    summary = summary or {}
    return {
        "name": figures.name,
        "student": shown(config.student, 300),
        "objective": config.objective.kind,
        "steps": [len(figures.rows), config.steps],
        "group_size": config.group_size,
        "problems_per_step": config.problems_per_step,
        "seed": config.seed,
        "finished": bool(summary),
        "figures": first.tried("the table of figures", lambda: figures_table(figures.figures), []),
        "gain": figures.figures.get("gain"),
        "charts": first.tried("curves", lambda: curves(figures.rows, figures.evaluations), []),
        "alarms": first.tried("alarms", lambda: alarms(first.rows("alarms", run.alarm_rows)), []),
        "warnings": first.tried("warnings", lambda: warnings_of(figures.rows, summary), []),
        "told": shown(summary.get("nothing_learnt") or "", 2000),
        "cost": first.tried("cost", lambda: cost(figures.rows, summary), None),
    }


def _maker(first: _Gathering, config: Config) -> LessonMaker:
    """What makes contexts again. Without the student's tokenizer their lengths are not known: nothing is shortened."""
    reader = first.tried(
        "shortened peers and the student's own wording in contexts", lambda: reader_of(first.run.path, config), None
    )
    if reader is None:
        return LessonMaker(config, lambda messages: (), ENGLISH)
    return LessonMaker(config, reader.tokenizer.encode_prompt, reader.template)


def _groups(first: _Gathering, maker: LessonMaker) -> Chosen:
    chosen = choose_groups(first.run.path / "groups.jsonl", maker, Budget(ROLLOUTS, GROUP_BYTES))
    if chosen.lines.damaged:
        first.missing.append(f"groups: {chosen.lines.damaged} lines of groups.jsonl cannot be read")
    if not chosen.tally.rollouts:
        first.missing.append("groups: none is recorded")
    elif not chosen.tally.groups["mixed"] + chosen.tally.groups["solved"]:
        first.missing.append("successes: no rollout of this run succeeded")
    if count := chosen.contexts.differing:
        told = f"{count} have another length than when they were read"
        first.missing.append(f"contexts as they were: {told}; another version, template or tokenizer made them")
    if count := chosen.contexts.unmeasured:
        first.missing.append(f"shortened parts of {count} contexts: to find them again would take too long")
    return chosen


def _counts(chosen: Chosen, first: _Gathering) -> dict[str, Any]:
    tally = chosen.tally
    return {
        "all": sum(tally.groups.values()),
        "shown": len(chosen.drawn),
        "rollouts": tally.rollouts,
        "shown_rollouts": sum(len(group["rollouts"]) for group in chosen.drawn),
        "outcomes": dict(tally.groups),
        "kinds": dict(tally.kinds),
        "reasons": dict(tally.reasons),
    }


def _held_out(first: _Gathering, figures: Figures) -> tuple[list[dict[str, Any]], dict[str, int] | None]:
    """Held-out problems with completions before and after, and how many are shown of how many."""
    if "before" not in figures.figures:
        first.missing.append("held-out problems before and after: there are no two evaluations measured alike")
        return [], None
    steps = [int(figures.figures[side]["step"]) for side in ("before", "after")]
    paths = [first.run.path / EVALUATIONS / f"step-{step}.jsonl" for step in steps]
    if absent := [path.name for path in paths if not path.exists()]:
        first.missing.append(f"completions of held-out problems: no {EVALUATIONS}/{absent[0]}")
        return [], None
    budget = Budget(HELD_OUT, HELD_OUT_BYTES)
    found = first.tried(
        "completions of held-out problems", lambda: before_and_after_by_problem(paths[0], paths[1], budget), ([], 0, 0)
    )
    if found[2]:
        first.missing.append(f"held-out completions: {found[2]} lines cannot be read")
    return found[0], {"shown": len(found[0]), "all": found[1], "before": steps[0], "after": steps[1]}


def _scores(
    first: _Gathering, config: Config, chosen: Chosen, score: int, progress: ProgressDisplay
) -> tuple[dict[str, Any], list[dict[str, Any]]] | list[Any]:
    """What is scored, and the scores of each group."""
    asked = choose_to_score(chosen.recorded, score)
    if not asked:
        first.missing.append("scores of tokens: no group that is shown has a context that a teacher read")
        return []
    models = first.tried("scores of tokens", lambda: Models.open(first.run.path, config), None)
    if models is None:
        return []
    scored: list[dict[str, Any]] = []
    left = MOST_TOKENS
    with progress.phase("score tokens", len(asked)) as phase:
        for place in asked:
            shown = chosen.recorded[place], chosen.neighbours[place]
            rollouts, too_long = first.tried("scores of a group", partial(score_group, models, *shown), ([], 0))
            if too_long:
                first.missing.append(f"scores of long rollouts: {too_long} of a group do not fit {LONGEST} tokens")
            left -= sum(len(rollout["pieces"]) for rollout in rollouts)
            if left < 0:
                first.missing.append(f"scores: the page has room for {len(scored)} of {len(asked)} groups' tokens")
                break
            scored += [{"group": place, "rollouts": rollouts}] if rollouts else []
            phase.advance()
    moved = [r["moved"] for group in scored for r in group["rollouts"] if "moved" in r]
    every = [r for group in scored for r in group["rollouts"]]
    return {
        "step": models.step,
        "teacher": config.teacher.kind,
        "groups": len(scored),
        "rollouts": len(every),
        "otherwise_encoded": sum(not rollout["is_same_length"] for rollout in every),
        "alike": sum(pair[0] for pair in moved),
        "apart": sum(pair[1] for pair in moved),
        "moved_rollouts": len(moved),
    }, scored
