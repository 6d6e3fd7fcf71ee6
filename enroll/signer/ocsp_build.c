/*
 * ocsp_build: signs what the worker says of certificates, after checking that it speaks of ours. Runs in the signer.
 */
#include "enroll/signer/ocsp_build.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "enroll/signer/authority_build.h"

#define BACKDATE 3600 /* clients' clocks */

void ocsp_signer_clear(struct ocsp_signer *s)
{
	X509_free(s->certificate);
	EVP_PKEY_free(s->key);
	s->certificate = NULL;
	s->key = NULL;
	s->renew_at = s->not_before = 0;
}

static int make(struct ocsp_signer *s, int64_t now, struct refusal *r)
{
	struct authority a = { .kind = AUTHORITY_OCSP,
		.issuer = s->issuer->certificate,
		.issuer_key = s->issuer->pkey,
		.not_before = now - BACKDATE,
		.not_after = now + s->seconds };
	bool rsa = EVP_PKEY_get_base_id(s->issuer->pkey) ==
	    EVP_PKEY_RSA; /* who chose RSA for the CA has clients that know no other */
	char name[48];
	X509 *certificate;

	snprintf(name, sizeof(name), "OCSP signer %lld", (long long)(now / 86400));
	a.common_name = name;
	a.key = key_make(rsa ? KEY_RSA_2048 : KEY_EC_P256, r);
	if (a.key == NULL)
		return -1;
	certificate = authority_build(&a, r);
	if (certificate == NULL) {
		EVP_PKEY_free(a.key);
		return -1;
	}
	ocsp_signer_clear(s);
	s->certificate = certificate;
	s->key = a.key;
	s->not_before = a.not_before;
	s->renew_at = now + s->seconds / 2;
	return 0;
}

int ocsp_signer_keep(struct ocsp_signer *s, int64_t now, struct refusal *r)
{
	if (now < s->renew_at && now >= s->not_before)
		return 0;
	if (make(s, now, r) == 0)
		return 0;
	s->not_before = now;
	s->renew_at = now + OCSP_SIGNER_RETRY;
	return -1;
}

/* The CertID, if it names a certificate of this issuer by a hash that we answer to. */
static OCSP_CERTID *read_cert_id(
    const struct ocsp_signer *s, const struct signer_ocsp_entry *e, struct refusal *r)
{
	const unsigned char *at = e->cert_id;
	OCSP_CERTID *id = e->cert_id_n <= sizeof(e->cert_id) ?
	    d2i_OCSP_CERTID(NULL, &at, (long)e->cert_id_n) :
	    NULL,
		    *ours = NULL;
	ASN1_OBJECT *hash = NULL;
	ASN1_INTEGER *serial = NULL;
	const EVP_MD *md;
	bool good = false;

	if (id != NULL && at == e->cert_id + e->cert_id_n &&
	    OCSP_id_get0_info(NULL, &hash, NULL, &serial, id)) {
		md = OBJ_obj2nid(hash) == NID_sha1  ? EVP_sha1() :
		    OBJ_obj2nid(hash) == NID_sha256 ? EVP_sha256() :
						      NULL;
		if (md != NULL)
			ours = OCSP_cert_id_new(md, X509_get_subject_name(s->issuer->certificate),
			    X509_get0_pubkey_bitstr(s->issuer->certificate), serial);
		good = ours != NULL && OCSP_id_issuer_cmp(ours, id) == 0;
	}
	OCSP_CERTID_free(ours);
	if (!good) {
		OCSP_CERTID_free(id);
		refuse(r, SIGNER_REFUSED,
		    "a CertID that is not of this issuer, or not by SHA-1 or SHA-256");
		return NULL;
	}
	return id;
}

static int add_entry(OCSP_BASICRESP *basic, const struct ocsp_signer *s,
    const struct signer_ocsp *q, const struct signer_ocsp_entry *e, struct refusal *r)
{
	static const int statuses[] = { V_OCSP_CERTSTATUS_GOOD, V_OCSP_CERTSTATUS_REVOKED,
		V_OCSP_CERTSTATUS_UNKNOWN };
	bool revoked = e->status == SIGNER_OCSP_REVOKED;
	ASN1_TIME *at = NULL, *from = NULL, *to = NULL;
	OCSP_CERTID *id;
	bool good;

	if (e->status > SIGNER_OCSP_UNKNOWN ||
	    (revoked && (e->reason > 10 || e->reason == 7 || e->reason == 8 || e->revoked_at < 0)))
		return refuse(r, SIGNER_REFUSED, "a status or reason that does not exist");
	id = read_cert_id(s, e, r);
	if (id == NULL)
		return -1;
	if (revoked)
		at = ASN1_GENERALIZEDTIME_set(NULL, (time_t)e->revoked_at);
	from = ASN1_GENERALIZEDTIME_set(NULL, (time_t)q->this_update);
	to = ASN1_GENERALIZEDTIME_set(NULL, (time_t)q->next_update);
	/* reason 0 is left out, as in CRLs */
	good = from != NULL && to != NULL && (!revoked || at != NULL) &&
	    OCSP_basic_add1_status(basic, id, statuses[e->status],
		revoked && e->reason != 0 ? (int)e->reason : OCSP_REVOKED_STATUS_NOSTATUS, at, from,
		to) != NULL;
	ASN1_TIME_free(at);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	OCSP_CERTID_free(id);
	return good ? 0 : refuse_openssl(r, "cannot write a single response");
}

static int check(const struct ocsp_signer *s, const struct signer_ocsp *q, int64_t now, struct refusal *r)
{
	int64_t begin, end;

	if (q->entries_n == 0 || q->entries_n > SIGNER_OCSP_MAX || q->nonce_n > SIGNER_NONCE_MAX)
		return refuse(r, SIGNER_REFUSED,
		    "1 to %d certificates and a nonce of at most %d bytes", SIGNER_OCSP_MAX,
		    SIGNER_NONCE_MAX);
	if (q->this_update < 0 || q->next_update <= q->this_update)
		return refuse(r, SIGNER_REFUSED, "the response would end before it begins");
	if (s->certificate == NULL ||
	    authority_time(X509_get0_notBefore(s->certificate), &begin) < 0 ||
	    authority_time(X509_get0_notAfter(s->certificate), &end) < 0 || now < begin || now >= end)
		return refuse(r, SIGNER_BROKEN, "there is no OCSP signer with a valid certificate");
	if (q->next_update > end)
		return refuse(
		    r, SIGNER_REFUSED, "the response would outlive its signer's certificate");
	return 0;
}

unsigned char *ocsp_build(const struct ocsp_signer *s, const struct signer_ocsp *q,
    const struct signer_ocsp_entry *entries, int64_t now, size_t *n, struct refusal *r)
{
	OCSP_BASICRESP *basic = NULL;
	OCSP_RESPONSE *response = NULL;
	unsigned char *out = NULL, nonce[SIGNER_NONCE_MAX];
	int len;

	if (check(s, q, now, r) < 0)
		return NULL;
	basic = OCSP_BASICRESP_new();
	for (size_t i = 0; basic != NULL && i < q->entries_n; i++) {
		if (add_entry(basic, s, q, &entries[i], r) < 0)
			goto out;
	}
	memcpy(nonce, q->nonce, sizeof(nonce));
	if (basic == NULL ||
	    (q->nonce_n > 0 && !OCSP_basic_add1_nonce(basic, nonce, (int)q->nonce_n)) ||
	    !OCSP_basic_sign(
		basic, s->certificate, s->key, key_digest(s->key), NULL, OCSP_RESPID_KEY)) {
		refuse_openssl(r, "cannot sign the OCSP response");
		goto out;
	}
	response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
	len = response != NULL ? i2d_OCSP_RESPONSE(response, &out) : -1;
	if (len <= 0) {
		refuse_openssl(r, "cannot encode the OCSP response");
		out = NULL;
	} else {
		*n = (size_t)len;
	}
out:
	OCSP_RESPONSE_free(response);
	OCSP_BASICRESP_free(basic);
	return out;
}
