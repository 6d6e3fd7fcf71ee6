/*
 * settings_methods: the policies' tables of methods, and the groups that they and the policies name. Opens no file.
 */
#include <stdio.h>

#include "common/text.h"
#include "proxy/settings_parts.h"

#define QUOTED_MAX  384
#define TOKEN_TYPES "app_asserted_user_v1 service_asserted_app_v1"

const char *const method_names[] = { "certificate", "password", "bearer", NULL };
const char *const method_use_names[] = { "off", "allowed", "required", NULL };

static const struct config_fill rule_rows[] = {
	FILL_TEXT(struct method_rule, user, "", NULL),
	FILL_TEXT(struct method_rule, group, "", NULL),
	{ .key = "certificate", .offset = offsetof(struct method_rule, text[METHOD_CERTIFICATE]), .text = "off" },
	{ .key = "password", .offset = offsetof(struct method_rule, text[METHOD_PASSWORD]), .text = "off" },
	{ .key = "bearer", .offset = offsetof(struct method_rule, text[METHOD_BEARER]), .text = "off" },
	{ .key = NULL },
};

static const struct config_fill bearer_rows[] = {
	FILL_TEXT(struct bearer_settings, mode, "check", NULL),
	FILL_TEXT(struct bearer_settings, keys_file, "", NULL),
	FILL_TEXT(struct bearer_settings, keys_url, "", NULL),
	FILL_TEXT(struct bearer_settings, keys_ca, "", NULL),
	FILL_U32(struct bearer_settings, keys_refresh_seconds, 300, 1, 86400),
	FILL_U32(struct bearer_settings, keys_max_age_seconds, 86400, 10, 2592000),
	FILL_TEXT(struct bearer_settings, issuer, "", "the issuer as its tokens name it in iss"),
	FILL_TEXT(struct bearer_settings, audience, "", "what its tokens for this proxy have in aud"),
	FILL_TEXT(struct bearer_settings, claim, "upn", NULL),
	FILL_TEXT(struct bearer_settings, account, "upn", NULL),
	FILL_U32(struct bearer_settings, leeway_seconds, 30, 1, 300),
	FILL_TEXT(struct bearer_settings, authorization_uri, "", NULL),
	FILL_TEXT(struct bearer_settings, client_id, "", NULL),
	FILL_TEXT(struct bearer_settings, trusted_issuers, "", NULL),
	{ .key = NULL },
};
/* none and the symmetric ones are not among them: who knows a public key must not be able to sign */
const char *const jwt_algorithms[] = { "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", NULL };

/* --- groups --- */

/* Its number among the n known ones; it is added where it is none of them. More than SETTINGS_GROUPS_MAX: that number. */
static unsigned number_of(const char **groups, unsigned *n, const char *group)
{
	for (unsigned i = 0; i < *n; i++) {
		if (strcmp(groups[i], group) == 0)
			return i;
	}
	if (*n == SETTINGS_GROUPS_MAX)
		return SETTINGS_GROUPS_MAX;
	groups[*n] = group;
	return (*n)++;
}

unsigned settings_groups(const struct settings *s, const char **groups)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->proxy.policies_count; i++) {
		const struct policy_settings *q = &s->proxy.policies[i];
		if (q->required_group[0] != '\0' && number_of(groups, &n, q->required_group) == SETTINGS_GROUPS_MAX)
			return SETTINGS_GROUPS_MAX + 1;
		for (unsigned k = 0; k < q->methods_count; k++) {
			const char *group = q->methods[k].group;
			if (group[0] != '\0' && number_of(groups, &n, group) == SETTINGS_GROUPS_MAX)
				return SETTINGS_GROUPS_MAX + 1;
		}
	}
	return n;
}

/* Equal groups of several places share a bit. */
static int resolve_groups(struct settings *s, const struct config_place *at)
{
	const char *groups[SETTINGS_GROUPS_MAX + 1];
	unsigned n = settings_groups(s, groups);

	if (n > SETTINGS_GROUPS_MAX)
		return config_refuse(at, "proxy.policies", "more than %d different groups", SETTINGS_GROUPS_MAX);
	if (config_groups(&s->common.directory, groups, n, "proxy.policies", at) < 0)
		return -1;
	for (unsigned i = 0; i < s->proxy.policies_count; i++) {
		struct policy_settings *q = &s->proxy.policies[i];
		if (q->required_group[0] != '\0')
			q->group_bit = number_of(groups, &n, q->required_group);
		for (unsigned k = 0; k < q->methods_count; k++) {
			if (q->methods[k].group[0] != '\0')
				q->methods[k].group_bit = number_of(groups, &n, q->methods[k].group);
		}
	}
	return 0;
}

/* --- the table --- */

static int check_rule(struct method_rule *r, bool has_bearer, const char *key, const struct config_place *at)
{
	char part[160];

	if (config_fill(r, rule_rows, key, at) < 0)
		return -1;
	if (r->user[0] != '\0' && r->group[0] != '\0')
		return config_refuse(at, key, "expected a user, a group or neither: write two rules");
	for (unsigned m = 0; m < METHODS; m++) {
		int use;
		snprintf(part, sizeof(part), "%s.%s", key, method_names[m]);
		use = config_choice(r->text[m], method_use_names, part, at);
		if (use < 0)
			return -1;
		r->use[m] = (uint8_t)use;
	}
	/* both come in the one field Authorization */
	if (r->use[METHOD_PASSWORD] == METHOD_REQUIRED && r->use[METHOD_BEARER] == METHOD_REQUIRED)
		return config_refuse(at, key, "password and bearer cannot both be required: a request has one Authorization");
	if (r->use[METHOD_BEARER] != METHOD_OFF && !has_bearer)
		return config_refuse(at, key, "bearer: needs the section proxy.bearer");
	return 0;
}

static int check_table(struct policy_settings *q, bool has_bearer, const char *policy_key, const struct config_place *at)
{
	bool everybody = false;
	char key[160];

	for (unsigned k = 0; k < q->methods_count; k++) {
		snprintf(key, sizeof(key), "%s.methods[%u]", policy_key, k);
		if (everybody)
			return config_refuse(at, key, "is never reached: the rule before it is for everybody");
		if (check_rule(&q->methods[k], has_bearer, key, at) < 0)
			return -1;
		everybody = q->methods[k].user[0] == '\0' && q->methods[k].group[0] == '\0';
	}
	return 0;
}

/* --- tokens --- */

static int check_keys(const struct bearer_settings *b, const struct config_place *at)
{
	bool url = b->keys_url[0] != '\0';

	/* somebody would believe that they are used */
	if (b->passes && (url || b->keys_file[0] != '\0' || b->keys_ca[0] != '\0'))
		return config_refuse(at, "proxy.bearer", "keys_file, keys_url and keys_ca are for mode check: with mode pass the mail server verifies the token, not the proxy");
	if (b->passes)
		return 0;
	if (url == (b->keys_file[0] != '\0'))
		return config_refuse(at, "proxy.bearer", "expected keys_file or keys_url: one of them");
	if (url && (!text_starts_nocase(strv_from(b->keys_url), STRV("https://")) || strlen(b->keys_url) == 8))
		return config_refuse(at, "proxy.bearer.keys_url", "\"%s\": expected a https:// URL", b->keys_url);
	if (!url && b->keys_ca[0] != '\0')
		return config_refuse(at, "proxy.bearer.keys_ca", "is for keys_url alone");
	if (b->keys_max_age_seconds < b->keys_refresh_seconds)
		return config_refuse(at, "proxy.bearer.keys_max_age_seconds", "is less than keys_refresh_seconds");
	return 0;
}

/* Goes to every device between quotes (RFC 9110 5.6.4), and needs no backslash there: visible ASCII alone. */
static int check_quoted(const char *text, const char *key, const struct config_place *at)
{
	if (strlen(text) > QUOTED_MAX)
		return config_refuse(at, key, "is longer than %d bytes", QUOTED_MAX);
	for (const char *c = text; *c != '\0'; c++) {
		if (*c <= ' ' || *c > '~' || *c == '"' || *c == '\\')
			return config_refuse(at, key, "expected visible ASCII characters, without quotes, backslashes and spaces");
	}
	return 0;
}

static bool is_https_url(const char *url)
{
	static const struct strv scheme = { "https://", 8 };
	const char *host = url + scheme.n;

	return text_starts_nocase(strv_from(url), scheme) && *host != '\0' && strchr("/:?#@", *host) == NULL && strchr(url, '#') == NULL;
}

/*
 * The form is Exchange's: phones and Outlook find by authorization_uri where their owner signs in, and by client_id for whom the token
 * shall be. token_types are those of Exchange, which is all that a client of its client_id can make of it.
 */
static int make_challenge(struct bearer_settings *b, const struct config_place *at)
{
	char trusted[QUOTED_MAX + 24] = "", client[sizeof(trusted) + QUOTED_MAX + 96] = "";

	if (check_quoted(b->authorization_uri, "proxy.bearer.authorization_uri", at) < 0 || check_quoted(b->client_id, "proxy.bearer.client_id", at) < 0 ||
	    check_quoted(b->trusted_issuers, "proxy.bearer.trusted_issuers", at) < 0)
		return -1;
	if (b->authorization_uri[0] == '\0') {
		if (b->client_id[0] != '\0' || b->trusted_issuers[0] != '\0')
			return config_refuse(at, "proxy.bearer", "client_id and trusted_issuers are told to devices with authorization_uri alone");
		snprintf(b->challenge, sizeof(b->challenge), "realm=\"mail\"");
		return 0;
	}
	if (!is_https_url(b->authorization_uri))
		return config_refuse(at, "proxy.bearer.authorization_uri", "\"%s\": expected a https:// URL", b->authorization_uri);
	if (b->trusted_issuers[0] != '\0')
		snprintf(trusted, sizeof(trusted), "trusted_issuers=\"%s\", ", b->trusted_issuers);
	if (b->client_id[0] != '\0')
		snprintf(client, sizeof(client), "client_id=\"%s\", %stoken_types=\"" TOKEN_TYPES "\", ", b->client_id, trusted);
	snprintf(b->challenge, sizeof(b->challenge), "%sauthorization_uri=\"%s\"", b->client_id[0] != '\0' ? client : trusted, b->authorization_uri);
	return 0;
}

static int check_bearer(struct bearer_settings *b, const struct config_place *at)
{
	static const char *const accounts[] = { "upn", "sid", "email", NULL };
	static const char *const modes[] = { "check", "pass", NULL };
	static const enum claim_kind kinds[] = { CLAIM_UPN, CLAIM_SID, CLAIM_EMAIL };
	int account, mode;

	if (b == NULL)
		return 0;
	if (config_fill(b, bearer_rows, "proxy.bearer", at) < 0)
		return -1;
	mode = config_choice(b->mode, modes, "proxy.bearer.mode", at);
	if (mode < 0)
		return -1;
	b->passes = mode == 1;
	if (check_keys(b, at) < 0)
		return -1;
	if (b->algorithms_count == 0 || b->algorithms_count > BEARER_ALGORITHMS_MAX)
		return config_refuse(at, "proxy.bearer.algorithms", "expected those that the issuer signs with, such as [RS256]");
	for (unsigned i = 0; i < b->algorithms_count; i++) {
		if (config_choice(b->algorithms[i], jwt_algorithms, "proxy.bearer.algorithms", at) < 0)
			return -1;
	}
	account = config_choice(b->account, accounts, "proxy.bearer.account", at);
	if (account < 0)
		return -1;
	b->account_kind = kinds[account];
	return make_challenge(b, at);
}

int settings_check_methods(struct settings *s, const struct config_place *at)
{
	char key[128];

	if (check_bearer(s->proxy.bearer, at) < 0)
		return -1;
	for (unsigned i = 0; i < s->proxy.policies_count; i++) {
		snprintf(key, sizeof(key), "proxy.policies[%u]", i);
		if (check_table(&s->proxy.policies[i], s->proxy.bearer != NULL, key, at) < 0)
			return -1;
	}
	return resolve_groups(s, at);
}

bool settings_demands_certificate(const struct policy_settings *policy)
{
	for (unsigned k = 0; k < policy->methods_count; k++) {
		if (policy->methods[k].use[METHOD_CERTIFICATE] != METHOD_REQUIRED)
			return false;
	}
	return true;
}

bool settings_takes(const struct policy_settings *policy, enum method method)
{
	for (unsigned k = 0; k < policy->methods_count; k++) {
		if (policy->methods[k].use[method] != METHOD_OFF)
			return true;
	}
	return policy->methods_count == 0 && method == METHOD_CERTIFICATE;
}

bool settings_takes_anywhere(const struct settings *s, enum method method)
{
	for (unsigned i = 0; i < s->proxy.hosts_count; i++) {
		if (settings_takes(&s->proxy.policies[s->proxy.hosts[i].policy_index], method))
			return true;
	}
	return false;
}
