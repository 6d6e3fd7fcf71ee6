/*
 * SID and groups out of KERB_VALIDATION_INFO: well-formed ones by a writer of the test's own, and
 * everything cut or bent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/kerberos/pac.h"

struct writer {
	uint8_t bytes[20000];
	size_t n;
};

static void put(struct writer *w, const void *p, size_t n)
{
	assert_true(w->n + n <= sizeof(w->bytes));
	memcpy(w->bytes + w->n, p, n);
	w->n += n;
}

static void put_zeros(struct writer *w, size_t n)
{
	while (n-- > 0)
		put(w, "", 1);
}

static void put_u16(struct writer *w, unsigned v)
{
	uint8_t b[2] = { (uint8_t)v, (uint8_t)(v >> 8) };
	put(w, b, 2);
}

static void put_u32(struct writer *w, uint32_t v)
{
	while (w->n % 4 != 0)
		put_zeros(w, 1);
	put_u16(w, v & 0xffff);
	put_u16(w, v >> 16);
}

static void put_string_head(struct writer *w, const char *text)
{
	unsigned n = (unsigned)strlen(text) * 2;

	put_u16(w, n);
	put_u16(w, n);
	put_u32(w, 0x20004);
}

static void put_string_tail(struct writer *w, const char *text)
{
	uint32_t n = (uint32_t)strlen(text);

	put_u32(w, n);
	put_u32(w, 0);
	put_u32(w, n);
	for (; *text != '\0'; text++)
		put_u16(w, (uint8_t)*text);
}

static void put_sid(struct writer *w, const char *text)
{
	struct sid sid;

	assert_int_equal(sid_from_text(strv_from(text), &sid), 0);
	put_u32(w, sid.byte[1]);
	put(w, sid.byte, sid.n);
}

struct logon {
	const char *name, *domain;
	uint32_t rid, primary;
	const uint32_t *groups;
	uint32_t groups_n;
	const char *const *extra;
	uint32_t extra_n;
	const char *resource_domain;
	const uint32_t *resource;
	uint32_t resource_n;
};

static void write_logon(struct writer *w, const struct logon *l)
{
	static const uint8_t head[] = { 1, 0x10, 8, 0, 0xcc, 0xcc, 0xcc, 0xcc, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 2, 0 };

	w->n = 0;
	put(w, head, sizeof(head));
	put_zeros(w, 48);
	put_string_head(w, l->name);
	for (int i = 0; i < 5; i++)
		put_string_head(w, "x");
	put_u32(w, 0);
	put_u32(w, l->rid);
	put_u32(w, l->primary);
	put_u32(w, l->groups_n);
	put_u32(w, l->groups_n > 0 ? 0x20020 : 0);
	put_zeros(w, 20);
	put_string_head(w, "DC1");
	put_string_head(w, "CORP");
	put_u32(w, 0x20030);
	put_zeros(w, 40);
	put_u32(w, l->extra_n);
	put_u32(w, l->extra_n > 0 ? 0x20040 : 0);
	put_u32(w, l->resource_n > 0 ? 0x20044 : 0);
	put_u32(w, l->resource_n);
	put_u32(w, l->resource_n > 0 ? 0x20048 : 0);

	put_string_tail(w, l->name);
	for (int i = 0; i < 5; i++)
		put_string_tail(w, "x");
	if (l->groups_n > 0)
		put_u32(w, l->groups_n);
	for (uint32_t i = 0; i < l->groups_n; i++) {
		put_u32(w, l->groups[i]);
		put_u32(w, 7);
	}
	put_string_tail(w, "DC1");
	put_string_tail(w, "CORP");
	put_sid(w, l->domain);
	if (l->extra_n > 0)
		put_u32(w, l->extra_n);
	for (uint32_t i = 0; i < l->extra_n; i++) {
		put_u32(w, 0x20050 + i);
		put_u32(w, 7);
	}
	for (uint32_t i = 0; i < l->extra_n; i++)
		put_sid(w, l->extra[i]);
	if (l->resource_n > 0) {
		put_sid(w, l->resource_domain);
		put_u32(w, l->resource_n);
	}
	for (uint32_t i = 0; i < l->resource_n; i++) {
		put_u32(w, l->resource[i]);
		put_u32(w, 7);
	}
}

static const uint32_t plain_groups[] = { 513, 1104, 1105 };
static const struct logon plain = { .name = "alice",
	.domain = "S-1-5-21-1-2-3",
	.rid = 1103,
	.primary = 513,
	.groups = plain_groups,
	.groups_n = 3 };

static struct writer w;
static struct pac_identity who;

static int parse(const struct logon *l)
{
	write_logon(&w, l);
	return pac_identity_parse((struct strv){ (const char *)w.bytes, w.n }, &who);
}

static bool protected_with(const char *group)
{
	static struct refused_groups refused;

	memset(&refused, 0, sizeof(refused));
	if (group != NULL)
		assert_int_equal(refused_groups_add(&refused, group), 0);
	return pac_identity_protected(&who, &refused);
}

static void account_and_groups_are_read(void **state)
{
	char text[ACCOUNT_SID_MAX];

	(void)state;
	assert_int_equal(parse(&plain), 0);
	assert_string_equal(who.name, "alice");
	assert_int_equal(sid_to_text(&who.own, text, sizeof(text)), 0);
	assert_string_equal(text, "S-1-5-21-1-2-3-1103");
	assert_int_equal(who.n, 4);
	assert_int_equal(sid_to_text(&who.group[3], text, sizeof(text)), 0);
	assert_string_equal(text, "S-1-5-21-1-2-3-1105");
	assert_false(protected_with(NULL));
	assert_true(protected_with("1105"));
	assert_true(protected_with("S-1-5-21-1-2-3-1104"));
	assert_false(protected_with("S-1-5-21-1-2-4-1104"));
}

static void extra_and_resource_groups_are_read_too(void **state)
{
	static const char *const extra[] = { "S-1-18-2", "S-1-5-21-9-9-9-1200" };
	static const uint32_t resource[] = { 2000, 2001 };
	struct logon l = plain;

	(void)state;
	l.extra = extra;
	l.extra_n = 2;
	l.resource_domain = "S-1-5-21-1-2-3";
	l.resource = resource;
	l.resource_n = 2;
	assert_int_equal(parse(&l), 0);
	assert_int_equal(who.n, 8);
	assert_false(protected_with(NULL));
	assert_true(protected_with("S-1-5-21-9-9-9-1200"));
	assert_true(protected_with("2001"));
}

static void administrators_by_any_way_are_protected(void **state)
{
	static const uint32_t admins[] = { 513, 512 }, protected_users[] = { 525 };
	static const char *const builtin[] = { "S-1-5-32-544" };
	struct logon l = plain;

	(void)state;
	l.rid = 500;
	assert_int_equal(parse(&l), 0);
	assert_true(protected_with(NULL));
	l = plain;
	l.primary = 512;
	assert_int_equal(parse(&l), 0);
	assert_true(protected_with(NULL));
	l = plain;
	l.groups = admins;
	l.groups_n = 2;
	assert_int_equal(parse(&l), 0);
	assert_true(protected_with(NULL));
	l.groups = protected_users;
	l.groups_n = 1;
	assert_int_equal(parse(&l), 0);
	assert_true(protected_with(NULL));
	l = plain;
	l.extra = builtin;
	l.extra_n = 1;
	assert_int_equal(parse(&l), 0);
	assert_true(protected_with(NULL));
	l = plain;
	l.name = "MAIL$";
	assert_int_equal(parse(&l), 0);
	assert_true(protected_with(NULL));
}

static void every_cut_is_refused_and_leaves_a_protected_nobody(void **state)
{
	struct logon l = plain;
	static const uint32_t resource[] = { 2000 };

	(void)state;
	l.resource_domain = "S-1-5-21-1-2-3";
	l.resource = resource;
	l.resource_n = 1;
	assert_int_equal(parse(&l), 0);
	for (size_t n = 0; n < w.n; n++) {
		/* An allocation of exactly n bytes: reading behind it is seen by the sanitizer. */
		uint8_t *exact = malloc(n > 0 ? n : 1);
		assert_non_null(exact);
		memcpy(exact, w.bytes, n);
		assert_int_equal(
		    pac_identity_parse((struct strv){ (const char *)exact, n }, &who), -1);
		assert_true(protected_with(NULL));
		free(exact);
	}
}

static void bent_bytes_never_read_outside(void **state)
{
	unsigned seed = 1;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		write_logon(&w, &plain);
		for (int k = 0; k < 3; k++) {
			seed = seed * 1103515245u + 12345u;
			w.bytes[(seed >> 8) % w.n] = (uint8_t)(seed >> 24);
		}
		if (pac_identity_parse((struct strv){ (const char *)w.bytes, w.n }, &who) == 0)
			assert_true(who.n >= 1 && who.n <= PAC_SIDS_MAX && who.own.n > 0);
	}
}

static void lengths_that_contradict_each_other_are_refused(void **state)
{
	static uint32_t many[PAC_SIDS_MAX + 1];
	struct logon l = plain;

	(void)state;
	assert_int_equal(parse(&plain), 0);
	w.bytes[20 + 48] += 2; /* EffectiveName: longer in its head than behind */
	assert_int_equal(pac_identity_parse((struct strv){ (const char *)w.bytes, w.n }, &who), -1);
	assert_int_equal(parse(&plain), 0);
	w.bytes[20 + 48 + 48 + 12]++; /* GroupCount: one more than the array says */
	assert_int_equal(pac_identity_parse((struct strv){ (const char *)w.bytes, w.n }, &who), -1);
	assert_int_equal(parse(&plain), 0);
	w.bytes[1] = 0; /* big endian */
	assert_int_equal(pac_identity_parse((struct strv){ (const char *)w.bytes, w.n }, &who), -1);
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		many[i] = 5000 + (uint32_t)i;
	l.groups = many;
	l.groups_n = 1000;
	assert_int_equal(parse(&l), 0);
	assert_int_equal(who.n, 1001);
	l.groups_n = PAC_SIDS_MAX; /* and the primary one: too many */
	assert_int_equal(parse(&l), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(account_and_groups_are_read),
		cmocka_unit_test(extra_and_resource_groups_are_read_too),
		cmocka_unit_test(administrators_by_any_way_are_protected),
		cmocka_unit_test(every_cut_is_refused_and_leaves_a_protected_nobody),
		cmocka_unit_test(bent_bytes_never_read_outside),
		cmocka_unit_test(lengths_that_contradict_each_other_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
