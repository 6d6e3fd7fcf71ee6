/*
 * ndes: signs the caller in, finds whose certificate it will be, makes the challenge. The challenge is bound to that account and the profile of SCEP.
 * Runs in the worker process of easenroll.
 */
#include "enroll/worker/ndes.h"

#include <stdio.h>
#include <stdlib.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "common/directory/claim_kind.h"
#include "common/log.h"
#include "common/text.h"
#include "enroll/worker/basic.h"
#include "enroll/worker/chain.h"
#include "enroll/worker/enrol.h"
#include "enroll/worker/portal.h"
#include "enroll/worker/secret.h"
#include "enroll/worker/sign_in.h"

#define OPS_MAX 64
#define RETRY_SECONDS 10u

struct ndes_op {
	struct ndes *ndes;
	struct ndes_op *next, **link;
	struct http_request *r;
	char caller[ACCOUNT_SID_MAX];
	uint64_t asked;
};

struct ndes {
	struct enroll_worker *w;
	struct ndes_op *ops;
	unsigned count;
};

static void op_free(struct ndes_op *op)
{
	asker_cancel(op->ndes->w->directory, op->asked);
	*op->link = op->next;
	if (op->next != NULL)
		op->next->link = op->link;
	op->ndes->count--;
	free(op);
}

struct ndes *ndes_new(struct enroll_worker *w, char *why, size_t why_size)
{
	struct ndes *n = calloc(1, sizeof(*n));

	snprintf(why, why_size, "out of memory");
	if (n == NULL)
		return NULL;
	n->w = w;
	return n;
}

void ndes_free(struct ndes *n)
{
	if (n == NULL)
		return;
	while (n->ops != NULL)
		op_free(n->ops);
	free(n);
}

static void answer(struct ndes_op *op, enum ndes_page what, const uint8_t *thumbprint, const char *challenge)
{
	struct http_request *r = op->r;
	struct buffer page;
	char charset[16];
	bool utf8 = http_request_query_text(r, "charset", charset, sizeof(charset)) > 0 && text_eq_nocase(strv_from(charset), STRV("utf-8"));

	buffer_init(&page, 32768);
	if (ndes_page(&page, what, thumbprint, challenge, op->ndes->w->settings->enroll.ndes.seconds / 60, utf8) == 0)
		http_reply(r, 200, utf8 ? "text/html; charset=utf-8" : "text/html", buffer_view(&page));
	else
		http_reply_text(r, 503, "not now\n");
	buffer_clear(&page);
	op_free(op);
}

/* 503; or 429 for whoever tries too many passwords, and is not asked for another one. */
static void not_now(struct ndes_op *op, unsigned status, unsigned seconds, const char *why)
{
	log_say(LOG_WARNING, "ndes_later", "no challenge could be given: %s", why);
	http_reply_field(op->r, "Retry-After", "%u", seconds > 0 ? seconds : RETRY_SECONDS);
	http_reply_text(op->r, status, "not now\n");
	op_free(op);
}

static void later(struct ndes_op *op, const char *why) { not_now(op, 503, RETRY_SECONDS, why); }

static void deny(struct ndes_op *op, const char *why)
{
	enrol_audit(op->ndes->w, "ndes", "challenge_refused", op->r->client, why);
	answer(op, NDES_NO_PERMISSION, NULL, NULL);
}

static int thumbprint_of(struct enroll_worker *w, uint8_t out[16])
{
	const struct chain_entry *ca = chain_first(w->chain, SIGNER_CHAIN_ISSUING);

	return ca != NULL && EVP_Digest(ca->der.p, ca->der.n, out, NULL, EVP_md5(), NULL) == 1 ? 0 : -1;
}

/* For this account, which the directory has just told. */
static void give(struct ndes_op *op, const struct account *account)
{
	struct enroll_worker *w = op->ndes->w;
	const struct enroll_section *s = &w->settings->enroll;
	char actor[REGISTRY_ACTOR_MAX], device_id[REGISTRY_DEVICE] = "", text[SECRET_TEXT_MAX];
	struct registry_by by = { .actor = actor, .detail = "NDES page", .at = loop_wall(w->loop) };
	struct secret_for wanted = { .device = device_id, .profile = s->profiles[s->scep.profile_index].name, .purpose = "ndes",
		.seconds = s->ndes.seconds, .form = SECRET_NDES, .limit = s->ndes.cache };
	struct registry_account row;
	struct registry_device device;
	uint8_t thumbprint[16];
	enum registry_result rc;
	struct strv raw;

	snprintf(actor, sizeof(actor), "user %s", op->caller);
	if (thumbprint_of(w, thumbprint) < 0 || registry_account_seen(w->registry, &by, account, &row) != REGISTRY_OK) {
		later(op, "the CA or the registry does not answer");
		return;
	}
	wanted.account = row.id;
	if (http_request_query(op->r, "device", &raw) && raw.n > 0 &&
	    (text_copy(device_id, sizeof(device_id), raw) < 0 || registry_device_get(w->registry, device_id, &device) != REGISTRY_OK ||
		device.account != row.id || device.state == REGISTRY_DEVICE_REVOKED)) {
		deny(op, "no such device of this account");
		return;
	}
	rc = secret_make(w->registry, &w->secret_key, &by, &wanted, text);
	if (rc == REGISTRY_OK)
		answer(op, NDES_CHALLENGE, thumbprint, text);
	else if (rc == REGISTRY_LIMIT)
		answer(op, NDES_CACHE_FULL, NULL, NULL);
	else
		later(op, registry_problem(w->registry));
	OPENSSL_cleanse(text, sizeof(text));
}

static void on_found(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct ndes_op *op = arg;
	struct directory_found found;

	op->asked = 0;
	if (status != WIRE_OK || n != sizeof(found)) {
		later(op, "the directory process does not answer");
		return;
	}
	memcpy(&found, body, sizeof(found));
	if (found.result == ACCOUNT_UNAVAILABLE)
		later(op, "the directory does not answer");
	else if (found.result != ACCOUNT_FOUND || !enrol_account_is_whole(&found.account) || (found.account.flags & ACCOUNT_ENABLED) == 0)
		deny(op, "no such user, or disabled");
	else
		give(op, &found.account);
}

static void on_signed_in(void *arg, const struct sign_in_answer *a)
{
	struct ndes_op *op = arg;
	const struct enroll_ndes *c = &op->ndes->w->settings->enroll.ndes;
	struct directory_find find = { .kind = CLAIM_USER, .fresh = 1 };
	char user[ACCOUNT_TEXT_MAX];

	if (a->verdict == SIGN_IN_LATER || a->verdict == SIGN_IN_WAIT) {
		not_now(op, a->verdict == SIGN_IN_WAIT ? 429 : 503, a->wait_seconds, a->reason);
		return;
	}
	if (a->verdict != SIGN_IN_OK) {
		basic_demand(op->r, "SCEP");
		op_free(op);
		return;
	}
	memcpy(op->caller, a->account->sid, sizeof(op->caller));
	if (c->group[0] == '\0' || (a->account->groups & ((uint64_t)1 << c->group_bit)) == 0) {
		deny(op, "not a member of ndes.group");
		return;
	}
	if (http_request_query_text(op->r, "user", user, sizeof(user)) <= 0) {
		give(op, a->account);
		return;
	}
	snprintf(find.value, sizeof(find.value), "%s", user);
	op->asked = asker_ask(op->ndes->w->directory, DIRECTORY_FIND, &find, sizeof(find), DIRECTORY_TIMEOUT_MS, on_found, op);
	if (op->asked == 0)
		later(op, "too much waits for the directory");
}

static void serve(struct enroll_worker *w, struct http_request *r)
{
	struct sign_in *sign_in = portal_sign_in(w);
	struct ndes *n = w->ndes;
	struct ndes_op *op;
	struct basic basic;

	if (!w->settings->enroll.ndes.enabled || n == NULL || sign_in == NULL) {
		http_reply_text(r, 404, "no such path\n");
		return;
	}
	if (!basic_read(r, &basic)) {
		OPENSSL_cleanse(&basic, sizeof(basic));
		basic_demand(r, "SCEP");
		return;
	}
	op = n->count < OPS_MAX ? calloc(1, sizeof(*op)) : NULL;
	if (op == NULL) {
		http_reply_text(r, 503, "too many requests are under way\n");
		goto out;
	}
	*op = (struct ndes_op){ .ndes = n, .next = n->ops, .link = &n->ops, .r = r };
	if (n->ops != NULL)
		n->ops->link = &op->next;
	n->ops = op;
	n->count++;
	if (sign_in_start(sign_in, basic.user, basic.password, r->client, on_signed_in, op) < 0)
		later(op, "too many sign in at once");
out:
	OPENSSL_cleanse(&basic, sizeof(basic));
}

const struct route ndes_routes[] = {
	{ "GET", "/certsrv/mscep_admin/", HTTP_WAY_TLS, ROUTE_NOCASE, ROUTE_OPEN, serve },
	{ "GET", "/certsrv/mscep_admin", HTTP_WAY_TLS, ROUTE_NOCASE, ROUTE_OPEN, serve },
	{ .methods = NULL },
};
