/* What was changed is told to be on the disk once it is, many changes by one commit and sync, and never after one of those that failed. */
#include "tests/unit/registry_site.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "enroll/worker/durable.h"
#include "enroll/worker/registry_parts.h"

struct seen {
	struct registry_site site;
	struct loop *loop;
	struct durable *durable;
	uint64_t upto;
	unsigned reached, failed;
};

static void on_change(void *arg)
{
	durable_note(((struct seen *)arg)->durable);
}

static int on_commit(void *arg)
{
	return registry_settle(((struct seen *)arg)->site.registry);
}

static void on_reached(void *arg, uint64_t upto)
{
	struct seen *s = arg;

	s->upto = upto;
	s->reached++;
	if (durable_wait_for(s->durable) == 0)
		loop_stop(s->loop);
}

static void on_failed(void *arg)
{
	struct seen *s = arg;

	s->failed++;
	loop_stop(s->loop);
}

static void begin(struct seen *s, const char *log)
{
	struct durable_config config = { .log = log, .commit = on_commit, .reached = on_reached, .failed = on_failed, .arg = s };
	char path[160];

	site_begin(&s->site);
	s->loop = config.loop = loop_new();
	snprintf(path, sizeof(path), "%s-wal", s->site.path);
	if (log == NULL)
		config.log = path;
	s->durable = durable_new(&config);
	assert_non_null(s->durable);
	assert_int_equal(registry_group(s->site.registry, on_change, s), 0);
}

static void end(struct seen *s)
{
	durable_free(s->durable);
	loop_free(s->loop);
	site_end(&s->site);
}

static void commits_of_one_turn_are_on_the_disk_by_one_sync(void **state)
{
	struct seen s = { .upto = 0 };

	(void)state;
	begin(&s, NULL);
	assert_int_equal(durable_wait_for(s.durable), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_OK);
	assert_int_equal(durable_wait_for(s.durable), 5);
	assert_int_equal(loop_run(s.loop), 0);
	assert_int_equal(s.reached, 1);
	assert_int_equal(s.upto, 5);
	assert_int_equal(durable_wait_for(s.durable), 0);
	assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_OK);
	assert_int_equal(durable_wait_for(s.durable), 6);
	assert_int_equal(loop_run(s.loop), 0);
	assert_int_equal(s.upto, 6);
	end(&s);
}

/* Entries as another process sees them. */
static int64_t committed(struct seen *s)
{
	char why[300];
	struct registry *reader = registry_open_read(s->site.path, why, sizeof(why));
	int64_t n = 0;

	assert_non_null(reader);
	assert_int_equal(registry_audit_last(reader, &n), REGISTRY_OK);
	registry_close(reader);
	return n;
}

/* Commits as many alone as have to go well before changes are gathered. */
static int64_t begin_group(struct seen *s)
{
	int64_t n = 0;

	begin(s, NULL);
	for (int i = 0; i < 8; i++)
		assert_int_equal(registry_audit(s->site.registry, &site_by, "test", ""), REGISTRY_OK);
	assert_int_equal(loop_run(s->loop), 0);
	assert_int_equal(registry_audit_last(s->site.registry, &n), REGISTRY_OK);
	assert_int_equal(committed(s), n);
	return n;
}

static void changes_of_one_turn_are_one_commit_and_one_that_is_refused_is_not_in_it(void **state)
{
	struct seen s = { .upto = 0 };
	int64_t before = begin_group(&s), n = 0;
	uint64_t upto = s.upto;

	(void)state;
	assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_OK);
	assert_int_equal(registry_audit(s.site.registry, &site_by, "", ""), REGISTRY_BAD);
	assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_OK);
	assert_int_equal(registry_audit_last(s.site.registry, &n), REGISTRY_OK);
	assert_int_equal(n, before + 2);
	assert_int_equal(committed(&s), before);
	assert_true(durable_wait_for(s.durable) > upto);
	assert_int_equal(loop_run(s.loop), 0);
	assert_int_equal(committed(&s), before + 2);
	assert_int_equal(durable_wait_for(s.durable), 0);
	end(&s);
}

static void what_is_settled_is_committed_at_once(void **state)
{
	struct seen s = { .upto = 0 };
	int64_t before = begin_group(&s);

	(void)state;
	assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_OK);
	assert_int_equal(registry_settle(s.site.registry), 0);
	assert_int_equal(committed(&s), before + 1);
	assert_int_not_equal(durable_wait_for(s.durable), 0);
	assert_int_equal(loop_run(s.loop), 0);
	end(&s);
}

/* The log may not grow: the commit takes back what its group was told is made. */
static void a_group_that_is_lost_is_the_end(void **state)
{
	struct seen s = { .upto = 0 };
	int64_t before = begin_group(&s);
	struct rlimit few = { .rlim_cur = 1 }, enough;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &enough), 0);
	few.rlim_max = enough.rlim_max;
	assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_OK);
	assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &few), 0);
	assert_int_equal(loop_run(s.loop), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &enough), 0);
	assert_int_equal(s.failed, 1);
	assert_int_not_equal(durable_wait_for(s.durable), 0);
	assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_FAILED);
	assert_int_equal(committed(&s), before);
	end(&s);
}

/* An enrolment's first step in the registry, with a one-time secret that is there. */
static enum registry_result issue(struct seen *s, const uint8_t *serial, const uint8_t *mac)
{
	static const uint8_t spki[SHA256_SIZE] = { 1 };
	struct registry_issue i = { .serial = serial, .issuer = s->site.name, .device = s->site.device.id, .profile = "mail", .spki_sha256 = spki,
		.not_before = SITE_NOW, .not_after = SITE_NOW + 100, .secret_mac = mac, .purpose = "est" };
	struct registry_certificate there;

	return registry_issue_begin(s->site.registry, &site_by, &i, &there);
}

static void an_enrolment_that_is_refused_leaves_its_group_as_it_was(void **state)
{
	static const uint8_t unknown[SHA256_SIZE] = { 9 };
	struct seen s = { .upto = 0 };
	int64_t before = begin_group(&s);
	uint8_t serial[REGISTRY_SERIAL];

	(void)state;
	site_serial(serial);
	assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_OK);
	assert_int_equal(issue(&s, serial, unknown), REGISTRY_NONE);
	assert_int_equal(site_state(&s.site, serial), 0);
	assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_OK);
	assert_int_equal(loop_run(s.loop), 0);
	assert_int_equal(s.failed, 0);
	assert_int_equal(committed(&s), before + 2);
	end(&s);
}

/* Its secret is taken when the row cannot be made: cannot be, and if it is, nothing of the group is left. */
static void an_enrolment_that_fails_half_way_takes_its_group_with_it(void **state)
{
	struct registry_secret secret = { .mac = { 7 }, .profile = "mail", .purpose = "est", .ends = SITE_NOW + 900 }, found;
	struct seen s = { .upto = 0 };
	uint8_t serial[REGISTRY_SERIAL];
	int64_t before = 0;

	(void)state;
	begin_group(&s);
	secret.account = s.site.owner.id;
	site_serial(serial);
	assert_int_equal(registry_secret_add(s.site.registry, &site_by, &secret, 5), REGISTRY_OK);
	assert_int_equal(issue(&s, serial, NULL), REGISTRY_OK);
	assert_int_equal(registry_settle(s.site.registry), 0);
	assert_int_equal(registry_audit_last(s.site.registry, &before), REGISTRY_OK);
	assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_OK);
	assert_int_equal(issue(&s, serial, secret.mac), REGISTRY_FAILED);
	assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_FAILED);
	assert_int_equal(loop_run(s.loop), 0);
	assert_int_equal(s.failed, 1);
	assert_int_equal(committed(&s), before);
	assert_int_equal(registry_secret_get(s.site.registry, secret.mac, &found), REGISTRY_OK);
	assert_int_equal(found.used, 0);
	end(&s);
}

static void what_was_rolled_back_waits_for_nothing(void **state)
{
	struct seen s = { .upto = 0 };

	(void)state;
	begin(&s, NULL);
	assert_int_equal(registry_audit(s.site.registry, &site_by, "", ""), REGISTRY_BAD);
	assert_int_equal(durable_wait_for(s.durable), 0);
	end(&s);
}

static void a_log_that_cannot_be_synced_is_the_end(void **state)
{
	struct seen s = { .upto = 0 };

	(void)state;
	begin(&s, "/nonexistent/registry.db-wal");
	assert_int_equal(registry_audit(s.site.registry, &site_by, "test", ""), REGISTRY_OK);
	assert_int_equal(loop_run(s.loop), 0);
	assert_int_equal(s.failed, 1);
	assert_int_equal(s.reached, 0);
	assert_int_not_equal(durable_wait_for(s.durable), 0);
	end(&s);
}

/* The log is moved into the file while commits go on, and nothing is lost by it. */
static void a_long_log_is_begun_anew(void **state)
{
	struct seen s = { .upto = 0 };
	char path[160], detail[900];
	struct registry_by by = site_by;
	struct stat st;
	int64_t n = 0, before = 0;

	(void)state;
	begin(&s, NULL);
	memset(detail, 'x', sizeof(detail) - 1);
	detail[sizeof(detail) - 1] = '\0';
	by.detail = detail;
	assert_int_equal(registry_audit_last(s.site.registry, &before), REGISTRY_OK);
	for (int i = 0; i < 3000; i++)
		assert_int_equal(registry_audit(s.site.registry, &by, "test", ""), REGISTRY_OK);
	snprintf(path, sizeof(path), "%s-wal", s.site.path);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size < 20 << 20);
	assert_int_equal(registry_audit_last(s.site.registry, &n), REGISTRY_OK);
	assert_int_equal(n, before + 3000);
	assert_int_equal(loop_run(s.loop), 0);
	assert_int_equal(s.failed, 0);
	assert_int_equal(durable_wait_for(s.durable), 0);
	end(&s);
}

static off_t log_size(struct seen *s)
{
	char path[160];
	struct stat st;

	snprintf(path, sizeof(path), "%s-wal", s->site.path);
	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

/* A device, its certificate, and the end of both. */
static void enrol_one(struct seen *s)
{
	struct registry_device d;
	uint8_t serial[REGISTRY_SERIAL];
	unsigned n;

	site_add_device(&s->site, "one more", &d);
	site_live(&s->site, d.id, serial);
	assert_int_equal(registry_device_act(s->site.registry, &site_by, REGISTRY_ACT_REVOKE, d.id, 1, &n), REGISTRY_OK);
}

/* Enrolments that follow each other without a rest. */
static void enrol_many(struct seen *s, int many)
{
	for (int i = 0; i < many; i++) {
		enrol_one(s);
		assert_int_equal(registry_settle(s->site.registry), 0);
		registry_synced(s->site.registry);
		if (log_size(s) > 18 << 20)
			fail_msg("a log of %lld bytes after %d enrolments", (long long)log_size(s), i);
	}
}

static void the_log_stays_short_under_enrolments_without_end(void **state)
{
	struct seen s = { .upto = 0 };
	struct stat st;

	(void)state;
	begin(&s, NULL);
	enrol_many(&s, 1200);
	assert_int_equal(stat(s.site.path, &st), 0);
	if (log_size(&s) < 8 << 20)
		fail_msg("too few: the log was never long (%lld)", (long long)log_size(&s));
	assert_int_equal(loop_run(s.loop), 0);
	assert_int_equal(s.failed, 0);
	end(&s);
}

/* By who is told that it was synced, never inside the commit that made it long: its answers would wait for it. */
static void a_long_log_is_moved_behind_the_answers(void **state)
{
	struct seen s = { .upto = 0 };
	struct registry *r;
	off_t size;

	(void)state;
	begin(&s, NULL);
	r = s.site.registry;
	for (int i = 0; i < 2000 && r->log_pages < 4000; i++) {
		enrol_one(&s);
		assert_int_equal(registry_settle(r), 0);
	}
	enrol_one(&s);
	assert_int_equal(registry_settle(r), 0);
	assert_true(r->log_pages > 4000);
	/* with changes gathered, too */
	enrol_one(&s);
	assert_true(r->open);
	registry_synced(r);
	assert_false(r->open);
	assert_int_equal(r->log_pages, 0);
	size = log_size(&s);
	enrol_many(&s, 1);
	assert_int_equal(log_size(&s), size);
	assert_int_equal(loop_run(s.loop), 0);
	assert_int_equal(s.failed, 0);
	end(&s);
}

/* Frames in the log that are not in the file: of two checkpoints in a row the second has nothing to do. */
static void what_is_in_the_log_is_moved_while_nobody_waits(void **state)
{
	struct seen s = { .upto = 0 };
	off_t size;

	(void)state;
	begin(&s, NULL);
	enrol_many(&s, 30);
	assert_int_equal(loop_run(s.loop), 0);
	assert_true(s.site.registry->log_pages >= 64);
	size = log_size(&s);
	registry_rest(s.site.registry);
	assert_int_equal(s.site.registry->log_pages, 0);
	/* all of it is in the file: the next commit begins the log anew, and it does not grow */
	enrol_many(&s, 1);
	assert_true(s.site.registry->log_pages > 0 && s.site.registry->log_pages < 64);
	assert_int_equal(log_size(&s), size);
	assert_int_equal(loop_run(s.loop), 0);
	/* too little to be worth it */
	registry_rest(s.site.registry);
	assert_int_not_equal(s.site.registry->log_pages, 0);
	end(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(commits_of_one_turn_are_on_the_disk_by_one_sync),
		cmocka_unit_test(changes_of_one_turn_are_one_commit_and_one_that_is_refused_is_not_in_it),
		cmocka_unit_test(what_is_settled_is_committed_at_once),
		cmocka_unit_test(a_group_that_is_lost_is_the_end),
		cmocka_unit_test(an_enrolment_that_is_refused_leaves_its_group_as_it_was),
		cmocka_unit_test(an_enrolment_that_fails_half_way_takes_its_group_with_it),
		cmocka_unit_test(what_was_rolled_back_waits_for_nothing),
		cmocka_unit_test(a_log_that_cannot_be_synced_is_the_end),
		cmocka_unit_test(a_long_log_is_begun_anew),
		cmocka_unit_test(the_log_stays_short_under_enrolments_without_end),
		cmocka_unit_test(a_long_log_is_moved_behind_the_answers),
		cmocka_unit_test(what_is_in_the_log_is_moved_while_nobody_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
