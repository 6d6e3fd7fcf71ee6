/*
 * Questions to the *directory* process: one search for many askers, age, SID, vouchers, changes in
 * between, bounds. The directory behind it is this file: lookups that end when the test says so.
 */
#include "common/directory/questions.h"

#include "common/directory/claim_kind.h"
#include "common/directory/ldap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define ALICE_SID "S-1-5-21-1-2-3-4"

/* --- the directory --- */

struct ldap_lookup {
	struct ldap_lookup *next;
	char value[DIRECTORY_CLAIM_MAX];
	directory_ldap_done_fn *done;
	void *arg;
};

static struct ldap_lookup *lookups;
static unsigned searches, cancelled;
static bool down;

struct ldap_lookup *directory_ldap_find(struct directory_ldap *d, uint32_t kind, const char *value,
    directory_ldap_done_fn *done, void *arg)
{
	struct ldap_lookup *l = calloc(1, sizeof(*l));

	(void)d;
	(void)kind;
	assert_non_null(l);
	searches++;
	if (down) {
		free(l);
		return NULL;
	}
	snprintf(l->value, sizeof(l->value), "%s", value);
	l->done = done;
	l->arg = arg;
	l->next = lookups;
	lookups = l;
	return l;
}

void directory_ldap_cancel(struct ldap_lookup *l)
{
	struct ldap_lookup **at = &lookups;

	if (l == NULL)
		return;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	free(l);
	cancelled++;
}

static struct account alice(void)
{
	struct account a = {
		.sid = ALICE_SID, .sam = "alice", .realm = "CORP.EXAMPLE", .flags = ACCOUNT_ENABLED
	};

	return a;
}

/* The youngest lookup ends. */
static void end_lookup(enum account_result result, const struct account *account)
{
	static const struct account none;
	struct ldap_lookup *l = lookups;

	assert_non_null(l);
	lookups = l->next;
	l->done(l->arg, result, account != NULL ? account : &none);
	free(l);
}

/* --- the askers --- */

static struct directory_found last;
static unsigned answers;
static const uint8_t key[VOUCH_KEY_SIZE] = { 5 };
static struct vouch *voucher; /* with it, of the test under way */
static char one, two; /* two askers */

static void on_answer(void *asker, uint64_t number, const struct directory_found *found)
{
	(void)asker;
	(void)number;
	last = *found;
	answers++;
}

struct site {
	struct loop *loop;
	struct config_directory config;
	struct questions *q;
	struct vouch *vouch;
};

static int set_up(void **state)
{
	struct site *s = calloc(1, sizeof(*s));
	struct questions_setup setup = { .answer = on_answer };

	assert_non_null(s);
	s->loop = loop_new();
	s->config = (struct config_directory){ .ttl_seconds = 60,
		.negative_ttl_seconds = 10,
		.stale_seconds = 3600,
		.cache_entries = 100 };
	setup.loop = s->loop;
	setup.config = &s->config;
	s->vouch = vouch_new(key);
	assert_non_null(s->vouch);
	setup.vouch = voucher = s->vouch;
	s->q = questions_new(&setup);
	assert_non_null(s->q);
	searches = answers = cancelled = 0;
	down = false;
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct site *s = *state;

	questions_free(s->q);
	vouch_free(s->vouch);
	assert_null(lookups);
	loop_free(s->loop);
	free(s);
	return 0;
}

static int ask(struct site *s, const char *value, const char *sid, bool fresh)
{
	struct directory_find find = { .kind = CLAIM_UPN, .fresh = fresh, .certificate = { 7 } };

	snprintf(find.value, sizeof(find.value), "%s", value);
	snprintf(find.sid, sizeof(find.sid), "%s", sid);
	return questions_ask(s->q, &one, 1, &find);
}

static void know_alice(struct site *s)
{
	struct account a = alice();

	assert_int_equal(ask(s, "alice@x", "", false), 0);
	end_lookup(ACCOUNT_FOUND, &a);
	assert_int_equal(last.result, ACCOUNT_FOUND);
	searches = answers = 0;
}

static bool vouched(const struct directory_found *found)
{
	static const uint8_t certificate[SHA256_SIZE] = { 7 };

	return vouch_check(
	    voucher, found->account.sam, found->account.realm, certificate, time(NULL), found->voucher);
}

/* --- the tests --- */

static void many_who_ask_the_same_share_one_search(void **state)
{
	struct account a = alice();

	for (int i = 0; i < 50; i++)
		assert_int_equal(ask(*state, i % 2 ? "alice@x" : "ALICE@x", "", false), 0);
	assert_int_equal(searches, 1);
	end_lookup(ACCOUNT_FOUND, &a);
	assert_int_equal(answers, 50);
	assert_int_equal(questions_waiting(((struct site *)*state)->q), 0);
}

static void a_young_answer_is_given_from_the_cache_with_what_is_left_of_its_time(void **state)
{
	know_alice(*state);
	assert_int_equal(ask(*state, "alice@x", "", false), 0);
	assert_int_equal(searches, 0);
	assert_int_equal(answers, 1);
	assert_int_equal(last.result, ACCOUNT_FOUND);
	assert_in_range(last.ttl_seconds, 59, 60);
	assert_string_equal(last.account.sid, ALICE_SID);
	assert_true(vouched(&last));
}

static void an_answer_is_never_kept_longer_than_its_voucher_lasts(void **state)
{
	struct site *s = *state;

	s->config.ttl_seconds = 86400;
	know_alice(s);
	assert_true(last.ttl_seconds <= 240);
	assert_true(vouched(&last));
}

static void fresh_goes_past_the_cache_and_joins_no_search_that_began_before(void **state)
{
	struct account a = alice(), b = alice();

	know_alice(*state);
	assert_int_equal(ask(*state, "alice@x", "", true), 0);
	assert_int_equal(searches, 1);
	assert_int_equal(ask(*state, "alice@x", "", true), 0);
	assert_int_equal(ask(*state, "alice@x", "", true), 0);
	assert_int_equal(searches, 1);
	end_lookup(ACCOUNT_FOUND, &a);
	assert_int_equal(answers, 1);
	assert_int_equal(searches, 2); /* one more for both who came later */
	b.flags = 0;
	end_lookup(ACCOUNT_FOUND, &b);
	assert_int_equal(answers, 3);
	assert_int_equal(last.account.flags, 0);
	assert_false(vouched(&last));
}

static void threat_36_another_sid_than_the_certificates_is_a_mismatch_that_names_nobody(
    void **state)
{
	static const struct account none;
	static const uint8_t nothing[VOUCHER_SIZE];

	know_alice(*state);
	assert_int_equal(ask(*state, "alice@x", "S-1-5-21-1-2-3-5", false), 0);
	assert_int_equal(last.result, ACCOUNT_MISMATCH);
	assert_memory_equal(&last.account, &none, sizeof(none));
	assert_memory_equal(last.voucher, nothing, sizeof(nothing));
	assert_int_equal(ask(*state, "alice@x", "S-1-5-021", false), 0);
	assert_int_equal(last.result, ACCOUNT_MISMATCH);
	assert_int_equal(ask(*state, "alice@x", ALICE_SID, false), 0);
	assert_int_equal(last.result, ACCOUNT_FOUND);
	assert_int_equal(searches, 0); /* the SID is compared, not searched for */
}

static void no_voucher_for_whom_no_ticket_may_be_had(void **state)
{
	static const uint32_t flags[] = { 0, ACCOUNT_ENABLED | ACCOUNT_PROTECTED,
		ACCOUNT_ENABLED | ACCOUNT_NOT_DELEGATED };
	struct account a = alice();

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		a.flags = flags[i];
		assert_int_equal(ask(*state, "alice@x", "", true), 0);
		end_lookup(ACCOUNT_FOUND, &a);
		assert_int_equal(last.result, ACCOUNT_FOUND);
		assert_false(vouched(&last));
	}
	a.flags = ACCOUNT_ENABLED;
	a.expires = time(NULL) - 1;
	assert_int_equal(ask(*state, "alice@x", "", true), 0);
	end_lookup(ACCOUNT_FOUND, &a);
	assert_true(last.account.flags & ACCOUNT_EXPIRED);
	assert_false(vouched(&last));
	a.expires = time(NULL) + 5;
	assert_int_equal(ask(*state, "alice@x", "", true), 0);
	end_lookup(ACCOUNT_FOUND, &a);
	assert_true(last.ttl_seconds <= 5);
	assert_true(vouched(&last));
}

/* The same account, from the same cache, for somebody who has proven nothing: facts, and no voucher. */
static void no_voucher_for_a_claim_that_nobody_has_verified(void **state)
{
	struct directory_find find = { .kind = CLAIM_UPN, .unproven = 1, .value = "alice@x", .certificate = { 7 } };
	static const uint8_t nothing[VOUCHER_SIZE];
	struct site *s = *state;

	know_alice(s);
	assert_int_equal(questions_ask(s->q, &one, 1, &find), 0);
	assert_int_equal(last.result, ACCOUNT_FOUND);
	assert_string_equal(last.account.sid, ALICE_SID);
	assert_memory_equal(last.voucher, nothing, sizeof(nothing));
	find.unproven = 0;
	assert_int_equal(questions_ask(s->q, &one, 1, &find), 0);
	assert_true(vouched(&last));
}

static void unknown_and_ambiguous_are_remembered_for_their_own_time(void **state)
{
	assert_int_equal(ask(*state, "bob@x", "", false), 0);
	end_lookup(ACCOUNT_UNKNOWN, NULL);
	assert_int_equal(last.result, ACCOUNT_UNKNOWN);
	assert_in_range(last.ttl_seconds, 9, 10);
	assert_int_equal(ask(*state, "bob@x", "", false), 0);
	assert_int_equal(searches, 1);
	assert_int_equal(ask(*state, "eve@x", "", false), 0);
	end_lookup(ACCOUNT_AMBIGUOUS, NULL);
	assert_int_equal(last.result, ACCOUNT_AMBIGUOUS);
}

static void a_known_account_is_served_while_no_server_answers_and_an_unknown_one_is_not(
    void **state)
{
	struct site *s = *state;

	know_alice(s);
	assert_int_equal(ask(s, "bob@x", "", false), 0);
	end_lookup(ACCOUNT_UNKNOWN, NULL);
	s->config.ttl_seconds = s->config.negative_ttl_seconds = 0; /* everything is old now */
	down = true;
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	assert_int_equal(last.result, ACCOUNT_FOUND);
	assert_int_equal(last.ttl_seconds, 5);
	assert_true(vouched(&last));
	assert_int_equal(ask(s, "bob@x", "", false), 0);
	assert_int_equal(last.result, ACCOUNT_UNAVAILABLE);
	down = false;
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	end_lookup(ACCOUNT_UNAVAILABLE, NULL);
	assert_int_equal(last.result, ACCOUNT_FOUND);
	s->config.stale_seconds = 0;
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	end_lookup(ACCOUNT_UNAVAILABLE, NULL);
	assert_int_equal(last.result, ACCOUNT_UNAVAILABLE);
}

static void what_was_forgotten_is_not_served_stale(void **state)
{
	struct site *s = *state;

	know_alice(s);
	questions_forget(s->q, ALICE_SID);
	down = true;
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	assert_int_equal(last.result, ACCOUNT_UNAVAILABLE);
}

static void what_is_doubted_is_asked_again_and_serves_while_no_server_answers(void **state)
{
	struct site *s = *state;
	struct account a = alice();

	know_alice(s);
	assert_int_equal(ask(s, "bob@x", "", false), 0);
	end_lookup(ACCOUNT_UNKNOWN, NULL);
	searches = 0;
	questions_doubt(s->q);
	down = true;
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	assert_int_equal(searches, 1); /* not believed as it is */
	assert_int_equal(last.result, ACCOUNT_FOUND);
	assert_true(last.ttl_seconds <= 5);
	assert_true(vouched(&last));
	assert_int_equal(ask(s, "bob@x", "", false), 0);
	assert_int_equal(last.result, ACCOUNT_UNAVAILABLE); /* that nobody was there proves nothing now */
	questions_forget(s->q, ALICE_SID); /* a change that was seen */
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	assert_int_equal(last.result, ACCOUNT_UNAVAILABLE);
	down = false;
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	end_lookup(ACCOUNT_FOUND, &a);
	searches = 0;
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	assert_int_equal(searches, 0);
	assert_in_range(last.ttl_seconds, 59, 60);
}

static void what_is_doubted_serves_no_longer_than_stale_seconds_from_when_it_was_found(void **state)
{
	struct site *s = *state;

	know_alice(s);
	questions_doubt(s->q);
	s->config.stale_seconds = 0;
	down = true;
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	assert_int_equal(last.result, ACCOUNT_UNAVAILABLE);
}

static void an_answer_that_was_on_its_way_when_doubt_came_is_good_for_once_and_for_later_need(void **state)
{
	struct site *s = *state;
	struct account a = alice();

	assert_int_equal(ask(s, "alice@x", "", false), 0);
	questions_doubt(s->q);
	end_lookup(ACCOUNT_FOUND, &a);
	assert_int_equal(last.result, ACCOUNT_FOUND);
	assert_int_equal(last.ttl_seconds, 0);
	down = true;
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	assert_int_equal(searches, 2);
	assert_int_equal(last.result, ACCOUNT_FOUND);
}

static void a_change_during_a_search_makes_its_answer_good_for_once_only(void **state)
{
	struct site *s = *state;
	struct account a = alice();

	assert_int_equal(ask(s, "alice@x", "", false), 0);
	questions_forget(s->q, ALICE_SID);
	end_lookup(ACCOUNT_FOUND, &a);
	assert_int_equal(last.result, ACCOUNT_FOUND);
	assert_int_equal(last.ttl_seconds, 0);
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	assert_int_equal(searches, 2);
	end_lookup(ACCOUNT_FOUND, &a);
	assert_in_range(last.ttl_seconds, 59, 60);
}

static void a_change_of_another_account_during_a_search_does_not(void **state)
{
	struct site *s = *state;
	struct account a = alice();
	char sid[ACCOUNT_SID_MAX];

	assert_int_equal(ask(s, "alice@x", "", false), 0);
	for (int i = 0; i < 20; i++) {
		snprintf(sid, sizeof(sid), "S-1-5-21-9-9-9-%d", i);
		questions_forget(s->q, sid);
	}
	end_lookup(ACCOUNT_FOUND, &a);
	assert_in_range(last.ttl_seconds, 59, 60);
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	assert_int_equal(searches, 1);
	/* more than are told apart: perhaps hers was one */
	questions_forget(s->q, ALICE_SID);
	assert_int_equal(ask(s, "alice@x", "", false), 0);
	for (int i = 0; i < 1000; i++)
		questions_forget(s->q, "S-1-5-21-9-9-9-9");
	end_lookup(ACCOUNT_FOUND, &a);
	assert_int_equal(last.ttl_seconds, 0);
	/* nobody's: whoever changed may be who was looked for */
	assert_int_equal(ask(s, "bob@x", "", false), 0);
	questions_forget(s->q, "S-1-5-21-9-9-9-9");
	end_lookup(ACCOUNT_UNKNOWN, NULL);
	assert_int_equal(last.ttl_seconds, 0);
}

static void forgetting_everything_asks_again_for_everything(void **state)
{
	struct account a = alice();

	know_alice(*state);
	questions_forget(((struct site *)*state)->q, "");
	assert_int_equal(ask(*state, "alice@x", "", false), 0);
	assert_int_equal(searches, 1);
	end_lookup(ACCOUNT_FOUND, &a);
}

static void who_has_left_is_answered_no_more(void **state)
{
	struct site *s = *state;
	struct account a = alice();
	struct directory_find find = { .kind = CLAIM_UPN, .value = "alice@x" };

	assert_int_equal(ask(s, "alice@x", "", false), 0);
	assert_int_equal(questions_ask(s->q, &two, 2, &find), 0);
	questions_leave(s->q, &one);
	end_lookup(ACCOUNT_FOUND, &a);
	assert_int_equal(answers, 1);
}

static void too_many_are_refused_and_those_that_wait_are_not(void **state)
{
	struct site *s = *state;
	struct account a = alice();

	for (unsigned i = 0; i < QUESTIONS_MAX; i++)
		assert_int_equal(ask(s, "alice@x", "", false), 0);
	assert_int_equal(ask(s, "alice@x", "", false), -1);
	assert_int_equal(ask(s, "bob@x", "", false), -1);
	end_lookup(ACCOUNT_FOUND, &a);
	assert_int_equal(answers, QUESTIONS_MAX);
	assert_int_equal(ask(s, "alice@x", "", false), 0);
}

static void a_question_without_an_end_is_refused_and_one_of_odd_bytes_names_nobody(void **state)
{
	struct site *s = *state;
	struct directory_find find = { .kind = CLAIM_UPN };

	memset(find.value, 'a', sizeof(find.value));
	assert_int_equal(questions_ask(s->q, &one, 1, &find), -1);
	find.value[10] = '\0';
	memset(find.sid, '1', sizeof(find.sid));
	assert_int_equal(questions_ask(s->q, &one, 1, &find), -1);
	assert_int_equal(answers, 0);
	assert_int_equal(ask(s, "al\001ice@x", "", false), 0);
	assert_int_equal(last.result, ACCOUNT_UNKNOWN);
	assert_int_equal(ask(s, "al\xffice@x", "", false), 0);
	assert_int_equal(last.result, ACCOUNT_UNKNOWN);
	assert_int_equal(ask(s, "", "", false), 0);
	assert_int_equal(last.result, ACCOUNT_UNKNOWN);
	assert_int_equal(searches, 0);
}

static void searches_under_way_end_with_the_process(void **state)
{
	assert_int_equal(ask(*state, "alice@x", "", false), 0);
	assert_int_equal(ask(*state, "alice@x", "", true), 0);
	assert_int_equal(ask(*state, "bob@x", "", false), 0);
	/* tear_down() frees with three waiting and two searches */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(many_who_ask_the_same_share_one_search),
		TEST(a_young_answer_is_given_from_the_cache_with_what_is_left_of_its_time),
		TEST(an_answer_is_never_kept_longer_than_its_voucher_lasts),
		TEST(fresh_goes_past_the_cache_and_joins_no_search_that_began_before),
		TEST(threat_36_another_sid_than_the_certificates_is_a_mismatch_that_names_nobody),
		TEST(no_voucher_for_whom_no_ticket_may_be_had),
		TEST(no_voucher_for_a_claim_that_nobody_has_verified),
		TEST(unknown_and_ambiguous_are_remembered_for_their_own_time),
		TEST(a_known_account_is_served_while_no_server_answers_and_an_unknown_one_is_not),
		TEST(what_was_forgotten_is_not_served_stale),
		TEST(what_is_doubted_is_asked_again_and_serves_while_no_server_answers),
		TEST(what_is_doubted_serves_no_longer_than_stale_seconds_from_when_it_was_found),
		TEST(an_answer_that_was_on_its_way_when_doubt_came_is_good_for_once_and_for_later_need),
		TEST(a_change_during_a_search_makes_its_answer_good_for_once_only),
		TEST(a_change_of_another_account_during_a_search_does_not),
		TEST(forgetting_everything_asks_again_for_everything),
		TEST(who_has_left_is_answered_no_more),
		TEST(too_many_are_refused_and_those_that_wait_are_not),
		TEST(a_question_without_an_end_is_refused_and_one_of_odd_bytes_names_nobody),
		TEST(searches_under_way_end_with_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
