/*
 * object_memory: objects never overlap, keep what was written, are aligned; what is empty goes back to the kernel; and OpenSSL
 * works on it.
 */
#include "common/object_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/evp.h>

#include "common/loop.h"

#define OBJECTS	    4000
#define DESCRIPTORS 900

struct object {
	unsigned char *p;
	size_t n;
	unsigned char mark;
};

static uint32_t seed = 12345;

static uint32_t any(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % below;
}

static size_t any_size(void)
{
	switch (any(8)) {
	case 0: return any(2000);
	case 1: return any(9000);
	case 2: return 16000 + any(2000);	/* about a record */
	default: return any(300);
	}
}

static void fill(struct object *o)
{
	memset(o->p, o->mark, o->n);
}

static void assert_whole(const struct object *o, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(o->p[i], o->mark);
}

static void no_object_touches_another(void **state)
{
	static struct object objects[OBJECTS];

	(void)state;
	for (unsigned round = 0; round < 60000; round++) {
		struct object *o = &objects[any(OBJECTS)];
		if (o->p == NULL) {
			o->n = any_size();
			o->mark = (unsigned char)round;
			o->p = object_memory_get(o->n);
			assert_non_null(o->p);
			assert_int_equal((uintptr_t)o->p % 16, 0);
			fill(o);
		} else if (any(3) == 0) {
			size_t n = 1 + any_size();
			unsigned char *p = object_memory_resize(o->p, n);
			assert_non_null(p);
			o->p = p;
			assert_whole(o, n < o->n ? n : o->n);
			o->n = n;
			fill(o);
		} else {
			assert_whole(o, o->n);
			object_memory_give(o->p);
			o->p = NULL;
		}
	}
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (objects[i].p == NULL)
			continue;
		assert_whole(&objects[i], objects[i].n);
		object_memory_give(objects[i].p);
		objects[i].p = NULL;
	}
}

static void every_size_up_to_the_limit_has_room(void **state)
{
	(void)state;
	for (size_t n = 0; n <= 8300; n++) {
		unsigned char *p = object_memory_get(n), *q = object_memory_get(n);
		assert_non_null(p);
		assert_non_null(q);
		assert_ptr_not_equal(p, q);
		memset(p, 1, n);
		memset(q, 2, n);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(p[i], 1);
		object_memory_give(p);
		object_memory_give(q);
	}
}

static size_t resident_kib(void)
{
	char line[256];
	size_t kib = 0;
	FILE *f = fopen("/proc/self/smaps_rollup", "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "Private_Dirty: %zu kB", &kib) == 1)
			break;
	}
	fclose(f);
	return kib;
}

static void what_a_rush_took_goes_back(void **state)
{
	enum { MANY = 200000 };
	void **p = calloc(MANY, sizeof(*p));
	struct object_memory_use before, during, after;
	size_t kib, high, low;

	(void)state;
	assert_non_null(p);
	for (unsigned i = 0; i < MANY; i++)
		p[i] = p;	/* the list itself is there before it is measured */
	object_memory_use(&before);
	kib = resident_kib();
	for (unsigned i = 0; i < MANY; i++) {
		p[i] = object_memory_get(272);
		assert_non_null(p[i]);
		memset(p[i], 7, 272);
	}
	object_memory_use(&during);
	high = resident_kib();
	for (unsigned i = 0; i < MANY; i++)
		object_memory_give(p[i]);
	object_memory_trim();
	object_memory_use(&after);
	low = resident_kib();
	free(p);
	assert_int_equal(during.objects, before.objects + MANY);
	assert_int_equal(after.objects, before.objects);
	assert_true(after.slabs <= before.slabs + 1);
	assert_int_equal(after.kept, 0);
#ifndef EASGATE_SANITIZED
	assert_true(high > kib + 50000);
	assert_true(low < kib + 500);
#else
	(void)kib;
	(void)high;
	(void)low;
#endif
}

static void an_object_given_twice_ends_the_process(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		void *p = object_memory_get(3000);
		object_memory_give(p);
		object_memory_give(p);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void openssl_allocates_here(void **state)
{
	struct object_memory_use before, during;
	EVP_MD_CTX *ctx;

	(void)state;
	object_memory_use(&before);
	ctx = EVP_MD_CTX_new();
	assert_non_null(ctx);
	assert_int_equal(EVP_DigestInit_ex(ctx, EVP_sha256(), NULL), 1);
	object_memory_use(&during);
	EVP_MD_CTX_free(ctx);
#ifndef EASGATE_SANITIZED
	assert_true(during.objects > before.objects);
#endif
}

static void nothing_is_the_c_librarys_business(void **state)
{
	void *p;

	(void)state;
	object_memory_give(NULL);
	p = object_memory_resize(NULL, 10);
	assert_non_null(p);
	assert_null(object_memory_resize(p, 0));
	/* what was allocated before this was made, or is too large */
	p = malloc(100000);
	assert_non_null(p);
	p = object_memory_resize(p, 50);
	assert_non_null(p);
	object_memory_give(p);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	uint64_t number;

	(void)what;
	assert_int_equal(read(fd, &number, sizeof(number)), sizeof(number));
	*(unsigned *)arg += (unsigned)number;
}

/* Returns what the events brought. */
static unsigned use(struct event_base *base, int *fd, struct event *event)
{
	unsigned sum = 0;

	for (int i = 0; i < DESCRIPTORS; i++) {
		fd[i] = eventfd(1, EFD_NONBLOCK);
		assert_true(fd[i] >= 0);
		assert_int_equal(event_assign(&event[i], base, fd[i], EV_READ | EV_PERSIST, on_event, &sum), 0);
		assert_int_equal(event_add(&event[i], NULL), 0);
	}
	for (unsigned turns = 0; sum < DESCRIPTORS && turns < 2 * DESCRIPTORS; turns++)
		assert_true(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
	for (int i = 0; i < DESCRIPTORS; i++) {
		event_del(&event[i]);
		close(fd[i]);
	}
	return sum;
}

static void descriptors_leave_nothing_on_the_heap_but_one_array(void **state UNUSED)
{
	static struct event events[DESCRIPTORS];
	static int fds[DESCRIPTORS];
	struct loop *loop = loop_new();
	size_t before, after;

#ifdef EASGATE_SANITIZED
	loop_free(loop);
	skip();
#endif
	assert_non_null(loop);
	before = mallinfo2().uordblks;
	assert_int_equal(use(loop_base(loop), fds, events), DESCRIPTORS);
	after = mallinfo2().uordblks;
	/* pointers by descriptor, room for the events of one turn; 32 bytes more each would be 29 kB */
	assert_true(after - before < (size_t)DESCRIPTORS * sizeof(void *) * 2 + 3 * 4096 + 1024 * 12);
	assert_int_equal(use(loop_base(loop), fds, events), DESCRIPTORS);
	loop_free(loop);
}

static void small_and_large_blocks_grow_and_go_back(void **state UNUSED)
{
	struct loop *loop = loop_new();

	assert_non_null(loop);
	/* names and values of a configuration are blocks of every size, also the smallest */
	for (int i = 0; i < 1000; i++) {
		struct event_config *c = event_config_new();

		assert_non_null(c);
		assert_int_equal(event_config_avoid_method(c, i % 2 ? "poll" : "a method of a long name"), 0);
		event_config_free(c);
	}
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_object_touches_another),
		cmocka_unit_test(every_size_up_to_the_limit_has_room),
		cmocka_unit_test(what_a_rush_took_goes_back),
		cmocka_unit_test(an_object_given_twice_ends_the_process),
		cmocka_unit_test(openssl_allocates_here),
		cmocka_unit_test(nothing_is_the_c_librarys_business),
		cmocka_unit_test(descriptors_leave_nothing_on_the_heap_but_one_array),
		cmocka_unit_test(small_and_large_blocks_grow_and_go_back),
	};

	object_memory_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
