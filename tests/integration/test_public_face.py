"""What the README shows a user to import, in fresh interpreters, where nothing else has been imported."""

import subprocess
import sys

import pytest

PARTS = {
    "statistics": "mopd.core.statistics",
    "contexts": "mopd.method.contexts",
    "divergence": "mopd.method.divergence",
    "objective": "mopd.method.objective",
    "peers": "mopd.method.peers",
    "predictions": "mopd.method.predictions",
}


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", [*PARTS, "verifiers"])
def test_a_part_is_one_module_however_it_is_imported(name):
    home = PARTS.get(name, f"mopd.{name}")
    code = (
        f"import importlib, sys, mopd; import mopd.{name} as short; home = importlib.import_module({home!r});"
        f"from mopd import {name} as attribute;"
        f"assert short is home is attribute is sys.modules['mopd.{name}'];"
        f"assert home.__spec__.name == {home!r}; assert home.__name__ == {home!r};"
        "print('one')"
    )
    assert run(code) == "one"


@pytest.mark.parametrize("first", ["short", "home"])
def test_which_name_comes_first_makes_no_difference(first):
    names = ["mopd.divergence", "mopd.method.divergence"]
    order = names if first == "short" else names[::-1]
    code = "".join(f"import {name} as m{i};" for i, name in enumerate(order)) + "print(m0 is m1)"
    assert run(code) == "True"


def test_public_names_are_listed_and_found():
    code = (
        "import mopd; names = dir(mopd);"
        "assert {'Config', 'load_config', 'train', 'resume', 'load_run', 'Problem', 'divergence'} <= set(names);"
        "assert set(names) == {*mopd.__all__, '__version__'};"
        "assert all(getattr(mopd, name).__doc__ for name in mopd.__all__);"
        "print(all(getattr(mopd, name) is not None for name in mopd.__all__))"
    )
    assert run(code) == "True"


def test_the_command_line_waits_for_no_torch():
    code = "import sys, mopd.cli; mopd.load_config; mopd.Problem; mopd.MopdError; dir(mopd);"
    assert run(f"{code} print({{'torch', 'transformers', 'pandas'}} & set(sys.modules))") == "set()"


def test_an_unknown_name_is_an_error():
    assert "has no attribute" in run("import mopd\ntry:\n    mopd.nothing\nexcept AttributeError as e:\n    print(e)")
