# Suu-Aba. Needs git, make and python3; everything else is installed on the way, and said. `make help` lists the verbs.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test lint bench clean
BIN := .venv/bin

help:   ## this list
	@sed -n 's/^\([a-z]*\): *[a-z-]* *## */\1\t/p' Makefile | expand -t 8

demo: setup-run  ## a whole simulated station; ARGS="--seconds 40 --json"
	@$(BIN)/suuaba demo $(ARGS)

test: lint  ## every check and every test; ARGS="-k journal"
	@$(BIN)/python -m pytest $(ARGS)

lint: setup  ## style and types
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "ruff format would change the files above: $(BIN)/ruff format"; false; }
	@$(BIN)/mypy --no-error-summary

bench: setup  ## CPU, memory, start, wire use beside their goals
	@$(BIN)/python -m tests.bench $(ARGS)

setup: setup-test  ## only install what is missing, into .venv and by apt-get

clean:  ## remove .venv and everything made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: setup-run setup-test
setup-run setup-test: setup-%:
	@.ci/setup $*
