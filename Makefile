# `make quickstart` on a fresh machine, `make test` before a change, `make help` for the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PYTHON ?= python3
WORKERS ?= 2
UV := $(VENV)/bin/uv
UV_PIN := $(shell sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.txt)
PYTEST := python -m pytest

# DeepSpeed rebuilds its operators whenever the ninja on PATH changes: let there be one.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
# Without compiled modules every process that trains takes 12 s longer to start; some images switch them off.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv operators clusters kube-testbed quickstart test test-fast test-full test-kubernetes check lint types \
	imports floor shell rules lock bench bench-slurm bench-kubernetes build docs clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

venv: $(VENV)/.installed ## Everything that is needed, in .venv

$(UV):
	@tools/system-packages.sh $(PYTHON) venv
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(UV_PIN)

$(VENV)/.installed: requirements.txt pyproject.toml | $(UV)
	@echo "Installing what requirements.txt pins (PyTorch and DeepSpeed among it, 5 GB)"
	@$(UV) pip sync --require-hashes requirements.txt 2>&1 | sed '/^ [-+~] /d; /^ Downloaded /d'
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

operators: venv
	@tools/system-packages.sh $(PYTHON) compiler
	@python tools/operators.py

clusters: venv # what the tests on a real Slurm, real sshd processes and a real Kubernetes need, where it can be had
	@tools/system-packages.sh $(PYTHON) slurm
	@tools/system-packages.sh $(PYTHON) ssh
	@tools/system-packages.sh $(PYTHON) kubernetes

kube-testbed: ## The Kubernetes that tests run on, built into ~/.cache (6 minutes and 3 for Kueue, once)
	@testbeds/kubernetes/build.sh

# Beside the tests that need none of it. It takes minutes the first time, and no time later.
WITH_KUBE_TESTBED = nice testbeds/kubernetes/build.sh & builder=$$!; trap 'kill $$builder 2>/dev/null || :' EXIT;

quickstart: operators ## Train the example: two nodes, ZeRO 2, real text
	@python tools/quickstart.py

# A cache of their own: environments that share one compile over each other's results, even while they are in use.
test test-full test-kubernetes bench bench-slurm bench-kubernetes: export TORCH_EXTENSIONS_DIR := $(CURDIR)/$(VENV)/torch_extensions

test: operators clusters ## One test for each promise
	@$(WITH_KUBE_TESTBED) $(PYTEST) -n $(WORKERS) --dist loadgroup --no-loadscope-reorder --durations=25

test-fast: venv ## Only what needs no training process
	$(PYTEST) -n $(WORKERS) -m "not full and not deepspeed"

test-full: operators clusters ## The whole grid
	@$(WITH_KUBE_TESTBED) $(PYTEST) -n $(WORKERS) --dist loadgroup --no-loadscope-reorder --durations=25 -m ""

# A KUBECONFIG of the environment may be that of a cluster where nobody should test anything.
YOURS = $(if $(filter command line,$(origin KUBECONFIG)),$(KUBECONFIG))

test-kubernetes: operators ## What runs on Kubernetes; KUBECONFIG=... IMAGE=... STORAGE_CLASS=... for a cluster of yours
	@$(if $(YOURS),,tools/system-packages.sh $(PYTHON) kubernetes && testbeds/kubernetes/build.sh)
	KUBE_TESTBED_KUBECONFIG="$(YOURS)" KUBE_TESTBED_IMAGE="$(IMAGE)" KUBE_TESTBED_STORAGE_CLASS="$(STORAGE_CLASS)" \
	  $(PYTEST) -n 0 tests/kubernetes

check: lint types imports floor shell rules ## Everything that reads the code without running it

lint: venv
	ruff check
	ruff format --check

types: venv
	mypy

imports: venv
	lint-imports

floor: venv
	vermin --quiet --no-tips --violations --target=3.9- orchestrator/job orchestrator/training orchestrator/submitit/__init__.py

shell: venv
	shellcheck .ci/run tools/*.sh testbeds/kubernetes/*.sh

rules: venv
	python tools/rules.py

lock: venv ## Pin every dependency again (UPGRADE=1 for the newest)
	uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) --quiet -o requirements.txt
	uv pip compile bench/peers-requirements.in --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) --quiet -o bench/peers-requirements.txt

bench: operators ## The figures of docs/figures.md, measured here
	@python bench/run.py

build/peers/.installed: bench/peers-requirements.txt | venv
	@echo "Installing submitit, TorchX and Kubeflow's SDK into build/peers"
	@uv venv --quiet --clear --python $(VENV)/bin/python build/peers
	@VIRTUAL_ENV=build/peers uv pip sync --quiet --compile-bytecode --require-hashes bench/peers-requirements.txt
	@touch $@

bench-slurm: operators clusters build/peers/.installed ## orch beside sbatch, submitit and TorchX, on a real Slurm
	@python bench/slurm.py

bench-kubernetes: operators build/peers/.installed ## orch beside kubectl, TorchX and Trainer's SDK, on a real Kubernetes
	@tools/system-packages.sh $(PYTHON) kubernetes
	@testbeds/kubernetes/build.sh
	@python bench/kube.py $(PARTS)

build: venv ## The wheel and the source distribution, in dist/
	uv build --no-build-isolation --out-dir dist

docs: venv ## The generated pages of docs/, and the tables of DeepSpeed's and transformers' keys
	python tools/docs.py
	python tools/dskeys.py
	python tools/modelkeys.py

clean: ## Everything that these targets made, but for runs in .orch
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
