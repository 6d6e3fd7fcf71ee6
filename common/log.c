/*
 * log: builds one JSON line at a time and writes it to standard error.
 * Escapes every value; knows nothing of what is logged. Runs in every process.
 */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/text.h"

#define PENDING_MAX 32768
#define LOST_MAX    256
#define PIPE_WANTED (1 << 20)
#define LINE_TAIL   64	/* always left for `,"cut":true}` and the line end */

static const char *const level_names[] = { "error", "warning", "info", "debug" };

/* The one piece of process-wide state: where lines go must be known before anything can fail. */
static struct {
	enum log_level level;
	const char *process;
	int index;
	size_t pending_n;
	enum { SINK_OTHER = 0, SINK_FILE, SINK_SOCKET } sink;
	uint64_t lost;		/* lines that found no room since */
	time_t second;		/* that `date` was made for */
	char date[24];
	char pending[PENDING_MAX];
} out = { .level = LOG_INFO, .process = "easgate", .index = -1 };

void log_setup(enum log_level level, const char *process, int index)
{
	log_flush();
	out.level = level;
	out.process = process;
	out.index = index;
}

void log_set_level(enum log_level level)
{
	out.level = level;
}

int log_level_parse(struct strv name, enum log_level *level)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
		if (strv_eq(name, strv_from(level_names[i]))) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -1;
}

bool log_wanted(enum log_level level)
{
	return level <= out.level;
}

/* A few bytes of standard error, without waiting. -1: it takes none now. */
static ssize_t write_now(const char *p, size_t n)
{
	struct pollfd ready = { .fd = STDERR_FILENO, .events = POLLOUT };

	switch (out.sink) {
	case SINK_FILE:
		return write(STDERR_FILENO, p, n);
	case SINK_SOCKET:
		return send(STDERR_FILENO, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	default:
		/* a pipe that is writable takes PIPE_BUF bytes at once */
		if (poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) != 0)
			return write(STDERR_FILENO, p, n);
		errno = EAGAIN;
		return -1;
	}
}

/* How much of it was taken; what is not stays with the caller. */
static size_t write_some(const char *p, size_t n)
{
	size_t at = 0;

	while (at < n) {
		ssize_t w = write_now(p + at, n - at);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			break;
		at += (size_t)w;
	}
	return at;
}

/* So many whole lines as a pipe takes in one act. */
static size_t piece_of(const char *p, size_t n)
{
	const char *end = n > PIPE_BUF ? memrchr(p, '\n', PIPE_BUF) : NULL;

	return n <= PIPE_BUF ? n : end != NULL ? (size_t)(end - p) + 1 : PIPE_BUF;
}

/* In place of the lines that are missing, behind those that came before them. */
static void say_lost(void)
{
	int n;

	if (out.lost == 0 || out.pending_n + LOST_MAX > PENDING_MAX)
		return;
	n = snprintf(out.pending + out.pending_n, LOST_MAX,
	    "{\"time\":\"%s.000Z\",\"level\":\"error\",\"process\":\"%s\",\"event\":\"log_lost\",\"lines\":%" PRIu64 "}\n",
	    out.date, out.process, out.lost);
	if (n > 0 && n < LOST_MAX) {
		out.pending_n += (size_t)n;
		out.lost = 0;
	}
}

/* Standard error may be a pipe that nobody reads: what it does not take now waits here, and logging never waits for it. */
void log_flush(void)
{
	size_t at = 0, piece, n;

	while (at < out.pending_n) {
		piece = piece_of(out.pending + at, out.pending_n - at);
		n = write_some(out.pending + at, piece);
		at += n;
		if (n < piece)
			break;
	}
	memmove(out.pending, out.pending + at, out.pending_n - at);
	out.pending_n -= at;
	if (out.pending_n == 0 && out.lost > 0) {
		say_lost();
		n = write_some(out.pending, out.pending_n);
		memmove(out.pending, out.pending + n, out.pending_n - n);
		out.pending_n -= n;
	}
}

void log_never_block(void)
{
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) < 0)
		return;
	out.sink = S_ISREG(st.st_mode) ? SINK_FILE : S_ISSOCK(st.st_mode) ? SINK_SOCKET : SINK_OTHER;
	if (!S_ISFIFO(st.st_mode))
		return;
	/* opened anew, so that whoever gave it to us keeps his as it was; where that is refused, poll() has to do */
	fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)dup2(fd, STDERR_FILENO);
	close(fd);
	/* room for a reader that is busy for a moment; where that is too much, it stays as it was */
	(void)fcntl(STDERR_FILENO, F_SETPIPE_SZ, PIPE_WANTED);
}

static bool fits(struct log_line *l, size_t n)
{
	if (l->cut || l->n + n > LOG_LINE_MAX - LINE_TAIL) {
		l->cut = true;
		return false;
	}
	return true;
}

static void put(struct log_line *l, const char *p, size_t n)
{
	memcpy(l->text + l->n, p, n);
	l->n += n;
}

/* The length of `c` as JSON text; 1 for plain bytes. Bytes of UTF-8 pass when `clean`, else as \u00XX. */
static size_t escape(char to[8], unsigned char c, bool clean)
{
	static const char hex[] = "0123456789abcdef";

	if (c == '"' || c == '\\') {
		to[0] = '\\';
		to[1] = (char)c;
		return 2;
	}
	if (c >= 0x20 && c < 0x7f) {
		to[0] = (char)c;
		return 1;
	}
	if (c >= 0x80 && clean) {
		to[0] = (char)c;
		return 1;
	}
	memcpy(to, "\\u00", 4);
	to[4] = hex[c >> 4];
	to[5] = hex[c & 15];
	return 6;
}

static size_t escaped_length(struct strv v, bool clean)
{
	char to[8];
	size_t n = 0;

	for (size_t i = 0; i < v.n && n <= LOG_LINE_MAX; i++)
		n += escape(to, (unsigned char)v.p[i], clean);
	return n;
}

static bool is_plain(struct strv v)
{
	for (size_t i = 0; i < v.n; i++) {
		unsigned char c = (unsigned char)v.p[i];
		if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
			return false;
	}
	return true;
}

/* ,"key":  — keys are our own literals and need no escaping. */
static bool put_key(struct log_line *l, const char *key, size_t value_max)
{
	size_t n = strlen(key);

	if (!fits(l, n + 4 + value_max))
		return false;
	put(l, ",\"", 2);
	put(l, key, n);
	put(l, "\":", 2);
	return true;
}

void log_text(struct log_line *l, const char *key, struct strv v)
{
	bool clean;

	if (!l->on)
		return;
	if (is_plain(v)) {
		if (!put_key(l, key, v.n + 2))
			return;
		l->text[l->n++] = '"';
		put(l, v.p ? v.p : "", v.n);
		l->text[l->n++] = '"';
		return;
	}
	clean = text_is_clean(v);
	if (!put_key(l, key, escaped_length(v, clean) + 2))
		return;
	l->text[l->n++] = '"';
	for (size_t i = 0; i < v.n; i++)
		l->n += escape(l->text + l->n, (unsigned char)v.p[i], clean);
	l->text[l->n++] = '"';
}

void log_cstr(struct log_line *l, const char *key, const char *value)
{
	if (value != NULL)
		log_text(l, key, strv_from(value));
}

static size_t decimal(char to[24], int64_t value)
{
	char digits[24];
	size_t n = 0, at = 0;
	uint64_t u = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

	do {
		digits[n++] = (char)('0' + u % 10);
	} while ((u /= 10) > 0);
	if (value < 0)
		to[at++] = '-';
	while (n > 0)
		to[at++] = digits[--n];
	return at;
}

void log_int(struct log_line *l, const char *key, int64_t value)
{
	if (l->on && put_key(l, key, 24))
		l->n += decimal(l->text + l->n, value);
}

void log_bool(struct log_line *l, const char *key, bool value)
{
	if (l->on && put_key(l, key, 5))
		put(l, value ? "true" : "false", value ? 4 : 5);
}

/* The date changes once a second: gmtime is not asked for each of thousands of lines. */
static void put_time(struct log_line *l)
{
	struct timespec now;
	struct tm tm;
	char ms[5];

	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec != out.second) {
		out.second = now.tv_sec;
		gmtime_r(&now.tv_sec, &tm);
		strftime(out.date, sizeof(out.date), "%Y-%m-%dT%H:%M:%S", &tm);
	}
	put(l, "{\"time\":\"", 9);
	put(l, out.date, strlen(out.date));
	ms[0] = '.';
	ms[1] = (char)('0' + now.tv_nsec / 100000000);
	ms[2] = (char)('0' + now.tv_nsec / 10000000 % 10);
	ms[3] = (char)('0' + now.tv_nsec / 1000000 % 10);
	ms[4] = 'Z';
	put(l, ms, sizeof(ms));
	l->text[l->n++] = '"';
}

static void begin(struct log_line *l, enum log_level level, bool audit, const char *event)
{
	l->on = true;
	l->cut = false;
	l->now = audit || level <= LOG_WARNING;
	l->n = 0;
	put_time(l);
	if (audit)
		log_bool(l, "audit", true);
	log_cstr(l, "level", level_names[level]);
	log_cstr(l, "process", out.process);
	if (out.index >= 0)
		log_int(l, "index", out.index);
	log_cstr(l, "event", event);
}

void log_begin(struct log_line *l, enum log_level level, const char *event)
{
	if (!log_wanted(level)) {
		l->on = false;
		return;
	}
	begin(l, level, false, event);
}

void log_begin_audit(struct log_line *l, const char *event)
{
	begin(l, LOG_INFO, true, event);
}

void log_end(struct log_line *l)
{
	size_t room;

	if (!l->on)
		return;
	if (l->cut) {
		static const char mark[] = ",\"cut\":true";
		put(l, mark, sizeof(mark) - 1);
	}
	put(l, "}\n", 2);
	/* when nobody reads, access lines leave the other half to errors and audit lines */
	room = l->now ? PENDING_MAX : PENDING_MAX / 2;
	if (out.pending_n + l->n > room)
		log_flush();
	l->on = false;
	if (out.pending_n + l->n > room) {
		out.lost++;
		return;
	}
	memcpy(out.pending + out.pending_n, l->text, l->n);
	out.pending_n += l->n;
	if (l->now)
		log_flush();
}

void log_say(enum log_level level, const char *event, const char *fmt, ...)
{
	struct log_line l;
	char message[2048];
	va_list args;

	if (!log_wanted(level))
		return;
	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	log_begin(&l, level, event);
	log_cstr(&l, "message", message);
	/* The few lines that are said in words are for people who wait for them. */
	l.now = true;
	log_end(&l);
}

void bug(const char *fmt, ...)
{
	char message[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	log_say(LOG_ERROR, "bug", "%s (a defect of easgate: please report it with this line)", message);
	log_flush();
	abort();
}
