/*
 * ca_make: `ca init` and `ca rollover`: new keys and certificates in the CA's folder. Runs as a command of its own, as root.
 */
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include "enroll/cli/ca_make.h"
#include "enroll/signer/authority_build.h"
#include "enroll/signer/folder.h"
#include "enroll/signer/weak_key.h"

#define DAY	     86400
#define ROOT_DAYS    7305 /* twenty years */
#define ISSUING_DAYS 3652 /* ten */
#define BACKDATE     3600

/* As others see it: of a key in a token the library that leads there has a view of its own. */
static const char *weak_public(const EVP_PKEY *key)
{
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(key, &der);
	const unsigned char *at = der;
	EVP_PKEY *seen = n > 0 ? d2i_PUBKEY(NULL, &at, n) : NULL;
	const char *weak = seen != NULL ? weak_key(seen) : "its public part cannot be read";

	EVP_PKEY_free(seen);
	OPENSSL_free(der);
	return weak;
}

static EVP_PKEY *make_key(
    const struct ca_options *o, enum key_kind kind, const char *uri, struct refusal *r)
{
	EVP_PKEY *key = uri != NULL ? key_load(uri, &o->source, r) : key_make(kind, r);
	const char *weak = key != NULL && uri != NULL ? weak_public(key) : NULL;

	if (weak == NULL)
		return key;
	EVP_PKEY_free(key);
	refuse(r, SIGNER_REFUSED, "%s: no key for a CA: %s", uri, weak);
	return NULL;
}

static struct authority plan(enum authority_kind kind, const char *name, EVP_PKEY *key,
    const struct ca_entry *issuer, int64_t days)
{
	int64_t now = (int64_t)time(NULL);

	return (struct authority){ .kind = kind,
		.common_name = name,
		.key = key,
		.issuer = issuer != NULL ? issuer->certificate : NULL,
		.issuer_key = issuer != NULL ? issuer->pkey : NULL,
		.not_before = now - BACKDATE,
		.not_after = now + days * DAY };
}

/* Makes key and certificate, and puts both into the folder. */
static struct ca_entry *make_entry(struct ca_files *f, const struct ca_options *o,
    enum ca_kind kind, enum ca_state state, unsigned generation, const struct ca_entry *issuer,
    enum key_kind key_kind, const char *uri, struct refusal *r)
{
	static const enum authority_kind kinds[CA_KINDS] = { AUTHORITY_ROOT, AUTHORITY_ISSUING,
		AUTHORITY_RA, AUTHORITY_PROFILE };
	static const char *const names[CA_KINDS] = { "Root CA", "Issuing CA", "SCEP RA",
		"Profiles" };
	EVP_PKEY *key = make_key(o, key_kind, uri, r);
	struct authority a;
	X509 *certificate;
	char name[96];

	if (key == NULL)
		return NULL;
	snprintf(name, sizeof(name), "%s %s %u", f->name, names[kind], generation);
	a = plan(kinds[kind], name, key, issuer, kind == CA_ROOT ? ROOT_DAYS : ISSUING_DAYS);
	certificate = authority_build(&a, r);
	if (certificate == NULL) {
		EVP_PKEY_free(key);
		return NULL;
	}
	return ca_files_add(f, kind, state, generation, certificate, key, uri, &o->source, r);
}

int ca_make_helpers(struct ca_files *f, const struct ca_options *o, const struct ca_entry *issuing,
    struct refusal *r)
{
	/* RSA: no SCEP client can encrypt to anything else, and profiles are read by old devices too */
	if (make_entry(f, o, CA_RA, issuing->state, issuing->generation, issuing, KEY_RSA_2048,
		NULL, r) == NULL)
		return -1;
	return make_entry(f, o, CA_PROFILE, issuing->state, issuing->generation, issuing,
		   KEY_RSA_2048, NULL, r) != NULL ?
	    0 :
	    -1;
}

static int write_request(const char *path, X509_REQ *request, struct refusal *r)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *bytes;
	long n;
	int rc = -1;

	if (bio == NULL || !PEM_write_bio_X509_REQ(bio, request)) {
		refuse_openssl(r, "cannot encode the request");
	} else {
		n = BIO_get_mem_data(bio, &bytes);
		rc = folder_write(path, bytes, (size_t)n, 0644, r);
	}
	BIO_free(bio);
	return rc;
}

/* The entry whose key waits for its certificate: its request is written once more, for files get lost. Without one a new one. NULL with *r. */
static struct ca_entry *waiting_entry(struct ca_files *f, const struct ca_options *o, unsigned generation, struct refusal *r)
{
	struct ca_entry *e = ca_files_find(f, CA_ISSUING, CA_WAITING);
	EVP_PKEY *key;

	if (e != NULL && o->key != NULL && strcmp(e->key, o->key) != 0) {
		refuse(r, SIGNER_REFUSED, "issuing CA %u waits for its certificate with another key (%s): leave --key out, and its request is written again",
		    e->generation, e->key);
		return NULL;
	}
	if (e != NULL)
		return ca_files_load_keys(f, 1u << CA_ISSUING, &o->source, r) == 0 ? e : NULL;
	key = make_key(o, o->rsa ? KEY_RSA_3072 : KEY_EC_P256, o->key, r);
	return key != NULL ? ca_files_add(f, CA_ISSUING, CA_WAITING, generation, NULL, key, o->key, &o->source, r) : NULL;
}

static int make_subordinate(
    struct ca_files *f, const struct ca_options *o, unsigned generation, struct refusal *r)
{
	struct ca_entry *e = waiting_entry(f, o, generation, r);
	X509_REQ *request;
	char name[96];
	int rc;

	if (e == NULL)
		return -1;
	snprintf(name, sizeof(name), "%s Issuing CA %u", f->name, e->generation);
	request = authority_request(name, e->pkey, r);
	if (request == NULL)
		return -1;
	rc = write_request(o->csr_out, request, r);
	X509_REQ_free(request);
	if (rc < 0 || ca_files_save(f, r) < 0)
		return -1;
	printf(
	    "%s: the request of \"%s\".\nHave it signed as a subordinate CA, then: easenroll ca import --certificate FILE --chain FILE-WITH-THE-CAS-ABOVE\n",
	    o->csr_out, name);
	return 0;
}

static int init_again(struct ca_files *f, const struct ca_options *o, struct refusal *r)
{
	bool waits;

	if (ca_files_load(f, o->folder, r) < 0)
		return -1;
	waits = ca_files_find(f, CA_ISSUING, CA_WAITING) != NULL;
	if (waits && ca_files_find(f, CA_ISSUING, CA_CURRENT) == NULL)
		return o->subordinate ? make_subordinate(f, o, 0, r) :
		    refuse(r, SIGNER_REFUSED, "%s has a request that waits for its certificate: easenroll ca import takes that; "
			"easenroll ca init --subordinate --csr-out FILE writes the request again", o->folder);
	return refuse(r, SIGNER_REFUSED, "%s holds a CA already: easenroll ca show shows it, easenroll ca rollover renews it", o->folder);
}

static int init(struct ca_files *f, const struct ca_options *o, struct refusal *r)
{
	enum key_kind kind = o->rsa ? KEY_RSA_3072 : KEY_EC_P256;
	struct ca_entry *root, *issuing;

	if (ca_files_exist(o->folder))
		return init_again(f, o, r);
	if (o->subordinate)
		return make_subordinate(f, o, 1, r);
	root = make_entry(
	    f, o, CA_ROOT, CA_CURRENT, 1, NULL, o->rsa ? KEY_RSA_4096 : kind, NULL, r);
	if (root == NULL)
		return -1;
	issuing = make_entry(f, o, CA_ISSUING, CA_CURRENT, 1, root, kind, o->key, r);
	if (issuing == NULL || ca_make_helpers(f, o, issuing, r) < 0 || ca_files_save(f, r) < 0)
		return -1;
	printf(
	    "%s: made \"%s\": root, issuing CA, SCEP RA and profile key.\n"
	    "The root's key, root-1.key, is needed only for easenroll ca rollover: keep it offline, away from this machine.\n"
	    "Mail servers and proxies trust root-1.pem and issuing-1.pem.\n",
	    f->folder, f->name);
	return 0;
}

int ca_init(const struct ca_options *o, struct refusal *r)
{
	struct ca_files *f = calloc(1, sizeof(*f));
	int rc;

	if (f == NULL)
		return refuse(r, SIGNER_BROKEN, "out of memory");
	ca_files_init(f, o->folder, o->name);
	rc = init(f, o, r);
	ca_files_clear(f);
	free(f);
	return rc;
}

/* --- rollover --- */

static int activate(struct ca_files *f, struct refusal *r)
{
	struct ca_entry *next = ca_files_find(f, CA_ISSUING, CA_NEXT);

	if (next == NULL)
		return refuse(r, SIGNER_REFUSED,
		    "there is no next issuing CA: make one with easenroll ca rollover");
	for (size_t i = 0; i < f->n; i++) {
		struct ca_entry *e = &f->entries[i];
		if (e->kind == CA_ROOT)
			continue;
		if (e->state == CA_CURRENT)
			e->state = CA_OLD;
		else if (e->state == CA_NEXT && e->generation == next->generation)
			e->state = CA_CURRENT;
	}
	if (ca_files_save(f, r) < 0)
		return -1;
	printf(
	    "issuing CA %u is in use from the next reload of easenroll on. The ones before it go on signing their CRLs and OCSP answers.\n",
	    next->generation);
	return 0;
}

static int rollover(struct ca_files *f, const struct ca_options *o, struct refusal *r)
{
	unsigned generation = ca_files_next_generation(f, CA_ISSUING);
	struct ca_entry *root, *issuing;

	if (o->activate)
		return activate(f, r);
	if (ca_files_find(f, CA_ISSUING, CA_NEXT) != NULL)
		return refuse(r, SIGNER_REFUSED, "a next issuing CA is there already: easenroll ca rollover --activate takes it into use");
	if (ca_files_find(f, CA_ISSUING, CA_WAITING) != NULL && !o->subordinate)
		return refuse(r, SIGNER_REFUSED, "a request waits for its certificate: easenroll ca import takes that; "
		    "easenroll ca rollover --subordinate --csr-out FILE writes the request again");
	if (o->subordinate)
		return make_subordinate(f, o, generation, r);
	root = ca_files_find(f, CA_ROOT, CA_CURRENT);
	if (root == NULL || root->key[0] == '\0')
		return refuse(r, SIGNER_REFUSED,
		    "the CA above is not ours: make a request for it with --subordinate --csr-out FILE");
	if (ca_files_load_keys(f, 1u << CA_ROOT, &o->source, r) < 0)
		return -1;
	if (X509_cmp_current_time(X509_get0_notAfter(root->certificate)) < 0)
		return refuse(r, SIGNER_REFUSED, "the root has ended (%s/root-%u.pem): what it signs nobody believes: make a new CA in another folder "
		    "(enroll.ca.folder), and let proxies trust both while devices change over", f->folder, root->generation);
	issuing = make_entry(f, o, CA_ISSUING, CA_NEXT, generation, root,
	    o->rsa ? KEY_RSA_3072 : KEY_EC_P256, o->key, r);
	if (issuing == NULL || ca_make_helpers(f, o, issuing, r) < 0 || ca_files_save(f, r) < 0)
		return -1;
	printf(
	    "issuing CA %u is made, and announced to clients (GetNextCACert) from the next reload of easenroll on.\n"
	    "Let mail servers and proxies trust issuing-%u.pem, then: easenroll ca rollover --activate\n",
	    generation, generation);
	return 0;
}

int ca_rollover(const struct ca_options *o, struct refusal *r)
{
	struct ca_files *f = calloc(1, sizeof(*f));
	int rc = -1;

	if (f == NULL)
		return refuse(r, SIGNER_BROKEN, "out of memory");
	if (ca_files_load(f, o->folder, r) == 0)
		rc = rollover(f, o, r);
	ca_files_clear(f);
	free(f);
	return rc;
}
