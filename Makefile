# Both of the README's commands set up .venv by themselves; constraints.txt pins what was tested.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
RUNS ?= runs
# The Pythons of `make matrix`, and of `make test-lowest` the first one.
PYTHONS ?= python3.11 python3.12 python3.13
MATRIX := build/matrix
TYPECHECK := build/typecheck
# Of two workers each begins with half of the tests, so that few fixtures of modules are made twice.
PYTEST := -m pytest -n 2 --dist worksteal

.PHONY: demo test test-all test-lowest matrix lint torture fuzz bench data clean

demo: $(READY)
	$(BIN)/toysup-train conditional-importance --output $(RUNS)
	$(BIN)/toysup-analyze report $(RUNS)

test: lint
	$(BIN)/python $(PYTEST)

test-all: lint
	$(BIN)/python $(PYTEST) -m ""

# The lowest versions that pyproject.toml allows; about a quarter of an hour on two cores, as is each Python of `make matrix`.
test-lowest:
	$(firstword $(PYTHONS)) -m venv --clear $(MATRIX)/lowest
	$(MATRIX)/lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable '.[test,torch]'
	$(MATRIX)/lowest/bin/python $(PYTEST)

# The newest versions of everything on each Python, without torch; then the lowest.
matrix: $(PYTHONS:%=$(MATRIX)/%) test-lowest

$(PYTHONS:%=$(MATRIX)/%): $(MATRIX)/%:
	$* -m venv --clear $@
	$@/bin/python -m pip install --quiet --editable '.[test]'
	$@/bin/python $(PYTEST)
.PHONY: $(PYTHONS:%=$(MATRIX)/%)

# Type checkers do not see through the folder mapping of an editable install, so mypy reads a regular one.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf $(TYPECHECK) build/lib
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target $(TYPECHECK) .
	cd $(TYPECHECK) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p toysup

# 100,000 inputs to both commands that nobody means well with, other ones each time; about an hour.
fuzz: $(READY)
	$(BIN)/python -W ignore -m tests.robustness.fuzzing --inputs 100000 --keep build/fuzz-failures.jsonl

# More than ten minutes; leave the machine alone meanwhile. Writes build/benchmarks and the last table of docs/benchmarks.md.
bench: $(READY)
	$(BIN)/python -m benchmarks --page docs/benchmarks.md

# 200 kills of training at random instants, each of which must end as if nothing had happened; about an hour.
torture: $(READY)
	$(BIN)/python -m tests.robustness.torture

# Train the reference trajectories of data/ anew.
data: $(READY)
	$(BIN)/python data/regenerate.py

clean:
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)
