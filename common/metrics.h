/*
 * metrics: counters, gauges and histograms in shared memory, one slot per process so that no two write the
 * same cache line; summed when asked for. Prometheus text format 0.0.4.
 *
 * The table of metrics is the program's (proxy/metric_table.c): rows with name, help, kind, label and its values.
 * Made by the master before fork; a respawned process takes its slot over, so counters never go back.
 */
#ifndef EASGATE_METRICS_H
#define EASGATE_METRICS_H

#include "common/base.h"
#include "common/buffer.h"

enum metric_kind {
	METRIC_COUNTER,
	METRIC_GAUGE,		/* summed over processes */
	METRIC_GAUGE_MAX,	/* the largest of all processes */
	METRIC_HISTOGRAM,	/* seconds; buckets .001 .0025 .005 .01 .025 .05 .1 .25 .5 1 2.5 5 10 30 60 +Inf */
};

struct metric_row {
	const char *name, *help;
	enum metric_kind kind;
	const char *label;		/* NULL: none */
	const char *const *values;	/* the label's values, NULL-terminated; index = `sub` below */
	const char *label2;		/* NULL: none. sub = index1 * count2 + index2 */
	const char *const *values2;
};

/* rows is an array of n; borrowed for ever. slots: processes that will write. 0 or -errno. */
MUST_CHECK int metrics_setup(const struct metric_row *rows, size_t n, unsigned slots);
/* Which slot this process writes; before that, writes go to slot 0. */
void metrics_use_slot(unsigned slot);
void metrics_teardown(void);

void metrics_add(unsigned metric, unsigned sub, int64_t n);	/* counter, gauge */
void metrics_set(unsigned metric, unsigned sub, int64_t value);	/* gauge: this process's share */
void metrics_observe_us(unsigned metric, unsigned sub, uint64_t microseconds);	/* histogram */
/* Gauges of a process that has died count no more (counters stay). */
void metrics_clear_gauges(unsigned slot);

int64_t metrics_total(unsigned metric, unsigned sub);	/* counter or gauge over all processes; histogram: its count */
/* Appends the whole exposition. 0 or -1 (buffer's ceiling). */
MUST_CHECK int metrics_print(struct buffer *out);

#endif
