/* What clients encrypt to the RA is opened, whatever they encrypt it with that is allowed; what is signed back verifies. Threat E43. Through signer_serve(). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <openssl/cms.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>

#include "enroll/signer/scep_open.h"
#include "tests/unit/enroll_ca.h"

#define PLAIN	"the request of a client, longer than one block of any cipher"
#define PLAIN_N (sizeof(PLAIN) - 1)

static struct test_ca t;
static struct signer *s;

static int make(void **state)
{
	struct refusal r = { 0 };

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	s = calloc(1, sizeof(*s));
	if (signer_init(s, &t.setup, t.now, &r) < 0) {
		fprintf(stderr, "%s\n", r.text);
		return -1;
	}
	return 0;
}

static int drop(void **state)
{
	(void)state;
	signer_clear(s);
	free(s);
	test_ca_remove(&t);
	return 0;
}

/* A client's envelope, by OpenSSL; malloc()ed. */
static unsigned char *envelope(const EVP_CIPHER *cipher, X509 *to, bool oaep, bool ber, int *n)
{
	BIO *in = BIO_new_mem_buf(PLAIN, PLAIN_N), *out = BIO_new(BIO_s_mem());
	CMS_ContentInfo *cms = CMS_encrypt(
	    NULL, NULL, cipher, CMS_BINARY | CMS_PARTIAL | CMS_STREAM);
	CMS_RecipientInfo *ri = CMS_add1_recipient_cert(cms, to, CMS_KEY_PARAM);
	EVP_PKEY_CTX *ctx = CMS_RecipientInfo_get0_pkey_ctx(ri);
	unsigned char *der = NULL;
	char *bytes;

	if (oaep)
		EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING);
	if (ber) {
		assert_int_equal(i2d_CMS_bio_stream(out, cms, in, CMS_BINARY | CMS_STREAM), 1);
		*n = (int)BIO_get_mem_data(out, &bytes);
		der = OPENSSL_malloc((size_t)*n);
		memcpy(der, bytes, (size_t)*n);
	} else {
		assert_int_equal(CMS_final(cms, in, NULL, CMS_BINARY), 1);
		*n = i2d_CMS_ContentInfo(cms, &der);
	}
	assert_true(*n > 0);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	BIO_free(out);
	return der;
}

static uint32_t ask(
    uint16_t verb, const void *body, size_t n, uint8_t **bytes, size_t *bytes_n, int64_t now)
{
	struct signer_answer head;
	size_t answer_n = 0;
	uint8_t *answer = signer_serve(s, verb, body, n, now, &answer_n);

	assert_non_null(answer);
	memcpy(&head, answer, sizeof(head));
	assert_int_equal(answer_n, sizeof(head) + head.n);
	assert_int_equal(head.status == SIGNER_OK, head.text[0] == '\0');
	if (bytes != NULL) {
		*bytes = malloc(head.n + 1);
		memcpy(*bytes, answer + sizeof(head), head.n);
		*bytes_n = head.n;
	}
	free(answer);
	return head.status;
}

static void assert_opens(const EVP_CIPHER *cipher, bool oaep, bool ber)
{
	int n;
	size_t plain_n;
	uint8_t *plain;
	unsigned char *der = envelope(cipher, t.files.entries[2].certificate, oaep, ber, &n);

	assert_int_equal(ask(SIGNER_SCEP_OPEN, der, (size_t)n, &plain, &plain_n, t.now), SIGNER_OK);
	assert_int_equal(plain_n, PLAIN_N);
	assert_memory_equal(plain, PLAIN, PLAIN_N);
	free(plain);
	OPENSSL_free(der);
}

static void every_allowed_cipher_padding_and_encoding_opens(void **state)
{
	const EVP_CIPHER *ciphers[] = { EVP_aes_128_cbc(), EVP_aes_192_cbc(), EVP_aes_256_cbc(),
		EVP_des_ede3_cbc() };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ciphers); i++) {
		for (int k = 0; k < 4; k++)
			assert_opens(ciphers[i], k & 1, k & 2);
	}
}

/* To so many others and the RA, who comes last; malloc()ed. */
static unsigned char *envelope_to_many(X509 *others, int n, int *out_n)
{
	STACK_OF(X509) *all = sk_X509_new_null();
	BIO *in = BIO_new_mem_buf(PLAIN, PLAIN_N);
	unsigned char *der = NULL;
	CMS_ContentInfo *cms;

	for (int i = 0; i < n; i++)
		assert_true(sk_X509_push(all, others) > 0);
	assert_true(sk_X509_push(all, t.files.entries[2].certificate) > 0);
	cms = CMS_encrypt(all, in, EVP_aes_128_cbc(), CMS_BINARY);
	assert_non_null(cms);
	*out_n = i2d_CMS_ContentInfo(cms, &der);
	assert_true(*out_n > 0);
	CMS_ContentInfo_free(cms);
	sk_X509_free(all);
	BIO_free(in);
	return der;
}

static void threat_43_each_recipient_costs_a_decryption_and_four_are_the_most(void **state)
{
	struct test_ca stranger;

	(void)state;
	test_ca_make(&stranger, KEY_EC_P256, "");
	for (int others = 1; others <= SCEP_RECIPIENTS_MAX; others++) {
		int n;
		unsigned char *der = envelope_to_many(stranger.files.entries[2].certificate, others, &n);

		assert_int_equal(ask(SIGNER_SCEP_OPEN, der, (size_t)n, NULL, NULL, t.now), others < SCEP_RECIPIENTS_MAX ? SIGNER_OK : SIGNER_BAD_MESSAGE);
		OPENSSL_free(der);
	}
	test_ca_remove(&stranger);
}

static void ciphers_that_are_switched_off_are_named_as_such(void **state)
{
	int n;
	unsigned char *der = envelope(
	    EVP_des_ede3_cbc(), t.files.entries[2].certificate, false, false, &n);

	(void)state;
	t.setup.des3 = false;
	assert_int_equal(
	    ask(SIGNER_SCEP_OPEN, der, (size_t)n, NULL, NULL, t.now), SIGNER_BAD_CIPHER);
	t.setup.des3 = true;
	assert_int_equal(ask(SIGNER_SCEP_OPEN, der, (size_t)n, NULL, NULL, t.now), SIGNER_OK);
	OPENSSL_free(der);
}

static void single_des_opens_only_behind_its_switch(void **state)
{
	OSSL_PROVIDER *standard = OSSL_PROVIDER_load(NULL, "default"),
		      *legacy = OSSL_PROVIDER_load(NULL, "legacy");
	unsigned char *der;
	int n;

	(void)state;
	if (legacy == NULL)
		skip();
	der = envelope(EVP_des_cbc(), t.files.entries[2].certificate, false, false, &n);
	assert_int_equal(
	    ask(SIGNER_SCEP_OPEN, der, (size_t)n, NULL, NULL, t.now), SIGNER_BAD_CIPHER);
	t.setup.legacy_des = true;
	assert_int_equal(ask(SIGNER_SCEP_OPEN, der, (size_t)n, NULL, NULL, t.now), SIGNER_OK);
	t.setup.legacy_des = false;
	OPENSSL_free(der);
	OSSL_PROVIDER_unload(legacy);
	OSSL_PROVIDER_unload(standard);
}

static void threat_43_cut_flipped_and_foreign_envelopes_read_the_same(void **state)
{
	int n, other_n;
	unsigned char *der = envelope(
			  EVP_aes_128_cbc(), t.files.entries[2].certificate, false, false, &n),
		      *other;
	struct test_ca stranger;
	unsigned opened = 0;
	int64_t now = t.now;

	(void)state;
	for (int cut = 0; cut < n; cut += 7)
		assert_int_not_equal(
		    ask(SIGNER_SCEP_OPEN, der, (size_t)cut, NULL, NULL, now += 60), SIGNER_OK);
	for (int i = 0; i < n; i++) {
		uint32_t status;
		der[i] ^= 0x20;
		status = ask(SIGNER_SCEP_OPEN, der, (size_t)n, NULL, NULL, now += 60);
		assert_true(status == SIGNER_OK || status == SIGNER_BAD_MESSAGE ||
		    status == SIGNER_BAD_CIPHER);
		opened += status == SIGNER_OK;
		der[i] ^= 0x20;
	}
	/* CBC has no integrity: a flipped plaintext bit is the signature's to find. But not more than content, IV and names can explain. */
	assert_true(opened < (unsigned)n / 2);
	test_ca_make(&stranger, KEY_EC_P256, "");
	other = envelope(
	    EVP_aes_128_cbc(), stranger.files.entries[2].certificate, false, false, &other_n);
	assert_int_equal(ask(SIGNER_SCEP_OPEN, other, (size_t)other_n, NULL, NULL, now += 60),
	    SIGNER_BAD_MESSAGE);
	test_ca_remove(&stranger);
	OPENSSL_free(other);
	OPENSSL_free(der);
}

static void threat_43_a_flood_of_bad_messages_is_refused_before_the_key_is_used(void **state)
{
	int64_t now = t.now + 86400 * 30;
	uint32_t status = SIGNER_OK;
	unsigned i;

	(void)state;
	for (i = 0; i < REFUSALS_BURST + 1; i++)
		status = ask(SIGNER_SCEP_OPEN, "\x30\x00", 2, NULL, NULL, now);
	assert_int_equal(status, SIGNER_TOO_MANY);
	assert_int_equal(ask(SIGNER_CHAIN, NULL, 0, NULL, NULL, now), SIGNER_OK); /* others go on */
	assert_int_equal(
	    ask(SIGNER_SCEP_OPEN, "\x30\x00", 2, NULL, NULL, now + 1), SIGNER_BAD_MESSAGE);
}

static void check_cert_rep(uint32_t status, const void *content, size_t content_n)
{
	struct signer_scep_sign *q = calloc(1, sizeof(*q) + content_n);
	BIO *in, *out = BIO_new(BIO_s_mem());
	CMS_ContentInfo *cms;
	CMS_SignerInfo *si;
	ASN1_OBJECT *type = OBJ_txt2obj("2.16.840.1.113733.1.9.2", 1),
		    *id = OBJ_txt2obj("2.16.840.1.113733.1.9.7", 1);
	ASN1_OCTET_STRING **inside;
	ASN1_STRING *value;
	X509_ALGOR *signature;
	uint8_t *der;
	size_t n;
	char *bytes;

	*q = (struct signer_scep_sign){ .transaction_id = "kTSjJu+2aGVa1lhSdz9ZwiKoIiE=",
		.pki_status = status,
		.fail_info = 2,
		.recipient_nonce_n = 16,
		.fail_text = "no such secret",
		.digest = 256,
		.content_n = (uint32_t)content_n };
	if (content_n > 0)
		memcpy(q + 1, content, content_n);
	assert_int_equal(
	    ask(SIGNER_SCEP_SIGN, q, sizeof(*q) + content_n, &der, &n, t.now), SIGNER_OK);
	in = BIO_new_mem_buf(der, (int)n);
	cms = d2i_CMS_bio(in, NULL);
	assert_non_null(cms);
	inside = CMS_get0_content(cms);
	assert_true(
	    inside != NULL && *inside != NULL); /* an empty OCTET STRING, never an absent one */
	assert_int_equal(
	    CMS_verify(cms, NULL, NULL, NULL, out, CMS_NO_SIGNER_CERT_VERIFY | CMS_BINARY), 1);
	assert_int_equal(BIO_get_mem_data(out, &bytes), content_n);
	if (content_n > 0)
		assert_memory_equal(bytes, content, content_n);
	si = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0);
	assert_int_equal(CMS_SignerInfo_cert_cmp(si, t.files.entries[2].certificate), 0);
	CMS_SignerInfo_get0_algs(si, NULL, NULL, NULL, &signature);
	assert_int_equal(OBJ_obj2nid(signature->algorithm),
	    NID_rsaEncryption); /* strongSwan 5.9.8 takes no other */
	value = CMS_signed_get0_data_by_OBJ(si, type, -3, V_ASN1_PRINTABLESTRING);
	assert_int_equal(ASN1_STRING_length(value), 1);
	assert_memory_equal(ASN1_STRING_get0_data(value), "3", 1);
	value = CMS_signed_get0_data_by_OBJ(si, id, -3, V_ASN1_PRINTABLESTRING);
	assert_int_equal(ASN1_STRING_length(value), strlen(q->transaction_id));
	ASN1_OBJECT_free(type);
	ASN1_OBJECT_free(id);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	BIO_free(out);
	free(der);
	free(q);
}

static void cert_reps_verify_and_failures_have_an_empty_content(void **state)
{
	(void)state;
	check_cert_rep(SIGNER_SCEP_SUCCESS, "an envelope", 11);
	check_cert_rep(SIGNER_SCEP_FAILURE, NULL, 0);
	check_cert_rep(SIGNER_SCEP_PENDING, NULL, 0);
}

static void cert_reps_that_contradict_themselves_are_refused(void **state)
{
	struct signer_scep_sign q = { .transaction_id = "a", .pki_status = SIGNER_SCEP_SUCCESS };

	(void)state;
	assert_int_equal(ask(SIGNER_SCEP_SIGN, &q, sizeof(q), NULL, NULL, t.now),
	    SIGNER_REFUSED); /* success without content */
	q.pki_status = 1;
	assert_int_equal(ask(SIGNER_SCEP_SIGN, &q, sizeof(q), NULL, NULL, t.now), SIGNER_REFUSED);
	q.pki_status = SIGNER_SCEP_FAILURE;
	q.content_n = 1;
	assert_int_equal(ask(SIGNER_SCEP_SIGN, &q, sizeof(q), NULL, NULL, t.now), SIGNER_REFUSED);
	q.content_n = 0;
	q.transaction_id[0] = '\0';
	assert_int_equal(ask(SIGNER_SCEP_SIGN, &q, sizeof(q), NULL, NULL, t.now), SIGNER_REFUSED);
	memset(q.transaction_id, 'a', sizeof(q.transaction_id));
	assert_int_equal(ask(SIGNER_SCEP_SIGN, &q, sizeof(q), NULL, NULL, t.now), SIGNER_REFUSED);
}

static void profiles_are_signed_and_verify_up_to_the_root(void **state)
{
	static const char profile[] = "<plist/>";
	X509_STORE *store = X509_STORE_new();
	BIO *in, *out = BIO_new(BIO_s_mem());
	CMS_ContentInfo *cms;
	uint8_t *der;
	size_t n;
	char *bytes;

	(void)state;
	assert_int_equal(
	    ask(SIGNER_PROFILE_SIGN, profile, sizeof(profile) - 1, &der, &n, t.now), SIGNER_OK);
	in = BIO_new_mem_buf(der, (int)n);
	cms = d2i_CMS_bio(in, NULL);
	X509_STORE_add_cert(store, t.files.entries[0].certificate);
	assert_int_equal(CMS_verify(cms, NULL, store, NULL, out, CMS_BINARY), 1);
	assert_int_equal(BIO_get_mem_data(out, &bytes), sizeof(profile) - 1);
	assert_memory_equal(bytes, profile, sizeof(profile) - 1);
	CMS_ContentInfo_free(cms);
	X509_STORE_free(store);
	BIO_free(in);
	BIO_free(out);
	free(der);
}

static void the_chain_names_every_certificate_and_its_kind(void **state)
{
	static const uint32_t want[] = { SIGNER_CHAIN_PROFILE, SIGNER_CHAIN_RA,
		SIGNER_CHAIN_ISSUING, SIGNER_CHAIN_ROOT };
	struct signer_chain_entry head;
	size_t n, at = 0, count = 0;
	uint8_t *bytes;

	(void)state;
	assert_int_equal(ask(SIGNER_CHAIN, NULL, 0, &bytes, &n, t.now), SIGNER_OK);
	while (at < n) {
		const unsigned char *der;
		X509 *x;

		memcpy(&head, bytes + at, sizeof(head));
		at += sizeof(head);
		der = bytes + at;
		x = d2i_X509(NULL, &der, (long)head.n);
		assert_non_null(x);
		assert_ptr_equal(der, bytes + at + head.n);
		assert_int_equal(head.kind, want[count++]);
		X509_free(x);
		at += head.n;
	}
	assert_int_equal(count, 4);
	assert_int_equal(ask(SIGNER_NEXT_CA, NULL, 0, NULL, NULL, t.now), SIGNER_NONE);
	free(bytes);
}

static void unknown_and_cut_questions_are_refused(void **state)
{
	(void)state;
	assert_int_equal(ask(99, "x", 1, NULL, NULL, t.now), SIGNER_REFUSED);
	assert_int_equal(ask(SIGNER_ISSUE, "x", 1, NULL, NULL, t.now), SIGNER_REFUSED);
	assert_int_equal(ask(SIGNER_OCSP, "x", 1, NULL, NULL, t.now), SIGNER_REFUSED);
	assert_int_equal(ask(SIGNER_OCSP_PRESIGN, "x", 1, NULL, NULL, t.now), SIGNER_REFUSED);
	assert_int_equal(ask(SIGNER_SCEP_SIGN, "x", 1, NULL, NULL, t.now), SIGNER_REFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allowed_cipher_padding_and_encoding_opens),
		cmocka_unit_test(threat_43_each_recipient_costs_a_decryption_and_four_are_the_most),
		cmocka_unit_test(ciphers_that_are_switched_off_are_named_as_such),
		cmocka_unit_test(single_des_opens_only_behind_its_switch),
		cmocka_unit_test(cert_reps_verify_and_failures_have_an_empty_content),
		cmocka_unit_test(cert_reps_that_contradict_themselves_are_refused),
		cmocka_unit_test(profiles_are_signed_and_verify_up_to_the_root),
		cmocka_unit_test(the_chain_names_every_certificate_and_its_kind),
		cmocka_unit_test(unknown_and_cut_questions_are_refused),
		cmocka_unit_test(threat_43_cut_flipped_and_foreign_envelopes_read_the_same),
		cmocka_unit_test(
		    threat_43_a_flood_of_bad_messages_is_refused_before_the_key_is_used),
	};

	return cmocka_run_group_tests(tests, make, drop);
}
