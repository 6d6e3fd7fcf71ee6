/*
 * commands: the ActiveSync commands that this server knows ([MS-ASCMD], [MS-ASPROV]).
 * Each handler reads c->doc, works on c->account and c->device, writes c->out, and returns an
 * HTTP status or CALL_HELD (call.h).
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_COMMANDS_H
#define MAIL_COMMANDS_H

#include "call.h"

#define EAS_VERSIONS "2.5,12.0,12.1,14.0,14.1,16.0,16.1"
#define EAS_COMMAND_NAMES "Sync,SendMail,FolderSync,MoveItems,GetItemEstimate,Search,Settings," \
	"Ping,Provision"

#define HEARTBEAT_MIN 1         /* seconds; short ones are for tests */
#define HEARTBEAT_MAX 3540

/* NULL: a command that exists, but not here. */
call_fn *command_handler(enum eas_command command);

/* The root element of the request if it is called `name`, else NULL. */
const xmlNode *command_root(const struct call *c, const char *name);

/* The whole answer: root element `name` with one Status. Returns 200. */
int command_status(struct call *c, const char *name, const char *space, uint32_t status);

call_fn command_folder_sync, command_get_item_estimate, command_move_items, command_ping,
    command_provision, command_search, command_send_mail, command_settings, command_sync;

#endif
