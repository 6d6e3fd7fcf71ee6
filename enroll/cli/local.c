/*
 * local: HTTP/1.1 to our own server over a local socket, and its JSON as tables. Runs alone.
 */
#include "enroll/cli/local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/buffer.h"
#include "common/http_head.h"
#include "common/text.h"

#define COLUMNS_MAX 8

/* --- bytes --- */

static int dial(const struct enroll_settings *s)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct timeval limit = { 5, 0 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/easenroll.sock", s->common.run_dir);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
	    connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return fd;
	fprintf(stderr, "%s: %s: %s\n", sun.sun_path, strerror(errno),
	    errno == EACCES ? "run it as root or as easenroll's user" : "easenroll does not run with this configuration");
	if (fd >= 0)
		close(fd);
	return -1;
}

static int send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return -1;
		p += sent;
		n -= (size_t)sent;
	}
	return 0;
}

static int read_all(int fd, struct buffer *in)
{
	for (;;) {
		size_t room;
		char *p = buffer_reserve(in, 4096, &room);
		ssize_t n = p != NULL ? recv(fd, p, room, 0) : -1;
		if (n < 0 && p != NULL && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 ? 0 : -1;
		buffer_added(in, (size_t)n);
	}
}

static int talk(int fd, const char *method, const char *path, const char *body, struct buffer *in)
{
	struct buffer out;
	int rc;

	buffer_init(&out, LOCAL_ANSWER_MAX);
	rc = buffer_printf(&out, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", method, path);
	if (body != NULL)
		rc |= buffer_printf(&out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
	rc |= buffer_printf(&out, "\r\n%s", body != NULL ? body : "");
	if (rc == 0)
		rc = send_all(fd, buffer_data(&out), buffer_len(&out));
	buffer_clear(&out);
	return rc == 0 ? read_all(fd, in) : -1;
}

/* --- one question --- */

/* Without the end of its line. */
static json_t *plain_text(const char *p, size_t n)
{
	while (n > 0 && p[n - 1] == '\n')
		n--;
	return json_stringn(p, n);
}

static json_t *read_answer(struct buffer *in, unsigned *status)
{
	static const struct http_limits limits = { 16384, 64 };
	static struct http_head head;
	struct http_scan scan = { 0, 0 };
	json_t *answer;
	size_t used;

	if (http_read_response(&head, &scan, buffer_data(in), buffer_len(in), &limits, &used) != HTTP_DONE)
		return NULL;
	*status = head.status;
	answer = json_loadb(buffer_data(in) + used, buffer_len(in) - used, 0, NULL);
	if (answer == NULL) {
		answer = json_object();
		(void)json_object_set_new(answer, "text", plain_text(buffer_data(in) + used, buffer_len(in) - used));
	}
	return answer;
}

json_t *local_ask(const struct enroll_settings *s, const char *method, const char *path, json_t *body, unsigned *status)
{
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
	json_t *answer = NULL;
	struct buffer in;
	int fd = dial(s);

	*status = 0;
	json_decref(body);
	buffer_init(&in, LOCAL_ANSWER_MAX);
	if (fd >= 0 && (talk(fd, method, path, text, &in) < 0 || (answer = read_answer(&in, status)) == NULL))
		fprintf(stderr, "easenroll did not answer within 5 s\n");
	if (fd >= 0)
		close(fd);
	free(text);
	buffer_clear(&in);
	return answer;
}

json_t *local_do_to(const struct enroll_settings *s, const char *method, const char *path, json_t *body, const char *what, const char *cure)
{
	unsigned status;
	json_t *answer = local_ask(s, method, path, body, &status);
	const char *text = json_string_value(json_object_get(answer, "text"));
	/* 400 in plain text: what was named cannot even stand in a path */
	bool named = what != NULL && (status == 404 || status == 409 || (status == 400 && json_object_get(answer, "error") == NULL));

	if (answer == NULL || (status >= 200 && status < 300))
		return answer;
	text = text != NULL ? text : http_result_text(HTTP_BAD_LINE);
	fputs("easenroll: ", stderr);
	if (named) {
		cli_print(stderr, what);
		fputs(": ", stderr);
	}
	cli_print(stderr, text);
	fprintf(stderr, "%s%s\n", named ? " See: " : "", named ? cure : "");
	json_decref(answer);
	return NULL;
}

json_t *local_do(const struct enroll_settings *s, const char *method, const char *path, json_t *body)
{
	return local_do_to(s, method, path, body, NULL, NULL);
}

int local_escape(char *path, size_t size, const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~";
	size_t n = strlen(path);

	for (; *text != '\0'; text++) {
		if (n + 4 > size)
			return -1;
		if (strchr(plain, *text) != NULL)
			path[n++] = *text;
		else
			n += (size_t)snprintf(path + n, size - n, "%%%02X", (unsigned)(unsigned char)*text);
	}
	path[n] = '\0';
	return 0;
}

/* --- for people --- */

/* The member at "a.b" as text; "" where it is missing or null. */
static const char *text_at(const json_t *object, const char *key, char *room, size_t size)
{
	char name[64];
	const char *dot = strchr(key, '.');
	const json_t *v;

	if (dot != NULL) {
		snprintf(name, sizeof(name), "%.*s", (int)(dot - key), key);
		return text_at(json_object_get(object, name), dot + 1, room, size);
	}
	v = json_object_get(object, key);
	if (json_is_string(v))
		return json_string_value(v);
	room[0] = '\0';
	if (json_is_integer(v))
		snprintf(room, size, "%lld", (long long)json_integer_value(v));
	else if (json_is_boolean(v))
		snprintf(room, size, "%s", json_is_true(v) ? "yes" : "no");
	return room;
}

static void print_cell(const char *text, size_t width, bool last)
{
	cli_print(stdout, text);
	for (size_t n = cli_width(text); !last && n < width + 2; n++)
		putchar(' ');
}

void local_table(const json_t *list, const char *const *keys, const char *const *titles, size_t columns)
{
	size_t width[COLUMNS_MAX], i;
	const json_t *row;
	char room[32];

	for (size_t c = 0; c < columns; c++) {
		width[c] = cli_width(titles[c]);
		json_array_foreach(list, i, row) {
			size_t n = cli_width(text_at(row, keys[c], room, sizeof(room)));
			width[c] = n > width[c] ? n : width[c];
		}
	}
	for (size_t c = 0; c < columns; c++)
		print_cell(titles[c], width[c], c + 1 == columns);
	putchar('\n');
	json_array_foreach(list, i, row) {
		for (size_t c = 0; c < columns; c++)
			print_cell(text_at(row, keys[c], room, sizeof(room)), width[c], c + 1 == columns);
		putchar('\n');
	}
}

void local_rows(const json_t *list, const char *const *keys, const char *const *titles, size_t columns, const char *cure)
{
	local_table(list, keys, titles, columns);
	if (json_array_size(list) >= LOCAL_ROWS_MAX) {
		fflush(stdout);
		fprintf(stderr, "easenroll: these are the first %d, and there may be more: %s\n", LOCAL_ROWS_MAX, cure);
	}
}

void local_fact(const char *key, const char *text)
{
	printf("%-16s ", key);
	cli_print(stdout, text);
	putchar('\n');
}

void local_facts(const json_t *object)
{
	const char *key;
	json_t *v;
	char room[32];

	json_object_foreach((json_t *)(uintptr_t)object, key, v) {
		if (!json_is_object(v) && !json_is_array(v))
			local_fact(key, text_at(object, key, room, sizeof(room)));
	}
}

void local_json(const json_t *any)
{
	json_dumpf(any, stdout, JSON_INDENT(2));
	putchar('\n');
}

int local_tell(const struct cli *c, json_t *answer)
{
	if (answer == NULL)
		return 1;
	if (c->json)
		local_json(answer);
	else
		local_facts(answer);
	json_decref(answer);
	return 0;
}

int local_tell_list(const struct cli *c, json_t *answer, const char *key, const char *const *keys, const char *const *titles, size_t columns,
    const char *more)
{
	if (answer == NULL)
		return 1;
	if (c->json)
		local_json(answer);
	else if (more != NULL)
		local_rows(json_object_get(answer, key), keys, titles, columns, more);
	else
		local_table(json_object_get(answer, key), keys, titles, columns);
	json_decref(answer);
	return 0;
}
