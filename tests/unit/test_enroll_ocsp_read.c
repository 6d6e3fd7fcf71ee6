/*
 * OCSP requests (RFC 6960 section 4.1, RFC 9654): what is asked is taken; what is there twice, too long, critical and unknown, or of a wrong length is
 * refused; a serial that cannot be ours is asked about all the same, and is nobody's.
 */
#include "enroll/worker/ocsp_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <cmocka.h>

#include "enroll/der_write.h"

#define ROOM 16384

struct ask {
	const char *what;
	int expected;			/* enum ocsp_result */
	unsigned nonces;		/* so many extensions of it */
	size_t nonce_n, serial_n;	/* bytes; serial 0: 16 */
	bool bare_nonce;		/* not in an OCTET STRING of its own */
	uint8_t serial_first;
	int hash;			/* NID; 0: SHA-1 */
	size_t hash_n;			/* 0: as the hash has */
	unsigned n;			/* certificates; 0: 1 */
	bool critical, critical_inside;	/* an extension that nobody knows */
};

static void put_extension(struct der_writer *d, int nid, bool critical, const void *value, size_t n)
{
	static const uint8_t yes[] = { 0xff };
	size_t mark = der_mark(d);

	der_value(d, DER_OCTETS, value, n);
	if (critical)
		der_value(d, DER_BOOLEAN, yes, 1);
	der_oid(d, nid);
	der_enclose(d, DER_SEQUENCE, mark);
}

static void put_nonce(struct der_writer *d, const struct ask *a)
{
	uint8_t bytes[256], inside[300];
	struct der_writer value;

	memset(bytes, 0xa5, sizeof(bytes));
	der_start(&value, inside, sizeof(inside));
	if (a->bare_nonce)
		der_put(&value, bytes, a->nonce_n);
	else
		der_value(&value, DER_OCTETS, bytes, a->nonce_n);
	put_extension(d, NID_id_pkix_OCSP_Nonce, false, der_done(&value).p, der_done(&value).n);
}

static void put_one(struct der_writer *d, const struct ask *a)
{
	static const uint8_t null[] = { DER_NULL, 0 }, octets[64] = { 1 };
	int hash = a->hash != 0 ? a->hash : NID_sha1;
	size_t n = a->hash_n != 0 ? a->hash_n : hash == NID_sha1 ? 20 : 32, end = der_mark(d), mark;
	uint8_t serial[64];

	memset(serial, 0x11, sizeof(serial));
	serial[0] = a->serial_first != 0 ? a->serial_first : 0x11;
	if (a->critical_inside) {
		put_extension(d, NID_id_pkix_OCSP_noCheck, true, null, sizeof(null));
		der_enclose(d, DER_SEQUENCE, end);
		der_enclose(d, DER_CONSTRUCTED(0), end);
	}
	mark = der_mark(d);
	der_value(d, DER_INTEGER, serial, a->serial_n != 0 ? a->serial_n : SIGNER_SERIAL);
	der_value(d, DER_OCTETS, octets, n);
	der_value(d, DER_OCTETS, octets, n);
	size_t algorithm = der_mark(d);
	der_put(d, null, sizeof(null));
	der_oid(d, hash);
	der_enclose(d, DER_SEQUENCE, algorithm);
	der_enclose(d, DER_SEQUENCE, mark);
	der_enclose(d, DER_SEQUENCE, end);
}

static struct strv request(const struct ask *a, uint8_t room[ROOM])
{
	struct der_writer d;
	size_t mark;

	der_start(&d, room, ROOM);
	mark = der_mark(&d);
	for (unsigned i = 0; i < a->nonces; i++)
		put_nonce(&d, a);
	if (a->critical)
		put_extension(&d, NID_id_pkix_OCSP_archiveCutoff, true, "\5", 2);
	if (der_mark(&d) != mark) {
		der_enclose(&d, DER_SEQUENCE, mark);
		der_enclose(&d, DER_CONSTRUCTED(2), mark);
	}
	mark = der_mark(&d);
	for (unsigned i = 0; i < (a->n != 0 ? a->n : 1); i++)
		put_one(&d, a);
	der_enclose(&d, DER_SEQUENCE, mark);
	der_enclose(&d, DER_SEQUENCE, ROOM);
	der_enclose(&d, DER_SEQUENCE, ROOM);
	return der_done(&d);
}

static struct ocsp_query query;

static int ask(const struct ask *a)
{
	uint8_t room[ROOM];
	struct strv der = request(a, room);

	assert_true(der.n > 0);
	int rc = ocsp_read(der, &query);
	assert_int_equal(ERR_peek_error(), 0);
	return rc;
}

static void what_is_asked_is_taken_and_what_is_doubtful_refused(void **state)
{
	static const struct ask row[] = {
		{ .what = "nothing special" },
		{ .what = "a nonce", .nonces = 1, .nonce_n = 16 },
		{ .what = "a nonce of 1", .nonces = 1, .nonce_n = 1 },
		{ .what = "a nonce of 128", .nonces = 1, .nonce_n = 128 },
		{ .what = "a nonce of 129", .nonces = 1, .nonce_n = 129, .expected = OCSP_READ_MALFORMED },
		{ .what = "an empty nonce", .nonces = 1, .expected = OCSP_READ_MALFORMED },
		{ .what = "a bare nonce", .nonces = 1, .nonce_n = 20, .bare_nonce = true },
		{ .what = "two nonces", .nonces = 2, .nonce_n = 16, .expected = OCSP_READ_MALFORMED },
		{ .what = "32 certificates", .n = 32 },
		{ .what = "33 certificates", .n = 33, .expected = OCSP_READ_MALFORMED },
		{ .what = "a critical extension", .critical = true, .expected = OCSP_READ_MALFORMED },
		{ .what = "a critical extension of one certificate", .critical_inside = true, .expected = OCSP_READ_MALFORMED },
		{ .what = "SHA-256", .hash = NID_sha256 },
		{ .what = "SHA-1 of 32 bytes", .hash_n = 32, .expected = OCSP_READ_MALFORMED },
		{ .what = "SHA-256 of 20 bytes", .hash = NID_sha256, .hash_n = 20, .expected = OCSP_READ_MALFORMED },
		{ .what = "an empty SHA-256", .hash = NID_sha256, .hash_n = 1, .expected = OCSP_READ_MALFORMED },
		{ .what = "a serial longer than a CertID may be", .serial_n = 60, .hash = NID_sha256, .expected = OCSP_READ_MALFORMED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		if (ask(&row[i]) != row[i].expected)
			fail_msg("%s", row[i].what);
		if (row[i].expected != OCSP_READ_OK)
			continue;
		assert_int_equal(query.n, row[i].n != 0 ? row[i].n : 1);
		assert_int_equal(query.nonce_n, row[i].nonces > 0 ? row[i].nonce_n : 0);
		assert_int_equal(query.asked[0].hash_n, row[i].hash == NID_sha256 ? 32 : 20);
		assert_true(query.asked[0].possible);
	}
}

static void a_serial_or_a_hash_that_cannot_be_ours_is_nobodys(void **state)
{
	static const struct ask row[] = { { .serial_first = 0x80 }, { .serial_n = 17 }, { .serial_first = 0xff, .serial_n = 1 } }, md5 = { .hash = NID_md5, .hash_n = 16 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(ask(&row[i]), OCSP_READ_OK);
		assert_false(query.asked[0].possible);
	}
	assert_int_equal(ask(&md5), OCSP_READ_OK);
	assert_int_equal(query.asked[0].hash_n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_asked_is_taken_and_what_is_doubtful_refused),
		cmocka_unit_test(a_serial_or_a_hash_that_cannot_be_ours_is_nobodys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
