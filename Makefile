# Every target works from a bare checkout, given Python >= 3.11 (PYTHON=… names another) and make.
# ARGS is handed on: make test ARGS="tests/products -k upload"

python := .venv/bin/python

# What `check --deploy` looks at: a cluster as it should be. Nothing is connected to.
production = env -u DEBUG -u OPEN_ACCESS PUBLIC_URL=https://example.com ALLOWED_HOSTS=example.com \
	SECRET_KEY="$$($(python) -c 'import secrets; print(secrets.token_urlsafe(64))')" \
	DATABASE_URL=postgresql://postgres@127.0.0.1/postgres REDIS_URL=redis://127.0.0.1 \
	AWS_STORAGE_BUCKET_NAME=pictures AWS_S3_REGION_NAME=eu-central-1
# For what only has to load the settings, leaving no file behind.
in_memory = env -u REDIS_URL SECRET_KEY=only-to-load-the-settings-nothing-is-signed-by-this-key \
	DATABASE_URL=sqlite://:memory:

.PHONY: help demo run quick test rest faults hostile fuzz check bench soak docs screenshots lock audit clean runtime dev

help:
	@echo "make demo | run | quick | test | faults | hostile | fuzz | check | bench | soak | docs | screenshots | lock | audit | clean"

demo: runtime
	@$(python) scripts/demo.py

run: runtime
	@$(python) manage.py serve $(ARGS)

# Before Python 3.12 coverage is traced, which takes a third of the time of the tests.
coverage_options = $$($(python) -c 'import sys; print("--cov --cov-report=" * (sys.version_info >= (3, 12)))')

# What needs no server and no browser, on SQLite, with the share of lines that it runs.
quick: dev
	@$(python) -m pytest --quick -n 2 --dist worksteal -p no:schemathesis $(or $(ARGS),$(coverage_options))
	@$(if $(ARGS),,if [ -z "$(coverage_options)" ]; then \
		echo "coverage: measured with Python 3.12 or newer (or by make quick ARGS=--cov)"; \
	else \
		echo "coverage: $$($(python) -m coverage report --format=total) % of lines (by module: $(python) -m coverage report)"; \
	fi)

# Everything; with ARGS only what they name. The faults mostly wait, so they run beside the rest and are printed
# after it. The first line installs what is missing: two runs at once would wait for each other's apt-get in vain.
test: dev
ifeq ($(ARGS),)
	@$(python) scripts/servers.py Chromium unzip promtool -- true
	@log=$$(mktemp); $(MAKE) --no-print-directory --keep-going --jobs=2 rest faults ROUNDS=30 FAULTS_OUTPUT="$$log"; \
	code=$$?; cat "$$log"; rm "$$log"; exit $$code
else
	@$(python) scripts/servers.py Chromium unzip promtool -- $(python) -m pytest $(ARGS)
endif

# Three processes, since each waits for browsers and servers a third of its time.
rest: dev
	@$(python) scripts/servers.py Chromium unzip promtool -- $(python) -m pytest -n 3 --dist worksteal

# Real processes, really killed. Races are run ROUNDS times each, 200 by default and 30 in `make test`, which
# starts one process fewer: each has a cluster of its own, and they end before the rest all the same.
faults: dev
	@$(python) scripts/servers.py -- env RACE_ROUNDS=$(or $(ROUNDS),200) $(python) -m pytest tests/faults -p no:schemathesis \
		-n $(if $(FAULTS_OUTPUT),3,4) --dist worksteal $(ARGS) \
		$(if $(FAULTS_OUTPUT),> $(FAULTS_OUTPUT) 2>&1)

# Hostile inputs against the service, embedded and as a cluster, and how much slower it is for another user meanwhile.
hostile: dev
	@$(python) scripts/servers.py -- $(python) -m pytest tests/hostile $(ARGS)

# Made-up input for ten minutes or SECONDS, shared out among the tests.
fuzz: dev
	@$(python) scripts/servers.py -- env FUZZ_SECONDS=$(or $(SECONDS),600) \
		$(python) -m pytest tests/fuzz --hypothesis-show-statistics --timeout=$(shell expr $(or $(SECONDS),600) + 300) $(ARGS)

check: dev
	@$(python) -m ruff format --check .
	@$(python) -m ruff check .
	@$(in_memory) $(python) -m mypy
	@.venv/bin/lint-imports --no-logo
	@$(in_memory) scripts/check-types
	@$(in_memory) $(python) manage.py makemigrations --check --dry-run
	@$(production) $(python) manage.py check --deploy --fail-level WARNING

bench: dev
	@$(python) scripts/servers.py nginx -- $(python) -m scripts.bench $(ARGS)

soak: dev
	@$(python) scripts/soak.py $(ARGS)

# The documentation as a site, in site/. Every link and anchor in it is checked.
docs: dev
	@NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs build $(ARGS)

# Every page in light, dark and as on a phone, into var/screenshots; those of README.md into docs/images.
screenshots: dev
	@$(python) scripts/screenshots.py

lock:
	@scripts/lock $(ARGS)

# Are there advisories for the locked versions? Asks the network.
audit:
	@scripts/audit

# var/ stays: it holds data of whoever ran the service here.
clean:
	rm -rf .venv .coverage node_modules static site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

runtime:
	@scripts/bootstrap

dev:
	@scripts/bootstrap --dev
