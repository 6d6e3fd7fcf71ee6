/*
 * server: evhttp, authentication, and the way from a request to a call.
 * Knows no command but OPTIONS, which has no body.
 * Part of the sample mail server, which runs as one process.
 */
#include "server.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>

#include "call.h"
#include "commands.h"
#include "text.h"
#include "wbxml.h"

#define PATH "/Microsoft-Server-ActiveSync"
#define HEALTH_PATH PATH "/healthcheck.htm"
#define BODY_MAX (32 << 20)
#define HEAD_MAX 65536
#define IDLE_SECONDS (HEARTBEAT_MAX + 120)

struct server {
	const struct server_options *options;
	struct call_env env;
	struct evhttp *http;
	struct evconnlistener *listener;        /* evhttp's */
	evutil_socket_t fd;
};

/* The only header of that name; NULL: none, or several. */
static const char *only_header(struct evhttp_request *req, const char *name)
{
	const struct evkeyval *header;
	const char *found = NULL;

	TAILQ_FOREACH(header, evhttp_request_get_input_headers(req), next) {
		if (strcasecmp(header->key, name) != 0)
			continue;
		if (found != NULL)
			return NULL;
		found = header->value;
	}
	return found;
}

/* The user of "Basic base64(user:password)"; any password will do. */
static bool basic_user(const char *value, char out[ACCOUNT_NAME_MAX + 1])
{
	unsigned char plain[1024];
	const unsigned char *colon;
	ssize_t n;

	if (value == NULL || strncasecmp(value, "Basic ", 6) != 0 || strlen(value) > 1024)
		return false;
	n = text_base64(value + 6, strlen(value + 6), false, plain);
	if (n <= 0)
		return false;
	colon = memchr(plain, ':', (size_t)n);
	if (colon == NULL || colon == plain || colon - plain > ACCOUNT_NAME_MAX ||
	    memchr(plain, 0, (size_t)n) != NULL)
		return false;
	memcpy(out, plain, (size_t)(colon - plain));
	out[colon - plain] = '\0';
	return true;
}

static bool authenticate(const struct server *s, struct evhttp_request *req,
    char out[ACCOUNT_NAME_MAX + 1])
{
	const char *name;

	if (s->options->user_header != NULL) {
		name = only_header(req, s->options->user_header);
		if (name != NULL && *name != '\0' && strlen(name) <= ACCOUNT_NAME_MAX) {
			strcpy(out, name);
			return true;
		}
	}
	return s->options->basic && basic_user(only_header(req, "Authorization"), out);
}

/* An answer without ActiveSync in it. */
static void plain_reply(const struct server *s, struct evhttp_request *req, const char *user,
    const char *command, int status, int64_t began)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);

	if (status == 401 && s->options->basic)
		evhttp_add_header(headers, "WWW-Authenticate", "Basic realm=\"sample-mail\"");
	if (s->options->log)
		call_log(user, command, NULL, status, began);
	evhttp_send_reply(req, status, NULL, NULL);
}

static void answer_options(const struct server *s, struct evhttp_request *req, const char *user,
    int64_t began)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);

	evhttp_add_header(headers, "MS-Server-ActiveSync", "15.2");
	evhttp_add_header(headers, "MS-ASProtocolVersions", EAS_VERSIONS);
	evhttp_add_header(headers, "MS-ASProtocolCommands", EAS_COMMAND_NAMES);
	evhttp_add_header(headers, "Allow", "OPTIONS,POST");
	evhttp_add_header(headers, "Public", "OPTIONS,POST");
	evhttp_add_header(headers, "Cache-Control", "private");
	plain_reply(s, req, user, "OPTIONS", 200, began);
}

/* Decodes the body of the request into *doc. Returns 0 or an HTTP status. */
static int read_body(struct evhttp_request *req, xmlDoc **doc)
{
	struct evbuffer *body = evhttp_request_get_input_buffer(req);
	const char *type = only_header(req, "Content-Type");
	size_t n = evbuffer_get_length(body);
	const unsigned char *bytes;

	if (n == 0)
		return 0;
	if (type == NULL)
		return 400;
	if (strncasecmp(type, "message/rfc822", 14) == 0)
		return 0;
	if (strncasecmp(type, "application/vnd.ms-sync", 23) != 0)
		return 400;
	bytes = evbuffer_pullup(body, -1);
	*doc = bytes == NULL ? NULL : wbxml_decode(bytes, n);
	return *doc == NULL ? 400 : 0;
}

/* Reads the query, and the version from the header if the query does not have it. */
static int read_query(struct evhttp_request *req, struct eas_query *q)
{
	const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req));
	const char *version = only_header(req, "MS-ASProtocolVersion");

	if (query == NULL || eas_query_parse(query, q) < 0)
		return 400;
	if (q->version == 0 && version != NULL)
		q->version = eas_version_parse(version);
	if (q->version == 0)
		return 400;
	return command_handler(q->command) == NULL ? 501 : 0;
}

/* Turns the request into *out. Returns 0 or an HTTP status. */
static int make_call(const struct server *s, struct evhttp_request *req, const char *user,
    struct call **out)
{
	struct call *c = calloc(1, sizeof(*c));
	int status;

	if (c == NULL)
		return 503;
	status = read_query(req, &c->query);
	if (status == 0)
		status = read_body(req, &c->doc);
	if (status != 0)
		goto fail;
	status = 503;
	c->account = accounts_get(s->env.accounts, user);
	if (c->account == NULL)
		goto fail;
	c->device = device_get(&c->account->devices, c->query.device_id, ACCOUNT_DEVICES_MAX);
	if (c->device == NULL)
		goto fail;
	c->env = &s->env;
	c->http = req;
	c->run = command_handler(c->query.command);
	c->command = eas_command_name(c->query.command);
	*out = c;
	return 0;
fail:
	xmlFreeDoc(c->doc);
	free(c);
	return status;
}

static void on_request(struct evhttp_request *req, void *arg)
{
	const struct server *s = arg;
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req));
	enum evhttp_cmd_type method = evhttp_request_get_command(req);
	char user[ACCOUNT_NAME_MAX + 1];
	int64_t began = call_clock();
	struct call *c = NULL;
	int status;

	if (path == NULL || (strcasecmp(path, PATH) != 0 && strcasecmp(path, HEALTH_PATH) != 0)) {
		plain_reply(s, req, NULL, NULL, 404, began);
	} else if (strcasecmp(path, HEALTH_PATH) == 0) {
		plain_reply(s, req, NULL, "health", 200, began);
	} else if (!authenticate(s, req, user)) {
		plain_reply(s, req, NULL, NULL, 401, began);
	} else if (method == EVHTTP_REQ_OPTIONS) {
		answer_options(s, req, user, began);
	} else if (method != EVHTTP_REQ_POST) {
		plain_reply(s, req, user, NULL, 405, began);
	} else if ((status = make_call(s, req, user, &c)) != 0) {
		plain_reply(s, req, user, NULL, status, began);
	} else {
		c->began = began;
		call_run(c);
	}
}

static struct bufferevent *tls_connection(struct event_base *base, void *arg)
{
	SSL *ssl = SSL_new(arg);
	struct bufferevent *bev;

	if (ssl == NULL)
		return NULL;
	bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
	    BEV_OPT_CLOSE_ON_FREE);
	if (bev == NULL)
		SSL_free(ssl);
	return bev;
}

static void accept_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	evconnlistener_enable(arg);
}

/* Out of descriptors: accept() would fail again at once, so wait until some are closed. */
static void accept_failed(struct evconnlistener *listener, void *arg)
{
	const struct timeval second = { 1, 0 };

	(void)arg;
	evconnlistener_disable(listener);
	event_base_once(evconnlistener_get_base(listener), -1, EV_TIMEOUT, accept_again, listener,
	    &second);
}

static int listen_on(struct server *s)
{
	const struct server_options *o = s->options;
	struct evhttp_bound_socket *bound;

	s->http = evhttp_new(s->env.base);
	if (s->http == NULL)
		return -1;
	evhttp_set_allowed_methods(s->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_OPTIONS);
	evhttp_set_max_headers_size(s->http, HEAD_MAX);
	evhttp_set_max_body_size(s->http, BODY_MAX);
	evhttp_set_timeout(s->http, IDLE_SECONDS);
	evhttp_set_default_content_type(s->http, NULL);
	evhttp_set_gencb(s->http, on_request, s);
	if (o->tls != NULL)
		evhttp_set_bevcb(s->http, tls_connection, o->tls);
	bound = evhttp_bind_socket_with_handle(s->http, o->address, o->port);
	if (bound == NULL)
		return -1;
	s->fd = evhttp_bound_socket_get_fd(bound);
	s->listener = evhttp_bound_socket_get_listener(bound);
	evconnlistener_set_error_cb(s->listener, accept_failed);
	return 0;
}

struct server *server_new(struct event_base *base, const struct server_options *o)
{
	struct server *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->options = o;
	s->env.base = base;
	s->env.log = o->log;
	s->env.accounts = accounts_new(o->domain);
	if (s->env.accounts == NULL || listen_on(s) < 0) {
		server_free(s);
		return NULL;
	}
	return s;
}

uint16_t server_port(const struct server *s)
{
	struct sockaddr_storage address = { 0 };
	socklen_t n = sizeof(address);

	if (getsockname(s->fd, (struct sockaddr *)&address, &n) < 0)
		return 0;
	if (address.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
	return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

void server_stop(struct server *s)
{
	evconnlistener_disable(s->listener);
	calls_stop(s->env.accounts);
}

void server_free(struct server *s)
{
	int saved = errno;

	if (s == NULL)
		return;
	if (s->http != NULL)
		evhttp_free(s->http);
	accounts_free(s->env.accounts);
	free(s);
	errno = saved;
}
