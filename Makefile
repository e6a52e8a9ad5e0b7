# Suu-Aba. Needs git, make and python3; everything else is installed on the way, and said. `make help` lists the verbs.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test lint audit bench clean bundle hashes sbom test-deploy test-image
BIN := .venv/bin

help:   ## this list
	@sed -n 's/^\([a-z-]*\): *[a-z-]* *## */\1\t/p' Makefile | expand -t 8

demo: setup-run  ## a whole simulated station; ARGS="--seconds 40 --json"
	@$(BIN)/suuaba demo $(ARGS)

test: lint  ## every check and every test; ARGS="-k journal"
	@$(BIN)/python -m pytest $(ARGS)

# what pip-audit asks of the net cannot be known offline, that the versions fit can
lint: setup  ## style, security (bandit), types, and whether the packages fit each other
	@$(BIN)/ruff check --quiet
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive gateway drivers alerts deploy
	@$(BIN)/python -m pip check --quiet --disable-pip-version-check
	@$(BIN)/ruff format --check --quiet || { echo "ruff format would change the files above: $(BIN)/ruff format"; false; }
	@$(BIN)/mypy --no-error-summary

audit:  ## known holes in the packages of constraints.txt, asked of PyPI by pip-audit: needs the net
	@test -x dist/audit/bin/pip-audit || { python3 -m venv dist/audit && \
		dist/audit/bin/pip install --quiet --disable-pip-version-check 'pip-audit>=2.7,<3'; } || \
		{ rm -rf dist/audit; echo "audit: not done, for pip-audit could not be installed; it needs the net"; false; }
	@dist/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --timeout 10 || \
		{ echo "audit: not clean, or not done: see above. Without the net nothing was asked"; false; }

bench: setup  ## CPU, memory, start, wire use beside their goals
	@$(BIN)/python -m tests.bench $(ARGS)

setup: setup-test  ## only install what is missing, into .venv and by apt-get

bundle:  ## a folder for a USB stick, dist/stick; ARGS="aarch64-3.11 aarch64-3.13"
	@mkdir -p dist && rm -rf dist/stick && sh deploy/bundle.sh dist/stick $(ARGS)

hashes: bundle  ## what pip --require-hashes takes, dist/stick/requirements.txt
	@echo "python3 -m pip install --no-index --find-links dist/stick/wheels --require-hashes -r dist/stick/requirements.txt"

sbom: bundle  ## dist/suuaba.cdx.json, a list of what is in it, CycloneDX, by cyclonedx-py
	@rm -rf dist/sbom && python3 -m venv dist/sbom && dist/sbom/bin/pip install --quiet 'cyclonedx-bom>=7,<8'
	@dist/sbom/bin/cyclonedx-py requirements dist/stick/requirements.txt --output-file dist/suuaba.cdx.json
	@echo dist/suuaba.cdx.json

test-deploy: setup-deploy  ## install.sh on Debian 12 and 13 of its own: debootstrap, systemd, no network (root; 10 min)
	@$(BIN)/python -m pytest -m deploy $(ARGS)

test-image: setup-deploy  ## the container image, by buildah (root)
	@$(BIN)/python -m pytest -m image $(ARGS)

clean:  ## remove .venv and everything made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: setup-run setup-test setup-deploy
setup-run setup-test setup-deploy: setup-%:
	@.ci/setup $*
