/*
 * handshake_chain: is the client's chain one of ours, and what does it say. Runs in the workers.
 * Must not ask about revocation, and must not let OpenSSL keep the chain: facts are copied out.
 */
#include "proxy/worker/handshake_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "common/bundle.h"

#define PRESENTED_MAX 10 /* certificates in a client's message, useless ones included */
#define RSA_BITS_MAX  8192
#define CHAIN_RULES                                                                                \
	"easgate chain rules 2" /* part of the scope: change it with the rules below               \
				 */

/* --- the CA set --- */

static int anchors_read(struct trust *trust, const char *path, struct bundle *files,
    X509_STORE *store, char *why, size_t size)
{
	struct strv pem;
	STACK_OF(X509) *certs;
	struct anchor *more;
	char reason[200];

	if (!bundle_get(files, path, &pem)) {
		snprintf(why, size, "%s: cannot be read", path);
		return -1;
	}
	certs = tls_certificates(pem, reason, sizeof(reason));
	if (certs == NULL) {
		snprintf(why, size, "%s: %s", path, reason);
		return -1;
	}
	more = realloc(
	    trust->anchors, (trust->anchors_count + (size_t)sk_X509_num(certs)) * sizeof(*more));
	if (more != NULL)
		trust->anchors = more;
	snprintf(reason, sizeof(reason), "out of memory");
	while (more != NULL && sk_X509_num(certs) > 0) {
		struct anchor *a = &trust->anchors[trust->anchors_count];
		X509 *cert = sk_X509_value(certs, 0);

		if (X509_check_ca(cert) != 1) {
			snprintf(reason, sizeof(reason),
			    "holds a certificate that is no CA (basicConstraints)");
			break;
		}
		if (X509_STORE_add_cert(store, cert) != 1 || cert_spki_sha256(cert, a->spki) != 0)
			break;
		a->parent = -1;
		a->cert = sk_X509_shift(certs);
		trust->anchors_count++;
	}
	if (more == NULL || sk_X509_num(certs) > 0) {
		snprintf(why, size, "%s: %s", path, reason);
		sk_X509_pop_free(certs, X509_free);
		ERR_clear_error();
		return -1;
	}
	sk_X509_free(certs);
	return 0;
}

/*
 * Which anchor signed which: so that an intermediate that is listed too can still be revoked by its
 * root.
 */
static void anchors_link(struct trust *trust)
{
	for (unsigned i = 0; i < trust->anchors_count; i++) {
		X509 *cert = trust->anchors[i].cert;

		if (X509_self_signed(cert, 0) == 1)
			continue;
		for (unsigned j = 0; j < trust->anchors_count && trust->anchors[i].parent < 0;
		     j++) {
			X509 *issuer = trust->anchors[j].cert;

			if (i != j && X509_check_issued(issuer, cert) == X509_V_OK &&
			    X509_verify(cert, X509_get0_pubkey(issuer)) == 1)
				trust->anchors[i].parent = (int)j;
		}
	}
	ERR_clear_error();
}

static int scope_hash(struct trust *trust)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t one[SHA256_SIZE];
	int ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
	    EVP_DigestUpdate(md, CHAIN_RULES, sizeof(CHAIN_RULES)) == 1;

	for (unsigned i = 0; ok && i < trust->anchors_count; i++)
		ok = cert_sha256(trust->anchors[i].cert, one) == 0 &&
		    EVP_DigestUpdate(md, one, sizeof(one)) == 1;
	for (unsigned i = 0; ok && i < trust->order_count; i++) {
		one[0] = (uint8_t)trust->order[i];
		ok = EVP_DigestUpdate(md, one, 1) == 1;
	}
	ok = ok && EVP_DigestFinal_ex(md, trust->scope, NULL) == 1;
	EVP_MD_CTX_free(md);
	return ok ? 0 : -1;
}

/*
 * Of OpenSSL's strict rules one binds only who issues (RFC 5280 §4.2.1.9): that a CA's
 * basicConstraints be critical. Path validation asks that they be there and say CA (§6.1.4 (k)),
 * which stays asked, as do all other checks of the same certificate. Older CAs' are not critical.
 */
static int but_critical(int ok, X509_STORE_CTX *ctx)
{
	return ok == 1 || X509_STORE_CTX_get_error(ctx) == X509_V_ERR_CA_BCONS_NOT_CRITICAL;
}

static int store_rules(X509_STORE *store)
{
	X509_VERIFY_PARAM *param = X509_VERIFY_PARAM_new();
	/*
	 * The user-initial-policy-set of RFC 5280 §6.1.1; OpenSSL takes "none given" for an empty
	 * set.
	 */
	int ok = param != NULL &&
	    X509_VERIFY_PARAM_add0_policy(param, OBJ_nid2obj(NID_any_policy)) == 1 &&
	    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_CLIENT) == 1 &&
	    X509_VERIFY_PARAM_set_flags(param,
		X509_V_FLAG_X509_STRICT | X509_V_FLAG_POLICY_CHECK | X509_V_FLAG_PARTIAL_CHAIN |
		    X509_V_FLAG_TRUSTED_FIRST) == 1;

	if (ok) {
		X509_VERIFY_PARAM_set_depth(param, CHAIN_LINKS_MAX - 1);
		X509_VERIFY_PARAM_set_auth_level(param, 2);
		ok = X509_STORE_set1_param(store, param) == 1;
	}
	X509_STORE_set_verify_cb(store, but_critical);
	X509_VERIFY_PARAM_free(param);
	return ok ? 0 : -1;
}

int trust_init(struct trust *trust, const struct proxy_settings *proxy,
    const struct host_settings *host, struct bundle *files, char *why, size_t size)
{
	memset(trust, 0, sizeof(*trust));
	memcpy(trust->order, proxy->claim_order, sizeof(trust->order));
	trust->order_count = proxy->claim_count;
	trust->store = X509_STORE_new();
	if (trust->store == NULL || store_rules(trust->store) != 0) {
		tls_error_text(why, size);
		return -1;
	}
	for (unsigned i = 0; i < host->client_ca_count; i++) {
		if (anchors_read(trust, host->client_ca[i], files, trust->store, why, size) != 0)
			return -1;
	}
	anchors_link(trust);
	if (scope_hash(trust) != 0) {
		tls_error_text(why, size);
		return -1;
	}
	return 0;
}

void trust_clear(struct trust *trust)
{
	for (unsigned i = 0; i < trust->anchors_count; i++)
		X509_free(trust->anchors[i].cert);
	free(trust->anchors);
	X509_STORE_free(trust->store);
	memset(trust, 0, sizeof(*trust));
}

STACK_OF(X509_NAME) *trust_names(const struct trust *trust)
{
	STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();

	for (unsigned i = 0; names != NULL && i < trust->anchors_count; i++) {
		X509_NAME *name = X509_NAME_dup(X509_get_subject_name(trust->anchors[i].cert));

		if (name == NULL || sk_X509_NAME_push(names, name) <= 0) {
			X509_NAME_free(name);
			sk_X509_NAME_pop_free(names, X509_NAME_free);
			return NULL;
		}
	}
	return names;
}

/* --- the presented chain --- */

static int hash_certificate(EVP_MD_CTX *md, const X509 *cert)
{
	unsigned char *der = NULL;
	int n = i2d_X509(cert, &der);
	uint8_t length[4] = { (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
		(uint8_t)n };
	int ok = n > 0 && EVP_DigestUpdate(md, length, sizeof(length)) == 1 &&
	    EVP_DigestUpdate(md, der, (size_t)n) == 1;

	OPENSSL_free(der);
	return ok;
}

int chain_key(const struct trust *trust, STACK_OF(X509) *chain, uint8_t key[SHA256_SIZE])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
	    EVP_DigestUpdate(md, trust->scope, SHA256_SIZE) == 1;

	for (int i = 0; ok && i < sk_X509_num(chain); i++)
		ok = hash_certificate(md, sk_X509_value(chain, i));
	ok = ok && EVP_DigestFinal_ex(md, key, NULL) == 1;
	EVP_MD_CTX_free(md);
	return ok ? 0 : -1;
}

/*
 * One of the three curves, by name: explicit parameters are somebody's own curve (CVE-2022-0778 and
 * kin).
 */
static bool curve_good(const X509 *cert)
{
	static const int good[] = { NID_X9_62_prime256v1, NID_secp384r1, NID_secp521r1 };
	X509_ALGOR *algorithm = NULL;
	const void *parameter = NULL;
	int type = 0;

	if (X509_PUBKEY_get0_param(NULL, NULL, NULL, &algorithm, X509_get_X509_PUBKEY(cert)) != 1)
		return false;
	X509_ALGOR_get0(NULL, &type, &parameter, algorithm);
	for (size_t i = 0; type == V_ASN1_OBJECT && i < ARRAY_LEN(good); i++) {
		if (OBJ_obj2nid(parameter) == good[i])
			return true;
	}
	return false;
}

/*
 * What OpenSSL's level 2 leaves open: keys so big that verifying them is an attack, and other
 * curves.
 */
static bool key_good(const X509 *cert)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);

	if (key == NULL)
		return false;
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
		return EVP_PKEY_get_bits(key) <= RSA_BITS_MAX;
	case EVP_PKEY_EC:
		return curve_good(cert);
	case EVP_PKEY_ED25519:
		return true;
	default:
		return false;
	}
}

/*
 * A device's certificate is no CA's. (X509_PURPOSE_SSL_CLIENT wants clientAuth where there is an
 * extendedKeyUsage, and takes no anyExtendedKeyUsage for it; a certificate without one is for any
 * use, RFC 5280 §4.2.1.12.)
 */
static bool leaf_good(X509 *leaf)
{
	uint32_t flags = X509_get_extension_flags(leaf);

	if ((flags & (EXFLAG_INVALID | EXFLAG_CA)) != 0)
		return false;
	return (flags & EXFLAG_KUSAGE) == 0 || (X509_get_key_usage(leaf) & KU_KEY_CERT_SIGN) == 0;
}

static int check_presented(STACK_OF(X509) *chain, const char **problem)
{
	int n = sk_X509_num(chain);

	if (n < 1 || n > PRESENTED_MAX) {
		*problem = "too many certificates";
		return X509_V_ERR_CERT_CHAIN_TOO_LONG;
	}
	for (int i = 0; i < n; i++) {
		if (!key_good(sk_X509_value(chain, i))) {
			*problem = "a key that is not RSA of at most 8192 bits, P-256, P-384, "
				   "P-521 or Ed25519";
			return X509_V_ERR_EE_KEY_TOO_SMALL;
		}
	}
	if (!leaf_good(sk_X509_value(chain, 0))) {
		*problem = "a CA's certificate, not a device's";
		return X509_V_ERR_INVALID_PURPOSE;
	}
	return X509_V_OK;
}

/* --- what a verified chain says --- */

static int not_after_of(const X509 *cert, int64_t *end)
{
	struct tm tm = { 0 };
	int64_t t;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
		return -1;
	t = timegm(&tm);
	if (t < *end)
		*end = t;
	return 0;
}

static int link_add(struct chain_facts *facts, const X509 *cert, const uint8_t issuer[SHA256_SIZE])
{
	struct chain_link *link = &facts->links[facts->links_count];

	if (facts->links_count >= CHAIN_LINKS_MAX)
		return -1;
	memcpy(link->issuer, issuer, SHA256_SIZE);
	point_of_certificate(cert, &link->point);
	if (cert_serial(X509_get0_serialNumber(cert), &link->serial) != CERT_OK) {
		/*
		 * It could not be looked up: the chain has no usable claim, and the rest of it goes
		 * on.
		 */
		facts->claim_result = CERT_BAD_SERIAL;
		memset(&link->serial, 0, sizeof(link->serial));
	}
	facts->links_count++;
	return 0;
}

/* From the anchor that ended the chain on to those of our own that signed it. */
static int links_of_anchors(const struct trust *trust, const X509 *top, struct chain_facts *facts)
{
	unsigned at = 0, steps = 0;

	while (at < trust->anchors_count && X509_cmp(trust->anchors[at].cert, top) != 0)
		at++;
	if (at == trust->anchors_count)
		return -1;
	while (trust->anchors[at].parent >= 0) {
		const struct anchor *parent = &trust->anchors[trust->anchors[at].parent];

		if (steps++ > CHAIN_LINKS_MAX ||
		    not_after_of(parent->cert, &facts->not_after) != 0 ||
		    link_add(facts, trust->anchors[at].cert, parent->spki) != 0)
			return -1;
		at = (unsigned)trust->anchors[at].parent;
	}
	memcpy(facts->anchor, trust->anchors[at].spki, SHA256_SIZE);
	return 0;
}

static int facts_of(const struct trust *trust, STACK_OF(X509) *verified, struct chain_facts *out)
{
	int n = sk_X509_num(verified);
	X509 *leaf = sk_X509_value(verified, 0);
	enum claim_kind bad_kind = CLAIM_NONE;
	uint8_t issuer[SHA256_SIZE];
	enum cert_result rc;

	memset(out, 0, sizeof(*out));
	memcpy(out->scope, trust->scope, SHA256_SIZE);
	out->not_after = INT64_MAX;
	if (n < 2 || cert_sha256(leaf, out->fingerprint) != 0)
		return -1; /* a leaf that is an anchor itself is nobody's device */
	for (int i = 0; i < n; i++) {
		if (not_after_of(sk_X509_value(verified, i), &out->not_after) != 0)
			return -1;
		if (i + 1 < n &&
		    (cert_spki_sha256(sk_X509_value(verified, i + 1), issuer) != 0 ||
			link_add(out, sk_X509_value(verified, i), issuer) != 0))
			return -1;
	}
	if (links_of_anchors(trust, sk_X509_value(verified, n - 1), out) != 0)
		return -1;
	if (out->claim_result != CERT_OK)
		return 0;
	rc = identity_from_certificate(
	    leaf, trust->order, trust->order_count, &out->claim, &bad_kind);
	out->claim_result = rc;
	out->bad_kind = bad_kind;
	return 0;
}

static void say_why(X509 *leaf, const char *problem, int depth, char *why, size_t size)
{
	char subject[100], issuer[100];

	cert_name_for_log(X509_get_subject_name(leaf), subject, sizeof(subject));
	cert_name_for_log(X509_get_issuer_name(leaf), issuer, sizeof(issuer));
	snprintf(why, size, "%s (certificate %d of the chain of '%s', issued by '%s')", problem,
	    depth, subject, issuer);
}

int chain_verify(const struct trust *trust, STACK_OF(X509) *chain, struct chain_facts *out,
    char *why, size_t size)
{
	X509_STORE_CTX *ctx = NULL;
	const char *problem = NULL;
	X509 *leaf = sk_X509_num(chain) > 0 ? sk_X509_value(chain, 0) : NULL;
	int depth = 0, error = X509_V_ERR_UNSPECIFIED;

	if (leaf == NULL)
		return X509_V_ERR_UNSPECIFIED;
	error = check_presented(chain, &problem);
	if (error != X509_V_OK)
		goto out;
	error = X509_V_ERR_OUT_OF_MEM;
	ctx = X509_STORE_CTX_new();
	if (ctx == NULL || X509_STORE_CTX_init(ctx, trust->store, leaf, chain) != 1)
		goto out;
	if (X509_verify_cert(ctx) == 1) {
		error = X509_V_OK;
	} else {
		error = X509_STORE_CTX_get_error(ctx);
		depth = X509_STORE_CTX_get_error_depth(ctx);
		if (error == X509_V_OK)
			error = X509_V_ERR_UNSPECIFIED;
	}
	if (error == X509_V_OK && facts_of(trust, X509_STORE_CTX_get0_chain(ctx), out) != 0) {
		error = X509_V_ERR_CERT_REJECTED;
		problem =
		    "the chain is too long, or the device's certificate is itself listed as a CA";
	}
out:
	if (error != X509_V_OK)
		say_why(leaf, problem != NULL ? problem : X509_verify_cert_error_string(error),
		    depth, why, size);
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return error;
}
