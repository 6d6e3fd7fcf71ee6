/*
 * serials: arrays of serials and their in-place radix sort. Pure but for the memory it maps.
 * Knows nothing of issuers, CRLs or files. Runs in the revocation process and in tests.
 */
#include "proxy/revocation/serials.h"

#include <sys/mman.h>

#define SMALL_RUN 24	/* shorter runs are sorted by insertion */

typedef uint8_t row_bytes[SERIAL_MAX];

void serial_widen(const struct serial *serial, uint8_t out[SERIAL_MAX])
{
	size_t n = serial->n <= SERIAL_MAX ? serial->n : SERIAL_MAX;

	memset(out, 0, SERIAL_MAX - n);
	memcpy(out + SERIAL_MAX - n, serial->byte, n);
}

unsigned serial_width(const uint8_t row[SERIAL_MAX])
{
	unsigned zeros = 0;

	while (zeros < SERIAL_MAX && row[zeros] == 0)
		zeros++;
	return SERIAL_MAX - zeros;
}

void serials_clear(struct serials *s)
{
	if (s->row != NULL)
		munmap(s->row, s->size);
	memset(s, 0, sizeof(*s));
}

int serials_reserve(struct serials *s, size_t n)
{
	size_t size;
	void *p;

	if (n > SERIALS_MAX)
		return -1;
	size = (n * SERIAL_MAX + 4095) & ~(size_t)4095;
	if (size <= s->size)
		return 0;
	if (s->row == NULL)
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	else
		p = mremap(s->row, s->size, size, MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		return -1;
	s->row = p;
	s->size = size;
	return 0;
}

int serials_add(struct serials *s, const struct serial *serial)
{
	size_t want;

	if ((s->n + 1) * SERIAL_MAX > s->size) {
		/* Untouched pages cost nothing, so growing by half wastes address space only. */
		want = s->n + s->n / 2 + 1024;
		if (want > SERIALS_MAX)
			want = SERIALS_MAX;
		if (s->n >= want || serials_reserve(s, want) < 0)
			return -1;
	}
	serial_widen(serial, s->row[s->n]);
	s->n++;
	s->sorted = false;
	return 0;
}

static void swap_rows(uint8_t *a, uint8_t *b)
{
	row_bytes t;

	memcpy(t, a, SERIAL_MAX);
	memcpy(a, b, SERIAL_MAX);
	memcpy(b, t, SERIAL_MAX);
}

static void insertion_sort(row_bytes *row, size_t n)
{
	row_bytes t;
	size_t i, k;

	for (i = 1; i < n; i++) {
		memcpy(t, row[i], SERIAL_MAX);
		for (k = i; k > 0 && memcmp(row[k - 1], t, SERIAL_MAX) > 0; k--)
			memcpy(row[k], row[k - 1], SERIAL_MAX);
		memcpy(row[k], t, SERIAL_MAX);
	}
}

/* Sorts by the byte at `at` and then each run of equal bytes by the next; depth is bounded by SERIAL_MAX. */
static void radix_sort(row_bytes *row, size_t n, unsigned at)
{
	size_t count[256] = { 0 }, next[256], end[256], i, sum = 0;
	unsigned b;

	for (i = 0; i < n; i++)
		count[row[i][at]]++;
	for (b = 0; b < 256; b++) {
		next[b] = sum;
		sum += count[b];
		end[b] = sum;
	}
	for (b = 0; b < 256; b++)
		while (next[b] < end[b]) {
			unsigned to = row[next[b]][at];

			if (to == b)
				next[b]++;
			else
				swap_rows(row[next[b]], row[next[to]++]);
		}
	if (at + 1 == SERIAL_MAX)
		return;
	for (b = 0; b < 256; b++) {
		if (count[b] < 2)
			continue;
		if (count[b] <= SMALL_RUN)
			insertion_sort(row + end[b] - count[b], count[b]);
		else
			radix_sort(row + end[b] - count[b], count[b], at + 1);
	}
}

void serials_sort(struct serials *s)
{
	size_t i, kept = 0;

	if (s->n > 1) {
		radix_sort(s->row, s->n, 0);
		for (i = 1; i < s->n; i++)
			if (memcmp(s->row[i], s->row[kept], SERIAL_MAX) != 0 && ++kept != i)
				memcpy(s->row[kept], s->row[i], SERIAL_MAX);
		s->n = kept + 1;
	}
	s->sorted = true;
}

void serials_subtract(struct serials *s, const struct serials *gone)
{
	size_t i, kept = 0, g = 0;
	int order;

	for (i = 0; i < s->n; i++) {
		order = 1;
		while (g < gone->n && (order = memcmp(gone->row[g], s->row[i], SERIAL_MAX)) < 0)
			g++;
		if (g < gone->n && order == 0)
			continue;
		if (kept != i)
			memcpy(s->row[kept], s->row[i], SERIAL_MAX);
		kept++;
	}
	s->n = kept;
}

bool serials_have(const struct serials *s, const struct serial *serial)
{
	size_t low = 0, high = s->n, mid;
	row_bytes want;
	int order;

	serial_widen(serial, want);
	while (low < high) {
		mid = low + (high - low) / 2;
		order = memcmp(s->row[mid], want, SERIAL_MAX);
		if (order == 0)
			return true;
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}
