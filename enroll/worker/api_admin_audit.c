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

/* Entries `first` to the newest but `skip` ones, at most as many as were asked for. */
static enum registry_result list_all(struct enroll_worker *w, struct admin_page *page, struct entries *all)
{
	int64_t last = 0, first;
	enum registry_result result = registry_audit_last(w->registry, &last);

	last -= page->skip;
	first = last - (int64_t)page->limit + 1;
	if (first < 1) {
		all->max = last > 0 ? (unsigned)last : 0;
		first = 1;
	}
	return result == REGISTRY_OK && all->max > 0 ? registry_audit_list(w->registry, first, all->max, "", take_entry, all) : result;
}

/* The newest first, of all or about one object. */
void admin_serve_audit(struct enroll_worker *w, struct http_request *r)
{
	enum registry_result result = REGISTRY_FAILED;
	struct entries all = { .n = 0 };
	struct admin_page page;
	bool newest_first;
	json_t *list;

	if (!admin_page_of(r, "object", &page))
		return;
	newest_first = page.text[0] != '\0';
	all.max = page.limit;
	all.entry = calloc(page.limit + 1, sizeof(*all.entry));
	if (all.entry != NULL)
		result = newest_first ? registry_audit_newest(w->registry, page.text, page.skip, page.limit, take_entry, &all) : list_all(w, &page, &all);
	list = json_array();
	for (unsigned i = 0; i < all.n; i++)
		(void)json_array_append_new(list, entry_json(w->registry, &all.entry[newest_first ? i : all.n - 1 - i]));
	free(all.entry);
	admin_reply_list(w, r, result, "entries", list);
}
