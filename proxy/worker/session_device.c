/*
 * session_device: what is known of the device decides, and is noted: by the policy's device, pin, quarantine and devices_per_user. Worker process.
 *
 * A device is noted only once its user is proven: by the certificate, or by a password or token that was found right. Where the mail server
 * alone checks a password or token, that is when it has accepted it: whoever only knows a name can neither fill the owner's list, nor bind
 * anything, nor make him wait. It is noted before the device hears of the answer, so that one which may not in gets none.
 */
#include <stdlib.h>

#include "common/device.h"
#include "common/log.h"
#include "common/text.h"
#include "proxy/metric_table.h"
#include "proxy/worker/session_state.h"

#define DEVICE_MEMO_MS 30000

_Static_assert(DEVICE_BY_CERTIFICATE == (int)METHOD_CERTIFICATE && DEVICE_BY_PASSWORD == (int)METHOD_PASSWORD &&
    DEVICE_BY_BEARER == (int)METHOD_BEARER, "one order of methods");

enum method session_method(const struct session *s)
{
	if (s->peer->has_certificate)
		return METHOD_CERTIFICATE;
	return (s->x->checks >> METHOD_BEARER & 1) != 0 ? METHOD_BEARER : METHOD_PASSWORD;
}

bool session_is_proven(const struct session *s)
{
	if (s->x->unverified)
		return false;
	return s->peer->has_certificate || s->x->proven || (s->x->checks >> METHOD_BEARER & 1) != 0;
}

/* What is held by it must be known; what is not, may stay unknown while the store is away. */
static bool is_strict(const struct session *s)
{
	const struct policy_settings *policy = session_policy(s);

	return policy->pin_rule == PIN_ENFORCE || policy->quarantine_new;
}

static enum fact fact_of(enum device_answer answer)
{
	switch (answer) {
	case DEVICE_ALLOWED:
	case DEVICE_PINNED:
	case DEVICE_NEW:
		return FACT_NONE;
	case DEVICE_OTHER:
		return FACT_OTHER_DEVICE;
	case DEVICE_UNREGISTERED:
		return FACT_DEVICE_UNREGISTERED;
	case DEVICE_BLOCKED:
		return FACT_DEVICE_BLOCKED;
	case DEVICE_QUARANTINED:
		return FACT_DEVICE_QUARANTINED;
	case DEVICE_LIMIT:
		return FACT_DEVICE_LIMIT;
	default:
		return FACT_DEVICE_STATE_DOWN;
	}
}

/* pin: off compares nothing; pin: log lets in and says what enforce would do. Blocks, quarantine and the limit hold in each. */
static enum fact soften(struct session *s, enum fact fact)
{
	enum pin_rule pin = session_policy(s)->pin_rule;

	if (fact != FACT_OTHER_DEVICE && fact != FACT_DEVICE_UNREGISTERED && fact != FACT_DEVICE_STATE_DOWN)
		return fact;
	if (pin == PIN_ENFORCE || (fact == FACT_DEVICE_STATE_DOWN && is_strict(s)))
		return fact;
	if (pin == PIN_LOG)
		audit_would_refuse(s, fact);
	return FACT_NONE;
}

static struct device_ask ask_of(const struct session *s, const uint8_t key[SHA256_SIZE])
{
	const struct policy_settings *policy = session_policy(s);
	const struct eas_request *r = &s->x->request;
	bool binds = s->peer->has_certificate && policy->pin_rule != PIN_OFF;

	return (struct device_ask){ .key = key, .sid = s->account->view.sid, .upn = s->account->view.upn, .device_id = r->query.device_id,
		.client = s->client, .command = eas_command_name(r->query.command), .device_type = r->query.device_type,
		.user_agent = r->user_agent, .method = (enum device_method)session_method(s), .binds = binds,
		.registered_only = binds && policy->device_rule == DEVICE_REGISTERED, .note = policy->pin_rule == PIN_LOG,
		.quarantine = policy->quarantine_new, .limit = policy->devices_per_user,
		.days = s->worker->now->settings->proxy.limits.device_days };
}

static int key_of(const struct session *s, uint8_t key[SHA256_SIZE])
{
	if (!s->peer->has_certificate)
		return device_key(s->account->view.sid, s->x->request.query.device_id, key);
	memcpy(key, s->peer->fingerprint, SHA256_SIZE);
	return 0;
}

static bool is_known(const struct session *s)
{
	const struct device_memo *m = s->device;

	return m != NULL && loop_now_ms(s->worker->loop) < m->until_ms && strcmp(m->id, s->x->request.query.device_id) == 0 &&
	    strcmp(m->sid, s->account->view.sid) == 0;
}

/* Remembered even when it must be asked each time: events name keys. */
static void remember(struct session *s, uint64_t for_ms, bool noted)
{
	struct device_memo *m = s->device != NULL ? s->device : calloc(1, sizeof(*m));

	s->device = m;
	if (m == NULL)
		return;
	if (key_of(s, m->key) < 0 || text_copy(m->id, sizeof(m->id), strv_from(s->x->request.query.device_id)) < 0 ||
	    text_copy(m->sid, sizeof(m->sid), strv_from(s->account->view.sid)) < 0)
		for_ms = 0;
	m->until_ms = loop_now_ms(s->worker->loop) + for_ms;
	m->noted = noted;
}

static void on_device(void *arg, enum device_answer answer)
{
	struct session *s = arg;
	session_step_fn *done = s->x->step_done;
	enum fact fact;

	s->device_op = 0;
	s->x->step_done = NULL;
	metrics_add(M_DEVICE_CHECKS, answer, 1);
	if (answer == DEVICE_PINNED)
		log_say(LOG_DEBUG, "device_pinned", "session %llu", (unsigned long long)s->id);
	fact = soften(s, fact_of(answer));
	if (fact == FACT_NONE)
		remember(s, devices_are_local(s->worker->devices) || answer == DEVICE_NEW ? 0 : DEVICE_MEMO_MS, s->x->noting || session_is_proven(s));
	done(s, fact, fact != FACT_NONE && answer == DEVICE_UNAVAILABLE ? NULL : fact != FACT_NONE ? device_answer_text(answer) : NULL);
}

void session_check_device(struct session *s, session_step_fn *done)
{
	bool nameless = s->x->request.query.device_id[0] == '\0';
	uint8_t key[SHA256_SIZE];
	struct device_ask ask;

	/*
	 * A request that names no device (OPTIONS, Autodiscover) is no device's. But a certificate that is kept out is kept out of
	 * proxy.paths, too: those name none, and may lead to all that there is of the mailbox. So is one that nobody has let in where
	 * that is demanded: with quarantine it waits from there on, too, and gets its device when it is let in.
	 */
	if ((nameless && (s->x->request.route != ROUTE_PATH || !s->peer->has_certificate)) || is_known(s)) {
		done(s, FACT_NONE, NULL);
		return;
	}
	if (key_of(s, key) < 0) {
		done(s, FACT_OTHER_DEVICE, "no key can be made of its names");
		return;
	}
	ask = ask_of(s, key);
	ask.look_only = !session_is_proven(s) || (nameless && !ask.quarantine);
	session_go(s, SESSION_DEVICE);
	s->x->step_done = done;
	s->device_op = device_check(s->worker->devices, &ask, on_device, s);
	if (s->device_op == 0)
		done(s, FACT_OVERLOADED, "too many questions about devices");
}

bool session_must_note(const struct session *s, unsigned status)
{
	const struct exchange *x = s->x;

	if (s->account == NULL || s->account->result != ACCOUNT_FOUND || x->request.route != ROUTE_EAS || x->request.query.device_id[0] == '\0')
		return false;
	return status / 100 == 2 && !x->noted && !session_is_proven(s) && !(is_known(s) && s->device->noted);
}

int session_note_device(struct session *s, session_step_fn *done)
{
	uint8_t key[SHA256_SIZE];
	struct device_ask ask;

	if (key_of(s, key) < 0)
		return -1;
	ask = ask_of(s, key);
	s->x->step_done = done;
	s->device_op = device_check(s->worker->devices, &ask, on_device, s);
	return s->device_op != 0 ? 0 : -1;
}

void session_note_use(struct session *s)
{
	struct exchange *x = s->x;

	if (s->account == NULL || s->account->result != ACCOUNT_FOUND || x->request.route != ROUTE_EAS)
		return;
	/* whoever is refused there may be anybody: the day's figures are not for him to write */
	if (session_is_proven(s) || x->status / 100 == 2)
		s->worker->daily[session_method(s)]++;
}

bool session_is_device(const struct session *s, const uint8_t key[SHA256_SIZE])
{
	if (s->peer->has_certificate)
		return memcmp(s->peer->fingerprint, key, SHA256_SIZE) == 0;
	return s->device != NULL && memcmp(s->device->key, key, SHA256_SIZE) == 0;
}
