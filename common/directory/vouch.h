/*
 * vouch: the voucher by which *directory* tells *kerberos* that an account may have a ticket.
 *
 * HMAC-SHA-256 over (sam, realm, certificate fingerprint, expiry) with a key that the master draws anew at
 * each start and gives to these two roles and *lockout* only. Workers carry it and cannot make one.
 * Layout of the VOUCHER_SIZE bytes: expiry (8 bytes, little endian, seconds since the epoch), 16 random bytes, MAC (32).
 */
#ifndef EASGATE_DIRECTORY_VOUCH_H
#define EASGATE_DIRECTORY_VOUCH_H

#include "common/directory/ask.h"

#define VOUCH_KEY_SIZE 32
#define VOUCH_KEY_NAME "vouch-key"	/* its name in the bundle */

/* The key, set up once for many vouchers: finding the algorithm anew costs more than the MAC. */
struct vouch;

/* Copies the key. NULL: out of memory. */
struct vouch *vouch_new(const uint8_t key[VOUCH_KEY_SIZE]);
/* Wipes it; accepts NULL. */
void vouch_free(struct vouch *v);

MUST_CHECK int vouch_make(struct vouch *v, const char *sam, const char *realm,
    const uint8_t certificate[SHA256_SIZE], time_t expires, uint8_t out[VOUCHER_SIZE]);
/* True only for a MAC that is right (compared in constant time) and an expiry in the future, at most an hour ahead. */
MUST_CHECK bool vouch_check(struct vouch *v, const char *sam, const char *realm,
    const uint8_t certificate[SHA256_SIZE], time_t now, const uint8_t voucher[VOUCHER_SIZE]);

#endif
