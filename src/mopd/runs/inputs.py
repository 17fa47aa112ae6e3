"""What a run depends on besides its configuration, written down when it begins and compared when it goes on.

Problems as they were read and split, the source of reward functions and the chat template's output decide what is
learnt: where one of them is another, the run is not resumed. The versions of mopd and of what it stands on may change a
number in its last digits, and a user cannot always have the old ones back: a change is said and recorded.
"""

from __future__ import annotations

import ast
import dis
import functools
import hashlib
import importlib.util
import inspect
import json
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from mopd import verifiers
from mopd.core.errors import MopdError, RunError
from mopd.core.statistics import mean_gap
from mopd.core.types import Problem
from mopd.judging.signatures import unwrapped
from mopd.learning.served_teacher import SAME_NATS
from mopd.models.student import Student
from mopd.models.template_date import written_at
from mopd.models.tokenizer import ChatTokenizer
from mopd.models.weights import weights_digest
from mopd.problems import ProblemSet

Inputs = dict[str, Any]

CONVERSATION = (
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "5"},
    {"role": "user", "content": "And 4 + 1?"},
)


def describe_problems(problems: ProblemSet) -> Inputs:
    """How many problems are trained on and held out, and a digest of each: content, order and split."""
    return {
        name: {"count": len(part), "digest": _digest(map(shown_and_judged, part))}
        for name, part in (("train", problems.train), ("held_out", problems.held_out))
    }


def describe_inputs(
    problems: ProblemSet,
    functions: Sequence[Callable[..., Any]],
    student: Student,
    external: tuple[str, Student] | None = None,
    served: Sequence[float] | None = None,
) -> Inputs:
    """All inputs of a run, with its `external` teacher (name, model) or what its `served` one says of a text, if any.
    The student's tokenizer is that of the run's moment (`freeze_day`)."""
    teacher = (
        {} if external is None else {"teacher": {"model": external[0], "digest": weights_digest(external[1].model)}}
    )
    return {
        "problems": describe_problems(problems),
        "reward_functions": _digest(map(_function_source, functions) if functions else own_verifiers(problems)),
        "template": _digest(rendered(problems, student.tokenizer)),
        "dtype": str(student.dtype).removeprefix("torch."),
        **teacher,
        **({} if served is None else {"served_teacher": list(served)}),
    }


def check_inputs(recorded: Inputs, found: Inputs, do: str) -> None:
    """Raises RunError naming what is not as it was when the run began. What was not recorded is not compared."""
    for name, part in recorded.get("problems", {}).items():
        now = found["problems"][name]
        if part != now:
            kind = "problems to train on" if name == "train" else "held-out problems"
            were, are = f"{part['count']} {kind}", f"{now['count']}"
            raise RunError(
                "a run's problems are those that it began with, in the same order",
                f"{were}, and now {are}" if part["count"] != now["count"] else f"{were}, not all as they were",
                f"put the problem files back as they were, or pass in Python what was passed; {do}",
            )
    for name, what, must, back in (
        (
            *("reward_functions", "the source of the reward functions"),
            *("a run's reward functions are those that it began with", "put their source back"),
        ),
        (
            *("template", "what the chat template writes"),
            *("the chat template writes what it wrote when the run began", "put tokenizer and packages back"),
        ),
    ):
        if name in recorded and name in found and recorded[name] != found[name]:
            raise RunError(must, f"{what} changed", f"{back} as it was; {do}")
    if "dtype" in found and found["dtype"] != (was := recorded.get("dtype", found["dtype"])):
        raise RunError(
            "a run computes in the dtype that it began in, also where compute.dtype = 'auto' means another here",
            f"this machine computes in {found['dtype']}, but the run began in {was}",
            f"set compute.dtype={was}; {do}",
        )
    was, now = (inputs.get("teacher", {}) for inputs in (recorded, found))
    if was and now and was["digest"] != now["digest"]:
        raise RunError(
            "a run's external teacher has the weights that it had when the run began",
            f"the weights of {now['model']} are others than those of {was['model']} were",
            f"put them back, or set teacher.model to where they are; {do}",
        )
    said, says = recorded.get("served_teacher"), found.get("served_teacher")
    if said and says and (gap := mean_gap(said, says)) > SAME_NATS:
        raise RunError(
            f"a run's served teacher says what it said when the run began, to {SAME_NATS} nats a token",
            f"the log-probabilities of a text are {gap:.2f} nats away on average",
            f"start its servers with the model that they had; {do}",
        )


def freeze_day(tokenizer: ChatTokenizer, began: str) -> None:
    """Templates that write the date write that of the moment at which the run began, whenever they are asked."""
    tokenizer.moment = datetime.fromisoformat(began)


def own_verifiers(problems: ProblemSet) -> list[str]:
    """The sources of the verifiers of these problems that a user has registered; the others are this package's."""
    names = sorted({problem.verifier for problem in problems.train + problems.held_out})
    found = [(name, verifiers.get(name)) for name in names]
    return [
        f"{name} {getattr(one, '__qualname__', '')} {_function_source(one)}"
        for name, one in found
        if _is_own_verifier(one)
    ]


def _is_own_verifier(function: Any) -> bool:
    return (getattr(function, "__module__", None) or "").partition(".")[0] != "mopd"


# --- digests --------------------------------------------------------------------------------------------------------


def _digest(parts: Iterable[str]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part.encode("utf-8", "surrogatepass"))
    return found.hexdigest()[:32]


def shown_and_judged(problem: Problem) -> str:
    """All that a problem shows a student and is judged by: a mended `solution` or test is another problem."""
    columns = json.dumps(dict(problem.columns), default=repr, sort_keys=True)
    shown = [problem.id, list(problem.messages), problem.reference, problem.verifier, problem.domain, columns]
    return json.dumps(shown, sort_keys=True)


def rendered(problems: ProblemSet, tokenizer: ChatTokenizer) -> Iterable[str]:
    """A fixed conversation as the template writes it, and the ids of a prompt; what it refuses, by its refusal."""
    try:
        with written_at(tokenizer.moment):
            shown = tokenizer.inner.apply_chat_template(list(CONVERSATION), tokenize=False, **tokenizer.options)
        yield str(shown)
    except Exception as error:  # templates are programs and raise whatever they like
        yield type(error).__name__
    for problem in (problems.train + problems.held_out)[:1]:
        try:
            yield repr(tokenizer.encode_prompt(problem.messages))
        except MopdError as error:
            yield type(error).__name__


def _function_source(function: Callable[..., Any]) -> str:
    """The source of a function with its module and what that imports of the user's own; comments do not count."""
    inner = unwrapped(function)
    bound = json.dumps(_bound_arguments(function), default=lambda value: type(value).__name__, sort_keys=True)
    module = sys.modules.get(getattr(inner, "__module__", None) or "")
    files = _own_files(module) if module is not None and module.__name__ != "__main__" else []
    if files:
        texts = [_meaning(file.read_text(encoding="utf-8")) for file in files]
    else:
        try:
            texts = [_meaning(inspect.getsource(inner if inspect.isroutine(inner) else type(inner)))]
        except (OSError, TypeError):
            texts = [type(inner).__qualname__]
    return "\x1f".join([bound, *_closed_over(inner), *texts])


def _bound_arguments(function: Any) -> list[Any]:
    """The arguments that partials have bound, outermost first."""
    found: list[Any] = []
    while isinstance(function, functools.partial):
        found.append([list(function.args), dict(function.keywords)])
        function = function.func
    return found


def _closed_over(function: Any) -> list[str]:
    """The plain values that a function has from the function that made it, but for those that it sets itself."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is None or not cells:
        return []
    own = {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_DEREF"}
    found = []
    for name, cell in zip(code.co_freevars, cells, strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # not set yet
            continue
        if name not in own and isinstance(value, bool | int | float | str | tuple | None):
            found.append(f"{name}={value!r}")
    return found


def _own_files(module: ModuleType) -> list[Path]:
    """The file of a module and those that it imports, without Python's own and installed packages."""
    found: set[Path] = set()
    waiting = [(module.__name__, getattr(module, "__file__", None))]
    while waiting:
        name, file = waiting.pop()
        if file is None or Path(file) in found or not _is_own(name, file):
            continue
        found.add(Path(file))
        package = name if Path(file).name == "__init__.py" else name.rpartition(".")[0]
        waiting += [(imported, _file_of(imported)) for imported in _imported(Path(file), package)]
    return sorted(found)


def _is_own(name: str, file: str) -> bool:
    python = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    is_library = installed or any(Path(file).is_relative_to(place) for place in python)
    return file.endswith(".py") and not is_library and name.partition(".")[0] != "mopd"


def _imported(file: Path, package: str) -> list[str]:
    """The names of modules that a file imports anywhere; of `from a import b` both `a` and `a.b`."""
    try:
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    except (SyntaxError, ValueError):
        return []
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [name for name in names if name]


def _file_of(name: str) -> str | None:
    """The file of a module by name, without importing it; None where there is none."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not rest:
        return None if spec is None else spec.origin
    inside = Path(spec.origin).parent.joinpath(*rest)
    files = [inside.with_name(f"{inside.name}.py"), inside / "__init__.py"]
    return next((str(file) for file in files if file.is_file()), None)


def _meaning(source: str) -> str:
    """What a source says, whatever its comments and layout."""
    try:
        return ast.dump(ast.parse(textwrap.dedent(source)))
    except SyntaxError:  # a lambda in the middle of an expression
        return source
