/*
 * ping: Ping, held until a mail comes or the heartbeat is over ([MS-ASCMD] 2.2.1.13).
 * A folder that the device has not synchronised yet is watched from the moment of the Ping.
 * Part of the sample mail server, which runs as one process.
 */
#include "commands.h"

#define SPACE "Ping:"

/* [MS-ASCMD] 2.2.3.177.11 */
enum {
	PING_EXPIRED = 1,
	PING_CHANGES = 2,
	PING_INCOMPLETE = 3,
	PING_MALFORMED = 4,
	PING_HEARTBEAT = 5,
	PING_NO_FOLDER = 7,
	PING_SERVER_ERROR = 8,
};

/* Reads the folders to watch as bits. Returns a status, 0 if all is well. */
static uint32_t read_folders(const xmlNode *folders, unsigned *out)
{
	const xmlNode *one = xml_child(folders, "Folder");
	unsigned bits = 0;

	if (one == NULL)
		return PING_MALFORMED;
	for (; one != NULL; one = xml_next(one, "Folder")) {
		char id[EAS_TEXT_MAX + 1];
		enum folder_id folder;

		if (!xml_text(one, "Id", id, sizeof(id)))
			return PING_MALFORMED;
		folder = folder_parse(id);
		if (folder == FOLDER_NONE)
			return PING_NO_FOLDER;
		bits |= 1u << folder;
	}
	*out = bits;
	return 0;
}

/*
 * What is left out of a Ping is as in the device's last one; an empty body leaves out all.
 * Nothing is remembered of a Ping that is refused.
 */
static uint32_t read_request(struct call *c)
{
	const xmlNode *root = command_root(c, "Ping");
	uint32_t heartbeat = c->device->heartbeat, rc;
	unsigned folders = c->device->ping_folders;

	if (c->doc != NULL && root == NULL)
		return PING_MALFORMED;
	if (xml_child(root, "HeartbeatInterval") != NULL) {
		if (!xml_number(root, "HeartbeatInterval", UINT32_MAX, &heartbeat))
			return PING_MALFORMED;
		if (heartbeat < HEARTBEAT_MIN || heartbeat > HEARTBEAT_MAX)
			return PING_HEARTBEAT;
	}
	if (xml_child(root, "Folders") != NULL) {
		rc = read_folders(xml_child(root, "Folders"), &folders);
		if (rc != 0)
			return rc;
	}
	if (heartbeat == 0 || folders == 0)
		return PING_INCOMPLETE;
	c->device->heartbeat = heartbeat;
	c->device->ping_folders = folders;
	return 0;
}

/* Makes the state of a folder never synchronised: the device has all that is there now. */
static bool watch_from_now(struct call *c, enum folder_id folder)
{
	struct sync_state *s = c->device->sync[folder];
	const struct message *m;

	if (s != NULL)
		return true;
	s = device_sync_start(c->device, folder);
	if (s == NULL)
		return false;
	TAILQ_FOREACH(m, &c->account->mailbox.folders[folder].messages, entry)
		snapshot_add(&s->now, m);
	return true;
}

/* Bits of the watched folders that differ from what the device has. */
static unsigned changed_folders(const struct call *c, unsigned watched)
{
	unsigned changed = 0;

	for (int f = FOLDER_INBOX; f < FOLDERS; f++)
		if ((watched & 1u << f) != 0 && c->device->sync[f] != NULL &&
		    snapshot_changes(&c->device->sync[f]->now, &c->account->mailbox.folders[f]) > 0)
			changed |= 1u << f;
	return changed;
}

static int answer_changes(struct call *c, unsigned changed)
{
	struct xml_out *o = &c->out;

	xml_out_begin(o, "Ping", SPACE);
	xml_leaf_number(o, "Status", NULL, PING_CHANGES);
	xml_open(o, "Folders", NULL);
	for (uint32_t f = FOLDER_INBOX; f < FOLDERS; f++)
		if ((changed & 1u << f) != 0)
			xml_leaf_number(o, "Folder", NULL, f);
	xml_close(o);
	return 200;
}

static int answer_heartbeat(struct call *c)
{
	uint32_t asked = 0;

	xml_number(command_root(c, "Ping"), "HeartbeatInterval", UINT32_MAX, &asked);
	xml_out_begin(&c->out, "Ping", SPACE);
	xml_leaf_number(&c->out, "Status", NULL, PING_HEARTBEAT);
	xml_leaf_number(&c->out, "HeartbeatInterval", NULL,
	    asked < HEARTBEAT_MIN ? HEARTBEAT_MIN : HEARTBEAT_MAX);
	return 200;
}

int command_ping(struct call *c)
{
	unsigned changed;
	uint32_t rc;

	if (c->superseded)
		return command_status(c, "Ping", SPACE, PING_EXPIRED);
	if (c->deadline == 0) {
		rc = read_request(c);
		if (rc == PING_HEARTBEAT)
			return answer_heartbeat(c);
		if (rc != 0)
			return command_status(c, "Ping", SPACE, rc);
	}
	for (enum folder_id f = FOLDER_INBOX; f < FOLDERS; f++)
		if ((c->device->ping_folders & 1u << f) != 0 && !watch_from_now(c, f))
			return command_status(c, "Ping", SPACE, PING_SERVER_ERROR);
	changed = changed_folders(c, c->device->ping_folders);
	if (changed != 0)
		return answer_changes(c, changed);
	if (c->expired)
		return command_status(c, "Ping", SPACE, PING_EXPIRED);
	return call_hold(c, c->device->heartbeat);
}
