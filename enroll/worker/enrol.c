/*
 * enrol: the way from "this one may" to a certificate: directory, account row, device, issue. Decides nothing about how somebody
 * authenticated, speaks no protocol. Runs in the worker process of easenroll.
 */
#include "enroll/worker/enrol.h"

#include <stdio.h>
#include <stdlib.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "common/log.h"
#include "common/text.h"
#include "enroll/worker/issue.h"
#include "enroll/worker/worker.h"

#define OPS_MAX 512

struct enrol_op {
	struct enrol *enrol;
	struct enrol_op *next, **link;
	unsigned profile;
	char claim[DIRECTORY_CLAIM_MAX], device[REGISTRY_DEVICE], device_name[REGISTRY_NAME_MAX], device_kind[REGISTRY_KIND_MAX];
	char purpose[REGISTRY_KIND_MAX], actor[64];
	bool approve, has_secret;
	bool made;		/* the device is this request's own */
	uint8_t secret_mac[SHA256_SIZE];
	struct csr csr;
	char transaction[REGISTRY_TRANSACTION_MAX];
	size_t transaction_n;
	uint8_t *der;		/* the whole request, for an admin's approval; NULL: none */
	size_t der_n;
	uint64_t asked, issuing;
	enrol_done_fn *done;
	void *arg;
};

struct enrol {
	struct enroll_worker *w;
	struct enrol_op *ops;
	unsigned count;
};

struct enrol *enrol_new(struct enroll_worker *w)
{
	struct enrol *e = calloc(1, sizeof(*e));

	if (e != NULL)
		e->w = w;
	return e;
}

static void op_free(struct enrol_op *op)
{
	asker_cancel(op->enrol->w->directory, op->asked);
	if (op->issuing != 0)
		issue_cancel(op->enrol->w->issue, op->issuing);
	*op->link = op->next;
	if (op->next != NULL)
		op->next->link = op->link;
	op->enrol->count--;
	OPENSSL_clear_free(op->der, op->der_n);
	OPENSSL_cleanse(op, sizeof(*op));
	free(op);
}

void enrol_free(struct enrol *e)
{
	if (e == NULL)
		return;
	while (e->ops != NULL)
		op_free(e->ops);
	free(e);
}

static void finish(struct enrol_op *op, enum enrol_status status, const char *text, struct strv der)
{
	const struct enrol_result result = { .status = status, .text = text ? text : "", .der = der };
	enrol_done_fn *done = op->done;
	void *arg = op->arg;

	op->done = NULL;
	done(arg, &result);
	op_free(op);
}

static struct registry_by by_of(const struct enrol_op *op, const char *detail)
{
	return (struct registry_by){ .actor = op->actor, .detail = detail, .at = loop_wall(op->enrol->w->loop) };
}

void enrol_audit(struct enroll_worker *w, const char *actor, const char *action, const char *object, const char *detail)
{
	const struct registry_by by = { .actor = actor, .detail = detail, .at = loop_wall(w->loop) };

	if (registry_audit(w->registry, &by, action, object) != REGISTRY_OK)
		log_say(LOG_ERROR, "audit_lost", "%s could not be written: %s", action, registry_problem(w->registry));
}

static bool has_group(const struct account *a, const char *group, unsigned bit)
{
	return bit < 64 && group[0] != '\0' && (a->groups & ((uint64_t)1 << bit)) != 0;
}

bool enrol_is_in_group(const struct enroll_worker *w, const struct account *a)
{
	const struct enroll_portal *p = &w->settings->enroll.portal;

	return p->required_group[0] == '\0' || has_group(a, p->required_group, p->required_bit) || has_group(a, p->admin_group, p->admin_bit);
}

void enrol_refusals_tidy(struct enroll_worker *w)
{
	int64_t now = loop_wall(w->loop);
	char detail[80];

	if (now >= w->refusals.since && now - w->refusals.since < ENROL_REFUSALS_SECONDS)
		return;
	if (w->refusals.left_out > 0) {
		snprintf(detail, sizeof(detail), "%u refusals within %d s are in the log alone", w->refusals.left_out, ENROL_REFUSALS_SECONDS);
		enrol_audit(w, "system", "refusals_left_out", "", detail);
	}
	w->refusals.since = now;
	w->refusals.written = w->refusals.left_out = 0;
}

void enrol_refused(struct enroll_worker *w, const char *actor, const char *action, const char *object, const char *detail)
{
	struct log_line l;

	enrol_refusals_tidy(w);
	if (w->refusals.written < ENROL_REFUSALS) {
		w->refusals.written++;
		enrol_audit(w, actor, action, object, detail);
		return;
	}
	w->refusals.left_out++;
	log_begin_audit(&l, "refusal_left_out");
	log_cstr(&l, "actor", actor);
	log_cstr(&l, "action", action);
	log_cstr(&l, "object", object);
	log_cstr(&l, "reason", detail);
	log_end(&l);
}

int enrol_profile(struct enroll_worker *w, struct strv name, unsigned usual, unsigned *index)
{
	const struct enroll_section *s = &w->settings->enroll;

	*index = usual;
	if (name.n == 0)
		return 0;
	for (unsigned i = 0; i < s->profiles_count; i++) {
		if (text_eq_nocase(name, strv_from(s->profiles[i].name))) {
			*index = i;
			return 0;
		}
	}
	return -1;
}

enum enrol_status enrol_holder(struct enroll_worker *w, struct strv der, struct registry_certificate *cert,
    struct registry_device *device, struct registry_account *account, const char **text)
{
	uint8_t digest[SHA256_SIZE];
	enum registry_result rc;

	*text = "";
	SHA256((const unsigned char *)der.p, der.n, digest);
	rc = registry_certificate_by_sha256(w->registry, digest, cert);
	if (rc == REGISTRY_NONE)
		return ENROL_PENDING;
	if (rc == REGISTRY_OK)
		rc = registry_device_get(w->registry, cert->device, device);
	if (rc == REGISTRY_OK)
		rc = registry_account_by_id(w->registry, device->account, account);
	if (rc != REGISTRY_OK) {
		*text = registry_problem(w->registry);
		return ENROL_LATER;
	}
	if (cert->state != REGISTRY_LIVE)
		*text = "the certificate that asks for another is not live";
	else if (cert->not_after <= loop_wall(w->loop))
		*text = "the certificate that asks for another has ended";
	else if (device->state == REGISTRY_DEVICE_REVOKED)
		*text = "the device was revoked";
	else
		return ENROL_DONE;
	return ENROL_REFUSED;
}

/* No certificate for a device that was made for it: whoever comes again gets another one, and the account's places are not used up by tries. */
static void drop_device(struct enrol_op *op)
{
	const struct registry_by by = by_of(op, "no certificate was issued for it");

	if (op->made && registry_device_set_state(op->enrol->w->registry, &by, op->device, REGISTRY_DEVICE_REVOKED) != REGISTRY_OK)
		log_say(LOG_WARNING, "device_left", "device %s stays without a certificate: %s", op->device, registry_problem(op->enrol->w->registry));
}

static void on_issued(void *arg, const struct issue_result *result)
{
	static const enum enrol_status map[] = {
		[ISSUE_DONE] = ENROL_DONE, [ISSUE_REFUSED] = ENROL_REFUSED, [ISSUE_SECRET] = ENROL_SECRET,
		[ISSUE_BUSY] = ENROL_LATER, [ISSUE_UNAVAILABLE] = ENROL_LATER,
	};
	struct enrol_op *op = arg;

	op->issuing = 0;
	if (result->status != ISSUE_DONE)
		drop_device(op);
	finish(op, result->status < ARRAY_LEN(map) ? map[result->status] : ENROL_REFUSED, result->text, result->der);
}

/* Nothing was kept that could be approved. */
static void do_not_wait(struct enrol_op *op, enum enrol_status status, const char *text)
{
	drop_device(op);
	finish(op, status, text, (struct strv){ NULL, 0 });
}

/* The device is not approved yet: the request is kept, its secret used up. */
static void wait_for_approval(struct enrol_op *op, const struct registry_account *account)
{
	struct registry *r = op->enrol->w->registry;
	const char *profile = op->enrol->w->settings->enroll.profiles[op->profile].name;
	const struct registry_by by = by_of(op, "waits for approval");
	struct strv id = { op->transaction, op->transaction_n };
	struct registry_transaction there;
	enum registry_result rc;

	if (op->der_n == 0 || op->transaction_n == 0) {
		do_not_wait(op, ENROL_REFUSED, "an admin has to approve the device, and this kind of request cannot wait for it");
		return;
	}
	if (registry_transaction_get(r, id, op->csr.spki_sha256, &there) == REGISTRY_OK) {
		do_not_wait(op, there.state == REGISTRY_DENIED ? ENROL_REFUSED : ENROL_PENDING, "denied by an admin");
		return;
	}
	rc = REGISTRY_OK;
	if (op->has_secret)
		rc = registry_secret_use(r, &by, op->secret_mac, account->id, op->device, profile, op->purpose);
	if (rc != REGISTRY_OK) {
		do_not_wait(op, rc == REGISTRY_FAILED ? ENROL_LATER : ENROL_SECRET, registry_result_text(rc));
		return;
	}
	rc = registry_transaction_wait(r, &by, id, op->device, profile, op->csr.spki_sha256, (struct strv){ (char *)op->der, op->der_n });
	if (rc != REGISTRY_OK)
		do_not_wait(op, rc == REGISTRY_TAKEN ? ENROL_PENDING : ENROL_LATER, registry_result_text(rc));
	else
		finish(op, ENROL_PENDING, "", (struct strv){ NULL, 0 });
}

/* The device's row: found and the account's own, or made. NULL, or why not; *status says whether for good. */
static const char *find_device(struct enrol_op *op, const struct registry_account *account, struct registry_device *device, enum enrol_status *status)
{
	struct registry *r = op->enrol->w->registry;
	const struct enroll_settings *s = op->enrol->w->settings;
	const struct registry_by by = by_of(op, "");
	struct registry_device wanted = { .account = account->id };
	enum registry_result rc;

	*status = ENROL_REFUSED;
	if (op->device[0] != '\0') {
		rc = registry_device_get(r, op->device, device);
		if (rc == REGISTRY_OK && device->account != account->id)
			return "the device is another account's";
		if (rc == REGISTRY_OK)
			return device->state == REGISTRY_DEVICE_REVOKED ? "the device was revoked" : NULL;
		*status = rc == REGISTRY_FAILED ? ENROL_LATER : ENROL_REFUSED;
		return rc == REGISTRY_FAILED ? registry_problem(r) : "no such device";
	}
	memcpy(wanted.name, op->device_name, sizeof(wanted.name));
	memcpy(wanted.kind, op->device_kind, sizeof(wanted.kind));
	wanted.state = op->approve ? REGISTRY_DEVICE_WAITING : REGISTRY_DEVICE_ACTIVE;
	rc = registry_device_add(r, &by, &wanted, s->enroll.portal.devices_per_user, device);
	if (rc != REGISTRY_OK) {
		*status = rc == REGISTRY_FAILED ? ENROL_LATER : ENROL_REFUSED;
		return rc == REGISTRY_LIMIT ? "the account has as many devices as portal.devices_per_user allows" : registry_problem(r);
	}
	memcpy(op->device, device->id, sizeof(op->device));
	op->made = true;
	return NULL;
}

/* Is the request's own idea of its subject somebody else's name? Ignored, and told. */
static void audit_foreign_names(struct enrol_op *op, const struct account *account)
{
	const char *const names[] = { account->sam, account->upn, account->mail, account->sid, account->display_name };
	char detail[REGISTRY_DETAIL_MAX];

	if (!csr_names_another(&op->csr, names, ARRAY_LEN(names)))
		return;
	snprintf(detail, sizeof(detail), "subject=%s asked=%s", op->csr.subject, op->csr.asked);
	enrol_audit(op->enrol->w, op->actor, "request_names_another", account->sid, text_is_clean(strv_from(detail)) ? detail : "unreadable");
}

/* Used up by another request since it was found: before a device is made for nothing. issue.h decides for good, in its transaction. */
static bool secret_is_gone(const struct enrol_op *op)
{
	struct registry_secret secret;

	return op->has_secret && op->device[0] == '\0' && (registry_secret_get(op->enrol->w->registry, op->secret_mac, &secret) != REGISTRY_OK || secret.used != 0);
}

static void on_account(struct enrol_op *op, const struct account *account)
{
	struct enroll_worker *w = op->enrol->w;
	const struct profile_rule *rule = &w->rules[op->profile];
	const struct registry_by by = by_of(op, "");
	enum profile_result may = profile_allows(rule, account, loop_wall(w->loop));
	struct issue_request wanted = { .rule = rule, .account = account, .rsa = op->csr.rsa, .actor = op->actor, .detail = "" };
	struct registry_account row;
	struct registry_device device;
	enum enrol_status status;
	const char *why;

	if (may != PROFILE_OK || !enrol_is_in_group(w, account)) {
		finish(op, ENROL_REFUSED, may != PROFILE_OK ? profile_result_text(may) : "the account is not in portal.required_group", (struct strv){ NULL, 0 });
		return;
	}
	audit_foreign_names(op, account);
	if (registry_account_seen(w->registry, &by, account, &row) != REGISTRY_OK) {
		finish(op, ENROL_LATER, registry_problem(w->registry), (struct strv){ NULL, 0 });
		return;
	}
	if (secret_is_gone(op)) {
		finish(op, ENROL_SECRET, "the one-time secret was used meanwhile", (struct strv){ NULL, 0 });
		return;
	}
	why = find_device(op, &row, &device, &status);
	if (why != NULL) {
		finish(op, status, why, (struct strv){ NULL, 0 });
		return;
	}
	if (device.state == REGISTRY_DEVICE_WAITING) {
		wait_for_approval(op, &row);
		return;
	}
	wanted.device = op->device;
	wanted.spki = (struct strv){ (const char *)op->csr.spki, op->csr.spki_n };
	wanted.transaction = (struct strv){ op->transaction, op->transaction_n };
	wanted.secret_mac = op->has_secret ? op->secret_mac : NULL;
	wanted.purpose = op->has_secret ? op->purpose : NULL;
	op->issuing = issue_start(w->issue, &wanted, on_issued, op);
	if (op->issuing == 0) {
		drop_device(op);
		finish(op, ENROL_LATER, "too many certificates are being issued", (struct strv){ NULL, 0 });
	}
}

static bool ends(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

bool enrol_account_is_whole(const struct account *a)
{
	return ends(a->sid, sizeof(a->sid)) && ends(a->sam, sizeof(a->sam)) && ends(a->upn, sizeof(a->upn)) &&
	    ends(a->mail, sizeof(a->mail)) && ends(a->display_name, sizeof(a->display_name)) && ends(a->realm, sizeof(a->realm)) &&
	    ends(a->netbios, sizeof(a->netbios)) && a->sid[0] != '\0';
}

static void on_found(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct enrol_op *op = arg;
	struct directory_found found;

	op->asked = 0;
	if (status != WIRE_OK || n != sizeof(found)) {
		finish(op, ENROL_LATER, "the directory process does not answer", (struct strv){ NULL, 0 });
		return;
	}
	memcpy(&found, body, sizeof(found));
	if (found.result == ACCOUNT_FOUND && enrol_account_is_whole(&found.account))
		on_account(op, &found.account);
	else if (found.result == ACCOUNT_UNAVAILABLE)
		finish(op, ENROL_LATER, "the directory does not answer", (struct strv){ NULL, 0 });
	else
		finish(op, ENROL_REFUSED, account_result_text(found.result), (struct strv){ NULL, 0 });
}

/* 0, or -1: a text is too long for its room, or no memory. */
static int copy_request(struct enrol_op *op, const struct enrol_request *q)
{
	if (text_copy(op->claim, sizeof(op->claim), strv_from(q->claim)) < 0 || op->claim[0] == '\0' ||
	    text_copy(op->device, sizeof(op->device), strv_from(q->device)) < 0 ||
	    text_copy(op->device_name, sizeof(op->device_name), strv_from(q->device_name)) < 0 ||
	    text_copy(op->device_kind, sizeof(op->device_kind), strv_from(q->device_kind)) < 0 ||
	    text_copy(op->actor, sizeof(op->actor), strv_from(q->actor)) < 0)
		return -1;
	if (q->transaction.n > sizeof(op->transaction) || q->csr_der.n > CSR_BYTES_MAX ||
	    (q->csr_der.n > 0 && (op->der = OPENSSL_memdup(q->csr_der.p, q->csr_der.n)) == NULL))
		return -1;
	if (q->secret_mac != NULL) {
		if (text_copy(op->purpose, sizeof(op->purpose), strv_from(q->purpose)) < 0)
			return -1;
		memcpy(op->secret_mac, q->secret_mac, sizeof(op->secret_mac));
		op->has_secret = true;
	}
	op->profile = q->profile;
	op->approve = q->approve;
	op->csr = *q->csr;
	if (q->transaction.n > 0)
		memcpy(op->transaction, q->transaction.p, q->transaction.n);
	op->transaction_n = q->transaction.n;
	op->der_n = q->csr_der.n;
	return 0;
}

int enrol_start(struct enrol *e, const struct enrol_request *q, enrol_done_fn *done, void *arg)
{
	struct directory_find find = { .kind = (uint32_t)q->kind, .fresh = 1 };
	struct enrol_op *op;

	if (e->count >= OPS_MAX || q->profile >= e->w->settings->enroll.profiles_count)
		return -1;
	op = calloc(1, sizeof(*op));
	if (op == NULL)
		return -1;
	op->enrol = e;
	op->done = done;
	op->arg = arg;
	op->next = e->ops;
	op->link = &e->ops;
	if (e->ops != NULL)
		e->ops->link = &op->next;
	e->ops = op;
	e->count++;
	if (copy_request(op, q) < 0) {
		op_free(op);
		return -1;
	}
	memcpy(find.value, op->claim, sizeof(find.value));
	if (q->kind == CLAIM_SID)
		memcpy(find.sid, op->claim, sizeof(find.sid));
	find.sid[sizeof(find.sid) - 1] = '\0';
	op->asked = asker_ask(e->w->directory, DIRECTORY_FIND, &find, sizeof(find), DIRECTORY_TIMEOUT_MS, on_found, op);
	if (op->asked == 0) {
		op_free(op);
		return -1;
	}
	return 0;
}
