/*
 * ocsp_read: reads OCSPRequest (RFC 6960 section 4.1.1) by OpenSSL's decoder and takes what an answer needs. Worker of easenroll and fuzzers.
 */
#include "enroll/worker/ocsp_read.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>

static bool copy(uint8_t *out, size_t size, const ASN1_OCTET_STRING *from, size_t want)
{
	int n = from != NULL ? ASN1_STRING_length(from) : -1;

	if (n < 0 || (size_t)n != want || want > size)
		return false;
	memcpy(out, ASN1_STRING_get0_data(from), want);
	return true;
}

static void read_serial(struct ocsp_asked *a, const ASN1_INTEGER *serial)
{
	const uint8_t *p = ASN1_STRING_get0_data(serial);
	int n = ASN1_STRING_length(serial);

	if (ASN1_STRING_type(serial) != V_ASN1_INTEGER || n < 1 || n > SIGNER_SERIAL)
		return;
	memcpy(a->serial + SIGNER_SERIAL - n, p, (size_t)n);
	a->possible = true;
}

static int read_one(OCSP_ONEREQ *one, struct ocsp_asked *a)
{
	OCSP_CERTID *id = OCSP_onereq_get0_id(one);
	ASN1_OCTET_STRING *name = NULL, *key = NULL;
	ASN1_OBJECT *hash = NULL;
	ASN1_INTEGER *serial = NULL;
	unsigned char *der = NULL;
	int n, nid;

	*a = (struct ocsp_asked){ .id_n = 0 };
	if (id == NULL || OCSP_id_get0_info(&name, &hash, &key, &serial, id) != 1 || serial == NULL)
		return -1;
	n = i2d_OCSP_CERTID(id, &der);
	if (n <= 0 || (size_t)n > sizeof(a->id)) {
		OPENSSL_free(der);
		return -1;
	}
	memcpy(a->id, der, (size_t)n);
	a->id_n = (size_t)n;
	OPENSSL_free(der);
	nid = OBJ_obj2nid(hash);
	a->hash_n = nid == NID_sha1 ? 20 : nid == NID_sha256 ? 32 : 0;
	if (a->hash_n > 0 && (!copy(a->name_hash, sizeof(a->name_hash), name, a->hash_n) || !copy(a->key_hash, sizeof(a->key_hash), key, a->hash_n)))
		return -1;
	read_serial(a, serial);
	return 0;
}

static bool has_unknown_critical(OCSP_REQUEST *request)
{
	for (int i = 0; i < OCSP_REQUEST_get_ext_count(request); i++) {
		X509_EXTENSION *e = OCSP_REQUEST_get_ext(request, i);
		int nid = OBJ_obj2nid(X509_EXTENSION_get_object(e));
		if (X509_EXTENSION_get_critical(e) && nid != NID_id_pkix_OCSP_Nonce && nid != NID_id_pkix_OCSP_acceptableResponses)
			return true;
	}
	for (int i = 0; i < OCSP_request_onereq_count(request); i++) {
		OCSP_ONEREQ *one = OCSP_request_onereq_get0(request, i);
		for (int k = 0; k < OCSP_ONEREQ_get_ext_count(one); k++) {
			if (X509_EXTENSION_get_critical(OCSP_ONEREQ_get_ext(one, k)))
				return true;
		}
	}
	return false;
}

/* The extension's value is an OCTET STRING inside the extension's own (RFC 9654); clients of old put the bare bytes there. */
static int read_nonce(OCSP_REQUEST *request, struct ocsp_query *out)
{
	int at = OCSP_REQUEST_get_ext_by_NID(request, NID_id_pkix_OCSP_Nonce, -1);
	const ASN1_OCTET_STRING *value;
	const unsigned char *p;
	ASN1_OCTET_STRING *inner;
	int n;

	if (at < 0)
		return 0;
	if (OCSP_REQUEST_get_ext_by_NID(request, NID_id_pkix_OCSP_Nonce, at) >= 0)
		return -1;
	value = X509_EXTENSION_get_data(OCSP_REQUEST_get_ext(request, at));
	p = ASN1_STRING_get0_data(value);
	inner = d2i_ASN1_OCTET_STRING(NULL, &p, ASN1_STRING_length(value));
	if (inner != NULL && p != ASN1_STRING_get0_data(value) + ASN1_STRING_length(value)) {
		ASN1_OCTET_STRING_free(inner);
		inner = NULL;
	}
	n = ASN1_STRING_length(inner != NULL ? inner : value);
	if (n >= 1 && n <= SIGNER_NONCE_MAX) {
		memcpy(out->nonce, ASN1_STRING_get0_data(inner != NULL ? inner : value), (size_t)n);
		out->nonce_n = (size_t)n;
	}
	ASN1_OCTET_STRING_free(inner);
	return n >= 1 && n <= SIGNER_NONCE_MAX ? 0 : -1;
}

enum ocsp_result ocsp_read(struct strv der, struct ocsp_query *out)
{
	const unsigned char *p = (const unsigned char *)der.p;
	enum ocsp_result rc = OCSP_READ_MALFORMED;
	OCSP_REQUEST *request = NULL;
	int n;

	out->n = 0;
	out->nonce_n = 0;
	ERR_clear_error();
	if (der.n == 0 || der.n > OCSP_BYTES_MAX)
		return rc;
	request = d2i_OCSP_REQUEST(NULL, &p, (long)der.n);
	if (request == NULL || p != (const unsigned char *)der.p + der.n || has_unknown_critical(request))
		goto out;
	n = OCSP_request_onereq_count(request);
	if (n < 1 || n > OCSP_REQUESTS_MAX || read_nonce(request, out) < 0)
		goto out;
	for (int i = 0; i < n; i++) {
		if (read_one(OCSP_request_onereq_get0(request, i), &out->asked[i]) < 0)
			goto out;
	}
	out->n = (unsigned)n;
	rc = OCSP_READ_OK;
out:
	OCSP_REQUEST_free(request);
	ERR_clear_error();
	return rc;
}
