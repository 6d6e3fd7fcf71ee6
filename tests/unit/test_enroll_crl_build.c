/* CRLs that OpenSSL reads and verifies; a worker's file that is not what it says is refused and changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "enroll/signer/crl_build.h"
#include "tests/unit/enroll_ca.h"

static void write_entries(
    const char *path, uint64_t n, void (*change)(struct signer_crl_entry *e, uint64_t i))
{
	FILE *f = fopen(path, "w");

	for (uint64_t i = 0; i < n; i++) {
		struct signer_crl_entry e = { .when = 1700000000 + (int64_t)i % 1000,
			.reason = i % 3 == 0 ? 1 : 0 };
		uint64_t number = i + 1;

		e.serial[0] = (uint8_t)(number >> 40);
		for (int k = 0; k < 5; k++)
			e.serial[1 + k] = (uint8_t)(number >> 8 * (4 - k));
		e.serial[15] = 0x77;
		if (change != NULL)
			change(&e, i);
		fwrite(&e, sizeof(e), 1, f);
	}
	fclose(f);
}

static struct crl_order order_of(const struct test_ca *t, const char *in, const char *out,
    uint64_t number, uint64_t base, uint64_t n)
{
	return (struct crl_order){ .issuer = &t->files.entries[1],
		.in = in,
		.out = out,
		.delta_url = "http://enroll.example.com/crl/x.delta.crl",
		.question = { .number = number,
		    .base_number = base,
		    .this_update = t->now,
		    .next_update = t->now + 86400,
		    .entries = n } };
}

static int build(const struct crl_order *o, struct signer_crl_done *done, struct refusal *r)
{
	struct crl_job *job = crl_job_new(o, r);
	int rc;

	if (job == NULL)
		return -1;
	while ((rc = crl_job_step(job, r)) == 1)
		;
	if (rc == 0)
		*done = crl_job_result(job);
	crl_job_free(job);
	return rc;
}

static X509_CRL *read_crl(const char *path)
{
	BIO *bio = BIO_new_file(path, "rb");
	X509_CRL *crl = bio != NULL ? d2i_X509_CRL_bio(bio, NULL) : NULL;

	BIO_free(bio);
	return crl;
}

static void check_number(X509_CRL *crl, int nid, long want)
{
	ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, nid, NULL, NULL);

	assert_non_null(number);
	assert_int_equal(ASN1_INTEGER_get(number), want);
	ASN1_INTEGER_free(number);
}

/* The entry that was written last: found by its serial, with or without reason as it was written. */
static void check_last_entry(X509_CRL *crl, uint64_t n)
{
	const uint8_t last[] = { (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
		(uint8_t)n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x77 };
	ASN1_INTEGER *serial = ASN1_INTEGER_new();
	BIGNUM *bn = BN_bin2bn(last, sizeof(last), NULL);
	ASN1_ENUMERATED *reason;
	X509_REVOKED *row;

	BN_to_ASN1_INTEGER(bn, serial);
	assert_int_equal(X509_CRL_get0_by_serial(crl, &row, serial), 1);
	reason = X509_REVOKED_get_ext_d2i(row, NID_crl_reason, NULL, NULL);
	assert_int_equal(reason != NULL, (n - 1) % 3 == 0);
	ASN1_ENUMERATED_free(reason);
	BN_free(bn);
	ASN1_INTEGER_free(serial);
}

static void check_full(const struct test_ca *t, const char *path, uint64_t n)
{
	const X509 *issuer = t->files.entries[1].certificate;
	X509_CRL *crl = read_crl(path);
	AUTHORITY_KEYID *akid;

	assert_non_null(crl);
	assert_int_equal(X509_CRL_verify(crl, X509_get0_pubkey(issuer)), 1);
	assert_int_equal(X509_CRL_get_version(crl), 1);
	assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), n == 0 ? -1 : (int)n);
	check_number(crl, NID_crl_number, 7);
	akid = X509_CRL_get_ext_d2i(crl, NID_authority_key_identifier, NULL, NULL);
	assert_int_equal(
	    ASN1_STRING_cmp(akid->keyid, X509_get0_subject_key_id(t->files.entries[1].certificate)),
	    0);
	AUTHORITY_KEYID_free(akid);
	assert_true(X509_CRL_get_ext_by_NID(crl, NID_freshest_crl, -1) >= 0);
	if (n > 0)
		check_last_entry(crl, n);
	X509_CRL_free(crl);
}

static void check_full_and_delta(enum key_kind kind, uint64_t n)
{
	struct signer_crl_done done = { 0 };
	struct refusal r = { 0 };
	struct test_ca t;
	char in[128], out[128], delta[128];
	struct crl_order o;
	struct stat st;
	X509_CRL *crl;
	X509_EXTENSION *base;

	test_ca_make(&t, kind, "");
	snprintf(in, sizeof(in), "%s/in.7", t.folder);
	snprintf(out, sizeof(out), "%s/a.crl", t.folder);
	snprintf(delta, sizeof(delta), "%s/a.delta.crl", t.folder);
	write_entries(in, n, NULL);
	o = order_of(&t, in, out, 7, 0, n);
	if (build(&o, &done, &r) != 0)
		fail_msg("%s", r.text);
	assert_int_equal(stat(out, &st), 0);
	assert_int_equal(done.bytes, st.st_size);
	check_full(&t, out, n);
	o = order_of(&t, in, delta, 8, 7, n);
	assert_int_equal(build(&o, &done, &r), 0);
	crl = read_crl(delta);
	assert_int_equal(X509_CRL_verify(crl, X509_get0_pubkey(t.files.entries[1].certificate)), 1);
	check_number(crl, NID_delta_crl, 7);
	base = X509_CRL_get_ext(crl, X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1));
	assert_int_equal(X509_EXTENSION_get_critical(base), 1);
	X509_CRL_free(crl);
	test_ca_remove(&t);
}

static void full_and_delta_crls_of_every_key_kind_verify(void **state)
{
	(void)state;
	check_full_and_delta(KEY_EC_P256, 3);
	check_full_and_delta(KEY_EC_P384, 100);
	check_full_and_delta(KEY_RSA_2048, 1000);
}

static void crls_without_entries_and_at_the_edges_of_der_lengths_verify(void **state)
{
	static const uint64_t counts[] = { 0, 1, 2, 5, 6, 1500, 1600, 16384, 16385, 40000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		check_full_and_delta(KEY_EC_P256, counts[i]);
}

static void first_bits(struct signer_crl_entry *e, uint64_t i) { e->serial[0] = (uint8_t[]){ 0x01, 0x7f, 0x80, 0xff }[i]; }

static void serials_with_any_first_bit_are_listed_as_numbers_that_are_not_negative(void **state)
{
	struct signer_crl_done done = { 0 };
	struct refusal r = { 0 };
	struct test_ca t;
	char in[128], out[128];
	struct crl_order o;
	X509_CRL *crl;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	snprintf(in, sizeof(in), "%s/in.7", t.folder);
	snprintf(out, sizeof(out), "%s/a.crl", t.folder);
	write_entries(in, 4, first_bits);
	o = order_of(&t, in, out, 7, 0, 4);
	assert_int_equal(build(&o, &done, &r), 0);
	crl = read_crl(out);
	assert_non_null(crl);
	assert_int_equal(X509_CRL_verify(crl, X509_get0_pubkey(t.files.entries[1].certificate)), 1);
	for (int i = 0; i < 4; i++) {
		const ASN1_INTEGER *s = X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), i));
		assert_int_equal(ASN1_STRING_type(s), V_ASN1_INTEGER);
		assert_int_equal(ASN1_STRING_length(s), SIGNER_SERIAL);
		assert_int_equal(ASN1_STRING_get0_data(s)[0], ((uint8_t[]){ 0x01, 0x7f, 0x80, 0xff })[i]);
		assert_int_equal(i2d_ASN1_INTEGER(s, NULL), i < 2 ? 18 : 19);
	}
	X509_CRL_free(crl);
	test_ca_remove(&t);
}

static void twice(struct signer_crl_entry *e, uint64_t i)
{
	if (i == 5)
		e->serial[5]--;
}

static void bad_reason(struct signer_crl_entry *e, uint64_t i) { e->reason = i == 3 ? 7 : 0; }

static void removed(struct signer_crl_entry *e, uint64_t i) { e->reason = i == 3 ? 8 : 0; }

static void nothing(struct signer_crl_entry *e, uint64_t i)
{
	if (i == 0)
		memset(e->serial, 0, sizeof(e->serial));
}

static void no_time(struct signer_crl_entry *e, uint64_t i)
{
	if (i == 3)
		e->when = -1;
}

static void a_file_that_no_crl_may_hold_changes_nothing(void **state)
{
	static void (*const changes[])(struct signer_crl_entry *, uint64_t) = { twice, bad_reason,
		removed, nothing, no_time };
	struct signer_crl_done done;
	struct refusal r = { 0 };
	struct test_ca t;
	char in[128], out[128], tmp[160];
	struct crl_order o;
	struct stat st;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	snprintf(in, sizeof(in), "%s/in.1", t.folder);
	snprintf(out, sizeof(out), "%s/a.crl", t.folder);
	snprintf(tmp, sizeof(tmp), "%s.tmp", out);
	assert_int_equal(folder_write(out, "old", 3, 0644, &r), 0);
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		write_entries(in, 10, changes[i]);
		o = order_of(&t, in, out, 2, 0, 10);
		assert_int_equal(build(&o, &done, &r), -1);
		assert_int_equal(r.status, SIGNER_REFUSED);
	}
	o = order_of(&t, in, out, 2, 0, 11);
	assert_int_equal(build(&o, &done, &r), -1); /* another length than it says */
	write_entries(in, 10, NULL);
	o = order_of(&t, in, out, 0, 0, 10);
	assert_int_equal(build(&o, &done, &r), -1);
	o = order_of(&t, in, out, 2, 2, 10);
	assert_int_equal(build(&o, &done, &r), -1); /* a delta to itself */
	o = order_of(&t, in, out, 2, 0, 10);
	o.question.next_update = o.question.this_update;
	assert_int_equal(build(&o, &done, &r), -1);
	write_entries(in, 10, removed);
	o = order_of(&t, in, out, 3, 2, 10);
	assert_int_equal(build(&o, &done, &r), 0); /* removeFromCRL belongs into a delta */
	assert_int_equal(stat(tmp, &st), -1);
	test_ca_remove(&t);
}

static void a_file_that_changes_while_it_is_read_is_refused(void **state)
{
	struct refusal r = { 0 };
	struct test_ca t;
	char in[128], out[128];
	struct crl_order o;
	struct crl_job *job;
	struct stat st;
	int rc, steps = 0;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	snprintf(in, sizeof(in), "%s/in.1", t.folder);
	snprintf(out, sizeof(out), "%s/a.crl", t.folder);
	write_entries(in, 10, NULL);
	o = order_of(&t, in, out, 2, 0, 10);
	job = crl_job_new(&o, &r);
	while ((rc = crl_job_step(job, &r)) == 1) {
		if (++steps == 4) { /* signed, not yet written: the same length, another date */
			int fd = open(in, O_WRONLY);
			int64_t when = 1600000000;
			assert_int_equal(pwrite(fd, &when, sizeof(when), 16), sizeof(when));
			close(fd);
		}
	}
	assert_int_equal(rc, -1);
	assert_int_equal(r.status, SIGNER_REFUSED);
	assert_non_null(strstr(r.text, "changed"));
	crl_job_free(job);
	assert_int_equal(stat(out, &st), -1);
	test_ca_remove(&t);
}

/* CRL_MILLION=1: the figure of issue 3: under 5 s and 300 MB. */
static void a_million_entries_take_under_five_seconds(void **state)
{
	struct signer_crl_done done;
	struct timespec from, to;
	struct refusal r = { 0 };
	struct rusage usage;
	struct test_ca t;
	char in[128], out[128];
	struct crl_order o;
	double seconds;

	(void)state;
	if (getenv("CRL_MILLION") == NULL)
		skip();
	test_ca_make(&t, KEY_EC_P256, "");
	snprintf(in, sizeof(in), "%s/in.1", t.folder);
	snprintf(out, sizeof(out), "%s/a.crl", t.folder);
	write_entries(in, 1000000, NULL);
	o = order_of(&t, in, out, 2, 0, 1000000);
	clock_gettime(CLOCK_MONOTONIC, &from);
	assert_int_equal(build(&o, &done, &r), 0);
	clock_gettime(CLOCK_MONOTONIC, &to);
	getrusage(RUSAGE_SELF, &usage);
	seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
	print_message("1,000,000 entries: %.2f s, %ld MiB resident at most, %llu bytes\n", seconds,
	    usage.ru_maxrss / 1024, (unsigned long long)done.bytes);
	assert_true(seconds < 5.0);
	assert_true(usage.ru_maxrss < 300 * 1024);
	test_ca_remove(&t);
}

static void a_list_number_is_given_once_whatever_the_worker_says(void **state)
{
	static const uint64_t numbers[] = { 7, 7, 6, 8 }, given[] = { 1, 0, 0, 1 };
	struct signer *s = calloc(1, sizeof(*s));
	struct refusal r = { 0 };
	struct crl_job *job;
	struct test_ca t;
	char in[PATH_MAX];

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	assert_int_equal(signer_init(s, &t.setup, t.now, &r), 0);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		struct signer_crl q = { .number = numbers[i], .this_update = t.now, .next_update = t.now + 86400 };

		memcpy(q.issuer, t.files.entries[1].spki_sha256, sizeof(q.issuer));
		snprintf(in, sizeof(in), "%s/in.%llu", t.setup.crl_folder, (unsigned long long)numbers[i]);
		write_entries(in, 0, NULL);
		job = signer_crl(s, &q, in, &r);
		assert_int_equal(job != NULL, given[i]);
		crl_job_free(job);
	}
	signer_clear(s);
	free(s);
	test_ca_remove(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_and_delta_crls_of_every_key_kind_verify),
		cmocka_unit_test(crls_without_entries_and_at_the_edges_of_der_lengths_verify),
		cmocka_unit_test(serials_with_any_first_bit_are_listed_as_numbers_that_are_not_negative),
		cmocka_unit_test(a_file_that_no_crl_may_hold_changes_nothing),
		cmocka_unit_test(a_file_that_changes_while_it_is_read_is_refused),
		cmocka_unit_test(a_list_number_is_given_once_whatever_the_worker_says),
		cmocka_unit_test(a_million_entries_take_under_five_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
