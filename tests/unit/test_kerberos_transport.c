/*
 * The way to the KDCs: one deadline however they behave. The KDCs here are children of the test,
 * each with one manner.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"
#include "proxy/kerberos/transport.h"

enum manner {
	ECHO,
	SILENT,
	CLOSES,
	CUTS,
	SLOW_BYTES,
	HUGE_LENGTH,
	NO_LENGTH,
	UNAVAILABLE,
	LARGE,
	DEAF
};

struct kdc {
	pid_t pid;
	int listener;
	char address[64];
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void send_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t w = send(fd, at, n, MSG_NOSIGNAL);
		if (w <= 0)
			_exit(0);
		at += w;
		n -= (size_t)w;
	}
}

static void send_framed(int fd, const void *p, uint32_t n)
{
	uint32_t head = htonl(n);

	send_all(fd, &head, 4);
	send_all(fd, p, n);
}

static size_t read_question(int fd, char *out, size_t size)
{
	uint32_t n;

	if (recv(fd, &n, 4, MSG_WAITALL) != 4 || ntohl(n) > size)
		_exit(0);
	n = ntohl(n);
	if (recv(fd, out, n, MSG_WAITALL) != (ssize_t)n)
		_exit(0);
	return n;
}

/* A KRB-ERROR with code 29, as DER: what a KDC sends that cannot now. */
static const uint8_t not_now[] = {
	0x7e,
	0x3e,
	0x30,
	0x3c,
	0xa0,
	0x03,
	0x02,
	0x01,
	0x05,
	0xa1,
	0x03,
	0x02,
	0x01,
	0x1e,
	0xa4,
	0x11,
	0x18,
	0x0f,
	'2',
	'0',
	'2',
	'6',
	'1',
	'1',
	'2',
	'3',
	'1',
	'0',
	'0',
	'0',
	'0',
	'0',
	'Z',
	0xa5,
	0x03,
	0x02,
	0x01,
	0x00,
	0xa6,
	0x03,
	0x02,
	0x01,
	0x1d,
	0xa9,
	0x03,
	0x1b,
	0x01,
	'R',
	0xaa,
	0x0e,
	0x30,
	0x0c,
	0xa0,
	0x03,
	0x02,
	0x01,
	0x01,
	0xa1,
	0x05,
	0x30,
	0x03,
	0x1b,
	0x01,
	'k',
};

static void behave(int fd, enum manner manner)
{
	static char text[TRANSPORT_ANSWER_MAX];
	size_t n = read_question(fd, text, sizeof(text));
	uint32_t huge = htonl(TRANSPORT_ANSWER_MAX + 1), zero = 0, eight = htonl(8);

	switch (manner) {
	case ECHO:
		send_framed(fd, text, (uint32_t)n);
		break;
	case LARGE:
		memset(text, 'L', sizeof(text));
		send_framed(fd, text, sizeof(text));
		break;
	case CUTS:
		send_all(fd, &eight, 4);
		send_all(fd, "four", 4);
		return;
	case SLOW_BYTES:
		send_all(fd, &eight, 4);
		for (int i = 0; i < 8; i++) {
			poll(NULL, 0, 30);
			send_all(fd, &"12345678"[i], 1);
		}
		break;
	case HUGE_LENGTH:
		send_all(fd, &huge, 4);
		break;
	case NO_LENGTH:
		send_all(fd, &zero, 4);
		break;
	case UNAVAILABLE:
		send_framed(fd, not_now, sizeof(not_now));
		break;
	case SILENT:
	case CLOSES:
	case DEAF:
		break;
	}
	if (manner != CLOSES)
		(void)recv(fd, text, 1, 0); /* until the asker goes */
}

NORETURN static void serve(int listener, enum manner manner)
{
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pid_t pid;

		if (fd < 0)
			_exit(0);
		pid = fork();
		if (pid == 0) {
			alarm(20);
			behave(fd, manner);
			_exit(0);
		}
		close(fd);
	}
}

static void start(struct kdc *k, enum manner manner)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(sa);

	k->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(k->listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(k->listener, (struct sockaddr *)&sa, &n), 0);
	snprintf(k->address, sizeof(k->address), "127.0.0.1:%u", ntohs(sa.sin_port));
	k->pid = 0;
	if (manner == DEAF)
		return; /* bound and not listening: refused */
	assert_int_equal(listen(k->listener, 64), 0);
	k->pid = fork();
	assert_true(k->pid >= 0);
	if (k->pid == 0) {
		signal(SIGCHLD, SIG_IGN);
		alarm(60);
		serve(k->listener, manner);
	}
}

static void stop(struct kdc *k)
{
	if (k->pid > 0) {
		kill(k->pid, SIGKILL);
		waitpid(k->pid, NULL, 0);
	}
	close(k->listener);
}

static struct transport *transport_to(struct kdc *const *kdcs, unsigned n, unsigned timeout_ms)
{
	const char *names[8];
	char why[256];
	struct transport *t;

	for (unsigned i = 0; i < n; i++)
		names[i] = kdcs[i]->address;
	t = transport_new(names, n, timeout_ms, why, sizeof(why));
	assert_non_null(t);
	assert_int_equal(transport_addresses(t), n);
	return t;
}

/* The result of one exchange and how long it took; the answer must be what an echo gives. */
static krb5_error_code ask(struct transport *t, double *ms)
{
	static const char question[] = "a sealed question";
	char *answer;
	size_t n;
	double began = now_ms();
	krb5_error_code rc = transport_exchange(t, STRV(question), &answer, &n);

	*ms = now_ms() - began;
	if (rc == 0) {
		assert_int_equal(n, sizeof(question) - 1);
		assert_memory_equal(answer, question, n);
	} else {
		assert_null(answer);
	}
	free(answer);
	return rc;
}

static void an_answer_comes_back_as_it_was_sent(void **state)
{
	struct kdc k, *all[] = { &k };
	struct transport *t;
	double ms;

	(void)state;
	start(&k, ECHO);
	t = transport_to(all, 1, 2000);
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(t, &ms), 0);
	assert_int_equal(transport_exchanges(t), 20);
	transport_free(t);
	stop(&k);
}

static void one_that_fails_in_any_manner_is_passed_over_for_one_that_answers(void **state)
{
	static const enum manner bad[] = { SILENT, CLOSES, CUTS, HUGE_LENGTH, NO_LENGTH,
		UNAVAILABLE, DEAF };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct kdc first, second, *all[] = { &first, &second };
		struct transport *t;
		double ms;

		start(&first, bad[i]);
		start(&second, ECHO);
		t = transport_to(all, 2, 1000);
		assert_int_equal(ask(t, &ms), 0);
		assert_true(ms < 600);
		/* The good one is asked first from now on. */
		assert_int_equal(ask(t, &ms), 0);
		assert_true(ms < 250);
		transport_free(t);
		stop(&first);
		stop(&second);
	}
}

static void several_silent_ones_do_not_eat_the_time_of_the_last(void **state)
{
	struct kdc k[4], *all[] = { &k[0], &k[1], &k[2], &k[3] };
	struct transport *t;
	double ms;

	(void)state;
	for (int i = 0; i < 4; i++)
		start(&k[i], i < 3 ? SILENT : ECHO);
	t = transport_to(all, 4, 1000);
	assert_int_equal(ask(t, &ms), 0);
	assert_true(ms < 900);
	transport_free(t);
	for (int i = 0; i < 4; i++)
		stop(&k[i]);
}

static void silence_everywhere_ends_at_the_deadline_and_then_fails_at_once(void **state)
{
	struct kdc k[2], *all[] = { &k[0], &k[1] };
	struct transport *t;
	double ms;

	(void)state;
	start(&k[0], SILENT);
	start(&k[1], SILENT);
	t = transport_to(all, 2, 400);
	assert_int_equal(ask(t, &ms), KRB5_KDC_UNREACH);
	assert_true(ms >= 395 && ms < 600);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(ask(t, &ms), KRB5_KDC_UNREACH);
		assert_true(ms < 100);
	}
	assert_int_equal(transport_exchanges(t), 1);
	poll(NULL, 0, TRANSPORT_REST_MS + 10);
	assert_int_equal(ask(t, &ms), KRB5_KDC_UNREACH);
	assert_true(ms >= 95 && ms < 300); /* a quarter of the time, to see whether they are back */
	transport_free(t);
	stop(&k[0]);
	stop(&k[1]);
}

static void refusals_everywhere_end_at_once(void **state)
{
	struct kdc k[2], *all[] = { &k[0], &k[1] };
	struct transport *t;
	double ms;

	(void)state;
	start(&k[0], DEAF);
	start(&k[1], DEAF);
	t = transport_to(all, 2, 2000);
	assert_int_equal(ask(t, &ms), KRB5_KDC_UNREACH);
	assert_true(ms < 200);
	transport_free(t);
	stop(&k[0]);
	stop(&k[1]);
}

static void a_slow_answer_within_the_deadline_counts_and_a_slower_one_does_not(void **state)
{
	struct kdc k, *all[] = { &k };
	struct transport *t;
	char *answer;
	size_t n;
	double ms;

	(void)state;
	start(&k, SLOW_BYTES);
	t = transport_to(all, 1, 2000);
	assert_int_equal(transport_exchange(t, STRV("q"), &answer, &n), 0);
	assert_int_equal(n, 8);
	assert_memory_equal(answer, "12345678", 8);
	free(answer);
	transport_free(t);
	t = transport_to(all, 1, 120);
	assert_int_equal(ask(t, &ms), KRB5_KDC_UNREACH);
	assert_true(ms < 250);
	transport_free(t);
	stop(&k);
}

static void the_budget_of_a_question_ends_its_exchanges_early(void **state)
{
	struct kdc k, *all[] = { &k };
	struct transport *t;
	double ms;

	(void)state;
	start(&k, SILENT);
	t = transport_to(all, 1, 5000);
	transport_budget(t, 200);
	assert_int_equal(ask(t, &ms), KRB5_KDC_UNREACH);
	assert_true(ms >= 195 && ms < 400);
	transport_free(t);
	stop(&k);
}

static void the_largest_answer_is_taken_whole(void **state)
{
	struct kdc k, *all[] = { &k };
	struct transport *t;
	char *answer;
	size_t n;

	(void)state;
	start(&k, LARGE);
	t = transport_to(all, 1, 2000);
	assert_int_equal(transport_exchange(t, STRV("q"), &answer, &n), 0);
	assert_int_equal(n, TRANSPORT_ANSWER_MAX);
	assert_true(answer[0] == 'L' && answer[n - 1] == 'L');
	free(answer);
	transport_free(t);
	stop(&k);
}

static void if_all_say_not_now_that_answer_is_passed_on(void **state)
{
	struct kdc k[2], *all[] = { &k[0], &k[1] };
	struct transport *t;
	char *answer;
	size_t n;

	(void)state;
	start(&k[0], UNAVAILABLE);
	start(&k[1], UNAVAILABLE);
	t = transport_to(all, 2, 1000);
	assert_int_equal(transport_exchange(t, STRV("q"), &answer, &n), 0);
	assert_int_equal(n, sizeof(not_now));
	assert_memory_equal(answer, not_now, n);
	free(answer);
	transport_free(t);
	stop(&k[0]);
	stop(&k[1]);
}

static void names_that_are_no_host_and_port_are_refused_and_unknown_ones_left_out(void **state)
{
	static const char *const bad[] = { "", ":88", "a b:88", "host:", "host:0", "host:65536",
		"host:88x" };
	static const char *const mixed[] = { "no-such-host.invalid:88", "127.0.0.1:88",
		"127.0.0.1:88", "[::1]:750", "127.0.0.1" };
	struct transport *t;
	char why[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_null(transport_new(&bad[i], 1, 1000, why, sizeof(why)));
		assert_non_null(strstr(why, "proxy.kerberos.kdcs"));
	}
	assert_null(transport_new(NULL, 0, 1000, why, sizeof(why)));
	assert_null(transport_new(mixed, 1, 1000, why, sizeof(why)));
	assert_non_null(strstr(why, "no-such-host.invalid"));
	t = transport_new(mixed, ARRAY_LEN(mixed), 1000, why, sizeof(why));
	assert_non_null(t);
	assert_int_equal(transport_addresses(t), 2);
	transport_free(t);
	transport_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_comes_back_as_it_was_sent),
		cmocka_unit_test(one_that_fails_in_any_manner_is_passed_over_for_one_that_answers),
		cmocka_unit_test(several_silent_ones_do_not_eat_the_time_of_the_last),
		cmocka_unit_test(silence_everywhere_ends_at_the_deadline_and_then_fails_at_once),
		cmocka_unit_test(refusals_everywhere_end_at_once),
		cmocka_unit_test(
		    a_slow_answer_within_the_deadline_counts_and_a_slower_one_does_not),
		cmocka_unit_test(the_budget_of_a_question_ends_its_exchanges_early),
		cmocka_unit_test(the_largest_answer_is_taken_whole),
		cmocka_unit_test(if_all_say_not_now_that_answer_is_passed_on),
		cmocka_unit_test(
		    names_that_are_no_host_and_port_are_refused_and_unknown_ones_left_out),
	};
	log_setup(LOG_ERROR, "test", -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
