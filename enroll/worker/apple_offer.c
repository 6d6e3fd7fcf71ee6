/*
 * apple_offer: configuration, device and chain put together into an unsigned profile. Signs and sends nothing. Worker of easenroll.
 */
#include "enroll/worker/apple_offer.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "enroll/worker/chain.h"
#include "enroll/worker/secret.h"
#include "enroll/worker/worker.h"

#define SECRETS_PER_ACCOUNT 64
#define CHAIN_MAX	    4	/* CAs above the issuing one */

/* What a profile is made of, while it is made. */
struct offer {
	struct enroll_worker *w;
	const struct registry_account *owner;
	char identifier[256], url[512], challenge[SECRET_TEXT_MAX];
	struct strv trust[APPLE_TRUST_MAX], top;	/* top: what devices hold GetCACert's chain against */
	unsigned char *made[APPLE_TRUST_MAX];	/* of trust: ours to free */
	size_t made_n;
	struct apple_site site;
	struct apple_device device;
};

/* The CA above that one among those that the signer told, or NULL. */
static const struct chain_entry *above(const struct chain *c, const struct chain_entry *below)
{
	const struct chain_entry *e;

	for (size_t i = 0; (e = chain_at(c, i)) != NULL; i++)
		if (e->kind == SIGNER_CHAIN_ROOT && e != below && X509_check_issued(e->certificate, below->certificate) == X509_V_OK)
			return e;
	return NULL;
}

/* All CAs above the issuing one, a subordinate has several; then what the configuration's file brings. */
static int fill_trust(struct offer *o)
{
	const struct chain_entry *e = chain_first(o->w->chain, SIGNER_CHAIN_ISSUING), *up;
	const char *file = o->w->settings->enroll.apple.trust_file;
	struct strv pem = { NULL, 0 };
	X509 *cert;
	BIO *in;

	for (o->top = e->der; (up = above(o->w->chain, e)) != NULL && o->site.trust_n < CHAIN_MAX; e = up)
		o->trust[o->site.trust_n++] = o->top = up->der;
	o->site.trust = o->trust;
	if (file[0] == '\0')
		return 0;
	if (!bundle_get(o->w->files, file, &pem) || pem.n == 0 || (in = BIO_new_mem_buf(pem.p, (int)pem.n)) == NULL)
		return -1;
	while (o->site.trust_n < APPLE_TRUST_MAX && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL) {
		unsigned char *der = NULL;
		int n = i2d_X509(cert, &der);

		X509_free(cert);
		if (n <= 0)
			break;
		o->made[o->made_n++] = der;
		o->trust[o->site.trust_n++] = (struct strv){ (const char *)der, (size_t)n };
	}
	BIO_free(in);
	ERR_clear_error();
	return o->made_n > 0 ? 0 : -1;
}

static int fill(struct offer *o, const char *device, char *why)
{
	const struct enroll_section *e = &o->w->settings->enroll;

	o->site.identifier = o->identifier;
	o->site.organization = e->mail.organization;
	o->site.display_name = e->mail.display_name;
	o->site.removal_disallowed = e->apple.removal_disallowed;
	o->device = (struct apple_device){ device, o->owner->display_name[0] != '\0' ? o->owner->display_name : o->owner->sam, o->owner->upn,
		o->owner->mail, o->owner->sid };
	if (apple_profile_identifier(e->public_url, o->identifier, sizeof(o->identifier)) < 0)
		snprintf(why, APPLE_WHY_MAX, "enroll.public_url has no host name to name profiles by");
	else if (chain_first(o->w->chain, SIGNER_CHAIN_ISSUING) == NULL)
		snprintf(why, APPLE_WHY_MAX, "the signer has not told its CA yet");
	else if (fill_trust(o) < 0)
		snprintf(why, APPLE_WHY_MAX, "enroll.apple.trust_file: no certificate in it; PEM is expected");
	else
		return 0;
	return -1;
}

static int make_secret(struct offer *o, const struct registry_by *by, const char *purpose, char *why)
{
	const struct enroll_section *e = &o->w->settings->enroll;
	struct secret_for wanted = { .account = o->owner->id, .device = o->device.id, .profile = e->profiles[e->scep.profile_index].name,
		.purpose = purpose, .seconds = e->secrets.seconds, .form = SECRET_GROUPS, .limit = SECRETS_PER_ACCOUNT };

	if (secret_make(o->w->registry, &o->w->secret_key, by, &wanted, o->challenge) == REGISTRY_OK)
		return 0;
	snprintf(why, APPLE_WHY_MAX, "a one-time secret could not be made: %.120s", registry_problem(o->w->registry));
	return -1;
}

static int make_scep(struct offer *o, enum apple_offer_kind kind, X509 *recipient, struct buffer *out, char *why)
{
	const struct enroll_section *e = &o->w->settings->enroll;
	struct apple_scep scep = { .url = o->url, .name = "easenroll", .challenge = o->challenge, .ca_top = o->top };
	struct apple_mail mail = { .kind = e->apple.mail_kind == ENROLL_APPLE_ONLINE ? APPLE_MAIL_ONLINE : APPLE_MAIL_EXCHANGE,
		.host = e->mail.host, .user = o->owner->upn, .address = o->owner->mail, .past_days = e->mail.past_days,
		.oauth_sign_in_url = e->apple.oauth_sign_in_url, .oauth_token_url = e->apple.oauth_token_url };
	struct apple_content content = { .scep = &scep, .mail = e->mail.host[0] != '\0' && kind != APPLE_OFFER_NO_MAIL ? &mail : NULL };

	snprintf(o->url, sizeof(o->url), "%s/scep", e->plain_url);
	if (kind == APPLE_OFFER_ENROL)
		return apple_profile_enrol(&o->site, &o->device, &scep, out, why);
	return apple_profile_whole(&o->site, &o->device, &content, recipient, out, why);
}

static int make_service(struct offer *o, struct buffer *out, char *why)
{
	snprintf(o->url, sizeof(o->url), "%s" OTA_PATH, o->w->settings->enroll.public_url);
	return apple_profile_service(&o->site, &o->device, o->url, o->challenge, out, why);
}

int apple_offer(struct enroll_worker *w, enum apple_offer_kind kind, const struct registry_by *by, const struct registry_account *owner,
    const char *device, X509 *recipient, struct buffer *out, char *why)
{
	struct offer o = { .w = w, .owner = owner };
	int r = -1;

	if (fill(&o, device, why) == 0 && make_secret(&o, by, kind == APPLE_OFFER_SERVICE ? APPLE_OFFER_OTA : APPLE_OFFER_SCEP, why) == 0)
		r = kind == APPLE_OFFER_SERVICE ? make_service(&o, out, why) : make_scep(&o, kind, recipient, out, why);
	OPENSSL_cleanse(o.challenge, sizeof(o.challenge));
	for (size_t i = 0; i < o.made_n; i++)
		OPENSSL_free(o.made[i]);
	return r;
}
