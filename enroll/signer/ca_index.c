/*
 * ca_index: ca.json and the certificates beside it, read strictly and written atomically. Runs where ca_files.c runs.
 */
#include <errno.h>
#include <jansson.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/text.h"
#include "enroll/signer/ca_files.h"
#include "enroll/signer/folder.h"

#define INDEX_NAME    "ca.json"
#define INDEX_VERSION 1

bool ca_files_exist(const char *folder)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/" INDEX_NAME, folder);
	return access(path, F_OK) == 0;
}

bool ca_files_index_names(const char *folder, const char *key)
{
	char path[4096], name[CA_KEY_MAX + 2], *text;
	struct refusal r;
	size_t n;
	bool named;

	if (!ca_files_exist(folder))
		return false;
	snprintf(path, sizeof(path), "%s/" INDEX_NAME, folder);
	snprintf(name, sizeof(name), "\"%s\"", key);
	text = folder_read(path, false, &n, &r);
	named = text == NULL || strstr(text, name) != NULL;
	free(text);
	return named;
}

static void certificate_path(
    const struct ca_files *f, const struct ca_entry *e, char *out, size_t size)
{
	snprintf(out, size, "%s/%s-%u.pem", f->folder, ca_kind_name(e->kind), e->generation);
}

static int read_certificate(struct ca_files *f, struct ca_entry *e, struct refusal *r)
{
	char path[4096], *text;
	X509 *certificate = NULL;
	size_t n;
	BIO *bio;

	certificate_path(f, e, path, sizeof(path));
	text = folder_read(path, false, &n, r);
	if (text == NULL)
		return -1;
	bio = BIO_new_mem_buf(text, (int)n);
	if (bio != NULL)
		certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	free(text);
	if (certificate == NULL)
		return refuse_openssl(r, "%s: not a certificate in PEM", path);
	return ca_entry_certify(e, certificate, r);
}

static int word_of(const char *word, const char *(*name)(unsigned), unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (strcmp(name(i), word) == 0)
			return (int)i;
	}
	return -1;
}

static const char *kind_name(unsigned i) { return ca_kind_name((enum ca_kind)i); }

static const char *state_name(unsigned i) { return ca_state_name((enum ca_state)i); }

/* A key is a plain name in the folder or a token's URI: never a way out of the folder. */
static bool good_key(const char *key)
{
	return strlen(key) < CA_KEY_MAX && text_is_clean(strv_from(key)) &&
	    (key_is_token(key) || (strchr(key, '/') == NULL && key[0] != '.'));
}

static int read_entry(struct ca_files *f, json_t *row, struct refusal *r)
{
	struct ca_entry *e = &f->entries[f->n];
	const char *kind, *state, *key;
	json_int_t generation;
	int k, s;

	if (f->n == CA_ENTRIES_MAX ||
	    json_unpack(row, "{s:s,s:s,s:I,s:s!}", "kind", &kind, "state", &state, "generation",
		&generation, "key", &key) != 0)
		return refuse(r, SIGNER_BROKEN,
		    "%s/" INDEX_NAME ": entry %zu is not what this program writes", f->folder,
		    f->n);
	k = word_of(kind, kind_name, CA_KINDS);
	s = word_of(state, state_name, CA_STATES);
	if (k < 0 || s < 0 || generation < 1 || generation > 1000000 || !good_key(key))
		return refuse(r, SIGNER_BROKEN,
		    "%s/" INDEX_NAME ": entry %zu has a value that is not allowed", f->folder,
		    f->n);
	memset(e, 0, sizeof(*e));
	e->kind = (enum ca_kind)k;
	e->state = (enum ca_state)s;
	e->generation = (unsigned)generation;
	snprintf(e->key, sizeof(e->key), "%s", key);
	if (ca_files_generation(f, e->kind, e->generation) != NULL)
		return refuse(r, SIGNER_BROKEN, "%s/" INDEX_NAME ": %s %u stands there twice",
		    f->folder, kind, e->generation);
	f->n++;
	return e->state == CA_WAITING ? 0 : read_certificate(f, e, r);
}

int ca_files_load(struct ca_files *f, const char *folder, struct refusal *r)
{
	char path[4096], *text;
	const char *name;
	json_int_t version;
	json_t *root, *rows, *row;
	size_t n, i;
	int rc = -1;

	ca_files_init(f, folder, "");
	if (folder_check(folder, r) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/" INDEX_NAME, folder);
	text = folder_read(path, false, &n, r);
	if (text == NULL)
		return -1;
	root = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	if (root == NULL ||
	    json_unpack(root, "{s:I,s:s,s:o!}", "version", &version, "name", &name, "entries",
		&rows) != 0 ||
	    version != INDEX_VERSION || !json_is_array(rows) ||
	    text_copy(f->name, sizeof(f->name), strv_from(name)) < 0) {
		refuse(r, SIGNER_BROKEN, "%s: damaged, or not of version %d: put the one of your backup in its place", path, INDEX_VERSION);
		goto out;
	}
	json_array_foreach(rows, i, row)
	{
		if (read_entry(f, row, r) < 0)
			goto out;
	}
	rc = 0;
out:
	json_decref(root);
	return rc;
}

static int write_certificate(const struct ca_files *f, const struct ca_entry *e, struct refusal *r)
{
	char path[4096], *bytes;
	BIO *bio = BIO_new(BIO_s_mem());
	long n;
	int rc = -1;

	certificate_path(f, e, path, sizeof(path));
	if (bio == NULL || !PEM_write_bio_X509(bio, e->certificate)) {
		refuse_openssl(r, "%s: cannot encode it", path);
	} else {
		n = BIO_get_mem_data(bio, &bytes);
		rc = folder_write(path, bytes, (size_t)n, 0644, r);
	}
	BIO_free(bio);
	return rc;
}

int ca_files_save(struct ca_files *f, struct refusal *r)
{
	json_t *rows = json_array(), *root;
	char path[4096], *text;
	int rc = -1;

	for (size_t i = 0; i < f->n; i++) {
		const struct ca_entry *e = &f->entries[i];
		if (e->certificate != NULL && write_certificate(f, e, r) < 0)
			goto out;
		if (json_array_append_new(rows,
			json_pack("{s:s,s:s,s:I,s:s}", "kind", ca_kind_name(e->kind), "state",
			    ca_state_name(e->state), "generation", (json_int_t)e->generation, "key",
			    e->key)) != 0) {
			refuse(r, SIGNER_BROKEN, "out of memory");
			goto out;
		}
	}
	root = json_pack(
	    "{s:i,s:s,s:O}", "version", INDEX_VERSION, "name", f->name, "entries", rows);
	text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
	json_decref(root);
	snprintf(path, sizeof(path), "%s/" INDEX_NAME, f->folder);
	rc = text != NULL ? folder_write(path, text, strlen(text), 0644, r) :
			    refuse(r, SIGNER_BROKEN, "out of memory");
	for (size_t i = 0; rc == 0 && i < f->n; i++)
		f->entries[i].unsaved = false;
	free(text);
out:
	json_decref(rows);
	return rc;
}
