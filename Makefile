# Everything a contributor runs. `make run` and `make test` install what is missing first.
SHELL := /bin/bash
# s3s declares a newer rust-version than the one it needs.
CARGO := source scripts/env && cargo
FLAGS := --ignore-rust-version
RUN_ARGS ?=

.PHONY: build run test lint bench install install-test rocksdb

build: rocksdb ## release binaries in target/release
	$(CARGO) build $(FLAGS) --release

run: build ## a gateway and eight mesh nodes on this machine
	$(CARGO) run $(FLAGS) --release --quiet --bin datamesh-gateway -- dev $(RUN_ARGS)

test: install-test rocksdb ## the whole suite: unit, property, failure and real-client tests
	$(CARGO) build $(FLAGS) --workspace --bins --tests
	$(CARGO) test $(FLAGS) --workspace --no-fail-fast
	export DATAMESH_TEST_ENGINE=postgres && $(CARGO) test $(FLAGS) --workspace --no-fail-fast --test s3

lint: rocksdb ## formatting, clippy, documentation links
	cargo fmt --all --check
	$(CARGO) clippy $(FLAGS) --workspace --all-targets -- -D warnings
	source scripts/env && RUSTDOCFLAGS="-D warnings" cargo doc $(FLAGS) --workspace --no-deps --document-private-items

bench: build ## the load generator against a fresh gateway, then the micro-benchmarks
	benches/run
	$(CARGO) bench $(FLAGS) -p datamesh-pipeline -p datamesh-shard-store

install:
	scripts/install build

install-test:
	scripts/install test

rocksdb: install
	scripts/rocksdb
