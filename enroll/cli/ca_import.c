/*
 * ca_import: `ca import`: a subordinate's certificate that came back, or an issuing CA that exists already. Believes no file: each is checked first.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/certificate.h"
#include "enroll/cli/ca_make.h"
#include "enroll/cli/ca_trust.h"
#include "enroll/signer/authority_build.h"
#include "enroll/signer/folder.h"
#include "enroll/signer/weak_key.h"

#define CHAIN_MAX 8

static BIO *open_text(const char *path, char **text, struct refusal *r)
{
	size_t n;

	*text = folder_read(path, false, &n, r);
	return *text != NULL ? BIO_new_mem_buf(*text, (int)n) : NULL;
}

static X509 *read_certificate(const char *path, struct refusal *r)
{
	char *text;
	BIO *bio = open_text(path, &text, r);
	X509 *x = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	if (x == NULL && text != NULL)
		refuse(r, SIGNER_REFUSED, "%s: not a certificate in PEM", path);
	BIO_free(bio);
	free(text);
	return x;
}

/* An issuing CA may sign certificates and CRLs, now and for a while. */
static int check_authority(const char *path, X509 *x, struct refusal *r)
{
	int64_t from, to, now = (int64_t)time(NULL);
	const char *weak = X509_get0_pubkey(x) != NULL ? weak_key(X509_get0_pubkey(x)) : "it cannot be read";

	if (weak != NULL)
		return refuse(r, SIGNER_REFUSED, "%s: no key for a CA: %s", path, weak);
	if ((X509_get_extension_flags(x) & EXFLAG_CA) == 0)
		return refuse(r, SIGNER_REFUSED,
		    "%s: not a CA's certificate (basicConstraints CA:TRUE)", path);
	if ((X509_get_key_usage(x) & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) !=
	    (KU_KEY_CERT_SIGN | KU_CRL_SIGN))
		return refuse(
		    r, SIGNER_REFUSED, "%s: its key usage lacks keyCertSign or cRLSign", path);
	if (X509_get0_subject_key_id(x) == NULL)
		return refuse(r, SIGNER_REFUSED, "%s: it has no subject key identifier", path);
	if (authority_time(X509_get0_notBefore(x), &from) < 0 ||
	    authority_time(X509_get0_notAfter(x), &to) < 0 || now < from || now >= to)
		return refuse(r, SIGNER_REFUSED, "%s: not valid now", path);
	return 0;
}

/* Not one that is here already: lists and revocations go by the issuer's key. */
static int check_new(struct ca_files *f, const char *path, X509 *x, struct refusal *r)
{
	struct ca_entry *e;
	uint8_t spki[SHA256_SIZE];

	if (cert_spki_sha256(x, spki) < 0)
		return refuse_openssl(r, "%s: cannot hash its key", path);
	e = ca_files_by_spki(f, CA_ISSUING, spki);
	if (e == NULL)
		e = ca_files_by_spki(f, CA_ROOT, spki);
	return e == NULL ? 0 : refuse(r, SIGNER_REFUSED, "%s: its key is %s %u's, which is here already: a further issuing CA needs a key of its own "
	    "(easenroll ca rollover)", path, ca_kind_name(e->kind), e->generation);
}

/* The CAs above: certificates without keys. */
static int add_chain(struct ca_files *f, const struct ca_options *o, struct refusal *r)
{
	char *text;
	BIO *bio = open_text(o->chain, &text, r);
	unsigned n = 0;
	int rc = bio != NULL ? 0 : -1;

	while (rc == 0) {
		X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		struct ca_entry *e = f->n < CA_ENTRIES_MAX ? &f->entries[f->n] : NULL;

		if (x == NULL)
			break;
		if (X509_check_ca(x) != 1 || e == NULL || n++ == CHAIN_MAX) {
			X509_free(x);
			rc = refuse(r, SIGNER_REFUSED,
			    "%s: a certificate that is no CA's, or more than %d", o->chain,
			    CHAIN_MAX);
			break;
		}
		memset(e, 0, sizeof(*e));
		e->kind = CA_ROOT;
		e->generation = ca_files_next_generation(f, CA_ROOT);
		rc = ca_entry_certify(e, x, r);
		if (rc == 0 && ca_files_by_spki(f, CA_ROOT, e->spki_sha256) == NULL) {
			f->n++;
		} else {
			X509_free(e->certificate);
			e->certificate = NULL;
		}
	}
	ERR_clear_error();
	if (rc == 0 && n == 0)
		rc = refuse(r, SIGNER_REFUSED, "%s: no certificate in PEM", o->chain);
	BIO_free(bio);
	free(text);
	return rc;
}

/* The entry that the certificate completes, or a new one for --key. */
static struct ca_entry *find_entry(
    struct ca_files *f, const struct ca_options *o, X509 *x, struct refusal *r)
{
	EVP_PKEY *key;

	if (o->key != NULL) {
		key = key_load(o->key, &o->source, r);
		if (key == NULL)
			return NULL;
		if (!X509_check_private_key(x, key)) {
			EVP_PKEY_free(key);
			refuse(
			    r, SIGNER_REFUSED, "%s is not the key of %s", o->key, o->certificate);
			return NULL;
		}
		return ca_files_add(f, CA_ISSUING, CA_WAITING,
		    ca_files_next_generation(f, CA_ISSUING), NULL, key,
		    key_is_token(o->key) ? o->key : NULL, &o->source, r);
	}
	for (size_t i = 0; i < f->n; i++) {
		struct ca_entry *e = &f->entries[i];
		if (e->kind == CA_ISSUING && e->state == CA_WAITING && e->pkey != NULL &&
		    X509_check_private_key(x, e->pkey))
			return e;
	}
	refuse(r, SIGNER_REFUSED,
	    "%s: no request of this folder has its key; bring the key with --key", o->certificate);
	return NULL;
}

static int import(struct ca_files *f, const struct ca_options *o, X509 *x, struct refusal *r)
{
	bool first = ca_files_find(f, CA_ISSUING, CA_CURRENT) == NULL;
	struct ca_entry *e;

	if (!first && ca_files_find(f, CA_ISSUING, CA_NEXT) != NULL)
		return refuse(r, SIGNER_REFUSED,
		    "a next issuing CA is there already: easenroll ca rollover --activate first");
	if (check_authority(o->certificate, x, r) < 0 || check_new(f, o->certificate, x, r) < 0 ||
	    ca_files_load_keys(f, 1u << CA_ISSUING, &o->source, r) < 0)
		return -1;
	if (o->chain != NULL && add_chain(f, o, r) < 0)
		return -1;
	if (X509_self_signed(x, 1) != 1 && ca_files_issuer_of(f, x) == NULL)
		return refuse(r, SIGNER_REFUSED,
		    "the CA that signed %s is not known here: bring its certificate, up to the root, with --chain FILE",
		    o->certificate);
	e = find_entry(f, o, x, r);
	if (e == NULL || !X509_up_ref(x) || ca_entry_certify(e, x, r) < 0)
		return -1;
	e->state = first ? CA_CURRENT : CA_NEXT;
	if (ca_make_helpers(f, o, e, r) < 0 || ca_trust_check(f, e, o->certificate, r) < 0 || ca_files_save(f, r) < 0)
		return -1;
	printf("issuing CA %u is %s from the next reload of easenroll on.\n", e->generation,
	    first ? "in use" :
		    "announced to clients; easenroll ca rollover --activate takes it into use");
	return 0;
}

int ca_import(const struct ca_options *o, struct refusal *r)
{
	struct ca_files *f = calloc(1, sizeof(*f));
	X509 *x = NULL;
	int rc = -1;

	if (f == NULL)
		return refuse(r, SIGNER_BROKEN, "out of memory");
	if (!ca_files_exist(o->folder))
		ca_files_init(f, o->folder, o->name);
	else if (ca_files_load(f, o->folder, r) < 0)
		goto out;
	x = read_certificate(o->certificate, r);
	if (x != NULL)
		rc = import(f, o, x, r);
out:
	X509_free(x);
	ca_files_clear(f);
	free(f);
	return rc;
}
