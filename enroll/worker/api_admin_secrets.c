/*
 * api_admin_secrets: one-time secrets that were given out: seen (never what they are) and ended early. Worker of easenroll.
 */
#include <stdlib.h>

#include "common/text.h"
#include "enroll/worker/portal_parts.h"

struct listing {
	struct registry_secret *row;
	unsigned n, skip, limit;
};

/* Owners are looked up after the walk: nothing else may be asked of the registry meanwhile. */
static bool take_secret(void *arg, const struct registry_secret *row)
{
	struct listing *l = arg;

	if (l->skip > 0) {
		l->skip--;
		return true;
	}
	if (l->n == l->limit)
		return false;
	l->row[l->n++] = *row;
	return true;
}

static json_t *secret_json(struct registry *registry, const struct registry_secret *s, int64_t now)
{
	struct registry_account owner;
	char id[2 * REGISTRY_SECRET_ID + 1];

	text_hex(id, s->mac, REGISTRY_SECRET_ID);
	if (registry_account_by_id(registry, s->account, &owner) != REGISTRY_OK)
		return NULL;
	return json_pack("{s:s,s:o,s:o,s:o,s:o,s:s,s:o,s:o,s:o}", "id", id, "owner", api_registry_account(&owner), "device", api_string(s->device),
	    "profile", api_string(s->profile), "purpose", api_string(s->purpose), "state", s->used != 0 ? "used" : s->ends <= now ? "ended" : "open",
	    "made", api_time(s->made), "ends", api_time(s->ends), "used", api_time(s->used));
}

/* Of one account (?sid=) or of all, the newest first. */
void admin_serve_secrets(struct enroll_worker *w, struct http_request *r)
{
	struct registry_account account = { .id = 0 };
	enum registry_result result = REGISTRY_OK;
	struct listing l = { .n = 0 };
	struct admin_page page;
	json_t *list;

	if (!admin_page_of(r, "sid", &page))
		return;
	if (page.text[0] != '\0')
		result = registry_account_by_sid(w->registry, page.text, &account);
	if (result != REGISTRY_OK) {
		api_registry_error(r, w->registry, result);
		return;
	}
	l.skip = page.skip;
	l.limit = page.limit;
	l.row = calloc(page.limit + 1, sizeof(*l.row));
	result = l.row != NULL ? registry_secrets(w->registry, account.id, take_secret, &l) : REGISTRY_FAILED;
	list = json_array();
	for (unsigned i = 0; i < l.n; i++)
		(void)json_array_append_new(list, secret_json(w->registry, &l.row[i], loop_wall(w->loop)));
	free(l.row);
	admin_reply_list(w, r, result, "secrets", list);
}

/* POST /api/admin/secrets/<id>/revoke */
void admin_serve_secret_act(struct enroll_worker *w, struct http_request *r)
{
	struct strv rest = route_rest(r, ADMIN_SECRETS_PATH), id = text_split(&rest, '/');
	char actor[REGISTRY_ACTOR_MAX], text[2 * REGISTRY_SECRET_ID + 1];
	struct registry_by by = portal_by(w, r, true, "by an administrator", actor);
	enum registry_result result = REGISTRY_NONE;
	uint8_t raw[REGISTRY_SECRET_ID];
	json_t *body = api_body(r);

	if (body == NULL)
		return;
	json_decref(body);
	if (strv_eq(rest, STRV("revoke")) && text_unhex(raw, sizeof(raw), id) == 0)
		result = registry_secret_revoke(w->registry, &by, raw);
	if (result != REGISTRY_OK) {
		api_registry_error(r, w->registry, result);
		return;
	}
	text_hex(text, raw, sizeof(raw));
	api_reply(r, 200, json_pack("{s:s,s:s}", "id", text, "state", "ended"));
}
