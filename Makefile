# `make demo` and `make test` are all that a newcomer needs; `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_READY := $(VENV)/.demo-ready
DOCS_VENV := .venv-docs
DOCS_READY := $(DOCS_VENV)/.ready
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
PROTOCOL ?= http
SEEDS ?= 20000
SECONDS ?= 60
# Root may run the real servers, whose tests would disturb each other.
PROCESSES ?= $(if $(filter 0,$(shell id -u)),,-n auto --maxprocesses 4 --dist loadfile)
COMPILE := $(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate
CYCLONEDX := cyclonedx-bom==7.5.0

.DEFAULT_GOAL := help
.PHONY: help demo test lint tox format stubs openapi metrics bench tracker docs prove canary fuzz simulate cluster cluster-down pins \
	audit sbom clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO_READY) ## run a real analysis and autofix on this host (PROTOCOL=grpc, PROTOCOL=amqp, ARGS=--keep)
	$(BIN)/python -m examples.demo --protocol $(PROTOCOL) $(ARGS)

test: $(READY) ## run all tests (ARGS="-k local" for some)
	$(BIN)/python -m pytest $(PROCESSES) $(ARGS)

lint: $(READY) ## style, types, import contracts, the shape of the code and its words (tox -e lint)
	$(BIN)/tox -q -e lint

tox: $(READY) ## the tests that need no server, on every installed Python from 3.11 to 3.14
	$(BIN)/tox --discover $(wildcard $(HOME)/.pyenv/versions/3.1[1-4].*/bin/python) -- -q

format: $(READY) ## put the code into the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stubs: $(READY) ## generate from proto/ again, where that breaks no client
	$(BIN)/python proto/stubs.py

openapi: $(READY) ## write the copy of /openapi.json in docs/ again
	$(BIN)/python -m functions.http.openapi.document > docs/openapi.json

# Without --quiet, which keeps mkdocs from counting the warnings that --strict fails for.
docs: $(DOCS_READY) ## build the documentation as a site, with its links checked: build/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict
	@echo "build/site/index.html"

metrics: $(READY) ## write docs/metrics.md again
	$(BIN)/python -m runner.runtime.metrics.document > docs/metrics.md

bench: $(READY) ## measure speed and memory, as ratios within one run (needs wrk; `make bench tracker`: only the tracker)
	$(BIN)/python -m tests.bench $(filter tracker,$(MAKECMDGOALS))

tracker: # a word after `bench`
	@:

prove: $(READY) ## prove on the real servers that each end is reported once and rightly (ARGS="kills --ends 100" for some)
	$(BIN)/python -m tests.prove --restart-server $(ARGS)

canary: $(READY) ## search for the secrets of every combination of request type, protocol, driver and end, on the real servers
	$(BIN)/python -m tests.security.canary --all

simulate: $(READY) ## run the real code in a simulated world, SEEDS=20000 times, and print each seed that breaks a promise
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

fuzz: $(READY) ## send mutated requests to the three protocols for SECONDS=60 (ARGS="--seed 7" repeats a run)
	$(BIN)/python -m tests.security.fuzz --seconds $(SECONDS) $(ARGS)

cluster: $(READY) ## a real Kubernetes and a real Nomad on this machine, built and started (Linux, root, Go)
	$(BIN)/python -m tests.cluster up

cluster-down: $(READY) ## end them; only what was built stays, in the cache
	$(BIN)/python -m tests.cluster down

pins: $(READY) ## pin the newest versions that requirements*.in allow, with hashes
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) --no-deps --constraint requirements.txt requirements-demo.in -o requirements-demo.txt
	$(COMPILE) --no-deps --constraint requirements.txt requirements-telemetry.in -o requirements-telemetry.txt
	$(COMPILE) requirements-dev.in -o requirements-dev.txt
	$(COMPILE) requirements-docs.in -o requirements-docs.txt

audit: $(READY) ## known vulnerabilities of the pinned packages; needs the network
	$(BIN)/python -m tests.security.audit

sbom: $(READY) ## what an installation consists of, in CycloneDX, from the pins: build/sbom.json
	@mkdir -p build
	$(BIN)/uvx --from $(CYCLONEDX) cyclonedx-py requirements requirements.txt --output-reproducible -o build/sbom.json
	@echo "build/sbom.json"

clean: ## remove what the other targets made
	rm -rf $(VENV) $(DOCS_VENV) .tox build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last that a new environment gets, so an environment without it is incomplete and made again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@echo "Making $(VENV), a Python environment for this directory ..."
	@$(PYTHON) -m venv $(VENV)

# --no-compile: most modules of the Kubernetes client are never imported, and compiling them takes longer than all else.
$(DEMO_READY): requirements.txt requirements-demo.txt | $(BIN)/pip
	@echo "Installing what the demo needs (about 45 MB; a minute, once and when the pins change) ..."
	@$(PIP) --no-compile --require-hashes -r requirements.txt -r requirements-demo.txt
	@echo "$(CURDIR)/proto/python" > \
		"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/orchestrator-client.pth"
	@touch $@

$(READY): requirements-dev.txt | $(BIN)/pip
	@echo "Installing what tests and checks need (about 110 MB; minutes, once and when the pins change) ..."
	@$(PIP) --require-hashes -r requirements-dev.txt
	@$(PIP) --no-deps --no-build-isolation -e proto
	@touch $@ $(DEMO_READY)

$(DOCS_READY): requirements-docs.txt
	@echo "Installing what the site needs into $(DOCS_VENV) (a minute, once and when the pins change) ..."
	@$(PYTHON) -m venv $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-docs.txt
	@touch $@
