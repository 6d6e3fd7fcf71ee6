/*
 * parts: makes the ways in and lists their routes. Worker of easenroll.
 */
#include "enroll/worker/parts.h"

#include "common/log.h"
#include "enroll/worker/account_watch.h"
#include "enroll/worker/crl.h"
#include "enroll/worker/delivery.h"
#include "enroll/worker/enrol.h"
#include "enroll/worker/est.h"
#include "enroll/worker/health.h"
#include "enroll/worker/mdm.h"
#include "enroll/worker/migration.h"
#include "enroll/worker/ndes.h"
#include "enroll/worker/ocsp.h"
#include "enroll/worker/ota_service.h"
#include "enroll/worker/portal.h"
#include "enroll/worker/scep.h"

/* A part that is switched off has no paths. */
void parts_routes(const struct enroll_worker *w, const struct route **tables, size_t max)
{
	const struct route *const all[] = { health_routes, crl_routes, ocsp_routes, w->ota != NULL ? ota_routes : NULL,
		w->scep != NULL ? scep_routes : NULL, w->est != NULL ? est_routes : NULL, w->ndes != NULL ? ndes_routes : NULL, w->mdm != NULL ? mdm_routes : NULL,
		portal_session_routes, portal_user_routes, portal_admin_routes, migration_routes, delivery_routes, portal_page_routes };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(all) && n + 1 < max; i++) {
		if (all[i] != NULL)
			tables[n++] = all[i];
	}
	tables[n] = NULL;
}

void parts_tidy(struct enroll_worker *w)
{
	enrol_refusals_tidy(w);
	migration_tidy(w->migration);
}

int parts_new(struct enroll_worker *w)
{
	char why[512];

	w->portal = portal_new(w);
	if (w->portal == NULL)
		return -1;
	w->admit = portal_admit;
	if (w->settings->enroll.scep.enabled && (w->scep = scep_new(w, why, sizeof(why))) == NULL) {
		log_say(LOG_ERROR, "start_failed", "SCEP: %s", why);
		return -1;
	}
	if (w->settings->enroll.est.enabled && (w->est = est_new(w, why, sizeof(why))) == NULL) {
		log_say(LOG_ERROR, "start_failed", "EST: %s", why);
		return -1;
	}
	if (w->settings->enroll.ndes.enabled && (w->ndes = ndes_new(w, why, sizeof(why))) == NULL) {
		log_say(LOG_ERROR, "start_failed", "NDES: %s", why);
		return -1;
	}
	if (w->settings->enroll.mdm.enabled && (w->mdm = mdm_new(w, why, sizeof(why))) == NULL) {
		log_say(LOG_ERROR, "start_failed", "MDM: %s", why);
		return -1;
	}
	w->ota = ota_service_new(w);
	w->watch = account_watch_new(w);
	w->migration = migration_new(w);
	return w->ota != NULL && w->watch != NULL && w->migration != NULL ? 0 : -1;
}

void parts_free(struct enroll_worker *w)
{
	migration_free(w->migration);
	w->migration = NULL;
	account_watch_free(w->watch);
	w->watch = NULL;
	ota_service_free(w->ota);
	w->ota = NULL;
	mdm_free(w->mdm);
	ndes_free(w->ndes);
	est_free(w->est);
	scep_free(w->scep);
	portal_free(w->portal);
}

void parts_directory_changed(struct enroll_worker *w, const char *sid)
{
	account_watch_changed(w->watch, sid);
	portal_directory_changed(w->portal, sid);
}
