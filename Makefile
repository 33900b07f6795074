# Every target installs what it needs into .venv; nothing else on the machine is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
JOBS ?= 4
SEEDS ?= 10
FIRST ?= 1
SEED ?=
TASKS ?= 100000
WHAT ?=
PART ?= 1

# Where `make install` puts things. DESTDIR is for packages: nothing outside of it is touched.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
UNITDIR ?= $(SYSCONFDIR)/systemd/system
CIGRI_USER ?= cigri
ENVIRONMENT := $(DESTDIR)$(PREFIX)/lib/cigri
CONFIGURATION := $(DESTDIR)$(SYSCONFDIR)/cigri
PROGRAMS = $(shell sed -n "s|^    \([a-z-]*\) = cigri\..*:.*|\1|p" setup.cfg | grep -v cigri-local)

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-oar2 lint format chaos killpoints soak bench bench-large clean install uninstall

help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

venv: $(VENV)/installed ## make .venv, from which the programs in bin/ run

demo: $(VENV)/installed ## bring a whole grid up, run a campaign of 200 tasks on it, take it down again
	@bin/cigri-local demo

test: lint ## everything that runs without root: lint, types, all tests
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadscope --no-loadscope-reorder

test-oar2: $(VENV)/installed-dev ## campaigns on real OAR 2.5 clusters, set up here from Debian's packages; for root
	@[ "$$(id -u)" = 0 ] || { echo "make test-oar2 is for root: it sets up real OAR 2.5 clusters." >&2; exit 1; }
	CIGRI_TEST_OAR2=yes $(BIN)/python -m pytest -q --durations 5 -k "not minioar" tests/oar2 tests/conformance

lint: $(VENV)/installed-dev ## ruff, mypy, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/installed-dev ## put the code into its form
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

chaos: $(VENV)/installed-dev ## whole grids under attack: SEEDS=10 FIRST=1, or one of them again: SEED=n
	@$(BIN)/python tests/system/chaos --seeds $(SEEDS) --first $(FIRST) $(if $(SEED),--seed $(SEED))

killpoints: $(VENV)/installed-dev ## kill each daemon at each statement and each request of a submission's life
	@$(BIN)/python tests/system/chaos/killpoints.py

soak: $(VENV)/installed-dev ## TASKS=100000 tasks over four clusters that misbehave all the time; for hours
	@$(BIN)/python tests/system/chaos/soak.py --tasks $(TASKS)

bench: $(VENV)/installed-dev ## measure everything that has a target: build/bench/figures.json; WHAT=name for one of them
	@$(BIN)/python tests/bench $(WHAT)

bench-large: $(VENV)/installed-dev ## sixty million jobs before and after maintenance: half an hour, 40 GB below TMPDIR; PART=0.1 of it
	@$(BIN)/python tests/bench/bench_large.py $(PART)

install: ## install under PREFIX, configuration under SYSCONFDIR (never overwritten); as root
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or later is needed: make install PYTHON=/usr/bin/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(ENVIRONMENT)
	$(ENVIRONMENT)/bin/python -m pip --disable-pip-version-check --quiet install --constraint etc/constraints.txt '.[man]'
	$(ENVIRONMENT)/bin/python -m cigri.man_pages $(DESTDIR)$(PREFIX)/share/man
	@etc/install/launchers $(ENVIRONMENT) $(DESTDIR)$(PREFIX)/bin $(PROGRAMS)
	@etc/install/configuration $(CONFIGURATION) $(CIGRI_USER) "$(DESTDIR)"
	install -D -m 0644 etc/cron.d/cigri $(DESTDIR)$(SYSCONFDIR)/cron.d/cigri
	@for unit in systemd/*.service; do \
	    mkdir -p $(DESTDIR)$(UNITDIR); \
	    sed 's|/usr/bin/|$(PREFIX)/bin/|; s|/etc/cigri|$(SYSCONFDIR)/cigri|; s|^\(User\|Group\)=cigri|\1=$(CIGRI_USER)|' \
	        $$unit > $(DESTDIR)$(UNITDIR)/$$(basename $$unit); done
	sed -i 's|/usr/bin/|$(PREFIX)/bin/|' $(DESTDIR)$(SYSCONFDIR)/cron.d/cigri
	@echo "Installed. Next: edit $(SYSCONFDIR)/cigri/cigri.conf, then gridadmin db init (docs/administration.md)."

uninstall: ## remove what install made, but for the configuration
	rm -rf $(ENVIRONMENT)
	rm -f $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/bin/%) $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/share/man/man[18]/%*.[18])
	rm -f $(DESTDIR)$(UNITDIR)/cigri.service $(DESTDIR)$(UNITDIR)/cigri-api.service
	rm -f $(DESTDIR)$(SYSCONFDIR)/cron.d/cigri
	@echo "Removed. The configuration stays in $(SYSCONFDIR)/cigri, the database where it is."

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or later is needed: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || \
	    { echo "Python's venv is needed (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python setup.cfg pyproject.toml etc/constraints.txt
	$(PIP) install --constraint etc/constraints.txt --editable '.[local]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install --constraint etc/constraints.txt --editable '.[local,dev]'
	@touch $@
