/*
 * enrol: one enrolment, the same for SCEP and EST: account fresh from the directory, device, then issue.h. Whoever calls has
 * authenticated: a one-time secret's row, a live certificate of ours, a password, a challenge of the configuration. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_ENROL_H
#define EASGATE_ENROLL_ENROL_H

#include "common/directory/claim_kind.h"
#include "enroll/worker/csr.h"
#include "enroll/worker/profile.h"
#include "enroll/worker/registry.h"

struct enroll_worker;
struct enrol;

enum enrol_status {
	ENROL_DONE = 0,		/* der is the certificate */
	ENROL_REFUSED,		/* for good; text is for the log and the audit trail */
	ENROL_SECRET,		/* the one-time secret was used, expired or is another's */
	ENROL_PENDING,		/* an admin has to approve; asked again with the same transaction */
	ENROL_LATER,		/* directory, registry or signer do not answer now */
};

struct enrol_result {
	enum enrol_status status;
	const char *text;
	struct strv der;
};
/* Once, from the loop, never from enrol_start(). All borrowed for the call. */
typedef void enrol_done_fn(void *arg, const struct enrol_result *result);

struct enrol_request {
	unsigned profile;		/* index of settings->enroll.profiles */
	enum claim_kind kind;		/* whom `claim` names; CLAIM_SID wherever the registry knew the account */
	const char *claim;
	const char *device;		/* id; "": a new one is made */
	const char *device_name, *device_kind;	/* of the new one */
	bool approve;			/* a new device waits for an admin */
	const struct csr *csr;
	struct strv csr_der;		/* kept while it waits for approval; n == 0: cannot wait */
	struct strv transaction;	/* n == 0: none */
	const uint8_t *secret_mac;	/* NULL: none */
	const char *purpose;		/* of the secret */
	const char *actor;		/* "scep", "est"; the audit trail */
};

/* Borrows w: its registry, signer, directory, issue. NULL: out of memory. */
struct enrol *enrol_new(struct enroll_worker *w);
/* No callback runs any more. Accepts NULL. */
void enrol_free(struct enrol *e);
/* Everything is copied. 0, or -1: out of memory, or too much is under way (done will not run). */
MUST_CHECK int enrol_start(struct enrol *e, const struct enrol_request *request, enrol_done_fn *done, void *arg);

/*
 * Whose certificate this is, for renewals: ENROL_DONE when the registry holds exactly these bytes, live, not ended and not on hold; then
 * *cert, *device and *account are filled. ENROL_REFUSED: it is ours and may not; text says why. ENROL_PENDING: none of ours.
 */
MUST_CHECK enum enrol_status enrol_holder(struct enroll_worker *w, struct strv der, struct registry_certificate *cert,
    struct registry_device *device, struct registry_account *account, const char **text);

/* The profile by name (any case), or the given default for an empty name. -1: there is none of that name. */
MUST_CHECK int enrol_profile(struct enroll_worker *w, struct strv name, unsigned usual, unsigned *index);
/* Whether it is in portal.required_group, or an administrator: nobody else has devices, whichever way they come (account_watch.h takes them away). */
bool enrol_is_in_group(const struct enroll_worker *w, const struct account *a);
/* Every text of an account that came over a wire ends inside its room, and it has a SID. */
bool enrol_account_is_whole(const struct account *a);
/* An entry of the audit trail, for what changes nothing else in the registry. */
void enrol_audit(struct enroll_worker *w, const char *actor, const char *action, const char *object, const char *detail);
/*
 * The same for an attempt that anybody can make: the trail is never shortened, and strangers must not fill the disk with it. What is more than
 * ENROL_REFUSALS in ENROL_REFUSALS_SECONDS is an audit line of the log alone, and how many that were becomes an entry.
 */
#define ENROL_REFUSALS		600
#define ENROL_REFUSALS_SECONDS	600
void enrol_refused(struct enroll_worker *w, const char *actor, const char *action, const char *object, const char *detail);
/* Now and then: writes that entry when the time is over. */
void enrol_refusals_tidy(struct enroll_worker *w);

#endif
