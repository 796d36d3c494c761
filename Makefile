# `make` or `make help` lists what can be done. Every target may be run again; what is done is not done twice.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
DEMO_IMAGE ?= examples/dog.png
DEMO_TEXT ?= a sitting dog
DEMO_OUT ?= out/demo.png
BENCH_OUT ?= out/bench
BENCH_LIMIT ?= 12

bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format check docs bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.torch:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "imagic needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@echo 'Installing into $(VENV): a minute or two, mostly torch.'
	$(PYTHON) -m venv $(VENV)
	$(pip) install --quiet --constraint constraints.txt torch
	@touch $@

# torch comes first and alone, so that no later resolution can swap its build.
$(VENV)/.package: $(VENV)/.torch pyproject.toml constraints.txt
	$(pip) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.package
	$(pip) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.package
	$(pip) install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

demo: $(VENV)/.package ## install into .venv, then edit a picture by a sentence with the bundled model
	@mkdir -p $(dir $(DEMO_OUT))
	@rm -f '$(DEMO_OUT)' '$(DEMO_OUT:.png=-sheet.png)'
	$(bin)/imagic edit '$(DEMO_IMAGE)' '$(DEMO_TEXT)' -o '$(DEMO_OUT)' --sheet '$(DEMO_OUT:.png=-sheet.png)'
	@echo 'Before: $(DEMO_IMAGE)'
	@echo 'After:  $(DEMO_OUT)   ("$(DEMO_TEXT)")'
	@echo 'Every strength that was tried: $(DEMO_OUT:.png=-sheet.png)'

test: $(VENV)/.dev ## install, then run the tests that take seconds
	$(bin)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

test-all: $(VENV)/.dev ## the slow and end-to-end tests too
	$(bin)/python -m pytest -m 'not gpu and not ray' --timeout 1200

lint: $(VENV)/.dev ## style, types and the direction of imports
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports

format: $(VENV)/.dev ## put the code into the common form
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

check: lint test ## what a change must pass

docs: $(VENV)/.docs ## write the tables of the docs that follow from the code, and build the site in site/
	$(bin)/python docs/tables.py
	NO_MKDOCS_2_WARNING=1 $(bin)/python -m mkdocs build --quiet
	@echo 'Built site/index.html. Its search needs a server: $(bin)/python -m http.server --directory site'

bench: $(VENV)/.package ## score edits whose true result is known (BENCH_LIMIT items, BENCH_OUT folder)
	$(bin)/imagic bench run --suite menagerie --methods imagic --limit $(BENCH_LIMIT) --seed 0 --out '$(BENCH_OUT)'
	$(bin)/imagic bench report '$(BENCH_OUT)'

clean: ## remove what was built (not .venv, not out)
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
