/*
 * portal_parts: what the files of the portal share: its memory, who asks, and files that wait to be fetched. Nobody else includes this.
 */
#ifndef EASGATE_ENROLL_PORTAL_PARTS_H
#define EASGATE_ENROLL_PORTAL_PARTS_H

#include "enroll/worker/api_json.h"
#include "enroll/worker/delivery.h"
#include "enroll/worker/portal.h"
#include "enroll/worker/secret.h"
#include "enroll/worker/sign_in.h"

struct portal {
	struct enroll_worker *worker;
	struct session_store *sessions;
	struct sign_in *sign_in;
	struct delivery *delivery;
	struct deadline check;
	uint64_t check_number; /* of the question under way; 0: none */
	char checking[ACCOUNT_SID_MAX];
	bool check_changed; /* something changed since the question under way was put */
};

static inline struct portal *portal_of(const struct enroll_worker *w) { return w->portal; }

/* Who acts, for the audit trail: "user S-1-...", "admin S-1-...", "cli root". text holds at least REGISTRY_ACTOR_MAX bytes. */
struct registry_by portal_by(const struct enroll_worker *w, const struct http_request *r,
    bool admin, const char *detail, char *text);
/* Who signed in; NULL on the local socket. */
static inline const struct session *portal_session(const struct http_request *r) { return r->who; }

/* Is that bit set, or no group demanded? */
bool portal_has_group(const char *group, unsigned bit, const struct account *account);
bool portal_is_admin(const struct enroll_worker *w, const struct account *account);

/* --- what the files of the admin API share --- */
#define ADMIN_LIMIT_MAX	   500
#define ADMIN_SECRETS_PATH "/api/admin/secrets/"

struct admin_page {
	char text[320];
	unsigned skip, limit;
};
/* skip, limit and the text called `key` of the query. False: it has answered. */
bool admin_page_of(struct http_request *r, const char *key, struct admin_page *out);
/* {key: list} or the registry's error; takes the list. */
void admin_reply_list(struct enroll_worker *w, struct http_request *r, enum registry_result result,
    const char *key, json_t *list);

/* {"device" or "devices": ...} with what the proxies saw of each that has a record; takes both. devices: an array of objects of the answer. */
void admin_reply_seen(struct enroll_worker *w, struct http_request *r, json_t *answer, json_t *devices);
/* The record that proxies keep of this certificate's device, where it is live or held; the last one noted counts. */
bool admin_note_record(json_t *device, const struct registry_certificate *row);

/* For api_admin.c's table. */
void admin_serve_add(struct enroll_worker *w, struct http_request *r);
void admin_serve_secret(struct enroll_worker *w, struct http_request *r);
void admin_serve_secrets(struct enroll_worker *w, struct http_request *r);
void admin_serve_secret_act(struct enroll_worker *w, struct http_request *r);
void admin_serve_audit(struct enroll_worker *w, struct http_request *r);

#endif
