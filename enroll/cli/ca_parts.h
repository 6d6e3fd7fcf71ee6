/*
 * ca_parts: what the files of `easenroll ca` share.
 */
#ifndef EASGATE_ENROLL_CLI_CA_PARTS_H
#define EASGATE_ENROLL_CLI_CA_PARTS_H

#include "enroll/signer/ca_files.h"

#define CA_NAME_MAX 44 /* so that " Issuing CA 1000" still fits into the 64 of a common name */

struct ca_options {
	bool rsa, subordinate, activate, json;
	const char *name, *csr_out, *certificate, *key, *chain; /* NULL: not given */
	const char *folder;
	struct key_source source;
};

/* Each prints what it did; 0, or -1 with *r. They hold the folder's lock. */
MUST_CHECK int ca_init(const struct ca_options *o, struct refusal *r);
MUST_CHECK int ca_import(const struct ca_options *o, struct refusal *r);
MUST_CHECK int ca_rollover(const struct ca_options *o, struct refusal *r);
MUST_CHECK int ca_show(const struct ca_options *o, struct refusal *r);

#endif
