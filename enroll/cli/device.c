/*
 * device: `easenroll device list | show | add | approve | reject | revoke | hold | release | waiting | block | forget`: the admin API's words. Runs alone.
 */
#include <stdio.h>

#include "enroll/cli/local.h"

#define PATH "/api/admin/devices"

const char cli_device_usage[] =
    "  easenroll device list [TEXT] [--state STATE]         devices whose name or owner has this text; STATE: waiting, active or revoked\n"
    "  easenroll device show ID\n"
    "  easenroll device add --account NAME --kind KIND NAME  KIND: iphone, ipad, mac, android, windows or other\n"
    "  easenroll device approve ID                          one that waits gets its certificate\n"
    "  easenroll device reject ID                           one that waits gets none\n"
    "  easenroll device revoke ID [--reason WORD]           WORD: lost, key-compromise, superseded, cessation, ...\n"
    "  easenroll device hold ID                             until `release`\n"
    "  easenroll device release ID\n"
    "  easenroll device waiting                             new ones that a proxy keeps in quarantine, by their KEY\n"
    "  easenroll device release KEY | block KEY | forget KEY  lets it in, shuts it out, or lets it come as a new one\n";

static int usage(void)
{
	fputs(cli_device_usage, stderr);
	return 2;
}

static void print_device(const json_t *device)
{
	static const char *const keys[] = { "serial", "profile", "state", "not_before", "not_after", "revoked" };
	static const char *const titles[] = { "SERIAL", "PROFILE", "STATE", "FROM", "UNTIL", "REVOKED" };
	const json_t *certificates = json_object_get(device, "certificates"), *owner = json_object_get(device, "owner");

	local_facts(device);
	if (owner != NULL) {
		local_fact("owner", json_string_value(json_object_get(owner, "name")));
		local_fact("owner's SID", json_string_value(json_object_get(owner, "sid")));
	}
	if (json_array_size(certificates) > 0) {
		putchar('\n');
		local_table(certificates, keys, titles, ARRAY_LEN(keys));
	}
}

static int list(const struct cli *c, const char *text, const char *state)
{
	static const char *const keys[] = { "id", "owner.name", "name", "kind", "state", "created", "last_sync", "last_method" };
	static const char *const titles[] = { "ID", "OWNER", "NAME", "KIND", "STATE", "CREATED", "LAST SYNC", "METHOD" };
	char path[2048] = PATH "?limit=500&text=";

	if (local_escape(path, sizeof(path) - 256, text) < 0)
		return usage();
	if (state != NULL)
		memcpy(path + strlen(path), "&state=", sizeof("&state="));
	if (state != NULL && local_escape(path, sizeof(path), state) < 0)
		return usage();
	return local_tell_list(c, local_do(c->settings, "GET", path, NULL), "devices", keys, titles, ARRAY_LEN(keys),
	    "name a part of the device's or its owner's name, or a --state");
}

static int tell(const struct cli *c, json_t *answer)
{
	const json_t *n = json_object_get(answer, "certificates");

	if (answer == NULL)
		return 1;
	if (c->json)
		local_json(answer);
	else
		print_device(json_object_get(answer, "device"));
	if (!c->json && json_is_integer(n))
		printf("%-16s %lld\n", "certificates", (long long)json_integer_value(n));
	json_decref(answer);
	return 0;
}

static int act(const struct cli *c, const char *word, const char *id, const char *reason)
{
	char path[512] = PATH "/";
	bool show = strcmp(word, "show") == 0;
	json_t *body;
	size_t n;

	if (local_escape(path, 256, id) < 0)
		return usage();
	if (show)
		return tell(c, local_do_to(c->settings, "GET", path, NULL, id, "easenroll device list"));
	n = strlen(path);
	snprintf(path + n, sizeof(path) - n, "/%s", word);
	body = json_object();
	if (reason != NULL)
		(void)json_object_set_new(body, "reason", json_string(reason));
	return tell(c, local_do_to(c->settings, "POST", path, body, id, "easenroll device list"));
}

/* --- records of proxies --- */

#define RECORDS	   "/api/admin/records"
#define KEY_DIGITS 64

static int waiting(const struct cli *c)
{
	static const char *const keys[] = { "key", "upn", "device", "device_type", "method", "first_seen", "client" };
	static const char *const titles[] = { "KEY", "USER", "DEVICE", "TYPE", "METHOD", "FIRST SEEN", "FROM" };

	return local_tell_list(c, local_do(c->settings, "GET", RECORDS "?limit=500", NULL), "records", keys, titles, ARRAY_LEN(keys),
	    "release or block some of these first");
}

static int act_on_record(const struct cli *c, const char *word, const char *key)
{
	char path[256] = RECORDS "/";
	size_t n;

	if (local_escape(path, 200, key) < 0)
		return usage();
	n = strlen(path);
	snprintf(path + n, sizeof(path) - n, "/%s", word);
	return local_tell(c, local_do_to(c->settings, "POST", path, json_object(), key, "easenroll device waiting, easenroll migration report"));
}

int cli_device(const struct cli *c)
{
	static const char *const on_records[] = { "release", "block", "forget" };	/* release: of a device of the registry, or of a record */
	static const char *const acts[] = { "show", "approve", "reject", "revoke", "hold", "release" };
	int argc = c->argc;
	bool bad = false;
	const char *reason = cli_option(&argc, c->argv, "--reason", &bad), *account = cli_option(&argc, c->argv, "--account", &bad);
	const char *kind = cli_option(&argc, c->argv, "--kind", &bad), *state = cli_option(&argc, c->argv, "--state", &bad);
	char **argv = c->argv;
	bool is_list, is_add, takes_reason;

	if (bad || argc < 1)
		return usage();
	is_list = strcmp(argv[0], "list") == 0;
	is_add = strcmp(argv[0], "add") == 0;
	takes_reason = strcmp(argv[0], "revoke") == 0;
	/* an option that would be passed over is a mistake of whoever gives it */
	if ((state != NULL && !is_list) || (!is_add && (account != NULL || kind != NULL)) || (reason != NULL && !takes_reason))
		return usage();
	if (is_list && argc <= 2)
		return list(c, argc == 2 ? argv[1] : "", state);
	if (is_add && argc == 2 && account != NULL)
		return tell(c, local_do_to(c->settings, "POST", PATH, json_pack("{s:s,s:s,s:s}", "account", account, "kind", kind != NULL ? kind : "other", "name", argv[1]), account,
		    "its user name, UPN or SID as the directory has it"));
	if (strcmp(argv[0], "waiting") == 0 && argc == 1)
		return waiting(c);
	for (size_t i = 0; i < ARRAY_LEN(on_records) && argc == 2; i++) {
		if (strcmp(argv[0], on_records[i]) == 0 && (i > 0 || strlen(argv[1]) == KEY_DIGITS))
			return act_on_record(c, argv[0], argv[1]);
	}
	for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
		if (strcmp(argv[0], acts[i]) == 0 && argc == 2)
			return act(c, acts[i], argv[1], reason);
	}
	return usage();
}
