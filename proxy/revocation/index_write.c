/*
 * index_write: keeps the mapped index current: single changes in place, whole sources by a rebuild. Runs in the
 * revocation process only; all readers see what it stores here through their own mappings.
 */
#include "proxy/revocation/index_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log.h"
#include "proxy/revocation/index_view.h"
#include "proxy/revocation/serials.h"

struct index_writer {
	int dir_fd;			/* borrowed */
	int64_t max_age;
	struct revocation_view view;	/* writable here */
	uint64_t replacements;
};

/* Until when GOOD may be answered: the first of the configured sources to grow old decides. */
static void refresh_row(const struct index_writer *w, struct index_row *row)
{
	int64_t as_of = INT64_MAX, until = INT64_MAX, limit;
	const struct index_source_state *s;
	unsigned source;

	for (source = 0; source < INDEX_SOURCES; source++) {
		if ((row->section.sources & INDEX_BIT(source)) == 0 || source == INDEX_LOCAL)
			continue;
		s = &row->source[source];
		limit = s->confirmed > 0 ? s->confirmed + w->max_age : 0;
		if (s->next_update > 0 && s->next_update < limit)
			limit = s->next_update;
		if (limit < until)
			until = limit;
		if (s->confirmed < as_of)
			as_of = s->confirmed;
	}
	if ((row->section.sources & ~INDEX_BIT(INDEX_LOCAL)) == 0)
		as_of = until = 0;
	atomic_store_explicit(&row->as_of, as_of, memory_order_relaxed);
	atomic_store_explicit(&row->fresh_until, until, memory_order_relaxed);
}

static void refresh_all(const struct index_writer *w)
{
	uint32_t i;

	for (i = 0; i < w->view.map.head->issuers; i++)
		refresh_row(w, &w->view.map.rows[i]);
}

static int compare_rows(const void *a, const void *b)
{
	return memcmp(((const struct index_build_row *)a)->issuer, ((const struct index_build_row *)b)->issuer, SHA256_SIZE);
}

/* Builds by `rows`, maps the new file, and only then says of the old one that it is replaced. */
static int rebuild(struct index_writer *w, struct index_build_row *rows, unsigned n)
{
	struct index_map fresh = { 0 }, *old = &w->view.map;
	int fd, rc;

	qsort(rows, n, sizeof(*rows), compare_rows);
	fd = index_build(w->dir_fd, old, rows, n);
	if (fd < 0)
		return fd;
	rc = index_map(fd, true, &fresh);
	close(fd);
	if (rc < 0)
		return rc;
	if (old->head != NULL) {
		atomic_store_explicit(&old->head->replaced, 1, memory_order_release);
		atomic_fetch_add_explicit(&old->head->generation, 1, memory_order_release);
		index_unmap(old);
	}
	*old = fresh;
	w->replacements++;
	refresh_all(w);
	return 0;
}

int index_writer_configure(struct index_writer *w, const struct index_issuer *issuers, unsigned n, int64_t max_age)
{
	const struct index_map *m = &w->view.map;
	struct index_build_row *rows;
	bool same = m->head != NULL && m->head->issuers == n;
	unsigned i;
	int rc = 0, at;

	if (n > INDEX_ISSUERS_MAX)
		return -E2BIG;
	for (i = 0; i < n && same; i++) {
		at = index_find_row(m, issuers[i].issuer);
		same = at >= 0 && m->rows[at].section.sources == issuers[i].sources;
	}
	w->max_age = max_age;
	if (same) {
		refresh_all(w);
		return 0;
	}
	rows = calloc(n + 1u, sizeof(*rows));
	if (rows == NULL)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		memcpy(rows[i].issuer, issuers[i].issuer, SHA256_SIZE);
		rows[i].sources = (uint8_t)issuers[i].sources;
	}
	rc = rebuild(w, rows, n);
	free(rows);
	return rc;
}

/* The file of the last run, if nothing in it was damaged. */
static void take_up(struct index_writer *w)
{
	struct index_map m = { 0 };
	uint8_t check[SHA256_SIZE];
	int fd = openat(w->dir_fd, INDEX_FILE, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), rc;

	if (fd < 0) {
		if (errno != ENOENT)
			log_say(LOG_ERROR, "index_unreadable", "%s: %s; beginning with an empty index", INDEX_FILE,
			    strerror(errno));
		return;
	}
	rc = index_map(fd, true, &m);
	close(fd);
	if (rc == 0) {
		rc = index_check_sum(&m, check);
		if (rc == 0 && memcmp(check, m.head->check, SHA256_SIZE) != 0)
			rc = -EBADMSG;
	}
	if (rc < 0) {
		log_say(LOG_ERROR, "index_damaged", "%s: %s; beginning with an empty index, issuers are unknown until loaded",
		    INDEX_FILE, rc == -EBADMSG ? "not an index or damaged" : strerror(-rc));
		index_unmap(&m);
		return;
	}
	/* Checking touched every page: they belong to the workers that search, not to this process. */
	madvise(m.head, m.size, MADV_DONTNEED);
	w->view.map = m;
}

struct index_writer *index_writer_open(int dir_fd, const struct index_issuer *issuers, unsigned n, int64_t max_age)
{
	struct index_writer *w = calloc(1, sizeof(*w));
	int rc;

	if (w == NULL)
		return NULL;
	w->dir_fd = dir_fd;
	take_up(w);
	rc = index_writer_configure(w, issuers, n, max_age);
	if (rc < 0) {
		index_writer_free(w);
		errno = -rc;
		return NULL;
	}
	w->replacements = 0;
	return w;
}

void index_writer_free(struct index_writer *w)
{
	if (w == NULL)
		return;
	index_unmap(&w->view.map);
	free(w);
}

static void rows_as_they_are(const struct index_writer *w, struct index_build_row *rows)
{
	const struct index_map *m = &w->view.map;
	uint32_t i;

	for (i = 0; i < m->head->issuers; i++) {
		memcpy(rows[i].issuer, m->rows[i].issuer, SHA256_SIZE);
		rows[i].sources = m->rows[i].section.sources;
	}
}

int index_writer_load(struct index_writer *w, const uint8_t issuer[SHA256_SIZE], enum index_source source,
    const struct serials *list, bool keep, const struct index_source_state *state)
{
	const struct index_map *m = &w->view.map;
	int row = index_find_row(m, issuer), rc;
	struct index_build_row *rows;

	if (row < 0 || (m->rows[row].section.sources & INDEX_BIT(source)) == 0 || !list->sorted)
		return -EINVAL;
	rows = calloc(m->head->issuers, sizeof(*rows));
	if (rows == NULL)
		return -ENOMEM;
	rows_as_they_are(w, rows);
	rows[row].add = list;
	rows[row].add_source = source;
	rows[row].replace = !keep;
	rows[row].state = state;
	rc = rebuild(w, rows, m->head->issuers);
	free(rows);
	return rc;
}

static int fold(struct index_writer *w)
{
	struct index_build_row *rows = calloc(w->view.map.head->issuers + 1u, sizeof(*rows));
	int rc = -ENOMEM;

	if (rows == NULL)
		return rc;
	rows_as_they_are(w, rows);
	rc = rebuild(w, rows, w->view.map.head->issuers);
	free(rows);
	return rc;
}

static int store_slot(struct index_writer *w, unsigned row, const struct serial *serial, unsigned mask)
{
	struct index_map *m = &w->view.map;
	struct index_slot *slot;
	uint32_t state;

	slot = index_find_slot(m, row, serial, &state);
	if (slot == NULL || ((state & INDEX_SLOT_USED) == 0 && atomic_load(&m->head->slots_used) >= INDEX_SLOTS_USED))
		return -ENOSPC;
	if ((state & INDEX_SLOT_USED) == 0) {
		slot->row = (uint16_t)row;
		slot->n = serial->n;
		memcpy(slot->byte, serial->byte, serial->n);
		/* Counted first: a reader that sees the count looks, and finds the old or the new state. */
		atomic_fetch_add_explicit(&m->head->slots_used, 1, memory_order_release);
	}
	atomic_store_explicit(&slot->state, INDEX_SLOT_USED | mask, memory_order_release);
	return 0;
}

int index_writer_change(struct index_writer *w, const uint8_t issuer[SHA256_SIZE], enum index_source source,
    const struct serial *serial, bool revoked)
{
	struct index_map *m = &w->view.map;
	int row = index_find_row(m, issuer), rc;
	unsigned before, after;

	if (row < 0 || (m->rows[row].section.sources & INDEX_BIT(source)) == 0 || serial->n == 0 ||
	    serial->n > SERIAL_MAX || serial->byte[0] == 0)
		return -EINVAL;
	before = index_mask(m, (unsigned)row, serial);
	after = revoked ? before | INDEX_BIT(source) : before & ~INDEX_BIT(source);
	if (after == before)
		return 0;
	rc = store_slot(w, (unsigned)row, serial, after);
	if (rc == -ENOSPC) {
		rc = fold(w);
		if (rc == 0)
			rc = store_slot(w, (unsigned)row, serial, after);
	}
	if (rc < 0)
		return rc;
	if ((before == 0) == (after == 0))
		return 0;
	atomic_fetch_add_explicit(&m->head->changed_serials, revoked ? 1 : -1, memory_order_relaxed);
	atomic_fetch_add_explicit(&m->head->generation, 1, memory_order_release);
	return 1;
}

void index_writer_confirm(struct index_writer *w, const uint8_t issuer[SHA256_SIZE], enum index_source source,
    int64_t confirmed, int64_t next_update)
{
	int row = index_find_row(&w->view.map, issuer);

	if (row < 0)
		return;
	w->view.map.rows[row].source[source].confirmed = confirmed;
	w->view.map.rows[row].source[source].next_update = next_update;
	refresh_row(w, &w->view.map.rows[row]);
}

const struct index_source_state *index_writer_source(const struct index_writer *w, const uint8_t issuer[SHA256_SIZE],
    enum index_source source)
{
	int row = index_find_row(&w->view.map, issuer);

	return row < 0 ? NULL : &w->view.map.rows[row].source[source];
}

void index_writer_set_number(struct index_writer *w, const uint8_t issuer[SHA256_SIZE], enum index_source source, const struct serial *number)
{
	int row = index_find_row(&w->view.map, issuer);

	if (row >= 0)
		w->view.map.rows[row].source[source].number = *number;
}

/* False: no entry of the section has that source, which one look at its bits tells. */
static bool section_has(const struct index_map *m, const struct index_section *s, enum index_source source)
{
	size_t stripe = ((size_t)s->count + 7) / 8;
	const uint8_t *bits = (const uint8_t *)m->head + s->masks_at + (size_t)source * stripe;

	if (s->count == 0 || s->masks_at == 0)
		return s->count > 0 && (s->mask & INDEX_BIT(source)) != 0;
	for (size_t i = 0; i < stripe; i++)
		if (bits[i] != 0)
			return true;
	return false;
}

void index_writer_each(const struct index_writer *w, const uint8_t issuer[SHA256_SIZE], enum index_source source,
    void (*fn)(void *arg, const struct serial *serial), void *arg)
{
	const struct index_map *m = &w->view.map;
	int row = index_find_row(m, issuer);
	struct index_walk walk = { .map = m };
	struct serial serial;
	uint8_t wide[SERIAL_MAX];
	unsigned mask;

	if (row < 0)
		return;
	walk.section = &m->rows[row].section;
	for (bool any = section_has(m, walk.section, source); any && index_walk_next(&walk, wide, &mask);) {
		serial.n = (uint8_t)serial_width(wide);
		memcpy(serial.byte, wide + SERIAL_MAX - serial.n, serial.n);
		if ((mask & index_mask(m, (unsigned)row, &serial) & INDEX_BIT(source)) != 0)
			fn(arg, &serial);
	}
	for (uint32_t i = 0; i < INDEX_SLOTS; i++) {
		const struct index_slot *slot = &m->slots[i];
		uint32_t state = atomic_load(&slot->state);
		if ((state & INDEX_SLOT_USED) == 0 || slot->row != row || (state & INDEX_BIT(source)) == 0 || slot->n > SERIAL_MAX)
			continue;
		serial.n = slot->n;
		memcpy(serial.byte, slot->byte, slot->n);
		if ((index_section_mask(m, walk.section, &serial) & INDEX_BIT(source)) == 0)
			fn(arg, &serial);
	}
}

bool index_writer_says(const struct index_writer *w, const uint8_t issuer[SHA256_SIZE], enum index_source source,
    const struct serial *serial)
{
	int row = index_find_row(&w->view.map, issuer);

	return row >= 0 && (index_mask(&w->view.map, (unsigned)row, serial) & INDEX_BIT(source)) != 0;
}

uint64_t index_writer_replacements(const struct index_writer *w)
{
	return w->replacements;
}

const struct revocation_view *index_writer_view(const struct index_writer *w)
{
	return &w->view;
}

int64_t index_let_in_floor(const struct index_writer *w)
{
	return atomic_load(&w->view.map.head->let_in_floor);
}

void index_raise_let_in_floor(struct index_writer *w, int64_t t)
{
	if (t > index_let_in_floor(w))
		atomic_store(&w->view.map.head->let_in_floor, t);
}

void index_stream_position(const struct index_writer *w, uint64_t *ms, uint64_t *number)
{
	*ms = w->view.map.head->stream_ms;
	*number = w->view.map.head->stream_number;
}

void index_set_stream_position(struct index_writer *w, uint64_t ms, uint64_t number)
{
	w->view.map.head->stream_ms = ms;
	w->view.map.head->stream_number = number;
}
