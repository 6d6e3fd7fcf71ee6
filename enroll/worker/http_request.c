/*
 * http_request: reads fields of a request for those who serve it, and builds the answer's bytes. Worker of easenroll.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <openssl/crypto.h>

#include "common/log.h"
#include "common/text.h"
#include "enroll/worker/http_server_parts.h"

#define FIELDS_MAX 16384

/* --- life --- */

/* Reads the head again from a copy of its bytes, so that everything in it stays where it is. */
struct pending *pending_new(struct http_connection *c, const struct http_head *head, size_t used)
{
	const struct http_limits limits = { c->server->config.head_bytes, c->server->config.headers };
	struct pending *p = calloc(1, sizeof(*p));
	struct http_scan scan = { 0, 0 };
	size_t again;

	(void)head;
	if (p == NULL || (p->head_bytes = malloc(used)) == NULL || (c->certificate != NULL && (p->certificate = malloc(c->certificate_n)) == NULL)) {
		free(p != NULL ? p->head_bytes : NULL);
		free(p);
		return NULL;
	}
	memcpy(p->head_bytes, buffer_data(&c->in), used);
	p->head_n = used;
	if (http_read_request(&p->head, &scan, p->head_bytes, used, &limits, &again) != HTTP_DONE || again != used)
		bug("a head that was read cannot be read again");
	buffer_init(&p->body, c->server->config.body_bytes + 1);
	buffer_init(&p->fields, FIELDS_MAX);
	memcpy(p->client, c->client, sizeof(p->client));
	if (p->certificate != NULL)
		memcpy(p->certificate, c->certificate, c->certificate_n);
	p->r = (struct http_request){ .method = p->head.method, .path = p->head.path, .query = p->head.query, .host = p->head.host,
		.head = &p->head, .client = p->client, .way = c->listener->way, .uid = c->uid,
		.certificate = { (const char *)p->certificate, p->certificate != NULL ? c->certificate_n : 0 } };
	p->connection = c;
	p->server = c->server;
	p->next = c->server->requests;
	if (p->next != NULL)
		p->next->prev = p;
	c->server->requests = p;
	return p;
}

void pending_free(struct pending *p)
{
	if (p->next != NULL)
		p->next->prev = p->prev;
	if (p->prev != NULL)
		p->prev->next = p->next;
	else
		p->server->requests = p->next;
	OPENSSL_cleanse(p->head_bytes, p->head_n);	/* Authorization, cookies */
	free(p->head_bytes);
	free(p->certificate);
	buffer_clear(&p->body);
	buffer_clear(&p->fields);
	free(p);
}

void pending_serve(struct pending *p)
{
	p->r.body = buffer_view(&p->body);
	p->server->config.serve(&p->r, p->server->config.arg);
}

bool http_request_is_awaited(const struct http_request *r)
{
	return ((const struct pending *)(const void *)r)->connection != NULL;
}

bool http_request_is_bound(const struct http_request *r, struct strv base64)
{
	struct http_connection *c = ((const struct pending *)(const void *)r)->connection;

	if (c != NULL && c->ssl != NULL && !c->binding.known && SSL_version(c->ssl) >= TLS1_3_VERSION)
		tls_binding_take(c->ssl, &c->binding);
	return c != NULL && tls_binding_is(&c->binding, base64);
}

/* --- reading --- */

struct strv http_request_field(const struct http_request *r, const char *name)
{
	const struct http_field *found = NULL;

	for (size_t i = 0; i < r->head->fields; i++) {
		if (!text_eq_nocase(r->head->field[i].name, strv_from(name)))
			continue;
		if (found != NULL)
			return (struct strv){ NULL, 0 };
		found = &r->head->field[i];
	}
	return found != NULL ? found->value : (struct strv){ NULL, 0 };
}

bool http_request_query(const struct http_request *r, const char *name, struct strv *raw)
{
	struct strv rest = r->query;

	while (rest.p != NULL) {
		struct strv part = text_split(&rest, '&');
		struct strv value = part, key = text_split(&value, '=');
		if (strv_eq(key, strv_from(name))) {
			*raw = value.p != NULL ? value : (struct strv){ "", 0 };
			return true;
		}
	}
	return false;
}

long http_request_query_text(const struct http_request *r, const char *name, char *out, size_t size)
{
	struct strv raw;
	long n = -1;

	out[0] = '\0';
	if (http_request_query(r, name, &raw))
		n = text_percent_decode(out, size - 1, raw);
	out[n > 0 ? n : 0] = '\0';
	return n;
}

bool http_request_cookie(const struct http_request *r, const char *name, struct strv *value)
{
	unsigned found = 0;

	for (size_t i = 0; i < r->head->fields; i++) {
		struct strv rest = r->head->field[i].value;
		if (r->head->field[i].id != HTTP_COOKIE)
			continue;
		while (rest.p != NULL) {
			struct strv part = text_trim(text_split(&rest, ';'));
			struct strv v = part, key = text_split(&v, '=');
			if (v.p != NULL && strv_eq(key, strv_from(name))) {
				*value = v;
				found++;
			}
		}
	}
	return found == 1;
}

bool http_request_has_tag(const struct http_request *r, const char *tag)
{
	struct strv tags = http_request_field(r, "If-None-Match"), one;

	while (tags.p != NULL) {
		one = text_trim(text_split(&tags, ','));
		if (strv_eq(one, STRV("*")))
			return true;
		if (text_starts_nocase(one, STRV("W/")))
			one = (struct strv){ one.p + 2, one.n - 2 };
		if (one.n == strlen(tag) + 2 && one.p[0] == '"' && one.p[one.n - 1] == '"' && memcmp(one.p + 1, tag, one.n - 2) == 0)
			return true;
	}
	return false;
}

bool http_request_is(const struct http_request *r, const char *type)
{
	const struct http_field *f = http_find(r->head, HTTP_CONTENT_TYPE);
	struct strv rest;

	if (f == NULL)
		return false;
	rest = f->value;
	return text_eq_nocase(text_trim(text_split(&rest, ';')), strv_from(type));
}

/* --- answering --- */

const char *http_status_text(unsigned status)
{
	static const struct {
		unsigned status;
		const char *text;
	} texts[] = {
		{ 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 204, "No Content" }, { 301, "Moved Permanently" }, { 302, "Found" },
		{ 303, "See Other" }, { 304, "Not Modified" }, { 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" },
		{ 404, "Not Found" }, { 405, "Method Not Allowed" }, { 406, "Not Acceptable" }, { 408, "Request Timeout" }, { 409, "Conflict" },
		{ 410, "Gone" }, { 411, "Length Required" }, { 412, "Precondition Failed" }, { 413, "Content Too Large" },
		{ 415, "Unsupported Media Type" }, { 417, "Expectation Failed" }, { 422, "Unprocessable Content" }, { 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" }, { 501, "Not Implemented" },
		{ 502, "Bad Gateway" }, { 503, "Service Unavailable" }, { 504, "Gateway Timeout" }, { 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (texts[i].status == status)
			return texts[i].text;
	}
	return status < 400 ? "OK" : "Error";
}

static const char *date(struct loop *loop)
{
	static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	static char text[64];
	static time_t of = -1;
	time_t now = loop_wall(loop);
	struct tm tm;

	if (now == of || gmtime_r(&now, &tm) == NULL)
		return text;
	of = now;
	/* strftime() would follow a locale */
	snprintf(text, sizeof(text), "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
	    tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
	return text;
}

/* The whole answer into c->out. */
static int write_answer(struct http_connection *c, unsigned status, const char *type, struct strv fields, struct strv body, bool head_only,
    const char *connection, struct http_shared *shared)
{
	bool bodiless = status == 204 || status == 304;
	size_t before = buffer_len(&c->out);
	int rc;

	c->out.max = before + fields.n + (shared != NULL ? 0 : body.n) + 1024;
	rc = buffer_printf(&c->out, "HTTP/1.1 %u %s\r\nDate: %s\r\n", status, http_status_text(status), date(c->server->loop));
	if (type != NULL && !bodiless)
		rc |= buffer_printf(&c->out, "Content-Type: %s\r\n", type);
	if (!bodiless)
		rc |= buffer_printf(&c->out, "Content-Length: %zu\r\n", body.n);
	if (connection != NULL)
		rc |= buffer_printf(&c->out, "Connection: %s\r\n", connection);
	rc |= buffer_addv(&c->out, fields) | buffer_addv(&c->out, STRV("\r\n"));
	if (bodiless || head_only)
		return rc;
	if (shared == NULL)
		return rc | buffer_addv(&c->out, body);
	shared->refs++;
	c->shared = shared;
	c->rest = body;
	return rc;
}

void pending_refuse(struct http_connection *c, unsigned status, const char *text)
{
	bool head_only = c->pending != NULL && strv_eq(c->pending->r.method, STRV("HEAD"));

	if (c->pending != NULL)
		pending_free(c->pending);
	c->pending = NULL;
	if (write_answer(c, status, "text/plain; charset=utf-8", STRV("Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"), strv_from(text),
		head_only, "close", NULL) < 0)
		buffer_clear(&c->out);
	connection_answer(c, true, 0);
}

static bool is_field_text(const char *p)
{
	for (; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return false;
	}
	return true;
}

void http_reply_field(struct http_request *r, const char *name, const char *fmt, ...)
{
	struct pending *p = (struct pending *)(void *)r;
	char value[4096];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(value, sizeof(value), fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(value) || !is_field_text(value) || !http_is_token(strv_from(name)) ||
	    buffer_printf(&p->fields, "%s: %s\r\n", name, value) < 0) {
		log_say(LOG_ERROR, "reply_broken", "the field %s of an answer cannot be sent", name);
		p->broken = true;
	}
}

void http_reply_close(struct http_request *r)
{
	((struct pending *)(void *)r)->close = true;
}

static void reply(struct http_request *r, unsigned status, const char *type, struct strv body, struct http_shared *shared)
{
	struct pending *p = (struct pending *)(void *)r;
	struct http_connection *c = p->connection;
	bool head_only = strv_eq(r->method, STRV("HEAD")), close_after = p->close || !p->head.keep_alive;
	struct strv fields = buffer_view(&p->fields);
	uint64_t number;

	if (p->server->config.answered != NULL)
		p->server->config.answered(r, p->broken ? 500 : status, body.n, p->server->config.arg);
	if (c == NULL) {
		pending_free(p);
		return;
	}
	if (p->broken) {
		status = 500;
		type = NULL;
		fields = body = (struct strv){ NULL, 0 };
		shared = NULL;
	}
	if (c->server->draining)
		close_after = true;
	if (write_answer(c, status, type, fields, body, head_only, close_after ? "close" : p->head.minor == 0 ? "keep-alive" : NULL, shared) < 0) {
		log_say(LOG_ERROR, "reply_broken", "no memory for an answer of %zu bytes", body.n);
		buffer_clear(&c->out);
		connection_drop_shared(c);
		close_after = true;
	}
	number = c->server->config.hold != NULL ? c->server->config.hold(r, c->server->config.arg) : 0;
	pending_free(p);
	connection_answer(c, close_after, number);
}

void http_reply(struct http_request *r, unsigned status, const char *type, struct strv body)
{
	reply(r, status, type, body, NULL);
}

void http_reply_shared(struct http_request *r, unsigned status, const char *type, struct http_shared *body)
{
	reply(r, status, type, body->bytes, body);
}

void http_shared_drop(struct http_shared *shared)
{
	if (shared != NULL && --shared->refs == 0)
		shared->free(shared);
}

void http_reply_text(struct http_request *r, unsigned status, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	http_reply(r, status, "text/plain; charset=utf-8", strv_from(text));
}
