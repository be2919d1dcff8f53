# Every verb that a person needs; `make help` lists them.
PREFIX ?= /usr
DESTDIR ?=
ifneq ($(words $(PREFIX)) $(filter /%,$(PREFIX)),1 $(PREFIX))
$(error PREFIX is "$(PREFIX)": give an absolute path without blanks)
endif
override PREFIX := $(abspath $(PREFIX))
# Where distributions differ.
LIBRARY_DIRECTORY ?= $(PREFIX)/lib
UNIT_DIRECTORY ?= $(PREFIX)/lib/systemd/system
PAM_DIRECTORY ?= $(PREFIX)/lib/$(shell $(CC) -dumpmachine)/security
ZSH_DIRECTORY ?= $(PREFIX)/share/zsh/site-functions
# The bus looks for policies in /usr and in /etc, pam-auth-update for profiles in /usr, wherever a
# program is.
BUS_POLICY_DIRECTORY ?= $(if $(filter /usr,$(PREFIX)),/usr/share,/etc)/dbus-1/system.d
PAM_PROFILE_DIRECTORY ?= /usr/share/pam-configs
INSTALL_PROGRAM ?= install -s
# The service managers beside systemd that get a script: sysvinit, openrc, upstart.
INIT ?=
ifneq ($(and $(filter install,$(MAKECMDGOALS)),$(filter-out sysvinit openrc upstart,$(INIT))),)
$(error INIT is "$(INIT)": there are scripts for sysvinit, openrc and upstart, and systemd needs none)
endif
SWIFT ?= swift
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# What Debian must have beside a Swift 6.3 toolchain: to build, to test and measure, to check the form,
# to make packages, and to boot them. `make build` needs the first list alone, on any distribution.
BUILD_PACKAGES := binutils gcc libc6-dev libcap-dev libmount-dev libpam0g-dev \
	libstdc++-12-dev libsystemd-dev
TEST_PACKAGES := attr bash-completion btrfs-progs bubblewrap crun dbus-bin dbus-daemon e2fsprogs fish graphviz libcap2-bin libglib2.0-bin \
	libseccomp-dev mandoc mount pamtester passwd pkg-config podman procps python3 \
	python3-cryptography python3-jsonschema strace systemd uidmap util-linux zsh
# The headers of another architecture: its C is compiled, and not linked.
LINT_PACKAGES := libc6-dev-arm64-cross python3-venv shellcheck
DEB_PACKAGES := build-essential debhelper lintian
BOOT_PACKAGES := debootstrap e2fsprogs mount python3 qemu-system-x86 systemd-container util-linux
RUFF := 0.17.6

RELEASE := -c release --static-swift-stdlib --disable-local-rpath \
	--explicit-target-dependency-import-check error
# daemon-store is one file with the programs that LINKED_PROGRAMS are links to.
LINKED_PROGRAMS := cryptohome cryptohomed seccomp-policy sandboxed-services
PROGRAMS := daemon-store minijail0 $(LINKED_PROGRAMS)
BIN := $(CURDIR)/.build/release
LINT_TOOLS := .build/lint
# The C compiler of the Swift toolchain: it has a static analyzer.
CLANG ?= $(or $(wildcard $(dir $(realpath $(shell command -v $(SWIFT))))clang),clang)
# What is preloaded into programs: C, and nothing of Swift's build in it.
PRELOAD := $(BIN)/libminijailpreload.so
PAM_MODULE := $(BIN)/pam_daemonstore.so
# For daemon authors: the same C as the Swift library DaemonStoreClient has, without Swift.
CLIENT := $(BIN)/libdaemonstore.so.1 $(BIN)/libdaemonstore.a
CFLAGS ?= -O2 -g
TESTS := .build/debug/daemon-storePackageTests.xctest

COMPLETIONS := $(foreach program,$(PROGRAMS),$(foreach shell,bash zsh fish,$(BIN)/completions/$(program).$(shell)))
VERSION := $(shell sed -n 's/^package let version = "\(.*\)"/\1/p' Sources/DaemonStoreKernel/Version.swift)

.DEFAULT_GOAL := help
.PHONY: help deps check-build build links demo test api test-sample test-full flood soak faults model bench docs fuzz fuzz-short \
  lint format install install-client deb image test-package test-boot dist clean

help: ## Lists the verbs.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 24

# $(call missing,PACKAGES): those that dpkg does not know as installed; none where there is no dpkg.
missing = $(if $(shell command -v dpkg-query),$(shell for package in $(1); do \
  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done))
# $(call require,VERB,PACKAGES): says what is missing, and what installs it.
define require
@missing="$(call missing,$(2))"; test -z "$$missing" || \
  { echo "make $(1) needs packages that are not installed: $$missing" >&2; \
    echo "install them with: make deps" >&2; exit 1; }
endef
EVERYTHING := $(BUILD_PACKAGES) $(TEST_PACKAGES) $(LINT_PACKAGES) $(DEB_PACKAGES) $(BOOT_PACKAGES)

deps: ## Installs from Debian, through sudo unless root, what every verb below needs. No other verb installs.
	@command -v apt-get >/dev/null || { echo "make deps knows Debian's packages alone; make build names what it misses" >&2; exit 1; }
	@missing="$(call missing,$(EVERYTHING))"; test -z "$$missing" || { \
	  echo "installing $$missing"; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }
	@test -x $(LINT_TOOLS)/bin/ruff || { python3 -m venv $(LINT_TOOLS) && \
	  $(LINT_TOOLS)/bin/pip install -q --disable-pip-version-check ruff==$(RUFF); }

check-build:
	@SWIFT="$(SWIFT)" sh tools/dependencies.sh

build: check-build ## Makes the release.
	$(SWIFT) build $(RELEASE)
	@$(MAKE) --no-print-directory links $(PRELOAD) $(PAM_MODULE) $(CLIENT)
	@$(MAKE) --no-print-directory $(COMPLETIONS)

links:
	@for program in $(LINKED_PROGRAMS); do ln -sf daemon-store $(BIN)/$$program || exit 1; done

# How C is compiled and linked, for a package too, which adds its own flags.
COMPILE = $(CC) -std=c11 -Wall -Wextra -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 \
  -fstack-protector-strong -fstack-clash-protection $(CPPFLAGS) $(CFLAGS) -fPIC
LINKED = -shared -Wl,-z,now -Wl,-z,relro -Wl,-z,noexecstack -Wl,-z,defs $(LDFLAGS) -o $@ $<

$(PRELOAD): Sources/minijailpreload/minijailpreload.c
	$(COMPILE) -fvisibility=hidden $(LINKED)

$(PAM_MODULE): Sources/pam_daemonstore/pam_daemonstore.c Sources/pam_daemonstore/work.c \
    Sources/pam_daemonstore/work.h Sources/CDaemonStoreLinux/rights.h Sources/CDaemonStoreLinux/include/control.h
	$(COMPILE) -fvisibility=hidden $(LINKED) Sources/pam_daemonstore/work.c -lpam

$(BIN)/libdaemonstore.o: Sources/libdaemonstore/daemonstore.c Sources/libdaemonstore/sha1.h \
    Sources/libdaemonstore/include/daemonstore.h
	$(COMPILE) -Wconversion -ISources/libdaemonstore/include -c -o $@ $<

$(BIN)/libdaemonstore.so.1: $(BIN)/libdaemonstore.o Sources/libdaemonstore/libdaemonstore.map
	$(CC) -Wl,-soname,$(@F) -Wl,--version-script=Sources/libdaemonstore/libdaemonstore.map $(LINKED)
	ln -sf $(@F) $(BIN)/libdaemonstore.so

$(BIN)/libdaemonstore.a: $(BIN)/libdaemonstore.o
	rm -f $@
	$(AR) rcs $@ $<

$(BIN)/completions/minijail0.%: completions/minijail0.awk $(BIN)/minijail0
	@mkdir -p $(@D)
	$(BIN)/minijail0 --help | awk -v shell=$* -f completions/minijail0.awk >$@

$(BIN)/completions/%.bash $(BIN)/completions/%.zsh $(BIN)/completions/%.fish: $(BIN)/%
	@mkdir -p $(@D)
	for shell in bash zsh fish; do \
	  $< --generate-completion-script $$shell | sed '1{/^#!/d}' >$(@D)/$*.$$shell || exit 1; \
	done

demo: build ## Shows the main job, in namespaces of its own: the host is not touched.
	@$(SUDO) env PATH="$(BIN):$$PATH" sh docs/demo.sh

RUN_TESTS = $(SUDO) env $(if $(CI),CI="$(CI)" NO_COLOR=1) DAEMON_STORE_BUILD="$(BIN)" $(TESTS) --testing-library swift-testing
# All machines of the tests see the processes of all: these have so many, or wait so long, that others suffer, and each other.
CROWDING_TESTS := PinningTests|LogoutExhaustionTests|RenewalRaceTests|helperThatDoesNotEndIsKilled|takesNothingEmptiedForAUse

test: build ## Runs every test, those that need root too, and each fuzz target for a few seconds.
	$(call require,test,$(TEST_PACKAGES))
	$(SWIFT) build --build-tests
	SWIFT="$(SWIFT)" python3 -B tools/api.py .build/debug/Modules docs/api.txt
	$(RUN_TESTS) --skip '$(CROWDING_TESTS)' --skip HungInspectionTests --skip SharedTimeTests
	$(RUN_TESTS) --no-parallel --filter '$(CROWDING_TESTS)'
	$(RUN_TESTS) --filter HungInspectionTests
	$(RUN_TESTS) --filter SharedTimeTests
	$(MAKE) --no-print-directory fuzz-short

api: check-build ## Records the public interface of the Swift libraries in docs/api.txt.
	$(SWIFT) build
	SWIFT="$(SWIFT)" python3 -B tools/api.py .build/debug/Modules >.build/api.txt
	cp .build/api.txt docs/api.txt

# Which commands, and for how many seconds; all of them and everything when left out.
FAULTS_COMMANDS ?=
FAULTS_SECONDS ?= 0
# Where each case that was judged is kept: it is not tried again.
FAULTS_LOG ?= .build/faults.jsonl

faults: build ## Fails and kills each command at each of its system calls, and judges what is left.
	$(call require,faults,$(TEST_PACKAGES))
	$(SUDO) env DAEMON_STORE_BUILD="$(BIN)" python3 -B Tests/Campaigns/faults.py --commands "$(FAULTS_COMMANDS)" \
	  --seconds $(FAULTS_SECONDS) --log "$(FAULTS_LOG)"

# How many random steps `make model` takes, or for how many seconds.
MODEL_STEPS ?= 2000
MODEL_SECONDS ?= 0

model: build ## Runs random sequences of commands, and compares each step with a small model.
	$(call require,model,$(TEST_PACKAGES))
	$(SUDO) env DAEMON_STORE_BUILD="$(BIN)" python3 -B Tests/Campaigns/model.py --steps $(MODEL_STEPS) \
	  --seconds $(MODEL_SECONDS)

SOAK_SECONDS ?= 120

soak: build ## Logs users in and out for SOAK_SECONDS, and looks whether anything grows or is left.
	$(call require,soak,$(TEST_PACKAGES))
	$(SUDO) env DAEMON_STORE_BUILD="$(BIN)" python3 -B Tests/Campaigns/soak.py --seconds $(SOAK_SECONDS)

test-sample: ## Fuzzes, soaks, models and injects faults: 3, 2, 5 and 5 minutes.
	$(MAKE) fuzz FUZZ_SECONDS=11
	$(MAKE) soak
	$(MAKE) model MODEL_SECONDS=300
	$(MAKE) faults FAULTS_SECONDS=300 FAULTS_LOG=

# How many seconds one user floods the bus.
FLOOD_SECONDS ?= 60

flood: build ## Floods the bus for FLOOD_SECONDS as one user, and looks at the logins of others.
	$(call require,flood,$(TEST_PACKAGES))
	$(SWIFT) build --build-tests
	$(SUDO) env CI=true NO_COLOR=1 DAEMON_STORE_BUILD="$(BIN)" DAEMON_STORE_FLOOD_SECONDS=$(FLOOD_SECONDS) \
	  $(TESTS) --testing-library swift-testing --filter floodOfOneUserDelaysNoLogoutByRoot

test-full: ## Runs what takes long: packages, boots, a flood, a soak, the model, all faults. By hand; resumes.
	@sh Tests/Campaigns/full.sh

bench: build ## Measures the programs that policies are compiled to, and how quickly a wait ends.
	$(call require,bench,$(TEST_PACKAGES))
	@sh Benchmarks/seccomp.sh
	@$(SUDO) env PATH="$(BIN):$$PATH" sh Benchmarks/wait.sh

docs: build ## Makes the picture of how folders spread, from a real run.
	@$(SUDO) env PATH="$(BIN):$$PATH" FORMAT=svg sh docs/propagation.sh >.build/propagation.svg
	@cp .build/propagation.svg docs/propagation.svg

# How long `make fuzz` tries each target, in seconds, and which: all when FUZZ_TARGETS is empty.
FUZZ_SECONDS ?= 300
FUZZ_TARGETS ?=
FUZZ_BUILD := .build/debug

fuzz: fuzz-build ## Feeds the parsers with made-up input, FUZZ_SECONDS for each of FUZZ_TARGETS.
	sh Fuzz/run.sh $(FUZZ_SECONDS) -1 $(FUZZ_TARGETS)

fuzz-short: fuzz-build ## The same for four seconds and at most 5000 inputs each, as make test does.
	sh Fuzz/run.sh 4 5000

.PHONY: fuzz-build
fuzz-build: check-build
	$(SWIFT) build --target Cryptohome
	$(SWIFT) build --target cryptohomed
	sh Fuzz/build.sh $(FUZZ_BUILD)

SCRIPTS = $(shell git ls-files | xargs awk 'FNR == 1 && /^\#!.*sh( |$$)/ { print FILENAME } { nextfile }')
PYTHON = $(shell git ls-files '*.py')
C_SOURCES = $(shell git ls-files 'Sources/*.c')

lint: ## Checks the form of the code, and looks for mistakes that tools find.
	$(call require,lint,$(LINT_PACKAGES))
	$(SWIFT) format lint --strict -r Package.swift Sources Tests Benchmarks Fuzz
	shellcheck -S warning -e SC2046 $(SCRIPTS)  # words are split on purpose
	sh tools/check-bytes.sh
	$(LINT_TOOLS)/bin/ruff check --no-cache --quiet --select E9,F,B $(PYTHON)
	for file in $(C_SOURCES); do \
	  $(CLANG) --analyze -Xanalyzer -analyzer-werror -std=c11 -ISources/CDaemonStoreLinux/include -ISources/CSystemd/include \
	    -ISources/libdaemonstore/include -o /dev/null $$file || exit 1; \
	done
	for file in $(filter-out %/pam_daemonstore.c %/systemd.c,$(C_SOURCES)); do \
	  $(CLANG) --target=aarch64-linux-gnu -isystem /usr/aarch64-linux-gnu/include -std=c11 -O2 -Wall -Wextra \
	    -Werror -ISources/CDaemonStoreLinux/include -ISources/libdaemonstore/include -c -o /dev/null $$file || exit 1; \
	done

format: ## Brings the code into form.
	$(SWIFT) format -i -r Package.swift Sources Tests Benchmarks Fuzz

D = $(DESTDIR)$(PREFIX)

# $(call placed,FILES,DIRECTORY,MODE): copies files that name programs of ours, which are in PREFIX.
define placed
$(foreach file,$(1),
sed 's#/usr/bin/\(cryptohomed\|daemon-store\|minijail0\)#$(PREFIX)/bin/\1#' $(file) | \
  install -D -m $(or $(3),0644) /dev/stdin "$(DESTDIR)$(2)/$(notdir $(file))")
endef
EXAMPLES = $(PREFIX)/share/doc/daemon-store/examples
# How a PAM profile names the module: elsewhere than in /usr, with its path and that of its program.
PAM_LINE = $(if $(filter /usr,$(PREFIX)),&,$(PAM_DIRECTORY)/& cryptohome=$(PREFIX)/bin/cryptohome)

install: install-client ## Copies what was built to $(DESTDIR)$(PREFIX).
	install -d "$(DESTDIR)/etc/daemon-store"
	$(INSTALL_PROGRAM) -D "$(BIN)/daemon-store" "$(BIN)/minijail0" -t "$(D)/bin"
	for program in $(LINKED_PROGRAMS); do ln -sf daemon-store "$(D)/bin/$$program" || exit 1; done
	$(INSTALL_PROGRAM) -D -m 0644 "$(PRELOAD)" -t "$(D)/lib/daemon-store"
	ln -sf daemon-store/libminijailpreload.so "$(D)/lib/libminijailpreload.so"
	$(INSTALL_PROGRAM) -D -m 0644 "$(PAM_MODULE)" -t "$(DESTDIR)$(PAM_DIRECTORY)"
	sed 's|pam_daemonstore.so|$(PAM_LINE)|' init/pam/daemonstore | \
	  install -D -m 0644 /dev/stdin "$(DESTDIR)$(PAM_PROFILE_DIRECTORY)/daemonstore"
	install -D -m 0644 init/sysusers.d/*.conf -t "$(D)/lib/sysusers.d"
	install -D -m 0644 init/tmpfiles.d/*.conf -t "$(D)/lib/tmpfiles.d"
	install -D -m 0644 init/dbus/*.conf -t "$(DESTDIR)$(BUS_POLICY_DIRECTORY)"
	$(call placed,$(wildcard init/dbus/*.service),$(PREFIX)/share/dbus-1/system-services)
	$(call placed,$(filter-out init/systemd/example-%,$(wildcard init/systemd/*)),$(UNIT_DIRECTORY))
	$(foreach manager,$(INIT),$(install_$(manager)))
	for page in docs/man/*.[1-9]; do \
	  sed '/^\.Os daemon-store$$/s/$$/ $(VERSION)/' $$page | \
	    install -D -m 0644 /dev/stdin "$(D)/share/man/man$${page##*.}/$${page##*/}" || exit 1; \
	done
	for program in $(PROGRAMS); do \
	  install -D -m 0644 "$(BIN)/completions/$$program.bash" "$(D)/share/bash-completion/completions/$$program" && \
	  install -D -m 0644 "$(BIN)/completions/$$program.zsh" "$(DESTDIR)$(ZSH_DIRECTORY)/_$$program" && \
	  install -D -m 0644 "$(BIN)/completions/$$program.fish" -t "$(D)/share/fish/vendor_completions.d" || exit 1; \
	done
	$(call placed,$(wildcard init/systemd/example-*),$(EXAMPLES)/systemd)
	$(call placed,$(wildcard init/upstart/*),$(EXAMPLES)/upstart)
	$(call placed,$(wildcard init/openrc/*),$(EXAMPLES)/openrc,0755)
	$(call placed,$(wildcard init/sysvinit/*),$(EXAMPLES)/sysvinit,0755)

SERVICES := daemon-store-startup cryptohomed
install_sysvinit = $(call placed,$(SERVICES:%=init/sysvinit/%),/etc/init.d,0755)
install_openrc = $(call placed,$(SERVICES:%=init/openrc/%),/etc/init.d,0755)
install_upstart = $(call placed,$(SERVICES:%=init/upstart/%.conf),/etc/init)

install-client: ## Copies the library for daemon authors alone.
	@test -e "$(BIN)/libdaemonstore.a" || { echo "install: nothing is built; run make build first" >&2; exit 1; }
	install -D -m 0644 Sources/libdaemonstore/include/daemonstore.h -t "$(D)/include"
	$(INSTALL_PROGRAM) -D -m 0644 "$(BIN)/libdaemonstore.so.1" -t "$(DESTDIR)$(LIBRARY_DIRECTORY)"
	ln -sf libdaemonstore.so.1 "$(DESTDIR)$(LIBRARY_DIRECTORY)/libdaemonstore.so"
	install -m 0644 "$(BIN)/libdaemonstore.a" "$(DESTDIR)$(LIBRARY_DIRECTORY)/"
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBRARY_DIRECTORY@|$(LIBRARY_DIRECTORY)|' -e 's|@VERSION@|$(VERSION)|' \
	  Sources/libdaemonstore/libdaemonstore.pc.in | \
	  install -D -m 0644 /dev/stdin "$(DESTDIR)$(LIBRARY_DIRECTORY)/pkgconfig/libdaemonstore.pc"

# Where packages are put. Those with the symbols for debuggers take minutes: make deb DEB_BUILD_OPTIONS=
DEB := .build/deb
DEB_BUILD_OPTIONS ?= noautodbgsym

deb: check-build ## Makes the Debian packages, in .build/deb.
	$(call require,deb,$(DEB_PACKAGES))
	@mkdir -p $(DEB)
	rm -f $(DEB)/*
	DEB_BUILD_OPTIONS="$(DEB_BUILD_OPTIONS)" DEB_DIRECTORY=$(DEB) dpkg-buildpackage -b -us -uc \
	  --buildinfo-file=$(DEB)/daemon-store.buildinfo \
	  --changes-file=$(DEB)/daemon-store.changes --changes-option=-u$(DEB) \
	  --buildinfo-option=-u$(DEB)

# Where the disk with a Debian is kept that is made once, and a place to work.
BOOT ?= .build/boot

image:
	$(call require,image,$(BOOT_PACKAGES))
	@mkdir -p "$(BOOT)"
	$(SUDO) sh Tests/Boot/image.sh "$(BOOT)"

test-package: deb image ## Installs, upgrades, removes and purges the packages in a Debian of their own.
	lintian --allow-root --fail-on error,warning $(DEB)/daemon-store.changes
	$(SUDO) timeout 1200 sh Tests/Package/test.sh $(DEB) "$(BOOT)"

test-boot: deb image ## Boots a real Debian with the package, and uses it as people do.
	$(SUDO) unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
	  python3 -B Tests/Boot/boot.py "$(BOOT)" $(DEB)/daemon-store_*.deb

dist: ## Makes the source tarball of what is committed, in .build.
	@mkdir -p .build
	git archive --prefix=daemon-store-$(VERSION)/ -o .build/daemon-store-$(VERSION).tar.gz HEAD
	@echo .build/daemon-store-$(VERSION).tar.gz

clean: ## Removes what was built.
	! command -v dh_clean >/dev/null || dh_clean
	rm -rf .build
