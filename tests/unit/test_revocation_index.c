/*
 * The revocation index: exact answers for every serial, freshness, single changes that other mappings see at once,
 * files that were damaged, and what a million entries cost. TEST_SERIALS sets how many (default 1,000,000).
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"
#include "proxy/revocation/index_format.h"
#include "proxy/revocation/serials.h"

#define NOW	1800000000
#define MAX_AGE 3600

static const uint8_t CA1[SHA256_SIZE] = { 9, 1 }, CA2[SHA256_SIZE] = { 3, 2 }, CA3[SHA256_SIZE] = { 5, 3 };

struct place {
	char path[64];
	int dir;
	struct index_writer *w;
	struct revocation_view *v;
};

static void place_init(struct place *p, const struct index_issuer *issuers, unsigned n)
{
	strcpy(p->path, "/tmp/easgate-index-XXXXXX");
	assert_non_null(mkdtemp(p->path));
	p->dir = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(p->dir >= 0);
	p->w = index_writer_open(p->dir, issuers, n, MAX_AGE);
	assert_non_null(p->w);
	p->v = revocation_view_open(p->dir);
	assert_non_null(p->v);
}

static void place_clear(struct place *p)
{
	revocation_view_free(p->v);
	index_writer_free(p->w);
	unlinkat(p->dir, INDEX_FILE, 0);
	close(p->dir);
	assert_int_equal(rmdir(p->path), 0);
}

static void reopen(struct place *p)
{
	revocation_view_free(p->v);
	p->v = revocation_view_open(p->dir);
	assert_non_null(p->v);
}

static struct index_issuer issuer(const uint8_t key[SHA256_SIZE], unsigned sources)
{
	struct index_issuer i = { .sources = sources };

	memcpy(i.issuer, key, SHA256_SIZE);
	return i;
}

static struct serial serial_from(uint64_t value)
{
	struct serial s = { 0 };
	int shift = 56;

	while (shift > 0 && (value >> shift) == 0)
		shift -= 8;
	for (; shift >= 0; shift -= 8)
		s.byte[s.n++] = (uint8_t)(value >> shift);
	return s;
}

/* A 20-byte serial that is a function of i, its first byte never zero. */
static struct serial long_serial(uint64_t i)
{
	uint64_t x = i * 0x9e3779b97f4a7c15ull + 12345;
	struct serial s = { .n = SERIAL_MAX };
	int k;

	for (k = 0; k < SERIAL_MAX; k++) {
		x ^= x >> 31;
		x *= 0xbf58476d1ce4e5b9ull;
		s.byte[k] = (uint8_t)(x >> 56);
	}
	s.byte[0] |= 0x40;
	memcpy(s.byte + 12, &i, sizeof(i));	/* so that no two are equal */
	return s;
}

static enum revocation_answer ask(struct place *p, const uint8_t *key, struct serial s, time_t now)
{
	int64_t as_of;

	return revocation_lookup(p->v, key, &s, now, &as_of);
}

static void load(struct place *p, const uint8_t *key, enum index_source source, const uint64_t *values, size_t n, bool keep)
{
	struct index_source_state state = { .confirmed = NOW, .next_update = source == INDEX_CRL ? NOW + 600 : 0 };
	struct serials list = { 0 };
	struct serial s;
	size_t i;

	for (i = 0; i < n; i++) {
		s = serial_from(values[i]);
		assert_int_equal(serials_add(&list, &s), 0);
	}
	serials_sort(&list);
	assert_int_equal(index_writer_load(p->w, key, source, &list, keep, &state), 0);
	serials_clear(&list);
	reopen(p);
}

static void an_issuer_that_was_never_loaded_or_is_not_configured_is_unknown(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_CRL)) };
	struct place p;

	(void)state;
	place_init(&p, issuers, 1);
	assert_int_equal(ask(&p, CA1, serial_from(5), NOW), REVOCATION_UNKNOWN);
	assert_int_equal(ask(&p, CA2, serial_from(5), NOW), REVOCATION_UNKNOWN);
	assert_int_equal(revocation_oldest(p.v), 0);
	assert_int_equal(revocation_fresh_until(p.v, CA2), 0);
	load(&p, CA1, INDEX_CRL, NULL, 0, false);
	assert_int_equal(ask(&p, CA1, serial_from(5), NOW), REVOCATION_GOOD);
	assert_int_equal(ask(&p, CA2, serial_from(5), NOW), REVOCATION_UNKNOWN);
	assert_int_equal(revocation_oldest(p.v), NOW);
	place_clear(&p);
}

static void threat_29_the_same_serial_of_another_issuer_stays_good(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_CRL)), issuer(CA2, INDEX_BIT(INDEX_CRL)) };
	const uint64_t one[] = { 0x1234, 0x80, 0xffffffffffull };
	struct serial zeros = { .n = 3, .byte = { 0, 0x12, 0x34 } }, longer = { .n = 6, .byte = { 1, 0, 0, 0, 0x12, 0x34 } };
	struct place p;

	(void)state;
	place_init(&p, issuers, 2);
	load(&p, CA1, INDEX_CRL, one, 3, false);
	load(&p, CA2, INDEX_CRL, NULL, 0, false);
	assert_int_equal(ask(&p, CA1, serial_from(0x1234), NOW), REVOCATION_REVOKED);
	assert_int_equal(ask(&p, CA2, serial_from(0x1234), NOW), REVOCATION_GOOD);
	assert_int_equal(ask(&p, CA1, serial_from(0x34), NOW), REVOCATION_GOOD);
	assert_int_equal(ask(&p, CA1, serial_from(0x123400), NOW), REVOCATION_GOOD);
	assert_int_equal(ask(&p, CA1, longer, NOW), REVOCATION_GOOD);
	/* Not a serial as cert_serial() gives them: nothing is known of it. */
	assert_int_equal(ask(&p, CA1, zeros, NOW), REVOCATION_UNKNOWN);
	assert_int_equal(ask(&p, CA1, (struct serial){ 0 }, NOW), REVOCATION_UNKNOWN);
	assert_int_equal(revocation_count(p.v), 3);
	place_clear(&p);
}

static void good_ends_with_the_first_source_that_grows_old_and_revoked_never_does(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_CRL) | INDEX_BIT(INDEX_REDIS)) };
	const uint64_t bad[] = { 7 };
	struct place p;

	(void)state;
	place_init(&p, issuers, 1);
	load(&p, CA1, INDEX_CRL, bad, 1, false);
	assert_int_equal(ask(&p, CA1, serial_from(8), NOW), REVOCATION_UNKNOWN);	/* Redis was not heard yet */
	assert_int_equal(ask(&p, CA1, serial_from(7), NOW), REVOCATION_REVOKED);
	load(&p, CA1, INDEX_REDIS, NULL, 0, true);
	assert_int_equal(ask(&p, CA1, serial_from(8), NOW), REVOCATION_GOOD);
	assert_int_equal(ask(&p, CA1, serial_from(8), NOW + 599), REVOCATION_GOOD);
	assert_int_equal(ask(&p, CA1, serial_from(8), NOW + 600), REVOCATION_UNKNOWN);	/* nextUpdate */
	index_writer_confirm(p.w, CA1, INDEX_CRL, NOW + 100, NOW + 100000);
	assert_int_equal(revocation_fresh_until(p.v, CA1), NOW + MAX_AGE);		/* Redis, not confirmed since */
	index_writer_confirm(p.w, CA1, INDEX_REDIS, NOW + 200, 0);
	assert_int_equal(revocation_fresh_until(p.v, CA1), NOW + 100 + MAX_AGE);
	assert_int_equal(ask(&p, CA1, serial_from(8), NOW + 101 + MAX_AGE), REVOCATION_UNKNOWN);
	assert_int_equal(ask(&p, CA1, serial_from(7), NOW + 999999), REVOCATION_REVOKED);
	/* A clock that was set back by a day knows nothing. */
	assert_int_equal(ask(&p, CA1, serial_from(8), NOW - 86400), REVOCATION_UNKNOWN);
	place_clear(&p);
}

static void a_list_of_one_distribution_point_makes_only_its_certificates_good(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_CRL)) };
	struct index_source_state source = { .confirmed = NOW, .next_update = NOW + 600, .points_count = 2 };
	const struct point one = { { 1, 2, 3 } }, two = { { 9 } }, other = { { 7 } }, none = { { 0 } };
	struct serial bad = serial_from(7), good = serial_from(8);
	struct serials list = { 0 };
	struct place p;
	int64_t as_of;

	(void)state;
	place_init(&p, issuers, 1);
	source.points[0] = one;
	source.points[1] = two;
	assert_int_equal(serials_add(&list, &bad), 0);
	serials_sort(&list);
	assert_int_equal(index_writer_load(p.w, CA1, INDEX_CRL, &list, false, &source), 0);
	serials_clear(&list);
	reopen(&p);
	assert_int_equal(revocation_lookup_point(p.v, CA1, &good, &one, NOW, &as_of), REVOCATION_GOOD);
	assert_int_equal(revocation_lookup_point(p.v, CA1, &good, &two, NOW, &as_of), REVOCATION_GOOD);
	assert_int_equal(revocation_lookup_point(p.v, CA1, &good, &other, NOW, &as_of), REVOCATION_UNKNOWN);
	assert_int_equal(revocation_lookup_point(p.v, CA1, &good, &none, NOW, &as_of), REVOCATION_UNKNOWN);
	assert_int_equal(revocation_lookup(p.v, CA1, &good, NOW, &as_of), REVOCATION_UNKNOWN);
	assert_int_equal(revocation_lookup_point(p.v, CA1, &bad, &other, NOW, &as_of), REVOCATION_REVOKED);
	place_clear(&p);
}

static void one_change_is_seen_by_another_process_without_a_new_file(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_REDIS)) };
	struct serial s = long_serial(4711);
	struct place p;
	uint64_t generation;
	int ready[2], status;
	char c = 0;
	pid_t pid;

	(void)state;
	place_init(&p, issuers, 1);
	load(&p, CA1, INDEX_REDIS, NULL, 0, true);
	generation = revocation_generation(p.v);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		/* Spins on its own mapping until the answer turns: bounded by the alarm. */
		alarm(20);
		if (ask(&p, CA1, s, NOW) != REVOCATION_GOOD || write(ready[1], &c, 1) != 1)
			_exit(1);
		while (revocation_generation(p.v) == generation)
			;
		_exit(ask(&p, CA1, s, NOW) == REVOCATION_REVOKED && !revocation_is_stale(p.v) ? 0 : 2);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(index_writer_change(p.w, CA1, INDEX_REDIS, &s, true), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(index_writer_change(p.w, CA1, INDEX_REDIS, &s, true), 0);
	assert_int_equal(revocation_count(p.v), 1);
	assert_int_equal(index_writer_change(p.w, CA1, INDEX_REDIS, &s, false), 1);
	assert_int_equal(ask(&p, CA1, s, NOW), REVOCATION_GOOD);
	assert_int_equal(revocation_count(p.v), 0);
	assert_int_equal(index_writer_replacements(p.w), 1);
	close(ready[0]);
	close(ready[1]);
	place_clear(&p);
}

static void what_one_source_revokes_the_other_cannot_take_back(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_CRL) | INDEX_BIT(INDEX_REDIS)) };
	const uint64_t crl[] = { 10, 11 }, redis[] = { 11, 12 }, more[] = { 13 };
	struct serial eleven = serial_from(11), twelve = serial_from(12);
	struct place p;

	(void)state;
	place_init(&p, issuers, 1);
	load(&p, CA1, INDEX_CRL, crl, 2, false);
	load(&p, CA1, INDEX_REDIS, redis, 2, true);
	assert_int_equal(revocation_count(p.v), 3);
	assert_int_equal(index_writer_change(p.w, CA1, INDEX_REDIS, &eleven, false), 0);
	assert_int_equal(ask(&p, CA1, eleven, NOW), REVOCATION_REVOKED);
	assert_int_equal(index_writer_change(p.w, CA1, INDEX_REDIS, &twelve, false), 1);
	assert_int_equal(ask(&p, CA1, twelve, NOW), REVOCATION_GOOD);
	/* A CRL without 11: Redis took it back before, so now nobody says so. The change table was folded in. */
	load(&p, CA1, INDEX_CRL, crl, 1, false);
	assert_int_equal(ask(&p, CA1, eleven, NOW), REVOCATION_GOOD);
	assert_int_equal(ask(&p, CA1, serial_from(10), NOW), REVOCATION_REVOKED);
	/* threat 27: a Redis that was flushed and loaded anew takes nothing away. */
	load(&p, CA1, INDEX_REDIS, more, 1, true);
	load(&p, CA1, INDEX_REDIS, NULL, 0, true);
	assert_int_equal(ask(&p, CA1, serial_from(13), NOW), REVOCATION_REVOKED);
	load(&p, CA1, INDEX_REDIS, NULL, 0, false);
	assert_int_equal(ask(&p, CA1, serial_from(13), NOW), REVOCATION_GOOD);
	place_clear(&p);
}

static void count_serial(void *arg, const struct serial *serial)
{
	uint64_t *sum = arg, value = 0;

	for (unsigned i = 0; i < serial->n; i++)
		value = value << 8 | serial->byte[i];
	*sum += value;
}

/* Whatever becomes of the list: through a new one that holds some of it, a fold, and a restart. */
static void what_enrolment_says_locally_only_adds_and_outlives_lists_and_restarts(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_CRL) | INDEX_BIT(INDEX_LOCAL)), issuer(CA2, INDEX_BIT(INDEX_LOCAL)) };
	const uint64_t listed[] = { 7, 9 }, said[] = { 9, 100, 200000 };
	const struct serial number = serial_from(1795400000);
	struct serial s;
	struct place p;
	uint64_t sum;

	(void)state;
	place_init(&p, issuers, 2);
	load(&p, CA1, INDEX_CRL, listed, 1, false);
	/* it has no freshness of its own, and gives none */
	assert_int_equal(ask(&p, CA1, serial_from(8), NOW), REVOCATION_GOOD);
	assert_int_equal(ask(&p, CA2, serial_from(8), NOW), REVOCATION_UNKNOWN);
	for (size_t i = 0; i < ARRAY_LEN(said); i++) {
		s = serial_from(said[i]);
		assert_int_equal(index_writer_change(p.w, CA1, INDEX_LOCAL, &s, true), 1);
	}
	index_writer_set_number(p.w, CA1, INDEX_LOCAL, &number);
	for (unsigned round = 0; round < 3; round++) {
		sum = 0;
		index_writer_each(p.w, CA1, INDEX_LOCAL, count_serial, &sum);
		assert_int_equal(sum, 9 + 100 + 200000);
		assert_memory_equal(&index_writer_source(p.w, CA1, INDEX_LOCAL)->number, &number, sizeof(number));
		assert_int_equal(ask(&p, CA1, serial_from(100), NOW), REVOCATION_REVOKED);
		if (round == 0) {
			load(&p, CA1, INDEX_CRL, listed, 2, false);	/* in sections now, one in both */
			continue;
		}
		index_writer_free(p.w);
		p.w = index_writer_open(p.dir, issuers, 2, MAX_AGE);
		assert_non_null(p.w);
		reopen(&p);
	}
	/* one ends, and is neither told again nor in the way of the list */
	s = serial_from(9);
	assert_int_equal(index_writer_change(p.w, CA1, INDEX_LOCAL, &s, false), 0);
	s = serial_from(100);
	assert_int_equal(index_writer_change(p.w, CA1, INDEX_LOCAL, &s, false), 1);
	sum = 0;
	index_writer_each(p.w, CA1, INDEX_LOCAL, count_serial, &sum);
	assert_int_equal(sum, 200000);
	assert_int_equal(ask(&p, CA1, serial_from(9), NOW), REVOCATION_REVOKED);
	assert_int_equal(ask(&p, CA1, serial_from(100), NOW), REVOCATION_GOOD);
	place_clear(&p);
}

static void thousands_of_changes_are_folded_in_and_readers_see_that_the_file_was_replaced(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_REDIS)), issuer(CA3, INDEX_BIT(INDEX_CRL)) };
	const uint64_t other[] = { 1, 2, 3 };
	struct place p;
	struct serial s;
	uint64_t i, before;

	(void)state;
	place_init(&p, issuers, 2);
	load(&p, CA1, INDEX_REDIS, NULL, 0, true);
	load(&p, CA3, INDEX_CRL, other, 3, false);
	for (i = 0; i < 10000; i++) {
		before = revocation_generation(p.v);
		s = long_serial(i);
		assert_int_equal(index_writer_change(p.w, CA1, INDEX_REDIS, &s, true), 1);
		assert_int_not_equal(revocation_generation(p.v), before);
		if (revocation_is_stale(p.v)) {
			before = revocation_generation(p.v);
			reopen(&p);
			assert_true(revocation_generation(p.v) > before);
		}
		assert_int_equal(ask(&p, CA1, s, NOW), REVOCATION_REVOKED);
	}
	assert_int_equal(index_writer_replacements(p.w), 4);
	assert_int_equal(revocation_count(p.v), 10003);
	for (i = 0; i < 10000; i++)
		assert_int_equal(ask(&p, CA1, long_serial(i), NOW), REVOCATION_REVOKED);
	for (; i < 20000; i++)
		assert_int_equal(ask(&p, CA1, long_serial(i), NOW), REVOCATION_GOOD);
	assert_int_equal(ask(&p, CA3, serial_from(3), NOW), REVOCATION_REVOKED);
	place_clear(&p);
}

static void a_restart_keeps_what_is_configured_and_drops_the_rest(void **state)
{
	struct index_issuer two[] = { issuer(CA1, INDEX_BIT(INDEX_CRL)), issuer(CA2, INDEX_BIT(INDEX_REDIS)) };
	struct index_issuer other[] = { issuer(CA3, INDEX_BIT(INDEX_CRL)), issuer(CA2, INDEX_BIT(INDEX_REDIS)) };
	const uint64_t bad[] = { 1, 2, 3 };
	struct serial late = serial_from(99);
	struct place p;

	(void)state;
	place_init(&p, two, 2);
	load(&p, CA1, INDEX_CRL, bad, 3, false);
	load(&p, CA2, INDEX_REDIS, bad, 3, true);
	assert_int_equal(index_writer_change(p.w, CA2, INDEX_REDIS, &late, true), 1);
	index_raise_let_in_floor(p.w, NOW);
	index_writer_free(p.w);
	p.w = index_writer_open(p.dir, two, 2, MAX_AGE);
	assert_non_null(p.w);
	assert_false(revocation_is_stale(p.v));		/* the same file was taken up */
	assert_int_equal(ask(&p, CA1, serial_from(2), NOW), REVOCATION_REVOKED);
	assert_int_equal(ask(&p, CA2, late, NOW), REVOCATION_REVOKED);
	assert_int_equal(index_writer_source(p.w, CA1, INDEX_CRL)->confirmed, NOW);
	assert_int_equal(index_writer_configure(p.w, other, 2, MAX_AGE), 0);
	assert_true(revocation_is_stale(p.v));
	reopen(&p);
	assert_int_equal(ask(&p, CA1, serial_from(2), NOW), REVOCATION_UNKNOWN);
	assert_int_equal(ask(&p, CA3, serial_from(2), NOW), REVOCATION_UNKNOWN);
	assert_int_equal(ask(&p, CA2, late, NOW), REVOCATION_REVOKED);
	assert_int_equal(ask(&p, CA2, serial_from(98), NOW), REVOCATION_GOOD);
	assert_int_equal(index_let_in_floor(p.w), NOW);
	assert_null(index_writer_source(p.w, CA1, INDEX_CRL));
	place_clear(&p);
}

static void write_at(struct place *p, off_t at, const void *bytes, size_t n)
{
	int fd = openat(p->dir, INDEX_FILE, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, at), (ssize_t)n);
	close(fd);
}

/* Every byte of head and rows, set to what hurts most, one at a time: no look-up may leave the mapping. */
static void a_damaged_file_is_refused_or_answers_without_leaving_its_mapping(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_CRL)), issuer(CA2, INDEX_BIT(INDEX_CRL)) };
	static const uint8_t hurt[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
	uint8_t *good, *copy;
	struct place p;
	struct stat st;
	uint64_t values[3000], i;
	size_t k, limit, refused = 0;
	int fd;

	(void)state;
	place_init(&p, issuers, 2);
	for (i = 0; i < 3000; i++)
		values[i] = i * 977 + 300;
	load(&p, CA1, INDEX_CRL, values, 3000, false);
	load(&p, CA2, INDEX_CRL, values, 5, false);
	fd = openat(p.dir, INDEX_FILE, O_RDONLY);
	assert_int_equal(fstat(fd, &st), 0);
	good = malloc((size_t)st.st_size);
	copy = malloc((size_t)st.st_size);
	assert_int_equal(read(fd, good, (size_t)st.st_size), st.st_size);
	close(fd);
	limit = INDEX_HEAD + 2 * sizeof(struct index_row);
	for (k = 0; k < limit * ARRAY_LEN(hurt); k++) {
		struct revocation_view *v;
		size_t at = k / ARRAY_LEN(hurt);
		int64_t as_of;

		if (at == sizeof(struct index_head))
			k += (INDEX_HEAD - sizeof(struct index_head)) * ARRAY_LEN(hurt), at = INDEX_HEAD;
		memcpy(copy, good, (size_t)st.st_size);
		copy[at] = hurt[k % ARRAY_LEN(hurt)];
		fd = memfd_create("damaged", MFD_CLOEXEC);
		assert_int_equal(write(fd, copy, (size_t)st.st_size), st.st_size);
		v = revocation_view_from_fd(fd);
		if (v == NULL) {
			assert_int_equal(errno, EBADMSG);
			refused++;
			continue;
		}
		for (i = 0; i < 200; i++) {
			struct serial s = serial_from(i * 15000);
			revocation_lookup(v, CA1, &s, NOW, &as_of);
			revocation_lookup(v, CA2, &s, NOW, &as_of);
		}
		revocation_view_free(v);
	}
	assert_true(refused > 100);
	free(good);
	free(copy);
	place_clear(&p);
}

static void a_truncated_file_is_refused_at_every_length(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_CRL)) };
	struct place p;
	struct stat st;
	off_t n;
	int fd;

	(void)state;
	place_init(&p, issuers, 1);
	load(&p, CA1, INDEX_CRL, (const uint64_t[]){ 1, 2, 300 }, 3, false);
	fd = openat(p.dir, INDEX_FILE, O_RDONLY);
	assert_int_equal(fstat(fd, &st), 0);
	for (n = 0; n < st.st_size; n += n < 5000 ? 97 : 9973) {
		int part = memfd_create("part", MFD_CLOEXEC);
		off_t at = 0;

		while (at < n)
			assert_true(sendfile(part, fd, &at, (size_t)(n - at)) > 0);
		assert_null(revocation_view_from_fd(part));
		assert_int_equal(errno, EBADMSG);
	}
	close(fd);
	place_clear(&p);
}

static void a_flipped_bit_in_the_serials_makes_the_writer_begin_anew(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_CRL)) };
	struct place p;
	struct stat st;
	int fd;

	(void)state;
	place_init(&p, issuers, 1);
	load(&p, CA1, INDEX_CRL, (const uint64_t[]){ 1, 2, 300 }, 3, false);
	index_writer_free(p.w);
	fd = openat(p.dir, INDEX_FILE, O_RDONLY);
	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	write_at(&p, st.st_size - 3, "\x07", 1);
	p.w = index_writer_open(p.dir, issuers, 1, MAX_AGE);
	assert_non_null(p.w);
	reopen(&p);
	assert_int_equal(ask(&p, CA1, serial_from(5), NOW), REVOCATION_UNKNOWN);
	assert_int_equal(revocation_count(p.v), 0);
	place_clear(&p);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static long status_kb(const char *key)
{
	char line[128];
	long kb = -1;
	FILE *f = fopen("/proc/self/status", "r");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, key, strlen(key)) == 0)
			kb = strtol(line + strlen(key), NULL, 10);
	if (f != NULL)
		fclose(f);
	return kb;
}

static void a_million_serials_cost_at_most_20_bytes_each_and_are_all_found(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_CRL)) };
	struct index_source_state source = { .confirmed = NOW, .next_update = NOW + 600 };
	const char *text = getenv("TEST_SERIALS");
	size_t n = text != NULL ? strtoul(text, NULL, 10) : 1000000, i;
	struct serials list = { 0 };
	struct place p;
	struct stat st;
	struct serial s;
	double t0, t1, t2, t3;
	long before = status_kb("RssAnon:");
	int64_t as_of;

	(void)state;
	place_init(&p, issuers, 1);
	for (i = 0; i < n; i++) {
		s = long_serial(i);
		assert_int_equal(serials_add(&list, &s), 0);
	}
	t0 = seconds();
	serials_sort(&list);
	t1 = seconds();
	assert_int_equal(list.n, n);
	assert_int_equal(index_writer_load(p.w, CA1, INDEX_CRL, &list, false, &source), 0);
	t2 = seconds();
	serials_clear(&list);
	reopen(&p);
	assert_int_equal(revocation_count(p.v), n);
	assert_int_equal(fstatat(p.dir, INDEX_FILE, &st, 0), 0);
	for (i = 0; i < n; i++) {
		s = long_serial(i);
		if (revocation_lookup(p.v, CA1, &s, NOW, &as_of) != REVOCATION_REVOKED)
			fail_msg("serial %zu is not found", i);
		s.byte[19] ^= 0x80;
		if (revocation_lookup(p.v, CA1, &s, NOW, &as_of) != REVOCATION_GOOD)
			fail_msg("neighbour of serial %zu is found", i);
	}
	t3 = seconds();
	for (i = 0; i < n; i++) {
		s = long_serial(i * 7919);
		revocation_lookup(p.v, CA1, &s, NOW, &as_of);
	}
	print_message("index: %zu serials of 20 bytes: sort %.0f ms, merge+write+fsync %.0f ms, file %.2f bytes a serial, "
	    "look-up %.0f ns (with making the serial), anonymous memory kept %+ld kB\n", n, (t1 - t0) * 1e3, (t2 - t1) * 1e3,
	    (double)st.st_size / (double)n, (seconds() - t3) * 1e9 / (double)n, status_kb("RssAnon:") - before);
	if (n >= 1000000)
		assert_true((double)st.st_size / (double)n <= 20.0);
	place_clear(&p);
}

static void short_and_clustered_serials_are_found_too(void **state)
{
	struct index_issuer issuers[] = { issuer(CA1, INDEX_BIT(INDEX_CRL)) };
	struct index_source_state source = { .confirmed = NOW, .next_update = NOW + 600 };
	struct serials list = { 0 };
	struct place p;
	struct serial s;
	uint64_t i;

	(void)state;
	place_init(&p, issuers, 1);
	for (i = 0; i < 200000; i++) {		/* even numbers from 1, and some with a common long beginning */
		s = serial_from(i * 2 + 1);
		assert_int_equal(serials_add(&list, &s), 0);
		s = (struct serial){ .n = 19, .byte = { 0x61, 0, 0, 0, 2 } };
		memcpy(s.byte + 8, &i, sizeof(i));
		assert_int_equal(serials_add(&list, &s), 0);
		assert_int_equal(serials_add(&list, &s), 0);	/* a double */
	}
	serials_sort(&list);
	assert_int_equal(list.n, 400000);
	assert_int_equal(index_writer_load(p.w, CA1, INDEX_CRL, &list, false, &source), 0);
	reopen(&p);
	for (i = 0; i < 200000; i++) {
		assert_int_equal(ask(&p, CA1, serial_from(i * 2 + 1), NOW), REVOCATION_REVOKED);
		assert_int_equal(ask(&p, CA1, serial_from(i * 2 + 2), NOW), REVOCATION_GOOD);
		s = (struct serial){ .n = 19, .byte = { 0x61, 0, 0, 0, 2 } };
		memcpy(s.byte + 8, &i, sizeof(i));
		assert_int_equal(ask(&p, CA1, s, NOW), REVOCATION_REVOKED);
		assert_true(serials_have(&list, &s));
	}
	serials_clear(&list);
	place_clear(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_issuer_that_was_never_loaded_or_is_not_configured_is_unknown),
		cmocka_unit_test(threat_29_the_same_serial_of_another_issuer_stays_good),
		cmocka_unit_test(good_ends_with_the_first_source_that_grows_old_and_revoked_never_does),
		cmocka_unit_test(a_list_of_one_distribution_point_makes_only_its_certificates_good),
		cmocka_unit_test(one_change_is_seen_by_another_process_without_a_new_file),
		cmocka_unit_test(what_one_source_revokes_the_other_cannot_take_back),
		cmocka_unit_test(what_enrolment_says_locally_only_adds_and_outlives_lists_and_restarts),
		cmocka_unit_test(thousands_of_changes_are_folded_in_and_readers_see_that_the_file_was_replaced),
		cmocka_unit_test(a_restart_keeps_what_is_configured_and_drops_the_rest),
		cmocka_unit_test(a_damaged_file_is_refused_or_answers_without_leaving_its_mapping),
		cmocka_unit_test(a_truncated_file_is_refused_at_every_length),
		cmocka_unit_test(a_flipped_bit_in_the_serials_makes_the_writer_begin_anew),
		cmocka_unit_test(a_million_serials_cost_at_most_20_bytes_each_and_are_all_found),
		cmocka_unit_test(short_and_clustered_serials_are_found_too),
	};

	log_setup(LOG_ERROR, "test", -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
