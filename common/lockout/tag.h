/*
 * tag: what a password leaves behind. Never the password, nor anything by which it could be guessed without the fleet's secret:
 * tag = HMAC(key, SID, pwdLastSet, scrypt(password, salt)), key = HMAC(fleet secret, label), salt = HMAC(key, SID).
 * Pure; lockout_stretch() takes memory and time on purpose. *lockout* process; lockout_stretch() in *stretch* processes.
 */
#ifndef EASGATE_LOCKOUT_TAG_H
#define EASGATE_LOCKOUT_TAG_H

#include "common/base.h"

#define LOCKOUT_KEY	  32
#define LOCKOUT_TAG	  16
#define LOCKOUT_SALT	  SHA256_SIZE
#define LOCKOUT_STRETCHED 32

/* All: 0, or -1 (out of memory, or OpenSSL refuses). */
MUST_CHECK int lockout_key(struct strv secret, uint8_t key[LOCKOUT_KEY]);
/* An account's own salt: who has it and not the key can stretch passwords for it, and knows no tag. */
MUST_CHECK int lockout_salt(const uint8_t key[LOCKOUT_KEY], const char *sid, uint8_t salt[LOCKOUT_SALT]);
/* scrypt (RFC 7914) with r = 8, p = 1 and `mib` MiB (a power of two); blocks for tens of milliseconds. */
MUST_CHECK int lockout_stretch(const uint8_t salt[LOCKOUT_SALT], struct strv password, unsigned mib, uint8_t out[LOCKOUT_STRETCHED]);
/* generation: pwdLastSet. The same password has another tag after each change of it. */
MUST_CHECK int lockout_tag(const uint8_t key[LOCKOUT_KEY], const char *sid, int64_t generation,
    const uint8_t stretched[LOCKOUT_STRETCHED], uint8_t out[LOCKOUT_TAG]);
MUST_CHECK int lockout_address_tag(const uint8_t key[LOCKOUT_KEY], const char *address, uint8_t out[LOCKOUT_TAG]);
MUST_CHECK int lockout_mac(const uint8_t key[LOCKOUT_KEY], const char *sid, const void *bytes, size_t n, uint8_t out[SHA256_SIZE]);

/* "2001:db8:1:2:3::4" -> "2001:db8:1:2::" (a network of 64 bits is one client); anything else as it is. */
void lockout_address(const char *client, char *out, size_t size);

#endif
