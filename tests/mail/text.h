/*
 * text: small length-safe helpers for text that came from outside.
 * Knows nothing of mail, HTTP or ActiveSync. Pure: no I/O but text_log().
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_TEXT_H
#define MAIL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/*
 * Decodes base64 (RFC 4648 section 4, padded). `out` has room for n / 4 * 3 bytes.
 * `spaces`: white space between the characters is skipped, as MIME wants it.
 * Returns the number of bytes, or -1 for anything that is not such text.
 */
ssize_t text_base64(const char *in, size_t n, bool spaces, unsigned char *out);

/*
 * Decodes %XX into a string. `+` stays itself: ActiveSync queries carry base64.
 * Returns 0, or -1 for a broken escape, a NUL, a control byte, or too little room.
 */
int text_percent(const char *in, size_t n, char *out, size_t room);

/* The byte that two hexadecimal digits mean, or -1. */
int text_hex(char high, char low);

/* Digits only, at most `max`. Returns false otherwise, and *out is untouched. */
bool text_number(const char *s, uint32_t max, uint32_t *out);

/*
 * Makes a string that XML can hold: UTF-8 stays, anything else is read as Latin-1,
 * control characters but tab, CR and LF become spaces. The caller frees it. NULL: no memory.
 */
char *text_clean(const char *in, size_t n);

/* Where a string of at most `room` bytes may end without cutting a UTF-8 character. */
size_t text_utf8_cut(const char *s, size_t n, size_t room);

/* Writes one log field: what is not plain printable ASCII becomes %XX. NULL and "" become "-". */
void text_log(FILE *f, const char *s);

#endif
