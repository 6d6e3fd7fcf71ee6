/*
 * index_file: mapping, checking and searching the index file; what reader and writer share. Does not write.
 * Offsets are checked once at mapping; what is read later from the file (directory, slots) is held against bounds each time.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "proxy/revocation/index_format.h"

static bool inside(uint64_t at, uint64_t n, uint64_t from, uint64_t size)
{
	return at >= from && at <= size && n <= size - at;
}

static uint64_t directory_entries(const struct index_section *s)
{
	return (1ull << (8 * s->prefix)) + 1;
}

static bool section_is_sound(const struct index_section *s, uint64_t from, uint64_t size)
{
	uint64_t masks = ((uint64_t)s->count + 7) / 8 * INDEX_SOURCES;

	if ((s->sources & ~INDEX_ALL_SOURCES) != 0 || (s->mask & ~INDEX_ALL_SOURCES) != 0)
		return false;
	if (s->count == 0)
		return true;
	if (s->stride == 0 || s->stride > SERIAL_MAX || s->prefix > 2 || s->prefix >= s->stride)
		return false;
	if (!inside(s->entries_at, (uint64_t)s->count * (s->stride - s->prefix), from, size))
		return false;
	if (s->prefix > 0 && (s->directory_at % 4 != 0 || !inside(s->directory_at, directory_entries(s) * 4, from, size)))
		return false;
	return s->masks_at == 0 || inside(s->masks_at, masks, from, size);
}

static bool map_is_sound(const struct index_map *m)
{
	const struct index_head *h = m->head;
	uint64_t rows = (uint64_t)h->issuers * sizeof(struct index_row);
	uint64_t slots = (uint64_t)INDEX_SLOTS * sizeof(struct index_slot);
	uint32_t i;

	if (h->magic != INDEX_MAGIC || h->layout != INDEX_LAYOUT || h->file_size != m->size ||
	    h->issuers > INDEX_ISSUERS_MAX || h->rows_at != INDEX_HEAD)
		return false;
	if (h->slots_at != INDEX_HEAD + rows || h->sections_at != h->slots_at + slots || h->sections_at > m->size)
		return false;
	for (i = 0; i < h->issuers; i++) {
		if (!section_is_sound(&m->rows[i].section, h->sections_at, m->size))
			return false;
		if (i > 0 && memcmp(m->rows[i - 1].issuer, m->rows[i].issuer, SHA256_SIZE) >= 0)
			return false;
	}
	return true;
}

int index_map(int fd, bool writable, struct index_map *out)
{
	struct index_map m = { 0 };
	struct stat st;
	uint64_t slots_end;
	void *p;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)INDEX_HEAD || st.st_size > (off_t)INDEX_FILE_MAX)
		return -EBADMSG;
	m.size = (size_t)st.st_size;
	p = mmap(NULL, m.size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	m.head = p;
	/* Rows and slots must lie in the file before any of them is looked at. */
	slots_end = INDEX_HEAD + (uint64_t)m.head->issuers * sizeof(struct index_row) +
	    (uint64_t)INDEX_SLOTS * sizeof(struct index_slot);
	m.rows = (struct index_row *)(void *)((char *)p + INDEX_HEAD);
	if (slots_end > m.size || !map_is_sound(&m)) {
		munmap(p, m.size);
		return -EBADMSG;
	}
	m.slots = (struct index_slot *)(void *)((char *)p + m.head->slots_at);
	*out = m;
	return 0;
}

void index_unmap(struct index_map *m)
{
	if (m->head != NULL)
		munmap(m->head, m->size);
	memset(m, 0, sizeof(*m));
}

int index_check_sum(const struct index_map *m, uint8_t out[SHA256_SIZE])
{
	const struct index_head *h = m->head;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int rc = -ENOMEM;
	uint32_t i;

	if (ctx == NULL || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) ||
	    !EVP_DigestUpdate(ctx, (const char *)h + h->sections_at, m->size - h->sections_at))
		goto out;
	for (i = 0; i < h->issuers; i++)
		if (!EVP_DigestUpdate(ctx, m->rows[i].issuer, SHA256_SIZE) ||
		    !EVP_DigestUpdate(ctx, &m->rows[i].section, sizeof(m->rows[i].section)))
			goto out;
	if (EVP_DigestFinal_ex(ctx, out, NULL))
		rc = 0;
out:
	EVP_MD_CTX_free(ctx);
	return rc;
}

int index_find_row(const struct index_map *m, const uint8_t issuer[SHA256_SIZE])
{
	uint32_t low = 0, high = m->head->issuers, mid;
	int order;

	while (low < high) {
		mid = low + (high - low) / 2;
		order = memcmp(m->rows[mid].issuer, issuer, SHA256_SIZE);
		if (order == 0)
			return (int)mid;
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return -1;
}

static unsigned mask_of(const struct index_map *m, const struct index_section *s, uint32_t i)
{
	const uint8_t *bits;
	unsigned source, mask = 0;

	if (s->masks_at == 0)
		return s->mask;
	bits = (const uint8_t *)m->head + s->masks_at;
	for (source = 0; source < INDEX_SOURCES; source++, bits += ((size_t)s->count + 7) / 8)
		if (bits[i / 8] & (1u << (i % 8)))
			mask |= INDEX_BIT(source);
	return mask;
}

unsigned index_section_mask(const struct index_map *m, const struct index_section *s, const struct serial *serial)
{
	uint32_t low = 0, high = s->count, mid, place = 0;
	size_t width = (size_t)s->stride - s->prefix;
	const uint32_t *directory;
	const uint8_t *entries = (const uint8_t *)m->head + s->entries_at, *key;
	uint8_t wide[SERIAL_MAX];
	unsigned i;
	int order;

	if (s->count == 0 || serial->n > s->stride)
		return 0;
	memset(wide, 0, sizeof(wide));
	memcpy(wide + s->stride - serial->n, serial->byte, serial->n);
	if (s->prefix > 0) {
		directory = (const uint32_t *)(const void *)((const char *)m->head + s->directory_at);
		for (i = 0; i < s->prefix; i++)
			place = place << 8 | wide[i];
		low = directory[place];
		high = directory[place + 1];
		if (high > s->count || low > high)
			return 0;
	}
	key = wide + s->prefix;
	while (low < high) {
		mid = low + (high - low) / 2;
		order = memcmp(entries + mid * width, key, width);
		if (order == 0)
			return mask_of(m, s, mid);
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return 0;
}

static uint32_t hash_serial(uint32_t seed, unsigned row, const struct serial *serial)
{
	uint64_t h = (seed ^ (uint64_t)row << 32) * 0x9e3779b97f4a7c15ull;
	unsigned i;

	for (i = 0; i < serial->n; i++)
		h = (h ^ serial->byte[i]) * 0x100000001b3ull;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9ull;
	return (uint32_t)(h >> 32);
}

struct index_slot *index_find_slot(const struct index_map *m, unsigned row, const struct serial *serial, uint32_t *state)
{
	uint32_t at = hash_serial(m->head->seed, row, serial), i;
	struct index_slot *slot;

	for (i = 0; i < INDEX_SLOTS; i++) {
		slot = &m->slots[(at + i) & (INDEX_SLOTS - 1)];
		*state = atomic_load_explicit(&slot->state, memory_order_acquire);
		if ((*state & INDEX_SLOT_USED) == 0)
			return slot;
		if (slot->row == row && slot->n == serial->n && slot->n <= SERIAL_MAX &&
		    memcmp(slot->byte, serial->byte, slot->n) == 0)
			return slot;
	}
	return NULL;
}

unsigned index_mask(const struct index_map *m, unsigned row, const struct serial *serial)
{
	const struct index_section *s = &m->rows[row].section;
	uint32_t state;

	/* An empty change table is the rule: then its memory is not touched at all. */
	if (atomic_load_explicit(&m->head->slots_used, memory_order_acquire) != 0) {
		if (index_find_slot(m, row, serial, &state) == NULL)
			return INDEX_ALL_SOURCES;	/* damaged: nobody is let in on it */
		if (state & INDEX_SLOT_USED)
			return state & INDEX_ALL_SOURCES;
	}
	return index_section_mask(m, s, serial);
}

bool index_walk_next(struct index_walk *w, uint8_t row[SERIAL_MAX], unsigned *mask)
{
	const struct index_section *s = w->section;
	const char *base = (const char *)w->map->head;
	const uint32_t *directory = (const uint32_t *)(const void *)(base + s->directory_at);
	size_t width = (size_t)s->stride - s->prefix;
	unsigned i;

	if (w->i >= s->count)
		return false;
	memset(row, 0, SERIAL_MAX);
	if (s->prefix > 0) {
		while (w->prefix < directory_entries(s) - 2 && directory[w->prefix + 1] <= w->i)
			w->prefix++;
		for (i = 0; i < s->prefix; i++)
			row[SERIAL_MAX - s->stride + i] = (uint8_t)(w->prefix >> (8 * (s->prefix - 1u - i)));
	}
	memcpy(row + SERIAL_MAX - width, base + s->entries_at + w->i * width, width);
	*mask = mask_of(w->map, s, w->i);
	w->i++;
	return true;
}
