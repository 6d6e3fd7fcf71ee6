/*
 * sync: Sync of mail folders, both ways, answered at once or held ([MS-ASCMD] 2.2.1.21).
 * What a device has is kept as a snapshot; an answer is the difference to the folder.
 * Part of the sample mail server, which runs as one process.
 */
#include "commands.h"
#include "item.h"

#include <string.h>

#define SPACE "AirSync:"
#define COLLECTIONS_MAX 16
#define WINDOW_DEFAULT 100
#define WINDOW_MAX 512
#define WAIT_MINUTES_MAX 59

/* [MS-ASCMD] 2.2.3.177.17 */
enum {
	SYNC_OK = 1,
	SYNC_BAD_KEY = 3,
	SYNC_MALFORMED = 4,
	SYNC_SERVER_ERROR = 5,
	SYNC_BAD_ITEM = 6,
	SYNC_NOT_FOUND = 8,
	SYNC_INCOMPLETE = 13,
	SYNC_BAD_WAIT = 14,
};

/* One Collection of the request. */
struct part {
	const xmlNode *node;
	const xmlNode *commands;        /* what the device did; NULL: nothing */
	char id[EAS_TEXT_MAX + 1];
	enum folder_id folder;
	struct sync_state *state;       /* NULL: status says why */
	uint32_t status;
	uint32_t window;
	bool first;                     /* SyncKey 0: only a key is given out */
	bool get_changes;
	bool answered;                  /* <Responses> is open */
};

/* Truncation of an Options or BodyPreference; what is absent leaves *out as it is. */
static void read_options(const xmlNode *options, struct sync_state *s)
{
	const xmlNode *preference = xml_child(options, "BodyPreference");
	bool text = false, mime = false;
	uint32_t type, size;

	if (preference == NULL)
		return;
	s->truncation = UINT32_MAX;
	for (; preference != NULL; preference = xml_next(preference, "BodyPreference")) {
		if (!xml_number(preference, "Type", 4, &type))
			continue;
		text |= type != 4;
		mime |= type == 4;
		if (xml_number(preference, "TruncationSize", UINT32_MAX, &size))
			s->truncation = size;
	}
	s->body_type = mime && !text ? 4 : 1;
}

/* Fills *p. p->status is not SYNC_OK if the collection is refused. */
static void read_part(struct call *c, const xmlNode *node, struct part *p)
{
	uint32_t key, number;

	*p = (struct part){ .node = node, .status = SYNC_OK, .window = WINDOW_DEFAULT };
	p->commands = xml_first(xml_child(node, "Commands"));
	if (!xml_text(node, "CollectionId", p->id, sizeof(p->id)) ||
	    xml_child(node, "SyncKey") == NULL) {
		p->status = SYNC_MALFORMED;
		return;
	}
	p->folder = folder_parse(p->id);
	if (p->folder == FOLDER_NONE) {
		p->status = SYNC_NOT_FOUND;
		return;
	}
	if (!xml_number(node, "SyncKey", UINT32_MAX, &key)) {
		p->status = SYNC_BAD_KEY;
		return;
	}
	p->first = key == 0;
	p->state = p->first ? device_sync_start(c->device, p->folder) :
	    device_sync_resume(c->device, p->folder, key);
	if (p->state == NULL) {
		p->status = p->first ? SYNC_SERVER_ERROR : SYNC_BAD_KEY;
		return;
	}
	if (xml_number(node, "WindowSize", WINDOW_MAX, &number) && number > 0)
		p->window = number;
	p->get_changes = !p->first;
	if (xml_number(node, "GetChanges", 1, &number) && number == 0)
		p->get_changes = false;
	read_options(xml_child(node, "Options"), p->state);
}

static uint32_t changes_of(const struct call *c, const struct part *p)
{
	if (!p->get_changes)
		return 0;
	return snapshot_changes(&p->state->now, &c->account->mailbox.folders[p->folder]);
}

/* True if the device learns nothing from this collection's answer. */
static bool is_silent(const struct call *c, const struct part *p)
{
	return p->status == SYNC_OK && !p->first && p->commands == NULL && changes_of(c, p) == 0;
}

static void write_item(struct call *c, const struct part *p, const char *tag,
    const struct message *m)
{
	struct item_want want = { c->query.version, p->state->body_type, p->state->truncation };
	char id[ITEM_ID_MAX + 1];

	item_id(id, p->folder, m->uid);
	xml_open(&c->out, tag, NULL);
	xml_leaf(&c->out, "ServerId", NULL, id);
	item_write(&c->out, m, &want);
	xml_close(&c->out);
}

/* Opens one answer to what the device did; the first one opens <Responses>. */
static void open_response(struct call *c, struct part *p, const char *tag)
{
	if (!p->answered)
		xml_open(&c->out, "Responses", NULL);
	p->answered = true;
	xml_open(&c->out, tag, NULL);
}

static void write_response(struct call *c, struct part *p, const char *tag, const char *id,
    uint32_t status)
{
	open_response(c, p, tag);
	xml_leaf(&c->out, strcmp(tag, "Add") == 0 ? "ClientId" : "ServerId", NULL, id);
	xml_leaf_number(&c->out, "Status", NULL, status);
	xml_close(&c->out);
}

/* The device read or unread a mail, or deleted it. Only a failure is answered. */
static void apply_change(struct call *c, struct part *p, const xmlNode *command)
{
	const xmlNode *data = xml_child(command, "ApplicationData");
	struct mailbox *box = &c->account->mailbox;
	struct message *m = NULL;
	enum folder_id folder;
	char id[EAS_TEXT_MAX + 1] = "";
	uint32_t uid, read, as_moves = 1;

	xml_text(command, "ServerId", id, sizeof(id));
	if (item_id_parse(id, &folder, &uid) && folder == p->folder)
		m = mailbox_find(box, folder, uid);
	if (m == NULL) {
		write_response(c, p, (const char *)command->name, id, SYNC_NOT_FOUND);
		return;
	}
	if (xml_is(command, "Delete")) {
		xml_number(p->node, "DeletesAsMoves", 1, &as_moves);
		snapshot_remove(&p->state->now, uid);
		if (as_moves == 1 && folder != FOLDER_TRASH)
			mailbox_move(box, folder, m, FOLDER_TRASH);
		else
			mailbox_remove(box, folder, m);
		return;
	}
	if (xml_number(data, "Read", 1, &read) && m->read != (read == 1)) {
		m->read = read == 1;
		m->revision++;
		if (snapshot_find(&p->state->now, uid) >= 0)
			snapshot_add(&p->state->now, m);        /* the device knows already */
	}
}

static void answer_fetch(struct call *c, struct part *p, const xmlNode *command)
{
	struct item_want want = { c->query.version, p->state->body_type, UINT32_MAX };
	char id[EAS_TEXT_MAX + 1] = "";
	const struct message *m = NULL;
	enum folder_id folder;
	uint32_t uid;

	xml_text(command, "ServerId", id, sizeof(id));
	if (item_id_parse(id, &folder, &uid) && folder == p->folder)
		m = mailbox_find(&c->account->mailbox, folder, uid);
	if (m == NULL) {
		write_response(c, p, "Fetch", id, SYNC_NOT_FOUND);
		return;
	}
	open_response(c, p, "Fetch");
	xml_leaf(&c->out, "ServerId", NULL, id);
	xml_leaf_number(&c->out, "Status", NULL, SYNC_OK);
	item_write(&c->out, m, &want);
	xml_close(&c->out);
}

/* Does what the device did, answering in <Responses>. */
static void apply_commands(struct call *c, struct part *p)
{
	for (const xmlNode *one = p->commands; one != NULL; one = xml_next(one, NULL)) {
		char id[EAS_TEXT_MAX + 1] = "";

		if (xml_is(one, "Change") || xml_is(one, "Delete")) {
			apply_change(c, p, one);
		} else if (xml_is(one, "Fetch")) {
			answer_fetch(c, p, one);
		} else if (xml_is(one, "Add")) {        /* drafts of 16.0 and later: not kept */
			xml_text(one, "ClientId", id, sizeof(id));
			write_response(c, p, "Add", id, SYNC_BAD_ITEM);
		}
	}
	if (p->answered)
		xml_close(&c->out);
}

/* Writes at most `window` differences and notes them in the snapshot. */
static void write_changes(struct call *c, struct part *p)
{
	const struct folder *folder = &c->account->mailbox.folders[p->folder];
	struct snapshot *now = &p->state->now;
	const struct message *m;
	char id[ITEM_ID_MAX + 1];
	uint32_t left = p->window;

	if (changes_of(c, p) > left)
		xml_empty(&c->out, "MoreAvailable", NULL);
	xml_open(&c->out, "Commands", NULL);
	for (uint32_t i = now->n; i > 0 && left > 0; i--) {
		uint32_t uid = now->items[i - 1].uid;

		if (mailbox_find(&c->account->mailbox, p->folder, uid) != NULL)
			continue;
		item_id(id, p->folder, uid);
		xml_open(&c->out, "Delete", NULL);
		xml_leaf(&c->out, "ServerId", NULL, id);
		xml_close(&c->out);
		snapshot_remove(now, uid);
		left--;
	}
	TAILQ_FOREACH(m, &folder->messages, entry) {
		int at = snapshot_find(now, m->uid);

		if (left == 0 || (at >= 0 && now->items[at].revision == m->revision))
			continue;
		write_item(c, p, at < 0 ? "Add" : "Change", m);
		snapshot_add(now, m);
		left--;
	}
	xml_close(&c->out);
}

static void answer_part(struct call *c, struct part *p)
{
	struct xml_out *o = &c->out;
	struct sync_state *s = p->state;

	xml_open(o, "Collection", NULL);
	if (c->query.version < 121)
		xml_leaf(o, "Class", NULL, "Email");
	if (s != NULL) {
		if (!is_silent(c, p)) {
			s->before = s->now;
			s->key++;
		}
		xml_leaf_number(o, "SyncKey", NULL, s->key);
	} else {
		xml_leaf(o, "SyncKey", NULL, "0");
	}
	xml_leaf(o, "CollectionId", NULL, p->id);
	xml_leaf_number(o, "Status", NULL, p->status);
	if (s != NULL && p->commands != NULL && !p->first)
		apply_commands(c, p);
	if (s != NULL && changes_of(c, p) > 0)
		write_changes(c, p);
	xml_close(o);
}

/* Seconds that the device would wait. Returns a status, 0 if all is well. */
static uint32_t read_wait(const xmlNode *root, uint32_t *seconds)
{
	const xmlNode *wait = xml_child(root, "Wait"), *beat = xml_child(root, "HeartbeatInterval");
	uint32_t n = 0;

	if (wait != NULL && beat != NULL)
		return SYNC_MALFORMED;
	if (wait != NULL && (!xml_number(root, "Wait", WAIT_MINUTES_MAX, &n) || n == 0))
		return SYNC_BAD_WAIT;
	if (beat != NULL && (!xml_number(root, "HeartbeatInterval", HEARTBEAT_MAX, seconds) ||
	    *seconds < HEARTBEAT_MIN))
		return SYNC_BAD_WAIT;
	if (wait != NULL)
		*seconds = n * 60;
	return 0;
}

static int answer_bad_wait(struct call *c, bool minutes)
{
	xml_out_begin(&c->out, "Sync", SPACE);
	xml_leaf_number(&c->out, "Status", NULL, SYNC_BAD_WAIT);
	xml_leaf_number(&c->out, "Limit", NULL, minutes ? WAIT_MINUTES_MAX : HEARTBEAT_MAX);
	return 200;
}

int command_sync(struct call *c)
{
	const xmlNode *root = command_root(c, "Sync");
	const xmlNode *one = xml_child(xml_child(root, "Collections"), "Collection");
	struct part parts[COLLECTIONS_MAX];
	uint32_t seconds = 0, rc = read_wait(root, &seconds);
	bool silent = true;
	int n = 0;

	if (rc == SYNC_BAD_WAIT)
		return answer_bad_wait(c, xml_child(root, "Wait") != NULL);
	if (rc != 0 || (c->doc != NULL && root == NULL))
		return command_status(c, "Sync", SPACE, SYNC_MALFORMED);
	if (one == NULL)        /* "as last time": we keep no requests, the device shall say all */
		return command_status(c, "Sync", SPACE, SYNC_INCOMPLETE);
	for (; one != NULL; one = xml_next(one, "Collection"), n++) {
		if (n == COLLECTIONS_MAX)
			return command_status(c, "Sync", SPACE, SYNC_MALFORMED);
		read_part(c, one, &parts[n]);
		silent = silent && is_silent(c, &parts[n]);
	}
	if (silent && seconds > 0 && !c->expired && !c->superseded)
		return call_hold(c, seconds);
	if (silent && c->query.version >= 121)
		return 200;     /* an empty body says that nothing has changed */
	xml_out_begin(&c->out, "Sync", SPACE);
	xml_open(&c->out, "Collections", NULL);
	for (int i = 0; i < n; i++)
		if (!is_silent(c, &parts[i]) || c->query.version < 121)
			answer_part(c, &parts[i]);
	xml_close(&c->out);
	for (int i = 0; i < n; i++)
		if (parts[i].commands != NULL)
			calls_wake(c->account);
	return 200;
}
