/*
 * test_method: by what who may come in: method.tbl, row by row; and what is offered before it is known who it is.
 */
#include "proxy/worker/method.h"

#include "table.h"

#define RULES 4

static unsigned group_of(struct strv word)
{
	assert_true(word.n == 2 && word.p[0] == 'g');
	return (unsigned)(word.p[1] - '0');
}

static bool begins(struct strv word, const char *prefix, struct strv *rest)
{
	size_t n = strlen(prefix);

	if (!text_starts_nocase(word, strv_from(prefix)))
		return false;
	*rest = (struct strv){ word.p + n, word.n - n };
	return true;
}

static uint8_t use_of(char letter)
{
	assert_non_null(strchr("oar", letter));
	return letter == 'o' ? METHOD_OFF : letter == 'a' ? METHOD_ALLOWED : METHOD_REQUIRED;
}

/* One word of a rule. */
static void rule_word(struct method_rule *r, char user[64], uint64_t *switched, struct strv word)
{
	struct strv rest;

	if (begins(word, "user:", &rest)) {
		assert_int_equal(text_copy(user, 64, rest), 0);
		r->user = user;
	} else if (begins(word, "group:", &rest)) {
		r->group = (char *)(uintptr_t) "CN=g";
		r->group_bit = group_of(rest);
	} else if (begins(word, "switched:", &rest)) {
		*switched |= UINT64_C(1) << group_of(rest);
	} else {
		assert_true(word.n == 3 && word.p[1] == '=');
		r->use[word.p[0] == 'c' ? METHOD_CERTIFICATE : word.p[0] == 'p' ? METHOD_PASSWORD : METHOD_BEARER] = use_of(word.p[2]);
	}
}

static void read_rules(struct policy_settings *policy, struct method_rule rules[RULES], char users[RULES][64], uint64_t *switched, struct strv text)
{
	memset(rules, 0, RULES * sizeof(rules[0]));
	policy->methods = rules;
	while (text.n > 0) {
		struct strv word = text_split(&text, ' ');
		struct method_rule *r;
		if (policy->methods_count == 0 || strv_eq(word, STRV("/"))) {
			assert_true(policy->methods_count < RULES);
			r = &rules[policy->methods_count++];
			r->user = r->group = (char *)(uintptr_t) "";
			if (strv_eq(word, STRV("/")))
				continue;
		}
		r = &rules[policy->methods_count - 1];
		rule_word(r, users[policy->methods_count - 1], switched, word);
	}
}

static void want_bits(const struct table_row *row, unsigned got, const char *const *names, unsigned n, struct strv wanted)
{
	char text[64] = "";

	for (unsigned i = 0; i < n; i++) {
		if ((got >> i & 1) != 0)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", text[0] != '\0' ? " " : "", names[i]);
	}
	table_want(row, text, wanted);
}

static void check(const struct table_row *row)
{
	static const char *const offers[] = { "basic", "bearer" };
	struct account_view alice = { .sid = "S-1-5-21-1-2-3-1104", .sam = "alice", .realm = "CORP.EXAMPLE", .netbios = "CORP",
		.upn = "alice@corp.example", .mail = "a.lice@example.com", .display_name = "Alice" };
	struct policy_settings policy = { .required_group = (char *)(uintptr_t) "" };
	struct method_brings brings = { false, false, false };
	struct method_rule rules[RULES];
	struct method_verdict v;
	char users[RULES][64], rule[16];
	uint64_t switched = 0;

	for (struct strv rest = row->column[5]; rest.n > 0;)
		alice.groups |= UINT64_C(1) << group_of(text_split(&rest, ' '));
	for (struct strv rest = row->column[6]; rest.n > 0;) {
		struct strv word = text_split(&rest, ' ');
		*(strv_eq(word, STRV("certificate")) ? &brings.certificate : strv_eq(word, STRV("password")) ? &brings.password : &brings.bearer) = true;
	}
	read_rules(&policy, rules, users, &switched, row->column[7]);
	v = method_decide(&policy, &alice, switched, brings);
	table_want(row, fact_name(v.fact), row->column[1]);
	want_bits(row, v.checks, method_names, METHODS, row->column[2]);
	if (v.fact == FACT_NONE || fact_status(v.fact) == 401)
		want_bits(row, v.challenges, offers, 2, row->column[3]);
	snprintf(rule, sizeof(rule), "%d", v.rule);
	table_want(row, v.rule < 0 ? "" : rule, row->column[4]);
	/* a 401 without an offer is no HTTP; nobody is let in by nothing */
	assert_true(fact_status(v.fact) != 401 || v.challenges != 0);
	assert_true(v.fact != FACT_NONE || brings.certificate || v.checks != 0);
	/* what is let in, or asked for a password, is offered one before it is known who it is */
	if (v.checks != 0 || fact_status(v.fact) == 401)
		assert_int_equal(method_challenges(&policy, brings.certificate) & v.challenges, v.challenges);
}

static void every_row_of_the_table_is_decided_as_it_says(void **state)
{
	(void)state;
	table_run("method.tbl", "", 8, check);
}

/* Over all rules, accounts and requests that there can be with two rules: what must hold whatever the table says. */
static void no_table_lets_in_what_it_does_not_name(void **state)
{
	struct policy_settings policy = { .required_group = (char *)(uintptr_t) "" };
	struct method_rule rules[2];
	struct account_view a = { .sid = "S", .sam = "a", .realm = "", .netbios = "", .upn = "", .mail = "", .display_name = "" };
	unsigned decided = 0;

	(void)state;
	memset(rules, 0, sizeof(rules));
	rules[0].user = rules[1].user = rules[1].group = (char *)(uintptr_t) "";
	rules[0].group = (char *)(uintptr_t) "CN=g";
	policy.methods = rules;
	policy.methods_count = 2;
	for (unsigned n = 0; n < 729u * 2 * 2 * 8; n++) {
		unsigned k = n;
		struct method_brings b;
		struct method_verdict v;
		const uint8_t *use;
		uint64_t switched;
		for (unsigned i = 0; i < 6; i++, k /= 3)
			rules[i / 3].use[i % 3] = (uint8_t)(k % 3);
		a.groups = k & 1;
		switched = k >> 1 & 1;
		b = (struct method_brings){ (k & 4) != 0, (k & 8) != 0, (k & 16) != 0 };
		if (b.password && b.bearer)
			continue;
		v = method_decide(&policy, &a, switched, b);
		use = rules[a.groups != 0 ? 0 : 1].use;
		decided++;
		if (v.fact != FACT_NONE)
			continue;
		assert_true(b.certificate || v.checks != 0);
		if (a.groups != 0 && switched != 0) {
			assert_true(b.certificate && v.checks == 0);
			continue;
		}
		assert_true(!b.certificate || use[METHOD_CERTIFICATE] != METHOD_OFF);
		for (unsigned m = 0; m < METHODS; m++) {
			bool there = m == METHOD_CERTIFICATE ? b.certificate : (v.checks >> m & 1) != 0;
			assert_true(use[m] != METHOD_REQUIRED || there);
			assert_true(use[m] != METHOD_OFF || !there);
		}
	}
	assert_true(decided > 15000);
}

static void who_brings_nothing_is_offered_what_some_rule_takes(void **state)
{
	struct method_rule rules[2] = { { .use = { METHOD_REQUIRED, METHOD_REQUIRED, METHOD_OFF } }, { .use = { METHOD_OFF, METHOD_OFF, METHOD_ALLOWED } } };
	struct policy_settings policy = { .methods = rules, .methods_count = 2 };

	(void)state;
	assert_int_equal(method_challenges(&policy, false), REPLY_BEARER);
	assert_int_equal(method_challenges(&policy, true), REPLY_BASIC);
	policy.methods_count = 0;
	assert_int_equal(method_challenges(&policy, false), 0);
	assert_int_equal(method_challenges(&policy, true), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_of_the_table_is_decided_as_it_says),
		cmocka_unit_test(no_table_lets_in_what_it_does_not_name),
		cmocka_unit_test(who_brings_nothing_is_offered_what_some_rule_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
