# Few targets; `make help` lists them. Long logic is in Rust: e2e/src (binary `lab`).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CACHE := $(or $(SAFETYTWIN_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME)/safetytwin,$(HOME)/.cache/safetytwin))
DENY_VERSION := 0.20.2
DEB_VERSION := 3.8.0
FUZZ_VERSION := 0.13.2
DEB := $(CACHE)/cargo-deb-$(DEB_VERSION)/bin/cargo-deb
DENY := $(CACHE)/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
FUZZ := $(CACHE)/cargo-fuzz-$(FUZZ_VERSION)/bin/cargo-fuzz
# What the agent is shipped for: it brings its C library, runs on any Linux and takes less memory.
AGENT_TARGET := $(shell uname -m)-unknown-linux-musl
# C code of the agent, resident on every host: small, and of zstd without the compressors of levels that are not used
# (lib/README.md of zstd names these).
AGENT_CFLAGS := -Os -DZSTD_STRIP_ERROR_STRINGS=1 -DZSTD_NO_INLINE=1 -DHUF_FORCE_DECOMPRESS_X1=1 \
  -DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT=1 $(foreach strategy,GREEDY LAZY LAZY2 BTLAZY2 BTOPT BTULTRA,-DZSTD_EXCLUDE_$(strategy)_BLOCK_COMPRESSOR)
# Seconds for each target of `make fuzz`. What it finds is kept in fuzz/found, and read first the next time.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := $(notdir $(basename $(wildcard fuzz/fuzz_targets/*.rs)))
# Cargo chooses the features of dependencies for what it is asked to build. Asked for one package, or for nothing that
# needs the dependencies of tests, it would choose others and compile most of them again; so each debug build asks for
# this. What is released is built as it is shipped.
BUILD := cargo build -q --workspace --example crdgen
DEBUG := $(or $(CARGO_TARGET_DIR),target)/debug
LAB := $(DEBUG)/lab
# The lab that tests share; it ends with them.
TEST_LAB := safetytwin-test
# Many tests wait more than they compute.
TEST_THREADS = $(shell echo $$(($$(nproc) * 2)))
# Where `make bench` leaves its figures.
FIGURES := $(CURDIR)/target/figures
# Flags of `lab bench`: BENCH='--only agent --agent-minutes 3'.
BENCH ?=
# Repository that `make images` pushes to; empty keeps the images on this machine.
PUSH ?=

# $(call stage,NAME,COMMAND): says what runs, and how long it took. Several commands with `;`: a failure before `&&` would
# not end the recipe.
stage = @start=$$SECONDS; printf '\n== %s\n' '$(1)'; $(2); printf '== %s: %s s\n' '$(1)' "$$((SECONDS - start))"

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: try
try: cargo ## What of this machine could be twinned, what not and why (no root, VM or cluster)
	$(call stage,build,$(BUILD) --bin twin --bin twin-agent --bin twin-agent-ptrace)
	@$(DEBUG)/twin-agent --once -o json | $(DEBUG)/twin plan -

.PHONY: demo
demo: lab ## The whole loop on real parts: a host changes, its twin follows (root)
	@echo 'About 20 minutes and 6 GB the first time, 5 minutes later; packages are named before they are installed.'
	$(call stage,prepare the lab,$(LAB) prepare)
	$(call stage,build the product,$(BUILD) --bins --features safetytwin/libvirt)
	@$(LAB) demo

.PHONY: lab
lab: cargo
	$(call stage,build the lab,$(BUILD) --bin lab)

.PHONY: demo-shell
demo-shell: lab ## A shell inside the demo, with PATH and KUBECONFIG set
	@$(LAB) shell

.PHONY: demo-down
demo-down: lab ## Removes the demo
	@$(LAB) down

.PHONY: test
test: lab $(DEB) ## Everything: unit tests, libvirt, and then the tests on real parts (root)
	$(call stage,prepare the lab,$(LAB) prepare)
	$(call stage,lint with libvirt,cargo clippy -q --workspace --all-targets --features safetytwin/libvirt -- -D warnings)
	$(call stage,build with libvirt,$(BUILD) --all-targets --features safetytwin/libvirt)
	$(call stage,tests,RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace --features safetytwin/libvirt || { $(LAB) --name $(TEST_LAB) down; exit 1; })
	@$(LAB) --name $(TEST_LAB) down

.PHONY: test-long
test-long: test ## Everything, and then a minute of fuzzing for each target (root, nightly toolchain)
	@$(MAKE) fuzz FUZZ_SECONDS=60

.PHONY: test-on
test-on: lab ## The agent against the tools of another Debian release: SUITE=trixie (root, 20 minutes)
	@test -n '$(SUITE)' || { echo 'name a Debian suite: make test-on SUITE=trixie'; exit 1; }
	$(call stage,prepare the lab with $(SUITE),SAFETYTWIN_HOST_SUITE=$(SUITE) $(LAB) prepare)
	$(call stage,build with libvirt,$(BUILD) --bins --features safetytwin/libvirt)
	$(call stage,test on $(SUITE),SAFETYTWIN_HOST_SUITE=$(SUITE) cargo test --workspace --features safetytwin/libvirt --test twin -- the_agent)

.PHONY: test-fast
test-fast: cargo ## Unit tests: no root, VM, cluster or libvirt headers
	$(call stage,unit tests,cargo test -q --workspace --exclude safetytwin-e2e)

.PHONY: check
check: cargo $(DENY) ## Format, generated files, licences and sources, lints, docs
	$(call stage,format,cargo fmt --all --check)
	$(call stage,generated files,$(BUILD); $(DEBUG)/examples/crdgen --check)
	$(call stage,dependencies,cargo fetch -q --locked; $(DENY) --offline -L error check licenses bans sources)
	$(call stage,lints,cargo clippy -q --workspace --all-targets -- -D warnings)
	$(call stage,docs,RUSTDOCFLAGS='-D warnings' cargo doc -q --workspace --no-deps --lib --bins --examples)

.PHONY: generate
generate: cargo ## Writes crds/*.yaml and the chart's copies from the Rust types
	@$(BUILD) && $(DEBUG)/examples/crdgen

.PHONY: bench
bench: musl bench-fast ## Figures on real parts too, each beside a peer's (root, 2 hours; BENCH='--only loop' takes 20 minutes)
	$(call stage,release build,cargo build -q --release --workspace --bins --features safetytwin/libvirt)
	@$(MAKE) agent
	$(call stage,release build of the peers,cargo build -q --release --workspace --examples)
	$(call stage,figures on real parts,target/release/lab bench --figures $(FIGURES) $(BENCH))

.PHONY: bench-fast
bench-fast: lab ## Figures of diff, rendering and digests
	@mkdir -p $(FIGURES)
	$(call stage,micro benchmarks,SAFETYTWIN_FIGURES=$(FIGURES)/pure.json cargo bench -q --workspace --bench plan)
	@$(LAB) figures $(FIGURES)/pure.json

.PHONY: bench-doc
bench-doc: bench ## Measures, and writes the figures that there are into docs/performance.md
	@$(LAB) figures $(FIGURES)/*.json --write docs/performance.md

.PHONY: fuzz
fuzz: cargo nightly $(FUZZ) ## Fuzzes all that reads what a host says; FUZZ_SECONDS=60 for each target (nightly toolchain)
	$(call stage,build,PATH="$(dir $(FUZZ)):$$PATH" cargo +nightly fuzz build)
	@mkdir -p $(FUZZ_TARGETS:%=fuzz/found/%) $(FUZZ_TARGETS:%=fuzz/corpus/%)
	@trees=$$(mktemp -d); trap 'rm -rf "$$trees"' EXIT; for target in $(FUZZ_TARGETS); do \
	  echo "== $$target: $(FUZZ_SECONDS) s"; \
	  TMPDIR="$$trees" PATH="$(dir $(FUZZ)):$$PATH" cargo +nightly fuzz run "$$target" "fuzz/found/$$target" "fuzz/corpus/$$target" -- \
	    -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -verbosity=0 -print_final_stats=1; \
	done

.PHONY: nightly
nightly:
	@cargo +nightly --version >/dev/null 2>&1 || { echo 'the nightly toolchain is missing: rustup toolchain install nightly --profile minimal'; exit 1; }

.PHONY: images
images: lab ## Container images of agent and controller; PUSH=registry/name also pushes them
	$(call stage,images,$(LAB) images $(if $(PUSH),--push $(PUSH)))

.PHONY: agent
agent: cargo musl ## The agent as it is shipped: static, in target/*-musl/release
	$(call stage,release build of the agent,CC_$(subst -,_,$(AGENT_TARGET))=musl-gcc CFLAGS_$(subst -,_,$(AGENT_TARGET))='$(AGENT_CFLAGS)' \
	  cargo build -q --release --locked -p safetytwin-agent --bins --target $(AGENT_TARGET))

.PHONY: musl
musl:
	@command -v rustup >/dev/null || { echo 'rustup is missing: it brings Rust for $(AGENT_TARGET)'; exit 1; }
	@rustup target list --installed | grep -qx $(AGENT_TARGET) || rustup target add $(AGENT_TARGET)
	@command -v musl-gcc >/dev/null || { echo 'musl-gcc is missing: apt-get install musl-tools'; exit 1; }

.PHONY: deb
deb: agent $(DEB) ## Debian package of the agent, for machines outside the cluster
	$(call stage,package,$(DEB) -q --no-build --target $(AGENT_TARGET) -p safetytwin-agent --output target/debian/)
	@ls -1 target/debian/*.deb

.PHONY: cargo
cargo:
	@command -v cargo >/dev/null || { echo 'cargo is missing: install Rust with rustup (rust-toolchain.toml names the version)'; exit 1; }

$(DENY):
	$(call stage,install cargo-deny,cargo install -q --locked --debug cargo-deny --version $(DENY_VERSION) --root $(CACHE)/cargo-deny-$(DENY_VERSION))

$(DEB):
	@command -v xz >/dev/null || { echo 'xz is missing: apt-get install xz-utils'; exit 1; }
	$(call stage,install cargo-deb,cargo install -q --locked --debug --no-default-features cargo-deb --version $(DEB_VERSION) --root $(CACHE)/cargo-deb-$(DEB_VERSION))

$(FUZZ):
	$(call stage,install cargo-fuzz,cargo install -q --locked cargo-fuzz --version $(FUZZ_VERSION) --root $(CACHE)/cargo-fuzz-$(FUZZ_VERSION) || { echo 'cargo-fuzz is missing: cargo install --locked cargo-fuzz --version $(FUZZ_VERSION) --root $(CACHE)/cargo-fuzz-$(FUZZ_VERSION)'; exit 1; })
