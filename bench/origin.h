/*
 * The mail server of `make bench`: what its two files share. A measuring tool; trusts its proxies.
 */
#ifndef BENCH_ORIGIN_H
#define BENCH_ORIGIN_H

#include <stddef.h>
#include <stdint.h>

/* What the Kerberos mail server has seen. */
struct token_counts {
	uint64_t tokens;        /* heads with a token, all different */
	uint64_t accepted;      /* of those: opened with the keytab, as GSSAPI does it */
	uint64_t repeated;      /* seen before: a replay */
	uint64_t refused;       /* none, or none that is understood */
};

/*
 * From now on requests must carry `Authorization: Negotiate`. Keytab by KRB5_KTNAME, realm by
 * KRB5_CONFIG. -1: no such key (said on standard error).
 */
int tokens_require(void);
/*
 * Judges the token of a NUL-terminated head: 0, then user (at least 64 bytes) says whose it is; or
 * -1. Each token must be another one. Opened is the first with a ticket not seen before and one in
 * TOKEN_OPEN_EVERY; the others' user is the one of their ticket.
 */
int token_user(const char *head, char *user, size_t size);
const struct token_counts *token_counts(void);

#define TOKEN_OPEN_EVERY 64

#endif
