/*
 * metrics: numbers in shared memory, one slot a process, summed when printed. Every process writes; workers print.
 */
#include "common/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#define METRICS_MAX 64

static const double bucket_limits[] = { .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60 };
#define BUCKETS (ARRAY_LEN(bucket_limits) + 1)
#define HISTOGRAM_CELLS (BUCKETS + 1)	/* buckets, and the sum in microseconds */

/* Process-wide by nature: a process has one set of metrics. */
static struct {
	const struct metric_row *rows;
	size_t n;
	size_t offset[METRICS_MAX];	/* of a row's first cell */
	size_t cells;			/* of one slot */
	unsigned slots, mine;
	_Atomic int64_t *map;
	size_t bytes;
} set;

static size_t count_values(const char *const *values)
{
	size_t n = 0;

	while (values != NULL && values[n] != NULL)
		n++;
	return n > 0 ? n : 1;
}

static size_t subs(const struct metric_row *row)
{
	return count_values(row->values) * count_values(row->values2);
}

static size_t cells_each(const struct metric_row *row)
{
	return row->kind == METRIC_HISTOGRAM ? HISTOGRAM_CELLS : 1;
}

int metrics_setup(const struct metric_row *rows, size_t n, unsigned slots)
{
	void *map;

	if (n > METRICS_MAX)
		return -E2BIG;
	set.rows = rows;
	set.n = n;
	set.slots = slots;
	set.mine = 0;
	set.cells = 0;
	for (size_t i = 0; i < n; i++) {
		set.offset[i] = set.cells;
		set.cells += subs(&rows[i]) * cells_each(&rows[i]);
	}
	set.cells = (set.cells + 7) & ~(size_t)7;	/* slots do not share a cache line */
	set.bytes = set.cells * slots * sizeof(int64_t);
	map = mmap(NULL, set.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	set.map = map;
	return 0;
}

void metrics_use_slot(unsigned slot)
{
	if (slot < set.slots)
		set.mine = slot;
}

void metrics_teardown(void)
{
	if (set.map != NULL)
		munmap((void *)(uintptr_t)set.map, set.bytes);
	set.map = NULL;
	set.n = 0;
}

static _Atomic int64_t *cell(unsigned slot, unsigned metric, unsigned sub)
{
	if (set.map == NULL || metric >= set.n || sub >= subs(&set.rows[metric]))
		return NULL;
	return set.map + slot * set.cells + set.offset[metric] + sub * cells_each(&set.rows[metric]);
}

/* The slot has one writer: a plain load and store is enough and costs no lock. */
static void bump(_Atomic int64_t *c, int64_t n)
{
	__atomic_store_n((int64_t *)(uintptr_t)c, __atomic_load_n((int64_t *)(uintptr_t)c, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

void metrics_add(unsigned metric, unsigned sub, int64_t n)
{
	_Atomic int64_t *c = cell(set.mine, metric, sub);

	if (c != NULL)
		bump(c, n);
}

void metrics_set(unsigned metric, unsigned sub, int64_t value)
{
	_Atomic int64_t *c = cell(set.mine, metric, sub);

	if (c != NULL)
		__atomic_store_n((int64_t *)(uintptr_t)c, value, __ATOMIC_RELAXED);
}

void metrics_observe_us(unsigned metric, unsigned sub, uint64_t microseconds)
{
	_Atomic int64_t *c = cell(set.mine, metric, sub);
	size_t i = 0;

	if (c == NULL)
		return;
	while (i < ARRAY_LEN(bucket_limits) && (double)microseconds > bucket_limits[i] * 1e6)
		i++;
	bump(c + i, 1);
	bump(c + BUCKETS, (int64_t)microseconds);
}

void metrics_clear_gauges(unsigned slot)
{
	for (unsigned i = 0; i < set.n; i++) {
		if (set.rows[i].kind != METRIC_GAUGE && set.rows[i].kind != METRIC_GAUGE_MAX)
			continue;
		for (unsigned k = 0; k < subs(&set.rows[i]); k++)
			__atomic_store_n((int64_t *)(uintptr_t)cell(slot, i, k), 0, __ATOMIC_RELAXED);
	}
}

static int64_t sum(unsigned metric, unsigned sub, size_t at)
{
	int64_t total = 0;

	for (unsigned s = 0; s < set.slots; s++) {
		_Atomic int64_t *c = cell(s, metric, sub);
		int64_t v = c != NULL ? __atomic_load_n((int64_t *)(uintptr_t)(c + at), __ATOMIC_RELAXED) : 0;
		if (set.rows[metric].kind == METRIC_GAUGE_MAX)
			total = v > total ? v : total;
		else
			total += v;
	}
	return total;
}

int64_t metrics_total(unsigned metric, unsigned sub)
{
	int64_t total = 0;

	if (metric >= set.n || sub >= subs(&set.rows[metric]))
		return 0;
	if (set.rows[metric].kind != METRIC_HISTOGRAM)
		return sum(metric, sub, 0);
	for (size_t b = 0; b < BUCKETS; b++)
		total += sum(metric, sub, b);
	return total;
}

/* name{label="value",label2="value2" — without the closing brace, "" when there is no label. */
static void labels(char *out, size_t size, const struct metric_row *row, unsigned sub)
{
	size_t n2 = count_values(row->values2);

	out[0] = '\0';
	if (row->label != NULL)
		snprintf(out, size, "%s=\"%s\"", row->label, row->values[sub / n2]);
	if (row->label2 != NULL) {
		size_t n = strlen(out);
		snprintf(out + n, size - n, ",%s=\"%s\"", row->label2, row->values2[sub % n2]);
	}
}

static int print_histogram(struct buffer *out, unsigned metric, unsigned sub, const char *label)
{
	const char *name = set.rows[metric].name, *comma = label[0] != '\0' ? "," : "";
	const char *open = label[0] != '\0' ? "{" : "", *shut = label[0] != '\0' ? "}" : "";
	int64_t total = 0;
	int rc = 0;

	for (size_t b = 0; b < BUCKETS && rc == 0; b++) {
		total += sum(metric, sub, b);
		if (b < ARRAY_LEN(bucket_limits))
			rc = buffer_printf(out, "%s_bucket{%s%sle=\"%g\"} %" PRId64 "\n", name, label, comma, bucket_limits[b], total);
		else
			rc = buffer_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRId64 "\n", name, label, comma, total);
	}
	if (rc == 0)
		rc = buffer_printf(out, "%s_sum%s%s%s %.6f\n%s_count%s%s%s %" PRId64 "\n", name, open, label, shut,
		    (double)sum(metric, sub, BUCKETS) / 1e6, name, open, label, shut, total);
	return rc;
}

static int print_row(struct buffer *out, unsigned metric)
{
	static const char *const kinds[] = { "counter", "gauge", "gauge", "histogram" };
	const struct metric_row *row = &set.rows[metric];
	int rc = buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name, kinds[row->kind]);

	for (unsigned s = 0; s < subs(row) && rc == 0; s++) {
		char label[256];
		labels(label, sizeof(label), row, s);
		/* Of a table with two labels, combinations that never happened are left out. */
		if (row->label2 != NULL && metrics_total(metric, s) == 0)
			continue;
		if (row->kind == METRIC_HISTOGRAM)
			rc = print_histogram(out, metric, s, label);
		else if (label[0] != '\0')
			rc = buffer_printf(out, "%s{%s} %" PRId64 "\n", row->name, label, sum(metric, s, 0));
		else
			rc = buffer_printf(out, "%s %" PRId64 "\n", row->name, sum(metric, s, 0));
	}
	return rc;
}

int metrics_print(struct buffer *out)
{
	for (unsigned i = 0; i < set.n; i++) {
		if (print_row(out, i) < 0)
			return -1;
	}
	return 0;
}
