# Two commands are all it takes: `make demo` and `make test`. Each sets up first what is not set up yet.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup firmware-tools demo test check up down status clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv as uv.lock says (no time when it is there)
	@bash deployments/setup.sh

demo: setup firmware-tools ## The main job on composed frames: local stack, import, training, INT8, verdict, report
	@.venv/bin/f2f demo

test: setup firmware-tools ## All tests, against a real S3 server and emulated boards
	@.venv/bin/python -m deployments.versitygw_install
	@.venv/bin/python -m deployments.firmware_nightly
	@.venv/bin/python -m deployments.browser
	.venv/bin/pytest -n 2 --dist loadfile

firmware-tools: setup ## Rust, Arm's GCC and QEMU for the firmware (what cannot be installed is named, not fatal)
	@.venv/bin/python -m deployments.firmware_tools --best-effort

check: setup ## Formatting, lint, types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

up: setup ## Start the local stack (S3, Prefect, worker, reports)
	@.venv/bin/f2f up

down: setup ## Stop it; data stay
	@.venv/bin/f2f down

status: setup ## Show what runs and where
	@.venv/bin/f2f status

clean: ## Stop the stack, remove .venv and caches; frames, models and reports in .f2f stay
	@if [ -x .venv/bin/f2f ]; then .venv/bin/f2f down; fi
	rm -rf .venv .f2f/uv .f2f/cache .f2f/firmware/target .mypy_cache .ruff_cache .pytest_cache
	@echo "kept: .f2f (bucket and Prefect database of the local stack); delete it by hand to lose them"
