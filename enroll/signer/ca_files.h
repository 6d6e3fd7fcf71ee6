/*
 * ca_files: the CA's folder: an index (ca.json), certificates (PEM, 0644) and keys (PEM, 0600, or a token's URI in the index).
 *
 * Kinds: the root (its key is needed only to make issuing CAs, and may be kept elsewhere), issuing CAs in generations (old: signs only CRLs and OCSP;
 * current; next: announced, not used yet; waiting: a subordinate whose certificate has not come back), RAs (SCEP) and profile keys of the same generations.
 */
#ifndef EASGATE_ENROLL_SIGNER_CA_FILES_H
#define EASGATE_ENROLL_SIGNER_CA_FILES_H

#include <openssl/x509.h>

#include "enroll/signer/key.h"

#define CA_ENTRIES_MAX 64
#define CA_KEY_MAX     512

enum ca_kind { CA_ROOT = 0, CA_ISSUING, CA_RA, CA_PROFILE, CA_KINDS };
enum ca_state { CA_CURRENT = 0, CA_NEXT, CA_OLD, CA_WAITING, CA_STATES };
const char *ca_kind_name(enum ca_kind kind);
const char *ca_state_name(enum ca_state state);

struct ca_entry {
	enum ca_kind kind;
	enum ca_state state;
	unsigned generation; /* 1.. */
	char key
	    [CA_KEY_MAX]; /* a file's name in the folder, or "pkcs11:..."; "": not here (a root kept elsewhere) */
	X509 *certificate; /* NULL while CA_WAITING */
	EVP_PKEY *pkey;	   /* NULL until ca_files_load_keys() */
	bool unsaved;	   /* its key's file was made by ca_files_add(), and no index names it yet */
	uint8_t spki_sha256[SHA256_SIZE], sha256[SHA256_SIZE];
};

struct ca_files {
	char folder[3072];
	char name[128]; /* what its certificates are called */
	struct ca_entry entries[CA_ENTRIES_MAX];
	size_t n;
};

/* An empty folder of that name, in memory. */
void ca_files_init(struct ca_files *f, const char *folder, const char *name);
/* Frees, and removes again the keys' files that ca_files_add() made and no index names: a command that failed leaves the folder as it was. */
void ca_files_clear(struct ca_files *f);
/* True if the folder has an index. */
bool ca_files_exist(const char *folder);
/* Reads index and certificates, no keys. 0 or -1 with *r; f is to be cleared either way. */
MUST_CHECK int ca_files_load(struct ca_files *f, const char *folder, struct refusal *r);
/* Loads the keys of all entries of these kinds (1 << enum ca_kind) and holds them against their certificates. 0 or -1 with *r. */
MUST_CHECK int ca_files_load_keys(
    struct ca_files *f, unsigned kinds, const struct key_source *source, struct refusal *r);
/* Writes all certificates, then the index, each atomically: a crash before the index leaves the folder as it was. 0 or -1 with *r. */
MUST_CHECK int ca_files_save(struct ca_files *f, struct refusal *r);
/* Whether the index that is on the disk names this key; true, too, where that cannot be told. */
bool ca_files_index_names(const char *folder, const char *key);
/*
 * Adds an entry with a key that is new (written to its file at once) or, key_uri not NULL, in a token. certificate may be NULL (CA_WAITING).
 * Takes both references in every case. NULL with *r: the folder is full, the key could not be written, or another entry has the same key already (lists
 * and revocations go by the issuer's key).
 */
struct ca_entry *ca_files_add(struct ca_files *f, enum ca_kind kind, enum ca_state state,
    unsigned generation, X509 *certificate, EVP_PKEY *pkey, const char *key_uri,
    const struct key_source *source, struct refusal *r);
/* Puts the certificate into an entry (takes it) and fills its hashes. 0 or -1 with *r: not of that key. */
MUST_CHECK int ca_entry_certify(struct ca_entry *e, X509 *certificate, struct refusal *r);

/* NULL: none. */
struct ca_entry *ca_files_find(struct ca_files *f, enum ca_kind kind, enum ca_state state);
struct ca_entry *ca_files_generation(struct ca_files *f, enum ca_kind kind, unsigned generation);
struct ca_entry *ca_files_by_spki(
    struct ca_files *f, enum ca_kind kind, const uint8_t spki_sha256[SHA256_SIZE]);
/* The certificate in the folder that signed this one, by key, not by name alone; NULL: none, or self-signed. */
struct ca_entry *ca_files_issuer_of(struct ca_files *f, const X509 *certificate);
/* The number after the last of roots, or of all others: an issuing CA, its RA and its profile key share one. */
unsigned ca_files_next_generation(const struct ca_files *f, enum ca_kind kind);

#endif
