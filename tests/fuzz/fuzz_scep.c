/*
 * SCEP messages: whatever bytes come, what is accepted has an RSA signer of a fit size, a printable transaction id and a bounded
 * envelope, reads the same twice, and can be answered; what is refused for its signature or later can be refused by name.
 */
#include "enroll/worker/scep_message.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include "fuzz.h"

static void check_names(const char *p, size_t n)
{
	X509_NAME *issuer, *subject;
	ASN1_INTEGER *serial;

	if (scep_read_issuer_serial(p, n, &issuer, &serial) == 0) {
		FUZZ_CHECK(issuer != NULL && serial != NULL);
		X509_NAME_free(issuer);
		ASN1_INTEGER_free(serial);
	}
	if (scep_read_issuer_subject(p, n, &issuer, &subject) == 0) {
		FUZZ_CHECK(issuer != NULL && subject != NULL);
		X509_NAME_free(issuer);
		X509_NAME_free(subject);
	}
}

static void check_answerable(const struct scep_request *r)
{
	FUZZ_CHECK(r->type == SCEP_RENEWAL_REQ || (r->type >= SCEP_PKCS_REQ && r->type <= SCEP_GET_CRL));
	FUZZ_CHECK(r->transaction_n >= 1 && r->transaction_n <= SCEP_TRANSACTION_MAX);
	FUZZ_CHECK(r->nonce_n >= 1 && r->nonce_n <= SCEP_NONCE_MAX);
	for (size_t i = 0; i < r->transaction_n; i++)
		FUZZ_CHECK(r->transaction[i] >= 0x20 && r->transaction[i] <= 0x7e);
	FUZZ_CHECK(scep_certificate(r).n > 0);
}

static void check_accepted(const struct scep_request *r)
{
	uint8_t spki[SHA256_SIZE];
	unsigned char *envelope;
	size_t n;

	check_answerable(r);
	FUZZ_CHECK(r->key != NULL && EVP_PKEY_get_bits(r->key) >= 2048);
	FUZZ_CHECK(r->envelope != NULL && r->envelope_n > 0 && r->envelope_n <= SCEP_ENVELOPE_MAX);
	FUZZ_CHECK(scep_spki_sha256(r, spki) == 0);
	envelope = scep_envelope(r, "certificate", 11, &n);
	FUZZ_CHECK(envelope != NULL && n > 11);
	OPENSSL_free(envelope);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	const struct scep_rules all = { .sha1 = true, .des3 = true, .des = true }, none = { 0 };
	struct scep_request r, again;
	enum scep_result rc;
	char *copy;

	if (n > 65536)
		return 0;
	copy = fuzz_exact(bytes, n);
	rc = scep_request_read(&r, copy, n, &all);
	FUZZ_CHECK(scep_result_text(rc)[0] != '\0');
	FUZZ_CHECK(scep_request_read(&again, copy, n, &all) == rc);
	FUZZ_CHECK(again.envelope_n == r.envelope_n && again.type == r.type);
	scep_request_clear(&again);
	if (rc == SCEP_OK)
		check_accepted(&r);
	else if (rc > SCEP_UNKNOWN_TYPE)
		check_answerable(&r);
	scep_request_clear(&r);
	rc = scep_request_read(&r, copy, n, &none);
	FUZZ_CHECK(rc != SCEP_OK || (r.digest != NID_sha1 && r.cipher != NID_des_cbc && r.cipher != NID_des_ede3_cbc));
	scep_request_clear(&r);
	check_names(copy, n);
	free(copy);
	ERR_clear_error();
	return 0;
}
