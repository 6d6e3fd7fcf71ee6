/*
 * text: length-safe text. Pure functions; nothing here allocates unless it says so.
 */
#ifndef EASGATE_TEXT_H
#define EASGATE_TEXT_H

#include "common/base.h"

/* ASCII only: bytes above 127 and the locale never matter. */
bool text_eq_nocase(struct strv a, struct strv b);
bool text_starts_nocase(struct strv text, struct strv prefix);
char text_lower_char(char c);
void text_lower(char *p, size_t n);

/* Strips spaces and tabs (RFC 9110 OWS) from both ends. */
struct strv text_trim(struct strv text);

/*
 * Splits `*rest` at the first `sep`: returns what stands before it and moves *rest behind it.
 * Without `sep` returns all and sets *rest to { NULL, 0 }. End of the walk: rest->p == NULL.
 */
struct strv text_split(struct strv *rest, char sep);

/* Digits only, no sign, no space, no leading "+"; "007" is accepted, "" is not. 0, or -1 for anything else or > max. */
MUST_CHECK int text_u64(struct strv text, uint64_t max, uint64_t *out);
/* The same in hexadecimal, without "0x", at most 16 digits. */
MUST_CHECK int text_hex_u64(struct strv text, uint64_t max, uint64_t *out);

/*
 * Copies to a C string of `size` bytes. Refuses (-1, *out = "") what does not fit, NUL, control bytes
 * (below 0x20, 0x7f) and malformed UTF-8 (overlong, surrogates, above U+10FFFF).
 */
MUST_CHECK int text_copy(char *out, size_t size, struct strv text);
/* True for well-formed UTF-8 without control characters (C0, DEL, C1, and the bidirectional marks U+202A-202E, U+2066-2069). */
bool text_is_clean(struct strv text);

/* Lower-case hex; out holds 2 * n + 1 bytes. */
void text_hex(char *out, const void *bytes, size_t n);
/* Exactly 2 * n hex digits, either case. 0 or -1. */
MUST_CHECK int text_unhex(void *out, size_t n, struct strv hex);

/*
 * Base64 (RFC 4648 §4), standard alphabet, padding demanded, no white space, no non-zero trailing bits.
 * Decode: returns the number of bytes or -1 (bad, or more than size). Encode: out holds 4 * ((n + 2) / 3) + 1.
 */
MUST_CHECK long text_base64_decode(void *out, size_t size, struct strv text);
size_t text_base64(char *out, const void *bytes, size_t n);
/* The URL-safe alphabet (RFC 4648 §5) as JOSE has it (RFC 7515 §2): no padding, else as strict. */
MUST_CHECK long text_base64url_decode(void *out, size_t size, struct strv text);

/*
 * Percent-decoding (RFC 3986 §2.1) into out; '+' stays '+'. Returns the length, or -1: bad escape, decoded
 * NUL or control byte, or more than size.
 */
MUST_CHECK long text_percent_decode(char *out, size_t size, struct strv text);

#endif
