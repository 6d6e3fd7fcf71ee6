/*
 * settings: defaults, limits and cross-references of easenroll's configuration. Opens no file that it names.
 */
#include "enroll/settings.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/address.h"
#include "common/config_fill.h"
#include "common/text.h"
#include "enroll/settings_migration.h"
#include "enroll/settings_schema.h"

static const struct config_fill section_rows[] = {
	FILL_U32(struct enroll_section, workers, 1, 1, 1),
	FILL_TEXT(struct enroll_section, public_url, "", "the https:// URL under which devices reach this server"),
	FILL_TEXT(struct enroll_section, plain_url, "", NULL),
	FILL_TEXT(struct enroll_section, registry, "", NULL),
	{ .key = NULL },
};
static const struct config_fill listener_rows[] = {
	FILL_TEXT(struct enroll_listener, address, "", "host:port"),
	FILL_TEXT(struct enroll_listener, certificate, "", NULL),
	FILL_TEXT(struct enroll_listener, key, "", NULL),
	{ .key = NULL },
};
static const struct config_fill ca_rows[] = {
	FILL_TEXT(struct enroll_ca, folder, "", NULL),
	FILL_TEXT(struct enroll_ca, key_password_file, "", NULL),
	FILL_TEXT(struct enroll_ca, pkcs11_module, "", NULL),
	FILL_TEXT(struct enroll_ca, pin_file, "", NULL),
	FILL_TEXT(struct enroll_ca, known_keys_file, "", NULL),
	FILL_U32(struct enroll_ca, crl_seconds, 86400, 60, 2592000),
	FILL_U32(struct enroll_ca, crl_overlap_seconds, 7200, 10, 604800),
	FILL_U32(struct enroll_ca, delta_seconds, 0, 0, 604800),
	FILL_U32(struct enroll_ca, ocsp_seconds, 3600, 10, 604800),
	FILL_U32(struct enroll_ca, ocsp_signer_seconds, 1382400, 20, 7776000),
	{ .key = NULL },
};
static const struct config_fill profile_rows[] = {
	FILL_TEXT(struct enroll_profile, name, "", "a name"),
	FILL_U32(struct enroll_profile, days, 365, 1, 3650),
	FILL_U32(struct enroll_profile, renew_days, 30, 0, 3650),
	FILL_TEXT(struct enroll_profile, subject, "CN={display_name},UID={sam}", NULL),
	FILL_TEXT(struct enroll_profile, key, "any", NULL),
	FILL_TEXT(struct enroll_profile, required_group, "", NULL),
	{ .key = NULL },
};
static const struct config_fill portal_rows[] = {
	FILL_TEXT(struct enroll_portal, title, "Mail on your device", NULL),
	FILL_TEXT(struct enroll_portal, required_group, "", NULL),
	FILL_TEXT(struct enroll_portal, admin_group, "", NULL),
	FILL_U32(struct enroll_portal, idle_seconds, 900, 1, 86400),
	FILL_U32(struct enroll_portal, session_seconds, 28800, 1, 604800),
	FILL_U32(struct enroll_portal, devices_per_user, 10, 1, 1000),
	{ .key = NULL },
};
static const struct config_fill secrets_rows[] = {
	FILL_U32(struct enroll_secrets, seconds, 900, 1, 2592000),
	{ .key = NULL },
};
static const struct config_fill scep_rows[] = {
	FILL_TEXT(struct enroll_scep, profile, "", NULL),
	FILL_TEXT(struct enroll_scep, challenge, "one-time", NULL),
	FILL_TEXT(struct enroll_scep, static_file, "", NULL),
	FILL_TEXT(struct enroll_scep, webhook_url, "", NULL),
	FILL_TEXT(struct enroll_scep, webhook_token_file, "", NULL),
	FILL_TEXT(struct enroll_scep, webhook_ca, "", NULL),
	FILL_U32(struct enroll_scep, webhook_seconds, 10, 1, 60),
	{ .key = NULL },
};
static const struct config_fill est_rows[] = {
	FILL_TEXT(struct enroll_est, profile, "", NULL),
	FILL_U32(struct enroll_est, retry_seconds, 60, 1, 86400),
	{ .key = NULL },
};
static const struct config_fill mdm_rows[] = {
	FILL_TEXT(struct enroll_mdm, secret_file, "", NULL),
	FILL_TEXT(struct enroll_mdm, action, "revoke", NULL),
	{ .key = NULL },
};
static const struct config_fill ndes_rows[] = {
	FILL_TEXT(struct enroll_ndes, group, "", NULL),
	FILL_U32(struct enroll_ndes, seconds, 3600, 1, 604800),
	FILL_U32(struct enroll_ndes, cache, 5, 1, 10000),
	{ .key = NULL },
};
static const struct config_fill mail_rows[] = {
	FILL_TEXT(struct enroll_mail, host, "", NULL),
	FILL_TEXT(struct enroll_mail, display_name, "Company mail", NULL),
	FILL_TEXT(struct enroll_mail, organization, "", NULL),
	FILL_U32(struct enroll_mail, past_days, 7, 0, 31),
	{ .key = NULL },
};
static const struct config_fill apple_rows[] = {
	FILL_TEXT(struct enroll_apple, device_cas_file, "", NULL),
	FILL_TEXT(struct enroll_apple, trust_file, "", NULL),
	FILL_TEXT(struct enroll_apple, mail, "exchange", NULL),
	FILL_TEXT(struct enroll_apple, oauth_sign_in_url, "", NULL),
	FILL_TEXT(struct enroll_apple, oauth_token_url, "", NULL),
	{ .key = NULL },
};
static const struct config_fill admin_rows[] = {
	FILL_TEXT(struct enroll_admin, address, "", NULL),
	{ .key = NULL },
};
static const struct config_fill limits_rows[] = {
	FILL_U32(struct enroll_limits, head_bytes, 16384, 1024, 65536),
	FILL_U32(struct enroll_limits, headers, 100, 8, 128),
	FILL_U32(struct enroll_limits, body_bytes, 1048576, 1024, 16777216),
	FILL_U32(struct enroll_limits, bodies_bytes, 67108864, 1048576, 4294967295),
	FILL_U32(struct enroll_limits, connections, 1000, 8, 100000),
	FILL_U32(struct enroll_limits, connections_per_address, 250, 4, 100000),
	FILL_U32(struct enroll_limits, handshake_seconds, 10, 1, 300),
	FILL_U32(struct enroll_limits, head_seconds, 30, 1, 300),
	FILL_U32(struct enroll_limits, body_idle_seconds, 30, 1, 3600),
	FILL_U32(struct enroll_limits, idle_seconds, 60, 1, 7200),
	FILL_U32(struct enroll_limits, drain_seconds, 30, 1, 7200),
	{ .key = NULL },
};

static bool given(const bool *value)
{
	return value == NULL || *value;
}

/* An empty path becomes `name` in state_dir. */
static int fill_path(char **path, const struct config_common *c, const char *name)
{
	char text[4096];

	if ((*path)[0] != '\0')
		return 0;
	if ((size_t)snprintf(text, sizeof(text), "%s/%s", c->state_dir, name) >= sizeof(text))
		return -1;
	free(*path);
	*path = strdup(text);
	return *path != NULL ? 0 : -1;
}

static int check_url(char *url, const char *scheme, const char *key, const struct config_place *at)
{
	size_t n = strlen(url);

	if (n > 0 && url[n - 1] == '/')
		url[n - 1] = '\0';
	if (!text_starts_nocase(strv_from(url), strv_from(scheme)) || strlen(url) == strlen(scheme))
		return config_refuse(at, key, "\"%s\": expected %shost[:port]", url, scheme);
	if (strpbrk(url, " \t\"'<>\\^`{|}#?") != NULL || !text_is_clean(strv_from(url)))
		return config_refuse(at, key, "\"%s\" has characters that a URL cannot have", url);
	return 0;
}

static int check_urls(struct enroll_section *e, const struct config_place *at)
{
	if (check_url(e->public_url, "https://", "enroll.public_url", at) < 0)
		return -1;
	if (e->plain_url[0] != '\0')
		return check_url(e->plain_url, "http://", "enroll.plain_url", at);
	free(e->plain_url);
	e->plain_url = strdup(e->public_url);
	return e->plain_url != NULL ? 0 : config_refuse(at, "enroll.plain_url", "out of memory");
}

static int check_listeners(struct enroll_section *e, const struct config_place *at)
{
	struct address address;
	char key[128];

	if (e->listeners_count == 0)
		return config_refuse(at, "enroll.listeners", "is missing: expected a list, such as - {address: \"0.0.0.0:8443\", certificate: FILE, key: FILE}");
	for (unsigned i = 0; i < e->listeners_count; i++) {
		struct enroll_listener *l = &e->listeners[i];
		bool files = l->certificate != NULL && l->certificate[0] != '\0' && l->key != NULL && l->key[0] != '\0';
		snprintf(key, sizeof(key), "enroll.listeners[%u]", i);
		if (config_fill(l, listener_rows, key, at) < 0)
			return -1;
		if (address_parse(strv_from(l->address), &address) < 0)
			return config_refuse(at, key, "\"%s\" is no address: expected host:port or [v6]:port with a numeric host", l->address);
		if (!l->plain && !files)
			return config_refuse(at, key, "certificate and key are missing: expected the server's PEM files, or plain: true");
		if (l->plain && (l->certificate[0] != '\0' || l->key[0] != '\0'))
			return config_refuse(at, key, "plain: true takes neither certificate nor key");
	}
	return 0;
}

static int check_ca(struct enroll_settings *s, const struct config_place *at)
{
	struct enroll_ca *ca = &s->enroll.ca;

	if (config_fill(ca, ca_rows, "enroll.ca", at) < 0)
		return -1;
	if (ca->delta_seconds == 0 && !config_names_key(at->text, "enroll.ca.delta_seconds"))
		ca->delta_seconds = ca->crl_seconds > 3600 ? 3600 : 0;
	if (ca->delta_seconds != 0 && ca->delta_seconds >= ca->crl_seconds)
		return config_refuse(at, "enroll.ca.delta_seconds", "expected less than crl_seconds (%u), or 0 for none", ca->crl_seconds);
	if (ca->crl_overlap_seconds > ca->crl_seconds)
		ca->crl_overlap_seconds = ca->crl_seconds;
	if (ca->ocsp_signer_seconds / 2 < ca->ocsp_seconds)	/* renewed after half of its life: no answer may outlive what is left */
		return config_refuse(at, "enroll.ca.ocsp_signer_seconds", "expected at least twice ocsp_seconds (%u)", ca->ocsp_seconds);
	if (ca->pkcs11_module[0] != '\0' && ca->pin_file[0] == '\0')
		return config_refuse(at, "enroll.ca.pin_file", "is missing: a token (pkcs11_module) needs the file with its PIN");
	if (fill_path(&ca->folder, &s->common, "ca") < 0)
		return config_refuse(at, "state_dir", "is too long");
	if (asprintf(&ca->index, "%s/ca.json", ca->folder) < 0) {
		ca->index = NULL;
		return config_refuse(at, "enroll.ca.folder", "no memory for its name");
	}
	return 0;
}

static bool is_name(const char *text)
{
	size_t n = strlen(text);

	return n >= 1 && n <= 31 && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == n;
}

static int check_profile(struct enroll_section *e, unsigned i, const struct config_place *at)
{
	static const char *const keys[] = { "any", "rsa", "ec", NULL };
	struct enroll_profile *p = &e->profiles[i];
	char key[128], part[160];
	int kind;

	snprintf(key, sizeof(key), "enroll.profiles[%u]", i);
	if (config_fill(p, profile_rows, key, at) < 0)
		return -1;
	if (!is_name(p->name))
		return config_refuse(at, key, "name \"%s\": expected 1 to 31 of a-z A-Z 0-9 - _", p->name);
	for (unsigned k = 0; k < i; k++) {
		if (strcmp(e->profiles[k].name, p->name) == 0)
			return config_refuse(at, key, "the name \"%s\" stands twice", p->name);
	}
	snprintf(part, sizeof(part), "%s.key", key);
	kind = config_choice(p->key, keys, part, at);
	if (kind < 0)
		return -1;
	p->key_kind = (enum enroll_key)kind;
	p->upn = given(p->upn_given);
	p->mail = given(p->mail_given);
	p->sid = given(p->sid_given);
	if (!p->upn && !p->sid && !p->mail)
		return config_refuse(at, key, "upn, mail and sid are all false: the proxy could not tell whose certificate it is");
	if (p->renew_days >= p->days)
		return config_refuse(at, key, "renew_days %u: expected less than days (%u)", p->renew_days, p->days);
	return 0;
}

/* Left out: one profile `mail` with all defaults. */
static int check_profiles(struct enroll_section *e, const struct config_place *at)
{
	if (e->profiles_count == 0) {
		if (config_names_key(at->text, "enroll.profiles"))
			return config_refuse(at, "enroll.profiles", "is empty: expected at least one profile, or leave it out");
		e->profiles = calloc(1, sizeof(*e->profiles));
		if (e->profiles == NULL || (e->profiles[0].name = strdup("mail")) == NULL)
			return config_refuse(at, "enroll.profiles", "out of memory");
		e->profiles_count = 1;
	}
	for (unsigned i = 0; i < e->profiles_count; i++) {
		if (check_profile(e, i, at) < 0)
			return -1;
	}
	return 0;
}

/* The profile that a way in uses; "" is the first. */
static int resolve_profile(struct enroll_section *e, char **name, unsigned *index, const char *key, const struct config_place *at)
{
	if ((*name)[0] == '\0') {
		free(*name);
		*name = strdup(e->profiles[0].name);
		if (*name == NULL)
			return config_refuse(at, key, "out of memory");
	}
	for (unsigned i = 0; i < e->profiles_count; i++) {
		if (strcmp(e->profiles[i].name, *name) == 0) {
			*index = i;
			return 0;
		}
	}
	return config_refuse(at, key, "\"%s\" is not in enroll.profiles", *name);
}

static int check_scep(struct enroll_section *e, const struct config_place *at)
{
	static const char *const kinds[] = { "one-time", "static", "ndes", "webhook", NULL };
	struct enroll_scep *s = &e->scep;
	int kind;

	if (config_fill(s, scep_rows, "enroll.scep", at) < 0 || resolve_profile(e, &s->profile, &s->profile_index, "enroll.scep.profile", at) < 0)
		return -1;
	s->enabled = given(s->enabled_given);
	s->des3 = given(s->des3_given);
	kind = config_choice(s->challenge, kinds, "enroll.scep.challenge", at);
	if (kind < 0)
		return -1;
	s->challenge_kind = (enum enroll_challenge)kind;
	if (s->challenge_kind == CHALLENGE_STATIC && s->static_file[0] == '\0')
		return config_refuse(at, "enroll.scep.static_file", "is missing: challenge static needs the file with the challenge");
	if (s->challenge_kind == CHALLENGE_WEBHOOK && !text_starts_nocase(strv_from(s->webhook_url), STRV("https://")))
		return config_refuse(at, "enroll.scep.webhook_url", "expected an https:// URL: challenge webhook asks it");
	if (s->challenge_kind == CHALLENGE_WEBHOOK && s->webhook_token_file[0] == '\0')
		return config_refuse(at, "enroll.scep.webhook_token_file", "is missing: the webhook has to know who asks");
	if (s->challenge_kind == CHALLENGE_NDES && !e->ndes.enabled)
		return config_refuse(at, "enroll.scep.challenge", "ndes needs enroll.ndes.enabled: true");
	return 0;
}

/* Devices refuse a whole profile for one value that they do not know. */
static int check_apple(struct enroll_section *e, const struct config_place *at)
{
	static const char *const kinds[] = { "exchange", "online", NULL };
	uint32_t days = e->mail.past_days;
	int kind;

	if (config_fill(&e->apple, apple_rows, "enroll.apple", at) < 0)
		return -1;
	kind = config_choice(e->apple.mail, kinds, "enroll.apple.mail", at);
	if (kind < 0)
		return -1;
	e->apple.mail_kind = (enum enroll_apple_mail)kind;
	if (days != 0 && days != 1 && days != 3 && days != 7 && days != 14 && days != 31)
		return config_refuse(at, "enroll.mail.past_days", "%u: expected 0 (all), 1, 3, 7, 14 or 31", days);
	if (e->mail.host[0] != '\0' && strpbrk(e->mail.host, "/ @?#") != NULL)
		return config_refuse(at, "enroll.mail.host", "\"%s\": expected a host name without scheme and path", e->mail.host);
	return 0;
}

static int check_mdm(struct enroll_mdm *m, const struct config_place *at)
{
	static const char *const actions[] = { "revoke", "hold", NULL };
	int action;

	if (config_fill(m, mdm_rows, "enroll.mdm", at) < 0 || (action = config_choice(m->action, actions, "enroll.mdm.action", at)) < 0)
		return -1;
	m->hold = action == 1;
	if (m->enabled && m->secret_file[0] == '\0')
		return config_refuse(at, "enroll.mdm.secret_file", "is missing: expected a file of one line, NAME:PASSWORD");
	return 0;
}

static int check_ways_in(struct enroll_section *e, const struct config_place *at)
{
	struct address address;

	if (config_fill(&e->ndes, ndes_rows, "enroll.ndes", at) < 0 || check_scep(e, at) < 0 || check_mdm(&e->mdm, at) < 0)
		return -1;
	if (e->ndes.enabled && e->ndes.group[0] == '\0')
		return config_refuse(at, "enroll.ndes.group", "is missing: expected the DN of the group whose members may fetch challenges");
	if (config_fill(&e->est, est_rows, "enroll.est", at) < 0 ||
	    resolve_profile(e, &e->est.profile, &e->est.profile_index, "enroll.est.profile", at) < 0)
		return -1;
	e->est.enabled = given(e->est.enabled_given);
	if (config_fill(&e->portal, portal_rows, "enroll.portal", at) < 0 ||
	    config_fill(&e->secrets, secrets_rows, "enroll.secrets", at) < 0 || config_fill(&e->mail, mail_rows, "enroll.mail", at) < 0 ||
	    check_apple(e, at) < 0 || config_fill(&e->admin, admin_rows, "enroll.admin", at) < 0 ||
	    config_fill(&e->limits, limits_rows, "enroll.limits", at) < 0)
		return -1;
	if (e->portal.idle_seconds > e->portal.session_seconds)
		return config_refuse(at, "enroll.portal.idle_seconds", "%u: expected at most session_seconds (%u)", e->portal.idle_seconds, e->portal.session_seconds);
	if (e->limits.bodies_bytes < e->limits.body_bytes)
		return config_refuse(at, "enroll.limits.bodies_bytes", "%u: expected at least body_bytes (%u)", e->limits.bodies_bytes, e->limits.body_bytes);
	if (e->admin.address[0] != '\0' && address_parse(strv_from(e->admin.address), &address) < 0)
		return config_refuse(at, "enroll.admin.address", "\"%s\" is no address: expected such as 127.0.0.1:9181", e->admin.address);
	return 0;
}

/* Equal groups share a bit. */
static int resolve_groups(struct enroll_settings *s, const struct config_place *at)
{
	struct enroll_section *e = &s->enroll;
	const char *groups[ENROLL_GROUPS_MAX + 1];
	unsigned n = enroll_settings_groups(s, groups);

	if (n > ENROLL_GROUPS_MAX)
		return config_refuse(at, "enroll", "more than %d different groups, those of the policies of proxy: included", ENROLL_GROUPS_MAX);
	if (config_groups(&s->common.directory, groups, n, "enroll", at) < 0)
		return -1;
	for (unsigned bit = 0; bit < n; bit++) {
		if (strcmp(groups[bit], e->portal.required_group) == 0)
			e->portal.required_bit = bit;
		if (strcmp(groups[bit], e->portal.admin_group) == 0)
			e->portal.admin_bit = bit;
		if (strcmp(groups[bit], e->ndes.group) == 0)
			e->ndes.group_bit = bit;
		for (unsigned i = 0; i < e->profiles_count; i++) {
			if (strcmp(groups[bit], e->profiles[i].required_group) == 0)
				e->profiles[i].group_bit = bit;
		}
		for (unsigned i = 0; i < e->migration.all_n; i++) {
			if (strcmp(groups[bit], e->migration.all[i].dn) == 0)
				e->migration.all[i].bit = bit;
		}
	}
	return 0;
}

static unsigned add_group(const char **groups, unsigned n, const char *group)
{
	unsigned k = 0;

	if (n > ENROLL_GROUPS_MAX || group[0] == '\0')
		return n;
	while (k < n && strcmp(groups[k], group) != 0)
		k++;
	if (k < n)
		return n;
	if (n < ENROLL_GROUPS_MAX)
		groups[n] = group;
	return n + 1;
}

unsigned enroll_settings_groups(const struct enroll_settings *s, const char **groups)
{
	const struct enroll_section *e = &s->enroll;
	unsigned n = 0;

	n = add_group(groups, n, e->portal.required_group);
	n = add_group(groups, n, e->portal.admin_group);
	n = add_group(groups, n, e->ndes.group);
	for (unsigned i = 0; i < e->profiles_count; i++)
		n = add_group(groups, n, e->profiles[i].required_group);
	for (unsigned i = 0; i < e->migration.all_n; i++)
		n = add_group(groups, n, e->migration.all[i].dn);
	return n;
}

const struct enroll_profile *enroll_profile_find(const struct enroll_settings *s, const char *name)
{
	for (unsigned i = 0; i < s->enroll.profiles_count; i++) {
		if (strcmp(s->enroll.profiles[i].name, name) == 0)
			return &s->enroll.profiles[i];
	}
	return NULL;
}

static int check_enroll(struct enroll_settings *s, const struct config_place *at)
{
	struct enroll_section *e = &s->enroll;

	if (config_fill(e, section_rows, "enroll", at) < 0 || check_listeners(e, at) < 0 || check_urls(e, at) < 0 || check_ca(s, at) < 0)
		return -1;
	if (fill_path(&e->registry, &s->common, "enroll/registry.db") < 0)
		return config_refuse(at, "state_dir", "is too long");
	if (check_profiles(e, at) < 0 || check_ways_in(e, at) < 0 || enroll_settings_migration(e, at) < 0)
		return -1;
	return resolve_groups(s, at);
}

struct enroll_settings *enroll_settings_load(const char *name, struct strv text, struct config_error *error)
{
	cyaml_data_t *data = NULL;
	struct enroll_settings *s;
	struct config_place at = { name, text, error };

	if (config_load(name, text, &enroll_settings_schema, &data, error) < 0)
		return NULL;
	s = data;
	s->name = strdup(name);
	s->text = malloc(text.n + 1);
	if (s->name == NULL || s->text == NULL) {
		snprintf(error->text, sizeof(error->text), "%s: out of memory", name);
		goto failed;
	}
	memcpy(s->text, text.p, text.n);
	s->text[text.n] = '\0';
	s->text_n = text.n;
	at.text = (struct strv){ s->text, s->text_n };
	if (config_check_common(&s->common, name, at.text, error) < 0 || check_enroll(s, &at) < 0)
		goto failed;
	return s;
failed:
	enroll_settings_free(s);
	return NULL;
}

void enroll_settings_free(struct enroll_settings *s)
{
	if (s == NULL)
		return;
	free(s->text);
	free(s->name);
	free(s->enroll.ca.index);
	for (unsigned i = 0; i < s->enroll.migration.all_n; i++)
		free(s->enroll.migration.all[i].dn);
	free(s->enroll.migration.all);
	s->enroll.migration.all = NULL;
	s->enroll.migration.all_n = 0;
	s->text = s->name = s->enroll.ca.index = NULL;
	config_release(&enroll_settings_schema, s);
}
