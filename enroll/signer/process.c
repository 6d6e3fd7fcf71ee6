/*
 * process: the *signer* role: takes the keys, closes the doors behind itself, serves the workers' wires. Long CRLs are built in slices between other answers.
 */
#include "enroll/signer/process.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/process.h"
#include "common/wire.h"
#include "enroll/signer/ask.h"
#include "enroll/signer/serve.h"

#define KEEP_MS	      3600000
#define DRAIN_MS     30000
#define CRL_JOBS_MAX 8
#define LOG_REFUSALS 20 /* a minute */

struct signer_role;

/* A worker at the other end of a wire. */
struct peer {
	struct peer *next;
	struct signer_role *role;
	struct wire *wire;
	char name[32];
};

struct crl_wait {
	struct wire *wire; /* NULL: the asker has gone; the CRL is made all the same */
	uint64_t number;
	struct crl_job *job;
	char in[PATH_MAX];
};

struct signer_role {
	struct child *child;
	struct signer signer;
	struct peer *peers;
	struct crl_wait crls[CRL_JOBS_MAX]; /* the first is under way */
	size_t crls_n;
	struct event *slice;
	struct deadline keep, drain;
	bool draining;
	int64_t refusals_minute;
	unsigned refusals;
};

static void answer_status(struct wire *w, uint64_t number, const struct refusal *r)
{
	struct signer_answer head = { .status = r->status };

	snprintf(head.text, sizeof(head.text), "%s", r->text);
	wire_answer(w, number, &head, sizeof(head));
}

/* What hostile clients can cause is logged, but does not fill the log. */
static void log_refusal(struct signer_role *role, const char *verb, const char *text)
{
	int64_t minute = (int64_t)loop_wall(child_loop(role->child)) / 60;

	if (minute != role->refusals_minute)
		role->refusals = 0;
	role->refusals_minute = minute;
	if (role->refusals++ < LOG_REFUSALS)
		log_say(LOG_WARNING, "signer_refused", "%s: %s", verb, text);
}

static const char *verb_name(uint16_t verb)
{
	static const char *const names[] = { [SIGNER_ISSUE] = "issue",
		[SIGNER_CRL] = "crl",
		[SIGNER_OCSP] = "ocsp",
		[SIGNER_OCSP_PRESIGN] = "ocsp_presign",
		[SIGNER_SCEP_OPEN] = "scep_open",
		[SIGNER_SCEP_SIGN] = "scep_sign",
		[SIGNER_PROFILE_SIGN] = "profile_sign",
		[SIGNER_CHAIN] = "chain",
		[SIGNER_NEXT_CA] = "next_ca" };

	return verb < ARRAY_LEN(names) && names[verb] != NULL ? names[verb] : "unknown";
}

/* RSA takes long: what was answered before need not wait for it. */
static bool is_slow(uint16_t verb)
{
	return verb == SIGNER_SCEP_OPEN || verb == SIGNER_SCEP_SIGN || verb == SIGNER_PROFILE_SIGN || verb == SIGNER_NEXT_CA;
}

static void serve_any(struct peer *peer, uint16_t verb, uint64_t number, const void *body, size_t n)
{
	struct signer_role *role = peer->role;
	struct signer_answer head;
	size_t answer_n = 0;
	uint8_t *answer;

	if (number == 0)
		return; /* told, not asked: nobody waits */
	if (is_slow(verb))
		wire_flush(peer->wire);
	answer = signer_serve(
	    &role->signer, verb, body, n, (int64_t)loop_wall(child_loop(role->child)), &answer_n);
	if (answer == NULL) {
		wire_answer(peer->wire, number, NULL, 0);
		return;
	}
	memcpy(&head, answer, sizeof(head));
	if (head.status != SIGNER_OK && head.status != SIGNER_NONE)
		log_refusal(role, verb_name(verb), head.text);
	wire_answer(peer->wire, number, answer, answer_n);
	OPENSSL_cleanse(answer, answer_n);
	free(answer);
}

#define SERVE(name, verb)                                                           \
	static void serve_##name(                                                   \
	    struct wire *w, uint64_t number, const void *body, size_t n, void *arg) \
	{                                                                           \
		(void)w;                                                            \
		serve_any(arg, verb, number, body, n);                              \
	}
SERVE(issue, SIGNER_ISSUE)
SERVE(ocsp, SIGNER_OCSP)
SERVE(ocsp_presign, SIGNER_OCSP_PRESIGN)
SERVE(scep_open, SIGNER_SCEP_OPEN)
SERVE(scep_sign, SIGNER_SCEP_SIGN)
SERVE(profile_sign, SIGNER_PROFILE_SIGN)
SERVE(chain, SIGNER_CHAIN)
SERVE(next_ca, SIGNER_NEXT_CA)
#undef SERVE

static void next_slice(struct signer_role *role)
{
	struct timeval at_once = { 0 };

	if (role->crls_n > 0)
		event_add(role->slice, &at_once);
}

static void finish_crl(struct signer_role *role, int rc, const struct refusal *r)
{
	struct crl_wait *c = &role->crls[0];
	struct {
		struct signer_answer head;
		struct signer_crl_done done;
	} answer = { .head = { .n = sizeof(answer.done) } };

	if (rc < 0)
		log_refusal(role, "crl", r->text);
	if (rc == 0) {
		answer.done = crl_job_result(c->job);
		unlink(c->in);
	}
	if (c->wire != NULL && rc == 0)
		wire_answer(c->wire, c->number, &answer, sizeof(answer.head) + sizeof(answer.done));
	else if (c->wire != NULL)
		answer_status(c->wire, c->number, r);
	crl_job_free(c->job);
	role->crls_n--;
	memmove(&role->crls[0], &role->crls[1], role->crls_n * sizeof(role->crls[0]));
}

static void on_slice(evutil_socket_t fd, short what, void *arg)
{
	struct signer_role *role = arg;
	struct refusal r = { 0 };
	int rc = crl_job_step(role->crls[0].job, &r);

	(void)fd;
	(void)what;
	if (rc <= 0)
		finish_crl(role, rc, &r);
	next_slice(role);
}

static void serve_crl(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct peer *peer = arg;
	struct signer_role *role = peer->role;
	struct crl_wait *c = &role->crls[role->crls_n];
	struct signer_crl q;
	struct refusal r = { 0 };

	(void)n;
	if (number == 0)
		return;
	if (role->crls_n == CRL_JOBS_MAX) {
		refuse(&r, SIGNER_TOO_MANY, "%d CRLs are being made already", CRL_JOBS_MAX);
		answer_status(w, number, &r);
		return;
	}
	memcpy(&q, body, sizeof(q));
	c->wire = w;
	c->number = number;
	c->job = signer_crl(&role->signer, &q, c->in, &r);
	if (c->job == NULL) {
		log_refusal(role, "crl", r.text);
		answer_status(w, number, &r);
		return;
	}
	if (role->crls_n++ == 0)
		next_slice(role);
}

static const struct wire_verb verbs[] = {
	{ SIGNER_ISSUE, "issue", sizeof(struct signer_issue) + 1, WIRE_BODY_MAX, serve_issue },
	{ SIGNER_CRL, "crl", sizeof(struct signer_crl), sizeof(struct signer_crl), serve_crl },
	{ SIGNER_OCSP, "ocsp", sizeof(struct signer_ocsp), WIRE_BODY_MAX, serve_ocsp },
	{ SIGNER_OCSP_PRESIGN, "ocsp_presign", sizeof(struct signer_ocsp), WIRE_BODY_MAX,
	    serve_ocsp_presign },
	{ SIGNER_SCEP_OPEN, "scep_open", 1, WIRE_BODY_MAX, serve_scep_open },
	{ SIGNER_SCEP_SIGN, "scep_sign", sizeof(struct signer_scep_sign), WIRE_BODY_MAX,
	    serve_scep_sign },
	{ SIGNER_PROFILE_SIGN, "profile_sign", 1, WIRE_BODY_MAX, serve_profile_sign },
	{ SIGNER_CHAIN, "chain", 0, 0, serve_chain },
	{ SIGNER_NEXT_CA, "next_ca", 0, 0, serve_next_ca },
	{ 0, NULL, 0, 0, NULL },
};

static void end_when_alone(struct signer_role *role)
{
	if (role->draining && role->peers == NULL)
		loop_stop(child_loop(role->child));
}

static void on_closed(struct wire *w, void *arg)
{
	struct peer *peer = arg;
	struct signer_role *role = peer->role;
	struct peer **at = &role->peers;

	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	for (size_t i = 0; i < role->crls_n; i++) {
		if (role->crls[i].wire == w)
			role->crls[i].wire = NULL;
	}
	wire_free(w);
	free(peer);
	end_when_alone(role);
}

static void on_link(struct child *child, enum role from, unsigned index, int fd, void *arg)
{
	struct signer_role *role = arg;
	struct peer *peer = calloc(1, sizeof(*peer));
	struct wire_config config = { .verbs = verbs, .arg = peer, .closed = on_closed, .gather = true };

	if (peer == NULL || from != ROLE_WORKER) {
		log_say(LOG_ERROR, "link_failed", "no wire to %s %u: %s", role_name(from), index,
		    peer == NULL ? "out of memory" : "only workers ask for signatures");
		free(peer);
		close(fd);
		return;
	}
	peer->role = role;
	snprintf(peer->name, sizeof(peer->name), "%s %u", role_name(from), index);
	config.name = peer->name;
	peer->wire = wire_new(child_loop(child), fd, &config);
	if (peer->wire == NULL) {
		log_say(LOG_ERROR, "link_failed", "no wire to %s: out of memory", peer->name);
		free(peer);
		return;
	}
	peer->next = role->peers;
	role->peers = peer;
}

static void on_drain_over(struct deadline *d)
{
	struct signer_role *role = CONTAINER_OF(d, struct signer_role, drain);

	loop_stop(child_loop(role->child));
}

/* Serves on until the workers have let go: they may have requests under way that need a signature. */
static void on_drain(struct child *child, void *arg)
{
	struct signer_role *role = arg;

	if (role->draining)
		return;
	role->draining = true;
	deadline_arm(child_loop(child), &role->drain, DRAIN_MS, on_drain_over);
	end_when_alone(role);
}

static void on_keep(struct deadline *d)
{
	struct signer_role *role = CONTAINER_OF(d, struct signer_role, keep);

	signer_keep(&role->signer, (int64_t)loop_wall(child_loop(role->child)));
	deadline_arm(child_loop(role->child), d, KEEP_MS, on_keep);
}

static int confine(struct child *child, const struct signer_setup *setup)
{
	/* a token's module opens its own files and sockets whenever it likes: the service user's rights alone bound it then */
	static const char *const everywhere[] = { "/", NULL };
	bool token = setup->pkcs11_module != NULL && setup->pkcs11_module[0] != '\0';
	const char *write[] = { token ? "/" : setup->crl_folder, NULL };

	return child_confine(child, token ? everywhere : NULL, write);
}

static void stop(struct signer_role *role)
{
	deadline_disarm(&role->keep);
	deadline_disarm(&role->drain);
	while (role->peers != NULL) {
		struct peer *peer = role->peers;
		role->peers = peer->next;
		wire_free(peer->wire);
		free(peer);
	}
	while (role->crls_n > 0)
		crl_job_free(role->crls[--role->crls_n].job);
	if (role->slice != NULL)
		event_free(role->slice);
}

int signer_process(struct child *child, const struct signer_setup *setup)
{
	static const struct child_handlers handlers = { .link = on_link, .drain = on_drain };
	struct signer_role *role = calloc(1, sizeof(*role));
	struct refusal r = { 0 };
	int rc = 1;

	if (role == NULL)
		return 1;
	role->child = child;
	child_handle(child, &handlers, role);
	if (signer_init(&role->signer, setup, (int64_t)time(NULL), &r) < 0) {
		log_say(LOG_ERROR, "signer_unusable", "%s", r.text);
		goto out;
	}
	role->slice = evtimer_new(loop_base(child_loop(child)), on_slice, role);
	if (role->slice == NULL || confine(child, setup) < 0)
		goto out;
	deadline_arm(child_loop(child), &role->keep, KEEP_MS, on_keep);
	child_let_askers_finish();
	child_ready(child);
	rc = loop_run(child_loop(child)) < 0;
out:
	stop(role);
	signer_clear(&role->signer);
	free(role);
	return rc;
}
