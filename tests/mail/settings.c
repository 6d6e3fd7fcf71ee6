/*
 * settings: Settings and Search: who am I, this is my device, who else is here.
 * Keeps nothing of what it is told.
 * Part of the sample mail server, which runs as one process.
 */
#include "commands.h"

#include <string.h>
#include <strings.h>

#define SPACE "Settings:"

enum { SETTINGS_OK = 1, SETTINGS_MALFORMED = 2, SETTINGS_DENIED = 3 };

static void answer_user(struct call *c)
{
	struct xml_out *o = &c->out;
	bool accounts = c->query.version >= 141;

	xml_open(o, "UserInformation", NULL);
	xml_leaf_number(o, "Status", NULL, SETTINGS_OK);
	xml_open(o, "Get", NULL);
	if (accounts) {
		xml_open(o, "Accounts", NULL);
		xml_open(o, "Account", NULL);
	}
	xml_open(o, "EmailAddresses", NULL);
	xml_leaf(o, "SmtpAddress", NULL, c->account->address);
	if (accounts)
		xml_leaf(o, "PrimarySmtpAddress", NULL, c->account->address);
	xml_close(o);
	if (accounts) {
		xml_close(o);
		xml_close(o);
	}
	xml_close(o);
	xml_close(o);
}

static void answer_oof(struct call *c, const xmlNode *node)
{
	bool get = xml_child(node, "Get") != NULL;

	xml_open(&c->out, "Oof", NULL);
	xml_leaf_number(&c->out, "Status", NULL, get ? SETTINGS_OK : SETTINGS_DENIED);
	if (get) {
		xml_open(&c->out, "Get", NULL);
		xml_leaf(&c->out, "OofState", NULL, "0");
		xml_close(&c->out);
	}
	xml_close(&c->out);
}

int command_settings(struct call *c)
{
	const xmlNode *one = xml_first(command_root(c, "Settings"));

	if (one == NULL)
		return command_status(c, "Settings", SPACE, SETTINGS_MALFORMED);
	xml_out_begin(&c->out, "Settings", SPACE);
	xml_leaf_number(&c->out, "Status", NULL, SETTINGS_OK);
	for (; one != NULL; one = xml_next(one, NULL)) {
		if (xml_is(one, "UserInformation") && xml_child(one, "Get") != NULL) {
			answer_user(c);
		} else if (xml_is(one, "DeviceInformation") && xml_child(one, "Set") != NULL) {
			xml_open(&c->out, "DeviceInformation", NULL);
			xml_leaf_number(&c->out, "Status", NULL, SETTINGS_OK);
			xml_close(&c->out);
		} else if (xml_is(one, "Oof")) {
			answer_oof(c, one);
		} else {
			return command_status(c, "Settings", SPACE, SETTINGS_MALFORMED);
		}
	}
	return 200;
}

/* [MS-ASCMD] 2.2.3.177.13 */
enum { SEARCH_OK = 1, SEARCH_MALFORMED = 2, SEARCH_TOO_COMPLEX = 8 };
#define SEARCH_MAX 100

static void write_found(struct xml_out *o, const struct account *account)
{
	xml_open(o, "Result", NULL);
	xml_open(o, "Properties", NULL);
	xml_leaf(o, "DisplayName", "Gal:", account->name);
	xml_leaf(o, "EmailAddress", "Gal:", account->address);
	xml_close(o);
	xml_close(o);
}

/* The global address list is everybody who has an account here. */
static void search_gal(struct call *c, const char *query)
{
	struct xml_out *o = &c->out;
	uint32_t found = 0;
	char range[32];

	xml_leaf_number(o, "Status", NULL, SEARCH_OK);
	for (struct account *a = NULL; (a = accounts_next(c->env->accounts, a)) != NULL;)
		if (found < SEARCH_MAX && strcasestr(a->address, query) != NULL) {
			write_found(o, a);
			found++;
		}
	if (found == 0)
		xml_empty(o, "Result", NULL);
	snprintf(range, sizeof(range), "0-%u", found == 0 ? 0 : found - 1);
	if (found > 0)
		xml_leaf(o, "Range", NULL, range);
	xml_leaf_number(o, "Total", NULL, found);
}

int command_search(struct call *c)
{
	const xmlNode *store = xml_child(command_root(c, "Search"), "Store");
	struct xml_out *o = &c->out;
	char name[EAS_TEXT_MAX + 1], query[ACCOUNT_NAME_MAX + 1];

	if (!xml_text(store, "Name", name, sizeof(name)))
		return command_status(c, "Search", "Search:", SEARCH_MALFORMED);
	xml_out_begin(o, "Search", "Search:");
	xml_leaf_number(o, "Status", NULL, SEARCH_OK);
	xml_open(o, "Response", NULL);
	xml_open(o, "Store", NULL);
	if (strcmp(name, "GAL") != 0)
		xml_leaf_number(o, "Status", NULL, SEARCH_TOO_COMPLEX);
	else if (!xml_text(store, "Query", query, sizeof(query)) || query[0] == '\0')
		xml_leaf_number(o, "Status", NULL, SEARCH_MALFORMED);
	else
		search_gal(c, query);
	xml_close(o);
	xml_close(o);
	return 200;
}
