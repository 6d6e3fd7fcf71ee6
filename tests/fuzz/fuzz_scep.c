/*
 * SCEP messages: whatever bytes come, what is accepted has an RSA signer of a fit size, a printable transaction id and a bounded
 * envelope, reads the same twice, and can be answered; what is refused for its signature or later can be refused by name. Each message is
 * read as it comes, and signed anew by a key of ours: anybody can sign, so what stands behind the signature is as hostile as the rest.
 */
#include "enroll/worker/scep_message.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include "common/der.h"
#include "enroll/cms_form.h"
#include "der_mutate.h"
#include "fuzz_key.h"

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

/* Bytes in the message that are these, overwritten by others of that length. */
static void overwrite(struct strv message, struct strv these, const void *by)
{
	char *at = these.n > 0 ? memmem(message.p, message.n, these.p, these.n) : NULL;

	if (at != NULL)
		memcpy(at, by, these.n);
}

/* Our key in place of every other one of its length. */
static void take_keys(struct strv message, const CMS_SIGNED_FORM *form)
{
	static unsigned char *spki;
	static int spki_n;
	struct der_certificate parts;

	if (spki == NULL)
		spki_n = i2d_PUBKEY(fuzz_key(), &spki);
	for (int i = 0; i < sk_ASN1_TYPE_num(form->certificates); i++) {
		const ASN1_TYPE *value = sk_ASN1_TYPE_value(form->certificates, i);

		if (ASN1_TYPE_get(value) == V_ASN1_SEQUENCE && der_certificate_read(asn1_string_view(value->value.sequence), &parts) == 0 &&
		    parts.spki.n == (size_t)spki_n)
			overwrite(message, parts.spki, spki);
	}
}

/* The digest that it should have, where there is one of SHA-256's length. */
static void take_digest(struct strv message, const CMS_SIGNED_FORM *form, const CMS_SIGNER_FORM *signer)
{
	static const char oid[] = { 0x2a, (char)0x86, 0x48, (char)0x86, (char)0xf7, 0x0d, 0x01, 0x09, 0x04 };
	const ASN1_TYPE *digest = cms_signed_attribute(signer, (struct strv){ oid, sizeof(oid) }, V_ASN1_OCTET_STRING);
	struct strv content = form->content->bytes != NULL ? asn1_string_view(form->content->bytes) : (struct strv){ "", 0 };
	uint8_t hash[SHA256_SIZE];

	SHA256((const uint8_t *)content.p, content.n, hash);
	if (digest != NULL && ASN1_STRING_length(digest->value.octet_string) == SHA256_SIZE)
		overwrite(message, asn1_string_view(digest->value.octet_string), hash);
}

static void sign(struct strv message, const CMS_SIGNER_FORM *signer)
{
	unsigned char *der = NULL, signature[256];
	size_t size = sizeof(signature);
	int n = cms_signed_attributes(signer, &der);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (n > 0 && ASN1_STRING_length(signer->signature) == (int)size && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, fuzz_key()) == 1 &&
	    EVP_DigestSign(ctx, signature, &size, der, (size_t)n) == 1)
		overwrite(message, asn1_string_view(signer->signature), signature);
	EVP_MD_CTX_free(ctx);
	OPENSSL_free(der);
}

/* Changes the message in its place. */
static void sign_anew(struct strv message)
{
	for (unsigned step = 0; step < 3; step++) {
		CMS_SIGNED_FORM *form = cms_signed_read(message);
		const CMS_SIGNER_FORM *signer = form != NULL ? sk_CMS_SIGNER_FORM_value(form->signers, 0) : NULL;

		if (signer != NULL && step == 0)
			take_keys(message, form);
		else if (signer != NULL && step == 1)
			take_digest(message, form, signer);
		else if (signer != NULL)
			sign(message, signer);
		cms_signed_free(form);
	}
	ERR_clear_error();
}

static void read_one(char *copy, size_t n)
{
	const struct scep_rules all = { .sha1 = true, .des3 = true, .des = true }, none = { 0 };
	struct scep_request r, again;
	enum scep_result rc;

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
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *copy;

	if (n > 65536)
		return 0;
	copy = fuzz_exact(bytes, n);
	read_one(copy, n);
	check_names(copy, n);
	sign_anew((struct strv){ copy, n });
	read_one(copy, n);
	free(copy);
	ERR_clear_error();
	return 0;
}
