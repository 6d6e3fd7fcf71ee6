/*
 * test_shared_table: values by key in memory that processes share: bounds, races, deaths, files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/shared_table_parts.h"

struct value {
	uint64_t number;
	uint8_t fill[92];
};

/* Every 64-bit word of the key is the number's: no two alike. */
static const uint8_t *key_of(uint64_t number, uint8_t key[SHARED_TABLE_KEY])
{
	for (size_t i = 0; i < SHARED_TABLE_KEY; i += sizeof(number))
		memcpy(key + i, &number, sizeof(number));
	return key;
}

static struct value value_of(uint64_t number)
{
	struct value v = { .number = number };

	memset(v.fill, (int)(number & 0xff), sizeof(v.fill));
	return v;
}

static bool holds(struct shared_table *t, uint64_t number)
{
	uint8_t key[SHARED_TABLE_KEY];
	struct value v, want = value_of(number);

	if (!shared_table_get(t, key_of(number, key), &v))
		return false;
	assert_memory_equal(&v, &want, sizeof(v));
	return true;
}

static void put(struct shared_table *t, uint64_t number)
{
	uint8_t key[SHARED_TABLE_KEY];
	struct value v = value_of(number);

	assert_true(shared_table_put(t, key_of(number, key), &v));
}

static struct shared_table *table(size_t entries, const char *file, uint32_t layout)
{
	struct shared_table_config config = { .entries = entries,
		.value_size = sizeof(struct value),
		.file = file,
		.layout = layout };

	return shared_table_new(&config);
}

static void test_values_are_put_got_replaced_and_taken(void **state UNUSED)
{
	struct shared_table *t = table(100, NULL, 1);
	uint8_t key[SHARED_TABLE_KEY];
	struct value v = value_of(7), out;

	assert_false(holds(t, 1));
	put(t, 1);
	put(t, 2);
	assert_true(holds(t, 1) && holds(t, 2));
	assert_true(shared_table_put(t, key_of(1, key), &v));
	assert_true(shared_table_get(t, key, &out));
	assert_int_equal(out.number, 7);
	assert_int_equal(shared_table_count(t), 2);
	assert_true(shared_table_take(t, key, &out));
	assert_int_equal(out.number, 7);
	assert_false(shared_table_take(t, key, NULL));
	assert_false(shared_table_get(t, key, &out));
	assert_int_equal(shared_table_count(t), 1);
	shared_table_clear(t);
	assert_false(holds(t, 2));
	assert_int_equal(shared_table_count(t), 0);
	shared_table_free(t);
}

static void test_put_new_gives_what_stands(void **state UNUSED)
{
	struct shared_table *t = table(100, NULL, 1);
	uint8_t key[SHARED_TABLE_KEY];
	struct value a = value_of(1), b = value_of(2), standing = { 0 };

	assert_int_equal(shared_table_put_new(t, key_of(5, key), &a, &standing), 1);
	assert_int_equal(shared_table_put_new(t, key, &b, &standing), 0);
	assert_int_equal(standing.number, 1);
	assert_int_equal(shared_table_count(t), 1);
	shared_table_free(t);
}

static void test_it_holds_what_was_asked_for_and_evicts_the_least_recently_used(void **state UNUSED)
{
	enum { N = 4096 };
	struct shared_table *t = table(N, NULL, 1);
	size_t kept = 0;

	for (uint64_t i = 0; i < N; i++)
		put(t, i);
	for (uint64_t i = 0; i < N; i++)
		kept += holds(t, i);
	assert_int_equal(kept, shared_table_count(t));
	assert_int_equal(kept + shared_table_evictions(t), N);
	assert_true(kept > N * 97 / 100);
	/*
	 * One that is looked at all the time outlives a flood of others; one that is not, does not.
	 */
	put(t, 1000000);
	put(t, 1000001);
	for (uint64_t i = 2000000; i < 2000000 + 16 * N; i++) {
		put(t, i);
		assert_true(holds(t, 1000000));
	}
	assert_false(holds(t, 1000001));
	assert_true(shared_table_count(t) <= N + N / 8 + 8 * SHARDS);
	shared_table_free(t);
}

static void add_to(void *value, void *arg)
{
	struct value *v = value;

	v->number += *(const uint64_t *)arg;
}

static void test_a_change_is_made_in_place_and_begins_at_zero(void **state UNUSED)
{
	struct shared_table *t = table(100, NULL, 1);
	uint8_t key[SHARED_TABLE_KEY];
	uint64_t by = 5;
	struct value out, want = { .number = 10 };

	assert_true(shared_table_change(t, key_of(3, key), add_to, &by));
	assert_true(shared_table_change(t, key, add_to, &by));
	assert_true(shared_table_get(t, key, &out));
	assert_memory_equal(&out, &want, sizeof(out));
	assert_int_equal(shared_table_count(t), 1);
	/* a slot that others had begins at zero too */
	put(t, 3);
	assert_true(shared_table_take(t, key, NULL));
	assert_true(shared_table_change(t, key, add_to, &by));
	assert_true(shared_table_get(t, key, &out));
	want.number = 5;
	assert_memory_equal(&out, &want, sizeof(out));
	shared_table_free(t);
}

static size_t pages_touched(struct shared_table *t)
{
	size_t n = t->bytes / 4096, touched = 0;
	unsigned char *there = malloc(n);

	assert_int_equal(mincore(t->head, t->bytes, there), 0);
	for (size_t i = 0; i < n; i++)
		touched += there[i] & 1;
	free(there);
	return touched;
}

static void test_a_large_table_that_holds_little_takes_little_memory(void **state UNUSED)
{
	struct shared_table *t = table(100000, NULL, 1);
	size_t few, many = 0;

	for (uint64_t i = 0; i < 256; i++)
		put(t, i);
	/* 160 bytes each, shards filled somewhat unevenly: 10 full pages, not one for each value */
	few = pages_touched(t);
	assert_true(few <= 24);
	/* what comes and goes takes no more than what is there at once */
	for (uint64_t i = 256; i < 20000; i++) {
		uint8_t key[SHARED_TABLE_KEY];

		put(t, i);
		assert_true(shared_table_take(t, key_of(i - 256, key), NULL));
	}
	assert_int_equal(shared_table_count(t), 256);
	many = pages_touched(t);
	assert_true(many <= 2 * few);
	shared_table_clear(t);
	for (uint64_t i = 0; i < 100; i++)
		put(t, i);
	assert_int_equal(pages_touched(t), many);
	shared_table_free(t);
}

static void test_impossible_tables_are_refused(void **state UNUSED)
{
	struct shared_table_config none = { .entries = 0, .value_size = 8 };
	struct shared_table_config empty = { .entries = 8, .value_size = 0 };
	struct shared_table_config wide = { .entries = 8, .value_size = 65537 };
	struct shared_table_config vast = { .entries = SIZE_MAX / 8, .value_size = 65536 };
	struct shared_table_config nowhere = {
		.entries = 8, .value_size = 8, .file = "/nonexistent/x"
	};

	assert_null(shared_table_new(&none));
	assert_null(shared_table_new(&empty));
	assert_null(shared_table_new(&wide));
	assert_int_equal(errno, EINVAL);
	assert_null(shared_table_new(&vast));
	assert_int_equal(errno, ENOMEM);
	assert_null(shared_table_new(&nowhere));
	assert_int_equal(errno, ENOENT);
	shared_table_free(NULL);
}

/* --- processes --- */

static int wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static void test_processes_see_each_others_values(void **state UNUSED)
{
	struct shared_table *t = table(100, NULL, 1);
	pid_t pid = fork();

	if (pid == 0) {
		put(t, 42);
		_exit(0);
	}
	assert_int_equal(wait_for(pid), 0);
	assert_true(holds(t, 42));
	shared_table_free(t);
}

static void test_of_racing_processes_exactly_one_puts_and_one_takes(void **state UNUSED)
{
	enum { PROCESSES = 4, KEYS = 500 };
	struct shared_table *t = table(4 * KEYS, NULL, 1);
	int *won = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[PROCESSES];

	for (int p = 0; p < PROCESSES; p++) {
		pid[p] = fork();
		if (pid[p] != 0)
			continue;
		for (uint64_t i = 0; i < KEYS; i++) {
			uint8_t key[SHARED_TABLE_KEY];
			struct value v = value_of(i), standing;

			if (shared_table_put_new(t, key_of(i, key), &v, &standing) == 1)
				__atomic_fetch_add(&won[0], 1, __ATOMIC_SEQ_CST);
		}
		__atomic_fetch_add(&won[2], 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&won[2], __ATOMIC_SEQ_CST) < PROCESSES)
			sched_yield();
		for (uint64_t i = 0; i < KEYS; i++) {
			uint8_t key[SHARED_TABLE_KEY];

			if (shared_table_take(t, key_of(i, key), NULL))
				__atomic_fetch_add(&won[1], 1, __ATOMIC_SEQ_CST);
		}
		_exit(0);
	}
	for (int p = 0; p < PROCESSES; p++)
		assert_int_equal(wait_for(pid[p]), 0);
	assert_int_equal(won[0], KEYS);
	assert_int_equal(won[1], KEYS);
	assert_int_equal(shared_table_count(t), 0);
	munmap(won, 4096);
	shared_table_free(t);
}

static void test_a_process_that_dies_with_a_lock_costs_nothing_but_what_it_was_writing(
    void **state UNUSED)
{
	struct shared_table *t = table(1000, NULL, 1);
	pid_t pid;

	for (uint64_t i = 0; i < 500; i++)
		put(t, i);
	pid = fork();
	if (pid == 0) {
		/*
		 * Killed in the middle of writing: all locks held, every count wrong, one value
		 * half-written.
		 */
		for (size_t i = 0; i < SHARDS; i++) {
			if (pthread_mutex_lock(&t->head->shards[i].lock) != 0)
				_exit(1);
			t->head->shards[i].count += 1000;
			t->head->shards[i].buckets = 3;
			t->head->shards[i].free = 7;
		}
		memset(t->firsts, 0, t->slots_each * SHARDS * sizeof(*t->firsts));
		atomic_store(&slot_at(t, 0, 0)->used, 0);
		memset(slot_at(t, 0, 0)->value, 0xee, 20);
		raise(SIGKILL);
	}
	assert_int_equal(wait_for(pid), 256 + SIGKILL);
	assert_int_equal(shared_table_count(t), 499);
	size_t kept = 0;
	for (uint64_t i = 0; i < 500; i++)
		kept += holds(t, i);
	assert_int_equal(kept, 499);
	put(t, 9999);
	assert_true(holds(t, 9999));
	shared_table_free(t);
}

static void test_a_process_that_keeps_a_lock_costs_the_others_that_shard_and_a_moment(void **state UNUSED)
{
	struct shared_table *t = table(1000, NULL, 1);
	uint8_t key[SHARED_TABLE_KEY];
	struct value value = value_of(1);
	struct timespec began, ended;
	int ready[2];
	pid_t pid;
	char c;

	put(t, 1);
	(void)key_of(1, key);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		for (size_t i = 0; i < SHARDS; i++) {
			if (pthread_mutex_lock(&t->head->shards[i].lock) != 0)
				_exit(1);
		}
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_false(shared_table_put(t, key, &value));	/* waits for a moment */
	clock_gettime(CLOCK_MONOTONIC, &began);
	for (int i = 0; i < 1000; i++) {
		assert_false(shared_table_get(t, key, &value));
		assert_int_equal(shared_table_put_new(t, key, &value, &value), -1);
	}
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_true(ended.tv_sec - began.tv_sec < 3);	/* not one of two thousand did */
	kill(pid, SIGKILL);
	assert_int_equal(wait_for(pid), 256 + SIGKILL);
	assert_true(holds(t, 1));
	put(t, 2);
	assert_true(holds(t, 2));
	shared_table_free(t);
	close(ready[0]);
	close(ready[1]);
}

static void test_processes_killed_at_any_moment_leave_a_table_that_works(void **state UNUSED)
{
	struct shared_table *t = table(200, NULL, 1);

	for (int round = 0; round < 30; round++) {
		pid_t pid = fork();

		if (pid == 0) {
			for (uint64_t i = 0;; i++) {
				uint8_t key[SHARED_TABLE_KEY];
				struct value v = value_of(i);

				shared_table_put(t, key_of(i, key), &v);
				if (i > 100)
					shared_table_take(t, key_of(i - 100, key), NULL);
			}
		}
		while (shared_table_evictions(t) == 0 && shared_table_count(t) < 50)
			sched_yield();
		kill(pid, SIGKILL);
		assert_int_equal(wait_for(pid), 256 + SIGKILL);
		for (uint64_t i = 0; i < 300; i++)
			(void)holds(t, i); /* asserts that no value is torn */
	}
	shared_table_clear(t);
	assert_int_equal(shared_table_count(t), 0);
	shared_table_free(t);
}

/*
 * What a captured process may write: answers may be wrong then, but nothing is read or written
 * beside the table.
 */
static void test_links_and_counts_that_another_process_spoilt_lead_nowhere(void **state UNUSED)
{
	static const uint32_t bad[] = { 0, 1, 5, 0x7fffffff, 0xffffffff };
	struct shared_table *t = table(100, NULL, 1);

	for (size_t b = 0; b < ARRAY_LEN(bad); b++) {
		for (uint64_t i = 0; i < 100; i++)
			put(t, i);
		for (size_t i = 0; i < t->slots_each * SHARDS; i++) {
			t->firsts[i] = bad[b];
			slot_at(t, i % SHARDS, i / SHARDS)->next = bad[b];
		}
		for (size_t i = 0; i < SHARDS; i++) {
			struct shard *shard = &t->head->shards[i];

			shard->fresh = shard->free = shard->buckets = shard->hand = bad[b];
			shard->count = bad[b];
		}
		for (uint64_t i = 0; i < 400; i++) {
			uint8_t key[SHARED_TABLE_KEY];
			struct value v;

			(void)!shared_table_get(t, key_of(i, key), &v);
			put(t, i + 50);
			shared_table_take(t, key, NULL);
		}
		shared_table_clear(t);
	}
	put(t, 1);
	assert_true(holds(t, 1));
	shared_table_free(t);
}

/* --- files --- */

static char path[64];

static int file_setup(void **state UNUSED)
{
	snprintf(path, sizeof(path), "/tmp/easgate-table-XXXXXX");
	return mkdtemp(path) == NULL || strcat(path, "/table") == NULL;
}

static int file_teardown(void **state UNUSED)
{
	unlink(path);
	path[strlen(path) - strlen("/table")] = '\0';
	return rmdir(path);
}

static void test_a_file_keeps_values_over_a_restart(void **state UNUSED)
{
	struct shared_table *t = table(100, path, 3);
	struct stat st;

	assert_non_null(t);
	put(t, 1);
	put(t, 2);
	shared_table_free(t);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	t = table(100, path, 3);
	assert_true(holds(t, 1) && holds(t, 2));
	assert_int_equal(shared_table_count(t), 2);
	shared_table_free(t);
}

static void test_a_file_of_another_layout_size_or_content_starts_empty(void **state UNUSED)
{
	struct shared_table *t = table(100, path, 3);
	int fd;

	put(t, 1);
	shared_table_free(t);
	t = table(100, path, 4);
	assert_false(holds(t, 1));
	put(t, 1);
	shared_table_free(t);
	t = table(200, path, 4);
	assert_false(holds(t, 1));
	put(t, 1);
	shared_table_free(t);
	fd = open(path, O_WRONLY);
	assert_int_equal(write(fd, "garbage!", 8), 8);
	close(fd);
	t = table(200, path, 4);
	assert_non_null(t);
	assert_false(holds(t, 1));
	put(t, 1);
	assert_true(holds(t, 1));
	shared_table_free(t);
}

static void test_locks_that_a_dead_start_left_in_a_file_do_not_matter(void **state UNUSED)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct shared_table *t = table(100, path, 3);

		put(t, 1);
		for (size_t i = 0; i < SHARDS; i++)
			pthread_mutex_lock(&t->head->shards[i].lock);
		raise(SIGKILL);
	}
	assert_int_equal(wait_for(pid), 256 + SIGKILL);
	struct shared_table *t = table(100, path, 3);
	assert_true(holds(t, 1));
	put(t, 2);
	assert_int_equal(shared_table_count(t), 2);
	shared_table_free(t);
}

static void test_a_value_that_a_power_cut_tore_is_dropped(void **state UNUSED)
{
	struct shared_table *t = table(100, path, 3);

	put(t, 1);
	put(t, 2);
	for (size_t shard = 0; shard < SHARDS; shard++) {
		for (size_t i = 0; i < t->slots_each; i++) {
			struct slot *slot = slot_at(t, shard, i);
			struct value *v = (struct value *)(void *)slot->value;

			if (atomic_load(&slot->used) != 0 && v->number == 1)
				v->fill[50] ^= 1;
		}
	}
	shared_table_free(t);
	t = table(100, path, 3);
	assert_false(holds(t, 1));
	assert_true(holds(t, 2));
	shared_table_free(t);
}

static void test_values_are_found_though_the_head_is_older_than_they_are(void **state UNUSED)
{
	struct shared_table *t = table(1000, path, 3);

	for (uint64_t i = 0; i < 500; i++)
		put(t, i);
	for (size_t i = 0; i < SHARDS; i++)
		t->head->shards[i].fresh = 0;
	shared_table_free(t);
	t = table(1000, path, 3);
	for (uint64_t i = 0; i < 500; i++)
		assert_true(holds(t, i));
	assert_int_equal(shared_table_count(t), 500);
	put(t, 500);
	assert_int_equal(shared_table_count(t), 501);
	shared_table_free(t);
}

static void test_two_starts_share_a_file_that_is_in_use(void **state UNUSED)
{
	struct shared_table *a = table(100, path, 3), *b = table(100, path, 3);

	assert_non_null(b);
	put(a, 1);
	assert_true(holds(b, 1));
	/* In use it is not taken away from under the other. */
	assert_null(table(100, path, 4));
	assert_int_equal(errno, EBUSY);
	assert_true(holds(a, 1));
	shared_table_free(a);
	shared_table_free(b);
}

static void test_a_file_that_others_may_read_and_a_link_are_refused(void **state UNUSED)
{
	char other[80];
	struct shared_table *t = table(100, path, 3);

	shared_table_free(t);
	assert_int_equal(chmod(path, 0644), 0);
	assert_null(table(100, path, 3));
	assert_int_equal(errno, EPERM);
	snprintf(other, sizeof(other), "%s.link", path);
	assert_int_equal(symlink(path, other), 0);
	assert_null(table(100, other, 3));
	assert_int_equal(errno, ELOOP);
	unlink(other);
}

#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, file_setup, file_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values_are_put_got_replaced_and_taken),
		cmocka_unit_test(test_put_new_gives_what_stands),
		cmocka_unit_test(
		    test_it_holds_what_was_asked_for_and_evicts_the_least_recently_used),
		cmocka_unit_test(test_a_change_is_made_in_place_and_begins_at_zero),
		cmocka_unit_test(test_a_large_table_that_holds_little_takes_little_memory),
		cmocka_unit_test(test_impossible_tables_are_refused),
		cmocka_unit_test(test_processes_see_each_others_values),
		cmocka_unit_test(test_of_racing_processes_exactly_one_puts_and_one_takes),
		cmocka_unit_test(
		    test_a_process_that_dies_with_a_lock_costs_nothing_but_what_it_was_writing),
		cmocka_unit_test(test_a_process_that_keeps_a_lock_costs_the_others_that_shard_and_a_moment),
		cmocka_unit_test(test_processes_killed_at_any_moment_leave_a_table_that_works),
		cmocka_unit_test(
		    test_links_and_counts_that_another_process_spoilt_lead_nowhere),
		FILE_TEST(test_a_file_keeps_values_over_a_restart),
		FILE_TEST(test_a_file_of_another_layout_size_or_content_starts_empty),
		FILE_TEST(test_locks_that_a_dead_start_left_in_a_file_do_not_matter),
		FILE_TEST(test_a_value_that_a_power_cut_tore_is_dropped),
		FILE_TEST(test_values_are_found_though_the_head_is_older_than_they_are),
		FILE_TEST(test_two_starts_share_a_file_that_is_in_use),
		FILE_TEST(test_a_file_that_others_may_read_and_a_link_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
