/*
 * Wire: every question is answered exactly once, by the other side, by its deadline, or by the end of the other side; and a
 * peer that sends anything it likes harms nobody.
 */
#include "common/wire.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/log.h"

enum { ECHO = 1, REFUSE, KEEP, TELL, FLUSH, SECRET };

struct site {
	struct loop *loop;
	struct wire *asker, *server;
	int asker_fd;
	bool gather;
	unsigned served, told, closed_asker, closed_server, answers;
	uint64_t kept[WIRE_PENDING_MAX + 1];
	unsigned kept_n;
	enum wire_status status;
	char body[128];
	size_t body_n;
	unsigned stop_at;		/* answers */
	struct deadline guard, early;
	int far_fd;
	bool timed_out;
};

static struct site *site;

static void serve_echo(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct site *s = arg;

	s->served++;
	(void)wire_answer(w, number, body, n);	/* the asker may have gone meanwhile */
}

static void serve_refuse(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	(void)body;
	(void)n;
	(void)arg;
	assert_int_equal(wire_answer(w, number, NULL, 0), 0);
}

static void serve_keep(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct site *s = arg;

	(void)w;
	(void)body;
	(void)n;
	s->kept[s->kept_n++ % ARRAY_LEN(s->kept)] = number;
}

static void serve_tell(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct site *s = arg;

	(void)w;
	(void)body;
	(void)n;
	assert_int_equal(number, 0);
	s->told++;
	if (s->told == s->stop_at)
		loop_stop(s->loop);
}

static bool is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* As one that is about to block: what it has answered must not wait with it. */
static void serve_flush(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct site *s = arg;

	assert_false(is_readable(s->asker_fd));
	assert_int_equal(wire_answer(w, number, body, n), 0);
	assert_int_equal(is_readable(s->asker_fd), !s->gather);
	wire_flush(w);
	assert_true(is_readable(s->asker_fd));
	s->served++;
}

static void serve_secret(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct site *s = arg;

	s->served++;
	assert_int_equal(wire_answer_secret(w, number, STRV("it is "), (struct strv){ body, n }), 0);
}

static const struct wire_verb verbs[] = {
	{ ECHO, "echo", 1, 64, serve_echo },
	{ REFUSE, "refuse", 0, 64, serve_refuse },
	{ KEEP, "keep", 0, WIRE_BODY_MAX, serve_keep },
	{ TELL, "tell", 0, WIRE_BODY_MAX, serve_tell },
	{ FLUSH, "flush", 1, 64, serve_flush },
	{ SECRET, "secret", 0, WIRE_BODY_MAX - 6, serve_secret },
	{ 0, NULL, 0, 0, NULL },
};

static void on_closed_asker(struct wire *w, void *arg)
{
	struct site *s = arg;

	(void)w;
	s->closed_asker++;
	loop_stop(s->loop);
}

static void on_closed_server(struct wire *w, void *arg)
{
	struct site *s = arg;

	(void)w;
	s->closed_server++;
	loop_stop(s->loop);
}

static void on_guard(struct deadline *d)
{
	struct site *s = CONTAINER_OF(d, struct site, guard);

	s->timed_out = true;
	loop_stop(s->loop);
}

static void on_answer(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct site *s = arg;

	s->status = status;
	s->body_n = n;
	if (n > 0)
		memcpy(s->body, body, n < sizeof(s->body) ? n : sizeof(s->body));
	if (++s->answers == s->stop_at)
		loop_stop(s->loop);
}

/* Runs until so many answers or tells came, or the wire ended; fails after five seconds. */
static void run(struct site *s, unsigned answers)
{
	s->answers = s->told = 0;
	s->stop_at = answers;
	deadline_arm(s->loop, &s->guard, 5000, on_guard);
	assert_int_equal(loop_run(s->loop), 0);
	deadline_disarm(&s->guard);
	assert_false(s->timed_out);
}

/* An asker; at the other end a server, or a bare socket for hostile bytes (returned). */
static int open_site(bool with_server)
{
	struct wire_config asker = { .arg = site, .closed = on_closed_asker, .name = "server", .gather = site->gather };
	struct wire_config server = {
		.verbs = verbs, .arg = site, .closed = on_closed_server, .name = "asker", .gather = site->gather };
	int fds[2];

	site->loop = loop_new();
	assert_non_null(site->loop);
	assert_int_equal(wire_pair(fds), 0);
	site->asker_fd = fds[0];
	site->asker = wire_new(site->loop, fds[0], &asker);
	assert_non_null(site->asker);
	if (!with_server)
		return fds[1];
	site->server = wire_new(site->loop, fds[1], &server);
	assert_non_null(site->server);
	return -1;
}

static int setup(void **state)
{
	(void)state;
	log_setup(LOG_ERROR, "test", -1);
	site = calloc(1, sizeof(*site));
	return site != NULL ? 0 : -1;
}

static int setup_gathering(void **state)
{
	if (setup(state) < 0)
		return -1;
	site->gather = true;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	wire_free(site->asker);
	wire_free(site->server);
	loop_free(site->loop);
	free(site);
	return 0;
}

static void a_question_is_answered_once_and_not_before_the_call_returned(void **state)
{
	(void)state;
	open_site(true);
	assert_int_not_equal(wire_ask(site->asker, ECHO, "hello", 5, 2000, on_answer, site), 0);
	assert_int_equal(site->answers, 0);
	run(site, 1);
	assert_int_equal(site->status, WIRE_OK);
	assert_int_equal(site->body_n, 5);
	assert_memory_equal(site->body, "hello", 5);
	assert_int_equal(site->served, 1);
}

static void a_refusal_is_a_failure(void **state)
{
	(void)state;
	open_site(true);
	assert_int_not_equal(wire_ask(site->asker, REFUSE, NULL, 0, 2000, on_answer, site), 0);
	run(site, 1);
	assert_int_equal(site->status, WIRE_FAILED);
	assert_int_equal(site->body_n, 0);
}

/* Too short, too long, and a verb that nobody serves: refused before anybody's code runs. */
static void what_no_verb_takes_is_refused(void **state)
{
	static char long_body[65];

	(void)state;
	open_site(true);
	log_setup(LOG_ERROR, "expected here", -1);
	assert_int_not_equal(wire_ask(site->asker, ECHO, NULL, 0, 2000, on_answer, site), 0);
	assert_int_not_equal(wire_ask(site->asker, ECHO, long_body, sizeof(long_body), 2000, on_answer, site), 0);
	assert_int_not_equal(wire_ask(site->asker, 999, "x", 1, 2000, on_answer, site), 0);
	run(site, 3);
	assert_int_equal(site->status, WIRE_FAILED);
	assert_int_equal(site->served, 0);
	assert_true(wire_is_open(site->asker) && wire_is_open(site->server));
}

static void a_question_without_an_answer_times_out_and_a_late_answer_is_dropped(void **state)
{
	uint64_t began;

	(void)state;
	open_site(true);
	began = loop_now_fresh();
	assert_int_not_equal(wire_ask(site->asker, KEEP, NULL, 0, 100, on_answer, site), 0);
	run(site, 1);
	assert_int_equal(site->status, WIRE_TIMEOUT);
	assert_true(loop_now_fresh() - began >= 100);
	assert_int_equal(site->kept_n, 1);
	assert_int_equal(wire_answer(site->server, site->kept[0], "late", 4), 0);
	assert_int_not_equal(wire_ask(site->asker, ECHO, "next", 4, 2000, on_answer, site), 0);
	run(site, 1);
	assert_int_equal(site->answers, 1);
	assert_memory_equal(site->body, "next", 4);
}

static void a_cancelled_question_is_not_answered(void **state)
{
	uint64_t number;

	(void)state;
	open_site(true);
	number = wire_ask(site->asker, ECHO, "a", 1, 2000, on_answer, site);
	wire_cancel(site->asker, number);
	wire_cancel(site->asker, number);
	wire_cancel(site->asker, 12345);
	wire_cancel(NULL, 1);
	assert_int_not_equal(wire_ask(site->asker, ECHO, "b", 1, 2000, on_answer, site), 0);
	run(site, 1);
	assert_int_equal(site->answers, 1);
	assert_int_equal(site->body[0], 'b');
}

static void a_full_queue_is_a_refusal_and_not_a_wait(void **state)
{
	unsigned asked = 0;

	(void)state;
	open_site(true);
	while (asked <= WIRE_PENDING_MAX && wire_ask(site->asker, KEEP, NULL, 0, 60000, on_answer, site) != 0)
		asked++;
	assert_int_equal(asked, WIRE_PENDING_MAX);
	/* each answer makes room for one more */
	assert_int_equal(wire_tell(site->asker, TELL, NULL, 0), 0);
	run(site, 1);
	assert_int_equal(site->kept_n, WIRE_PENDING_MAX);
	assert_int_equal(wire_answer(site->server, site->kept[7], "x", 1), 0);
	run(site, 1);
	assert_int_not_equal(wire_ask(site->asker, KEEP, NULL, 0, 60000, on_answer, site), 0);
	assert_int_equal(wire_ask(site->asker, KEEP, NULL, 0, 60000, on_answer, site), 0);
}

/* Nobody reads at the other end: memory is bounded, and what was taken arrives whole and in order once it reads. */
static void a_peer_that_does_not_read_costs_bounded_memory(void **state)
{
	static char body[WIRE_BODY_MAX];
	unsigned taken = 0;

	(void)state;
	open_site(true);
	while (taken < 1000 && wire_tell(site->asker, TELL, body, sizeof(body)) == 0)
		taken++;
	assert_in_range(taken, 64, 200);	/* 4 MiB of ours and what the kernel takes */
	assert_true(wire_is_open(site->asker));
	run(site, taken);
	assert_int_equal(site->told, taken);
	assert_int_equal(wire_tell(site->asker, TELL, body, sizeof(body)), 0);
}

static void a_body_over_the_limit_is_refused(void **state)
{
	static char body[WIRE_BODY_MAX + 1];

	(void)state;
	open_site(true);
	assert_int_equal(wire_ask(site->asker, KEEP, body, sizeof(body), 1000, on_answer, site), 0);
	assert_int_equal(wire_tell(site->asker, TELL, body, sizeof(body)), -1);
	assert_int_equal(wire_answer(site->server, 1, body, sizeof(body)), -1);
	assert_int_not_equal(wire_ask(site->asker, KEEP, body, WIRE_BODY_MAX, 1000, on_answer, site), 0);
}

static void when_the_other_side_goes_every_question_hears_of_it(void **state)
{
	(void)state;
	open_site(true);
	for (int i = 0; i < 10; i++)
		assert_int_not_equal(wire_ask(site->asker, KEEP, NULL, 0, 60000, on_answer, site), 0);
	wire_free(site->server);
	site->server = NULL;
	run(site, 0);
	assert_int_equal(site->answers, 10);
	assert_int_equal(site->status, WIRE_CLOSED);
	assert_int_equal(site->closed_asker, 1);
	assert_false(wire_is_open(site->asker));
	assert_int_equal(wire_ask(site->asker, ECHO, "a", 1, 1000, on_answer, site), 0);
	assert_int_equal(wire_tell(site->asker, TELL, NULL, 0), -1);
}

static void a_freed_wire_answers_nobody(void **state)
{
	(void)state;
	open_site(true);
	assert_int_not_equal(wire_ask(site->asker, ECHO, "a", 1, 50, on_answer, site), 0);
	wire_free(site->asker);
	site->asker = NULL;
	run(site, 0);	/* ends with the server's end */
	assert_int_equal(site->answers, 0);
	assert_int_equal(site->closed_server, 1);
	assert_int_equal(site->closed_asker, 0);
	wire_free(NULL);
}

/* From the loop: two deadlines of one tick ask, and only then anything leaves. */
static void ask_in_turn(struct deadline *d)
{
	struct site *s = CONTAINER_OF(d, struct site, early);

	assert_false(is_readable(s->far_fd));
	for (char c = 'a'; c < 'k'; c++)
		assert_int_not_equal(wire_ask(s->asker, ECHO, &c, 1, 5000, on_answer, s), 0);
	assert_int_equal(is_readable(s->far_fd), !s->gather);
}

static void what_is_gathered_leaves_at_the_end_of_the_turn_and_in_order(void **state)
{
	char frame[64], expected = 'a';
	ssize_t n;

	(void)state;
	site->far_fd = open_site(false);
	deadline_arm(site->loop, &site->early, 0, ask_in_turn);
	deadline_arm(site->loop, &site->guard, 5000, on_guard);
	while (!is_readable(site->far_fd) && !site->timed_out)
		assert_int_equal(event_base_loop(loop_base(site->loop), EVLOOP_ONCE), 0);
	deadline_disarm(&site->guard);
	while ((n = recv(site->far_fd, frame, sizeof(frame), 0)) > 0)
		assert_int_equal(frame[n - 1], expected++);
	assert_int_equal(expected, 'k');
	close(site->far_fd);
}

static void a_secret_answer_comes_whole(void **state)
{
	(void)state;
	open_site(true);
	for (int i = 0; i < 20; i++)
		assert_int_not_equal(wire_ask(site->asker, SECRET, "xyz", 3, 2000, on_answer, site), 0);
	run(site, 20);
	assert_int_equal(site->status, WIRE_OK);
	assert_int_equal(site->body_n, 9);
	assert_memory_equal(site->body, "it is xyz", 9);
	assert_int_equal(wire_answer_secret(site->server, 1, (struct strv){ site->body, WIRE_BODY_MAX }, STRV("x")), -1);
}

static void one_that_is_about_to_block_sends_its_answers_first(void **state)
{
	(void)state;
	open_site(true);
	assert_int_not_equal(wire_ask(site->asker, FLUSH, "a", 1, 2000, on_answer, site), 0);
	run(site, 1);
	assert_int_equal(site->served, 1);
	wire_flush(NULL);
}

static void what_was_gathered_is_sent_before_a_wire_ends(void **state)
{
	(void)state;
	open_site(true);
	for (int i = 0; i < 20; i++)
		assert_int_equal(wire_tell(site->asker, TELL, "x", 1), 0);
	assert_int_equal(is_readable(site->asker_fd), false);
	wire_free(site->asker);
	site->asker = NULL;
	run(site, 0);	/* ends with the server's end */
	assert_int_equal(site->told, 20);
}

/* --- a captured peer --- */

struct head {
	uint64_t number;
	uint16_t verb, kind;
	uint32_t length;
};

static void send_frame(int fd, struct head head, const void *body, size_t n)
{
	static char bytes[sizeof(head) + WIRE_BODY_MAX + 4096];

	memcpy(bytes, &head, sizeof(head));
	if (n > 0)
		memcpy(bytes + sizeof(head), body, n);
	assert_int_equal(send(fd, bytes, sizeof(head) + n, MSG_NOSIGNAL), (ssize_t)(sizeof(head) + n));
}

static void answers_to_nothing_are_dropped(void **state)
{
	int fd;

	(void)state;
	fd = open_site(false);
	assert_int_equal(wire_ask(site->asker, ECHO, "a", 1, 5000, on_answer, site), 1);
	send_frame(fd, (struct head){ 0, ECHO, 2, 1 }, "x", 1);
	send_frame(fd, (struct head){ 2, ECHO, 2, 1 }, "x", 1);
	send_frame(fd, (struct head){ UINT64_MAX, ECHO, 2, 1 }, "x", 1);
	send_frame(fd, (struct head){ 257, ECHO, 2, 1 }, "x", 1);	/* the same slot of the table */
	send_frame(fd, (struct head){ 1, 777, 2, 2 }, "ok", 2);
	send_frame(fd, (struct head){ 1, ECHO, 2, 5 }, "twice", 5);
	run(site, 1);
	assert_int_equal(site->answers, 1);
	assert_memory_equal(site->body, "ok", 2);
	close(fd);
	run(site, 0);
	assert_int_equal(site->answers, 0);
	assert_int_equal(site->closed_asker, 1);
}

static void questions_to_one_that_only_asks_are_refused(void **state)
{
	struct head answer = { 0 };
	int fd;

	(void)state;
	fd = open_site(false);
	log_setup(LOG_ERROR, "expected here", -1);
	send_frame(fd, (struct head){ 5, KEEP, 1, 0 }, NULL, 0);
	send_frame(fd, (struct head){ 0, KEEP, 3, 0 }, NULL, 0);
	assert_int_not_equal(wire_ask(site->asker, ECHO, "a", 1, 300, on_answer, site), 0);
	run(site, 1);
	assert_int_equal(recv(fd, &answer, sizeof(answer), 0), sizeof(answer));	/* our question */
	assert_int_equal(recv(fd, &answer, sizeof(answer), 0), sizeof(answer));
	assert_int_equal(answer.number, 5);
	assert_int_equal(answer.kind, 2);
	assert_int_equal(answer.length, 0);
	close(fd);
}

/* Each of these ends the wire, and the question under way hears of it. */
static void frames_of_a_wrong_form_cut_the_wire(void **state)
{
	static const struct { struct head head; size_t n; } wrong[] = {
		{ { 1, ECHO, 2, 5 }, 4 }, { { 1, ECHO, 2, 4 }, 5 }, { { 1, ECHO, 2, UINT32_MAX }, 0 }, { { 1, ECHO, 0, 0 }, 0 },
		{ { 1, ECHO, 4, 0 }, 0 }, { { 1, ECHO, 65535, 0 }, 0 }, { { 1, ECHO, 2, WIRE_BODY_MAX + 1 }, WIRE_BODY_MAX + 1 },
	};
	static char body[WIRE_BODY_MAX + 1];

	(void)state;
	for (size_t i = 0; i <= ARRAY_LEN(wrong); i++) {
		int fd = open_site(false);

		log_setup(LOG_ERROR, "expected here", -1);
		assert_int_equal(wire_ask(site->asker, ECHO, "a", 1, 60000, on_answer, site), 1);
		if (i == ARRAY_LEN(wrong))
			assert_int_equal(send(fd, "short", 5, 0), 5);
		else
			send_frame(fd, wrong[i].head, body, wrong[i].n);
		run(site, 0);
		assert_int_equal(site->answers, 1);
		assert_int_equal(site->status, WIRE_CLOSED);
		assert_int_equal(site->closed_asker, 1);
		close(fd);
		wire_free(site->asker);
		loop_free(site->loop);
		memset(site, 0, sizeof(*site));
	}
}

/* Bytes without sense, many times: nothing but an end may come of them. */
static void noise_harms_nobody(void **state)
{
	unsigned seed = 1;

	(void)state;
	for (int round = 0; round < 300; round++) {
		int fd = open_site(false);
		char noise[64];

		log_setup(LOG_ERROR, "expected here", -1);
		assert_int_equal(wire_ask(site->asker, ECHO, "a", 1, 60000, on_answer, site), 1);
		for (int k = 0; k < 20; k++) {
			size_t n = (size_t)(rand_r(&seed) % (int)sizeof(noise)) + 1;
			for (size_t i = 0; i < n; i++)
				noise[i] = (char)rand_r(&seed);
			(void)!send(fd, noise, n, MSG_NOSIGNAL);
		}
		close(fd);
		run(site, 0);
		assert_int_equal(site->answers, 1);
		assert_int_equal(site->closed_asker, 1);
		wire_free(site->asker);
		loop_free(site->loop);
		memset(site, 0, sizeof(*site));
	}
}

/* Descriptors that a captured peer passes along do not stay open here. */
static void passed_descriptors_are_not_kept(void **state)
{
	struct head head = { 1, ECHO, 2, 0 };
	struct iovec iov = { &head, sizeof(head) };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fd, before, after, given;

	(void)state;
	fd = open_site(false);
	given = dup(fd);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &given, sizeof(int));
	before = dup(fd);
	close(before);
	assert_int_equal(sendmsg(fd, &msg, 0), (ssize_t)sizeof(head));
	assert_int_equal(wire_ask(site->asker, ECHO, "a", 1, 5000, on_answer, site), 1);
	run(site, 1);
	after = dup(fd);
	assert_int_equal(after, before);
	close(after);
	close(given);
	close(fd);
}

int main(void)
{
#define WIRED(test) cmocka_unit_test_setup_teardown(test, setup, teardown), \
	{ #test " (gathered)", test, setup_gathering, teardown, NULL }
	const struct CMUnitTest tests[] = {
		WIRED(a_question_is_answered_once_and_not_before_the_call_returned),
		WIRED(a_refusal_is_a_failure),
		WIRED(what_no_verb_takes_is_refused),
		WIRED(a_question_without_an_answer_times_out_and_a_late_answer_is_dropped),
		WIRED(a_cancelled_question_is_not_answered),
		WIRED(a_full_queue_is_a_refusal_and_not_a_wait),
		WIRED(a_peer_that_does_not_read_costs_bounded_memory),
		WIRED(a_body_over_the_limit_is_refused),
		WIRED(when_the_other_side_goes_every_question_hears_of_it),
		WIRED(a_freed_wire_answers_nobody),
		WIRED(a_secret_answer_comes_whole),
		WIRED(one_that_is_about_to_block_sends_its_answers_first),
		WIRED(what_is_gathered_leaves_at_the_end_of_the_turn_and_in_order),
		WIRED(answers_to_nothing_are_dropped),
		WIRED(questions_to_one_that_only_asks_are_refused),
		WIRED(frames_of_a_wrong_form_cut_the_wire),
		WIRED(noise_harms_nobody),
		WIRED(passed_descriptors_are_not_kept),
		cmocka_unit_test_setup_teardown(what_was_gathered_is_sent_before_a_wire_ends, setup_gathering, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
