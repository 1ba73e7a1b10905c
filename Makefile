# What a developer does here. `make help` lists it.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BENCH_VENV := $(TARGET)/bench-venv
# The client libraries that the tests run, at the versions pinned in tests/clients.
CLIENTS := $(TARGET)/clients
# Programs that judge the description of the HTTP port, the manifests and the image, pinned in tests/checkers.
CHECKERS := $(TARGET)/checkers

.DEFAULT_GOAL := help
.PHONY: help run test test-otel client-libraries checkers soak differential fuzz screenshots bench bench-curve bench-overload bench-programs deb packages-test lint

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and run the proxy; embedded, unless the environment or .env says otherwise
	$(CARGO) run --release

test: ## install what the tests need (Debian 12), then run them all against real servers
	@scripts/install-test-dependencies.sh
	@$(MAKE) --no-print-directory client-libraries checkers
	$(CARGO) test

test-otel: ## build with the feature otel, and receive its traces
	@scripts/install-test-dependencies.sh
	$(CARGO) test --features otel --test otel

differential: ## generated commands beside a real Redis, over all backends; CASES=n for more than 100000
	@scripts/install-test-dependencies.sh
	DIFFERENTIAL_CASES=$(or $(CASES),100000) \
		$(CARGO) test --profile soak --test differential -- --ignored --nocapture at_length

fuzz: ## inputs that nobody meant, for the decoder and the commands; MINUTES=n for more than 10
	BOLERO_RANDOM_TEST_TIME_MS=$$(($(or $(MINUTES),10) * 60000)) $(CARGO) test --profile fuzz --test fuzz -- --test-threads 3

screenshots: ## take the pictures of the page that README shows, with five minutes of traffic
	@scripts/install-test-dependencies.sh
	$(CARGO) test --test it -- --ignored page::screenshots

client-libraries: $(CLIENTS)/python/installed $(CLIENTS)/node/installed $(CLIENTS)/hiredis
	@:

PIP_FLAGS = --quiet --disable-pip-version-check --only-binary :all:
PIP_INSTALL = $(CLIENTS)/python/bin/pip install $(PIP_FLAGS)

# Two releases of one package: the older in a directory of its own.
$(CLIENTS)/python/installed: tests/clients/python/requirements.txt tests/clients/python/requirements-redis-5.txt
	/usr/bin/python3 -m venv --clear $(CLIENTS)/python
	$(PIP_INSTALL) -r $(word 1,$^) && $(PIP_INSTALL) --target $(CLIENTS)/python/redis-5 -r $(word 2,$^) || \
		{ echo "make: the Python clients can't be installed: pip has to reach PyPI" >&2; exit 1; }
	touch $@

# Node.js comes with the above.
$(CLIENTS)/node/installed: tests/clients/node/package.json tests/clients/node/package-lock.json $(CLIENTS)/python/installed
	mkdir -p $(CLIENTS)/node
	cp $(wordlist 1,2,$^) $(CLIENTS)/node
	PATH=$(abspath $(CLIENTS))/python/bin:$$PATH npm --prefix $(CLIENTS)/node ci --ignore-scripts --no-audit --no-fund --loglevel=error || \
		{ echo "make: the Node.js clients can't be installed: npm has to reach its registry" >&2; exit 1; }
	touch $@

$(CLIENTS)/hiredis: tests/clients/c/hiredis.c
	mkdir -p $(CLIENTS)
	$(CC) -std=gnu11 -Wall -Wextra -O1 -o $@ $< -lhiredis

checkers: $(CHECKERS)/installed
	@:

$(CHECKERS)/installed: tests/checkers/requirements.txt
	/usr/bin/python3 -m venv --clear $(CHECKERS)
	$(CHECKERS)/bin/pip install $(PIP_FLAGS) -r $< || \
		{ echo "make: the checkers can't be installed: pip has to reach PyPI" >&2; exit 1; }
	touch $@

soak: ## an hour of faults under load, every answer checked; SOAK_MINUTES=n for another length
	@scripts/install-test-dependencies.sh
# Not --release: that would leave a respgres with the tests' hooks in target/release (see the profile in Cargo.toml).
	$(CARGO) test --profile soak --test history -- --ignored --nocapture soak

bench: bench-programs ## measure beside Redis, PostgreSQL and other proxies (Debian 12); ROUNDS=n, ROWS=get,set for less
	$(BENCH_VENV)/bin/python -m benchmarks.runner

bench-curve: bench-programs ## rate and p99 against connections, depth, value size, shards and keys (MAX_KEYS=n)
	$(BENCH_VENV)/bin/python -m benchmarks.runner.curves

bench-overload: bench-programs ## what is left of the peak when three times as much is asked for
	$(BENCH_VENV)/bin/python -m benchmarks.runner.overload

bench-programs:
	@scripts/install-test-dependencies.sh --benchmarks
	[ -n "$$RESPGRES" ] || $(CARGO) build --release --bin respgres
	@[ -n "$$LOAD" ] || $(MAKE) --no-print-directory $(TARGET)/release/examples/load
	@$(MAKE) --no-print-directory $(BENCH_VENV)/installed

# Not whenever src/ changes, as Cargo would have it: the load generator does not use the library.
$(TARGET)/release/examples/load: $(wildcard benchmarks/load/*.rs) Cargo.lock
	$(CARGO) build --release --example load
	touch $@

$(BENCH_VENV)/installed: benchmarks/requirements.txt benchmarks/peers/fastapi/requirements.txt
	/usr/bin/python3 -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: $(addprefix -r ,$^)
	touch $@

deb: ## a Debian package of this machine's architecture, into target/deb (Debian 12)
	@scripts/install-test-dependencies.sh --packages
	packaging/build-deb.sh

packages-test: ## build, judge, install and remove the Debian package, and the crate; as root (Debian 12)
	@scripts/install-test-dependencies.sh --packages
	packaging/test-deb.sh
	packaging/test-crate.sh

lint: ## formatting, clippy and the documentation, warnings being errors
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps
