"""The benchmarks count what they say, and their sections run: on an embedded student, without TRL."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import flops
import full
import made_lessons
import peer
import worker_mopd
from measuring import PeakMemory, state_bytes
from mopd.models.student import load_student
from mopd.scoring.trie import build_trie

ROOT = Path(__file__).parents[2]
MODEL = "builtin:letters"
TOKENS, LIVE = 40, 7


@pytest.fixture(scope="module")
def student():
    return load_student(MODEL, 0)


def lessons_of(student, size, total=16):
    settings = ["peers.successes=1", "peers.failures=0"] if size == 2 else []
    config = worker_mopd.configure(MODEL, "cpu", "float32", [f"group_size={size}", *settings])
    groups = made_lessons.make_groups(student, total // size, size, 16, 0)
    return made_lessons.make_lessons(student, groups, config)


def test_operations_are_those_that_torch_counts(student):
    model = student.model
    model.config._attn_implementation = "eager"
    ids = torch.arange(3, 3 + TOKENS)[None]
    with FlopCounterMode(display=False) as forward:
        hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        loss = model.get_output_embeddings()(hidden[0, -LIVE:]).sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    products, attention = (forward.get_flop_counts()["Global"][op] for op in (torch.ops.aten.mm, torch.ops.aten.bmm))
    trie = build_trie([ids[0].tolist()])
    seen = flops.attention_flops(model, trie)
    head = 2 * model.get_output_embeddings().weight.numel() * LIVE
    assert flops.decoder_flops(model, trie) - seen + head == products
    assert 2 * products == backward.get_flop_counts()["Global"][torch.ops.aten.mm]
    # torch counts keys behind a token too, and a few operations of rotary embeddings
    assert seen * 2 * TOKENS / (TOKENS + 1) == pytest.approx(attention, rel=5e-3)


def test_operations_count_what_is_shared_once(student):
    one = lessons_of(student, 4)[:1]
    alone, twice = flops.useful_flops(student.model, one), flops.useful_flops(student.model, one * 2)
    head = 8 * student.model.get_output_embeddings().weight.numel() * alone["loss_tokens"]
    assert twice["teacher_nodes"] == alone["teacher_nodes"] == len(one[0].context_ids + one[0].rollout.token_ids)
    assert twice["flops"] - alone["flops"] == head


@pytest.mark.parametrize(("size", "lessons"), [(2, 8), (4, 16), (8, 16), (16, 16)])
def test_every_rollout_of_a_group_of_four_or_more_has_a_lesson(student, size, lessons):
    assert len(lessons_of(student, size)) == lessons


def test_a_larger_group_shares_more(student):
    small, large = (flops.useful_flops(student.model, lessons_of(student, size)) for size in (4, 16))
    assert small["loss_tokens"] == large["loss_tokens"]
    assert large["teacher_nodes"] < small["teacher_nodes"]


def test_lessons_are_read_as_they_were_written(student, tmp_path):
    lessons = made_lessons.random_lessons(2, 3, 5, 4, 50)
    made_lessons.write_lessons(tmp_path / "lessons.json", lessons)
    read = made_lessons.read_lessons(str(tmp_path / "lessons.json"))
    assert [(r.prompt_ids, r.context_ids, r.rollout.token_ids) for r in read] == [
        (r.prompt_ids, r.context_ids, r.rollout.token_ids) for r in lessons
    ]


def test_a_measured_process_learns_and_tells(student, tmp_path):
    path = tmp_path / "lessons.json"
    made_lessons.write_lessons(path, lessons_of(student, 4, 4))
    options = argparse.Namespace(model=MODEL, lessons=str(path), device="cpu")
    commands = worker_mopd.learning(options, worker_mopd.configure(MODEL, "cpu", "float32", []))
    told = commands["time"]()
    assert told["total"] >= told["teacher"] + told["student"] + told["update"] > 0
    assert commands["memory"]()["growth_gib"] >= 0
    assert commands["rate"]()["rate"] > 1e8
    assert commands["describe"]()["lessons"] == 4


def test_memory_is_that_beyond_gradients():
    memory, kept = PeakMemory("cpu"), 64 * 2**20
    memory.start()
    held = torch.ones(4 * kept, dtype=torch.uint8)
    del held
    rest = torch.ones(kept // 4)
    told = memory.growth(state_bytes(torch.nn.Linear(1024, 1024)))
    assert rest.sum() > 0
    assert 0.9 * kept / 2**30 - 0.01 < told["growth_gib"] <= 5.2 * kept / 2**30
    assert state_bytes(torch.nn.Linear(3, 5)) == 4 * (15 + 5)


def test_figures_are_medians_of_pairs():
    pairs = [
        {
            "trl": {"total": 12.0, "tokens": 6.0},
            "mopd": {"total": total, "tokens": 3.0},
            "machine": {"share": 1 / total, "square_rate": 2e12, "mlp_rate": 1e12},
        }
        for total in (2.0, 3.0, 6.0)
    ]
    growth = {"trl": {"growth_gib": 4.0, "peak_gib": 5.0}, "mopd": {"growth_gib": 1.0, "peak_gib": 2.0}}
    found = peer.figures(pairs, growth, False)
    assert found["scoring_update_cpu_ratio"] == 4.0
    assert found["scoring_update_cpu_ratios"] == [2.0, 4.0, 6.0]
    assert found["matmul_share_bf16"] == 0.333
    assert found["memory_growth_ratio"] == 4.0
    assert "matmul_share_fp32" in peer.figures(pairs, growth, True)
    assert full.per_token_ratio(pairs, "total", "total") == 2.0


@pytest.mark.long
def test_sections_run_without_trl():
    command = [sys.executable, "benchmarks/full.py", "--small", "--model", MODEL, "--sections", "vocabulary", "empty"]
    done = subprocess.run([*command, "gpu"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(done.stdout.splitlines()[-1])
    assert 0 < found["empty_step_share"] < 0.5
    assert found["vocabulary_growth_ratio"] > 0
    if not torch.cuda.is_available():
        assert '{"section": "gpu", "skipped": "no CUDA device"}' in done.stdout
