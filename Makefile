# Every verb that a person needs; `make help` lists them.
PREFIX ?= /usr
DESTDIR ?=
SWIFT ?= swift
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# What Debian 12 must have beside a Swift 6.3 toolchain: to build, and to test and measure.
BUILD_PACKAGES := binutils gcc libc6-dev libcap-dev libmount-dev libpam0g-dev \
	libstdc++-12-dev libsystemd-dev
TEST_PACKAGES := dbus-bin dbus-daemon e2fsprogs libglib2.0-bin libseccomp-dev mount \
	pamtester procps python3 python3-cryptography strace systemd uidmap util-linux

RELEASE := -c release --static-swift-stdlib --disable-local-rpath \
	--explicit-target-dependency-import-check error
PROGRAMS := daemon-store cryptohome cryptohomed minijail0 seccomp-policy
BIN := $(CURDIR)/.build/release
# What is preloaded into programs: C, and nothing of Swift's build in it.
PRELOAD := $(BIN)/libminijailpreload.so
PAM_MODULE := $(BIN)/pam_daemonstore.so
# Where PAM looks for modules that are named without a directory.
PAM_DIRECTORY ?= $(PREFIX)/lib/$(shell $(CC) -dumpmachine)/security
# How a PAM profile names it: elsewhere than in /usr, with its path and that of its program.
PAM_LINE = $(if $(filter /usr,$(PREFIX)),,$(PAM_DIRECTORY)/)pam_daemonstore.so$(if $(filter /usr,$(PREFIX)),, cryptohome=$(PREFIX)/bin/cryptohome)
CFLAGS ?= -O2 -g
TESTS := .build/debug/daemon-storePackageTests.xctest

.DEFAULT_GOAL := help
.PHONY: help deps build demo test bench fuzz lint format install clean

help: ## Lists the verbs.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

deps: ## Installs what is needed from Debian, through sudo unless root.
	@missing=; for package in $(BUILD_PACKAGES) $(TEST_PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' \
	    || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "installing$$missing"; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

build: deps ## Makes the release.
	$(SWIFT) build $(RELEASE)
	@$(MAKE) --no-print-directory $(PRELOAD) $(PAM_MODULE)

$(PRELOAD): Sources/minijailpreload/minijailpreload.c
	$(CC) -std=c11 -Wall -Wextra -Werror $(CFLAGS) -fPIC -fvisibility=hidden -shared \
	  -Wl,-z,now -Wl,-z,relro $(LDFLAGS) -o $@ $<

$(PAM_MODULE): Sources/pam_daemonstore/pam_daemonstore.c
	$(CC) -std=c11 -Wall -Wextra -Werror -D_FORTIFY_SOURCE=2 -fstack-protector-strong \
	  -fstack-clash-protection $(CFLAGS) -fPIC -fvisibility=hidden -shared -Wl,-z,now -Wl,-z,relro \
	  -Wl,-z,noexecstack -Wl,-z,defs $(LDFLAGS) -o $@ $< -lpam

demo: build ## Shows the main job, in namespaces of its own: the host is not touched.
	@$(SUDO) env PATH="$(BIN):$$PATH" sh docs/demo.sh

test: build ## Runs every test, those that need root too.
	$(SWIFT) build --build-tests
	$(SUDO) env $(if $(CI),CI="$(CI)" NO_COLOR=1) DAEMON_STORE_BUILD="$(BIN)" $(TESTS) --testing-library swift-testing

bench: deps ## Measures the programs that policies are compiled to.
	@sh Benchmarks/seccomp.sh

# How long `make fuzz` looks for mistakes of the policy parser and compiler.
FUZZ_SECONDS ?= 300

fuzz: ## Feeds the policy parser and compiler with made-up policies, for FUZZ_SECONDS.
	@mkdir -p .build/fuzz/corpus
	swiftc -O -sanitize=fuzzer -parse-as-library -module-name Seccomp -o .build/fuzz/policy \
	  Sources/Seccomp/*.swift Sources/Seccomp/Tables/*.swift Fuzz/PolicyFuzzer.swift
	.build/fuzz/policy -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
	  -artifact_prefix=.build/fuzz/ .build/fuzz/corpus Benchmarks/policies

lint: ## Checks the form of the code.
	$(SWIFT) format lint --strict -r Package.swift Sources Tests Benchmarks Fuzz

format: ## Brings the code into form.
	$(SWIFT) format -i -r Package.swift Sources Tests Benchmarks Fuzz

install: ## Copies what was built to $(DESTDIR)$(PREFIX).
	@test -x "$(BIN)/daemon-store" || { echo "install: nothing is built; run make build first" >&2; exit 1; }
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/lib/systemd/system"
	install -d "$(DESTDIR)$(PREFIX)/lib/daemon-store"
	install -s -m 0644 "$(PRELOAD)" "$(DESTDIR)$(PREFIX)/lib/daemon-store/"
	install -d "$(DESTDIR)$(PREFIX)/share/man/man1" "$(DESTDIR)$(PREFIX)/share/man/man5"
	install -m 0644 docs/man/*.1 "$(DESTDIR)$(PREFIX)/share/man/man1/"
	install -m 0644 docs/man/*.5 "$(DESTDIR)$(PREFIX)/share/man/man5/"
	ln -sf daemon-store/libminijailpreload.so "$(DESTDIR)$(PREFIX)/lib/libminijailpreload.so"
	install -d "$(DESTDIR)$(PAM_DIRECTORY)" "$(DESTDIR)$(PREFIX)/share/pam-configs"
	install -s -m 0644 "$(PAM_MODULE)" "$(DESTDIR)$(PAM_DIRECTORY)/"
	sed 's#pam_daemonstore.so#$(PAM_LINE)#' init/pam/daemonstore \
	  >"$(DESTDIR)$(PREFIX)/share/pam-configs/daemonstore"
	chmod 0644 "$(DESTDIR)$(PREFIX)/share/pam-configs/daemonstore"
	for program in $(PROGRAMS); do \
	  install -s -m 0755 "$(BIN)/$$program" "$(DESTDIR)$(PREFIX)/bin/" || exit 1; \
	done
	install -m 0644 init/systemd/daemon-store-startup.service "$(DESTDIR)$(PREFIX)/lib/systemd/system/"
	sed -i 's#^ExecStart=/usr/bin/\([^ ]*\)#ExecStart="$(PREFIX)/bin/\1"#' \
	  "$(DESTDIR)$(PREFIX)/lib/systemd/system/daemon-store-startup.service"

clean: ## Removes what was built.
	rm -rf .build
