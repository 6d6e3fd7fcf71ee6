/*
 * index_build: writes the next revocation.idx by one merge of what was known, what changed and what is new. Runs in the
 * revocation process. Holds one 64 KiB buffer and one issuer's directory and masks; entries stream through it.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/revocation/index_format.h"
#include "proxy/revocation/serials.h"

#define NEW_FILE INDEX_FILE ".new"
#define BUFFER	 65536u

/* The file that is written: everything behind the slots goes through put(). */
struct output {
	int fd;
	uint64_t at;			/* where the next byte goes */
	size_t held;
	EVP_MD_CTX *sum;
	uint8_t *buffer;
	int error;			/* the first, -errno */
};

static void flush(struct output *o)
{
	size_t done = 0;
	ssize_t n;

	if (o->error == 0 && !EVP_DigestUpdate(o->sum, o->buffer, o->held))
		o->error = -ENOMEM;
	while (o->error == 0 && done < o->held) {
		n = pwrite(o->fd, o->buffer + done, o->held - done, (off_t)(o->at - o->held + done));
		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno != EINTR)
			o->error = n == 0 ? -EIO : -errno;
	}
	o->held = 0;
}

static void put(struct output *o, const void *bytes, size_t n)
{
	size_t part;

	while (n > 0) {
		if (o->held == BUFFER)
			flush(o);
		part = BUFFER - o->held < n ? BUFFER - o->held : n;
		memcpy(o->buffer + o->held, bytes, part);
		o->held += part;
		o->at += part;
		bytes = (const char *)bytes + part;
		n -= part;
	}
}

/* --- the merge of one issuer --- */
struct override {
	uint8_t row[SERIAL_MAX];
	unsigned mask;
};

struct merge {
	const struct index_build_row *what;
	const struct index_map *old;
	const struct index_section *section;	/* of old; NULL: issuer is new */
	struct override *override;		/* sorted */
	size_t overrides, next_override;
	struct index_walk walk;
	bool walking;				/* walk_row holds one that was not taken */
	uint8_t walk_row[SERIAL_MAX];
	unsigned walk_mask;
	size_t next_add;
};

static int compare_overrides(const void *a, const void *b)
{
	return memcmp(((const struct override *)a)->row, ((const struct override *)b)->row, SERIAL_MAX);
}

static int collect_overrides(struct merge *m, unsigned row)
{
	const struct index_slot *slot;
	struct serial serial;
	uint32_t state, i, used = atomic_load(&m->old->head->slots_used);

	if (used == 0)
		return 0;
	m->override = calloc(INDEX_SLOTS, sizeof(*m->override));
	if (m->override == NULL)
		return -ENOMEM;
	for (i = 0; i < INDEX_SLOTS; i++) {
		slot = &m->old->slots[i];
		state = atomic_load(&slot->state);
		if ((state & INDEX_SLOT_USED) == 0 || slot->row != row || slot->n == 0 || slot->n > SERIAL_MAX)
			continue;
		serial.n = slot->n;
		memcpy(serial.byte, slot->byte, slot->n);
		serial_widen(&serial, m->override[m->overrides].row);
		m->override[m->overrides++].mask = state & INDEX_ALL_SOURCES;
	}
	qsort(m->override, m->overrides, sizeof(*m->override), compare_overrides);
	return 0;
}

static void merge_rewind(struct merge *m)
{
	m->next_override = m->next_add = 0;
	m->walk = (struct index_walk){ .map = m->old, .section = m->section };
	m->walking = m->section != NULL && index_walk_next(&m->walk, m->walk_row, &m->walk_mask);
}

static int merge_init(struct merge *m, const struct index_map *old, const struct index_build_row *what)
{
	int row = old->head != NULL ? index_find_row(old, what->issuer) : -1;

	*m = (struct merge){ .what = what, .old = old };
	if (row >= 0) {
		m->section = &old->rows[row].section;
		if (collect_overrides(m, (unsigned)row) < 0)
			return -ENOMEM;
	}
	merge_rewind(m);
	return 0;
}

/* The next serial that some source says is revoked, in order. False at the end. */
static bool merge_next(struct merge *m, uint8_t row[SERIAL_MAX], unsigned *mask)
{
	const struct serials *add = m->what->add;
	const struct override *o;
	const uint8_t *add_row;
	bool in_add;

	do {
		o = m->next_override < m->overrides ? &m->override[m->next_override] : NULL;
		add_row = add != NULL && m->next_add < add->n ? add->row[m->next_add] : NULL;
		if (!m->walking && o == NULL && add_row == NULL)
			return false;
		memset(row, 0xff, SERIAL_MAX);
		if (m->walking)
			memcpy(row, m->walk_row, SERIAL_MAX);
		if (o != NULL && memcmp(o->row, row, SERIAL_MAX) < 0)
			memcpy(row, o->row, SERIAL_MAX);
		if (add_row != NULL && memcmp(add_row, row, SERIAL_MAX) < 0)
			memcpy(row, add_row, SERIAL_MAX);
		*mask = 0;
		if (m->walking && memcmp(m->walk_row, row, SERIAL_MAX) == 0) {
			*mask = m->walk_mask;
			m->walking = index_walk_next(&m->walk, m->walk_row, &m->walk_mask);
		}
		if (o != NULL && memcmp(o->row, row, SERIAL_MAX) == 0) {
			*mask = o->mask;
			m->next_override++;
		}
		in_add = add_row != NULL && memcmp(add_row, row, SERIAL_MAX) == 0;
		if (m->what->replace)
			*mask &= ~INDEX_BIT(m->what->add_source);
		if (in_add) {
			*mask |= INDEX_BIT(m->what->add_source);
			m->next_add++;
		}
		*mask &= m->what->sources;
	} while (*mask == 0);
	return true;
}

/* First pass: how many, how long, whether all say the same. */
static int measure(struct merge *m, struct index_section *s)
{
	uint8_t row[SERIAL_MAX];
	unsigned mask, all = INDEX_ALL_SOURCES, any = 0, width;
	uint64_t count = 0;

	while (merge_next(m, row, &mask)) {
		width = serial_width(row);
		if (width > s->stride)
			s->stride = (uint8_t)width;
		all &= mask;
		any |= mask;
		if (++count > UINT32_MAX)
			return -EOVERFLOW;
	}
	s->count = (uint32_t)count;
	s->sources = m->what->sources;
	s->mask = all == any ? (uint8_t)any : 0;
	if (count >= INDEX_DIRECTORY_2 && s->stride > 2)
		s->prefix = 2;
	else if (count >= INDEX_DIRECTORY_1 && s->stride > 1)
		s->prefix = 1;
	return 0;
}

/* Second pass: the entries; fills directory and masks on the way. */
static void put_entries(struct output *o, struct merge *m, struct index_section *s, uint32_t *directory, uint8_t *masks)
{
	size_t stripe = ((size_t)s->count + 7) / 8;
	uint32_t i = 0, place = 0, at, k;
	uint8_t row[SERIAL_MAX];
	const uint8_t *start = row + SERIAL_MAX - s->stride;
	unsigned mask, source;

	merge_rewind(m);
	s->entries_at = o->at;
	for (; merge_next(m, row, &mask); i++) {
		for (at = 0, k = 0; k < s->prefix; k++)
			at = at << 8 | start[k];
		while (directory != NULL && place <= at)
			directory[place++] = i;
		put(o, start + s->prefix, (size_t)s->stride - s->prefix);
		for (source = 0; masks != NULL && source < INDEX_SOURCES; source++)
			if (mask & INDEX_BIT(source))
				masks[source * stripe + i / 8] |= (uint8_t)(1u << (i % 8));
	}
	while (directory != NULL && place <= 1u << (8 * s->prefix))
		directory[place++] = i;
}

/* What nothing new is known of goes over as it is. */
static void copy_section(struct output *o, const struct merge *m, struct index_section *s)
{
	const struct index_section *old = m->section;
	const char *base = (const char *)m->old->head;
	static const uint8_t zeros[4];

	*s = *old;
	s->entries_at = o->at;
	put(o, base + old->entries_at, (size_t)old->count * (old->stride - old->prefix));
	put(o, zeros, (4 - o->at % 4) % 4);
	if (old->prefix > 0) {
		s->directory_at = o->at;
		put(o, base + old->directory_at, (((size_t)1 << (8 * old->prefix)) + 1) * sizeof(uint32_t));
	}
	if (old->masks_at != 0) {
		s->masks_at = o->at;
		put(o, base + old->masks_at, ((size_t)old->count + 7) / 8 * INDEX_SOURCES);
	}
}

static int put_section(struct output *o, const struct index_map *old, const struct index_build_row *what,
    struct index_section *s)
{
	static const uint8_t zeros[4];
	size_t places, mask_bytes;
	uint32_t *directory = NULL;
	uint8_t *masks = NULL;
	struct merge m;
	int rc;

	rc = merge_init(&m, old, what);
	if (rc == 0 && what->add == NULL && m.section != NULL && m.section->count > 0 && m.overrides == 0 &&
	    m.section->sources == what->sources) {
		copy_section(o, &m, s);
		rc = o->error;
		goto out;
	}
	if (rc == 0)
		rc = measure(&m, s);
	if (rc < 0 || s->count == 0)
		goto out;
	places = ((size_t)1 << (8 * s->prefix)) + 1;
	mask_bytes = ((size_t)s->count + 7) / 8 * INDEX_SOURCES;
	if (s->prefix > 0)
		directory = calloc(places, sizeof(*directory));
	if (s->mask == 0)
		masks = calloc(1, mask_bytes);
	rc = -ENOMEM;
	if ((s->prefix > 0 && directory == NULL) || (s->mask == 0 && masks == NULL))
		goto out;
	put_entries(o, &m, s, directory, masks);
	put(o, zeros, (4 - o->at % 4) % 4);
	if (directory != NULL) {
		s->directory_at = o->at;
		put(o, directory, places * sizeof(*directory));
	}
	if (masks != NULL) {
		s->masks_at = o->at;
		put(o, masks, mask_bytes);
	}
	rc = o->error;
out:
	free(m.override);
	free(directory);
	free(masks);
	return rc;
}

/* What the old file knew of the source stays with the row, as long as the source is configured. */
static void copy_sources(struct index_row *row, const struct index_map *old)
{
	int at = old->head != NULL ? index_find_row(old, row->issuer) : -1;
	unsigned source;

	for (source = 0; at >= 0 && source < INDEX_SOURCES; source++)
		if (row->section.sources & INDEX_BIT(source))
			row->source[source] = old->rows[at].source[source];
}

static int write_all(int fd, const void *bytes, size_t n, off_t at)
{
	ssize_t done = pwrite(fd, bytes, n, at);

	return done == (ssize_t)n ? 0 : done < 0 ? -errno : -ENOSPC;
}

static int put_head(struct output *o, struct index_head *h, const struct index_map *old, const struct index_row *rows)
{
	uint32_t i;

	flush(o);
	for (i = 0; i < h->issuers && o->error == 0; i++) {
		h->serials += rows[i].section.count;
		if (!EVP_DigestUpdate(o->sum, rows[i].issuer, SHA256_SIZE) ||
		    !EVP_DigestUpdate(o->sum, &rows[i].section, sizeof(rows[i].section)))
			o->error = -ENOMEM;
	}
	if (o->error < 0)
		return o->error;
	if (!EVP_DigestFinal_ex(o->sum, h->check, NULL) || RAND_bytes((uint8_t *)&h->seed, sizeof(h->seed)) != 1)
		return -ENOMEM;
	h->file_size = o->at;
	h->built = (uint64_t)time(NULL);
	/* Two ahead of the old one, which is bumped once when it is replaced: no number is ever used for two states. */
	h->generation = old->head != NULL ? atomic_load(&old->head->generation) + 2 : h->built << 24;
	if (old->head != NULL) {
		h->let_in_floor = atomic_load(&old->head->let_in_floor);
		h->stream_ms = old->head->stream_ms;
		h->stream_number = old->head->stream_number;
	}
	/* The change table is a hole so far: its blocks too must be there, or a full disk would be a SIGBUS later. */
	o->error = posix_fallocate(o->fd, 0, (off_t)h->file_size);
	if (o->error != 0)
		return o->error = -o->error;
	o->error = write_all(o->fd, rows, h->issuers * sizeof(*rows), (off_t)h->rows_at);
	return o->error < 0 ? o->error : write_all(o->fd, h, sizeof(*h), 0);
}

static int put_file(struct output *o, const struct index_map *old, const struct index_build_row *what, unsigned n)
{
	struct index_head h = { .magic = INDEX_MAGIC, .layout = INDEX_LAYOUT, .issuers = n, .rows_at = INDEX_HEAD };
	struct index_row *rows = calloc(n + 1u, sizeof(*rows));
	int rc = 0;
	unsigned i;

	if (rows == NULL)
		return -ENOMEM;
	h.slots_at = h.rows_at + n * sizeof(*rows);
	h.sections_at = o->at = h.slots_at + (uint64_t)INDEX_SLOTS * sizeof(struct index_slot);
	for (i = 0; i < n && rc == 0; i++) {
		memcpy(rows[i].issuer, what[i].issuer, SHA256_SIZE);
		rc = put_section(o, old, &what[i], &rows[i].section);
		rows[i].section.sources = what[i].sources;
		copy_sources(&rows[i], old);
		if (what[i].state != NULL)
			rows[i].source[what[i].add_source] = *what[i].state;
	}
	if (rc == 0)
		rc = put_head(o, &h, old, rows);
	free(rows);
	return rc;
}

int index_build(int dir_fd, const struct index_map *old, const struct index_build_row *rows, unsigned n)
{
	struct output o = { .fd = openat(dir_fd, NEW_FILE, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600) };
	int rc = -errno;

	if (o.fd < 0)
		return rc;
	o.buffer = malloc(BUFFER);
	o.sum = EVP_MD_CTX_new();
	rc = -ENOMEM;
	if (o.buffer != NULL && o.sum != NULL && EVP_DigestInit_ex(o.sum, EVP_sha256(), NULL))
		rc = put_file(&o, old, rows, n);
	if (rc == 0 && (fsync(o.fd) < 0 || renameat(dir_fd, NEW_FILE, dir_fd, INDEX_FILE) < 0 || fsync(dir_fd) < 0))
		rc = -errno;
	EVP_MD_CTX_free(o.sum);
	free(o.buffer);
	if (rc < 0) {
		unlinkat(dir_fd, NEW_FILE, 0);
		close(o.fd);
		return rc;
	}
	return o.fd;
}
