/*
 * table: text tables of cases for the unit tests, read from the folder that TABLES names (default
 * tests/tables).
 *
 * A line is a case: columns between " | ", the last one to the end of the line. Empty lines and
 * lines that begin with
 * '#' are left out. Escapes: \r \n \t \\, \s (a space that is not trimmed), \xHH, \R{count,c} (c so
 * many times; c may be an escape), and "-" alone for an empty column.
 */
#ifndef EASGATE_TESTS_TABLE_H
#define EASGATE_TESTS_TABLE_H

#include "common/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define TABLE_COLUMNS 8

struct table_row {
	const char *file;
	unsigned line;
	struct strv column[TABLE_COLUMNS]; /* column[0] is the name */
};

typedef void table_fn(const struct table_row *row);

/*
 * A copy in memory of exactly that size, so that a sanitizer sees every byte read beyond it. The
 * caller frees.
 */
static inline char *table_exact(const void *p, size_t n)
{
	char *copy = malloc(n > 0 ? n : 1);

	assert_non_null(copy);
	if (n > 0)
		memcpy(copy, p, n);
	return copy;
}

static inline size_t table_escape(const char *p, char *out)
{
	unsigned char byte = 0;

	switch (p[1]) {
	case 'r': *out = '\r'; return 2;
	case 'n': *out = '\n'; return 2;
	case 't': *out = '\t'; return 2;
	case 's': *out = ' '; return 2;
	case '\\': *out = '\\'; return 2;
	case 'x':
		assert_int_equal(text_unhex(&byte, 1, (struct strv){ p + 2, 2 }), 0);
		*out = (char)byte;
		return 4;
	default: fail_msg("unknown escape \\%c", p[1]); return 0;
	}
}

/* The caller frees p. */
static inline struct strv table_unescape(struct strv text)
{
	size_t size = 2 * text.n + 70000, n = 0, times, step;
	char *out = malloc(size), c;

	assert_non_null(out);
	for (const char *p = text.p, *end = text.p + text.n; p < end; p += step) {
		times = step = 1;
		c = *p;
		if (p[0] == '\\' && p[1] == 'R') {
			char *comma;

			times = strtoul(p + 3, &comma, 10);
			step = (size_t)(comma + 1 - p);
			c = comma[1];
			step += c == '\\' ? table_escape(comma + 1, &c) : 1;
			assert_int_equal(p[step], '}');
			step++;
		} else if (p[0] == '\\') {
			step = table_escape(p, &c);
		}
		assert_true(n + times <= size);
		memset(out + n, c, times);
		n += times;
	}
	return (struct strv){ out, n };
}

static inline struct strv table_next_column(struct strv *rest, bool last)
{
	const char *bar = last ? NULL : memmem(rest->p, rest->n, " | ", 3);
	struct strv column = *rest;

	if (bar != NULL) {
		column.n = (size_t)(bar - rest->p);
		*rest = (struct strv){ bar + 3, rest->n - column.n - 3 };
	} else {
		*rest = (struct strv){ NULL, 0 };
	}
	column = text_trim(column);
	return strv_eq(column, STRV("-")) ? table_unescape(STRV("")) : table_unescape(column);
}

/* Calls `fn` for each case whose name begins with `prefix`; fails if there is none. */
static inline void table_run(const char *file, const char *prefix, size_t columns, table_fn *fn)
{
	const char *folder = getenv("TABLES");
	struct table_row row = { .file = file };
	char path[512], *line = NULL;
	size_t size = 0, cases = 0;
	ssize_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder != NULL ? folder : "tests/tables", file);
	f = fopen(path, "r");
	if (f == NULL)
		fail_msg(
		    "%s cannot be read: name the folder in TABLES, or start at the top of the tree",
		    path);
	while ((n = getline(&line, &size, f)) > 0) {
		struct strv rest = { line, (size_t)n - (line[n - 1] == '\n') };

		row.line++;
		if (rest.n == 0 || rest.p[0] == '#' || !text_starts_nocase(rest, strv_from(prefix)))
			continue;
		for (size_t i = 0; i < columns; i++) {
			if (rest.p == NULL)
				fail_msg("%s:%u: %zu columns expected", file, row.line, columns);
			row.column[i] = table_next_column(&rest, i == columns - 1);
		}
		fn(&row);
		for (size_t i = 0; i < columns; i++)
			free((char *)(uintptr_t)row.column[i].p);
		cases++;
	}
	free(line);
	fclose(f);
	if (cases == 0)
		fail_msg("%s: no case is called \"%s...\"", file, prefix);
}

/* Compares with the wanted text and says which case it was. */
static inline void table_want(const struct table_row *row, const char *got, struct strv want)
{
	if (!strv_eq(strv_from(got), want))
		fail_msg("%s:%u: %.*s: got \"%s\", expected \"%.*s\"", row->file, row->line,
		    STRV_FMT(row->column[0]), got, STRV_FMT(want));
}

#endif
