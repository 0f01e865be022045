# `make repl` and `make test` are all it takes. Everything else is plain cargo once `make setup` has run.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build repl test test-core test-kernel lint kernel notebook gpu-rehearsal bench gallery dist clean

TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Put libtorch at ./libtorch (once; half a GB to fetch, shared by all clones)
	@command -v python3 >/dev/null || { printf 'error: python3 is missing\n  in: PATH\n  hint: install Python 3.9 or newer with pip\n' >&2; exit 1; }
	@python3 scripts/setup.py

build: setup ## Compile
	@cargo build

repl: build ## Start the REPL; arguments go in ARGS="..."
	@"$(TARGET)/debug/paella" $(ARGS)

test: setup ## Run all tests and sum them up
	@scripts/test.sh core kernel

test-core: setup ## The same without the notebook kernel's
	@scripts/test.sh core

test-kernel: setup ## Test the notebook kernel with Jupyter's own clients and a browser; ARGS="-k NAME"
	@scripts/test.sh kernel

# `cargo clippy -p paella-kernel` would go through the compiler front end's crates once more, besides building them for the
# tests: clippy in place of the compiler looks at the kernel alone.
lint: setup ## Check the format and clippy; a warning is an error
	@cargo fmt --all --check
	@cargo clippy --all-targets -- -D warnings
	@cargo clippy -p paella-notebook -- -D warnings
	@for program in paella-kernel paella-recall; do \
	    RUSTC_WORKSPACE_WRAPPER=clippy-driver cargo rustc -p paella-kernel --bin $$program --profile test -- -D warnings; \
	done

kernel: setup ## Build the Jupyter kernel and install it for this user
	@cargo build -p paella-kernel
	@"$(TARGET)/debug/paella-kernel" install $(ARGS)

# JupyterLab refuses to run as root unless told to, and without a screen it would open a browser for the terminal.
LAB = "$(TARGET)/notebook/bin/jupyter-lab" $(if $(filter 0,$(shell id -u)),--allow-root) \
	$(if $(DISPLAY)$(WAYLAND_DISPLAY),,--no-browser)
LESSON = $(firstword $(wildcard notebooks/*.ipynb))

notebook: setup ## Open JupyterLab with the kernel, in an environment of its own
	@cargo build -p paella-kernel
	@test -x "$(TARGET)/notebook/bin/jupyter-lab" || { echo "fetching JupyterLab, once"; \
	    python3 -m venv "$(TARGET)/notebook" && "$(TARGET)/notebook/bin/pip" install -q jupyterlab; }
	@"$(TARGET)/debug/paella-kernel" install --prefix "$(TARGET)/notebook"
	@printf '\n%s\n%s\n\n' "JupyterLab opens $(LESSON) with the kernel Paella (Rust): Shift-Enter runs a cell." \
	    "If no browser comes up, open the address with the token below in one. Ctrl-C twice ends it."
	@$(LAB) --LabApp.default_url=/lab/tree/$(LESSON) $(ARGS)

gpu-rehearsal: setup ## Run the kit for machines with a GPU on this CPU; fetches 2.7 GB once, or PAELLA_GPU_VENV
	@scripts/gpu/rehearse.sh

bench: build ## Measure beside PyTorch on this CPU; fetches 0.2 GB once, or PAELLA_PEER_PYTHON; ARGS="--configs small"
	@benches/peers/run.sh $(ARGS)

gallery: build ## Make the pictures of docs/gallery.md, in docs/gallery/
	@scripts/gallery.sh

dist: build ## Pack program, models and lessons for machines without Rust, in target/dist
	@scripts/dist.sh $(ARGS)

clean: ## Remove what was built; libtorch stays in the cache
	@cargo clean
