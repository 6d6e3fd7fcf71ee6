/*
 * sign_in: whose name is it (DIRECTORY_FIND), may it be tried (guard), is it right (DIRECTORY_SIGN_IN), and an answer that says no more than it
 * must. Never keeps a password longer than until it was sent. Worker process.
 */
#include "enroll/worker/sign_in.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/claim_kind.h"
#include "common/text.h"

struct attempt {
	struct attempt *next;
	struct sign_in *owner;
	struct directory_sign_in ask;
	char address[GUARD_ADDRESS_MAX];
	char account[DIRECTORY_CLAIM_MAX]; /* SID, or the name where nobody has it */
	bool known, counted;
	uint64_t began_ms, number;
	struct deadline due;
	struct sign_in_answer answer;
	struct account who;
	sign_in_done_fn *done;
	void *arg;
};

struct sign_in {
	struct sign_in_config config;
	struct guard *guard;
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
	asker_cancel(a->owner->config.directory, a->number);
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

/* --- the password --- */

static bool ends(const char *text, size_t size) { return memchr(text, '\0', size) != NULL; }

static bool is_whole(const struct account *a)
{
	return ends(a->sid, sizeof(a->sid)) && ends(a->sam, sizeof(a->sam)) &&
	    ends(a->realm, sizeof(a->realm)) && ends(a->netbios, sizeof(a->netbios)) &&
	    ends(a->upn, sizeof(a->upn)) && ends(a->mail, sizeof(a->mail)) &&
	    ends(a->display_name, sizeof(a->display_name));
}

static void give_back(struct attempt *a, bool right)
{
	if (a->counted)
		guard_give_back(a->owner->guard, strv_from(a->account), a->known, a->address, right,
		    loop_wall(a->owner->config.loop));
	a->counted = false;
}

static void on_signed_in(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct attempt *a = arg;
	struct directory_signed_in answer;

	a->number = 0;
	if (status != WIRE_OK || n != sizeof(answer)) {
		end(a, SIGN_IN_LATER,
		    "directory-unavailable"); /* it may have been tried: it counts */
		return;
	}
	memcpy(&answer, body, sizeof(answer));
	if (!is_whole(&answer.account) ||
	    (answer.result == SIGNED_IN && answer.account.sid[0] == '\0')) {
		end(a, SIGN_IN_LATER, "directory-answer-bad");
		return;
	}
	a->who = answer.account;
	/* Another account than the one that was counted: the name has moved meanwhile. */
	if (answer.result == SIGNED_IN && (!a->known || strcmp(a->account, a->who.sid) != 0)) {
		end(a, SIGN_IN_REFUSED, "account-changed-meanwhile");
		return;
	}
	if (answer.result == SIGNED_IN || answer.result == SIGN_IN_MUST_CHANGE)
		give_back(a, answer.result == SIGNED_IN);
	else if (!answer.tried && answer.result == SIGN_IN_UNAVAILABLE)
		give_back(a, false);
	end(a,
	    answer.result == SIGNED_IN		     ? SIGN_IN_OK :
		answer.result == SIGN_IN_MUST_CHANGE ? SIGN_IN_CHANGE :
		answer.result == SIGN_IN_UNAVAILABLE ? SIGN_IN_LATER :
						       SIGN_IN_REFUSED,
	    sign_in_result_text(answer.result));
}

static void try_password(struct attempt *a)
{
	struct sign_in *s = a->owner;
	enum guard_verdict verdict;

	verdict = guard_take(s->guard, strv_from(a->account), a->known, a->address,
	    loop_wall(s->config.loop), &a->answer.wait_seconds);
	if (verdict != GUARD_GO) {
		end(a, SIGN_IN_WAIT,
		    verdict == GUARD_ADDRESS ? "too-many-from-address" : "too-many-for-account");
		return;
	}
	a->counted = true;
	a->number = asker_ask(s->config.directory, DIRECTORY_SIGN_IN, &a->ask, sizeof(a->ask),
	    s->config.timeout_ms, on_signed_in, a);
	OPENSSL_cleanse(a->ask.password, sizeof(a->ask.password));
	if (a->number != 0)
		return;
	give_back(a, false);
	end(a, SIGN_IN_LATER, "too-busy");
}

/* --- whose name it is --- */

static void on_found(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct attempt *a = arg;
	struct directory_found found;

	a->number = 0;
	if (status != WIRE_OK || n != sizeof(found)) {
		end(a, SIGN_IN_LATER, "directory-unavailable");
		return;
	}
	memcpy(&found, body, sizeof(found));
	if (found.result == ACCOUNT_UNAVAILABLE || !is_whole(&found.account)) {
		end(a, SIGN_IN_LATER, "directory-unavailable");
		return;
	}
	a->known = found.result == ACCOUNT_FOUND && found.account.sid[0] != '\0';
	snprintf(a->account, sizeof(a->account), "%s", a->known ? found.account.sid : a->ask.name);
	try_password(a);
}

static void on_refused(struct deadline *d)
{
	end(CONTAINER_OF(d, struct attempt, due), SIGN_IN_REFUSED, "name-or-password-impossible");
}

static void ask_whose(struct attempt *a)
{
	struct sign_in *s = a->owner;
	struct directory_find find;

	memset(&find, 0, sizeof(find));
	find.kind = CLAIM_USER;
	memcpy(find.value, a->ask.name, sizeof(find.value));
	a->number = asker_ask(s->config.directory, DIRECTORY_FIND, &find, sizeof(find),
	    s->config.timeout_ms, on_found, a);
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
	guard_address(client, a->address);
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
	a->ask.margin = s->config.margin;
	ask_whose(a);
	return 0;
}

/* --- life --- */

struct sign_in *sign_in_new(const struct sign_in_config *config)
{
	struct sign_in *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->config = *config;
	s->guard = guard_new(&config->limits);
	if (s->guard == NULL) {
		free(s);
		return NULL;
	}
	return s;
}

void sign_in_free(struct sign_in *s)
{
	if (s == NULL)
		return;
	while (s->attempts != NULL)
		attempt_free(s->attempts);
	guard_free(s->guard);
	free(s);
}
