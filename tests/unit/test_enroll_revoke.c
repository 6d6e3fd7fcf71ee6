/*
 * Revoke: one act for registry, list and fleet: told at once, finished after a crash at any step, held and released; against a real Redis, whose events
 * are read as proxies read them.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include "common/local_revocation.h"
#include "common/wire.h"
#include "tests/unit/registry_site.h"

#include <sys/wait.h>

#include "common/device.h"
#include "common/redis.h"

#define SECRET "the fleet's secret"

/* What a proxy on this machine is to enrolment: takes what is not in `refuses`. */
struct fake_proxy {
	struct loop *loop;
	int listener;
	struct event *accept;
	struct wire *wire;
	uint8_t refused[200][SERIAL_MAX];
	unsigned refused_n, heard, taken, listed;
	struct local_message last;
};

struct state {
	struct registry_site site;
	struct redis_server server;
	struct config_redis redis;
	char password[128], secret[128];
	struct bundle *bundle;
	struct publish *publish;
	struct revoke *revoke;
	uint8_t serial[REGISTRY_SERIAL];
	bool with_redis;
	struct fake_proxy *proxy;	/* NULL: none */
};

static const char *step_wanted;

/* What is revoked in the middle of a step, once. */
static struct {
	struct state *state;
	const char *step;
	uint8_t serial[REGISTRY_SERIAL];
	enum registry_result result;
} during;

static void at_step(const char *name)
{
	if (during.step != NULL && strcmp(name, during.step) == 0) {
		during.step = NULL;
		during.result = revoke_certificate(during.state->revoke, &site_by, during.serial, REVOKE_CESSATION);
	}
	if (step_wanted != NULL && strcmp(name, step_wanted) == 0)
		kill(getpid(), SIGKILL);
}

static void on_up(void *arg)
{
	struct state *s = arg;

	if (s->revoke != NULL)
		revoke_kick(s->revoke);
}

static void start_lists_of(struct state *s, uint32_t delta, uint32_t seconds, uint32_t overlap)
{
	struct revoke_config config = { .loop = s->site.loop, .registry = s->site.registry, .issuer = s->site.issuer, .list_dir = s->site.list_dir,
		.crl_seconds = seconds, .crl_overlap_seconds = overlap, .delta_seconds = delta, .step = at_step };
	struct publish_config publish = { .loop = s->site.loop, .redis = s->with_redis ? &s->redis : NULL,
		.proxy_run_dir = s->proxy != NULL ? s->site.dir : NULL, .up = on_up, .arg = s };
	char why[400] = "";

	s->bundle = bundle_from_disk();
	publish.bundle = s->bundle;
	s->publish = publish_new(&publish, why, sizeof(why));
	if (s->publish == NULL)
		fail_msg("%s", why);
	config.publish = s->publish;
	s->revoke = revoke_new(&config, why, sizeof(why));
	if (s->revoke == NULL)
		fail_msg("%s", why);
}

static void start(struct state *s, uint32_t delta)
{
	start_lists_of(s, delta, 86400, 7200);
}

static void stop(struct state *s)
{
	revoke_free(s->revoke);
	site_unlink_signer(&s->site);
	site_link_signer(&s->site);
	publish_free(s->publish);
	bundle_free(s->bundle);
	s->revoke = NULL;
}

static void begin(struct state *s, bool with_redis)
{
	static char *servers[1];
	FILE *f;

	memset(s, 0, sizeof(*s));
	s->with_redis = with_redis;
	site_begin(&s->site);
	site_begin_signer(&s->site);
	site_live(&s->site, s->site.device.id, s->serial);
	if (!with_redis)
		return;
	redis_server_start(&s->server, NULL);
	assert_true(s->server.pid > 0);
	snprintf(s->secret, sizeof(s->secret), "%s/secret", s->site.dir);
	f = fopen(s->secret, "w");
	assert_non_null(f);
	fputs(SECRET "\n", f);
	fclose(f);
	servers[0] = s->server.url;
	s->redis = (struct config_redis){ .servers = servers, .servers_count = 1, .sentinel = "", .username = "", .password_file = "", .prefix = "easgate:",
		.fleet_secret_file = s->secret, .ca = "", .timeout_ms = 2000 };
}

static int end(void **state)
{
	struct state *s = *state;

	if (s == NULL)
		return 0;
	if (s->revoke != NULL)
		stop(s);
	site_end_signer(&s->site);
	site_end(&s->site);
	if (s->with_redis)
		redis_server_stop(&s->server);
	free(s);
	return 0;
}

static int setup(void **state)
{
	struct state *s = calloc(1, sizeof(*s));

	begin(s, false);
	start(s, 0);
	*state = s;
	return 0;
}

static int setup_redis(void **state)
{
	struct state *s = calloc(1, sizeof(*s));

	if (!redis_server_exists()) {
		free(s);
		*state = NULL;
		return 0;
	}
	begin(s, true);
	start(s, 0);
	*state = s;
	return 0;
}

static unsigned undone(struct state *s)
{
	struct registry_counts n;

	assert_int_equal(registry_count(s->site.registry, &n), REGISTRY_OK);
	return (unsigned)n.undone_acts;
}

/* Until all acts are done; milliseconds. */
static uint64_t finish(struct state *s)
{
	uint64_t from = loop_now_fresh();

	while (undone(s) > 0) {
		if (loop_now_fresh() > from + 20000)
			fail_msg("not done in 20 seconds: %u acts, %u lists", undone(s), s->site.lists);
		turn_for(s->site.loop, 10);
	}
	return loop_now_fresh() - from;
}

static char *redis_says(struct state *s, const char *words)
{
	static char out[4096];
	char command[700];
	FILE *f;
	size_t n;

	snprintf(command, sizeof(command), "redis-cli --raw -s '%s' %s", s->server.socket, words);
	f = popen(command, "r");
	assert_non_null(f);
	n = fread(out, 1, sizeof(out) - 1, f);
	pclose(f);
	out[n] = '\0';
	return out;
}

static void a_revoked_certificate_is_on_the_list_and_revoked(void **state)
{
	struct state *s = *state;
	struct revoke_state v;

	assert_int_equal(revoke_certificate(s->revoke, &site_by, s->serial, REVOKE_KEY_COMPROMISE), REGISTRY_OK);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_REVOKING);
	finish(s);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_REVOKED);
	assert_int_equal(site_listed(&s->site, "full", s->serial), REVOKE_KEY_COMPROMISE);
	revoke_get_state(s->revoke, &v);
	assert_int_equal(v.undone, 0);
	assert_int_equal(v.list_number, s->site.last_list.number);
	assert_string_equal(v.problem, "");
}

static void a_list_that_is_not_there_at_the_start_is_made_at_once(void **state)
{
	struct state *s = *state;
	char path[256];
	unsigned lists;

	for (int i = 0; i < 1000 && s->site.lists == 0; i++)
		turn_for(s->site.loop, 10);
	turn_for(s->site.loop, 20);
	stop(s);
	lists = s->site.lists;
	assert_true(lists > 0);
	start(s, 0);
	turn_for(s->site.loop, 50);
	assert_int_equal(s->site.lists, lists); /* it is there, and not due */
	stop(s);
	snprintf(path, sizeof(path), "%s/%s.crl", s->site.list_dir, s->site.name);
	assert_int_equal(unlink(path), 0);
	start(s, 0);
	for (int i = 0; i < 1000 && s->site.lists == lists; i++)
		turn_for(s->site.loop, 10);
	assert_int_equal(s->site.lists, lists + 1);
	assert_int_equal(access(path, F_OK), 0);
}

static void threat_45_the_next_list_is_there_before_the_one_before_it_ends(void **state)
{
	struct state *s = *state;
	struct signer_crl before;

	stop(s);
	start_lists_of(s, 0, 1, 29);
	for (int i = 0; i < 1000 && s->site.last_list.next_update != s->site.last_list.this_update + 30; i++)
		turn_for(s->site.loop, 10);
	before = s->site.last_list;
	for (int i = 0; i < 1000 && s->site.last_list.number == before.number; i++)
		turn_for(s->site.loop, 10);
	assert_true(s->site.last_list.number > before.number);
	assert_true(s->site.last_list.this_update > before.this_update);
	assert_true(s->site.last_list.this_update < before.next_update);
}

static void a_device_is_held_released_and_revoked_with_all_it_has(void **state)
{
	struct state *s = *state;
	struct registry_device d;
	unsigned n = 0;

	assert_int_equal(revoke_hold_device(s->revoke, &site_by, s->site.device.id, &n), REGISTRY_OK);
	assert_int_equal(n, 1);
	finish(s);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_HOLD);
	assert_int_equal(site_listed(&s->site, "full", s->serial), REVOKE_HOLD);
	assert_int_equal(revoke_release_device(s->revoke, &site_by, s->site.device.id, &n), REGISTRY_OK);
	finish(s);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_LIVE);
	assert_int_equal(site_listed(&s->site, "full", s->serial), -1);
	assert_int_equal(revoke_account(s->revoke, &site_by, s->site.owner.id, REVOKE_AFFILIATION_CHANGED, &n), REGISTRY_OK);
	assert_int_equal(n, 1);
	finish(s);
	assert_int_equal(registry_device_get(s->site.registry, s->site.device.id, &d), REGISTRY_OK);
	assert_int_equal(d.state, REGISTRY_DEVICE_REVOKED);
	assert_int_equal(revoke_release_device(s->revoke, &site_by, s->site.device.id, &n), REGISTRY_STATE);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_REVOKED);
}

static void the_first_use_of_a_new_certificate_retires_the_old_as_superseded(void **state)
{
	struct state *s = *state;
	struct registry_by by = { "proxy", "", loop_wall(s->site.loop) };
	uint8_t new[REGISTRY_SERIAL];

	site_live(&s->site, s->site.device.id, new);
	assert_int_equal(revoke_used(s->revoke, &by, new), REGISTRY_OK);
	finish(s);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_REPLACED);
	assert_int_equal(site_state(&s->site, new), REGISTRY_LIVE);
	assert_int_equal(site_listed(&s->site, "full", s->serial), REVOKE_SUPERSEDED);
}

static void a_signer_that_fails_is_asked_again_and_the_act_waits(void **state)
{
	struct state *s = *state;
	struct revoke_state v;

	s->site.refuses = true;
	assert_int_equal(revoke_certificate(s->revoke, &site_by, s->serial, 0), REGISTRY_OK);
	turn_for(s->site.loop, 500);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_REVOKING);
	revoke_get_state(s->revoke, &v);
	assert_string_not_equal(v.problem, "");
	s->site.refuses = false;
	revoke_kick(s->revoke);
	finish(s);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_REVOKED);
}

/* By itself: nobody is revoked meanwhile, nothing comes back, and who was revoked must not be missing for seconds. */
static void a_list_that_could_not_be_made_for_a_moment_is_made_within_a_second(void **state)
{
	struct state *s = *state;

	turn_for(s->site.loop, 300);
	s->site.refuses = true;
	assert_int_equal(revoke_certificate(s->revoke, &site_by, s->serial, REVOKE_KEY_COMPROMISE), REGISTRY_OK);
	turn_for(s->site.loop, 100);
	s->site.refuses = false;
	assert_in_range(finish(s), 0, 1000);
	assert_int_equal(site_listed(&s->site, "full", s->serial), REVOKE_KEY_COMPROMISE);
}

/* Not before the next try: who is revoked after a failure waits for none. */
static void an_act_soon_after_a_list_that_failed_is_listed_at_once(void **state)
{
	struct state *s = *state;
	uint8_t second[REGISTRY_SERIAL];

	site_live(&s->site, s->site.device.id, second);
	turn_for(s->site.loop, 300);
	s->site.refuses = true;
	assert_int_equal(revoke_certificate(s->revoke, &site_by, s->serial, REVOKE_KEY_COMPROMISE), REGISTRY_OK);
	turn_for(s->site.loop, 300);
	assert_int_equal(site_listed(&s->site, "full", s->serial), -1);
	s->site.refuses = false;
	assert_int_equal(revoke_certificate(s->revoke, &site_by, second, REVOKE_CESSATION), REGISTRY_OK);
	assert_in_range(finish(s), 0, 1000);
	assert_int_equal(site_listed(&s->site, "full", s->serial), REVOKE_KEY_COMPROMISE);
	assert_int_equal(site_listed(&s->site, "full", second), REVOKE_CESSATION);
}

static void an_act_while_a_list_is_made_and_one_right_after_are_on_the_full_list_at_once(void **state)
{
	static const char *const steps[] = { "revoke-entries", "revoke-signed", "revoke-listed" };
	struct state *s = *state;
	uint8_t first[REGISTRY_SERIAL];

	for (size_t i = 0; i < 2 * ARRAY_LEN(steps); i++) {
		stop(s);
		start(s, i % 2 == 0 ? 0 : 3600);
		site_live(&s->site, s->site.device.id, first);
		site_live(&s->site, s->site.device.id, during.serial);
		turn_for(s->site.loop, 300);
		during.state = s;
		during.step = steps[i / 2];
		during.result = REGISTRY_FAILED;
		assert_int_equal(revoke_certificate(s->revoke, &site_by, first, REVOKE_KEY_COMPROMISE), REGISTRY_OK);
		assert_in_range(finish(s), 0, 1000);
		assert_null(during.step);
		assert_int_equal(during.result, REGISTRY_OK);
		assert_int_equal(site_listed(&s->site, "full", first), REVOKE_KEY_COMPROMISE);
		assert_int_equal(site_listed(&s->site, "full", during.serial), REVOKE_CESSATION);
		site_live(&s->site, s->site.device.id, first);
		assert_int_equal(revoke_certificate(s->revoke, &site_by, first, REVOKE_CESSATION), REGISTRY_OK);
		assert_in_range(finish(s), 0, 1000);
		assert_int_equal(site_listed(&s->site, "full", first), REVOKE_CESSATION);
	}
}

static void deltas_are_made_where_they_are_wanted(void **state)
{
	struct state *s = *state;

	stop(s);
	start(s, 3600);
	turn_for(s->site.loop, 500);
	assert_int_equal(revoke_hold_device(s->revoke, &site_by, s->site.device.id, NULL), REGISTRY_OK);
	finish(s);
	turn_for(s->site.loop, 500);
	assert_true(s->site.last_list.base_number > 0);
	assert_true(s->site.last_list.number > s->site.last_list.base_number);
}

static void redis_learns_it_and_the_stream_s_entry_is_authentic(void **state)
{
	struct state *s = *state;
	char serial[64], words[300];
	char *said;

	if (s == NULL)
		skip();
	while (!publish_is_up(s->publish))
		turn_for(s->site.loop, 20);
	assert_int_equal(revoke_certificate(s->revoke, &site_by, s->serial, REVOKE_KEY_COMPROMISE), REGISTRY_OK);
	assert_in_range(finish(s), 0, 1000);
	text_hex(serial, s->serial, sizeof(s->serial));
	snprintf(words, sizeof(words), "HGET easgate:revoked:%s %s", s->site.name, serial);
	snprintf(serial + 40, 20, "1 %d", SITE_NOW);
	said = redis_says(s, words);
	assert_memory_equal(said, serial + 40, strlen(serial + 40));
	said = redis_says(s, "XRANGE easgate:events - +");
	assert_non_null(strstr(said, "revoked"));
	assert_non_null(strstr(said, s->site.name));
	assert_non_null(strstr(said, "\nmac\n"));
	assert_null(strstr(said, SECRET));
	turn_for(s->site.loop, 1500);
	snprintf(words, sizeof(words), "HGET easgate:crl:%s loaded_at", s->site.name);
	assert_int_equal(strspn(redis_says(s, words), "0123456789"), 10);
}

static void a_live_certificate_is_registered_with_a_mac_that_proxies_believe(void **state)
{
	struct state *s = *state;
	struct registry_certificate c;
	char sha[2 * SHA256_SIZE + 1], words[300], mac[2 * SHA256_SIZE + 1];
	char *said;

	if (s == NULL)
		skip();
	finish(s);
	assert_int_equal(registry_certificate_get(s->site.registry, s->serial, &c), REGISTRY_OK);
	text_hex(sha, c.sha256, sizeof(c.sha256));
	snprintf(words, sizeof(words), "HMGET easgate:device:%s sid state mac", sha);
	said = redis_says(s, words);
	assert_int_equal(device_record_mac(STRV(SECRET), sha, strv_from(s->site.account.sid), STRV(""), STRV("registered"), mac), 0);
	assert_non_null(strstr(said, s->site.account.sid));
	assert_non_null(strstr(said, "registered"));
	assert_non_null(strstr(said, mac));
}

/* Both acts wait for Redis at once: the hold must not be the reason that proxies never hear of the certificate. */
static void one_that_was_held_before_redis_knew_it_is_registered(void **state)
{
	struct state *s = *state;
	struct registry_certificate c;
	char sha[2 * SHA256_SIZE + 1], words[300];

	if (s == NULL)
		skip();
	stop(s);
	start(s, 0);
	assert_false(publish_is_up(s->publish));
	assert_int_equal(revoke_hold_device(s->revoke, &site_by, s->site.device.id, NULL), REGISTRY_OK);
	finish(s);
	assert_int_equal(registry_certificate_get(s->site.registry, s->serial, &c), REGISTRY_OK);
	assert_int_equal(c.state, REGISTRY_HOLD);
	text_hex(sha, c.sha256, sizeof(c.sha256));
	snprintf(words, sizeof(words), "HGET easgate:device:%s state", sha);
	assert_string_equal(redis_says(s, words), "registered\n");
}

static void a_release_takes_the_field_away_and_says_so(void **state)
{
	struct state *s = *state;
	char words[300];

	if (s == NULL)
		skip();
	assert_int_equal(revoke_hold_device(s->revoke, &site_by, s->site.device.id, NULL), REGISTRY_OK);
	finish(s);
	snprintf(words, sizeof(words), "HLEN easgate:revoked:%s", s->site.name);
	assert_string_equal(redis_says(s, words), "1\n");
	assert_int_equal(revoke_release_device(s->revoke, &site_by, s->site.device.id, NULL), REGISTRY_OK);
	finish(s);
	assert_string_equal(redis_says(s, words), "0\n");
	assert_non_null(strstr(redis_says(s, "XRANGE easgate:events - +"), "unrevoked"));
}

static void a_redis_that_was_away_or_flushed_is_told_everything(void **state)
{
	struct state *s = *state;
	char words[300];

	if (s == NULL)
		skip();
	redis_server_kill(&s->server);
	assert_int_equal(revoke_certificate(s->revoke, &site_by, s->serial, 1), REGISTRY_OK);
	turn_for(s->site.loop, 500);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_REVOKING);
	redis_server_run(&s->server, NULL);
	finish(s);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_REVOKED);
	redis_says(s, "FLUSHALL");
	snprintf(words, sizeof(words), "HLEN easgate:revoked:%s", s->site.name);
	revoke_kick(s->revoke);
	for (int i = 0; i < 100 && redis_says(s, words)[0] != '1'; i++)
		turn_for(s->site.loop, 50);
	assert_string_equal(redis_says(s, words), "1\n");
}

/* A replica that took over before it had all, or a copy from a disk: the token of this process stands there, the last change does not. */
static void a_redis_that_came_back_with_an_older_copy_is_told_everything(void **state)
{
	struct state *s = *state;
	char words[300];

	if (s == NULL)
		skip();
	while (!publish_is_up(s->publish))
		turn_for(s->site.loop, 20);
	turn_for(s->site.loop, 500);
	redis_says(s, "SAVE");
	assert_int_equal(revoke_certificate(s->revoke, &site_by, s->serial, 1), REGISTRY_OK);
	finish(s);
	snprintf(words, sizeof(words), "HLEN easgate:revoked:%s", s->site.name);
	assert_string_equal(redis_says(s, words), "1\n");
	redis_says(s, "DEBUG RELOAD NOSAVE");
	assert_string_equal(redis_says(s, words), "0\n");
	revoke_kick(s->revoke);
	for (int i = 0; i < 100 && redis_says(s, words)[0] != '1'; i++)
		turn_for(s->site.loop, 50);
	assert_string_equal(redis_says(s, words), "1\n");
}

/* --- crashes --- */

static void crash_at(struct state *s, const char *step)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct state child = *s;

		site_open(&child.site);
		site_begin_signer(&child.site);
		memcpy(child.site.name, s->site.name, sizeof(child.site.name));
		issuer_embedded_set_name(child.site.issuer, s->site.name);
		start(&child, 0);
		/* what the start itself makes is not what is tried */
		turn_for(child.site.loop, 400);
		step_wanted = step;
		if (revoke_certificate(child.revoke, &site_by, s->serial, 1) == REGISTRY_OK)
			turn_for(child.site.loop, 10000);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("%s was not reached", step);
}

static void a_crash_at_any_step_is_finished_by_the_next_start_and_never_good_meanwhile(void **state)
{
	static const char *const steps[] = { "revoke-row", "revoke-entries", "revoke-signed", "revoke-listed", "revoke-told", "revoke-published" };
	struct registry_status status;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct state *s = calloc(1, sizeof(*s));
		void *holder = s;

		begin(s, redis_server_exists());
		registry_close(s->site.registry);
		crash_at(s, steps[i]);
		site_open(&s->site);
		assert_int_equal(registry_certificate_status(s->site.registry, s->site.name, s->serial, &status), REGISTRY_OK);
		assert_true(status.state == REGISTRY_REVOKING || status.state == REGISTRY_REVOKED);
		start(s, 0);
		finish(s);
		turn_for(s->site.loop, 100);
		assert_int_equal(site_state(&s->site, s->serial), REGISTRY_REVOKED);
		assert_int_equal(site_listed(&s->site, "full", s->serial), 1);
		end(&holder);
	}
}

/* --- the proxy of this machine --- */

static void fake_revoked(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct fake_proxy *p = arg;
	struct local_answer a = { .result = LOCAL_TAKEN };
	const char *why;

	assert_int_equal(local_message_read(LOCAL_REVOKED, body, n, &p->last, &why), 0);
	p->heard++;
	for (unsigned i = 0; i < p->refused_n; i++)
		if (memcmp(p->refused[i], p->last.serial, SERIAL_MAX) == 0)
			a.result = LOCAL_FAILED;
	p->taken += a.result == LOCAL_TAKEN;
	wire_answer(w, number, &a, sizeof(a));
}

static void fake_listed(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct fake_proxy *p = arg;
	const char *why;

	(void)w;
	assert_int_equal(number, 0);
	assert_int_equal(local_message_read(LOCAL_LISTED, body, n, &p->last, &why), 0);
	p->listed++;
}

static const struct wire_verb fake_verbs[] = {
	{ LOCAL_REVOKED, "revoked", 0, WIRE_BODY_MAX, fake_revoked }, { LOCAL_LISTED, "listed", 0, WIRE_BODY_MAX, fake_listed }, { 0, NULL, 0, 0, NULL },
};

static void fake_closed(struct wire *w, void *arg)
{
	struct fake_proxy *p = arg;

	if (p->wire == w)
		p->wire = NULL;
	wire_free(w);
}

static void fake_accept(evutil_socket_t fd, short what, void *arg)
{
	struct fake_proxy *p = arg;
	const struct wire_config config = { .verbs = fake_verbs, .arg = p, .closed = fake_closed, .name = "test" };

	(void)what;
	p->wire = wire_new(p->loop, accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), &config);
	assert_non_null(p->wire);
}

static void fake_up(struct state *s)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct fake_proxy *p = s->proxy;

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/" LOCAL_REVOCATION_SOCKET, s->site.dir);
	p->loop = s->site.loop;
	p->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p->listener, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(p->listener, 4), 0);
	p->accept = event_new(loop_base(p->loop), p->listener, EV_READ | EV_PERSIST, fake_accept, p);
	event_add(p->accept, NULL);
}

static void fake_down(struct state *s)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/" LOCAL_REVOCATION_SOCKET, s->site.dir);
	unlink(path);
	event_free(s->proxy->accept);
	close(s->proxy->listener);
	wire_free(s->proxy->wire);
	s->proxy->wire = NULL;
}

static int setup_proxy(void **state)
{
	struct state *s = calloc(1, sizeof(*s));

	begin(s, false);
	s->proxy = calloc(1, sizeof(*s->proxy));
	fake_up(s);
	start(s, 0);
	turn_for(s->site.loop, 300);
	assert_non_null(s->proxy->wire);
	*state = s;
	return 0;
}

static int end_proxy(void **state)
{
	struct state *s = *state;
	struct fake_proxy *p = s->proxy;

	fake_down(s);
	turn_for(s->site.loop, 10);
	end(state);
	free(p);
	return 0;
}

static void the_proxy_of_this_machine_is_told_before_the_list_is_made_and_then_of_the_list(void **state)
{
	struct state *s = *state;
	struct registry_crl crl;

	assert_int_equal(registry_crl_newest(s->site.registry, s->site.name, false, &crl), REGISTRY_OK);
	assert_int_equal(revoke_certificate(s->revoke, &site_by, s->serial, REVOKE_KEY_COMPROMISE), REGISTRY_OK);
	turn_for(s->site.loop, 0);
	finish(s);
	turn_for(s->site.loop, 50);
	assert_int_equal(s->proxy->taken, 1);
	assert_true(s->proxy->listed >= 1);
	assert_true(s->proxy->last.number > crl.number);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_REVOKED);
}

static void many_acts_that_fail_hold_up_no_other(void **state)
{
	struct state *s = *state;
	struct fake_proxy *p = s->proxy;
	uint8_t serial[REGISTRY_SERIAL], last[REGISTRY_SERIAL];
	uint64_t from;

	for (unsigned i = 0; i < 150; i++) {
		site_live(&s->site, s->site.device.id, serial);
		memcpy(p->refused[p->refused_n++], serial, REGISTRY_SERIAL);
		assert_int_equal(revoke_certificate(s->revoke, &site_by, serial, REVOKE_CESSATION), REGISTRY_OK);
	}
	turn_for(s->site.loop, 1500);
	assert_true(p->heard >= 150);
	assert_int_equal(p->taken, 0);
	site_live(&s->site, s->site.device.id, last);
	from = loop_now_fresh();
	assert_int_equal(revoke_certificate(s->revoke, &site_by, last, REVOKE_KEY_COMPROMISE), REGISTRY_OK);
	while (p->taken == 0 && loop_now_fresh() < from + 5000)
		turn_for(s->site.loop, 5);
	assert_int_equal(p->taken, 1);
	assert_in_range(loop_now_fresh() - from, 0, 500);
	/* and each of them has its turn once it can be taken */
	p->refused_n = 0;
	revoke_kick(s->revoke);
	finish(s);
	assert_true(p->taken >= 151);
}

static void a_proxy_that_comes_back_is_told_what_no_list_holds(void **state)
{
	struct state *s = *state;

	s->site.refuses = true;		/* no list can be made */
	assert_int_equal(revoke_certificate(s->revoke, &site_by, s->serial, REVOKE_KEY_COMPROMISE), REGISTRY_OK);
	turn_for(s->site.loop, 300);
	assert_int_equal(s->proxy->taken, 1);
	fake_down(s);
	turn_for(s->site.loop, 50);
	fake_up(s);
	turn_for(s->site.loop, 1500);
	assert_int_equal(s->proxy->taken, 2);
	s->site.refuses = false;
	revoke_kick(s->revoke);
	finish(s);
	/* it is on the list now: nothing to be said to the next one */
	fake_down(s);
	turn_for(s->site.loop, 50);
	fake_up(s);
	turn_for(s->site.loop, 1500);
	assert_non_null(s->proxy->wire);
	assert_int_equal(s->proxy->taken, 2);
	assert_true(s->proxy->listed > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_revoked_certificate_is_on_the_list_and_revoked, setup, end),
		cmocka_unit_test_setup_teardown(a_list_that_is_not_there_at_the_start_is_made_at_once, setup, end),
		cmocka_unit_test_setup_teardown(threat_45_the_next_list_is_there_before_the_one_before_it_ends, setup, end),
		cmocka_unit_test_setup_teardown(a_device_is_held_released_and_revoked_with_all_it_has, setup, end),
		cmocka_unit_test_setup_teardown(the_first_use_of_a_new_certificate_retires_the_old_as_superseded, setup, end),
		cmocka_unit_test_setup_teardown(a_signer_that_fails_is_asked_again_and_the_act_waits, setup, end),
		cmocka_unit_test_setup_teardown(a_list_that_could_not_be_made_for_a_moment_is_made_within_a_second, setup, end),
		cmocka_unit_test_setup_teardown(an_act_soon_after_a_list_that_failed_is_listed_at_once, setup, end),
		cmocka_unit_test_setup_teardown(an_act_while_a_list_is_made_and_one_right_after_are_on_the_full_list_at_once, setup, end),
		cmocka_unit_test_setup_teardown(deltas_are_made_where_they_are_wanted, setup, end),
		cmocka_unit_test_setup_teardown(redis_learns_it_and_the_stream_s_entry_is_authentic, setup_redis, end),
		cmocka_unit_test_setup_teardown(a_live_certificate_is_registered_with_a_mac_that_proxies_believe, setup_redis, end),
		cmocka_unit_test_setup_teardown(one_that_was_held_before_redis_knew_it_is_registered, setup_redis, end),
		cmocka_unit_test_setup_teardown(a_release_takes_the_field_away_and_says_so, setup_redis, end),
		cmocka_unit_test_setup_teardown(a_redis_that_was_away_or_flushed_is_told_everything, setup_redis, end),
		cmocka_unit_test_setup_teardown(a_redis_that_came_back_with_an_older_copy_is_told_everything, setup_redis, end),
		cmocka_unit_test_setup_teardown(the_proxy_of_this_machine_is_told_before_the_list_is_made_and_then_of_the_list, setup_proxy, end_proxy),
		cmocka_unit_test_setup_teardown(many_acts_that_fail_hold_up_no_other, setup_proxy, end_proxy),
		cmocka_unit_test_setup_teardown(a_proxy_that_comes_back_is_told_what_no_list_holds, setup_proxy, end_proxy),
		cmocka_unit_test(a_crash_at_any_step_is_finished_by_the_next_start_and_never_good_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
