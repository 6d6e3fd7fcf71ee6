/*
 * folders: FolderSync, GetItemEstimate and MoveItems.
 * The folders are always the same four, so a hierarchy has one SyncKey, 1.
 * Part of the sample mail server, which runs as one process.
 */
#include "commands.h"
#include "item.h"

/* [MS-ASCMD] 2.2.3.177.5 and 2.2.3.186.3 */
static const struct { enum folder_id id; const char *name; uint32_t type; } shown[] = {
	{ FOLDER_INBOX, "Inbox", 2 },
	{ FOLDER_DRAFTS, "Drafts", 3 },
	{ FOLDER_SENT, "Sent", 5 },
	{ FOLDER_TRASH, "Trash", 4 },
};

enum { FOLDER_SYNC_OK = 1, FOLDER_SYNC_BAD_KEY = 9, FOLDER_SYNC_MALFORMED = 10 };

int command_folder_sync(struct call *c)
{
	const xmlNode *root = command_root(c, "FolderSync");
	struct xml_out *o = &c->out;
	uint32_t key;

	if (root == NULL || xml_child(root, "SyncKey") == NULL)
		return command_status(c, "FolderSync", "FolderHierarchy:", FOLDER_SYNC_MALFORMED);
	if (!xml_number(root, "SyncKey", 1, &key))
		return command_status(c, "FolderSync", "FolderHierarchy:", FOLDER_SYNC_BAD_KEY);
	xml_out_begin(o, "FolderSync", "FolderHierarchy:");
	xml_leaf_number(o, "Status", NULL, FOLDER_SYNC_OK);
	xml_leaf(o, "SyncKey", NULL, "1");
	xml_open(o, "Changes", NULL);
	xml_leaf_number(o, "Count", NULL, key == 0 ? FOLDERS - 1 : 0);
	for (size_t i = 0; key == 0 && i < sizeof(shown) / sizeof(shown[0]); i++) {
		xml_open(o, "Add", NULL);
		xml_leaf_number(o, "ServerId", NULL, shown[i].id);
		xml_leaf(o, "ParentId", NULL, "0");
		xml_leaf(o, "DisplayName", NULL, shown[i].name);
		xml_leaf_number(o, "Type", NULL, shown[i].type);
		xml_close(o);
	}
	xml_close(o);
	return 200;
}

enum { ESTIMATE_OK = 1, ESTIMATE_BAD_FOLDER = 2, ESTIMATE_NOT_PRIMED = 3, ESTIMATE_BAD_KEY = 4 };

static void estimate_one(struct call *c, const xmlNode *collection)
{
	struct xml_out *o = &c->out;
	char id[EAS_TEXT_MAX + 1] = "";
	enum folder_id folder = FOLDER_NONE;
	const struct sync_state *s = NULL;
	uint32_t status = ESTIMATE_OK, number = 0;

	if (xml_text(collection, "CollectionId", id, sizeof(id)))
		folder = folder_parse(id);
	if (folder == FOLDER_NONE)
		status = ESTIMATE_BAD_FOLDER;
	else if (!xml_number(collection, "SyncKey", UINT32_MAX, &number))
		status = ESTIMATE_BAD_KEY;
	else if (number == 0 || c->device->sync[folder] == NULL)
		status = ESTIMATE_NOT_PRIMED;
	else if (c->device->sync[folder]->key != number)
		status = ESTIMATE_BAD_KEY;
	else
		s = c->device->sync[folder];
	xml_open(o, "Response", NULL);
	xml_leaf_number(o, "Status", NULL, status);
	if (s != NULL) {
		xml_open(o, "Collection", NULL);
		if (c->query.version < 121)
			xml_leaf(o, "Class", NULL, "Email");
		xml_leaf(o, "CollectionId", NULL, id);
		xml_leaf_number(o, "Estimate", NULL,
		    snapshot_changes(&s->now, &c->account->mailbox.folders[folder]));
		xml_close(o);
	}
	xml_close(o);
}

int command_get_item_estimate(struct call *c)
{
	const xmlNode *collections = xml_child(command_root(c, "GetItemEstimate"), "Collections");
	const xmlNode *one = xml_child(collections, "Collection");

	if (one == NULL)
		return 400;
	xml_out_begin(&c->out, "GetItemEstimate", "GetItemEstimate:");
	for (int n = 0; one != NULL && n < FOLDERS; one = xml_next(one, "Collection"), n++)
		estimate_one(c, one);
	return 200;
}

/* [MS-ASCMD] 2.2.3.177.10 */
enum { MOVE_BAD_SOURCE = 1, MOVE_BAD_TARGET = 2, MOVE_OK = 3, MOVE_SAME = 4 };

/* Moves one mail; on success `uid` is what it is called in folder `to`. */
static uint32_t move_one(struct call *c, const char *source, enum folder_id to, uint32_t *uid)
{
	struct mailbox *box = &c->account->mailbox;
	enum folder_id from;
	struct message *m;

	if (!item_id_parse(source, &from, uid) || (m = mailbox_find(box, from, *uid)) == NULL)
		return MOVE_BAD_SOURCE;
	if (to == FOLDER_NONE)
		return MOVE_BAD_TARGET;
	if (to == from)
		return MOVE_SAME;
	mailbox_move(box, from, m, to);
	*uid = m->uid;
	return MOVE_OK;
}

int command_move_items(struct call *c)
{
	const xmlNode *move = xml_child(command_root(c, "MoveItems"), "Move");
	struct xml_out *o = &c->out;

	if (move == NULL)
		return 400;
	xml_out_begin(o, "MoveItems", "Move:");
	for (; move != NULL; move = xml_next(move, "Move")) {
		char source[EAS_TEXT_MAX + 1] = "", target[EAS_TEXT_MAX + 1] = "";
		char moved[ITEM_ID_MAX + 1];
		uint32_t uid = 0, status;

		xml_text(move, "SrcMsgId", source, sizeof(source));
		xml_text(move, "DstFldId", target, sizeof(target));
		status = move_one(c, source, folder_parse(target), &uid);
		xml_open(o, "Response", NULL);
		xml_leaf(o, "SrcMsgId", NULL, source);
		xml_leaf_number(o, "Status", NULL, status);
		if (status == MOVE_OK) {
			item_id(moved, folder_parse(target), uid);
			xml_leaf(o, "DstMsgId", NULL, moved);
		}
		xml_close(o);
	}
	calls_wake(c->account);
	return 200;
}
