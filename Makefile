# Thin on purpose: what happens is in kiroproxy/cli and pyproject.toml.
PYTHON ?= python3
PORT ?=
BIN := .venv/bin
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo run test check format translations bench fuzz soak clean

demo: .venv/.installed         ## simulator + proxy + one streamed request; PORT=8990
	@exec $(BIN)/kiroproxy demo $(if $(PORT),--port $(PORT))

run: .venv/.installed          ## the same with your own config.json and credentials.json
	@exec $(BIN)/kiroproxy demo --own $(if $(PORT),--port $(PORT))

test: .venv/.installed-dev     ## all tests
	$(BIN)/pytest $(PARALLEL)

check: .venv/.installed-dev    ## everything that CI checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@# processes are killed and clocks watched beside each other: what fails is run again by itself
	$(BIN)/pytest $(PARALLEL) --cov --cov-report=term:skip-covered \
		|| $(BIN)/pytest --last-failed --last-failed-no-failures none

format: .venv/.installed-dev   ## repair what can be repaired
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

translations: .venv/.installed-dev ## compile what kiroproxy/translations holds
	$(BIN)/pybabel -q compile --directory kiroproxy/translations --domain "messages web"

bench: .venv/.installed-dev    ## the figures of docs/performance.md
	$(BIN)/python -m tests.bench

fuzz: .venv/.installed-dev     ## 100,000 generated bodies, damaged streams; a few minutes
	$(BIN)/python -m tests.fuzz

soak: .venv/.installed-dev     ## endurance: some minutes of refreshes, kills, idle streams, faults
	$(BIN)/python -m tests.soak

clean:                         ## remove the environment and what tools left behind
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage*

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kiroproxy needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.installed: .venv/.created pyproject.toml constraints.txt
	@echo "installing into .venv …"
	@$(INSTALL) -e .
	@touch $@

.venv/.installed-dev: .venv/.created pyproject.toml constraints.txt
	@echo "installing into .venv, with the tools for development …"
	@$(INSTALL) -e '.[dev]'
	@touch $@ .venv/.installed
