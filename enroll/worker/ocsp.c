/*
 * ocsp: answers requests about certificates of ours. The truth is in the registry, looked up for every answer: a response that was
 * signed before is sent only while it says the same. Worker of easenroll.
 */
#include "enroll/worker/ocsp.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/text.h"
#include "enroll/metric_table.h"
#include "enroll/worker/chain.h"
#include "enroll/worker/ocsp_cache.h"
#include "enroll/worker/ocsp_read.h"
#include "enroll/worker/registry.h"

#define SLOTS		32768
#define BACKDATE	60	/* seconds: clocks of those who ask */
#define UNDER_WAY_MAX	512	/* signatures asked for */
#define ISSUERS_MAX	SIGNER_CHAIN_MAX

/* OCSPResponse with a status and nothing else (RFC 6960 section 4.2.1) */
enum failure { MALFORMED = 1, INTERNAL = 2, TRY_LATER = 3, UNAUTHORIZED = 6 };

struct issuer_hashes {
	char name[65];
	uint8_t spki_sha256[SHA256_SIZE];
	uint8_t name_sha1[20], key_sha1[20], name_sha256[32], key_sha256[32];
	int64_t not_after;	/* no answer ends later: its signer's certificate does not either */
};

struct ocsp {
	struct enroll_worker *worker;
	struct ocsp_cache *cache;
	struct issuer_hashes issuers[ISSUERS_MAX];
	unsigned issuers_n, under_way;
	bool known;		/* issuers are those of the chain */
};

/* One that waits for the signer. */
struct question {
	struct ocsp *ocsp;
	struct http_request *r;
	struct signer_ocsp_entry entry;	/* to be cached */
	bool cache;
	int64_t this_update, next_update;
};

/* --- answering --- */

static void fail(struct http_request *r, enum failure failure)
{
	const char der[] = { 0x30, 0x03, 0x0a, 0x01, (char)failure };

	metrics_add(EM_OCSP, failure == TRY_LATER || failure == INTERNAL ? OCSP_UNAVAILABLE : OCSP_REFUSED, 1);
	http_reply_field(r, "Cache-Control", "no-store");
	http_reply(r, 200, "application/ocsp-response", (struct strv){ der, sizeof(der) });
}

static void print_date(int64_t at, char out[32])
{
	static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t t = (time_t)at;
	struct tm tm = { 0 };

	gmtime_r(&t, &tm);
	snprintf(out, 32, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
	    tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* RFC 5019 section 6.2 */
static void reply_cached(struct ocsp *o, struct http_request *r, const struct ocsp_cached *c)
{
	int64_t left = c->next_update - loop_wall(o->worker->loop), half = (int64_t)o->worker->settings->enroll.ca.ocsp_seconds / 2;
	char this_update[32], next_update[32];

	print_date(c->this_update, this_update);
	print_date(c->next_update, next_update);
	http_reply_field(r, "Last-Modified", "%s", this_update);
	http_reply_field(r, "Expires", "%s", next_update);
	http_reply_field(r, "ETag", "\"%s\"", c->tag);
	http_reply_field(r, "Cache-Control", "max-age=%lld, public, no-transform, must-revalidate", (long long)(left < 0 ? 0 : left < half ? left : half));
	/* caches that ask again ask by GET */
	if (strv_eq(r->method, STRV("GET")) && http_request_has_tag(r, c->tag))
		http_reply(r, 304, NULL, (struct strv){ NULL, 0 });
	else
		http_reply(r, 200, "application/ocsp-response", (struct strv){ c->response, c->response_n });
}

static void keep_and_reply(struct question *q, struct strv response)
{
	struct ocsp_cached entry = { .id = q->entry.cert_id, .id_n = q->entry.cert_id_n, .response = (char *)(uintptr_t)response.p,
		.response_n = response.n, .status = q->entry.status, .reason = q->entry.reason, .revoked_at = q->entry.revoked_at,
		.this_update = q->this_update, .next_update = q->next_update };
	const struct ocsp_cached *kept = q->cache ? ocsp_cache_put(q->ocsp->cache, &entry) : NULL;

	if (kept != NULL) {
		reply_cached(q->ocsp, q->r, kept);
		return;
	}
	http_reply_field(q->r, "Cache-Control", "no-store");
	http_reply(q->r, 200, "application/ocsp-response", response);
}

static void on_signed(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct question *q = arg;
	struct signer_answer head = { .status = SIGNER_BROKEN };

	q->ocsp->under_way--;
	if (status == WIRE_OK && n >= sizeof(head))
		memcpy(&head, body, sizeof(head));
	head.text[sizeof(head.text) - 1] = '\0';
	if (head.status == SIGNER_OK && head.n == n - sizeof(head) && head.n > 0) {
		metrics_add(EM_OCSP, OCSP_SIGNED, 1);
		keep_and_reply(q, (struct strv){ (const char *)body + sizeof(head), head.n });
	} else {
		log_say(LOG_WARNING, "ocsp_unsigned", "the signer gave no OCSP response: %s", head.text[0] != '\0' ? head.text : "no answer");
		fail(q->r, TRY_LATER);
	}
	free(q);
}

/* --- who asks about what --- */

static bool hash_issuer(struct issuer_hashes *h, const struct chain_entry *e)
{
	const ASN1_BIT_STRING *key = X509_get0_pubkey_bitstr(e->certificate);
	struct tm end = { 0 };
	unsigned n;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(e->certificate), &end) != 1)
		return false;
	h->not_after = timegm(&end);
	memcpy(h->name, e->name, sizeof(h->name));
	memcpy(h->spki_sha256, e->spki_sha256, SHA256_SIZE);
	return key != NULL && X509_NAME_digest(X509_get_subject_name(e->certificate), EVP_sha1(), h->name_sha1, &n) == 1 &&
	    X509_NAME_digest(X509_get_subject_name(e->certificate), EVP_sha256(), h->name_sha256, &n) == 1 &&
	    EVP_Digest(key->data, (size_t)key->length, h->key_sha1, NULL, EVP_sha1(), NULL) == 1 &&
	    EVP_Digest(key->data, (size_t)key->length, h->key_sha256, NULL, EVP_sha256(), NULL) == 1;
}

static void learn_issuers(struct ocsp *o)
{
	const struct chain_entry *e;

	o->issuers_n = 0;
	for (size_t i = 0; (e = chain_at(o->worker->chain, i)) != NULL && o->issuers_n < ISSUERS_MAX; i++) {
		bool issues = e->kind == SIGNER_CHAIN_ISSUING || e->kind == SIGNER_CHAIN_OLD_ISSUING || e->kind == SIGNER_CHAIN_NEXT_ISSUING;
		if (issues && hash_issuer(&o->issuers[o->issuers_n], e))
			o->issuers_n++;
	}
	ERR_clear_error();
	o->known = true;
}

static const struct issuer_hashes *issuer_of(struct ocsp *o, const struct ocsp_asked *a)
{
	if (!o->known)
		learn_issuers(o);
	for (unsigned i = 0; i < o->issuers_n; i++) {
		const struct issuer_hashes *h = &o->issuers[i];
		if (h->not_after <= loop_wall(o->worker->loop))
			continue;	/* it has ended, its certificates and its signer with it: nobody is authorized to say anything */
		if (a->hash_n == 20 && memcmp(a->name_hash, h->name_sha1, 20) == 0 && memcmp(a->key_hash, h->key_sha1, 20) == 0)
			return h;
		if (a->hash_n == 32 && memcmp(a->name_hash, h->name_sha256, 32) == 0 && memcmp(a->key_hash, h->key_sha256, 32) == 0)
			return h;
	}
	return NULL;
}

/* What the registry says of it. -1: it does not answer. */
static int look_up(struct ocsp *o, const struct issuer_hashes *issuer, const struct ocsp_asked *a, struct signer_ocsp_entry *out)
{
	struct registry_status s;
	enum registry_result rc = REGISTRY_NONE;

	*out = (struct signer_ocsp_entry){ .cert_id_n = (uint32_t)a->id_n, .status = SIGNER_OCSP_UNKNOWN };
	memcpy(out->cert_id, a->id, a->id_n);
	if (a->possible)
		rc = registry_certificate_status(o->worker->registry, issuer->name, a->serial, &s);
	if (rc == REGISTRY_NONE)
		return 0;
	if (rc != REGISTRY_OK)
		return -1;
	switch (s.state) {
	case REGISTRY_LIVE:
	case REGISTRY_EXPIRED_STATE:
		out->status = SIGNER_OCSP_GOOD;
		break;
	case REGISTRY_HOLD:
	case REGISTRY_REVOKING:
	case REGISTRY_REVOKED:
	case REGISTRY_REPLACED:
		out->status = SIGNER_OCSP_REVOKED;
		out->reason = s.reason > 0 ? (uint32_t)s.reason : 0;
		out->revoked_at = s.revoked_at;
		break;
	default:
		break;		/* nobody has it yet */
	}
	return 0;
}

/* --- asking the signer --- */

static void ask(struct ocsp *o, struct http_request *r, const struct issuer_hashes *issuer, const struct ocsp_query *query,
    const struct signer_ocsp_entry *entries)
{
	struct {
		struct signer_ocsp head;
		struct signer_ocsp_entry entries[OCSP_REQUESTS_MAX];
	} body = { .head = { .nonce_n = (uint32_t)query->nonce_n, .entries_n = query->n } };
	struct question *q = o->under_way < UNDER_WAY_MAX ? calloc(1, sizeof(*q)) : NULL;
	int64_t now = loop_wall(o->worker->loop);

	if (q == NULL) {
		fail(r, TRY_LATER);
		return;
	}
	*q = (struct question){ .ocsp = o, .r = r, .entry = entries[0], .cache = query->n == 1 && query->nonce_n == 0, .this_update = now - BACKDATE,
		.next_update = now + (int64_t)o->worker->settings->enroll.ca.ocsp_seconds };
	if (q->next_update > issuer->not_after)
		q->next_update = issuer->not_after;
	body.head.this_update = q->this_update;
	body.head.next_update = q->next_update;
	memcpy(body.head.issuer, issuer->spki_sha256, SHA256_SIZE);
	memcpy(body.head.nonce, query->nonce, query->nonce_n);
	memcpy(body.entries, entries, query->n * sizeof(*entries));
	if (asker_ask(o->worker->signer, SIGNER_OCSP, &body, sizeof(body.head) + query->n * sizeof(*entries), SIGNER_TIMEOUT_MS, on_signed, q) == 0) {
		free(q);
		fail(r, TRY_LATER);
		return;
	}
	o->under_way++;
}

/* Signed before, still good for half of its time, and still true. */
static const struct ocsp_cached *find_cached(struct ocsp *o, const struct signer_ocsp_entry *now_true)
{
	const struct ocsp_cached *c = ocsp_cache_get(o->cache, now_true->cert_id, now_true->cert_id_n);
	int64_t now = loop_wall(o->worker->loop);

	if (c == NULL || c->status != now_true->status || c->reason != now_true->reason || c->revoked_at != now_true->revoked_at ||
	    now < c->this_update || c->next_update - now < (int64_t)o->worker->settings->enroll.ca.ocsp_seconds / 2)
		return NULL;
	return c;
}

static void serve(struct enroll_worker *w, struct http_request *r, struct strv der)
{
	struct ocsp *o = w->ocsp;
	struct signer_ocsp_entry entries[OCSP_REQUESTS_MAX];
	const struct issuer_hashes *issuer = NULL;
	const struct ocsp_cached *c;
	struct ocsp_query query;

	if (ocsp_read(der, &query) != OCSP_READ_OK) {
		fail(r, MALFORMED);
		return;
	}
	for (unsigned i = 0; i < query.n; i++) {
		const struct issuer_hashes *one = issuer_of(o, &query.asked[i]);
		if (one == NULL || (issuer != NULL && one != issuer)) {
			fail(r, chain_is_known(w->chain) ? UNAUTHORIZED : TRY_LATER);
			return;
		}
		issuer = one;
		if (look_up(o, one, &query.asked[i], &entries[i]) < 0) {
			log_say(LOG_ERROR, "registry", "an OCSP request cannot be answered: %s", registry_problem(w->registry));
			fail(r, TRY_LATER);
			return;
		}
	}
	c = query.n == 1 && query.nonce_n == 0 ? find_cached(o, &entries[0]) : NULL;
	if (c != NULL) {
		metrics_add(EM_OCSP, OCSP_CACHED, 1);
		reply_cached(o, r, c);
		return;
	}
	ask(o, r, issuer, &query, entries);
}

/* --- ways in --- */

static void serve_post(struct enroll_worker *w, struct http_request *r)
{
	if (!http_request_is(r, "application/ocsp-request")) {
		http_reply_field(r, "Cache-Control", "no-store");
		http_reply_text(r, 415, "expected application/ocsp-request\n");
		return;
	}
	serve(w, r, r->body);
}

/* RFC 6960 appendix A.1: base64, percent-encoded by most who ask. */
static void serve_get(struct enroll_worker *w, struct http_request *r)
{
	struct strv rest = route_rest(r, "/ocsp/");
	char text[OCSP_BYTES_MAX], der[OCSP_BYTES_MAX];
	long n = text_percent_decode(text, sizeof(text), rest);

	if (n > 0)
		n = text_base64_decode(der, sizeof(der), (struct strv){ text, (size_t)n });
	if (n <= 0)
		fail(r, MALFORMED);
	else
		serve(w, r, (struct strv){ der, (size_t)n });
}

#define EVERYWHERE (HTTP_WAY_TLS | HTTP_WAY_PLAIN)

const struct route ocsp_routes[] = {
	{ "POST", "/ocsp", EVERYWHERE, ROUTE_CACHED, ROUTE_OPEN, serve_post },
	{ "POST", "/ocsp/", EVERYWHERE, ROUTE_CACHED, ROUTE_OPEN, serve_post },
	{ "GET", "/ocsp/", EVERYWHERE, ROUTE_PREFIX | ROUTE_RAW | ROUTE_CACHED, ROUTE_OPEN, serve_get },
	{ NULL, NULL, 0, 0, ROUTE_OPEN, NULL },
};

struct ocsp *ocsp_new(struct enroll_worker *w)
{
	struct ocsp *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return NULL;
	o->worker = w;
	o->cache = ocsp_cache_new(SLOTS);
	if (o->cache == NULL) {
		free(o);
		return NULL;
	}
	return o;
}

void ocsp_free(struct ocsp *o)
{
	if (o == NULL)
		return;
	ocsp_cache_free(o->cache);
	free(o);
}

void ocsp_forget(struct ocsp *o)
{
	ocsp_cache_clear(o->cache);
	o->known = false;
}
