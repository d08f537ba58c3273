# teu: what there is to do. A new machine (Debian or Ubuntu) needs git, make, curl, a C compiler and Rust; the rest is
# installed by the targets that need it.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo

# The target is named in .cargo/config.toml, so cargo's output is one folder deeper than people look for it.
HOST   := $(shell rustc -vV | sed -n 's/^host: //p')
BUILT   = $(or $(CARGO_TARGET_DIR),target)/$(HOST)/release
BINARY  = target/release/teu

# cargo-nextest runs the tests where it is installed; cargo alone does it too.
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

# A program that was written in large pieces lies in large pieces in the page cache: every start of it maps fewer.
copy = dd if="$(1)" of="$(2)" bs=8M conv=notrunc status=none

.DEFAULT_GOAL := help
.PHONY: help build demo test check fmt clippy doc deny compat-theirs fuzz-api bench install uninstall vm-smoke vm-test clean

help: ## What there is to do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

build: ## The release binary, static, at target/release/teu
	@$(CARGO) build --release --bin teu
	@mkdir -p target/release && install -m 755 /dev/null "$(BINARY).new"
	@$(call copy,$(BUILT)/teu,$(BINARY).new) && mv -f "$(BINARY).new" "$(BINARY)"

demo: ## The whole path: Dockerfile, image, container, commit, registry, pull, run (root)
	@tools/setup demo
	@$(MAKE) --no-print-directory build
	@tools/demo

test: ## Every test (root: they make real containers)
	@tools/setup test
ifdef NEXTEST
	@$(CARGO) test --workspace --doc --quiet
	@$(CARGO) nextest run --workspace
else
	@$(CARGO) test --workspace --doc --quiet
	@$(CARGO) test --workspace --lib --bins --tests --no-fail-fast
endif

check: fmt clippy doc deny test ## What a change must pass: format, lints, documentation, tests

fmt:
	@$(CARGO) fmt --all --check

clippy:
	@$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

doc:
	@RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links -A rustdoc::broken_intra_doc_links" $(CARGO) doc --workspace --no-deps --document-private-items --quiet

deny:
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --log-level error check bans licenses sources; fi

compat-theirs: ## The tests of stock clients, against Docker's own engine (root)
	@tools/setup bench
	@ENGINE_UNDER_TEST=theirs $(CARGO) test --test compat -- --test-threads=1

fuzz-api: ## The API asked from its own document, at random and for long; TEU_FUZZ_SEED for the same again (root)
	@tools/setup test
	@TEU_FUZZ_EXAMPLES=$${TEU_FUZZ_EXAMPLES:-200} TEU_FUZZ_SEED=$${TEU_FUZZ_SEED:-$$$$} \
	  $(CARGO) test --test api whatever -- --nocapture

bench: ## Side by side with Docker, runc and the kernel's floor; writes target/bench/results.md (root)
	@tools/setup bench
	@$(MAKE) --no-print-directory build
	@$(CARGO) build --release --quiet --package teu-bench
	@"$(BUILT)/teu-bench" --teu "$(BINARY)" --out target/bench

install: build ## Binary, systemd units, manual pages, completions (PREFIX, DESTDIR)
	@install -D -m 755 /dev/null "$(DESTDIR)$(PREFIX)/bin/.teu.new"
	@$(call copy,$(BINARY),$(DESTDIR)$(PREFIX)/bin/.teu.new) && mv -f "$(DESTDIR)$(PREFIX)/bin/.teu.new" "$(DESTDIR)$(PREFIX)/bin/teu"
	@for unit in dist/systemd/*; do \
	  install -d "$(DESTDIR)$(PREFIX)/lib/systemd/system" && \
	  sed 's|/usr/bin/teu|$(PREFIX)/bin/teu|' "$$unit" >"$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/}"; done
	@install -d "$(DESTDIR)$(PREFIX)/share/man/man1" && "$(BINARY)" man "$(DESTDIR)$(PREFIX)/share/man/man1"
	@install -d "$(DESTDIR)$(PREFIX)/share/bash-completion/completions" \
	  && "$(BINARY)" completion bash >"$(DESTDIR)$(PREFIX)/share/bash-completion/completions/teu"
	@install -d "$(DESTDIR)$(PREFIX)/share/zsh/site-functions" \
	  && "$(BINARY)" completion zsh >"$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_teu"
	@install -d "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d" \
	  && "$(BINARY)" completion fish >"$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/teu.fish"

uninstall: ## Takes away what install has put there
	@rm -f "$(DESTDIR)$(PREFIX)/bin/teu" "$(DESTDIR)$(PREFIX)"/share/man/man1/teu.1 \
	  "$(DESTDIR)$(PREFIX)"/share/man/man1/teu-*.1 \
	  "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/teu" "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_teu" \
	  "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/teu.fish"
	@for unit in dist/systemd/*; do rm -f "$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/}"; done

vm-smoke: ## What is about cgroup v2, AppArmor, systemd and ordinary users, on a stock Debian kernel (root; emulated)
	@tools/setup test
	@tools/setup vm
	@tools/vm-test smoke

vm-test: ## That and every kernel test there, with the release binary (root; slow: emulated)
	@tools/setup vm
	@$(MAKE) --no-print-directory build
	@tools/vm-test

clean: ## Takes away what was built; .cache (base images, the guest's disk) stays
	@$(CARGO) clean
	@rm -rf target
