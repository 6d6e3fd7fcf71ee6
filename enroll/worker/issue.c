/*
 * issue: serial in the registry, signer, certificate in the registry, answer: in that order. Worker process.
 */
#include "enroll/worker/issue.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/der.h"
#include "common/log.h"
#include "common/text.h"
#include "enroll/der_write.h"
#include "enroll/worker/csr.h"
#include "enroll/worker/revoke.h"
#include "enroll/worker/stop_at.h"

#define UNDER_WAY_MAX 256

struct under_way {
	struct under_way *next, *prev;
	struct issue *issue;
	uint64_t number;
	struct event *later;		/* the answer is known, and is told from the loop */
	enum issue_status status;
	uint8_t serial[REGISTRY_SERIAL], spki_sha256[SHA256_SIZE];
	char actor[REGISTRY_ACTOR_MAX], detail[REGISTRY_DETAIL_MAX], text[300];
	issue_done_fn *done;
	void *arg;
	struct strv der;		/* the certificate, where it is told; borrowed, or in `kept` */
	uint8_t *kept;
};

struct issue {
	struct issue_config c;
	struct under_way head;
	unsigned count;
	uint64_t next;
};

struct issue *issue_new(const struct issue_config *config)
{
	struct issue *i = calloc(1, sizeof(*i));

	if (i == NULL)
		return NULL;
	i->c = *config;
	i->head.next = i->head.prev = &i->head;
	return i;
}

static void drop(struct under_way *u)
{
	u->next->prev = u->prev;
	u->prev->next = u->next;
	u->issue->count--;
	if (u->later != NULL)
		event_free(u->later);
	free(u->kept);
	free(u);
}

void issue_free(struct issue *i)
{
	if (i == NULL)
		return;
	while (i->head.next != &i->head)
		drop(i->head.next);
	free(i);
}

static void tell(struct under_way *u)
{
	struct issue_result result = { .status = u->status, .text = u->text };

	memcpy(result.serial, u->serial, sizeof(result.serial));
	if (u->status == ISSUE_DONE)
		result.der = u->der;
	if (u->done != NULL)
		u->done(u->arg, &result);
	drop(u);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tell(arg);
}

static void settle(struct under_way *u, enum issue_status status, const char *text)
{
	u->status = status;
	snprintf(u->text, sizeof(u->text), "%s", text);
}

static struct registry_by by_of(const struct under_way *u)
{
	return (struct registry_by){ u->actor, u->detail, loop_wall(u->issue->c.loop) };
}

/* Nobody gets this certificate: it is revoked before it was seen. */
static void give_up(struct under_way *u, enum issue_status status, const char *text)
{
	struct registry_by by = by_of(u);
	enum registry_result rc;

	settle(u, status, text);
	by.detail = u->text;
	rc = registry_issue_failed(u->issue->c.registry, &by, u->serial);
	/* STATE: it was revoked while it was being signed */
	if (rc != REGISTRY_OK && rc != REGISTRY_STATE)
		log_say(LOG_ERROR, "issue_not_settled", "%s; the next start revokes it", registry_problem(u->issue->c.registry));
	else if (u->issue->c.revoke != NULL)
		revoke_wake(u->issue->c.revoke);
}

/*
 * Is it the one that was asked for? The signer is trusted, the wire is ours; a bug would give somebody another's certificate. Serial and key are
 * found by their place in the bytes (RFC 5280 section 4.1): to make an X509 of them costs OpenSSL 3.0 twice what signing costs.
 */
static bool is_ours(const struct under_way *u, struct strv der)
{
	struct der_certificate parts;
	struct strv serial;
	uint8_t spki[SHA256_SIZE], mine[REGISTRY_SERIAL + 1];
	size_t n = der_integer_inside(mine, u->serial, REGISTRY_SERIAL);

	if (der.n > REGISTRY_DER_MAX || der_certificate_read(der, &parts) < 0 || der_take(&parts.serial, DER_INTEGER, &serial, NULL) < 0 ||
	    EVP_Digest(parts.spki.p, parts.spki.n, spki, NULL, EVP_sha256(), NULL) != 1)
		return false;
	return strv_eq(serial, (struct strv){ (const char *)mine, n }) && memcmp(spki, u->spki_sha256, SHA256_SIZE) == 0;
}

static void on_signed(void *arg, enum issuer_status status, struct strv der, const char *text)
{
	struct under_way *u = arg;
	struct issue *i = u->issue;
	struct registry_by by = by_of(u);

	STEP(&i->c, "issue-signed");
	if (status != ISSUER_OK) {
		give_up(u, status == ISSUER_REFUSED ? ISSUE_REFUSED : ISSUE_UNAVAILABLE, text);
	} else if (!is_ours(u, der)) {
		give_up(u, ISSUE_UNAVAILABLE, "the signer's certificate is not the one that was asked for");
	} else if (registry_issue_live(i->c.registry, &by, u->serial, der, i->c.fleet) != REGISTRY_OK) {
		give_up(u, ISSUE_UNAVAILABLE, registry_problem(i->c.registry));
	} else {
		STEP(&i->c, "issue-live");
		u->der = der;
		settle(u, ISSUE_DONE, "");
		if (i->c.revoke != NULL && i->c.fleet)
			revoke_wake(i->c.revoke);
	}
	tell(u);
}

static int make_serial(uint8_t serial[REGISTRY_SERIAL])
{
	static const uint8_t zero[REGISTRY_SERIAL];

	do {
		if (RAND_bytes(serial, REGISTRY_SERIAL) != 1)
			return -1;
	} while (memcmp(serial, zero, REGISTRY_SERIAL) == 0);
	return 0;
}

/* The registry knows this transaction: its certificate again, if it may still be had. */
static void answer_again(struct under_way *u, const struct registry_certificate *there)
{
	size_t n = 0;

	memcpy(u->serial, there->serial, sizeof(u->serial));
	if (there->state == REGISTRY_ISSUING)
		settle(u, ISSUE_BUSY, "the same transaction is under way");
	else if (there->state != REGISTRY_LIVE)
		settle(u, ISSUE_REFUSED, "the certificate of this transaction and key has ended or was revoked: enrol again with a new key");
	else if ((u->kept = malloc(REGISTRY_DER_MAX)) == NULL ||
	    registry_certificate_der(u->issue->c.registry, there->serial, u->kept, REGISTRY_DER_MAX, &n) != REGISTRY_OK)
		settle(u, ISSUE_UNAVAILABLE, "the registry has lost the certificate's bytes");
	else
		settle(u, ISSUE_DONE, "");
	u->der = (struct strv){ (const char *)u->kept, n };
}

static void refuse(struct under_way *u, enum registry_result rc, bool secret)
{
	const char *text = registry_problem(u->issue->c.registry);

	if (rc == REGISTRY_FAILED)
		settle(u, ISSUE_UNAVAILABLE, text);
	else if (secret && (rc == REGISTRY_NONE || rc == REGISTRY_TAKEN || rc == REGISTRY_EXPIRED || rc == REGISTRY_FOREIGN))
		settle(u, ISSUE_SECRET, text);
	else
		settle(u, ISSUE_REFUSED, text);
}

/* True: the signer was asked. False: u->status is what to tell. */
static bool begin(struct under_way *u, const struct issue_request *request)
{
	struct issue *i = u->issue;
	struct registry_by by = by_of(u);
	struct registry_certificate there;
	struct profile_wanted wanted = { request->rule, request->account, request->device, u->serial, request->spki, request->rsa, by.at };
	union { struct signer_issue q; uint8_t room[sizeof(struct signer_issue) + CSR_SPKI_MAX]; } body;
	struct registry_issue row = { .serial = u->serial, .issuer = i->c.issuer->name(i->c.issuer), .device = request->device,
		.profile = request->rule->name, .sid = request->account->sid, .spki_sha256 = u->spki_sha256, .transaction = request->transaction, .secret_mac = request->secret_mac,
		.purpose = request->purpose };
	enum profile_result fit;
	enum registry_result rc;
	size_t n = 0;

	fit = profile_fill(&wanted, &body.q, sizeof(body), &n);
	if (fit != PROFILE_OK) {
		settle(u, ISSUE_REFUSED, profile_result_text(fit));
		return false;
	}
	if (row.issuer[0] == '\0') {
		settle(u, ISSUE_UNAVAILABLE, "the signer has not said which CA it has");
		return false;
	}
	row.not_before = body.q.not_before;
	row.not_after = body.q.not_after;
	rc = registry_issue_begin(i->c.registry, &by, &row, &there);
	if (rc == REGISTRY_TAKEN && there.state != 0)
		answer_again(u, &there);
	else if (rc != REGISTRY_OK)
		refuse(u, rc, request->secret_mac != NULL);
	if (rc != REGISTRY_OK)
		return false;
	STEP(&i->c, "issue-row");
	if (i->c.issuer->issue(i->c.issuer, &body.q, n, on_signed, u) == 0)
		return true;
	give_up(u, ISSUE_UNAVAILABLE, "too many requests wait for the signer");
	return false;
}

static int prepare(struct under_way *u, const struct issue_request *request)
{
	u->later = evtimer_new(loop_base(u->issue->c.loop), on_later, u);
	if (u->later == NULL || make_serial(u->serial) < 0 || EVP_Digest(request->spki.p, request->spki.n, u->spki_sha256, NULL, EVP_sha256(), NULL) != 1)
		return -1;
	snprintf(u->actor, sizeof(u->actor), "%s", request->actor);
	snprintf(u->detail, sizeof(u->detail), "%s", request->detail != NULL ? request->detail : "");
	return 0;
}

uint64_t issue_start(struct issue *i, const struct issue_request *request, issue_done_fn *done, void *arg)
{
	struct under_way *u = i->count < UNDER_WAY_MAX ? calloc(1, sizeof(*u)) : NULL;
	uint64_t number;

	if (u == NULL)
		return 0;
	u->issue = i;
	u->done = done;
	u->arg = arg;
	u->number = number = ++i->next;
	u->next = &i->head;
	u->prev = i->head.prev;
	u->prev->next = u->next->prev = u;
	i->count++;
	if (prepare(u, request) < 0) {
		drop(u);
		return 0;
	}
	if (!begin(u, request))
		event_active(u->later, EV_TIMEOUT, 0);
	return number;
}

void issue_cancel(struct issue *i, uint64_t number)
{
	for (struct under_way *u = i->head.next; u != &i->head; u = u->next)
		if (u->number == number)
			u->done = NULL;
}

int issue_recover(struct issue *i)
{
	struct registry_by by = { "system", "cut off by a crash", loop_wall(i->c.loop) };
	unsigned n = 0;

	if (registry_issue_recover(i->c.registry, &by, &n) != REGISTRY_OK)
		return -1;
	if (n > 0)
		log_say(LOG_WARNING, "issue_recovered", "%u certificates were being issued when the program ended: they are revoked", n);
	return 0;
}
