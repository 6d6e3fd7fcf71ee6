/*
 * kerberos_driver: plays master, directory and worker for one real *kerberos* process, for tests
 * against a real AD. Reads commands from standard input, one a line, and answers each with one line
 * of JSON. The child logs to standard error.
 *
 *   kerberos_driver CONFIG
 *
 *   token SAM REALM SPN [VOUCHER]        good, none, forged, expired, far, other-account,
 *                                        other-certificate, unterminated (the account's name)
 *                                        or unterminated-spn; SPN -: none
 *   many N SAM REALM SPN                 N tokens one after the other
 *   rounds N SAM REALM SPN               N times: forget, then a token
 *   flood N SAM REALM SPN                N questions at once; SAM%d: of different accounts
 *   raw VERB HEX                         any bytes under any verb
 *   forget SAM REALM / link / state / drain
 */
#include <fcntl.h>
#include <openssl/rand.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/control.h"
#include "common/directory/vouch.h"
#include "common/log.h"
#include "common/process_child.h"
#include "common/text.h"
#include "common/wire.h"
#include "proxy/kerberos/ask.h"
#include "proxy/kerberos/guard.h"
#include "proxy/settings.h"

#define FLOOD_MAX 1000
#define TIMEOUT_MS 120000

struct driver {
	struct settings *settings;
	struct loop *loop;
	struct wire *wire;
	pid_t child;
	int control;
	uint8_t key[VOUCH_KEY_SIZE];
	struct vouch *vouch;
	bool drained;
};

/* What came back for one question. */
struct reply {
	struct driver *d;
	enum wire_status status;
	struct kerberos_token token;
	uint8_t bytes[WIRE_BODY_MAX];
	size_t n;         /* of the token */
	unsigned waiting; /* answers still to come */
	unsigned result[KERBEROS_BROKEN + 1], failed;
	double first_ms, last_ms, began;
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

NORETURN static void die(const char *what)
{
	fprintf(stderr, "kerberos_driver: %s\n", what);
	exit(2);
}

/* --- the child --- */

static int make_link(struct driver *d)
{
	struct control_message m = { .verb = CONTROL_LINK, .role = ROLE_WORKER, .index = 0 };
	static const struct wire_config config = { .name = "kerberos" };
	int fds[2];

	if (wire_pair(fds) < 0 || control_send(d->control, &m, fds[1]) < 0)
		return -1;
	close(fds[1]);
	d->wire = wire_new(d->loop, fds[0], &config);
	return d->wire != NULL ? 0 : -1;
}

static void start_child(struct driver *d)
{
	const char *files[] = { d->settings->proxy.kerberos->keytab };
	struct child_start start = { .role = ROLE_KERBEROS,
		.run = kerberos_process,
		.settings = d->settings,
		.user = d->settings->common.user };
	struct control_message m;
	char why[512];
	int fds[2], fd, rc, got = -1;
	struct pollfd p;

	if (RAND_bytes(d->key, sizeof(d->key)) != 1)
		die("no random bytes");
	fd = bundle_build_with(files, 1, VOUCH_KEY_NAME,
	    (struct strv){ (const char *)d->key, sizeof(d->key) }, why, sizeof(why));
	if (fd < 0)
		die(why);
	if (guard_setup() < 0 || wire_pair(fds) < 0)
		die("no memory");
	d->child = fork();
	if (d->child < 0)
		die("cannot fork");
	if (d->child == 0) {
		close(fds[0]);
		close(STDIN_FILENO);
		dup2(STDERR_FILENO, STDOUT_FILENO);
		memset(d->key, 0, sizeof(d->key));
		log_setup(LOG_DEBUG, "kerberos", 0);
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
			return;
	}
	die("the kerberos process did not come up");
}

static void drain(struct driver *d)
{
	struct control_message m = { .verb = CONTROL_DRAIN };
	int status = -1;

	if (d->drained)
		return;
	d->drained = true;
	wire_free(d->wire);
	d->wire = NULL;
	control_send(d->control, &m, -1);
	waitpid(d->child, &status, 0);
	printf(
	    "{\"exit\": %d}\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* --- questions --- */

static void on_reply(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct reply *r = arg;

	r->last_ms = now_ms() - r->began;
	if (r->first_ms == 0)
		r->first_ms = r->last_ms;
	r->status = status;
	memset(&r->token, 0, sizeof(r->token));
	r->n = 0;
	if (status == WIRE_OK && n >= sizeof(r->token)) {
		memcpy(&r->token, body, sizeof(r->token));
		r->n = n - sizeof(r->token);
		memcpy(r->bytes, (const char *)body + sizeof(r->token), r->n);
		if (r->token.result <= KERBEROS_BROKEN && r->token.token_n == r->n)
			r->result[r->token.result]++;
	} else {
		r->failed++;
	}
	if (--r->waiting == 0)
		loop_stop(r->d->loop);
}

static void put_text(char *out, size_t size, const char *text)
{
	if (strlen(text) >= size)
		die("a name is too long");
	memset(out, 0, size);
	strcpy(out, text);
}

/* `how`: which voucher; see the head. */
static void make_ask(struct driver *d, struct kerberos_ask *ask, const char *sam, const char *realm,
    const char *spn, const char *how)
{
	bool other = strcmp(how, "other-account") == 0;
	time_t until = time(NULL) +
	    (strcmp(how, "expired") == 0      ? -5
		    : strcmp(how, "far") == 0 ? 86400
					      : 300);

	memset(ask, 0, sizeof(*ask));
	put_text(ask->sam, sizeof(ask->sam), sam);
	put_text(ask->realm, sizeof(ask->realm), realm);
	memset(ask->certificate, 0x5a, sizeof(ask->certificate));
	if (strcmp(how, "unterminated-spn") == 0)
		memset(ask->spn, 'a', sizeof(ask->spn));
	else
		put_text(ask->spn, sizeof(ask->spn), strcmp(spn, "-") == 0 ? "" : spn);
	if (vouch_make(
		d->vouch, other ? "somebody" : sam, realm, ask->certificate, until, ask->voucher) < 0)
		die("no voucher can be made");
	if (strcmp(how, "none") == 0)
		memset(ask->voucher, 0, sizeof(ask->voucher));
	if (strcmp(how, "forged") == 0)
		ask->voucher[VOUCHER_SIZE - 1] ^= 1;
	if (strcmp(how, "other-certificate") == 0)
		ask->certificate[0] ^= 1;
	if (strcmp(how, "unterminated") == 0)
		memset(ask->sam, 'a', sizeof(ask->sam));
}

static void question(struct driver *d, struct reply *r, const struct kerberos_ask *ask)
{
	memset(r, 0, sizeof(*r));
	r->d = d;
	r->waiting = 1;
	r->began = now_ms();
	if (wire_ask(d->wire, KERBEROS_TOKEN, ask, sizeof(*ask), TIMEOUT_MS, on_reply, r) == 0)
		die("the wire takes no question");
	if (loop_run(d->loop) < 0)
		die("the loop failed");
}

static const char *result_name(uint32_t result)
{
	static const char *const names[] = { "refused", "ok", "no_kdc", "denied", "broken" };

	return result < ARRAY_LEN(names) ? names[result] : "?";
}

/* The child's text is printed as it came: it says of itself that it is clean, but for quotes. */
static void print_text(const char *key, const char *text)
{
	printf(", \"%s\": \"", key);
	for (; *text != '\0'; text++)
		printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
	printf("\"");
}

static void command_token(struct driver *d, struct reply *r, char **word)
{
	static char base64[4 * ((WIRE_BODY_MAX + 2) / 3) + 1];
	struct kerberos_ask ask;

	make_ask(
	    d, &ask, word[1], word[2], word[3], word[4] != NULL ? word[4] : "good");
	question(d, r, &ask);
	text_base64(base64, r->bytes, r->n);
	printf("{\"result\": \"%s\", \"wire\": %d, \"cached\": %u, \"ms\": %.3f",
	    result_name(r->token.result), r->status, r->token.cached, r->last_ms);
	print_text("text", r->token.text);
	print_text("token", base64);
	printf("}\n");
}

static void command_forget(struct driver *d, char **word)
{
	struct kerberos_forget f;

	memset(&f, 0, sizeof(f));
	put_text(f.sam, sizeof(f.sam), word[1]);
	put_text(f.realm, sizeof(f.realm), word[2]);
	if (wire_tell(d->wire, KERBEROS_FORGET, &f, sizeof(f)) < 0)
		die("the wire takes no message");
}

static void command_many(struct driver *d, struct reply *r, char **word, bool rounds)
{
	int n = atoi(word[1]), good = 0;
	struct kerberos_ask ask;
	double began = now_ms(), asked = 0;

	for (int i = 0; i < n; i++) {
		make_ask(d, &ask, word[2], word[3], word[4], "good");
		if (rounds)
			command_forget(d, word + 1);
		question(d, r, &ask);
		asked += r->last_ms;
		good += r->token.result == KERBEROS_OK && r->token.cached == !rounds;
	}
	printf("{\"n\": %d, \"good\": %d, \"each_ms\": %.4f, \"all_ms\": %.1f}\n", n, good,
	    asked / n, now_ms() - began);
}

static void command_flood(struct driver *d, struct reply *r, char **word)
{
	unsigned n = (unsigned)atoi(word[1]);
	struct kerberos_ask ask;
	char sam[64];

	if (n == 0 || n > FLOOD_MAX)
		die("flood: 1 to 1000");
	memset(r, 0, sizeof(*r));
	r->d = d;
	r->waiting = n;
	r->began = now_ms();
	for (unsigned i = 0; i < n; i++) {
		char *mark = strstr(word[2], "%d");
		snprintf(sam, sizeof(sam), "%.*s%02u", mark != NULL ? (int)(mark - word[2]) : 60,
		    word[2], i + 1);
		make_ask(d, &ask, mark != NULL ? sam : word[2], word[3], word[4],
		    "good");
		if (wire_ask(d->wire, KERBEROS_TOKEN, &ask, sizeof(ask), TIMEOUT_MS, on_reply, r) ==
		    0)
			die("the wire takes no question");
	}
	if (loop_run(d->loop) < 0)
		die("the loop failed");
	printf("{\"failed\": %u, \"first_ms\": %.1f, \"last_ms\": %.1f", r->failed, r->first_ms,
	    r->last_ms);
	for (uint32_t i = 0; i <= KERBEROS_BROKEN; i++)
		printf(", \"%s\": %u", result_name(i), r->result[i]);
	printf("}\n");
}

/* Any bytes under any verb, as a captured worker may send them. */
static void command_raw(struct driver *d, struct reply *r, char **word)
{
	static uint8_t bytes[WIRE_BODY_MAX];
	size_t n = word[2] != NULL ? strlen(word[2]) / 2 : 0;

	if (n > sizeof(bytes) || (n > 0 && text_unhex(bytes, n, strv_from(word[2])) < 0))
		die("raw: hex wanted");
	memset(r, 0, sizeof(*r));
	r->d = d;
	r->waiting = 1;
	r->began = now_ms();
	if (wire_ask(d->wire, (uint16_t)atoi(word[1]), bytes, n, 5000, on_reply, r) == 0)
		die("the wire takes no question");
	if (loop_run(d->loop) < 0)
		die("the loop failed");
	printf("{\"wire\": %d, \"result\": \"%s\"", r->status, result_name(r->token.result));
	print_text("text", r->token.text);
	printf("}\n");
}

static long status_line(pid_t pid, const char *key)
{
	char path[64], line[256];
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "r");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, key, strlen(key)) == 0)
			value = atol(line + strlen(key));
	}
	if (f != NULL)
		fclose(f);
	return value;
}

static void command_state(struct driver *d)
{
	printf("{\"pid\": %d, \"rss_kb\": %ld, \"uid\": %ld, \"no_new_privs\": %ld}\n",
	    (int)d->child, status_line(d->child, "VmRSS:"), status_line(d->child, "Uid:"),
	    status_line(d->child, "NoNewPrivs:"));
}

static void obey(struct driver *d, struct reply *r, char **word, int n)
{
	if (strcmp(word[0], "token") == 0 && n >= 4)
		command_token(d, r, word);
	else if (strcmp(word[0], "many") == 0 && n == 5)
		command_many(d, r, word, false);
	else if (strcmp(word[0], "rounds") == 0 && n == 5)
		command_many(d, r, word, true);
	else if (strcmp(word[0], "flood") == 0 && n == 5)
		command_flood(d, r, word);
	else if (strcmp(word[0], "raw") == 0 && n >= 2)
		command_raw(d, r, word);
	else if (strcmp(word[0], "forget") == 0 && n == 3) {
		command_forget(d, word);
		printf("{}\n");
	} else if (strcmp(word[0], "link") == 0) {
		wire_free(d->wire);
		printf("{\"linked\": %s}\n", make_link(d) == 0 ? "true" : "false");
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
	static struct reply r;
	static char line[2 * WIRE_BODY_MAX + 1024];
	struct config_error error;
	char *text;
	size_t n;

	if (argc != 2)
		die("usage: kerberos_driver CONFIG");
	signal(SIGPIPE, SIG_IGN);
	log_setup(LOG_DEBUG, "driver", -1);
	if (config_read_file(argv[1], &text, &n, &error) < 0 ||
	    (d.settings = settings_load(argv[1], (struct strv){ text, n }, &error)) == NULL)
		die(error.text);
	free(text);
	start_child(&d);
	d.loop = loop_new();
	if (d.loop == NULL || (d.vouch = vouch_new(d.key)) == NULL || make_link(&d) < 0)
		die("no wire");
	printf("{\"ready\": true}\n");
	fflush(stdout);
	while (!d.drained && fgets(line, sizeof(line), stdin) != NULL) {
		char *word[8] = { NULL }, *at = line;
		int words = 0;

		while (words < 7 &&
		    (word[words] = strtok_r(words == 0 ? at : NULL, " \n", &at)) != NULL)
			words++;
		if (words > 0)
			obey(&d, &r, word, words);
		fflush(stdout);
	}
	drain(&d);
	loop_free(d.loop);
	vouch_free(d.vouch);
	close(d.control);
	settings_free(d.settings);
	return 0;
}
