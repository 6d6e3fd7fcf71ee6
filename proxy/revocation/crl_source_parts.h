/*
 * crl_source_parts: what crl_source.c and crl_look.c share. Private to them.
 */
#ifndef EASGATE_REVOCATION_CRL_SOURCE_PARTS_H
#define EASGATE_REVOCATION_CRL_SOURCE_PARTS_H

#include <sys/stat.h>

#include "proxy/metric_table.h"
#include "proxy/revocation/crl_source.h"

enum part_kind { BASE = 0, DELTA, PARTS };

/* Where one of the two lists comes from. */
struct part {
	struct crl_source *source;
	enum part_kind kind;
	const char *path;		/* the operator's file, or name in state_dir of what was fetched; NULL: not configured */
	const char *url;		/* NULL: a file */
	char stored[96], incoming[96];	/* names in state_dir */
	struct fetch *fetch;
	int fetch_fd;
	struct fetch_version version;
	struct stat seen;		/* of the file at the last look */
	enum fetch_result answer;	/* of this round */
};

struct crl_source {
	struct crl_source_config c;
	uint8_t issuer[SHA256_SIZE];
	struct part part[PARTS];
	struct event *timer;
	bool loaded;			/* `seen` belongs to lists that are in the index */
	bool waiting;			/* for what another source says of the key that signed the list */
	X509 *signer;			/* the further key that signed the lists in the index; NULL: the issuer's own */
	bool refused;			/* `seen` belongs to lists that were refused: do not read them again */
	char problem[320];
	int64_t said;
};

/* --- crl_look.c --- */
bool crl_has_delta(const struct crl_source *s);
bool crl_same_file(const struct stat *a, const struct stat *b);
/* In the log once when it begins or changes, and again every hour. */
void crl_say_problem(struct crl_source *s, const struct part *p, const char *reason);
void crl_all_is_well(struct crl_source *s);
void crl_count(enum crl_look look);
/* CRL_OK, CRL_BAD_SIGNER or CRL_SIGNER_UNKNOWN: whether `signer`, another key of the issuer, may sign lists now. */
int crl_judge_signer(const struct crl_source *s, X509 *signer);
/*
 * Looks at both lists and loads them. incoming[k]: that part was fetched anew and takes its name only if all is right. asked: the
 * servers were, in this round. 0: the index holds them now.
 */
int crl_evaluate(struct crl_source *s, const bool incoming[PARTS], bool asked);

#endif
