"""What is estimated is what a run takes: within a fifth, on real runs in processes of their own."""

import json
import subprocess
import sys

import pytest

import estimate as benchmark


@pytest.mark.long
@pytest.mark.parametrize("name", ["llama 75 M", "default"])
def test_the_peak_of_a_run_is_within_a_fifth_of_its_estimate(name):
    if not benchmark.SMOLLM2.exists():
        pytest.skip("SmolLM2 is not here: `make smollm2` fetches it")
    words = [sys.executable, benchmark.__file__, name]  # the estimate, too, has a process of its own: it is a part
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert found["lessons"] == 16
    assert 0.8 <= found["ratio"] <= 1.2
