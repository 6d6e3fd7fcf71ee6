/*
 * enroll_ca: a CA in a temporary folder for the signer's tests, made by the program's own functions; files are removed at the end.
 */
#ifndef TEST_ENROLL_CA_H
#define TEST_ENROLL_CA_H

#include <dirent.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "enroll/signer/authority_build.h"
#include "enroll/signer/ca_files.h"
#include "enroll/signer/folder.h"
#include "enroll/signer/serve.h"

struct test_ca {
	char folder[64], crl[64];
	struct ca_files files;
	struct signer_profile profile;
	struct signer_setup setup;
	int64_t now;
};

static inline void test_ca_entry(struct test_ca *t, enum ca_kind kind, enum authority_kind as,
    const struct ca_entry *issuer, enum key_kind key_kind, const struct key_source *source,
    enum ca_state state, unsigned generation)
{
	struct refusal r = { 0 };
	EVP_PKEY *key = key_make(key_kind, &r);
	char name[64];
	struct authority a = { .kind = as,
		.common_name = name,
		.key = key,
		.issuer = issuer != NULL ? issuer->certificate : NULL,
		.issuer_key = issuer != NULL ? issuer->pkey : NULL,
		.not_before = t->now - 3600,
		.not_after = t->now + 400 * 86400 };

	snprintf(name, sizeof(name), "Test %s %u", ca_kind_name(kind), generation);
	if (ca_files_add(&t->files, kind, state, generation, authority_build(&a, &r), key, NULL,
		source, &r) == NULL) {
		fprintf(stderr, "test CA: %s\n", r.text);
		abort();
	}
}

/* A root (P-256), an issuing CA of the kind, an RA and a profile key. */
static inline void test_ca_make(struct test_ca *t, enum key_kind issuing, const char *password_file)
{
	struct key_source source = { password_file, "", "" };
	struct refusal r = { 0 };

	memset(t, 0, sizeof(*t));
	t->now = (int64_t)time(NULL);
	snprintf(t->folder, sizeof(t->folder), "/tmp/test-ca-XXXXXX");
	if (mkdtemp(t->folder) == NULL)
		abort();
	snprintf(t->crl, sizeof(t->crl), "%s", t->folder);
	ca_files_init(&t->files, t->folder, "Test");
	test_ca_entry(t, CA_ROOT, AUTHORITY_ROOT, NULL, KEY_EC_P256, &source, CA_CURRENT, 1);
	test_ca_entry(t, CA_ISSUING, AUTHORITY_ISSUING, &t->files.entries[0], issuing, &source,
	    CA_CURRENT, 1);
	test_ca_entry(
	    t, CA_RA, AUTHORITY_RA, &t->files.entries[1], KEY_RSA_2048, &source, CA_CURRENT, 1);
	test_ca_entry(t, CA_PROFILE, AUTHORITY_PROFILE, &t->files.entries[1], KEY_RSA_2048, &source,
	    CA_CURRENT, 1);
	if (ca_files_save(&t->files, &r) < 0)
		abort();
	t->profile = (struct signer_profile){ .name = "mail",
		.days = 365,
		.subject = "CN={display_name},UID={sam}",
		.upn = true,
		.mail = true,
		.sid = true };
	t->setup = (struct signer_setup){ .user = "",
		.ca_folder = t->folder,
		.crl_folder = t->crl,
		.key_password_file = password_file,
		.pkcs11_module = "",
		.pin_file = "",
		.known_keys_file = "",
		.plain_url = "http://enroll.example.com",
		.profiles = &t->profile,
		.profiles_n = 1,
		.ocsp_signer_seconds = 16 * 86400,
		.delta = true,
		.des3 = true };
}

static inline void test_ca_remove(struct test_ca *t)
{
	DIR *d = opendir(t->folder);
	struct dirent *e;
	char path[512];

	ca_files_clear(&t->files);
	while (d != NULL && (e = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", t->folder, e->d_name);
		if (e->d_name[0] != '.')
			unlink(path);
	}
	if (d != NULL)
		closedir(d);
	rmdir(t->folder);
}

/* A question for a certificate of `key`; malloc()ed, *n bytes. */
static inline struct signer_issue *test_question(const struct test_ca *t, EVP_PKEY *key, size_t *n)
{
	unsigned char *spki = NULL;
	int len = i2d_PUBKEY(key, &spki);
	struct signer_issue *q = calloc(1, sizeof(*q) + (size_t)len);

	*q = (struct signer_issue){ .profile = "mail",
		.serial = { 0x41, 0x17, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
		.not_before = t->now - 60,
		.not_after = t->now + 300 * 86400,
		.sid = "S-1-5-21-1234567890-987654321-1122334455-1107",
		.upn = "anna@example.com",
		.mail = "anna.b@example.com",
		.sam = "anna",
		.display_name = "Ber\xc3\xa9nyi, Anna",
		.device = "00112233445566778899aabbccddeeff" };
	q->spki_n = (uint32_t)len;
	memcpy(q + 1, spki, (size_t)len);
	OPENSSL_free(spki);
	*n = sizeof(*q) + (size_t)len;
	return q;
}

#endif
