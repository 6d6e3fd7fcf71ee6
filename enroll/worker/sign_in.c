/*
 * sign_in: LOCKOUT_CHECK for a person who typed a password, and an answer that says no more than it must. Never keeps a password longer than
 * until it was sent. Worker process.
 */
#include "enroll/worker/sign_in.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

struct attempt {
	struct attempt *next;
	struct sign_in *owner;
	struct lockout_check ask;
	uint64_t began_ms, number;
	struct deadline due;
	struct sign_in_answer answer;
	struct account who;
	sign_in_done_fn *done;
	void *arg;
};

struct sign_in {
	struct sign_in_config config;
	struct attempt *attempts;
	unsigned count;
};

static void attempt_free(struct attempt *a)
{
	struct attempt **at = &a->owner->attempts;

	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	a->owner->count--;
	asker_cancel(a->owner->config.lockout, a->number);
	deadline_disarm(&a->due);
	OPENSSL_cleanse(a, sizeof(*a));
	free(a);
}

static void on_due(struct deadline *d)
{
	struct attempt *a = CONTAINER_OF(d, struct attempt, due);

	a->done(a->arg, &a->answer);
	attempt_free(a);
}

static void end(struct attempt *a, enum sign_in_verdict verdict, const char *reason)
{
	struct sign_in *s = a->owner;
	uint64_t spent = loop_now_ms(s->config.loop) - a->began_ms;
	uint64_t rest = verdict != SIGN_IN_OK && spent < s->config.floor_ms ?
	    s->config.floor_ms - spent :
	    0;

	OPENSSL_cleanse(&a->ask, sizeof(a->ask));
	a->answer.verdict = verdict;
	a->answer.reason = reason;
	a->answer.account = a->who.sid[0] != '\0' ? &a->who : NULL;
	deadline_arm(s->config.loop, &a->due, rest, on_due);
}

/* --- the answer --- */

static bool ends(const char *text, size_t size) { return memchr(text, '\0', size) != NULL; }

static bool is_whole(const struct account *a)
{
	return ends(a->sid, sizeof(a->sid)) && ends(a->sam, sizeof(a->sam)) &&
	    ends(a->realm, sizeof(a->realm)) && ends(a->netbios, sizeof(a->netbios)) &&
	    ends(a->upn, sizeof(a->upn)) && ends(a->mail, sizeof(a->mail)) &&
	    ends(a->display_name, sizeof(a->display_name));
}

/* What is not named here refuses, without a word why. */
static enum sign_in_verdict verdict_of(uint32_t result)
{
	switch (result) {
	case LOCKOUT_RIGHT:
		return SIGN_IN_OK;
	case LOCKOUT_MUST_CHANGE:
		return SIGN_IN_CHANGE;
	case LOCKOUT_ACCOUNT_BUDGET:
	case LOCKOUT_ADDRESS_BUDGET:
		return SIGN_IN_WAIT;
	case LOCKOUT_UNAVAILABLE:
	case LOCKOUT_OVERLOADED:
		return SIGN_IN_LATER;
	default:
		return SIGN_IN_REFUSED;
	}
}

static void on_checked(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct attempt *a = arg;
	struct lockout_checked answer;

	a->number = 0;
	if (status != WIRE_OK || n != sizeof(answer)) {
		end(a, SIGN_IN_LATER, lockout_result_text(LOCKOUT_UNAVAILABLE));
		return;
	}
	memcpy(&answer, body, sizeof(answer));
	if (!is_whole(&answer.account) || (answer.result == LOCKOUT_RIGHT && answer.account.sid[0] == '\0')) {
		end(a, SIGN_IN_LATER, "lockout-answer-bad");
		return;
	}
	a->who = answer.account;
	a->answer.wait_seconds = answer.wait_seconds;
	end(a, verdict_of(answer.result), lockout_result_text(answer.result));
}

/* --- the question --- */

void sign_in_address(const char *client, char out[LOCKOUT_ADDRESS_MAX])
{
	const char *end = strrchr(client, ':');
	size_t n = strlen(client);

	if (client[0] == '[' && strchr(client, ']') != NULL) {
		client++;
		n = (size_t)(strchr(client, ']') - client);
	} else if (end != NULL && strchr(client, ':') == end) {
		n = (size_t)(end - client);
	}
	snprintf(out, LOCKOUT_ADDRESS_MAX, "%.*s", (int)n, client);
}

static void on_refused(struct deadline *d)
{
	end(CONTAINER_OF(d, struct attempt, due), SIGN_IN_REFUSED, "name-or-password-impossible");
}

static void ask(struct attempt *a)
{
	struct sign_in *s = a->owner;

	a->number = asker_ask(s->config.lockout, LOCKOUT_CHECK, &a->ask, sizeof(a->ask), s->config.timeout_ms, on_checked, a);
	OPENSSL_cleanse(a->ask.password, sizeof(a->ask.password));
	if (a->number == 0)
		end(a, SIGN_IN_LATER, "too-busy");
}

int sign_in_start(struct sign_in *s, struct strv name, struct strv password, const char *client,
    sign_in_done_fn *done, void *arg)
{
	struct attempt *a;
	bool good;

	if (s->count >= SIGN_IN_UNDER_WAY_MAX)
		return -1;
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return -1;
	a->owner = s;
	a->done = done;
	a->arg = arg;
	a->began_ms = loop_now_ms(s->config.loop);
	sign_in_address(client, a->ask.address);
	a->next = s->attempts;
	s->attempts = a;
	s->count++;
	good = name.n > 0 && text_copy(a->ask.name, sizeof(a->ask.name), name) == 0 &&
	    text_is_clean(name) && password.n > 0 && password.n <= sizeof(a->ask.password) &&
	    memchr(password.p, '\0', password.n) == NULL;
	if (!good) { /* an empty password never leaves this process */
		deadline_arm(s->config.loop, &a->due, 0, on_refused);
		return 0;
	}
	memcpy(a->ask.password, password.p, password.n);
	a->ask.password_n = (uint32_t)password.n;
	a->ask.interactive = 1;
	ask(a);
	return 0;
}

/* --- life --- */

struct sign_in *sign_in_new(const struct sign_in_config *config)
{
	struct sign_in *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->config = *config;
	return s;
}

void sign_in_free(struct sign_in *s)
{
	if (s == NULL)
		return;
	while (s->attempts != NULL)
		attempt_free(s->attempts);
	free(s);
}
