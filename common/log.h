/*
 * log: JSON lines on standard error, one object a line, every value escaped here.
 *
 * A line is built in a fixed buffer (LOG_LINE_MAX) on the caller's stack; what does not fit is cut at a
 * field and the line says "cut":true. Lines of level error and warning, and audit lines, are written at
 * once; access and info lines may wait in the process's buffer until log_flush() (the loop calls it).
 * Never pass a password, token, key, body or Authorization value. Certificates' and devices' text is safe to pass.
 */
#ifndef EASGATE_LOG_H
#define EASGATE_LOG_H

#include "common/base.h"

#define LOG_LINE_MAX 4096

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

struct log_line {
	bool on;		/* false: this level is switched off; the calls below do nothing */
	bool cut;
	bool now;		/* write at once */
	size_t n;
	char text[LOG_LINE_MAX];
};

/* Process-wide: set by main before anything else. `process` is a literal such as "worker"; index < 0: none. */
void log_setup(enum log_level level, const char *process, int index);
void log_set_level(enum log_level level);
/* 0, or -1 when `name` is none of error, warning, info, debug. */
MUST_CHECK int log_level_parse(struct strv name, enum log_level *out);
bool log_wanted(enum log_level level);

/* {"time":"2026-11-23T10:00:00.123Z","level":"error","process":"worker","index":0,"event":"<event>", ... } */
void log_begin(struct log_line *l, enum log_level level, const char *event);
/* As log_begin at info level, for lines that are always written and at once: "audit":true comes first. */
void log_begin_audit(struct log_line *l, const char *event);
void log_text(struct log_line *l, const char *key, struct strv value);
void log_cstr(struct log_line *l, const char *key, const char *value);	/* NULL: the key is left out */
void log_int(struct log_line *l, const char *key, int64_t value);
void log_bool(struct log_line *l, const char *key, bool value);
void log_end(struct log_line *l);

/* One line with "message"; the message says what, where and the cure. */
PRINTF(3, 4) void log_say(enum log_level level, const char *event, const char *fmt, ...);

void log_flush(void);

/*
 * Once, by main: from now on a standard error that takes no more (a full pipe, a journal that hangs) makes lines wait, and when their room is full get lost,
 * which "log_lost" tells as soon as it takes some again, and never makes the process wait.
 */
void log_never_block(void);

#endif
