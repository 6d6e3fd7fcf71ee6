/*
 * audit_head: tells the log where the audit trail ends, so that whoever holds the log can tell a trail that was cut (`easenroll audit verify --log`).
 *
 * Only an entry that is on the disk is told: what a power cut takes back must not look like a cut. And each look holds the entry that was told before
 * against the registry: where it is another one, or gone, somebody changed the file under the running program, and the log says so (`audit_broken`), once.
 * Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_AUDIT_HEAD_H
#define EASGATE_ENROLL_AUDIT_HEAD_H

#include "enroll/worker/registry.h"

#define AUDIT_HEAD_MAX (20 + 1 + 2 * SHA256_SIZE + 1)	/* "NUMBER:HASH" and NUL */

/* Zeroed at the start. */
struct audit_head {
	int64_t told, next;			/* numbers of entries; 0: none. next: to be told once it is on the disk */
	uint8_t told_hash[SHA256_SIZE], next_hash[SHA256_SIZE];
	uint64_t wait;				/* the change that has to be on the disk before */
};

/* Looks, and tells what grew since, as soon as change number `wait` (durable_wait_for()) is on the disk; 0: it is. Nothing may be walking the registry. */
void audit_head_look(struct audit_head *h, struct registry *r, uint64_t wait);
/* Changes up to this number are on the disk. */
void audit_head_reached(struct audit_head *h, uint64_t upto);

/* The entry with this number. NONE: there is none. */
MUST_CHECK enum registry_result audit_head_entry(struct registry *r, int64_t n, uint8_t hash[SHA256_SIZE]);
void audit_head_print(char out[AUDIT_HEAD_MAX], int64_t n, const uint8_t hash[SHA256_SIZE]);
/* "NUMBER:HASH". 0 or -1. */
MUST_CHECK int audit_head_parse(struct strv text, int64_t *n, uint8_t hash[SHA256_SIZE]);

#endif
