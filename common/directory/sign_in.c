/*
 * sign_in: from the question to the file or to LDAP, and the answer back to its asker. With the file an unknown name
 * costs as much time as a known one. Decides only whether a password is right and the account usable, never who may in.
 * Runs in the *directory* process.
 */
#include "common/directory/sign_in.h"

#include <stdlib.h>

#include "common/directory/account_facts.h"
#include "common/directory/claim_kind.h"
#include "common/directory/file.h"
#include "common/directory/ldap.h"
#include "common/directory/password_hash.h"
#include "common/text.h"

struct attempt {
	struct attempt *next;
	struct sign_ins *owner;
	void *asker;
	uint64_t number;
	struct ldap_sign_in *way;
};

struct sign_ins {
	struct sign_ins_setup setup;
	struct attempt *attempts;
};

/* --- the accounts' file --- */

static uint32_t usable(const struct account *a)
{
	if ((a->flags & ACCOUNT_ENABLED) == 0)
		return SIGN_IN_DISABLED;
	if ((a->flags & ACCOUNT_LOCKED) != 0)
		return SIGN_IN_LOCKED;
	return (a->flags & ACCOUNT_EXPIRED) != 0 ? SIGN_IN_EXPIRED : SIGNED_IN;
}

static void ask_file(
    struct sign_ins *s, void *asker, uint64_t number, const struct directory_sign_in *ask)
{
	struct directory_signed_in answer;
	char hash[PASSWORD_HASH_MAX], like[PASSWORD_HASH_MAX];
	enum account_result found;
	bool right;

	memset(&answer, 0, sizeof(answer)); /* padding travels too */
	found = directory_file_find(s->setup.file, CLAIM_USER, ask->name, &answer.account);
	directory_file_hashes(s->setup.file, answer.account.sid, hash, like);
	right = password_hash_matches(hash[0] != '\0' ? hash : NULL, like[0] != '\0' ? like : NULL,
	    ask->password, ask->password_n);
	answer.tried = 1;
	if (found == ACCOUNT_FOUND) {
		answer.account.flags = facts_flags_now(&answer.account, loop_wall(s->setup.loop));
		answer.result = right ? usable(&answer.account) : SIGN_IN_WRONG;
	} else {
		answer.result = found == ACCOUNT_UNAVAILABLE ? SIGN_IN_UNAVAILABLE :
							       SIGN_IN_UNKNOWN;
	}
	s->setup.answer(asker, number, &answer);
}

/* --- LDAP --- */

static void attempt_free(struct attempt *a)
{
	struct attempt **at = &a->owner->attempts;

	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	free(a);
}

static void on_signed_in(void *arg, const struct directory_signed_in *answer)
{
	struct attempt *a = arg;
	struct sign_ins *s = a->owner;
	void *asker = a->asker;
	uint64_t number = a->number;

	attempt_free(a);
	s->setup.answer(asker, number, answer);
}

static void ask_ldap(
    struct sign_ins *s, void *asker, uint64_t number, const struct directory_sign_in *ask)
{
	static const struct directory_signed_in unavailable = { .result = SIGN_IN_UNAVAILABLE };
	struct attempt *a = calloc(1, sizeof(*a));

	if (a != NULL) {
		*a = (struct attempt){
			.next = s->attempts, .owner = s, .asker = asker, .number = number
		};
		s->attempts = a;
		a->way = directory_ldap_sign_in(s->setup.ldap, ask, on_signed_in, a);
		if (a->way != NULL)
			return;
		attempt_free(a);
	}
	s->setup.answer(asker, number, &unavailable);
}

/* --- from outside --- */

int sign_ins_ask(
    struct sign_ins *s, void *asker, uint64_t number, const struct directory_sign_in *ask)
{
	static const struct directory_signed_in unknown = { .result = SIGN_IN_UNKNOWN };

	if (memchr(ask->name, '\0', sizeof(ask->name)) == NULL || ask->password_n == 0 ||
	    ask->password_n > sizeof(ask->password) ||
	    memchr(ask->password, '\0', ask->password_n) != NULL)
		return -1;
	if (ask->name[0] == '\0' || !text_is_clean(strv_from(ask->name)))
		s->setup.answer(asker, number, &unknown); /* no directory holds such a name */
	else if (s->setup.file != NULL)
		ask_file(s, asker, number, ask);
	else
		ask_ldap(s, asker, number, ask);
	return 0;
}

void sign_ins_leave(struct sign_ins *s, const void *asker)
{
	struct attempt *next;

	for (struct attempt *a = s != NULL ? s->attempts : NULL; a != NULL; a = next) {
		next = a->next;
		if (a->asker != asker)
			continue;
		directory_ldap_sign_in_cancel(a->way);
		attempt_free(a);
	}
}

struct sign_ins *sign_ins_new(const struct sign_ins_setup *setup)
{
	struct sign_ins *s = calloc(1, sizeof(*s));

	if (s != NULL)
		s->setup = *setup;
	return s;
}

void sign_ins_free(struct sign_ins *s)
{
	if (s == NULL)
		return;
	while (s->attempts != NULL) {
		directory_ldap_sign_in_cancel(s->attempts->way);
		attempt_free(s->attempts);
	}
	free(s);
}
