/*
 * mime: what a mail says: header fields, recipients, the text to show (RFC 5322, RFC 2045-2047).
 * Pure: reads bytes, never changes them; a mail it cannot read shows less, it never fails.
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_MIME_H
#define MAIL_MIME_H

#include <stdbool.h>
#include <stddef.h>

#define MIME_ADDRESS_MAX 254
#define MIME_RECIPIENTS_MAX 100

/* True if `mail` begins with at least one header field. */
bool mime_is_mail(const char *mail, size_t n);

/*
 * The first field called `name`, unfolded, encoded words decoded, as text_clean() leaves it.
 * "" if there is none. The caller frees it. NULL: no memory.
 */
char *mime_header(const char *mail, size_t n, const char *name);

/*
 * The text of the first text/plain part (of the mail itself, if it has no parts), transfer
 * encoding undone, as text_clean() leaves it. The caller frees it. NULL: no memory.
 */
char *mime_text(const char *mail, size_t n);

/* `address` is lower-case, borrowed for the call. */
typedef void mime_address_fn(void *arg, const char *address);

/*
 * Calls `each` for every address in the To, Cc and Bcc fields.
 * Returns how many; -1 for an address that is none, or more than MIME_RECIPIENTS_MAX.
 */
int mime_recipients(const char *mail, size_t n, mime_address_fn *each, void *arg);

/* Copies the mail without its Bcc fields. The caller frees it. NULL: no memory. */
char *mime_without_bcc(const char *mail, size_t n, size_t *out_n);

#endif
