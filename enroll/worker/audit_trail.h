/*
 * audit_trail: the chain of the audit entries: each holds the hash of the one before. Pure but for the walk; worker process and CLI.
 * hash = SHA-256 over "easgate-audit-1", the hash before, n and time (8 bytes each, big endian), then actor, action, object, detail, each after its length
 * (4 bytes, big endian). The first one's `previous` is all zero.
 */
#ifndef EASGATE_ENROLL_AUDIT_TRAIL_H
#define EASGATE_ENROLL_AUDIT_TRAIL_H

#include "enroll/worker/registry.h"

/* Fills e->hash from the other fields. 0 or -1. */
MUST_CHECK int audit_trail_hash(const struct registry_audit_entry *e, uint8_t out[SHA256_SIZE]);

struct audit_trail_report {
	int64_t entries, bad;		/* bad: the first number that does not fit; 0: none */
	uint8_t last[SHA256_SIZE];	/* hash of the newest: keep it elsewhere, and a trail that was cut shows */
	char text[256];			/* why it does not fit */
};
/* Walks all. 0: whole. 1: broken (report->bad). -1: could not be read (report->text). */
MUST_CHECK int audit_trail_verify(struct registry *r, struct audit_trail_report *report);

#endif
