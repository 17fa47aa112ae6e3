"""mopd: multi-rollout on-policy distillation (arXiv 2605.12652).

A language model attempts each problem several times; verifiers say which attempts succeeded; then the same model,
shown what its successful and failed peers wrote, becomes the teacher that corrects every attempt token by token.

    from mopd import load_config, train

    config = load_config("configs/demo.toml", seed=1)
    summary = train(config)
    print(summary["before"]["mean_at_8"], summary["after"]["mean_at_8"])

`train`, `resume`, `evaluate` and `run_preflight` do what the commands do; problems, a student and reward functions can
be passed as they are. `load_run` opens a run as data. docs/python.md has examples.

The parts of the method that work alone have short names here: `mopd.divergence` is `mopd.method.divergence`, and so on.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mopd.core.quiet import quieten

if TYPE_CHECKING:
    from mopd import verifiers as verifiers
    from mopd.config import Config as Config
    from mopd.config import load_config as load_config
    from mopd.core import statistics as statistics
    from mopd.core.errors import MopdError as MopdError
    from mopd.core.types import Problem as Problem
    from mopd.core.types import Verdict as Verdict
    from mopd.evaluation.preflighting import run_preflight as run_preflight
    from mopd.evaluation.target import evaluate as evaluate
    from mopd.method import contexts as contexts
    from mopd.method import divergence as divergence
    from mopd.method import objective as objective
    from mopd.method import peers as peers
    from mopd.method import predictions as predictions
    from mopd.report.loaded import LoadedRun as LoadedRun
    from mopd.report.loaded import load_run as load_run
    from mopd.training import StepDone as StepDone
    from mopd.training import resume as resume
    from mopd.training import train as train

__version__ = "0.1.0"

_HOMES = {
    name: home
    for home, names in {
        "mopd.config": ("Config", "load_config"),
        "mopd.core.errors": ("MopdError",),
        "mopd.core.types": ("Problem", "Verdict"),
        "mopd.evaluation.preflighting": ("run_preflight",),
        "mopd.evaluation.target": ("evaluate",),
        "mopd.report.loaded": ("LoadedRun", "load_run"),
        "mopd.training": ("StepDone", "resume", "train"),
    }.items()
    for name in names
}
_PARTS = {
    "statistics": "mopd.core.statistics",
    **{name: f"mopd.method.{name}" for name in ("contexts", "divergence", "objective", "peers", "predictions")},
}
__all__ = [*_HOMES, *_PARTS, "verifiers"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: `mopd config` need not wait for torch."""
    if name in _PARTS:
        return import_module(_PARTS[name])
    if name == "verifiers":
        return import_module("mopd.verifiers")
    if name not in _HOMES:
        raise AttributeError(f"module 'mopd' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names and no other."""
    return sorted([*__all__, "__version__"])


class _PartFinder(MetaPathFinder, Loader):
    """Lets `from mopd.divergence import ...` find the very module `mopd.method.divergence`, not a second copy of it."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == __name__ and name in _PARTS else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(_PARTS[spec.name.rpartition(".")[2]])
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own_spec  # the import system has set the short name's


quieten()
if not any(type(finder).__name__ == "_PartFinder" for finder in sys.meta_path):
    sys.meta_path.append(_PartFinder())
