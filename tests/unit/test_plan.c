/*
 * A plan of the master: files once each and never silently fewer, slots of the metrics, sockets up to their number.
 */
#include "common/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

static struct plan plan;

static int set_up(void **state)
{
	(void)state;
	memset(&plan, 0, sizeof(plan));
	return 0;
}

static void a_file_is_named_once_and_an_absent_one_not_at_all(void **state)
{
	struct config_redis redis = { .password_file = (char[]){ "/redis" }, .ca = (char[]){ "/ca" } };
	struct config_ldap ldap = { .ca = (char[]){ "/ca" }, .bind_password_file = (char[]){ "/bind" } };
	struct config_directory directory = { .kind = (char[]){ "ldap" }, .file = (char[]){ "/accounts" }, .ldap = &ldap };
	struct plan_role *a = plan_add_role(&plan, ROLE_WORKER, 2, NULL, 0), *b = plan_add_role(&plan, ROLE_DIRECTORY, 1, NULL, 0);
	const char *paths[8];

	(void)state;
	plan_add_file(a, NULL);
	plan_add_file(a, "");
	plan_add_file(a, "/ca");
	plan_add_redis(a, NULL);
	plan_add_redis(a, &redis);
	assert_int_equal(a->files_n, 2);
	plan_add_directory(b, &directory);
	assert_int_equal(b->files_n, 2);
	assert_int_equal(plan_files(&plan, paths, 8), 3);
	assert_string_equal(paths[0], "/ca");
	assert_string_equal(paths[1], "/redis");
	assert_string_equal(paths[2], "/bind");
	assert_int_equal(plan_files(&plan, paths, 2), 2);
	directory.kind = (char[]){ "file" };
	plan_add_directory(a, &directory);
	assert_string_equal(a->files[2], "/accounts");
}

static void more_files_than_a_process_may_read_are_an_error_that_says_which_process(void **state)
{
	static char paths[PLAN_FILES + 1][16];
	struct plan_role *r = plan_add_role(&plan, ROLE_WORKER, 1, NULL, 0);
	struct config_error error = { "" };

	(void)state;
	for (size_t i = 0; i <= PLAN_FILES; i++) {
		assert_int_equal(plan_check(&plan, "easgate.yaml", &error), 0);
		snprintf(paths[i], sizeof(paths[i]), "/%zu", i);
		plan_add_file(r, paths[i]);
	}
	assert_int_equal(plan_check(&plan, "easgate.yaml", &error), -1);
	assert_non_null(strstr(error.text, "easgate.yaml: more than 1024 different"));
	assert_non_null(strstr(error.text, "each worker"));
}

static void each_process_has_a_slot_of_its_own_and_the_master_the_first(void **state)
{
	(void)state;
	(void)plan_add_role(&plan, ROLE_DIRECTORY, 1, NULL, 0);
	(void)plan_add_role(&plan, ROLE_WORKER, 3, NULL, 0);
	assert_int_equal(plan_slot(&plan, ROLE_DIRECTORY, 0), 1);
	assert_int_equal(plan_slot(&plan, ROLE_WORKER, 0), 2);
	assert_int_equal(plan_slot(&plan, ROLE_WORKER, 2), 4);
	assert_int_equal(plan_slot(&plan, ROLE_KERBEROS, 0), 0);
	assert_true(plan_slots(&plan) > 5);
}

static void a_socket_too_many_is_closed_and_refused(void **state)
{
	int fd;

	(void)state;
	for (unsigned i = 0; i < PLAN_SOCKETS; i++)
		assert_int_equal(plan_add_socket(&plan, (struct plan_socket){ -1, ROLE_WORKER, i, 7 }, "fewer"), 0);
	assert_int_equal(plan.sockets[PLAN_SOCKETS - 1].index, PLAN_SOCKETS - 1);
	fd = dup(STDERR_FILENO);
	assert_int_equal(plan_add_socket(&plan, (struct plan_socket){ fd, ROLE_WORKER, 0, 7 }, "fewer"), -1);
	assert_int_equal(close(fd), -1);
	assert_int_equal(plan.sockets_n, PLAN_SOCKETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_file_is_named_once_and_an_absent_one_not_at_all, set_up),
		cmocka_unit_test_setup(more_files_than_a_process_may_read_are_an_error_that_says_which_process, set_up),
		cmocka_unit_test_setup(each_process_has_a_slot_of_its_own_and_the_master_the_first, set_up),
		cmocka_unit_test_setup(a_socket_too_many_is_closed_and_refused, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
