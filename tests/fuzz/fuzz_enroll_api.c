/*
 * The administrators' JSON API from a request to its answer, as root's command line asks it: the input is "METHOD PATH\n" and the body. Whatever it is,
 * the answer is a status of the API's own, and the registry stays whole.
 */
#include "enroll/worker/portal.h"

#include "enroll/worker/migration.h"
#include "enroll/worker/revoke.h"
#include "enroll_line.h"

static struct sockaddr_storage local;
static socklen_t local_n;

static void set_up(void)
{
	static char lists[128];
	struct revoke_config revoke = { .list_dir = lists, .crl_seconds = 86400, .crl_overlap_seconds = 3600 };
	struct publish_config publish = { .redis = NULL };
	char why[512];

	line_site(portal_admin_routes);
	snprintf(lists, sizeof(lists), "%s/crl", site.dir);
	FUZZ_CHECK((site.w.portal = portal_new(&site.w)) != NULL && (site.w.migration = migration_new(&site.w)) != NULL);
	site.w.routes[1] = migration_routes;
	site.w.files = bundle_from_disk();
	publish.loop = site.loop;
	publish.bundle = site.w.files;
	site.w.publish = publish_new(&publish, why, sizeof(why));
	FUZZ_CHECK(site.w.publish != NULL);
	revoke.loop = site.loop;
	revoke.registry = site.w.registry;
	revoke.issuer = site.w.issuer;
	revoke.publish = site.w.publish;
	site.w.revoke = revoke_new(&revoke, why, sizeof(why));
	FUZZ_CHECK(site.w.revoke != NULL);
	local_n = line_listen(HTTP_WAY_LOCAL, &local);
}

/* The request around that input. NULL: it has no first line, or that would be more than one. */
static char *make(const char *p, size_t n, size_t *all)
{
	const char *end = memchr(p, '\n', n);
	size_t line = end != NULL ? (size_t)(end - p) : 0, body = end != NULL ? n - line - 1 : 0;
	char *text = line > 0 && memchr(p, '\r', line) == NULL ? malloc(n + 256) : NULL;
	int head;

	if (text == NULL)
		return NULL;
	memcpy(text, p, line);
	head = snprintf(text + line, 256, " HTTP/1.1\r\nHost: local\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", body);
	memcpy(text + line + head, end + 1, body);
	*all = line + (size_t)head + body;
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct registry_counts counts;
	char answer[64], *text;
	size_t all;

	if (n > 32768 || (text = make((const char *)bytes, n, &all)) == NULL)
		return 0;
	line_quiet();
	if (site.loop == NULL)
		set_up();
	line_ask(&local, local_n, text, all, answer);
	line_loud();
	free(text);
	line_check(answer);
	FUZZ_CHECK(registry_count(site.w.registry, &counts) == REGISTRY_OK && counts.live == 0);
	return 0;
}
