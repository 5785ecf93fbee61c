# `make` lists what there is. Everything here also works as an ordinary user.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO ?= cargo

TIMES := $(abspath $(or $(CARGO_TARGET_DIR),target))/test-times

# Stories wait more than they compute: more of them at once than there are processors.
export RUST_TEST_THREADS ?= $(shell echo $$(( 2 * $$(nproc) )))

# What `make run` needs: everything but the benchmarks, which take long to build.
SHOWN := palisade palisade-lapi palisade-firewall palisade-proxy palisade-webhook palisade-e2e

.PHONY: help run test bench fuzz packages book lint fmt peers tools

help: ## list the targets
	@printf 'Palisade: CrowdSec decisions become closed doors.\n\n'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
	@printf '\nONLY=name narrows test, bench and fuzz, for instance: make test ONLY=ranges\nbench takes the beginning of a name too: make bench ONLY=lapi\nrun leaves its network up to be explored: make run KEEP=1\n'

run: tools ## show one ban close every door, in a throw-away network
	@$(CARGO) build --locked $(SHOWN:%=-p %) --bins
	@"$${CARGO_TARGET_DIR:-target}"/debug/palisade-demo $(if $(filter-out 0 no,$(KEEP)),--keep)

test: peers ## run every test and every story (installs what is missing, or says how)
	$(CARGO) build --locked --workspace --bins
	@rm -f $(TIMES)
	PALISADE_TEST_TIMES=$(TIMES) $(CARGO) test --locked --workspace --no-fail-fast $(if $(ONLY),-- $(ONLY))
	@if [ -s $(TIMES) ]; then printf '\nThe slowest end-to-end tests, in seconds:\n'; sort -rn $(TIMES) | head -n 20; fi

bench: peers ## measure against the peers; tables here, figures in target/bench/
	$(CARGO) build --release --locked --workspace --bins
	$(CARGO) build --profile small --locked -p palisade-firewall
	PALISADE_FIREWALL=$${PALISADE_FIREWALL:-$(abspath $(or $(CARGO_TARGET_DIR),target))/small/palisade-firewall} \
		$(CARGO) run --release --locked -p palisade-bench -- $(ONLY)

fuzz: ## throw generated input at every parser for a minute each
	$(CARGO) run --release --manifest-path tests/fuzz/Cargo.toml -- --seconds 60 $(ONLY)

packages: ## build a deb and an rpm of every role, into target/packages
	@packaging/build

book: ## build the book from docs/, into target/book
	@packaging/book

lint: ## check layout, lints and documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items

fmt: ## lay the sources out
	$(CARGO) fmt --all

peers:
	@tests/peers

tools:
	@tests/peers --tools
