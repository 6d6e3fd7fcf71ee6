/*
 * check_bind: the one bind, and what its answer means: for the asker, and for the count. *lockout* process.
 */
#include <openssl/crypto.h>

#include "common/directory/account_facts.h"
#include "common/lockout/check_parts.h"
#include "common/log.h"
#include "common/metrics.h"

#define OFF_GOOD_SECONDS 300 /* mode off: how long a connection goes on without asking again */

/* What AD made of it, by what it answered (MS-ADTS, ad-notes): only data 52e is a wrong password; the others are told of a right one. */
static const struct meaning {
	enum lockout_result result;
	enum lockout_lesson lesson;
} meanings[SIGN_IN_RESULTS] = {
	[SIGN_IN_UNAVAILABLE] = { LOCKOUT_UNAVAILABLE, LESSON_NONE },
	[SIGNED_IN] = { LOCKOUT_RIGHT, LESSON_RIGHT },
	[SIGN_IN_WRONG] = { LOCKOUT_WRONG, LESSON_WRONG },
	[SIGN_IN_UNKNOWN] = { LOCKOUT_UNKNOWN, LESSON_NOT_COUNTED },
	[SIGN_IN_DISABLED] = { LOCKOUT_DISABLED, LESSON_NOT_COUNTED },
	[SIGN_IN_EXPIRED] = { LOCKOUT_EXPIRED, LESSON_NOT_COUNTED },
	[SIGN_IN_LOCKED] = { LOCKOUT_LOCKED, LESSON_NONE },
	[SIGN_IN_MUST_CHANGE] = { LOCKOUT_MUST_CHANGE, LESSON_RIGHT },
	[SIGN_IN_NOT_NOW] = { LOCKOUT_NOT_NOW, LESSON_NOT_COUNTED },
	[SIGN_IN_GUARDED] = { LOCKOUT_GUARDED, LESSON_NOT_COUNTED },
};

static void count_bind(const struct check *k)
{
	if (k->owner->setup.metrics != NULL)
		metrics_add(k->owner->setup.metrics->binds, k->lesson == LESSON_WRONG ? LOCKOUT_BIND_WRONG :
		    k->lesson == LESSON_RIGHT ? LOCKOUT_BIND_RIGHT : LOCKOUT_BIND_OTHER, 1);
}

static void unavailable(struct check *k, enum lockout_lesson lesson)
{
	k->answer.result = LOCKOUT_UNAVAILABLE;
	k->lesson = lesson;
	count_bind(k);
	check_learn(k);
}

/* The account as the server has it now: the tag is kept under its pwdLastSet. */
static void take_account(struct check *k, const struct account *a)
{
	k->account = *a;
	k->bad_count = a->bad_password_count;
	k->try.generation = a->pwd_last_set;
	k->try.set_at = facts_unix_time(a->pwd_last_set);
}

static void on_signed_in(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct check *k = arg;
	struct directory_signed_in answer;

	k->asked = 0;
	if (status != WIRE_OK || n != sizeof(answer)) {
		/* refused at once (WIRE_FAILED) was not tried; all else may have been */
		unavailable(k, status == WIRE_FAILED ? LESSON_NOT_COUNTED : LESSON_NONE);
		return;
	}
	memcpy(&answer, body, sizeof(answer));
	if (answer.result >= SIGN_IN_RESULTS || !check_account_is_whole(&answer.account) ||
	    (answer.result == SIGNED_IN && answer.account.sid[0] == '\0')) {
		unavailable(k, LESSON_NONE);
		return;
	}
	/* Another account than the one that was counted: the name has moved meanwhile. */
	if (k->known && answer.account.sid[0] != '\0' && strcmp(answer.account.sid, k->account.sid) != 0) {
		unavailable(k, LESSON_NONE);
		return;
	}
	if (answer.account.sid[0] != '\0')
		take_account(k, &answer.account);
	k->answer.result = meanings[answer.result].result;
	k->lesson = meanings[answer.result].lesson;
	/* right, but not let in: AD clears nothing */
	if (answer.result == SIGN_IN_MUST_CHANGE)
		k->bad_count = 0;
	if (answer.result == SIGN_IN_UNAVAILABLE && answer.tried == 0)
		k->lesson = LESSON_NOT_COUNTED;
	if (answer.result == SIGN_IN_GUARDED) {
		k->answer.wait_seconds = k->rules.window;
		check_untried_guarded(k);
		check_say_prevented(k, LOCKOUT_GUARDED);
	}
	count_bind(k);
	check_learn(k);
}

static uint32_t margin_of(const struct check *k)
{
	const struct config_lockout *c = k->owner->setup.config;
	uint32_t limit = facts_wrong_passwords(k->account.lockout_known, k->account.lockout_threshold, c->margin);

	if (c->parsed_mode != LOCKOUT_ENFORCE)
		return DIRECTORY_NO_MARGIN;
	/* the same try that is left for people: see set_rules() */
	return k->ask.interactive == 0 && limit != LOCKOUT_UNLIMITED && limit >= 4 ? c->margin + 1 : c->margin;
}

void check_bind(struct check *k)
{
	struct checks *c = k->owner;
	struct directory_sign_in ask;
	unsigned timeout = 2 * c->setup.directory_ms + 1000;

	k->step = CHECK_BINDING;
	if (c->setup.config->parsed_mode == LOCKOUT_OFF)
		k->rules.good_seconds = c->setup.config->good_seconds < OFF_GOOD_SECONDS ? c->setup.config->good_seconds : OFF_GOOD_SECONDS;
	memset(&ask, 0, sizeof(ask));
	memcpy(ask.name, k->ask.name, sizeof(ask.name));
	ask.margin = margin_of(k);
	ask.right_at = k->was_right ? k->account.pwd_last_set : 0;
	ask.password_n = k->ask.password_n;
	memcpy(ask.password, k->ask.password, k->ask.password_n);
	k->asked = asker_ask(c->setup.directory, DIRECTORY_SIGN_IN, &ask, sizeof(ask), timeout < CHECK_BIND_MS ? timeout : CHECK_BIND_MS,
	    on_signed_in, k);
	OPENSSL_cleanse(&ask, sizeof(ask));
	check_untried_note(k);
	OPENSSL_cleanse(k->ask.password, sizeof(k->ask.password));
	if (k->asked == 0)
		unavailable(k, LESSON_NOT_COUNTED);
}
