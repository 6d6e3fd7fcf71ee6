/*
 * serve: answers the workers' questions. Runs in the signer; every byte of a question may come from a captured worker.
 */
#include "enroll/signer/serve.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/provider.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/text.h"
#include "enroll/signer/authority_build.h"
#include "enroll/signer/certificate_build.h"
#include "enroll/signer/message_sign.h"
#include "enroll/signer/scep_open.h"

#define WARN_SECONDS (400 * 86400ll) /* about when the certificates that it signs begin to be cut */
#define SIGNED_KINDS (1u << CA_ISSUING | 1u << CA_RA | 1u << CA_PROFILE)

/* What an answer's bytes are gathered in. */
struct bytes {
	uint8_t *p;
	size_t n;
};

static int bytes_add(struct bytes *b, const void *p, size_t n, struct refusal *r)
{
	uint8_t *larger;

	if (n > SIGNER_DATA_MAX - b->n)
		return refuse(
		    r, SIGNER_REFUSED, "the answer would be larger than %d bytes", SIGNER_DATA_MAX);
	larger = realloc(b->p, b->n + n + 1);
	if (larger == NULL)
		return refuse(r, SIGNER_BROKEN, "out of memory");
	memcpy(larger + b->n, p, n);
	b->p = larger;
	b->n += n;
	return 0;
}

/* Takes DER that OpenSSL allocated. */
static int bytes_take(struct bytes *b, unsigned char *der, size_t n, struct refusal *r)
{
	int rc = der != NULL ? bytes_add(b, der, n, r) : -1;

	OPENSSL_clear_free(der, der != NULL ? n : 0);
	return rc;
}

static void warn_of_end(const struct ca_entry *issuing, int64_t now)
{
	int64_t end;

	if (authority_time(X509_get0_notAfter(issuing->certificate), &end) == 0 &&
	    end - now < WARN_SECONDS)
		log_say(LOG_WARNING, "ca_ends",
		    "issuing CA %u ends in %lld days, and no certificate outlives it: make the next one with easenroll ca rollover",
		    issuing->generation, (long long)((end - now) / 86400));
}

int signer_init(struct signer *s, const struct signer_setup *setup, int64_t now, struct refusal *r)
{
	struct key_source source = { setup->key_password_file, setup->pkcs11_module,
		setup->pin_file };

	memset(s, 0, sizeof(*s));
	s->setup = setup;
	s->opens = s->others = (struct refusal_bucket){ .at = now, .left = REFUSALS_BURST };
	if (!ca_files_exist(setup->ca_folder))
		return refuse(r, SIGNER_BROKEN, "%s holds no CA: make one with easenroll ca init",
		    setup->ca_folder);
	if (ca_files_load(&s->ca, setup->ca_folder, r) < 0 ||
	    ca_files_load_keys(&s->ca, SIGNED_KINDS, &source, r) < 0)
		return -1;
	if (ca_files_find(&s->ca, CA_ISSUING, CA_CURRENT) == NULL)
		return refuse(r, SIGNER_BROKEN,
		    "%s: no current issuing CA; a waiting one is completed with easenroll ca import",
		    setup->ca_folder);
	if (setup->known_keys_file[0] != '\0' && (s->known = known_keys_read(setup->known_keys_file, r)) == NULL)
		return -1;
	if (setup->legacy_des &&
	    ((s->providers[0] = OSSL_PROVIDER_load(NULL, "default")) == NULL ||
		(s->providers[1] = OSSL_PROVIDER_load(NULL, "legacy")) == NULL))
		return refuse_openssl(
		    r, "enroll.scep.legacy_des: OpenSSL's legacy provider cannot be loaded");
	for (size_t i = 0; i < s->ca.n; i++) {
		if (s->ca.entries[i].kind == CA_ISSUING && s->ca.entries[i].certificate != NULL)
			s->ocsp[i] = (struct ocsp_signer){ .issuer = &s->ca.entries[i],
				.seconds = setup->ocsp_signer_seconds };
	}
	signer_keep(s, now);
	warn_of_end(ca_files_find(&s->ca, CA_ISSUING, CA_CURRENT), now);
	return 0;
}

void signer_clear(struct signer *s)
{
	for (size_t i = 0; i < CA_ENTRIES_MAX; i++)
		ocsp_signer_clear(&s->ocsp[i]);
	ca_files_clear(&s->ca);
	known_keys_free(s->known);
	s->known = NULL;
	for (size_t i = ARRAY_LEN(s->providers); i-- > 0;) {
		if (s->providers[i] != NULL)
			OSSL_PROVIDER_unload(s->providers[i]);
		s->providers[i] = NULL;
	}
}

static void keep_one(struct ocsp_signer *o, int64_t now)
{
	struct refusal r = { 0 };

	if (ocsp_signer_keep(o, now, &r) < 0)
		log_say(LOG_WARNING, "ocsp_signer", "issuing CA %u has no new OCSP signer: %s",
		    o->issuer->generation, r.text);
}

void signer_keep(struct signer *s, int64_t now)
{
	int64_t end;

	for (size_t i = 0; i < s->ca.n; i++) {
		const struct ca_entry *e = &s->ca.entries[i];

		/* an old CA that has ended has nothing to answer for: its certificates ended with it */
		if (s->ocsp[i].issuer == NULL ||
		    authority_time(X509_get0_notAfter(e->certificate), &end) < 0 || end <= now)
			continue;
		keep_one(&s->ocsp[i], now);
	}
}

static int check_known(const struct known_keys *known, const struct issue_order *order, struct refusal *r)
{
	switch (known_keys_has(known, order->spki, order->spki_n, order->key)) {
	case 0:
		return 0;
	case 1:
		return refuse(r, SIGNER_BAD_KEY, "refused: a key that others know, by enroll.ca.known_keys_file");
	default:
		return refuse_openssl(r, "whether others know the key cannot be found out");
	}
}

static int serve_issue(
    struct signer *s, const void *body, size_t n, int64_t now, struct bytes *out, struct refusal *r)
{
	struct issue_order order = { 0 };
	struct signer_issue q;
	unsigned char *der;
	size_t len = 0;

	if (profile_check(s->setup, &s->ca, body, n, now, &order, r) < 0)
		return -1;
	if (check_known(s->known, &order, r) < 0) {
		EVP_PKEY_free(order.key);
		return -1;
	}
	memcpy(&q, body, sizeof(q));
	der = certificate_build(
	    s->setup, ca_files_find(&s->ca, CA_ISSUING, CA_CURRENT), &q, &order, &len, r);
	EVP_PKEY_free(order.key);
	return bytes_take(out, der, len, r);
}

static ssize_t issuer_index(const struct signer *s, const uint8_t spki_sha256[SHA256_SIZE])
{
	for (size_t i = 0; i < s->ca.n; i++) {
		if (s->ocsp[i].issuer != NULL &&
		    memcmp(s->ca.entries[i].spki_sha256, spki_sha256, SHA256_SIZE) == 0)
			return (ssize_t)i;
	}
	return -1;
}

static int serve_ocsp(
    struct signer *s, bool each, const void *body, size_t n, int64_t now, struct bytes *out, struct refusal *r)
{
	struct signer_ocsp_entry entries[SIGNER_OCSP_MAX];
	struct signer_ocsp q;
	unsigned char *der;
	size_t len = 0;
	ssize_t i;

	memcpy(&q, body, sizeof(q));
	if (q.entries_n == 0 || q.entries_n > SIGNER_OCSP_MAX ||
	    n != sizeof(q) + q.entries_n * sizeof(entries[0]) || (each && q.nonce_n != 0))
		return refuse(r, SIGNER_REFUSED, "the question has another length than it says");
	memcpy(entries, (const uint8_t *)body + sizeof(q), q.entries_n * sizeof(entries[0]));
	i = issuer_index(s, q.issuer);
	if (i < 0)
		return refuse(r, SIGNER_NONE, "no such issuing CA");
	keep_one(&s->ocsp[i], now);
	if (!each) {
		der = ocsp_build(&s->ocsp[i], &q, entries, now, &len, r);
		return bytes_take(out, der, len, r);
	}
	for (uint32_t k = 0, all = q.entries_n; k < all; k++) {
		uint32_t size;

		q.entries_n = 1;
		der = ocsp_build(&s->ocsp[i], &q, &entries[k], now, &len, r);
		size = (uint32_t)len;
		if (der == NULL)
			return -1;
		if (bytes_add(out, &size, sizeof(size), r) < 0) {
			OPENSSL_free(der);
			return -1;
		}
		if (bytes_take(out, der, len, r) < 0)
			return -1;
	}
	return 0;
}

static int serve_open(
    struct signer *s, const void *body, size_t n, struct bytes *out, struct refusal *r)
{
	struct scep_ciphers ciphers = { .des3 = s->setup->des3, .des = s->setup->legacy_des };
	size_t len = 0;
	unsigned char *plain = scep_open(&s->ca, &ciphers, body, n, &len, r);

	return bytes_take(out, plain, len, r);
}

static int serve_cert_rep(
    struct signer *s, const void *body, size_t n, struct bytes *out, struct refusal *r)
{
	struct signer_scep_sign q;
	unsigned char *der;
	size_t len = 0;

	memcpy(&q, body, sizeof(q));
	if (q.content_n != n - sizeof(q))
		return refuse(r, SIGNER_REFUSED, "the question has another length than it says");
	der = message_cert_rep(&s->ca, &q, (const uint8_t *)body + sizeof(q), &len, r);
	return bytes_take(out, der, len, r);
}

static uint32_t chain_kind(const struct ca_entry *e)
{
	switch (e->kind) {
	case CA_ROOT: return SIGNER_CHAIN_ROOT;
	case CA_ISSUING:
		return e->state == CA_CURRENT ? SIGNER_CHAIN_ISSUING :
		    e->state == CA_NEXT	      ? SIGNER_CHAIN_NEXT_ISSUING :
						SIGNER_CHAIN_OLD_ISSUING;
	case CA_RA:
		return e->state == CA_CURRENT ? SIGNER_CHAIN_RA :
		    e->state == CA_OLD	      ? SIGNER_CHAIN_OLD_RA :
						0;
	case CA_PROFILE: return e->state == CA_CURRENT ? SIGNER_CHAIN_PROFILE : 0;
	case CA_KINDS: break;
	}
	return 0;
}

/* The newest first, so that a long history falls off its end. */
static int serve_chain(struct signer *s, struct bytes *out, struct refusal *r)
{
	unsigned count = 0;

	for (size_t i = s->ca.n; i-- > 0 && count < SIGNER_CHAIN_MAX;) {
		const struct ca_entry *e = &s->ca.entries[i];
		struct signer_chain_entry head = { .kind = e->certificate != NULL ? chain_kind(e) :
										    0 };
		unsigned char *der = NULL;
		int len;

		if (head.kind == 0)
			continue;
		len = i2d_X509(e->certificate, &der);
		if (len <= 0)
			return refuse_openssl(r, "cannot encode a certificate");
		head.n = (uint32_t)len;
		memcpy(head.spki_sha256, e->spki_sha256, SHA256_SIZE);
		memcpy(head.sha256, e->sha256, SHA256_SIZE);
		if (bytes_add(out, &head, sizeof(head), r) < 0) {
			OPENSSL_free(der);
			return -1;
		}
		if (bytes_take(out, der, (size_t)len, r) < 0)
			return -1;
		count++;
	}
	return 0;
}

static int serve(struct signer *s, uint16_t verb, const void *body, size_t n, int64_t now,
    struct bytes *out, struct refusal *r)
{
	unsigned char *der;
	size_t len = 0;

	switch (verb) {
	case SIGNER_ISSUE: return serve_issue(s, body, n, now, out, r);
	case SIGNER_OCSP:
	case SIGNER_OCSP_PRESIGN:
		if (n < sizeof(struct signer_ocsp))
			break;
		return serve_ocsp(s, verb == SIGNER_OCSP_PRESIGN, body, n, now, out, r);
	case SIGNER_SCEP_OPEN: return serve_open(s, body, n, out, r);
	case SIGNER_SCEP_SIGN:
		if (n < sizeof(struct signer_scep_sign))
			break;
		return serve_cert_rep(s, body, n, out, r);
	case SIGNER_PROFILE_SIGN:
		der = message_profile(&s->ca, body, n, &len, r);
		return bytes_take(out, der, len, r);
	case SIGNER_CHAIN: return serve_chain(s, out, r);
	case SIGNER_NEXT_CA:
		der = message_next_ca(&s->ca, &len, r);
		return bytes_take(out, der, len, r);
	default: break;
	}
	return refuse(r, SIGNER_REFUSED, "no such question, or it is cut");
}

/* False: this refusal is one too many. */
static bool bucket_has(struct refusal_bucket *b, int64_t now)
{
	if (now > b->at) {
		int64_t more = (now - b->at) * REFUSALS_PER_SECOND;
		b->left = more > REFUSALS_BURST - (int64_t)b->left ? REFUSALS_BURST :
								     b->left + (uint32_t)more;
	}
	b->at = now; /* also when the clock was set back */
	return b->left > 0;
}

uint8_t *signer_serve(
    struct signer *s, uint16_t verb, const void *body, size_t n, int64_t now, size_t *answer_n)
{
	struct refusal_bucket *bucket = verb == SIGNER_SCEP_OPEN ? &s->opens : &s->others;
	struct signer_answer head = { 0 };
	struct bytes out = { 0 };
	struct refusal r = { .status = SIGNER_OK };
	uint8_t *answer;
	int rc;

	if (!bucket_has(bucket, now))
		rc = refuse(&r, SIGNER_TOO_MANY, "too many refusals within a short time");
	else if ((rc = serve(s, verb, body, n, now, &out, &r)) < 0 && r.status != SIGNER_NONE)
		bucket->left--;
	if (rc < 0) {
		head.status = r.status;
		snprintf(head.text, sizeof(head.text), "%s", r.text);
		out.n = 0;
	}
	head.n = (uint32_t)out.n;
	answer = malloc(sizeof(head) + out.n);
	if (answer != NULL) {
		memcpy(answer, &head, sizeof(head));
		if (out.n > 0)
			memcpy(answer + sizeof(head), out.p, out.n);
		*answer_n = sizeof(head) + out.n;
	}
	if (out.p != NULL)
		OPENSSL_cleanse(out.p, out.n);
	free(out.p);
	return answer;
}

struct crl_job *signer_crl(
    struct signer *s, const struct signer_crl *q, char *in, struct refusal *r)
{
	char out[PATH_MAX], delta[2048], hash[2 * SHA256_SIZE + 1];
	ssize_t i = issuer_index(s, q->issuer);
	struct crl_order order = { .question = *q, .in = in, .out = out };
	uint64_t *last;
	struct crl_job *job;

	if (i < 0) {
		refuse(r, SIGNER_NONE, "no such issuing CA");
		return NULL;
	}
	last = q->base_number != 0 ? &s->last_delta[i] : &s->last_full[i];
	if (q->number <= *last) {
		refuse(r, SIGNER_REFUSED, "CRLNumber %llu was given before",
		    (unsigned long long)q->number);
		return NULL;
	}
	text_hex(hash, q->issuer, SHA256_SIZE);
	snprintf(in, PATH_MAX, "%s/in.%llu", s->setup->crl_folder, (unsigned long long)q->number);
	snprintf(out, sizeof(out), "%s/%s%s", s->setup->crl_folder, hash,
	    q->base_number != 0 ? ".delta.crl" : ".crl");
	snprintf(delta, sizeof(delta), "%s" ENROLL_DELTA_CRL_PATH, s->setup->plain_url, hash);
	order.issuer = &s->ca.entries[i];
	order.delta_url = s->setup->delta ? delta : NULL;
	job = crl_job_new(&order, r);
	if (job != NULL)
		*last = q->number;
	return job;
}
