/*
 * commands: the table of handlers, and what several of them need.
 * Decides nothing about any command.
 * Part of the sample mail server, which runs as one process.
 */
#include "commands.h"

call_fn *command_handler(enum eas_command command)
{
	static call_fn *const handlers[EAS_COMMANDS] = {
		[EAS_SYNC] = command_sync,
		[EAS_SEND_MAIL] = command_send_mail,
		[EAS_FOLDER_SYNC] = command_folder_sync,
		[EAS_MOVE_ITEMS] = command_move_items,
		[EAS_GET_ITEM_ESTIMATE] = command_get_item_estimate,
		[EAS_SEARCH] = command_search,
		[EAS_SETTINGS] = command_settings,
		[EAS_PING] = command_ping,
		[EAS_PROVISION] = command_provision,
	};

	return (unsigned)command < EAS_COMMANDS ? handlers[command] : NULL;
}

const xmlNode *command_root(const struct call *c, const char *name)
{
	const xmlNode *root = c->doc == NULL ? NULL : xmlDocGetRootElement(c->doc);

	return xml_is(root, name) ? root : NULL;
}

int command_status(struct call *c, const char *name, const char *space, uint32_t status)
{
	xml_out_begin(&c->out, name, space);
	xml_leaf_number(&c->out, "Status", NULL, status);
	return 200;
}
