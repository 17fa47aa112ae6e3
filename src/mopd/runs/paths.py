"""Paths of a configuration, made absolute once: against the working directory of the command that gave them.

From then on a run means the same files wherever the process goes (a reward function may change directory), and
whoever reads the run later, from another directory, finds them too.
"""

from __future__ import annotations

import os
from pathlib import Path

from mopd.config import HUB_PREFIX, PYTHON_PREFIX, Config, ExternalTeacher, MixConfig, TeacherConfig
from mopd.core.errors import RunError
from mopd.models.embedded import PREFIX
from mopd.problems import generated
from mopd.starters import PREFIX as STARTER_PREFIX


def settled(config: Config) -> Config:
    """`config` with absolute paths: `run`, `student`, `teacher.model`, `rewards.folder`, and where problems are.

    A name that is no file here (a hub id, a generated source, a misspelt name) stays as it is. Raises RunError where
    `run` names no directory.
    """
    problems, folder = config.problems, config.rewards.folder
    held_out = problems.held_out_source
    places = {
        "source": _source(problems.source),
        "held_out_source": held_out if held_out is None else _source(held_out),
        "mix": tuple(_settled_source(source) for source in problems.mix),
    }
    return config.model_copy(
        update={
            "run": str(run_path(config.run)),
            "student": _student(config.student),
            "teacher": _teacher(config.teacher),
            "problems": problems.model_copy(update=places),
            "rewards": config.rewards.model_copy(update={"folder": None if folder is None else str(absolute(folder))}),
        }
    )


def run_path(text: str | Path) -> Path:
    """The absolute path of a run's directory. Raises RunError where `text` names none that a run may have."""
    must = "a run has a directory of its own"
    do = "set run=... to a new directory, for example run=runs/first"
    if not str(text).strip():
        raise RunError(must, "run is empty", do)
    try:
        path = absolute(text)
        real, taken = path.resolve(), {Path.cwd().resolve(): "the working directory", Path("/"): "the root of the disk"}
        if (home := os.environ.get("HOME")) and Path(home).is_absolute():
            taken[Path(home).resolve()] = "the home directory"
    except (OSError, RuntimeError, ValueError) as error:  # a user that does not exist, a null byte, no directory here
        raise RunError(must, f"run = {str(text)!r}: {error}", do) from error
    if real in taken:
        raise RunError(must, f"run = {str(text)!r}, which is {taken[real]}", do)
    return path


def absolute(text: str | Path) -> Path:
    """An absolute path; `~` is the home directory. Links stay: what a link is called may say what it holds (.gguf)."""
    return Path(text).expanduser().absolute()


def _existing(text: str) -> str:
    """The absolute path of what is there; any other text as it is, so that errors show what was given."""
    try:
        path = absolute(text)
        if not text.strip():  # an unset variable is not the working directory
            return text
        return str(path) if text.startswith("~") or path.exists() else text
    except (OSError, RuntimeError, ValueError):
        return text


def _student(text: str) -> str:
    return text if text.startswith((PREFIX, PYTHON_PREFIX)) else _existing(text)


def _teacher(teacher: TeacherConfig) -> TeacherConfig:
    if not isinstance(teacher, ExternalTeacher):
        return teacher
    return teacher.model_copy(update={"model": _existing(teacher.model)})


def _source(text: str) -> str:
    """A file, or the folder of `hub:./FOLDER`; names of data sets, starters and generated sources stay."""
    is_name = text.startswith((STARTER_PREFIX, PYTHON_PREFIX)) or generated.find(text) is not None
    if not text or is_name:  # an empty one: there is a mix instead
        return text
    if text.startswith(HUB_PREFIX):
        name = text.removeprefix(HUB_PREFIX)
        return HUB_PREFIX + _existing(name) if name.startswith((".", "/", "~")) else text
    return _existing(text)


def _settled_source(source: MixConfig) -> MixConfig:
    return source.model_copy(update={"source": _source(source.source)})


def is_place(text: str) -> bool:
    """Whether a settled student or source names a place on this disk, or what was passed in Python."""
    return text.startswith(PYTHON_PREFIX) or text.removeprefix(HUB_PREFIX).startswith("/")
