# make run · make test · make check: each brings along what it needs; the second time is quick.

PORT ?= 8000
HOST ?= 127.0.0.1
DATA_DIR ?= var
DB ?= sqlite
DEMO ?= 1
# The logins of the demo are known to everybody, so they are there only if nobody else can reach the server.
DEMO_LOGIN ?= $(if $(filter 127.0.0.1 localhost ::1,$(HOST)),1,0)
PYTHON ?= python3
KILLS ?= 104
DRILL_SECONDS ?= 120
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
export DATA_DIR DEMO_LOGIN

.PHONY: run test pooler nightly soak drill check schemas requirements reference clients bench-api bench-log bench-personal bench-relay bench-replay bench-replay-load bench-replicas bench-stream bench-seals bench-admin bench-workers screenshots help clean

help:
	@echo "make run     serve on http://$(HOST):$(PORT) (PORT=, HOST=, DATA_DIR=, DB=postgres, DEMO=0, DEMO_LOGIN=1)"
	@echo "make test    the whole suite, on SQLite and on PostgreSQL"
	@echo "make pooler  the same on PostgreSQL behind a PgBouncer that pools transactions"
	@echo "make nightly the long forms of its loops, on both"
	@echo "make drill   hosts of one's own, cut off, stopped, killed, and a failover: two minutes, as root (DRILL_SECONDS=, SEED=)"
	@echo "make soak    200 kills under load, and the loops of faults, on both: about ten minutes (KILLS=, SEED=)"
	@echo "make check   style, types, import rules, migrations and event schemas; runs all, then says which failed"
	@echo "make clients lint the API's schema, and build typed clients of it, in \$$DATA_DIR/clients (needs Node.js)"
	@echo "make schemas lock the schemas of new events, and of new versions, in each events.lock.json"
	@echo "make bench-api, bench-log, bench-personal, bench-relay, bench-replay, bench-replay-load, bench-replicas, bench-stream, bench-seals, bench-admin, bench-workers; make screenshots"
	@echo "             the tables of benchmarks/, the pictures of the README"
	@echo "make reference  write the pages of docs/reference/ that follow from the code"
	@echo "make requirements   pin what the requirements*.in name, with hashes (UPGRADE=--upgrade: the newest of what they need)"
	@echo "make clean   remove the virtual environment and the caches; data stays"

run: .venv/run .env
	@chmod go= .env 2>/dev/null || true
	@umask 077; mkdir -p "$(DATA_DIR)"
	@if [ "$(DB)" = postgres ]; then \
		test -e .venv/dev || $(MAKE) --no-print-directory .venv/dev; \
		urls="$$($(BIN)/python tools/postgres.py start "$(DATA_DIR)/postgres")" || exit 1; eval "$$urls"; \
	fi; \
	$(BIN)/python manage.py migrate -v0 && \
	$(BIN)/python examples/staff.py && \
	{ [ "$(DEMO)" = 0 ] || LOG_LEVEL=WARNING $(BIN)/python examples/demo.py; } && \
	printf '%s\n' "Next, at http://$(HOST):$(PORT)" "  /         log in, and watch the events" \
		"  /orders/  place an order, as staff or as a customer; it arrives on / too" \
		"  /admin/   find it, see why and when it changed, cancel it, rebuild the rows" \
		"  /api/docs/  do the same by the API, as whoever is logged in" && \
	exec $(BIN)/uvicorn config.asgi:application --host $(HOST) --port $(PORT) \
		--lifespan off --timeout-graceful-shutdown 2 --no-access-log --no-proxy-headers --no-server-header

# Both engines, whatever fails. With AGAIN=1 a test that fails beside others runs once more, alone; both results are shown.
test: .venv/dev .env
	@failed=; \
	for db in sqlite postgres; do \
		echo "== DB=$$db"; export DB=$$db; run="$(BIN)/python -m pytest -q -o cache_dir=.pytest_cache/$$db"; \
		$$run -n 2 --dist worksteal $(ARGS) || \
		{ test -n "$(AGAIN)" && echo "== DB=$$db, once more" && $$run --last-failed --last-failed-no-failures none; } || \
		failed="$$failed $$db"; \
	done; \
	test -z "$$failed" || { printf "\nFailed on:$$failed\n"; exit 1; }

# What a team's requests do, through a PgBouncer that pools transactions (apt-get install pgbouncer).
pooler: .venv/dev .env
	DB=pooler $(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

nightly: .venv/dev .env
	DB=sqlite $(BIN)/python -m pytest -q -m nightly $(ARGS)
	DB=postgres $(BIN)/python -m pytest -q -m nightly $(ARGS)

soak: .venv/dev .env
	for db in sqlite postgres; do \
		$(BIN)/python -m tests.support.soak --db $$db --kills $(KILLS) $(if $(SEED),--seed $(SEED)) && \
		DB=$$db ROUNDS=10 EXAMPLES=60 $(BIN)/python -m pytest -q --timeout 600 \
			tests/support/test_checker.py tests/journeys/test_faults.py tests/eventlog/log/test_log_machine.py \
			tests/eventlog/delivery/test_projecting.py || exit 1; \
	done

drill: .venv/dev .env
	$(BIN)/python -m tests.support.drill --seconds $(DRILL_SECONDS) $(if $(SEED),--seed $(SEED))

# All of them run, so that one look shows everything that is wrong.
check: .venv/dev .env
	@failed=; \
	run() { echo "== $$*"; "$(BIN)/$$@" || failed="$$failed\n  $$*"; }; \
	run ruff format --check .; \
	run ruff check .; \
	run mypy; \
	run lint-imports; \
	run python manage.py makemigrations --check --dry-run; \
	run python manage.py lock_schemas --check; \
	test -z "$$failed" || { printf "\nFailed:$$failed\n"; exit 1; }

schemas: .venv/run .env
	$(BIN)/python manage.py lock_schemas

reference: .venv/dev .env
	$(BIN)/python tools/reference.py

# A trailing slash is part of every URL here, which one of Redocly's rules forbids.
clients: .venv/dev .env
	$(BIN)/python examples/clients/build.py "$(DATA_DIR)/clients"
	npx --yes @stoplight/spectral-cli@6.16.3 lint --ruleset examples/clients/spectral.yaml "$(DATA_DIR)/clients/schema.json"
	npx --yes @redocly/cli@2.77.0 lint --config examples/clients/redocly.yaml "$(DATA_DIR)/clients/schema.json"

# One file for each purpose, complete in itself. For every Python from 3.11 on and every system, whoever runs this.
requirements:
	@test -x $(BIN)/uv || $(MAKE) --no-print-directory .venv/bin/python
	@test -x $(BIN)/uv || $(PIP) "$$(grep -o '^uv==[0-9.]*' requirements-dev.in)"
	@for each in requirements requirements-dev benchmarks/requirements; do \
		UV_CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
			--generate-hashes --no-emit-index-url --no-emit-find-links $(UPGRADE) $$each.in -o $$each.txt || exit 1; \
	done

.env:
	@umask 077; $(PYTHON) -c 'import base64, secrets; print("DEBUG=on\nSECRET_KEY=" + secrets.token_urlsafe(50) \
		+ "\nKEY_ENCRYPTION_KEY=" + base64.b64encode(secrets.token_bytes(32)).decode())' > .env

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Headrace needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/run: requirements.txt | .venv/bin/python
	$(PIP) --require-hashes -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt .venv/run
	$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

# What each runs, in benchmarks/; those that have rivals need more packages.
bench-admin: module = admin.pages
bench-api: module = api.rates
bench-log: module = log.rates
bench-personal: module = personal.encryption
bench-relay: module = relay.throughput
bench-replay: module = replay.rebuild
bench-replay-load: module = replay.under_load
bench-seals: module = seals.sealing
bench-workers: module = workers.sharing
bench-api bench-log bench-replay bench-stream: .venv/bench

bench-admin bench-api bench-log bench-personal bench-relay bench-replay bench-replay-load bench-seals bench-workers: .venv/dev
	$(BIN)/python -m benchmarks.$(module) --db=sqlite $(ARGS)
	$(BIN)/python -m benchmarks.$(module) --db=postgres $(ARGS)

bench-replicas: .venv/dev
	$(BIN)/python -m benchmarks.replicas.reads $(ARGS)

bench-stream:
	$(BIN)/python -m benchmarks.stream.clients --own-view 90 1000 $(ARGS)
	$(BIN)/python -m benchmarks.stream.throughput

.venv/bench: benchmarks/requirements.txt .venv/dev
	$(PIP) --require-hashes -r benchmarks/requirements.txt
	@touch $@

screenshots: .venv/dev .env
	$(BIN)/python tools/screenshots.py docs/images

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
