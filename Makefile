# One verb per task; each prepares what it needs in .venv. `make help` lists them.

PYTHON ?= python3
ARM64_CC ?= aarch64-linux-gnu-gcc
VENV := .venv
BIN := $(VENV)/bin
BENCH_JSON := build/bench.json

# Compiled parts of another flavour are as stale as those of older sources.
FLAVOUR := $(if $(filter 1,$(EXECNODE_DEBUG)),-debug)$(if $(filter 1,$(EXECNODE_SANITIZE)),-sanitize)
BUILT := build/.built$(FLAVOUR)

C_FOLDERS := src/engine/core src/engine/_seccomp src/engine/_intercept
C_SOURCES := $(wildcard $(C_FOLDERS:=/*.c))
C_HEADERS := $(wildcard src/engine/*.h $(C_FOLDERS:=/*.h))
CYTHON := $(wildcard src/engine/*.pyx src/engine/*.pxi src/engine/*.pxd)

MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup run test lint format build sanitize arm64 bench bench-gate peers shells interop \
	clean

help: ## List the verbs
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(BUILT) ## Make .venv, install execnode in it (editable) and compile the core
	@:

run: setup ## Start a node on a private socket and run real commands through it
	@$(BIN)/python examples/demo.py

test: setup ## Run the whole test suite
	@$(MAKE) shells || echo "the tests of patched shells will fail" >&2
	@$(BIN)/python -m pytest -n auto --dist loadgroup -p no:benchmark

lint: setup ## Check style, types, import directions and the C core's warnings
	@echo "ruff: style and format"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@echo "import-linter: arrows go down only"
	@report=$$($(BIN)/lint-imports --no-logo --no-cache 2>&1) || { echo "$$report"; exit 1; }
	@echo "mypy: types"
	@$(BIN)/mypy
	@echo "stubtest: stubs against the compiled core"
	@MYPYPATH=build/names $(BIN)/python -m mypy.stubtest --concise \
		--mypy-config-file pyproject.toml --allowlist tests/stubtest.txt execnode.engine._pty \
		execnode.engine._files execnode.engine._confine execnode.engine._notify
	@echo "$(CC): our C with warnings as errors"
	@set -e; for source in $(C_SOURCES); do \
		$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -Isrc -c -o /dev/null $$source; done

format: setup ## Rewrite Python files in the house style
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .

build: setup ## Make the source archive and the wheel in dist/
	@$(BIN)/python -m build --no-isolation --outdir dist .

sanitize: ## Run the C core's own tests and fuzz targets under ASan and UBSan
	@$(MAKE) -C tests/core sanitize

arm64: ## Cross-compile the helper program and the C core for arm64
	@command -v $(ARM64_CC) >/dev/null || { \
		echo "arm64 needs a cross compiler, and there is no '$(ARM64_CC)'." >&2; \
		echo "hint: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross" >&2; exit 1; }
	@mkdir -p build/arm64
	@set -e; for source in $(wildcard src/engine/core/*.c); do \
		$(ARM64_CC) -std=gnu11 -O2 -Wall -Wextra -Werror -Isrc -c -o /dev/null $$source; done
	@$(ARM64_CC) -std=gnu11 -O2 -Wall -Wextra -Werror -Isrc -static \
		-o build/arm64/execnode-linux-sandbox $(wildcard src/engine/_seccomp/*.c)
	@LC_ALL=C readelf --file-header --program-headers build/arm64/execnode-linux-sandbox | awk ' \
		/Machine:.*AArch64/ { ours = 1 } /INTERP|DYNAMIC/ { linked = 1 } END { exit !ours || linked }'
	@ls -l build/arm64/execnode-linux-sandbox

bench: setup ## Measure, print ratios to the references, save build/bench.json
	@$(BIN)/python -m pytest bench --benchmark-only --benchmark-quiet -q --benchmark-json=$(BENCH_JSON)

bench-gate: setup ## Fail when a ratio is worse than its bound in bench/bounds.toml
	@$(BIN)/python -m bench.gate

peers: setup ## Fetch the peers that benches and interop need, into a cache outside the tree
	@$(BIN)/python -m bench.peers

shells: setup ## Build bash and zsh that ask before they execute, into a cache outside the tree
	@$(BIN)/python -m tests.escalation.shells.building

interop: peers ## Play recorded exchanges of the Codex exec-server, have its CLI use a node, and inspect MCP
	@$(BIN)/python -m tests.interop.play
	@$(BIN)/python -m pytest -q -n 2 -p no:benchmark tests/interop

clean: ## Remove what was built (`rm -rf .venv` removes the rest)
	@rm -rf build dist src/*.egg-info *.egg-info .benchmarks .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache src/engine/*.so src/engine/_seccomp/*.so \
		src/engine/_seccomp/execnode-helper src/engine/_seccomp/execnode-execve-wrapper
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "execnode needs Python 3.11 or newer, which '$(PYTHON)' is not." >&2; \
		echo "hint: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@command -v $(CC) >/dev/null || { \
		echo "execnode needs a C compiler, and there is no '$(CC)'." >&2; \
		echo "hint: apt-get install gcc libc6-dev" >&2; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# Dependencies and the editable install: again whenever the build files change.
$(VENV)/.installed: pyproject.toml setup.py | $(VENV)/bin/python
	@echo "installing execnode and its tools in $(VENV) (a minute the first time)"
	@$(BIN)/python -m pip install -qq --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install -qq --group dev
	@$(BIN)/python -m pip install -qq --no-build-isolation --editable .
	@touch $@

# The compiled parts: again whenever a source of theirs changes.
$(BUILT): $(VENV)/.installed $(C_SOURCES) $(C_HEADERS) $(CYTHON)
	@echo "compiling the core"
	@$(BIN)/python setup.py --quiet build_ext --inplace
	@install -m 755 src/engine/_seccomp/execnode-helper $(BIN)/execnode-linux-sandbox
	@install -m 755 src/engine/_seccomp/execnode-helper $(BIN)/execnode-execve-wrapper
	@rm -f build/.built*
	@touch $@
