/*
 * settings_migration: which groups a migration is about: those that enroll.migration names, and, where easproxy is configured in the same file, those of its
 * policies. Of `proxy:` only the groups are read: whether the rest of it is right is easproxy's to say. Runs wherever a configuration is loaded.
 */
#include "enroll/settings_migration.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

static const struct config_fill migration_rows[] = {
	FILL_U32(struct enroll_migration, days, 30, 1, 400),
	{ .key = NULL },
};

/* --- the part of easproxy's section that names groups --- */

struct rule { char *group; };
struct policy {
	char *required_group;
	struct rule *methods;
	unsigned methods_count;
};
struct proxy {
	struct policy *policies;
	unsigned policies_count;
};
struct file { struct proxy proxy; };

static const cyaml_schema_field_t rule_fields[] = {
	CYAML_FIELD_STRING_PTR("group", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct rule, group, 0, CYAML_UNLIMITED),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t rule_entry = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct rule, rule_fields) };
static const cyaml_schema_field_t policy_fields[] = {
	CYAML_FIELD_STRING_PTR("required_group", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct policy, required_group, 0, CYAML_UNLIMITED),
	CYAML_FIELD_SEQUENCE("methods", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct policy, methods, &rule_entry, 0, 64),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t policy_entry = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct policy, policy_fields) };
static const cyaml_schema_field_t proxy_fields[] = {
	CYAML_FIELD_SEQUENCE("policies", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct proxy, policies, &policy_entry, 0, 64),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t file_fields[] = {
	CYAML_FIELD_MAPPING("proxy", CYAML_FLAG_OPTIONAL, struct file, proxy, proxy_fields),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t file_schema = { CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct file, file_fields) };

/* --- the list --- */

static int add(struct enroll_migration *m, const char *dn, bool switchable)
{
	struct enroll_group *more;
	unsigned i = 0;

	if (dn == NULL || dn[0] == '\0')
		return 0;
	while (i < m->all_n && strcmp(m->all[i].dn, dn) != 0)
		i++;
	if (i == m->all_n) {
		more = realloc(m->all, (i + 1) * sizeof(*more));
		if (more == NULL)
			return -1;
		m->all = more;
		m->all[i] = (struct enroll_group){ .dn = strdup(dn) };
		if (m->all[i].dn == NULL)
			return -1;
		m->all_n++;
	}
	m->all[i].switchable |= switchable;
	return 0;
}

static int add_policies(struct enroll_migration *m, struct strv text)
{
	cyaml_data_t *data = NULL;
	const struct file *file;
	int rc = 0;

	if (config_load_part(text, &file_schema, &data) < 0)
		return 0;		/* easproxy refuses it, and says why */
	file = data;
	for (unsigned i = 0; rc == 0 && i < file->proxy.policies_count; i++) {
		const struct policy *p = &file->proxy.policies[i];
		for (unsigned k = 0; rc == 0 && k < p->methods_count; k++)
			rc = add(m, p->methods[k].group, true);
		if (rc == 0)
			rc = add(m, p->required_group, false);
	}
	config_release(&file_schema, data);
	return rc;
}

static int no_memory(const struct config_place *at)
{
	config_fail(at->error, at->name, at->text, "enroll.migration", "out of memory");
	return -1;
}

int enroll_settings_migration(struct enroll_section *e, const struct config_place *at)
{
	struct enroll_migration *m = &e->migration;

	if (config_fill(m, migration_rows, "enroll.migration", at) < 0)
		return -1;
	for (unsigned i = 0; i < m->groups_count; i++) {
		if (m->groups[i] == NULL || m->groups[i][0] == '\0' || strlen(m->groups[i]) >= 512 || !text_is_clean(strv_from(m->groups[i]))) {
			config_fail(at->error, at->name, at->text, "enroll.migration.groups", "[%u]: expected a group's DN as the proxies' files write it", i);
			return -1;
		}
		if (add(m, m->groups[i], true) < 0)
			return no_memory(at);
	}
	if (add_policies(m, at->text) < 0)
		return no_memory(at);
	if (m->all_n <= ENROLL_MIGRATION_GROUPS)
		return 0;
	config_fail(at->error, at->name, at->text, "enroll.migration", "%u different groups with those of proxy.policies: at most %d", m->all_n,
	    ENROLL_MIGRATION_GROUPS);
	return -1;
}
