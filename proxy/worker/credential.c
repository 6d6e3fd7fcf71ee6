/*
 * credential: one token per request from the kerberos process that keeps this account's tickets. Worker process: holds
 * no key; the voucher that it carries was made by *directory*.
 */
#include "proxy/worker/credential.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#include "common/text.h"
#include "proxy/metric_table.h"

struct credentials {
	struct loop *loop;
	struct asker **askers;
	unsigned n, timeout_ms;
};

struct credential_op {
	struct credentials *credentials;
	struct asker *asker;
	uint64_t number, asked_ms;
	credential_done_fn *done;
	void *arg;
};

struct credentials *credentials_new(struct loop *loop, struct asker **askers, unsigned n, unsigned timeout_ms)
{
	struct credentials *c = calloc(1, sizeof(*c));

	if (c != NULL)
		*c = (struct credentials){ loop, askers, n, timeout_ms };
	return c;
}

void credentials_free(struct credentials *c)
{
	free(c);
}

void credentials_set_timeout(struct credentials *c, unsigned timeout_ms)
{
	c->timeout_ms = timeout_ms;
}

void credential_clear(struct credential *c)
{
	if (c->authorization != NULL) {
		OPENSSL_cleanse(c->authorization, c->n);
		free(c->authorization);
	}
	*c = (struct credential){ NULL, 0 };
}

static struct credential negotiate(const uint8_t *token, size_t n)
{
	static const char scheme[] = "Negotiate ";
	char *text = malloc(sizeof(scheme) + 4 * ((n + 2) / 3) + 1);

	if (text == NULL)
		return (struct credential){ NULL, 0 };
	memcpy(text, scheme, sizeof(scheme) - 1);
	n = text_base64(text + sizeof(scheme) - 1, token, n);
	return (struct credential){ text, sizeof(scheme) - 1 + n };
}

static enum fact fact_of(uint32_t result)
{
	switch (result) {
	case KERBEROS_NO_KDC:
		return FACT_KDC_DOWN;
	case KERBEROS_REFUSED:
		return FACT_DELEGATION_FORBIDDEN;
	default:
		return FACT_DELEGATION_REFUSED;
	}
}

static void on_token(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct credential_op *op = arg;
	struct credentials *c = op->credentials;
	credential_done_fn *done = op->done;
	void *done_arg = op->arg;
	struct kerberos_token t;
	struct credential credential = { NULL, 0 };
	bool sound = status == WIRE_OK && n >= sizeof(t);

	metrics_observe_us(M_KERBEROS_SECONDS, 0, (loop_now_ms(c->loop) - op->asked_ms) * 1000);
	free(op);
	if (sound) {
		memcpy(&t, body, sizeof(t));
		sound = t.result <= KERBEROS_BROKEN && t.token_n == n - sizeof(t) && memchr(t.text, '\0', sizeof(t.text)) != NULL;
	}
	if (!sound) {
		metrics_add(M_KERBEROS_CALLS, KERBEROS_NO_KDC, 1);
		done(done_arg, FACT_KDC_DOWN, status == WIRE_TIMEOUT ? "the kerberos process did not answer in time"
								       : "no kerberos process answers", &credential);
		return;
	}
	metrics_add(M_KERBEROS_CALLS, t.result, 1);
	if (t.result == KERBEROS_OK) {
		metrics_add(M_KERBEROS_CACHE, t.cached ? CACHE_HIT : CACHE_MISS, 1);
		credential = negotiate((const uint8_t *)body + sizeof(t), t.token_n);
		if (credential.authorization == NULL) {
			done(done_arg, FACT_OVERLOADED, "out of memory", &credential);
			return;
		}
		done(done_arg, FACT_NONE, "", &credential);
		return;
	}
	done(done_arg, fact_of(t.result), t.text, &credential);
}

/* One process keeps an account's tickets: the same account always asks the same one. */
static unsigned home_of(const char *sam, unsigned n)
{
	uint32_t h = 2166136261u;

	for (; *sam != '\0'; sam++)
		h = (h ^ (uint8_t)text_lower_char(*sam)) * 16777619u;
	return h % n;
}

struct credential_op *credential_ask(struct credentials *c, const struct account_entry *account, const char *spn,
    credential_done_fn *done, void *arg)
{
	struct kerberos_ask ask;
	struct credential_op *op;

	memset(&ask, 0, sizeof(ask));
	if (c->n == 0 || strlen(account->view.sam) >= sizeof(ask.sam) || strlen(account->view.realm) >= sizeof(ask.realm) ||
	    strlen(spn) >= sizeof(ask.spn))
		return NULL;
	op = calloc(1, sizeof(*op));
	if (op == NULL)
		return NULL;
	memcpy(ask.sam, account->view.sam, strlen(account->view.sam) + 1);
	memcpy(ask.realm, account->view.realm, strlen(account->view.realm) + 1);
	memcpy(ask.spn, spn, strlen(spn) + 1);
	memcpy(ask.certificate, account->certificate, SHA256_SIZE);
	memcpy(ask.voucher, account->voucher, VOUCHER_SIZE);
	op->credentials = c;
	op->asker = c->askers[home_of(ask.sam, c->n)];
	op->asked_ms = loop_now_ms(c->loop);
	op->done = done;
	op->arg = arg;
	op->number = asker_ask(op->asker, KERBEROS_TOKEN, &ask, sizeof(ask), c->timeout_ms, on_token, op);
	if (op->number == 0) {
		free(op);
		return NULL;
	}
	return op;
}

void credential_cancel(struct credential_op *op)
{
	if (op == NULL)
		return;
	asker_cancel(op->asker, op->number);
	free(op);
}

void credentials_forget(struct credentials *c, const char *sam, const char *realm)
{
	struct kerberos_forget f;

	memset(&f, 0, sizeof(f));
	if (c->n == 0 || strlen(sam) >= sizeof(f.sam) || strlen(realm) >= sizeof(f.realm))
		return;
	memcpy(f.sam, sam, strlen(sam) + 1);
	memcpy(f.realm, realm, strlen(realm) + 1);
	asker_tell(c->askers[home_of(sam, c->n)], KERBEROS_FORGET, &f, sizeof(f));
}
