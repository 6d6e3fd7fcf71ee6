# easgate: one Makefile. `make help` lists the targets. Everything made lands in build/ (or BUILD=...).
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= gcc
DEPS ?= 1
PYTHON ?= /usr/bin/python3
VERSION := 0.1.0

PKGS := openssl libevent libevent_openssl libcyaml yaml-0.1 hiredis jansson cjose libcurl libxml-2.0 ldap lber krb5-gssapi krb5
PC = $(shell pkg-config --exists $(1) 2>/dev/null && echo $(1))
HAVE_PKGS := $(foreach p,$(PKGS),$(call PC,$(p)))

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla -Wundef -Wcast-qual -Wpointer-arith
# messages are cut on purpose; the compiler that warns of it is gcc
WARN += $(if $(findstring clang,$(CC)),,-Wno-format-truncation -Wlogical-op -Wduplicated-cond)
WERROR ?= $(if $(CI),-Werror,)
HARDEN := -fPIE -fstack-protector-strong -fstack-clash-protection $(shell $(CC) -fcf-protection=full -E -x c /dev/null >/dev/null 2>&1 && echo -fcf-protection=full)
CFLAGS ?= -O2 -g
STD := -std=c17 -D_GNU_SOURCE -DEASGATE_VERSION='"$(VERSION)"' -DEASGATE_MADE='"$(BUILD)"'
INC := -I. $(shell pkg-config --cflags $(HAVE_PKGS) 2>/dev/null)
LIBS := $(shell pkg-config --libs $(HAVE_PKGS) 2>/dev/null) -lcrypt
LINK := -pie -Wl,-z,relro,-z,now,-z,noexecstack
ifdef SAN
# lines are enough for a stack, and a quarter of the time to compile goes away
CFLAGS := -O1 -g1
HARDEN += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LINK += -fsanitize=address,undefined
STD += -DEASGATE_SANITIZED
else ifdef COV
HARDEN += --coverage
CFLAGS := -O0 -g
LINK += --coverage
STD += -DEASGATE_COUNTED='"$(abspath $(BUILD))"'
else
HARDEN += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif
COMPILE = $(CC) $(STD) $(CFLAGS) $(WARN) $(WERROR) $(HARDEN) $(INC) -MMD -MP

COMMON := $(wildcard common/*.c common/directory/*.c common/lockout/*.c)
PROXY := $(filter-out proxy/main.c,$(wildcard proxy/*.c proxy/*/*.c))
ENROLL := $(filter-out enroll/main.c,$(wildcard enroll/*.c enroll/*/*.c))
LIB := $(COMMON:%.c=$(BUILD)/%.o) $(PROXY:%.c=$(BUILD)/%.o)
ENROLL_LIB := $(COMMON:%.c=$(BUILD)/%.o) $(ENROLL:%.c=$(BUILD)/%.o)
ENROLL_PKGS := sqlite3 libplist-2.0 libqrencode
# libplist 2.3 has one function in place of several that give its memory back
ENROLL_INC := $(shell pkg-config --cflags $(ENROLL_PKGS) 2>/dev/null) \
	$(shell pkg-config --atleast-version=2.3 libplist-2.0 2>/dev/null && echo -DLIBPLIST_MEM_FREE)
ENROLL_LIBS := $(shell pkg-config --libs $(ENROLL_PKGS) 2>/dev/null) -lcrypt
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))
MAIL := $(wildcard tests/mail/*.c)
BENCH_LOAD := $(wildcard bench/load*.c)
BENCH_ORIGIN := $(wildcard bench/origin*.c)
BENCH_REPLAY := $(wildcard bench/replay*.c)
TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(filter-out tests/tools/faults.c,$(wildcard tests/tools/*.c))) $(BUILD)/tools/faults.so $(BUILD)/tools/easenroll-stops

.PHONY: all help deps quickstart check check-quick check-full check-layers check-clang check-clang-rest unit tests-bin bench asan fuzz coverage \
	install uninstall format lint clean
.DEFAULT_GOAL := all

all: $(BUILD)/easproxy $(if $(wildcard enroll/main.c),$(BUILD)/easenroll)  ## build the programs

help:  ## say each target in a line
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# one short line a step; V=1 shows the commands
Q := $(if $(V),,@)
say = @mkdir -p $(@D)$(if $(V),, && echo "  $(1) $@")

$(BUILD)/%.o: %.c
	$(call say,cc)
	$(Q)$(COMPILE) -c $< -o $@

$(BUILD)/libeasgate.a: $(LIB)
	$(call say,ar)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/easproxy: $(BUILD)/proxy/main.o $(BUILD)/libeasgate.a
	$(call say,ld)
	$(Q)$(CC) $(LINK) -o $@ $^ $(LIBS)

$(BUILD)/enroll/%.o: INC += $(ENROLL_INC)

# the portal's page: one file with all that it needs, plain and compressed, which the assembler puts into the program
PORTAL := $(BUILD)/enroll/worker/portal/page.html
$(PORTAL): $(wildcard enroll/worker/portal/*)
	$(call say,in)
	$(Q)awk -v dir=enroll/worker/portal -f enroll/worker/portal/inline.awk enroll/worker/portal/index.html > $@.part && mv $@.part $@
COCKPIT := $(BUILD)/enroll/worker/portal/cockpit.js
$(COCKPIT): $(wildcard enroll/worker/portal/*)
	$(call say,in)
	$(Q)awk -v dir=enroll/worker/portal -f enroll/worker/portal/inline.awk enroll/worker/portal/cockpit.js > $@.part && mv $@.part $@
$(PORTAL).gz $(COCKPIT).gz: %.gz: %
	$(Q)gzip -9nc $< > $@.part && mv $@.part $@
$(BUILD)/enroll/worker/portal_page.o $(BUILD)/fuzz/enroll/worker/portal_page.o: $(PORTAL) $(PORTAL).gz $(COCKPIT) $(COCKPIT).gz

$(BUILD)/libenroll.a: $(ENROLL_LIB)
	$(call say,ar)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/easenroll: $(BUILD)/enroll/main.o $(BUILD)/libenroll.a
	$(call say,ld)
	$(Q)$(CC) $(LINK) -o $@ $^ $(LIBS) $(ENROLL_LIBS)

$(BUILD)/unit/test_enroll_%: tests/unit/test_enroll_%.c $(BUILD)/libenroll.a
	$(call say,ld)
	$(Q)$(COMPILE) $(ENROLL_INC) $< -o $@ $(BUILD)/libenroll.a $(LINK) $(LIBS) $(ENROLL_LIBS) -lcmocka

$(BUILD)/unit/%: tests/unit/%.c $(BUILD)/libeasgate.a
	$(call say,ld)
	$(Q)$(COMPILE) $< -o $@ $(BUILD)/libeasgate.a $(LINK) $(LIBS) -lcmocka

$(BUILD)/tools/%: tests/tools/%.c $(BUILD)/libeasgate.a
	$(call say,ld)
	$(Q)$(COMPILE) $< -o $@ $(BUILD)/libeasgate.a $(LINK) $(LIBS)

# easenroll that ends where a crash test says (enroll/worker/stop_at.h): only the files with such steps are compiled anew
STOPS := $(patsubst %.c,$(BUILD)/stops/%.o,$(shell grep -l 'stop_at.h\|revoke_parts.h' enroll/worker/*.c))
$(BUILD)/stops/%.o: INC += $(ENROLL_INC)
$(BUILD)/stops/%.o: %.c
	$(call say,cc)
	$(Q)$(COMPILE) -DEASGATE_TEST_HOOKS -c $< -o $@
$(BUILD)/tools/easenroll-stops: $(BUILD)/enroll/main.o $(STOPS) $(BUILD)/libenroll.a
	$(call say,ld)
	$(Q)$(CC) $(LINK) -o $@ $^ $(LIBS) $(ENROLL_LIBS)

# Loaded before a program: never instrumented, whatever the program is.
$(BUILD)/tools/faults.so: tests/tools/faults.c
	$(call say,ld)
	$(Q)$(CC) $(STD) -O1 -g $(WARN) $(WERROR) -fPIC -shared $< -o $@ -ldl

$(BUILD)/sample-mail: $(MAIL:%.c=$(BUILD)/%.o)
	$(call say,ld)
	$(Q)$(CC) $(LINK) -o $@ $^ $(shell pkg-config --libs libevent libevent_openssl openssl libwbxml2 libxml-2.0) -lexpat

$(BUILD)/tests/mail/%.o: INC += $(shell pkg-config --cflags libwbxml2 libxml-2.0 2>/dev/null)

$(BUILD)/bench-load: $(BENCH_LOAD:%.c=$(BUILD)/%.o)
	$(call say,ld)
	$(Q)$(CC) $(LINK) -o $@ $^ $(shell pkg-config --libs openssl) -lm

$(BUILD)/bench-origin: $(BENCH_ORIGIN:%.c=$(BUILD)/%.o)
	$(call say,ld)
	$(Q)$(CC) $(LINK) -o $@ $^ $(shell pkg-config --libs krb5-gssapi)

$(BUILD)/bench-replay: $(BENCH_REPLAY:%.c=$(BUILD)/%.o)
	$(call say,ld)
	$(Q)$(CC) $(LINK) -o $@ $^ $(shell pkg-config --libs openssl) -lm

$(BUILD)/bench-messages: $(addprefix $(BUILD)/bench/,messages.o self_signed.o)
	$(call say,ld)
	$(Q)$(CC) $(LINK) -o $@ $^ $(shell pkg-config --libs openssl)

$(BUILD)/bench-floor: $(addprefix $(BUILD)/bench/,floor.o self_signed.o)
	$(call say,ld)
	$(Q)$(CC) $(LINK) -o $@ $^ $(shell pkg-config --libs openssl sqlite3)

unit: $(UNIT)  ## build the unit tests

tests-bin: all unit $(BUILD)/sample-mail $(TOOLS)  ## build all that the tests run

deps:  ## install by package name what building and testing need (root)
	tests/deps

quickstart: $(if $(filter 1,$(DEPS)),deps)  ## the main job on loopback: register, sync, revoke (ONCE=1: end after the steps)
	@$(MAKE) --no-print-directory all $(BUILD)/sample-mail
	@BUILD=$(BUILD) ONCE=$(ONCE) tests/quickstart

check: $(if $(filter 1,$(DEPS)),deps)  ## every test, the ones with real servers included
	@$(MAKE) --no-print-directory check-full

check-full:  ## the same without installing anything
	@tests/run --full

check-quick:  ## a developer's round: under two minutes
	@tests/run --quick

check-layers:  ## includes may only point down (common) or back (earlier stage)
	@tests/tools/layers

# the fuzz build compiles the libraries with the same warnings: what it leaves is enough where that is made, too
CLANG_WARN := $(filter-out -Wno-format-truncation -Wlogical-op -Wduplicated-cond,$(WARN))
check-clang check-clang-rest: CLANG_FILES = $(wildcard proxy/main.c enroll/main.c tests/unit/*.c tests/tools/*.c bench/*.c)
check-clang: CLANG_FILES += $(COMMON) $(PROXY) $(ENROLL)
check-clang:  ## the other compiler has nothing to warn of
check-clang-rest:  ## nor in what the fuzz build leaves out
check-clang check-clang-rest:
	@printf '%s\0' $(CLANG_FILES) | xargs -0 -n 8 -P 2 clang -fsyntax-only -Werror $(STD) $(CLANG_WARN) $(INC) $(ENROLL_INC)

bench: all $(addprefix $(BUILD)/bench-,load origin replay messages floor)  ## CPU and memory: beside HAProxy and nginx, and beside what the cryptography alone costs
	@BUILD=$(BUILD) bench/run
	@BUILD=$(BUILD) bench/enroll

asan:  ## build everything with AddressSanitizer and UndefinedBehaviorSanitizer into build/asan
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan SAN=1 tests-bin

# Fuzz targets are built with clang's libFuzzer; each links the whole library, compiled the same way.
FUZZ_CC ?= clang
FUZZ := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/bin/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_LIB := $(LIB:$(BUILD)/%.o=$(BUILD)/fuzz/%.o)
FUZZ_FLAGS := $(STD) -O1 -g1 -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined $(INC) -MMD -MP
$(BUILD)/fuzz/%.o: %.c
	$(call say,cc)
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) $(CLANG_WARN) $(WERROR) -c $< -o $@
$(BUILD)/fuzz/libeasgate.a: $(FUZZ_LIB)
	$(call say,ar)
	$(Q)rm -f $@ && ar rcs $@ $^
# those that read what easenroll reads link its library
FUZZ_ENROLL := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/bin/%,$(shell grep -l '"enroll/' tests/fuzz/fuzz_*.c))
$(BUILD)/fuzz/enroll/%.o: INC += $(ENROLL_INC)
$(BUILD)/fuzz/libenroll.a: $(ENROLL_LIB:$(BUILD)/%.o=$(BUILD)/fuzz/%.o)
	$(call say,ar)
	$(Q)rm -f $@ && ar rcs $@ $^
$(FUZZ_ENROLL): $(BUILD)/fuzz/bin/%: tests/fuzz/%.c $(BUILD)/fuzz/libenroll.a
	$(call say,ld)
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer $< -o $@ $(BUILD)/fuzz/libenroll.a $(LIBS) $(ENROLL_LIBS)
$(BUILD)/fuzz/bin/%: tests/fuzz/%.c $(BUILD)/fuzz/libeasgate.a
	$(call say,ld)
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer $< -o $@ $(BUILD)/fuzz/libeasgate.a $(LIBS)
fuzz: $(FUZZ)  ## build the fuzz targets (run: tests/fuzz/run [seconds each])

coverage:  ## line coverage of the unit and quick system tests (gcovr)
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/cov COV=1 tests-bin
	@find $(BUILD)/cov -name '*.gcno' | sed 's/gcno$$/gcda/' | xargs sh -c 'touch "$$@" && chmod 666 "$$@"' for-processes-that-drop-root
	@COV=1 tests/run --quick --build $(BUILD)/cov
	@find $(BUILD)/cov -name '*.gcda' -empty -delete
	@gcovr --root . --object-directory $(BUILD)/cov --filter 'common/' --filter 'proxy/' --print-summary

PROGRAMS := easproxy easenroll
PAGES := easgate.yaml configuration.md enrolment.md migration.md operations.md security.md
UNITS := easproxy.service easproxy.socket easenroll.service

install: all  ## into DESTDIR, PREFIX
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,sbin share/doc/easgate lib/systemd/system)
	install -m 755 $(addprefix $(BUILD)/,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/sbin
	install -m 644 $(addprefix docs/,$(PAGES)) $(DESTDIR)$(PREFIX)/share/doc/easgate
	for unit in $(UNITS); do \
		sed 's|@PREFIX@|$(PREFIX)|g' docs/systemd/$$unit > $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit || exit 1; done

uninstall:  ## what install put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,$(PROGRAMS:%=sbin/%) $(PAGES:%=share/doc/easgate/%) $(UNITS:%=lib/systemd/system/%))

format:  ## clang-format on the lines that differ from the last commit
	git clang-format --force --extensions c,h HEAD

lint: check-layers  ## include order, banned calls, lengths, cppcheck
	tests/tools/banned
	tests/tools/lengths
	cppcheck --quiet -j 2 --std=c11 --error-exitcode=1 --inline-suppr --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
		--enable=warning,portability -D_GNU_SOURCE -DEASGATE_VERSION='""' -I. common proxy

clean:  ## remove build/
	rm -rf $(BUILD)

MADE := $(wildcard $(addprefix $(BUILD)/,common proxy enroll unit tools tests bench fuzz/common fuzz/proxy fuzz/enroll fuzz/bin))
-include $(if $(MADE),$(shell find $(MADE) -name '*.d'))
