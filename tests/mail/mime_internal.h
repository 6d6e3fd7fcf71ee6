/*
 * mime_internal: what mime.c and mime_text.c share. Nobody else includes it.
 * Pure: spans borrow from the mail they were found in.
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_MIME_INTERNAL_H
#define MAIL_MIME_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

struct span {
	const char *p;
	size_t n;
};

/*
 * Takes the next header field (with its folded lines) off *head. `name` and `value` borrow.
 * False at the empty line, which is taken too, and at the end. A line that is no field is skipped.
 */
bool mime_next_field(struct span *head, struct span *field, struct span *name,
    struct span *value);

/* First field called `name`; false if there is none. */
bool mime_field(struct span mail, const char *name, struct span *value);

/* What stands behind the header. */
struct span mime_body(struct span mail);

#endif
