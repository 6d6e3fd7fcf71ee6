/*
 * worker: what the parts of easenroll's worker process share, and its life. One loop, no threads: nothing here blocks but SQLite, and that does not wait for the disk at a commit (durable.h).
 *
 * A part that serves paths has a table of routes and a line in worker.c's list; one that needs memory of its own keeps it behind
 * a pointer here, made by <part>_new(struct enroll_worker *) and freed by <part>_free().
 */
#ifndef EASGATE_ENROLL_WORKER_H
#define EASGATE_ENROLL_WORKER_H

#include "common/asker.h"
#include "common/directory/ask.h"
#include "common/process.h"
#include "enroll/settings.h"
#include "enroll/worker/audit_head.h"
#include "enroll/worker/http_server.h"
#include "enroll/worker/profile.h"
#include "enroll/worker/route.h"
#include "enroll/worker/secret.h"

struct chain;
struct crl_keeper;
struct durable;
struct issue;
struct issuer;
struct ocsp;
struct publish;
struct registry;
struct revoke;

struct enroll_worker {
	struct child *child;
	struct loop *loop;
	const struct enroll_settings *settings;
	struct bundle *files;		/* TLS keys, static challenge, Redis secrets: what program.c lists for workers */
	struct asker *signer;		/* verbs: enroll/signer/ask.h */
	struct asker *directory;	/* verbs: common/directory/ask.h */
	struct asker *lockout;		/* verbs: common/lockout/ask.h */
	struct http_server *http;
	const struct route *routes[32];	/* tables, NULL-terminated */
	route_admit_fn *admit;		/* NULL: nobody can sign in */
	struct registry *registry;
	struct durable *durable;	/* what was committed to the registry, and is on the disk */
	struct audit_head audit_head;
	struct secret_key secret_key;
	struct issuer *issuer;
	struct publish *publish;
	struct revoke *revoke;
	struct issue *issue;
	struct chain *chain;		/* our CA certificates; never NULL, empty until the signer has told */
	struct crl_keeper *crl;
	struct ocsp *ocsp;
	struct profile_rule *rules;	/* of settings->enroll.profiles, same index */
	SSL_CTX *tls[16];		/* of the TLS listeners */
	unsigned tls_n;
	struct deadline sweep, links, drain_end, rest;
	bool draining, failed;
	char directory_down[256];	/* "": it answers */
	char data_dir[4096];		/* where the registry and its key are: nothing else may write there */
	struct { int64_t since; unsigned written, left_out; } refusals;	/* enrol_refused() */
	/* parts with a memory of their own, each its own type */
	void *portal, *scep, *est, *ndes, *mdm, *ota, *watch, *migration;
};

/* The configured profile and its rule; NULL: no such name. */
const struct profile_rule *worker_rule(const struct enroll_worker *w, const char *profile);

#define SIGNER_TIMEOUT_MS    10000
#define DIRECTORY_TIMEOUT_MS 10000

/* The life of the role; returns the exit status. */
int enroll_worker_process(struct child *child);

#endif
