# Everything a newcomer needs. Each target sets itself up; nothing is installed twice.

PYTHON ?= python3
BIN := .venv/bin
TESTS := test
# Where a system forbids bytecode by this variable, each of hundreds of processes would compile all modules anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test test-all docs chaos slurm container bench results study mutants check clean

demo: .venv/installed  ## a real benchmark on this machine, in a few minutes
	$(BIN)/python -m orchestrator launch experiments/quickstart.yaml

# One process more than there are cores: many tests wait for another process most of their time.
PROCESSES = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --maxprocesses 4 --no-loadscope-reorder --durations=10

test: .venv/installed  ## the tests that a person waits for
	$(PYTEST)

test-all: .venv/installed  ## every test, also those that take long or break things
	$(PYTEST) -m 'not slurm and not container'

docs: .venv/installed  ## the documentation as a site in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

chaos: .venv/installed  ## break everything that can break while a grid runs; rewrites the table in docs/reliability.md
	CHAOS_FULL=1 CHAOS_TABLE=docs/reliability.md $(BIN)/python -m pytest tests/chaos -m ''

slurm: .venv/installed  ## docs/clusters/slurm.sh on a real Slurm of two nodes on this machine; as root, with Debian's slurm-wlm and munge
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slurm -m slurm

container: .venv/installed  ## the recipe of docs/clusters/Containerfile in a bare Debian; as root, with Debian's debootstrap, some 8 GB
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/container -m container

bench: .venv/installed  ## how fast it is beside others; BENCH=--markdown rewrites docs/performance.md
	$(BIN)/python -W ignore -m benchmarks $(BENCH)

results: .venv/installed  ## every number and picture in README and docs/results anew, some twelve core hours; goes on where it was
	$(BIN)/python docs/results/make.py

study: .venv/installed  ## the pages docs/study.md and docs/results written anew from the committed results
	$(BIN)/python docs/results/write.py

mutants: .venv/installed  ## how many faults put into the code on purpose the tests find, some hours; goes on where it was
	$(BIN)/python -m pip install --quiet --quiet --constraint requirements.lock --editable '.[mutants]'
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 2

check: .venv/installed  ## format, lint, import contracts, dependencies, types, spelling, documentation, tests (TESTS=test-all: all)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/deptry orchestrator trainers
	$(BIN)/codespell
	$(BIN)/basedpyright
	$(MAKE) docs
	$(MAKE) $(TESTS)

# The stamp is newer than what it depends on, so an unchanged checkout installs nothing.
.venv/installed: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=…"'
	@echo 'Setting up .venv: a few minutes the first time, about 7 GB.'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --quiet --constraint requirements.lock --editable '.[dev]'
	touch $@

clean:  ## remove what the targets made, but no results
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .coverage
