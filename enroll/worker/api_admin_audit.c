/*
 * api_admin_audit: the audit trail, for administrators. Worker of easenroll.
 */
#include <stdlib.h>

#include "common/text.h"
#include "enroll/worker/audit_names.h"
#include "enroll/worker/portal_parts.h"

struct entries {
	struct registry_audit_entry *entry;
	unsigned n, max;
};

/* Names are looked up after the walk: nothing else may be asked of the registry meanwhile. */
static bool take_entry(void *arg, const struct registry_audit_entry *e)
{
	struct entries *all = arg;

	if (all->n == all->max)
		return false;
	all->entry[all->n++] = *e;
	return true;
}

static json_t *entry_json(struct registry *registry, const struct registry_audit_entry *e)
{
	char hash[2 * SHA256_SIZE + 1], actor[AUDIT_NAME_MAX], object[AUDIT_NAME_MAX];

	text_hex(hash, e->hash, SHA256_SIZE);
	audit_name(registry, e->actor, actor);
	audit_name(registry, e->object, object);
	return json_pack("{s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:s}", "n", (json_int_t)e->n, "at", api_time(e->at), "actor", api_string(e->actor),
	    "actor_name", api_string(actor), "action", api_string(e->action), "object", api_string(e->object), "object_name",
	    api_string(object), "detail", api_string(e->detail), "hash", hash);
}

/* The newest first. With an object: the first ADMIN_LIMIT_MAX entries about it, the newest of them first. */
void admin_serve_audit(struct enroll_worker *w, struct http_request *r)
{
	enum registry_result result;
	int64_t last = 0, first = 1;
	struct entries all = { .n = 0 };
	struct admin_page page;
	json_t *list;

	if (!admin_page_of(r, "object", &page))
		return;
	result = registry_audit_last(w->registry, &last);
	if (page.text[0] == '\0') {
		last -= page.skip;
		first = last - (int64_t)page.limit + 1;
		if (first < 1) {
			page.limit = last > 0 ? (unsigned)last : 0;
			first = 1;
		}
	} else {
		page.limit = page.skip == 0 ? ADMIN_LIMIT_MAX : 0;
	}
	all.max = page.limit;
	all.entry = calloc(page.limit + 1, sizeof(*all.entry));
	if (all.entry == NULL)
		result = REGISTRY_FAILED;
	if ((result == REGISTRY_OK || result == REGISTRY_NONE) && page.limit > 0)
		result = registry_audit_list(w->registry, first, page.limit, page.text, take_entry, &all);
	list = json_array();
	while (all.n > 0)
		(void)json_array_append_new(list, entry_json(w->registry, &all.entry[--all.n]));
	free(all.entry);
	admin_reply_list(w, r, result, "entries", list);
}
