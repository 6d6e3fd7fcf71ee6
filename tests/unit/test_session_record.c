/*
 * test_session_record: when a remembered session or chain is good, and when it has ended.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/worker/session_record.h"

#define NOW 1800000000

static const uint8_t scope[SHA256_SIZE] = { 1 }, other_scope[SHA256_SIZE] = { 2 };
static const uint8_t context[SHA256_SIZE] = { 3 }, other_context[SHA256_SIZE] = { 4 };
static const uint8_t chain[SHA256_SIZE] = { 5 }, id[SESSION_ID_SIZE] = { 6 };

static int setup(void **state)
{
	*state = session_record_setup(64);
	return *state == NULL;
}

static int teardown(void **state)
{
	session_record_free(*state);
	return 0;
}

static struct chain_facts facts_of(size_t links, size_t value_n)
{
	struct chain_facts f;

	memset(&f, 0, sizeof(f));
	memcpy(f.scope, scope, sizeof(scope));
	memset(f.fingerprint, 0xf0, SHA256_SIZE);
	memset(f.anchor, 0xa0, SHA256_SIZE);
	f.not_after = NOW + 100;
	f.links_count = (uint32_t)links;
	for (size_t i = 0; i < links; i++) {
		memset(f.links[i].issuer, (int)i + 1, SHA256_SIZE);
		f.links[i].serial.n = 2;
		f.links[i].serial.byte[0] = (uint8_t)(i + 1);
	}
	f.claim.kind = CLAIM_UPN;
	memset(f.claim.value, 'v', value_n);
	strcpy(f.claim.sid, "S-1-5-21-1-2-3-1104");
	return f;
}

static struct session_record record_of(int64_t authenticated)
{
	struct session_record r;

	memset(&r, 0, sizeof(r));
	memset(r.secret, 0x5e, 32);
	r.secret_n = 32;
	memcpy(r.chain, chain, sizeof(chain));
	memcpy(r.context, context, sizeof(context));
	r.authenticated = authenticated;
	r.cipher = 0x1301;
	r.version = 0x0304;
	return r;
}

static void test_a_chain_comes_back_as_it_was_put(void **state)
{
	struct chain_facts want = facts_of(2, 40), got;

	memset(&got, 0xff, sizeof(got));
	assert_true(session_record_chain_put(*state, chain, &want));
	assert_true(session_record_chain(*state, chain, scope, NOW, &got));
	assert_memory_equal(&got, &want, sizeof(got));
}

static void test_an_unusable_claim_is_remembered_as_such(void **state)
{
	struct chain_facts want = facts_of(1, 0), got;

	memset(&want.claim, 0, sizeof(want.claim));
	want.claim_result = CERT_AMBIGUOUS;
	want.bad_kind = CLAIM_UPN;
	assert_true(session_record_chain_put(*state, chain, &want));
	assert_true(session_record_chain(*state, chain, scope, NOW, &got));
	assert_memory_equal(&got, &want, sizeof(got));
}

static void test_a_chain_of_another_scope_or_past_its_end_is_not_known(void **state)
{
	struct chain_facts f = facts_of(1, 10), got;
	struct session_record_counts counts;

	assert_true(session_record_chain_put(*state, chain, &f));
	assert_false(session_record_chain(*state, chain, other_scope, NOW, &got));
	assert_true(session_record_chain(*state, chain, scope, NOW + 100, &got));
	assert_false(session_record_chain(*state, chain, scope, NOW + 101, &got));
	session_record_counts(*state, &counts);
	assert_int_equal(counts.chains, 0);
}

static void test_what_is_too_long_to_keep_is_not_kept_in_part(void **state)
{
	struct chain_facts f = facts_of(CHAIN_LINKS_MAX, 150), got;

	assert_true(session_record_chain_put(*state, chain, &f));
	assert_true(session_record_chain(*state, chain, scope, NOW, &got));
	assert_memory_equal(&got, &f, sizeof(got));
	f = facts_of(CHAIN_LINKS_MAX, 600);
	assert_false(session_record_chain_put(*state, id, &f));
	assert_false(session_record_chain(*state, id, scope, NOW, &got));
}

static bool find(void *r, const uint8_t *ctx, const uint8_t *sc, uint32_t max_age, time_t now)
{
	struct session_record record;
	struct chain_facts facts;

	return session_record_find(r, id, SESSION_ID_SIZE, ctx, sc, max_age, now, &record, &facts);
}

static void test_a_session_is_good_on_its_host_while_young_and_its_chain_is_known(void **state)
{
	struct chain_facts f = facts_of(1, 10), got;
	struct session_record r = record_of(NOW - 50), out;

	assert_false(find(*state, context, scope, 100, NOW));
	assert_true(session_record_chain_put(*state, chain, &f));
	assert_true(session_record_put(*state, id, &r));
	assert_true(
	    session_record_find(*state, id, SESSION_ID_SIZE, context, scope, 100, NOW, &out, &got));
	assert_memory_equal(&out, &r, sizeof(out));
	assert_string_equal(got.claim.sid, f.claim.sid);
	/* Multi-use */
	assert_true(find(*state, context, scope, 100, NOW));
	/* Ids of another length are no ids of ours. */
	assert_false(session_record_find(*state, id, 16, context, scope, 100, NOW, &out, &got));
	assert_false(session_record_find(*state, id, 0, context, scope, 100, NOW, &out, &got));
}

static void test_18_another_host_gets_nothing_and_takes_nothing_away(void **state)
{
	struct chain_facts f = facts_of(1, 10);
	struct session_record r = record_of(NOW);

	assert_true(
	    session_record_chain_put(*state, chain, &f) && session_record_put(*state, id, &r));
	assert_false(find(*state, other_context, scope, 100, NOW));
	assert_true(find(*state, context, scope, 100, NOW));
}

static void test_19_a_session_ends_by_age_and_with_its_chain(void **state)
{
	struct chain_facts f = facts_of(1, 10);
	struct session_record r = record_of(NOW);

	assert_true(
	    session_record_chain_put(*state, chain, &f) && session_record_put(*state, id, &r));
	assert_true(find(*state, context, scope, 100, NOW + 100));
	assert_false(find(*state, context, scope, 50, NOW + 51));
	assert_false(find(*state, context, scope, 100, NOW)); /* taken away */
	assert_true(session_record_put(*state, id, &r));
	assert_false(find(*state, context, scope, 1000, NOW + 101)); /* the certificate's end */
	assert_true(session_record_chain_put(*state, chain, &f));
	assert_false(find(*state, context, scope, 1000, NOW)); /* taken away with it */
	/* One from the future is nobody's. */
	r.authenticated = NOW + 10;
	assert_true(session_record_put(*state, id, &r));
	assert_false(find(*state, context, scope, 1000, NOW));
}

static void test_clearing_forgets_all(void **state)
{
	struct chain_facts f = facts_of(1, 10);
	struct session_record r = record_of(NOW);
	struct session_record_counts counts;

	assert_true(
	    session_record_chain_put(*state, chain, &f) && session_record_put(*state, id, &r));
	session_record_counts(*state, &counts);
	assert_int_equal(counts.sessions, 1);
	assert_int_equal(counts.chains, 1);
	session_record_clear(*state);
	session_record_counts(*state, &counts);
	assert_int_equal(counts.sessions, 0);
	assert_int_equal(counts.chains, 0);
}

static uint64_t sessions_now(void *r)
{
	struct session_record_counts counts;

	session_record_counts(r, &counts);
	return counts.sessions;
}

static bool put_numbered(void *r, const struct session_record *record, uint8_t number)
{
	uint8_t one[SESSION_ID_SIZE] = { 0xaa, number };

	return session_record_put(r, one, record);
}

static bool found_numbered(
    void *r, const uint8_t *ctx, uint8_t number, struct session_record *record)
{
	uint8_t one[SESSION_ID_SIZE] = { 0xaa, number };
	struct chain_facts facts;

	return session_record_find(
	    r, one, SESSION_ID_SIZE, ctx, scope, 100, NOW, record, &facts);
}

static void test_a_certificate_keeps_its_last_sessions_on_each_host_and_no_others(void **state)
{
	static const uint8_t other_chain[SHA256_SIZE] = { 7 };
	struct chain_facts f = facts_of(1, 10);
	struct session_record r = record_of(NOW), elsewhere = r, other = r, got;

	memcpy(elsewhere.context, other_context, SHA256_SIZE);
	memcpy(other.chain, other_chain, SHA256_SIZE);
	assert_true(session_record_chain_put(*state, chain, &f));
	assert_true(session_record_chain_put(*state, other_chain, &f));
	assert_true(put_numbered(*state, &elsewhere, 200));
	assert_true(put_numbered(*state, &other, 201));
	for (uint8_t i = 1; i <= 100; i++)
		assert_true(put_numbered(*state, &r, i));
	assert_int_equal(sessions_now(*state), RECORDS_PER_CHAIN + 2);
	for (uint8_t i = 1; i <= 100; i++)
		assert_int_equal(
		    found_numbered(*state, context, i, &got), i > 100 - RECORDS_PER_CHAIN);
	/* What one device does on one host costs nobody else a session, nor itself on another host. */
	assert_true(found_numbered(*state, other_context, 200, &got));
	assert_true(found_numbered(*state, context, 201, &got));
	assert_memory_equal(got.chain, other_chain, SHA256_SIZE);
	/* One that has ended already leaves no room that would be counted twice. */
	assert_false(session_record_find(*state, (const uint8_t[SESSION_ID_SIZE]){ 0xaa, 100 },
	    SESSION_ID_SIZE, context, scope, 100, NOW + 101, &got, &f));
	assert_int_equal(sessions_now(*state), RECORDS_PER_CHAIN + 1);
	for (uint8_t i = 101; i <= 120; i++)
		assert_true(put_numbered(*state, &r, i));
	assert_int_equal(sessions_now(*state), RECORDS_PER_CHAIN + 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_chain_comes_back_as_it_was_put),
		TEST(test_an_unusable_claim_is_remembered_as_such),
		TEST(test_a_chain_of_another_scope_or_past_its_end_is_not_known),
		TEST(test_what_is_too_long_to_keep_is_not_kept_in_part),
		TEST(test_a_session_is_good_on_its_host_while_young_and_its_chain_is_known),
		TEST(test_18_another_host_gets_nothing_and_takes_nothing_away),
		TEST(test_19_a_session_ends_by_age_and_with_its_chain),
		TEST(test_a_certificate_keeps_its_last_sessions_on_each_host_and_no_others),
		TEST(test_clearing_forgets_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
