# What a developer does here. `make help` lists it.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help run test soak lint

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and run the proxy; embedded, unless the environment or .env says otherwise
	$(CARGO) run --release

test: ## install what the tests need (Debian 12), then run them all against real servers
	@scripts/install-test-dependencies.sh
	$(CARGO) test

soak: ## an hour of faults under load, every answer checked; SOAK_MINUTES=n for another length
	@scripts/install-test-dependencies.sh
# Not --release: that would leave a respgres with the tests' hooks in target/release (see the profile in Cargo.toml).
	$(CARGO) test --profile soak --test history -- --ignored --nocapture soak

lint: ## formatting, clippy and the documentation, warnings being errors
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps
