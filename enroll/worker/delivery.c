/*
 * delivery: links, and what happens when one is fetched: for PKCS#12 a key, its certificate by enrol.h, the file, and nothing left; for Apple a secret,
 * the profile, the signer's signature. A link is used up when its answer is made, not before, so that a failure can be tried again. Worker of easenroll.
 */
#include "enroll/worker/delivery.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/text.h"
#include "enroll/worker/apple_offer.h"
#include "enroll/worker/chain.h"
#include "enroll/worker/device_help.h"
#include "enroll/worker/enrol.h"
#include "enroll/worker/ota_service.h"
#include "enroll/worker/portal_parts.h"

struct link {
	uint8_t hash[SHA256_SIZE];
	int64_t ends;			/* 0: free */
	bool busy;			/* being fetched */
	enum device_kind kind;
	char device[REGISTRY_DEVICE], name[REGISTRY_NAME_MAX];
	char password[PKCS12_PASSWORD_SIZE];
	struct account account;
};

/* One fetch. */
struct fetch {
	struct fetch *next;
	struct delivery *owner;
	struct http_request *request;
	struct link *link;
	uint8_t hash[SHA256_SIZE];	/* of the link: it may be another's by now */
	EVP_PKEY *key;
	uint64_t asked;
};

struct delivery {
	struct enroll_worker *worker;
	struct enrol *enrol;
	struct fetch *fetches;
	struct link link[DELIVERY_LINKS_MAX];
};

/* --- links --- */

static void link_clear(struct link *l)
{
	OPENSSL_cleanse(l, sizeof(*l));
}

static struct link *free_link(struct delivery *d, int64_t now)
{
	struct link *oldest = NULL;

	for (size_t i = 0; i < DELIVERY_LINKS_MAX; i++) {
		struct link *l = &d->link[i];
		if (l->busy)
			continue;
		if (l->ends <= now)
			return l;
		if (oldest == NULL || l->ends < oldest->ends)
			oldest = l;
	}
	return oldest;
}

void delivery_forget(struct delivery *d, const char *device)
{
	for (size_t i = 0; i < DELIVERY_LINKS_MAX; i++) {
		struct link *l = &d->link[i];
		bool busy = l->busy;
		if (l->ends == 0 || strcmp(l->device, device) != 0)
			continue;
		link_clear(l);
		l->busy = busy; /* the place is the fetch's until it ends */
	}
}

int delivery_make(struct delivery *d, const struct account *account, const struct registry_device *device, struct delivery_link *out)
{
	const struct enroll_section *e = &d->worker->settings->enroll;
	int64_t now = loop_wall(d->worker->loop);
	uint8_t raw[SHA256_SIZE];
	enum device_kind kind;
	struct link *l;

	memset(out, 0, sizeof(*out));
	if (device_kind_parse(strv_from(device->kind), &kind) < 0)
		return -1;
	delivery_forget(d, device->id);
	l = free_link(d, now);
	if (l == NULL || RAND_bytes(raw, sizeof(raw)) != 1 || (!device_kind_is_apple(kind) && pkcs12_password(out->password) < 0))
		return -1;
	link_clear(l);
	text_hex(out->token, raw, sizeof(raw));
	SHA256(raw, sizeof(raw), l->hash);
	OPENSSL_cleanse(raw, sizeof(raw));
	out->ends = l->ends = now + e->secrets.seconds;
	l->kind = kind;
	l->account = *account;
	memcpy(l->device, device->id, sizeof(l->device));
	memcpy(l->name, device->name, sizeof(l->name));
	memcpy(l->password, out->password, sizeof(l->password));
	return 0;
}

static struct link *find(struct delivery *d, struct strv token)
{
	int64_t now = loop_wall(d->worker->loop);
	uint8_t raw[SHA256_SIZE], hash[SHA256_SIZE];

	if (token.n != DELIVERY_TOKEN_SIZE - 1 || text_unhex(raw, sizeof(raw), token) < 0)
		return NULL;
	SHA256(raw, sizeof(raw), hash);
	OPENSSL_cleanse(raw, sizeof(raw));
	for (size_t i = 0; i < DELIVERY_LINKS_MAX; i++) {
		if (d->link[i].ends > now && CRYPTO_memcmp(d->link[i].hash, hash, sizeof(hash)) == 0)
			return &d->link[i];
	}
	return NULL;
}

/* --- fetching --- */

/* The link was cleared meanwhile: its device was revoked. */
static bool is_still_good(const struct fetch *f)
{
	return f->link->ends != 0 && CRYPTO_memcmp(f->link->hash, f->hash, sizeof(f->hash)) == 0;
}

static void fetch_free(struct fetch *f, bool used)
{
	struct fetch **at = &f->owner->fetches;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	f->link->busy = false;
	if (used || !is_still_good(f))
		link_clear(f->link);
	EVP_PKEY_free(f->key);
	free(f);
}

static void fail(struct fetch *f, unsigned status, const char *text, const char *why)
{
	log_say(LOG_WARNING, "delivery_failed", "device %s: %s", f->link->device, why);
	http_reply_text(f->request, status, "%s", text);
	fetch_free(f, false);
}

static void later(struct fetch *f, const char *why)
{
	fail(f, 503, "This cannot be delivered just now: try the same link again in a moment.", why);
}

static void give(struct fetch *f, const char *type, const char *ending, struct strv bytes)
{
	struct delivery *d = f->owner;
	struct registry_by by = { .actor = "portal", .detail = type, .at = loop_wall(d->worker->loop) };

	if (registry_audit(d->worker->registry, &by, "delivered", f->link->device) != REGISTRY_OK) {
		later(f, registry_problem(d->worker->registry)); /* no delivery without its record */
		return;
	}
	http_reply_field(f->request, "Content-Disposition", "attachment; filename=\"mail-%.8s.%s\"", f->link->device, ending);
	http_reply(f->request, 200, type, bytes);
	fetch_free(f, true);
}

/* --- PKCS#12 --- */

static void on_issued(void *arg, const struct enrol_result *result)
{
	struct fetch *f = arg;
	struct enroll_worker *w = f->owner->worker;
	const struct chain_entry *issuing = chain_first(w->chain, SIGNER_CHAIN_ISSUING), *root = chain_first(w->chain, SIGNER_CHAIN_ROOT);
	struct strv chain[2];
	struct buffer file;
	size_t n = 0;

	if (result->status != ENROL_DONE || !is_still_good(f)) {
		if (result->status == ENROL_LATER)
			later(f, result->text);
		else
			fail(f, 403, "This device may not have a certificate now.", result->text);
		return;
	}
	if (issuing != NULL)
		chain[n++] = issuing->der;
	if (root != NULL)
		chain[n++] = root->der;
	buffer_init(&file, PKCS12_MAX);
	if (pkcs12_build(f->key, result->der, chain, n, f->link->password, f->link->name,
		f->link->kind == DEVICE_ANDROID ? PKCS12_LEGACY : PKCS12_MODERN, &file) < 0)
		later(f, "the PKCS#12 file could not be made");
	else
		give(f, PKCS12_TYPE, "p12", buffer_view(&file));
	buffer_clear(&file);
}

/* What csr.h would have read, had somebody else made the key. */
static int describe_key(const EVP_PKEY *key, struct csr *out)
{
	struct buffer spki;
	int rc = -1;

	memset(out, 0, sizeof(*out));
	buffer_init(&spki, CSR_SPKI_MAX);
	if (pkcs12_public_key(key, &spki) == 0 && buffer_len(&spki) <= sizeof(out->spki)) {
		out->spki_n = buffer_len(&spki);
		memcpy(out->spki, buffer_data(&spki), out->spki_n);
		SHA256(out->spki, out->spki_n, out->spki_sha256);
		out->rsa = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;
		out->bits = (unsigned)EVP_PKEY_get_bits(key);
		rc = 0;
	}
	buffer_clear(&spki);
	return rc;
}

static void start_pkcs12(struct fetch *f)
{
	const struct enroll_section *e = &f->owner->worker->settings->enroll;
	unsigned profile = e->scep.profile_index;
	struct csr csr;
	struct enrol_request request = { .profile = profile,
		.kind = CLAIM_SID,
		.claim = f->link->account.sid,
		.device = f->link->device,
		.device_name = "",
		.device_kind = "",
		.csr = &csr,
		.purpose = "download",
		.actor = "portal" };

	f->key = pkcs12_key_new(e->profiles[profile].key_kind == ENROLL_KEY_RSA ? PKCS12_KEY_RSA : PKCS12_KEY_EC);
	if (f->key == NULL || describe_key(f->key, &csr) < 0 || enrol_start(f->owner->enrol, &request, on_issued, f) < 0)
		later(f, "no key, or too much is under way");
}

/* --- Apple --- */

static void on_signed(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct fetch *f = arg;
	struct signer_answer answer;

	f->asked = 0;
	if (status != WIRE_OK || n < sizeof(answer)) {
		later(f, "the signer does not answer");
		return;
	}
	memcpy(&answer, body, sizeof(answer));
	if (answer.status != SIGNER_OK || answer.n != n - sizeof(answer)) {
		later(f, "the signer signs no profile");
		return;
	}
	if (!is_still_good(f)) {
		fail(f, 403, "This device may not have a profile now.", "revoked meanwhile");
		return;
	}
	give(f, APPLE_PROFILE_TYPE, "mobileconfig", (struct strv){ (const char *)body + sizeof(answer), answer.n });
}

static enum apple_offer_kind offer_for(const struct fetch *f)
{
	if (f->link->kind == DEVICE_MAC)
		return APPLE_OFFER_NO_MAIL;
	return ota_service_is_on(f->owner->worker) ? APPLE_OFFER_SERVICE : APPLE_OFFER_WHOLE;
}

static void start_apple(struct fetch *f)
{
	struct enroll_worker *w = f->owner->worker;
	struct registry_by by = { .actor = "portal", .detail = "for a profile", .at = loop_wall(w->loop) };
	char why[APPLE_WHY_MAX] = "the registry does not answer";
	struct registry_account owner;
	struct buffer profile;

	buffer_init(&profile, APPLE_PROFILE_MAX);
	if (registry_account_by_sid(w->registry, f->link->account.sid, &owner) == REGISTRY_OK &&
	    apple_offer(w, offer_for(f), &by, &owner, f->link->device, NULL, &profile, why) == 0) {
		snprintf(why, sizeof(why), "too much is asked of the signer, or the profile is too large");
		if (buffer_len(&profile) <= SIGNER_DATA_MAX)
			f->asked = asker_ask(w->signer, SIGNER_PROFILE_SIGN, buffer_data(&profile), buffer_len(&profile),
			    SIGNER_TIMEOUT_MS, on_signed, f);
	}
	buffer_clear(&profile);
	if (f->asked == 0)
		later(f, why);
}

/* --- the way in --- */

static void serve(struct enroll_worker *w, struct http_request *r)
{
	struct delivery *d = portal_of(w)->delivery;
	struct link *l = find(d, route_rest(r, DELIVERY_PATH));
	struct registry_device device;
	struct fetch *f;

	if (l == NULL || registry_device_get(w->registry, l->device, &device) != REGISTRY_OK || device.state != REGISTRY_DEVICE_ACTIVE) {
		http_reply_text(r, 404, "This link was used already, or its time is over. Make another one on the portal.");
		return;
	}
	if (strv_eq(r->method, STRV("HEAD"))) { /* a messenger's preview uses nothing up */
		http_reply(r, 200, device_kind_is_apple(l->kind) ? APPLE_PROFILE_TYPE : PKCS12_TYPE, (struct strv){ NULL, 0 });
		return;
	}
	f = l->busy ? NULL : calloc(1, sizeof(*f));
	if (f == NULL) {
		http_reply_text(r, 503, "This is being delivered already: try again in a moment.");
		return;
	}
	*f = (struct fetch){ .next = d->fetches, .owner = d, .request = r, .link = l };
	memcpy(f->hash, l->hash, sizeof(f->hash));
	d->fetches = f;
	l->busy = true;
	if (device_kind_is_apple(l->kind))
		start_apple(f);
	else
		start_pkcs12(f);
}

const struct route delivery_routes[] = {
	{ "GET", DELIVERY_PATH, HTTP_WAY_TLS, ROUTE_PREFIX, ROUTE_OPEN, serve },
	{ .methods = NULL },
};

/* --- life --- */

struct delivery *delivery_new(struct enroll_worker *w)
{
	struct delivery *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->worker = w;
	d->enrol = enrol_new(w);
	if (d->enrol == NULL) {
		free(d);
		return NULL;
	}
	return d;
}

void delivery_free(struct delivery *d)
{
	if (d == NULL)
		return;
	enrol_free(d->enrol);
	while (d->fetches != NULL) {
		asker_cancel(d->worker->signer, d->fetches->asked);
		fetch_free(d->fetches, false);
	}
	OPENSSL_cleanse(d->link, sizeof(d->link));
	free(d);
}
