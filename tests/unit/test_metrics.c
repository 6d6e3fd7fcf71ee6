/*
 * Metrics: what processes count adds up, whoever dies; and the text is what Prometheus reads.
 */
#include "common/metrics.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/metric_table.h"
#include "proxy/worker/eas_query.h"
#include "proxy/worker/reply.h"

static const char *const colours[] = { "red", "green", NULL };
static const char *const sizes[] = { "small", "large", NULL };
enum { COUNT, NOW, MOST, PAIRS, TIME, TIME_BY };
static const struct metric_row rows[] = {
	[COUNT] = { "t_total", "Counted.", METRIC_COUNTER, NULL, NULL, NULL, NULL },
	[NOW] = { "t_now", "Now.", METRIC_GAUGE, "colour", colours, NULL, NULL },
	[MOST] = { "t_most", "Most.", METRIC_GAUGE_MAX, NULL, NULL, NULL, NULL },
	[PAIRS] = { "t_pairs_total", "Pairs.", METRIC_COUNTER, "colour", colours, "size", sizes },
	[TIME] = { "t_seconds", "Time.", METRIC_HISTOGRAM, NULL, NULL, NULL, NULL },
	[TIME_BY] = { "t_by_seconds", "Time.", METRIC_HISTOGRAM, "colour", colours, NULL, NULL },
};

static int setup(void **state)
{
	(void)state;
	return metrics_setup(rows, ARRAY_LEN(rows), 3);
}

static int teardown(void **state)
{
	(void)state;
	metrics_teardown();
	return 0;
}

static char *printed(void)
{
	struct buffer out;
	char *text;

	buffer_init(&out, 1 << 20);
	assert_int_equal(metrics_print(&out), 0);
	text = strndup(buffer_data(&out), buffer_len(&out));
	buffer_clear(&out);
	return text;
}

static void assert_line(const char *text, const char *line)
{
	char wanted[256];

	snprintf(wanted, sizeof(wanted), "\n%s\n", line);
	if (strstr(text, wanted) == NULL)
		fail_msg("not there: %s\nin:\n%s", line, text);
}

static void what_several_processes_count_adds_up(void **state)
{
	(void)state;
	for (unsigned slot = 0; slot < 3; slot++) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			metrics_use_slot(slot);
			metrics_add(COUNT, 0, 10 + slot);
			metrics_add(NOW, 1, 1);
			metrics_set(MOST, 0, 5 + slot);
			metrics_observe_us(TIME, 0, 2000);
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	assert_int_equal(metrics_total(COUNT, 0), 33);
	assert_int_equal(metrics_total(NOW, 0), 0);
	assert_int_equal(metrics_total(NOW, 1), 3);
	assert_int_equal(metrics_total(MOST, 0), 7);
	assert_int_equal(metrics_total(TIME, 0), 3);
}

static void a_dead_process_leaves_its_counts_and_no_gauges(void **state)
{
	(void)state;
	metrics_use_slot(1);
	metrics_add(COUNT, 0, 5);
	metrics_add(NOW, 0, 4);
	metrics_set(MOST, 0, 9);
	metrics_observe_us(TIME, 0, 1);
	metrics_clear_gauges(1);
	assert_int_equal(metrics_total(COUNT, 0), 5);
	assert_int_equal(metrics_total(NOW, 0), 0);
	assert_int_equal(metrics_total(MOST, 0), 0);
	assert_int_equal(metrics_total(TIME, 0), 1);
}

static void numbers_that_are_none_of_ours_change_nothing(void **state)
{
	char *text;

	(void)state;
	metrics_use_slot(77);	/* stays slot 0 */
	metrics_add(99, 0, 1);
	metrics_add(COUNT, 1, 1);
	metrics_add(NOW, 2, 1);
	metrics_add(PAIRS, 4, 1);
	metrics_set(99, 0, 1);
	metrics_observe_us(TIME_BY, 2, 1);
	assert_int_equal(metrics_total(99, 0), 0);
	assert_int_equal(metrics_total(NOW, 2), 0);
	text = printed();
	assert_line(text, "t_total 0");
	assert_line(text, "t_now{colour=\"red\"} 0");
	free(text);
}

static void the_text_is_prometheus_own(void **state)
{
	char *text;

	(void)state;
	metrics_add(COUNT, 0, 3);
	metrics_add(NOW, 1, -2);
	metrics_add(PAIRS, 0 * 2 + 1, 7);
	text = printed();
	assert_non_null(strstr(text, "# HELP t_total Counted.\n# TYPE t_total counter\nt_total 3\n"));
	assert_non_null(strstr(text, "# TYPE t_now gauge\n"));
	assert_non_null(strstr(text, "# TYPE t_most gauge\n"));
	assert_line(text, "t_now{colour=\"green\"} -2");
	assert_line(text, "t_pairs_total{colour=\"red\",size=\"large\"} 7");
	assert_null(strstr(text, "size=\"small\""));	/* what never happened is left out of pairs */
	free(text);
}

static void a_histogram_holds_each_time_in_all_buckets_from_its_own_up(void **state)
{
	char *text;

	(void)state;
	metrics_observe_us(TIME, 0, 1000);	/* exactly on a limit: within it */
	metrics_observe_us(TIME, 0, 1001);
	metrics_observe_us(TIME, 0, 61000000);
	metrics_observe_us(TIME_BY, 1, 500);
	text = printed();
	assert_line(text, "t_seconds_bucket{le=\"0.001\"} 1");
	assert_line(text, "t_seconds_bucket{le=\"0.0025\"} 2");
	assert_line(text, "t_seconds_bucket{le=\"60\"} 2");
	assert_line(text, "t_seconds_bucket{le=\"+Inf\"} 3");
	assert_line(text, "t_seconds_sum 61.002001");
	assert_line(text, "t_seconds_count 3");
	assert_line(text, "t_by_seconds_bucket{colour=\"green\",le=\"0.001\"} 1");
	assert_line(text, "t_by_seconds_count{colour=\"green\"} 1");
	free(text);
}

static void a_full_buffer_is_said(void **state)
{
	struct buffer out;

	(void)state;
	buffer_init(&out, 100);
	assert_int_equal(metrics_print(&out), -1);
	buffer_clear(&out);
}

static void too_many_metrics_are_refused(void **state)
{
	(void)state;
	metrics_teardown();
	assert_int_equal(metrics_setup(rows, 65, 1), -E2BIG);
	metrics_add(COUNT, 0, 1);	/* without a table: nothing */
	assert_int_equal(metrics_setup(rows, ARRAY_LEN(rows), 3), 0);
}

/* The program's own table: nothing forgotten, every name and label one that Prometheus takes. */
static void the_programs_table_is_whole(void **state)
{
	char *text;

	(void)state;
	metrics_teardown();
	assert_int_equal(metrics_setup(metric_rows, M_COUNT, 2), 0);
	for (unsigned i = 0; i < M_COUNT; i++) {
		const struct metric_row *r = &metric_rows[i];

		if (r->name == NULL || r->help == NULL)
			fail_msg("metric %u has no row", i);
		assert_int_equal(strspn(r->name, "abcdefghijklmnopqrstuvwxyz_"), strlen(r->name));
		assert_int_equal(strncmp(r->name, "easproxy_", 9), 0);
		assert_int_equal(r->kind == METRIC_COUNTER, strlen(r->name) > 6 && strcmp(r->name + strlen(r->name) - 6, "_total") == 0);
		assert_int_equal(r->label != NULL, r->values != NULL);
		assert_int_equal(r->label2 != NULL, r->values2 != NULL);
	}
	metrics_add(M_REQUESTS, metric_request_sub(EAS_OPTIONS, 200), 1);
	metrics_add(M_REQUESTS, metric_request_sub(EAS_OPTIONS, 299), 1);
	for (unsigned f = 0; f < FACT_COUNT; f++) {
		assert_string_equal(fact_names[f], fact_name(f));
		metrics_add(M_REFUSALS, f, 1);
		assert_int_equal(metrics_total(M_REFUSALS, f), 1);
	}
	assert_null(fact_names[FACT_COUNT]);
	text = printed();
	assert_line(text, "easproxy_requests_total{command=\"Options\",status=\"200\"} 1");
	assert_line(text, "easproxy_requests_total{command=\"Options\",status=\"other\"} 1");
	assert_line(text, "easproxy_refusals_total{reason=\"revoked\"} 1");
	free(text);
}

int main(void)
{
#define COUNTED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		COUNTED(what_several_processes_count_adds_up),
		COUNTED(a_dead_process_leaves_its_counts_and_no_gauges),
		COUNTED(numbers_that_are_none_of_ours_change_nothing),
		COUNTED(the_text_is_prometheus_own),
		COUNTED(a_histogram_holds_each_time_in_all_buckets_from_its_own_up),
		COUNTED(a_full_buffer_is_said),
		COUNTED(too_many_metrics_are_refused),
		COUNTED(the_programs_table_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
