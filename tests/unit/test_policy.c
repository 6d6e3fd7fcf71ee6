/*
 * test_policy: who may do what: policy.tbl, row by row, and the patterns of its lists.
 */
#include "proxy/worker/policy.h"

#include "proxy/worker/policy_list.h"
#include "table.h"

#define NOW 1000

#define WORD(text) ((char *)(uintptr_t)(text))

static char *types[] = { WORD("iPhone"), WORD("Android*") };
static char *bad_types[] = { WORD("Palm*"), WORD("*test*") };
static char *agents[] = { WORD("Apple-*/*"), WORD("Outlook-iOS-Android/?*") };
static char *bad_agents[] = { WORD("Apple-iPhone3C?/*"), WORD("*bot*") };
static char *versions[] = { WORD("14.1"), WORD("16.*") };
static char *bad_versions[] = { WORD("16.0"), WORD("2.*") };

static const struct {
	const char *word;
	uint32_t flag;
} flags[] = {
	{ "enabled", ACCOUNT_ENABLED },
	{ "disabled", 0 },
	{ "expired", ACCOUNT_EXPIRED },
	{ "locked", ACCOUNT_LOCKED },
	{ "password-expired", ACCOUNT_PASSWORD_EXPIRED },
	{ "not-delegated", ACCOUNT_NOT_DELEGATED },
	{ "protected", ACCOUNT_PROTECTED },
};

static bool is(struct strv word, const char *text)
{
	return strv_eq(word, strv_from(text));
}

/* "name=value" → value */
static bool value_of(struct strv word, const char *name, struct strv *value)
{
	size_t n = strlen(name);

	if (!text_starts_nocase(word, strv_from(name)))
		return false;
	*value = (struct strv){ word.p + n, word.n - n };
	return true;
}

static void account_word(struct account_view *account, struct strv word)
{
	struct strv value;
	uint64_t ends;

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		if (is(word, flags[i].word)) {
			account->flags |= flags[i].flag;
			return;
		}
	}
	if (is(word, "group")) {
		account->groups |= 1u << 3;
	} else if (is(word, "othergroup")) {
		account->groups |= ~(UINT64_C(1) << 3);
	} else if (value_of(word, "ends=", &value)) {
		assert_int_equal(text_u64(value, 5000, &ends), 0);
		account->expires = (int64_t)ends;
	} else {
		fail_msg("account: %.*s?", STRV_FMT(word));
	}
}

static void request_word(struct eas_request *r, struct strv word)
{
	struct strv value;

	if (value_of(word, "user=", &value)) {
		assert_int_equal(text_copy(r->query.user, sizeof(r->query.user), value), 0);
		return;
	}
	if (value_of(word, "type=", &value)) {
		assert_int_equal(text_copy(r->query.device_type, sizeof(r->query.device_type), value), 0);
		return;
	}
	if (value_of(word, "query-version=", &value)) {
		uint64_t version;
		assert_int_equal(text_u64(value, 255, &version), 0);
		r->query.version = (unsigned)version;
		return;
	}
	if (value_of(word, "version=", &value)) {
		assert_int_equal(text_copy(r->version, sizeof(r->version), value), 0);
		return;
	}
	if (value_of(word, "agent=", &value)) {
		assert_int_equal(text_copy(r->user_agent, sizeof(r->user_agent), value), 0);
		return;
	}
	if (is(word, "odd-agent")) {
		r->user_agent_odd = true;
		return;
	}
	if (is(word, "options")) {
		r->is_options = true;
		return;
	}
	if (is(word, "autodiscover") || is(word, "path")) {
		r->route = is(word, "path") ? ROUTE_PATH : ROUTE_AUTODISCOVER;
		return;
	}
	for (int i = EAS_NONE; i < EAS_COMMANDS; i++) {
		if (is(word, eas_command_name((enum eas_command)i))) {
			r->query.command = (enum eas_command)i;
			return;
		}
	}
	fail_msg("request: %.*s?", STRV_FMT(word));
}

static void policy_word(struct policy_settings *policy, bool *kerberos, struct strv word)
{
	if (is(word, "group")) {
		policy->required_group = (char *)(uintptr_t) "CN=Mail";
	} else if (is(word, "types")) {
		policy->device_types.allow = types;
		policy->device_types.allow_count = ARRAY_LEN(types);
	} else if (is(word, "!types")) {
		policy->device_types.deny = bad_types;
		policy->device_types.deny_count = ARRAY_LEN(bad_types);
	} else if (is(word, "agents")) {
		policy->user_agents.allow = agents;
		policy->user_agents.allow_count = ARRAY_LEN(agents);
	} else if (is(word, "!agents")) {
		policy->user_agents.deny = bad_agents;
		policy->user_agents.deny_count = ARRAY_LEN(bad_agents);
	} else if (is(word, "versions")) {
		policy->protocol_versions.allow = versions;
		policy->protocol_versions.allow_count = ARRAY_LEN(versions);
	} else if (is(word, "!versions")) {
		policy->protocol_versions.deny = bad_versions;
		policy->protocol_versions.deny_count = ARRAY_LEN(bad_versions);
	} else if (is(word, "any-user")) {
		policy->user_must_match = false;
	} else if (is(word, "kerberos")) {
		*kerberos = true;
	} else {
		fail_msg("policy: %.*s?", STRV_FMT(word));
	}
}

static const struct account_view alice = { .sid = "S-1-5-21-1-2-3-1104",
	.sam = "alice",
	.realm = "CORP.EXAMPLE",
	.netbios = "CORP",
	.upn = "alice@corp.example",
	.mail = "a.lice@example.com",
	.display_name = "Alice" };

static void check(const struct table_row *row)
{
	struct policy_settings policy = { .required_group = (char *)(uintptr_t) "",
		.group_bit = 3,
		.user_must_match = true };
	struct account_view account = alice;
	struct eas_request request = { .route = ROUTE_EAS };
	const char *detail = "never set";
	bool kerberos = false;

	for (struct strv rest = row->column[2]; rest.n > 0;)
		account_word(&account, text_split(&rest, ' '));
	for (struct strv rest = row->column[3]; rest.n > 0;)
		request_word(&request, text_split(&rest, ' '));
	for (struct strv rest = row->column[4]; rest.n > 0;)
		policy_word(&policy, &kerberos, text_split(&rest, ' '));
	table_want(row, fact_name(policy_decide(&policy, &account, &request, kerberos, NOW, &detail)),
	    row->column[1]);
	assert_true(detail == NULL || strcmp(detail, "never set") != 0);
}

static void every_row_of_the_table_is_decided_as_it_says(void **state)
{
	(void)state;
	table_run("policy.tbl", "", 5, check);
}

static void threat_16_only_the_certificates_own_mailbox_is_served(void **state)
{
	(void)state;
	table_run("policy.tbl", "threat-16", 5, check);
}

static void a_pattern_matches_the_whole_text_in_bounded_time(void **state)
{
	char many[129], text[4096];

	(void)state;
	assert_true(policy_list_matches(STRV("*"), STRV("")));
	assert_true(policy_list_matches(STRV(""), STRV("")));
	assert_false(policy_list_matches(STRV("?"), STRV("")));
	assert_false(policy_list_matches(STRV(""), STRV("a")));
	assert_true(policy_list_matches(STRV("a*b*c"), STRV("AxxbyybzzC")));
	assert_false(policy_list_matches(STRV("a*b*c"), STRV("axxbyybzzcd")));
	assert_true(policy_list_matches(STRV("*ab"), STRV("aaab")));
	assert_true(policy_list_matches(STRV("[a]\\"), STRV("[A]\\")));
	/* what takes backtracking matchers for ever */
	for (size_t i = 0; i < 128; i++)
		many[i] = i % 2 ? 'a' : '*';
	many[127] = 'b';
	memset(text, 'a', sizeof(text));
	assert_false(policy_list_matches((struct strv){ many, 128 }, (struct strv){ text, sizeof(text) }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_of_the_table_is_decided_as_it_says),
		cmocka_unit_test(threat_16_only_the_certificates_own_mailbox_is_served),
		cmocka_unit_test(a_pattern_matches_the_whole_text_in_bounded_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
