# `make repl` and `make test` are all it takes. Everything else is plain cargo once `make setup` has run.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build repl test lint kernel notebook test-kernel clean

TARGET := $(or $(CARGO_TARGET_DIR),target)
# Colours survive the pipe to the log when a terminal looks on.
COLOUR := $(if $(MAKE_TERMOUT),always,auto)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Put libtorch at ./libtorch (once; half a GB to fetch, shared by all clones)
	@command -v python3 >/dev/null || { printf 'error: python3 is missing\n  in: PATH\n  hint: install Python 3.9 or newer with pip\n' >&2; exit 1; }
	@python3 scripts/setup.py

build: setup ## Compile
	@cargo build

repl: build ## Start the REPL; arguments go in ARGS="..."
	@"$(TARGET)/debug/paella" $(ARGS)

test: setup ## Run all tests and sum them up
	@mkdir -p "$(TARGET)"; start=$$SECONDS; code=0; \
	cargo test --no-fail-fast --color $(COLOUR) 2>&1 | tee "$(TARGET)/test.log" || code=$$?; \
	awk -v code=$$code -v seconds=$$((SECONDS - start)) -f scripts/summary.awk "$(TARGET)/test.log"; exit $$code

lint: setup ## Check the format and clippy; a warning is an error
	@cargo fmt --check
	@cargo clippy --all-targets -- -D warnings

kernel: setup ## Build the Jupyter kernel and install it for this user
	@cargo build -p paella-kernel
	@"$(TARGET)/debug/paella-kernel" install $(ARGS)

notebook: setup ## Open JupyterLab with the kernel, in an environment of its own
	@cargo build -p paella-kernel
	@test -x "$(TARGET)/notebook/bin/jupyter-lab" || { python3 -m venv "$(TARGET)/notebook" && "$(TARGET)/notebook/bin/pip" install -q jupyterlab; }
	@"$(TARGET)/debug/paella-kernel" install --prefix "$(TARGET)/notebook"
	@"$(TARGET)/notebook/bin/jupyter-lab" $(firstword $(wildcard notebooks/*.ipynb)) $(ARGS)

test-kernel: setup ## Test the Jupyter kernel with Jupyter's own clients
	@cargo build -p paella-kernel && cargo test -p paella-kernel --quiet
	@test -x "$(TARGET)/kernel-test/bin/python" || python3 -m venv "$(TARGET)/kernel-test"
	@"$(TARGET)/kernel-test/bin/pip" install -q -r tests/kernel/requirements.txt
	@"$(TARGET)/debug/paella-kernel" install --prefix "$(TARGET)/kernel-test"
	@"$(TARGET)/kernel-test/bin/python" -m pytest -q tests/kernel $(ARGS)

clean: ## Remove what was built; libtorch stays in the cache
	@cargo clean
