"""What keeps the tree readable: every room says what it is, and no module or function is long."""

import ast
import importlib.util
from pathlib import Path

import jaxtyping
import pytest
import torch

from mopd.method.divergence import forward_kl
from mopd.scoring.head import head_logits
from mopd.verifiers import pool

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "mopd"
MODULES = sorted(SOURCE.rglob("*.py"))
ROOMS = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_module_is_over_350_lines_and_no_function_over_50(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions}
    assert {name: lines for name, lines in long.items() if lines > 50} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_what_lives_there_and_what_it_may_import(room):
    text = ast.get_docstring(ast.parse((SOURCE / room / "__init__.py").read_text()))
    assert "May import" in text
    assert len(text.splitlines()) >= 3


def test_the_layers_name_every_room():
    layers = (ROOT / ".importlinter").read_text()
    assert [room for room in ROOMS if f" {room}" not in layers] == []


def test_shapes_in_signatures_are_checked_in_these_tests():
    with pytest.raises(jaxtyping.TypeCheckError):
        forward_kl(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(jaxtyping.TypeCheckError):
        head_logits(None, torch.zeros(3))


def test_the_module_that_workers_run_is_there():
    assert importlib.util.find_spec(pool.WORKER) is not None
