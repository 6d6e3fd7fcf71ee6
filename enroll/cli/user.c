/*
 * user: `easenroll user list | show | revoke`, `easenroll secret add | list | revoke`, `easenroll status`: the admin API's words. Runs alone.
 */
#include <stdio.h>

#include "enroll/cli/local.h"

#define SECRETS "/api/admin/secrets"

const char cli_user_usage[] =
    "  easenroll user list [TEXT]                  accounts that have been here\n"
    "  easenroll user show SID                     the account's devices\n"
    "  easenroll user revoke SID [--reason WORD]   every certificate of every device\n";

static int usage_user(void)
{
	fputs(cli_user_usage, stderr);
	return 2;
}

static const char narrower[] = "name a part of the name, or an --account";

static int list_users(const struct cli *c, const char *text)
{
	static const char *const keys[] = { "sid", "name", "upn", "mail", "display_name", "last_seen" };
	static const char *const titles[] = { "SID", "NAME", "UPN", "MAIL", "DISPLAY NAME", "LAST SEEN" };
	char path[2048] = "/api/admin/accounts?limit=500&text=";

	if (local_escape(path, sizeof(path), text) < 0)
		return usage_user();
	return local_tell_list(c, local_do(c->settings, "GET", path, NULL), "accounts", keys, titles, ARRAY_LEN(keys), narrower);
}

static int show_user(const struct cli *c, const char *sid)
{
	static const char *const keys[] = { "id", "name", "kind", "state", "created", "last_seen" };
	static const char *const titles[] = { "ID", "NAME", "KIND", "STATE", "CREATED", "LAST SEEN" };
	char path[1024] = "/api/admin/devices?limit=500&sid=";

	if (local_escape(path, sizeof(path), sid) < 0)
		return usage_user();
	return local_tell_list(c, local_do_to(c->settings, "GET", path, NULL, sid, "easenroll user list"), "devices", keys, titles, ARRAY_LEN(keys), narrower);
}

static int revoke_user(const struct cli *c, const char *sid, const char *reason)
{
	char path[1024] = "/api/admin/accounts/";
	json_t *body;
	size_t n;

	if (local_escape(path, 900, sid) < 0)
		return usage_user();
	n = strlen(path);
	snprintf(path + n, sizeof(path) - n, "/revoke");
	body = json_object();
	if (reason != NULL)
		(void)json_object_set_new(body, "reason", json_string(reason));
	return local_tell(c, local_do_to(c->settings, "POST", path, body, sid, "easenroll user list"));
}

int cli_user(const struct cli *c)
{
	int argc = c->argc;
	bool bad = false;
	const char *reason = cli_option(&argc, c->argv, "--reason", &bad);

	if (bad || argc < 1 || (reason != NULL && strcmp(c->argv[0], "revoke") != 0))
		return usage_user();
	if (strcmp(c->argv[0], "list") == 0 && argc <= 2)
		return list_users(c, argc == 2 ? c->argv[1] : "");
	if (strcmp(c->argv[0], "show") == 0 && argc == 2)
		return show_user(c, c->argv[1]);
	if (strcmp(c->argv[0], "revoke") == 0 && argc == 2)
		return revoke_user(c, c->argv[1], reason);
	return usage_user();
}

/* --- secrets --- */

const char cli_secret_usage[] =
    "  easenroll secret add --account NAME [--device ID] [--purpose scep|est] [--profile NAME]\n"
    "                       a one-time secret, shown this once\n"
    "  easenroll secret list [--account SID]   what was given out, never what they are\n"
    "  easenroll secret revoke ID              ends an unused one early\n";

static int usage_secret(void)
{
	fputs(cli_secret_usage, stderr);
	return 2;
}

static int list_secrets(const struct cli *c, const char *account)
{
	static const char *const keys[] = { "id", "owner.name", "device", "profile", "purpose", "state", "made", "ends" };
	static const char *const titles[] = { "ID", "OWNER", "DEVICE", "PROFILE", "PURPOSE", "STATE", "MADE", "ENDS" };
	char path[1024] = SECRETS "?limit=500&sid=";

	if (local_escape(path, sizeof(path), account) < 0)
		return usage_secret();
	return local_tell_list(c, local_do_to(c->settings, "GET", path, NULL, account, "easenroll user list"), "secrets", keys, titles, ARRAY_LEN(keys), narrower);
}

static int revoke_secret(const struct cli *c, const char *id)
{
	char path[1024] = SECRETS "/";
	size_t n;

	if (local_escape(path, 900, id) < 0)
		return usage_secret();
	n = strlen(path);
	snprintf(path + n, sizeof(path) - n, "/revoke");
	return local_tell(c, local_do_to(c->settings, "POST", path, json_object(), id, "easenroll secret list"));
}

int cli_secret(const struct cli *c)
{
	static const char *const names[] = { "account", "device", "purpose", "profile" };
	const char *given[ARRAY_LEN(names)];
	json_t *body;
	int argc = c->argc;
	bool bad = false;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char option[16];
		snprintf(option, sizeof(option), "--%s", names[i]);
		given[i] = cli_option(&argc, c->argv, option, &bad);
	}
	if (!bad && argc == 1 && strcmp(c->argv[0], "list") == 0 && !cli_any(given + 1, ARRAY_LEN(given) - 1))
		return list_secrets(c, given[0] != NULL ? given[0] : "");
	if (!bad && argc == 2 && strcmp(c->argv[0], "revoke") == 0 && !cli_any(given, ARRAY_LEN(given)))
		return revoke_secret(c, c->argv[1]);
	if (bad || argc != 1 || strcmp(c->argv[0], "add") != 0 || given[0] == NULL)
		return usage_secret();
	body = json_object();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (given[i] != NULL)
			(void)json_object_set_new(body, names[i], json_string(given[i]));
	}
	return local_tell(c, local_do_to(c->settings, "POST", SECRETS, body, given[0], "easenroll user list, easenroll device list"));
}

/* --- status --- */

const char cli_status_usage[] =
    "  easenroll status [--json]   whether it serves, and what there is; exit status 1 where it does not\n";

int cli_status(const struct cli *c)
{
	unsigned status;
	json_t *ready, *state;
	const char *text;

	if (c->argc > 0) {
		fputs(cli_status_usage, stderr);
		return 2;
	}
	ready = local_ask(c->settings, "GET", "/readyz", NULL, &status);
	text = json_string_value(json_object_get(ready, "text"));
	if (ready == NULL)
		return 1;
	state = local_do(c->settings, "GET", "/api/admin/state", NULL);
	if (c->json) {
		json_t *all = json_pack("{s:b,s:O,s:O}", "ready", status == 200, "readiness", json_object_get(ready, "text"), "state", state != NULL ? state : ready);
		local_json(all);
		json_decref(all);
	} else {
		printf("easenroll %s\n\n%s\n", EASGATE_VERSION, text != NULL ? text : "");
		local_facts(json_object_get(state, "facts"));
	}
	json_decref(state);
	json_decref(ready);
	return status == 200 ? 0 : 1;
}
