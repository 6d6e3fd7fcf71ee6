/*
 * ota: verifies and reads what a device posts to the over-the-air profile service. Asks nobody, answers nothing.
 * Runs in the worker of easenroll.
 */
#include "enroll/worker/ota.h"

#include <stdlib.h>
#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "common/text.h"
#include "enroll/worker/ota_plist.h"

#define CHAIN_MAX 8	/* certificates in a message */

struct ota {
	STACK_OF(X509) *device_cas, *our_cas;
	X509_STORE *device_store, *our_store;	/* the same, as trust anchors whether or not they sign themselves */
};

const char *ota_result_text(enum ota_result result)
{
	switch (result) {
	case OTA_OK: return "good";
	case OTA_TOO_LARGE: return "too large";
	case OTA_NOT_CMS: return "not a signed message with its content";
	case OTA_SIGNERS: return "not exactly one signer";
	case OTA_DIGEST: return "a hash too weak";
	case OTA_SIGNATURE: return "bad signature";
	case OTA_UNTRUSTED: return "signer under no accepted CA";
	case OTA_LIST: return "not a device's property list";
	case OTA_FIELD: return "bad field";
	case OTA_NO_MEMORY: return "out of memory";
	}
	return "unknown";
}

/* --- trust --- */

static STACK_OF(X509) *read_all(struct strv pem)
{
	STACK_OF(X509) *all = sk_X509_new_null();
	BIO *in = BIO_new_mem_buf(pem.n > 0 ? pem.p : "", (int)pem.n);
	X509 *cert = NULL;
	bool good = all != NULL && in != NULL;

	while (good && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL)
		if (sk_X509_num(all) >= OTA_CA_MAX || sk_X509_push(all, cert) <= 0) {
			X509_free(cert);
			good = false;
		}
	/* the end is "no start line"; anything else is a broken certificate */
	if (good && ERR_peek_last_error() != 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		good = false;
	ERR_clear_error();
	BIO_free(in);
	if (good)
		return all;
	sk_X509_pop_free(all, X509_free);
	return NULL;
}

static X509_STORE *store_of(STACK_OF(X509) *all)
{
	X509_STORE *store = X509_STORE_new();

	for (int i = 0; store != NULL && i < sk_X509_num(all); i++)
		if (X509_STORE_add_cert(store, sk_X509_value(all, i)) != 1) {
			X509_STORE_free(store);
			store = NULL;
		}
	return store;
}

struct ota *ota_new(struct strv device_cas, struct strv our_cas)
{
	struct ota *o = calloc(1, sizeof(*o));

	if (o == NULL || device_cas.n > OTA_POST_MAX || our_cas.n > OTA_POST_MAX)
		goto bad;
	o->device_cas = read_all(device_cas);
	o->our_cas = read_all(our_cas);
	if (o->device_cas == NULL || o->our_cas == NULL || sk_X509_num(o->our_cas) < 1 ||
	    (device_cas.n > 0 && sk_X509_num(o->device_cas) < 1))
		goto bad;
	o->device_store = store_of(o->device_cas);
	o->our_store = store_of(o->our_cas);
	if (o->device_store != NULL && o->our_store != NULL)
		return o;
bad:
	ota_free(o);
	return NULL;
}

void ota_free(struct ota *o)
{
	if (o == NULL)
		return;
	sk_X509_pop_free(o->device_cas, X509_free);
	sk_X509_pop_free(o->our_cas, X509_free);
	X509_STORE_free(o->device_store);
	X509_STORE_free(o->our_store);
	free(o);
}

/* --- the message --- */

static enum ota_result parse(struct strv body, CMS_ContentInfo **out)
{
	const unsigned char *p = (const unsigned char *)body.p;
	CMS_ContentInfo *cms;
	ASN1_OCTET_STRING **content;

	*out = NULL;
	if (body.n > OTA_POST_MAX)
		return OTA_TOO_LARGE;
	cms = body.n > 0 ? d2i_CMS_ContentInfo(NULL, &p, (long)body.n) : NULL;
	if (cms == NULL)
		return OTA_NOT_CMS;
	*out = cms;
	if (p != (const unsigned char *)body.p + body.n || OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed ||
	    OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data)
		return OTA_NOT_CMS;
	content = CMS_get0_content(cms);
	if (content == NULL || *content == NULL)
		return OTA_NOT_CMS;
	return ASN1_STRING_length(*content) > OTA_PLIST_MAX ? OTA_TOO_LARGE : OTA_OK;
}

static enum ota_result one_signer(CMS_ContentInfo *cms, CMS_SignerInfo **info)
{
	STACK_OF(CMS_SignerInfo) *all = CMS_get0_SignerInfos(cms);

	if (all == NULL || sk_CMS_SignerInfo_num(all) != 1)
		return OTA_SIGNERS;
	*info = sk_CMS_SignerInfo_value(all, 0);
	return OTA_OK;
}

static int digest_of(CMS_SignerInfo *info)
{
	X509_ALGOR *digest = NULL;
	const ASN1_OBJECT *name = NULL;

	CMS_SignerInfo_get0_algs(info, NULL, NULL, &digest, NULL);
	X509_ALGOR_get0(&name, NULL, NULL, digest);
	return OBJ_obj2nid(name);
}

static bool digest_is_good(int nid, enum ota_phase phase)
{
	return nid == NID_sha256 || nid == NID_sha384 || nid == NID_sha512 || (nid == NID_sha1 && phase == OTA_BUILT_IN);
}

/* By the issuer's name alone: what it is worth, the chain says. */
static enum ota_phase phase_of(const struct ota *o, X509 *signer)
{
	for (int i = 0; i < sk_X509_num(o->our_cas); i++)
		if (X509_NAME_cmp(X509_get_issuer_name(signer), X509_get_subject_name(sk_X509_value(o->our_cas, i))) == 0)
			return OTA_ENROLLED;
	return OTA_BUILT_IN;
}

static enum ota_result check_chain(const struct ota *o, X509 *signer, STACK_OF(X509) *others, enum ota_phase phase, int64_t now)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	enum ota_result r = OTA_NO_MEMORY;
	X509_VERIFY_PARAM *param;

	if (ctx == NULL || X509_STORE_CTX_init(ctx, phase == OTA_ENROLLED ? o->our_store : o->device_store, signer, others) != 1)
		goto out;
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_depth(param, CHAIN_MAX);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
	if (phase == OTA_ENROLLED) {
		X509_VERIFY_PARAM_set_auth_level(param, 2);
		X509_VERIFY_PARAM_set_time(param, (time_t)now);
		if (X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_CLIENT) != 1)
			goto out;
	} else {
		X509_VERIFY_PARAM_set_auth_level(param, 0);
		X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME);
	}
	r = X509_verify_cert(ctx) == 1 ? OTA_OK : OTA_UNTRUSTED;
out:
	X509_STORE_CTX_free(ctx);
	return r;
}

/* The signer's certificate from the message: CMS_verify() has found it and checked the signature with it. */
static enum ota_result verify(const struct ota *o, CMS_ContentInfo *cms, int64_t now, struct ota_post *out)
{
	STACK_OF(X509) *others = CMS_get1_certs(cms);
	CMS_SignerInfo *info = NULL;
	X509 *signer = NULL;
	enum ota_result r = one_signer(cms, &info);

	if (r == OTA_OK && (others == NULL || sk_X509_num(others) < 1 || sk_X509_num(others) > CHAIN_MAX))
		r = OTA_SIGNERS;
	for (int i = 0; r == OTA_OK && signer == NULL && i < sk_X509_num(others); i++)
		if (CMS_SignerInfo_cert_cmp(info, sk_X509_value(others, i)) == 0)
			signer = sk_X509_value(others, i);
	if (r != OTA_OK || signer == NULL) {
		r = r == OTA_OK ? OTA_SIGNERS : r;
		goto out;
	}
	out->phase = phase_of(o, signer);
	if (!digest_is_good(digest_of(info), out->phase))
		r = OTA_DIGEST;
	else if (out->phase == OTA_BUILT_IN && sk_X509_num(o->device_cas) == 0)
		r = OTA_UNTRUSTED;
	else
		r = check_chain(o, signer, others, out->phase, now);
	/* the chain first: a key of absurd size costs nothing if nobody vouches for it */
	if (r == OTA_OK && CMS_verify(cms, NULL, NULL, NULL, NULL, CMS_NO_SIGNER_CERT_VERIFY | CMS_BINARY) != 1)
		r = OTA_SIGNATURE;
	if (r == OTA_OK && X509_up_ref(signer) == 1)
		out->signer = signer;
out:
	sk_X509_pop_free(others, X509_free);
	return r;
}

/* --- the list --- */

struct field {
	struct strv key;
	size_t at;	/* in struct ota_post */
	bool name;	/* letters, digits and '-' only */
};

static const struct field fields[] = {
	{ STRV("UDID"), offsetof(struct ota_post, udid), true },
	{ STRV("PRODUCT"), offsetof(struct ota_post, product), false },
	{ STRV("VERSION"), offsetof(struct ota_post, version), false },
	{ STRV("SERIAL"), offsetof(struct ota_post, serial), true },
	{ STRV("IMEI"), offsetof(struct ota_post, imei), true },
	{ STRV("MEID"), offsetof(struct ota_post, meid), true },
	{ STRV("CHALLENGE"), offsetof(struct ota_post, challenge), false },
};

static bool is_name(const char *text)
{
	for (; *text != '\0'; text++)
		if (!((*text >= '0' && *text <= '9') || (*text >= 'A' && *text <= 'Z') || (*text >= 'a' && *text <= 'z') || *text == '-'))
			return false;
	return true;
}

/* An IMEI comes as "01 234567 890123 4" too. */
static void drop_spaces(char *text)
{
	char *to = text;

	for (; *text != '\0'; text++)
		if (*text != ' ')
			*to++ = *text;
	*to = '\0';
}

static int take_field(void *arg, struct strv key, struct strv type, struct strv value)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		char *to = (char *)arg + fields[i].at;

		if (!strv_eq(key, fields[i].key))
			continue;
		if (*to != '\0' || !strv_eq(type, STRV("string")) || ota_plist_text(to, OTA_FIELD_MAX, value) < 0)
			return OTA_FIELD;
		if (fields[i].name)
			drop_spaces(to);
		return !fields[i].name || is_name(to) ? 0 : OTA_FIELD;
	}
	return 0;
}

static enum ota_result read_list(CMS_ContentInfo *cms, struct ota_post *out)
{
	ASN1_OCTET_STRING *content = *CMS_get0_content(cms);
	struct strv xml = { (const char *)ASN1_STRING_get0_data(content), (size_t)ASN1_STRING_length(content) };
	int r = xml.n == 0 ? -1 : ota_plist_read(xml, take_field, out);

	/* it was the last to hold the challenge */
	if (xml.n > 0)
		OPENSSL_cleanse((void *)(uintptr_t)xml.p, xml.n);
	if (r != 0)
		return r == OTA_FIELD ? OTA_FIELD : OTA_LIST;
	/* a device says at least which one it is */
	return out->udid[0] != '\0' || out->serial[0] != '\0' ? OTA_OK : OTA_FIELD;
}

enum ota_result ota_open(const struct ota *o, struct strv body, int64_t now, struct ota_post *out)
{
	CMS_ContentInfo *cms = NULL;
	enum ota_result r;

	*out = (struct ota_post){ 0 };
	r = parse(body, &cms);
	if (r == OTA_OK)
		r = verify(o, cms, now, out);
	if (r == OTA_OK)
		r = out->signer == NULL ? OTA_NO_MEMORY : read_list(cms, out);
	if (r != OTA_OK)
		ota_post_clear(out);
	CMS_ContentInfo_free(cms);
	ERR_clear_error();
	return r;
}

void ota_post_clear(struct ota_post *post)
{
	X509_free(post->signer);
	OPENSSL_cleanse(post, sizeof(*post));
}
