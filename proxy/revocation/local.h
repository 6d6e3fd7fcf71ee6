/*
 * local: revocations from enrolment on the same machine, over run_dir/revocation.sock (common/local_revocation.h): in the index, and at the workers, within
 * milliseconds, long before the CRL that will hold them is read. Runs in the revocation process.
 *
 * Who may speak: root and the user that this process runs as, by the kernel's word (SO_PEERCRED) beside the socket's mode 0600. Whoever else connects, and
 * whatever is malformed, is cut off with the audit line `local_refused`. Even a peer that may speak can only take access away: an entry ends when a
 * CRL with a number above the entry's own was verified and loaded (then the list alone counts), and by nothing that is said here. Entries outlive
 * restarts in the index.
 */
#ifndef EASGATE_REVOCATION_LOCAL_H
#define EASGATE_REVOCATION_LOCAL_H

#include "common/loop.h"
#include "proxy/revocation/index_write.h"

#define LOCAL_ENTRIES_MAX 65536u	/* that no list holds yet; more are refused, and said again by enrolment */

struct local;

struct local_config {
	struct loop *loop;
	int fd;				/* the listening socket (SOCK_SEQPACKET); borrowed */
	struct index_writer *index;	/* borrowed */
	const struct index_issuer *issuers;	/* borrowed for the call of local_new() */
	unsigned issuers_count;
	void (*changed)(void *arg);	/* the index may have changed */
	void (*look)(void *arg, const uint8_t issuer[SHA256_SIZE]);	/* a list of this issuer is said to be in its place: read it now */
	void *arg;
};

/* Takes up what the index remembers. NULL: out of memory. */
struct local *local_new(const struct local_config *config);
void local_free(struct local *l);	/* accepts NULL */
/* A list may have been loaded: entries that it has overtaken end. Cheap when none was. */
void local_settle(struct local *l);

#endif
