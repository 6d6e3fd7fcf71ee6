/*
 * ca_files: the CA's folder in memory. Runs in the signer before it is confined, and in the `ca` commands. Makes no certificates.
 */
#include "enroll/signer/ca_files.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

#include "common/certificate.h"

static const char *const kinds[CA_KINDS] = { "root", "issuing", "ra", "profile" };
static const char *const states[CA_STATES] = { "current", "next", "old", "waiting" };

const char *ca_kind_name(enum ca_kind kind) { return kinds[kind]; }

const char *ca_state_name(enum ca_state state) { return states[state]; }

void ca_files_init(struct ca_files *f, const char *folder, const char *name)
{
	memset(f, 0, sizeof(*f));
	snprintf(f->folder, sizeof(f->folder), "%s", folder);
	snprintf(f->name, sizeof(f->name), "%s", name);
}

static void remove_key(const struct ca_files *f, const struct ca_entry *e)
{
	char path[sizeof(f->folder) + CA_KEY_MAX + 2];

	snprintf(path, sizeof(path), "%s/%s", f->folder, e->key);
	if (!ca_files_index_names(f->folder, e->key))
		(void)unlink(path);
}

void ca_files_clear(struct ca_files *f)
{
	for (size_t i = 0; i < f->n; i++) {
		if (f->entries[i].unsaved)
			remove_key(f, &f->entries[i]);
		X509_free(f->entries[i].certificate);
		EVP_PKEY_free(f->entries[i].pkey);
	}
	memset(f, 0, sizeof(*f));
}

int ca_entry_certify(struct ca_entry *e, X509 *certificate, struct refusal *r)
{
	if (e->pkey != NULL && !X509_check_private_key(certificate, e->pkey)) {
		X509_free(certificate);
		return refuse(r, SIGNER_REFUSED, "the certificate is not of the key %s", e->key);
	}
	if (cert_spki_sha256(certificate, e->spki_sha256) < 0 ||
	    cert_sha256(certificate, e->sha256) < 0) {
		X509_free(certificate);
		return refuse_openssl(r, "cannot hash a certificate");
	}
	X509_free(e->certificate);
	e->certificate = certificate;
	return 0;
}

int ca_files_load_keys(
    struct ca_files *f, unsigned wanted, const struct key_source *source, struct refusal *r)
{
	char path[sizeof(f->folder) + CA_KEY_MAX + 2];

	for (size_t i = 0; i < f->n; i++) {
		struct ca_entry *e = &f->entries[i];

		if ((wanted & 1u << e->kind) == 0 || e->pkey != NULL)
			continue;
		if (e->key[0] == '\0')
			return refuse(r, SIGNER_BROKEN,
			    "the key of %s %u is not in %s: bring it back there for this",
			    kinds[e->kind], e->generation, f->folder);
		if (key_is_token(e->key))
			snprintf(path, sizeof(path), "%s", e->key);
		else
			snprintf(path, sizeof(path), "%s/%s", f->folder, e->key);
		e->pkey = key_load(path, source, r);
		if (e->pkey == NULL)
			return -1;
		if (e->certificate != NULL && !X509_check_private_key(e->certificate, e->pkey))
			return refuse(r, SIGNER_BROKEN, "%s: not the key of its certificate", path);
	}
	return 0;
}

/* The entry that has this key already; NULL: none. Of one that waits for its certificate only a token's name is known. */
static const struct ca_entry *same_key(const struct ca_files *f, EVP_PKEY *pkey, const char *uri)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct ca_entry *e = &f->entries[i];
		EVP_PKEY *has = e->certificate != NULL ? X509_get0_pubkey(e->certificate) : e->pkey;

		if ((has != NULL && EVP_PKEY_eq(has, pkey) == 1) || (uri != NULL && strcmp(e->key, uri) == 0))
			return e;
	}
	return NULL;
}

/* 0, or -1 with *r: this key may not come in here. */
static int check_new_key(const struct ca_files *f, const char *path, EVP_PKEY *pkey, const char *uri, struct refusal *r)
{
	const struct ca_entry *same = same_key(f, pkey, uri);

	if (same != NULL)
		return refuse(r, SIGNER_REFUSED, "this is the key of %s %u in %s already: each CA needs a key of its own", kinds[same->kind],
		    same->generation, f->folder);
	if (uri == NULL && access(path, F_OK) == 0)
		return refuse(r, SIGNER_REFUSED, "%s: is there already, and ca.json does not name it (of an interrupted command?): "
		    "move it away, then do this again", path);
	return 0;
}

struct ca_entry *ca_files_add(struct ca_files *f, enum ca_kind kind, enum ca_state state,
    unsigned generation, X509 *certificate, EVP_PKEY *pkey, const char *key_uri,
    const struct key_source *source, struct refusal *r)
{
	struct ca_entry *e = f->n < CA_ENTRIES_MAX ? &f->entries[f->n] : NULL;
	char path[sizeof(f->folder) + CA_KEY_MAX + 2];

	if (e == NULL) {
		refuse(r, SIGNER_REFUSED, "%s: holds %d entries, no more fit", f->folder,
		    CA_ENTRIES_MAX);
		goto failed;
	}
	memset(e, 0, sizeof(*e));
	e->kind = kind;
	e->state = state;
	e->generation = generation;
	if (key_uri != NULL)
		snprintf(e->key, sizeof(e->key), "%s", key_uri);
	else
		snprintf(e->key, sizeof(e->key), "%s-%u.key", kinds[kind], generation);
	snprintf(path, sizeof(path), "%s/%s", f->folder, e->key);
	if (check_new_key(f, path, pkey, key_uri, r) < 0 || (key_uri == NULL && key_write(path, pkey, source, r) < 0))
		goto failed;
	e->unsaved = key_uri == NULL;
	e->pkey = pkey;
	pkey = NULL;
	f->n++;
	if (certificate != NULL && ca_entry_certify(e, certificate, r) < 0)
		return NULL;
	return e;
failed:
	X509_free(certificate);
	EVP_PKEY_free(pkey);
	return NULL;
}

struct ca_entry *ca_files_find(struct ca_files *f, enum ca_kind kind, enum ca_state state)
{
	for (size_t i = 0; i < f->n; i++) {
		if (f->entries[i].kind == kind && f->entries[i].state == state)
			return &f->entries[i];
	}
	return NULL;
}

struct ca_entry *ca_files_generation(struct ca_files *f, enum ca_kind kind, unsigned generation)
{
	for (size_t i = 0; i < f->n; i++) {
		if (f->entries[i].kind == kind && f->entries[i].generation == generation)
			return &f->entries[i];
	}
	return NULL;
}

struct ca_entry *ca_files_by_spki(
    struct ca_files *f, enum ca_kind kind, const uint8_t spki_sha256[SHA256_SIZE])
{
	for (size_t i = 0; i < f->n; i++) {
		struct ca_entry *e = &f->entries[i];
		if (e->kind == kind && e->certificate != NULL &&
		    memcmp(e->spki_sha256, spki_sha256, SHA256_SIZE) == 0)
			return e;
	}
	return NULL;
}

struct ca_entry *ca_files_issuer_of(struct ca_files *f, const X509 *certificate)
{
	for (size_t i = 0; i < f->n; i++) {
		struct ca_entry *e = &f->entries[i];
		X509 *copy;
		int good;

		if (e->certificate == NULL || e->kind > CA_ISSUING ||
		    X509_cmp(e->certificate, certificate) == 0 ||
		    X509_NAME_cmp(X509_get_subject_name(e->certificate),
			X509_get_issuer_name(certificate)) != 0)
			continue;
		copy = X509_dup(certificate); /* verification caches in what it is given */
		good = copy != NULL && X509_verify(copy, X509_get0_pubkey(e->certificate)) == 1;
		X509_free(copy);
		ERR_clear_error();
		if (good)
			return e;
	}
	return NULL;
}

unsigned ca_files_next_generation(const struct ca_files *f, enum ca_kind kind)
{
	unsigned most = 0;

	for (size_t i = 0; i < f->n; i++) {
		const struct ca_entry *e = &f->entries[i];
		if ((e->kind == CA_ROOT) == (kind == CA_ROOT) && e->generation > most)
			most = e->generation;
	}
	return most + 1;
}
