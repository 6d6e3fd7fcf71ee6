/*
 * revocation: the worker's mapping of the index and the answer for a whole chain. Worker process: reads, never writes.
 */
#include "proxy/worker/revocation.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/metric_table.h"

struct revocation {
	int dir_fd;
	struct revocation_view *view;	/* NULL: no index yet */
	uint64_t epoch;			/* counts remaps, so that memos of an old mapping end */
};

struct revocation *revocation_new(const char *state_dir)
{
	struct revocation *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->dir_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	revocation_remap(r);
	return r;
}

void revocation_free(struct revocation *r)
{
	if (r == NULL)
		return;
	revocation_view_free(r->view);
	if (r->dir_fd >= 0)
		close(r->dir_fd);
	free(r);
}

void revocation_remap(struct revocation *r)
{
	struct revocation_view *view = r->dir_fd >= 0 ? revocation_view_open(r->dir_fd) : NULL;

	if (view == NULL)
		return;		/* the old mapping goes on serving until it is too old */
	revocation_view_free(r->view);
	r->view = view;
	r->epoch++;
}

/* Asks for each link; *until becomes the first end of the good answers. */
static enum revocation_answer ask(struct revocation *r, const struct peer *peer, time_t now, int64_t *until)
{
	enum revocation_answer all = REVOCATION_GOOD;

	*until = INT64_MAX;
	for (unsigned i = 0; i < peer->links_count; i++) {
		const struct chain_link *l = &peer->links[i];
		int64_t as_of, fresh = revocation_fresh_until(r->view, l->issuer);
		switch (revocation_lookup_point(r->view, l->issuer, &l->serial, &l->point, now, &as_of)) {
		case REVOCATION_REVOKED:
			return REVOCATION_REVOKED;
		case REVOCATION_GOOD:
			if (fresh < *until)
				*until = fresh;
			break;
		default:
			all = REVOCATION_UNKNOWN;
		}
	}
	return all;
}

enum revocation_answer revocation_check(struct revocation *r, const struct peer *peer, time_t now, struct revocation_memo *memo)
{
	uint64_t generation;
	enum revocation_answer answer;
	int64_t until = 0;

	if (!peer->has_certificate)
		return REVOCATION_GOOD;
	/* the index may have been replaced a moment ago: better look than refuse */
	if (r->view == NULL || revocation_is_stale(r->view))
		revocation_remap(r);
	if (r->view == NULL) {
		metrics_add(M_REVOCATION_LOOKUPS, REVOCATION_UNKNOWN, 1);
		return REVOCATION_UNKNOWN;
	}
	generation = revocation_generation(r->view) + (r->epoch << 40);
	if (memo->answer == REVOCATION_GOOD && memo->generation == generation && now < memo->until)
		return REVOCATION_GOOD;
	/* no certificate is without an issuer that must be asked about */
	answer = peer->links_count > 0 ? ask(r, peer, now, &until) : REVOCATION_UNKNOWN;
	metrics_add(M_REVOCATION_LOOKUPS, answer, 1);
	*memo = (struct revocation_memo){ generation, until, (uint8_t)answer };
	return answer;
}

int64_t revocation_age(struct revocation *r, time_t now)
{
	int64_t oldest = r->view != NULL ? revocation_oldest(r->view) : 0;

	return oldest == 0 ? -1 : now - oldest;
}

bool revocation_is_out_of_date(struct revocation *r, time_t now)
{
	return r->view == NULL || revocation_first_end(r->view) <= now;
}

uint64_t revocation_serials(struct revocation *r)
{
	return r->view != NULL ? revocation_count(r->view) : 0;
}

bool revocation_is_loaded(struct revocation *r)
{
	return r->view != NULL && revocation_oldest(r->view) != 0;
}
