# What a person types; `make` alone lists it. Everything runs from .venv, which `make install` makes.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
# Tests that share a part which takes long to start go to one worker (tests/conftest.py).
PARALLEL := -n 2 --dist loadgroup
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install demo demo-bad demo-stop test test-all check golden bench module parts lock clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## Make .venv from the locked requirements, and ciflow into it

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
	  { echo "this Python makes no virtual environments: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## Run the demo: commit to all of production traffic
	$(BIN)/ciflow apply playbooks/release.yml --replace-warm

demo-bad: install ## Run it with a bad version; succeeds when ciflow turns it back (exit 7)
	@code=0; $(BIN)/ciflow apply playbooks/release.yml --replace-warm -e fault=errors || code=$$?; \
	if [ $$code = 7 ]; then echo "The bad version was found and turned back (exit 7), as it should."; \
	else echo "The bad version should have been turned back with exit 7; ciflow ended with $$code."; exit 1; fi

demo-stop: install ## End what the demo left running: the router and both slots
	$(BIN)/ciflow apply playbooks/stop.yml

test: install ## Run the tests; those that lack a real part are skipped by name (make parts)
	$(BIN)/pytest --cache-clear -m "not slow" $(PARALLEL) || { [ $$? = 1 ] && $(BIN)/python -m tests.again; }

test-all: install ## Run the slow tests too: twice the time
	$(BIN)/pytest $(PARALLEL)

check: install ## Run what is quick: ruff, mypy, layers, and the tests that are not slow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -m "not slow" $(PARALLEL)

golden: install ## Rewrite the goldens, to be looked over before committing
	$(BIN)/pytest tests/golden --golden-rewrite

bench: install ## Measure ciflow beside its peers and the floor (ROUNDS=3, WORKS="W1 W4")
	$(BIN)/python -m benchmarks.bench --rounds $(or $(ROUNDS),3) $(WORKS)

module: install ## Scaffold a module: make module NAME=x
	@test -n "$(NAME)" || { echo "which one? make module NAME=x"; exit 2; }
	$(BIN)/python tests/scaffold/module.py "$(NAME)"

parts: install ## Install the real programs that tests run (sshd, HAProxy, Docker, Kubernetes, ..)
	tests/parts/install

lock: ## Pin the requirements anew, with hashes, from pyproject.toml (UPGRADE=1 takes newer ones)
	requirements/lock $(if $(UPGRADE),--upgrade)

clean: ## Remove what was made here: .venv and caches (not ~/.cache/ciflow)
	rm -rf .venv build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
