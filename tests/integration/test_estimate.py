"""What is estimated is what a run takes: within a fifth, on real runs in processes of their own."""

import pytest

import estimate as benchmark


@pytest.mark.long
@pytest.mark.parametrize("name", ["llama 75 M", "default"])
def test_the_peak_of_a_run_is_within_a_fifth_of_its_estimate(name):
    if not benchmark.SMOLLM2.exists():
        pytest.skip("SmolLM2 is not here: `make smollm2` fetches it")
    found = benchmark.compare(name)
    assert found["lessons"] == 16
    assert 0.8 <= found["ratio"] <= 1.2
