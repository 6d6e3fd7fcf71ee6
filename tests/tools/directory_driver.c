/*
 * directory_driver: plays master, worker and kerberos for one real *directory* process, for tests
 * against a real AD. Reads commands from standard input, one a line, and answers each with one line
 * of JSON. The child logs to standard error.
 *
 *   directory_driver CONFIG
 *   find KIND VALUE SID|- [fresh]   VALUE in hexadecimal, KIND a number (claim_kind.h)
 *   flood N KIND VALUE              N fresh questions at once
 *   series N KIND VALUE             N fresh questions one after the other
 *   wait MS SID|all|missed          until that change is told; changes told before count too.
 *                                   all: everybody changed; missed: anybody may have
 *   clear                           forgets the changes told so far
 *   forget SID|-        raw VERB HEX        state        drain
 */
#include <openssl/rand.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/control.h"
#include "common/directory/process.h"
#include "common/directory/vouch.h"
#include "common/log.h"
#include "common/process_child.h"
#include "common/text.h"
#include "common/wire.h"
#include "proxy/settings.h"

#define TIMEOUT_MS  30000
#define CHANGES_MAX 4096
#define FLOOD_MAX   1000

struct driver {
	struct settings *settings;
	struct loop *loop;
	struct wire *wire;
	pid_t child;
	int control;
	uint8_t key[VOUCH_KEY_SIZE];
	struct vouch *vouch;
	bool drained;
	/* the answers to the command under way */
	struct directory_found found;
	enum wire_status status;
	unsigned waiting, good;
	double began, last_ms, max_ms;
	/* changes told */
	char changed[CHANGES_MAX][ACCOUNT_SID_MAX];
	unsigned changes;
	const char *wanted;
	struct deadline late;
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

NORETURN static void die(const char *what)
{
	fprintf(stderr, "directory_driver: %s\n", what);
	exit(2);
}

/* --- the child --- */

static int run_directory(struct child *child)
{
	const struct settings *s = child_settings(child);
	const char *groups[SETTINGS_GROUPS_MAX];
	struct directory_setup setup = { .config = &s->common.directory, .groups = groups };

	setup.groups_count = settings_groups(s, groups);
	if (s->proxy.kerberos != NULL) {
		setup.refused_groups = (const char *const *)s->proxy.kerberos->refused_groups;
		setup.refused_groups_count = s->proxy.kerberos->refused_groups_count;
		setup.kdcs = (const char *const *)s->proxy.kerberos->kdcs;
		setup.kdcs_count = s->proxy.kerberos->kdcs_count;
	}
	return directory_process(child, &setup);
}

static void serve_changed(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct driver *d = arg;
	const struct directory_changed *changed = body;
	const char *sid = changed->sid[0] != '\0'		? changed->sid
			  : changed->change == CHANGE_MISSED ? "missed"
							     : "all";

	(void)w;
	(void)number;
	(void)n;
	if (d->changes < CHANGES_MAX)
		snprintf(d->changed[d->changes++], ACCOUNT_SID_MAX, "%s", sid);
	if (d->wanted != NULL && strcmp(sid, d->wanted) == 0)
		loop_stop(d->loop);
}

static const struct wire_verb verbs[] = {
	{ DIRECTORY_CHANGED, "changed", sizeof(struct directory_changed),
	    sizeof(struct directory_changed), serve_changed },
	{ .name = NULL },
};

static int make_link(struct driver *d)
{
	struct control_message m = { .verb = CONTROL_LINK, .role = ROLE_WORKER, .index = 0 };
	struct wire_config config = { .name = "directory", .verbs = verbs, .arg = d };
	int fds[2];

	if (wire_pair(fds) < 0 || control_send(d->control, &m, fds[1]) < 0)
		return -1;
	close(fds[1]);
	d->wire = wire_new(d->loop, fds[0], &config);
	return d->wire != NULL ? 0 : -1;
}

static int make_bundle(struct driver *d)
{
	const struct config_directory *c = &d->settings->common.directory;
	const char *files[4] = { c->file };
	char why[512];
	size_t n = 1;
	int fd;

	if (c->ldap != NULL) {
		files[n++] = c->ldap->ca;
		files[n++] = c->ldap->bind_password_file;
		files[n++] = c->ldap->keytab;
	}
	if (RAND_bytes(d->key, sizeof(d->key)) != 1)
		die("no random bytes");
	fd = bundle_build_with(files, n, VOUCH_KEY_NAME,
	    (struct strv){ (const char *)d->key, sizeof(d->key) }, why, sizeof(why));
	if (fd < 0)
		die(why);
	return fd;
}

/* True once the child serves; false when it ended. */
static bool start_child(struct driver *d)
{
	struct child_start start = { .role = ROLE_DIRECTORY,
		.run = run_directory,
		.settings = d->settings,
		.user = d->settings->common.user };
	struct control_message m;
	struct pollfd p;
	int fds[2], fd = make_bundle(d), rc, got = -1;

	if (wire_pair(fds) < 0 || (d->child = fork()) < 0)
		die("cannot fork");
	if (d->child == 0) {
		close(fds[0]);
		close(STDIN_FILENO);
		dup2(STDERR_FILENO, STDOUT_FILENO);
		signal(SIGPIPE, SIG_IGN);
		log_setup(LOG_DEBUG, "directory", 0);
		start.control_fd = fds[1];
		start.bundle_fd = fd;
		rc = child_main(&start);
		settings_free(d->settings);
		exit(rc);
	}
	close(fds[1]);
	close(fd);
	d->control = fds[0];
	p = (struct pollfd){ .fd = fds[0], .events = POLLIN };
	while (poll(&p, 1, TIMEOUT_MS) == 1 && (rc = control_receive(fds[0], &m, &got)) >= 0) {
		if (rc == 1 && m.verb == CONTROL_READY)
			return true;
	}
	return false;
}

static void drain(struct driver *d)
{
	struct control_message m = { .verb = CONTROL_DRAIN };
	int status = -1;

	if (d->drained)
		return;
	d->drained = true;
	control_send(d->control, &m, -1);
	waitpid(d->child, &status, 0);
	wire_free(d->wire);
	d->wire = NULL;
	printf(
	    "{\"exit\": %d}\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* --- questions --- */

static void on_found(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct driver *d = arg;

	d->status = status;
	d->last_ms = now_ms() - d->began;
	if (d->last_ms > d->max_ms)
		d->max_ms = d->last_ms;
	memset(&d->found, 0, sizeof(d->found));
	if (status == WIRE_OK && n == sizeof(d->found)) {
		memcpy(&d->found, body, sizeof(d->found));
		d->good += d->found.result == ACCOUNT_FOUND;
	}
	if (--d->waiting == 0)
		loop_stop(d->loop);
}

static void make_find(struct directory_find *find, char **word)
{
	size_t n = strlen(word[1]) / 2;

	memset(find, 0, sizeof(*find));
	find->kind = (uint32_t)atoi(word[0]);
	if (n >= sizeof(find->value) || text_unhex(find->value, n, strv_from(word[1])) < 0)
		die("VALUE: hexadecimal wanted");
	memset(find->certificate, 0x5a, sizeof(find->certificate));
}

static void ask(struct driver *d, const struct directory_find *find, unsigned n)
{
	d->waiting = n;
	d->began = now_ms();
	for (unsigned i = 0; i < n; i++) {
		if (wire_ask(
			d->wire, DIRECTORY_FIND, find, sizeof(*find), TIMEOUT_MS, on_found, d) == 0)
			die("the wire takes no question");
	}
	if (loop_run(d->loop) < 0)
		die("the loop failed");
}

static void print_text(const char *key, const char *text)
{
	printf(", \"%s\": \"", key);
	for (; *text != '\0'; text++)
		printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
	printf("\"");
}

static void print_found(const struct driver *d)
{
	const struct account *a = &d->found.account;
	uint8_t certificate[SHA256_SIZE], nothing[VOUCHER_SIZE] = { 0 };
	bool good;

	memset(certificate, 0x5a, sizeof(certificate));
	good = vouch_check(d->vouch, a->sam, a->realm, certificate, time(NULL), d->found.voucher);
	printf("{\"result\": \"%s\", \"wire\": %d, \"ms\": %.3f, \"age\": %u, \"ttl\": %u",
	    d->status == WIRE_OK ? account_result_text(d->found.result) : "none", d->status,
	    d->last_ms, d->found.age_seconds, d->found.ttl_seconds);
	print_text("sid", a->sid);
	print_text("sam", a->sam);
	print_text("realm", a->realm);
	print_text("netbios", a->netbios);
	print_text("upn", a->upn);
	print_text("mail", a->mail);
	print_text("display_name", a->display_name);
	printf(", \"groups\": %llu, \"flags\": %u, \"bad_password_count\": %u, "
	       "\"lockout_threshold\": %u, \"expires\": %lld, "
	       "\"voucher\": \"%s\"}\n",
	    (unsigned long long)a->groups, a->flags, a->bad_password_count, a->lockout_threshold,
	    (long long)a->expires,
	    good						      ? "good"
	    : memcmp(d->found.voucher, nothing, sizeof(nothing)) == 0 ? "none"
								      : "bad");
}

static void command_find(struct driver *d, char **word)
{
	struct directory_find find;

	make_find(&find, word + 1);
	if (strcmp(word[3], "-") != 0)
		snprintf(find.sid, sizeof(find.sid), "%s", word[3]);
	find.fresh = word[4] != NULL;
	ask(d, &find, 1);
	print_found(d);
}

static void command_flood(struct driver *d, char **word, bool series)
{
	unsigned n = (unsigned)atoi(word[1]);
	struct directory_find find;
	double began = now_ms();

	if (n == 0 || n > FLOOD_MAX)
		die("1 to 1000 questions");
	make_find(&find, word + 2);
	find.fresh = 1;
	d->good = 0;
	d->max_ms = 0;
	for (unsigned i = 0; i < (series ? n : 1); i++)
		ask(d, &find, series ? 1 : n);
	printf("{\"n\": %u, \"found\": %u, \"each_ms\": %.3f, \"max_ms\": %.3f}\n", n, d->good,
	    (now_ms() - began) / n, d->max_ms);
}

/* Any bytes under any verb, as a captured worker may send them. */
static void command_raw(struct driver *d, char **word)
{
	static uint8_t bytes[WIRE_BODY_MAX];
	size_t n = word[2] != NULL ? strlen(word[2]) / 2 : 0;

	if (n > sizeof(bytes) || (n > 0 && text_unhex(bytes, n, strv_from(word[2])) < 0))
		die("raw: hexadecimal wanted");
	d->waiting = 1;
	d->began = now_ms();
	if (wire_ask(d->wire, (uint16_t)atoi(word[1]), bytes, n, 5000, on_found, d) == 0)
		die("the wire takes no question");
	if (loop_run(d->loop) < 0)
		die("the loop failed");
	printf("{\"wire\": %d}\n", d->status);
}

/* --- changes --- */

static bool was_told(const struct driver *d, const char *what)
{
	for (unsigned i = 0; i < d->changes; i++) {
		if (strcmp(d->changed[i], what) == 0)
			return true;
	}
	return false;
}

static void on_late(struct deadline *late)
{
	loop_stop(CONTAINER_OF(late, struct driver, late)->loop);
}

static void command_wait(struct driver *d, char **word)
{
	double began = now_ms();

	if (!was_told(d, word[2])) {
		d->wanted = word[2];
		deadline_arm(d->loop, &d->late, strtoull(word[1], NULL, 10), on_late);
		if (loop_run(d->loop) < 0)
			die("the loop failed");
		deadline_disarm(&d->late);
		d->wanted = NULL;
	}
	printf("{\"told\": %s, \"ms\": %.1f, \"changes\": %u}\n",
	    was_told(d, word[2]) ? "true" : "false", now_ms() - began, d->changes);
}

static void command_forget(struct driver *d, const char *sid)
{
	struct directory_changed changed;

	memset(&changed, 0, sizeof(changed));
	if (strcmp(sid, "-") != 0)
		snprintf(changed.sid, sizeof(changed.sid), "%s", sid);
	if (wire_tell(d->wire, DIRECTORY_FORGET, &changed, sizeof(changed)) < 0)
		die("the wire takes no message");
	printf("{}\n");
}

/* --- the rest --- */

static void command_state(const struct driver *d)
{
	char path[64], line[256];
	long uid = -1, privs = -1, rss = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)d->child);
	f = fopen(path, "r");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, "Uid:", 4) == 0)
			uid = atol(line + 4);
		if (strncmp(line, "NoNewPrivs:", 11) == 0)
			privs = atol(line + 11);
		if (strncmp(line, "VmRSS:", 6) == 0)
			rss = atol(line + 6);
	}
	if (f != NULL)
		fclose(f);
	printf("{\"pid\": %d, \"uid\": %ld, \"no_new_privs\": %ld, \"rss_kb\": %ld}\n",
	    (int)d->child, uid, privs, rss);
}

static void obey(struct driver *d, char **word, int n)
{
	if (strcmp(word[0], "find") == 0 && n >= 4)
		command_find(d, word);
	else if (strcmp(word[0], "flood") == 0 && n == 4)
		command_flood(d, word, false);
	else if (strcmp(word[0], "series") == 0 && n == 4)
		command_flood(d, word, true);
	else if (strcmp(word[0], "wait") == 0 && n == 3)
		command_wait(d, word);
	else if (strcmp(word[0], "forget") == 0 && n == 2)
		command_forget(d, word[1]);
	else if (strcmp(word[0], "raw") == 0 && n >= 2)
		command_raw(d, word);
	else if (strcmp(word[0], "clear") == 0) {
		d->changes = 0;
		printf("{}\n");
	} else if (strcmp(word[0], "state") == 0)
		command_state(d);
	else if (strcmp(word[0], "drain") == 0)
		drain(d);
	else
		die("unknown command");
}

int main(int argc, char **argv)
{
	static struct driver d;
	static char line[2 * WIRE_BODY_MAX + 1024];
	struct config_error error;
	char *text;
	size_t n;

	if (argc != 2)
		die("usage: directory_driver CONFIG");
	signal(SIGPIPE, SIG_IGN);
	log_setup(LOG_DEBUG, "driver", -1);
	if (config_read_file(argv[1], &text, &n, &error) < 0 ||
	    (d.settings = settings_load(argv[1], (struct strv){ text, n }, &error)) == NULL)
		die(error.text);
	free(text);
	if (start_child(&d)) {
		d.loop = loop_new();
		if (d.loop == NULL || (d.vouch = vouch_new(d.key)) == NULL || make_link(&d) < 0)
			die("no wire");
		printf("{\"ready\": true}\n");
	} else {
		printf("{\"ready\": false}\n");
	}
	fflush(stdout);
	while (!d.drained && fgets(line, sizeof(line), stdin) != NULL) {
		char *word[8] = { NULL }, *at = line;
		int words = 0;

		while (words < 7 &&
		       (word[words] = strtok_r(words == 0 ? at : NULL, " \n", &at)) != NULL)
			words++;
		if (words > 0)
			obey(&d, word, words);
		fflush(stdout);
	}
	drain(&d);
	loop_free(d.loop);
	vouch_free(d.vouch);
	close(d.control);
	settings_free(d.settings);
	return 0;
}
