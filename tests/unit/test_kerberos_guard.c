/*
 * The page that keeps several processes from trying a refused keytab again and again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/kerberos/guard.h"

static const uint8_t one[SHA256_SIZE] = { 1 }, two[SHA256_SIZE] = { 2 };

/* Runs `act` in a child and returns what it returned. */
static int in_child(int (*act)(void))
{
	int status = -1;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(act());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int try_one(void)
{
	bool refused;

	if (!guard_enter(one, 10, &refused))
		return refused ? 2 : 3;
	guard_leave(one, false);
	return 1;
}

static int try_one_and_be_refused(void)
{
	bool refused;

	if (!guard_enter(one, 10, &refused))
		return 3;
	guard_leave(one, true);
	return 1;
}

static int die_inside(void)
{
	bool refused;

	return guard_enter(one, 10, &refused) ? 1 : 3;
}

static void a_good_keytab_may_be_tried_by_everybody(void **state)
{
	(void)state;
	assert_int_equal(guard_setup(), 0);
	assert_int_equal(guard_setup(), 0);
	assert_int_equal(in_child(try_one), 1);
	assert_int_equal(in_child(try_one), 1);
	assert_int_equal(try_one(), 1);
}

static void only_one_process_is_at_it_at_a_time(void **state)
{
	bool refused;

	(void)state;
	assert_true(guard_enter(one, 10, &refused));
	assert_int_equal(in_child(try_one), 3);
	guard_leave(one, false);
	assert_int_equal(in_child(try_one), 1);
}

static void a_process_that_died_at_it_does_not_shut_the_others_out(void **state)
{
	(void)state;
	assert_int_equal(in_child(die_inside), 1);
	assert_int_equal(in_child(try_one), 1);
	assert_int_equal(try_one(), 1);
}

static void what_one_process_saw_refused_no_other_tries_again_but_another_keytab_is_tried(
    void **state)
{
	bool refused;

	(void)state;
	assert_int_equal(in_child(try_one_and_be_refused), 1);
	assert_int_equal(in_child(try_one), 2);
	assert_int_equal(try_one(), 2);
	assert_true(guard_enter(two, 10, &refused));
	guard_leave(two, false);
	assert_int_equal(in_child(try_one), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_keytab_may_be_tried_by_everybody),
		cmocka_unit_test(only_one_process_is_at_it_at_a_time),
		cmocka_unit_test(a_process_that_died_at_it_does_not_shut_the_others_out),
		cmocka_unit_test(
		    what_one_process_saw_refused_no_other_tries_again_but_another_keytab_is_tried),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
