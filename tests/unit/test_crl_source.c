/*
 * A CRL that is watched: files that change, lists that are wrong (threat 26), deltas, URLs with a server that lies; and what a
 * restart remembers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include <cmocka.h>

#include "common/log.h"
#include "proxy/revocation/crl.h"
#include "proxy/revocation/crl_source.h"
#include "proxy/revocation/serials.h"
#include "tests/unit/crl_build.h"
#include "tests/unit/redis_server.h"

#define MAX_AGE 3600

struct site {
	struct loop *loop;
	struct curl_loop *fetcher;
	char dir[64], state[96], base[96], delta[96], base_url[96], delta_url[96];
	int state_fd;
	struct test_ca ca;
	STACK_OF(X509) *certs, *known;
	struct index_issuer issuer;
	struct index_writer *index;
	struct crl_settings settings;
	struct crl_source *source;
	volatile int changed;
	/* the web server */
	struct evhttp *http;
	struct der body[2];		/* base, delta */
	int status;
	const char *location;
	int requests, not_modified;
};

static void on_changed(void *arg)
{
	((struct site *)arg)->changed++;
}

static void put_file(const char *path, struct der list)
{
	char next[128];
	FILE *f;

	snprintf(next, sizeof(next), "%s.next", path);
	f = fopen(next, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(list.p, 1, list.n, f), list.n);
	fclose(f);
	assert_int_equal(rename(next, path), 0);
	free(list.p);
}

static void node_start(struct site *s)
{
	struct crl_source_config c = { .loop = s->loop, .fetcher = s->fetcher, .state_dir = s->state_fd, .settings = &s->settings,
		.ca = s->certs, .known = s->known, .refresh_seconds = 1, .changed = on_changed, .arg = s };

	s->index = index_writer_open(s->state_fd, &s->issuer, 1, MAX_AGE);
	assert_non_null(s->index);
	c.index = s->index;
	s->source = crl_source_new(&c);
	assert_non_null(s->source);
	crl_source_start(s->source);
}

static void node_stop(struct site *s)
{
	crl_source_free(s->source);
	index_writer_free(s->index);
}

static void site_start(struct site *s)
{
	memset(s, 0, sizeof(*s));
	s->loop = loop_new();
	s->fetcher = curl_loop_new(s->loop);
	strcpy(s->dir, "/tmp/easgate-crl-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->state, sizeof(s->state), "%s/state", s->dir);
	snprintf(s->base, sizeof(s->base), "%s/base.crl", s->dir);
	snprintf(s->delta, sizeof(s->delta), "%s/delta.crl", s->dir);
	assert_int_equal(mkdir(s->state, 0700), 0);
	s->state_fd = open(s->state, O_RDONLY | O_DIRECTORY);
	s->ca = test_ca_new("Device CA", "keyCertSign,cRLSign", -1, NULL);
	s->certs = sk_X509_new_null();
	sk_X509_push(s->certs, s->ca.cert);
	assert_int_equal(cert_spki_sha256(s->ca.cert, s->issuer.issuer), 0);
	s->issuer.sources = INDEX_BIT(INDEX_CRL);
	s->settings.file = s->base;
}

static void site_stop(struct site *s)
{
	char command[128];

	node_stop(s);
	if (s->http != NULL)
		evhttp_free(s->http);
	curl_loop_free(s->fetcher);
	loop_free(s->loop);
	sk_X509_free(s->certs);
	test_ca_free(&s->ca);
	free(s->body[0].p);
	free(s->body[1].p);
	close(s->state_fd);
	snprintf(command, sizeof(command), "rm -rf '%s'", s->dir);
	assert_int_equal(system(command), 0);
}

static enum revocation_answer answer(struct site *s, unsigned value)
{
	struct serial serial = { .n = 1, .byte = { (uint8_t)value } };
	int64_t as_of;

	return revocation_lookup(index_writer_view(s->index), s->issuer.issuer, &serial, time(NULL), &as_of);
}

static bool until(struct site *s, unsigned serial, enum revocation_answer want)
{
	uint64_t began = loop_now_fresh();

	while (answer(s, serial) != want && loop_now_fresh() - began < 10000)
		turn_for(s->loop, 1);
	return answer(s, serial) == want;
}

static bool until_problem(struct site *s, const char *part)
{
	uint64_t began = loop_now_fresh();

	while (strstr(crl_source_problem(s->source), part) == NULL && loop_now_fresh() - began < 10000)
		turn_for(s->loop, 1);
	return strstr(crl_source_problem(s->source), part) != NULL;
}

static bool until_well(struct site *s)
{
	uint64_t began = loop_now_fresh();

	while (crl_source_problem(s->source)[0] != '\0' && loop_now_fresh() - began < 10000)
		turn_for(s->loop, 1);
	return crl_source_problem(s->source)[0] == '\0';
}

/* --- files --- */

static void a_file_is_loaded_at_start_and_again_when_it_changes(void **state)
{
	struct site s;
	time_t now = time(NULL);

	(void)state;
	site_start(&s);
	put_file(s.base, crl_simple(&s.ca, now, 5, 10, 12));
	node_start(&s);
	assert_int_equal(answer(&s, 11), REVOCATION_REVOKED);		/* before the loop has turned */
	assert_int_equal(answer(&s, 13), REVOCATION_GOOD);
	put_file(s.base, crl_simple(&s.ca, now, 6, 11, 13));
	assert_true(until(&s, 13, REVOCATION_REVOKED));
	assert_int_equal(answer(&s, 10), REVOCATION_GOOD);
	site_stop(&s);
}

static void threat_26_a_wrong_file_keeps_the_old_list_and_is_not_confirmed(void **state)
{
	struct test_ca other = test_ca_new("Device CA", "cRLSign", -1, NULL);
	time_t now = time(NULL);
	int64_t fresh;
	struct site s;

	(void)state;
	site_start(&s);
	put_file(s.base, crl_simple(&s.ca, now, 5, 10, 12));
	node_start(&s);
	assert_int_equal(answer(&s, 11), REVOCATION_REVOKED);
	put_file(s.base, crl_simple(&other, now, 6, 1, 1));
	assert_true(until_problem(&s, "base.crl: the signature is not the issuer's"));
	assert_int_equal(answer(&s, 11), REVOCATION_REVOKED);
	assert_int_equal(answer(&s, 1), REVOCATION_GOOD);
	fresh = revocation_oldest(index_writer_view(s.index));
	turn_for(s.loop, 2200);
	assert_int_equal(revocation_oldest(index_writer_view(s.index)), fresh);
	put_file(s.base, crl_simple(&s.ca, now, 4, 1, 1));		/* replayed */
	assert_true(until_problem(&s, "older than the list that is already known"));
	assert_int_equal(answer(&s, 11), REVOCATION_REVOKED);
	unlink(s.base);
	assert_true(until_problem(&s, "No such file"));
	assert_int_equal(answer(&s, 11), REVOCATION_REVOKED);
	put_file(s.base, (struct der){ (void *)strdup("garbage"), 7, 7 });
	assert_true(until_problem(&s, "not a DER or PEM"));
	put_file(s.base, crl_simple(&s.ca, now, 7, 20, 20));
	assert_true(until(&s, 20, REVOCATION_REVOKED));
	assert_true(until_well(&s));
	assert_int_equal(answer(&s, 11), REVOCATION_GOOD);
	test_ca_free(&other);
	site_stop(&s);
}

static void threat_26_an_expired_list_still_revokes_and_nothing_is_good_by_it(void **state)
{
	struct test_crl c;
	struct site s;

	(void)state;
	site_start(&s);
	c = (struct test_crl){ .ca = &s.ca, .this_update = time(NULL) - 100, .next_update = time(NULL) - 10 };
	der_number_extension(&c.extensions, OID_NUMBER, 0, 5);
	crl_entry(&c, 9, -1);
	put_file(s.base, crl_sign(&c));
	node_start(&s);
	assert_int_equal(answer(&s, 9), REVOCATION_REVOKED);
	assert_int_equal(answer(&s, 8), REVOCATION_UNKNOWN);
	assert_non_null(strstr(crl_source_problem(s.source), "nextUpdate has passed"));
	/* One that ends while it is watched. */
	c = (struct test_crl){ .ca = &s.ca, .this_update = time(NULL) - 50, .next_update = time(NULL) + 3 };
	der_number_extension(&c.extensions, OID_NUMBER, 0, 6);
	put_file(s.base, crl_sign(&c));
	assert_true(until(&s, 8, REVOCATION_GOOD));
	assert_true(until(&s, 8, REVOCATION_UNKNOWN));
	assert_true(until_problem(&s, "nextUpdate has passed"));
	site_stop(&s);
}

static void a_restart_answers_from_disk_at_once_and_a_rollback_meanwhile_is_noticed(void **state)
{
	time_t now = time(NULL);
	struct site s;
	struct stat before, after;

	(void)state;
	site_start(&s);
	put_file(s.base, crl_simple(&s.ca, now, 5, 10, 12));
	node_start(&s);
	fstatat(s.state_fd, INDEX_FILE, &before, 0);
	node_stop(&s);
	node_start(&s);
	fstatat(s.state_fd, INDEX_FILE, &after, 0);
	assert_true(before.st_ino == after.st_ino);		/* the same bytes are not built again */
	assert_int_equal(answer(&s, 11), REVOCATION_REVOKED);
	node_stop(&s);
	put_file(s.base, crl_simple(&s.ca, now, 4, 1, 1));
	node_start(&s);
	assert_int_equal(answer(&s, 11), REVOCATION_REVOKED);
	assert_non_null(strstr(crl_source_problem(s.source), "older than"));
	site_stop(&s);
}

static void a_delta_adds_to_the_base_and_a_delta_that_does_not_fit_changes_nothing(void **state)
{
	time_t now = time(NULL);
	struct site s;

	(void)state;
	site_start(&s);
	s.settings.delta_file = s.delta;
	put_file(s.base, crl_simple(&s.ca, now, 10, 1, 5));
	put_file(s.delta, crl_delta(&s.ca, now, 12, 10, 9, 3));
	node_start(&s);
	assert_int_equal(answer(&s, 9), REVOCATION_REVOKED);
	assert_int_equal(answer(&s, 3), REVOCATION_GOOD);
	assert_int_equal(answer(&s, 5), REVOCATION_REVOKED);
	put_file(s.delta, crl_delta(&s.ca, now, 14, 13, 20, 5));
	assert_true(until_problem(&s, "delta.crl: the delta list is for a later complete list"));
	assert_int_equal(answer(&s, 5), REVOCATION_REVOKED);
	put_file(s.base, crl_simple(&s.ca, now, 13, 5, 9));
	assert_true(until(&s, 20, REVOCATION_REVOKED));
	assert_true(until_well(&s));
	assert_int_equal(answer(&s, 5), REVOCATION_GOOD);
	put_file(s.delta, crl_delta(&s.ca, now, 13, 13, 0, 9));		/* an older delta */
	assert_true(until_problem(&s, "older than"));
	assert_int_equal(answer(&s, 20), REVOCATION_REVOKED);
	unlink(s.delta);
	assert_true(until_problem(&s, "No such file"));
	site_stop(&s);
}

/* The issuer's list, signed by a second key of its, which a root certified as 0x55; the root's list is loaded into the index here. */
static void a_list_by_another_key_of_the_issuer_counts_while_that_key_is_certified_and_not_revoked(void **state)
{
	struct test_ca root = test_ca_new("Root", "keyCertSign,cRLSign", -1, NULL), second = test_ca_new("Device CA", "cRLSign", -1, NULL);
	struct index_source_state root_state = { .confirmed = time(NULL), .next_update = time(NULL) + 1000 };
	struct index_issuer both[2];
	struct serial signer = { .n = 1, .byte = { 0x55 } };
	struct serials list = { 0 };
	time_t now = time(NULL);
	struct site s;

	(void)state;
	site_start(&s);
	test_ca_certify(&second, &root, 0x55);
	sk_X509_push(s.certs, second.cert);
	s.known = sk_X509_new_null();
	sk_X509_push(s.known, s.ca.cert);
	sk_X509_push(s.known, second.cert);
	put_file(s.base, crl_simple(&second, now, 5, 10, 12));
	node_start(&s);
	assert_non_null(strstr(crl_source_problem(s.source), "no configured CA certifies"));
	assert_int_equal(answer(&s, 11), REVOCATION_UNKNOWN);
	node_stop(&s);
	sk_X509_push(s.known, root.cert);
	node_start(&s);
	assert_non_null(strstr(crl_source_problem(s.source), "is not known"));
	assert_int_equal(answer(&s, 11), REVOCATION_UNKNOWN);
	both[0] = s.issuer;
	assert_int_equal(cert_spki_sha256(root.cert, both[1].issuer), 0);
	both[1].sources = INDEX_BIT(INDEX_CRL);
	assert_int_equal(index_writer_configure(s.index, both, 2, MAX_AGE), 0);
	serials_sort(&list);
	assert_int_equal(index_writer_load(s.index, both[1].issuer, INDEX_CRL, &list, false, &root_state), 0);
	crl_source_retry(s.source);
	assert_int_equal(answer(&s, 11), REVOCATION_REVOKED);
	assert_int_equal(answer(&s, 9), REVOCATION_GOOD);
	/* The root takes the key back: the next round no longer confirms, and a new list by it is refused. */
	assert_int_equal(serials_add(&list, &signer), 0);
	serials_sort(&list);
	assert_int_equal(index_writer_load(s.index, both[1].issuer, INDEX_CRL, &list, false, &root_state), 0);
	assert_true(until_problem(&s, "expired or revoked"));
	put_file(s.base, crl_simple(&second, now, 6, 10, 13));
	turn_for(s.loop, 1500);
	assert_int_equal(answer(&s, 13), REVOCATION_GOOD);
	serials_clear(&list);
	sk_X509_free(s.known);
	test_ca_free(&root);
	test_ca_free(&second);
	site_stop(&s);
}

/* --- URLs --- */

static void serve(struct evhttp_request *request, void *arg)
{
	struct site *s = arg;
	const char *path = evhttp_request_get_uri(request);
	struct der *body = &s->body[strcmp(path, "/delta.crl") == 0];
	const char *known = evhttp_find_header(evhttp_request_get_input_headers(request), "If-None-Match");
	struct evbuffer *out = evbuffer_new();
	char tag[32];

	s->requests++;
	snprintf(tag, sizeof(tag), "\"%08x\"", (unsigned)(body->n > 8 ? body->p[body->n - 1] << 8 | body->p[body->n - 2] : 0));
	evhttp_add_header(evhttp_request_get_output_headers(request), "ETag", tag);
	if (s->location != NULL)
		evhttp_add_header(evhttp_request_get_output_headers(request), "Location", s->location);
	if (s->status == 200 && known != NULL && strcmp(known, tag) == 0) {
		s->not_modified++;
		evhttp_send_reply(request, 304, NULL, NULL);
	} else {
		if (s->status == 200)
			evbuffer_add(out, body->p, body->n);
		evhttp_send_reply(request, s->status, NULL, out);
	}
	evbuffer_free(out);
}

static void web_start(struct site *s)
{
	struct evhttp_bound_socket *socket;
	struct sockaddr_in sa;
	socklen_t n = sizeof(sa);

	s->http = evhttp_new(loop_base(s->loop));
	socket = evhttp_bind_socket_with_handle(s->http, "127.0.0.1", 0);
	assert_non_null(socket);
	getsockname(evhttp_bound_socket_get_fd(socket), (struct sockaddr *)(void *)&sa, &n);
	evhttp_set_gencb(s->http, serve, s);
	snprintf(s->base_url, sizeof(s->base_url), "http://127.0.0.1:%u/base.crl", ntohs(sa.sin_port));
	snprintf(s->delta_url, sizeof(s->delta_url), "http://127.0.0.1:%u/delta.crl", ntohs(sa.sin_port));
	s->settings.file = NULL;
	s->settings.url = s->base_url;
	s->status = 200;
}

static void serve_next(struct der *body, struct der list)
{
	free(body->p);
	*body = list;
}

static void a_url_is_fetched_confirmed_by_304_and_kept_for_the_next_start(void **state)
{
	time_t now = time(NULL);
	struct site s;
	int64_t fresh;

	(void)state;
	site_start(&s);
	web_start(&s);
	serve_next(&s.body[0], crl_simple(&s.ca, now, 5, 10, 12));
	node_start(&s);
	assert_int_equal(answer(&s, 11), REVOCATION_UNKNOWN);
	assert_true(until(&s, 11, REVOCATION_REVOKED));
	assert_int_equal(answer(&s, 1), REVOCATION_GOOD);
	fresh = revocation_oldest(index_writer_view(s.index));
	turn_for(s.loop, 2500);
	assert_true(s.not_modified > 0);
	assert_true(revocation_oldest(index_writer_view(s.index)) > fresh);
	serve_next(&s.body[0], crl_simple(&s.ca, now, 6, 20, 21));
	assert_true(until(&s, 20, REVOCATION_REVOKED));
	/* The server has gone: the node starts with what it has, as old as it is. */
	node_stop(&s);
	s.status = 500;
	fresh = time(NULL);
	turn_for(s.loop, 1500);
	node_start(&s);
	assert_int_equal(answer(&s, 20), REVOCATION_REVOKED);
	assert_int_equal(answer(&s, 1), REVOCATION_GOOD);
	assert_true(until_problem(&s, "HTTP status 500"));
	assert_true(revocation_oldest(index_writer_view(s.index)) <= fresh);
	s.status = 200;
	assert_true(until_well(&s));
	site_stop(&s);
}

static void threat_26_what_a_server_sends_wrong_or_elsewhere_is_not_taken(void **state)
{
	struct test_ca other = test_ca_new("Device CA", "cRLSign", -1, NULL);
	time_t now = time(NULL);
	struct site s;

	(void)state;
	site_start(&s);
	web_start(&s);
	serve_next(&s.body[0], crl_simple(&s.ca, now, 5, 10, 12));
	node_start(&s);
	assert_true(until(&s, 11, REVOCATION_REVOKED));
	s.status = 302;
	s.location = "file:///etc/passwd";
	assert_true(until_problem(&s, "not followed"));
	s.location = NULL;
	s.status = 200;
	serve_next(&s.body[0], crl_simple(&other, now, 6, 1, 1));
	assert_true(until_problem(&s, "signature"));
	assert_int_equal(answer(&s, 11), REVOCATION_REVOKED);
	serve_next(&s.body[0], crl_simple(&s.ca, now, 4, 1, 1));
	assert_true(until_problem(&s, "older than"));
	assert_int_equal(answer(&s, 11), REVOCATION_REVOKED);
	serve_next(&s.body[0], (struct der){ 0 });
	assert_true(until_problem(&s, "empty body"));
	serve_next(&s.body[0], crl_simple(&s.ca, now, 7, 40, 40));
	assert_true(until(&s, 40, REVOCATION_REVOKED));
	assert_true(until_well(&s));
	test_ca_free(&other);
	site_stop(&s);
}

static void base_and_delta_from_urls_are_taken_together(void **state)
{
	time_t now = time(NULL);
	struct site s;

	(void)state;
	site_start(&s);
	web_start(&s);
	s.settings.delta_url = s.delta_url;
	serve_next(&s.body[0], crl_simple(&s.ca, now, 10, 1, 5));
	serve_next(&s.body[1], crl_delta(&s.ca, now, 12, 10, 9, 3));
	node_start(&s);
	assert_true(until(&s, 9, REVOCATION_REVOKED));
	assert_int_equal(answer(&s, 3), REVOCATION_GOOD);
	serve_next(&s.body[1], crl_delta(&s.ca, now, 13, 10, 20, 0));	/* the base is answered by 304 */
	assert_true(until(&s, 20, REVOCATION_REVOKED));
	assert_int_equal(answer(&s, 3), REVOCATION_REVOKED);
	site_stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_loaded_at_start_and_again_when_it_changes),
		cmocka_unit_test(threat_26_a_wrong_file_keeps_the_old_list_and_is_not_confirmed),
		cmocka_unit_test(threat_26_an_expired_list_still_revokes_and_nothing_is_good_by_it),
		cmocka_unit_test(a_restart_answers_from_disk_at_once_and_a_rollback_meanwhile_is_noticed),
		cmocka_unit_test(a_delta_adds_to_the_base_and_a_delta_that_does_not_fit_changes_nothing),
		cmocka_unit_test(a_list_by_another_key_of_the_issuer_counts_while_that_key_is_certified_and_not_revoked),
		cmocka_unit_test(a_url_is_fetched_confirmed_by_304_and_kept_for_the_next_start),
		cmocka_unit_test(threat_26_what_a_server_sends_wrong_or_elsewhere_is_not_taken),
		cmocka_unit_test(base_and_delta_from_urls_are_taken_together),
	};

	signal(SIGPIPE, SIG_IGN);
	unsetenv("http_proxy");
	log_setup(LOG_ERROR, "test", -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
