/*
 * settings_methods: the policies' tables of methods, and the groups that they and the policies name. Opens no file.
 */
#include <stdarg.h>
#include <stdio.h>

#include "common/text.h"
#include "proxy/settings_parts.h"

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

PRINTF(3, 4) static int fail(const struct config_place *at, const char *key, const char *fmt, ...)
{
	char text[384];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	config_fail(at->error, at->name, at->text, key, "%s", text);
	return -1;
}

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
		return fail(at, "proxy.policies", "more than %d different groups", SETTINGS_GROUPS_MAX);
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

static int check_rule(struct method_rule *r, const char *key, const struct config_place *at)
{
	char part[160];

	if (config_fill(r, rule_rows, key, at) < 0)
		return -1;
	if (r->user[0] != '\0' && r->group[0] != '\0')
		return fail(at, key, "expected a user, a group or neither: write two rules");
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
		return fail(at, key, "password and bearer cannot both be required: a request has one Authorization");
	if (r->use[METHOD_BEARER] != METHOD_OFF)
		return fail(at, key, "bearer: needs the section proxy.bearer");
	return 0;
}

static int check_table(struct policy_settings *q, const char *policy_key, const struct config_place *at)
{
	bool everybody = false;
	char key[160];

	for (unsigned k = 0; k < q->methods_count; k++) {
		snprintf(key, sizeof(key), "%s.methods[%u]", policy_key, k);
		if (everybody)
			return fail(at, key, "is never reached: the rule before it is for everybody");
		if (check_rule(&q->methods[k], key, at) < 0)
			return -1;
		everybody = q->methods[k].user[0] == '\0' && q->methods[k].group[0] == '\0';
	}
	return 0;
}

int settings_check_methods(struct settings *s, const struct config_place *at)
{
	char key[128];

	for (unsigned i = 0; i < s->proxy.policies_count; i++) {
		snprintf(key, sizeof(key), "proxy.policies[%u]", i);
		if (check_table(&s->proxy.policies[i], key, at) < 0)
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
