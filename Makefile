# The commands of this project. Each sets up what it needs; `make help` lists them.
PYTHON ?= /usr/bin/python3
VENV   := .venv
BIN    := $(VENV)/bin
GUEST  ?= wine
SOURCES := harness guest tests vm/capabilities

.PHONY: help setup check test coverage vm-test self-test soak reproduce smoke nightly fuzz bench format contract driver image clean distclean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## host packages (needs root when some are missing) and .venv/

# Building an image needs root. Checked before any set-up; an ordinary user is told the command to run.
.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { printf 'winvm: building the guest image needs root. Run:\n    sudo make %s\n' \
	    '$(strip $(MAKECMDGOALS) $(MAKEOVERRIDES))' >&2; exit 2; }

# Guests need no root. Under sudo, what starts them runs as the user who called it, once the image is built.
ifneq ($(and $(SUDO_UID),$(filter 0,$(shell id -u))),)
USER_HOME := $(shell getent passwd '$(SUDO_UID)' | cut -d: -f6)
AS_USER := setpriv --reuid=$(SUDO_UID) --regid=$(SUDO_GID) --init-groups env HOME='$(USER_HOME)'
endif
.PHONY: guest
guest: setup
	@$(if $(AS_USER),$(if $(filter wine,$(GUEST)),$(BIN)/winvm image build wine,:),:)

# SKIP_HOST=1 leaves the host's packages alone.
.PHONY: host
host:
	@$(if $(SKIP_HOST),:,vm/host/install.sh)

.PHONY: test-host
test-host:
	@$(if $(SKIP_HOST),:,vm/host/install.sh test-packages.txt)

$(VENV)/.installed: pyproject.toml vm/host/constraints.txt | host
	@echo "winvm: installing Python packages into $(VENV) ($(shell $(PYTHON) --version 2>/dev/null || echo python3))"
	@# A complete .venv is updated in place, because another command may be running from it.
	@$(PYTHON) -m venv $(if $(wildcard $@),,--clear) $(VENV)
	@$(BIN)/pip install -qq --disable-pip-version-check -c vm/host/constraints.txt -e '.[dev,host]'
	@# An editable install compiles nothing; where PYTHONDONTWRITEBYTECODE is set, every start of winvm would.
	@$(BIN)/python -m compileall -q harness
	@# Relative, because Python 3.11 decodes this file by the locale: under LC_ALL=C it takes ASCII only.
	@echo ../../../.. > "$$(find $(VENV)/lib -name _editable_impl_winvm.pth)"
	@touch $@
	@$(if $(AS_USER),chown -R $(SUDO_UID):$(SUDO_GID) $(VENV) $(wildcard *.egg-info),:)

check: setup ## format, lint, types, imports, contract drift; no VM
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy $(SOURCES)
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 guest/provision guest/seriald guest/winrmd guest/agent
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory -C driver format-check
	$(BIN)/python -m harness.contract --check

# ONLY=failed: the tests that failed last time, one after the other
AGAIN := $(if $(filter failed,$(ONLY)),--last-failed --last-failed-no-failures none)
test: setup test-host ## unit tests and host-side tests: no guest; some start QEMU for a moment
	$(BIN)/pytest tests/unit $(or $(AGAIN),-n auto --maxprocesses 4 --dist loadfile)

coverage: setup test-host ## line and branch coverage of the unit and host-side tests (build/coverage)
	$(BIN)/pytest tests/unit -n auto --maxprocesses 4 --dist loadfile \
	    --cov --cov-report=term --cov-report=html:build/coverage

# COVERAGE=1: with the lines of the driver that ran
vm-test: guest ## test the driver in a VM: build, sign, deploy, run every scenario (GUEST=wine)
	$(AS_USER) $(BIN)/pytest tests/vm/test_scenarios.py --winvm-guest $(GUEST) $(if $(COVERAGE),--winvm-coverage)

# ONLY=failed: the tests that failed last time. LONG=1: also those that take many minutes each.
self-test: root setup ## test the bench itself in a VM: its commands, crashes, faults, other drivers
	$(BIN)/pytest tests/vm --ignore tests/vm/test_scenarios.py $(if $(LONG),--long) $(AGAIN)

SCALE ?= 1
soak: root setup ## long, large and killed runs (SCALE=1: half an hour or more)
	$(BIN)/python -m tests.soak --scale $(SCALE)

reproduce: guest ## replay a crash from its bundle (BUNDLE=crash-....tar.zst)
	$(AS_USER) $(BIN)/winvm reproduce '$(BUNDLE)'

smoke: guest ## a quick subset of the scenarios, in a guest that is kept warm
	$(AS_USER) $(BIN)/winvm smoke --guest $(GUEST)

nightly: guest ## run every guest profile with every driver build, and compare with earlier nights
	$(AS_USER) $(BIN)/winvm nightly

fuzz: setup ## run the parsers on hostile input, for a long time
	$(BIN)/python -m tests.fuzz.kd --count 1000000
	$(BIN)/python -m tests.fuzz.dump --count 200000
	$(BIN)/python -m tests.fuzz.pdb --count 100000
	$(BIN)/python -m tests.fuzz.sftp --count 100000
	$(BIN)/python -m tests.fuzz.agent --count 100000
	$(BIN)/python -m tests.fuzz.report --count 100000
	$(BIN)/python -m tests.fuzz.serial_line --count 200000

bench: guest ## measure the bench itself
	$(AS_USER) $(BIN)/python -m tests.bench

format: setup ## rewrite sources in the project's format
	$(BIN)/ruff check --fix --quiet $(SOURCES) || true
	$(BIN)/ruff format $(SOURCES)
	$(MAKE) --no-print-directory -C driver format

contract: setup ## regenerate the Python side of driver/include
	$(BIN)/python -m harness.contract

driver: setup ## build, sign and inspect the driver
	$(BIN)/winvm build

image: root setup ## build the guest image
	$(BIN)/winvm image build $(GUEST)

clean: ## remove built files, keep .venv, images and artifacts
	rm -rf build dist driver/build .mypy_cache .ruff_cache .pytest_cache
	find harness guest tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove .venv and artifacts too
	rm -rf $(VENV) artifacts *.egg-info
