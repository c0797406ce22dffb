# `make demo` and `make test` need nothing but make and a Python of 3.11 or newer.

CANDIDATES := python3.14 python3.13 python3.12 python3.11 python3 $(wildcard $(HOME)/.pyenv/versions/3.1[1-9]*/bin/python3)
FITS := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for candidate in $(CANDIDATES); do \
	if command -v $$candidate >/dev/null 2>&1 && $$candidate -c '$(FITS)' >/dev/null 2>&1; then echo $$candidate; break; fi; done)
BIN := .venv/bin

.PHONY: demo test test-slurm test-report lint bench gallery clean

demo: .venv/installed
	$(BIN)/dnmf demo

test: .venv/tested lint
	$(BIN)/python -m pytest

test-slurm: .venv/tested
	$(BIN)/python -m pytest -m slurm

test-report: .venv/tested
	$(BIN)/python -m pytest -m chromium

lint: .venv/tested
	$(BIN)/ruff check dnmf tests benchmarks examples
	$(BIN)/ruff format --check dnmf tests benchmarks examples
	$(BIN)/mypy

bench: .venv/tested
	$(BIN)/python benchmarks/in_memory.py
	$(BIN)/python benchmarks/out_of_core.py
	$(BIN)/python benchmarks/kills.py

gallery: .venv/installed
	for example in examples/*.py; do $(BIN)/python $$example --out examples/pictures || exit 1; done

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "dnmf needs Python 3.11 or newer, and none was found; install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[plot]'
	@touch $@

.venv/tested: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[plot,test]'
	@touch $@

clean:
	rm -rf .venv demo build dist
