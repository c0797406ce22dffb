# `make demo` and `make test` need only make and Python 3.11 or newer.

CANDIDATES := python3.14 python3.13 python3.12 python3.11 python3 $(wildcard $(HOME)/.pyenv/versions/3.1[1-9]*/bin/python3)
FITS := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for candidate in $(CANDIDATES); do \
	if command -v $$candidate >/dev/null 2>&1 && $$candidate -c '$(FITS)' >/dev/null 2>&1; then echo $$candidate; break; fi; done)
BIN := .venv/bin
# The installed Pythons among the classifiers, and the oldest of them.
RELEASES = $(foreach version,3.11 3.12 3.13,$(firstword \
	$(wildcard $(HOME)/.pyenv/versions/$(version)*/bin/python3) $(shell command -v python$(version))))
OLDEST = $(firstword $(RELEASES))

.PHONY: demo test test-slurm test-oldest test-report lint docs release bench gallery clean

demo: .venv/installed
	$(BIN)/dnmf demo

# The cluster tests mostly wait for processes, so three groups that take as long run in parallel.
CLUSTER = $(addprefix tests/,cli estimator cluster)
INNER = $(addprefix tests/,conversion exports inspection kernels report run solvers sources survey)
test: .venv/tested lint
	@mkdir -p build
	@$(BIN)/python -m pytest $(CLUSTER) > build/cluster-tests.txt 2>&1 & cluster=$$!; \
	$(BIN)/python -m pytest $(INNER) > build/inner-tests.txt 2>&1 & inner=$$!; \
	$(BIN)/python -m pytest $(foreach folder,$(CLUSTER) $(INNER),--ignore $(folder)); failed=$$?; \
	wait $$cluster || failed=$$?; wait $$inner || failed=$$?; \
	cat build/cluster-tests.txt build/inner-tests.txt; exit $$failed

test-slurm: .venv/tested
	$(BIN)/python -m pytest -m slurm

test-report: .venv/tested
	$(BIN)/python -m pytest -m chromium

test-oldest: build/dist  # the wheel with the oldest dependencies that pyproject.toml allows
	$(PYTHON) .ci/oldest.py > build/oldest.txt
	.ci/wheel $(OLDEST) build/oldest.txt

docs: .venv/documented
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/docs
	$(BIN)/python -m pytest -q tests/test_docs.py dnmf

release: build/dist  # the wheel and the sources, checked, and the wheel tried on every installed Python
	$(BIN)/python -m twine check --strict build/dist/*
	for python in $(RELEASES); do .ci/wheel $$python || exit 1; done

build/dist: .venv/installed FORCE
	rm -rf build/dist
	$(BIN)/python -m pip install --quiet build twine
	$(BIN)/python -m build --outdir build/dist

FORCE:

lint: .venv/tested
	$(BIN)/ruff check dnmf tests benchmarks examples docs .ci
	$(BIN)/ruff format --check dnmf tests benchmarks examples docs .ci
	$(BIN)/mypy

bench: .venv/tested
	$(BIN)/python benchmarks/tables.py

bench-%: .venv/tested
	$(BIN)/python benchmarks/tables.py $*

gallery: .venv/installed
	for example in examples/*.py; do $(BIN)/python $$example --out examples/pictures || exit 1; done

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "dnmf needs Python 3.11 or newer, and none was found; install it, or pass its path: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[plot]'
	@touch $@

.venv/documented: .venv/tested
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

.venv/tested: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[plot,test]'
	@touch $@

clean:
	rm -rf .venv .venv-peers demo build dist
