/*
 * base: the few words that every file uses. Knows nothing, includes nothing of ours.
 */
#ifndef EASGATE_BASE_H
#define EASGATE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define MUST_CHECK	 __attribute__((warn_unused_result))
#define PRINTF(fmt, arg) __attribute__((format(printf, fmt, arg)))
#define NORETURN	 __attribute__((noreturn))
#define UNUSED		 __attribute__((unused))
#define ARRAY_LEN(a)	 (sizeof(a) / sizeof((a)[0]))

/*
 * Bytes that somebody else owns: pointer and length, never terminated by a zero byte.
 * p may be NULL only when n is 0. All text from outside travels as this until it was checked.
 */
struct strv {
	const char *p;
	size_t n;
};

#define STRV(literal)   ((struct strv){ (literal), sizeof(literal) - 1 })
#define STRV_FMT(s)     (int)(s).n, (s).p	/* for "%.*s" */

static inline struct strv strv_from(const char *text)
{
	return (struct strv){ text, text ? strlen(text) : 0 };
}

static inline bool strv_eq(struct strv a, struct strv b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

#define SHA256_SIZE 32

/* The end of what cannot go on: a broken invariant of our own. Logs and aborts. (log.c) */
NORETURN PRINTF(1, 2) void bug(const char *fmt, ...);

#endif
