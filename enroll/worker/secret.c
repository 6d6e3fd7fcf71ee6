/*
 * secret: making one-time secrets and turning what people type into what the registry keeps. Worker process.
 */
#include "enroll/worker/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/text.h"

#define GROUPS_BYTES 20
#define NDES_BYTES   8

static int make_key(const char *path, char *why, size_t why_size)
{
	char temporary[512];
	uint8_t key[SHA256_SIZE];
	int fd, rc = -1;

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= sizeof(temporary) || RAND_bytes(key, sizeof(key)) != 1) {
		snprintf(why, why_size, "%s: path too long, or no random bytes", path);
		return -1;
	}
	fd = mkostemp(temporary, O_CLOEXEC);
	/* link, not rename: whoever was first counts */
	if (fd >= 0 && fchmod(fd, 0600) == 0 && write(fd, key, sizeof(key)) == (ssize_t)sizeof(key) && fsync(fd) == 0 &&
	    (link(temporary, path) == 0 || errno == EEXIST))
		rc = 0;
	else
		snprintf(why, why_size, "%s cannot be made: %s", path, strerror(errno));
	if (fd >= 0) {
		close(fd);
		unlink(temporary);
	}
	OPENSSL_cleanse(key, sizeof(key));
	return rc;
}

int secret_key_load(const char *state_dir, struct secret_key *out, char *why, size_t why_size)
{
	char path[480], more;
	struct stat st;
	int fd, rc = -1;

	if ((size_t)snprintf(path, sizeof(path), "%s/registry.key", state_dir) >= sizeof(path)) {
		snprintf(why, why_size, "state_dir has too long a name");
		return -1;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT) {
		if (make_key(path, why, why_size) < 0)
			return -1;
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	}
	if (fd < 0 || fstat(fd, &st) < 0) {
		snprintf(why, why_size, "%s cannot be read: %s", path, strerror(errno));
	} else if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0) {
		snprintf(why, why_size, "%s may be read by others: chmod 600, and make new secrets", path);
	} else if (read(fd, out->byte, sizeof(out->byte)) != (ssize_t)sizeof(out->byte) || read(fd, &more, 1) != 0) {
		snprintf(why, why_size, "%s has not %d bytes: restore it from a backup, or remove it (secrets that wait for use then are void)", path,
		    SHA256_SIZE);
	} else {
		rc = 0;
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

/* One text for what people make of it: no white space, no hyphens, upper case. */
static int plain(struct strv given, char *out, size_t size, size_t *n)
{
	*n = 0;
	if (given.n > SECRET_GIVEN_MAX)
		return -1;
	for (size_t i = 0; i < given.n; i++) {
		char c = given.p[i];

		if (c == ' ' || c == '\t' || c == '-' || c == '\r' || c == '\n')
			continue;
		if (c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		if (!((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) || *n == size)
			return -1;
		out[(*n)++] = c;
	}
	return *n >= 2 * NDES_BYTES ? 0 : -1;
}

int secret_mac(const struct secret_key *key, struct strv given, uint8_t out[SHA256_SIZE])
{
	char text[64] = "secret\n";
	size_t n = 0;
	unsigned size = 0;
	int rc = plain(given, text + 7, sizeof(text) - 7, &n);

	if (rc == 0 && (HMAC(EVP_sha256(), key->byte, sizeof(key->byte), (const unsigned char *)text, 7 + n, out, &size) == NULL ||
	    size != SHA256_SIZE))
		rc = -1;
	OPENSSL_cleanse(text, sizeof(text));
	return rc;
}

/* Base32 (RFC 4648 §6) in groups of four. */
static void write_groups(const uint8_t bytes[GROUPS_BYTES], char *out)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	unsigned held = 0, bits = 0, written = 0;

	for (size_t i = 0; i < GROUPS_BYTES; i++) {
		held = (held << 8 | bytes[i]) & 0xfff;
		for (bits += 8; bits >= 5; bits -= 5) {
			if (written > 0 && written % 4 == 0)
				*out++ = '-';
			*out++ = letters[held >> (bits - 5) & 31];
			written++;
		}
	}
	*out = '\0';
}

static int make_text(enum secret_form form, char text[SECRET_TEXT_MAX])
{
	uint8_t random[GROUPS_BYTES];

	if (RAND_bytes(random, sizeof(random)) != 1)
		return -1;
	if (form == SECRET_NDES) {
		text_hex(text, random, NDES_BYTES);
		for (char *p = text; *p != '\0'; p++)
			if (*p >= 'a')
				*p = (char)(*p - 'a' + 'A');
	} else {
		write_groups(random, text);
	}
	OPENSSL_cleanse(random, sizeof(random));
	return 0;
}

enum registry_result secret_make(struct registry *r, const struct secret_key *key, const struct registry_by *by, const struct secret_for *wanted,
    char text[SECRET_TEXT_MAX])
{
	struct registry_secret s = { .account = wanted->account, .made = by->at, .ends = by->at + wanted->seconds };
	enum registry_result rc = REGISTRY_BAD;

	if (strlen(wanted->device) < sizeof(s.device) && strlen(wanted->profile) < sizeof(s.profile) && strlen(wanted->purpose) < sizeof(s.purpose)) {
		memcpy(s.device, wanted->device, strlen(wanted->device));
		memcpy(s.profile, wanted->profile, strlen(wanted->profile));
		memcpy(s.purpose, wanted->purpose, strlen(wanted->purpose));
		if (make_text(wanted->form, text) < 0 || secret_mac(key, strv_from(text), s.mac) < 0)
			rc = REGISTRY_FAILED;
		else
			rc = registry_secret_add(r, by, &s, wanted->limit);
	}
	if (rc != REGISTRY_OK)
		OPENSSL_cleanse(text, SECRET_TEXT_MAX);
	return rc;
}

enum registry_result secret_find(struct registry *r, const struct secret_key *key, struct strv given, const char *purpose, int64_t now,
    struct registry_secret *out)
{
	uint8_t mac[SHA256_SIZE];
	struct registry_secret s;
	enum registry_result rc;

	if (secret_mac(key, given, mac) < 0)
		return REGISTRY_NONE;
	rc = registry_secret_get(r, mac, &s);
	if (rc != REGISTRY_OK)
		return rc;
	if (strcmp(s.purpose, purpose) != 0)
		return REGISTRY_FOREIGN;
	*out = s;
	if (s.used != 0)
		return REGISTRY_TAKEN;
	return s.ends <= now ? REGISTRY_EXPIRED : REGISTRY_OK;
}
