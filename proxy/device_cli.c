/*
 * device_cli: the words of `easproxy device`. What they do is common/device_admin.c's.
 */
#include "proxy/device_cli.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "common/device_admin.h"
#include "proxy/program.h"

#define WAIT_MS 10000

struct cli {
	struct loop *loop;
	struct deadline limit;
	struct device_admin admin;
	enum device_act act;		/* 0: a list */
	enum device_list what;
	const char *key;
	bool begun;
	int status;
};

static void print_time(int64_t t)
{
	char text[32] = "-";
	time_t when = (time_t)t;
	struct tm tm;

	if (t > 0 && gmtime_r(&when, &tm) != NULL)
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf("\t%s", text);
}

static void print_text(const char *text)
{
	printf("\t%s", text[0] != '\0' ? text : "-");
}

/* A line a device, fields parted by tabs, which no field holds. */
static void print_row(const struct device_row *row)
{
	fputs(row->key, stdout);
	print_text(row->state);
	print_text(row->upn[0] != '\0' ? row->upn : row->sid);
	print_text(row->device);
	print_text(row->device_type);
	print_text(row->method);
	print_time(row->first_seen);
	print_time(row->last_seen);
	print_text(row->client);
	print_text(row->user_agent);
	putchar('\n');
}

static int say(enum device_act_result result)
{
	if (result != DEVICE_ACT_DONE)
		fprintf(stderr, "easproxy: %s\n", device_act_result_text(result));
	return result == DEVICE_ACT_DONE ? 0 : 1;
}

static void on_row(void *arg, const struct device_row *row, bool ok)
{
	struct cli *c = arg;

	if (row != NULL) {
		print_row(row);
		return;
	}
	c->status = ok ? 0 : 1;
	if (!ok)
		fputs("easproxy: the list is not whole: Redis does not answer, or there are too many\n", stderr);
	if (c->loop != NULL)
		loop_stop(c->loop);
}

static void on_act(void *arg, enum device_act_result result)
{
	struct cli *c = arg;

	c->status = say(result);
	loop_stop(c->loop);
}

/* --- the table --- */

static int by_table(struct cli *c, const char *state_dir)
{
	char path[4096];
	struct shared_table_config config = { DEVICE_TABLE_ENTRIES, DEVICE_TABLE_VALUE, path, DEVICE_TABLE_LAYOUT };
	struct shared_table *table;

	snprintf(path, sizeof(path), "%s/" DEVICE_TABLE_FILE, state_dir);
	/* never made here */
	table = access(path, R_OK | W_OK) == 0 ? shared_table_new(&config) : NULL;
	if (table == NULL) {
		fprintf(stderr, "easproxy: %s: %s\n", path, strerror(errno));
		return 1;
	}
	if (c->act == 0)
		device_table_list(table, c->what, on_row, c);
	else
		c->status = say(device_table_act(table, c->key, c->act));
	shared_table_free(table);
	return c->status;
}

/* --- Redis --- */

static void on_limit(struct deadline *d)
{
	struct cli *c = CONTAINER_OF(d, struct cli, limit);

	fprintf(stderr, "easproxy: Redis: %s\n", redis_is_up(c->admin.redis) ? "no answer in time" : redis_problem(c->admin.redis));
	loop_stop(c->loop);
}

static void on_state(void *arg, bool up)
{
	struct cli *c = arg;
	int rc;

	if (!up || c->begun)
		return;
	c->begun = true;
	rc = c->act == 0 ? device_admin_list(&c->admin, c->what, 0, DEVICE_QUARANTINE_MAX, on_row, c) :
			   device_admin_act(&c->admin, c->key, c->act, (int64_t)time(NULL), on_act, c);
	if (rc < 0) {
		fputs("easproxy: not a key (64 hex digits, see easproxy device list), or Redis does not take it\n", stderr);
		loop_stop(c->loop);
	}
}

static int by_redis(struct cli *c, const struct config_redis *redis)
{
	struct bundle *files = bundle_from_disk();
	struct redis_config config = { .settings = redis, .name = "devices", .state = on_state, .arg = c };
	char why[512] = "out of memory";

	c->loop = loop_new();
	config.loop = c->loop;
	c->admin.prefix = redis->prefix;
	if (files == NULL || c->loop == NULL || devices_try(redis, files, why, sizeof(why)) < 0)
		goto failed;
	if (redis->fleet_secret_file[0] == '\0' || !bundle_get_secret(files, redis->fleet_secret_file, &c->admin.secret)) {
		snprintf(why, sizeof(why), "redis.fleet_secret_file is not set: no node would believe what is done here");
		goto failed;
	}
	if (redis->password_file[0] != '\0')
		(void)!bundle_get_secret(files, redis->password_file, &config.password);
	if (redis->ca[0] != '\0')
		(void)!bundle_get(files, redis->ca, &config.ca_pem);
	c->admin.redis = redis_new(&config, why, sizeof(why));
	if (c->admin.redis == NULL)
		goto failed;
	deadline_arm(c->loop, &c->limit, WAIT_MS, on_limit);
	if (loop_run(c->loop) < 0)
		c->status = 1;
	deadline_disarm(&c->limit);
	redis_free(c->admin.redis);
	goto out;
failed:
	fprintf(stderr, "easproxy: %s\n", why);
out:
	loop_free(c->loop);
	bundle_free(files);
	return c->status;
}

/* --- words --- */

static int read_words(struct cli *c, int n, char **word)
{
	static const struct { const char *name; enum device_act act; } acts[] = {
		{ "release", DEVICE_RELEASE }, { "block", DEVICE_BLOCK }, { "forget", DEVICE_FORGET },
	};

	if (n >= 1 && strcmp(word[0], "list") == 0 && (n == 1 || (n == 2 && strcmp(word[1], "waiting") == 0))) {
		c->what = n == 2 ? DEVICE_LIST_WAITING : DEVICE_LIST_ALL;
		return 0;
	}
	for (size_t i = 0; n == 2 && i < ARRAY_LEN(acts); i++) {
		if (strcmp(word[0], acts[i].name) != 0)
			continue;
		c->act = acts[i].act;
		c->key = word[1];
		return 0;
	}
	fputs("easproxy: expected: device list [waiting] | release KEY | block KEY | forget KEY\n", stderr);
	return -1;
}

int device_cli(const char *config_file, int words_n, char **words)
{
	struct cli c = { .status = 1 };
	struct config_error error = { "" };
	struct settings *s;
	int rc;

	if (read_words(&c, words_n, words) < 0)
		return 2;
	s = program_settings(config_file, &error);
	if (s == NULL) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	rc = s->common.redis != NULL ? by_redis(&c, s->common.redis) : by_table(&c, s->common.state_dir);
	settings_free(s);
	return rc;
}
