/* OCSP responses that OpenSSL verifies as a client does, and what the signer does not say. Threat E45. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <openssl/ocsp.h>

#include "enroll/signer/authority_build.h"
#include "enroll/signer/ocsp_build.h"
#include "tests/unit/enroll_ca.h"

#define LIFE (16 * 86400)

static struct signer_ocsp_entry entry_of(
    const struct test_ca *t, const EVP_MD *md, long serial, uint32_t status)
{
	struct signer_ocsp_entry e = { .status = status,
		.revoked_at = t->now - 100,
		.reason = status == SIGNER_OCSP_REVOKED ? 6 : 0 };
	const X509 *issuer = t->files.entries[1].certificate;
	ASN1_INTEGER *number = ASN1_INTEGER_new();
	unsigned char *at = e.cert_id;
	OCSP_CERTID *id;

	ASN1_INTEGER_set(number, serial);
	id = OCSP_cert_id_new(
	    md, X509_get_subject_name(issuer), X509_get0_pubkey_bitstr(issuer), number);
	e.cert_id_n = (uint32_t)i2d_OCSP_CERTID(id, &at);
	OCSP_CERTID_free(id);
	ASN1_INTEGER_free(number);
	return e;
}

static struct signer_ocsp question_of(const struct test_ca *t, uint32_t n)
{
	struct signer_ocsp q = {
		.this_update = t->now - 10, .next_update = t->now + 3600, .entries_n = n
	};

	memcpy(q.issuer, t->files.entries[1].spki_sha256, SHA256_SIZE);
	return q;
}

static void assert_status(
    OCSP_BASICRESP *basic, const struct signer_ocsp_entry *e, int want, int want_reason)
{
	const unsigned char *at = e->cert_id;
	OCSP_CERTID *id = d2i_OCSP_CERTID(NULL, &at, (long)e->cert_id_n);
	ASN1_GENERALIZEDTIME *revoked, *from, *to;
	int status, reason = -1; /* left alone by OpenSSL unless revoked */

	assert_int_equal(
	    OCSP_resp_find_status(basic, id, &status, &reason, &revoked, &from, &to), 1);
	assert_int_equal(status, want);
	assert_int_equal(reason, want_reason);
	assert_int_equal(OCSP_check_validity(from, to, 5, -1), 1);
	OCSP_CERTID_free(id);
}

static void check_response(enum key_kind kind)
{
	struct refusal r = { 0 };
	struct test_ca t;
	struct ocsp_signer s = { .seconds = LIFE };
	struct signer_ocsp q;
	struct signer_ocsp_entry e[4];
	const unsigned char *at;
	unsigned char *der;
	OCSP_RESPONSE *response;
	OCSP_BASICRESP *basic;
	X509_STORE *store = X509_STORE_new();
	STACK_OF(X509) *chain = sk_X509_new_null();
	const ASN1_OCTET_STRING *by_key;
	const X509_NAME *by_name;
	size_t n;

	test_ca_make(&t, kind, "");
	s.issuer = &t.files.entries[1];
	assert_int_equal(ocsp_signer_keep(&s, t.now, &r), 0);
	e[0] = entry_of(&t, EVP_sha1(), 11, SIGNER_OCSP_GOOD);
	e[1] = entry_of(&t, EVP_sha256(), 12, SIGNER_OCSP_REVOKED);
	e[2] = entry_of(&t, EVP_sha256(), 13, SIGNER_OCSP_UNKNOWN);
	e[3] = entry_of(&t, EVP_sha1(), 14, SIGNER_OCSP_REVOKED);
	e[3].reason = 0;
	q = question_of(&t, 4);
	q.nonce_n = 32;
	memset(q.nonce, 0x5a, 32);
	der = ocsp_build(&s, &q, e, t.now, &n, &r);
	assert_non_null(der);
	at = der;
	response = d2i_OCSP_RESPONSE(NULL, &at, (long)n);
	assert_int_equal(OCSP_response_status(response), OCSP_RESPONSE_STATUS_SUCCESSFUL);
	basic = OCSP_response_get1_basic(response);
	X509_STORE_add_cert(store, t.files.entries[0].certificate);
	sk_X509_push(chain, t.files.entries[1].certificate);
	assert_int_equal(OCSP_basic_verify(basic, chain, store, 0), 1);
	assert_int_equal(OCSP_resp_get0_id(basic, &by_key, &by_name), 1);
	assert_non_null(by_key);
	assert_null(by_name);
	assert_status(basic, &e[0], V_OCSP_CERTSTATUS_GOOD, -1);
	assert_status(basic, &e[1], V_OCSP_CERTSTATUS_REVOKED, 6);
	assert_status(basic, &e[2], V_OCSP_CERTSTATUS_UNKNOWN, -1);
	assert_status(basic, &e[3], V_OCSP_CERTSTATUS_REVOKED, -1);
	assert_true(OCSP_BASICRESP_get_ext_by_NID(basic, NID_id_pkix_OCSP_Nonce, -1) >= 0);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	OPENSSL_free(der);
	sk_X509_free(chain);
	X509_STORE_free(store);
	ocsp_signer_clear(&s);
	test_ca_remove(&t);
}

static void responses_of_every_key_kind_verify_and_say_each_status(void **state)
{
	(void)state;
	check_response(KEY_EC_P256);
	check_response(KEY_RSA_2048);
}

/* The command line judges as any client does: chain, delegation, CertID, times. */
static void the_openssl_command_line_agrees(void **state)
{
	struct refusal r = { 0 };
	struct test_ca t;
	struct ocsp_signer s = { .seconds = LIFE };
	struct signer_ocsp q;
	struct signer_ocsp_entry e;
	char path[128], command[512];
	unsigned char *der;
	size_t n;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	s.issuer = &t.files.entries[1];
	assert_int_equal(ocsp_signer_keep(&s, t.now, &r), 0);
	for (uint32_t status = SIGNER_OCSP_GOOD; status <= SIGNER_OCSP_REVOKED; status++) {
		e = entry_of(&t, EVP_sha1(), 4711, status);
		q = question_of(&t, 1);
		der = ocsp_build(&s, &q, &e, t.now, &n, &r);
		assert_non_null(der);
		snprintf(path, sizeof(path), "%s/answer.der", t.folder);
		assert_int_equal(folder_write(path, der, n, 0644, &r), 0);
		OPENSSL_free(der);
		snprintf(command, sizeof(command),
		    "openssl ocsp -respin %s -no_nonce -issuer %s/issuing-1.pem -serial 4711 -CAfile %s/root-1.pem -verify_other %s/issuing-1.pem >%s/text 2>&1 && "
		    "grep -q 'Response verify OK' %s/text && grep -q '4711: %s' %s/text",
		    path, t.folder, t.folder, t.folder, t.folder, t.folder,
		    status == SIGNER_OCSP_GOOD ? "good" : "revoked", t.folder);
		assert_int_equal(system(command), 0);
	}
	ocsp_signer_clear(&s);
	test_ca_remove(&t);
}

static void the_signer_is_delegated_needs_no_check_and_renews_itself(void **state)
{
	struct refusal r = { 0 };
	struct test_ca t;
	struct ocsp_signer s = { .seconds = LIFE };
	X509 *first;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	s.issuer = &t.files.entries[1];
	assert_int_equal(ocsp_signer_keep(&s, t.now, &r), 0);
	first = s.certificate;
	assert_int_equal(X509_get_extended_key_usage(first), XKU_OCSP_SIGN);
	assert_int_equal(X509_get_key_usage(first), KU_DIGITAL_SIGNATURE);
	assert_true(X509_get_ext_by_NID(first, NID_id_pkix_OCSP_noCheck, -1) >= 0);
	assert_int_equal(X509_check_issued(t.files.entries[1].certificate, first), X509_V_OK);
	assert_int_equal(EVP_PKEY_eq(s.key, t.files.entries[1].pkey), 0);
	assert_int_equal(ocsp_signer_keep(&s, t.now + LIFE / 2 - 1, &r), 0);
	assert_ptr_equal(s.certificate, first);
	X509_up_ref(first);
	assert_int_equal(ocsp_signer_keep(&s, t.now + LIFE / 2, &r), 0);
	assert_int_not_equal(X509_cmp(s.certificate, first), 0);
	X509_free(first);
	ocsp_signer_clear(&s);
	test_ca_remove(&t);
}

/* A machine that slept past the certificate's end, a clock that was set back: an answer is by a valid certificate, or there is none. */
static void threat_45_an_expired_signer_signs_nothing_and_a_new_one_is_made_when_it_is_asked(void **state)
{
	static const struct { int64_t made, asked; } at[] = { { 0, LIFE / 2 }, { 0, LIFE - 1 }, { 0, LIFE }, { 0, 6 * LIFE }, { 2 * 86400, 0 } };
	struct refusal r = { 0 };
	struct test_ca t;
	struct ocsp_signer s = { .seconds = LIFE };
	struct signer_ocsp_entry e;
	struct signer_ocsp q;
	unsigned char *der;
	int64_t end;
	size_t n;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	s.issuer = &t.files.entries[1];
	e = entry_of(&t, EVP_sha1(), 11, SIGNER_OCSP_GOOD);
	q = question_of(&t, 1);
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		int64_t now = t.now + at[i].asked, begin;

		assert_int_equal(ocsp_signer_keep(&s, t.now + at[i].made, &r), 0);
		q.this_update = now - 10;
		q.next_update = now + 3600;
		if (at[i].asked < at[i].made || at[i].asked + 3600 > LIFE)
			assert_null(ocsp_build(&s, &q, &e, now, &n, &r));
		assert_int_equal(ocsp_signer_keep(&s, now, &r), 0);
		der = ocsp_build(&s, &q, &e, now, &n, &r);
		if (der == NULL)
			fail_msg("%zu: %s", i, r.text);
		OPENSSL_free(der);
		assert_int_equal(authority_time(X509_get0_notBefore(s.certificate), &begin), 0);
		assert_int_equal(authority_time(X509_get0_notAfter(s.certificate), &end), 0);
		assert_true(begin <= now && now < end && q.next_update <= end);
		ocsp_signer_clear(&s);
	}
	/* none can be made, here as the CA has ended: what there is signs no more, and it is not tried again for each answer */
	assert_int_equal(ocsp_signer_keep(&s, t.now, &r), 0);
	assert_int_equal(authority_time(X509_get0_notAfter(s.issuer->certificate), &end), 0);
	assert_int_equal(ocsp_signer_keep(&s, end + 7200, &r), -1);
	assert_int_equal(ocsp_signer_keep(&s, end + 7201, &r), 0);
	q.this_update = end + 7200;
	q.next_update = end + 7300;
	assert_null(ocsp_build(&s, &q, &e, end + 7201, &n, &r));
	assert_int_equal(r.status, SIGNER_BROKEN);
	assert_int_equal(ocsp_signer_keep(&s, end + 7200 + OCSP_SIGNER_RETRY, &r), -1);
	ocsp_signer_clear(&s);
	test_ca_remove(&t);
}

static void threat_45_questions_about_others_or_with_nonsense_are_refused(void **state)
{
	struct refusal r = { 0 };
	struct test_ca t, other;
	struct ocsp_signer s = { .seconds = LIFE };
	struct signer_ocsp q;
	struct signer_ocsp_entry e;
	size_t n;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	test_ca_make(&other, KEY_EC_P256, "");
	s.issuer = &t.files.entries[1];
	assert_int_equal(ocsp_signer_keep(&s, t.now, &r), 0);
#define REFUSED(change)                                                  \
	do {                                                             \
		e = entry_of(&t, EVP_sha256(), 11, SIGNER_OCSP_REVOKED); \
		q = question_of(&t, 1);                                  \
		change;                                                  \
		if (ocsp_build(&s, &q, &e, t.now, &n, &r) != NULL)              \
			fail_msg("not refused: " #change);               \
		assert_int_equal(r.status, SIGNER_REFUSED);              \
	} while (0)
	REFUSED(e = entry_of(&other, EVP_sha256(), 11, SIGNER_OCSP_GOOD));
	REFUSED(e = entry_of(&t, EVP_sha384(), 11, SIGNER_OCSP_GOOD));
	REFUSED(e = entry_of(&t, EVP_md5(), 11, SIGNER_OCSP_GOOD));
	REFUSED(e.cert_id_n--);
	REFUSED(e.cert_id_n++);
	REFUSED(e.cert_id_n = 129);
	REFUSED(e.cert_id_n = UINT32_MAX);
	REFUSED(e.cert_id[10] ^= 1);
	REFUSED(e.status = 3);
	REFUSED(e.reason = 7);
	REFUSED(e.reason = 11);
	REFUSED(e.revoked_at = -1);
	REFUSED(q.entries_n = 0);
	REFUSED(q.entries_n = SIGNER_OCSP_MAX + 1);
	REFUSED(q.nonce_n = SIGNER_NONCE_MAX + 1);
	REFUSED(q.next_update = q.this_update);
	REFUSED(q.next_update = t.now + LIFE +
		1); /* longer than the signer's own certificate */
	ocsp_signer_clear(&s);
	test_ca_remove(&t);
	test_ca_remove(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(responses_of_every_key_kind_verify_and_say_each_status),
		cmocka_unit_test(the_openssl_command_line_agrees),
		cmocka_unit_test(the_signer_is_delegated_needs_no_check_and_renews_itself),
		cmocka_unit_test(threat_45_an_expired_signer_signs_nothing_and_a_new_one_is_made_when_it_is_asked),
		cmocka_unit_test(threat_45_questions_about_others_or_with_nonsense_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
