/*
 * registry_site: a registry in a folder of its own with an account and a device, and a signer played on the same loop that signs what it is asked with a CA
 * of its own. For the tests of enrolment's core.
 */
#ifndef EASGATE_TESTS_REGISTRY_SITE_H
#define EASGATE_TESTS_REGISTRY_SITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <openssl/rand.h>

#include "common/asker.h"
#include "common/certificate.h"
#include "common/text.h"
#include "enroll/worker/issue.h"
#include "enroll/worker/revoke.h"
#include "enroll/worker/secret.h"
#include "tests/unit/pki.h"
#include "tests/unit/redis_server.h"

#define SITE_NOW 1795400000

struct registry_site {
	char dir[64], path[128], list_dir[128];
	struct registry *registry;
	struct account account;
	struct registry_account owner;
	struct registry_device device;
	/* with a signer */
	struct loop *loop;
	struct asker *asker;
	struct wire *signer;
	struct issuer *issuer;
	struct pki_pair ca;
	char name[REGISTRY_HEX];
	bool silent, refuses, lies;
	unsigned signed_n, lists;
	struct signer_crl last_list;
	uint64_t kept;
};

static const struct registry_by site_by = { "test", "", SITE_NOW };

static inline void site_account(struct account *a, const char *sam, const char *sid)
{
	memset(a, 0, sizeof(*a));
	snprintf(a->sam, sizeof(a->sam), "%s", sam);
	snprintf(a->sid, sizeof(a->sid), "%s", sid);
	snprintf(a->upn, sizeof(a->upn), "%s@example.com", sam);
	snprintf(a->mail, sizeof(a->mail), "%s@mail.example.com", sam);
	snprintf(a->display_name, sizeof(a->display_name), "The %s", sam);
	a->flags = ACCOUNT_ENABLED;
}

static inline void site_open(struct registry_site *s)
{
	char why[400] = "";

	s->registry = registry_open(s->path, why, sizeof(why));
	if (s->registry == NULL)
		fail_msg("%s", why);
}

static inline void site_add_device(struct registry_site *s, const char *name, struct registry_device *out)
{
	struct registry_device d = { .account = s->owner.id, .kind = "ios", .state = REGISTRY_DEVICE_ACTIVE };

	snprintf(d.name, sizeof(d.name), "%s", name);
	assert_int_equal(registry_device_add(s->registry, &site_by, &d, 100, out), REGISTRY_OK);
}

static inline void site_begin(struct registry_site *s)
{
	memset(s, 0, sizeof(*s));
	strcpy(s->dir, "/tmp/easgate-registry-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/registry.db", s->dir);
	snprintf(s->list_dir, sizeof(s->list_dir), "%s/crl", s->dir);
	site_open(s);
	site_account(&s->account, "anna", "S-1-5-21-1-2-3-1104");
	assert_int_equal(registry_account_seen(s->registry, &site_by, &s->account, &s->owner), REGISTRY_OK);
	site_add_device(s, "Anna's phone", &s->device);
	memset(s->name, 'a', sizeof(s->name) - 1);
}

static inline void site_end(struct registry_site *s)
{
	char command[128];

	registry_close(s->registry);
	snprintf(command, sizeof(command), "rm -rf '%s'", s->dir);
	if (strncmp(s->dir, "/tmp/easgate-registry-", 22) == 0)
		assert_int_equal(system(command), 0);
}

/* For cmocka: *state is a site that was begun, without a signer. */
static inline int site_setup(void **state)
{
	struct registry_site *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	site_begin(s);
	*state = s;
	return 0;
}

static inline int site_teardown(void **state)
{
	site_end(*state);
	free(*state);
	return 0;
}

static inline void site_serial(uint8_t serial[REGISTRY_SERIAL])
{
	MUST(RAND_bytes(serial, REGISTRY_SERIAL) == 1);
	serial[0] |= 0x80;	/* what a signed number would be below zero */
}

/* 0: there is none. */
static inline enum registry_state site_state(struct registry_site *s, const uint8_t *serial)
{
	struct registry_certificate c;

	return registry_certificate_get(s->registry, serial, &c) == REGISTRY_OK ? c.state : 0;
}

/* A row in the registry with some bytes for a certificate. */
static inline void site_live(struct registry_site *s, const char *device, uint8_t serial[REGISTRY_SERIAL])
{
	uint8_t spki[SHA256_SIZE];
	struct registry_issue i = { .serial = serial, .issuer = s->name, .device = device, .profile = "mail", .spki_sha256 = spki,
		.not_before = SITE_NOW, .not_after = SITE_NOW + 86400 * 365 };
	struct registry_certificate there;

	site_serial(serial);
	MUST(RAND_bytes(spki, sizeof(spki)) == 1);
	assert_int_equal(registry_issue_begin(s->registry, &site_by, &i, &there), REGISTRY_OK);
	assert_int_equal(registry_issue_live(s->registry, &site_by, serial, (struct strv){ (char *)spki, sizeof(spki) }, true), REGISTRY_OK);
}

/* --- the signer --- */

static inline X509 *site_sign(struct registry_site *s, const struct signer_issue *q, const uint8_t *spki)
{
	X509 *cert = X509_new();
	const unsigned char *p = spki;
	EVP_PKEY *key = d2i_PUBKEY(NULL, &p, (long)q->spki_n);
	BIGNUM *serial = BN_bin2bn(q->serial, REGISTRY_SERIAL, NULL);

	MUST(cert != NULL && key != NULL && serial != NULL);
	if (s->lies)
		MUST(BN_add_word(serial, 1) == 1);
	MUST(BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) != NULL);
	MUST(X509_set_version(cert, X509_VERSION_3) == 1 && X509_set_pubkey(cert, key) == 1);
	MUST(ASN1_TIME_set(X509_getm_notBefore(cert), q->not_before) != NULL && ASN1_TIME_set(X509_getm_notAfter(cert), q->not_after) != NULL);
	MUST(X509_set_issuer_name(cert, X509_get_subject_name(s->ca.cert)) == 1);
	MUST(X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_commonName, MBSTRING_UTF8, (const unsigned char *)q->display_name, -1, -1, 0));
	MUST(X509_sign(cert, s->ca.key, EVP_sha256()) > 0);
	BN_free(serial);
	EVP_PKEY_free(key);
	return cert;
}

static inline void site_answer(struct wire *w, uint64_t number, uint32_t status, const void *p, size_t n)
{
	static uint8_t out[sizeof(struct signer_answer) + 16384];
	struct signer_answer a = { .status = status, .n = (uint32_t)n };

	snprintf(a.text, sizeof(a.text), "%s", status == SIGNER_OK ? "" : "the test's signer refuses");
	memcpy(out, &a, sizeof(a));
	if (n > 0)
		memcpy(out + sizeof(a), p, n);
	MUST(wire_answer(w, number, out, sizeof(a) + n) == 0);
}

static inline void site_serve_issue(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct registry_site *s = arg;
	struct signer_issue q;
	unsigned char *der = NULL;
	X509 *cert;
	int size;

	memcpy(&q, body, sizeof(q));
	MUST(n == sizeof(q) + q.spki_n);
	if (s->silent) {
		s->kept = number;
		return;
	}
	if (s->refuses) {
		site_answer(w, number, SIGNER_REFUSED, NULL, 0);
		return;
	}
	cert = site_sign(s, &q, (const uint8_t *)body + sizeof(q));
	size = i2d_X509(cert, &der);
	MUST(size > 0);
	s->signed_n++;
	site_answer(w, number, SIGNER_OK, der, (size_t)size);
	OPENSSL_free(der);
	X509_free(cert);
}

static inline void site_serve_list(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct registry_site *s = arg;
	struct signer_crl_done done = { .bytes = 1 };
	char from[256], to[300];
	FILE *f;

	MUST(n == sizeof(s->last_list));
	memcpy(&s->last_list, body, n);
	/* what would be signed is kept, for the test to look at */
	snprintf(from, sizeof(from), "%s/in.%llu", s->list_dir, (unsigned long long)s->last_list.number);
	snprintf(to, sizeof(to), "%s/%s", s->list_dir, s->last_list.base_number == 0 ? "full" : "delta");
	if (s->refuses || rename(from, to) != 0) {
		site_answer(w, number, SIGNER_REFUSED, NULL, 0);
		return;
	}
	/* whoever starts later finds the list in its place */
	snprintf(to, sizeof(to), "%s/%s.crl", s->list_dir, s->name);
	f = fopen(to, "w");
	MUST(f != NULL && fclose(f) == 0);
	s->lists++;
	site_answer(w, number, SIGNER_OK, &done, sizeof(done));
}

static const struct wire_verb site_signer_verbs[] = {
	{ SIGNER_ISSUE, "issue", sizeof(struct signer_issue), WIRE_BODY_MAX, site_serve_issue },
	{ SIGNER_CRL, "crl", sizeof(struct signer_crl), sizeof(struct signer_crl), site_serve_list },
	{ 0, NULL, 0, 0, NULL },
};
static const struct wire_verb site_no_verbs[] = { { 0, NULL, 0, 0, NULL } };

static inline void site_closed(struct wire *w, void *arg)
{
	struct registry_site *s = arg;

	s->signer = NULL;
	wire_free(w);
}

static inline void site_link_signer(struct registry_site *s)
{
	struct wire_config config = { .verbs = site_signer_verbs, .arg = s, .closed = site_closed, .name = "signer" };
	int fds[2];

	s->asker = asker_new(s->loop, "signer", site_no_verbs, s);
	MUST(s->asker != NULL);
	assert_int_equal(wire_pair(fds), 0);
	s->signer = wire_new(s->loop, fds[1], &config);
	asker_link(s->asker, fds[0]);
	s->issuer = issuer_embedded_new(s->asker);
	MUST(s->signer != NULL && s->issuer != NULL);
	issuer_embedded_set_name(s->issuer, s->name);
}

/* No answer that is on its way comes any more: whoever asked has been freed just now. */
static inline void site_unlink_signer(struct registry_site *s)
{
	s->issuer->free(s->issuer);
	asker_free(s->asker);
	wire_free(s->signer);
}

static inline void site_begin_signer(struct registry_site *s)
{
	uint8_t hash[SHA256_SIZE];

	s->loop = loop_new();
	s->ca = pki_make(&(struct pki){ .cn = "Test CA", .ca = true });
	MUST(s->loop != NULL && cert_spki_sha256(s->ca.cert, hash) == 0);
	text_hex(s->name, hash, sizeof(hash));
	site_link_signer(s);
}

static inline void site_end_signer(struct registry_site *s)
{
	site_unlink_signer(s);
	loop_free(s->loop);
	pki_free(&s->ca);
}

/* The DER of a public key. */
static inline size_t site_spki(EVP_PKEY *key, uint8_t out[1024])
{
	unsigned char *p = out;
	int n = i2d_PUBKEY(key, NULL);

	MUST(n > 0 && n <= 1024);
	return (size_t)i2d_PUBKEY(key, &p);
}

/* What the list kept as "full" or "delta" says of the serial: the reason, or -1. */
static inline int site_listed(struct registry_site *s, const char *name, const uint8_t *serial)
{
	struct signer_crl_entry e;
	char path[256];
	FILE *f;
	int reason = -1;

	snprintf(path, sizeof(path), "%s/%s", s->list_dir, name);
	f = fopen(path, "r");
	while (f != NULL && fread(&e, sizeof(e), 1, f) == 1)
		if (memcmp(e.serial, serial, REGISTRY_SERIAL) == 0)
			reason = e.reason;
	if (f != NULL)
		fclose(f);
	return reason;
}

#endif
