/*
 * Everything that a stranger's bytes reach in easenroll's worker, from the socket to the answer: HTTP, routes, SCEP, EST, NDES, OCSP, lists, the portal's
 * way in. The first byte is the listener ('t' for what stands behind TLS, else the plain one), the rest what is sent. Nothing may end the worker, get
 * status 500, or leave a certificate.
 */
#include "enroll/worker/crl.h"

#include "enroll/worker/delivery.h"
#include "enroll/worker/est.h"
#include "enroll/worker/migration.h"
#include "enroll/worker/ndes.h"
#include "enroll/worker/ocsp.h"
#include "enroll/worker/portal.h"
#include "enroll_line.h"

static struct sockaddr_storage plain, tls;
static socklen_t plain_n, tls_n;

static void set_up(void)
{
	char why[256];

	line_site(scep_routes);
	FUZZ_CHECK((site.w.scep = scep_new(&site.w, why, sizeof(why))) != NULL && (site.w.est = est_new(&site.w, why, sizeof(why))) != NULL);
	FUZZ_CHECK((site.w.portal = portal_new(&site.w)) != NULL && (site.w.ocsp = ocsp_new(&site.w)) != NULL &&
	    (site.w.crl = crl_keeper_new(&site.w)) != NULL && (site.w.migration = migration_new(&site.w)) != NULL);
	site.w.admit = portal_admit;
	site.w.routes[1] = est_routes;
	site.w.routes[2] = ocsp_routes;
	site.w.routes[3] = crl_routes;
	site.w.routes[4] = portal_session_routes;
	site.w.routes[5] = portal_user_routes;
	site.w.routes[6] = portal_admin_routes;
	site.w.routes[7] = delivery_routes;
	site.w.routes[8] = portal_page_routes;
	site.w.routes[9] = migration_routes;
	plain_n = line_listen(HTTP_WAY_PLAIN, &plain);
	tls_n = line_listen(HTTP_WAY_TLS, &tls);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct registry_counts counts;
	char answer[64];

	if (n == 0 || n > 65536)
		return 0;
	line_quiet();
	if (site.loop == NULL)
		set_up();
	line_ask(bytes[0] == 't' ? &tls : &plain, bytes[0] == 't' ? tls_n : plain_n, bytes + 1, n - 1, answer);
	line_loud();
	line_check(answer);
	FUZZ_CHECK(registry_count(site.w.registry, &counts) == REGISTRY_OK && counts.live == 0);
	return 0;
}
