/*
 * index: the readers' side of the revocation index: look-ups in mapped memory. Runs in every worker.
 * Never writes, never waits: a search and a few atomic loads.
 */
#include "proxy/revocation/index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/revocation/index_view.h"

#define CLOCK_SLACK 300		/* data "from the future" by more than this: the clock was set back, nothing is known */

struct revocation_view *revocation_view_from_fd(int fd)
{
	struct revocation_view *v = calloc(1, sizeof(*v));
	int rc = v != NULL ? index_map(fd, false, &v->map) : -ENOMEM;

	close(fd);
	if (rc < 0) {
		free(v);
		errno = -rc;
		return NULL;
	}
	return v;
}

struct revocation_view *revocation_view_open(int dir_fd)
{
	int fd = openat(dir_fd, INDEX_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	return fd < 0 ? NULL : revocation_view_from_fd(fd);
}

void revocation_view_free(struct revocation_view *v)
{
	if (v == NULL)
		return;
	index_unmap(&v->map);
	free(v);
}

/* Whether what the sources say of the issuer is said of this certificate too. */
static bool covers(const struct index_row *row, const struct point *point)
{
	const struct index_source_state *crl = &row->source[INDEX_CRL];
	unsigned i;

	if ((row->section.sources & INDEX_BIT(INDEX_CRL)) == 0 || crl->points_count == 0)
		return true;
	for (i = 0; i < crl->points_count && i < POINTS_MAX; i++)
		if (point != NULL && !point_is_none(point) && memcmp(&crl->points[i], point, sizeof(*point)) == 0)
			return true;
	return false;
}

enum revocation_answer revocation_lookup(const struct revocation_view *v, const uint8_t issuer[SHA256_SIZE],
    const struct serial *serial, time_t now, int64_t *as_of)
{
	return revocation_lookup_point(v, issuer, serial, NULL, now, as_of);
}

enum revocation_answer revocation_lookup_point(const struct revocation_view *v, const uint8_t issuer[SHA256_SIZE],
    const struct serial *serial, const struct point *point, time_t now, int64_t *as_of)
{
	const struct index_map *m = &v->map;
	int row = index_find_row(m, issuer);
	const struct index_row *r;
	int64_t fresh_until;

	*as_of = 0;
	if (row < 0 || serial->n == 0 || serial->n > SERIAL_MAX || serial->byte[0] == 0)
		return REVOCATION_UNKNOWN;
	r = &m->rows[row];
	*as_of = atomic_load_explicit(&r->as_of, memory_order_relaxed);
	fresh_until = atomic_load_explicit(&r->fresh_until, memory_order_relaxed);
	if (index_mask(m, (unsigned)row, serial) != 0)
		return REVOCATION_REVOKED;
	if (!covers(r, point) || *as_of <= 0 || *as_of > now + CLOCK_SLACK || fresh_until <= now)
		return REVOCATION_UNKNOWN;
	return REVOCATION_GOOD;
}

uint64_t revocation_generation(const struct revocation_view *v)
{
	return atomic_load_explicit(&v->map.head->generation, memory_order_acquire);
}

int64_t revocation_fresh_until(const struct revocation_view *v, const uint8_t issuer[SHA256_SIZE])
{
	int row = index_find_row(&v->map, issuer);

	return row < 0 ? 0 : atomic_load_explicit(&v->map.rows[row].fresh_until, memory_order_relaxed);
}

int64_t revocation_oldest(const struct revocation_view *v)
{
	uint32_t i, n = v->map.head->issuers;
	int64_t oldest = 0, as_of;

	for (i = 0; i < n; i++) {
		as_of = atomic_load_explicit(&v->map.rows[i].as_of, memory_order_relaxed);
		if (as_of <= 0)
			return 0;
		if (oldest == 0 || as_of < oldest)
			oldest = as_of;
	}
	return oldest;
}

int64_t revocation_first_end(const struct revocation_view *v)
{
	uint32_t i, n = v->map.head->issuers;
	int64_t first = INT64_MAX, end;

	for (i = 0; i < n; i++) {
		end = atomic_load_explicit(&v->map.rows[i].fresh_until, memory_order_relaxed);
		if (end < first)
			first = end;
	}
	return first;
}

uint64_t revocation_count(const struct revocation_view *v)
{
	int64_t changed = atomic_load_explicit(&v->map.head->changed_serials, memory_order_relaxed);

	return v->map.head->serials + (uint64_t)changed;
}

bool revocation_is_stale(const struct revocation_view *v)
{
	return atomic_load_explicit(&v->map.head->replaced, memory_order_acquire) != 0;
}
