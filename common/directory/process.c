/*
 * process: the *directory* role: its wires, its directory (file or LDAP), and who is told of
 * changes. Holds the bind credential and the vouchers' key; no device and no network client but the
 * LDAP servers reaches it.
 */
#include "common/directory/process.h"

#include <assert.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/directory/account_facts.h"
#include "common/directory/ask.h"
#include "common/directory/file.h"
#include "common/directory/ldap.h"
#include "common/directory/members.h"
#include "common/directory/questions.h"
#include "common/directory/sign_in.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/wire.h"

#define ALL_AGAIN_MS                                                                            \
	250 /* not more often, so that a busy domain or a captured worker cannot keep the cache \
	       empty */

struct directory;

struct peer {
	struct peer *next;
	struct directory *directory;
	struct wire *wire;
	struct members *members; /* NULL until it asks for some */
	enum role role;
	unsigned index;
	char name[32];
};

struct directory {
	struct child *child;
	struct loop *loop;
	const struct directory_setup *setup;
	struct refused_groups refused;
	struct vouch *vouch; /* NULL: no key, nobody is vouched for */
	struct questions *questions;
	struct sign_ins *sign_ins;
	struct directory_file *file;
	struct directory_ldap *ldap;
	struct peer *peers;
	struct deadline all_again;
	enum directory_change all_change; /* what waits for it */
	uint64_t all_again_ms; /* when last; 0: never */
	unsigned well; /* servers that answer; 1 for the accounts' file */
	bool draining;
};

/* --- changes --- */

static void tell(struct directory *d, enum directory_change change, const char *sid)
{
	struct directory_changed changed;

	memset(&changed, 0, sizeof(changed));
	changed.change = change;
	snprintf(changed.sid, sizeof(changed.sid), "%s", sid);
	for (struct peer *p = d->peers; p != NULL; p = p->next) {
		if ((p->role == ROLE_WORKER || p->role == ROLE_KERBEROS || p->role == ROLE_LOCKOUT) && wire_is_open(p->wire))
			(void)wire_tell(p->wire, DIRECTORY_CHANGED, &changed, sizeof(changed));
	}
}

/* For /readyz: whether answers can be had. */
static void tell_state(struct directory *d, struct peer *p)
{
	struct directory_state state = { .up = d->well > 0 };

	if (state.up == 0)
		snprintf(state.text, sizeof(state.text),
		    "no server of directory.ldap.servers answers: its directory_down lines say why");
	if (p->role == ROLE_WORKER && wire_is_open(p->wire))
		(void)wire_tell(p->wire, DIRECTORY_STATE, &state, sizeof(state));
}

static void on_all_again(struct deadline *deadline)
{
	struct directory *d = CONTAINER_OF(deadline, struct directory, all_again);

	d->all_again_ms = loop_now_ms(d->loop);
	if (d->all_change == CHANGE_MISSED)
		questions_doubt(d->questions);
	else
		questions_forget(d->questions, "");
	tell(d, d->all_change, "");
}

/* Of every account: at once, or, in a burst, once for all that come until then; as strictly as the strictest of them. */
static void all_changed(struct directory *d, enum directory_change change)
{
	uint64_t now = loop_now_ms(d->loop);

	if (d->all_again.next == NULL)
		d->all_change = change;
	else if (change != CHANGE_MISSED)
		d->all_change = CHANGE_SEEN; /* the stronger of the two */
	if (d->all_again.next != NULL)
		return;
	if (d->all_again_ms == 0 || now - d->all_again_ms >= ALL_AGAIN_MS)
		on_all_again(&d->all_again);
	else
		deadline_arm(
		    d->loop, &d->all_again, ALL_AGAIN_MS - (now - d->all_again_ms), on_all_again);
}

static void on_changed(void *arg, enum directory_change change, const char *sid)
{
	struct directory *d = arg;

	if (d->questions == NULL)
		return; /* at start: nothing was said yet */
	if (sid[0] == '\0') {
		all_changed(d, change);
		return;
	}
	questions_forget(d->questions, sid);
	tell(d, CHANGE_SEEN, sid);
}

static void on_file_changed(void *arg, const char *sid)
{
	on_changed(arg, CHANGE_SEEN, sid);
}

/* --- wires --- */

static void on_answer(void *asker, uint64_t number, const struct directory_found *found)
{
	struct peer *p = asker;

	(void)wire_answer(p->wire, number, found, sizeof(*found));
}

static void serve_find(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct peer *p = arg;
	struct directory_find find;

	(void)n;
	if (number == 0)
		return; /* told, not asked */
	memcpy(&find, body, sizeof(find));
	if (questions_ask(p->directory->questions, p, number, &find) < 0)
		(void)wire_answer(w, number, NULL, 0);
}

static void on_sign_in(void *asker, uint64_t number, const struct directory_signed_in *answer)
{
	struct peer *p = asker;

	(void)wire_answer(p->wire, number, answer, sizeof(*answer));
}

static void serve_sign_in(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct peer *p = arg;
	struct directory *d = p->directory;
	struct directory_sign_in ask;

	(void)n;
	if (number == 0)
		return;
	memcpy(&ask, body, sizeof(ask));
	wire_flush(w);	/* the hash of a password of the accounts' file takes long: what was answered before need not wait for it */
	if (!d->setup->signs_in || p->role != ROLE_LOCKOUT || d->draining ||
	    sign_ins_ask(d->sign_ins, p, number, &ask) < 0)
		(void)wire_answer(w, number, NULL, 0);
	OPENSSL_cleanse(&ask, sizeof(ask));
}
static_assert((DIRECTORY_SIGN_IN & WIRE_SECRET) != 0, "passwords are wiped on the wire");

static void on_members(void *arg, uint64_t number, const struct directory_member_page *page, size_t n)
{
	struct peer *p = arg;

	(void)wire_answer(p->wire, number, page, n);
}

static void serve_members(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct peer *p = arg;
	struct directory *d = p->directory;
	const struct members_setup setup = { d->file, d->ldap, d->setup->groups_count, on_members, p };
	struct directory_members ask;

	(void)n;
	if (number == 0)
		return;
	memcpy(&ask, body, sizeof(ask));
	if (p->members == NULL && d->setup->lists_members && p->role == ROLE_WORKER)
		p->members = members_new(&setup);
	if (p->members == NULL || d->draining || members_ask(p->members, number, &ask) < 0)
		(void)wire_answer(w, number, NULL, 0);
}

static void serve_forget(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct peer *p = arg;
	struct directory_changed changed;
	struct sid sid;

	(void)n;
	memcpy(&changed, body, sizeof(changed));
	if (memchr(changed.sid, '\0', sizeof(changed.sid)) == NULL)
		return;
	if (changed.sid[0] != '\0' && sid_from_text(strv_from(changed.sid), &sid) < 0)
		return;
	on_changed(p->directory,
	    changed.change == CHANGE_MISSED ? CHANGE_MISSED : CHANGE_SEEN, changed.sid);
	if (number != 0)
		(void)wire_answer(w, number, &changed, sizeof(changed));
}

static const struct wire_verb verbs[] = {
	{ DIRECTORY_FIND, "find", sizeof(struct directory_find), sizeof(struct directory_find),
	    serve_find },
	{ DIRECTORY_SIGN_IN, "sign_in", sizeof(struct directory_sign_in),
	    sizeof(struct directory_sign_in), serve_sign_in },
	{ DIRECTORY_MEMBERS, "members", sizeof(struct directory_members), sizeof(struct directory_members),
	    serve_members },
	{ DIRECTORY_FORGET, "forget", sizeof(struct directory_changed),
	    sizeof(struct directory_changed), serve_forget },
	{ .name = NULL },
};

static void peer_free(struct peer *p)
{
	struct peer **at = &p->directory->peers;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	questions_leave(p->directory->questions, p);
	sign_ins_leave(p->directory->sign_ins, p);
	members_free(p->members);
	wire_free(p->wire);
	free(p);
}

static void on_closed(struct wire *w, void *arg)
{
	(void)w;
	peer_free(arg);
}

static void on_link(struct child *c, enum role peer, unsigned index, int fd, void *arg)
{
	struct directory *d = arg;
	struct peer *p = calloc(1, sizeof(*p));
	struct wire_config config = { .verbs = verbs, .arg = p, .closed = on_closed, .gather = true };

	(void)c;
	if (p == NULL) {
		(void)close(fd);
		return;
	}
	p->directory = d;
	p->role = peer;
	p->index = index;
	snprintf(p->name, sizeof(p->name), "%s %u", role_name(peer), index);
	config.name = p->name;
	p->next = d->peers;
	d->peers = p;
	/* One that it replaces goes on until its process ends: its last questions are answered too.
	 */
	p->wire = wire_new(d->loop, fd, &config);
	if (p->wire == NULL) {
		log_say(LOG_ERROR, "link_failed", "no memory for the wire to %s", p->name);
		peer_free(p);
		return;
	}
	tell_state(d, p);
}

/* --- the end --- */

static void on_idle(void *arg)
{
	struct directory *d = arg;

	if (d->draining)
		loop_stop(d->loop);
}

static void on_drain(struct child *c, void *arg)
{
	struct directory *d = arg;

	(void)c;
	d->draining = true;
	if (questions_waiting(d->questions) == 0)
		loop_stop(d->loop);
}

/* --- the start --- */

static void on_servers_well(void *arg, unsigned well)
{
	struct directory *d = arg;

	d->well = well;
	for (struct peer *p = d->peers; p != NULL; p = p->next)
		tell_state(d, p);
	if (d->setup->metrics != NULL)
		metrics_set(d->setup->metrics->servers, 0, well);
}

static void on_searched(void *arg, enum account_result result, uint64_t microseconds)
{
	const struct directory *d = arg;

	if (d->setup->metrics != NULL)
		metrics_observe_us(d->setup->metrics->searches, result, microseconds);
}

static int open_file(struct directory *d)
{
	struct directory_file_setup setup = { .path = d->setup->config->file,
		.groups = d->setup->groups,
		.groups_count = d->setup->groups_count,
		.changed = on_file_changed,
		.arg = d };
	struct strv text;

	if (!bundle_get(child_bundle(d->child), setup.path, &text)) {
		log_say(
		    LOG_ERROR, "directory_unusable", "directory.file: %s is not there", setup.path);
		return -1;
	}
	d->well = 1;
	d->file = directory_file_new(d->loop, &setup, text);
	return d->file != NULL ? 0 : -1;
}

static int open_ldap(struct directory *d)
{
	struct directory_ldap_setup setup = { .config = d->setup->config->ldap,
		.groups = d->setup->groups,
		.groups_count = d->setup->groups_count,
		.refused = &d->refused,
		.kdcs = d->setup->kdcs,
		.kdcs_count = d->setup->kdcs_count,
		.changed = on_changed,
		.servers_well = on_servers_well,
		.searched = on_searched,
		.arg = d };

	for (unsigned i = 0; i < d->setup->refused_groups_count; i++) {
		if (refused_groups_add(&d->refused, d->setup->refused_groups[i]) < 0) {
			log_say(LOG_ERROR, "directory_unusable",
			    "refused_groups: \"%s\": expected a SID such as S-1-5-32-544 or a "
			    "RID such as 1105, at most %d of them",
			    d->setup->refused_groups[i], FACTS_REFUSED_MAX);
			return -1;
		}
	}
	d->ldap = directory_ldap_new(d->loop, &setup, child_bundle(d->child));
	return d->ldap != NULL ? 0 : -1;
}

static int open_questions(struct directory *d)
{
	struct questions_setup setup = { .loop = d->loop,
		.config = d->setup->config,
		.file = d->file,
		.ldap = d->ldap,
		.metrics = d->setup->metrics,
		.answer = on_answer,
		.idle = on_idle,
		.arg = d };
	struct strv key;

	if (bundle_get(child_bundle(d->child), VOUCH_KEY_NAME, &key) && key.n == VOUCH_KEY_SIZE) {
		d->vouch = vouch_new((const uint8_t *)key.p);
		if (d->vouch == NULL)
			return -1;
	}
	setup.vouch = d->vouch;
	d->questions = questions_new(&setup);
	d->sign_ins = sign_ins_new(&(struct sign_ins_setup){
	    .loop = d->loop, .file = d->file, .ldap = d->ldap, .answer = on_sign_in });
	return d->questions != NULL && d->sign_ins != NULL ? 0 : -1;
}

/* The accounts' file is read again when it changes, also when another is put in its place: so its
 * directory. */
static int confine(struct directory *d)
{
	char path[PATH_MAX] = "";
	const char *readable[] = { NULL, NULL };

	if (d->file != NULL) {
		snprintf(path, sizeof(path), "%s", d->setup->config->file);
		readable[0] = dirname(path);
	}
	return child_confine(d->child, readable, NULL);
}

int directory_process(struct child *child, const struct directory_setup *setup)
{
	static const struct child_handlers handlers = { .link = on_link, .drain = on_drain };
	struct directory d = { .child = child, .loop = child_loop(child), .setup = setup };
	bool file = strcmp(setup->config->kind, "file") == 0;
	int rc = 1;

	if ((file ? open_file(&d) : open_ldap(&d)) < 0 || open_questions(&d) < 0)
		goto out;
	child_handle(child, &handlers, &d);
	if (confine(&d) < 0)
		goto out;
	child_let_askers_finish();
	child_ready(child);
	rc = loop_run(d.loop) < 0;
out:
	deadline_disarm(&d.all_again);
	while (d.peers != NULL)
		peer_free(d.peers);
	questions_free(d.questions);
	vouch_free(d.vouch);
	sign_ins_free(d.sign_ins);
	directory_ldap_free(d.ldap);
	directory_file_free(d.file);
	return rc;
}
