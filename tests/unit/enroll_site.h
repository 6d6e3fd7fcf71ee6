/*
 * enroll_site: easenroll's worker without its processes, for tests of what it serves: the real routes, HTTP server, registry, issuing and signer, in
 * one loop; the directory is one account that the test may change. Everything asserts.
 */
#ifndef TEST_ENROLL_SITE_H
#define TEST_ENROLL_SITE_H

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "enroll/worker/chain.h"
#include "enroll/worker/issue.h"
#include "enroll/worker/scep.h"
#include "enroll/worker/worker.h"
#include "tests/unit/enroll_ca.h"

#define ANNA_SID "S-1-5-21-1-2-3-1104"

struct test_site {
	struct test_ca ca;
	struct signer signer;
	struct loop *loop;
	struct wire *signer_end, *directory_end;
	struct enroll_settings settings;
	struct enroll_profile profile;
	struct profile_rule rule;
	struct enroll_worker w;
	struct account account;
	char dir[64], path[128];
	int fd;
	bool no_issue;		/* the signer has no answer to SIGNER_ISSUE */
	uint16_t port;
	struct evbuffer *got;
};

static struct test_site site;

static inline void site_signer(struct wire *wire, uint16_t verb, uint64_t number, const void *body, size_t n)
{
	const struct signer_answer broken = { .status = SIGNER_BROKEN, .text = "the token is gone" };
	size_t answer_n = 0;
	uint8_t *answer;

	if (verb == SIGNER_ISSUE && site.no_issue) {
		if (wire_answer(wire, number, &broken, sizeof(broken)) < 0)
			abort();
		return;
	}
	answer = signer_serve(&site.signer, verb, body, n, (int64_t)time(NULL), &answer_n);

	if (answer == NULL || wire_answer(wire, number, answer, answer_n) < 0)
		abort();
	free(answer);
}

#define SITE_VERB(name, verb)                                                                                \
	static void site_##name(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)      \
	{                                                                                                    \
		(void)arg;                                                                                   \
		site_signer(w, verb, number, body, n);                                                       \
	}
SITE_VERB(issue, SIGNER_ISSUE)
SITE_VERB(open, SIGNER_SCEP_OPEN)
SITE_VERB(sign, SIGNER_SCEP_SIGN)
SITE_VERB(chain, SIGNER_CHAIN)
SITE_VERB(next_ca, SIGNER_NEXT_CA)
#undef SITE_VERB

static void site_find(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct directory_found found = { .result = ACCOUNT_UNKNOWN };
	struct directory_find find;

	(void)arg;
	(void)n;
	memcpy(&find, body, sizeof(find));
	if (strcmp(find.value, site.account.sid) == 0 || strcmp(find.value, site.account.upn) == 0) {
		found.result = ACCOUNT_FOUND;
		found.account = site.account;
	}
	if (wire_answer(w, number, &found, sizeof(found)) < 0)
		abort();
}

static const struct wire_verb site_signer_verbs[] = {
	{ SIGNER_ISSUE, "issue", 1, WIRE_BODY_MAX, site_issue }, { SIGNER_SCEP_OPEN, "open", 1, WIRE_BODY_MAX, site_open },
	{ SIGNER_SCEP_SIGN, "sign", 1, WIRE_BODY_MAX, site_sign }, { SIGNER_CHAIN, "chain", 0, 0, site_chain },
	{ SIGNER_NEXT_CA, "next_ca", 0, 0, site_next_ca }, { 0, NULL, 0, 0, NULL },
};
static const struct wire_verb site_directory_verbs[] = {
	{ DIRECTORY_FIND, "find", sizeof(struct directory_find), sizeof(struct directory_find), site_find }, { 0, NULL, 0, 0, NULL },
};

static inline struct wire *site_peer(struct asker *a, const struct wire_verb *verbs)
{
	const struct wire_config config = { .verbs = verbs, .name = "test" };
	struct wire *w;
	int fds[2];

	if (wire_pair(fds) < 0)
		abort();
	w = wire_new(site.loop, fds[1], &config);
	asker_link(a, fds[0]);
	return w;
}

static void site_chain_changed(void *arg)
{
	const struct chain_entry *ca = chain_first(site.w.chain, SIGNER_CHAIN_ISSUING);

	(void)arg;
	issuer_embedded_set_name(site.w.issuer, ca->name);
	loop_stop(site.loop);
}

static inline void site_listen(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct http_server_config config = { .head_bytes = 65536, .headers = 64, .body_bytes = 1048576, .bodies_bytes = 8388608,
		.connections = 16, .connections_per_address = 16,
		.handshake_seconds = 5, .head_seconds = 5, .body_seconds = 5, .idle_seconds = 5, .serve = route_serve, .arg = &site.w };
	socklen_t n = sizeof(in);

	site.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (site.fd < 0 || bind(site.fd, (struct sockaddr *)&in, n) < 0 || listen(site.fd, 16) < 0 ||
	    getsockname(site.fd, (struct sockaddr *)&in, &n) < 0)
		abort();
	site.port = ntohs(in.sin_port);
	site.w.http = http_server_new(site.loop, &config);
	if (http_server_listen(site.w.http, site.fd, HTTP_WAY_PLAIN, NULL) < 0)
		abort();
}

static inline void site_registry(void)
{
	struct issue_config config = { .loop = site.loop };
	char why[512] = "";

	snprintf(site.dir, sizeof(site.dir), "/tmp/test-site-XXXXXX");
	if (mkdtemp(site.dir) == NULL)
		abort();
	snprintf(site.path, sizeof(site.path), "%s/registry.db", site.dir);
	site.settings.common.state_dir = site.dir;
	site.w.registry = registry_open(site.path, why, sizeof(why));
	if (site.w.registry == NULL || secret_key_load(site.dir, &site.w.secret_key, why, sizeof(why)) < 0) {
		fprintf(stderr, "registry: %s\n", why);
		abort();
	}
	config.registry = site.w.registry;
	config.issuer = site.w.issuer = issuer_embedded_new(site.w.signer);
	site.w.issue = issue_new(&config);
}

static inline void site_settings(void)
{
	static char none[] = "";

	site.profile = (struct enroll_profile){ .name = (char[]){ "mail" }, .days = 365, .subject = (char[]){ "" }, .upn = true, .mail = true,
		.sid = true, .required_group = (char[]){ "" } };
	site.settings.common.lockout.address_attempts = 100000;
	site.settings.enroll = (struct enroll_section){ .profiles = &site.profile, .profiles_count = 1,
		.portal = { .devices_per_user = 20, .required_group = none, .admin_group = none }, .scep = { .enabled = true, .des3 = true } };
	site.profile.name = strdup("mail");
	site.profile.subject = strdup("");
	site.profile.required_group = strdup("");
	site.rule = (struct profile_rule){ .name = "mail", .days = 365, .upn = true, .mail = true, .sid = true, .group = -1 };
	site.account = (struct account){ .sid = ANNA_SID, .sam = "anna", .realm = "CORP.EXAMPLE", .upn = "anna@corp.example",
		.mail = "anna@example.com", .display_name = "Anna Example", .flags = ACCOUNT_ENABLED };
}

static inline void site_make(const struct route *routes)
{
	struct refusal r = { 0 };

	memset(&site, 0, sizeof(site));
	test_ca_make(&site.ca, KEY_EC_P256, "");
	if (signer_init(&site.signer, &site.ca.setup, (int64_t)time(NULL), &r) < 0) {
		fprintf(stderr, "signer: %s\n", r.text);
		abort();
	}
	site.loop = loop_new();
	site_settings();
	site.w.loop = site.loop;
	site.w.settings = &site.settings;
	site.w.rules = &site.rule;
	site.w.routes[0] = routes;
	site.w.signer = asker_new(site.loop, "signer", NULL, &site.w);
	site.w.directory = asker_new(site.loop, "directory", NULL, &site.w);
	site.signer_end = site_peer(site.w.signer, site_signer_verbs);
	site.directory_end = site_peer(site.w.directory, site_directory_verbs);
	site_registry();
	site.w.chain = chain_new(site.loop, site.w.signer, site_chain_changed, NULL);
	site_listen();
	site.got = evbuffer_new();
	chain_ask(site.w.chain);
	if (loop_run(site.loop) < 0)
		abort();
}

static inline void site_remove(void)
{
	char command[256];

	issue_free(site.w.issue);
	site.w.issuer->free(site.w.issuer);
	chain_free(site.w.chain);
	http_server_free(site.w.http);
	asker_free(site.w.signer);
	asker_free(site.w.directory);
	wire_free(site.signer_end);
	wire_free(site.directory_end);
	registry_close(site.w.registry);
	evbuffer_free(site.got);
	loop_free(site.loop);
	close(site.fd);
	free(site.profile.name);
	free(site.profile.subject);
	free(site.profile.required_group);
	signer_clear(&site.signer);
	test_ca_remove(&site.ca);
	snprintf(command, sizeof(command), "rm -rf %s", site.dir);
	if (system(command) != 0)
		abort();
}

static void site_read(struct bufferevent *b, void *arg)
{
	(void)arg;
	evbuffer_add_buffer(site.got, bufferevent_get_input(b));
}

static void site_event(struct bufferevent *b, short what, void *arg)
{
	(void)b;
	(void)arg;
	if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0)
		loop_stop(site.loop);
}

/* Sends these bytes, returns the status; *body (borrowed until the next call) is what follows the head, *head the head. */
static inline unsigned site_ask(const void *bytes, size_t n, struct strv *head, struct strv *body)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(site.port) };
	struct bufferevent *b = bufferevent_socket_new(loop_base(site.loop), -1, BEV_OPT_CLOSE_ON_FREE);
	size_t all;
	char *p, *end;

	evbuffer_drain(site.got, evbuffer_get_length(site.got));
	bufferevent_setcb(b, site_read, NULL, site_event, NULL);
	bufferevent_enable(b, EV_READ);
	if (bufferevent_socket_connect(b, (struct sockaddr *)&in, sizeof(in)) < 0 || bufferevent_write(b, bytes, n) < 0 || loop_run(site.loop) < 0)
		abort();
	bufferevent_free(b);
	all = evbuffer_get_length(site.got);
	p = (char *)evbuffer_pullup(site.got, -1);
	end = p ? memmem(p, all, "\r\n\r\n", 4) : NULL;
	if (end == NULL || all < 12) {
		fprintf(stderr, "no answer\n");
		abort();
	}
	*head = (struct strv){ p, (size_t)(end - p) + 2 };
	*body = (struct strv){ end + 4, all - (size_t)(end + 4 - p) };
	return (unsigned)strtoul(p + 9, NULL, 10);
}

static inline unsigned site_get(const char *target, struct strv *head, struct strv *body)
{
	char *text = NULL;
	int n = asprintf(&text, "GET %s HTTP/1.1\r\nHost: enroll.example\r\nConnection: close\r\n\r\n", target);
	unsigned status = site_ask(text, (size_t)n, head, body);

	free(text);
	return status;
}

static inline unsigned site_post(const char *target, const void *bytes, size_t n, struct strv *head, struct strv *body)
{
	char *text = malloc(n + 512);
	int head_n = snprintf(text, 512, "POST %s HTTP/1.1\r\nHost: enroll.example\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", target, n);
	unsigned status;

	memcpy(text + head_n, bytes, n);
	status = site_ask(text, (size_t)head_n + n, head, body);
	free(text);
	return status;
}

#endif
