/*
 * handshake_cost: what one handshake costs the server: CPU of full ones with and without remembered
 * chains and of resumed ones, and the bytes that a held connection keeps. For people; no test.
 */
#include <malloc.h>
#include <sys/types.h>

#include "tests/unit/tls_site.h"

static SSL_SESSION *ticket(struct site *s, const struct client *c)
{
	SSL_SESSION *session;
	struct talk t;

	talk_run(&t, s->hosts, c);
	MUST(t.step == TLS_STEP_DONE && t.session != NULL);
	session = t.session;
	t.session = NULL;
	talk_end(&t);
	return session;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[n / 2];
}

enum bench_kind { BENCH_RESUMED, BENCH_CACHED, BENCH_VERIFIED };

static double bench_one(struct site *s, struct client c, enum bench_kind kind)
{
	static double us[400];
	SSL_SESSION *session = ticket(s, &c);

	c.session = kind == BENCH_RESUMED ? session : NULL;
	for (size_t i = 0; i < ARRAY_LEN(us); i++) {
		struct talk t;

		if (kind == BENCH_VERIFIED)
			session_record_clear(s->records);
		talk_run(&t, s->hosts, &c);
		MUST(t.step == TLS_STEP_DONE &&
		    SSL_session_reused(t.client) == (kind == BENCH_RESUMED));
		us[i] = t.server_us;
		talk_end(&t);
	}
	SSL_SESSION_free(session);
	return median(us, ARRAY_LEN(us));
}

/* User-space bytes of one held server connection, by the allocator's own count. */
static void bench_memory(struct site *s, struct client c, const char *what)
{
	enum { N = 200 };
	static struct talk t[N];
	size_t before, after;

	for (int i = 0; i < N; i++) {
		talk_run(&t[i], s->hosts, &c);
		MUST(talk_exchange(&t[i]));
	}
	before = mallinfo2().uordblks;
	for (int i = 0; i < N; i++) {
		SSL_free(t[i].server);
		peer_free(t[i].peer);
		t[i].server = NULL;
		t[i].peer = NULL;
	}
	after = mallinfo2().uordblks;
	/* The BIO pair's 256 kB of the server's end is the test's, not the connection's. */
	printf("memory %-10s %zd bytes a held connection (without the memory BIO)\n", what,
	    (ssize_t)((before - after) / N) - (1 << 18));
	for (int i = 0; i < N; i++)
		talk_end(&t[i]);
}

int main(void)
{
	struct site *s = site_new();
	struct client c = { .sni = "mail.example", .device = &s->device }, two = c;
	struct pki issuing = { .cn = "Issuing", .issuer = &s->ca, .ca = true };
	struct pki_pair inter = pki_make(&issuing);
	struct pki spec = {
		.cn = "d", .issuer = &inter, .san = "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:d@corp"
	};
	struct pki_pair device = pki_make(&spec);

	two.device = &device;
	two.extra = &inter.cert;
	two.extra_count = 1;
	for (int round = 0; round < 3; round++) {
		printf("server CPU, medians of 400: full, chain verified %.0f us; full, chain "
		       "remembered %.0f us; "
		       "resumed %.0f us\n",
		    bench_one(s, c, BENCH_VERIFIED), bench_one(s, c, BENCH_CACHED),
		    bench_one(s, c, BENCH_RESUMED));
		printf("  with an intermediate: verified %.0f us; remembered %.0f us; resumed %.0f "
		       "us\n",
		    bench_one(s, two, BENCH_VERIFIED), bench_one(s, two, BENCH_CACHED),
		    bench_one(s, two, BENCH_RESUMED));
	}
	printf("records: session %zu bytes, peer %zu + texts\n", sizeof(struct session_record),
	    sizeof(struct peer));
	bench_memory(s, c, "full");
	c.session = ticket(s, &c);
	bench_memory(s, c, "resumed");
	SSL_SESSION_free(c.session);
	c.session = NULL;
	c.version = TLS1_2_VERSION;
	bench_memory(s, c, "1.2");
	pki_free(&device);
	pki_free(&inter);
	site_free(s);
	return 0;
}
