"""`mopd analyze`: the teacher's signal and the diversity of recorded groups, written as JSON, CSV and a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mopd.analysis.contexts import DEFAULT, Shown, parse
from mopd.analysis.groups import Groups, RunGroups, evenly, outcomes
from mopd.analysis.opened import Models
from mopd.analysis.parts import Part, changes, parts_of_evaluations, parts_of_training
from mopd.analysis.picture import draw
from mopd.analysis.rollout_files import open_files
from mopd.analysis.signal import SignalReader, describe, read_all
from mopd.config import Config, DistillObjective, LiveTeacher, build_config
from mopd.core.errors import ConfigError
from mopd.core.files import check_can_write, dump_json, write_file
from mopd.core.seeding import derive_rng
from mopd.method.recipes import in_force
from mopd.models.memory import told_if_full
from mopd.report.loaded import LoadedRun, load_run
from mopd.report.missing import tried
from mopd.report.showing import visible
from mopd.runs.directory import ANALYSIS, EVALUATIONS, written
from mopd.runs.paths import absolute, settled
from mopd.runs.progress import ProgressDisplay
from mopd.runs.reading import is_run

FILES = ("analysis.json", "signal.csv", "diversity.csv", "signal.svg")


@dataclass(frozen=True)
class Asked:
    """What is asked: a run, or a file or folder of rollouts; `contexts` unset are all, of a run without a teacher
    `base` alone; `groups` are scored at most; `student` scores in the place of the run's teacher."""

    target: str
    student: str | None = None
    contexts: tuple[str, ...] | None = None
    groups: int = 32
    success: float | None = None
    seed: int | None = None
    prompt: str | None = None
    completion: str | None = None
    reward: str | None = None
    out: str | None = None


@dataclass
class _Source:
    """Where groups come from: their configuration, and the run, None of a file of rollouts."""

    name: str
    groups: Groups
    config: Config
    run: LoadedRun | None = None
    told: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def tried(self, what: str, do: Callable[[], Any], otherwise: Any) -> Any:
        """What `do` gives, else `otherwise`, which is then told as missing."""
        return tried(self.missing, what, do, otherwise)


def analyze(asked: Asked, quiet: bool = False) -> tuple[Path, dict[str, Any]]:
    """Analyse, and write four files to a folder; the folder, and what analysis.json holds.

    Nothing is written before all is done. Raises MopdError where there is nothing to analyse or the folder cannot be
    written.
    """
    if asked.groups < 1:
        raise ConfigError("--groups is a number of groups, at least 1", f"--groups {asked.groups}", "change it")
    contexts = None if asked.contexts is None else parse(asked.contexts)
    target, progress = absolute(asked.target), ProgressDisplay(quiet)
    folder = absolute(asked.out) if asked.out else _beside(target)
    _check_folder(folder)
    with progress.phase("count groups", 1) as phase:
        source = _run_source(target, asked) if is_run(target) else _file_source(target, asked)
        phase.advance()
    found = _found(source, asked, contexts, progress)
    _write(folder, found)
    return folder, found


def _beside(target: Path) -> Path:
    """RUN/analysis, or NAME.analysis beside a file or folder of rollouts."""
    if is_run(target):
        return target / ANALYSIS
    return target.with_name(f"{target.name.partition('.')[0] or target.name}.{ANALYSIS}")


def _check_folder(folder: Path) -> None:
    """Raises RunError where the folder cannot be written; leaves all as it is."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    with written(folder):
        check_can_write(nearest / FILES[0])


def _run_source(path: Path, asked: Asked) -> _Source:
    run = load_run(path)
    config = run.config
    for name in ("success", "prompt", "completion", "reward"):
        if getattr(asked, name) is not None:
            must = f"--{name} says how a file of rollouts is read"
            raise ConfigError(must, f"--{name} beside the run {path}", "leave it out: a run has verdicts")
    source = _Source(path.name, RunGroups(path / "groups.jsonl", config.success_reward), config, run)
    source.config = source.tried("the recipe", lambda: in_force(config, run.preflight or {}), config)
    return source


def _file_source(path: Path, asked: Asked) -> _Source:
    success = 1.0 if asked.success is None else asked.success
    groups, found = open_files(path, success, asked.prompt, asked.completion, asked.reward)
    own = {"student": asked.student} if asked.student else {}
    config = build_config({**own, "success_reward": success}, (), "the command line")
    return _Source(path.name, groups, config, told=[found.told, f"a success has a reward of at least {success:g}"])


def _found(
    source: _Source, asked: Asked, contexts: Sequence[Shown] | None, progress: ProgressDisplay
) -> dict[str, Any]:
    groups, seed = source.groups, source.config.seed if asked.seed is None else asked.seed
    if not groups.seen:
        source.missing.append("groups: none is recorded")
    signal, scored_by = _signal(source, asked, contexts, seed, progress)
    parts = source.tried("texts", lambda: parts_of_training(groups, seed, progress), [])
    parts += _evaluations(source, seed, progress)
    return {
        "of": source.name,
        "read_as": source.told,
        "seed": seed,
        "groups": len(groups.seen),
        "outcomes": outcomes(groups.seen),
        "scored_by": scored_by,
        "signal": signal,
        "parts": [part.as_json() for part in parts],
        "changes": [found for pair in _pairs(parts) if (found := changes(parts, *pair))],
        "missing": [*source.missing, *groups.unread],
    }


def _evaluations(source: _Source, seed: int, progress: ProgressDisplay) -> list[Part]:
    if source.run is None:
        return []
    folder, reward = source.run.path / EVALUATIONS, source.config.success_reward
    parts, unread = source.tried("evaluations", lambda: parts_of_evaluations(folder, reward, seed, progress), ([], []))
    source.missing += unread
    if not parts:
        source.missing.append("diversity at evaluation: no completions of held-out problems are kept")
    return list(parts)


def _pairs(parts: Sequence[Part]) -> list[tuple[str, str]]:
    evaluations = [part.name for part in parts if part.name.startswith("evaluation")]
    return [("early", "late"), *([(evaluations[0], evaluations[-1])] if evaluations else [])]


def _signal(
    source: _Source, asked: Asked, contexts: Sequence[Shown] | None, seed: int, progress: ProgressDisplay
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The teacher's signal, and what scored; both None where there is none, which is then told."""
    what, seen = "the teacher's signal", source.groups.seen
    mixed = [place for place, one in enumerate(seen) if one.is_mixed]
    if source.run is None and asked.student is None:
        source.missing.append(f"{what}: no model was named to score with (--student MODEL)")
    elif not mixed:
        counts = ", ".join(f"{n} {kind}" for kind, n in outcomes(seen).items() if n)
        source.missing.append(f"{what}: no group has a success and a failure ({counts or 'none at all'})")
    elif (models := _opened(source, asked, what)) is not None:
        chosen = evenly(mixed, asked.groups, derive_rng(seed, "analyze"))
        if contexts is None:
            contexts = parse(DEFAULT if _is_taught(source, asked) else ("base",))
        reader = SignalReader(models, contexts, source.groups.is_whole)
        signal = source.tried(what, lambda: _read(source, reader, chosen, progress), None)
        return signal, {**_scored_by(source, asked, models), "groups": len(chosen), "of_mixed": len(mixed)}
    return None, None


def _opened(source: _Source, asked: Asked, what: str) -> Models | None:
    """What scores; None where a run has none to open, which is told. A model that was named is one that opens."""
    found: Models | None = (
        _models(source, asked) if asked.student else source.tried(what, lambda: _models(source, asked), None)
    )
    return found


def _read(source: _Source, reader: SignalReader, chosen: Sequence[int], progress: ProgressDisplay) -> dict[str, Any]:
    groups = sorted(source.groups.read(chosen), key=lambda found: found[0])
    asked = [(source.groups.seen[place].step, group) for place, group in groups]
    with told_if_full(source.config, lambda: "teacher", has_begun=False):
        scores, refused = read_all(reader, asked, progress)
    source.missing += refused
    return describe(scores, reader.tallies)


def _is_taught(source: _Source, asked: Asked) -> bool:
    """Whether there is a teacher that reads contexts: the run's, or the model that was named."""
    return asked.student is not None or source.config.objective.kind == "distill"


def _models(source: _Source, asked: Asked) -> Models:
    """What scores: the teacher of the run's checkpoint; the student itself, where its objective has no teacher; or the
    model that was named. Raises MopdError."""
    itself = source.config.model_copy(update={"objective": DistillObjective(), "teacher": LiveTeacher()})
    with told_if_full(source.config, lambda: "load", has_begun=False):
        if asked.student is not None:
            named = {"student": asked.student, "lora": None}
            return Models.of_student(settled(itself.model_copy(update=named)))
        assert source.run is not None
        return Models.open(source.run.path, source.config if _is_taught(source, asked) else itself)


def _scored_by(source: _Source, asked: Asked, models: Models) -> dict[str, Any]:
    return {
        "model": asked.student or source.config.student,
        "teacher": source.config.teacher.kind if asked.student is None and _is_taught(source, asked) else None,
        "step": models.step,
        "temperature": models.config.sampling.temperature,
    }


def _write(folder: Path, found: dict[str, Any]) -> None:
    """Raises RunError."""
    why = next((told for told in found["missing"] if told.startswith("the teacher's signal")), "")
    texts = (
        dump_json(found),
        _signal_table(found["signal"]),
        _diversity_table(found["parts"]),
        draw(found["signal"], f"The teacher's signal: {visible(found['of'])}", why),
    )
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in zip(FILES, texts, strict=True):
            write_file(folder / name, text)


ESTIMATE = ("mean", "low", "high", "problems", "undefined")


def _estimate(found: dict[str, Any] | None) -> list[Any]:
    """The cells of an estimate; empty ones where there is none."""
    if found is None:
        return [""] * len(ESTIMATE)
    low, high = found["interval"] or ("", "")
    mean = "" if found["mean"] is None else found["mean"]
    return [mean, low, high, found["problems"], found["undefined"]]


def _signal_table(signal: dict[str, Any] | None) -> str:
    """A row for each context and statistic, and for each difference of two contexts."""
    rows: list[list[Any]] = [["context", "minus", "statistic", *ESTIMATE]]
    for context in (signal or {}).get("contexts", ()):
        rows += [[context["name"], "", name, *_estimate(v)] for name, v in context["statistics"].items()]
    for one in (signal or {}).get("differences", ()):
        rows += [[one["context"], one["minus"], name, *_estimate(v)] for name, v in one["statistics"].items()]
    return _csv(rows)


def _diversity_table(parts: Sequence[dict[str, Any]]) -> str:
    """A row for each part of the run and measure."""
    rows: list[list[Any]] = [["part", "measure", *ESTIMATE]]
    for part in parts:
        rows += [[part["name"], name, *_estimate(found)] for name, found in part["measures"].items()]
    return _csv(rows)


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
